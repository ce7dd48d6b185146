"""Laws of networks that read tokens: padding, torch's own encoder, published weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from harness import discovery
from harness.cli.teachers import teacher_app
from harness.contracts.backend import Backend
from harness.contracts.cell import TEACHERS, TeacherIdentity
from harness.contracts.dataset import Samples, Splits
from harness.contracts.errors import SpecError, StoreError, UnsupportedError
from harness.contracts.inputs import Classes, Tokens
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import TeacherSpec
from harness.data import catalogue, hub
from harness.engine import starts
from harness.engine.resolve import resolve
from harness.engine.teachers import cell_of
from harness.engine.train import train
from harness.neurons.activation import activation
from harness.training import Student, Teacher, slots
from suites.models._bert import Bert
from suites.models._spikformer_text import SpikformerText
from tests.meter.neurons import PlainNeuron

BERT = Bert(blocks=2, width=8, heads=2, hidden=12, places=6)
SPIKFORMER = SpikformerText(blocks=2, width=8, heads=2, hidden=12)
GIVEN: dict[str, Any] = {"input": Tokens(vocabulary=20, length=6), "output": Classes(3)}
SENTENCES = torch.tensor([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 0, 0]])


def neuron() -> nn.Module:
    return PlainNeuron(NeuronSpec(v_threshold=0.25))


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "bert":
        return BERT.build(nn.ReLU, **GIVEN).double().eval()
    return SPIKFORMER.build(neuron if name == "spiking" else nn.ReLU, **GIVEN).double().eval()


@pytest.mark.parametrize("name", ["bert", "spiking", "twin"])
def test_padding_changes_no_answer_and_is_zero_in_every_tap(name: str) -> None:
    network = made(name)
    taps = [tap for tap in network.tap_channels if tap != "penultimate"]  # type: ignore[union-attr]  # a mapping
    long, short = network(SENTENCES, 3, taps), network(SENTENCES[:, :4], 3, taps)
    assert torch.allclose(long.logits, short.logits, atol=1e-12)
    for tap in taps:
        assert long.taps[tap].shape == (3, 2, 8, 6, 1)
        assert not long.taps[tap][:, 0, :, 3:].any()
        assert long.taps[tap][:, 0, :, :3].any()


@pytest.mark.parametrize("how", ["packs", "training"])
def test_a_bert_that_leaves_padding_out_answers_and_learns_alike(how: str) -> None:
    taps = ("embedding", "stage1", "stage2", "penultimate")
    found = []
    for quick in (False, True):
        network: Any = made("bert")
        setattr(network, how, quick)
        seen: list[int] = []
        network.encoder["layer"][1].output.dense.register_forward_pre_hook(
            lambda _, given, seen=seen: seen.append(given[0].numel() // 12)
        )
        answer = network(SENTENCES, 1, taps)
        answer.logits.square().sum().backward()
        assert seen == [7 if quick else 12]  # tokens, and places
        found.append(
            [answer.logits, *answer.taps.values(), *(w.grad for w in network.parameters())]
        )
    plain, packed = found
    for ours, theirs in zip(packed, plain, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_teacher_leaves_padding_out() -> None:
    network: Any = made("bert")
    assert not network.packs
    assert Teacher(network=network, mean=(), std=()).network.packs


@pytest.mark.parametrize("name", ["bert", "spiking", "twin"])
def test_a_sentence_does_not_hear_its_neighbour_and_the_tail_goes_on(name: str) -> None:
    network = made(name)
    both, alone = network(SENTENCES, 2, ["penultimate"]), network(SENTENCES[:1], 2)
    assert torch.allclose(both.logits[:, :1], alone.logits, atol=1e-12)
    follows = network.tail("penultimate", both.taps["penultimate"])  # type: ignore[operator]  # a network's tail
    assert torch.allclose(follows, both.logits, atol=1e-12)
    with pytest.raises(UnsupportedError, match="does not tell where padding is"):
        network.tail("stage1", both.logits)  # type: ignore[operator]  # a network's tail


def test_a_bert_is_torchs_encoder_with_the_same_weights() -> None:
    network: Any = made("bert")
    signal = network.embeddings(SENTENCES)
    for block in network.encoder["layer"]:
        theirs = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        ).double()
        own, first = block.attention["self"], block.attention["output"]
        joined = [own.query, own.key, own.value]
        theirs.self_attn.in_proj_weight.data = torch.cat([part.weight for part in joined])
        theirs.self_attn.in_proj_bias.data = torch.cat([part.bias for part in joined])
        for target, source in (
            (theirs.self_attn.out_proj, first.dense),
            (theirs.linear1, block.intermediate["dense"]),
            (theirs.linear2, block.output.dense),
            (theirs.norm1, first.LayerNorm),
            (theirs.norm2, block.output.LayerNorm),
        ):
            target.load_state_dict(source.state_dict())
        signal = theirs(signal, src_key_padding_mask=SENTENCES == 0)
    there = (SENTENCES != 0).unsqueeze(-1)
    mean = (signal * there).sum(1) / there.sum(1)
    answer: Tensor = network(SENTENCES, 1).logits[0]
    assert torch.allclose(answer, network.classifier(mean), atol=1e-12)


@pytest.mark.parametrize("name", ["norse", "spikingjelly"])
@pytest.mark.parametrize("scaled", [False, True])
def test_simulators_decide_alike_from_equal_weights(name: str, *, scaled: bool) -> None:
    """In float64, where no membrane of random weights comes to lie on its threshold."""
    spec = NeuronSpec(scale_input=scaled, v_threshold=0.25)
    tokens = torch.randint(1, 20, (64, 6), generator=torch.Generator().manual_seed(0))
    tokens[torch.arange(6) > torch.arange(64)[:, None] % 5] = 0  # 1 to 5 words
    said: dict[str, Tensor] = {}
    for one in (name, "reference"):
        backend = cast("Backend", discovery.load("backends", one))
        torch.manual_seed(0)
        network = SPIKFORMER.build(activation(backend, spec), **GIVEN).double().eval()
        answer = network(tokens, 6, ["stage2"])
        said[one] = answer.logits
        assert 0 < (answer.taps["stage2"] > 0).double().mean() < 0.9
    decisions = {one: logits.cumsum(0).argmax(-1) for one, logits in said.items()}  # [T, N]
    assert torch.equal(decisions[name], decisions["reference"])
    assert torch.allclose(said[name], said["reference"], rtol=0, atol=1e-12)
    assert set(decisions["reference"].flatten().tolist()) == {0, 1, 2}
    assert not torch.equal(decisions["reference"][0], decisions["reference"][-1])


@pytest.mark.parametrize("backend", ["norse", "spikingjelly", "reference"])
def test_an_embedding_fires_where_it_is_at_least_0_however_small_in_every_step(
    backend: str,
) -> None:
    made_by = activation(cast("Backend", discovery.load("backends", backend)), NeuronSpec())
    network: Any = SPIKFORMER.build(made_by, **GIVEN)
    table = torch.tensor([0.0, 1e-30, 5, -1e-30, -5, 0.02, -0.02, -0.0])
    network.embedding.weight.data = table.repeat(20, 1)
    read: list[Tensor] = []
    network.encode.register_forward_hook(lambda _module, _given, spikes: read.append(spikes))
    network(SENTENCES, 3).logits.sum().backward()
    [spikes] = read
    assert torch.equal(spikes.view(-1, 8), torch.tensor([1.0, 1, 1, 0, 0, 1, 0, 1]).repeat(36, 1))
    assert network.embedding.weight.grad[SENTENCES].any()  # through the surrogate


def test_no_method_puts_neurons_in_the_place_of_what_reads_the_embeddings() -> None:
    def build(activation: Any) -> nn.Module:
        return SPIKFORMER.build(activation, **GIVEN)

    student = Student(network=build(neuron), timesteps=2, twin=build)
    assert len(slots(student)) == 2 * 7  # of a block: query, key, value, mixed, out, two layers
    assert "encode" not in slots(student)
    assert isinstance(build(nn.ReLU).encode, nn.ReLU)


def test_a_bert_has_no_spikes() -> None:
    with pytest.raises(UnsupportedError, match="no spikes"):
        BERT.build(neuron, **GIVEN)


WORDS = ["[PAD]", *(f"word{number}" for number in range(1, 20))]
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "num_attention_heads": 2,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder as Hugging Face has it, with another head."""
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(tmp_path / "cache"))
    there = tmp_path / "published"
    there.mkdir()
    torch.manual_seed(1)
    network = BERT.build(nn.ReLU, **GIVEN)
    state = {f"bert.{name}": value for name, value in network.state_dict().items()}
    for old, new in (("weight", "gamma"), ("bias", "beta")):  # as google-bert has its norms
        norm = "bert.embeddings.LayerNorm"
        state[f"{norm}.{new}"] = state.pop(f"{norm}.{old}") + 0.5
    state["bert.pooler.dense.weight"] = torch.zeros(8, 8)
    save_file(state, there / starts.WEIGHTS)
    (there / starts.CONFIG).write_text(json.dumps(CONFIG))
    (there / starts.WORDS).write_text("".join(f"{word}\n" for word in WORDS))
    return there


def fill(network: nn.Module, folder: Path) -> None:
    starts.fill(network, folder, model="minilm", vocabulary=WORDS)


def test_published_weights_are_kept_by_checksum_and_fill_all_but_the_classifier(
    folder: Path,
) -> None:
    there = starts.found(starts.kept(folder))
    assert there != folder
    torch.manual_seed(1)
    expected = BERT.build(nn.ReLU, **GIVEN).state_dict()
    for part in ("weight", "bias"):
        expected[f"embeddings.LayerNorm.{part}"] += 0.5
    network: Any = made("bert")
    own = network.classifier.weight.clone()
    fill(network, there)
    for name, value in network.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, expected[name].double())
    assert torch.equal(network.classifier.weight, own)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu', here 'gelu'"),
        ({"num_attention_heads": 4}, "num_attention_heads is 4, here 2"),
        ({"model_type": "roberta"}, "model_type is 'roberta'"),
    ],
)
def test_weights_of_another_network_are_refused(
    folder: Path, change: dict[str, Any], words: str
) -> None:
    (folder / starts.CONFIG).write_text(json.dumps(CONFIG | change))
    with pytest.raises(SpecError, match=words):
        fill(made("bert"), folder)


def test_a_missing_weight_is_named(folder: Path) -> None:
    save_file({"embeddings.LayerNorm.bias": torch.zeros(8)}, folder / starts.WEIGHTS)
    with pytest.raises(SpecError, match=r"lacks embeddings.LayerNorm.weight and \d+ more"):
        fill(made("bert"), folder)


def tokeniser(words: list[str], **said: Any) -> str:
    """Return a ``tokenizer.json``."""
    vocabulary = {word: number for number, word in enumerate(words)}
    added = [{"content": words[0], "id": 0, "special": True}]
    return json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added} | said)


SWAPPED = [*WORDS[:4], WORDS[5], WORDS[4], *WORDS[6:]]
OTHERS: dict[str, tuple[str, str, str]] = {
    "swapped": (starts.WORDS, "\n".join(SWAPPED), "token 4 is 'word5', and the data set's 'word4'"),
    "shorter": (
        starts.WORDS,
        "\n".join(WORDS[:19]),
        "token 19 is none, and the data set's 'word19'",
    ),
    "longer": (starts.WORDS, "\n".join([*WORDS, "a"]), "token 20 is 'a', and the data set's none"),
    "swapped json": (starts.TOKENISER, tokeniser(SWAPPED), "token 4 is 'word5'"),
    "one more json": (
        starts.TOKENISER,
        tokeniser(WORDS, added_tokens=[{"content": "a", "id": 10**12}]),
        "token 1000000000000 is 'a', and the data set's none",
    ),
    "two of a number": (
        starts.TOKENISER,
        tokeniser(WORDS, added_tokens=[{"content": "a", "id": 7}]),
        "gives one number to two tokens",
    ),
    "scores": (starts.TOKENISER, json.dumps({"model": {"vocab": [["a", -0.5]]}}), "numbers no tok"),
    "no words": (starts.TOKENISER, json.dumps({"model": []}), "numbers no tokens"),
    "no json": (starts.TOKENISER, "[" * 100_000, "cannot be read"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_other_words_are_refused_with_the_first_that_differs(
    folder: Path, name: str
) -> None:
    file, content, words = OTHERS[name]
    (folder / file).write_text(content)
    with pytest.raises(SpecError, match=words) as raised:
        fill(made("bert"), folder)
    assert str(folder / file) in str(raised.value)


def test_words_that_cannot_be_read_are_told(folder: Path) -> None:
    (folder / starts.WORDS).write_bytes(b"caf\xe9\n")
    with pytest.raises(SpecError, match=r"vocab\.txt cannot be read"):
        fill(made("bert"), folder)


def test_the_same_words_may_be_in_either_file_and_have_to_be_in_one(folder: Path) -> None:
    (folder / starts.WORDS).write_bytes("\r\n".join(WORDS).encode())
    fill(made("bert"), folder)
    (folder / starts.TOKENISER).write_text(tokeniser(WORDS))
    fill(made("bert"), folder)
    (folder / starts.WORDS).unlink()
    fill(made("bert"), folder)
    (folder / starts.TOKENISER).unlink()
    with pytest.raises(SpecError, match=r"neither vocab\.txt nor tokenizer\.json"):
        fill(made("bert"), folder)


def test_a_data_set_that_does_not_tell_its_words_begins_with_none(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"does not tell its vocabulary \(Splits\.vocabulary\)"):
        starts.fill(made("bert"), folder, model="minilm", vocabulary=())


@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``sst2`` a set of 20 words, and ``minilm`` a network of two small blocks."""
    part = Samples(inputs=SENTENCES.numpy(), labels=np.array([0, 1]))

    class Few:
        card = replace(catalogue.load("sst2").card, input=GIVEN["input"], classes=3)

        def load(self, _root: Path | None, /) -> Splits:
            return Splits(train=part, validation=part, test=part, vocabulary=tuple(WORDS))

    few, found = Few(), discovery.load
    put = {("datasets", "sst2"): few, ("models", "minilm"): BERT}
    monkeypatch.setattr(discovery, "load", lambda *asked: put.get(asked) or found(*asked))


def imported(place: Path | str, *words: str) -> str:
    """Return what ``teacher import`` says, in a line."""
    asked = ["import", str(place), *words]
    done = CliRunner().invoke(teacher_app, asked)
    assert "Traceback" not in done.output
    return " ".join((str(done.exception) if done.exception else done.output).split())


@pytest.mark.usefixtures("sentences")
def test_a_folder_is_kept_if_it_is_of_the_data_sets_words(folder: Path) -> None:
    asked = ("--model", "minilm", "--dataset", "sst2")
    assert "a suite begins with it by TeacherSpec(model='minilm'" in imported(folder, *asked)
    [kept] = starts.place().iterdir()
    assert (kept / starts.WORDS).read_bytes() == (folder / starts.WORDS).read_bytes()
    (folder / starts.WORDS).write_text("\n".join(SWAPPED))
    assert "token 4 is 'word5', and the data set's 'word4'" in imported(folder, *asked)


@pytest.mark.usefixtures("sentences")
def test_a_teacher_trains_on_from_published_weights_of_its_words_alone(folder: Path) -> None:
    def trained() -> Any:
        identity = TeacherIdentity(
            dataset="sst2",
            model="minilm",
            recipe=Recipe(epochs=1, batch_size=2, optimiser="adam", learning_rate=1e-6),
            seed=0,
            split="any",
            start_sha256=starts.kept(folder),
        )
        found = resolve(cell_of(identity))
        splits = catalogue.load("sst2").load(None)
        return train(found, splits, None, torch.device("cpu"), lambda _: None).student.network

    network, begun = trained(), BERT.build(nn.ReLU, **GIVEN)
    fill(begun, folder)
    weights, start = (each.encoder["layer"][1].output.dense.weight for each in (network, begun))
    assert not torch.equal(weights, start)
    # Adam moves a weight by its rate, once.
    assert torch.allclose(weights, start, rtol=0, atol=1e-5)
    (folder / starts.WORDS).write_text("\n".join(SWAPPED))
    with pytest.raises(SpecError, match="token 4 is 'word5'"):
        trained()


@pytest.mark.usefixtures("sentences")
@pytest.mark.parametrize(
    ("model", "dataset", "words"),
    [
        ("minilm", "digits", "minilm takes Tokens, and a sample of digits is Image"),
        ("digits_convnet", "digits", "digits_convnet cannot begin with published weights; docs/"),
        ("spikformer_text_tiny", "sst2", "spikformer_text_tiny cannot begin with published"),
    ],
)
def test_a_folder_for_what_cannot_begin_with_it_is_one_line(
    folder: Path, model: str, dataset: str, words: str
) -> None:
    assert imported(folder, "--model", model, "--dataset", dataset).startswith(words)


@pytest.mark.usefixtures("sentences")
def test_a_name_on_the_hub_is_kept_like_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def folder_of(name: str, *, look: Any, **_: Any) -> Iterator[Path]:
        assert name == "some-one/bert"
        look(folder)
        yield folder

    monkeypatch.setattr(hub, "folder_of", folder_of)
    monkeypatch.chdir(tmp_path)
    asked = ("some-one/bert", "--model", "minilm", "--dataset", "sst2")
    assert "there is no some-one/bert here: taken for a name on https://huggingface.co" in (
        said := imported(*asked)
    )
    assert "a suite begins with it" in said
    (folder / starts.WORDS).write_text("\n".join(SWAPPED))
    assert "token 4 is 'word5'" in imported(*asked)
    assert "--saw are of a checkpoint" in imported(*asked, "--saw", "all")


@pytest.mark.usefixtures("sentences")
def test_a_pickle_is_never_read(folder: Path) -> None:
    (folder / starts.WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(SpecError, match="is a pickle, which may run code"):
        starts.kept(folder)
    said = imported(folder, "--model", "minilm", "--dataset", "sst2")
    assert (
        f"pytorch_model.bin is a pickle, which may run code; convert it to {starts.WEIGHTS}" in said
    )


@pytest.mark.usefixtures("sentences")
def test_a_name_without_its_owner_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = imported("bert-base-cased", "--model", "minilm", "--dataset", "sst2")
    assert "owner before it, as google-bert/bert-base-cased" in said


def test_weights_that_are_not_here_or_were_changed_are_told(folder: Path) -> None:
    with pytest.raises(StoreError, match="teacher import FOLDER"):
        starts.found("0" * 64)
    there = starts.found(sha256 := starts.kept(folder))
    (there / starts.WEIGHTS).write_bytes(b"other")
    with pytest.raises(StoreError, match="expected"):
        starts.found(sha256)


def test_a_start_is_part_of_a_teachers_identity_and_of_no_other_teachers() -> None:
    recipe = Recipe(epochs=1, batch_size=2)
    plain = TeacherIdentity(dataset="d", model="m", recipe=recipe, seed=0, split="s")
    begun = TeacherIdentity(
        dataset="d", model="m", recipe=recipe, seed=0, split="s", start_sha256="ab"
    )
    assert "start_sha256" not in plain.identity()
    assert cell_of(plain).params == {}
    assert cell_of(begun).suite == TEACHERS
    assert cell_of(begun).starts_from_published == "ab"
    assert begun.is_of(cell_of(begun))
    assert not begun.is_of(cell_of(plain))
    assert not plain.is_of(cell_of(begun))
    with pytest.raises(SpecError, match="give a recipe"):
        TeacherSpec(model="m", start="ab")
