"""A row of the table of claims, and the intervals it is decided on."""

import dataclasses
from typing import Any

import numpy as np

from ..evaluation.metrics import student_interval


@dataclasses.dataclass(frozen=True)
class Claim:
    """One row of the table.

    Args:
        figure: where the paper shows it.
        claim: in one sentence.
        paper: what the paper reports.
        rule: when it holds, on the paper's method.
        paper_method: what that gives here, in numbers.
        best_attack: what our best attack gives at the same budget; None where there is nothing to compare.
        holds: None where the runs cannot tell.
    """

    figure: str
    claim: str
    paper: str
    rule: str
    paper_method: str
    best_attack: str | None
    holds: bool | None

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over splits with its 95 % interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    @property
    def contains_zero(self) -> bool:
        """Whether there may be no effect."""
        return self.low <= 0 <= self.high

    def __str__(self) -> str:
        return f"{self.mean:.1f} % [{self.low:.1f}, {self.high:.1f}]"


def interval(values: Any) -> Interval:
    """Return mean and interval of shares, in percent; the interval is a point where there is none."""
    values = 100 * np.asarray(values, float)
    low, high = student_interval(values) or (float(values.mean()),) * 2
    return Interval(float(values.mean()), low, high)


def fine(values: np.ndarray) -> str:
    """Write a mean with its interval to hundredths of a percent."""
    found = interval(values)
    return f"{found.mean:.2f} % [{found.low:.2f}, {found.high:.2f}]"
