r"""Gradient oracles: is this gradient right, and do two adjoints agree?

`check_gradient` compares ⟨∇f(x), v⟩ with a central difference of fourth order along v,

    f'(x; v) ≈ [8 (f(x + hv) − f(x − hv)) − (f(x + 2hv) − f(x − 2hv))] / 12h,

whose error is O(h⁴) + O(ε/h), so that float64 and h = 3·10⁻⁴ leave about twelve digits for a smooth f. Directions are
half gradient and half random, never against the gradient: along the gradient alone, parts orthogonal to it would go
unseen; along random directions alone, the derivative may vanish by chance and a relative error would mean nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..checks import check_count
from ..errors import NumericalError

_STENCIL = ((1.0, 8.0), (-1.0, -8.0), (2.0, -1.0), (-2.0, 1.0))


class GradientCheck(NamedTuple):
    """The worst direction of a gradient check: both derivatives, and their relative difference."""

    analytic: float
    numeric: float
    error: float


class Agreement(NamedTuple):
    """How two gradients compare: cosine of their angle, and ‖a − b‖ / ‖b‖."""

    cosine: float
    error: float


class GradientError(NumericalError, AssertionError):
    """A gradient failed a check. It is an AssertionError too, so that tests report it as a failure."""


def central_difference(
    f: Callable[[PyTree], Float[Array, ""]], x: PyTree, direction: PyTree, *, step: float = 3e-4
) -> float:
    """Return the directional derivative of f at x along `direction`, by a central difference of fourth order.

    Args:
        f: a scalar function of one tree of arrays; smooth within 2·step of x.
        x: where.
        direction: shaped like x.
        step: h.

    Returns:
        The derivative along `direction`, not normalised.
    """
    flat, unravel = ravel_pytree(x)
    start, along = np.asarray(flat), np.asarray(ravel_pytree(direction)[0])
    total = sum(factor * float(f(unravel(jnp.asarray(start + shift * step * along)))) for shift, factor in _STENCIL)
    return total / (12 * step)


def _direction(key: PRNGKeyArray, uphill: np.ndarray) -> np.ndarray:
    """Return a unit vector, half uphill and half random."""
    noise = np.asarray(jax.random.normal(key, uphill.shape, uphill.dtype))
    noise = noise / np.linalg.norm(noise)
    mixed = uphill + (-noise if noise @ uphill < 0 else noise)
    return mixed / np.linalg.norm(mixed)


def check_gradient(
    f: Callable[[PyTree], Float[Array, ""]],
    x: PyTree,
    *,
    key: PRNGKeyArray,
    gradient: PyTree | None = None,
    directions: int = 2,
    step: float = 3e-4,
    tolerance: float = 1e-6,
) -> GradientCheck:
    """Check a gradient against central differences in float64.

    Args:
        f: a scalar function of one tree of float64 arrays.
        x: where.
        key: of the random directions.
        gradient: the gradient to check; `jax.grad(f)(x)` where omitted.
        directions: how many to try.
        step: h of the difference.
        tolerance: the relative error allowed; infinity to measure without raising.

    Returns:
        The worst direction.

    Raises:
        GradientError: the relative error passes `tolerance`, or the gradient is zero or not finite.
        NumericalError: x is not float64, in which a difference could not tell right from wrong.
        InputError: no direction to try.
    """
    check_count(directions=directions)
    flat, unravel = ravel_pytree(x)
    if flat.dtype != jnp.float64:
        raise NumericalError(
            f"a gradient check needs float64, but x is {flat.dtype}: "
            "call jax.config.update('jax_enable_x64', True) first."
        )
    slope = np.asarray(ravel_pytree(jax.grad(f)(x) if gradient is None else gradient)[0])
    with np.errstate(over="ignore"):  # of a gradient that ran away; its norm is infinity then, and said to be
        size = float(np.linalg.norm(slope))
    if not 0 < size < np.inf:
        raise GradientError(f"the gradient's norm is {size}: there is nothing to compare a difference with.")
    worst = GradientCheck(size, size, -1.0)
    for one in jax.random.split(key, directions):
        v = _direction(one, slope / size)
        analytic, numeric = float(slope @ v), central_difference(f, x, unravel(jnp.asarray(v)), step=step)
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), 1e-300)
        if not error <= worst.error:  # NaN counts as worse
            worst = GradientCheck(analytic, numeric, error)
    if not worst.error <= tolerance:
        raise GradientError(
            f"the gradient says {worst.analytic:.12g} along a direction where differences say {worst.numeric:.12g}: "
            f"a relative error of {worst.error:.2g}, where {tolerance:.2g} is allowed."
        )
    return worst


def compare_gradients(a: PyTree, b: PyTree) -> Agreement:
    """Return the cosine of the angle between two gradients, and ‖a − b‖ / ‖b‖."""
    first, second = np.asarray(ravel_pytree(a)[0]), np.asarray(ravel_pytree(b)[0])
    with np.errstate(over="ignore"):  # a reversal that ran away has a length of infinity, which is told below
        norms = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if min(norms) == 0 or not np.isfinite(norms).all():
        return Agreement(float("nan"), float("nan"))
    return Agreement(float(first @ second) / (norms[0] * norms[1]), float(np.linalg.norm(first - second)) / norms[1])


def check_agreement(a: PyTree, b: PyTree, *, cosine: float = 1.0 - 1e-12, error: float = 1e-6) -> Agreement:
    """Check that two gradients of one function agree.

    Args:
        a: a gradient.
        b: another, the reference.
        cosine: the least cosine allowed.
        error: the largest ‖a − b‖ / ‖b‖ allowed; infinity to judge the direction alone.

    Returns:
        How they compare.

    Raises:
        GradientError: they do not agree, or one is zero or not finite.
    """
    found = compare_gradients(a, b)
    if not (found.cosine >= cosine and found.error <= error):
        raise GradientError(
            f"the gradients have cosine {found.cosine:.9g} and relative difference {found.error:.2g}, where at least "
            f"{cosine:.9g} and at most {error:.2g} are allowed."
        )
    return found
