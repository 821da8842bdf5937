r"""What `LearnerClassifier` and `LearnerRegressor` share: learners from recipes, schedules, verdicts, known failures.

JAX's global flags stay as they are: float64 holds inside `fit` and the predictions alone.
"""

import abc
import functools
import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight

from ..checks import check_kind, shown
from ..errors import DivergenceError, InputError
from ..schedules import Converged, Descent, Schedule
from ..status import Status
from ..training import Trained
from ..types import Params
from .base import LearnerLike
from .linear import Linear

# One object for all fits: an optax optimiser is hashed by its functions, so a new one would compile training anew.
DEFAULT_SCHEDULE = Descent(1000, optimiser=optax.adam(optax.cosine_decay_schedule(0.05, 1000)))
"""What `schedule=None` means: 1,000 full-batch steps of Adam, their size falling from 0.05 to 0 along a cosine.

Adam's steps do not grow with the features, so data that nobody scaled still train, if not always well."""


# --- learners and schedules -----------------------------------------------------------------------


def is_finished(learner: Any) -> bool:
    """Tell a finished learner, which fixes its shape, from a class or factory that waits for one."""
    return isinstance(learner, LearnerLike) and not isinstance(learner, type)


def takes(recipe: Any) -> set[str]:
    """Return the keyword arguments that a class or factory takes and a partial has not bound."""
    bound = recipe.keywords if isinstance(recipe, functools.partial) else {}
    return _parameters(recipe).keys() - bound.keys()


def _parameters(recipe: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(recipe).parameters
    except (TypeError, ValueError) as error:
        raise InputError(f"learner must be a class or factory of learners; got {shown(recipe)}: {error}.") from error


def _refuse_incomplete(recipe: Any, given: Iterable[str], *, example: str) -> None:
    """Raise where a class or factory asks for more than its rows tell, as wrappers do for the learner inside."""
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
    asked = [p.name for p in _parameters(recipe).values() if p.default is p.empty and p.kind in plain]
    missing = [name for name in asked if name not in given]
    if missing:
        kind = getattr(recipe, "__name__", "it")
        raise InputError(
            f"fit knows the shape of the rows, and {kind} needs {' and '.join(missing)} besides: give a function that "
            f"makes a whole learner, such as lambda n_features: Standardised({example}(n_features))."
        )


def make_learner(recipe: Any, *, example: str, **shape: int) -> Any:
    """Return the learner that a recipe makes for rows of a given shape.

    Args:
        recipe: a finished learner, returned as it is, or a class or factory, which is given those of the numbers that
            it takes and a partial has not bound.
        example: the name of a class to propose in an error.
        **shape: `n_features`, and `n_classes` or `n_responses`.

    Returns:
        A learner for these rows.

    Raises:
        InputError: what is given or made is no learner.
    """
    learner = recipe
    if not is_finished(recipe):
        if not callable(recipe):
            raise InputError(
                f"learner must be a learner class, a factory such as functools.partial({example}, hidden=(10,)), or a "
                f"finished learner; got {recipe!r}."
            )
        wanted = takes(recipe)
        _refuse_incomplete(recipe, shape, example=example)
        learner = recipe(**{name: size for name, size in shape.items() if name in wanted})
    if not is_finished(learner):
        raise InputError(
            f"the learner factory must return an object with init, scores and loss; it returned {learner!r}."
        )
    return learner


def check_size(learner: Any, name: str, got: int, noun: str) -> None:
    """Raise unless a learner was made for this many features or outputs; one that does not tell passes."""
    expected = getattr(learner, name, got)
    if expected != got:
        kind = type(learner).__name__
        raise InputError(
            f"this {kind} was made for {expected} {noun}, but the rows have {got}: pass the class {kind}, or a "
            "functools.partial of it without that number, and fit fills it in."
        )


def check_schedule(schedule: Any) -> Schedule:
    """Return a schedule, or the default in place of None."""
    if schedule is None:
        return DEFAULT_SCHEDULE
    check_kind((Descent, Converged), "Descent(...), Converged(...) or None for the default", schedule=schedule)
    return schedule


# --- rows and results -----------------------------------------------------------------------------


def weigh_rows(schedule: Schedule, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Return features, targets and weights of the rows to train on.

    Args:
        schedule: how they are trained on.
        x: features, (n, d).
        y: targets, (n, ...).
        sample_weight: (n,), not negative; ones where None.
    """
    weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    if isinstance(schedule, Descent) and schedule.batch_size is not None:
        # A batch of rows of weight 0 alone would have no mean loss.
        return x[weight > 0], y[weight > 0], weight[weight > 0]
    return x, y, weight


def judge(runs: list[Trained]) -> Status:
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
def compute_scores(learner: Any, params: Params, x: Any, one_vs_rest: bool):
    """Return scores, (n,) or (n, k); one-vs-rest parameters carry the class as their first axis."""
    if one_vs_rest:
        return jax.vmap(learner.scores, in_axes=(0, None), out_axes=1)(params, x)
    return learner.scores(params, x)


class LearnerEstimator(BaseEstimator, abc.ABC):
    """A learner and a schedule as a scikit-learn estimator; subclasses say of which kind."""

    learner: Any
    schedule: Any
    learner_: Any
    params_: Any
    trained_status_: Status
    n_iter_: int | None
    n_features_in_: int

    @abc.abstractmethod
    def _build(self, n_features: int, n_outputs: int) -> Any:
        """Return the learner for rows of a given shape."""


# --- scikit-learn's checks ------------------------------------------------------------------------

_WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
_SCORE = "check_classifiers_train"
_FAR = ("check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in")
_PICKLES = ("check_estimators_pickle", "check_estimators_overwrite_params")


def expected_failed_checks(estimator: LearnerEstimator) -> dict[str, str]:
    """Return the checks of scikit-learn that an estimator's learner and schedule cannot be held to, with reasons.

    It is what `sklearn.utils.estimator_checks.check_estimator` and `parametrize_with_checks` take by this name. The
    default schedule, and `Converged` with an l2 above 0, have none.

    Args:
        estimator: a `LearnerClassifier` or `LearnerRegressor`, not yet fitted, its learner a class or a factory.

    Returns:
        Reasons by name of the check.

    Raises:
        InputError: a finished learner, whose fixed shape fits none of the rows that the checks make up.
    """
    if is_finished(estimator.learner):
        raise InputError(
            "the checks fit rows of many shapes, and a finished learner fits one: give a class or a "
            f"functools.partial, such as {type(estimator).__name__}({type(estimator.learner).__name__})."
        )
    schedule = check_schedule(estimator.schedule)
    linear = isinstance(estimator._build(2, 1 if is_regressor(estimator) else 2), Linear)
    failures = {}
    if isinstance(schedule, Descent):
        failures = _failures_of_descent(schedule, linear, regression=is_regressor(estimator))
    if _holds_local_functions(estimator):
        failures |= dict.fromkeys(_PICKLES, "functions made inside functions, as optax's are, cannot be pickled")
    return failures


def _holds_local_functions(estimator: LearnerEstimator) -> bool:
    """Tell whether an optax optimiser or a factory is a function made inside a function."""
    factory = estimator.learner.func if isinstance(estimator.learner, functools.partial) else estimator.learner
    optimiser = getattr(estimator.schedule, "optimiser", None)
    return optimiser is not None or "<" in getattr(factory, "__qualname__", "")


def _failures_of_descent(schedule: Descent, linear: bool, *, regression: bool) -> dict[str, str]:
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
