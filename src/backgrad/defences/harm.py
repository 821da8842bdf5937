r"""By how much the weight of each row raises the loss on trusted rows: the hypergradient of the weights.

With θ(ω) trained on rows of weights ω, and L_T the mean loss on trusted rows, this is ∂L_T(θ(ω)) / ∂ω_i of every row at
once: `jax.grad` through `backgrad.training.train` with the exact adjoint of the schedule. It costs one training and one
way back; of a converged learner, one linear solve. Koh and Liang (2017) call its negative, there, the influence of
upweighting a row; through a `Descent` it is the derivative of its very steps.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..adjoints.implicit import Implicit
from ..errors import DivergenceError, NotConvergedError
from ..learners.base import Member, per_weight
from ..precision import float64
from ..schedules import Converged
from ..status import Status
from ..threat.losses import LogLoss
from ..training import default_adjoint, train
from ..types import Samples


def labelled(x: np.ndarray, y: np.ndarray, k: int, weight: Any = None) -> Samples:
    """Return rows for `weight_effects`, of labels 0..k−1, as NumPy's arrays of float64; of weight 1 where omitted."""
    # JAX would make float32 of them before `weight_effects` turns float64 on.
    return Samples(x, np.eye(k)[y], np.ones(len(y)) if weight is None else weight)  # pyright: ignore[reportArgumentType]


@eqx.filter_jit
def _weight_slopes(member: Member, rows: Samples, trusted: Samples) -> tuple[Float[Array, "n"], Int[Array, ""]]:
    """Return the derivative of the trusted loss with respect to the weight of every row, and how training ended."""
    learner, schedule = member
    # What the status says is raised outside compiled code.
    adjoint = Implicit(throw=False) if isinstance(schedule, Converged) else default_adjoint(schedule)

    def harm(weight):
        run = train(learner, rows._replace(weight=weight), schedule=schedule, adjoint=adjoint)
        scores = learner.scores(run.params, trusted.x)
        if hasattr(learner, "row_losses"):
            losses = learner.row_losses(scores, trusted.y)
        else:
            losses = LogLoss()(learner, scores, trusted.y, trusted.weight)
        return per_weight(jnp.sum(trusted.weight * losses), jnp.sum(trusted.weight)), run.status

    (_, status), slopes = eqx.filter_value_and_grad(harm, has_aux=True)(rows.weight)
    return slopes, status


def weight_effects(member: Member, rows: Samples, trusted: Samples) -> np.ndarray:
    """Return by how much a unit of each row's weight raises the mean loss on trusted rows, to first order.

    Args:
        member: the learner and how it is trained.
        rows: what it is trained on, with weights; of rows of weight 0, the effect of adding them. Arrays of any kind;
            computed in float64.
        trusted: the rows whose weighted mean loss counts: the learner's own loss without regularisation, or the
            log-loss of its scores where it does not tell.

    Returns:
        ∂L_T/∂ω_i, (n,).

    Raises:
        DivergenceError: training diverged.
        NotConvergedError: a `Converged` schedule found no unique stationary point.
    """
    with float64():
        blocks = [Samples(*(jnp.asarray(np.asarray(part), jnp.float64) for part in block)) for block in (rows, trusted)]
        found, ended = _weight_slopes(member, *blocks)
        effects, status = np.array(found), Status(int(ended))
    name = type(member.learner).__name__
    if status is Status.DIVERGED or not np.isfinite(effects).all():
        raise DivergenceError(f"training {name} on the rows diverged: scale the features, or lower the step size.")
    if status is not Status.DONE:
        raise NotConvergedError(f"{name}: {status.message}.")
    return effects
