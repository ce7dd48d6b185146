"""One seed, named streams."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.errors import SpecError
from harness.seeds import stream, torch_seed, torch_stream

SEEDS = st.integers(0, 2**32 - 1)
PURPOSES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None, max_examples=50)
@given(first=st.tuples(SEEDS, PURPOSES), second=st.tuples(SEEDS, PURPOSES))
def test_two_streams_are_the_same_only_if_seed_and_purpose_are(
    first: tuple[int, str], second: tuple[int, str]
) -> None:
    # 256 bits: streams that differ collide with probability 2^-256.
    ours, theirs = (
        stream(*key).integers(2**64, size=4, dtype=np.uint64) for key in (first, second)
    )
    assert np.array_equal(ours, theirs) == (first == second)


def test_a_prefix_of_a_purpose_is_another_stream() -> None:
    assert stream(5, "a").random() != stream(5, "ab").random()


@pytest.mark.parametrize("seed", [-1, 2**32, 5 + 97 * 2**32])
def test_a_seed_that_spills_into_the_purpose_is_refused(seed: int) -> None:
    # NumPy splits 5 + 97 * 2**32 into the words 5 and 97 = ord("a"): "b" would become "ab".
    with pytest.raises(SpecError, match=str(seed)):
        stream(seed, "b")


@pytest.mark.parametrize("purpose", ["", "weights\0"])
def test_a_purpose_that_numpy_cannot_tell_from_another_is_refused(purpose: str) -> None:
    with pytest.raises(SpecError, match="name"):
        stream(0, purpose)


def test_drawing_from_one_stream_leaves_another_as_it_was() -> None:
    undisturbed = torch.rand(5, generator=torch_stream(3, "order"))
    noise = torch_stream(3, "noise")
    torch.rand(1000, generator=noise)
    assert torch.equal(torch.rand(5, generator=torch_stream(3, "order")), undisturbed)


def test_the_streams_neither_read_nor_move_the_global_generators() -> None:
    before = torch.get_rng_state()
    first = torch.rand(5, generator=torch_stream(3, "order"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(torch.rand(5, generator=torch_stream(3, "order")), first)


def test_torch_stream_starts_from_torch_seed() -> None:
    by_seed = torch.Generator().manual_seed(torch_seed(7, "weights"))
    by_stream = torch_stream(7, "weights")
    assert torch.equal(by_seed.get_state(), by_stream.get_state())


def test_the_numbers_are_the_same_for_ever() -> None:
    # Golden: rows published with one version must be repeatable with the next.
    assert torch_seed(0, "order/0") == 6_509_351_111_089_798_235
