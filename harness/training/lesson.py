"""The batches, the teacher's answers and the budget: the same for every method."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.model import Output
from harness.contracts.recipe import Precision, Recipe
from harness.data.encoding import normalised
from harness.neurons.precision import widened


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What student and teacher look at in one step.

    Attributes:
        stimulus: As the student sees it, ``[N, C, H, W]`` or ``[T, N, C, H, W]``.
        labels: int64 ``[N]``.
        indices: Which training samples these are, int64 ``[N]``.
        images: The same samples before normalisation or encoding, in [0, 1].
    """

    stimulus: Tensor
    labels: Tensor
    indices: Tensor
    images: Tensor


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained artificial network, frozen, with the normalisation it was trained on.

    Attributes:
        network: ReLU realisation, in evaluation mode.
        mean: Of its training images, by channel, in units of [0, 1].
        std: Likewise.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def tap_channels(self) -> Mapping[str, int]:
        """How many channels each tap has."""
        channels: Mapping[str, int] = self.network.tap_channels  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module
        return channels

    def see(self, images: Tensor, taps: Sequence[str] = ()) -> Output:
        """Answer ``images`` in [0, 1]; logits ``[1, N, K]``, without a gradient."""
        with torch.no_grad():
            answer: Output = self.network(self.stimulus(images), 1, taps)
        return answer

    def stimulus(self, images: Tensor) -> Tensor:
        """Return what the network is given for ``images``, ``[N, C, H, W]``."""
        stimulus = normalised(images, self.mean, self.std)
        # Of frames: it was trained on all events in one.
        return stimulus.sum(0) if stimulus.dim() == 5 else stimulus

    def tail(
        self,
        name: str,
        feature: Tensor,  # [N, ...]
    ) -> Tensor:
        """Return the logits ``[N, K]`` that follow from ``feature`` as the tap ``name``.

        The gradient flows through to ``feature``.
        """
        logits: Tensor = self.network.tail(name, feature.unsqueeze(0))  # type: ignore[operator]  # nn.Module types every attribute as Tensor or Module
        return widened(logits[0])


@dataclass(frozen=True)
class Answer:
    """The teacher's view of one batch, looked up when first asked for."""

    _teacher: Teacher | None
    _batch: Batch
    _taps: tuple[str, ...]
    _autocast: AbstractContextManager[object]

    @cached_property
    def _output(self) -> Output:
        if self._teacher is None:
            raise SpecError("this method's card says uses_teacher=False, yet it asks the teacher")
        with self._autocast:
            return self._teacher.see(self._batch.images, self._taps)

    @property
    def logits(self) -> Tensor:
        """Out of reduced precision, ``[N, K]``."""
        return widened(self._output.logits[0])

    @property
    def taps(self) -> Mapping[str, Tensor]:
        """Each ``[N, ...]``."""
        return {name: value[0] for name, value in self._output.taps.items()}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Everything a method may spend, in a fixed order.

    Iterating yields the batches of all epochs; nothing in a method changes what comes.

    Attributes:
        recipe: Optimiser, schedule and precision.
        epochs: One iterable of batches an epoch.
        steps: How many batches there are in all.
        budget_samples: How many samples they hold.
        teacher: None for a method that uses none.
        device: Where the batches are.
    """

    recipe: Recipe
    epochs: Iterable[Iterable[Batch]]
    steps: int
    budget_samples: int
    teacher: Teacher | None
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch of every epoch."""
        for epoch in self.epochs:
            yield from epoch

    @property
    def guide(self) -> Teacher:
        """The teacher, for a method that is nothing without one.

        Raises:
            UnsupportedError: If there is none.
        """
        if self.teacher is None:
            raise UnsupportedError("this method learns from a teacher and the lesson has none")
        return self.teacher

    def answer(self, batch: Batch, taps: Sequence[str] = ()) -> Answer:
        """Return the teacher's view of ``batch``; the teacher runs only if it is read."""
        return Answer(self.teacher, batch, tuple(taps), self.autocast())

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which forward passes run at the recipe's precision."""
        return autocast(self.device, self.recipe.precision)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context for forward passes at ``precision``."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Let all that a job makes be as wide as ``precision`` asks: data, weights, buffers.

    What a method makes for itself is then of the student's type without a word about it.
    Random numbers are drawn in that type too: of normal ones, float32's last digits depend
    on the processor and float64's do not. It is torch's default type, one for the whole
    process, and as it was again afterwards.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if precision == "float64" else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
