"""Settings in their range, or one sentence that says what was expected and what came.

Arrays pass the checks on real numbers: they may be traced, and are then no numbers yet.
"""

import math

from .errors import InputError


def is_number(value) -> bool:
    """Tell a Python number from an array and from a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_count(*, least: int = 1, **values) -> None:
    """Raise unless every value is a whole number of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            expected = "a positive whole number" if least == 1 else f"a whole number, {least} or more"
            raise InputError(f"{name} must be {expected}; got {value!r}.")


def check_positive(**values) -> None:
    """Raise unless every number is above 0 and finite."""
    for name, value in values.items():
        if is_number(value) and not 0 < value < math.inf:
            raise InputError(f"{name} must be a positive finite number; got {value}.")


def check_not_negative(**values) -> None:
    """Raise unless every number is 0 or more, and finite."""
    for name, value in values.items():
        if is_number(value) and not 0 <= value < math.inf:
            raise InputError(f"{name} must be a finite number, 0 or more; got {value}.")


def check_share(**values) -> None:
    """Raise unless every number lies in [0, 1)."""
    for name, value in values.items():
        if is_number(value) and not 0 <= value < 1:
            raise InputError(f"{name} must lie in [0, 1); got {value}.")
