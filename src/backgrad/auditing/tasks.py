"""What the runs of an audit do: attack a split, compare defences on it, certify on it.

A task is a function as `backgrad.studies.tasks` defines it. The rows come from a file or a bundled data set by name,
read once a process; rows and estimators in memory (`backgrad.audit`) are found by the hash of what they are, in the
process that holds them.
"""

import dataclasses
import functools
import json
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..precision import float64
from ..studies.plan import Outcome, canonical
from ..studies.tasks import Task, numbers
from ..threads import one_thread

if TYPE_CHECKING:
    from ..evaluation.plan import Plan, Rows
    from .estimators import Audited
    from .problem import Problem

_ROOM = __name__

#: The tasks of an audit.
AUDIT_TASKS: Mapping[str, Task] = {
    "attack": Task(f"{_ROOM}:attack"),
    "defend": Task(f"{_ROOM}:defend"),
    "certify": Task(f"{_ROOM}:certify"),
}

#: What audits of this process hold in memory, by the hash that settings name it by: no longer than they need it.
HELD: MutableMapping[str, Any] = weakref.WeakValueDictionary()

#: What points are crafted against by an attacker who does not know the learner: several surrogates at once.
ENSEMBLE = "ensemble"

# Fits of an estimator that has no gradient, for every step along one that others have.
_TRIALS = 0.4

#: What training sets consist of, beside the clean rows.
ROWS = ("clean", "flips", "poisoned")


def attack(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Craft points against one estimator, and train all victims on clean rows, label flips and points.

    Args:
        settings: as `backgrad.auditing.plan` makes them.
        split: the number of the split.
        seed: of the splits and the attack.
        progress: called with the share done, 0 … 1.

    Returns:
        Test rows of each true class (row) by predicted class (column): `confusion.VICTIM.clean|flips|poisoned`,
        (k, k), and of the ensemble with a certificate, `confusion.certified`, with points; points, labels, starting
        points; the attack's health.
    """
    from ..evaluation.metrics import confusion_counts
    from ..evaluation.plan import Table
    from ..evaluation.poisoning import craft_on_split, training_sets
    from ..evaluation.victims import fit_victim, with_points

    with one_thread, float64():
        problem, rows, own = open_split(settings, split, seed)
        table = Table(problem.imputed(rows.train), problem.y, problem.n_classes)
        crafted = _open_attacked(settings, problem)
        plan = make_plan(settings, crafted, problem)
        made = craft_on_split(plan, table, rows, seed=own, progress=lambda share: progress(0.8 * share))
        arrays: dict[str, np.ndarray] = {
            "points": made.points,
            "labels": made.labels,
            "start": made.start,
            "train_rows": rows.train,
        }
        sets = dict(zip(ROWS, training_sets(made).values(), strict=True))
        for name in settings["victims"]:
            audited = open_estimator(settings, name, problem)
            seen = _seen(audited, problem, table)
            for kind, added in sets.items():
                predictions = fit_victim(audited.victim, seen, rows, added, seed=own).predict(seen.x[rows.test])
                found = confusion_counts(predictions, problem.y[rows.test], problem.n_classes)
                arrays[f"confusion.{name}.{kind}"] = found
        if settings["partitions"]:
            whole = _with_gaps(problem)
            ensemble = _ensemble(settings, crafted, problem).fit(*with_points(whole, rows, sets["poisoned"]))
            predictions = ensemble.predict(whole.x[rows.test])
            arrays["confusion.certified"] = confusion_counts(predictions, problem.y[rows.test], problem.n_classes)
        progress(1.0)
        shown = _shifts(table.x[rows.train], made.points)
        return Outcome({"health": numbers(dataclasses.asdict(made.health))}, arrays | shown)


def defend(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Compare defences of the audited estimator on one split.

    Args:
        settings: as `backgrad.auditing.plan` makes them.
        split: the number of the split.
        seed: of the splits and the attack.
        progress: called with the share done, 0 … 1.

    Returns:
        By the name of each defence, what `backgrad.evaluation.defence_table` measures; and its warnings.
    """
    from ..evaluation.defence_table import MEASURES, defence_table
    from ..evaluation.plan import Table
    from ..evaluation.words.defences import make_defences
    from ..learners.base import Member

    with one_thread, float64():
        problem, rows, _ = open_split(settings, split, seed)
        audited = open_estimator(settings, "own", problem)
        plan = make_plan(settings, audited, problem)
        defences = make_defences(
            list(settings["defences"]), audited.victim, fraction=settings["remove"], train=rows.train.size, seed=seed
        )
        found = defence_table(
            plan,
            Table(problem.imputed(rows.train), problem.y, problem.n_classes),
            [rows],
            defences=defences,
            budgets=[settings["points"]],
            seed=seed,
            victim=None if isinstance(audited.victim, Member) else audited.victim,
            view=_unit_view(problem, rows.train),
            adaptive=settings["adaptive"],
            first_split=split,
            progress=progress,
        )
        measures = {
            name: numbers({measure: found.of(measure, name)[0, 0] for measure in MEASURES}) for name in found.names
        }
        return Outcome({"measures": measures, "warnings": found.warnings})


def certify(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Train an ensemble with a certificate on the clean rows of one split.

    Args:
        settings: as `backgrad.auditing.plan` makes them.
        split: the number of the split.
        seed: of the splits.
        progress: called with the share done, 0 … 1.

    Returns:
        The largest error on test rows that so many inserted rows can cause (`certified_error`, by `budgets`), and how
        many members are of another kind (`others`), where the estimator needs more rows than a part has.
    """
    from ..evaluation.victims import with_points

    with one_thread, float64():
        problem, rows, _ = open_split(settings, split, seed)
        table, audited = _with_gaps(problem), open_estimator(settings, "own", problem)
        ensemble = _ensemble(settings, audited, problem).fit(*with_points(table, rows, None))
        others = sum(_is_other(model) for model in ensemble.estimators_)
        budgets = np.asarray(settings["budgets"], int)
        safe = ensemble.certified_accuracy(table.x[rows.test], table.y[rows.test], budgets)
        progress(1.0)
        return Outcome({"others": others}, {"budgets": budgets, "certified_error": 1 - np.asarray(safe, float)})


# --- what tasks share -----------------------------------------------------------------------------


def open_problem(settings: Mapping[str, Any]) -> "Problem":
    """Return the rows that settings name, once a process."""
    data = settings["data"]
    if data["kind"] == "held" or data["sha256"] in HELD:
        return _held(data["sha256"])
    return _read_problem(canonical(data))


@functools.lru_cache(maxsize=4)
def _read_problem(text: str) -> "Problem":
    from .reading import read_problem

    data = json.loads(text)
    found = read_problem(data)
    if found.sha256 != data["sha256"]:
        raise InputError(
            f"{found.source} should be what the audit was started with (SHA-256 {data['sha256'][:12]}…); it has "
            f"{found.sha256[:12]}…: restore it, or start the audit again."
        )
    return found


def _held(key: str) -> Any:
    if key not in HELD:
        raise InputError("rows and estimators in memory can be audited by the process that holds them: use workers=1.")
    return HELD[key]


def open_split(settings: Mapping[str, Any], split: int, seed: int) -> tuple["Problem", "Rows", tuple[int, int]]:
    """Return the problem, the rows of a split, and what its random numbers start from."""
    from ..datasets import split_rows
    from ..evaluation.plan import Rows

    problem, sizes = open_problem(settings), settings["sizes"]
    found = split_rows(
        len(problem.y),
        train=sizes["train"],
        validation=sizes["validation"],
        seed=seed,
        split=split,
        labels=problem.y,
    )
    rows = Rows(found.train, found.validation, found.test).with_trusted(sizes["trusted"], labels=problem.y)
    return problem, dataclasses.replace(rows, test=rows.test[: sizes["test"]]), (seed, split)


def open_estimator(settings: Mapping[str, Any], name: str, problem: "Problem") -> "Audited":
    """Return an estimator by its name, `"own"` for the one that is audited."""
    from .estimators import make_audited, make_estimator

    spec = settings["estimator"] if name == "own" else name
    estimator = _held(spec.removeprefix("held:")) if spec.startswith("held:") else make_estimator(spec)
    return make_audited(spec, estimator, problem, train=settings["sizes"]["train"])


def try_out(settings: Mapping[str, Any], seed: int) -> None:
    """Fit the audited estimator once, on clean rows of the first split.

    Args:
        settings: as `backgrad.auditing.plan` makes them; those of no task in particular will do.
        seed: of the splits.

    Raises:
        InputError: it cannot be fitted, or does not predict.
        UnsupportedError: nothing can stand for it.
    """
    from ..evaluation.plan import Table
    from ..evaluation.victims import fit_victim
    from ..learners.base import Member

    with one_thread, float64():
        problem, rows, own = open_split(settings, 0, seed)
        audited = open_estimator(settings, "own", problem)
        if isinstance(audited.victim, Member):  # one of ours
            return
        seen = _seen(audited, problem, Table(problem.imputed(rows.train), problem.y, problem.n_classes))
        try:
            fit_victim(audited.victim, seen, rows, None, seed=own).predict(seen.x[rows.test])
        except Exception as error:
            raise InputError(
                f"the estimator must fit arrays of the {len(problem.feature_names)} features and predict; it raised "
                f"{type(error).__name__}: {str(error).strip()}"
            ) from error


def _open_attacked(settings: Mapping[str, Any], problem: "Problem") -> "Audited":
    """Return what points are crafted against: an estimator, or several at once."""
    from .estimators import join_surrogates

    if settings["against"] != ENSEMBLE:
        return open_estimator(settings, settings["against"], problem)
    return join_surrogates(ENSEMBLE, [open_estimator(settings, name, problem) for name in settings["members"]])


def make_plan(settings: Mapping[str, Any], audited: "Audited", problem: "Problem") -> "Plan":
    """Return the attack on an estimator."""
    from ..attacks.back_gradient import JointAttack
    from ..attacks.subpopulation import SubpopulationAttack
    from ..evaluation.plan import Fitted, Plan
    from ..threat.knowledge import PerfectKnowledge, Surrogates
    from ..threat.model import ThreatModel

    members = audited.surrogate.members
    single = len(members) == 1
    knowledge = PerfectKnowledge() if single else Surrogates(members, what="the estimator's own gradient")
    trials = SubpopulationAttack(max(round(_TRIALS * settings["iterations"]), 1), redraw=True)
    return Plan(
        learner=members[0].learner,
        schedule=members[0].schedule,
        attack=JointAttack(settings["iterations"]),
        threat=ThreatModel(settings["points"], feasible=problem.feasible, knowledge=knowledge),
        project_start=True,
        reuse=1.0,
        fitted=None if audited.differentiable else Fitted(audited.victim, trials),
    )


def _ensemble(settings: Mapping[str, Any], audited: "Audited", problem: "Problem") -> Any:
    """Return the ensemble that stands in the estimator's place, unfitted; it is given rows with their gaps."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    from ..defences.certified.partition import DeepPartitionAggregation, OrElse
    from ..learners.base import Member
    from .estimators import make_estimator

    usual = make_estimator("logistic")
    base = usual if isinstance(audited.victim, Member) else OrElse(audited.victim, usual)
    if np.isnan(problem.x).any():
        # By medians of all rows, one inserted row would move every partition. A partition may know none of a column.
        base = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), base)
    return DeepPartitionAggregation(base, n_partitions=settings["partitions"])


def _is_other(model: Any) -> bool:
    """Tell whether another classifier took the estimator's place in a member of the ensemble."""
    last = model[-1] if hasattr(model, "steps") else model
    return bool(getattr(last, "is_other_", False))


def _seen(audited: "Audited", problem: "Problem", table: Any) -> Any:
    """Return the table that a victim is given: with its gaps where it fills them itself."""
    from ..learners.base import Member

    return table if isinstance(audited.victim, Member) else _with_gaps(problem)


def _with_gaps(problem: "Problem") -> Any:
    """Return the table as it is, for what fills its gaps itself."""
    from ..evaluation.plan import Table

    return Table(problem.x, problem.y, problem.n_classes)


def _unit_view(problem: "Problem", rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shift and scale by which each column runs from 0 to 1, on the training rows, as defences see them."""
    x = problem.imputed(rows)[rows]
    low, side = x.min(axis=0), np.ptp(x, axis=0)
    return low, np.where(side > 0, side, 1.0)


def _shifts(clean: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far the points' features lie from the clean rows', in standard deviations of these."""
    spread = clean.std(axis=0)
    gap = points.mean(axis=0) - clean.mean(axis=0)
    shift = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)
    return {"clean_mean": clean.mean(axis=0), "poison_mean": points.mean(axis=0), "shift": shift}
