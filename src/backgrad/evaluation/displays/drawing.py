"""What the displays share: arrays that are checked, axes to draw on, numbers in percent."""

from typing import Any

import numpy as np

from ...errors import InputError
from ..metrics import student_interval


def import_pyplot(caller: str) -> Any:
    """Return matplotlib.pyplot, or say how to get it.

    Args:
        caller: the display, for the message.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller}.plot needs matplotlib, which could not be imported ({error}): run `pip install matplotlib`."
        ) from error
    return plt


def axes_or_new(plt: Any, ax: Any, *, size: tuple[float, float]) -> Any:
    """Return the axes that the user gave, or new ones on a figure of `size` inches with a constrained layout.

    Raises:
        InputError: `ax` is not one matplotlib Axes.
    """
    from matplotlib.axes import Axes

    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise InputError(
            f"ax must be one matplotlib Axes; got {type(ax).__name__}: choose one of an array by its index."
        )
    return ax


def real_array(name: str, values, *, ndim: tuple[int, ...], missing: bool = False) -> np.ndarray:
    """Return values as an array of floats.

    Args:
        name: of the argument, for the message.
        values: array-like.
        ndim: numbers of dimensions that are allowed.
        missing: whether NaN, for "no result", is allowed.

    Raises:
        InputError: no numbers, another number of dimensions, no entries, or numbers that are not finite.
    """
    expected = " or ".join(str(n) for n in ndim)
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be an array of numbers with {expected} dimension(s); got {type(values).__name__}."
        ) from None
    if array.ndim not in ndim or array.size == 0:
        raise InputError(f"{name} must have {expected} dimension(s) and at least one entry; got shape {array.shape}.")
    bad = np.isinf(array) if missing else ~np.isfinite(array)
    if bad.any():
        remedy = "NaN stands for no result" if missing else "leave such rows out"
        raise InputError(f"{name} must hold finite numbers; {int(bad.sum())} of {array.size} are not: {remedy}.")
    return array


def are_shares(values: np.ndarray) -> bool:
    """Tell whether all numbers, NaN aside, lie in [0, 1]."""
    return not ((values < 0) | (values > 1)).any()


def check_shares(name: str, values: np.ndarray) -> None:
    """Raise unless all numbers, NaN aside, lie in [0, 1]."""
    outside = values[(values < 0) | (values > 1)]
    if outside.size:
        raise InputError(f"{name} must be shares in [0, 1]; got {outside[0]:.6g}: divide percentages by 100.")


def name_list(argument: str, names) -> list[str]:
    """Return names as a list of strings.

    Raises:
        InputError: one string, or nothing that can be gone through.
    """
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise InputError(f"{argument} must be a list of names; got {names!r}: put a single one in brackets.")
    return [str(name) for name in names]


def attributes(result: Any, *names: str) -> tuple[Any, ...]:
    """Return a result's attributes by their names.

    Raises:
        InputError: the result lacks some of them.
    """
    missing = [name for name in names if not hasattr(result, name)]
    if missing:
        raise InputError(
            f"the result must have the attributes {', '.join(names)}; {type(result).__name__} has no "
            f"{', '.join(missing)}: pass the arrays to the constructor instead."
        )
    return tuple(getattr(result, name) for name in names)


def intervals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lower and upper ends of Student's 95 % intervals over the last axis.

    Args:
        values: (..., K) over K splits. A NaN among them leaves NaN ends.

    Returns:
        Two arrays of shape (...), or None for fewer than 3 splits.
    """
    flat = values.reshape(-1, values.shape[-1])
    ends = np.array([row for row in map(student_interval, flat) if row is not None])
    if len(ends) < len(flat):
        return None
    return ends[:, 0].reshape(values.shape[:-1]), ends[:, 1].reshape(values.shape[:-1])


def in_percent(share: float) -> str:
    """Write a share in percent, without the sign and with no more digits than it has.

    >>> in_percent(0.07), in_percent(0.125)
    ('7', '12.5')
    """
    return f"{100 * share:.6g}"


def label_in_percent(axis: Any) -> None:
    """Let a matplotlib axis that holds shares show percent."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: in_percent(value)))
