"""The compiled loop: the same bits, the same layout, the same module."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from harness import discovery
from harness.contracts.neuron import Kind, NeuronSpec, Surrogate
from harness.meter import measure
from harness.neurons.compiled import _kernel, can_compile, compiled

pytestmark = [
    pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler here"),
    # The compiler looks for a .grad in all it is given, and torch warns of those without.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]

# Nothing at its default, so that nothing can be forgotten. tau is no power of two.
SPEC = NeuronSpec(
    kind="lif",
    tau=3.0,
    v_threshold=0.7,
    reset="subtract",
    scale_input=False,
    detach_reset=False,
    surrogate=Surrogate(name="atan", alpha=3.0),
)
TRAINED = NeuronSpec(kind="plif", tau=3.0, surrogate=Surrogate(name="sigmoid", alpha=3.0))


def neuron(name: str, spec: NeuronSpec) -> nn.Module:
    layer: nn.Module = discovery.load("backends", name).neuron(spec)  # type: ignore[attr-defined]  # a Backend
    return layer


def images(steps: int, samples: int, size: int, seed: int = 0) -> Tensor:
    """Return ``[T, N, C, H, W]``, channels-last."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(steps * samples, 3, size, size, generator=generator)
    return torch.unflatten(drawn.to(memory_format=torch.channels_last), 0, (steps, samples))


def answers(layer: nn.Module, current: Tensor, *, recorded: bool) -> list[Tensor]:
    """Return spikes, membrane if recorded, and the gradients of both by everything."""
    shown = current.detach().requires_grad_()
    record: list[Tensor] = []
    spikes = layer(shown, record) if recorded else layer(shown)
    inputs = [shown, *layer.parameters()]
    weights = [torch.ones_like(answer) * 0.3 for answer in (spikes, *record)]
    return [spikes, *record, *torch.autograd.grad([spikes, *record], inputs, weights)]


def is_channels_last(signal: Tensor) -> bool:
    return all(step.is_contiguous(memory_format=torch.channels_last) for step in signal)


@pytest.mark.parametrize(
    ("name", "coming"),
    [("reference", "constant"), ("norse", "frames"), ("spikingjelly", "frames")],
)
def test_answers_are_the_same_to_the_last_bit_whatever_the_shape(name: str, coming: str) -> None:
    eager, fast = neuron(name, SPEC), compiled(neuron(name, SPEC))
    for samples, size in ((2, 5), (3, 4), (1, 7)):  # one kernel serves all
        current = images(3, samples, size)
        if coming == "constant":
            current = current[:1].expand(3, -1, -1, -1, -1)
        expected = answers(eager, current, recorded=False)
        found = answers(fast, current, recorded=False)
        assert all(map(torch.equal, found, expected))
        assert all(map(is_channels_last, found))


def test_recording_and_nan_survive_compilation() -> None:
    eager, fast = neuron("reference", TRAINED), compiled(neuron("reference", TRAINED))
    current = images(2, 2, 4)
    expected, found = (answers(layer, current, recorded=True) for layer in (eager, fast))
    assert torch.equal(found[0], expected[0])
    assert all(map(is_channels_last, found[:-1]))
    # The compiler has exponentials of its own: a few roundings, and at most n u of the 200
    # terms of size 1 that add up to the gradient by w.
    for mine, plain, scale in zip(found, expected, (1, 4, 1, 200), strict=True):
        assert torch.allclose(mine, plain, rtol=0, atol=16 * scale * 2**-24)
    current[1, 0, 0, 0, 0] = torch.nan
    spikes, *_ = answers(fast, current, recorded=True)
    assert spikes.isnan().nonzero().tolist() == [[1, 0, 0, 0, 0]]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """Return the list that collects what is to be compiled; it runs as it is."""
    collected: list[torch.fx.GraphModule] = []

    def collect(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        collected.append(graph)
        return graph.forward

    monkeypatch.setattr("harness.neurons.compiled._frugal", collect)
    _kernel.cache_clear()
    return collected


def test_a_process_compiles_as_many_kinds_of_neurons_as_it_has(
    graphs: list[torch.fx.GraphModule],
) -> None:
    with torch._dynamo.config.patch(recompile_limit=2):  # eight, if nobody says otherwise
        for kind in range(4):
            layer = compiled(neuron("reference", replace(SPEC, tau=10.0 + kind)))
            for size in (3, 5):
                layer(torch.zeros(2, size))
    assert len(graphs) == 4


@pytest.mark.parametrize("name", ["norse", "spikingjelly"])
def test_who_is_metered_first_is_one_graph_too_and_the_ledger_the_same(
    name: str, graphs: list[torch.fx.GraphModule]
) -> None:
    current = images(3, 2, 4)
    eager, fast = neuron(name, SPEC), compiled(neuron(name, SPEC))
    with torch.no_grad():
        expected, found = (
            measure(layer, current, batch_axis=1, time_axis=0) for layer in (eager, fast)
        )
        assert len(graphs) == 1
        fast(images(3, 5, 4))
    assert len(graphs) == 1
    assert found.total == expected.total


def test_hooks_are_there_again_after_a_kernel_and_after_one_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[nn.Module] = []
    layer = compiled(neuron("reference", SPEC))
    both = nn.Sequential(layer, nn.Identity())
    handles = [
        register_module_forward_pre_hook(lambda module, _: seen.append(module)),
        register_module_forward_hook(lambda module, _, __: seen.append(module)),
    ]
    try:
        both(torch.zeros(2, 3))
        assert seen == [both, layer, layer, both[1], both[1], both]
        seen.clear()

        def fails(*_: Any) -> Any:
            raise ArithmeticError

        monkeypatch.setattr("harness.neurons.compiled._kernel", lambda *_: fails)
        with pytest.raises(ArithmeticError):
            layer(torch.zeros(2, 3))
        both[1](torch.zeros(1))
        assert seen == [layer, both[1], both[1]]
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("name", ["norse", "spikingjelly"])
def test_what_is_compiled_is_one_graph_with_the_same_answers(
    name: str, kind: Kind, graphs: list[torch.fx.GraphModule], *, recorded: bool
) -> None:
    spec = replace(SPEC, kind=kind)
    current = images(3, 2, 2)
    expected = answers(neuron(name, spec), current, recorded=recorded)
    found = answers(compiled(neuron(name, spec)), current, recorded=recorded)
    assert len(graphs) == 1
    *same, last = zip(found, expected, strict=True)
    assert all(torch.equal(mine, plain) for mine, plain in same)
    # Of plif's the last one is the gradient by w, of 72 terms, all smaller than 1: their
    # order is the simulator's business, and a sum of n terms is off by n u at most.
    tolerance = 72 * 72 * 2**-24 if kind == "plif" else 0
    assert torch.allclose(*last, rtol=0, atol=tolerance)


# What a compiler makes no pass over memory for, if a loop over the steps follows or precedes.
MOVES = {"flatten", "split", "unbind", "squeeze", "cat", "view"}


@pytest.mark.parametrize("name", ["reference", "norse", "spikingjelly"])
def test_nothing_is_computed_of_all_steps_at_once(
    name: str, graphs: list[torch.fx.GraphModule]
) -> None:
    elements = 5
    compiled(neuron(name, SPEC))(torch.zeros(3, elements))
    (graph,) = graphs
    wide = [
        getattr(node.target, "__name__", str(node.target))
        for node in graph.graph.nodes
        if isinstance(value := node.meta.get("example_value"), Tensor)
        and value.numel() > elements
        and node.op != "placeholder"
    ]
    assert "cat" in wide
    assert set(wide) <= MOVES


def test_the_module_stays_what_it_was() -> None:
    layer = neuron("reference", TRAINED)
    fast = compiled(layer)
    assert fast is layer
    assert fast.spec == TRAINED
    assert list(fast.state_dict()) == ["w"]
    assert list(inspect.signature(fast.forward).parameters) == ["current", "record"]


def test_a_copy_is_compiled_and_has_its_own_weight() -> None:
    layer = compiled(neuron("reference", TRAINED))
    copied = copy.deepcopy(layer)
    assert getattr(copied.forward, "__self__", None) is copied
    assert next(copied.parameters()) is not next(layer.parameters())


def test_without_a_compiler_the_neuron_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.neurons.compiled.can_compile", lambda: False)
    layer = neuron("reference", SPEC)
    assert compiled(layer) is layer
    assert "forward" not in vars(layer)


def test_an_empty_batch_needs_no_kernel() -> None:
    record: list[Tensor] = []
    spikes: Tensor = compiled(neuron("reference", SPEC))(torch.zeros(2, 0, 3), record)
    assert spikes.shape == record[0].shape == (2, 0, 3)
