"""What is audited: rows, what their columns mean, and where poisoned rows may lie."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from ..datasets import Dataset
from ..errors import InputError
from ..threat.compose import Columns, Rescaled
from ..threat.discrete import Binary, Integer, OneHot
from ..threat.feasible import Box, FeasibleSet, Image

# Beyond this, float64 does not hold every whole number.
_LARGEST_WHOLE = 2.0**53
#: Fewer rows than this cannot be dealt out to training, validation and test.
LEAST_ROWS = 40
_LEAST_OF_A_CLASS = 4


@dataclasses.dataclass(frozen=True)
class Column:
    """A feature as it was understood.

    Args:
        name: of the column in the table.
        kind: `"numeric"`, `"binary"`, `"integer"`, `"categorical"`, or why it is set aside.
        used: whether it is a feature.
        note: what was decided about it, in a sentence; None where nothing was.
        missing: rows without a value.
        low: least value that an attacker may set; None for categories and columns set aside.
        high: greatest value, likewise.
        categories: their number; None for numbers.
    """

    name: str
    kind: str
    used: bool = True
    note: str | None = None
    missing: int = 0
    low: float | None = None
    high: float | None = None
    categories: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Rows to train on, and where an attacker may put more.

    Args:
        name: of the data.
        x: features, (n, d), NaN where a value is missing.
        y: labels 0..k−1, (n,).
        class_names: (k,).
        classes: the labels as the data hold them, which an estimator's class weights may also name, (k,).
        feature_names: of the columns of x, (d,).
        feasible: where poisoning points may live, in the units of x.
        columns: of the table, those set aside included.
        target: the column of the labels.
        source: where the rows come from, for people.
        form: csv, npz, …, arrays or bundled.
        sha256: of the content.
        image_shape: of a row, where rows are images.
        notes: what was noticed, a sentence each.
        sampling: by what rule rows were chosen, where there were too many; None for all of them.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    class_names: tuple[str, ...]
    classes: tuple[Any, ...]
    feature_names: tuple[str, ...]
    feasible: FeasibleSet
    columns: tuple[Column, ...]
    target: str
    source: str
    form: str
    sha256: str
    image_shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    sampling: str | None = None

    def __post_init__(self):
        """Check that there is enough to deal out.

        Raises:
            InputError: too few rows, or too few of a class.
        """
        if len(self.y) < LEAST_ROWS:
            raise InputError(f"an audit needs {LEAST_ROWS} rows or more to split; {self.name} has {len(self.y)}.")
        counts = np.bincount(self.y, minlength=len(self.class_names))
        if counts.min() < _LEAST_OF_A_CLASS:
            rare = self.class_names[int(np.argmin(counts))]
            raise InputError(
                f"every class needs {_LEAST_OF_A_CLASS} rows or more, and class {rare!r} of {self.name} has "
                f"{counts.min()}: drop or merge it."
            )

    @property
    def n_classes(self) -> int:
        """The number of classes, k."""
        return len(self.class_names)

    @property
    def is_public(self) -> bool:
        """Whether the rows are those of a data set that anyone can have."""
        return self.form == "bundled"

    def imputed(self, rows: np.ndarray) -> np.ndarray:
        """Return all features, missing ones replaced by the medians of some rows, (n, d)."""
        if not np.isnan(self.x).any():
            return self.x
        known = self.x[rows]
        empty = np.isnan(known).all(axis=0)
        medians = np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, known), axis=0))
        return np.where(np.isnan(self.x), medians, self.x)


def from_dataset(dataset: Dataset) -> Problem:
    """Return a bundled data set as a problem: images in [0, 1], all else in the units of its source."""
    if dataset.is_regression:
        raise InputError(f"an audit judges classifiers, and {dataset.name!r} is a regression: see backgrad curve.")
    side = round(dataset.n_features**0.5)
    images = dataset.feature_names[0].startswith("pixel") and side**2 == dataset.n_features
    if images and dataset.scaled:
        columns = tuple(Column(name, "numeric", low=0.0, high=1.0) for name in dataset.feature_names)
        feasible: FeasibleSet = Image(shape=(side, side))
    else:
        columns = tuple(_read_column(name, v) for name, v in zip(dataset.feature_names, dataset.x.T, strict=True))
        feasible = feasible_set(columns)
    return Problem(
        name=dataset.name,
        x=np.asarray(dataset.x),
        y=np.asarray(dataset.y),
        class_names=dataset.class_names,
        classes=tuple(range(len(dataset.class_names))),
        feature_names=dataset.feature_names,
        feasible=feasible,
        columns=columns,
        target="class",
        source=dataset.source,
        form="bundled",
        sha256=digest(dataset.x, dataset.y),
        image_shape=(side, side) if images else None,
    )


def from_arrays(x: np.ndarray, y: Any, *, feature_names: tuple[str, ...], target: str = "y") -> Problem:
    """Return rows in memory as a problem.

    Args:
        x: features, (n, d), NaN where a value is missing.
        y: labels of any kind, (n,).
        feature_names: (d,).
        target: what the labels are called.

    Raises:
        InputError: infinite values, another number of labels than of rows, missing labels, or fewer than two classes.
    """
    x = np.asarray(x, float)
    if np.isinf(x).any():
        raise InputError(f"features must be finite or missing; {int(np.isinf(x).sum())} are infinite: replace them.")
    known = [_is_known(label) for label in np.asarray(y, object).reshape(-1)]
    if len(known) != len(x):
        raise InputError(f"y must hold one label a row of X; got {len(known)} labels for {len(x)} rows.")
    if not all(known):
        raise InputError(f"every row needs a label; {known.count(False)} of {len(known)} have none: drop these rows.")
    try:
        classes, codes = np.unique(np.asarray(y), return_inverse=True)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in np.asarray(y, object).reshape(-1)})
        raise InputError(
            f"labels must be of one kind, so that classes have an order; got {' and '.join(kinds)}: write all as text."
        ) from None
    if classes.size < 2:
        raise InputError(f"labels must be of two classes or more; all are {classes[0]!r}.")
    names = tuple(map(str, classes))
    columns = tuple(_read_column(name, values) for name, values in zip(feature_names, x.T, strict=True))
    return Problem(
        name="the data given",
        x=x,
        y=codes.reshape(-1),
        class_names=names,
        classes=tuple(classes.tolist()),
        feature_names=feature_names,
        feasible=feasible_set(columns),
        columns=columns,
        target=target,
        source="arrays in memory",
        form="arrays",
        sha256=digest(x, codes, np.array(names)),
    )


def _is_known(label: Any) -> bool:
    """Tell a label from None, NaN and what pandas has in their place, none of which equals itself."""
    return label is not None and str(label == label) == "True"  # noqa: PLR0124


def digest(*arrays: Any) -> str:
    """Return the SHA-256 of some arrays."""
    found = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _read_column(name: str, values: np.ndarray) -> Column:
    """Say what a column of numbers holds."""
    known = values[~np.isnan(values)]
    missing = int(values.size - known.size)
    if not known.size:
        return Column(name, "constant", note="it holds no value at all", missing=missing, low=0.0, high=0.0)
    low, high = float(known.min()), float(known.max())
    kind = "numeric"
    if low == high:
        kind = "constant"
    elif np.isin(known, [low, high]).all():
        kind = "binary"
    elif (known == np.round(known)).all() and max(-low, high) <= _LARGEST_WHOLE:
        kind = "integer"
    return Column(name, kind, missing=missing, low=low, high=high)


def feasible_set(columns: tuple[Column, ...], *, groups: tuple[tuple[int, ...], ...] = ()) -> FeasibleSet:
    """Return where points may live, from what columns mean.

    Args:
        columns: of the features, (d,), with their ranges.
        groups: columns that encode one category each, of which exactly one is 1.
    """
    grouped = {column for group in groups for column in group}
    kinds: dict[str, list[int]] = {"box": [], "integer": [], "binary": []}
    for number, column in enumerate(columns):
        if number not in grouped:
            kinds[_kind_of(column)].append(number)
    parts: list[tuple[tuple[int, ...], FeasibleSet]] = []
    for kind, numbers in kinds.items():
        if numbers:
            low = np.array([columns[i].low or 0.0 for i in numbers])
            high = np.array([columns[i].high or 0.0 for i in numbers])
            parts.append((tuple(numbers), _of_kind(kind, low, high)))
    if groups:
        parts.append((tuple(c for group in groups for c in group), OneHot(tuple(map(len, groups)))))
    return parts[0][1] if len(parts) == 1 and parts[0][0] == tuple(range(len(columns))) else Columns(tuple(parts))


def _kind_of(column: Column) -> str:
    """Return the kind of set a column's values live in."""
    if column.low is None or column.high is None or column.low == column.high:
        return "box"
    return column.kind if column.kind in ("integer", "binary") else "box"


def _of_kind(kind: str, low: np.ndarray, high: np.ndarray) -> FeasibleSet:
    if kind == "integer":
        return Integer(low, high)
    if kind == "box":
        return Box(low, high)
    if (low == 0).all() and (high == 1).all():
        return Binary()
    side = high - low
    return Rescaled(Binary(), -low / side, 1 / side)
