r"""The paper's back-gradient descent (Muñoz-González et al. 2017, Algorithm 3), after Domke (2012).

Nothing is stored: from w_T the trajectory is walked back while the cotangent is,

    d̄ ← d̄ − η (∇_θ∇_w 𝓛(w_t))ᵀ w̄,    w̄ ← w̄ − η ∇²_w 𝓛(w_t) w̄,    w_{t−1} = w_t + η ∇_w 𝓛(w_t),    t = T … 1.

The true inverse of a step needs the gradient at w_{t−1}; taking it at w_t makes the reversal approximate, with an
error that grows with η, T and curvature: truncation where the loss is bent, round-off amplified by (1 + ηλ) a step
where it is quadratic. w_0 is known, so the error shows itself as the **drift** ‖reversed w_0 − w_0‖ / ‖w_T − w_0‖.
A drift that is not small means that the gradient may be wrong.

The gradient and the Hessian-vector product share one linearisation, and Hessian-vector products are exact where the
authors' code differences them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from ..errors import UnsupportedError
from ..schedules import Schedule
from ..types import Params
from .base import Adjoint, Problem, refuse_converged, steps_of, tree_add, tree_norm, zeros_for


class BackGradient(Adjoint):
    """The paper's reversal, in constant memory and approximate; its drift is the cotangent of the probe.

    Raises:
        UnsupportedError: for momentum, optax optimisers and `Converged`, which it cannot reverse.
    """

    def check(self, schedule: Schedule) -> None:
        """Accept (stochastic) gradient descent with a fixed step."""
        descent = refuse_converged(self, schedule)
        if descent.optimiser is not None:
            raise UnsupportedError(
                "BackGradient reverses w ← w − η g and cannot undo an optax optimiser: use Checkpointed()."
            )
        if descent.has_momentum:
            raise UnsupportedError(
                "BackGradient reverses w ← w − η g and cannot undo momentum: use Reversible() or Checkpointed()."
            )

        if descent.gram:
            raise UnsupportedError(
                "BackGradient reverses the learner's own parameters, and in Gram space part of its gradient would be "
                "exact: set gram=False, or use Checkpointed()."
            )

    def solve(self, problem: Problem, params: Params) -> Params:
        """Run T steps."""
        self.check(problem.schedule)
        return _descend((params, problem))


def _run(params: Params, problem: Problem) -> Params:
    state = problem.descent().init(params)
    return jax.lax.scan(lambda s, t: (problem.step(s, t), None), state, steps_of(problem.descent()))[0].params


@eqx.filter_custom_vjp
def _descend(inputs: tuple[Params, Problem]) -> Params:
    """Run T steps."""
    return _run(*inputs)


@_descend.def_fwd
def _descend_forward(perturbed, inputs):
    del perturbed
    trained = _run(*inputs)
    return trained, trained


@_descend.def_bwd
def _descend_backward(trained, cotangent, perturbed, inputs):
    initial, problem = inputs
    wanted = eqx.filter(problem, perturbed[1])

    def back(carry, t):
        params, cotangent, total = carry

        def update(params, wanted):
            full = eqx.combine(wanted, problem)
            return full.descent().update(full.field(params, t))

        move, pull = jax.vjp(update, params, wanted)
        bend, part = pull(cotangent)
        cotangent = jax.tree.map(jnp.subtract, cotangent, bend)
        total = jax.tree.map(jnp.subtract, total, part)
        return (tree_add(params, move), cotangent, total), None

    carry = (trained, zeros_for(cotangent, trained), jax.tree.map(jnp.zeros_like, wanted))
    (reversed_, cotangent, total), _ = jax.lax.scan(back, carry, steps_of(problem.descent()), reverse=True)
    if total.probe is not None:
        total = eqx.tree_at(lambda p: p.probe, total, _drift(reversed_, initial, trained).astype(problem.probe.dtype))
    return cotangent, total


def _drift(reversed_: Params, initial: Params, trained: Params):
    """Return ‖reversed w_0 − w_0‖ / ‖w_T − w_0‖, 0 of no error, and infinity where the reversal overflowed."""
    error = tree_norm(jax.tree.map(jnp.subtract, reversed_, initial))
    drift = error / tree_norm(jax.tree.map(jnp.subtract, trained, initial))
    return jnp.where(error == 0, 0.0, jnp.where(jnp.isnan(drift), jnp.inf, drift))
