"""How much is trained and with what: the same for every method of a suite."""

from typing import Literal

from harness.contracts.errors import SpecError
from harness.contracts.values import value

Precision = Literal["float64", "float32", "bfloat16"]


@value
class Recipe:
    """The training budget and everything about training that is not the method's.

    Attributes:
        epochs: Passes over the training samples; 0 trains nothing.
        batch_size: Samples a step.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adam``, whose decay is decoupled (AdamW).
        learning_rate: At the peak; cosine to zero.
        warmup: Fraction of the steps that rise linearly to the peak.
        weight_decay: On weights; none on biases, norms and neuron parameters.
        augmentation: Names of ``harness.data.augmentation``, in order.
        train_samples: Use only so many, the first of a fixed shuffle; None is all.
        precision: Of forward and backward. ``float64`` is of everything, and ends each step
            on a grid (``harness.training.descent``), which other processors repeat to the
            decision; under ``bfloat16`` weights and optimiser stay float32. A processor without
            instructions for it multiplies the rounded numbers as float32.
        compiled: Whether neurons run through ``torch.compile``, and convolutions as products
            of matrices where the processor is faster so.
    """

    epochs: int
    batch_size: int
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.1
    warmup: float = 0.0
    weight_decay: float = 5e-4
    augmentation: tuple[str, ...] = ()
    train_samples: int | None = None
    precision: Precision = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("train_samples", 1), ("epochs", 0)):
            count = getattr(self, name)
            if count is not None and count < least:
                raise SpecError(f"Recipe.{name} must be at least {least}, got {count!r}")
        if not self.learning_rate > 0:
            raise SpecError(f"Recipe.learning_rate must be positive, got {self.learning_rate!r}")
