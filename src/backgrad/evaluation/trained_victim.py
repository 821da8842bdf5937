"""A learner with its schedule as a scikit-learn estimator, for scorers that want one."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ..schedules import Schedule
from ..status import Status
from .plan import as_samples
from .victims import fit_learner, predict


class _Trained(BaseEstimator):
    """A learner trained by a schedule, as scikit-learn's scorers see it.

    Args:
        learner: the victim's learner.
        schedule: how it is trained.

    Attributes:
        classes_: 0..k−1; empty for a regression.
        diverged_: whether training diverged.
    """

    def __init__(self, learner: Any, schedule: Schedule):
        self.learner = learner
        self.schedule = schedule

    def fit(self, X: Any, y: Any, *, n_classes: int) -> "_Trained":
        """Train on rows with labels 0..k−1, or responses where `n_classes` is 0."""
        rows = as_samples(X, y, n_classes)
        trained = fit_learner(self.learner, (rows,), self.schedule)
        self._params = trained.params
        self.classes_, self.diverged_ = np.arange(n_classes), int(trained.status) == Status.DIVERGED
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return labels 0..k−1, (n,), or responses, (n, k)."""
        return np.asarray(predict(self.learner, self._params, jnp.asarray(X)))


class TrainedVictim(ClassifierMixin, _Trained):
    """A learner of classes."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the learner's scores: (n,) of two classes, or (n, k)."""
        scores = np.asarray(self.learner.scores(self._params, jnp.asarray(X)))
        return scores[:, 1] - scores[:, 0] if scores.shape[1:] == (2,) and len(self.classes_) == 2 else scores


class TrainedRegressor(RegressorMixin, _Trained):
    """A learner of responses."""
