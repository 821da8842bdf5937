"""How a learner is trained: a fixed number of descent steps, or to convergence.

With g_t the gradient of the training loss on the rows of step t, `Descent` iterates

    v_{t+1} = γ v_t − η g_t(w_t),    w_{t+1} = w_t + v_{t+1},    t = 0 … T−1,    v_0 = 0,

which is plain gradient descent for γ = 0. With `clip`, g_t is a mean of clipped gradients of rows, with noise where
asked (Abadi et al. 2016, Algorithm 1; against poisoning, Hong et al. 2020): with ω_i the weights of the step's rows, W
their sum, l_i a row's loss without the L2 term and ξ a standard normal draw for every parameter and step,

    g_t = (Σ_i ω_i ∇l_i · min(1, C/‖∇l_i‖) + σ C ξ) / W + ∇(λ/2 ‖w‖²).

`Converged` solves ∇𝓛(w) = 0 to a tolerance instead. A schedule is
part of the victim, and so part of what an attacker may or may not know.
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from .checks import (
    check_count,
    check_kind,
    check_not_negative,
    check_positive,
    check_share,
    is_number,
    native,
    shown,
)
from .errors import InputError, UnsupportedError
from .types import Params


class DescentState(NamedTuple):
    """Where descent stands: the parameters, and whatever the optimiser carries from step to step."""

    params: Params
    velocity: Params | None = None
    optimiser: Any = None


class Descent(eqx.Module):
    """A fixed number of (stochastic) gradient steps, with momentum or any optax optimiser.

    Args:
        steps: T, the number of steps.
        step_size: η. A float, or a scalar array to differentiate with respect to it.
        momentum: γ in [0, 1), likewise differentiable.
        batch_size: b, rows a step; all rows where omitted. Batches are consecutive slices of a stream of random
            permutations of the rows, so every row is used once an epoch, in the same order on every run.
        optimiser: an optax transformation used instead of the step size and momentum.
        key: JAX key of the initial parameters (and, folded, of the batches); `jax.random.key(0)` where omitted.
        gram: whether to train in Gram space (see `backgrad.learners.gram`): exact to round-off, a step costs n²
            instead of n·d. Where omitted, full-batch descent does so if it pays, with the `Checkpointed` adjoint.
        clip: C, the largest Euclidean norm, over all parameters, of a row's gradient; None to leave gradients as they
            are. A step then holds the gradients of all its rows, so its time and memory grow with b·m: where that is
            too much, use mini-batches. `backgrad.training.ClippedField` says what counts as a row's loss.
        noise: σ, the noise multiplier; 0 for none. Draws depend on the key and t alone, so that a step that is run
            again has the same. No accounting of privacy is done.

    Raises:
        InputError: a number out of its range, both an optimiser and a momentum, noise without clip, or clip in Gram
            space.
    """

    steps: int = eqx.field(static=True, converter=native)
    step_size: Any = 0.1
    momentum: Any = 0.0
    batch_size: int | None = eqx.field(default=None, static=True, converter=native)
    optimiser: optax.GradientTransformation | None = eqx.field(default=None, static=True)
    key: PRNGKeyArray | None = None
    gram: bool | None = eqx.field(default=None, static=True)
    clip: Any = None
    noise: Any = 0.0

    def __check_init__(self):
        check_count(steps=self.steps)
        if self.batch_size is not None:
            check_count(batch_size=self.batch_size)
        check_positive(step_size=self.step_size)
        check_share(momentum=self.momentum)
        if self.gram is not None:
            check_kind(bool, "True, False or None", gram=self.gram)
        _check_key(self.key)
        if self.optimiser is not None:
            transformation = "an optax transformation, such as optax.adam(0.01)"
            check_kind(optax.GradientTransformation, transformation, optimiser=self.optimiser)
        if self.optimiser is not None and self.has_momentum:
            raise InputError("an optax optimiser brings its own momentum: set momentum=0 beside it.")
        self._check_clipping()

    def _check_clipping(self):
        check_not_negative(noise=self.noise)
        if self.clip is None:
            if self.has_noise:
                raise InputError(
                    "noise is a multiple of the clipping norm, and clip is None: set clip, such as 1.0, or noise=0."
                )
            return
        check_positive(clip=self.clip)
        if self.gram:
            raise UnsupportedError(
                "clip needs the gradients of single rows, which training in Gram space never forms: set gram=False."
            )

    @property
    def has_noise(self) -> bool:
        """Whether steps draw noise; only noise that is literally 0 saves it."""
        return not (is_number(self.noise) and self.noise == 0)

    @property
    def has_momentum(self) -> bool:
        """Whether steps carry a velocity; only a momentum that is literally 0 saves it."""
        return not (is_number(self.momentum) and self.momentum == 0)

    def init(self, params: Params) -> DescentState:
        """Return the state before the first step."""
        if self.optimiser is not None:
            return DescentState(params, optimiser=self.optimiser.init(params))
        velocity = jax.tree.map(jnp.zeros_like, params) if self.has_momentum else None
        return DescentState(params, velocity)

    def update(self, gradient: Params) -> Params:
        """Return η g, what a step subtracts."""
        return jax.tree.map(lambda g: jnp.asarray(self.step_size, g.dtype) * g, gradient)

    def step(self, state: DescentState, gradient: Params) -> DescentState:
        """Take one step along `gradient`, taken at `state.params`."""
        if self.optimiser is not None:
            carried = jax.tree_util.tree_map_with_path(_off_zero, state.optimiser)
            updates, inner = self.optimiser.update(gradient, carried, state.params)
            # optax promises a tree shaped like the parameters, which its type does not say.
            return DescentState(optax.apply_updates(state.params, updates), optimiser=inner)  # pyright: ignore[reportArgumentType]
        move = self.update(gradient)
        if state.velocity is None:
            return DescentState(jax.tree.map(jnp.subtract, state.params, move))
        velocity = jax.tree.map(lambda v, m: jnp.asarray(self.momentum, v.dtype) * v - m, state.velocity, move)
        return DescentState(jax.tree.map(jnp.add, state.params, velocity), velocity)

    def batches(self, n: int) -> Int[Array, "T b"] | None:
        """Return the rows of every step, or None where each step uses all n rows."""
        if self.batch_size is None or self.batch_size >= n:
            return None
        epochs = -(-self.steps * self.batch_size // n)
        keys = jax.random.split(jax.random.fold_in(initial_key(self), 1), epochs)
        stream = jax.vmap(lambda key: jax.random.permutation(key, n))(keys).reshape(-1)
        return stream[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)


class Converged(eqx.Module):
    """Train to a stationary point, ‖∇𝓛(w)‖ ≤ tolerance.

    Args:
        solver: `"newton"` (Newton steps on ∇𝓛 = 0, damped by Levenberg and Marquardt's rule, for smooth convex losses
            of up to a few thousand parameters; above a hundred, L-BFGS goes first) or `"lbfgs"` (limited-memory BFGS,
            for all others).
        tolerance: on the Euclidean norm of the gradient.
        max_steps: after which training stops and the result's status says so.
        key: JAX key of the initial parameters; `jax.random.key(0)` where omitted.

    Raises:
        InputError: an unknown solver or a number out of its range.
    """

    solver: Literal["newton", "lbfgs"] = eqx.field(default="newton", static=True)
    tolerance: float = eqx.field(default=1e-8, static=True, converter=native)
    max_steps: int = eqx.field(default=500, static=True, converter=native)
    key: PRNGKeyArray | None = None

    def __check_init__(self):
        if self.solver not in ("newton", "lbfgs"):
            raise InputError(f"solver must be 'newton' or 'lbfgs'; got {self.solver!r}.")
        check_positive(tolerance=self.tolerance)
        check_count(max_steps=self.max_steps)
        _check_key(self.key)


Schedule = Descent | Converged


def _off_zero(path: Any, leaf: Any) -> Any:
    """Return a mean square of gradients, which optax calls nu, as 10⁻³⁰ at least, and all else as it is.

    Adam divides by its root, which has no derivative where no gradient has come yet, as of the weights of a column that
    is 0 in all rows. Beside Adam's ε, no step feels the difference.
    """
    return jnp.maximum(leaf, 1e-30) if any(getattr(key, "name", None) == "nu" for key in path) else leaf


def _check_key(key: Any) -> None:
    if key is not None and not hasattr(key, "dtype"):
        raise InputError(f"key must be a JAX key, such as jax.random.key(0); got {shown(key)}.")


def initial_key(schedule: Schedule) -> PRNGKeyArray:
    """Return the key of a schedule's initial parameters."""
    return jax.random.key(0) if schedule.key is None else schedule.key
