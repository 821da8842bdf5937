r"""Bagging (Biggio, Corona, Fumera, Giacinto and Roli 2011): many models, each of a bootstrap replicate, that vote.

A poisoning point harms those members that draw it, and a replicate of n rows leaves a row out with probability
(1 − 1/n)^n ≈ 0.37. Weighted bagging draws outlying rows more rarely. With φ a Gaussian kernel of bandwidth h and n_c
rows of class c, row i of that class is drawn with probability

    p_i = (n_c / n) · f_c(x_i) / Σ_{j of class c} f_c(x_j),    f_c(x) = Σ_{j of class c} φ(‖x − x_j‖ / h).

The estimate is that of each class by itself, and classes keep their shares, so that a small one is not taken for
outliers. h is the median distance between two rows of the class where it is not given; the source leaves it to the
user. The density costs n_c² distances a member. It assumes that poison lies apart from most rows of the class that it
is labelled as, in the units of the features given: scale these first. Points that stand close together raise each
other's density.
"""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.ensemble import BaggingClassifier
from sklearn.metrics import pairwise_distances
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..checks import check_count, check_positive, check_random, is_number
from ..errors import InputError


def bagged(
    estimator: Any,
    *,
    n_estimators: int = 50,
    share: float = 1.0,
    weighted: bool = False,
    bandwidth: float | None = None,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> BaggingClassifier:
    """Return an ensemble of copies of a classifier, each trained on rows drawn with replacement, that votes.

    Args:
        estimator: the classifier, unfitted.
        n_estimators: the number of copies; the source goes from 3 to 50.
        share: rows that each copy draws, as a share of all; the source draws as many as there are.
        weighted: whether outlying rows are drawn more rarely (weighted bagging).
        bandwidth: h of the density, in units of the features; the median distance within a class where None.
        random_state: of the draws.
        n_jobs: copies that are trained at a time, as in scikit-learn.

    Returns:
        scikit-learn's `BaggingClassifier`. Its probabilities are shares of the votes.

    Raises:
        InputError: a number out of its range, or a bandwidth without a density.
    """
    check_count(n_estimators=n_estimators)
    if not is_number(share) or not 0 < share <= 1:
        raise InputError(f"share must be a number above 0, and 1 at most; got {share!r}.")
    if bandwidth is not None and not weighted:
        raise InputError("bandwidth is that of the density of weighted bagging: set weighted=True, or leave it out.")
    if bandwidth is not None:
        check_positive(bandwidth=bandwidth)
    check_random(random_state)
    rest = {"n_estimators": n_estimators, "random_state": random_state, "n_jobs": n_jobs}
    if weighted:
        # Each member sees all rows and draws its own, since scikit-learn's releases differ in how weights are used.
        return BaggingClassifier(DensityDraw(estimator, share=share, bandwidth=bandwidth), bootstrap=False, **rest)
    return BaggingClassifier(Vote(estimator), max_samples=float(share), **rest)


def density_shares(x: Any, y: np.ndarray, bandwidth: float | None = None) -> np.ndarray:
    """Return p_i of every row, (n,).

    Args:
        x: features, (n, d), sparse or dense.
        y: labels of any kind, (n,).
        bandwidth: h; the median distance between two rows of a class where None.
    """
    shares = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        distances = np.asarray(pairwise_distances(x[rows]), float)
        apart = distances[np.triu_indices(rows.size, 1)]
        width = bandwidth or (float(np.median(apart)) if apart.size else 0.0)
        if width == 0:  # most rows of the class are equal: those that are not lie infinitely many widths apart
            width = float(np.min(apart[apart > 0], initial=np.inf))
        density = np.sum(np.exp(-0.5 * (distances / width) ** 2), axis=1)
        shares[rows] = rows.size / len(y) * density / density.sum()
    return shares


class Vote(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier that tells labels alone, so that ensembles of it count votes instead of averaging probabilities.

    Args:
        estimator: the classifier, unfitted.

    Attributes:
        classes_: the labels, sorted, (k,).
        estimator_: the fitted classifier; None where all rows were of one class, which is then predicted.
        n_features_in_: d.
    """

    classes_: np.ndarray
    estimator_: Any

    def __init__(self, estimator: Any):
        self.estimator = estimator

    def fit(self, X: Any, y: Any):
        """Train a copy of the classifier on rows, (n, d), with labels, (n,)."""
        X, y = validate_data(self, X, y, accept_sparse="csr")
        check_classification_targets(y)
        X, y = self._drawn(X, y)
        self.classes_ = np.unique(y)
        # A small replicate may hold one class alone, which many classifiers refuse; its vote is clear.
        fresh: Any = clone(self.estimator)
        self.estimator_ = fresh.fit(X, y) if self.classes_.size > 1 else None
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return a label for every row, (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        return np.repeat(self.classes_, X.shape[0]) if self.estimator_ is None else self.estimator_.predict(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags

    def _drawn(self, x: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the rows to train on."""
        return x, y


class DensityDraw(Vote):
    """A `Vote` on rows drawn with replacement, those rarely that lie far from the rest of their class.

    Args:
        estimator: the classifier, unfitted.
        share: rows to draw, as a share of all.
        bandwidth: h; the median distance within a class where None.
        random_state: of the draw.
    """

    def __init__(self, estimator: Any, *, share: Any = 1.0, bandwidth: Any = None, random_state: Any = None):
        super().__init__(estimator)
        self.share = share
        self.bandwidth = bandwidth
        self.random_state = random_state

    def _drawn(self, x: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        """Draw rows."""
        size = max(round(self.share * len(y)), 1)
        shares = density_shares(x, y, self.bandwidth)
        rows = check_random_state(self.random_state).choice(len(y), size=size, p=shares)
        return x[rows], y[rows]
