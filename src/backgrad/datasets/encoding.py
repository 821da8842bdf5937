"""A table as numbers: features with NaN where a number is missing, labels 0..k−1, and which features belong together.

A numeric or integer column is one feature in its unit, a binary one 0 and 1. A categorical column with categories
c₁ … c_m is m features, named like `colour=red`, of which one is 1 (and one more where values are missing). A hashed
text is word counts in a fixed number of columns (Weinberger et al. 2009, without signs), by MurmurHash3.
"""

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float64, Int64

from backgrad.checks import check_kind
from backgrad.datasets.columns import Values, categories_of, values_of
from backgrad.datasets.raw import RawTable, listed, quoted
from backgrad.datasets.understood import Column, Schema, Target
from backgrad.errors import DatasetError


@dataclass(frozen=True, eq=False, repr=False)
class EncodedTable:
    """Rows and labels as numbers; the arrays are read-only.

    Args:
        x: features, (n, d), NaN where a numeric, integer or binary value is missing.
        y: labels 0..k−1, (n,).
        feature_names: d names.
        class_names: k names.
        lower: least feasible value of every feature, (d,).
        upper: greatest, (d,).
        numeric: numbers of the features of that kind, ascending; those of hashed words are `integer`.
        integer: likewise.
        binary: likewise.
        groups: the features of each categorical column, of which exactly one is 1.
        immutable: features that an attacker has to leave as they are.
        columns: for each feature the name of its column.
        row_numbers: which rows of the file these are, counted from 0, (n,).
        notes: what is worth knowing, in sentences.
    """

    x: Float64[np.ndarray, "n d"]
    y: Int64[np.ndarray, "n"]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    lower: Float64[np.ndarray, "d"]
    upper: Float64[np.ndarray, "d"]
    numeric: tuple[int, ...]
    integer: tuple[int, ...]
    binary: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    immutable: tuple[int, ...]
    columns: tuple[str, ...]
    row_numbers: np.ndarray
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        n, d = self.x.shape
        return f"<EncodedTable: {n} rows, {d} features, {len(self.class_names)} classes>"


def encode(raw: RawTable, schema: Schema) -> EncodedTable:
    """Turn a table into numbers.

    Args:
        raw: the table that the schema was made from, or one of the same columns and categories.
        schema: what they mean.

    Returns:
        Rows whose target is known, in the order of the file.

    Raises:
        InputError: no table, or no schema.
        DatasetError: the schema has problems (all are in the message), or the table has other columns, categories or
            classes than the schema.
    """
    check_kind(RawTable, "what read_table(path) returns", raw=raw)
    check_kind(Schema, "what infer_schema(raw, target=...) returns", schema=schema)
    schema.check()
    assert schema.target is not None  # a schema without problems has one
    if len(raw.names) != len(schema.names):
        raise DatasetError(
            f"Expected a table of {len(schema.names)} columns, like the schema, got {len(raw.names)}; infer its schema "
            "anew."
        )
    y, rows = _labels(raw, schema.target)
    blocks, names, columns = [], [], []
    for column in schema.columns:
        if column.used:
            block, feature_names = _block(raw, column, rows)
            blocks.append(block)
            names += feature_names
            columns.append(column)
    x = np.concatenate(blocks, axis=1)
    lower, upper = _bounds(columns, x)
    for array in (x, y, lower, upper):
        array.setflags(write=False)
    return EncodedTable(
        x=x,
        y=y,
        feature_names=_unlike(names),
        class_names=schema.target.class_names,
        lower=lower,
        upper=upper,
        **_places(columns),
        columns=tuple(column.name for column in columns for _ in range(column.width)),
        row_numbers=raw.row_numbers[rows],
        notes=schema.notes,
    )


def _labels(raw: RawTable, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of rows that have one, and which these are."""
    found = _coded(values_of(raw, target.number, keep_nothing=True), target.name, target.class_names)
    rows = np.flatnonzero(found >= 0)
    return found[rows], rows


def _coded(values: Values, name: str, known: tuple[str, ...]) -> np.ndarray:
    """Return the number of each row's category among those known, (n,), −1 where it is missing."""
    labels, names = categories_of(values)
    places = {category: place for place, category in enumerate(known)}
    new = [category for category in names if category not in places]
    if new:
        raise DatasetError(
            f"Column {quoted(name)} should hold the values that its schema knows, and holds {listed(new)} besides; "
            "infer the schema from this table."
        )
    return np.array([*(places[category] for category in names), -1], np.int64)[labels]


def _block(raw: RawTable, column: Column, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the features of a column, (n, width), and their names."""
    if column.hashed:
        return _hashed(raw, column, rows), [f"{column.name}#{i}" for i in range(column.hashed)]
    if column.kind in {"numeric", "integer"}:
        return values_of(raw, column.number).at(rows).as_numbers()[:, None], [column.name]
    codes = _coded(values_of(raw, column.number).at(rows), column.name, column.categories)
    if column.kind == "binary":
        values = np.where(codes < 0, np.nan, codes.astype(np.float64))
        zero_one = column.categories == ("0", "1")
        return values[:, None], [column.name if zero_one else f"{column.name}={column.categories[1]}"]
    if (codes < 0).any() and not column.has_missing_category:
        raise DatasetError(
            f"Column {quoted(column.name)} should have no missing values, as its schema says, and has some; infer the "
            "schema from this table."
        )
    block = np.zeros((len(rows), column.width))
    block[np.arange(len(rows)), codes] = 1.0  # −1 is the last column, that of missing values
    names = [*column.categories, *(["(missing)"] if column.has_missing_category else [])]
    return block, [f"{column.name}={name}" for name in names]


def _hashed(raw: RawTable, column: Column, rows: np.ndarray) -> np.ndarray:
    from sklearn.feature_extraction.text import HashingVectorizer

    values = values_of(raw, column.number).at(rows)
    texts = ["" if code < 0 else values.text(code) for code in values.codes]
    hasher: Any = HashingVectorizer(n_features=column.hashed, alternate_sign=False, norm=None)  # pyright: ignore[reportArgumentType]
    return np.asarray(hasher.transform(texts).toarray(), np.float64)


def _bounds(columns: list[Column], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest feasible value of each feature, (d,) each."""
    lower, upper, start = np.zeros(x.shape[1]), np.ones(x.shape[1]), 0
    for column in columns:
        if column.hashed:
            upper[start : start + column.width] = x[:, start : start + column.width].max(axis=0)
        elif column.low is not None and column.high is not None:
            lower[start], upper[start] = column.low, column.high
        start += column.width
    return lower, upper


class _Places(TypedDict):
    numeric: tuple[int, ...]
    integer: tuple[int, ...]
    binary: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    immutable: tuple[int, ...]


def _places(columns: list[Column]) -> _Places:
    """Return which features are of which kind."""
    kinds: dict[str, list[int]] = {"numeric": [], "integer": [], "binary": []}
    groups, immutable, start = [], [], 0
    for column in columns:
        features = range(start, start + column.width)
        if column.kind == "categorical":
            groups.append(tuple(features))
        else:
            kinds["integer" if column.hashed else column.kind] += features
        if column.immutable:
            immutable += features
        start += column.width
    return _Places(
        numeric=tuple(kinds["numeric"]),
        integer=tuple(kinds["integer"]),
        binary=tuple(kinds["binary"]),
        groups=tuple(groups),
        immutable=tuple(immutable),
    )


def _unlike(names: list[str]) -> tuple[str, ...]:
    """Return the names, with a number after those that are there already."""
    taken: set[str] = set()
    result = []
    for name in names:
        unlike, number = name, 2
        while unlike in taken:
            unlike, number = f"{name} ({number})", number + 1
        taken.add(unlike)
        result.append(unlike)
    return tuple(result)
