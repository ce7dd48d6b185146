"""Conversion of a network trained with quantised activations."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.training import Student, slots
from harness.training.conversion import QcfsActivation, pool_by_mean, twin_of
from suites.methods.qcfs import Qcfs
from tests.methods.small import EVENTS, STATIC, lesson, student


def _converted(method: Qcfs, *, timesteps: int) -> tuple[Student, nn.Module]:
    """Return a small VGG in float64 with norms that have seen images, and its twin."""
    learner = student("vgg", method=method, timesteps=timesteps)
    list(method.fit(learner, lesson(None, steps=3)))
    twin = twin_of(learner, lambda: QcfsActivation(levels=method.levels, scale=1.0))
    pool_by_mean(twin)
    converted = replace(learner, network=learner.network.double().eval())
    return converted, twin.double().eval()


def _noting(note: Callable[[Tensor, Tensor], None]) -> Callable[..., None]:
    return lambda _, given, made: note(given[0], made)


IMAGES = torch.rand(5, *STATIC, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_in_one_step_a_whole_network_is_converted_exactly() -> None:
    converted, twin = _converted(Qcfs(levels=1, start=1.0), timesteps=1)
    logits = converted(IMAGES).logits
    assert torch.equal(logits, twin(IMAGES, 1).logits.float())
    assert logits.std() > 0


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_every_layer_of_a_network_is_converted_exactly(steps: int) -> None:
    # Layer by layer, since exactness is for constant currents: spikes that come unevenly in
    # time (Bu et al. 2022, unevenness error) may make a layer behind them fire otherwise.
    converted, twin = _converted(Qcfs(levels=steps, start=1.0), timesteps=steps)
    for name in slots(converted):

        def compare(current: Tensor, answer: Tensor, name: str = name) -> None:
            spiking = converted.network.get_submodule(name)
            means = spiking(current.expand(steps, *current.shape[1:])).mean(0)
            # The mean of up to 8 equal numbers is rounded in their last place.
            assert torch.allclose(means, answer[0], rtol=1e-15, atol=0)
            assert means.max() > means.min()

        with twin.get_submodule(name).register_forward_hook(_noting(compare)):
            twin(IMAGES, 1)


def test_with_many_steps_and_levels_a_whole_network_comes_close() -> None:
    steps = 512
    converted, twin = _converted(Qcfs(levels=steps, start=1.0), timesteps=steps)
    error = converted(IMAGES).logits.mean(0) - twin(IMAGES, 1).logits[0]
    assert error.abs().max() < 0.02 * twin(IMAGES, 1).logits.abs().max()


def test_the_student_knows_what_the_twin_learns_step_by_step() -> None:
    method = Qcfs()
    learner = student("vgg", method=method)
    before = {key: value.clone() for key, value in learner.network.state_dict().items()}
    next(iter(method.fit(learner, lesson(None))))
    after = learner.network.state_dict()
    assert not [key for key in after if torch.equal(before[key], after[key])]


def test_thresholds_decay_as_the_authors_have_it() -> None:
    # Three slots of scale 8: weight decay 5e-4 / 2 * 3 * 8^2 = 0.048 more than CE alone.
    method = Qcfs(start=8.0)
    learner = student("vgg", method=method)
    course = lesson(None)
    twin = twin_of(learner, lambda: QcfsActivation(levels=4, scale=1.0))
    pool_by_mean(twin)
    batch = next(iter(course))
    before = {key: value.clone() for key, value in learner.network.state_dict().items()}
    alone = nn.functional.cross_entropy(twin(batch.stimulus, 1).logits[0], batch.labels)
    learner.network.load_state_dict(before)
    found = next(iter(method.fit(learner, course)))
    assert found.loss - alone.item() == pytest.approx(0.048, abs=1e-6)


def test_frames_are_averaged_for_the_twin() -> None:
    method = Qcfs()
    course = lesson(None, shape=EVENTS, steps=1)
    first, second = next(iter(course)).stimulus
    learner = student("vgg", method=method, shape=EVENTS)
    layer = learner.network.get_submodule("layer1.0.conv")
    expected = layer((first + second) / 2).mean((0, 2, 3))
    next(iter(method.fit(learner, course)))
    # A norm's statistics move by a tenth.
    found = learner.network.get_buffer("layer1.0.bn.running_mean")
    assert torch.allclose(found, expected / 10, atol=1e-6)


def test_a_quantile_makes_it_the_older_conversion() -> None:
    method = Qcfs(quantile=1.0)
    learner = student("convnet", method=method, timesteps=256)
    list(method.fit(learner, lesson(None, steps=1, learning_rate=1e-12)))
    slot = learner.network.get_submodule("activation1")
    # Every current it was trained on lies below the largest, so none is cut off.
    learner.network.train()
    seen: list[Tensor] = []
    with slot.register_forward_hook(_noting(lambda current, _: seen.append(current[0]))):
        rates = learner(next(iter(lesson(None))).stimulus, ["stem"]).taps["stem"].mean(0)
    scale = slot.get_buffer("scale")
    assert seen[0].max().item() == pytest.approx(scale.item(), rel=1e-5)
    assert (rates - seen[0].relu()).abs().max() < scale / 256 + 1e-5
    # From an empty membrane, unlike QCFS.
    assert (rates <= seen[0].relu() + 1e-5).all()
