"""scikit-learn estimators whose random states are settled, so that equal runs give equal numbers."""

import warnings
from typing import Any

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from ..checks import shown
from ..errors import InputError


def open_states(estimator: Any) -> list[str]:
    """Return the names of the random states that an estimator leaves open, those of nested ones included."""
    settings = estimator.get_params() if hasattr(estimator, "get_params") else {}
    return [name for name, value in settings.items() if name.split("__")[-1] == "random_state" and value is None]


def seeded(estimator: Any, seed: Any) -> Any:
    """Return an unfitted copy of an estimator, with a seed for each random state that it leaves open.

    Args:
        estimator: anything that `sklearn.base.clone` takes, nested estimators included.
        seed: what `random_state` is set to where it is None.

    Raises:
        InputError: what cannot be cloned, such as a class.
    """
    try:
        copy: Any = clone(estimator)
    except TypeError as error:
        name = estimator.__name__ if isinstance(estimator, type) else "LogisticRegression"
        raise InputError(
            f"estimator must be a scikit-learn estimator that can be cloned, such as {name}(); got {shown(estimator)}."
        ) from error
    states = open_states(copy)
    return copy.set_params(**dict.fromkeys(states, seed)) if states else copy


def fit_seeded(estimator: Any, x: Any, y: Any, *, seed: int) -> Any:
    """Return a copy of an estimator fitted with its open random states settled; one that stops early stays what it is.

    Args:
        estimator: as for `seeded`.
        x: features, (n, d).
        y: labels or responses, (n,) or (n, k).
        seed: of its open random states.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return seeded(estimator, seed).fit(x, y)
