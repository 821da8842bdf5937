r"""Joint back-gradient attack: all poisoning points climb the hypergradient at once.

One evaluation gives the gradient with respect to every point, so optimising them together costs as much a step as
optimising one, and lets points divide the work. On a convex set the iterates are

    x ← Π_Φ(x + α_i Adam(∇_x 𝒜)),    α_i falling from α to 0 by half a cosine.

On a discrete set free variables θ climb instead, x = relax(θ, τ_i), with a temperature τ_i that falls
geometrically; what is judged at every step is the projection of x, so that the kept points were feasible when they
were measured. The best iterate is kept, not the last.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ..errors import InputError
from ..threat.feasible import FeasibleSet
from ..threat.model import ThreatModel
from .base import Attack, Optimised, Progress
from .objective import OuterObjective


class SearchState(NamedTuple):
    """Where the search stands."""

    latent: Float[Array, "p d"]
    optimiser: Any
    step: Int[Array, ""]
    best: Float[Array, "p d"]
    best_value: Float[Array, ""]


class JointAttack(Attack):
    """Optimise all points together.

    Args:
        iterations: hypergradients to compute.
        step_size: Adam's first step α, in units of the features on a convex set.
        discrete_step_size: Adam's first step on a discrete set, in units of its free variables.
        temperatures: first and last temperature of a discrete set's relaxation.

    Raises:
        InputError: a number out of its range.
    """

    iterations: int = eqx.field(default=200, static=True)
    step_size: float = eqx.field(default=0.05, static=True)
    discrete_step_size: float = eqx.field(default=0.2, static=True)
    temperatures: tuple[float, float] = eqx.field(default=(1.0, 0.05), static=True)

    name = "joint"

    def __check_init__(self):
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise InputError(f"iterations must be a positive whole number; got {self.iterations!r}.")
        if min(self.step_size, self.discrete_step_size, *self.temperatures) <= 0:
            raise InputError(
                f"step sizes and temperatures must be positive; got {self.step_size}, {self.discrete_step_size} "
                f"and {self.temperatures}."
            )

    def search(
        self, objective: OuterObjective, threat: ThreatModel, start: jax.Array, *, seed: int, progress: Progress
    ) -> Optimised:
        """Climb for a fixed number of iterations, in chunks between which progress is told."""
        del seed
        feasible = threat.feasible
        latent = feasible.latent(start) if feasible.discrete else start  # pyright: ignore[reportAttributeAccessIssue]
        state = SearchState(
            latent, self._optimiser(feasible).init(latent), jnp.int32(0), start, jnp.asarray(-jnp.inf, start.dtype)
        )
        values, drifts = [], []
        chunk = max(self.iterations // 20, 1)
        for first in range(0, self.iterations, chunk):
            count = jnp.int32(min(chunk, self.iterations - first))
            state, (value, drift) = _advance(self, objective, feasible, state, count, chunk)
            values.append(np.asarray(value)[: int(count)])
            drifts.append(np.asarray(drift)[: int(count)])
            progress((first + int(count)) / self.iterations)
        return Optimised(state.best, np.concatenate(values), float(np.max(np.concatenate(drifts))))

    def _optimiser(self, feasible: FeasibleSet) -> optax.GradientTransformation:
        size = self.discrete_step_size if feasible.discrete else self.step_size
        return optax.adam(optax.cosine_decay_schedule(size, self.iterations))

    def temperature(self, step: Int[Array, ""], dtype) -> Float[Array, ""]:
        """Return τ_i."""
        first, last = self.temperatures
        share = step.astype(dtype) / max(self.iterations - 1, 1)
        return jnp.asarray(first, dtype) * jnp.asarray(last / first, dtype) ** share


@eqx.filter_jit
def _advance(
    attack: JointAttack, objective: OuterObjective, feasible: FeasibleSet, state: SearchState, count, chunk: int
):
    """Take up to `chunk` steps; those after `count` leave everything as it is, so that one compilation serves."""

    def step(state: SearchState, i):
        return jax.lax.cond(i < count, lambda s: _step(attack, objective, feasible, s), _idle, state)

    return jax.lax.scan(step, state, jnp.arange(chunk, dtype=jnp.int32))


def _idle(state: SearchState):
    nothing = jnp.zeros((), state.latent.dtype)
    return state, (nothing, nothing)


def _step(attack: JointAttack, objective: OuterObjective, feasible: FeasibleSet, state: SearchState):
    points, slope, hard = state.latent, None, None
    if feasible.discrete:
        temperature = attack.temperature(state.step, state.latent.dtype)
        points, slope = jax.vjp(lambda latent: feasible.relax(latent, temperature), state.latent)  # pyright: ignore[reportAttributeAccessIssue]
    found = objective.hypergradient(points)
    gradient = found.gradient if slope is None else slope(found.gradient)[0]
    hard = feasible.project(points)
    value = objective(hard) if feasible.discrete else found.value
    # A gradient that is not finite would end the search for good; a step of zero lets it go on from where it is.
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
    updates, optimiser = attack._optimiser(feasible).update(-gradient, state.optimiser)
    latent = state.latent + updates
    latent = latent if feasible.discrete else feasible.project(latent)
    better = value > state.best_value
    new = SearchState(
        latent,
        optimiser,
        state.step + 1,
        jnp.where(better, hard, state.best),
        jnp.where(better, value, state.best_value),
    )
    return new, (value, found.drift)
