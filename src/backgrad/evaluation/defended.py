"""A classifier behind a sanitiser, as one estimator: what an attacker fits who knows both."""

import warnings
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin, clone


class Defended(ClassifierMixin, BaseEstimator):
    """A classifier that is trained on the rows that a sanitiser keeps.

    Args:
        sanitiser: an unfitted `Sanitiser`.
        estimator: an unfitted classifier.
        view: shift and scale, (d,) each, of the features as the sanitiser sees them, (x − shift) / scale; as they are
            where omitted.
    """

    def __init__(self, sanitiser: Any, estimator: Any, view: Any = None):
        self.sanitiser = sanitiser
        self.estimator = estimator
        self.view = view

    def fit(self, X: Any, y: Any) -> "Defended":
        """Clean the rows, and train on what is left.

        Raises:
            EmptyClassError: the sanitiser would leave out every row of a class.
        """
        sanitiser: Any = clone(self.sanitiser)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of rows that are alike, as an attacker's copies are
            sanitiser.fit_resample(X if self.view is None else (X - self.view[0]) / self.view[1], y)
        kept, estimator = sanitiser.sample_indices_, clone(self.estimator)
        self.estimator_: Any = estimator
        self.estimator_.fit(X[kept], y[kept])
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, X: Any) -> Any:
        """Return the classifier's labels, (n,)."""
        return self.estimator_.predict(X)
