"""Every deliberate error of the harness, one family.

Each is also the fitting builtin, so callers may catch either. The command line
prints the message alone: it names the thing, its value and the remedy.
"""


class HarnessError(Exception):
    """The family. Never raised itself."""


class SpecError(HarnessError, ValueError):
    """A value that a specification does not allow."""


class UnknownPluginError(HarnessError, LookupError):
    """A name that no plug-in folder and no entry point knows."""


class UnsupportedError(HarnessError, ValueError):
    """Something a simulator, model or method cannot mean, in words."""


class PlaceError(UnsupportedError):
    """Something a method can mean, and not where it was asked to: on several devices."""


class DataError(HarnessError, OSError):
    """A data file that is missing, damaged or not what was published."""


class StoreError(HarnessError, OSError):
    """Results that cannot be written or read back."""


class TeacherError(HarnessError, RuntimeError):
    """A teacher that ended without weights."""


class CountingError(HarnessError, ValueError):
    """Arithmetic that the meter saw and cannot count."""


class DivergedError(HarnessError, ArithmeticError):
    """A training that left the finite numbers."""


class BudgetError(HarnessError, ValueError):
    """A method that drew more from its lesson than every method may spend."""
