r"""What an attacker who knows a defence keeps to.

Where a defence lets pass whatever lies in a convex region, that region is part of the feasible set (`within`), unless
somebody else labels the points. Where the attacker chooses labels, a point keeps to the region of its first one: held
back by the excess of whatever label it has instead, points do much less harm behind `Slab`. Any defence can be a
penalty besides: the attacker maximises

    𝒜(x) − strength · mean_j max(e_j(x) + margin, 0),

with e_j the *excess* of point j, above 0 where the defence would remove it. The real defence judges the result, and its
thresholds follow from the poisoned rows: a margin keeps points clear of them.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..checks import check_positive, check_share
from ..learners.base import per_weight
from ..types import Params, Samples
from .compose import Wrapped
from .feasible import FeasibleSet, Points

# Sums of hundreds of terms, compiled in different surroundings, differ by so many times the precision.
_ROUND_OFF = 64


class Evasion(eqx.Module):
    """How points stay unsuspicious. Subclasses override `within`, or `excess`, or both.

    Args:
        margin: by how much points stay clear of what is let pass, as a share of it, in [0, 1).
        strength: what a mean excess of 1 costs, in units of the attacker's objective.

    Raises:
        InputError: a number out of its range.
    """

    margin: float = eqx.field(default=0.0, kw_only=True)
    strength: float = eqx.field(default=1.0, kw_only=True)

    def __check_init__(self):
        check_share(margin=self.margin)
        check_positive(strength=self.strength)

    def penalty(self, points: Samples, learner: Any, params: Params) -> Float[Array, ""]:
        """Return what suspicious points cost the attacker; those of weight 0 do not count."""
        over = jnp.maximum(self.excess(points, learner, params) + self.margin, 0.0)
        return self.strength * per_weight(jnp.sum(points.weight * over), jnp.sum(points.weight))

    def within(self, feasible: FeasibleSet, labels: Float[Array, "p k"]) -> FeasibleSet:
        """Return the part of a feasible set that the defence lets pass, for points of these soft labels.

        It is drawn tighter by the margin. A discrete set comes back as it is: points go from one of its members to
        another, and are held back by their excess alone.
        """
        del labels
        return feasible

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return by how much each point is too suspicious, as a share of what is let pass; 0 or less passes.

        Args:
            points: the poisoning points, with soft labels.
            learner: the attacker's copy of the victim's.
            params: its parameters, trained on clean rows and points.
        """
        del learner, params
        return jnp.zeros(points.x.shape[0], points.x.dtype)

    def describe(self) -> dict[str, object]:
        """Return what is known of the defence, for results."""
        return {"defence": type(self).__name__, "margin": self.margin, "strength": self.strength}


class Viewed(Evasion):
    """Evades a defence that sees features in other units, v = (x − shift) / scale.

    Args:
        inside: what to keep to in those units, by its excess alone.
        shift: of each column, (d,).
        scale: of each column, above 0, (d,).
    """

    inside: Evasion
    shift: Any
    scale: Any

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return the excess of the points as the defence sees them."""
        shift, scale = (jnp.asarray(part, points.x.dtype) for part in (self.shift, self.scale))
        return self.inside.excess(points._replace(x=(points.x - shift) / scale), learner, params)

    def describe(self) -> dict[str, object]:
        """Return what is known of the defence."""
        return {**self.inside.describe(), "margin": self.margin, "strength": self.strength}


class Spared(Evasion):
    """Evades a defence that judges rows of some classes alone: points of the others pass wherever they are.

    Args:
        inside: what to keep to in the classes judged, by its excess alone.
        judged: 1 for each class that is judged and 0 for the others, (k,).
    """

    inside: Evasion
    judged: Any

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return the excess of points by the share of their label that is judged; −1 of those that are not."""
        share = points.y @ jnp.asarray(self.judged, points.x.dtype)
        return share * (self.inside.excess(points, learner, params) + 1) - 1

    def describe(self) -> dict[str, object]:
        """Return what is known of the defence, and which classes it judges."""
        judged = np.flatnonzero(np.asarray(self.judged)).tolist()
        return {**self.inside.describe(), "margin": self.margin, "strength": self.strength, "classes": judged}


class _Narrowed(Wrapped):
    r"""Points of a convex set that lie in a convex region besides, each in a region of its own.

    The nearest point of both is the base's projection of some point on a path that leads out of the given one: with
    the Lagrange multiplier λ of the region's constraint g, min ‖z − x‖² + λ g(z) over the base is a projection again.
    Along the path g falls, so bisection finds where it is met. Of the base it takes that it is convex, and that
    `project` gives the nearest point. Subclasses supply `excess` and `path`.

    Args:
        base: a convex set.
        centres: of every point's region, (p, d).
    """

    centres: Any

    def excess(self, points: Points) -> Float[Array, "p 1"]:
        """Return how far points lie outside their regions; 0 or less inside."""
        raise NotImplementedError

    def noise(self, points: Points) -> Float[Array, "p 1"]:
        """Return the size of what rounding may do to their excess."""
        raise NotImplementedError

    def beyond(self, points: Points, near: Points) -> Float[Array, "p 1"]:
        """Return the excess on the side of their regions where `near` lies outside: it falls along the path."""
        del near
        return self.excess(points)

    def path(self, points: Points, near: Points, share: Float[Array, "p 1"]) -> Points:
        """Return points on the way from where they are (share 0) as far into their regions as it goes (share 1).

        Args:
            points: where they are.
            near: their projections on the base, which lie outside the regions.
            share: of the way.
        """
        raise NotImplementedError

    def project(self, points: Points) -> Points:
        """Return the nearest points of base and regions; where they do not meet, the base's next to the regions."""
        near = self.base.project(points)
        share = _least_share(self, points, near)
        return jnp.where(self.excess(near) <= 0, near, self.base.project(self.path(points, near, share)))

    def contains(self, points: Points) -> Bool[Array, "p"]:
        """Tell which points are in the base and, to round-off, in their regions."""
        return self.base.contains(points) & (self.excess(points) <= self.noise(points))[:, 0]

    def sample(self, key: PRNGKeyArray, n: int, d: int) -> Points:
        """Draw from the base, and project; only as many points as there are centres."""
        return self.project(self.base.sample(key, n, d))

    def ascend(self, points: Points, gradient: Points, length: float) -> Points:
        """Take the base's step, and project."""
        return self.project(self.base.ascend(points, gradient, length))

    def settle(self, latent: Points) -> Points:
        """Project the points that the free variables stand for."""
        one = jnp.ones((), latent.dtype)
        return self.base.latent(self.project(self.base.relax(latent, one)))

    def around(self, start: Points) -> "_Narrowed":
        """Return the set of points that start here."""
        return dataclasses.replace(self, base=self.base.around(start))

    def _move(self, points: Points) -> Points:
        return points - jnp.asarray(self.centres, points.dtype)


@eqx.filter_jit
def _least_share(region: _Narrowed, points: Points, near: Points) -> Float[Array, "p 1"]:
    """Return the least share of the path whose projection on the base is inside, by bisection; 1 where none is."""
    ones = jnp.ones((points.shape[0], 1), points.dtype)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        inside = region.beyond(region.base.project(region.path(points, near, middle)), near) <= 0
        return jnp.where(inside, low, middle), jnp.where(inside, middle, high)

    return jax.lax.fori_loop(0, jnp.finfo(points.dtype).nmant + 3, halve, (0 * ones, ones))[1]


class InSphere(_Narrowed):
    """No farther than a radius from the centre.

    Args:
        base: a convex set.
        centres: of every point, (p, d).
        radii: of every point, (p,).
    """

    radii: Any

    def _distance(self, points: Points) -> Float[Array, "p 1"]:
        return jnp.linalg.norm(self._move(points), axis=1, keepdims=True)

    def excess(self, points: Points) -> Float[Array, "p 1"]:
        """Return the distance less the radius."""
        return self._distance(points) - jnp.asarray(self.radii, points.dtype)[:, None]

    def noise(self, points: Points) -> Float[Array, "p 1"]:
        """Return that of a sum of squares."""
        return _ROUND_OFF * jnp.finfo(points.dtype).eps * self._distance(points)

    def path(self, points: Points, near: Points, share: Float[Array, "p 1"]) -> Points:
        """Go straight to the centres."""
        del near
        return jnp.asarray(self.centres, points.dtype) + (1 - share) * self._move(points)

    def describe(self) -> dict[str, Any]:
        """Return the base and the least and greatest radius."""
        return {"set": "sphere", "radii": _range(self.radii), "within": self.base.describe()}


class InSlab(_Narrowed):
    """Between two planes, with the centre in their middle.

    Args:
        base: a convex set.
        centres: of every point, (p, d).
        normals: of the planes, (p, d), of any length.
        widths: the largest |⟨x − centre, normal⟩|, (p,).
    """

    normals: Any
    widths: Any

    def _terms(self, points: Points) -> Points:
        return self._move(points) * jnp.asarray(self.normals, points.dtype)

    def _along(self, points: Points) -> Float[Array, "p 1"]:
        return jnp.sum(self._terms(points), axis=1, keepdims=True)

    def excess(self, points: Points) -> Float[Array, "p 1"]:
        """Return the distance along the normal less the width."""
        return jnp.abs(self._along(points)) - jnp.asarray(self.widths, points.dtype)[:, None]

    def noise(self, points: Points) -> Float[Array, "p 1"]:
        """Return that of a sum whose terms may cancel."""
        sizes = jnp.sum(jnp.abs(self._terms(points)), axis=1, keepdims=True)
        return _ROUND_OFF * jnp.finfo(points.dtype).eps * sizes

    def beyond(self, points: Points, near: Points) -> Float[Array, "p 1"]:
        """Return how far points lie past the plane that `near` is past; a long step may be past the other."""
        widths = jnp.asarray(self.widths, points.dtype)[:, None]
        return jnp.sign(self._along(near)) * self._along(points) - widths

    def path(self, points: Points, near: Points, share: Float[Array, "p 1"]) -> Points:
        """Go against the normal: at share ½ as far as the plane alone asks, farther where the base is in the way."""
        along, normals = self._along(near), jnp.asarray(self.normals, points.dtype)
        widths = jnp.asarray(self.widths, points.dtype)[:, None]
        square = jnp.sum(normals**2, axis=1, keepdims=True)
        step = (along - jnp.clip(along, -widths, widths)) / jnp.where(square > 0, square, 1.0)
        return points - normals * step * share / jnp.maximum(1 - share, jnp.finfo(points.dtype).eps)

    def describe(self) -> dict[str, Any]:
        """Return the base and the least and greatest width."""
        return {"set": "slab", "widths": _range(self.widths), "within": self.base.describe()}


def _range(limits: Any) -> list[float]:
    """Return the least and the greatest; nothing of no points."""
    return [float(np.min(limits)), float(np.max(limits))] if np.size(limits) else []
