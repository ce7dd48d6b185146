"""Ways to spend a lesson."""

from harness.training.descent import descend
from harness.training.lesson import Answer, Batch, Lesson, Teacher
from harness.training.losses import softened_kl
from harness.training.student import Student

__all__ = ["Answer", "Batch", "Lesson", "Student", "Teacher", "descend", "softened_kl"]
