"""Ways to spend a lesson."""

from harness.training.descent import descend
from harness.training.lesson import Answer, Batch, Lesson, Teacher
from harness.training.losses.divergence import softened_kl, taught_share
from harness.training.slots import put_in_slots, slots
from harness.training.student import Student

__all__ = [
    "Answer",
    "Batch",
    "Lesson",
    "Student",
    "Teacher",
    "descend",
    "put_in_slots",
    "slots",
    "softened_kl",
    "taught_share",
]
