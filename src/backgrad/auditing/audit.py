"""The public function: an estimator and rows in, a verdict out."""

import dataclasses
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..checks import check_kind, check_progress
from ..errors import InputError
from ..spelling import things
from ..studies.plan import Study, code_version, package_versions
from ..studies.results import TaskResults
from ..studies.runner import Progress, run_study
from ..studies.store import Store
from .estimators import check_estimator, identify_estimator
from .plan import Audit, make_audit
from .problem import from_arrays
from .profiles import PROFILES, Profile
from .record import make_record
from .tasks import AUDIT_TASKS, HELD, try_out
from .verdict import check_gate


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Args:
        record: the content of audit.json.
        points: poisoning points at the share of the gate, or near 5 %, (K, p, d), with `labels` (K, p) and the rows
            of every split they were crafted for (`train_rows`), by name.
    """

    record: dict[str, Any]
    points: dict[str, np.ndarray]

    @property
    def verdict(self) -> str:
        """The verdict, in two sentences."""
        return " ".join(self.record["verdict"])

    @property
    def exit_code(self) -> int:
        """0 passed or not asked, 1 the limit is broken, 3 inconclusive."""
        return int(self.record["gate"]["exit_code"])

    def save(self, folder: Path | str) -> None:
        """Write report.html, audit.json, the figures and points.npz into a folder, created where it is missing."""
        from ..report import write_audit

        write_audit(self.record, self.points, Path(folder))


def audit(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    profile: str = "standard",
    limit: float | None = None,
    at: float | None = None,
    splits: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    show_rows: bool = False,
    progress: Callable[[Progress], None] = lambda state: None,
) -> AuditResult:
    """Audit a classifier: how far poisoned training rows can push its error, and how few it takes.

    Args:
        estimator: an unfitted scikit-learn classifier or Pipeline; `backgrad.surrogate_for` says what its gradient is
            had from.
        X: features: an array, a pandas frame of numbers, or a sparse matrix, (n, d); NaN where a value is missing.
        y: labels, (n,).
        profile: `"quick"`, `"standard"` or `"thorough"`.
        limit: the largest error that you accept, with `at`.
        at: the share of poisoned rows at which it must hold.
        splits: random splits to average over; the profile's number where omitted.
        seed: of everything random.
        out: folder for the report and the results of runs, from which an interrupted audit goes on; nothing is written
            where omitted.
        show_rows: whether the report may show poisoned rows, or images, as they are.
        progress: called as runs end.

    Returns:
        The record, with a verdict in words, and the points.

    Raises:
        InputError: rows or settings that cannot be used, in one sentence.
    """
    check_estimator(estimator, where="estimator")
    check_gate(limit, at)
    check_progress(progress)
    if out is not None:
        check_kind((str, os.PathLike), "the path of a folder, or None", out=out)
    x, names = _features(X)
    problem = from_arrays(x, y, feature_names=names, target=str(getattr(y, "name", "y") or "y"))
    key = identify_estimator(estimator)
    problem, HELD[key] = HELD.setdefault(problem.sha256, problem), estimator
    made = make_audit(
        problem,
        {"kind": "held", "sha256": problem.sha256},
        f"held:{key}",
        profile=find_profile(profile),
        splits=splits,
        seed=seed,
        limit=limit,
        at=at,
    )
    try_out(made.settings, seed)
    begin = time.time()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch if out is None else out) / "runs")
        study = made.study()
        summary = run_study(study, store, workers=1, tasks=AUDIT_TASKS, progress=progress)
        if summary.failures:
            raise InputError(f"{things(len(summary.failures), 'run')} failed: {summary.failures[0].error}")
        result = conclude(made, study, store, command="backgrad.audit(...)", begin=begin, show_rows=show_rows)
    if out is not None:
        result.save(out)
    return result


def conclude(made: Audit, study: Study, store: Store, *, command: str, begin: float, show_rows: bool) -> AuditResult:
    """Return what the outcomes of an audit's runs say.

    Args:
        made: what was done.
        study: its runs, all of them in the store.
        store: where their outcomes are.
        command: that does it again.
        begin: when it began, seconds since the epoch.
        show_rows: whether poisoned rows may be shown as they are.

    Raises:
        InputError: an outcome is missing.
    """
    from ..report import mappings_for

    results = TaskResults(study.runs, store, AUDIT_TASKS)
    record = make_record(
        made,
        results,
        run={
            "command": command,
            "profile": made.profile.name,
            "seed": made.seed,
            "splits": made.splits,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin)),
            "seconds": round(time.time() - begin, 1),
        },
        environment=describe_environment(),
        mappings=mappings_for(_situations(made)),
        tool={"name": "backgrad", "version": __version__, "code": code_version()},
        show_rows=show_rows,
    )
    attacks = results.of("attack", against="own", points=made.budgets[made.share])
    points = {name: np.stack([one.arrays[name] for one in attacks]) for name in ("points", "labels", "train_rows")}
    return AuditResult(record, points)


def _situations(made: Audit) -> list[str]:
    """Return what the audit did, in the words by which terms of vocabularies are chosen."""
    found = {"availability": True, "white box": True, "transfer": bool(made.against or made.others)}
    found["sanitised"] = bool(made.profile.defences)
    return [name for name, present in found.items() if present]


def find_profile(name: str) -> Profile:
    """Return a profile by its name.

    Raises:
        InputError: an unknown one.
    """
    if name not in PROFILES:
        raise InputError(f"profile must be one of {', '.join(PROFILES)}; got {name!r}.")
    return PROFILES[name]


def command_line(words: Sequence[str], options: Mapping[str, Any]) -> str:
    """Return the command that was given, for a report."""
    given = [(name, value) for name, value in options.items() if value is not None and value is not False]
    flat = [str(part) for name, value in given for part in ((name,) if value is True else (name, value))]
    return shlex.join([*words, *flat])


def describe_environment() -> dict[str, Any]:
    """Return the versions that numbers depend on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": package_versions(),
    }


def _features(X: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return features as an array of floats, and their names."""
    from scipy import sparse

    names = tuple(map(str, getattr(X, "columns", ())))
    values = X.toarray() if sparse.issparse(X) else X
    try:
        # A frame's own missing values are no numbers to NumPy.
        x = values.to_numpy(float, na_value=np.nan) if hasattr(values, "to_numpy") else np.asarray(values, float)
    except (TypeError, ValueError):
        raise InputError(
            "X must hold numbers: encode categories first (sklearn.preprocessing.OneHotEncoder), or audit the table "
            "with `backgrad audit FILE`, which does so itself."
        ) from None
    if x.ndim != 2 or not x.size:
        raise InputError(f"X must have shape (n, d), with rows and columns; got {x.shape}.")
    return x, names or tuple(f"x{i}" for i in range(x.shape[1]))
