"""What runs can do: a closed table of tasks, and the task `attack`.

A task is a function (settings, split, seed, progress) → `Outcome` that depends on nothing else: not on the time, the
machine, the number of workers or the runs before it.
"""

import dataclasses
import functools
import hashlib
import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..precision import float64
from ..threads import one_thread
from .plan import Outcome, Run, canonical, plain

if TYPE_CHECKING:
    from ..evaluation.plan import Rows
    from ..evaluation.poisoning import SplitOutcome
    from ..evaluation.words import Data, Options

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Task:
    """Where a task lies.

    Args:
        run: the function that does a run, as `package.module:function`.
        check: one that takes all the task's runs and raises `InputError` before any of them starts; none where None.
    """

    run: str
    check: str | None = None


#: The tasks of studies in YAML. Studies in Python bring a table of their own.
TASKS: Mapping[str, Task] = {"attack": Task("backgrad.studies.tasks:attack", "backgrad.studies.tasks:check_attacks")}


def resolve(path: str) -> Callable[..., Any]:
    """Return the function at `package.module:function`.

    Raises:
        InputError: a path of another form, or one that leads to no function.
    """
    if not _PATH.fullmatch(path):
        raise InputError(f"a task must be a path such as package.module:function; got {path!r}.")
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise InputError(f"the task {path!r} cannot be imported ({error}): install what it needs.") from None
    if not callable(found):
        raise InputError(f"the task {path!r} must be a function, and {module} has none of that name.")
    return found


def check_tasks(runs: Sequence[Run], tasks: Mapping[str, Task]) -> None:
    """Raise where a run cannot be done, before any is started.

    Raises:
        InputError: a task that is not in the table, or what its own check refuses.
    """
    known = {task.run: task for task in tasks.values()}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.task, []).append(run)
    for path, group in groups.items():
        if path not in known:
            raise InputError(f"tasks must be of the table ({', '.join(known)}); got {path!r}.")
        resolve(path)
        if (check := known[path].check) is not None:
            resolve(check)(group)


# --- the task `attack` ----------------------------------------------------------------------------


def attack(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Attack one split, and judge the victim on clean rows, label flips and poisoning points.

    Args:
        settings: `data` (what `attack_data` takes), `train` and `validation` (numbers of rows), and `options`, the
            fields of `backgrad.evaluation.words.Options`.
        split: the number of the split.
        seed: of the splits and the attack.
        progress: called with the share done, 0 … 1.

    Returns:
        Errors and the attack's health; points, labels, starting points and rows.
    """
    import sklearn.linear_model  # noqa: F401  # the victims', whose libraries must be there to be limited

    from ..evaluation.poisoning import evaluate_split
    from ..evaluation.words import make_plan

    with one_thread, float64():
        data = attack_data(settings["data"])
        found_plan = make_plan(_options(settings), data.dataset)
        rows = _rows(data, settings, seed, range(split, split + 1), not found_plan.threat.knowledge.knows_rows)[0]
        table = data.table
        outcome = evaluate_split(
            found_plan,
            table.x,
            table.y,
            rows,
            n_classes=table.n_classes,
            seed=(seed, split),
            progress=progress,
        )
        return _as_outcome(outcome, found_plan.threat.budget, table.n_classes)


def check_attacks(runs: Sequence[Run]) -> None:
    """Raise where an attack cannot be done: its words, its data, or its number of rows or points.

    Raises:
        InputError: with the settings of the first such run.
    """
    from ..evaluation.words import make_plan

    splits: dict[tuple[str, int], list[int]] = {}
    for run in runs:
        splits.setdefault((canonical(run.settings), run.seed), []).append(run.split)
    settings = {canonical(run.settings): run.settings for run in runs}
    for (text, seed), numbers in splits.items():
        mine = settings[text]
        try:
            with float64():
                data = attack_data(mine["data"])
                found_plan = make_plan(_options(mine), data.dataset)
            rows = _rows(data, mine, seed, sorted(numbers), not found_plan.threat.knowledge.knows_rows)
            _check_budget(found_plan.threat.budget, found_plan.start, rows[0])
        except InputError as error:
            raise type(error)(f"{error} (In the combination {_phrase(mine)}.)") from None


def _phrase(settings: Mapping[str, Any]) -> str:
    """Name a combination by what is not the default."""
    from ..evaluation.words import Options

    usual = dataclasses.asdict(Options())
    words = [f"{name} {value}" for name, value in settings["options"].items() if value != usual[name]]
    return ", ".join([f"dataset {settings['data']['name']}", *words])


def _check_budget(points: int, start: str, rows: "Rows") -> None:
    available = rows.train.size if start == "train" else rows.validation.size
    if points > available:
        raise InputError(
            f"points must be at most the {available} {start} rows that they start from; got {points}: ask for fewer, "
            f"or raise {start}."
        )


def attack_data(settings: Mapping[str, Any]) -> "Data":
    """Return the data set that settings name, as `load_data` does, once a process."""
    return _load_data(**settings)


@functools.lru_cache(maxsize=4)
def _load_data(name: str, target: str | None, task: str | None, sha256: str | None) -> "Data":
    """Load a data set, or a table whose content must be the one that the study was planned with."""
    from ..evaluation.words import open_data

    if sha256 is not None and (found := file_digest(name)) != sha256:
        raise InputError(
            f"the table {name} should be the one that the study was started with (SHA-256 {sha256[:12]}…); it has "
            f"{found[:12]}…: restore it, or start the study again."
        )
    return open_data(name, target=target, task=task)


def file_digest(name: str) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"the table {name} cannot be read ({error.strerror or error}): check its path.") from None


def _options(settings: Mapping[str, Any]) -> "Options":
    from ..evaluation.words import Options

    return Options(**plain(settings["options"]))


def _rows(data: "Data", settings: Mapping[str, Any], seed: int, splits: Sequence[int], surrogate: bool) -> list["Rows"]:
    """Return the rows of some splits."""
    sizes = {"train": settings["train"], "validation": settings["validation"]}
    found = data.splits(**sizes, seed=seed, count=max(splits) + 1, surrogate=surrogate)
    return [found[split] for split in splits]


def _as_outcome(outcome: "SplitOutcome", points: int, n_classes: int) -> Outcome:
    """Return a split's outcome as plain values and arrays."""
    made, rows = outcome.attack, outcome.rows
    values = {
        "errors": numbers(outcome.errors),
        "class_errors": {name: [number(v) for v in found] for name, found in outcome.class_errors.items()},
        "goal_rates": numbers(outcome.goal_rates),
        "sklearn_errors": numbers(outcome.sklearn_errors),
        "diverged": bool(outcome.diverged),
        "health": numbers(dataclasses.asdict(made.health)),
        "adjoint": made.adjoint,
        "attack_seed": made.seed,
        "points": points,
        "train_rows": int(rows.train.size),
        "n_classes": n_classes,
    }
    arrays = {
        "points": made.points,
        "labels": made.labels,
        "start": made.start,
        "start_labels": made.start_labels,
        "trace": made.trace,
        "train_rows": rows.train,
        "validation_rows": rows.validation,
        "test_rows": rows.test,
    }
    if rows.surrogate is not None:
        arrays["surrogate_rows"] = rows.surrogate
    return Outcome(values, arrays, {"crafting": outcome.seconds})


def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose numbers are those that JSON has, see `number`."""
    return {name: number(value) for name, value in values.items()}


def number(value: Any) -> Any:
    """Return a number as Python's own, and one that JSON does not have as None (no rows) or its name (overflow)."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
