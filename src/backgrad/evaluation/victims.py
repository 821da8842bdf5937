"""Victims: models trained from scratch on clean and poisoned rows, and judged on test rows.

scikit-learn is imported when a victim first needs it: importing it takes as long as importing JAX, and attacks begin
without it.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import DivergenceError, InputError, NotConvergedError
from ..schedules import Converged, Descent, Schedule
from ..status import Status
from ..threat.knowledge import Member
from ..training import Trained, largest_curvature, train
from ..types import Added, Samples, with_added
from .plan import Rows, Table, attack_seed, split_key


def predict(learner: Any, params: Any, x: Float[Array, "n d"]) -> Array:
    """Return the labels 0..k−1 that a trained classifier gives to rows, (n,), or a regressor's responses, (n, k)."""
    scores = learner.scores(params, x)
    if getattr(learner, "regression", False):
        return scores
    if scores.shape[1:] == (1,):
        raise InputError(f"{type(learner).__name__}.scores must return (n,) for two classes, or (n, k); got (n, 1).")
    return (scores > 0).astype(int) if scores.ndim == 1 else jnp.argmax(scores, axis=1)


def train_and_predict(learner: Any, blocks: tuple[Samples, ...], schedule: Schedule, x: Any) -> tuple[np.ndarray, bool]:
    """Train a learner from scratch; return its predictions, and whether its training diverged.

    Args:
        learner: the victim's learner.
        blocks: its training rows.
        schedule: how it is trained.
        x: features of the rows to predict, (n, d).

    Returns:
        Labels 0..k−1, (n,), or responses, (n, k), of a learner of one response or of real ones.
    """
    trained = fit_learner(learner, blocks, schedule)
    found = predict(learner, trained.params, jnp.asarray(x, blocks[0].x.dtype))
    return np.asarray(found), int(trained.status) == Status.DIVERGED


def with_points(table: Table, rows: Rows, added: Added | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and the labels or responses of the training rows, with points added."""
    return with_added(table.x[rows.train], table.y[rows.train], added)


def fit_victim(victim: Any, table: Table, rows: Rows, added: Added | None, *, seed: tuple[int, int]) -> Any:
    """Return a victim, trained from scratch on a split's training rows and points.

    Args:
        victim: an unfitted scikit-learn estimator, of which a copy is fitted, or a `Member`. A learner starts from the
            initial parameters of the split, which an attacker of perfect knowledge shares; an estimator that leaves its
            random state open gets one of the split, so that equal runs give equal numbers. One that stops early stays
            the victim it is.
        table: the data set.
        rows: the split.
        added: features and labels of the points, or None.
        seed: the run's seed and the split's number.

    Returns:
        Something with `predict`.

    Raises:
        InputError: a regressor where the table holds classes, or a classifier where it holds responses.
    """
    x, y = with_points(table, rows, added)
    if isinstance(victim, Member):
        from .trained_victim import TrainedRegressor, TrainedVictim

        schedule = dataclasses.replace(victim.schedule, key=split_key(seed))
        trained = TrainedVictim if table.n_classes else TrainedRegressor
        return trained(victim.learner, schedule).fit(x, y, n_classes=table.n_classes)
    from ..learners.seeding import fit_seeded

    _require_kind(victim, table)
    return fit_seeded(victim, x, y, seed=attack_seed(seed) % 2**31)


def _require_kind(victim: Any, table: Table) -> None:
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    if isinstance(victim, BaseEstimator) and (is_regressor if table.n_classes else is_classifier)(victim):
        wanted, held = ("classifiers", "classes") if table.n_classes else ("regressors", "responses")
        raise InputError(
            f"victims must be {wanted}, since the table holds {held}; {type(victim).__name__} is none: use another."
        )


@eqx.filter_jit
def fit_learner(learner: Any, blocks: tuple[Samples, ...], schedule: Schedule) -> Trained:
    """Train a learner from scratch, initial parameters included: compiled once for all who train on such rows."""
    return train(learner, blocks, schedule=schedule)


def reference_estimator(n_classes: int) -> Any:
    """Return scikit-learn's LogisticRegression at its defaults, or its Ridge for a regression."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression() if n_classes else Ridge()


def require_sound_training(learner: Any, rows: Samples, schedule: Schedule) -> None:
    """Raise where a schedule does not train a learner on clean rows, before any attack is spent on it.

    Raises:
        DivergenceError: the loss is not finite or grew; the message suggests a step size.
        NotConvergedError: a `Converged` schedule that did not converge, or has no finite optimum.
    """
    trained = fit_learner(learner, (rows,), schedule)
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
