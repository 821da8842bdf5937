"""From curves to a verdict: where a limit breaks, whether a gate is passed, and two sentences."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import check_share
from ..errors import InputError
from ..evaluation.metrics import error_interval
from ..evaluation.security_curve import budget_of
from ..report.schema import EXIT_CODES
from ..spelling import spell_share, things

#: Verdicts of an attack's health that let its numbers stand.
SOUND = ("worked", "nothing to do")


@dataclasses.dataclass(frozen=True)
class Curve:
    """Errors against the share of poisoned rows.

    Args:
        fractions: p / (n + p), ascending from 0, (B,).
        points: p, (B,).
        errors: test errors, (B, K) over K splits.
    """

    fractions: np.ndarray
    points: np.ndarray
    errors: np.ndarray

    def mean(self) -> np.ndarray:
        """Return the means over splits, (B,)."""
        return self.errors.mean(axis=1)

    def ends(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the ends of the means' 95 % intervals, within [0, 1], (B,) each; None for fewer than 3 splits."""
        found = [error_interval(row) for row in self.errors]
        if any(one is None for one in found):
            return None
        both = np.array(found, float)
        return both[:, 0], both[:, 1]


def breaking_point(curve: Curve, limit: float) -> dict[str, Any]:
    """Return the smallest share of poisoned rows at which the mean error passes a limit.

    Between budgets, errors are taken to lie on straight lines; an attacker with more points can do what one with fewer
    does, so that errors never fall. The interval runs from where the upper ends of the mean's 95 % intervals pass the
    limit to where the lower ends do.

    Args:
        curve: of the poisoned victim.
        limit: the largest error accepted.

    Returns:
        What audit.json holds under `breaking_point`.
    """
    ends = curve.ends()
    at = _crossing(curve.fractions, curve.mean(), limit)
    interval = None
    if ends is not None:
        low, high = (_crossing(curve.fractions, values, limit) for values in (ends[1], ends[0]))
        interval = None if low is None else [low, high]
    n = _rows(curve)
    points = None if at is None else int(np.ceil(at * n / (1 - at) - 1e-9))
    return {
        "limit": limit,
        "fraction": at,
        "points": points,
        "interval": interval,
        "censored": at is None,
        "most_points": int(curve.points[-1]),
        "most_fraction": float(curve.fractions[-1]),
        "sentence": _breaking_sentence(curve, limit, at, points, interval),
    }


def _rows(curve: Curve) -> int:
    """Return n, the number of clean training rows."""
    last = float(curve.fractions[-1])
    return round(int(curve.points[-1]) * (1 - last) / last)


def _crossing(fractions: np.ndarray, values: np.ndarray, limit: float) -> float | None:
    """Return the share at which a rising curve passes a limit; None where it does not."""
    values = np.maximum.accumulate(values)
    above = np.flatnonzero(values > limit)
    if not above.size:
        return None
    i = int(above[0])
    if i == 0:
        return float(fractions[0])
    part = (limit - values[i - 1]) / (values[i] - values[i - 1])
    return float(fractions[i - 1] + part * (fractions[i] - fractions[i - 1]))


def _breaking_sentence(
    curve: Curve, limit: float, at: float | None, points: int | None, interval: list[float | None] | None
) -> str:
    if at is None or points is None:
        return (
            f"The mean error stayed within {spell_share(limit)} up to {things(int(curve.points[-1]), 'poisoned row')} "
            f"({spell_share(curve.fractions[-1])}), the most that were tried. A sharper attack may break it."
        )
    if at == 0:
        return f"The mean error is above {spell_share(limit)} without a single poisoned row."
    between = ""
    if interval is not None and interval[0] is not None:
        upper = f"more than {spell_share(curve.fractions[-1])}" if interval[1] is None else spell_share(interval[1])
        between = f", with 95 % confidence between {spell_share(interval[0])} and {upper}"
    rows = things(points, "row")
    return f"The mean error passes {spell_share(limit)} at {spell_share(at)} of poisoned rows, about {rows}{between}."


def gate(curve: Curve | None, limit: float | None, at: float | None, health: Sequence[str]) -> dict[str, Any]:
    """Return whether the error stays within a limit at a share of poisoned rows.

    Judged is the largest mean error up to that share, as for `breaking_point`: whoever may add more rows may add fewer.

    Args:
        curve: of the poisoned victim, with that share among its fractions; None where there is no gate.
        limit: the largest error accepted; None where nobody asked.
        at: the share of poisoned rows.
        health: verdicts on the attacks at that share.

    Returns:
        What audit.json holds under `gate`.
    """
    if curve is None or limit is None or at is None:
        return _answer("not asked", limit=limit, at=at, error=None, rules=[])
    allowed = np.flatnonzero(curve.points <= budget_of(at, _rows(curve)))
    means = curve.mean()
    values = curve.errors[max(allowed, key=lambda i: (means[i], i))]
    mean, ends = float(values.mean()), error_interval(values)
    sick = [one for one in health if one not in SOUND]
    rules = [
        "judged: the largest mean error up to that share, for whoever may add more rows may add fewer",
        "broken: the lower end of the error's 95 % interval is above the limit",
        "passed: the upper end is not above the limit, and every attack worked",
        "inconclusive: the interval straddles the limit, there are fewer than 3 splits, or an attack did not work",
    ]
    if ends is not None and ends[0] > limit:
        verdict = "broken"
    elif ends is not None and ends[1] <= limit and health and not sick:
        verdict = "passed"
    else:
        verdict = "inconclusive"
    error = {"mean": mean, "interval": None if ends is None else list(ends), "splits": [float(v) for v in values]}
    return _answer(verdict, limit=limit, at=at, error=error, rules=rules)


def _answer(verdict: str, **found: Any) -> dict[str, Any]:
    return {**found, "verdict": verdict, "exit_code": EXIT_CODES[verdict]}


def check_gate(limit: float | None, at: float | None) -> None:
    """Raise unless limit and share of a gate are both there, or neither, and in range.

    Raises:
        InputError: one without the other, or a number out of its range.
    """
    if (limit is None) != (at is None):
        given, missing = ("--limit", "--at") if at is None else ("--at", "--limit")
        raise InputError(
            f"a gate needs --limit and --at: give {missing} beside {given}, such as --limit 0.2 --at 0.05."
        )
    if limit is not None:
        check_share(limit=limit)


def sentences(curve: Curve, flips: Curve, broken: dict[str, Any] | None, health: Sequence[str]) -> list[str]:
    """Return the verdict in two sentences: how bad, and how little it takes.

    Args:
        curve: of the poisoned victim.
        flips: of as many label flips.
        broken: the breaking point; None where there is no limit.
        health: verdicts on all attacks on the audited estimator.
    """
    number = _telling(curve)
    clean, mean = float(curve.mean()[0]), float(curve.mean()[number])
    count, share = int(curve.points[number]), spell_share(curve.fractions[number])
    rows = f"1 poisoned row ({share}" if count == 1 else f"{count} poisoned rows ({share}"
    ends = curve.ends()
    spread = "" if ends is None else " (95 % interval {} to {})".format(*(spell_share(end[number]) for end in ends))
    raised = f"{'raises' if count == 1 else 'raise'} the test error from {spell_share(clean)} to {spell_share(mean)}"
    controls = f"as many random label flips, to {spell_share(flips.mean()[number])}."
    first = f"{rows} of the training rows) {raised}{spread}; {controls}"
    sick = [one for one in health if one not in SOUND]
    if mean <= clean + 0.005:
        first = (
            f"The attack failed to raise the test error, which is {spell_share(clean)}, with {rows}); that is no "
            "evidence of robustness."
        )
    if sick:
        return [
            first,
            f"{len(sick)} of {len(health)} attacks did not work as they should: the true damage may be larger.",
        ]
    if broken is not None:
        return [first, broken["sentence"]]
    most = f"{100 * curve.fractions[-1]:.0f} %"
    if clean == 0:
        return [first, f"Without poisoned rows it made no error; with {most} of them, {spell_share(curve.mean()[-1])}."]
    double = breaking_point(curve, 2 * clean)
    if double["fraction"] is None:
        return [first, f"Up to {most} of poisoned rows, the error did not double; a sharper attack may do more."]
    return [first, f"It doubles at about {spell_share(double['fraction'])} of poisoned rows ({double['points']})."]


def _telling(curve: Curve) -> int:
    """Return the budget that the first sentence is about: the one nearest to 5 %."""
    return 1 + int(np.argmin(np.abs(curve.fractions[1:] - 0.05)))


def regate(record: dict[str, Any], limit: float, at: float) -> dict[str, Any]:
    """Return a record with the answer to another gate, from the curve that is in it.

    Args:
        record: the content of audit.json.
        limit: the largest error accepted.
        at: a share of poisoned rows that was audited.

    Raises:
        InputError: a share that was not, or a curve that holds no errors.
    """
    series = record["curves"][0]
    curve = Curve(
        np.array(series["fractions"]), np.array(series["points"]), np.array(series["poisoned"]["splits"], float)
    )
    if not (np.isfinite(curve.errors).all() and (np.diff(curve.points) > 0).all() and curve.points[0] == 0):
        raise InputError("audit.json must hold the errors of all splits at growing numbers of rows: audit again.")
    points = budget_of(at, _rows(curve))
    if points not in curve.points[1:]:
        known = ", ".join(f"{fraction:.3g}" for fraction in curve.fractions[1:])
        raise InputError(f"--at must be a share that was audited ({known}); got {at:g}: audit again with it.")
    health = [one["verdict"] for one in record["health"]["splits"] if one["points"] == points]
    return {**record, "gate": gate(curve, limit, at, health), "breaking_point": breaking_point(curve, limit)}
