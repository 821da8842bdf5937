r"""A learner as a scikit-learn regressor.

`LearnerRegressor` trains a learner of real responses by a schedule in float64. With `scale_y`, response j is trained on
as z_j = (y_j − μ_j) / σ_j, with the weighted mean and standard deviation over the training rows, and predicted as

    ŷ_j(x) = μ_j + σ_j s_j(w, x).

That leaves `Ridge`'s optimum where it is: ½ (s − z)² + λ/2 ‖w‖² times σ² is its loss in the unit of y at the weights
σ w, for each response by itself. Step sizes then do not hang on the unit of y.

JAX's global flags stay as they are: float64 holds inside `fit` and the predictions alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..errors import InputError, UnsupportedError
from ..precision import float64
from ..schedules import Descent, Schedule, initial_key
from ..training import train
from ..types import Samples
from .fitting import (
    LearnerEstimator,
    check_schedule,
    check_size,
    compute_scores,
    is_finished,
    judge,
    make_learner,
    takes,
    weigh_rows,
)
from .linear import BinaryLinear, Ridge


def build_regressor(recipe: Any, *, n_features: int, n_responses: int) -> Any:
    """Return the learner of real responses that a recipe makes for rows of a given shape.

    Args:
        recipe: a finished learner, returned as it is, or a class or factory. Of the keyword arguments `n_features`
            and `n_responses` a factory is given those that it takes and a partial has not bound.
        n_features: d.
        n_responses: k.

    Returns:
        A learner for these rows.

    Raises:
        InputError: what is given or made is no learner.
        UnsupportedError: the learner is a classifier.
    """
    # Classes are looked at before they are called, since a classifier's may ask for what a regression does not have.
    named = recipe.func if isinstance(recipe, functools.partial) else recipe
    learner = named
    if not _classifies(named):
        learner = make_learner(recipe, example="RegressionMLP", n_features=n_features, n_responses=n_responses)
    if _classifies(learner):
        kind = learner if isinstance(learner, type) else type(learner)
        raise UnsupportedError(
            f"{kind.__name__} is a classifier, whose scores are no responses: use Ridge or RegressionMLP, or "
            "LearnerClassifier."
        )
    return learner


def _classifies(kind: Any) -> bool:
    """Tell whether a learner or class of learners is known to be a classifier."""
    binary = issubclass(kind, BinaryLinear) if isinstance(kind, type) else isinstance(kind, BinaryLinear)
    # Wrappers have a property of that name, which says something of their objects alone.
    return binary or getattr(kind, "probabilistic", False) is True


class LearnerRegressor(RegressorMixin, LearnerEstimator):
    """A learner and a schedule as a scikit-learn regressor, trained in float64.

    Args:
        learner: how to make the learner once `fit` knows its shape: a class (`RegressionMLP`), or a factory
            (`functools.partial(Ridge, l2=0.01)`, or a function) which is given those of the keyword arguments
            `n_features` and `n_responses` that it takes. A finished learner (`Ridge(4)`) is accepted too; it fixes the
            shape, and `fit` refuses rows of another.
        schedule: how to train it; None for `DEFAULT_SCHEDULE`, 1,000 full-batch steps of Adam. A fixed step size asks
            for features of a known scale: put a `StandardScaler` in front.
        scale_y: whether responses are standardised for training and predictions taken back. Without, `params_` are
            those of `train` on y as it is, and responses far from 0 need a schedule that gets there.

    Attributes:
        learner_: the learner that was trained.
        params_: its parameters, a pytree of NumPy arrays, for the standardised responses where `scale_y`.
        y_mean_: μ, what was subtracted from each response, (k,); zeros without `scale_y`.
        y_scale_: σ, what it was divided by, (k,); ones without `scale_y`, and where a response is constant.
        trained_status_: how training ended, a `backgrad.Status`.
        n_iter_: T of a `Descent`; None for `Converged`, whose solvers do not report theirs.
        n_features_in_: d.
        feature_names_in_: the columns' names, (d,), where `fit` was given a frame with such names.
    """

    y_mean_: Any
    y_scale_: Any

    def __init__(self, learner: Any = Ridge, schedule: Any = None, scale_y: bool = True):
        self.learner = learner
        self.schedule = schedule
        self.scale_y = scale_y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # A learner that is finished, or takes no number of responses, has the one number that it has.
        several = not is_finished(self.learner) and callable(self.learner) and "n_responses" in takes(self.learner)
        tags.target_tags.multi_output = several
        tags.target_tags.single_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None):
        """Train on rows with responses.

        Args:
            X: features, (n, d), finite and dense.
            y: responses, (n,), or (n, k) for a learner of several.
            sample_weight: how much each row counts, (n,), not negative; ones where omitted. Mini-batches are drawn
                from the rows of positive weight.

        Returns:
            The fitted estimator itself.

        Raises:
            InputError: rows, learner or schedule that cannot be used, or no row of positive weight.
            DivergenceError: training blew up.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        schedule = check_schedule(self.schedule)
        y = np.asarray(y, np.float64)
        X, y, weight = weigh_rows(schedule, X, y, sample_weight)
        if not (weight > 0).any():
            raise InputError("a regressor needs rows with a sample_weight above zero; all are zero.")
        self._flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        self.y_mean_, self.y_scale_ = (
            _moments(y, weight) if self.scale_y else (np.zeros(y.shape[1]), np.ones(y.shape[1]))
        )
        with float64():
            self._train(X, (y - self.y_mean_) / self.y_scale_, weight, schedule)
        self.n_iter_ = schedule.steps if isinstance(schedule, Descent) else None
        return self

    def _build(self, n_features: int, n_outputs: int) -> Any:
        return build_regressor(self.learner, n_features=n_features, n_responses=n_outputs)

    def _train(self, x, y, weight, schedule: Schedule) -> None:
        learner = self._build(x.shape[1], y.shape[1])
        check_size(learner, "n_features", x.shape[1], "features")
        check_size(learner, "n_outputs", y.shape[1], "responses")
        rows = Samples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(weight))
        run = train(learner, rows, schedule=schedule, params=learner.init(initial_key(schedule)))
        self.trained_status_ = judge([run])
        self.params_ = jax.tree.map(np.array, run.params)
        self.learner_ = learner

    def predict(self, X: Any):
        """Return the predicted responses of every row of X, in the shape that `fit` was given: (n,) or (n, k)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with float64():
            scores = np.array(compute_scores(self.learner_, self.params_, X, False))
        responses = self.y_mean_ + self.y_scale_ * scores.reshape(len(X), -1)
        return responses[:, 0] if self._flat else responses


def _moments(y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation of each response, (k,); 1 for a constant one's deviation."""
    mean = np.average(y, axis=0, weights=weight)
    deviation = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
    # A constant response deviates by rounding alone.
    constant = deviation <= 1e-12 * np.abs(mean)
    return mean, np.where(constant, 1.0, deviation)
