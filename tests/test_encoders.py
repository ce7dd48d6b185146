"""Encoders: what a static image becomes in time."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import suites.encoders
from harness import discovery
from harness.contracts.errors import SpecError
from harness.data.encoding import Presentation
from harness.engine import grid
from harness.engine.grid import Axes
from harness.results import Published
from harness.store import Store
from suites.encoders.direct import ENCODER as DIRECT
from suites.encoders.latency import ENCODER as LATENCY
from suites.encoders.phase import ENCODER as PHASE
from suites.encoders.poisson import ENCODER as POISSON

NAMES = [module.name for module in iter_modules(suites.encoders.__path__)]


def encoder(name: str) -> Any:
    return import_module(f"suites.encoders.{name}").ENCODER


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(samples: int = 3) -> Tensor:
    return torch.rand(samples, 2, 4, 4, generator=stream())


@pytest.mark.parametrize("timesteps", [1, 5])
@pytest.mark.parametrize("samples", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_time_comes_first_and_the_type_is_kept(name: str, samples: int, timesteps: int) -> None:
    stimulus = encoder(name)(images(samples), timesteps, stream())
    assert stimulus.shape == (timesteps, samples, 2, 4, 4)
    assert stimulus.dtype == torch.float32
    assert not samples or 0 <= stimulus.min() <= stimulus.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_black_stays_silent(name: str) -> None:
    assert not encoder(name)(torch.zeros(2, 1, 3, 3), 6, stream()).any()


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_says_its_name_in_the_row(name: str) -> None:
    words = encoder(name).words
    assert words.startswith(f"{name}: ")  # the row names it


def test_direct_costs_no_memory() -> None:
    still = images()
    assert DIRECT(still, 100, stream()).data_ptr() == still.data_ptr()


def test_poisson_tends_to_the_image() -> None:
    still, steps = images(), 4_000
    mean = POISSON(still, steps, stream()).mean(0)
    # 96 pixels, each within 5 sigma of a binomial mean: sigma <= 1 / (2 sqrt(T)).
    assert (mean - still).abs().max() < 5 / (2 * steps**0.5)


def test_poisson_spikes_are_spikes_and_white_always_fires() -> None:
    spikes = POISSON(images(), 50, stream())
    assert set(spikes.flatten().tolist()) == {0.0, 1.0}
    assert POISSON(torch.ones(1, 1, 9, 9), 50, stream()).all()


def test_poisson_depends_on_its_generator_alone() -> None:
    still = images()
    first = POISSON(still, 8, stream(1))
    torch.manual_seed(3)
    laid_out = still.contiguous(memory_format=torch.channels_last)
    assert torch.equal(POISSON(laid_out, 8, stream(1)), first)
    assert not torch.equal(POISSON(still, 8, stream(2)), first)


def test_latency_gives_each_pixel_one_spike_the_earlier_the_brighter() -> None:
    # T = 5: (1 - x) * 4 rounds to 0, 1, 2, 3, 4.
    still = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.01, 0.0]).view(1, 1, 1, 6)
    spikes = LATENCY(still, 5, stream())[:, 0, 0, 0]  # [T, pixel]
    assert torch.equal(spikes, torch.cat([torch.eye(5), torch.zeros(5, 1)], dim=1))


@settings(deadline=None, max_examples=50)
@given(brightness=st.floats(0, 1, width=32), period=st.integers(1, 8))
def test_phases_of_a_period_add_up_to_the_brightness(brightness: float, period: int) -> None:
    from dataclasses import replace

    still = torch.full((1, 1, 1, 1), brightness)
    total = float(replace(PHASE, period=period)(still, period, stream()).sum())
    # Rounded down to `period` binary digits; white would need one digit more.
    assert total <= brightness
    assert brightness - total <= 2.0**-period


def test_phases_repeat() -> None:
    stimulus = PHASE(images(), 16, stream())
    assert torch.equal(stimulus[:8], stimulus[8:])


def _presentation(seed: int = 0) -> Presentation:
    return Presentation(mean=(0.5, 0.5), std=(0.5, 0.5), encoder=POISSON, timesteps=4, seed=seed)


def test_every_simulator_is_shown_the_same_spikes() -> None:
    shown = [_presentation().begin("evaluation")(images()) for _ in range(2)]
    assert torch.equal(shown[0], shown[1])


@pytest.mark.parametrize(("seed", "purpose"), [(1, "epoch/0"), (0, "epoch/1"), (0, "evaluation")])
def test_seeds_epochs_and_purposes_are_shown_other_spikes(seed: int, purpose: str) -> None:
    first = _presentation().begin("epoch/0")(images())
    assert not torch.equal(first, _presentation(seed).begin(purpose)(images()))


def test_an_encoder_sees_the_image_and_not_what_normalising_makes_of_it() -> None:
    white, black = torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    assert bool((_presentation().begin("evaluation")(white) == 1).all())
    assert bool((_presentation().begin("evaluation")(black) == 0).all())


def test_event_frames_are_refused_since_they_are_in_time_already() -> None:
    with pytest.raises(SpecError, match=r"got \[4, 3, 2, 4, 4\]; event frames are in time"):
        _presentation().begin("evaluation")(torch.zeros(4, 3, 2, 4, 4))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_encoder_says_is_read_without_importing_it(name: str) -> None:
    assert discovery.encoder_words(name) == encoder(name).words
    assert discovery.encoder_words(name).startswith(f"{name}:")


def test_a_cell_without_an_encoder_is_called_what_it_always_was() -> None:
    asked = Axes(methods=("direct",)), Store(Path("runs")), Published()
    cells = grid.cells("digits", *asked)
    assert all('"encoder"' not in cell.identity() for cell in cells)
    trains = grid.cells("digits_poisson", *asked)
    assert all('"encoder":"poisson"' in cell.identity() for cell in trains)
