"""What an attack is: settings, one verb, and a result that carries its own evidence."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..adjoints.base import Adjoint
from ..errors import InputError
from ..schedules import Schedule
from ..threat.model import ThreatModel
from ..training import check_samples, default_adjoint
from ..types import Samples, one_hot
from .health import AttackHealth, gradient_error, judge
from .objective import OuterObjective, evaluate
from .starts import flipped_rows

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """The outcome of one attack.

    Args:
        points: features of the poisoning points, (p, d).
        labels: their labels 0..k−1, (p,), fixed from the start.
        start: the points before optimisation, (p, d).
        trace: the objective, evaluation by evaluation.
        threat_model: who attacked, and with what means.
        adjoint: the adjoint's name.
        attack: the attack's name.
        seed: of the starting points and everything random after.
        health: evidence that the attack worked.
    """

    points: np.ndarray
    labels: np.ndarray
    start: np.ndarray
    trace: np.ndarray
    threat_model: ThreatModel
    adjoint: str
    attack: str
    seed: int
    health: AttackHealth


@dataclasses.dataclass(frozen=True)
class Optimised:
    """What an attack's own search hands back: the best points, the objective's trace, the largest drift."""

    points: Any
    trace: np.ndarray
    drift: float


class Attack(eqx.Module):
    """Settings of an attack. Subclasses supply `search`; starts, checks and health are common to all."""

    name = "attack"

    @abc.abstractmethod
    def search(
        self,
        objective: OuterObjective,
        threat: ThreatModel,
        start: jax.Array,
        *,
        seed: int,
        progress: Progress,
    ) -> Optimised:
        """Move the points from `start` to where the objective is high.

        Args:
            objective: what to maximise.
            threat: the feasible set and the budget.
            start: feasible points, (p, d).
            seed: of whatever is random in the search.
            progress: called with the share of the work done, 0 … 1.

        Returns:
            Feasible points that are never worse than the start.
        """

    def craft(
        self,
        learner: Any,
        train: Samples,
        validation: Samples,
        *,
        schedule: Schedule,
        threat: ThreatModel,
        seed: int,
        adjoint: Adjoint | None = None,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        progress: Progress = lambda share: None,
    ) -> AttackResult:
        """Craft poisoning points against a learner.

        Args:
            learner: the learner to attack.
            train: the clean training rows, with one-hot labels.
            validation: the rows on which the attacker measures success.
            schedule: how the learner is trained, on the attacker's assumption.
            threat: budget, goal and feasible set.
            seed: of the starting points, and of the search.
            adjoint: how hypergradients are computed; exact for the schedule where omitted.
            start: features (p, d) and labels (p,) to start from; flipped training rows where omitted.
            progress: called with the share of the work done, 0 … 1.

        Returns:
            The points, their labels, and evidence that the attack worked.

        Raises:
            InputError: rows that do not fit, more points than rows, or starting points outside the feasible set.
        """
        check_samples(learner, (train,))
        check_samples(learner, (validation,))
        adjoint = default_adjoint(schedule) if adjoint is None else adjoint
        points, labels = _start(train, threat, seed) if start is None else start
        begin = _feasible_start(points, labels, train, threat)
        soft = one_hot(np.asarray(labels), train.y.shape[1], dtype=train.x.dtype)
        objective = OuterObjective(learner, schedule, adjoint, threat.goal, train, validation, soft)
        if threat.budget == 0:
            found = Optimised(begin, np.zeros(0), 0.0)
        else:
            found = self.search(objective, threat, begin, seed=seed, progress=progress)
        return AttackResult(
            points=np.asarray(found.points),
            labels=np.asarray(labels),
            start=np.asarray(begin),
            trace=found.trace,
            threat_model=threat,
            adjoint=type(adjoint).__name__,
            attack=self.name,
            seed=seed,
            health=_health(objective, threat, begin, found, seed),
        )


def _start(train: Samples, threat: ThreatModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(jnp.argmax(train.y, axis=1))
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"training rows need at least two classes, but all of them have label {labels[0]}: nothing can be flipped."
        )
    rng = np.random.default_rng(seed)
    return flipped_rows(np.asarray(train.x), labels, n_classes=train.y.shape[1], points=threat.budget, rng=rng)


def _feasible_start(points, labels, train: Samples, threat: ThreatModel) -> jax.Array:
    """Return the starting points as an array; raise unless they fit the rows and lie in the feasible set."""
    begin = jnp.asarray(points, train.x.dtype)
    if begin.shape != (threat.budget, train.x.shape[1]) or np.shape(labels) != (threat.budget,):
        raise InputError(
            f"starting points must have shape {(threat.budget, train.x.shape[1])} and labels {(threat.budget,)}; "
            f"got {begin.shape} and {np.shape(labels)}."
        )
    inside = np.asarray(threat.feasible.contains(begin))
    if not inside.all():
        kind = threat.feasible.describe()["set"]
        raise InputError(
            f"{int((~inside).sum())} of {threat.budget} starting points lie outside the feasible set ({kind}): "
            "choose a set that holds the training rows, or other starting points."
        )
    return begin


def _health(objective, threat: ThreatModel, begin, found: Optimised, seed: int) -> AttackHealth:
    points = jnp.asarray(found.points)
    if threat.budget == 0:
        value = float(evaluate(objective, begin))
        return AttackHealth(
            value, value, None, None, 0.0, 0.0, True, 0, "worked", "a budget of no points changes nothing."
        )
    first, last = float(evaluate(objective, begin)), float(evaluate(objective, points))
    key = jax.random.fold_in(jax.random.key(seed), 2)
    errors = (gradient_error(objective, begin, key=key), gradient_error(objective, points, key=key))
    feasible = bool(np.asarray(threat.feasible.contains(points)).all())
    verdict, sentence = judge(
        objective_start=first, objective_best=last, errors=errors, drift=found.drift, feasible=feasible
    )
    share = float(threat.feasible.share_at_bounds(points))
    return AttackHealth(first, last, *errors, found.drift, share, feasible, len(found.trace), verdict, sentence)
