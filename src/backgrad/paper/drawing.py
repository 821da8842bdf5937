"""What the figures share: styles that can be told apart in black and white, intervals, and percent."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..evaluation.metrics import student_interval

#: Colour (Okabe and Ito's, told apart by the colour-blind), line style and marker of each learner.
STYLES = {
    "mlp": ("#0072B2", "solid", "o"),
    "logistic": ("#D55E00", "dashed", "s"),
    "adaline": ("#009E73", "dashdot", "^"),
    "softmax": ("#D55E00", "dashed", "s"),
    "cnn": ("#0072B2", "solid", "o"),
}


def mean_and_half(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return means over the first axis, the splits, and half the lengths of their 95 % intervals (0 below three)."""
    values = np.asarray(values, float)
    flat = values.reshape(len(values), -1)
    ends = [student_interval(column) or (column.mean(),) * 2 for column in flat.T]
    half = np.array([(high - low) / 2 for low, high in ends]).reshape(values.shape[1:])
    return np.asarray(values.mean(axis=0)), half


def new_figure(rows: int, columns: int, size: tuple[float, float], **settings: Any) -> tuple[Any, np.ndarray]:
    """Return a figure and its axes, (rows, columns)."""
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **settings)


def curve(axes: Any, x: Any, values: Any, learner: str, label: str, *, control: bool = False) -> None:
    """Draw means over splits with 95 % intervals, in percent; controls are thin and grey.

    Args:
        axes: where.
        x: shares of poisoned rows, (B,).
        values: shares, (splits, B).
        learner: whose style.
        label: for the legend.
        control: whether these are label flips.
    """
    colour, line, marker = STYLES[learner]
    mean, half = mean_and_half(100 * np.asarray(values))
    style = {"color": "0.55", "linewidth": 0.9, "markersize": 3, "mfc": "white"} if control else {"color": colour}
    axes.errorbar(
        100 * np.asarray(x), mean, half, linestyle=line, marker=marker, label=label, capsize=2, elinewidth=0.7, **style
    )


def in_shares(budgets: Sequence[int], train: int) -> np.ndarray:
    """Return poison fractions p / (n + p)."""
    return np.asarray([budget / (train + budget) for budget in budgets])


def percent_axes(axes: Any, title: str, *, x: str = "poisoned rows (%)", y: str = "test error (%)") -> None:
    """Name the axes of a curve."""
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.5)
