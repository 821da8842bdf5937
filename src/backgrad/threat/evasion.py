r"""What an attacker who knows a defence keeps to.

Where a defence lets pass whatever lies in a convex region, that region is part of the feasible set (`within`). Any
defence can be a penalty besides: the attacker maximises

    𝒜(x) − strength · mean_j max(e_j(x), 0),

with e_j the *excess* of point j, above 0 where the defence would remove it. The real defence judges the result.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Params, Samples
from .compose import _Wrapped
from .feasible import FeasibleSet, Points


class Evasion(eqx.Module):
    """How points stay unsuspicious. Subclasses override `within`, or `excess`, or both."""

    def within(self, feasible: FeasibleSet, labels: Float[Array, "p k"]) -> FeasibleSet:
        """Return the part of a feasible set that the defence lets pass, for points of these soft labels.

        A discrete set comes back as it is: points go from one of its members to another, and are held back by their
        excess alone.
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
        return {"defence": type(self).__name__}


class Pulled(_Wrapped):
    """Points of a convex set that lie in a convex region around a centre of their own.

    Subclasses supply `gauge` and `nearest`. What alternating projections leave outside is pulled towards the centre,
    which both sets must hold: so `contains` is exact.

    Args:
        base: a convex set.
        centres: of every point, (p, d), in the base.
    """

    centres: Any

    def gauge(self, move: Points) -> Float[Array, "p 1"]:
        """Return how far moves from the centres go, 1 at the region's boundary, homogeneous of degree 1."""
        raise NotImplementedError

    def nearest(self, move: Points) -> Points:
        """Return the nearest moves that stay in the region."""
        raise NotImplementedError

    def project(self, points: Points) -> Points:
        """Alternate between both sets, then pull towards the centres what is left outside."""
        centres = jnp.asarray(self.centres, points.dtype)
        points = self.base.project(points)
        for _ in range(5):
            points = self.base.project(centres + self.nearest(points - centres))
        move = points - centres
        # A hair inside, so that rounding cannot put the result outside.
        size = self.gauge(move) * (1 + 1e3 * jnp.finfo(points.dtype).eps)
        return jnp.where(size > 1, centres + move / jnp.where(size > 1, size, 1.0), points)

    def contains(self, points: Points) -> Array:
        """Tell which points are in the base and in the region."""
        inside = self.gauge(points - jnp.asarray(self.centres, points.dtype))[:, 0] <= 1
        return self.base.contains(points) & inside

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


class InSphere(Pulled):
    """No farther than a radius from the centre.

    Args:
        base: a convex set.
        centres: of every point, (p, d), in the base.
        radii: of every point, (p,).
    """

    radii: Any

    def gauge(self, move: Points) -> Float[Array, "p 1"]:
        """Return the distance over the radius."""
        return jnp.linalg.norm(move, axis=1, keepdims=True) / jnp.asarray(self.radii, move.dtype)[:, None]

    def nearest(self, move: Points) -> Points:
        """Shorten what is too long."""
        return move / jnp.maximum(self.gauge(move), 1.0)

    def describe(self) -> dict[str, Any]:
        """Return the base and the least and greatest radius."""
        radii = [float(jnp.min(self.radii)), float(jnp.max(self.radii))]
        return {"set": "sphere", "radii": radii, "within": self.base.describe()}


class InSlab(Pulled):
    """Between two planes, with the centre in their middle.

    Args:
        base: a convex set.
        centres: of every point, (p, d), in the base.
        normals: of the planes, (p, d), of any length.
        widths: the largest |⟨x − centre, normal⟩|, (p,).
    """

    normals: Any
    widths: Any

    def _along(self, move: Points) -> Float[Array, "p 1"]:
        return jnp.sum(move * jnp.asarray(self.normals, move.dtype), axis=1, keepdims=True)

    def gauge(self, move: Points) -> Float[Array, "p 1"]:
        """Return the distance along the normal over the width."""
        return jnp.abs(self._along(move)) / jnp.asarray(self.widths, move.dtype)[:, None]

    def nearest(self, move: Points) -> Points:
        """Take back what leads too far along the normal."""
        along, normals = self._along(move), jnp.asarray(self.normals, move.dtype)
        widths = jnp.asarray(self.widths, move.dtype)[:, None]
        square = jnp.sum(normals**2, axis=1, keepdims=True)
        return move - normals * (along - jnp.clip(along, -widths, widths)) / jnp.where(square > 0, square, 1.0)

    def describe(self) -> dict[str, Any]:
        """Return the base and the least and greatest width."""
        widths = [float(jnp.min(self.widths)), float(jnp.max(self.widths))]
        return {"set": "slab", "widths": widths, "within": self.base.describe()}
