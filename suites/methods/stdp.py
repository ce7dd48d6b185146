"""Let kernels learn from the timing of spikes, and the read-out from the labels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.grad import conv2d_weight

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.neurons.spiking import SpikingLayer
from harness.training import Answer, Lesson, Student, descend, slots
from harness.training.checkpoint import Buffers

CARD = MethodCard(
    title="Trace STDP on the convolutions, layer by layer; a read-out trained on the labels",
    citation=(
        "Srinivasan, Lee, Sengupta, Panda, Sarwar, Roy. Training deep spiking neural networks "
        "for energy-efficient neuromorphic computing. ICASSP 2020, doi "
        "10.1109/ICASSP40776.2020.9053914; stochastic rule and read-out: Srinivasan, Roy. "
        "ReStoCNet. Front. Neurosci. 13:189, 2019"
    ),
    loss="reconstructed",
    reconstructed=(
        "time constants, rates and the ratio of depression to potentiation",
        "the offset of presynaptic signals is their mean",
        "competition: one winner a place and step, against a threshold that tires winners",
        "kernels keep the norm they started with",
        "the update is a mean over a map's winning spikes",
        "norms stay before the neurons, and their statistics are those of the batches",
        "the first half of the batches teaches the kernels, the read-out learns throughout",
        "low-pass filtered spikes are their mean over time, and no neurons stand behind a pooling",
    ),
    signals=(),
    uses_teacher=False,
    departures=(
        (
            "layers beyond the fourth convolution stay random, as the paper has none there; the "
            "read-out hears them too, and the last as the topology's classifier reads it"
        ),
        "kernels are real numbers; the binary ones of stochastic STDP are left out",
        (
            "the first layer's presynaptic signal is the image itself, where the suite does not "
            "make spikes of it"
        ),
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class Stdp:
    """Deterministic spike-timing-dependent plasticity with traces.

        tr[t] = (1 - 1/tau) tr[t-1] + s[t], before and after the synapse
        dW = sum over t of  potentiation tr_pre s_post - depression tr_post s_pre

    summed over the places that share a kernel, of those spikes that win against the other
    maps of their place. The winner has the largest current less ``tiredness``, a number a
    map that grows with its share of the wins and leaks. Presynaptic signals are less their
    mean over the batch, a channel at a time: the offset of the paper's rule
    ``tr_pre - offset``, without which all kernels learn that mean.

    The paper has up to four layers; in deeper networks the others keep their random start,
    and so does a layer of hidden neurons before the classifier. The read-out alone descends
    the cross-entropy. At inference too it is the classifier of the last layer plus a linear
    map of the spikes of every layer before, averaged over windows of pixels.

    Attributes:
        share: Of the batches that teach kernels, in equal parts for each layer.
        layers: How many convolutions learn, from the first on.
        tau: Time constant of both traces, in steps.
        potentiation: Weight of a presynaptic trace at a postsynaptic spike.
        depression: Weight of the opposite order.
        rate: Change of a kernel a batch, in units of its norm; the best of four on the digits'
            validation split.
        fatigue: What ``tiredness`` gains a batch by winning everywhere; a tenth leaks.
        window: Pixels a side that the read-out averages, or as many as there are.
    """

    share: Fraction = 0.5
    layers: PositiveInt = 4
    tau: PositiveFloat = 2.0
    potentiation: NonNegativeFloat = 1.0
    depression: NonNegativeFloat = 0.5
    rate: NonNegativeFloat = 0.01
    fatigue: NonNegativeFloat = 1.0
    window: PositiveInt = 2

    def realise(self, student: Student, /) -> None:
        """Let the classifier hear every layer.

        Raises:
            UnsupportedError: If the topology does not say which images it takes.
        """
        network = student.network
        sizes = heard_sizes(student, window=self.window)
        linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
        classifier = cast(nn.Linear, network.get_submodule(linear[-1]))
        with torch.random.fork_rng(devices=[]):
            readout = Readout(classifier, list(sizes.values()))
        network.set_submodule(linear[-1], readout)
        for place, name in enumerate(sizes):
            neuron = network.get_submodule(name)
            network.set_submodule(
                name, Heard(neuron, readout.heard, place=place, window=self.window)
            )

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the cross-entropy of the read-out while the kernels learn by themselves."""
        layers, taught = self._layers(student), round(self.share * lesson.steps)
        neurons = [student.network.get_submodule(name) for name in slots(student)]

        def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
            if lesson.step > taught:
                return student(stimulus, taps)
            learning = layers[(lesson.step - 1) * len(layers) // taught]
            with watched(learning.convolution, neurons) as seen:
                output = student(stimulus, taps)
            with torch.no_grad():
                self.change(learning, seen)
            return output

        tired = Buffers(*(layer.tiredness for layer in layers))
        later = "another layer learns every so many steps"
        return descend(student, lesson, self.loss, forward=forward, also_train=[tired], eager=later)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return answer.task.supervised(output.logits.mean(0), labels)

    def _layers(self, student: Student) -> "list[Learning]":
        """Return the layers that learn, one after the other."""
        found = [module for module in student.network.modules() if isinstance(module, nn.Conv2d)]
        return [Learning.of(convolution) for convolution in found[: self.layers]]

    def change(self, learning: "Learning", seen: "OnePass") -> None:
        """Move the kernels of one layer."""
        current, spikes = widened(seen.current), widened(seen.spikes)
        steps, samples = spikes.shape[:2]
        given = widened(seen.given)
        given = given.view(-1, samples, *given.shape[1:]).expand(steps, *(-1 for _ in given.shape))
        given = given - given.mean((0, 1, 3, 4), keepdim=True)
        wins = winners(current, spikes, learning.tiredness)
        won = wins.sum((0, 1, 3, 4))  # [maps]
        change = kernel_change(
            given,
            wins,
            learning.convolution,
            tau=self.tau,
            potentiation=self.potentiation,
            depression=self.depression,
        )
        change /= won.clamp_min(1).view(-1, 1, 1, 1)
        kernels = learning.convolution.weight
        moved = kernels / learning.norms + self.rate * change
        kernels.copy_(learning.norms * moved / norms_of(moved))
        learning.tiredness.mul_(0.9).add_(self.fatigue * won / won.sum().clamp_min(1))


class Heard(SpikingLayer):
    """A layer of neurons whose spikes a read-out hears; no gradient passes through them."""

    def __init__(
        self, neuron: nn.Module, heard: dict[int, Tensor], *, place: int, window: int
    ) -> None:
        """Tell ``heard[place]`` what ``neuron`` answers, averaged over ``window`` pixels."""
        super().__init__()
        self.neuron = neuron
        self.heard = heard
        self.place = place
        self.window = window

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; ``record`` as a neuron does."""
        with torch.no_grad():
            spikes: Tensor = self.neuron(current, record)
            self.heard[self.place] = pooled(spikes.flatten(0, 1), window=self.window)
        return spikes


def pooled(
    spikes: Tensor,  # [N, C, H, W] or [N, D]
    *,
    window: int,
) -> Tensor:
    """Return the averages over windows of pixels, ``[N, features]``; of vectors themselves."""
    if spikes.dim() == 2:
        return spikes
    return avg_pool2d(spikes, [min(window, side) for side in spikes.shape[-2:]]).flatten(1)


class Readout(nn.Linear):
    """A classifier that also reads what was heard on the way to it.

    What it reads besides begins at zero. Behind another signal than a stimulus (``tail``)
    it reads no more than was heard there.
    """

    def __init__(self, classifier: nn.Linear, sizes: Sequence[int]) -> None:
        """Begin as ``classifier``; ``sizes`` are the features that each place tells."""
        super().__init__(classifier.in_features, classifier.out_features)
        self.weight, self.bias = classifier.weight, classifier.bias
        self.heard: dict[int, Tensor] = {}
        device = classifier.weight.device
        self.readers = nn.ModuleList(
            nn.Linear(size, classifier.out_features, bias=False, device=device) for size in sizes
        )
        for reader in self.readers:
            nn.init.zeros_(cast(nn.Linear, reader).weight)

    def forward(
        self,
        features: Tensor,  # [N, D]
    ) -> Tensor:
        """Return the logits ``[N, K]``."""
        answer = super().forward(features.detach())
        for place, reader in enumerate(self.readers):
            if place in self.heard:
                answer = answer + reader(self.heard.pop(place))
        return answer


class _Probe(nn.Module):
    """Stands in a slot and notes the shape of what arrives, in the order of arrival."""

    def __init__(self, notes: "list[tuple[nn.Module, torch.Size]]") -> None:
        super().__init__()
        self.notes = notes

    def forward(self, current: Tensor) -> Tensor:
        self.notes.append((self, current.shape[2:]))
        return current


def heard_sizes(student: Student, /, *, window: int) -> dict[str, int]:
    """Return how many features each slot but the last tells, by name, in order of firing.

    Raises:
        UnsupportedError: If the topology does not say which images it takes.
    """
    socket = getattr(student.network, "socket", None)
    if socket is None:
        raise UnsupportedError("this topology does not say which images it takes (`socket.shape`)")
    notes: list[tuple[nn.Module, torch.Size]] = []
    device = next(student.parameters()).device
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        twin = student.twin(lambda: _Probe(notes)).eval()
        twin(torch.zeros(1, *socket.shape, device=device), 1, ())
    names = {id(module): name for name, module in twin.named_modules()}
    return {
        names[id(probe)]: pooled(torch.zeros(1, *shape), window=window).shape[1]
        for probe, shape in notes[:-1]
    }


@dataclass(frozen=True, kw_only=True)
class Learning:
    """A convolution while it learns.

    Attributes:
        convolution: Whose kernels.
        norms: What their norms stay, ``[maps, 1, 1, 1]``.
        tiredness: Of each map, ``[maps]``.
    """

    convolution: nn.Conv2d
    norms: Tensor
    tiredness: Tensor

    @staticmethod
    def of(convolution: nn.Conv2d) -> "Learning":
        """Begin with ``convolution`` as it is, all maps rested."""
        kernels = convolution.weight.detach()
        tiredness = torch.zeros(len(kernels), device=kernels.device)
        return Learning(convolution=convolution, norms=norms_of(kernels), tiredness=tiredness)


def norms_of(
    kernels: Tensor,  # [maps, C, H, W]
) -> Tensor:
    """Return the Euclidean norm of each kernel, ``[maps, 1, 1, 1]``, never 0."""
    norms: Tensor = torch.linalg.vector_norm(kernels, dim=(1, 2, 3), keepdim=True)
    return norms.clamp_min(1e-12)


@dataclass(kw_only=True)
class OnePass:
    """What a convolution was given in one pass, and what the neurons after it made of it.

    Attributes:
        given: Input of the convolution, ``[T N, C, H, W]``, or ``[N, C, H, W]`` if constant.
        current: Input of the neurons, ``[T, N, maps, H, W]``.
        spikes: Their answer, likewise.
    """

    given: Tensor = field(init=False)
    current: Tensor = field(init=False)
    spikes: Tensor = field(init=False)


@contextmanager
def watched(convolution: nn.Module, neurons: Sequence[nn.Module]) -> Iterator[OnePass]:
    """Look at ``convolution`` and at the first of ``neurons`` that fires after it."""
    seen = OnePass()

    def before(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.given = given[0]

    def after(_: nn.Module, current: tuple[Tensor, ...], spikes: Tensor) -> None:
        if hasattr(seen, "given") and not hasattr(seen, "spikes"):
            seen.current, seen.spikes = current[0], spikes

    hooks = [
        convolution.register_forward_pre_hook(before),
        *(neuron.register_forward_hook(after) for neuron in neurons),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def traces(
    signal: Tensor,  # [T, ...]
    *,
    tau: float,
) -> Tensor:
    """Return ``tr[t] = (1 - 1/tau) tr[t-1] + signal[t]``, ``[T, ...]``."""
    kept = [signal[0]]
    for step in signal[1:]:
        kept.append((1 - 1 / tau) * kept[-1] + step)
    return torch.stack(kept)


def winners(
    current: Tensor,  # [T, N, maps, H, W]
    spikes: Tensor,  # [T, N, maps, H, W]
    tiredness: Tensor,  # [maps]
) -> Tensor:
    """Return the spikes, at most one a step and place: that of the strongest rested map."""
    strength = current - tiredness.view(-1, 1, 1)
    strength = strength.masked_fill(spikes == 0, -torch.inf)
    first = strength.argmax(2, keepdim=True)
    return spikes * torch.zeros_like(spikes).scatter_(2, first, 1.0)


def kernel_change(
    before: Tensor,  # [T, N, C, H, W]
    after: Tensor,  # [T, N, maps, H', W']
    convolution: nn.Conv2d,
    *,
    tau: float,
    potentiation: float,
    depression: float,
) -> Tensor:
    """Return ``dW``, of the kernels' shape, summed over steps, samples and places."""

    def paired(given: Tensor, made: Tensor) -> Tensor:
        # Pairs of what a weight connects, summed: that is a convolution's weight gradient.
        summed: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            given.flatten(0, 1),
            convolution.weight.shape,
            made.flatten(0, 1),
            stride=convolution.stride,
            padding=convolution.padding,
            dilation=convolution.dilation,
            groups=convolution.groups,
        )
        return summed

    raised = paired(traces(before, tau=tau), after)
    lowered = paired(before, traces(after, tau=tau))
    return potentiation * raised - depression * lowered


METHOD: Method = Stdp()
