"""scikit-learn estimators whose random states are settled, so that equal runs give equal numbers."""

from typing import Any

from sklearn.base import clone


def seeded(estimator: Any, seed: Any) -> Any:
    """Return an unfitted copy of an estimator, with a seed for each random state that it leaves open.

    Args:
        estimator: anything that `sklearn.base.clone` takes, nested estimators included.
        seed: what `random_state` is set to where it is None.
    """
    copy: Any = clone(estimator)
    if not hasattr(copy, "get_params"):
        return copy
    settings = copy.get_params()
    open_ones = [name for name, value in settings.items() if name.split("__")[-1] == "random_state" and value is None]
    return copy.set_params(**dict.fromkeys(open_ones, seed))
