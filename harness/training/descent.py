"""Gradient descent over a lesson: how most methods spend it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from harness.contracts.errors import DivergedError
from harness.contracts.method import Progress
from harness.contracts.model import Output
from harness.contracts.recipe import Recipe
from harness.training.lesson import Answer, Lesson
from harness.training.student import Student

# What weights of a float64 recipe are multiples of; below 4 they are float32 numbers, too.
GRID = 2.0**-22
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
) -> Iterator[Progress]:
    """Minimise ``loss(output, answer, labels)`` over the lesson, one step a batch.

    Args:
        student: Its network is trained in place.
        lesson: Batches, teacher, recipe.
        loss: Of the student's output, the teacher's answer and the labels ``[N]``.
        also_train: Modules of the method's own, which die with it.
        taps: What the student's output shall carry.
        teacher_taps: What the teacher's answer shall carry.
        forward: How the student answers a stimulus while it learns; None is as ever.

    Raises:
        DivergedError: At the first loss that is not finite.
    """
    modules = (student.network, *also_train)
    optimiser, schedule = optimiser_of(lesson.recipe, modules, steps=lesson.steps)
    samples = 0
    for batch in lesson:
        for module in modules:
            module.train()
        with lesson.autocast():
            output = (forward or student)(batch.stimulus, taps)
            error = loss(output, lesson.answer(batch, teacher_taps), batch.labels)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        schedule.step()
        samples += len(batch.labels)
        yield Progress(
            samples=samples,
            budget=lesson.budget_samples,
            loss=finite(error.item(), samples=samples),
        )


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
    groups = [
        {
            "params": [weight for weight in parameters if weight.dim() > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [weight for weight in parameters if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
        if recipe.optimiser == "sgd"
        else torch.optim.AdamW(groups, lr=recipe.learning_rate)
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
    for group in optimiser.param_groups:
        for weight in group["params"]:
            weight.div_(GRID).round_().mul_(GRID)  # exact but for the rounding: a power of 2
