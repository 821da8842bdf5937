"""Victims: models trained from scratch on clean and poisoned rows, and judged on test rows."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..errors import DivergenceError, NotConvergedError
from ..schedules import Converged, Descent, Schedule
from ..status import Status
from ..training import largest_curvature, train
from ..types import Samples
from .metrics import error_rate


def predict(learner: Any, params: Any, x: Float[Array, "n d"]) -> Int[Array, "n"]:
    """Return the labels 0..k−1 that a trained learner gives to rows."""
    scores = learner.scores(params, x)
    return (scores > 0).astype(int) if scores.ndim == 1 else jnp.argmax(scores, axis=1)


@eqx.filter_jit
def _fit_predict(learner, blocks: tuple[Samples, ...], schedule: Schedule, x: Float[Array, "n d"]):
    trained = train(learner, blocks, schedule=schedule)
    return predict(learner, trained.params, x), trained.status


def judge_victim(
    learner: Any, blocks: tuple[Samples, ...], schedule: Schedule, test: tuple[Any, Any]
) -> tuple[float, bool]:
    """Train a victim from scratch; return its error on test rows, and whether its training diverged.

    Args:
        learner: the victim's learner.
        blocks: its training rows.
        schedule: how it is trained.
        test: features (n, d) and labels (n,).
    """
    predictions, status = _fit_predict(learner, blocks, schedule, test[0])
    return error_rate(predictions, test[1]), int(status) == Status.DIVERGED


def sklearn_logistic_error(x, labels, test: tuple[Any, Any]) -> float:
    """Train scikit-learn's LogisticRegression at its defaults and return its error on test rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Defaults are the point here: a victim that stops early stays the victim.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression().fit(np.asarray(x), np.asarray(labels))
    return error_rate(model.predict(np.asarray(test[0])), test[1])


def require_sound_training(learner: Any, rows: Samples, schedule: Schedule) -> None:
    """Raise where a schedule does not train a learner on clean rows, before any attack is spent on it.

    Raises:
        DivergenceError: the loss is not finite or grew; the message suggests a step size.
        NotConvergedError: a `Converged` schedule that did not converge, or has no finite optimum.
    """
    trained = train(learner, rows, schedule=schedule)
    status = Status(int(trained.status))
    if status in (Status.NOT_CONVERGED, Status.NO_FINITE_OPTIMUM):
        raise NotConvergedError(f"{status.message}.")
    if status is not Status.DIVERGED:
        return
    if isinstance(schedule, Converged):
        raise DivergenceError("the solver left the loss higher than it found it: set l2 above 0, or use Descent.")
    raise DivergenceError(
        f"training diverged: the loss went from {float(trained.initial_loss):.3g} to {float(trained.loss):.3g} in "
        f"{schedule.steps} steps. {_suggestion(learner, rows, schedule)}"
    )


def _suggestion(learner: Any, rows: Samples, schedule: Descent) -> str:
    if schedule.optimiser is not None:
        return "Lower the optimiser's step size."
    params = learner.init(jax.random.key(0) if schedule.key is None else schedule.key)
    limit = 2 * (1 + float(schedule.momentum)) / float(largest_curvature(learner, rows, params=params))
    # Rounded down to two digits: power iteration finds λ_max from below, and the limit itself does not converge.
    digit = 10.0 ** (np.floor(np.log10(limit)) - 1)
    formula = "2/λ_max" if float(schedule.momentum) == 0 else "2(1 + momentum)/λ_max"
    return (
        f"The step size was {float(schedule.step_size):.3g}: try {np.floor(0.98 * limit / digit) * digit:.2g} or less "
        f"({formula} at the start)."
    )
