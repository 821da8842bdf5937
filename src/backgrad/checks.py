"""Settings in their range, or one sentence that says what was expected and what came.

JAX's arrays pass the checks on real numbers: they may be traced, and are then no numbers yet.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

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
    if isinstance(setting, np.ndarray) and setting.ndim == 0:
        setting = setting[()]
    if isinstance(setting, tuple):
        setting = tuple(map(native, setting))
    elif is_whole(setting):
        setting = int(setting)
    elif is_number(setting):
        setting = float(setting)
    return cast(_Setting, setting)


def shown(value) -> str:
    """Return a value as it goes into a sentence: in one line, and cut where it is long."""
    text = " ".join(repr(native(value) if is_number(value) else value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def check_kind(kind: type | tuple[type, ...], example: str, **values) -> None:
    """Raise unless every value is of a kind.

    Args:
        kind: as `isinstance` takes it.
        example: what is expected, to go into a sentence: "a goal, such as ErrorGeneric()".
        **values: by name.
    """
    for name, value in values.items():
        if not isinstance(value, kind):
            call = f": call it, as in {value.__name__}(...)" if isinstance(value, type) else ""
            raise InputError(f"{name} must be {example}; got {shown(value)}{call}.")


def check_seed(seed) -> None:
    """Raise unless a seed is a whole number that JAX, NumPy and scikit-learn all take; JAX would cut larger ones."""
    if not _is_seed(seed):
        raise InputError(f"seed must be a whole number from 0 to 2**32 - 1; got {shown(seed)}.")


def check_random(random_state) -> None:
    """Raise unless a `random_state` is one that all of scikit-learn takes."""
    if not (_is_seed(random_state) or random_state is None or isinstance(random_state, np.random.RandomState)):
        raise InputError(
            f"random_state must be a whole number from 0 to 2**32 - 1, or None; got {shown(random_state)}."
        )


def _is_seed(value) -> bool:
    return is_whole(value) and bool(0 <= value < 2**32)


def check_progress(progress) -> None:
    """Raise unless what is told how far the work has come can be called."""
    if not callable(progress):
        raise InputError(f"progress must be a function, such as print; got {shown(progress)}: leave it out for none.")


def check_count(*, least: int = 1, **values) -> None:
    """Raise unless every value is a whole number of at least `least`."""
    for name, value in values.items():
        if not is_whole(value) or value < least:
            expected = "a positive whole number" if least == 1 else f"a whole number, {least} or more"
            raise InputError(f"{name} must be {expected}; got {shown(value)}.")


def check_positive(**values) -> None:
    """Raise unless every number is above 0 and finite."""
    _check_numbers(values, lambda value: 0 < value < math.inf, "be a positive finite number")


def check_not_negative(**values) -> None:
    """Raise unless every number is 0 or more, and finite."""
    _check_numbers(values, lambda value: 0 <= value < math.inf, "be a finite number, 0 or more")


def check_share(**values) -> None:
    """Raise unless every number lies in [0, 1)."""
    _check_numbers(values, lambda value: 0 <= value < 1, "lie in [0, 1)")


def _check_numbers(values: dict[str, Any], allowed: Callable[[Any], bool], expected: str) -> None:
    for name, given in values.items():
        value = native(given)
        if not (allowed(value) if is_number(value) else _may_be_traced(value)):
            raise InputError(f"{name} must {expected}; got {shown(value)}.")


def _may_be_traced(value) -> bool:
    return getattr(value, "shape", None) == () and not isinstance(value, np.ndarray | np.generic)
