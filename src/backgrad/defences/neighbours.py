r"""Nearest neighbours: distance within a class, anomaly detection with trusted rows, and label sanitisation.

With N_k(x) the k nearest other rows in Euclidean distance,

    KnnDistance:       mean ‖x − x_i‖ over N_k(x) among rows of its class (after the k-NN defence of Koh, Steinhardt
                       and Liang 2022),
    Anomaly:           the distance to the k-th of them, held against that of trusted rows (Paudice, Muñoz-González,
                       Gyorgy, Lupu 2018a, "Detection of Adversarial Training Examples"),
    LabelSanitisation: the share of a label other than its own among N_k(x) of all rows (Paudice, Muñoz-González, Lupu
                       2018b, "Label Sanitization against Label Flipping").

They cost O(n² d) at worst, and assume features of comparable units. The first two take it that poison lies apart from
clean rows of its class: many points close together are neighbours to each other, unless trusted rows are the only ones
that count. The third takes it that classes do not overlap: where they do, it takes clean rows for poison.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from imblearn.base import BaseSampler
from jaxtyping import Array, Bool, Float
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted

from ..checks import check_count, check_kind, is_number, shown
from ..errors import InputError, TrustedRowsError
from ..threat.evasion import Evasion
from ..types import Added, Params, Samples, with_added
from .base import Sanitiser, by_class, class_limits, read_trusted, require_all_classes
from .nearness import Crowd, crowd, rank


class KnnDistance(Sanitiser):
    """Leave out the rows of each class whose k nearest rows of that class are farthest, on average.

    Args:
        fraction: the share of each class to leave out.
        k: how many neighbours count, or all others where a class has fewer.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.
    """

    measure = "mean distance to the nearest rows of its class"

    def __init__(self, *, fraction: float = 0.1, k: int = 5, sampling_strategy: Any = "all"):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.k = k

    def check_settings(self) -> None:
        """Check the share and k."""
        super().check_settings()
        check_count(k=self.k)

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the mean distance of every row to its neighbours; 0 for the only row of a class."""
        return _within_classes(x, y, self.k, lambda distances: distances.mean(axis=1))

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "NeighbourEvasion":
        """Return the mean distances that these rows would let pass."""
        return NeighbourEvasion(x, y, self.limits(*with_added(x, y, added)), k=self.k)


class Anomaly(Sanitiser):
    """Leave out the rows of each class whose k-th nearest row of that class is too far.

    With trusted rows, neighbours are trusted rows alone, and what is too far is told from the distribution of the
    trusted rows' own distances: its quantile 1 − fraction (the source's α). So about that share of clean rows is lost,
    and all poison that lies farther out. Without them, rows are held against each other and the share is left out. The
    source takes the rows to hold against from a sample; here all count.

    Args:
        fraction: the share of (trusted) rows that are too far.
        k: which neighbour counts, or the farthest where a class has fewer.
        trusted: features (m, d) and labels (m,) of rows that nobody could poison, at least two of each class.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.

    Raises:
        InputError: trusted rows that lack a class or a column.
        EmptyClassError: all rows of a class are too far from the trusted ones.
    """

    measure = "distance to the k-th nearest row of its class"

    def __init__(
        self, *, fraction: float = 0.05, k: int = 5, trusted: tuple[Any, Any] | None = None, sampling_strategy="all"
    ):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.k = k
        self.trusted = trusted

    def check_settings(self) -> None:
        """Check the share and k."""
        super().check_settings()
        check_count(k=self.k)

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return every row's distance to its k-th neighbour."""
        if self.trusted is None:
            return _within_classes(x, y, self.k, lambda distances: distances[:, -1])
        known, labels = self._read_trusted(int(y.max()) + 1, x.shape[1])

        def measure(rows: np.ndarray) -> np.ndarray:
            return neighbour_distances(known[labels == y[rows[0]]], self.k, of=x[rows])[0][:, -1]

        return by_class(y, measure)

    def marks(self, suspicion: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mark what lies farther out than the quantile of trusted rows, or the most suspicious share."""
        if self.trusted is None:
            return super().marks(suspicion, y)
        limits = self._trusted_limits(*self._read_trusted(int(y.max()) + 1))[y]
        return suspicion > limits, limits

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "NeighbourEvasion":
        """Return the distances that are let pass, by trusted rows or by these."""
        if self.trusted is None:
            return NeighbourEvasion(x, y, self.limits(*with_added(x, y, added)), k=self.k, reach="last")
        self.check_settings()
        known, labels = self._read_trusted(int(y.max()) + 1, x.shape[1])
        limits = class_limits(self._trusted_limits(known, labels)[labels], labels)
        return NeighbourEvasion(known, labels, limits, k=self.k, reach="last", colluding=False)

    def _read(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        read = super()._read(X, y)
        if self.trusted is not None:
            theirs = np.unique(np.asarray(self.trusted[1]))
            if not np.array_equal(theirs, self.classes_):
                raise TrustedRowsError(
                    f"trusted rows must be of the classes {self.classes_.tolist()}; got {theirs.tolist()}: give some "
                    "of each, and of no other."
                )
        return read

    def _read_trusted(self, k: int, d: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return trusted features, (m, d), and labels 0..k−1, (m,)."""
        features, labels = self.trusted or ([], [])
        classes = np.unique(np.asarray(labels))
        x, y = read_trusted(features, labels, classes=classes, width=d)
        counts = np.bincount(y)
        if classes.size != k or counts.min() < 2:
            raise TrustedRowsError(
                f"trusted rows must be two rows at least of each of {k} classes; got {len(x)} rows and labels "
                f"{dict(zip(classes.tolist(), counts.tolist(), strict=True))}: give more."
            )
        return x, y

    def _trusted_limits(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the quantile 1 − fraction of trusted rows' distances in each class, (k,)."""
        distances = _within_classes(x, y, self.k, lambda found: found[:, -1])
        return np.array([_upper_quantile(distances[y == label], self.fraction) for label in range(int(y.max()) + 1)])


class LabelSanitisation(Sanitiser):
    """Leave out, or relabel, rows whose nearest neighbours agree on another label.

    A row is suspicious where a share of at least η of its k nearest rows has one label, that is not its own, and no
    tie with it. The source relabels such rows; here that is a choice, for the other sanitisers leave rows out. There is
    no `fraction`: how many rows go depends on the data alone.

    Args:
        k: how many neighbours vote, or all others where there are fewer.
        eta: η, the share of them that must agree, in [0.5, 1].
        relabel: whether such rows stay, with the label that their neighbours agree on.
        sampling_strategy: the classes whose rows are judged, `"all"` or a list.

    Attributes:
        suspicion_: the share of the commonest other label; 0 where it is not commoner than a row's own.
        thresholds_: η for all rows: what reaches it is suspicious.
        agreed_: the commonest other label among every row's neighbours, (n,).
        relabelled_indices_: rows with a new label, ascending; none unless `relabel`.
        relabelled_: their new labels.
        Further: those of `Sanitiser`.

    Raises:
        InputError: η outside [0.5, 1], rows of one class only.
        EmptyClassError: no row would keep, or get, the label of some class.
    """

    measure = "the share of neighbours with another label"

    agreed_: np.ndarray
    relabelled_indices_: np.ndarray
    relabelled_: np.ndarray

    def __init__(self, *, k: int = 10, eta: float = 0.5, relabel: bool = False, sampling_strategy: Any = "all"):
        # Not the base's, which would set a fraction.
        BaseSampler.__init__(self, sampling_strategy=sampling_strategy)
        self.k = k
        self.eta = eta
        self.relabel = relabel

    def check_settings(self) -> None:
        """Check k and η."""
        check_count(k=self.k)
        if not is_number(self.eta) or not 0.5 <= self.eta <= 1:
            raise InputError(f"eta must lie in [0.5, 1]; got {shown(self.eta)}.")
        check_kind(bool, "True or False", relabel=self.relabel)

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the share of the commonest other label among every row's neighbours; 0 where its own is as common."""
        return self._other(_votes(x, y, self.k), y)[0]

    def marks(self, suspicion: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mark rows whose suspicion reaches η."""
        # A vote more or less is far above round-off.
        return suspicion >= self.eta - 1e-9, np.full(len(y), float(self.eta))

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "LabelEvasion":
        """Return the neighbours that vote, of which points keep enough of their own label near."""
        del added  # they vote where they are going, not where they are
        self.check_settings()
        class_limits(np.ones(len(y)), y)
        k = min(self.k, len(y))
        return LabelEvasion(x, y, int(y.max()) + 1, k=k, needed=int(np.ceil(self.eta * k - 1e-9)))

    def reasons(self) -> list[str]:
        """Say of every row that was left out or relabelled, in ascending order, what its neighbours agree on."""
        check_is_fitted(self, "removed_indices_")
        rows = np.sort(np.concatenate([self.removed_indices_, self.relabelled_indices_]))
        return [
            f"{share:.0%} of the {self._neighbours} nearest rows have the label {other}"
            for share, other in zip(self.suspicion_[rows], self.agreed_[rows], strict=True)
        ]

    def _fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, np.ndarray]:
        x, classes, codes = self._read(X, y, **params)
        self._neighbours = min(self.k, len(codes) - 1)
        self.suspicion_, agreed = self._other(_votes(x, codes, self.k), codes)
        self.agreed_ = classes[agreed]
        marked, self.thresholds_ = self.marks(self.suspicion_, codes)
        if not self.relabel:
            self.relabelled_indices_, self.relabelled_ = np.zeros(0, int), classes[:0]
            return self._without(X, y, marked, classes)
        kept, labels = self._without(X, y, np.zeros(len(codes), bool), classes)
        changed = np.flatnonzero(marked & np.isin(y, list(self.sampling_strategy_)))
        self.relabelled_indices_, self.relabelled_ = changed, self.agreed_[changed]
        labels = labels.copy()
        labels[changed] = self.relabelled_
        require_all_classes(labels, classes)
        return kept, labels

    @staticmethod
    def _other(votes: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the share and the code of every row's commonest other label."""
        rows = np.arange(len(y))
        own, others = votes[rows, y], votes.copy()
        others[rows, y] = -1.0
        agreed = others.argmax(axis=1)
        share = others[rows, agreed]
        return np.where(share > own, share, 0.0), agreed


def neighbour_distances(rows: np.ndarray, k: int, of: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to the k nearest rows, nearest first, and which these are, (n, k) each.

    Args:
        rows: (m, d).
        k: or as many as there are, where that is less.
        of: (n, d), which rows to find neighbours of; the rows themselves where None, each without itself.
    """
    # Squares of far-off coordinates would drown differences; distances do not depend on the origin.
    centre = rows.mean(axis=0)
    finder = NearestNeighbors(n_neighbors=min(k, len(rows) - (of is None))).fit(rows - centre)
    return finder.kneighbors(None if of is None else of - centre)


def _within_classes(x: np.ndarray, y: np.ndarray, k: int, summary: Any) -> np.ndarray:
    """Return a summary of every row's distances to its neighbours in its class, (n,); 0 where it has none."""
    return by_class(y, lambda rows: summary(neighbour_distances(x[rows], k)[0]), least=2)


def _upper_quantile(values: np.ndarray, fraction: float) -> float:
    """Return the least value above which no more than a fraction of all lies."""
    above = int(np.floor(fraction * values.size + 1e-9))
    return float(np.sort(values)[values.size - 1 - above])


def _votes(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Return the share of each label among every row's k nearest other rows, (n, classes)."""
    labels = y[neighbour_distances(x, k)[1]]
    return np.stack([np.mean(labels == label, axis=1) for label in range(int(y.max()) + 1)], axis=1)


class NeighbourEvasion(Evasion):
    """Stay near rows of one's class, other points among them where these count.

    Args:
        rows: known rows, (n, d).
        labels: their labels 0..k−1, (n,).
        limits: the largest distance that is let pass, (k,).
        k: how many neighbours count.
        reach: whether their `"mean"` distance counts or the `"last"` one's.
        colluding: whether points are neighbours to each other.
    """

    rows: Any
    labels: Any
    limits: Any
    k: int = eqx.field(kw_only=True, static=True)
    reach: Literal["mean", "last"] = eqx.field(default="mean", kw_only=True, static=True)
    colluding: bool = eqx.field(default=True, kw_only=True, static=True)

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return distance over limit, less 1, in the mean over a soft label's classes."""
        del learner, params
        among = crowd(points, self.rows, self.labels, colluding=self.colluding)

        def distance(member):
            near = rank(points, among, member, self.k)
            if self.reach == "last":
                return jnp.max(near.distance, axis=1)
            return jnp.sum(near.distance, axis=1) / jnp.maximum(jnp.sum(near.present, axis=1), 1)

        distances = jax.vmap(distance, in_axes=1, out_axes=1)(among.member)
        return jnp.sum(points.y * (distances / jnp.asarray(self.limits, points.x.dtype) - 1), axis=1)

    def describe(self) -> dict[str, object]:
        """Return the limits."""
        limits = {"k": self.k, "reach": self.reach, "limits": np.asarray(self.limits).tolist()}
        return {**super().describe(), **limits}


class LabelEvasion(Evasion):
    r"""Keep enough rows of one's label near.

    Label c has a share of at least η of the k nearest rows where the m-th nearest row of label c, m = ⌈η k⌉, is nearer
    than the (k − m + 1)-th nearest of all other labels. With these distances a_c and b_c,

        e_c = (b_c − a_c) / (b_c + a_c),      excess = min(max_{c ≠ y} e_c, −e_y),

    which is above 0 where another label gets its share and a point's own does not: exactly where the defence strikes.

    Args:
        rows: known rows, (n, d).
        labels: their labels 0..k−1, (n,).
        n_classes: the number of classes.
        k: how many neighbours vote.
        needed: m.
    """

    rows: Any
    labels: Any
    n_classes: int = eqx.field(static=True)
    k: int = eqx.field(kw_only=True, static=True)
    needed: int = eqx.field(kw_only=True, static=True)

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return by how much the votes for another label are nearer than those against it, in [−1, 1]."""
        del learner, params
        among = crowd(points, self.rows, self.labels)
        share = jax.vmap(lambda member: self._share(points, among, member), in_axes=1, out_axes=1)(among.member)
        itself = jnp.eye(self.n_classes, dtype=bool)
        others = jnp.max(jnp.where(itself, -jnp.inf, share[:, None, :]), axis=2)
        return jnp.sum(points.y * jnp.minimum(others, -share), axis=1)

    def _share(self, points: Samples, among: Crowd, member: Bool[Array, "N"]) -> Float[Array, "p"]:
        """Return e_c of one label."""
        mine = rank(points, among, member, self.needed)
        theirs = rank(points, among, ~member, self.k - self.needed + 1)
        a, b = mine.distance[:, -1], theirs.distance[:, -1]
        e = (b - a) / jnp.where(a + b > 0, a + b, 1.0)
        e = jnp.where(theirs.present[:, -1], e, 1.0)
        return jnp.where(mine.present[:, -1], e, -1.0)

    def describe(self) -> dict[str, object]:
        """Return how many of how many votes are needed."""
        return {**super().describe(), "k": self.k, "needed": self.needed}
