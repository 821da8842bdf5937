r"""The exact adjoint of descent: reverse-mode differentiation of the T steps, with a choice of what to keep.

With Φ_t the t-th step, s_{t+1} = Φ_t(s_t, θ), and λ_T the incoming cotangent, go back by

    θ̄ ← θ̄ + (∂Φ_t/∂θ)ᵀ λ_{t+1},    λ_t = (∂Φ_t/∂s)ᵀ λ_{t+1},    t = T−1 … 0.

The states s_t are stored, or, where that passes a memory limit, recomputed from the starts of about √T segments.
Storing them beats differentiating through `lax.scan`, which also keeps every intermediate of every step.

Of a state of descent with momentum, (∂Φ_t/∂s)ᵀ depends on the parameters alone: the velocity enters linearly, and is
needed for the momentum's own gradient only. So it is not stored unless that is asked for, which halves the memory.
With S bytes a state, of which K are needed on the way back, segments of L steps take (T/L)·S + L·K, and
L = √(T·S/K) is best.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..checks import is_number
from ..errors import UnsupportedError
from ..schedules import Descent, DescentState, Schedule
from ..types import Params
from .base import Adjoint, Problem, refuse_converged, steps_of, tree_add, zeros_for


def state_bytes(state: PyTree) -> int:
    """Return the size of a state in bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_array)))


class Checkpointed(Adjoint):
    """Exact gradients from a stored or recomputed trajectory; the default for `Descent`.

    Args:
        memory_limit: bytes the trajectory may take. Within it, what is needed of all T states is stored; above it,
            the starts of about √T segments are, and each segment is run again on the way back. A step's own
            intermediates, and the rows, come on top.
        segments: whether to recompute segments; decided by `memory_limit` where omitted.

    Raises:
        UnsupportedError: the schedule is `Converged`, or even the segments pass the limit.
    """

    memory_limit: int = eqx.field(default=2**30, static=True)
    segments: bool | None = eqx.field(default=None, static=True)

    def check(self, schedule: Schedule) -> None:
        """Accept every `Descent`."""
        refuse_converged(self, schedule)

    def segment_length(self, descent: Descent, state: DescentState) -> int:
        """Return the number of steps between stored states: 1 where the whole trajectory is kept."""
        size = max(state_bytes(state), 1)
        kept = max(state_bytes(_needed(state, velocity=not is_number(descent.momentum))), 1)
        whole = descent.steps * kept
        if self.segments is False or (self.segments is None and whole <= self.memory_limit):
            return 1
        length = math.ceil(math.sqrt(descent.steps * size / kept))
        needed = length * kept + math.ceil(descent.steps / length) * size
        if needed > self.memory_limit:
            raise UnsupportedError(
                f"memory_limit is {self.memory_limit:,} bytes, but {descent.steps} steps of {kept:,} bytes need "
                f"{needed:,} even in segments: raise memory_limit, or use Reversible() with momentum."
            )
        return length

    def solve(self, problem: Problem, params: Params) -> Params:
        """Run T steps."""
        self.check(problem.schedule)
        descent = problem.descent()
        state = descent.init(params)
        return _descend((state, problem), self.segment_length(descent, state)).params


def _needed(state: DescentState, *, velocity: bool) -> DescentState:
    """Return what going back needs of a state."""
    return state if velocity else state._replace(velocity=None)


def _restored(kept: DescentState, like: DescentState) -> DescentState:
    """Return a state of which that was kept; a velocity that was not is zero, since nothing depends on it."""
    if kept.velocity is not None or like.velocity is None:
        return kept
    return kept._replace(velocity=jax.tree.map(jnp.zeros_like, like.velocity))


def _forward(state: DescentState, problem: Problem, length: int, *, velocity: bool):
    """Run all steps; return the last state, and every `length`-th one before it, of all what is needed."""
    descent = problem.descent()
    if length == 1:
        return jax.lax.scan(lambda s, t: (problem.step(s, t), _needed(s, velocity=velocity)), state, steps_of(descent))
    starts = jnp.arange(0, descent.steps, length, dtype=jnp.int32)

    def segment(state, start):
        return _within(problem, state, start, length, keep=lambda s: None)[0], state

    return jax.lax.scan(segment, state, starts)


def _within(problem: Problem, state: DescentState, start, length: int, *, keep: Callable[[DescentState], Any]):
    """Run the steps of one segment; the last one may end early, since √T need not divide T."""
    total = problem.descent().steps

    def step(state, t):
        new = jax.lax.cond(t < total, lambda s: problem.step(s, t), lambda s: s, state)
        return new, keep(state)

    return jax.lax.scan(step, state, start + jnp.arange(length, dtype=jnp.int32))


def pull_back(problem: Problem, state: DescentState, t, cotangent: PyTree, wanted: PyTree):
    """Take a cotangent back through step t.

    Args:
        problem: the training run.
        state: s_t.
        t: the step.
        cotangent: λ_{t+1}, shaped like the inexact arrays of a state.
        wanted: the part of `problem` to differentiate with respect to.

    Returns:
        λ_t, and the step's contribution to the cotangent of `wanted`.
    """
    moving, fixed = eqx.partition(state, eqx.is_inexact_array)

    def step(moving, wanted):
        new = eqx.combine(wanted, problem).step(eqx.combine(moving, fixed), t)
        return eqx.filter(new, eqx.is_inexact_array)

    return jax.vjp(step, moving, wanted)[1](cotangent)


def _moves_momentum(perturbed) -> bool:
    """Tell whether the momentum is differentiated, or nobody knows."""
    schedule = perturbed[1].schedule
    return schedule.optimiser is not None or schedule.momentum is True


@eqx.filter_custom_vjp
def _descend(inputs: tuple[DescentState, Problem], length: int) -> DescentState:
    """Run T steps."""
    state, problem = inputs
    return jax.lax.scan(lambda s, t: (problem.step(s, t), None), state, steps_of(problem.descent()))[0]


@_descend.def_fwd
def _descend_forward(perturbed, inputs, length):
    state, problem = inputs
    return _forward(state, problem, length, velocity=_moves_momentum(perturbed))


@_descend.def_bwd
def _descend_backward(kept, cotangent, perturbed, inputs, length):
    first, problem = inputs
    velocity = _moves_momentum(perturbed)
    wanted = eqx.filter(problem, perturbed[1])
    steps = steps_of(problem.descent())

    def back(carry, entry):
        cotangent, total = carry
        t, kept = entry
        cotangent, part = pull_back(problem, _restored(kept, first), t, cotangent, wanted)
        return (cotangent, tree_add(total, part)), None

    def back_segment(carry, entry):
        start, state = entry
        ts = start + jnp.arange(length, dtype=jnp.int32)
        _, states = _within(problem, state, start, length, keep=lambda s: _needed(s, velocity=velocity))

        def guarded(carry, entry):
            inside = entry[0] < problem.descent().steps
            return jax.lax.cond(inside, lambda c: back(c, entry)[0], lambda c: c, carry), None

        return jax.lax.scan(guarded, carry, (ts, states), reverse=True)[0], None

    carry = (zeros_for(cotangent, first), jax.tree.map(jnp.zeros_like, wanted))
    if length == 1:
        (cotangent, total), _ = jax.lax.scan(back, carry, (steps, kept), reverse=True)
    else:
        starts = jnp.arange(0, steps.size, length, dtype=jnp.int32)
        (cotangent, total), _ = jax.lax.scan(back_segment, carry, (starts, kept), reverse=True)
    return cotangent, total
