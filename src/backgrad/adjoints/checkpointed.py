r"""The exact adjoint of descent: reverse-mode differentiation of the T steps, with a choice of what to keep.

With Φ_t the t-th step, s_{t+1} = Φ_t(s_t, θ), and λ_T the incoming cotangent, go back by

    θ̄ ← θ̄ + (∂Φ_t/∂θ)ᵀ λ_{t+1},    λ_t = (∂Φ_t/∂s)ᵀ λ_{t+1},    t = T−1 … 0.

The states s_t are stored, or, where that passes a memory limit, recomputed from the starts of about √T segments. Going
back through a step runs it again, all but its matrix products: those are stored beside the states, R bytes a step,
where they fit too. A step of a linear learner is two products, and going back through it is three without, two with
them. All else that `lax.scan` would keep is cheaper computed again than written and read, and so are the products of
short sums, such as those of patches of few pixels.

Of a state of descent with momentum, (∂Φ_t/∂s)ᵀ depends on the parameters alone: the velocity enters linearly, and is
needed for the momentum's own gradient only. Unless that is asked for, it is not stored. With S bytes a state, of which
K are needed on the way back, segments of L steps take (T/L)·S + L·K, and L = √(T·S/K) is best.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..checks import check_kind, check_positive, is_number, native
from ..errors import UnsupportedError
from ..hosted import HostFeatures
from ..schedules import Descent, DescentState, Schedule
from ..types import Params
from .base import Adjoint, Problem, refuse_converged, steps_of

# From how many terms in each sum on a matrix product is cheaper kept than computed again: in the CNN, keeping those of
# 9 to 72 terms took a sixth longer than keeping none.
_TERMS = 100


class Checkpointed(Adjoint):
    """Exact gradients from a stored or recomputed trajectory; the default for `Descent`.

    Args:
        memory_limit: bytes the trajectory may take. Within it, what is needed of all T states is stored, and their
            steps' matrix products where there is room for those as well; above it, the starts of about √T segments are,
            and each segment is run again on the way back. A step's own intermediates, and the rows, come on top.
        segments: whether to recompute segments; decided by `memory_limit` where omitted.

    Raises:
        UnsupportedError: the schedule is `Converged`, or even the segments pass the limit.
    """

    memory_limit: int = eqx.field(default=2**30, static=True, converter=native)
    segments: bool | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        check_positive(memory_limit=self.memory_limit)
        if self.segments is not None:
            check_kind(bool, "True, False or None", segments=self.segments)

    def check(self, schedule: Schedule) -> None:
        """Accept every `Descent`."""
        refuse_converged(self, schedule)

    def segment_length(self, descent: Descent, state: DescentState) -> int:
        """Return the number of steps between stored states: 1 where the whole trajectory is kept."""
        size, kept = max(state_bytes(state), 1), max(_needed_bytes(descent, state), 1)
        if self.segments is False or (self.segments is None and descent.steps * kept <= self.memory_limit):
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
        state, steps = descent.init(params), steps_of(descent)
        length = self.segment_length(descent, state)
        starts = 0 if length == 1 else math.ceil(descent.steps / length) * state_bytes(state)
        step = self._step(problem, state, descent.steps if length == 1 else length, self.memory_limit - starts)
        if length == 1:
            return _run(step, state, steps).params

        def segment(state, steps):
            return _run(step, state, steps)

        # The last segment is shorter where √T does not divide T.
        whole = steps.size - steps.size % length
        again = jax.checkpoint(segment, prevent_cse=False)
        state = _run(again, state, steps[:whole].reshape(-1, length))
        return (jax.checkpoint(segment)(state, steps[whole:]) if whole < steps.size else state).params

    def _step(self, problem: Problem, state: DescentState, together: int, room: int) -> Callable[..., DescentState]:
        """Return a step that keeps its state, and its products where `room` holds those of `together` steps."""

        def step(state, t):  # jax.checkpoint hashes what it is given, which the arrays of a bound method do not allow
            return problem.step(state, t)

        def stepping(policy):
            # Forward and back are different loops, so that nothing could be shared between them by mistake.
            return jax.checkpoint(step, policy=policy, prevent_cse=False)

        keeping = stepping(_long_products)
        size = _needed_bytes(problem.descent(), state) + _product_bytes(problem, state)
        return keeping if together * size <= room else stepping(None)


def _long_products(primitive: Any, *operands: Any, **settings: Any) -> bool:
    """Tell `jax.checkpoint` what to keep: matrix products whose sums have many terms."""
    if primitive.name != "dot_general":
        return False
    summed = settings["dimension_numbers"][0][0]
    return math.prod(operands[0].shape[axis] for axis in summed) >= _TERMS


def state_bytes(state: PyTree) -> int:
    """Return the size of a state in bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_array)))


def _needed_bytes(descent: Descent, state: DescentState) -> int:
    """Return the bytes of a state that are needed to go back through its step."""
    return state_bytes(state._replace(velocity=None) if is_number(descent.momentum) else state)


def _run(step: Callable[..., DescentState], state: DescentState, steps: Int[Array, "T ..."]) -> DescentState:
    return jax.lax.scan(lambda s, t: (step(s, t), None), state, steps)[0]


def _product_bytes(problem: Problem, state: DescentState) -> int:
    """Return the bytes that a step's products take, where the step is differentiated by all its floats."""
    # Features on the host hold a float of their own, and refuse to be differentiated.
    moving, fixed = eqx.partition(
        (state, problem), eqx.is_inexact_array, is_leaf=lambda node: isinstance(node, HostFeatures)
    )

    def residuals(moving):
        def step(moving):
            state, problem = eqx.combine(moving, fixed)
            return eqx.filter(problem.step(state, jnp.int32(0)), eqx.is_inexact_array)

        return jax.vjp(jax.checkpoint(step, policy=_long_products), moving)[1]

    jaxpr = jax.make_jaxpr(residuals)(moving).jaxpr
    given = {id(var) for var in (*jaxpr.invars, *jaxpr.constvars)}
    return sum(var.aval.size * var.aval.dtype.itemsize for var in jaxpr.outvars if id(var) not in given)
