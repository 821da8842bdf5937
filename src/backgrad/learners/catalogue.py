"""Learners by name, with the schedules at which their victims are trained by default.

Logistic regression, ADALINE and the MLP use the schedules of the authors' published code; softmax regression and
the SVM, which it does not have, use ones at which they train as well.
"""

from typing import Any

from ..errors import InputError
from ..schedules import Descent
from .base import Learner
from .linear import Adaline, LogisticRegression, SmoothSVM, SoftmaxRegression
from .mlp import MLP

_BINARY = {"logistic": LogisticRegression, "adaline": Adaline, "svm": SmoothSVM}
_STEPS = {
    "logistic": (0.5, 1500),
    "softmax": (0.5, 500),
    "adaline": (0.01, 2000),
    "svm": (0.1, 1000),
    "mlp": (0.1, 400),
}
LEARNER_NAMES = tuple(_STEPS)


def make_learner(name: str, *, n_features: int, n_classes: int, l2: Any = 0.0) -> Learner:
    """Build a learner for a data set.

    Args:
        name: one of `LEARNER_NAMES`.
        n_features: d.
        n_classes: k.
        l2: λ.

    Raises:
        InputError: an unknown name, or a binary learner for more than two classes.
    """
    if name in _BINARY:
        if n_classes != 2:
            raise InputError(
                f"{name} separates two classes, but the data have {n_classes}: use softmax or mlp, or two classes."
            )
        return _BINARY[name](n_features, l2)
    if name == "softmax":
        return SoftmaxRegression(n_features, l2, n_classes)
    if name == "mlp":
        return MLP(n_features, n_classes, l2=l2)
    raise InputError(f"learner must be one of {', '.join(LEARNER_NAMES)}; got {name!r}.")


def default_schedule(name: str) -> Descent:
    """Return the schedule at which a learner's victims are trained by default."""
    step_size, steps = _STEPS[name]
    return Descent(steps, step_size)
