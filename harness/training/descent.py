"""Gradient descent over a lesson: how most methods spend it."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from harness.contracts.errors import DivergedError, SpecError
from harness.contracts.method import Progress
from harness.contracts.model import Output
from harness.contracts.recipe import Recipe
from harness.training.capture import CudaGraphs, Replayed, Step
from harness.training.lesson import Answer, Batch, Lesson
from harness.training.student import Student

# What weights of a float64 recipe are multiples of; below 4 they are float32 numbers, too.
GRID = 2.0**-22
_LATE = 8  # steps; more only delays the news of a divergence
Loss = Callable[[Output, Answer, Tensor], Tensor]
Forward = Callable[[Tensor, Sequence[str]], Output]


def descend(
    student: Student,
    lesson: Lesson,
    loss: Loss,
    /,
    *,
    also_train: Sequence[nn.Module] = (),
    taps: Sequence[str] = (),
    teacher_taps: Sequence[str] = (),
    forward: Forward | None = None,
    eager: str = "",
) -> Iterator[Progress]:
    """Minimise ``loss(output, answer, labels)`` over the lesson, one step a batch.

    On a GPU the step becomes one CUDA graph where it can, and its loss is read some steps
    later: what the progress tells is true, but the weights are ahead of it.

    Args:
        student: Its network is trained in place.
        lesson: Batches, teacher, recipe.
        loss: Of the student's output, the teacher's answer and the labels ``[N]``.
        also_train: Modules of the method's own, which die with it, and ``Buffers`` of what else
            changes from step to step, without which a training that was cut off goes on wrong.
        taps: What the student's output shall carry.
        teacher_taps: What the teacher's answer shall carry.
        forward: How the student answers a stimulus while it learns; None is as ever.
        eager: Why no graph can hold the step, or why whoever iterates looks at the weights
            of every step; empty if neither is so.

    Raises:
        DivergedError: At the first loss that is not finite.
        SpecError: If ``loss`` returns anything but one number.
    """
    modules, team = (student.network, *also_train), lesson.team
    look = team.looking(forward or student, student.network)
    optimiser, schedule = optimiser_of(lesson.recipe, modules, steps=lesson.steps)

    def gradients(batch: Batch) -> Tensor:
        for module in modules:
            module.train()
        with lesson.autocast():
            output, labels = look(batch.stimulus, taps), team.whole(batch.labels)
            error = _one_number(loss(output, lesson.answer(batch, teacher_taps), labels))
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        team.average(modules)
        return error.detach()

    step = _step_of(lesson, gradients, optimiser, eager or team.eager)

    def steps() -> Iterator[tuple[int, Tensor]]:
        for batch in lesson.shares(*modules, optimiser, schedule):
            error = step(batch)
            schedule.step()
            yield lesson.samples, error

    for samples, value in read(steps(), late=_LATE if isinstance(step, Replayed) else 0):
        yield Progress(
            samples=samples, budget=lesson.budget_samples, loss=finite(value, samples=samples)
        )


def _one_number(loss: object) -> Tensor:
    if isinstance(loss, Tensor) and not loss.dim():
        return loss
    found = f"a tensor {[*loss.shape]}" if isinstance(loss, Tensor) else repr(loss)[:100]
    raise SpecError(f"a loss must return one number, a tensor without axes, and returned {found}")


def _step_of(lesson: Lesson, gradients: Step, optimiser: torch.optim.Optimizer, eager: str) -> Step:
    """Return what descends on one batch and returns its loss."""
    if lesson.device.type == "cuda" and not eager:
        return Replayed(gradients, optimiser.step, CudaGraphs(lesson.device), lesson.account)
    if lesson.device.type == "cuda":
        lesson.account.step = f"eager: {eager}"

    def step(batch: Batch) -> Tensor:
        error = gradients(batch)
        optimiser.step()
        return error

    return step


def read(steps: Iterable[tuple[int, Tensor]], *, late: int) -> Iterator[tuple[int, float]]:
    """Yield the losses of ``steps`` as numbers, each ``late`` steps after its own.

    So nobody waits for a GPU that is still at it.
    """
    under_way: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()
    for samples, loss in steps:
        under_way.append((samples, *_sent(loss)))
        if len(under_way) > late:
            yield _arrived(*under_way.popleft())
    while under_way:
        yield _arrived(*under_way.popleft())


def _sent(loss: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Return where ``loss`` will be on the host, and what tells when."""
    if loss.device.type != "cuda":
        return loss.clone(), None
    here = torch.empty_like(loss, device="cpu", pin_memory=True)
    here.copy_(loss, non_blocking=True)
    there = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    there.record()
    return here, there


def _arrived(samples: int, loss: Tensor, there: torch.cuda.Event | None) -> tuple[int, float]:
    if there is not None:
        there.synchronize()
    return samples, loss.item()


def finite(loss: float, *, samples: int) -> float:
    """Return ``loss`` if it is finite.

    Raises:
        DivergedError: Otherwise; says after how many samples.
    """
    if not math.isfinite(loss):
        raise DivergedError(f"the loss became {loss} after {samples} samples")
    return loss


def optimiser_of(
    recipe: Recipe, modules: Iterable[nn.Module], *, steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return the recipe's optimiser over all parameters, and its schedule.

    Biases, norms and neuron parameters (anything with fewer than two axes) do not decay.
    With float64 every step ends on multiples of ``GRID``: what another processor rounded
    differently is a part in 1e8 of that, so it is gone before the next step can enlarge it.
    """
    parameters = [weight for module in modules for weight in module.parameters()]
    on_gpu = any(weight.is_cuda for weight in parameters)
    # In a graph the rate is a number on the device, which the schedule fills anew; fused
    # kernels read it as float32, whatever weights are.
    rate: Any = recipe.learning_rate
    on_device: Any = {"dtype": torch.float32, "device": parameters[0].device}
    groups = [
        {
            "params": [weight for weight in parameters if (weight.dim() > 1) == decays],
            "weight_decay": recipe.weight_decay if decays else 0.0,
            "initial_lr": rate,
            "lr": torch.tensor(rate, **on_device) if on_gpu else rate,
        }
        for decays in (True, False)
    ]
    optimiser: torch.optim.Optimizer = (
        torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)
        if recipe.optimiser == "sgd"
        # Fused, Adam counts its steps in float32.
        else torch.optim.AdamW(
            groups, fused=on_gpu or recipe.precision != "float64" or None, capturable=on_gpu
        )
    )
    if recipe.precision == "float64":
        optimiser.register_step_post_hook(_to_grid)
    rising = max(1, round(recipe.warmup * steps)) if recipe.warmup else 0

    def share(step: int) -> float:
        """Return the fraction of the peak learning rate at ``step``."""
        if step < rising:
            return (step + 1) / rising
        return 0.5 + 0.5 * math.cos(math.pi * (step - rising) / max(1, steps - rising))

    return optimiser, LambdaLR(optimiser, share)


@torch.no_grad()
def _to_grid(optimiser: torch.optim.Optimizer, *_: object) -> None:
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    torch._foreach_div_(weights, GRID)  # exact, for it is a power of 2
    torch._foreach_round_(weights)
    torch._foreach_mul_(weights, GRID)
