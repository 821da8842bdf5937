r"""Two outlier detectors of scikit-learn, class by class, as references to hold other defences against.

`IsolationForestSanitiser` (Liu, Ting, Zhou 2008) asks how few random cuts isolate a row; it costs O(t ψ log ψ) for t
trees of ψ rows each, and looks at one feature a cut. `LofSanitiser` (Breunig, Kriegel, Ng, Sander 2000) compares the
density around a row with that around its neighbours,

    LOF(x) = mean_{o ∈ N_k(x)} lrd(o) / lrd(x),   lrd(x) = 1 / mean_{o ∈ N_k(x)} max(‖x − o‖, d_k(o)),

with d_k(o) the distance of o to its k-th neighbour; it costs O(n² d) at worst, and assumes features of comparable
units. Both assume that poison is rarer, where it lies, than clean rows of its class are where they lie.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from ..checks import check_count, is_number, is_whole, shown
from ..errors import InputError
from ..threat.evasion import Evasion
from ..types import Added, Params, Samples, with_added
from .base import Sanitiser, by_class
from .nearness import Crowd, crowd, rank
from .neighbours import neighbour_distances

# What scikit-learn adds to a mean reachability distance, so that duplicates have a finite density.
_SMALL = 1e-10


class IsolationForestSanitiser(Sanitiser):
    """Leave out the rows of each class that an isolation forest of that class finds most anomalous.

    Trees have no gradient, so `evasion` returns None. All that an attacker who knows of it is known to do is to stay
    near clean rows, as those of `defence_table` do.

    Args:
        fraction: the share of each class to leave out.
        n_estimators: trees a class.
        max_samples: rows a tree, a whole number, a share, or `"auto"` for the lesser of 256 and all.
        random_state: the seed of the trees; equal seeds give equal results.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.
    """

    measure = "anomaly score among the rows of its class"

    def __init__(
        self,
        *,
        fraction: float = 0.1,
        n_estimators: int = 100,
        max_samples: Any = "auto",
        random_state: Any = 0,
        sampling_strategy: Any = "all",
    ):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.random_state = random_state

    def check_settings(self) -> None:
        """Check the share, and the numbers of trees and of rows a tree."""
        super().check_settings()
        check_count(n_estimators=self.n_estimators)
        size = self.max_samples
        if not (size == "auto" or (is_whole(size) and size > 0) or (is_number(size) and 0 < size <= 1)):
            raise InputError(
                f"max_samples must be 'auto', a positive whole number, or a share in (0, 1]; got {shown(size)}."
            )

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the anomaly score of every row, in (0, 1]; 0 for the only row of a class."""

        def measure(rows: np.ndarray) -> np.ndarray:
            size: Any = self.max_samples
            if size != "auto":
                size = max(min(size, rows.size) if is_whole(size) else int(size * rows.size), 1)
            forest = IsolationForest(n_estimators=self.n_estimators, max_samples=size, random_state=self.random_state)
            return -forest.fit(x[rows]).score_samples(x[rows])

        return by_class(y, measure, least=2)


class LofSanitiser(Sanitiser):
    """Leave out the rows of each class with the largest local outlier factor.

    More than k equal rows have no finite density, and rows near them an enormous factor; scikit-learn warns of it.
    Choose a larger k then.

    Args:
        fraction: the share of each class to leave out.
        k: how many neighbours count, or all others where a class has fewer.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.
    """

    measure = "local outlier factor among the rows of its class"

    def __init__(self, *, fraction: float = 0.1, k: int = 20, sampling_strategy: Any = "all"):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.k = k

    def check_settings(self) -> None:
        """Check the share and k."""
        super().check_settings()
        check_count(k=self.k)

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the local outlier factor of every row, about 1 for an ordinary one; 0 for the only row of a class."""

        def measure(rows: np.ndarray) -> np.ndarray:
            near = LocalOutlierFactor(n_neighbors=min(self.k, rows.size - 1))
            return -near.fit(x[rows] - x[rows].mean(axis=0)).negative_outlier_factor_

        return by_class(y, measure, least=2)

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "LofEvasion":
        """Return the densities around these clean rows, and the factors that are let pass."""
        everyone, labels = with_added(x, y, added)
        limits = self.limits(everyone, labels)
        kth, density = np.zeros(len(everyone)), np.zeros(len(everyone))
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            if rows.size > 1:
                distances, near = neighbour_distances(everyone[rows], self.k)
                kth[rows] = distances[:, -1]
                density[rows] = 1 / (np.maximum(distances, kth[rows][near]).mean(axis=1) + _SMALL)
        return LofEvasion(x, y, limits, kth[: len(x)], density[: len(x)], k=self.k)


class LofEvasion(Evasion):
    """Stay where rows of one's class are as dense around oneself as around one's neighbours.

    Other points of the same class count as neighbours, with densities of their own. Those of known rows do not follow
    the points: they are as they were, with the points that were added then, if any.

    Args:
        rows: known rows, (n, d).
        labels: their labels 0..k−1, (n,).
        limits: the largest factor that is let pass, (k,).
        kth: distance of every row to its k-th neighbour in its class, (n,).
        density: lrd of every row, (n,).
        k: how many neighbours count.
    """

    rows: Any
    labels: Any
    limits: Any
    kth: Any
    density: Any
    k: int = eqx.field(kw_only=True, static=True)

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return the local outlier factor over its limit, less 1, in the mean over a soft label's classes."""
        del learner, params
        among = crowd(points, self.rows, self.labels)
        factors = jax.vmap(lambda member: self._factor(points, among, member), in_axes=1, out_axes=1)(among.member)
        return jnp.sum(points.y * (factors / jnp.asarray(self.limits, points.x.dtype) - 1), axis=1)

    def _factor(self, points: Samples, among: Crowd, member: Bool[Array, "N"]) -> Float[Array, "p"]:
        """Return the local outlier factor of points among the rows of one class."""
        near, dtype = rank(points, among, member, self.k), points.x.dtype
        count = jnp.maximum(jnp.sum(near.present, axis=1), 1)

        def mean(values):
            return jnp.sum(jnp.where(near.present, values, 0.0), axis=1) / count

        kth = jnp.concatenate([jnp.asarray(self.kth, dtype), jnp.max(near.distance, axis=1)])
        density = 1 / (mean(jnp.maximum(near.distance, kth[near.which])) + _SMALL)
        everyone = jnp.concatenate([jnp.asarray(self.density, dtype), density])
        return mean(everyone[near.which]) / density

    def describe(self) -> dict[str, object]:
        """Return the limits."""
        return {**super().describe(), "k": self.k, "limits": np.asarray(self.limits).tolist()}
