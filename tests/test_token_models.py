"""Laws of networks that read tokens: padding, torch's own encoder, published weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.contracts.cell import TEACHERS, TeacherIdentity
from harness.contracts.errors import SpecError, StoreError, UnsupportedError
from harness.contracts.inputs import Classes, Tokens
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import TeacherSpec
from harness.engine import starts
from harness.engine.teachers import cell_of
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


def test_a_bert_has_no_spikes() -> None:
    with pytest.raises(UnsupportedError, match="no spikes"):
        BERT.build(neuron, **GIVEN)


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
    state["bert.pooler.dense.weight"] = torch.zeros(8, 8)
    save_file(state, there / starts.WEIGHTS)
    (there / starts.CONFIG).write_text(json.dumps(CONFIG))
    return there


def test_published_weights_are_kept_by_checksum_and_fill_all_but_the_classifier(
    folder: Path,
) -> None:
    there = starts.found(starts.kept(folder))
    assert there != folder
    torch.manual_seed(1)
    expected = BERT.build(nn.ReLU, **GIVEN).state_dict()
    network: Any = made("bert")
    own = network.classifier.weight.clone()
    starts.fill(network, there, model="minilm")
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
        starts.fill(made("bert"), folder, model="minilm")


def test_a_missing_weight_is_named(folder: Path) -> None:
    save_file({"embeddings.LayerNorm.bias": torch.zeros(8)}, folder / starts.WEIGHTS)
    with pytest.raises(SpecError, match=r"lacks embeddings.LayerNorm.weight and \d+ more"):
        starts.fill(made("bert"), folder, model="minilm")


def test_a_pickle_is_never_read(folder: Path) -> None:
    (folder / starts.WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(SpecError, match="is a pickle, which may run code"):
        starts.kept(folder)


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
