"""What each ingredient of a recipe buys, judged on validation images.

One ingredient at a time is put into a recipe, or taken out of it; every variant trains the
same methods from the same seeds, which no board has. Test images are not asked. No
ingredient changes the network at inference; images that grow are none, for networks here are
built for one size. On a GPU ``descend`` tells steps late, and so what is averaged is later, too.

    python -m benchmarks.ingredients [--suite cifar10] [--recipe credible] [--methods direct]
        [--ingredients alternating_flip ...] [--timesteps 2] [--seeds 2000 2001 2002]
        [--epochs 30] [--train-samples 45000] [--device cpu] [--runs runs] [--results FILE]

Each line of ``--results`` is one training, which is not done twice: the same command goes on,
and processes with seeds of their own may share the file. ``--runs`` has the teacher of methods
that ask one.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.table import columns
from harness.contracts.cell import Cell
from harness.contracts.dataset import Splits
from harness.contracts.errors import DivergedError, HarnessError
from harness.contracts.method import Progress
from harness.contracts.model import Output
from harness.contracts.task import Losses
from harness.engine.cell import teacher_of
from harness.engine.grid import Axes, cells, load_suite
from harness.engine.resolve import Resolved, opened_for, resolve
from harness.engine.train import lesson_of
from harness.evaluation.evaluate import evaluate
from harness.results import published
from harness.seeds import torch_seed, torch_stream
from harness.statistics import compare_paired, mean_over_seeds
from harness.store import Store
from harness.training import Batch, Lesson, Student
from harness.training.lesson import Teacher, computing
from harness.training.losses.classification import ClassLosses

AS_IT_IS = "as_it_is"
SEEDS = (2000, 2001, 2002)
Epoch = Iterator[Batch]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, whatever the ingredients.

    Attributes:
        cell: Of the suite, judged on validation images.
        samples: How many there are to train on.
        lesson: That a method is given.
    """

    cell: Cell
    samples: int
    lesson: Lesson

    @property
    def is_first_half(self) -> bool:
        """Whether the step that is under way is in the first half of the training."""
        return self.lesson.step <= self.lesson.steps // 2


def _as_they_come(batches: Epoch, _epoch: int, _of: Setting) -> Epoch:
    return batches


def _as_it_is(student: Student, _of: Setting) -> Student:
    return student


def _step_by_step(_student: Student, steps: Iterable[Progress], _of: Setting) -> None:
    for _ in steps:
        pass


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """One thing that a recipe has or could have.

    Attributes:
        what: In words, with its source.
        recipe: What it changes in the recipe.
        batches: What becomes of the batches of an epoch.
        student: What a method is given for a student.
        spend: Runs through a training's steps.
        losses: What labels are taught with; None is as the task does.
    """

    what: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    batches: Callable[[Epoch, int, Setting], Epoch] = _as_they_come
    student: Callable[[Student, Setting], Student] = _as_it_is
    spend: Callable[[Student, Iterable[Progress], Setting], None] = _step_by_step
    losses: Losses | None = None


def alternating(batches: Epoch, epoch: int, of: Setting) -> Epoch:
    """Mirror half of the images, by chance, in even epochs and the others in odd ones."""
    chance = torch_stream(of.cell.seed, "alternating flip")
    coins = torch.randint(2, (of.samples,), generator=chance).to(of.lesson.device)
    for batch in batches:
        turned = (coins[batch.indices] + epoch) % 2 == 1
        images = _mirrored(batch.images, turned)
        stimulus = _mirrored(batch.stimulus, turned)
        yield replace(batch, stimulus=stimulus, images=images, drawn=images)


def _mirrored(images: Tensor, turned: Tensor) -> Tensor:
    return torch.where(turned[:, None, None, None], images.flip(-1), images)


@dataclass(frozen=True, kw_only=True)
class Lengthening(Student):
    """A student that is simulated for half as many steps in the first half."""

    short: Student
    of: Setting

    def __call__(self, stimulus: Tensor, taps: Sequence[str] = ()) -> Output:
        if self.of.is_first_half:
            return self.short(stimulus, taps)
        return super().__call__(stimulus, taps)


def lengthening(student: Student, of: Setting) -> Student:
    """Return ``student`` as one of half its steps that grows up."""
    short = replace(student, timesteps=max(1, student.timesteps // 2))
    return Lengthening(**vars(student), short=short, of=of)


@dataclass(frozen=True)
class Smoothed(ClassLosses):
    """Cross-entropy from labels that keep 0.9 of the probability and share the rest."""

    def supervised(self, decided: Tensor, target: Tensor, /) -> Tensor:
        """Return it, averaged over samples."""
        return cross_entropy(decided, target, label_smoothing=0.1)


def averaged(student: Student, steps: Iterable[Progress], of: Setting) -> None:
    """End with a mean of weights and statistics whose memory is a fiftieth of the training."""
    kept = [each.clone() for each in _floats(student.network)]
    share = min(1.0, 50 / of.lesson.steps)
    for _ in steps:
        for mean, now in zip(kept, _floats(student.network), strict=True):
            mean.lerp_(now, share)
    for mean, now in zip(kept, _floats(student.network), strict=True):
        now.copy_(mean)


def looking_ahead(student: Student, steps: Iterable[Progress], of: Setting) -> None:
    """Every fifth step, go back half of the way since the last fifth."""
    kept = [each.clone() for each in _floats(student.network)]
    for number, _ in enumerate(steps, start=1):
        if number % 5 == 0 or number == of.lesson.steps:
            for slow, now in zip(kept, _floats(student.network), strict=True):
                now.copy_(slow.lerp_(now, 0.5))


def _floats(network: nn.Module) -> list[Tensor]:
    """Return the network's own weights and statistics, not copies."""
    return [each for each in network.state_dict().values() if each.is_floating_point()]


INGREDIENTS = {
    AS_IT_IS: Ingredient(what="the recipe as the suite has it"),
    "no_warmup": Ingredient(what="the learning rate falls from the start", recipe={"warmup": 0.0}),
    "no_crop": Ingredient(what="flips alone", recipe={"augmentation": ("flip",)}),
    "no_flip": Ingredient(what="crops alone", recipe={"augmentation": ("crop",)}),
    "no_decay": Ingredient(what="weights do not decay", recipe={"weight_decay": 0.0}),
    "alternating_flip": Ingredient(
        what="each image mirrored every other epoch (Jordan, arXiv 2404.00498)",
        recipe={"augmentation": ("crop",)},
        batches=alternating,
    ),
    "smoothed_labels": Ingredient(
        what="0.1, on the term of the labels alone (Szegedy et al., CVPR 2016, section 7)",
        losses=Smoothed(),
    ),
    "averaged_weights": Ingredient(
        what="an exponential mean of the weights is kept (Polyak & Juditsky 1992)", spend=averaged
    ),
    "lookahead": Ingredient(
        what="k = 5, alpha = 0.5 (Zhang, Lucas, Hinton, Ba, NeurIPS 2019)", spend=looking_ahead
    ),
    "growing_steps": Ingredient(what="T / 2 in the first half", student=lengthening),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One training.

    Attributes:
        ingredient: Of ``INGREDIENTS``.
        asked: The identity of the recipe's cell at seed 0, which all its outcomes share.
        method: Of the cell.
        seed: Of the training.
        accuracy: On validation images, after the last step; None if it diverged.
        seconds: Of training, by the clock of the processor, or of a GPU's wall.
    """

    ingredient: str
    asked: str
    method: str
    seed: int
    accuracy: float | None
    seconds: float = 0.0


def _of_any_seed(cell: Cell) -> str:
    return replace(cell, seed=0).cell_id


def train(cell: Cell, name: str, runs: Path, device: torch.device) -> Outcome:
    """Train ``cell`` with one ingredient, and ask it about validation images."""
    ingredient = INGREDIENTS[name]
    told: Any = {"ingredient": name, "asked": _of_any_seed(cell)}
    told |= {"method": cell.method, "seed": cell.seed}
    recipe = replace(cell.recipe, **ingredient.recipe)
    found = resolve(replace(cell, recipe=recipe))
    root = os.environ.get("SNN_DISTILL_DATA")
    splits = opened_for(cell, Path(root) if root else None)
    with computing(recipe.precision):
        teacher = None
        if found.uses_teacher and cell.teacher is not None:
            teacher, *_ = teacher_of(Store(runs), cell.teacher, cell.model, device)
        # Two steps that do not count: whatever is compiled, is.
        two = replace(recipe, epochs=2, train_samples=recipe.batch_size)
        short = replace(found, cell=replace(cell, recipe=two))
        try:
            _spend(short, ingredient, splits, teacher, device)
            student, seconds = _spend(found, ingredient, splits, teacher, device)
        except DivergedError:
            return Outcome(**told, accuracy=None)
        shown = (splits.validation, found.presentation(), device, recipe.precision)
        verdict = evaluate(student, *shown, task=found.task)
    return Outcome(**told, accuracy=verdict.score.value, seconds=seconds)


def _spend(
    found: Resolved,
    ingredient: Ingredient,
    splits: Splits[Any],
    teacher: Teacher | None,
    device: torch.device,
) -> tuple[Student, float]:
    """Return a student that has spent the lesson, and the seconds that it took."""
    cell, student = found.cell, found.student(device)
    lesson = lesson_of(
        cell.recipe,
        splits.train,
        found.card,
        presentation=found.presentation(),
        seed=cell.seed,
        teacher=teacher,
        device=device,
    )
    of = Setting(cell=cell, samples=len(splits.train), lesson=lesson)
    lesson = replace(
        lesson,
        epochs=_Epochs(lesson.epochs, ingredient, of),
        task=ingredient.losses or found.task,
    )
    torch.manual_seed(torch_seed(cell.seed, "method"))
    began_s = _now_s(device)
    ingredient.spend(student, found.method.fit(ingredient.student(student, of), lesson), of)
    return student, _now_s(device) - began_s


@dataclass(frozen=True)
class _Epochs:
    """Epochs with one ingredient."""

    plain: Iterable[Iterable[Batch]]
    ingredient: Ingredient
    of: Setting

    def __iter__(self) -> Iterator[Epoch]:
        for number, epoch in enumerate(self.plain):
            yield self.ingredient.batches(iter(epoch), number, self.of)


def _now_s(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()  # of one thread: neighbours take nothing of it
    torch.cuda.synchronize(device)
    return time.perf_counter()


def outcomes_in(file: Path) -> list[Outcome]:
    """Return what was trained before."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


def table(cells_asked: Iterable[Cell], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a table a method: what each ingredient adds to the recipe, over common seeds."""
    for method, asked in {one.method: _of_any_seed(one) for one in cells_asked}.items():
        found: dict[str, dict[int, Outcome]] = {name: {} for name in INGREDIENTS}
        for one in outcomes:
            if one.asked == asked and one.ingredient in found:
                found[one.ingredient][one.seed] = one
        rows = [_line(name, trained, found[AS_IT_IS]) for name, trained in found.items() if trained]
        head = ("accuracy, %, more is better", "points beside", "95 %", "seeds", "times as long")
        yield from ("", *columns([(method, *head), *rows]))


def _line(name: str, ours: Mapping[int, Outcome], base: Mapping[int, Outcome]) -> tuple[str, ...]:
    known, those = _accuracies(ours), _accuracies(base)
    common = sorted(known.keys() & those.keys()) if name != AS_IT_IS else []
    lost = len(ours) - len(known)
    mean = f"{100 * mean_over_seeds([*known.values()]).value:.2f}" if known else ""
    told = (name, f"{mean}, {lost} diverged".lstrip(", ") if lost else mean)
    if not common:
        return (*told, "", "", str(len(ours)), "")
    pairs = ([one[seed] for seed in common] for one in (known, those))
    difference = compare_paired(*pairs).difference
    around = difference.interval
    seconds = (sum(one[seed].seconds for seed in common) for one in (ours, base))
    return (
        *told,
        f"{100 * difference.value:+.2f}",
        f"{100 * around.low:+.2f} to {100 * around.high:+.2f}" if around else "one seed",
        str(len(common)),
        f"{next(seconds) / next(seconds):.2f}",
    )


def _in_words(outcome: Outcome) -> str:
    return "diverged" if outcome.accuracy is None else f"{outcome.accuracy:.4f}"


def _accuracies(outcomes: Mapping[int, Outcome]) -> dict[int, float]:
    """Return those of trainings that did not diverge, by seed."""
    found = ((seed, one.accuracy) for seed, one in outcomes.items())
    return {seed: accuracy for seed, accuracy in found if accuracy is not None}


def _asked(arguments: argparse.Namespace) -> list[Cell]:
    axes = Axes(
        methods=tuple(arguments.methods),
        timesteps=(arguments.timesteps,),
        seeds=tuple(arguments.seeds),
        backends=("spikingjelly",),
        recipe=arguments.recipe,
        as_chosen=False,
    )
    shorter = {
        name: number
        for name in ("epochs", "train_samples", "batch_size")
        if (number := getattr(arguments, name)) is not None
    }
    whole = cells(arguments.suite, axes, Store(arguments.runs), published(arguments.suite))
    return [
        replace(cell, recipe=replace(cell.recipe, **shorter), judged="validation") for cell in whole
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--suite", default="cifar10")
    parser.add_argument("--recipe", default="credible")
    parser.add_argument("--methods", nargs="+", default=["direct"])
    parser.add_argument("--ingredients", nargs="+", choices=INGREDIENTS, default=[*INGREDIENTS])
    parser.add_argument("--timesteps", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*SEEDS])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("runs/ingredients.jsonl"))
    given = parser.parse_args(arguments)
    if both := {*given.seeds} & {*load_suite(given.suite).seeds}:
        parser.error(f"the suite's board has the seed {min(both)}; take others")
    torch.set_num_threads(1)
    try:
        return _work(given)
    except HarnessError as error:
        parser.error(str(error))


def _work(given: argparse.Namespace) -> int:
    asked = _asked(given)
    done = {(one.ingredient, one.asked, one.seed) for one in outcomes_in(given.results)}
    for cell in asked:
        for name in given.ingredients:
            if (name, _of_any_seed(cell), cell.seed) in done:
                continue
            outcome = train(cell, name, given.runs, torch.device(given.device))
            print(f"{cell.label} {name}: {_in_words(outcome)}", file=sys.stderr, flush=True)
            given.results.parent.mkdir(parents=True, exist_ok=True)
            with given.results.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(asdict(outcome))}\n")
    print("\n".join(table(asked, outcomes_in(given.results))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
