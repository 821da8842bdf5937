"""What an attack is: settings, one verb, and a result that carries its own evidence."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..adjoints.base import Adjoint
from ..adjoints.implicit import said_plainly
from ..checks import check_kind, check_progress
from ..devices import on_host
from ..errors import UnsupportedError
from ..hosted import Block
from ..schedules import Schedule
from ..status import Status
from ..threat.feasible import FeasibleSet
from ..threat.model import ThreatModel
from ..types import Samples
from .checkpoint import Checkpoint
from .cost import Work
from .health import AttackHealth, Evidence, agreement, conclude, gain_left, gradient_error
from .objective import OuterObjective, evaluate_and_judge
from .preparation import prepare
from .starts import is_one_hot

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """The outcome of one attack.

    Args:
        points: features of the poisoning points, (p, d).
        labels: their labels 0..k−1, (p,); of a regression, their responses, (p, k).
        start: the points before optimisation, (p, d).
        start_labels: their labels or responses before optimisation.
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
    start_labels: np.ndarray
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
    #: Whether `search` takes a `Checkpoint` as a further keyword, and so goes on where it was stopped.
    resumable: ClassVar[bool] = False
    #: Whether `search` follows hypergradients, which its health then looks at.
    climbs: ClassVar[bool] = True

    @property
    def redraws(self) -> bool:
        """Whether each step trains from initial parameters of its own, so that steps must agree to lead anywhere."""
        return False

    @abc.abstractmethod
    def search(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        *,
        seed: int,
        progress: Progress,
    ) -> Optimised:
        """Move the points from `start` to where the objective is high.

        Args:
            objective: what to maximise.
            feasible: where points may live; where labels move, of features and labels side by side.
            start: feasible points, (p, d), or (p, d + k) where labels move.
            seed: of whatever is random in the search.
            progress: called with the share of the work done, 0 … 1.

        Returns:
            Feasible points that are never worse than the start.
        """

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return what `search` will compute, in calls that can be timed before it starts; arguments as there.

        Raises:
            UnsupportedError: an attack that does not say.
        """
        del objective, feasible, start, seed
        raise UnsupportedError(
            f"{type(self).__name__} does not say what its search consists of, so its cost cannot be estimated: give it "
            "a method work."
        )

    @said_plainly()
    def craft(
        self,
        learner: Any,
        train: Block,
        validation: Samples,
        *,
        schedule: Schedule,
        threat: ThreatModel,
        seed: int,
        adjoint: Adjoint | None = None,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        devices: int | str | Mesh | None = None,
        progress: Progress = lambda share: None,
        checkpoint: Checkpoint | None = None,
    ) -> AttackResult:
        """Craft poisoning points against a learner.

        Args:
            learner: the learner to attack.
            train: the clean training rows, with one-hot labels.
            validation: the rows on which the attacker measures success.
            schedule: how the learner is trained, on the attacker's assumption.
            threat: goal, knowledge, budget, feasible set and labels.
            seed: of the starting points, and of the search.
            adjoint: how hypergradients are computed; exact for the schedule where omitted.
            start: features (p, d) and labels (p,) to start from (of a regression, responses (p, k)); flipped
                training rows where omitted.
            devices: over how many devices rows and points are spread, or `"all"`, see `backgrad.devices`; none of this
                where omitted, which leaves all work to JAX's default device.
            progress: called with the share of the work done, 0 … 1.
            checkpoint: where the search keeps its state and takes it up again, see `backgrad.attacks.checkpoint`.

        Returns:
            The points, their labels, and evidence that the attack worked.

        Raises:
            InputError: rows that do not fit, more points than rows, starting points outside the feasible set, more
                devices than there are, or a checkpoint of another search.
            NotConvergedError: `Implicit`, told to raise, has no gradient where training ended.
            UnsupportedError: a checkpoint for an attack whose search keeps no state.
        """
        check_progress(progress)
        kept = self._resume_from(checkpoint)
        objective, feasible, begin, threat = prepare(
            learner,
            train,
            validation,
            schedule=schedule,
            threat=threat,
            seed=seed,
            adjoint=adjoint,
            start=start,
            devices=devices,
        )
        if threat.budget == 0:
            found = Optimised(begin, np.zeros(0), 0.0)
        else:
            found = self.search(objective, feasible, begin, seed=seed, progress=progress, **kept)
        (first, first_labels), (last, last_labels) = (
            _hard(objective, jnp.asarray(z), n_classes=train.y.shape[1]) for z in (begin, found.points)
        )
        return AttackResult(
            points=last,
            labels=last_labels,
            start=first,
            start_labels=first_labels,
            trace=found.trace,
            threat_model=threat,
            adjoint=", ".join(dict.fromkeys(type(a).__name__ for a in objective.adjoints)),
            attack=self.name,
            seed=seed,
            health=examine(self, objective, feasible, begin, found, seed),
        )

    def _resume_from(self, checkpoint: Checkpoint | None) -> dict[str, Checkpoint]:
        """Return what `search` is given besides; raise where it could do nothing with a checkpoint."""
        if checkpoint is None:
            return {}
        if not self.resumable:
            raise UnsupportedError(
                f"{type(self).__name__} cannot go on where it was stopped: leave checkpoint out, or use JointAttack()."
            )
        check_kind(Checkpoint, "None, or an object with load and save", checkpoint=checkpoint)
        return {"checkpoint": checkpoint}


def _hard(objective: OuterObjective, points: jax.Array, *, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features, and labels 0..k−1 or responses."""
    x, y = (np.array(part) for part in objective.split(points))  # which callers may write to
    classes = n_classes > 1 and is_one_hot(on_host(objective.train.y), on_host(objective.train.weight))
    return x, np.argmax(y, axis=1) if classes else y


def examine(
    attack: Attack, objective: OuterObjective, feasible: FeasibleSet, begin: jax.Array, found: Optimised, seed: int
) -> AttackHealth:
    """Return the evidence that an attack's search which began at `begin` worked."""
    points = jnp.asarray(found.points)
    if len(points) == 0:
        value, status = evaluate_and_judge(objective, begin)
        sentence = "a budget of no points changes nothing."
        return AttackHealth(
            float(value),
            float(value),
            None,
            None,
            0.0,
            Status(int(status)),
            0.0,
            0.0,
            True,
            0,
            None,
            "nothing to do",
            sentence,
        )
    (first, _), (last, status) = evaluate_and_judge(objective, begin), evaluate_and_judge(objective, points)
    key = jax.random.fold_in(jax.random.key(seed), 2)
    evidence = Evidence(
        objective_start=float(first),
        objective_best=float(last),
        errors=(gradient_error(objective, begin, key=key), gradient_error(objective, points, key=key))
        if attack.climbs
        else (None, None),
        drift=found.drift,
        feasible=bool(np.asarray(feasible.contains(points)).all()),
        training=Status(int(status)),
        gain_left=gain_left(objective, feasible, points) if attack.climbs else 0.0,
        agreement=float(np.mean(agreement(objective, begin, jax.random.fold_in(key, 2)))) if attack.redraws else None,
        share_at_bounds=float(feasible.share_at_bounds(points)),
        evaluations=len(found.trace),
        climbs=attack.climbs,
    )
    return conclude(evidence)
