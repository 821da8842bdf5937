r"""A learner as a scikit-learn classifier.

`LearnerClassifier` encodes the classes of y, trains a learner by a schedule in float64, and turns its scores into
decisions. A learner of scores (n, k) is trained once. A binary learner, whose scores are (n,), is trained once on
two classes and one-vs-rest on more: with w_c trained on "class c against the others",

    decision_c(x) = s(w_c, x),    P(c | x) = σ(decision_c(x)) / Σ_j σ(decision_j(x)).

JAX's global flags stay as they are: float64 holds inside `fit` and the predictions alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.extmath import softmax
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..errors import InputError, UnsupportedError
from ..precision import float64
from ..schedules import Descent, Schedule, initial_key
from ..training import train
from ..types import Samples
from .fitting import (
    DEFAULT_SCHEDULE,
    LearnerEstimator,
    check_schedule,
    check_size,
    compute_scores,
    expected_failed_checks,
    judge,
    make_learner,
    weigh_rows,
)
from .linear import LogisticRegression, Ridge
from .mlp import RegressionMLP

__all__ = ["DEFAULT_SCHEDULE", "LearnerClassifier", "build_learner", "expected_failed_checks"]


def build_learner(recipe: Any, *, n_features: int, n_classes: int) -> Any:
    """Return the learner that a recipe makes for rows of a given shape.

    Args:
        recipe: a finished learner, returned as it is, or a class or factory. Of the keyword arguments `n_features`
            and `n_classes` a factory is given those that it takes and a partial has not bound.
        n_features: d.
        n_classes: k.

    Returns:
        A learner for these rows.

    Raises:
        InputError: what is given or made is no learner.
        UnsupportedError: the learner is a regressor.
    """
    learner = make_learner(recipe, example="MLP", n_features=n_features, n_classes=n_classes)
    if isinstance(learner, Ridge | RegressionMLP):
        kind = type(learner).__name__
        instead = "Adaline, which is least squares on labels of ±1" if isinstance(learner, Ridge) else "MLP"
        raise UnsupportedError(
            f"{kind} is a regressor, whose scores are responses and not classes: use {instead}, or LearnerRegressor."
        )
    return learner


def _has_probabilities(self) -> bool:
    """Accept learners whose scores are log-odds or inputs of a softmax."""
    kind = getattr(self, "learner_", self.learner)
    while isinstance(kind, functools.partial):
        kind = kind.func
    # Wrappers have a property of that name, which says something of their objects alone.
    if getattr(kind, "probabilistic", False) is not True:
        kind = kind if isinstance(kind, type) else type(kind)
        raise AttributeError(
            f"the scores of {kind.__name__} are not known to be log-odds, so they give no probabilities: use "
            "decision_function, or wrap this estimator in sklearn.calibration.CalibratedClassifierCV."
        )
    return True


class LearnerClassifier(ClassifierMixin, LearnerEstimator):
    """A learner and a schedule as a scikit-learn classifier, trained in float64.

    Args:
        learner: how to make the learner once `fit` knows its shape: a class (`MLP`), or a factory
            (`functools.partial(MLP, hidden=(5,), l2=0.01)`, or a function) which is given those of the keyword
            arguments `n_features` and `n_classes` that it takes. A finished learner (`MLP(4, 3)`) is accepted too;
            it fixes the shape, and `fit` refuses rows of another.
        schedule: how to train it; None for `DEFAULT_SCHEDULE`, 1,000 full-batch steps of Adam. A fixed step size asks
            for features of a known scale: put a `StandardScaler` in front.

    Attributes:
        classes_: the classes, (k,), sorted; those of rows of weight 0 alone do not count.
        learner_: the learner that was trained.
        params_: its parameters, a pytree of NumPy arrays; one-vs-rest puts an axis of length k in front of each.
        trained_status_: how training ended, a `backgrad.Status`; the worst of the k runs of one-vs-rest.
        n_iter_: T of a `Descent`; None for `Converged`, whose solvers do not report theirs.
        n_features_in_: d.
        feature_names_in_: the columns' names, (d,), where `fit` was given a frame with such names.

    `predict_proba` exists where scores are log-odds or inputs of a softmax (`LogisticRegression`,
    `SoftmaxRegression`, `MLP`, and any class that sets `probabilistic = True`). Of a factory that is a plain
    function, or of a wrapper's class, this is known only after `fit`.
    """

    classes_: Any

    def __init__(self, learner: Any = LogisticRegression, schedule: Any = None):
        self.learner = learner
        self.schedule = schedule

    def fit(self, X: Any, y: Any, sample_weight: Any = None):
        """Train on labelled rows.

        Args:
            X: features, (n, d), finite and dense.
            y: class labels, (n,), of at least two classes.
            sample_weight: how much each row counts, (n,), not negative; ones where omitted. Mini-batches are drawn
                from the rows of positive weight.

        Returns:
            The fitted estimator itself.

        Raises:
            InputError: rows, learner or schedule that cannot be used, or fewer than two classes.
            DivergenceError: training blew up.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        schedule = check_schedule(self.schedule)
        X, y, weight = weigh_rows(schedule, X, y, sample_weight)
        classes = np.unique(y[weight > 0])
        if len(classes) < 2:
            raise InputError(
                f"a classifier needs rows of at least 2 classes with a sample_weight above zero; got {len(classes)} "
                f"class(es): {classes.tolist()}."
            )
        labels = np.asarray(y[:, None] == classes, dtype=np.float64)
        with float64():
            self._train(X, labels, weight, schedule)
        self.classes_ = classes
        self.n_iter_ = schedule.steps if isinstance(schedule, Descent) else None
        return self

    def _build(self, n_features: int, n_outputs: int) -> Any:
        return build_learner(self.learner, n_features=n_features, n_classes=n_outputs)

    def _train(self, x, labels, weight, schedule: Schedule) -> None:
        """Train once, or k times one-vs-rest, from the same initial parameters."""
        d, k = x.shape[1], labels.shape[1]
        learner = self._build(d, k)
        check_size(learner, "n_features", d, "features")
        start = learner.init(initial_key(schedule))
        binary = jax.eval_shape(learner.scores, start, x).ndim == 1
        one_vs_rest = binary and k > 2
        check_size(learner, "n_outputs", 2 if one_vs_rest else k, "classes")
        targets = [np.column_stack([1 - own, own]) for own in labels.T] if one_vs_rest else [labels]
        rows = [Samples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(weight)) for y in targets]
        runs = [train(learner, block, schedule=schedule, params=start) for block in rows]
        self.trained_status_ = judge(runs)
        parts = [jax.tree.map(np.array, run.params) for run in runs]
        self.params_ = jax.tree.map(lambda *leaves: np.stack(leaves), *parts) if one_vs_rest else parts[0]
        self.learner_, self._one_vs_rest = learner, one_vs_rest

    def decision_function(self, X: Any):
        """Return decision scores.

        Args:
            X: features, (n, d).

        Returns:
            (n,) for two classes, positive for `classes_[1]`; (n, k) for more, largest for the predicted class.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with float64():
            scores = np.array(compute_scores(self.learner_, self.params_, X, self._one_vs_rest))
        return scores[:, 1] - scores[:, 0] if scores.shape[1:] == (2,) else scores

    def predict(self, X: Any):
        """Return the predicted class of every row of X, (n,)."""
        decision = self.decision_function(X)
        codes = decision > 0 if decision.ndim == 1 else decision.argmax(axis=1)
        return self.classes_[codes.astype(int)]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any):
        """Return the probability of every class, (n, k), in the order of `classes_`."""
        decision = self.decision_function(X)
        if decision.ndim == 1:
            return softmax(np.column_stack([np.zeros_like(decision), decision]))
        # The softmax of log σ(s) is the normalised σ(s), without 0/0 where all scores are low.
        return softmax(-np.logaddexp(0, -decision) if self._one_vs_rest else decision)
