"""Feasible sets made of others: column by column, around the starting points, or through the user's own rules."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..checks import check_kind, check_positive, native, shown
from ..errors import InputError
from ..spelling import spans
from .feasible import FeasibleSet, Points, column_numbers


def _pairs(parts: Any) -> tuple[tuple[tuple[int, ...], FeasibleSet], ...]:
    """Return parts of a set with their columns, or raise."""
    try:
        pairs = [(columns, part) for columns, part in parts]
    except (TypeError, ValueError):
        pairs = []
    if not pairs or not all(isinstance(part, FeasibleSet) for _, part in pairs):
        raise InputError(f"parts must be pairs of columns and a set, such as ((0, 1), Box(0, 1)); got {shown(parts)}.")
    return tuple((column_numbers(columns), part) for columns, part in pairs)


class Columns(FeasibleSet):
    """Different sets for different columns.

    Args:
        parts: pairs of column numbers and the set of these columns; together they name every column once. The set of
            one part sees its own columns alone, numbered from 0.

    Raises:
        InputError: parts that are no such pairs, or a column that is named twice or not at all.
    """

    parts: tuple[tuple[tuple[int, ...], FeasibleSet], ...] = eqx.field(converter=_pairs)

    def __check_init__(self):
        named = sorted(column for columns, _ in self.parts for column in columns)
        if named != list(range(len(named))):
            raise InputError(
                f"columns must be named once each, 0 to {max(named, default=0)}; got {named[:20]}"
                f"{' …' if len(named) > 20 else ''}."
            )

    def _pieces(self, points: Points) -> list[tuple[FeasibleSet, Float[Array, "p _"]]]:
        """Return the parts that have columns, each with the points' columns that are its own."""
        width = sum(len(columns) for columns, _ in self.parts)
        if points.shape[1] != width:
            raise InputError(f"the parts of a set must name every column: they name {width} of {points.shape[1]}.")
        return [(part, points[:, np.asarray(columns, int)]) for columns, part in self.parts if columns]

    def _each(self, function, *arrays: Points) -> Points:
        """Apply `function(set, *columns)` part by part, and put the columns back in their places."""
        pieces = zip(*(self._pieces(a) for a in arrays), strict=True)
        done = [function(piece[0][0], *(x for _, x in piece)) for piece in pieces]
        order = np.argsort(np.concatenate([np.asarray(columns, int) for columns, _ in self.parts]))
        return jnp.concatenate(done, axis=1)[:, order]

    def project(self, points: Points) -> Points:
        """Project each part's columns."""
        return self._each(lambda part, x: part.project(x), points)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points are feasible in every part."""
        inside = [part.contains(x) for part, x in self._pieces(points)]
        return jnp.all(jnp.stack(inside), axis=0)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw each part's columns."""
        keys = iter(jax.random.split(key, len(self.parts)))
        return self._each(lambda part, x: part.sample(next(keys), n, x.shape[1]), jnp.zeros((n, d)))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take a step of this length in every part."""
        return self._each(lambda part, x, g: part.ascend(x, g, length), points, gradient)

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return the share over all columns."""
        total = sum(part.share_at_bounds(x) * x.shape[1] for part, x in self._pieces(points))
        return jnp.asarray(total / points.shape[1])

    def around(self, start: Points) -> "Columns":
        """Return the set of points that start here."""
        return Columns(tuple((c, part.around(start[:, np.asarray(c, int)])) for c, part in self.parts))

    @property
    def exact(self) -> bool:
        """Whether relaxed points are feasible as they are, in every part."""
        return all(part.exact for _, part in self.parts)

    def logits(self, d: int) -> np.ndarray:
        """Tell which columns are logits."""
        found = np.zeros(d, bool)
        for columns, part in self.parts:
            found[list(columns)] = part.logits(len(columns))
        return found

    def latent(self, points: Points) -> Points:
        """Return the parts' free variables."""
        return self._each(lambda part, x: part.latent(x), points)

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the parts' relaxed points."""
        return self._each(lambda part, x: part.relax(x, temperature), latent)

    def settle(self, latent: Points) -> Points:
        """Bring back the parts' free variables."""
        return self._each(lambda part, x: part.settle(x), latent)

    def describe(self) -> dict[str, Any]:
        """Return the parts, columns as ranges."""
        return {
            "set": "columns",
            "parts": [{"columns": spans(columns), **part.describe()} for columns, part in self.parts],
        }


class Wrapped(FeasibleSet):
    """A set that changes another; what it does not change, it passes on."""

    base: FeasibleSet

    def __check_init__(self):
        check_kind(FeasibleSet, "a feasible set, such as Box(0, 1)", base=self.base)

    @property
    def exact(self) -> bool:
        """Whether relaxed points are feasible as they are."""
        return self.base.exact

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return that of the set inside."""
        return self.base.share_at_bounds(points)

    def logits(self, d: int) -> np.ndarray:
        """Tell which columns are logits."""
        return self.base.logits(d)

    def latent(self, points: Points) -> Points:
        """Return the free variables of the set inside."""
        return self.base.latent(points)

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the relaxed points of the set inside."""
        return self.base.relax(latent, temperature)

    def settle(self, latent: Points) -> Points:
        """Bring back the free variables of the set inside."""
        return self.base.settle(latent)


class Immutable(Wrapped):
    """Columns that keep the value they start from: an identifier, a date, what the attacker cannot set.

    Args:
        base: where the other columns may live; it must hold the starting values of these too.
        columns: the numbers of the columns that stay.
        start: the starting points, (p, d); attacks fill them in by `around`.

    Raises:
        InputError: columns that are no numbers, or where it meets points, one that they do not have.
    """

    columns: tuple[int, ...] = eqx.field(static=True, converter=column_numbers)
    start: Any = None

    def _fixed(self, points: Points) -> np.ndarray:
        """Tell which columns stay, (d,)."""
        d = points.shape[1]
        wrong = [column for column in self.columns if not 0 <= column < d]
        if wrong:
            raise InputError(f"columns that stay must be among 0 to {d - 1}, as the points have; got {wrong[:20]}.")
        return np.isin(np.arange(d), self.columns)

    def _keep(self, points: Points) -> Points:
        fixed = self._fixed(points)
        return points if self.start is None else jnp.where(fixed, jnp.asarray(self.start, points.dtype), points)

    def project(self, points: Points) -> Points:
        """Project with the fixed columns as they were: others may follow from them."""
        return self._keep(self.base.project(self._keep(points)))

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points are feasible and have kept the fixed columns."""
        return self.base.contains(points) & jnp.all(points == self._keep(points), axis=1)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw the columns that may move."""
        return self.project(self.base.sample(key, n, d))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take a step in the columns that may move."""
        pull = jnp.where(self._fixed(points), 0.0, gradient)
        return self._keep(self.base.ascend(points, pull, length))

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return relaxed points with the fixed columns as they were."""
        return self._keep(self.base.relax(latent, temperature))

    def around(self, start: Points) -> "Immutable":
        """Return the set of points that start here."""
        return Immutable(self.base.around(start), self.columns, start)

    def describe(self) -> dict[str, Any]:
        """Return the fixed columns and the set of the others."""
        return {"set": "immutable", "columns": spans(self.columns), "others": self.base.describe()}


class Ball(Wrapped):
    """Points no further than a radius from where they start.

    Args:
        base: a convex set that the points live in besides.
        radius: in units of the features.
        norm: `"l2"` or `"linf"`.
        start: the starting points, (p, d); attacks fill them in by `around`.

    Raises:
        InputError: an unknown norm, a radius that is not positive, or a base that is discrete.
    """

    radius: float = eqx.field(static=True, converter=native)
    norm: str = eqx.field(default="l2", static=True)
    start: Any = None

    def __check_init__(self):
        if self.norm not in ("l2", "linf"):
            raise InputError(f"norm must be 'l2' or 'linf'; got {self.norm!r}.")
        check_positive(radius=self.radius)
        if not getattr(self.base, "exact", True):
            raise InputError("a ball needs a convex set inside, such as Box(); got one with discrete columns.")

    def _size(self, move: Points) -> Float[Array, "p 1"]:
        order = 2 if self.norm == "l2" else jnp.inf
        return jnp.linalg.norm(move, ord=order, axis=1, keepdims=True)

    def project(self, points: Points) -> Points:
        """Project on the base, then shrink towards the start, which stays inside the convex base."""
        points = self.base.project(points)
        if self.start is None:
            return points
        start = jnp.asarray(self.start, points.dtype)
        # A hair inside, so that rounding cannot put the result outside.
        limit = self.radius * (1 - 8 * jnp.finfo(points.dtype).eps)
        if self.norm == "linf":
            return self.base.project(start + jnp.clip(points - start, -limit, limit))
        size = self._size(points - start)
        return jnp.where(size > limit, start + (points - start) * (limit / jnp.where(size > 0, size, 1.0)), points)

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points are in the base and within the radius."""
        inside = self.base.contains(points)
        if self.start is None:
            return inside
        return inside & (self._size(points - jnp.asarray(self.start, points.dtype))[:, 0] <= self.radius)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw from the base, and shrink towards the start."""
        return self.project(self.base.sample(key, n, d))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take the base's step, and project."""
        return self.project(self.base.ascend(points, gradient, length))

    def settle(self, latent: Points) -> Points:
        """Project the points that the free variables stand for."""
        one = jnp.ones((), latent.dtype)
        return self.base.latent(self.project(self.base.relax(latent, one)))

    def around(self, start: Points) -> "Ball":
        """Return the set of points that start here."""
        return Ball(self.base.around(start), self.radius, self.norm, start)

    def describe(self) -> dict[str, Any]:
        """Return radius, norm and base."""
        return {"set": "ball", "radius": self.radius, "norm": self.norm, "within": self.base.describe()}


class Linked(Wrapped):
    """Columns that follow from others: a ratio, a sum, a count that must agree.

    Args:
        base: where points may live before the rule is applied.
        rule: (p, d) → (p, d), written in `jax.numpy`: fills in the columns that follow. Applying it twice must change
            nothing, and gradients flow through it.
    """

    rule: Callable[..., Any] = eqx.field(static=True)

    def project(self, points: Points) -> Points:
        """Project on the base, then apply the rule."""
        return self.rule(self.base.project(points))

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points the rule leaves as they are (to 1e-9 of their size, or round-off), and the base holds."""
        # Compiled and uncompiled code may round the rule's arithmetic differently.
        slack = max(1e-9, 16 * float(jnp.finfo(points.dtype).eps)) * (1 + jnp.abs(points))
        follows = jnp.abs(points - self.rule(points)) <= slack
        return self.base.contains(points) & jnp.all(follows, axis=1)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw from the base, and apply the rule."""
        return self.rule(self.base.sample(key, n, d))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take the base's step along the gradient that reaches the free columns through the rule."""
        pull = jax.vjp(self.rule, points)[1](gradient)[0]
        return self.rule(self.base.ascend(points, pull, length))

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the base's relaxed points, with the rule applied."""
        return self.rule(self.base.relax(latent, temperature))

    def around(self, start: Points) -> "Linked":
        """Return the set of points that start here."""
        return Linked(self.base.around(start), self.rule)

    def describe(self) -> dict[str, Any]:
        """Return the base and the rule's name."""
        return {"set": "linked", "rule": getattr(self.rule, "__name__", "rule"), "free": self.base.describe()}


class Rescaled(Wrapped):
    """A set in other units: counts, say, whose columns were scaled to [0, 1].

    With v a point of the set inside, x = (v − shift) / scale.

    Args:
        base: where v may live.
        shift: of each column, a float or (d,).
        scale: of each column, not 0, likewise.

    Raises:
        InputError: a scale of 0.
    """

    shift: Any
    scale: Any

    def __check_init__(self):
        if not bool(np.all(np.asarray(self.scale) != 0)):
            raise InputError(f"scale must not be 0; got {self.scale}.")

    def _inside(self, points: Points) -> Points:
        shift, scale = (jnp.asarray(a, points.dtype) for a in (self.shift, self.scale))
        return points * scale + shift

    def _outside(self, values: Points) -> Points:
        shift, scale = (jnp.asarray(a, values.dtype) for a in (self.shift, self.scale))
        return (values - shift) / scale

    def project(self, points: Points) -> Points:
        """Project in the units of the set inside."""
        return self._outside(self.base.project(self._inside(points)))

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points the projection leaves where they are, to the round-off of two changes of units."""
        origin = self._outside(jnp.zeros_like(points))
        slack = 16 * jnp.finfo(points.dtype).eps * (1 + jnp.abs(points) + jnp.abs(origin))
        return jnp.all(jnp.abs(points - self.project(points)) <= slack, axis=1)

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw from the set inside."""
        return self._outside(self.base.sample(key, n, d))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take the step of the set inside, which measures length in its own way."""
        pull = gradient / jnp.asarray(self.scale, gradient.dtype)
        return self._outside(self.base.ascend(self.base.project(self._inside(points)), pull, length))

    def share_at_bounds(self, points: Points) -> Float[Array, ""]:
        """Return that of the set inside."""
        return self.base.share_at_bounds(self.base.project(self._inside(points)))

    def latent(self, points: Points) -> Points:
        """Return the free variables of the set inside."""
        return self.base.latent(self._inside(points))

    def relax(self, latent: Points, temperature: Float[Array, ""]) -> Points:
        """Return the relaxed points of the set inside."""
        return self._outside(self.base.relax(latent, temperature))

    def around(self, start: Points) -> "Rescaled":
        """Return the set of points that start here."""
        return Rescaled(self.base.around(self._inside(start)), self.shift, self.scale)

    def describe(self) -> dict[str, Any]:
        """Return the set inside and its units."""
        return {
            "set": "rescaled",
            "shift": np.asarray(self.shift, float).tolist(),
            "scale": np.asarray(self.scale, float).tolist(),
            "values": self.base.describe(),
        }
