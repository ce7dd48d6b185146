"""What cannot be counted is an error that says where and what to do, never a zero."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import CountingError, SpecError
from harness.contracts.ledger import Policy
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from harness.neurons.spiking import SpikingNeuron
from tests.meter.networks import SpikingNet, stimuli
from tests.meter.neurons import Given, PlainNeuron


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        waves: Tensor = torch.special.bessel_j0(x)
        return waves


class Waves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.inner = nn.ModuleDict({"bessel": Bessel()})

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.inner["bessel"](x))


def test_arithmetic_that_is_not_counted_is_refused_by_name() -> None:
    with pytest.raises(CountingError, match=r"'inner\.bessel'.*bessel_j0.*allow_partial"):
        measure(Waves(), torch.ones(2, 4))


def test_a_partial_result_says_so_everywhere() -> None:
    measured = measure(Waves(), torch.ones(2, 4), allow_partial=True)
    (missed,) = measured.uncounted
    assert (missed.layer, missed.calls) == ("inner.bessel", 1)
    assert "bessel_j0" in missed.operation
    assert 0 < measured.coverage < 1
    assert measured.total.partial
    assert measured.explicit.partial
    assert measured.encoding.cached.partial
    assert measured.layers["fc"].total.partial
    assert measured.to_frame()["partial"].all()
    assert measured.total.ac == 2 * 4 * 3  # of equal inputs: spikes of one height


def test_a_complete_result_is_complete() -> None:
    measured = measure(SpikingNet(), stimuli(0, 2))
    assert (measured.coverage, measured.uncounted) == (1.0, ())
    assert not measured.total.partial


class Spiky(nn.Module):
    """A neuron of a simulator that nobody knows."""

    v_threshold = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return (x >= self.v_threshold).float()


def test_a_neuron_of_unknown_cost_is_refused() -> None:
    with pytest.raises(CountingError, match=r"'1'.*Spiky.*NeuronSpec"):
        measure(nn.Sequential(nn.Linear(2, 2), Spiky()), torch.ones(1, 2))


def test_a_neuron_that_breaks_its_promise_is_refused() -> None:
    network = nn.Sequential(Given(torch.full((2, 1, 3), 0.5)))
    with pytest.raises(CountingError, match=r"'0'.*other values than 0 and 1"):
        measure(network, torch.zeros(2, 1, 3), batch_axis=1, time_axis=0)


def test_a_network_is_not_mistaken_for_a_neuron() -> None:
    network = SpikingNeuron(NeuronSpec())
    network.add_module("weights", nn.Linear(2, 2))
    with pytest.raises(CountingError, match=r"'model' is a SpikingNeuron with weights"):
        measure(network, torch.ones(1, 2))


def test_a_specification_without_the_mark_of_neurons_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network.spec = NeuronSpec()  # type: ignore[assignment]  # what a user may do
    with pytest.raises(CountingError, match=r"'model'.*derive it from SpikingNeuron"):
        measure(network, torch.ones(1, 2))


@pytest.mark.parametrize("nothing", [[], torch.zeros(0, 3), [torch.zeros(0, 3)]])
def test_nothing_to_measure_is_an_error(nothing: Tensor | list[Tensor]) -> None:
    with pytest.raises(SpecError, match="no sample"):
        measure(nn.Linear(3, 2), nothing)


def test_a_loader_of_pairs_is_told_how_to_become_one_of_inputs() -> None:
    with pytest.raises(SpecError, match="for images, labels in"):
        measure(nn.Linear(3, 2), [(torch.ones(1, 3), torch.zeros(1))])  # type: ignore[list-item]  # the mistake


def test_an_axis_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SpecError, match="time_axis is 2"):
        measure(nn.Linear(3, 2), torch.ones(4, 3), time_axis=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_wherever_they_are(value: float) -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(CountingError, match="stimulus"):
        measure(layer, torch.tensor([[1.0, value]]))
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(CountingError, match=r"'1'"):
        measure(network, torch.ones(1, 2), call=lambda x: network[1](network[0](x) * value))
    layer.weight.data[0, 0] = value
    with pytest.raises(CountingError, match="weight"):
        measure(layer, torch.ones(1, 2))


def test_an_answer_that_is_not_finite_is_refused() -> None:
    with pytest.raises(CountingError, match="answer"):
        measure(nn.Linear(1, 1), torch.zeros(1, 1), call=lambda x: {"logits": [x.log()]})


def test_later_batches_are_checked_although_the_class_is_known() -> None:
    layer = nn.Linear(2, 2)
    network = nn.Sequential(layer, nn.Linear(2, 2))
    batches = [torch.tensor([[0.3, 0.4]]), torch.tensor([[0.0, 0.4]])]

    def run(x: Tensor) -> Any:
        return network[1](network[0](x) / x[:, :1])

    with pytest.raises(CountingError, match=r"'1'.*inf|'1'.*nan"):
        measure(network, batches, call=run)


def test_a_shape_that_changes_between_batches_is_an_error() -> None:
    layer = nn.Conv2d(2, 3, 3)
    batches = [torch.ones(1, 2, 5, 5), torch.ones(1, 2, 6, 6)]
    with pytest.raises(CountingError, match="differently"):
        measure(layer, batches)


def test_a_layer_that_runs_only_sometimes_is_an_error() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    batches = [torch.zeros(1, 2), torch.ones(1, 2)]

    def run(x: Tensor) -> Any:
        return network["b" if x.any() else "a"](x)

    with pytest.raises(CountingError, match=r"'[ab]' ran differently"):
        measure(network, batches, call=run)


def test_steps_that_change_between_batches_are_an_error() -> None:
    network = SpikingNet()
    steps = iter([2, 3])
    with pytest.raises(CountingError, match=r"3 steps.*2 before"):
        measure(network, [stimuli(0, 1), stimuli(1, 1)], call=lambda x: network(x, next(steps)))


def test_samples_that_cannot_be_told_apart_are_an_error() -> None:
    layer = nn.Linear(4, 2)
    with pytest.raises(CountingError, match="batch_axis"):
        measure(layer, torch.rand(3, 4), call=lambda x: layer(x.sum(0, keepdim=True)))
    measured = measure(
        layer,
        torch.rand(3, 4),
        call=lambda x: layer(x.sum(0, keepdim=True)),
        allow_partial=True,
    )
    assert measured.total.partial


def test_dropout_in_training_asks_for_evaluation() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    with pytest.raises(CountingError, match=r"model\.eval\(\)"):
        measure(network, torch.ones(1, 2))


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.InstanceNorm1d])
def test_a_norm_in_training_asks_for_evaluation_and_remembers_nothing(
    kind: type[nn.BatchNorm1d | nn.InstanceNorm1d],
) -> None:
    norm = kind(2, track_running_stats=True)
    network = nn.Sequential(nn.Identity(), norm).train()
    with pytest.raises(CountingError, match=r"'1' is in training mode.*model\.eval\(\)"):
        measure(network, torch.ones(3, 2, 4))
    assert norm.num_batches_tracked == 0
    assert measure(network.eval(), torch.ones(3, 2, 4)).samples == 3


def in_time(neuron: nn.Module) -> nn.Sequential:
    """Return a network that takes ``[T, N, 4]``."""
    return nn.Sequential(nn.Linear(4, 6), neuron, nn.Linear(6, 3)).eval()


@pytest.mark.parametrize("samples", [1, 2, 3, 5])  # 3: as many as steps, so no shape tells
def test_steps_are_not_taken_for_samples(samples: int) -> None:
    network, stimulus = in_time(PlainNeuron(NeuronSpec())), torch.rand(3, samples, 4)
    with pytest.raises(
        CountingError, match=r"'1' takes \[T, N.*state batch_axis=1 and time_axis=0"
    ):
        measure(network, stimulus)
    stated = measure(network, stimulus, batch_axis=1, time_axis=0)
    assert (stated.samples, stated.steps) == (samples, 3)


@pytest.mark.parametrize(
    "repeated",
    [
        lambda x: x.expand(3, *x.shape),
        lambda x: torch.stack([x] * 3),
        lambda x: x.repeat(3, 1).view(3, *x.shape),
        lambda x: torch.tensor([x.tolist()] * 3),  # what the meter cannot follow
    ],
)
def test_as_many_samples_as_steps_of_a_static_image_are_told_apart(
    repeated: Callable[[Tensor], Tensor],
) -> None:
    network = in_time(PlainNeuron(NeuronSpec()))
    first, neuron, last = network

    def run(x: Tensor) -> Any:
        return last(neuron(repeated(first(x))))

    measured = measure(network, torch.rand(3, 4), call=run)
    assert (measured.samples, measured.steps) == (3, 3)


def test_uses_that_are_as_many_as_steps_are_refused_unless_they_are_one_use_repeated() -> None:
    layer, neuron = nn.Linear(3, 5, bias=False), PlainNeuron(NeuronSpec())
    network, image = nn.ModuleList([layer, neuron]), torch.rand(1, 3)

    def run(x: Tensor) -> Any:
        return neuron((layer(x) + layer(x.flip(1))).expand(2, 1, 5))

    with pytest.raises(CountingError, match=r"'0' ran 2 times .* 2 steps, .*time_axis"):
        measure(network, image, call=run)
    static = measure(network, image, call=lambda x: neuron(torch.stack([layer(x), layer(x)])))
    assert static.layers["0"].encoding.per_step.mac == 30
    assert static.layers["0"].encoding.cached.mac == 15
    frames = torch.rand(2, 1, 3)
    moving = measure(
        network,
        frames,
        batch_axis=1,
        time_axis=0,
        call=lambda x: neuron(torch.stack([layer(frame) for frame in x])),
    )
    assert moving.layers["0"].encoding.cached.mac == 30


def test_neurons_that_were_not_reset_are_refused() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    network, cell = in_time(neuron.IFNode(step_mode="m", v_reset=-0.5)), "1"
    batches = [torch.rand(2, 3, 4), torch.rand(2, 3, 4)]
    with pytest.raises(CountingError, match=r"'1' begins with the 'v' that an earlier batch left"):
        measure(network, batches, batch_axis=1, time_axis=0)

    def fresh(batch: Tensor) -> Any:
        network.get_submodule(cell).reset()  # type: ignore[operator]  # SpikingJelly's own
        return network(batch)

    together = measure(network, batches, batch_axis=1, time_axis=0, call=fresh)
    assert (together.samples, together.steps) == (6, 2)
    cells = network.get_submodule(cell)
    cells.v = torch.full((3, 6), -0.5)  # at rest, if by hand
    assert measure(network, batches[:1], batch_axis=1, time_axis=0).samples == 3


def test_neurons_keep_their_state_from_step_to_step_of_one_batch() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    network = nn.Sequential(neuron.IFNode(v_threshold=2.0))  # one step a call
    frames = torch.full((4, 1, 1), 1.5)  # fires where 1.5, 3 -> 0, 1.5, 3 -> 0

    def run(batch: Tensor) -> list[Tensor]:
        return [network(frame) for frame in batch]

    measured = measure(network, frames, batch_axis=1, time_axis=0, call=run)
    assert (measured.steps, measured.total.spikes) == (4, 2)


def test_a_fused_layer_says_how_to_unfuse_it() -> None:
    with pytest.raises(CountingError, match="set_fastpath_enabled"):
        measure(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), torch.rand(2, 3, 4))
    with pytest.raises(CountingError, match="mkldnn"):
        measure(nn.LSTM(3, 2, batch_first=True), torch.rand(2, 3, 3))


def test_a_policy_may_charge_products_but_not_invent_accumulates() -> None:
    layer = nn.Linear(2, 3, bias=False)
    strict = measure(layer, torch.tensor([[2.0, 1.0]]), policy=Policy(integer="mac"))
    assert (strict.total.ac, strict.total.mac) == (0, 6)
    with pytest.raises(SpecError, match="analog"):
        Policy(analog="ac")
    with pytest.raises(SpecError, match=r"Policy\.binary"):
        Policy(binary="add")  # type: ignore[arg-type]  # the mistake


def test_a_rate_is_refused_where_nothing_fires() -> None:
    measured = measure(nn.Linear(2, 3), torch.ones(1, 2))
    with pytest.raises(SpecError, match="no firing rate"):
        measured.layers["model"].rate()


def test_layers_without_weights_are_told_apart_by_their_place_in_the_code() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.relu(x) - 0.5)

    measured = measure(nn.Sequential(Twice()), torch.rand(2, 3))
    assert list(measured.layers) == ["0", "0.sub", "0.relu"]


def test_the_frame_has_a_row_a_layer() -> None:
    measured = measure(SpikingNet(), stimuli(0, 2))
    frame = measured.to_frame()
    assert list(frame.index) == list(measured.layers)
    assert frame["ac"].sum() == measured.total.ac
    assert frame.loc["fire1", "kind"] == "neuron"


def test_a_spec_of_any_simulator_is_enough() -> None:
    network = nn.Sequential(Given(torch.ones(1, 2, 3), NeuronSpec(kind="if")))
    assert measure(network, torch.zeros(1, 2, 3), batch_axis=1).total.spikes == 6
