"""Where poisoning points may live.

A feasible set can `project` onto itself, tell what it `contains`, and `sample`. Attacks move in it in two ways.
`ascend` takes one step of a given length along a gradient. For searches that move everything at once, `latent` gives
free variables, `relax` turns them into points near the set, and `settle` brings them back after a step: for a box
they are the features in units of its sides, for a discrete set logits whose relaxation hardens as a temperature falls.

This module holds sets of columns of one kind; `backgrad.threat.compose` combines them.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..checks import plain
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
    length count as 1.

    Args:
        lower: least value, a float or (d,).
        upper: greatest value, likewise.

    Raises:
        InputError: a lower bound above its upper bound.
    """

    lower: Any = 0.0
    upper: Any = 1.0

    def __check_init__(self):
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
        """Return origin and sides of the coordinates in which steps are measured."""
        lower, upper = (jnp.asarray(b, points.dtype) for b in (self.lower, self.upper))
        finite = jnp.isfinite(lower) & jnp.isfinite(upper) & (lower < upper)
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
        """Draw each feature uniformly between its bounds, or normally where it has none."""
        lower, upper = (jnp.broadcast_to(jnp.asarray(b, float), (d,)) for b in (self.lower, self.upper))
        finite = jnp.isfinite(lower) & jnp.isfinite(upper)
        within = jax.random.uniform(key, (n, d)) * jnp.where(finite, upper - lower, 0.0) + jnp.where(finite, lower, 0.0)
        return self.project(jnp.where(finite, within, jax.random.normal(jax.random.fold_in(key, 1), (n, d))))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Move along the normalised gradient, then clip (Algorithm 1, line 4)."""
        side = self._frame(points)[1]
        return self.project(points + length * side * unit(gradient * side))

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return the share of coordinates that lie on a bound."""
        return jnp.mean((points <= self.lower) | (points >= self.upper))

    def latent(self, points: Points) -> Points:
        """Return the features in sides of the box."""
        origin, side = self._frame(points)
        return (points - origin) / side

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the features from sides of the box."""
        del temperature
        origin, side = self._frame(latent)
        return origin + side * latent

    def settle(self, latent: Points) -> Points:
        """Clip."""
        origin, side = self._frame(latent)
        lower, upper = (jnp.asarray(b, latent.dtype) for b in (self.lower, self.upper))
        return jnp.clip(latent, (lower - origin) / side, (upper - origin) / side)

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
    """

    shape: tuple[int, ...] = eqx.field(default=(28, 28), static=True, converter=plain)

    def describe(self) -> dict[str, Any]:
        """Return the bounds and the shape."""
        return {**super().describe(), "set": "image", "shape": list(self.shape)}


class Integer(Box):
    """Whole numbers between bounds.

    The relaxation is a staircase whose steps harden as the temperature falls.

    Args:
        lower: least value, a whole number or (d,).
        upper: greatest value, likewise.

    Raises:
        InputError: a bound that is no whole number, or a lower bound above its upper bound.
    """

    lower: Any = 0
    upper: Any = 255

    def __check_init__(self):
        for bound in (self.lower, self.upper):
            if not bool(jnp.all(jnp.isfinite(jnp.asarray(bound)) & (jnp.asarray(bound) == jnp.round(bound)))):
                raise InputError(f"bounds must be whole numbers; got {self.lower} and {self.upper}.")

    def project(self, points: Points) -> Points:
        """Round, then clip."""
        return super().project(jnp.round(points))

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points hold whole numbers within the bounds only."""
        return super().contains(points) & jnp.all(points == jnp.round(points), axis=1)

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Move along the normalised gradient, and round; the largest moves of a point are by one at least."""
        side = self._frame(points)[1]
        move = length * side * unit(gradient * side)
        # Rounding would hold back every move below a half; the largest always counts.
        largest = jnp.max(jnp.abs(move), axis=1, keepdims=True)
        move = jnp.where((jnp.abs(move) == largest) & (largest > 0) & (jnp.abs(move) < 1), jnp.sign(move), move)
        return self.project(points + move)

    @property
    def exact(self) -> bool:
        """False: whole numbers are only reached as the temperature falls."""
        return False

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return ⌊v⌋ + σ((v − ⌊v⌋ − ½) / temperature), rescaled to run from step to step.

        It is computed from the nearest whole number n: with u = |v − n| and s(u) the rescaled σ((u − ½) / temperature),
        as n ± s(u). A compiler may round v differently in two places of one kernel, and ⌊v⌋ of a v that is a whole
        number, where most points are, could then differ by one between them.
        """
        value = super().relax(latent, temperature)
        nearest = jnp.round(value)
        above = value - nearest
        edge = jax.nn.sigmoid(-0.5 / temperature)

        def step(distance):
            return (jax.nn.sigmoid((distance - 0.5) / temperature) - edge) / (1 - 2 * edge)

        return nearest + jnp.where(above >= 0, step(above), -step(-above))

    def describe(self) -> dict[str, Any]:
        """Return the bounds."""
        return {**super().describe(), "set": "integer"}


def _flip(gain: Points, count: int) -> Bool[Array, "p d"]:
    """Mark the `count` coordinates of each point with the largest gains, where they are above 0."""
    best = jax.lax.top_k(gain, count)[1]
    chosen = jnp.zeros(gain.shape, bool).at[jnp.arange(len(gain))[:, None], best].set(True)
    return chosen & (gain > 0)


class Binary(FeasibleSet):
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
        count = min(max(1, round(length**2)), points.shape[1])
        return jnp.where(_flip(gradient * (1 - 2 * points), count), 1 - points, points)

    @property
    def exact(self) -> bool:
        """False: a bit is only reached as the temperature falls."""
        return False

    def logits(self, d: int) -> np.ndarray:
        """Return truth."""
        return np.ones(d, bool)

    def latent(self, points: Points) -> Points:
        """Return latent variables of binary points: +1 for a one, −1 for a zero."""
        return 2 * points - 1

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return σ(latent / temperature), points in the unit cube that harden as the temperature falls."""
        return jax.nn.sigmoid(latent / temperature)

    def settle(self, latent: Points) -> Points:
        """Return the latent variables: all are allowed."""
        return latent

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return 1: every binary coordinate is at a bound."""
        return jnp.ones((), points.dtype)

    def describe(self) -> dict[str, Any]:
        """Return the set's name."""
        return {"set": "binary"}


class OneHot(FeasibleSet):
    """Groups of columns of which exactly one is 1 and the others are 0: encoded categories.

    Args:
        groups: the number of columns of each group, one group after another.

    Raises:
        InputError: a group of fewer than one column.
    """

    groups: tuple[int, ...] = eqx.field(static=True, converter=plain)

    def __check_init__(self):
        if not self.groups or min(self.groups) < 1:
            raise InputError(f"every one-hot group needs at least one column; got groups of {self.groups}.")

    def _parts(self, points: Points) -> list[Float[Array, "p _"]]:
        return jnp.split(points, np.cumsum(self.groups)[:-1].tolist(), axis=1)

    def _each(self, function, *arrays) -> Points:
        parts = zip(*(self._parts(a) for a in arrays), strict=True)
        return jnp.concatenate([function(*part) for part in parts], axis=1)

    def project(self, points: Points) -> Points:
        """Give each group's 1 to its largest value."""
        return self._each(_hardest, points)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points hold one 1 in every group and zeros elsewhere."""
        ones = jnp.stack([jnp.sum(part == 1, axis=1) == 1 for part in self._parts(points)])
        return jnp.all((points == 0) | (points == 1), axis=1) & jnp.all(ones, axis=0)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw a category for each group, all alike."""
        return self.project(jax.random.uniform(key, (n, d)))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Change the category of the length² groups of each point (at least one) that promise most."""
        parts = list(zip(self._parts(points), self._parts(gradient), strict=True))
        # The first-order gain of going to a group's best category from the one it has.
        gain = jnp.stack([jnp.max(g, axis=1) - jnp.sum(x * g, axis=1) for x, g in parts], axis=1)
        change = _flip(gain, min(max(1, round(length**2)), len(self.groups)))
        return jnp.concatenate(
            [jnp.where(change[:, i : i + 1], _hardest(g), x) for i, (x, g) in enumerate(parts)], axis=1
        )

    @property
    def exact(self) -> bool:
        """False: a category is only reached as the temperature falls."""
        return False

    def logits(self, d: int) -> np.ndarray:
        """Return truth."""
        return np.ones(d, bool)

    def latent(self, points: Points) -> Points:
        """Return logits: +1 for the category, −1 for others."""
        return 2 * points - 1

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the softmax of each group's logits over the temperature."""
        return self._each(lambda part: jax.nn.softmax(part / temperature, axis=1), latent)

    def settle(self, latent: Points) -> Points:
        """Return the logits: all are allowed."""
        return latent

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return 1: every coordinate is at a bound."""
        return jnp.ones((), points.dtype)

    def describe(self) -> dict[str, Any]:
        """Return the groups."""
        return {"set": "one-hot", "groups": list(self.groups)}


def _hardest(part: Points) -> Points:
    """Return 1 at each row's largest value (the first, where several tie) and 0 elsewhere."""
    return jax.nn.one_hot(jnp.argmax(part, axis=1), part.shape[1], dtype=part.dtype)
