"""Limited-memory BFGS that ends where the gradient is small.

A module of its own, since optimistix takes its time to be imported, and most schedules do without.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx

from ..types import Params


class UntilFlat(optx.LBFGS):
    """L-BFGS that also ends at a gradient of a norm up to `flat`.

    By itself it ends where steps and losses no longer change, which is after many steps that change nothing.
    """

    flat: float

    def __init__(self, flat: float):
        """Let the other criterion decide where round-off keeps the gradient from getting there."""
        super().__init__(rtol=flat**2, atol=flat**2, norm=optx.two_norm)
        self.flat = flat

    def terminate(self, fn, y, args, options, state, tags):
        """Return whether to end, and how."""
        ended, result = super().terminate(fn, y, args, options, state, tags)
        # Before the first step there is no gradient yet, only room for one.
        return ended | (~state.first_step & (self.norm(state.f_info.grad) <= self.flat)), result


def minimise(params: Params, field: Any, tolerance: float, max_steps: int) -> Params:
    """Return parameters of a small loss: a stationary point, unless steps or digits ran out before.

    Args:
        params: to start from.
        field: with the loss as its `value`.
        tolerance: on the Euclidean norm of the gradient.
        max_steps: evaluations of loss and gradient.
    """
    # optimistix computes in JAX's default precision, whatever it is given: rows may be float32 where that is float64.
    default = jnp.result_type(float)

    def narrow(wide: Params) -> Params:
        return jax.tree.map(lambda leaf, given: leaf.astype(given.dtype), wide, params)

    def value(wide: Params, field: Any):
        return field.value(narrow(wide)).astype(default)

    wide = jax.tree.map(lambda leaf: leaf.astype(default), params)
    return narrow(optx.minimise(value, UntilFlat(tolerance), wide, field, max_steps=max_steps, throw=False).value)
