"""What a sanitising defence is: a sampler in the sense of imbalanced-learn that leaves out suspicious rows.

A defence gives every row a suspicion and leaves out the most suspicious rows of each class. It knows nothing of the
attack; what an attacker may know of it is an object of `backgrad.threat`, which the defence hands out.
"""

import abc
from typing import Any, ClassVar

import numpy as np
from imblearn.base import BaseSampler
from scipy import sparse

from ..checks import check_share
from ..errors import EmptyClassError, InputError
from ..threat.evasion import Evasion


class Sanitiser(BaseSampler):
    """Leaves suspicious rows out of a training set: `fit_resample(X, y) → (X, y)`.

    Subclasses supply `suspicion`, and `marks` where something else than a share of each class is left out. Every
    subclass declares in its constructor the settings it takes, `fraction` and `sampling_strategy` among them.

    Args:
        fraction: the share of each class to leave out, in [0, 1); at least one row of each class is kept.
        sampling_strategy: the classes to clean, `"all"` or a list of them, as in imbalanced-learn.

    Attributes:
        suspicion_: of every row given to `fit_resample`, (n,); the larger, the more suspicious.
        thresholds_: the largest suspicion that was let pass where a row stands, (n,).
        removed_indices_: rows left out, ascending.
        sample_indices_: rows kept, ascending.
        sampling_strategy_: as imbalanced-learn reads it.

    Raises:
        InputError: rows of one class only, a fraction outside [0, 1).
        EmptyClassError: a class would lose all its rows.
    """

    _sampling_type = "clean-sampling"
    _parameter_constraints: ClassVar[dict[str, Any]] = {}

    #: What suspicion measures, to go into sentences: "distance to the centroid of its class".
    measure: ClassVar[str] = "suspicion"
    #: Whether the defence believes trusted rows, and cannot do without.
    needs_trusted: ClassVar[bool] = False

    suspicion_: np.ndarray
    thresholds_: np.ndarray
    removed_indices_: np.ndarray
    sample_indices_: np.ndarray
    sampling_strategy_: dict[Any, int]

    def __init__(self, *, fraction: float = 0.1, sampling_strategy: Any = "all"):
        super().__init__(sampling_strategy=sampling_strategy)
        self.fraction = fraction

    @abc.abstractmethod
    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how suspicious each row is, (n,), from features (n, d) and labels 0..k−1 (n,)."""

    def marks(self, suspicion: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tell which rows are too suspicious, (n,), and the largest suspicion let pass where each stands, (n,)."""
        return most_suspicious(suspicion, y, self.fraction)

    def evasion(self, x: np.ndarray, y: np.ndarray) -> Evasion | None:
        """Return what an attacker who knows this defence, and these clean rows, keeps to; None where none is known.

        Args:
            x: clean features, (n, d).
            y: their labels 0..k−1, (n,).
        """
        del x, y
        return None

    def reasons(self) -> list[str]:
        """Say of every removed row, in the order of `removed_indices_`, why it was left out."""
        rows = zip(self.suspicion_[self.removed_indices_], self.thresholds_[self.removed_indices_], strict=True)
        return [f"{self.measure} {value:.4g} is above {limit:.4g}" for value, limit in rows]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.sampler_tags.sample_indices = True
        return tags

    def _fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, np.ndarray]:
        x, classes, codes = self._read(X, y, **params)
        self.suspicion_ = np.asarray(self.suspicion(x, codes), float)
        removed, self.thresholds_ = self.marks(self.suspicion_, codes)
        return self._without(X, y, removed, classes)

    def _read(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dense features, the classes, and labels 0..k−1."""
        check_share(fraction=self.fraction)
        classes, codes = np.unique(y, return_inverse=True)
        if classes.size < 2:
            raise InputError(f"a defence needs rows of at least two classes; all are of class {classes[0]!r}.")
        x = X.toarray() if sparse.issparse(X) else np.asarray(X)
        return np.asarray(x, float), classes, codes.reshape(-1)

    def _without(self, X: Any, y: Any, removed: np.ndarray, classes: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the rows that stay, and note which those are."""
        cleaned = np.isin(y, list(self.sampling_strategy_))
        removed = np.asarray(removed, bool) & cleaned
        require_all_classes(np.asarray(y)[~removed], classes)
        self.removed_indices_, self.sample_indices_ = np.flatnonzero(removed), np.flatnonzero(~removed)
        return X[self.sample_indices_], y[self.sample_indices_]


def most_suspicious(suspicion: np.ndarray, y: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Mark the given share of every class that is most suspicious, ties in the order of rows.

    Args:
        suspicion: of every row, (n,).
        y: labels, (n,).
        fraction: the share; of n_c rows, ⌈fraction · n_c⌉ are marked and at least one is not.

    Returns:
        The marks, (n,), and the largest suspicion left in each row's class, (n,).
    """
    marked, limits = np.zeros(len(y), bool), np.full(len(y), np.inf)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        count = min(int(np.ceil(fraction * rows.size - 1e-9)), rows.size - 1)
        order = rows[np.argsort(-suspicion[rows], kind="stable")]
        marked[order[:count]] = True
        limits[rows] = suspicion[order[count]]
    return marked, limits


def require_all_classes(y: np.ndarray, classes: np.ndarray) -> None:
    """Raise `EmptyClassError` unless labels of every class are left."""
    lost = sorted(set(classes.tolist()) - set(np.asarray(y).tolist()), key=str)
    if lost:
        names = ", ".join(map(str, lost))
        raise EmptyClassError(
            f"the defence would leave out every row of class {names}: remove a smaller share, or use another defence."
        )
