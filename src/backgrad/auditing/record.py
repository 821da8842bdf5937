"""From the results of an audit's runs to audit.json: a pure function of the store."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..evaluation.confusion import errors, shares
from ..evaluation.defence_table import UNDEFENDED
from ..evaluation.metrics import error_interval, half_width
from ..report.schema import SCHEMA_VERSION
from ..studies.plan import Outcome, plain
from ..studies.results import TaskResults
from .context import describe_estimator, describe_input, describe_threat, own_name
from .plan import Audit
from .tasks import ROWS
from .verdict import SOUND, Curve, breaking_point, gate, sentences

_MOST_SHIFTS = 20
_MOST_IMAGES = 10
# What the attack of an audit is called: its rows are optimised against the audited estimator, all at once.
_ATTACK = "optimised rows"


def make_record(
    audit: Audit,
    results: TaskResults,
    *,
    run: dict[str, Any],
    environment: dict[str, Any],
    mappings: Sequence[dict[str, Any]],
    tool: dict[str, Any],
    show_rows: bool,
) -> dict[str, Any]:
    """Return the content of audit.json.

    Args:
        audit: what was done.
        results: of its runs.
        run: command, profile, times.
        environment: versions.
        mappings: terms of vocabularies that the audit is evidence towards.
        tool: name, version and hash of the code.
        show_rows: whether poisoned rows may be shown as they are.
    """
    curve, flips = (_curve(audit, results, "own", "own", kind) for kind in ("poisoned", "flips"))
    verdicts = {points: [_verdict(one) for one in _attacks(results, points)] for points in audit.budgets.values()}
    everything = [verdict for found in verdicts.values() for verdict in found]
    broken = None if audit.limit is None else breaking_point(curve, audit.limit)
    at_gate = verdicts[audit.budgets[audit.at]] if audit.at is not None else []
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": tool,
        "run": run,
        "environment": environment,
        "input": describe_input(audit),
        "target": {
            "column": audit.problem.target,
            "classes": [
                {"name": name, "rows": int((audit.problem.y == label).sum())}
                for label, name in enumerate(audit.problem.class_names)
            ],
        },
        "estimator": describe_estimator(audit),
        "threat_model": describe_threat(audit),
        "baseline": _baseline(audit, results),
        "curves": list(_curves(audit, results)),
        "class_damage": _class_damage(audit, results),
        "breaking_point": broken,
        "transfer": _transfer(audit, results),
        "defences": _defences(audit, results),
        "certificates": _certificates(audit, results),
        "poison": _poison(audit, results, show_rows=show_rows),
        "health": _health(audit, results, everything),
        "gate": gate(None if audit.limit is None else curve, audit.limit, audit.at, at_gate),
        "verdict": sentences(curve, flips, broken, everything),
        "mappings": list(mappings),
        "artifacts": [],
    }


# --- curves and damage ----------------------------------------------------------------------------


def _attacks(results: TaskResults, points: int, against: str = "own") -> list[Outcome]:
    return results.find("attack", against=against, points=points)


def _errors(found: Sequence[Outcome], victim: str, kind: str) -> np.ndarray:
    """Return a victim's test errors, (K,)."""
    return errors(_counts(found, f"{victim}.{kind}"))


def _counts(found: Sequence[Outcome], name: str) -> np.ndarray:
    """Return counts of test rows by true and predicted class, (K, k, k)."""
    return np.stack([one.arrays[f"confusion.{name}"] for one in found])


def _curve(audit: Audit, results: TaskResults, against: str, victim: str, kind: str) -> Curve:
    """Return a victim's errors against the share of poisoned rows; the first entry has none."""
    budgets = [points for points in sorted(set(audit.budgets.values())) if _attacks(results, points, against)]
    poisoned = [_errors(_attacks(results, points, against), victim, kind) for points in budgets]
    clean = _errors(_attacks(results, budgets[0], against), victim, "clean")
    points = np.array([0, *budgets])
    return Curve(points / (audit.sizes.train + points), points, np.array([clean, *poisoned]))


def _series(curve: Curve) -> dict[str, Any]:
    ends = curve.ends()
    interval: list[Any] = [None] * len(curve.points)
    if ends is not None:
        interval = np.stack(ends, axis=1).tolist()
    return {"mean": curve.mean().tolist(), "interval": interval, "splits": curve.errors.tolist()}


def _curves(audit: Audit, results: TaskResults):
    """Yield every pair of a victim and what points were crafted against; the audited estimator comes first."""
    for against in ("own", *audit.against):
        for victim in ("own", *audit.others):
            curves = {kind: _curve(audit, results, against, victim, kind) for kind in ROWS}
            yield {
                "victim": _name(audit, victim),
                "knowledge": "perfect" if against == victim else "surrogate-learner",
                "crafted_against": _name(audit, against),
                "fractions": curves["poisoned"].fractions.tolist(),
                "points": curves["poisoned"].points.tolist(),
                "clean": _series(curves["clean"]),
                "label_flips": _series(curves["flips"]),
                "poisoned": _series(curves["poisoned"]),
            }


def _name(audit: Audit, name: str) -> str:
    return own_name(audit) if name == "own" else name


def _summary(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    ends = error_interval(values)
    return {
        "mean": float(np.mean(values)),
        "interval": None if ends is None else list(ends),
        "splits": [float(value) for value in values],
    }


def _baseline(audit: Audit, results: TaskResults) -> dict[str, Any]:
    found = _attacks(results, min(audit.budgets.values()))
    wrong = _class_errors(_mean_shares(found, "clean"))
    labels = np.bincount(audit.problem.y, minlength=audit.problem.n_classes)
    return {
        "error": _summary(_errors(found, "own", "clean")),
        "majority_error": float(1 - labels.max() / labels.sum()),
        "class_errors": dict(zip(audit.problem.class_names, wrong, strict=True)),
    }


def _mean_shares(found: Sequence[Outcome], kind: str) -> np.ndarray:
    """Return the audited estimator's shares of every true class, (k, k).

    They are means over the splits that have test rows of the class, and NaN where no split has any.
    """
    every = shares(_counts(found, f"own.{kind}"))
    known = (~np.isnan(every)).sum(axis=0)
    return np.divide(np.nansum(every, axis=0), known, out=np.full(every.shape[1:], np.nan), where=known > 0)


def _class_errors(mean: np.ndarray) -> list[float | None]:
    """Return the error of each class, None where it is not known."""
    return [None if np.isnan(share) else float(1 - share) for share in np.diag(mean)]


def _rows_or_none(mean: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(share) else float(share) for share in row] for row in mean]


def _class_damage(audit: Audit, results: TaskResults) -> dict[str, Any]:
    points = max(audit.budgets.values())
    found = _attacks(results, points)
    means = {kind: _mean_shares(found, kind) for kind in ROWS}
    wrong = {kind: _class_errors(mean) for kind, mean in means.items()}
    return {
        "fraction": points / (audit.sizes.train + points),
        "points": points,
        "classes": [
            {
                "name": name,
                "clean": wrong["clean"][i],
                "label_flips": wrong["flips"][i],
                "poisoned": wrong["poisoned"][i],
            }
            for i, name in enumerate(audit.problem.class_names)
        ],
        "confusion_clean": _rows_or_none(means["clean"]),
        "confusion_poisoned": _rows_or_none(means["poisoned"]),
    }


def _transfer(audit: Audit, results: TaskResults) -> dict[str, Any] | None:
    victims = ("own", *audit.others)
    if len(victims) == 1:
        return None
    points = audit.budgets[audit.share]
    surrogates = ("own", *audit.against)

    def each(read: Callable[[list[Outcome], str], Any]) -> list[list[Any]]:
        return [[read(_attacks(results, points, against), victim) for victim in victims] for against in surrogates]

    own = _attacks(results, points)
    return {
        "fraction": points / (audit.sizes.train + points),
        "points": points,
        "surrogates": [_name(audit, name) for name in surrogates],
        "victims": [_name(audit, name) for name in victims],
        "errors": each(lambda found, victim: float(_errors(found, victim, "poisoned").mean())),
        "half_intervals": each(lambda found, victim: half_width(_errors(found, victim, "poisoned"))),
        "clean": [float(_errors(own, victim, "clean").mean()) for victim in victims],
        "label_flips": [float(_errors(own, victim, "flips").mean()) for victim in victims],
    }


# --- defences and certificates --------------------------------------------------------------------

_MEASURES = ("clean_error", "oblivious_error", "adaptive_error", "poison_removed", "clean_removed", "seconds")


def _defences(audit: Audit, results: TaskResults) -> dict[str, Any] | None:
    found = results.find("defend")
    if not found:
        return None
    points = audit.budgets[audit.share]
    rows = []
    for name in (UNDEFENDED, *audit.profile.defences):
        values = {measure: [plain(one.values["measures"])[name][measure] for one in found] for measure in _MEASURES}
        # A mean over other splits than the undefended row's could not be held against it.
        means = {measure: None if None in column else float(np.mean(column)) for measure, column in values.items()}
        rows.append({"name": name, **means})
    return {
        "fraction": points / (audit.sizes.train + points),
        "points": points,
        "rows": rows,
        "warnings": list(dict.fromkeys(_named(audit, line) for one in found for line in one.values["warnings"])),
    }


def _named(audit: Audit, sentence: str) -> str:
    """Return a defence's sentence with the name of the class that it calls by its number."""

    def name(found: re.Match[str]) -> str:
        return f"every row of class {audit.problem.class_names[int(found[1])]!r}"

    return re.sub(r"every row of class (\d+)", name, sentence)


def _certificates(audit: Audit, results: TaskResults) -> dict[str, Any] | None:
    found = results.find("certify")
    if not found:
        return None
    models = {"defended": "certified", "audited": "own.poisoned"}
    others = sum(one.values["others"] for one in found)
    measured = [
        _measured(points, errors(_counts(_attacks(results, points), counts)), model)
        for model, counts in models.items()
        for points in sorted(set(audit.budgets.values()))
    ]
    return {
        "method": "Deep Partition Aggregation",
        "partitions": audit.partitions,
        "budgets": found[0].arrays["budgets"].tolist(),
        "certified_error": np.mean([one.arrays["certified_error"] for one in found], axis=0).tolist(),
        "measured": measured,
        "note": "It holds for the defended model, an ensemble trained on disjoint parts of the rows, and not for the "
        f"pipeline that was audited.{_others(others, len(found) * audit.partitions)}",
    }


def _others(count: int, members: int) -> str:
    """Say how many members of the ensembles of all splits are not of the audited estimator."""
    if not count:
        return ""
    return (
        f" Of the {members} members of all splits, {count} {'is' if count == 1 else 'are'} logistic regression, where "
        "the estimator needs more rows than a part has."
    )


def _measured(points: int, values: np.ndarray, model: str) -> dict[str, Any]:
    """Return an error that the attack on the audited estimator reached."""
    found = _summary(values)
    return {
        "points": points,
        "error": found["mean"],
        "interval": found["interval"],
        "splits": found["splits"],
        "attack": _ATTACK,
        "model": model,
    }


# --- poison and health ----------------------------------------------------------------------------


def _poison(audit: Audit, results: TaskResults, *, show_rows: bool) -> dict[str, Any]:
    problem = audit.problem
    points = audit.budgets[audit.share]
    found = _attacks(results, points)
    means = {
        name: np.mean([one.arrays[name] for one in found], axis=0) for name in ("clean_mean", "poison_mean", "shift")
    }
    order = np.argsort(-np.abs(means["shift"]), kind="stable")[:_MOST_SHIFTS]
    features = [
        {"name": problem.feature_names[i], **{name: float(values[i]) for name, values in means.items()}} for i in order
    ]
    first, images, rows = found[0].arrays, None, None
    if problem.image_shape is not None and (show_rows or problem.is_public):  # an image is a row
        images = {
            "shape": list(problem.image_shape),
            "before": first["start"][:_MOST_IMAGES].tolist(),
            "after": first["points"][:_MOST_IMAGES].tolist(),
            "labels": [problem.class_names[label] for label in first["labels"][:_MOST_IMAGES]],
        }
    if show_rows:
        rows = [
            {
                **dict(zip(problem.feature_names, map(float, x), strict=True)),
                problem.target: problem.class_names[label],
            }
            for x, label in zip(first["points"][:_MOST_IMAGES], first["labels"], strict=False)
        ]
    return {"features": features, "images": images, "rows": rows}


def _verdict(outcome: Outcome) -> str:
    return str(outcome.values["health"]["verdict"])


_HEALTH = (
    "verdict",
    "sentence",
    "gradient_error_first",
    "gradient_error_last",
    "objective_start",
    "objective_best",
    "gain_left",
    "share_at_bounds",
)


def _health(audit: Audit, results: TaskResults, everything: Sequence[str]) -> dict[str, Any]:
    splits = [
        {"split": split, "points": points, **{name: one.values["health"].get(name) for name in _HEALTH}}
        for points in sorted(set(audit.budgets.values()))
        for split, one in enumerate(_attacks(results, points))
    ]
    order = ("failed", "suspect", "worked", "nothing to do")
    worst = min(everything, key=lambda verdict: order.index(verdict) if verdict in order else 0)
    sick = sum(verdict not in SOUND for verdict in everything)
    checked = any(one["gradient_error_last"] is not None for one in splits)
    evidence = "on gradients that check out" if checked else "without gradients, so that none was checked"
    sentence = (
        f"All {len(everything)} attacks raised their objective {evidence}."
        if not sick
        else f"{sick} of {len(everything)} attacks did not work as they should; their errors are no upper bound on "
        "what an attacker can do."
    )
    return {"verdict": worst, "sentence": sentence, "splits": splits}
