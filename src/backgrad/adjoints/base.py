"""What an adjoint is, and which one to use.

An adjoint says how a cotangent ∂L/∂w_T goes back through training to whatever training was given. All of them
run the same forward pass (`Reversible` runs it in fixed point); they differ in what they keep and assume.
With F the cost of one gradient, m parameters, T steps, S bytes a state and R bytes of matrix products a step:

| adjoint | exact | for | assumes | time | memory |
|---|---|---|---|---|---|
| `Checkpointed`, stored | yes | any `Descent` | nothing | T forward, about 1.5 T back | T·(S + R) |
| `Checkpointed`, segments | yes | any `Descent` | nothing | T more forward | √T·(2S + R) |
| `BackGradient` | no | (S)GD, fixed step | η and T small: see its drift | T forward, about 2.5 T back | S |
| `Reversible` | yes (fixed point) | momentum SGD | float64 on | T more gradients | S + T·log₂(1/γ) bits each |
| `Implicit` | at a solution | both schedules | ∇𝓛 ≈ 0, ∇²𝓛 regular | a linear solve | dense m², else a few m |
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..errors import UnsupportedError
from ..schedules import Converged, Descent, DescentState, Schedule
from ..types import Params


class Field(eqx.Module):
    """The vector field that training follows: the gradient of the training loss, and all it depends on.

    Its arrays (rows, weights, hyperparameters) are what `train` can be differentiated with respect to.
    """

    @abc.abstractmethod
    def __call__(self, params: Params, t: Any) -> Params:
        """Return the gradient at `params` on the rows of step t; on all rows where t is None."""


class Problem(eqx.Module):
    """One training run as a differentiable function of its arrays.

    Args:
        field: the gradient of the training loss.
        schedule: the steps to take along it.
        probe: a scalar 0 that training ignores; `BackGradient` returns its drift as the probe's cotangent.
    """

    field: Field
    schedule: Schedule
    probe: Float[Array, ""]

    def descent(self) -> Descent:
        """Return the schedule, known to be a `Descent` since the adjoint accepted it."""
        if not isinstance(self.schedule, Descent):
            raise UnsupportedError(f"this adjoint needs a Descent schedule; got {type(self.schedule).__name__}.")
        return self.schedule

    def step(self, state: DescentState, t) -> DescentState:
        """Take step t of a `Descent` schedule."""
        return self.descent().step(state, self.field(state.params, t))


class Adjoint(eqx.Module):
    """How cotangents go back through `train`. Subclasses are frozen settings without state."""

    needs_float64: ClassVar[bool] = False

    @abc.abstractmethod
    def check(self, schedule: Schedule) -> None:
        """Raise `UnsupportedError`, naming an adjoint that serves, where this one cannot go back through `schedule`."""

    @abc.abstractmethod
    def solve(self, problem: Problem, params: Params) -> Params:
        """Train from `params`, and return the trained parameters, differentiable by this adjoint."""


def refuse_converged(adjoint: Adjoint, schedule: Schedule) -> Descent:
    """Return the schedule as a `Descent`; raise for `Converged`, which has no steps to go back through."""
    if isinstance(schedule, Converged):
        raise UnsupportedError(
            f"{type(adjoint).__name__} goes back through descent steps, but the schedule is Converged, "
            "which has none to keep: use Implicit()."
        )
    return schedule


def steps_of(descent: Descent) -> Array:
    """Return 0..T−1, typed so that 64-bit mode does not promote 32-bit states."""
    return jnp.arange(descent.steps, dtype=jnp.int32)


def zeros_for(cotangent: PyTree, like: PyTree) -> PyTree:
    """Fill a cotangent's missing leaves with zeros shaped like the inexact arrays of `like`."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), eqx.filter(like, _is_inexact))
    return eqx.combine(cotangent, zeros)


def _is_inexact(leaf: Any) -> bool:
    """Tell floats from all else; JAX 0.7 to 0.10.1 hands constants of no dimensions back as a type of its own."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def tree_norm(tree: PyTree) -> Float[Array, ""]:
    """Return the Euclidean norm over all inexact arrays of a tree."""
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf).real for leaf in leaves))  # pyright: ignore[reportArgumentType]


def tree_add(a: PyTree, b: PyTree) -> PyTree:
    """Return a + b, leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)
