"""A file of one's own as a `Dataset`: numeric columns without gaps, one of them (of any values) the target.

Columns are scaled as `load` scales: x = (v − min) / (max − min), binary ones left as they are. Files are read by
`read_table`; this is the short way for a table that is clean already, and `infer_schema` the one for all others.
"""

import os
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np

from backgrad.datasets.columns import Values, categories_of, values_of
from backgrad.datasets.dataset import Dataset, Task, scale
from backgrad.datasets.findings import MOST_FRACTIONAL_CLASSES, near
from backgrad.datasets.loaders import observed_range
from backgrad.datasets.raw import RawTable, listed
from backgrad.datasets.reading import read_table, table_name
from backgrad.errors import DatasetError


def load_table(
    path: str | os.PathLike[str],
    *,
    target: str,
    task: Task = "classification",
    scaled: bool = True,
    name: str | None = None,
) -> Dataset:
    """Load a table in one of the formats of `read_table`, such as a CSV file (UTF-8, a header line; `.gz` is unpacked).

    Args:
        path: of the file.
        target: the column of the labels or responses; all others are features and hold numbers.
        task: `"classification"`: the target's distinct values, in their order (numeric if all are numbers), are the
            classes 0..k−1. `"regression"`: it holds real responses, which keep their unit.
        scaled: whether each feature is mapped to [0, 1] by its least and greatest value over all rows.
        name: of the data set; the file's own where omitted.

    Returns:
        The data set, all rows in the order of the file.

    Raises:
        DatasetError: a file that is missing, empty or no table; a target that is not there; columns without a name, of
            the same name or not numeric; values that are missing or not finite; or fewer than two classes.
    """
    return table_from(read_table(path, max_rows=None), target=target, task=task, scaled=scaled, name=name)


def table_from(
    raw: RawTable,
    *,
    target: str,
    task: Task = "classification",
    scaled: bool = True,
    name: str | None = None,
    otherwise: str | None = None,
) -> Dataset:
    """Return what `load_table` does, of a table that was read already, with all its rows.

    Arguments besides those of `load_table`: what to do where the target does not fit the task (`otherwise`), for an
    error; in the words of Python where omitted.
    """
    if task not in get_args(Task):
        raise DatasetError(f"task must be 'classification' or 'regression', got {task!r}; name one of them.")
    file = Path(raw.source)
    _check_header(file, raw.names, target)
    columns = {column: values_of(raw, j, keep_nothing=column == target) for j, column in enumerate(raw.names)}
    _check_missing(file, columns)
    answers = columns.pop(target)
    values = _numbers(file, columns)
    read = _responses if task == "regression" else _classes
    y, class_names = read(file, target, answers, otherwise)
    minimum, maximum = observed_range(values)
    return Dataset(
        name=table_name(file) if name is None else name,
        x=scale(values, minimum, maximum) if scaled else values,
        y=y,
        feature_names=tuple(columns),
        class_names=class_names,
        feature_minimum=minimum,
        feature_maximum=maximum,
        description=f"The rows of {file.name}; the target is its column {target!r}.",
        source=str(file),
        licence="not stated",
        citation="not stated",
        scaled=scaled,
        task=task,
    )


def _check_header(file: Path, header: tuple[str, ...], target: str) -> None:
    """Raise unless every column has a name of its own and the target is one of at least two."""
    unnamed = [str(i) for i, column in enumerate(header, 1) if not column]
    if unnamed:
        raise DatasetError(
            f"Every column of {str(file)!r} needs a name in the header, and column {', '.join(unnamed)} has none; "
            "name it, or drop it (pandas writes its index so, unless told index=False)."
        )
    repeated = [column for column, times in Counter(header).items() if times > 1]
    if repeated:
        raise DatasetError(
            f"Every column of {str(file)!r} needs a name of its own, and {listed(repeated)} occurs more than once; "
            "rename or drop the others."
        )
    if target not in header:
        raise DatasetError(f"Expected target to be a column of {str(file)!r}, got {target!r}; {near(target, header)}")
    if len(header) < 2:
        raise DatasetError(
            f"Expected features beside the target in {str(file)!r}, and {target!r} is its only column; separate the "
            "columns by comma, semicolon, tab or pipe."
        )


# --- the columns ----------------------------------------------------------------------------------


def _check_missing(file: Path, columns: dict[str, Values]) -> None:
    """Raise where a value is missing."""
    gaps = {name: int((~values.present).sum()) for name, values in columns.items()}
    gaps = {name: count for name, count in gaps.items() if count}
    if gaps:
        raise DatasetError(
            f"Every value of {str(file)!r} should be there, and {sum(gaps.values())} are missing, in {listed(gaps)}; "
            "fill or drop those rows or columns first."
        )


def _numbers(file: Path, columns: dict[str, Values]) -> np.ndarray:
    """Return the features, (n, d), or raise with the columns that are not numeric or not finite."""
    words = [name for name, values in columns.items() if np.isnan(values.numbers).any()]
    if words:
        first = columns[words[0]]
        example = first.text(int(np.flatnonzero(np.isnan(first.numbers))[0]))
        raise DatasetError(
            f"Features of {str(file)!r} should be numbers, and {listed(words)} are not ({words[0]!r} holds "
            f"{example!r}); categorical columns are not supported yet: encode or drop them."
        )
    values = np.array([column.as_numbers() for column in columns.values()], np.float64).T
    endless = [name for name, column in zip(columns, values.T, strict=True) if not np.isfinite(column).all()]
    if endless:
        raise DatasetError(
            f"Features of {str(file)!r} should be finite, and {listed(endless)} hold infinity; replace or drop those "
            "rows."
        )
    values = np.ascontiguousarray(values)
    values.setflags(write=False)
    return values


def _responses(file: Path, target: str, answers: Values, otherwise: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the responses of a regression, (n,), and their name."""
    wrong = np.flatnonzero(~np.isfinite(answers.numbers))
    if len(wrong):
        remedy = "choose another target, or task='classification'"
        raise DatasetError(
            f"The target {target!r} of {str(file)!r} should hold finite numbers for a regression, and it holds "
            f"{answers.text(int(wrong[0]))!r}; {otherwise or remedy}."
        )
    return answers.as_numbers(), (target,)


def _classes(file: Path, target: str, answers: Values, otherwise: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels 0..k−1, (n,), and the k names of the classes; 1, 1.0 and 01 are one class where all are numbers."""
    labels, names = categories_of(answers)
    if len(names) < 2:
        raise DatasetError(
            f"The target {target!r} of {str(file)!r} should have at least two classes, and all rows are "
            f"{answers.text(int(answers.codes[0]))!r}; choose another target or add rows."
        )
    fractional = not np.isnan(answers.numbers).any() and any(not number.is_integer() for number in answers.numbers)
    if fractional and len(names) > MOST_FRACTIONAL_CLASSES:
        remedy = "set task='regression' for real responses"
        raise DatasetError(
            f"The target {target!r} of {str(file)!r} should hold class labels, and it has {len(names)} values, "
            f"some of them fractions; {otherwise or remedy}."
        )
    return labels, names
