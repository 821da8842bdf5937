r"""Exact reversal of momentum SGD in finite precision (Maclaurin, Duvenaud and Adams 2015, Algorithms 2 and 3).

Parameters and velocity are whole multiples of 2^−F, and γ = ν/δ is rational. Adding and subtracting whole numbers
loses nothing; multiplying by γ does, log₂(δ/ν) bits a step, which go into an information buffer I:

    I ← δ I + (v mod δ),   v ← ν ⌊v/δ⌋ + (I mod ν),   I ← ⌊I/ν⌋,      undone by exchanging ν and δ.

The paper's buffer is one growing integer a parameter. Ours has a static size: since I grows by at most δ/ν a step,
it is known before the run at which steps its low 32 bits must be moved to a stack, the same for all parameters, so
that I always fits 64 bits.

The gradient must come out bit for bit the same in both directions. XLA may fuse and order the same arithmetic
differently in different surroundings, so both directions call it through one conditional, which is compiled
by itself and never mixed with its surroundings. Reversal is compared with w_0 at run time all the same.
"""

import math
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, UInt

from ..checks import is_number, is_whole, native
from ..errors import InputError, UnsupportedError
from ..schedules import Descent, Schedule
from ..types import Params
from .base import Adjoint, Problem, refuse_converged, steps_of, tree_add, tree_norm, zeros_for

_WORD = 32
# What w and v must stay below, so that no sum of them passes 63 bits; an update is cut off at the former.
_W_BITS, _V_BITS = 62, 59


class FixedState(NamedTuple):
    """Fixed-point parameters w and velocity v, the buffer I, and the words moved out of it."""

    w: Int[Array, "m"]
    v: Int[Array, "m"]
    buffer: UInt[Array, "m"]
    stack: UInt[Array, "s m"]


class Plan(NamedTuple):
    """γ as ν/δ, and the step-by-step schedule by which the buffer is emptied into the stack."""

    numerator: Any
    denominator: int
    moves: Bool[np.ndarray, "T"]
    slots: Int[np.ndarray, "T"]

    @property
    def words(self) -> int:
        """The number of 32-bit words on the stack, a parameter."""
        return int(self.moves.sum())


class Reversible(Adjoint):
    """Gradients without a stored trajectory, from a reversal that is exact to the bit.

    Gradients are those of the fixed-point pass with its rounding taken as the identity.

    Args:
        fraction_bits: F. Parameters must stay within ±2^(62−F), which is 262,144, and velocities within an eighth of
            that; training that does not ends in NaN and the status DIVERGED: scale features and responses, or lower F.
        max_denominator: largest δ used to write γ as a fraction; γ is rounded to the nearest such fraction.
        min_momentum: the smallest γ to prepare for where the momentum is traced (to differentiate with respect to
            it), since the buffer's size must be known before the run. γ is then rounded to a multiple of 2^−12.

    Raises:
        UnsupportedError: no momentum, an optax optimiser, `Converged`, or 64-bit mode off.
    """

    fraction_bits: int = eqx.field(default=44, static=True, converter=native)
    max_denominator: int = eqx.field(default=4096, static=True, converter=native)
    min_momentum: float = eqx.field(default=0.5, static=True, converter=native)

    needs_float64: ClassVar[bool] = True

    def __check_init__(self):
        for name, least, largest in (("fraction_bits", 8, 56), ("max_denominator", 2, 2**16)):
            value = getattr(self, name)
            if not (is_whole(value) and least <= value <= largest):
                raise InputError(f"{name} must be a whole number from {least} to {largest}; got {value!r}.")
        if not (is_number(self.min_momentum) and 0 < self.min_momentum < 1):
            raise InputError(f"min_momentum must lie in (0, 1); got {self.min_momentum!r}.")

    def check(self, schedule: Schedule) -> None:
        """Accept SGD with momentum."""
        descent = refuse_converged(self, schedule)
        if descent.optimiser is not None:
            raise UnsupportedError("Reversible undoes SGD with momentum, not an optax optimiser: use Checkpointed().")
        if not descent.has_momentum:
            raise UnsupportedError(
                "Reversible needs momentum in (0, 1), since without it a step cannot be undone: set momentum, "
                "such as 0.9, or use Checkpointed()."
            )
        if not jax.config.read("jax_enable_x64"):
            raise UnsupportedError(
                "Reversible computes with 64-bit integers: call jax.config.update('jax_enable_x64', True) first."
            )

    def plan(self, descent: Descent) -> Plan:
        """Return γ as a fraction, and when the buffer is emptied."""
        if isinstance(descent.momentum, int | float):
            gamma = Fraction(descent.momentum).limit_denominator(self.max_denominator)
            if not 0 < gamma < 1:
                raise UnsupportedError(
                    f"momentum {descent.momentum} is too close to {round(gamma)} for max_denominator="
                    f"{self.max_denominator}: raise it, or use Checkpointed()."
                )
            return _schedule(gamma.numerator, gamma.denominator, gamma.numerator, descent.steps)
        denominator = 2**12
        numerator = jnp.round(descent.momentum * denominator).astype(jnp.int64)
        lowest = max(math.floor(self.min_momentum * denominator), 1)
        numerator = eqx.error_if(
            numerator,
            (numerator < lowest) | (numerator >= denominator),
            f"Reversible was prepared for a momentum in [{self.min_momentum}, 1): set min_momentum lower.",
        )
        return _schedule(numerator, denominator, lowest, descent.steps)

    def bits_per_step(self, descent: Descent) -> float:
        """Return the bits kept for each parameter and step: stack and buffer, over T."""
        return (_WORD * self.plan(descent).words + 64) / descent.steps

    def solve(self, problem: Problem, params: Params) -> Params:
        """Run T steps in fixed point."""
        self.check(problem.schedule)
        return _descend((params, problem), self)


def _schedule(numerator, denominator: int, lowest: int, steps: int) -> Plan:
    """Find the steps before which the buffer must give up 32 bits so as never to pass 63."""
    moves, slots = np.zeros(steps, bool), np.zeros(steps, np.int32)
    bound, used, room = 0, 0, (2**63 - denominator) // denominator
    for t in range(steps):
        slots[t] = used
        if bound > room:
            moves[t], used, bound = True, used + 1, bound >> _WORD
        bound = (bound * denominator + denominator - 1) // lowest
    return Plan(numerator, denominator, moves, slots)


def _exchange(buffer, v, into, out_of):
    """Multiply v by out_of/into, exactly: the remainder goes to the buffer, whose own remainder comes back."""
    into_u, out_u = jnp.asarray(into).astype(jnp.uint64), jnp.asarray(out_of).astype(jnp.uint64)
    buffer = buffer * into_u + jnp.mod(v, into).astype(jnp.uint64)
    v = jnp.floor_divide(v, into) * out_of + (buffer % out_u).astype(jnp.int64)
    return buffer // out_u, v


class _Machine(NamedTuple):
    """The fixed-point arithmetic of one run."""

    problem: Problem
    unravel: Any
    plan: Plan
    bits: int
    dtype: Any

    def fits(self, s: FixedState) -> Bool[Array, ""]:
        """Tell whether parameters and velocity are small enough for the next step."""
        return jnp.all((jnp.abs(s.w) < 2**_W_BITS) & (jnp.abs(s.v) < 2**_V_BITS))

    def to_float(self, whole: Int[Array, "m"]) -> Params:
        """Return parameters as floats, of the precision that they came in."""
        return self.unravel((whole.astype(jnp.float64) * 2.0**-self.bits).astype(self.dtype))

    def to_fixed(self, values: Float[Array, "m"]) -> Int[Array, "m"]:
        """Round to multiples of 2^−F; what is not finite or out of range becomes the first number that does not fit."""
        limit = 2.0**_W_BITS
        bounded = jnp.clip(jnp.nan_to_num(values * 2.0**self.bits, nan=limit), -limit, limit)
        return jnp.round(bounded).astype(jnp.int64)

    def update(self, w: Int[Array, "m"], t) -> Int[Array, "m"]:
        """Return η g(w) in fixed point: the one gradient computation that both directions share."""

        def compute(operands):
            problem, w, t = operands
            params = self.to_float(w)
            move = problem.descent().update(problem.field(params, t))
            return self.to_fixed(ravel_pytree(move)[0].astype(jnp.float64))

        # The predicate is always true, but only at run time: probe is an input whose value is 0.
        dynamic, static = eqx.partition(self.problem, eqx.is_array)
        return jax.lax.cond(
            self.problem.probe == 0,
            lambda ops: compute((eqx.combine(ops[0], static), ops[1], ops[2])),
            lambda ops: jnp.zeros_like(ops[1]),
            (dynamic, w, t),
        )

    def forward(self, s: FixedState, t) -> FixedState:
        """Take step t."""
        moves, slots = jnp.asarray(self.plan.moves)[t], jnp.asarray(self.plan.slots)[t]
        stack, buffer = s.stack, s.buffer
        if self.plan.words:
            low = (buffer & jnp.uint64(2**_WORD - 1)).astype(jnp.uint32)
            # Written at every step and kept at those that move: the slot is written again until it is passed.
            stack = jax.lax.dynamic_update_index_in_dim(stack, low, slots, 0)
            buffer = jnp.where(moves, buffer >> jnp.uint64(_WORD), buffer)
        buffer, v = _exchange(buffer, s.v, self.plan.denominator, self.plan.numerator)
        v = v - self.update(s.w, t)
        return FixedState(s.w + v, v, buffer, stack)

    def rounded(self, problem: Problem) -> Problem:
        """Return the problem with the γ of the fixed-point pass, ν/δ, the rounding taken as the identity."""
        gamma = problem.descent().momentum
        error = jax.lax.stop_gradient(self.plan.numerator / self.plan.denominator - gamma)
        return eqx.tree_at(lambda p: p.schedule.momentum, problem, gamma + error)

    def backward(self, s: FixedState, t) -> FixedState:
        """Undo step t."""
        moves, slots = jnp.asarray(self.plan.moves)[t], jnp.asarray(self.plan.slots)[t]
        w = s.w - s.v
        v = s.v + self.update(w, t)
        buffer, v = _exchange(s.buffer, v, self.plan.numerator, self.plan.denominator)
        if self.plan.words:
            low = jax.lax.dynamic_index_in_dim(s.stack, slots, 0, keepdims=False).astype(jnp.uint64)
            buffer = jnp.where(moves, (buffer << jnp.uint64(_WORD)) | low, buffer)
        return FixedState(w, v, buffer, s.stack)


def _machine(params: Params, problem: Problem, adjoint: Reversible) -> tuple[_Machine, FixedState]:
    flat, unravel = ravel_pytree(params)
    plan = adjoint.plan(problem.descent())
    machine = _Machine(problem, unravel, plan, adjoint.fraction_bits, flat.dtype)
    w = machine.to_fixed(flat.astype(jnp.float64))
    # The last slot takes the writes that follow the last move.
    stack = jnp.zeros((plan.words + 1 if plan.words else 0, flat.size), jnp.uint32)
    return machine, FixedState(w, jnp.zeros_like(w), jnp.zeros(flat.size, jnp.uint64), stack)


def _run(params: Params, problem: Problem, adjoint: Reversible) -> tuple[Params, tuple[FixedState, Any]]:
    """Return the trained parameters, NaN where a step did not fit; the last state, and whether all steps fitted."""
    machine, state = _machine(params, problem, adjoint)

    def step(carry, t):
        state, fitted = carry
        state = machine.forward(state, t)
        return (state, fitted & machine.fits(state)), None

    (state, fitted), _ = jax.lax.scan(step, (state, machine.fits(state)), steps_of(problem.descent()))
    return _nan_unless(fitted, machine.to_float(state.w)), (state, fitted)


def _nan_unless(fitted: Bool[Array, ""], tree: Params) -> Params:
    return jax.tree.map(lambda leaf: jnp.where(fitted, leaf, jnp.nan), tree)


@eqx.filter_custom_vjp
def _descend(inputs: tuple[Params, Problem], adjoint: Reversible) -> Params:
    """Run T steps."""
    return _run(*inputs, adjoint)[0]


@_descend.def_fwd
def _descend_forward(perturbed, inputs, adjoint):
    del perturbed
    params, problem = inputs
    return _run(params, problem, adjoint)


@_descend.def_bwd
def _descend_backward(ended, cotangent, perturbed, inputs, adjoint):
    params, problem = inputs
    state, fitted = ended
    machine, start = _machine(params, problem, adjoint)
    wanted = eqx.filter(problem, perturbed[1])
    cotangent = _nan_unless(fitted, zeros_for(cotangent, params))

    def back(carry, t):
        state, w_bar, v_bar, total = carry
        previous = machine.backward(state, t)
        now = problem.descent().init(machine.to_float(previous.w))
        now = now._replace(velocity=machine.to_float(previous.v))

        def step(now, wanted):
            return machine.rounded(eqx.combine(wanted, problem)).step(now, t)

        pulled, part = jax.vjp(step, now, wanted)[1](now._replace(params=w_bar, velocity=v_bar))
        return (previous, pulled.params, pulled.velocity, tree_add(total, part)), None

    zeros = jax.tree.map(jnp.zeros_like, (cotangent, wanted))
    carry = (state, cotangent, *zeros)
    (begin, w_bar, _, total), _ = jax.lax.scan(back, carry, steps_of(problem.descent()), reverse=True)
    wrong = jnp.any(begin.w != start.w) | jnp.any(begin.v != 0) | jnp.any(begin.buffer != 0)
    # Attached to all cotangents: were it on one that nobody asks for, XLA would drop the check with it.
    w_bar, total = eqx.error_if(
        (w_bar, total),
        wrong,
        "Reversible did not return to the initial parameters bit for bit, so its gradient is wrong. The gradient "
        "of the training loss is not deterministic on this device: use Checkpointed().",
    )
    if total.probe is not None:
        drift = tree_norm(machine.to_float(begin.w - start.w))
        total = eqx.tree_at(lambda p: p.probe, total, drift.astype(problem.probe.dtype))
    return w_bar, total
