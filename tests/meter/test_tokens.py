"""Networks of tokens, counted by hand: embeddings, norms, attention of spikes, padding."""

from dataclasses import asdict
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.inputs import Classes, Tokens
from harness.contracts.ledger import Category, Ledger
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from suites.models._bert import Bert
from suites.models._spikformer_text import SpikformerText
from tests.meter.neurons import Given, PlainNeuron


def test_a_token_is_looked_up_and_what_reads_it_multiplies() -> None:
    # 2 sentences of 3 tokens, each a row of 4 numbers that meets 5 outputs. Token 0 is read, too.
    network = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 5, bias=False))
    measured = measure(network, torch.tensor([[1, 2, 0], [3, 6, 6]]))
    assert (measured.total.mac, measured.total.ac) == (2 * 3 * 4 * 5, 0)
    assert list(measured.layers) == ["1"]


def test_a_bert_is_counted_with_its_padding_by_hand() -> None:
    # 2 sentences of 4 places, 8 wide. A block: 4 layers 8 x 8 and two of 8 x 12 at every place,
    # 4 x 8 products of a query with keys; shares of padding are 0, so that each place multiplies
    # the values of 2 tokens, of 3 in the other sentence. The head sees the mean.
    network = Bert(blocks=2, width=8, heads=2, hidden=12, places=4).build(
        nn.ReLU, input=Tokens(vocabulary=20, length=4), output=Classes(3)
    )
    measured = measure(network.eval(), torch.tensor([[1, 2, 0, 0], [3, 4, 5, 0]]))
    kinds = ("linear", "product")
    block = sum(
        layer.total.mac
        for name, layer in measured.layers.items()
        if name.startswith("encoder.layer.1") and layer.kind in kinds
    )
    assert block == 2 * 4 * (4 * 8 * 8 + 2 * 8 * 12 + 4 * 8) + 4 * (2 + 3) * 8
    assert measured.layers["classifier"].total.mac == 2 * 8 * 3


def test_an_embedding_is_looked_up_once_for_all_steps() -> None:
    # One neuron a number: 2 steps x 3 tokens x 4. Neurons of tau 2 reach 1 from 3 at once.
    embedding = nn.Embedding(7, 4)
    nn.init.constant_(embedding.weight, 3.0)
    neuron = PlainNeuron(NeuronSpec())
    parts = nn.ModuleDict({"embedding": embedding, "neuron": neuron, "fc": nn.Linear(4, 2)})

    def run(tokens: Tensor) -> Tensor:
        current = parts["embedding"](tokens)
        spikes = parts["neuron"](current.unsqueeze(0).expand(2, *current.shape))
        logits: Tensor = parts["fc"](spikes)
        return logits

    measured = measure(parts, torch.tensor([[1, 2, 3]]), call=run)
    assert (measured.steps, measured.total.spikes) == (2, 2 * 3 * 4)
    assert (measured.total.ac, measured.total.mac) == (2 * 3 * 4 * 2, 0)


@pytest.mark.parametrize(("affine", "products"), [(True, 3), (False, 2)])
def test_a_layer_norm_measures_and_scales_every_number_in_every_step(
    *, affine: bool, products: int
) -> None:
    # A number: squared, summed twice, scaled; and once more if the norm has weights of its own.
    network = nn.LayerNorm(4, elementwise_affine=affine)
    measured = measure(network, torch.randn(2, 5, 3, 4), batch_axis=1, time_axis=0)
    total = measured.total
    assert (total.mac, total.pool_add) == (products * 2 * 5 * 3 * 4, 2 * 5 * 3 * 4)
    assert measured.layers["model"].steps == 2


QUERY = [[[1.0, 0], [1, 1], [1, 1]], [[0, 0], [0, 1], [0, 0]]]
KEY = [[[1.0, 1], [0, 1], [1, 1]], [[0, 1], [0, 1], [0, 0]]]
VALUE = [[[1.0, 0], [0, 1], [1, 1]], [[1, 1], [0, 0], [0, 0]]]


class Attention(nn.Module):
    """One head of two features and three tokens over two steps; its spikes are given."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            Given(torch.tensor(spikes).unsqueeze(1)) for spikes in (QUERY, KEY, VALUE)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        nothing = torch.zeros(2, *tokens.shape, 2) * tokens.unsqueeze(-1)
        padding = (tokens == 0).unsqueeze(-1)
        query, key = (
            neurons(nothing).masked_fill(padding, 0) for neurons in (self.query, self.key)
        )
        value = (self.value(nothing) * 0.5).masked_fill(padding, 0)
        mixed: Tensor = query @ key.transpose(-1, -2) @ value
        return mixed


def test_attention_of_spikes_meets_nothing_in_padding() -> None:
    # The third token is padding and fires all the same: its spikes are gone before they meet.
    # Q K^T: by feature, spikes of queries times spikes of keys: 2 x 1 + 1 x 2, then 0 + 1 x 2.
    # Scores [[1,0],[2,1]] and [[0,0],[1,1]] meet values [[1,0],[0,1]] and [[1,1],[0,0]]: by key,
    # scores that are not 0 times spikes: 2 x 1 + 1 x 1, then 1 x 2 + 1 x 0. The gain is free.
    measured = measure(Attention(), torch.tensor([[5, 6, 0]]))
    of = measured.layers
    assert _steps(measured, "matmul", "and_ac") == [4, 2]
    assert _steps(measured, "matmul_1", "ac") == [3, 2]
    # 3 x 3 scores of 2 products and as many back, in 2 steps, padding or not.
    assert (of["matmul"].total.dense_valid, of["matmul_1"].total.dense_valid) == (36, 36)
    # What a query gates: each of its 3 and 1 spikes 3 keys, each of 3 and 2 scores 2 features.
    assert (of["matmul"].total.gated, of["matmul_1"].total.gated) == (12, 10)
    assert (of["matmul"].operand, of["matmul_1"].operand) == ("binary", "integer")
    assert of["matmul_1"].total.mac == of["matmul"].total.ac == 0


def _steps(measured: Ledger, layer: str, category: Category) -> list[int]:
    return measured.layers[layer].per_step()[category].tolist()


def network(activation: type[nn.Module] | None = None) -> nn.Module:
    torch.manual_seed(0)
    made = SpikformerText(blocks=2, width=8, heads=2, hidden=12).build(
        activation or (lambda: PlainNeuron(NeuronSpec(v_threshold=0.25))),
        input=Tokens(vocabulary=20, length=6),
        output=Classes(2),
    )
    for module in made.modules():
        if isinstance(module, nn.LayerNorm):  # so that padding would fire if it were let
            nn.init.constant_(module.bias, 0.5)
    return made.eval()


SENTENCES = torch.tensor([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 0], [1, 1, 9, 1, 1, 1]])


def measured_on(tokens: Tensor, made: nn.Module, timesteps: int) -> Ledger:
    return measure(made, tokens, call=lambda batch: made(batch, timesteps).logits)


def test_what_reads_the_embeddings_compares_and_does_nothing_else() -> None:
    # 3 steps of 3 sentences of 6 tokens, 8 numbers each, padding too.
    made = network()
    fired = int((made.embedding.weight[SENTENCES] >= 0).sum())  # type: ignore[index,operator]  # an embedding's
    counted = measured_on(SENTENCES, made, 3).layers["encode"]
    assert (counted.kind, counted.operand, counted.steps) == ("neuron", "binary", 3)
    assert {name: total for name, total in asdict(counted.total).items() if total} == {
        "compare": 3 * 3 * 6 * 8,
        "spikes": 3 * fired,
    }


def test_padding_adds_no_synaptic_operation() -> None:
    made = network()
    short, padded = (
        measured_on(tokens, made, 3).total for tokens in (SENTENCES[:1, :3], SENTENCES[:1])
    )
    assert short.ac == padded.ac > 0
    assert short.and_ac == padded.and_ac > 0
    # Norms and neurons run for padding all the same; nobody has told them.
    assert short.mac < padded.mac


def test_the_artificial_twin_has_the_same_products_once() -> None:
    spiking = measured_on(SENTENCES, network(), 3)
    twin = measured_on(SENTENCES, network(nn.ReLU), 1)
    for name, layer in twin.layers.items():
        if layer.kind in {"linear", "product"}:
            assert spiking.layers[name].total.dense_valid == 3 * layer.total.dense_valid
            assert layer.total.ac == layer.total.and_ac == 0
            assert layer.total.mac > 0
    products = {name for name, layer in twin.layers.items() if layer.kind == "product"}
    assert products == {f"blocks.{n}.matmul{end}" for n in (0, 1) for end in ("", "_1")}
    scores = spiking.layers["blocks.0.matmul"].total
    assert scores.and_ac > 0 == cast("int", scores.mac)
