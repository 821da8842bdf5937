"""What a study found: a pure function of its plan and its store, whatever happened on the way.

Runs of the same settings are a combination; its means are over splits, with Student's t interval from 3 splits on.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.metrics import error_interval, half_width, student_interval
from .plan import Outcome, Run, Study, canonical, code_version, plain, varying
from .store import Store
from .tasks import Task, number
from .workers import Finished


class TaskResults:
    """The outcomes of runs, by their task and settings.

    Args:
        runs: all that were planned.
        store: where their outcomes are.
        tasks: by name.

    Raises:
        InputError: an outcome is missing.
    """

    def __init__(self, runs: Sequence[Run], store: Store, tasks: Mapping[str, Task]):
        self._found: list[tuple[Run, Outcome]] = []
        self._tasks = tasks
        for run in runs:
            outcome = store.read(run)
            if outcome is None:
                raise InputError(f"{store.path} must hold every run, and one of split {run.split} is missing: run it.")
            self._found.append((run, outcome))

    def find(self, task: str, **wanted: Any) -> list[Outcome]:
        """Return the outcomes of a task's runs whose settings have these values, in the order of their splits."""
        found = [(run.split, outcome) for run, outcome in self._matching(task, wanted)]
        return [outcome for _, outcome in sorted(found, key=lambda pair: pair[0])]

    def of(self, task: str, **wanted: Any) -> list[Outcome]:
        """Return what `find` finds.

        Raises:
            KeyError: there is none.
        """
        found = self.find(task, **wanted)
        if not found:
            raise KeyError(f"no run of {task} with {wanted}")
        return found

    def has(self, task: str, **wanted: Any) -> bool:
        """Tell whether `find` would find something."""
        return any(True for _ in self._matching(task, wanted))

    def settings(self, task: str, **wanted: Any) -> Mapping[str, Any]:
        """Return the settings of the first such run."""
        return next(run.settings for run, _ in self._matching(task, wanted))

    def _matching(self, task: str, wanted: Mapping[str, Any]) -> Iterator[tuple[Run, Outcome]]:
        path = self._tasks[task].run
        for run, outcome in self._found:
            if run.task == path and all(plain(run.settings.get(key)) == plain(value) for key, value in wanted.items()):
                yield run, outcome


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over splits.

    Args:
        mean: of the splits.
        interval: the ends of its 95 % interval, of errors cut as in `error_interval`; None below 3 splits.
        half_width: half the interval's length, nothing cut.
    """

    mean: float
    interval: tuple[float, float] | None
    half_width: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Combination:
    """The runs of the same settings.

    Args:
        settings: all of them.
        varying: those that are not the same in all combinations of the study.
        runs: one a split.
        outcomes: what those found that are in the store, by split.
    """

    settings: Mapping[str, Any]
    varying: Mapping[str, Any]
    runs: tuple[Run, ...]
    outcomes: Mapping[int, Outcome]

    @property
    def shares(self) -> bool:
        """Whether errors are shares of rows, and not the squared errors of a regression."""
        return all(outcome.values.get("n_classes", 1) for outcome in self.outcomes.values())

    def estimate(self, *path: str) -> Estimate | None:
        """Return the mean of a value over splits, such as `estimate("errors", "clean_error")`.

        None where no split has it; splits on which it is no finite number are left out of neither mean nor interval.
        """
        found: list[Any] = [outcome.values for outcome in self.outcomes.values()]
        for key in path:
            found = [value[key] for value in found if isinstance(value, Mapping) and key in value]
        if not found:
            return None
        numbers = [float("nan") if value is None else float(value) for value in found]
        interval = error_interval(numbers, shares=self.shares) if path[0] == "errors" else student_interval(numbers)
        return Estimate(float(np.mean(numbers)), interval, half_width(numbers))


def combinations(study: Study, store: Store) -> list[Combination]:
    """Return a study's combinations in the order of its runs, with what the store has of them."""
    groups: dict[str, list[Run]] = {}
    for run in study.runs:
        groups.setdefault(canonical([run.task, run.settings, run.seed]), []).append(run)
    differ = varying([{**group[0].settings, "seed": group[0].seed} for group in groups.values()])
    found = []
    for group, own in zip(groups.values(), differ, strict=True):
        outcomes = {run.split: outcome for run in group if (outcome := store.read(run)) is not None}
        found.append(Combination(group[0].settings, own, tuple(group), outcomes))
    return found


def describe_study(study: Study, found: Iterable[Combination], failures: Iterable[Finished] = ()) -> dict[str, Any]:
    """Return the content of study.json; it holds no times, so that the same study has the same bytes.

    Args:
        study: its plan.
        found: its combinations.
        failures: runs that failed.
    """
    errors = {failure.run.identity: failure.error for failure in failures}
    return {
        "name": study.name,
        "study": plain(study.source),
        "code": code_version(),
        "combinations": [
            {
                "settings": plain(one.settings),
                "varying": plain(one.varying),
                "runs": [_describe_run(run, one.outcomes.get(run.split), errors) for run in one.runs],
                **_describe_means(one),
            }
            for one in found
        ],
    }


def _describe_run(run: Run, outcome: Outcome | None, errors: Mapping[str, str | None]) -> dict[str, Any]:
    record: dict[str, Any] = {"identity": run.identity, "split": run.split, "seed": run.seed}
    if outcome is not None:
        return {**record, "values": plain(outcome.values), "digest": outcome.digest}
    return {**record, "error": errors.get(run.identity, "not done yet")}


def _describe_means(one: Combination) -> dict[str, Any]:
    """Return the means of whatever errors the runs have."""
    names = dict.fromkeys(name for outcome in one.outcomes.values() for name in outcome.values.get("errors", ()))
    found = {name: estimate for name in sorted(names) if (estimate := one.estimate("errors", name)) is not None}
    return {
        "mean": {name: number(estimate.mean) for name, estimate in found.items()},
        "interval": {
            name: None if estimate.interval is None else [number(end) for end in estimate.interval]
            for name, estimate in found.items()
        },
    }
