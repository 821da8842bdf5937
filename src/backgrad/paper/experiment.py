"""What an experiment is: runs, and pure functions from their outcomes to a figure and its numbers."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..studies.plan import Outcome, Run
from ..studies.results import TaskResults
from ..studies.store import Store
from .tasks import PAPER_TASKS


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is done.

    Args:
        quick: three splits, and fewer and smaller attacks on the convolutional network.
        digits: the data set that the 1s, 5s and 6s of figures 5 and 6 are taken from, `"mnist-full"` or `"mnist"`.
    """

    quick: bool = False
    digits: str = "mnist"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One figure of the paper.

    Args:
        name: `figure1` …
        title: what it shows.
        runs: what has to be done for it.
        draw: returns the matplotlib figure.
        rows: returns its numbers, a row each.
    """

    name: str
    title: str
    runs: Callable[[Scale], tuple[Run, ...]]
    draw: Callable[["Results"], Any]
    rows: Callable[["Results"], list[dict[str, Any]]]


class Results(TaskResults):
    """The outcomes of the paper's runs, by their settings.

    Args:
        runs: all that were planned.
        store: where their outcomes are.

    Raises:
        InputError: an outcome is missing.
    """

    def __init__(self, runs: Sequence[Run], store: Store):
        super().__init__(runs, store, PAPER_TASKS)


def stacked(outcomes: Sequence[Outcome], name: str) -> np.ndarray:
    """Return an array of every outcome, stacked along a first axis of splits."""
    return np.stack([outcome.arrays[name] for outcome in outcomes])
