"""A CSV file of one's own as a `Dataset`: numeric columns, one of them (of any values) the target.

Columns are scaled as `load` scales: x = (v − min) / (max − min), binary ones left as they are.
"""

import csv
import difflib
import gzip
import math
import os
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np

from backgrad.datasets.dataset import Dataset, Task, scale
from backgrad.datasets.loaders import observed_range
from backgrad.errors import DatasetError

_DELIMITERS = ",;\t"
_MISSING = frozenset({"", "?", "na", "n/a", "nan"})
_NOTHING = frozenset({"null", "none"})  # these may be the name of a class
# More fractional values than this are no class labels.
_MOST_FRACTIONAL_CLASSES = 20


def load_table(
    path: str | os.PathLike[str],
    *,
    target: str,
    task: Task = "classification",
    scaled: bool = True,
    name: str | None = None,
) -> Dataset:
    """Load a CSV file (UTF-8, a header line, values separated by comma, semicolon or tab; `.gz` is unpacked).

    Args:
        path: of the file.
        target: the column of the labels or responses; all others are features and hold numbers.
        task: `"classification"`: the target's distinct values, in their order (numeric if all are numbers), are the
            classes 0..k−1. `"regression"`: it holds real responses, which keep their unit.
        scaled: whether each feature is mapped to [0, 1] by its least and greatest value over all rows.
        name: of the data set; the file's own where omitted.

    Returns:
        The data set, rows in the order of the file.

    Raises:
        DatasetError: a file that is missing, empty or no table; a target that is not there; columns without a name, of
            the same name or not numeric; values that are missing or not finite; or fewer than two classes.
    """
    if task not in get_args(Task):
        raise DatasetError(f"task must be 'classification' or 'regression', got {task!r}; name one of them.")
    file = Path(path)
    header, rows = _read(file)
    _check_header(file, header, target)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    _check_missing(file, columns, target)
    answers = columns.pop(target)
    values = _numbers(file, columns)
    y, class_names = _responses(file, target, answers) if task == "regression" else _classes(file, target, answers)
    minimum, maximum = observed_range(values)
    return Dataset(
        name=file.name.removesuffix(".gz").removesuffix(".csv") if name is None else name,
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


# --- the file -------------------------------------------------------------------------------------


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows as text, without the space around values."""
    try:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
            header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
            reader = csv.reader(stream, delimiter=delimiter)
            rows = []
            for row in reader:
                if len(row) not in (0, len(header)):
                    raise DatasetError(
                        f"Every row of {str(file)!r} should have {len(header)} values like its header, and line "
                        f"{reader.line_num + 1} has {len(row)}; quote values that hold the delimiter {delimiter!r}."
                    )
                if row:
                    rows.append([cell.strip() for cell in row])
    except FileNotFoundError as error:
        raise DatasetError(f"Expected a CSV file at {str(file)!r}, and there is none; check the path.") from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"Expected a CSV file in UTF-8 at {str(file)!r}, and it cannot be read ({type(error).__name__}); save it "
            "as one."
        ) from error
    if not header or not rows:
        what = "only a header" if header else "empty"
        raise DatasetError(f"Expected a header line and rows in {str(file)!r}, and it is {what}; add rows.")
    return header, rows


def _check_header(file: Path, header: list[str], target: str) -> None:
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
            f"Every column of {str(file)!r} needs a name of its own, and {_list(repeated)} occurs more than once; "
            "rename or drop the others."
        )
    if target not in header:
        near = difflib.get_close_matches(target, header, n=2) or difflib.get_close_matches(
            target.lower(), [column for column in header if column.islower()], n=2
        )
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {_list(header)}."
        raise DatasetError(f"Expected target to be a column of {str(file)!r}, got {target!r}; {hint}")
    if len(header) < 2:
        raise DatasetError(
            f"Expected features beside the target in {str(file)!r}, and {target!r} is its only column; separate the "
            "columns by comma, semicolon or tab."
        )


# --- the columns ----------------------------------------------------------------------------------


def _list(columns: list[str]) -> str:
    """Quote some names, the first ten of many."""
    more = f" and {len(columns) - 10} more" if len(columns) > 10 else ""
    return ", ".join(map(repr, columns[:10])) + more


def _number(text: str) -> float | None:
    """Return the number that a text spells, or None; unlike Python's, numbers have no underscores."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _check_missing(file: Path, columns: dict[str, tuple[str, ...]], target: str) -> None:
    """Raise where a value is missing."""
    words = {name: _MISSING if name == target else _MISSING | _NOTHING for name in columns}
    gaps = {name: sum(cell.lower() in words[name] for cell in cells) for name, cells in columns.items()}
    gaps = {name: count for name, count in gaps.items() if count}
    if gaps:
        raise DatasetError(
            f"Every value of {str(file)!r} should be there, and {sum(gaps.values())} are missing, in {_list([*gaps])}; "
            "fill or drop those rows or columns first."
        )


def _numbers(file: Path, columns: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Return the features, (n, d), or raise with the columns that are not numeric or not finite."""
    parsed = {name: [_number(cell) for cell in cells] for name, cells in columns.items()}
    words = [name for name, numbers in parsed.items() if None in numbers]
    if words:
        name = words[0]
        example = columns[name][parsed[name].index(None)]
        raise DatasetError(
            f"Features of {str(file)!r} should be numbers, and {_list(words)} are not ({name!r} holds {example!r}); "
            "categorical columns are not supported yet: encode or drop them."
        )
    values = np.array([*parsed.values()], np.float64).T
    endless = [name for name, column in zip(columns, values.T, strict=True) if not np.isfinite(column).all()]
    if endless:
        raise DatasetError(
            f"Features of {str(file)!r} should be finite, and {_list(endless)} hold infinity; replace or drop those "
            "rows."
        )
    values = np.ascontiguousarray(values)
    values.setflags(write=False)
    return values


def _responses(file: Path, target: str, answers: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the responses of a regression, (n,), and their name."""
    numbers = [_number(answer) for answer in answers]
    wrong = [answer for answer, number in zip(answers, numbers, strict=True) if number is None or math.isinf(number)]
    if wrong:
        raise DatasetError(
            f"The target {target!r} of {str(file)!r} should hold finite numbers for a regression, and it holds "
            f"{wrong[0]!r}; choose another target, or task='classification'."
        )
    return np.array(numbers, np.float64), (target,)


def _classes(file: Path, target: str, answers: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels 0..k−1, (n,), and the k names of the classes; 1, 1.0 and 01 are one class where all are numbers."""
    numbers = [_number(answer) for answer in answers]
    keys = answers if None in numbers else numbers
    classes = sorted(set(keys))  # pyright: ignore[reportArgumentType]
    if len(classes) < 2:
        raise DatasetError(
            f"The target {target!r} of {str(file)!r} should have at least two classes, and all rows are "
            f"{answers[0]!r}; choose another target or add rows."
        )
    fractional = any(isinstance(key, float) and not key.is_integer() for key in classes)
    if fractional and len(classes) > _MOST_FRACTIONAL_CLASSES:
        raise DatasetError(
            f"The target {target!r} of {str(file)!r} should hold class labels, and it has {len(classes)} values, "
            "some of them fractions; set task='regression' for real responses."
        )
    code = {key: label for label, key in enumerate(classes)}
    names = tuple(str(int(key)) if isinstance(key, float) and key.is_integer() else str(key) for key in classes)
    return np.array([code[key] for key in keys], np.int64), names
