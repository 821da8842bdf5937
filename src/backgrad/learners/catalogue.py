"""Learners by name, with the schedules at which their victims are trained by default.

Logistic regression, ADALINE and the MLP use the schedules of the authors' published code; softmax regression and
the SVM, which it does not have, use ones at which they train as well, and so do ridge regression and the CNN, whose
schedule has momentum and mini-batches.
"""

from typing import Any

from ..errors import InputError
from ..schedules import Descent
from .base import Learner
from .cnn import CNN
from .linear import Adaline, LogisticRegression, Ridge, SmoothSVM, SoftmaxRegression
from .mlp import MLP, RegressionMLP

_BINARY = {"logistic": LogisticRegression, "adaline": Adaline, "svm": SmoothSVM}
_SCHEDULES = {
    "logistic": Descent(1500, 0.5),
    "softmax": Descent(500, 0.5),
    "adaline": Descent(2000, 0.01),
    "svm": Descent(1000, 0.1),
    "mlp": Descent(400, 0.1),
    "ridge": Descent(1000, 0.1),
    "cnn": Descent(200, 0.05, 0.9, batch_size=100),
}
LEARNER_NAMES = tuple(_SCHEDULES)


def learner_names(n_classes: int, *, regression: bool = False) -> tuple[str, ...]:
    """Return the names of the learners that fit a task.

    Args:
        n_classes: k.
        regression: whether rows carry real responses instead of labels.
    """
    if regression:
        return ("ridge", "mlp")
    binary = () if n_classes == 2 else tuple(_BINARY)
    return tuple(name for name in LEARNER_NAMES if name not in ("ridge", *binary))


def make_learner(name: str, *, n_features: int, n_classes: int, l2: Any = 0.0, regression: bool = False) -> Learner:
    """Build a learner for a data set.

    Args:
        name: one of `LEARNER_NAMES`.
        n_features: d.
        n_classes: k; of a regression, the number of responses.
        l2: λ.
        regression: whether rows carry real responses instead of labels.

    Raises:
        InputError: an unknown name, or a learner for another task: a binary learner for more than two classes, a
            classifier for responses, or the other way round; or the CNN for rows that are no square grey images.
    """
    if name not in _SCHEDULES:
        raise InputError(f"learner must be one of {', '.join(LEARNER_NAMES)}; got {name!r}.")
    fitting = learner_names(n_classes, regression=regression)
    if name not in fitting:
        names = " or ".join(one for one in fitting if one != "cnn")  # which takes images alone
        if regression:
            raise InputError(f"{name} separates classes, but the data have responses: use {names}.")
        if name in _BINARY:
            raise InputError(
                f"{name} separates two classes, but the data have {n_classes}: use {names}, or two classes."
            )
        raise InputError(f"{name} predicts responses, but the data have classes: use {names}.")
    if regression:
        kind = Ridge if name == "ridge" else RegressionMLP
        return kind(n_features=n_features, n_responses=n_classes, l2=l2)
    if name in _BINARY:
        return _BINARY[name](n_features, l2)
    if name == "softmax":
        return SoftmaxRegression(n_features, l2, n_classes)
    if name == "cnn":
        return CNN(n_features, n_classes=n_classes, l2=l2)
    return MLP(n_features, n_classes=n_classes, l2=l2)


def default_schedule(name: str) -> Descent:
    """Return the schedule at which a learner's victims are trained by default."""
    return _SCHEDULES[name]
