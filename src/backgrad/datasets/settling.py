"""One column settled: its kind as guessed or as asked for, its feasible range, its categories."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from backgrad.datasets.columns import USED, Guess, Values, categories_of
from backgrad.datasets.findings import Findings
from backgrad.datasets.raw import quoted
from backgrad.datasets.understood import Column, Range
from backgrad.spelling import things

KINDS = ("numeric", "integer", "binary", "categorical", "text", "identifier", "hash", "ignore")
# Beyond this the square of a number is infinite.
LARGEST = 1e150
# More columns than this no category needs, even where it is asked for.
_MOST_ASKED = 1000


class Wishes(NamedTuple):
    """The caller's settings."""

    immutable: frozenset[str]
    ranges: Mapping[str, Range]
    kinds: Mapping[str, str]
    quantiles: Range
    most_categories: int
    hash_columns: int


_WHY_ASIDE = {
    "constant": "set aside, since it tells nothing",
    "identifier": "set aside, since a model could only learn rows by heart",
    "text": "set aside; make numbers or categories of it, or hash its words (kind 'hash')",
}


def aside(name: str, j: int, kind: str, missing: int, sentence: str) -> Column:
    """Return a column that is not used, and why."""
    return Column(name, j, kind, used=False, sentence=sentence, missing=missing)


def settle(
    name: str, j: int, values: Values, seems: Guess, wishes: Wishes, found: Findings, lines: np.ndarray | None
) -> Column:
    """Return the column with its kind, bounds and categories."""
    wish = wishes.kinds.get(name)
    missing = int((~values.present).sum())
    if wish == "ignore":
        return aside(name, j, seems.kind, missing, f"{seems.sentence}: left out, as asked")
    if wish == "hash":
        fixed = "; immutable" if name in wishes.immutable else ""
        words = f"hashed by its words into {wishes.hash_columns} columns{fixed}, as asked"
        return Column(
            name, j, "text", True, words, missing, immutable=name in wishes.immutable, hashed=wishes.hash_columns
        )
    kind, sentence = seems
    if wish in KINDS and wish != kind:
        problem = _unlike(wish, values)
        if problem:
            found.problem(f"Column {quoted(name)} should be {wish}, as asked, and {problem}; leave its kind open.")
        else:
            kind, sentence = wish, f"{wish}, as asked ({sentence})"
    if kind not in USED:
        return aside(name, j, kind, missing, f"{sentence}: {_WHY_ASIDE[kind]}")
    if values.decimal_comma and kind in {"numeric", "integer"}:
        sentence += "; decimal commas are read as points"
    if values.points_between and kind in {"numeric", "integer"}:
        sentence += "; points between thousands are left out"
    if name in wishes.immutable:
        sentence += "; immutable, as asked"
    build = _measured if kind in {"numeric", "integer"} else _counted
    return build(
        Column(name, j, kind, True, sentence, missing, immutable=name in wishes.immutable), values, wishes, found, lines
    )


def _unlike(kind: str, values: Values) -> str | None:
    """Say why a column cannot be of a kind, or None."""
    numbers = values.numbers[values.used]
    numbers = numbers[~np.isnan(numbers)]
    if kind in {"numeric", "integer"} and not len(numbers):
        return "it holds no number"
    if kind == "integer" and not (numbers[np.isfinite(numbers)] % 1 == 0).all():
        return "it holds fractions"
    if kind == "binary" and len(categories_of(values).names) != 2:
        return f"it holds {len(categories_of(values).names):,} values"
    if kind == "categorical" and not len(values.used):
        return "it holds no value"
    return None


def _measured(column: Column, values: Values, wishes: Wishes, found: Findings, lines: np.ndarray | None) -> Column:
    """Return a numeric or integer column with its feasible range."""
    numbers = values.as_numbers()
    column = replace(column, missing=int(np.isnan(numbers).sum()))
    if _is_too_large(column.name, numbers, values, found, lines):
        return column
    asked = wishes.ranges.get(column.name)
    if asked is None:
        low, high = np.quantile(numbers[~np.isnan(numbers)], wishes.quantiles).tolist()
    else:
        low, high = map(float, asked)
    if column.kind == "integer" and asked is None:
        low, high = float(np.floor(low)), float(np.ceil(high))
    elif column.kind == "integer" and (low % 1 or high % 1) and np.isfinite([low, high]).all():
        found.problem(
            f"The range of {quoted(column.name)} should have whole numbers as its ends, like the column, and has "
            f"{low:g} and {high:g}; round them, or give the column the kind 'numeric'."
        )
    outside = int(((numbers < low) | (numbers > high)).sum())
    if asked is not None and outside:
        rows = f"{things(outside, 'row')} {'lies' if outside == 1 else 'lie'}"
        found.note(f"{rows} outside the range {low:g} to {high:g} asked for column {quoted(column.name)}.")
    sentence = column.sentence + (f"; feasible from {low:g} to {high:g}, as asked" if asked is not None else "")
    return replace(column, low=low, high=high, sentence=_with_missing(column, sentence, "imputed"))


def _is_too_large(name: str, numbers: np.ndarray, values: Values, found: Findings, lines: np.ndarray | None) -> bool:
    rows = np.flatnonzero(np.abs(numbers) > LARGEST)
    if not len(rows):
        return False
    place = "" if lines is None else f" in line {lines[rows[0]]:,}"
    found.problem(
        f"Numbers of column {quoted(name)} should lie within ±{LARGEST:g}, so that their squares are finite, and "
        f"{len(rows):,} do not, such as {quoted(values.text(int(values.codes[rows[0]])))}{place}; correct them or drop "
        "their rows."
    )
    return True


def _with_missing(column: Column, sentence: str, what: str) -> str:
    return f"{sentence}; {column.missing:,} missing, to be {what}" if column.missing else sentence


def _counted(column: Column, values: Values, wishes: Wishes, found: Findings, lines: np.ndarray | None) -> Column:
    """Return a binary or categorical column with its categories."""
    names = categories_of(values).names
    if column.name in wishes.ranges:
        found.problem(
            f"Only numeric and integer columns should have a range, and {quoted(column.name)} is {column.kind}; leave "
            "the range out, or make the column immutable."
        )
    if column.kind == "binary":
        _is_too_large(column.name, values.as_numbers(), values, found, lines)
        sentence = _with_missing(column, column.sentence, "imputed")
        return replace(column, sentence=sentence, low=0.0, high=1.0, categories=names)
    if len(names) > _MOST_ASKED:
        found.problem(
            f"A categorical column should have {_MOST_ASKED:,} categories or fewer, and {quoted(column.name)} has "
            f"{len(names):,}; merge rare ones, or hash it (kind 'hash')."
        )
        names = ()
    sentence = (
        f"{column.sentence}; {column.missing:,} missing are a category of their own"
        if column.missing
        else (column.sentence)
    )
    return replace(column, sentence=sentence, categories=names)
