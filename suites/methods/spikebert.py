"""Learn to read like BERT: first its features, without labels, then the task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, Teacher, descend
from harness.training.losses.projection import as_tokens, same_size, summed, token_projectors

CARD = MethodCard(
    title=(
        "Two stages: features and embeddings of the training text without its labels, then logits "
        "and labels too"
    ),
    citation=(
        "Lv, Li, Xu, Gu, Ling, Zhang, Zheng, Huang. SpikeBERT: A language Spikformer learned from "
        "BERT with knowledge distillation. Neural Networks 197:108482, 2026, doi "
        "10.1016/j.neunet.2025.108482; arXiv:2308.15122; code: github.com/Lvchangze/SpikeBERT"
    ),
    loss="reconstructed",
    reconstructed=(
        (
            "the weights of the first stage, both 1: it has the paper's form, with the embeddings, "
            "which the authors' script leaves out, and the paper's weights are not known"
        ),
    ),
    weight="logit_weight",
    claims=(
        Claim(
            accuracy=0.8069,
            dataset="mr",
            architecture="language Spikformer, 12 blocks of 768",
            timesteps=4,
            where="secondary: notes on table 1, mean of 10 seeds",
            url="https://arxiv.org/abs/2308.15122",
        ),
        Claim(
            accuracy=0.8539,
            dataset="sst2",
            architecture="language Spikformer, 12 blocks of 768",
            timesteps=4,
            where="secondary: notes on table 1, mean of 10 seeds",
            url="https://arxiv.org/abs/2308.15122",
        ),
        Claim(
            accuracy=0.4611,
            dataset="sst5",
            architecture="language Spikformer, 12 blocks of 768",
            timesteps=4,
            where="secondary: notes on table 1, mean of 10 seeds",
            url="https://arxiv.org/abs/2308.15122",
        ),
        Claim(
            accuracy=0.93,
            dataset="subj",
            architecture="language Spikformer, 12 blocks of 768",
            timesteps=4,
            where="secondary: notes on table 1, mean of 10 seeds",
            url="https://arxiv.org/abs/2308.15122",
        ),
        Claim(
            accuracy=0.8636,
            dataset="chnsenticorp",
            architecture="language Spikformer, 12 blocks of 768",
            timesteps=4,
            where="secondary: notes on table 1, mean of 10 seeds",
            url="https://arxiv.org/abs/2308.15122",
        ),
        Claim(
            accuracy=0.8966,
            dataset="waimai",
            architecture="language Spikformer, 12 blocks of 768",
            timesteps=4,
            where="secondary: notes on table 1, mean of 10 seeds",
            url="https://arxiv.org/abs/2308.15122",
        ),
    ),
    signals=("logits", "features", "embeddings"),
    extras=(
        "a linear layer and a norm a block",
        "a linear layer between the embeddings, if their widths differ",
    ),
    departures=(
        (
            "where the suite names no text, the first stage reads its own training sentences, once "
            "more and without their labels; theirs reads 80 million sentences of books and of "
            "Wikipedia"
        ),
        (
            "one teacher, fine-tuned on the task, teaches both stages; theirs is the raw "
            "pre-trained BERT in the first"
        ),
        "padding counts in no feature, attention or mean; in the authors' code it does",
        "embeddings of another width than the teacher's go through a linear layer first",
        (
            "the authors' script chooses the epoch by the test file; here the last one is judged. "
            "It loads the first stage without looking for missing weights; here one network goes "
            "through both"
        ),
        "no augmentation of the text, which the paper finds worth 0.76 points",
    ),
    needs=("tokens",),
    reads_unlabelled=True,
)


@dataclass(frozen=True, kw_only=True)
class SpikeBert:
    """``a sum_i L_i + b L_emb``, then ``c sum_i L_i + d L_emb + e KL + f CE``.

    ``L_i = mean((LN(W_i mean_t s_i + b_i) - t_j)^2) / N`` over tokens and channels, ``s_i`` the
    student's block ``i`` of ``n``, ``t_j`` the teacher's block ``j = 1 + floor(i m / n)`` of
    ``m``, with ``i`` from 0: the authors' code divides by the batch ``N`` once more.
    ``L_emb = mean((E_S - E_T)^2)`` over the whole tables, and ``KL(teacher || student)`` of
    the mean logits is not softened.

    Attributes:
        general_feature_weight: ``a``.
        general_embedding_weight: ``b``.
        feature_weight: ``c``.
        embedding_weight: ``d``.
        logit_weight: ``e``.
        label_weight: ``f``.
        general: Whether there is a first stage.
        ignored_blocks: So many of the first pairs teach nothing.
    """

    general_feature_weight: NonNegativeFloat = 1.0
    general_embedding_weight: NonNegativeFloat = 1.0
    feature_weight: NonNegativeFloat = 0.1
    embedding_weight: NonNegativeFloat = 0.1
    logit_weight: NonNegativeFloat = 1.0
    label_weight: NonNegativeFloat = 0.1
    general: bool = True
    ignored_blocks: NonNegativeInt = 0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Distil in general, then for the task, with the same transforms.

        Raises:
            UnsupportedError: If the networks have no blocks to pair, or other vocabularies.
        """
        pairs = dict(
            list(_pairs(student.tap_channels, lesson.guide.tap_channels))[self.ignored_blocks :]
        )
        matcher = _Matcher(student, lesson.guide, pairs).to(lesson.device)
        spent = partial(
            descend,
            student,
            also_train=[matcher],
            taps=tuple(pairs),
            teacher_taps=tuple(dict.fromkeys(pairs.values())),
        )

        def general(output: Output, answer: Answer, _labels: Tensor) -> Tensor:
            features = self.general_feature_weight * matcher.features(output, answer)
            return features + self.general_embedding_weight * matcher.embeddings()

        def task(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            mean = output.logits.mean(0)
            return (
                self.feature_weight * matcher.features(output, answer)
                + self.embedding_weight * matcher.embeddings()
                + self.logit_weight * answer.task.divergence(mean, answer.logits, temperature=1.0)
                + self.label_weight * answer.task.supervised(mean, labels)
            )

        if self.general:
            for progress in spent(lesson.further("general distillation", unlabelled=True), general):
                yield replace(progress, samples=0)
        yield from spent(lesson, task)


def _pairs(ours: Mapping[str, int], theirs: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield the student's blocks, each with the teacher's that it learns from.

    Raises:
        UnsupportedError: If either has none.
    """
    students, teachers = ([n for n in taps if n.startswith("stage")] for taps in (ours, theirs))
    if not students or not teachers:
        raise UnsupportedError("student and teacher need blocks whose features can be compared")
    for place, name in enumerate(students):
        yield name, teachers[place * len(teachers) // len(students)]


class _Matcher(nn.Module):
    """What brings the student's features and embeddings to the teacher's width."""

    def __init__(self, student: Student, teacher: Teacher, pairs: Mapping[str, str]) -> None:
        super().__init__()
        self.pairs = pairs
        ours, theirs = student.tap_channels, teacher.tap_channels
        self.transforms = token_projectors(ours, theirs, pairs)
        # In a list, so that the networks are no modules of this one.
        self.tables = [_table(student.network), _table(teacher.network)]
        self.widen: nn.Module = nn.Identity()
        if self.reads:
            (size, width), (their_size, their_width) = (table.shape for table in self.tables)
            if size != their_size:
                raise UnsupportedError(
                    f"student and teacher read other vocabularies: {size} and {their_size} tokens"
                )
            if width != their_width:
                self.widen = nn.Linear(width, their_width, bias=False)

    @property
    def reads(self) -> bool:
        """Whether both networks read tokens."""
        return all(table.numel() for table in self.tables)

    def features(self, output: Output, answer: Answer) -> Tensor:
        """Return ``sum_i L_i``."""
        return summed(
            [
                self.distance(name, widened(output.taps[name]).mean(0), answer.taps[of])
                for name, of in self.pairs.items()
            ]
        )

    def distance(
        self,
        name: str,
        rate: Tensor,  # [N, C, ...]
        feature: Tensor,  # [N, C', ...]
    ) -> Tensor:
        """Return ``L_i``, over the places where the teacher has a token."""
        if rate.dim() == 4:
            rate, feature = same_size(rate, feature)
        wanted = as_tokens(widened(feature))  # [N, P, C']
        made: Tensor = self.transforms[name](as_tokens(rate))
        apart = (made - wanted).square().mean(-1)  # [N, P]
        if self.reads:
            there = (wanted != 0).any(-1).to(apart.dtype)
            mean = (apart * there).sum() / there.sum()
        else:
            mean = apart.mean()
        distance: Tensor = mean / len(rate)
        return distance

    def embeddings(self) -> Tensor:
        """Return ``L_emb``; 0 without embeddings."""
        ours, theirs = self.tables
        if not self.reads:
            return theirs.new_zeros(())
        return mse_loss(self.widen(ours), theirs.detach())


def _table(network: nn.Module) -> Tensor:
    """Return a network's embeddings ``[V, D]``, or nothing if it reads no tokens."""
    table = getattr(network, "embedding_table", None)
    if isinstance(table, Tensor):
        return table
    return next(network.parameters()).new_zeros(0)


METHOD: Method = SpikeBert()
