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

    def __call__(self, points: Float[Array, "p d"]) -> Float[Array, ""]:
        """Return 𝒜 with all points present."""
        params = self._train(points, jnp.ones(points.shape[0], points.dtype), (), None)
        return self.goal.value(self.learner, params, self.validation)

    def hypergradient(
        self,
        points: Float[Array, "p d"],
        *,
        weight: Float[Array, "p"] | None = None,
        others: tuple[Samples, ...] = (),
        climb: Samples | None = None,
    ) -> Hypergradient:
        """Return 𝒜 and its gradient.

        Args:
            points: features of the points, (p, d).
            weight: of the points; ones where omitted.
            others: further blocks of rows to train on, not differentiated.
            climb: rows to take the gradient on instead of the validation rows; the value stays that on validation.
        """
        weight = jnp.ones(points.shape[0], points.dtype) if weight is None else weight

        def value(points, probe):
            params = self._train(points, weight, others, probe)
            own = self.goal.value(self.learner, params, self.validation)
            return (own if climb is None else self.goal.value(self.learner, params, climb)), own

        probe = jnp.zeros((), points.dtype)
        (_, own), (gradient, drift) = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(points, probe)
        return Hypergradient(own, gradient, drift)

    def _train(self, points, weight, others: tuple[Samples, ...], probe):
        """Return the parameters trained on clean rows, `others` and points."""
        blocks = (self.train, *others, Samples(points, self.labels, weight))
        return train(self.learner, blocks, schedule=self.schedule, adjoint=self.adjoint, probe=probe).params


@eqx.filter_jit
def evaluate(objective: OuterObjective, points: Float[Array, "p d"]) -> Float[Array, ""]:
    """Return 𝒜, compiled."""
    return objective(points)


@eqx.filter_jit
def differentiate(objective: OuterObjective, points: Float[Array, "p d"]) -> Hypergradient:
    """Return 𝒜 and its gradient, compiled."""
    return objective.hypergradient(points)
