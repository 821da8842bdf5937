"""What an experiment is: runs, and pure functions from their outcomes to a figure and its numbers."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..studies.plan import Outcome, Run, plain
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


class Results:
    """The outcomes of runs, by their settings.

    Args:
        runs: all that were planned.
        store: where their outcomes are.

    Raises:
        InputError: an outcome is missing.
    """

    def __init__(self, runs: Sequence[Run], store: Store):
        self._found: list[tuple[Run, Outcome]] = []
        for run in runs:
            outcome = store.read(run)
            if outcome is None:
                raise InputError(f"{store.path} must hold every run, and one of split {run.split} is missing: run it.")
            self._found.append((run, outcome))

    def of(self, task: str, **wanted: Any) -> list[Outcome]:
        """Return the outcomes of a task's runs whose settings have these values, in the order of their splits.

        Raises:
            KeyError: there is none.
        """
        found = [(run.split, outcome) for run, outcome in self._matching(task, wanted)]
        if not found:
            raise KeyError(f"no run of {task} with {wanted}")
        return [outcome for _, outcome in sorted(found, key=lambda pair: pair[0])]

    def has(self, task: str, **wanted: Any) -> bool:
        """Tell whether `of` would find something."""
        return any(True for _ in self._matching(task, wanted))

    def settings(self, task: str, **wanted: Any) -> Mapping[str, Any]:
        """Return the settings of the first such run."""
        return next(run.settings for run, _ in self._matching(task, wanted))

    def _matching(self, task: str, wanted: Mapping[str, Any]) -> Iterator[tuple[Run, Outcome]]:
        path = PAPER_TASKS[task].run
        for run, outcome in self._found:
            same = all(plain(run.settings.get(key)) == plain(value) for key, value in wanted.items())
            if run.task == path and same:
                yield run, outcome


def stacked(outcomes: Sequence[Outcome], name: str) -> np.ndarray:
    """Return an array of every outcome, stacked along a first axis of splits."""
    return np.stack([outcome.arrays[name] for outcome in outcomes])
