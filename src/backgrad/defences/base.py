"""What a sanitising defence is: a sampler in the sense of imbalanced-learn that leaves out suspicious rows.

A defence gives every row a suspicion and leaves out the most suspicious rows of each class. It knows nothing of the
attack; what an attacker may know of it is an object of `backgrad.threat`, which the defence hands out.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from imblearn.base import BaseSampler
from imblearn.utils import check_sampling_strategy
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from ..checks import check_random, check_share
from ..errors import EmptyClassError, InputError
from ..threat.evasion import Evasion, Spared
from ..types import Added, with_added


class Sanitiser(BaseSampler):
    """Leaves suspicious rows out of a training set: `fit_resample(X, y) → (X, y)`.

    Subclasses supply `suspicion`, and `marks` where something else than a share of each class is left out. Every
    subclass declares in its constructor the settings it takes, `fraction` and `sampling_strategy` among them.

    Args:
        fraction: the share of each class to leave out, in [0, 1); at least one row of each class is kept.
        sampling_strategy: the classes to clean, `"all"` or a list of them, as in imbalanced-learn.

    Attributes:
        classes_: the labels that occur, sorted, (k,).
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

    #: What suspicion measures, in words that go into sentences.
    measure: ClassVar[str] = "suspicion"
    #: Whether the defence believes trusted rows, and cannot do without.
    needs_trusted: ClassVar[bool] = False
    #: Whether it trains models many times over, so that nobody applies it in every trial of a search.
    trains_often: ClassVar[bool] = False

    classes_: np.ndarray
    suspicion_: np.ndarray
    thresholds_: np.ndarray
    removed_indices_: np.ndarray
    sample_indices_: np.ndarray
    sampling_strategy_: dict[Any, int]

    def __init__(self, *, fraction: float = 0.1, sampling_strategy: Any = "all"):
        super().__init__(sampling_strategy=sampling_strategy)
        self.fraction = fraction

    def check_settings(self) -> None:
        """Raise `InputError` unless the settings are in their ranges; subclasses add theirs."""
        check_share(fraction=self.fraction)
        check_random(getattr(self, "random_state", None))

    @abc.abstractmethod
    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how suspicious each row is, (n,), from features (n, d) and labels 0..k−1 (n,)."""

    def marks(self, suspicion: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tell which rows are too suspicious, (n,), and the largest suspicion let pass where each stands, (n,)."""
        return most_suspicious(suspicion, y, self.fraction)

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> Evasion | None:
        """Return what an attacker who knows this defence, and these clean rows, keeps to; None where none is known.

        It is what points of the classes that are cleaned keep to; `known_evasion` spares those of the others.

        Args:
            x: clean features, (n, d).
            y: their labels 0..k−1, (n,).
            added: the attacker's points as they are, if any: what the defence lets pass follows from them, too. They
                will move, so that they are no company to stay with.
        """
        del x, y, added
        return None

    def limits(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the largest suspicion that is let pass in each class of some rows, (k,), above 0; see `class_limits`.

        Args:
            x: features, (n, d).
            y: their labels 0..k−1, (n,).
        """
        self.check_settings()
        return class_limits(self.marks(self.suspicion(x, y), y)[1], y)

    def reasons(self) -> list[str]:
        """Say of every removed row, in the order of `removed_indices_`, why it was left out."""
        check_is_fitted(self, "removed_indices_")
        rows = zip(self.suspicion_[self.removed_indices_], self.thresholds_[self.removed_indices_], strict=True)
        # Of rows that are equally suspicious, some may stay.
        return [
            f"{self.measure} {value:.4g} is {'above' if value > limit else 'no less than'} {limit:.4g}"
            for value, limit in rows
        ]

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.sampler_tags.sample_indices = True
        return tags

    def _check_X_y(self, X: Any, y: Any, accept_sparse: Any = None) -> tuple[Any, Any, bool]:
        """Read the rows as imbalanced-learn does, and refuse what it would refuse next, and what it lets pass."""
        X, y, binarised = super()._check_X_y(X, y, accept_sparse)
        _tell_classes(y)
        if self.sampling_strategy is None:
            raise InputError("sampling_strategy must be 'all' or a list of the classes to clean; got None.")
        return X, y, binarised

    def _fit_resample(self, X: Any, y: Any, **params: Any) -> Any:
        x, classes, codes = self._read(X, y, **params)
        self.suspicion_ = np.asarray(self.suspicion(x, codes), float)
        removed, self.thresholds_ = self.marks(self.suspicion_, codes)
        return self._without(X, y, removed, classes)

    def _read(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dense features, the classes, and labels 0..k−1."""
        self.check_settings()
        classes, codes = _tell_classes(y)
        self.classes_ = classes
        return dense(X), classes, codes

    def _without(self, X: Any, y: Any, removed: np.ndarray, classes: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the rows that stay, and note which those are."""
        cleaned = np.isin(y, list(self.sampling_strategy_))
        removed = np.asarray(removed, bool) & cleaned
        require_all_classes(np.asarray(y)[~removed], classes)
        self.removed_indices_, self.sample_indices_ = np.flatnonzero(removed), np.flatnonzero(~removed)
        return X[self.sample_indices_], y[self.sample_indices_]


def _tell_classes(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of labels, (k,), and labels 0..k−1, (n,); raise unless there are two classes at least."""
    classes, codes = np.unique(y, return_inverse=True)
    if classes.size < 2:
        raise InputError(f"a defence needs rows of at least two classes; all are of class {classes.tolist()[0]!r}.")
    return classes, codes.reshape(-1)


def known_evasion(defence: Any, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> Evasion | None:
    """Return what an attacker keeps to who knows a defence, which classes it cleans among it; None where none is known.

    Args:
        defence: a `Sanitiser`, or a robust learner, which may have `evasion` too.
        x: clean features, (n, d).
        y: their labels 0..k−1, (n,), as `sampling_strategy` has them.
        added: the attacker's points as they are, if any.
    """
    know = getattr(defence, "evasion", None)
    found = None if know is None else know(x, y, added)
    if found is None:
        return None
    judged = cleaned_classes(defence, with_added(x, y, added)[1])
    return found if judged.all() else Spared(found, judged.astype(float))


def cleaned_classes(defence: Any, y: np.ndarray) -> np.ndarray:
    """Tell which classes 0..k−1 of rows of these labels a defence cleans, (k,)."""
    chosen: Any = check_sampling_strategy(getattr(defence, "sampling_strategy", "all"), y, "clean-sampling")
    return np.isin(np.arange(int(y.max()) + 1), list(chosen))


def dense(x: Any) -> np.ndarray:
    """Return features as an array of floats, (n, d), from an array, a frame or a sparse matrix."""
    return np.asarray(x.toarray() if sparse.issparse(x) else x, float)


def read_trusted(
    features: Any, labels: Any, *, classes: np.ndarray, width: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows that nobody could poison as features, (m, d), and labels 0..k−1, (m,).

    Args:
        features: of any kind that `dense` takes.
        labels: of the classes, (m,).
        classes: all that there are, sorted, (k,).
        width: d, where it is known.

    Raises:
        InputError: no rows, features of another width or not finite, or labels of another number or class.
    """
    x, names = dense(features), np.asarray(labels)
    if x.ndim != 2 or width not in (None, x.shape[1]) or not len(x) or not np.isfinite(x).all():
        columns = "" if width is None else f" and have the {width} columns of the rows"
        raise InputError(f"trusted features must be finite{columns}; got shape {x.shape}.")
    if names.shape != (len(x),):
        raise InputError(f"trusted rows need one label each, {len(x)} in all; got labels of shape {names.shape}.")
    strange = set(names.tolist()) - set(classes.tolist())
    if strange:
        raise InputError(
            f"trusted rows must be of the classes {classes.tolist()}; got {sorted(strange, key=str)} too: drop them."
        )
    return x, np.searchsorted(classes, names)


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


def class_limits(limits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what is let pass in each class, (k,), from what is let pass where each row stands, (n,).

    A class whose rows all agree would let nothing else pass. Excess is a share of what is let pass, so that no limit is
    below a millionth of the largest.

    Raises:
        InputError: a class 0..k−1 without rows.
    """
    found = np.array([limits[y == label][0] for label in range(count_classes(y))])
    return np.maximum(found, 1e-6 * (found.max() or 1.0))


def count_classes(y: np.ndarray) -> int:
    """Return k of labels 0..k−1, two at least.

    Raises:
        InputError: a class without rows.
    """
    counts = np.bincount(y, minlength=2)
    if not counts.all():
        raise InputError(
            f"to know what a defence lets pass takes rows of every class 0 to {counts.size - 1}, and class "
            f"{np.flatnonzero(counts == 0)[0]} has none: add some."
        )
    return counts.size


def by_class(y: np.ndarray, measure: Callable[[np.ndarray], Any], *, least: int = 1) -> np.ndarray:
    """Return a number for every row, (n,), measured class by class; 0 in classes of fewer rows than `least`.

    Args:
        y: labels, (n,).
        measure: from the numbers of a class's rows, ascending, to a number for each of them.
        least: rows that it takes to measure.
    """
    found = np.zeros(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if rows.size >= least:
            found[rows] = measure(rows)
    return found


def require_all_classes(y: np.ndarray, classes: np.ndarray) -> None:
    """Raise `EmptyClassError` unless labels of every class are left."""
    lost = sorted(set(classes.tolist()) - set(np.asarray(y).tolist()), key=str)
    if lost:
        names = ", ".join(map(str, lost))
        raise EmptyClassError(
            f"the defence would leave out every row of class {names}: remove a smaller share, or use another defence."
        )
