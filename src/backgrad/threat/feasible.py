"""Where poisoning points may live.

A feasible set can `project` onto itself, tell what it `contains`, and `sample`. Attacks move in it in two ways.
`ascend` takes one step of a given length along a gradient. For searches that move everything at once, `latent` gives
free variables, `relax` turns them into points near the set, and `settle` brings them back after a step: for a box
they are the features in units of its sides, for a discrete set logits whose relaxation hardens as a temperature falls.

This module holds the intervals, `backgrad.threat.discrete` the sets of whole numbers and categories, and
`backgrad.threat.compose` combines them.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..checks import is_number, is_whole, native, shown
from ..errors import InputError

Points = Float[Array, "p d"]


def unit(gradient: Float[Array, "p d"]) -> Float[Array, "p d"]:
    """Scale each row to length one; rows of zeros stay."""
    norm = jnp.linalg.norm(gradient, axis=1, keepdims=True)
    return gradient / jnp.where(norm > 0, norm, 1.0)


def column_numbers(columns: Any) -> tuple[int, ...]:
    """Return numbers of columns as Python's; raise where they are none."""
    found: tuple[Any, ...] = tuple(columns) if np.iterable(columns) else (None,)
    if not all(map(is_whole, found)):
        raise InputError(f"columns must be given by their numbers, such as (0, 3); got {shown(columns)}.")
    return tuple(int(column) for column in found)


class FeasibleSet(eqx.Module):
    """A set of points (p, d), described row by row."""

    @abc.abstractmethod
    def project(self, points: Points) -> Points:
        """Return the nearest feasible points."""

    @abc.abstractmethod
    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell for each point whether it is feasible, exactly."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw n points at random from all over the set."""

    @abc.abstractmethod
    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take one feasible step of a given `length` along the gradient, each point for itself."""

    @abc.abstractmethod
    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return the share of coordinates that cannot move any further in one direction."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the set in words and settings, for results."""

    def around(self, start: Points) -> "FeasibleSet":
        """Return the set as it is for points that start here; most do not depend on it."""
        del start
        return self

    @property
    def exact(self) -> bool:
        """Whether relaxed points are feasible as they are."""
        return True

    def logits(self, d: int) -> np.ndarray:
        """Tell for each of d columns whether its free variable is a logit, or else a feature in units of its range."""
        return np.zeros(d, bool)

    def latent(self, points: Points) -> Points:
        """Return free variables whose relaxation is near `points`."""
        return points

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return points that come closer to the set as the temperature falls, differentiable in `latent`."""
        del temperature
        return latent

    def settle(self, latent: Points) -> Points:
        """Return free variables after a step, brought back to where they make sense."""
        return self.project(latent)


class Box(FeasibleSet):
    """All features between bounds; a column whose bounds agree is fixed.

    A step's length counts in sides of the box, so that columns of different units move alike; sides of infinite
    length count as 1. Fixed columns take no share of a step, whatever their gradient.

    Args:
        lower: least value, a float or (d,).
        upper: greatest value, likewise.

    Raises:
        InputError: a lower bound above its upper bound.
    """

    lower: Any = 0.0
    upper: Any = 1.0

    def __check_init__(self):
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if not is_number(bound) and not hasattr(bound, "shape"):
                raise InputError(f"{name} must be a number, or an array with one a column; got {shown(bound)}.")
        if not np.all(np.asarray(self.lower) <= np.asarray(self.upper)):
            raise InputError(f"no lower bound may be above its upper bound; got {self.lower} and {self.upper}.")

    @classmethod
    def from_data(cls, x, *, quantiles: tuple[float, float] = (0.0, 1.0)) -> "Box":
        """Learn the bounds of every column from rows.

        Args:
            x: rows, (n, d).
            quantiles: which quantiles of a column are its bounds; (0, 1) are its least and greatest value.

        Raises:
            InputError: quantiles that are not 0 ≤ a < b ≤ 1.
        """
        low, high = quantiles
        if not 0 <= low < high <= 1:
            raise InputError(f"quantiles must satisfy 0 ≤ a < b ≤ 1; got {low} and {high}.")
        bounds = np.quantile(np.asarray(x), [low, high], axis=0)
        return cls(jnp.asarray(bounds[0]), jnp.asarray(bounds[1]))

    def _frame(self, points: Points):
        """Return origin and sides of the coordinates in which steps are measured; a fixed column's side is 0."""
        lower, upper = (jnp.asarray(b, points.dtype) for b in (self.lower, self.upper))
        finite = jnp.isfinite(lower) & jnp.isfinite(upper)
        return jnp.where(finite, lower, 0.0), jnp.where(finite, upper - lower, 1.0)

    def project(self, points: Points) -> Points:
        """Clip."""
        lower, upper = (jnp.asarray(b, points.dtype) for b in (self.lower, self.upper))
        return jnp.clip(points, lower, upper)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points lie within the bounds, as these are in the points' precision."""
        lower, upper = (jnp.asarray(b, points.dtype) for b in (self.lower, self.upper))
        return jnp.all((points >= lower) & (points <= upper), axis=1)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw each feature uniformly between its bounds, or normally around 0, or beyond its one bound."""
        lower, upper = (jnp.broadcast_to(jnp.asarray(b, float), (d,)) for b in (self.lower, self.upper))
        finite = jnp.isfinite(lower) & jnp.isfinite(upper)
        within = jax.random.uniform(key, (n, d)) * jnp.where(finite, upper - lower, 0.0) + jnp.where(finite, lower, 0.0)
        normal = jax.random.normal(jax.random.fold_in(key, 1), (n, d))
        below = jnp.where(jnp.isfinite(upper), upper - jnp.abs(normal), normal)
        beyond = jnp.where(jnp.isfinite(lower), lower + jnp.abs(normal), below)
        return self.project(jnp.where(finite, within, beyond))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Move along the normalised gradient, then clip (Algorithm 1, line 4)."""
        side = self._frame(points)[1]
        return self.project(points + length * side * unit(gradient * side))

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return the share of coordinates that lie on a bound."""
        return jnp.mean((points <= self.lower) | (points >= self.upper))

    def latent(self, points: Points) -> Points:
        """Return the features in sides of the box, and 0 for those that are fixed."""
        origin, side = self._frame(points)
        return (points - origin) / jnp.where(side > 0, side, 1.0)

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the features from sides of the box."""
        del temperature
        origin, side = self._frame(latent)
        return origin + side * latent

    def settle(self, latent: Points) -> Points:
        """Clip."""
        origin, side = self._frame(latent)
        lower, upper = (jnp.asarray(b, latent.dtype) - origin for b in (self.lower, self.upper))
        side = jnp.where(side > 0, side, 1.0)
        return jnp.clip(latent, lower / side, upper / side)

    def describe(self) -> dict[str, Any]:
        """Return the bounds."""
        bounds = {"lower": self.lower, "upper": self.upper}
        return {"set": "box", **{k: _finite(np.asarray(v).tolist()) for k, v in bounds.items()}}


def _finite(value):
    """Replace infinities by None: plain JSON has none."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value if np.isfinite(value) else None


class Image(Box):
    """Images with pixels in [0, 1].

    Args:
        shape: (height, width) or (height, width, channels); their product is d.

    Raises:
        InputError: where it is asked about points, a shape of another number of pixels.
    """

    shape: tuple[int, ...] = eqx.field(default=(28, 28), static=True, converter=native)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which images hold pixels within the bounds only."""
        if points.shape[1] != math.prod(self.shape):
            raise InputError(f"images of {self.shape} have {math.prod(self.shape)} pixels; got {points.shape[1]}.")
        return super().contains(points)

    def describe(self) -> dict[str, Any]:
        """Return the bounds and the shape."""
        return {**super().describe(), "set": "image", "shape": list(self.shape)}
