"""How far an attack moves a victim's test error, over several random splits.

Every split stands on its own: rows for training, the attacker's validation and the test are drawn afresh, the
points are crafted, and victims are trained from scratch on clean rows, on clean rows plus label flips (the attack's own
start), and on clean rows plus poisoning points. The test rows are used once, for these errors.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ..adjoints.base import Adjoint
from ..attacks.base import Attack, AttackResult
from ..attacks.starts import flipped_rows
from ..errors import InputError
from ..schedules import Schedule
from ..threat.model import ThreatModel
from ..types import Samples, samples
from .metrics import student_interval
from .victims import judge_victim, require_sound_training, sklearn_logistic_error

ERRORS = ("clean_error", "label_flip_error", "poisoned_error")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Indices of one split's rows in the data set, (n,) each."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who is attacked, how, and with what rows.

    Args:
        learner: the victim's learner.
        schedule: how the victim is trained.
        attack: how points are crafted.
        threat: budget, goal and feasible set.
        attack_schedule: how the attacker trains its copy of the victim; as the victim where omitted.
        adjoint: how hypergradients are computed; exact for the schedule where omitted.
        start: the rows that points start from, `"train"` or `"validation"`.
    """

    learner: Any
    schedule: Schedule
    attack: Attack
    threat: ThreatModel
    attack_schedule: Schedule | None = None
    adjoint: Adjoint | None = None
    start: str = "train"

    def __post_init__(self):
        """Check the start."""
        if self.start not in ("train", "validation"):
            raise InputError(f"start must be 'train' or 'validation'; got {self.start!r}.")


@dataclasses.dataclass(frozen=True)
class SplitOutcome:
    """One split's errors, in shares of the test rows, and the attack behind them.

    Args:
        rows: which rows of the data set played which part.
        errors: the victim's errors, by the names in `ERRORS`.
        sklearn_errors: the same of scikit-learn's default LogisticRegression trained on the same rows.
        seconds: for crafting the points.
        attack: the points and the attack's health.
        diverged: whether the poisoned victim's training diverged, so that its error is that of a broken run, which
            its owner would notice.
    """

    rows: Rows
    errors: dict[str, float]
    sklearn_errors: dict[str, float]
    seconds: float
    attack: AttackResult
    diverged: bool


def evaluate_split(
    plan: Plan,
    x: np.ndarray,
    labels: np.ndarray,
    rows: Rows,
    *,
    n_classes: int,
    seed: tuple[int, int],
    progress: Callable[[float], None] = lambda share: None,
) -> SplitOutcome:
    """Attack one split and judge the victims.

    Args:
        plan: who is attacked, and how.
        x: features of the whole data set, (n, d).
        labels: its labels 0..k−1, (n,).
        rows: the split.
        n_classes: k.
        seed: the run's seed and the split's number; they fix starting points and initial parameters.
        progress: called with the share of the attack done, 0 … 1.

    Returns:
        Errors, points and the attack's health.

    Raises:
        InputError: one class only among the training rows, more points than rows, or points outside the feasible set.
        DivergenceError: the victim's schedule does not train it on the clean rows.
    """
    key = jax.random.fold_in(jax.random.key(seed[0]), seed[1])
    schedule = dataclasses.replace(plan.schedule, key=key)
    inner = schedule if plan.attack_schedule is None else dataclasses.replace(plan.attack_schedule, key=key)
    clean, validation = (samples(x[r], labels[r], n_classes) for r in (rows.train, rows.validation))
    for one in (schedule,) if plan.attack_schedule is None else (schedule, inner):
        require_sound_training(plan.learner, clean, one)
    begin = time.perf_counter()
    attack = plan.attack.craft(
        plan.learner,
        clean,
        validation,
        schedule=inner,
        threat=plan.threat,
        seed=_attack_seed(seed),
        adjoint=plan.adjoint,
        start=_validation_start(plan, x, labels, rows, n_classes, seed),
        progress=progress,
    )
    seconds = time.perf_counter() - begin
    errors, reference, diverged = _judge(plan, schedule, clean, (x, labels, rows, n_classes), attack)
    return SplitOutcome(rows, errors, reference, seconds, attack, diverged)


def _attack_seed(seed: tuple[int, int]) -> int:
    """Return one number that depends on both parts of a seed."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def _validation_start(plan: Plan, x, labels, rows: Rows, n_classes: int, seed: tuple[int, int]):
    """Return flipped validation rows to start from, as the authors do, or None for the attack's own start."""
    if plan.start == "train":
        return None
    rng = np.random.default_rng(_attack_seed(seed))
    own = labels[rows.validation]
    return flipped_rows(x[rows.validation], own, n_classes=n_classes, points=plan.threat.budget, rng=rng)


def _judge(plan: Plan, schedule: Schedule, clean: Samples, data, attack: AttackResult):
    """Train the victims on clean, flipped and poisoned rows.

    Returns:
        Their errors, those of scikit-learn's LogisticRegression, and whether the poisoned one diverged.
    """
    x, labels, rows, n_classes = data
    test = (x[rows.test], labels[rows.test])
    # In the order of ERRORS: the poisoned victim is judged last, and its status is the one that is returned.
    added = {"clean_error": None, "label_flip_error": attack.start, "poisoned_error": attack.points}
    errors, reference, diverged = {}, {}, False
    for name, points in added.items():
        block = () if points is None else (samples(points, attack.labels, n_classes),)
        errors[name], diverged = judge_victim(plan.learner, (clean, *block), schedule, test)
        both = [x[rows.train], *([] if points is None else [points])]
        names = [labels[rows.train], *([] if points is None else [attack.labels])]
        reference[name] = sklearn_logistic_error(np.concatenate(both), np.concatenate(names), test)
    return errors, reference, diverged


def summarise(outcomes: list[SplitOutcome]) -> Iterator[tuple[str, float, tuple[float, float] | None]]:
    """Yield each error's name, mean over splits, and 95 % interval."""
    for name in ERRORS:
        values = [outcome.errors[name] for outcome in outcomes]
        yield name, float(np.mean(values)), student_interval(values)
