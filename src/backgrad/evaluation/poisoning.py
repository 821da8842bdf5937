"""How far an attack moves a victim's test error, over several random splits.

Every split stands on its own: rows for training, the attacker's validation and the test are drawn afresh, the
points are crafted, and victims are trained from scratch on clean rows, on clean rows plus label flips (the attack's own
start), and on clean rows plus poisoning points. The test rows are used once, for these errors.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..attacks.base import AttackResult
from ..attacks.preparation import start_points
from ..attacks.starts import require_classes
from ..errors import InputError
from ..threat.labels import ChosenLabels
from ..threat.model import ThreatModel
from ..types import Samples, with_reused
from .metrics import class_errors, error_interval, error_rate, squared_error
from .plan import Fitted, Plan, Rows, Table, as_samples, attack_seed, split_key
from .victims import fit_victim, reference_estimator, require_sound_training, train_and_predict

ERRORS = ("clean_error", "label_flip_error", "poisoned_error")


@dataclasses.dataclass(frozen=True)
class SplitOutcome:
    """One split's errors, in shares of the test rows, and the attack behind them.

    For a regression, errors are mean squared errors.

    Args:
        rows: which rows of the data set played which part.
        errors: the victim's errors, by the names in `ERRORS`.
        class_errors: its errors among the test rows of each class, (k,), likewise; empty for a regression.
        goal_rates: the share of attacked test rows that get the attacker's label, likewise; empty for goals that
            have none.
        sklearn_errors: errors of scikit-learn's LogisticRegression at its defaults (or Ridge) on the same rows.
        victims: the errors of further victims by name, likewise.
        seconds: for crafting the points.
        attack: the points and the attack's health.
        diverged: whether the poisoned victim's training diverged, so that its error is that of a broken run, which
            its owner would notice.
    """

    rows: Rows
    errors: dict[str, float]
    class_errors: dict[str, np.ndarray]
    goal_rates: dict[str, float]
    sklearn_errors: dict[str, float]
    victims: dict[str, dict[str, float]]
    seconds: float
    attack: AttackResult
    diverged: bool


def craft_on_split(
    plan: Plan,
    table: Table,
    rows: Rows,
    *,
    seed: tuple[int, int],
    progress: Callable[[float], None] = lambda share: None,
) -> AttackResult:
    """Craft the points of one split, with no more than the attacker knows.

    Args:
        plan: who is attacked, and how.
        table: the data set.
        rows: the split; with surrogate rows where the attacker does not know the victim's.
        seed: the run's seed and the split's number.
        progress: called with the share of the attack done, 0 … 1.

    Raises:
        InputError: surrogate rows are missing, or what `Attack.craft` refuses.
    """
    if plan.fitted is not None and plan.threat.evasion is None and plan.threat.budget:
        return _craft_on_fitted(plan.fitted, plan, table, rows, seed=seed, progress=progress)
    known = known_to_attacker(plan, table, rows, seed=seed)
    return plan.attack.craft(plan.learner, known.pop("train"), known.pop("validation"), **known, progress=progress)


def _craft_on_fitted(
    fitted: Fitted,
    plan: Plan,
    table: Table,
    rows: Rows,
    *,
    seed: tuple[int, int],
    progress: Callable[[float], None],
) -> AttackResult:
    # Who fits the estimator itself knows it. Rows that points are copies of are no judges of them.
    threat = dataclasses.replace(plan.threat, knowledge=plan.threat.knowledge.of_learner(), labels=ChosenLabels())
    known = known_to_attacker(dataclasses.replace(plan, threat=threat, reuse=0.0), table, rows, seed=seed)
    return fitted.attack.craft_on(
        fitted.estimator,
        known["train"],
        known["validation"],
        threat=threat,
        seed=known["seed"],
        start=known["start"],
        progress=progress,
    )


def known_to_attacker(plan: Plan, table: Table, rows: Rows, *, seed: tuple[int, int]) -> dict[str, Any]:
    """Return the rows, start and settings that the attacker of a split goes by: arguments of `Attack.craft` by name.

    Raises:
        InputError: surrogate rows are missing.
    """
    known = rows.train if plan.threat.knowledge.knows_rows else rows.surrogate
    if known is None:
        raise InputError("this attacker does not know the training rows: give Rows.with_surrogate().")
    train, validation = table.samples(known), table.samples(rows.validation)
    start = None
    if plan.start == "validation" or plan.project_start or plan.sources:
        drawn = train if plan.start == "train" else validation
        points, labels = start_points(drawn, plan.threat, attack_seed(seed), sources=plan.sources)
        if plan.project_start:
            points = np.asarray(plan.threat.feasible.project(jnp.asarray(points)))
        start = points, labels
    return {
        "train": train,
        "validation": with_reused(validation, train, plan.reuse),
        "schedule": plan.inner(split_key(seed)),
        "threat": plan.threat,
        "seed": attack_seed(seed),
        "adjoint": plan.adjoint,
        "start": start,
        "devices": plan.devices,
    }


def evaluate_split(
    plan: Plan,
    x: np.ndarray,
    labels: np.ndarray,
    rows: Rows,
    *,
    n_classes: int,
    seed: tuple[int, int],
    victims: Mapping[str, Any] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> SplitOutcome:
    """Attack one split and judge the victims.

    Args:
        plan: who is attacked, and how.
        x: features of the whole data set, (n, d).
        labels: its labels 0..k−1, (n,), or responses.
        rows: the split.
        n_classes: k; 0 for a regression.
        seed: the run's seed and the split's number; they fix starting points and initial parameters.
        victims: further victims by name: unfitted scikit-learn estimators, or `Member`s.
        progress: called with the share of the attack done, 0 … 1.

    Returns:
        Errors, points and the attack's health.

    Raises:
        InputError: one class only among the training rows, more points than rows, or points outside the feasible set.
        DivergenceError: the victim's schedule does not train it on the clean rows.
    """
    table = Table(np.asarray(x), np.asarray(labels), n_classes)
    if n_classes:
        require_classes(table.y[rows.train])
    clean = table.samples(rows.train)
    schedule = dataclasses.replace(plan.schedule, key=split_key(seed))
    require_sound_plan(plan, clean, seed=seed)
    begin = time.perf_counter()
    attack = craft_on_split(plan, table, rows, seed=seed, progress=progress)
    seconds = time.perf_counter() - begin
    predictions, diverged = {}, False
    for name, added in training_sets(attack).items():  # the poisoned one is last, and its divergence is returned
        block = () if added is None else (as_samples(*added, n_classes),)
        predictions[name], diverged = train_and_predict(plan.learner, (clean, *block), schedule, table.x[rows.test])
    named = {"reference": reference_estimator(n_classes), **(victims or {})}
    judged = {name: victim_errors(victim, table, rows, attack, seed=seed) for name, victim in named.items()}
    reference = judged.pop("reference")
    return SplitOutcome(
        rows,
        {name: error_of(found, table, rows.test) for name, found in predictions.items()},
        _class_errors(predictions, table, rows.test),
        _goal_rates(plan.threat, predictions, table, rows.test),
        reference,
        judged,
        seconds,
        attack,
        diverged,
    )


def require_sound_plan(plan: Plan, clean: Samples, *, seed: tuple[int, int]) -> None:
    """Raise where a plan's schedules, the victim's and the attacker's, do not train its learner on clean rows."""
    victims = dataclasses.replace(plan.schedule, key=split_key(seed))
    for one in (victims,) if plan.attack_schedule is None else (victims, plan.inner(split_key(seed))):
        require_sound_training(plan.learner, clean, one)


def training_sets(attack: AttackResult) -> dict[str, tuple[np.ndarray, np.ndarray] | None]:
    """Return what is added to the clean rows: features and labels, or None, by the names in `ERRORS`, in order."""
    return {
        "clean_error": None,
        "label_flip_error": (attack.start, attack.start_labels),
        "poisoned_error": (attack.points, attack.labels),
    }


def error_of(predictions, table: Table, rows: np.ndarray) -> float:
    """Return the share of wrong labels, or the mean squared error of a regression."""
    return (error_rate if table.n_classes else squared_error)(predictions, table.y[rows])


def victim_errors(
    victim: Any,
    table: Table,
    rows: Rows,
    attack: AttackResult,
    *,
    seed: tuple[int, int],
    names: tuple[str, ...] = ERRORS,
) -> dict[str, float]:
    """Return a victim's errors on a split, those of `names` alone; see `fit_victim` for what a victim may be."""
    sets, x = training_sets(attack), table.x[rows.test]
    return {
        name: error_of(fit_victim(victim, table, rows, sets[name], seed=seed).predict(x), table, rows.test)
        for name in names
    }


def _class_errors(predictions, table: Table, rows: np.ndarray) -> dict[str, np.ndarray]:
    if not table.n_classes:
        return {}
    return {name: class_errors(found, table.y[rows], table.n_classes) for name, found in predictions.items()}


def _goal_rates(threat: ThreatModel, predictions, table: Table, rows: np.ndarray) -> dict[str, float]:
    rates = {}
    for name, found in predictions.items():
        hits = threat.goal.hits(table.y[rows], found) if table.n_classes else None
        if hits is not None and hits.size:
            rates[name] = float(np.mean(hits))
    return rates


def summarise(outcomes: list[SplitOutcome]) -> Iterator[tuple[str, float, tuple[float, float] | None]]:
    """Yield each error's name, mean over splits, and 95 % interval."""
    shares = all(outcome.class_errors for outcome in outcomes)  # a regression has none
    for name in ERRORS:
        values = [outcome.errors[name] for outcome in outcomes]
        yield name, float(np.mean(values)), error_interval(values, shares=shares)
