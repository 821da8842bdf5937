"""A data set in memory: rows in [0, 1] with labels or responses, and the way back to the units of its source.

Column j of the scaled rows is x_j = (v_j − min_j) / (max_j − min_j), with v_j in the unit of the source.

Shapes: n samples (rows), d features, k classes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from backgrad.errors import DatasetError

Task = Literal["classification", "regression"]


def scale(values: np.ndarray, minimum: np.ndarray, maximum: np.ndarray) -> Float64[np.ndarray, "n d"]:
    """Map each column from [minimum, maximum] to [0, 1], as a new read-only array.

    A constant column (minimum equal to maximum) becomes 0.

    Args:
        values: in the units of the source, (n, d).
        minimum: the value that becomes 0, (d,).
        maximum: the value that becomes 1, (d,).

    Returns:
        The scaled rows, (n, d), without a unit.
    """
    scaled = values.astype(np.float64)
    scaled -= minimum
    scaled /= np.where(maximum > minimum, maximum - minimum, 1.0)
    scaled.setflags(write=False)
    return scaled


def _locked(array, dtype) -> np.ndarray:
    """Return a read-only array of that dtype: `array` itself where it is one already, otherwise a copy."""
    if isinstance(array, np.ndarray) and array.dtype == dtype and not array.flags.writeable:
        return array
    copy = np.array(array, dtype)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows, labels and their provenance. The arrays are read-only: copy what you want to change.

    Args:
        name: what `load` was asked for.
        x: features, (n, d): in [0, 1] where `scaled`, otherwise in the units of the source.
        y: labels 0..k−1, integers, (n,); of a regression the responses, real numbers in the units of the source.
        feature_names: d names, in the order of the columns.
        class_names: k names; label i is called `class_names[i]`. Of a regression, the one name of its response.
        feature_minimum: the value of each feature, in the units of the source, that becomes 0, (d,).
        feature_maximum: the value that becomes 1, (d,).
        description: what a row and a feature are, in a sentence or two.
        source: where the numbers come from.
        licence: an SPDX identifier, with a remark where one is needed.
        citation: whom to cite.
        scaled: whether `x` is in [0, 1]. Responses of a regression are in their unit here; evaluations scale them to
            [0, 1], and say so.
        task: `"classification"` or `"regression"`, which says how to read `y`.

    Raises:
        DatasetError: the shapes do not belong together, a feature or response is not finite, a label is not in 0..k−1,
            or the task is unknown.
    """

    # The shapes and the task are checked below, not by annotations, so that a wrong one is answered with a sentence.
    name: str
    x: np.ndarray
    y: np.ndarray
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    feature_minimum: np.ndarray
    feature_maximum: np.ndarray
    description: str
    source: str
    licence: str
    citation: str
    scaled: bool = True
    task: str = "classification"

    def __post_init__(self):
        if self.task not in get_args(Task):
            raise DatasetError(
                f"The task of {self.name!r} must be 'classification' or 'regression', got {self.task!r}; name one of "
                "them."
            )
        for field, dtype in (
            ("x", np.float64),
            ("y", np.float64 if self.is_regression else np.int64),
            ("feature_minimum", np.float64),
            ("feature_maximum", np.float64),
        ):
            object.__setattr__(self, field, _locked(getattr(self, field), dtype))
        for field in ("feature_names", "class_names"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        self._check_shapes()
        if not np.isfinite(self.x).all():
            raise DatasetError(
                f"The features of {self.name!r} must be finite, and some are NaN or infinite; "
                "fill or drop those rows first."
            )
        self._check_targets()

    def _check_targets(self) -> None:
        if self.is_regression:
            if not np.isfinite(self.y).all():
                raise DatasetError(
                    f"The responses of {self.name!r} must be finite, and some are NaN or infinite; drop those rows "
                    "first."
                )
            if self.n_classes != 1:
                raise DatasetError(
                    f"The regression {self.name!r} needs the name of its one response as class_names, got "
                    f"{self.n_classes} names; give one."
                )
        elif self.y.size and not 0 <= self.y.min() <= self.y.max() < self.n_classes:
            raise DatasetError(
                f"The labels of {self.name!r} must lie in 0..{self.n_classes - 1}, one for each of its "
                f"{self.n_classes} class names, and they run from {self.y.min()} to {self.y.max()}; "
                "number the classes from 0."
            )

    def _check_shapes(self) -> None:
        if self.x.ndim != 2:
            raise DatasetError(
                f"The features of {self.name!r} must have the shape (rows, features), got {self.x.shape}; "
                "reshape them to two axes."
            )
        n, d = self.x.shape
        expected = {"y": (n,), "feature_minimum": (d,), "feature_maximum": (d,)}
        for field, shape in expected.items():
            if getattr(self, field).shape != shape:
                raise DatasetError(
                    f"{field} of {self.name!r} must have the shape {shape} to go with features of shape "
                    f"{(n, d)}, got {getattr(self, field).shape}; give one entry for each."
                )
        if len(self.feature_names) != d:
            raise DatasetError(
                f"{self.name!r} needs {d} feature names, one for each column, got "
                f"{len(self.feature_names)}; name every column."
            )

    def __repr__(self) -> str:
        classes = ", ".join(self.class_names)
        target = f"regression of {classes}" if self.is_regression else f"{self.n_classes} classes ({classes})"
        return f"<Dataset {self.name}: {self.n_samples} rows, {self.n_features} features, {target}>"

    @property
    def n_samples(self) -> int:
        """The number of rows, n."""
        return self.x.shape[0]

    @property
    def n_features(self) -> int:
        """The number of columns, d."""
        return self.x.shape[1]

    @property
    def n_classes(self) -> int:
        """The number of classes, k, whether or not each of them has rows; 1 for a regression."""
        return len(self.class_names)

    @property
    def is_regression(self) -> bool:
        """Whether `y` holds real responses instead of labels."""
        return self.task == "regression"

    @property
    def is_binary(self) -> bool:
        """Whether every value of `x` is exactly 0 or 1."""
        return bool(((self.x == 0) | (self.x == 1)).all())

    def original_units(self) -> Float64[np.ndarray, "n d"]:
        """Return the features in the units of the source, x · (max − min) + min, exact to rounding.

        Returns:
            A new array, (n, d), that may be written to.
        """
        if not self.scaled:
            return self.x.copy()
        return self.x * (self.feature_maximum - self.feature_minimum) + self.feature_minimum
