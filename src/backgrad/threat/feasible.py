"""Where poisoning points may live.

A feasible set can `project` onto itself, tell what it `contains`, and `sample`. Attacks move in it in two
ways: `ascend` takes one step of a given length along a gradient; `relax` and `latent` turn a discrete set into
a smooth image of free variables, whose temperature an attack lowers until the points are discrete.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..errors import InputError

Points = Float[Array, "p d"]


def unit(gradient: Float[Array, "p d"]) -> Float[Array, "p d"]:
    """Scale each row to length one; rows of zeros stay."""
    norm = jnp.linalg.norm(gradient, axis=1, keepdims=True)
    return gradient / jnp.where(norm > 0, norm, 1.0)


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
        """Draw n points uniformly."""

    @abc.abstractmethod
    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take one feasible step of Euclidean `length` along the gradient, each point for itself."""

    @abc.abstractmethod
    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return the share of coordinates that cannot move any further in one direction."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the set in words and settings, for results."""


class Box(FeasibleSet):
    """All features between bounds.

    Args:
        lower: least value, a float or (d,).
        upper: greatest value, likewise.

    Raises:
        InputError: a lower bound that is not below its upper bound.
    """

    lower: Any = 0.0
    upper: Any = 1.0

    def __check_init__(self):
        if not bool(jnp.all(jnp.asarray(self.lower) < jnp.asarray(self.upper))):
            raise InputError(f"every lower bound must be below its upper bound; got {self.lower} and {self.upper}.")

    def project(self, points: Points) -> Points:
        """Clip."""
        return jnp.clip(points, self.lower, self.upper)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points lie within the bounds."""
        return jnp.all((points >= self.lower) & (points <= self.upper), axis=1)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw each feature uniformly between its bounds."""
        return jax.random.uniform(key, (n, d), minval=self.lower, maxval=self.upper)

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Move along the normalised gradient, then clip (Algorithm 1, line 4)."""
        return self.project(points + length * unit(gradient))

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return the share of coordinates that lie on a bound."""
        return jnp.mean((points <= self.lower) | (points >= self.upper))

    def describe(self) -> dict[str, Any]:
        """Return the bounds."""
        bounds = {"lower": self.lower, "upper": self.upper}
        return {"set": "box", **{k: jnp.asarray(v).tolist() for k, v in bounds.items()}}


class Discrete(FeasibleSet):
    """A set whose points are isolated, with a smooth image of free variables that an attack can move in."""

    @abc.abstractmethod
    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return points in the convex hull of the set, which come closer to it as the temperature falls."""

    @abc.abstractmethod
    def latent(self, points: Points) -> Points:
        """Return free variables whose relaxation is near `points`."""


class Binary(Discrete):
    """All features 0 or 1."""

    def project(self, points: Points) -> Points:
        """Round; a half becomes 1."""
        return jnp.where(points >= 0.5, 1.0, 0.0).astype(points.dtype)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points hold zeros and ones only."""
        return jnp.all((points == 0) | (points == 1), axis=1)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Toss a coin for each feature."""
        return jax.random.bernoulli(key, 0.5, (n, d)).astype(jnp.result_type(float))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Flip the length² coordinates of each point (at least one) that promise the largest first-order gains."""
        gain = gradient * (1 - 2 * points)
        count = min(max(1, round(length**2)), points.shape[1])
        threshold = jax.lax.top_k(gain, count)[0][:, -1:]
        flip = (gain >= threshold) & (gain > 0)
        return jnp.where(flip, 1 - points, points)

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return σ(latent / temperature), points in the unit cube that harden as the temperature falls."""
        return jax.nn.sigmoid(latent / temperature)

    def latent(self, points: Points) -> Points:
        """Return latent variables of binary points: +1 for a one, −1 for a zero."""
        return 2 * points - 1

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return 1: every binary coordinate is at a bound."""
        return jnp.ones((), points.dtype)

    def describe(self) -> dict[str, Any]:
        """Return the set's name."""
        return {"set": "binary"}
