"""Settings in their range, or one sentence that says what was expected and what came.

Arrays pass the checks on real numbers: they may be traced, and are then no numbers yet.
"""

import math
import numbers
from typing import Any, TypeVar, cast

from .errors import InputError

_Setting = TypeVar("_Setting")


def is_number(value) -> bool:
    """Tell a real number, Python's or NumPy's, from an array and from a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value) -> bool:
    """Tell a whole number, Python's or NumPy's, from all else and from a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def native(value: _Setting) -> _Setting:
    """Return a setting with Python's numbers in place of NumPy's, which equinox would take for arrays."""
    setting: Any = value
    if isinstance(setting, tuple):
        setting = tuple(map(native, setting))
    elif is_whole(setting):
        setting = int(setting)
    elif is_number(setting):
        setting = float(setting)
    return cast(_Setting, setting)


def check_count(*, least: int = 1, **values) -> None:
    """Raise unless every value is a whole number of at least `least`."""
    for name, value in values.items():
        if not is_whole(value) or value < least:
            expected = "a positive whole number" if least == 1 else f"a whole number, {least} or more"
            raise InputError(f"{name} must be {expected}; got {native(value)!r}.")


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
