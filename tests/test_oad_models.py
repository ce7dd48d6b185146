"""A causal network answers chunk by chunk what it answers of windows, on every simulator."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.inputs import Classes, Features
from harness.contracts.neuron import NeuronSpec
from harness.neurons.going_on import go_on
from suites.models._oad_transformer import OadTransformer
from suites.models._spiking_oad import Past, SpikingOad, SpikingOadNetwork, hidden

SMALL = SpikingOad(
    width=8, heads=2, ratio=2, dilations=(1, 2), blocks=2, near=3, far=2, stride=2, work=3, ahead=2
)
LENGTH, WIDTH, CLASSES = SMALL.work + SMALL.reach + 4, 5, 4


@pytest.fixture(autouse=True)
def exact() -> object:
    """Compute in float64, so that chunks of any size round alike but for the last digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def realised(topology: SpikingOad, simulator: Backend | None = None) -> SpikingOadNetwork:
    torch.manual_seed(0)
    backend = simulator or discovery.load("backends", "reference")
    network = topology.build(
        lambda: backend.neuron(NeuronSpec()),
        input=Features(width=WIDTH, length=LENGTH, rate_hz=4),
        output=Classes(CLASSES),
    )
    assert isinstance(network, SpikingOadNetwork)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):  # so that neurons fire, and norms are no identity
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.uniform_(module.bias, -0.5, 1)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    return network.eval()


def video(frames: int, *, videos: int = 2) -> Tensor:
    return 1.5 * torch.randn(videos, frames, WIDTH, generator=torch.Generator().manual_seed(1))


def chunked(
    network: SpikingOadNetwork, frames: Tensor, size: int, timesteps: int
) -> tuple[Tensor, list[Tensor]]:
    """Return what chunks answer of their frames, ``[T, N, L, K]``, and of those ahead."""
    past, ahead = Past(), network.topology.ahead
    with torch.no_grad():
        answers = [network.advance(each, past, timesteps) for each in frames.split(size, dim=1)]
    return torch.cat([each[:, :, :-ahead] for each in answers], 2), [
        each[:, :, -ahead:] for each in answers
    ]


@pytest.mark.parametrize("by_frame", [False, True])
def test_chunks_of_any_size_answer_alike(simulator: Backend, *, by_frame: bool) -> None:
    network = realised(replace(SMALL, frames_are_steps=by_frame), simulator)
    timesteps, frames = 1 if by_frame else 3, video(24)
    whole, ahead = chunked(network, frames, 24, timesteps)
    assert whole.std() > 0.1  # it does not answer the same of every frame
    for size in (1, 7, 20):
        answers, last = chunked(network, frames, size, timesteps)
        # Spikes are equal, so logits differ by the rounding of a sum of 8 weights.
        assert torch.allclose(answers, whole, rtol=0, atol=1e-14)
        assert torch.allclose(last[-1], ahead[-1], rtol=0, atol=1e-14)


def test_chunks_answer_what_windows_answer_of_their_newest_frame(simulator: Backend) -> None:
    network, frames = realised(SMALL, simulator), video(12)
    # Before its first frame a video is zeros for ever: a network that saw as many as it
    # reaches is where a window begins.
    dark = torch.zeros(2, SMALL.reach + SMALL.work, WIDTH)
    padded = torch.cat([torch.zeros(2, LENGTH, WIDTH), frames], dim=1)
    past = Past()
    with torch.no_grad():
        network.advance(dark, past, 2)
        for frame in range(12):
            answer = network.advance(frames[:, frame : frame + 1], past, 2)
            window = padded[:, frame + 1 : frame + 1 + LENGTH]
            expected = network(window, 2).logits[:, :, SMALL.work - 1 :]
            assert torch.allclose(answer, expected, rtol=0, atol=1e-14)


def test_what_is_remembered_does_not_grow_with_the_video() -> None:
    network = realised(SMALL)
    past, sizes = Past(), []
    with torch.no_grad():
        for chunk in video(60).split(20, dim=1):
            network.advance(chunk, past, 2)
            sizes.append(sum(each.numel() for each in past.kept.values()))
    assert len(set(sizes)) == 1
    # 2 steps of 2 videos of 8 channels: 2 and 4 frames before the convolutions, and 6 of keys
    # and of values in each of two blocks.
    assert sizes[0] == 2 * 2 * 8 * (2 + 4 + 2 * 2 * 6)


def test_no_answer_depends_on_a_later_frame_and_none_on_one_out_of_reach() -> None:
    network, frames = realised(SMALL), video(SMALL.reach + 6, videos=1)
    place = 2
    with torch.no_grad():
        before = network.advance(frames, Past(), 2)[0, 0, : -SMALL.ahead]
        frames[:, place] += 100
        after = network.advance(frames, Past(), 2)[0, 0, : -SMALL.ahead]
    moved = (before != after).any(1).nonzero().flatten()
    assert moved.min() == place
    assert place < moved.max() <= place + SMALL.reach


def test_the_window_that_is_cut_to_what_it_reaches_answers_as_the_whole() -> None:
    network, frames = realised(SMALL), video(LENGTH)
    assert network.shown < LENGTH
    with torch.no_grad():
        expected = network(frames, 2).logits
        frames[:, : LENGTH - network.shown] = 7.0
        assert torch.equal(network(frames, 2).logits, expected)


def test_the_mask_is_causal_near_at_hand_and_strided_beyond() -> None:
    # near 3: 0, 1 and 2 frames back; then 2 more, each 2 before the next: 4 and 6.
    seen = ~hidden(SMALL, 8, 8, 1)
    assert [(7 - seen[7].nonzero().flatten()).tolist()] == [[6, 4, 2, 1, 0]]
    assert seen[2].tolist() == [True, True, True, False, False, False, False, False]
    assert torch.equal(seen[8], seen[7])  # a token ahead sees what the newest frame does
    # Of a chunk of 2 that follows 6 others the rows are the last two.
    assert torch.equal(hidden(SMALL, 2, 8, 1), hidden(SMALL, 8, 8, 1)[6:])


def test_taps_are_spikes_of_frames_and_of_what_is_answered() -> None:
    network = realised(SMALL)
    with torch.no_grad():
        output = network(video(LENGTH), 2, ["stage1", "stage2", "penultimate"])
        assert output.taps["stage1"].shape == (2, 2, 8, network.shown, 1)
        assert output.taps["stage2"].shape == (2, 2, 8, SMALL.work + SMALL.ahead, 1)
        assert torch.equal(output.taps["penultimate"].mT, output.taps["stage2"][..., 0])
        assert set(output.taps["stage2"].unique().tolist()) == {0, 1}
        for name in ("stage2", "penultimate"):
            assert torch.equal(network.tail(name, output.taps[name]), output.logits)
    with pytest.raises(SpecError, match="no way on from 'stage1'"):
        network.tail("stage1", output.taps["stage1"])


def test_the_twin_of_relu_has_the_same_parameters_and_answers_chunks_alike() -> None:
    spiking = realised(SMALL)
    twin = SMALL.build(
        nn.ReLU, input=Features(width=WIDTH, length=LENGTH, rate_hz=4), output=Classes(CLASSES)
    )
    twin.load_state_dict(spiking.state_dict())
    assert isinstance(twin, SpikingOadNetwork)
    whole, _ = chunked(twin.eval(), video(20), 20, 1)
    parts, _ = chunked(twin, video(20), 3, 1)
    # ReLU does not round spikes away: sums in another order, of magnitude up to the answers'.
    assert torch.allclose(whole, parts, rtol=1e-12, atol=1e-12 * whole.abs().max().item())


def test_every_weight_gets_a_gradient() -> None:
    network = realised(SMALL).train()
    network(video(LENGTH, videos=4), 2).logits.square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert [name for name, each in network.named_parameters() if each.grad is None] == []


def test_frames_that_are_steps_need_one_step() -> None:
    network = realised(replace(SMALL, frames_are_steps=True))
    with pytest.raises(UnsupportedError, match="T is 1 and not 4"):
        network(video(LENGTH), 4)


def test_windows_of_another_shape_are_refused() -> None:
    with pytest.raises(SpecError, match=rf"this network was built for \[N, {LENGTH}, {WIDTH}\]"):
        realised(SMALL)(video(LENGTH - 1), 2)
    with pytest.raises(SpecError, match="a window of 2 frames cannot answer for 3"):
        SMALL.build(
            nn.ReLU, input=Features(width=WIDTH, length=2, rate_hz=4), output=Classes(CLASSES)
        )


# Going on from call to call.


@pytest.mark.parametrize(
    "spec", [NeuronSpec(), NeuronSpec(kind="if"), NeuronSpec(scale_input=False, v_threshold=0.5)]
)
def test_a_neuron_goes_on_where_it_was_left(simulator: Backend, spec: NeuronSpec) -> None:
    neuron = simulator.neuron(spec)
    current = torch.randn(24, 3, 5, generator=torch.Generator().manual_seed(0)) + 0.4
    whole, held, parts = neuron(current), None, []
    for begin, end in pairwise((0, 1, 9, 24)):
        spikes, held = go_on(neuron, current[begin:end], held, until=end - begin)
        parts.append(spikes)
    # tau is 2, so putting a membrane back is exact.
    assert torch.equal(torch.cat(parts), whole)
    assert 0.05 < whole.mean() < 0.9


def test_what_is_held_is_of_the_step_that_is_asked_for() -> None:
    neuron = discovery.load("backends", "reference").neuron(NeuronSpec(kind="if"))
    current = torch.tensor([0.25, 0.5, 0.5, 0.125])[:, None]
    # An integrator: .25, .75, then 1.25 fires and is reset, then .125.
    for until, left in ((1, 0.25), (2, 0.75), (3, 0.0), (4, 0.125)):
        _, held = go_on(neuron, current, None, until=until)
        assert held is not None
        assert held.item() == left


def test_neurons_that_cannot_be_put_back_are_refused() -> None:
    backend = discovery.load("backends", "reference")
    current = torch.ones(1, 1)
    for spec in (NeuronSpec(reset="subtract"), NeuronSpec(kind="plif")):
        with pytest.raises(UnsupportedError, match="cannot be put where it was left"):
            go_on(backend.neuron(spec), current, None, until=1)
    answer, held = go_on(nn.ReLU(), current, None, until=1)
    assert held is None
    assert torch.equal(answer, current)


# The artificial teacher.

TEACHER = OadTransformer(width=8, heads=2, inner=16, groups=2, queries=3, stride=2, work=4, ahead=3)


def teacher(length: int = 16) -> nn.Module:
    torch.manual_seed(0)
    network = TEACHER.build(
        nn.ReLU, input=Features(width=WIDTH, length=length, rate_hz=4), output=Classes(CLASSES)
    )
    return network.eval()


def test_the_teacher_answers_work_memory_and_what_is_ahead() -> None:
    network = teacher()
    with torch.no_grad():
        output = network(video(16), 1, ["stage1", "stage2"])
    assert output.logits.shape == (1, 2, 4 + 3, CLASSES)
    assert output.taps["stage1"].shape == (1, 2, 8, 2, 1)
    assert output.taps["stage2"].shape == (1, 2, 8, 7, 1)
    assert torch.equal(network.tail("stage2", output.taps["stage2"]), output.logits)


def test_the_teachers_work_memory_is_causal_and_its_long_memory_reads_each_strides_newest() -> None:
    network = teacher()

    def moved(place: int) -> list[int]:
        frames = video(16, videos=1)
        with torch.no_grad():
            before = network(frames).logits
            frames[:, place] += 1
            return (network(frames).logits != before).any(3)[0, 0].nonzero().flatten().tolist()

    assert moved(14) == [2, 3, 4, 5, 6]  # the work memory is frames 12 to 15
    assert moved(0) == []  # of the long memory, frames 0 to 11, the odd ones are read
    assert moved(11) == moved(1) == [*range(7)]


def test_spikes_in_the_teachers_slots_take_time() -> None:
    backend = discovery.load("backends", "reference")
    network = TEACHER.build(
        lambda: backend.neuron(NeuronSpec()),
        input=Features(width=WIDTH, length=16, rate_hz=4),
        output=Classes(CLASSES),
    ).eval()
    with torch.no_grad():
        logits = network(video(16), 3).logits
    assert logits.shape == (3, 2, 7, CLASSES)
    assert not torch.equal(logits[0], logits[2])


def test_a_long_memory_in_broken_groups_is_refused() -> None:
    with pytest.raises(SpecError, match="multiple of 2 x 2"):
        teacher(18)
