"""Security evaluation curves: a victim's error against the fraction of poisoned rows, and where it breaks a limit.

At every fraction the points are crafted afresh, for that budget, on every split; the clean model and label flips at
the same budget are always there.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..attacks.base import AttackResult
from ..checks import check_kind, check_progress, check_seed, check_share, is_number, shown
from ..errors import InputError
from .metrics import balanced_error, class_errors, error_interval, student_interval
from .plan import Plan, Rows, Table, train_size
from .poisoning import craft_on_split, error_of, training_sets
from .victims import fit_victim

CURVES = ("clean", "label flips", "poisoned")
DEFAULT_FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
# Errors among the scores, beside which there may be any that are none.
_BALANCED, _OF_CLASS = "balanced error", "error of class "
_ERRORS = ("error", _BALANCED)


@dataclasses.dataclass(frozen=True)
class SecurityCurve:
    """Errors against the fraction of poisoned rows.

    Args:
        fractions: p / (n + p), increasing, (F,).
        budgets: p, (F,).
        scores: by the score's name and the curve's (`CURVES`): one value a fraction and split, (F, K). `"error"` is
            always there (of a regression: the mean squared error), and for classes `"balanced error"` and
            `"error of NAME"` for every class.
        health: the verdict of every attack, by budget above 0: `"worked"`, `"suspect"` or `"failed"`, K of them.
    """

    fractions: np.ndarray
    budgets: np.ndarray
    scores: dict[str, dict[str, np.ndarray]]
    health: dict[int, list[str]]

    @property
    def shares(self) -> bool:
        """Whether errors are shares of rows, and not the mean squared errors of a regression."""
        return _BALANCED in self.scores

    def mean(self, score: str = "error", curve: str = "poisoned") -> np.ndarray:
        """Return the mean over splits at every fraction, (F,)."""
        return self.scores[score][curve].mean(axis=1)

    def interval(self, score: str = "error", curve: str = "poisoned") -> list[tuple[float, float] | None]:
        """Return the 95 % interval of the mean at every fraction, None below 3 splits; errors' are cut."""
        values = self.scores[score][curve]
        if score in _ERRORS or score.startswith(_OF_CLASS):
            return [error_interval(row, shares=self.shares) for row in values]
        return [student_interval(row) for row in values]


@dataclasses.dataclass(frozen=True)
class BreakingPoint:
    """The smallest fraction of poisoned rows at which the error passes a limit.

    Args:
        limit: the error that must not be passed.
        fraction: p / (n + p); None where it was not reached within the budget, which is a result too.
        budget: p, likewise.
        most: the greatest budget that was tried.
        evaluated: the errors of the splits, (K,), by budget.
        criterion: `"mean"`, or `"upper"` for the upper end of the 95 % interval.
        health: the verdicts of the attacks, by budget.
    """

    limit: float
    fraction: float | None
    budget: int | None
    most: int
    evaluated: dict[int, np.ndarray]
    criterion: str
    health: dict[int, list[str]]

    @property
    def censored(self) -> bool:
        """Whether the limit held at every budget that was tried."""
        return self.budget is None


def budget_of(fraction: float, n: int) -> int:
    """Return the number p of points whose fraction p / (n + p) is nearest to the one asked for."""
    if not is_number(fraction) or not 0 <= fraction < 1:
        raise InputError(f"a fraction of poisoned rows must lie in [0, 1); got {shown(fraction)}.")
    below = int(fraction * n / (1 - fraction))
    return min((below, below + 1), key=lambda p: abs(p / (n + p) - fraction))


def security_curve(
    plan: Plan,
    table: Table,
    splits: Sequence[Rows],
    *,
    victim: Any,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    scorers: Mapping[str, Any] | None = None,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> SecurityCurve:
    """Measure how a victim's error grows with the fraction of poisoned rows.

    Args:
        plan: the attack; its budget is replaced by those of the fractions.
        table: the data set.
        splits: the rows of every split.
        victim: an unfitted scikit-learn estimator, or a learner and its schedule as a `Member`.
        fractions: of poisoned rows among all training rows, each in [0, 1).
        scorers: further scores by name: a scikit-learn scorer or its name, as `sklearn.metrics.get_scorer` takes it.
        seed: of starting points and initial parameters.
        progress: called with the share of the work done, 0 … 1.

    Returns:
        The curves of the clean model, of label flips and of poisoning points.

    Raises:
        InputError: a fraction outside [0, 1), no split, or what an attack refuses.
    """
    n = train_size(splits)
    check_seed(seed)
    check_progress(progress)
    if not isinstance(fractions, Sequence | np.ndarray) or isinstance(fractions, str) or not len(fractions):
        raise InputError(
            f"a curve needs at least one fraction of poisoned rows, as in (0, 0.05); got {shown(fractions)}."
        )
    check_kind(Mapping, "scorers by name, such as {'F1': 'f1_macro'}", scorers=scorers or {})
    _check_names(scorers or ())
    budgets = sorted({budget_of(fraction, n) for fraction in fractions})

    @functools.cache
    def clean(k: int) -> dict[str, float]:
        return _scores(victim, table, splits[k], None, scorers, seed=(seed, k))

    if scorers:  # one that does not fit is found out before the first attack
        clean(0)
    found = {name: np.zeros((len(budgets), len(splits))) for name in CURVES}
    scores, health = {"error": found}, {}
    total, done = len(budgets) * len(splits), 0
    for i, budget in enumerate(budgets):
        for k, rows in enumerate(splits):
            shift = done / total
            attack = craft_on_split(
                plan.with_budget(budget),
                table,
                rows,
                seed=(seed, k),
                progress=lambda share, shift=shift: progress(shift + share / total),
            )
            for curve, added in zip(CURVES, training_sets(attack).values(), strict=True):
                measured = clean(k) if added is None else _scores(victim, table, rows, added, scorers, seed=(seed, k))
                for name, value in measured.items():
                    scores.setdefault(name, {c: np.zeros((len(budgets), len(splits))) for c in CURVES})
                    scores[name][curve][i, k] = value
            if budget:
                health.setdefault(budget, []).append(attack.health.verdict)
            done += 1
            progress(done / total)
    counts = np.asarray(budgets)
    return SecurityCurve(counts / (n + counts), counts, scores, health)


def _check_names(scorers: Iterable[str]) -> None:
    for name in scorers:
        if name in _ERRORS or name.startswith(_OF_CLASS):
            raise InputError(f"{name!r} is the name of a score that every curve has: call the scorer something else.")


def _scores(victim, table: Table, rows: Rows, added, scorers, *, seed: tuple[int, int]) -> dict[str, float]:
    """Return all scores of a victim trained on clean rows and points."""
    fitted = fit_victim(victim, table, rows, added, seed=seed)
    x, y = table.x[rows.test], table.y[rows.test]
    predictions = fitted.predict(x)
    scores = {"error": error_of(predictions, table, rows.test)}
    if table.n_classes:
        scores[_BALANCED] = balanced_error(predictions, y, table.n_classes)
        for c, value in enumerate(class_errors(predictions, y, table.n_classes).tolist()):
            scores[f"{_OF_CLASS}{c}"] = value
    for name, scorer in (scorers or {}).items():
        scores[name] = _score(name, scorer, fitted, x, y, classes=table.n_classes > 0)
    return scores


def _score(name: str, scorer: Any, fitted: Any, x: np.ndarray, y: np.ndarray, *, classes: bool) -> float:
    """Return what a scorer says of a victim; raise where it cannot score it."""
    from sklearn.metrics import get_scorer

    try:
        return float(get_scorer(scorer)(fitted, x, y))
    except Exception as error:  # scorers raise what they like
        reason = str(error).strip().split("\n")[0].split(". ")[0].removesuffix(".")
        raise InputError(
            f"scorers must fit the victim and the data, and {name} does not ({reason}): take another, such as "
            f"{'f1_macro' if classes else 'r2'}."
        ) from error


def breaking_point(
    plan: Plan,
    table: Table,
    splits: Sequence[Rows],
    *,
    victim: Any,
    limit: float,
    at_most: float = 0.2,
    criterion: str = "mean",
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> BreakingPoint:
    """Find the smallest fraction of poisoned rows at which a victim's error passes a limit, by bisection.

    About log₂ of the greatest budget attacks a split are needed. Bisection takes the error to grow with the budget;
    where noise makes it dip, the point found is one at which the limit is passed, though maybe not the least.

    Args:
        plan: the attack; its budget is replaced.
        table: the data set.
        splits: the rows of every split.
        victim: an unfitted scikit-learn estimator, or a learner and its schedule as a `Member`.
        limit: the error that must not be passed.
        at_most: the greatest fraction to try.
        criterion: `"mean"` for the mean over splits, `"upper"` for the upper end of its 95 % interval.
        seed: of starting points and initial parameters.
        progress: called with the share of the work done, 0 … 1.

    Returns:
        The breaking point, and everything that was evaluated on the way.

    Raises:
        InputError: an unknown criterion, `"upper"` with fewer than 3 splits, or what `security_curve` refuses.
    """
    n = train_size(splits)
    check_seed(seed)
    check_progress(progress)
    if criterion not in ("mean", "upper"):
        raise InputError(f"criterion must be 'mean' or 'upper'; got {criterion!r}.")
    if not math.isfinite(limit):
        raise InputError(f"limit must be a finite number; got {limit}.")
    if table.n_classes:
        check_share(limit=limit)
    if criterion == "upper" and len(splits) < 3:
        raise InputError(f"criterion 'upper' needs an interval, so 3 splits at least; got {len(splits)}.")
    most = budget_of(at_most, n)
    evaluated: dict[int, np.ndarray] = {}
    health: dict[int, list[str]] = {}
    rounds = 2 + max(most - 1, 0).bit_length()

    def broken(budget: int) -> bool:
        shift = len(evaluated) / rounds
        errors, verdicts = _errors_at(
            plan.with_budget(budget), table, splits, victim, seed, lambda share: progress(shift + share / rounds)
        )
        evaluated[budget], health[budget] = errors, verdicts
        interval = error_interval(errors, shares=table.n_classes > 0)
        # An error that is not a number, of a victim that diverged, keeps to no limit.
        return not float(errors.mean() if criterion == "mean" or interval is None else interval[1]) <= limit

    low, high = 0, most
    if broken(0):
        high = 0
    elif most == 0 or not broken(most):
        high = -1
    while high > low + 1:
        middle = (low + high) // 2
        low, high = (low, middle) if broken(middle) else (middle, high)
    progress(1.0)
    budget = None if high < 0 else high
    fraction = None if budget is None else budget / (n + budget)
    return BreakingPoint(limit, fraction, budget, most, dict(sorted(evaluated.items())), criterion, health)


def _errors_at(plan: Plan, table: Table, splits, victim, seed: int, progress) -> tuple[np.ndarray, list[str]]:
    """Return the poisoned victim's error on every split, and the verdicts on the attacks."""
    errors: list[float] = []
    verdicts: list[str] = []
    for k, rows in enumerate(splits):
        attack: AttackResult = craft_on_split(plan, table, rows, seed=(seed, k))
        added = training_sets(attack)["poisoned_error"] if plan.threat.budget else None
        fitted = fit_victim(victim, table, rows, added, seed=(seed, k))
        errors.append(error_of(fitted.predict(table.x[rows.test]), table, rows.test))
        verdicts.append(attack.health.verdict)
        progress((k + 1) / len(splits))
    return np.asarray(errors), verdicts
