"""Feasible sets of whole numbers, zeros and ones, and encoded categories.

Their free variables are logits or places on a staircase, whose relaxation hardens as the temperature falls; `ascend`
changes the coordinates that promise most to first order.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..checks import check_kind, is_whole, native
from ..errors import InputError
from .feasible import Box, FeasibleSet, Points, unit


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


class _Bits(FeasibleSet):
    """Zeros and ones, whose free variables are logits."""

    @property
    def exact(self) -> bool:
        """False: a bit is only reached as the temperature falls."""
        return False

    def logits(self, d: int) -> np.ndarray:
        """Return truth."""
        return np.ones(d, bool)

    def latent(self, points: Points) -> Points:
        """Return logits: +1 for a one, −1 for a zero."""
        return 2 * points - 1

    def settle(self, latent: Points) -> Points:
        """Return the logits: all are allowed."""
        return latent

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return 1: every coordinate is at a bound."""
        return jnp.ones((), points.dtype)


class Binary(_Bits):
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

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return σ(latent / temperature), points in the unit cube that harden as the temperature falls."""
        return jax.nn.sigmoid(latent / temperature)

    def describe(self) -> dict[str, Any]:
        """Return the set's name."""
        return {"set": "binary"}


class OneHot(_Bits):
    """Groups of columns of which exactly one is 1 and the others are 0: encoded categories.

    Args:
        groups: the number of columns of each group, one group after another.

    Raises:
        InputError: a group of fewer than one column.
    """

    groups: tuple[int, ...] = eqx.field(static=True, converter=native)

    def __check_init__(self):
        check_kind(tuple, "a tuple of numbers of columns, such as (2, 3)", groups=self.groups)
        if not self.groups or not all(is_whole(size) and size > 0 for size in self.groups):
            raise InputError(f"every one-hot group needs at least one column; got groups of {self.groups}.")

    def _parts(self, points: Points) -> list[Float[Array, "p _"]]:
        if points.shape[1] != sum(self.groups):
            raise InputError(
                f"one-hot groups of {self.groups} have {sum(self.groups)} columns; the points have {points.shape[1]}."
            )
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

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the softmax of each group's logits over the temperature."""
        return self._each(lambda part: jax.nn.softmax(part / temperature, axis=1), latent)

    def describe(self) -> dict[str, Any]:
        """Return the groups."""
        return {"set": "one-hot", "groups": list(self.groups)}


def _hardest(part: Points) -> Points:
    """Return 1 at each row's largest value (the first, where several tie) and 0 elsewhere."""
    return jax.nn.one_hot(jnp.argmax(part, axis=1), part.shape[1], dtype=part.dtype)
