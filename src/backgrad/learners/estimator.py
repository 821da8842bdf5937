r"""A learner as a scikit-learn classifier.

`LearnerClassifier` encodes the classes of y, trains a learner by a schedule in float64, and turns its scores into
decisions. A learner of scores (n, k) is trained once. A binary learner, whose scores are (n,), is trained once on
two classes and one-vs-rest on more: with w_c trained on "class c against the others",

    decision_c(x) = s(w_c, x),    P(c | x) = σ(decision_c(x)) / Σ_j σ(decision_j(x)).

JAX's global flags stay as they are: float64 holds inside `fit` and the predictions alone.
"""

import functools
import inspect
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import softmax
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..errors import DivergenceError, InputError, UnsupportedError
from ..schedules import Converged, Descent, Schedule, initial_key
from ..status import Status
from ..training import Trained, train
from ..types import Params, Samples
from .base import LearnerLike
from .linear import Linear, LogisticRegression, Ridge

# One object for all fits: an optax optimiser is hashed by its functions, so a new one would compile training anew.
DEFAULT_SCHEDULE = Descent(1000, optimiser=optax.adam(optax.cosine_decay_schedule(0.05, 1000)))
"""What `schedule=None` means: 1,000 full-batch steps of Adam, their size falling from 0.05 to 0 along a cosine.

Adam's steps do not grow with the features, so data that nobody scaled still train, if not always well."""


def _float64():
    """Return a context in which JAX computes in float64; it ends with the block and holds for this thread alone."""
    enable = getattr(jax, "enable_x64", None)
    if enable is None:  # JAX before 0.8
        from jax.experimental import enable_x64 as enable  # pyright: ignore[reportAttributeAccessIssue]
    return enable(True)


def _is_finished(learner: Any) -> bool:
    """Tell a finished learner, which fixes its shape, from a class or factory that waits for one."""
    return isinstance(learner, LearnerLike) and not isinstance(learner, type)


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
        InputError: what is given or made is no learner, or its shape is not that of the rows.
        UnsupportedError: the learner is a regressor.
    """
    learner = recipe
    if not _is_finished(recipe):
        if not callable(recipe):
            raise InputError(
                "learner must be a learner class, a factory such as functools.partial(MLP, hidden=(10,)), or a "
                f"finished learner; got {recipe!r}."
            )
        bound = recipe.keywords if isinstance(recipe, functools.partial) else {}
        wanted = inspect.signature(recipe).parameters.keys() - bound.keys()
        shape = {"n_features": n_features, "n_classes": n_classes}
        learner = recipe(**{name: size for name, size in shape.items() if name in wanted})
    if not _is_finished(learner):
        raise InputError(
            f"the learner factory must return an object with init, scores and loss; it returned {learner!r}."
        )
    if isinstance(learner, Ridge):
        raise UnsupportedError(
            "Ridge is a regressor, whose scores are responses and not classes: use Adaline, which is least squares "
            "on labels of ±1."
        )
    return learner


def _check_size(learner: Any, name: str, got: int) -> None:
    """Raise unless a learner was made for this many features or outputs; one that does not tell passes."""
    expected = getattr(learner, name, got)
    if expected != got:
        kind, noun = type(learner).__name__, {"n_features": "features", "n_outputs": "classes"}[name]
        raise InputError(
            f"this {kind} was made for {expected} {noun}, but the rows have {got}: pass the class {kind}, or a "
            "functools.partial of it without that number, and fit fills it in."
        )


def _schedule(schedule: Any) -> Schedule:
    """Return a schedule, or the default in place of None."""
    if schedule is None:
        return DEFAULT_SCHEDULE
    if not isinstance(schedule, Descent | Converged):
        raise InputError(f"schedule must be Descent(...), Converged(...) or None for the default; got {schedule!r}.")
    return schedule


def _judge(runs: list[Trained]) -> Status:
    """Return the worst status of some training runs; raise or warn where it is bad.

    Raises:
        DivergenceError: a run diverged.
    """
    worst = max(runs, key=lambda run: int(run.status))
    status = Status(int(worst.status))
    if status is Status.DIVERGED:
        raise DivergenceError(
            f"training diverged: its loss went from {float(worst.initial_loss):.3g} to {float(worst.loss):.3g}. "
            "Scale the features (sklearn.preprocessing.StandardScaler), lower the schedule's step size, or raise l2."
        )
    if status is Status.NOT_CONVERGED:
        warnings.warn(
            f"training stopped where the norm of the gradient is {float(worst.gradient_norm):.3g}, short of a "
            "stationary point: raise the schedule's max_steps, scale the features, set l2 above 0, or try the other "
            "solver.",
            ConvergenceWarning,
            stacklevel=4,
        )
    if status is Status.NO_FINITE_OPTIMUM:
        warnings.warn(
            "the training loss has no unique finite optimum (separable classes without L2, or redundant features), "
            "so the parameters are where the solver happened to stop: set l2 above 0, or train by Descent.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return status


@eqx.filter_jit
def _scores(learner: Any, params: Params, x: Any, one_vs_rest: bool):
    """Return scores, (n,) or (n, k); one-vs-rest parameters carry the class as their first axis."""
    if one_vs_rest:
        return jax.vmap(learner.scores, in_axes=(0, None), out_axes=1)(params, x)
    return learner.scores(params, x)


def _has_probabilities(self) -> bool:
    """Accept learners whose scores are log-odds or inputs of a softmax."""
    kind = getattr(self, "learner_", self.learner)
    while isinstance(kind, functools.partial):
        kind = kind.func
    kind = kind if isinstance(kind, type) else type(kind)
    if not getattr(kind, "probabilistic", False):
        raise AttributeError(
            f"the scores of {kind.__name__} are not known to be log-odds, so they give no probabilities: use "
            "decision_function, or wrap this estimator in sklearn.calibration.CalibratedClassifierCV."
        )
    return True


class LearnerClassifier(ClassifierMixin, BaseEstimator):
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
    function this is known only after `fit`.
    """

    classes_: Any
    learner_: Any
    params_: Any
    trained_status_: Status
    n_iter_: int | None
    n_features_in_: int

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
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        schedule = _schedule(self.schedule)
        if isinstance(schedule, Descent) and schedule.batch_size is not None:
            # A batch of rows of weight 0 alone would have no mean loss.
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        classes = np.unique(y[weight > 0])
        if len(classes) < 2:
            raise InputError(
                f"a classifier needs rows of at least 2 classes with a sample_weight above zero; got {len(classes)} "
                f"class(es): {classes.tolist()}."
            )
        labels = np.asarray(y[:, None] == classes, dtype=np.float64)
        with _float64():
            self._train(X, labels, weight, schedule)
        self.classes_ = classes
        self.n_iter_ = schedule.steps if isinstance(schedule, Descent) else None
        return self

    def _train(self, x, labels, weight, schedule: Schedule) -> None:
        """Train once, or k times one-vs-rest, from the same initial parameters."""
        d, k = x.shape[1], labels.shape[1]
        learner = build_learner(self.learner, n_features=d, n_classes=k)
        _check_size(learner, "n_features", d)
        start = learner.init(initial_key(schedule))
        binary = jax.eval_shape(learner.scores, start, x).ndim == 1
        one_vs_rest = binary and k > 2
        _check_size(learner, "n_outputs", 2 if one_vs_rest else k)
        targets = [np.column_stack([1 - own, own]) for own in labels.T] if one_vs_rest else [labels]
        rows = [Samples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(weight)) for y in targets]
        runs = [train(learner, block, schedule=schedule, params=start) for block in rows]
        self.trained_status_ = _judge(runs)
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
        with _float64():
            scores = np.array(_scores(self.learner_, self.params_, X, self._one_vs_rest))
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


_WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
_SCORE = "check_classifiers_train"
_FAR = ("check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in")
_PICKLES = ("check_estimators_pickle", "check_estimators_overwrite_params")


def expected_failed_checks(estimator: LearnerClassifier) -> dict[str, str]:
    """Return the checks of scikit-learn that an estimator's learner and schedule cannot be held to, with reasons.

    It is what `sklearn.utils.estimator_checks.check_estimator` and `parametrize_with_checks` take by this name. The
    default schedule, and `Converged` by Newton with an l2 above 0, have none.

    Args:
        estimator: not yet fitted, its learner a class or a factory.

    Returns:
        Reasons by name of the check.

    Raises:
        InputError: a finished learner, whose fixed shape fits none of the rows that the checks make up.
    """
    if _is_finished(estimator.learner):
        raise InputError(
            "the checks fit rows of many shapes, and a finished learner fits one: give a class or a "
            f"functools.partial, such as LearnerClassifier({type(estimator.learner).__name__})."
        )
    schedule = _schedule(estimator.schedule)
    linear = isinstance(build_learner(estimator.learner, n_features=2, n_classes=2), Linear)
    if isinstance(schedule, Descent):
        failures = _failures_of_descent(schedule, linear)
    elif schedule.solver == "lbfgs":
        failures = {_WEIGHTS: "L-BFGS stops on the change of the loss, before parameters agree to the check's 1e-7"}
    else:
        failures = {}
    if _holds_local_functions(estimator):
        failures |= dict.fromkeys(_PICKLES, "functions made inside functions, as optax's are, cannot be pickled")
    return failures


def _holds_local_functions(estimator: LearnerClassifier) -> bool:
    """Tell whether an optax optimiser or a factory is a function made inside a function."""
    factory = estimator.learner.func if isinstance(estimator.learner, functools.partial) else estimator.learner
    optimiser = getattr(estimator.schedule, "optimiser", None)
    return optimiser is not None or "<" in getattr(factory, "__qualname__", "")


def _failures_of_descent(schedule: Descent, linear: bool) -> dict[str, str]:
    """Return the checks that a descent cannot be held to, of a linear learner or another."""
    failures = {}
    if schedule.batch_size is not None:
        failures[_WEIGHTS] = "mini-batches are drawn from rows, so a row of weight 2 is not a row repeated"
    if schedule.optimiser is not None:
        return failures
    step = float(schedule.step_size)
    # Two features of mean 100 give the squared loss a curvature of 2·10⁴; descent is stable below 2 / curvature.
    if linear and step > 1e-4:
        failures |= dict.fromkeys(_FAR, "the rows have a mean of 100, on which steps above 1e-4 diverge")
    if schedule.steps * step <= 1 - float(schedule.momentum):
        failures[_SCORE] = "steps × step_size / (1 − momentum) is at most 1, too little training for 83 % accuracy"
    return failures
