"""The attacker's objective as one differentiable function, compiled once an attack."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..adjoints.base import Adjoint
from ..schedules import Schedule
from ..threat.goals import ErrorGeneric
from ..training import train
from ..types import Samples


class Hypergradient(NamedTuple):
    """𝒜, its gradient with respect to the points, and the reversal drift (0 for exact adjoints)."""

    value: Float[Array, ""]
    gradient: Float[Array, "p d"]
    drift: Float[Array, ""]


class OuterObjective(eqx.Module):
    """𝒜(x) = the goal's value on validation rows, after training on clean rows and points x.

    Args:
        learner: the victim's learner, or a surrogate.
        schedule: how it is trained.
        adjoint: how gradients go back through training.
        goal: what the attacker wants.
        train: the clean training rows.
        validation: the attacker's validation rows.
        labels: soft labels of the points, (p, k).
    """

    learner: Any
    schedule: Schedule
    adjoint: Adjoint
    goal: ErrorGeneric
    train: Samples
    validation: Samples
    labels: Float[Array, "p k"]

    def __call__(
        self,
        points: Float[Array, "p d"],
        *,
        weight: Float[Array, "p"] | None = None,
        others: tuple[Samples, ...] = (),
        probe: Float[Array, ""] | None = None,
    ) -> Float[Array, ""]:
        """Return 𝒜.

        Args:
            points: features of the points, (p, d).
            weight: of the points; ones where omitted.
            others: further blocks of rows to train on, not differentiated.
            probe: receives the reversal drift as its cotangent.
        """
        weight = jnp.ones(points.shape[0], points.dtype) if weight is None else weight
        block = Samples(points, self.labels, weight)
        trained = train(
            self.learner,
            (self.train, *others, block),
            schedule=self.schedule,
            adjoint=self.adjoint,
            probe=probe,
        )
        return self.goal.value(self.learner, trained.params, self.validation)

    def hypergradient(self, points: Float[Array, "p d"], **settings) -> Hypergradient:
        """Return 𝒜 and its gradient."""

        def value(points, probe):
            return self(points, probe=probe, **settings)

        probe = jnp.zeros((), points.dtype)
        out, (gradient, drift) = jax.value_and_grad(value, argnums=(0, 1))(points, probe)
        return Hypergradient(out, gradient, drift)


@eqx.filter_jit
def evaluate(objective: OuterObjective, points: Float[Array, "p d"]) -> Float[Array, ""]:
    """Return 𝒜, compiled."""
    return objective(points)


@eqx.filter_jit
def differentiate(objective: OuterObjective, points: Float[Array, "p d"]) -> Hypergradient:
    """Return 𝒜 and its gradient, compiled."""
    return objective.hypergradient(points)
