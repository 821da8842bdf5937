"""Nearest neighbours of points, differentiable: what an attacker computes who knows a defence that looks at them.

Neighbours are found by ranking all candidates, without a gradient; distances to those found are differentiable
wherever they are not 0, and the neighbours of a point do not change but on a set of measure 0. Points of the attacker
are each other's neighbours, and pull each other together. With p points, N candidates and c neighbours it costs
O(p N d) and holds p · c · d numbers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..types import Samples


class Crowd(NamedTuple):
    """All rows that may be neighbours of points: N = n known ones, and then the p points where these collude.

    Args:
        x: features, (N, d).
        member: of which class each is, (N, k).
        gap: squared distances from every point, to rank them by, (p, N); infinite to itself and to absent points.
    """

    x: Float[Array, "N d"]
    member: Bool[Array, "N k"]
    gap: Float[Array, "p N"]


class Ranked(NamedTuple):
    """A point's nearest neighbours, nearest first, (p, c) each.

    Args:
        distance: 0 where there is none.
        which: their rows in the crowd.
        present: whether there is one.
    """

    distance: Float[Array, "p c"]
    which: Int[Array, "p c"]
    present: Bool[Array, "p c"]


def crowd(
    points: Samples,
    rows: Float[Array | np.ndarray, "n d"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    colluding: bool = True,
) -> Crowd:
    """Gather the rows that may be neighbours of points; a soft label counts as its likeliest class."""
    dtype, k = points.x.dtype, points.y.shape[1]
    x, member = jnp.asarray(rows, dtype), jnp.asarray(labels)[:, None] == jnp.arange(k)
    centre = jnp.mean(x, axis=0)
    barred = jnp.zeros((points.x.shape[0], x.shape[0]), bool)
    if colluding:
        x = jnp.concatenate([x, points.x])
        member = jnp.concatenate([member, jnp.argmax(points.y, axis=1)[:, None] == jnp.arange(k)])
        own = jnp.eye(points.x.shape[0], dtype=bool) | (points.weight <= 0)[None, :]
        barred = jnp.concatenate([barred, own], axis=1)
    here, there = (jax.lax.stop_gradient(part) - centre for part in (points.x, x))
    gap = jnp.sum(here**2, axis=1)[:, None] + jnp.sum(there**2, axis=1) - 2 * here @ there.T
    return Crowd(x, member, jnp.where(barred, jnp.inf, gap))


def rank(points: Samples, among: Crowd, allowed: Bool[Array, "N"], count: int) -> Ranked:
    """Return the nearest of the allowed rows. Distances are differentiable wherever they are not 0."""
    value, which = jax.lax.top_k(-jnp.where(allowed, among.gap, jnp.inf), min(count, among.x.shape[0]))
    present = jnp.isfinite(value)
    square = jnp.sum((points.x[:, None, :] - among.x[which]) ** 2, axis=2)
    away = present & (square > 0)
    return Ranked(jnp.where(away, jnp.sqrt(jnp.where(away, square, 1.0)), 0.0), which, present)
