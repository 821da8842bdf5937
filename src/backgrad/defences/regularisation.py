r"""An L2 strength chosen under attack (Carnerero-Cano, Muñoz-González, Spencer and Lupu 2020, 2021).

With w(λ, D) trained on rows D at L2 strength λ, p points P that the attacker adds, 𝒜 their objective and L_T the mean
loss on trusted rows T, attacker and defender face each other in

    P ∈ argmax_P 𝒜(w(λ, D ∪ P)),    λ ∈ argmin_λ L_T(w(λ, D ∪ P)).

A λ that suits clean rows is too small under attack: a model that is hardly held back follows the points. So both sides
move in turn: the points, warm, by a few hypergradients at the present λ; log λ, by a few hypergradients through the
same training with these points fixed. In the source both move by one gradient at a time, on the same loss.

The rounds circle the solution, so that λ is the geometric mean over their second half. A round costs `iterations`
hypergradients of the attack (and its health, about ten trainings) and `steps` of λ. The rows D must be clean or nearly,
as the attack is simulated on top of them, and T must be: λ is worth what T is worth. The budget is the one
that is prepared for; where fewer points come, λ costs some accuracy.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ..adjoints.base import Adjoint
from ..adjoints.implicit import said_plainly
from ..attacks.back_gradient import JointAttack
from ..attacks.base import Attack
from ..attacks.preparation import start_points
from ..checks import check_count, check_kind, check_positive, check_progress, check_seed, shown
from ..errors import DivergenceError, InputError
from ..learners.base import Member
from ..schedules import Schedule
from ..status import Status
from ..threat.losses import LearnerLoss, LogLoss, OuterLoss
from ..threat.model import ThreatModel
from ..training import train as train_learner
from ..types import Samples

# Steps of log λ shrink to this share of the first, so that late rounds circle closely.
_LAST_STEP = 0.1


@dataclasses.dataclass(frozen=True)
class RobustL2:
    """An L2 strength chosen under attack, and how it was found.

    Args:
        l2: λ.
        clean_l2: what the same descent chooses without any points.
        learner: the learner given, at `l2`.
        l2_trace: λ at the start and after every round, (rounds + 1,).
        attacked_losses: L_T under every round's points before λ moved, (rounds,).
        settled_losses: L_T under the same points after, (rounds,).
        clean_trace: λ at the start and after every step without points, (rounds · steps + 1,).
        diverged: rounds in which points made training diverge. An attacker can do so where the schedule's steps are
            nearly too long, and no λ helps then: shorten them.
        points: features of the last round's points, (p, d).
        labels: their labels 0..k−1, (p,), or responses, (p, k).
    """

    l2: float
    clean_l2: float
    learner: Any
    l2_trace: np.ndarray
    attacked_losses: np.ndarray
    settled_losses: np.ndarray
    clean_trace: np.ndarray
    diverged: int
    points: np.ndarray
    labels: np.ndarray


class TrustedLoss(eqx.Module):
    """L_T of a learner trained at L2 strength e^θ, as a function of θ.

    Args:
        member: the learner and how it is trained.
        trusted: the rows T.
        loss: what is averaged over them.
        adjoint: how gradients go back; exact for the schedule where None.
    """

    member: Member
    trusted: Samples
    loss: OuterLoss
    adjoint: Adjoint | None = None

    def __call__(
        self, log_l2: Float[Array, ""], blocks: tuple[Samples, ...]
    ) -> tuple[Float[Array, ""], Int[Array, ""]]:
        """Return L_T after training on blocks of rows, and the status in which training ended."""
        learner, rows = with_l2(self.member.learner, jnp.exp(log_l2)), self.trusted
        run = train_learner(learner, blocks, schedule=self.member.schedule, adjoint=self.adjoint)
        losses = self.loss(learner, learner.scores(run.params, rows.x), rows.y, rows.weight)
        return jnp.sum(rows.weight * losses) / jnp.sum(rows.weight), run.status


@said_plainly()
def choose_l2(
    learner: Any,
    train: Samples,
    trusted: Samples,
    *,
    schedule: Schedule,
    threat: ThreatModel,
    attack: Attack | None = None,
    validation: Samples | None = None,
    loss: OuterLoss | None = None,
    rounds: int = 20,
    steps: int = 3,
    step_size: float = 0.4,
    l2_range: tuple[float, float] = (1e-4, 1.0),
    seed: int = 0,
    adjoint: Adjoint | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> RobustL2:
    """Choose a learner's L2 strength for rows among which an attacker may put points.

    Args:
        learner: a learner with a setting `l2`, perhaps inside preprocessing. The search starts from its own λ where
            that is in the range, and from the middle of the range (in log λ) where it is not.
        train: the training rows, without points.
        trusted: rows that nobody could poison, on which λ is judged.
        schedule: how the learner is trained. Descent must be stable at the end of the range: η λ well below 2.
        threat: the attacker to prepare for. One who knows surrogates alone attacks these, at their own λ.
        attack: how points are moved in a round; `JointAttack(iterations=10, step_size=0.5)` where omitted.
        validation: the attacker's validation rows; the trusted rows where omitted, which is the worst case.
        loss: what is averaged over the trusted rows; the learner's own loss where omitted, or the log-loss of scores.
        rounds: turns of both sides.
        steps: of log λ in a round.
        step_size: of log λ, the first; Adam's, falling to a tenth of it by half a cosine.
        l2_range: least and largest λ.
        seed: of the attack.
        adjoint: how hypergradients are computed; exact for the schedule where omitted.
        progress: called with the share of the work done, 0 … 1.

    Returns:
        λ, the one chosen without attack for comparison, and the trace.

    Raises:
        InputError: a learner without `l2`, a budget of no points, or a number out of its range.
        DivergenceError: training without points diverged at a λ of the range, or a gradient is not finite.
        NotConvergedError: `Implicit`, told to raise, has no gradient where training ended.
    """
    check_count(rounds=rounds, steps=steps)
    check_positive(step_size=step_size)
    check_kind(ThreatModel, "a threat model, such as ThreatModel(budget=10)", threat=threat)
    check_seed(seed)
    check_progress(progress)
    if threat.budget == 0:
        raise InputError("choose_l2 prepares for points, and the budget is 0: set it to the number expected.")
    loss = (LearnerLoss() if hasattr(learner, "row_losses") else LogLoss()) if loss is None else loss
    check_kind(OuterLoss, "an outer loss, such as LogLoss()", loss=loss)
    objective = TrustedLoss(Member(learner, schedule), trusted, loss, adjoint)
    start, bounds = _start(learner, l2_range, train.x.dtype)
    # Less memory than Adam's usual: the points have moved since the last rounds.
    rule = optax.adam(optax.cosine_decay_schedule(step_size, rounds * steps, _LAST_STEP), b1=0.5)
    attack = JointAttack(iterations=10, step_size=0.5) if attack is None else attack
    check_kind(Attack, "an attack, such as JointAttack()", attack=attack)
    validation = trusted if validation is None else validation
    now, points = _Iterate(start, rule.init(start)), start_points(train, threat, seed)
    clean = _descend(objective, (train,), now, rule, bounds, rounds * steps)
    if clean.diverged:
        raise _divergence(clean.end.log_l2)
    trace, turns = [start], []
    for number in range(rounds):
        present = with_l2(learner, jnp.exp(now.log_l2))
        crafted = attack.craft(
            present, train, validation, schedule=schedule, threat=threat, seed=seed, adjoint=adjoint, start=points
        )
        points = crafted.points, crafted.labels
        turns.append(_descend(objective, (train, _block(points, train)), now, rule, bounds, steps))
        now = turns[-1].end
        trace.append(now.log_l2)
        progress((number + 1) / rounds)
    path = np.asarray(jnp.stack(trace), float)
    chosen = float(np.exp(np.mean(path[1 + rounds // 2 :])))
    return RobustL2(
        l2=chosen,
        clean_l2=math.exp(clean.end.log_l2),
        learner=with_l2(learner, chosen),
        l2_trace=np.exp(path),
        attacked_losses=np.array([turn.losses[0] for turn in turns]),
        settled_losses=np.array([turn.losses[-1] for turn in turns]),
        clean_trace=clean.path,
        diverged=sum(turn.diverged for turn in turns),
        points=points[0],
        labels=points[1],
    )


def with_l2(learner: Any, l2: Any) -> Any:
    """Return a learner with another L2 strength, that of the learner inside all preprocessing.

    Raises:
        InputError: the learner has no setting `l2`.
    """
    if isinstance(learner, eqx.Module):
        names = {field.name for field in dataclasses.fields(learner)}
        if "l2" in names:
            return dataclasses.replace(learner, l2=l2)
        if "learner" in names:
            return dataclasses.replace(learner, learner=with_l2(getattr(learner, "learner"), l2))  # noqa: B009
    raise InputError(
        f"an L2 strength is chosen for learners with a setting l2, which {type(learner).__name__} has not."
    )


class _Iterate(eqx.Module):
    """log λ, and what its optimiser carries."""

    log_l2: Float[Array, ""]
    optimiser: Any


def _start(learner: Any, l2_range: tuple[float, float], dtype) -> tuple[Array, tuple[float, float]]:
    """Return log λ to start from, and the ends of its range."""
    if not isinstance(l2_range, tuple | list) or len(l2_range) != 2:
        raise InputError(f"l2_range must be (least, largest), such as (1e-4, 1.0); got {shown(l2_range)}.")
    low, high = l2_range
    check_positive(least_l2=low, largest_l2=high)
    if not low < high:
        raise InputError(f"l2_range must be (least, largest) with least < largest; got {l2_range}.")
    own: Any = getattr(learner, "strength", None)
    given = low if own is None else float(own)
    begin = given if low <= given <= high else math.sqrt(low * high)
    return jnp.asarray(math.log(begin), dtype), (math.log(low), math.log(high))


def _block(points: tuple[np.ndarray, np.ndarray], rows: Samples) -> Samples:
    """Return points of labels 0..k−1, or of responses, as rows of weight 1."""
    x, labels = points
    y = labels if np.ndim(labels) == 2 else np.eye(rows.y.shape[1])[labels]
    return Samples(*(jnp.asarray(part, rows.x.dtype) for part in (x, y, np.ones(len(x)))))


@eqx.filter_jit
def slope(objective: TrustedLoss, log_l2: Float[Array, ""], blocks: tuple[Samples, ...]):
    """Return L_T with the status of training, and dL_T/d log λ, compiled."""
    return jax.value_and_grad(objective, has_aux=True)(log_l2, blocks)


class _Descent(NamedTuple):
    """Where a descent of log λ ended, λ before, between and after its steps, L_T likewise, and whether one diverged."""

    end: _Iterate
    path: np.ndarray
    losses: list[float]
    diverged: bool


def _descend(
    objective: TrustedLoss, blocks: tuple[Samples, ...], now: _Iterate, rule, bounds: tuple[float, float], steps: int
) -> _Descent:
    """Take steps of log λ."""
    path, losses, diverged = [now.log_l2], [], False
    for left in range(steps, -1, -1):
        (value, status), gradient = slope(objective, now.log_l2, blocks)
        if not np.isfinite(gradient):
            raise _divergence(now.log_l2)
        diverged |= int(status) == Status.DIVERGED
        losses.append(float(value))
        if left:
            move, state = rule.update(gradient, now.optimiser)
            now = _Iterate(jnp.clip(now.log_l2 + move, *bounds), state)
            path.append(now.log_l2)
    return _Descent(now, np.exp(np.asarray(jnp.stack(path), float)), losses, diverged)


def _divergence(log_l2: Any) -> DivergenceError:
    return DivergenceError(
        f"training diverged near l2 = {math.exp(float(log_l2)):.3g}: lower the step size of the schedule, or the end "
        "of l2_range."
    )
