"""The parts of the meter by themselves: axes, operands, exact sums, geometry."""

from math import prod
from random import Random
from typing import get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.contracts.errors import CountingError
from harness.contracts.ledger import OperandClass
from harness.meter import axes as ax
from harness.meter import geometry
from harness.meter.operands import Operand, exact_sum, nonzero
from tests.meter.networks import seeds

some = settings(deadline=None, max_examples=60)


@some
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 4),
    order=st.permutations(range(4)),
    data=st.data(),
)
def test_samples_and_steps_are_found_after_any_views(
    sizes: tuple[int, int, int, int], order: list[int], data: st.DataObject
) -> None:
    steps, samples, *rest = sizes
    signal = torch.randint(0, 9, sizes, generator=torch.Generator().manual_seed(0)).double()
    axes: ax.Axes | None = (
        ax.labelled("T", steps),
        ax.labelled("N", samples),
        *map(ax.plain, rest),
    )
    assert axes is not None
    # Permute, merge some neighbours, split them again elsewhere, merge everything.
    seen, axes = signal.permute(order), tuple(axes[dim] for dim in order)
    shape = list(seen.shape)
    place = data.draw(st.integers(0, 2))
    merged = [*shape[:place], shape[place] * shape[place + 1], *shape[place + 2 :]]
    divisor = data.draw(st.sampled_from([n for n in range(1, 17) if merged[place] % n == 0]))
    split = [*merged[:place], divisor, merged[place] // divisor, *merged[place + 1 :]]
    for now in (merged, split, [prod(shape)]):
        seen = seen.reshape(now)
        axes = None if axes is None else ax.regrouped(axes, now)
        if axes is not None:
            assert [prod(length for _, length in axis) for axis in axes] == now
    if axes is None:  # the split went through samples or steps, which is not a guess
        return
    grid = ax.to_units(seen, axes[0], samples)
    assert grid is not None
    assert torch.equal(grid, signal.sum((2, 3)))


def test_a_view_that_cuts_through_samples_is_not_guessed_at() -> None:
    axes = (ax.labelled("N", 6), ax.plain(2))
    assert ax.regrouped(axes, [3, 4]) is None
    assert ax.regrouped(axes, [6, 2]) == axes
    assert ax.regrouped(axes, [12]) == ((("N", 6), ("", 2)),)
    assert ax.to_units(torch.ones(12), ax.plain(12), 6) is None


@pytest.mark.parametrize(
    ("shape", "samples", "expected"),
    [
        ((6, 5), 3, ((("T", 2), ("N", 3)), (("", 5),))),  # [T*N, C]
        ((4, 3, 5), 3, ((("T", 4),), (("N", 3),), (("", 5),))),  # [T, N, C]
        ((3, 3, 5), 3, ((("N", 3),), (("", 3),), (("", 5),))),  # [N, ...] comes first
        ((4, 5), 3, None),
        ((4, 5), 1, ((("T", 4),), (("", 5),))),
    ],
)
def test_a_tensor_from_outside_is_read_time_major(
    shape: tuple[int, ...], samples: int, expected: ax.Axes | None
) -> None:
    assert ax.guessed(shape, samples) == expected


ALPHABETS: tuple[tuple[float, ...], ...] = (
    (0,),
    (0, 1),
    (-1, 0, 1),
    (0, 0.5),
    (0, 2),
    (0, 1, 3),
    (0.3, 0.5),
)
values = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.lists(st.sampled_from([float(value) for value in alphabet]), min_size=1)
)


@some
@example(parts=[[-1.0, 1.0], [0.0, 1.0]], order=Random(0))  # noqa: S311  no secret
@given(parts=st.lists(values, min_size=1, max_size=4), order=st.randoms())
def test_the_class_of_a_run_is_that_of_all_its_values(
    parts: list[list[float]], order: Random
) -> None:
    classes, whole = get_args(OperandClass), Operand()
    whole.observe(torch.tensor([value for part in parts for value in part]))
    for _ in range(2):
        order.shuffle(parts)
        piecewise, joined = Operand(), Operand()
        for part in parts:
            before = piecewise.operand()
            piecewise.observe(torch.tensor(part))
            # A join only climbs.
            assert classes.index(piecewise.operand()) >= classes.index(before)
            alone = Operand()
            alone.observe(torch.tensor(part))
            joined.join(alone)
        assert piecewise.operand() == joined.operand() == whole.operand()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([0.0, 0.0], "silent"),
        ([0.0, 1.0], "binary"),
        ([-1.0, 1.0], "ternary"),
        ([-1.0, 0.0], "ternary"),
        ([0.0, 0.7], "scaled"),
        ([-0.7, 0.7], "scaled"),
        ([0.0, 2.0], "scaled"),
        ([1.0, 2.0], "integer"),
        ([-1.0, 2.0], "integer"),
        ([0.5, 1.0], "analog"),
    ],
)
def test_values_have_the_lowest_class_that_fits(value: list[float], expected: str) -> None:
    operand = Operand()
    operand.observe(torch.tensor(value))
    assert operand.operand() == expected
    boolean = Operand()
    boolean.observe(torch.tensor([True, False]))
    assert boolean.operand() == "binary"


def test_promised_spikes_join_like_seen_ones() -> None:
    promised = Operand()
    promised.join_spikes()
    assert promised.operand() == "binary"
    promised.join_spikes(torch.tensor([0.5, 0.7], dtype=torch.float64))
    assert promised.operand() == "analog"  # a channel now has two heights
    by_channel = Operand()
    by_channel.join_spikes(torch.tensor([0.5, 0.7], dtype=torch.float64))
    assert by_channel.operand() == "scaled"


def test_a_value_that_is_not_finite_has_no_class() -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(CountingError, match="range from"):
            Operand().observe(torch.tensor([0.0, value]))


@some
@given(
    seed=seeds,
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 700), st.integers(1, 40)),
    dims=st.sampled_from([(), (1,), (1, 2), (0, 1, 2)]),
)
def test_sums_of_ones_are_exact_in_every_type(
    seed: int, dtype: torch.dtype, shape: tuple[int, int, int], dims: tuple[int, ...]
) -> None:
    ones = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.9
    expected = ones.long().sum(dims) if dims else ones.long()
    assert torch.equal(exact_sum(ones.to(dtype), dims).long(), expected)
    assert torch.equal(exact_sum(nonzero(ones.to(dtype) * 7), dims).long(), expected)


def test_sums_of_large_integers_are_exact() -> None:
    # 3 x (2**23 + 1) = 25 165 827 needs more than the 24 bits of float32.
    large = torch.full((1, 3), float(2**23 + 1))
    assert exact_sum(large, (1,), bound=2**23 + 1).item() == 25_165_827


def test_a_site_reached_twice_through_a_pooling_is_reached_once() -> None:
    pool = geometry.Window(inputs=5, outputs=2, kernel=3, stride=2).reach()
    kernel = geometry.Window(inputs=2, outputs=1, kernel=2).reach()
    (both,) = geometry.composed([pool], [kernel])
    assert both.int().tolist() == [[1, 1, 1, 1, 1]]


@some
@given(inputs=st.integers(1, 12), outputs=st.integers(1, 12))
def test_adaptive_windows_are_those_of_torch(inputs: int, outputs: int) -> None:
    reach = geometry.adaptive(inputs, outputs).double()
    means = reach / reach.sum(1, keepdim=True)
    signal: Tensor = torch.arange(inputs, dtype=torch.float64) ** 2
    expected = torch.nn.functional.adaptive_avg_pool1d(signal[None], outputs)[0]
    assert torch.allclose(means @ signal, expected, rtol=1e-12, atol=0)
