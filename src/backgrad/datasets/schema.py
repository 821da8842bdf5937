"""What the columns of a table mean, and all that is wrong with it, said at once.

```python
schema = infer_schema(raw, target="churned", immutable=("age",), ranges={"income": (0, 1e6)}, kinds={"notes": "hash"})
for column in schema.columns:
    print(column.name, column.kind, column.sentence)
schema.check()                                       # raises, with every problem in one message
```

`backgrad.datasets.columns` has the rules by which kinds are told apart. Used are numeric, integer, binary and
categorical columns; constants, identifiers, text, copies of another column and a column that equals the target are set
aside, each with a sentence. Rows without a target count nowhere.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from backgrad.checks import check_kind
from backgrad.datasets.columns import Categories, Setting, Values, categories_of, guess, values_of
from backgrad.datasets.findings import (
    Findings,
    check_overrides,
    class_notes,
    class_problem,
    fingerprint,
    near,
    repeats,
)
from backgrad.datasets.raw import RawTable, listed, quoted
from backgrad.datasets.settling import KINDS, Wishes, aside, settle
from backgrad.datasets.understood import Column, Range, Schema, Target
from backgrad.errors import DatasetError

MOST_CATEGORIES = 50
HASH_COLUMNS = 64
# Bytes of the encoded table.
LARGEST_TABLE = 4 * 1024**3
_NONE: Mapping = MappingProxyType({})


def infer_schema(
    raw: RawTable,
    *,
    target: str,
    immutable: Iterable[str] = (),
    ranges: Mapping[str, Range] = _NONE,
    kinds: Mapping[str, str] = _NONE,
    quantiles: Range = (0.0, 1.0),
    most_categories: int = MOST_CATEGORIES,
    hash_columns: int = HASH_COLUMNS,
) -> Schema:
    """Say what every column is, where its values may lie, and all that is wrong.

    Args:
        raw: the table.
        target: the column of the labels.
        immutable: columns that an attacker has to leave as they are.
        ranges: least and greatest feasible value of numeric and integer columns, in their units; else by `quantiles`.
        kinds: what columns are, where the rules would say otherwise: `"numeric"`, `"integer"`, `"binary"`,
            `"categorical"`, `"hash"` (a text, by words), or `"ignore"`, `"text"`, `"identifier"` (set aside).
        quantiles: of a column's values that are its feasible range; (0, 1) are its least and greatest value.
        most_categories: a column of more words is text.
        hash_columns: how many columns a hashed text becomes.

    Returns:
        The schema; it has `problems` where the table cannot be used as asked, and never raises because of them.

    Raises:
        InputError: no table.
        DatasetError: quantiles that are not 0 ≤ a < b ≤ 1, or a number of categories or columns below 2.
    """
    check_kind(RawTable, "what read_table(path) returns", raw=raw)
    low, high = quantiles
    if not 0 <= low < high <= 1:
        raise DatasetError(f"quantiles must satisfy 0 ≤ a < b ≤ 1, got {low} and {high}; (0, 1) is the whole range.")
    if most_categories < 2 or hash_columns < 2:
        raise DatasetError(
            f"most_categories and hash_columns must be 2 or more, got {most_categories} and {hash_columns}; raise them."
        )
    wishes = Wishes(frozenset(immutable), ranges, kinds, quantiles, most_categories, hash_columns)
    found = Findings()
    names = _names(raw, found)
    labels = _target(raw, names, target, found)
    check_overrides(names, target, wishes.immutable, ranges, kinds, KINDS, found)
    rows = np.arange(raw.n_rows) if labels is None or (labels[1] < 0).all() else np.flatnonzero(labels[1] >= 0)
    columns = _columns(raw, names, labels, rows, wishes, found)
    _check_size(columns, len(rows), found)
    found.notes[:0] = [*([raw.sampling] if raw.sampling else []), *raw.notes]
    return Schema(
        raw.source, names, None if labels is None else labels[0], columns, tuple(found.problems), tuple(found.notes)
    )


def _names(raw: RawTable, found: Findings) -> tuple[str, ...]:
    """Return a name for each column; note those without, refuse repeated ones."""
    empty = [j for j, name in enumerate(raw.names) if not name]
    names = tuple(name or f"column {j + 1}" for j, name in enumerate(raw.names))
    if empty:
        found.note(f"The header names no column {', '.join(str(j + 1) for j in empty[:10])}: called so here.")
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    repeated = [name for name, times in seen.items() if times > 1]
    if repeated:
        found.problem(
            f"Every column should have a name of its own, and {listed(repeated)} occurs more than once; rename or drop "
            "the others."
        )
    if len(names) > 1 and len(seen) == len(names) and all(_is_number(name) for name in names):
        found.note("All names of columns are numbers: if the file has no header line, its first row is taken for one.")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _target(
    raw: RawTable, names: tuple[str, ...], target: str, found: Findings
) -> tuple[Target, np.ndarray, Values] | None:
    """Return the target, every row's label with −1 where it is missing, and its values."""
    if target not in names:
        found.problem(f"Expected the target to be a column, got {quoted(target)}; {near(target, names)}")
        return None
    if len(names) == 1:
        found.problem(
            f"Expected features beside the target, and {quoted(target)} is the only column; separate columns by comma, "
            "semicolon, tab or pipe."
        )
    number = names.index(target)
    values = values_of(raw, number, keep_nothing=True)
    labels, class_names = categories_of(values)
    missing = int((labels < 0).sum())
    counts = np.bincount(labels[labels >= 0], minlength=len(class_names))
    problem = class_problem(target, values, class_names, raw.n_rows - missing)
    if problem:
        found.problem(problem)
    elif missing:
        found.note(f"{missing:,} rows without a value of the target {quoted(target)} are dropped.")
    if not problem:
        class_notes(class_names, counts, found)
    return Target(target, number, class_names, tuple(counts.tolist()), missing), labels, values


def _columns(
    raw: RawTable,
    names: tuple[str, ...],
    labels: tuple[Target, np.ndarray, Values] | None,
    rows: np.ndarray,
    wishes: Wishes,
    found: Findings,
) -> tuple[Column, ...]:
    setting = Setting(wishes.most_categories, raw.rows_in_file, raw.row_numbers[rows])
    seen: dict[bytes, str] = {}
    goal = None if labels is None else fingerprint(labels[2].at(rows))
    columns = []
    for j, name in enumerate(names):
        if labels is not None and j == labels[0].number:
            continue
        values = values_of(raw, j).at(rows)
        seems = guess(name, values, setting, declared=raw.is_declared(j, "categorical"))
        column = settle(name, j, values, seems, wishes, found, raw.line_numbers if len(rows) == raw.n_rows else None)
        if column.used and not column.hashed:
            reason = repeats(values, name in wishes.kinds, goal, seen, name)
            if reason:
                column = aside(name, j, column.kind, column.missing, reason)
                found.note(f"Column {quoted(name)} {reason}.")
            elif labels is not None:
                _note_leak(column, values, Categories(labels[1][rows], labels[0].class_names), found)
        columns.append(column)
    if columns and not any(column.used for column in columns):
        first = columns[0]
        found.problem(
            f"Expected a column to learn from, and all are set aside, such as {quoted(first.name)}: {first.sentence}; "
            "add columns, or say what they are with kinds."
        )
    return tuple(columns)


def _note_leak(column: Column, values: Values, classes: Categories, found: Findings) -> None:
    """Note a column of as many values as there are classes that tells the class of every row."""
    if column.missing:
        return
    labels, names = categories_of(values)
    if len(names) != len(classes.names):
        return
    pairs = np.unique(np.stack([labels, classes.labels]), axis=1)
    if pairs.shape[1] == len(classes.names):
        found.note(
            f"Column {quoted(column.name)} tells the class of every row: unless it is known before the class is, leave "
            "it out (kind 'ignore')."
        )


def _check_size(columns: tuple[Column, ...], n: int, found: Findings) -> None:
    width = sum(column.width for column in columns)
    if n * width * 8 > LARGEST_TABLE:
        found.problem(
            f"The encoded table should take {LARGEST_TABLE // 1024**3} GiB or less, and {n:,} rows of {width:,} "
            f"features take {n * width * 8 / 1024**3:.1f} GiB; lower max_rows, or leave columns out."
        )
