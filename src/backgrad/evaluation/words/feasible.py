r"""Feasible sets in words.

    SPEC = SET, then any number of +RULE
    SET  = box | box:A..B | binary | integer | image | onehot | auto
    RULE = COLUMNS=SET | fixed:COLUMNS | l2:R | linf:R

`box` is [0, 1], the range of all scaled columns; `box:0.05..0.95` lies between quantiles of each column. `integer` are
the whole numbers, in the unit of the source, between a column's least and greatest. `onehot` is one group of columns
of which one is 1. `auto` is binary where a column holds zeros and ones alone, integer where it holds whole numbers
alone, and a box elsewhere. COLUMNS are names or numbers from 0, and ranges of them, separated by commas: `3,7-9`.
`fixed` columns keep the values of the rows that points start from, and `l2` and `linf` keep points within a radius
of these, in scaled units.
"""

import numpy as np

from ...datasets import Dataset
from ...errors import InputError
from ...threat.compose import Ball, Columns, Immutable, Rescaled
from ...threat.discrete import Binary, Integer, OneHot
from ...threat.feasible import Box, FeasibleSet, Image

_SETS = "box, box:A..B, binary, integer, image, onehot, auto"


def make_feasible(text: str, data: Dataset) -> FeasibleSet:
    """Return the feasible set that words stand for.

    Args:
        text: a SPEC of this module's grammar.
        data: whose columns it constrains.

    Raises:
        InputError: words of another form, columns that do not exist, or a set that the data do not lie in.
    """
    first, *rules = (part.strip() for part in text.split("+"))
    special = []
    for rule in rules:
        if "=" in rule:
            columns, _, name = rule.partition("=")
            special.append((tuple(sorted(parse_columns(columns, data))), name.strip()))
    wraps = [rule for rule in rules if "=" not in rule]
    feasible = _by_columns(first, special, data)
    for rule in wraps:
        feasible = _wrap(rule, feasible, data)
    return feasible


def learns_bounds(text: str) -> bool:
    """Tell whether a SPEC has quantiles, outside of which some starting rows lie by design."""
    return "box:" in text


def _by_columns(first: str, special: list[tuple[tuple[int, ...], str]], data: Dataset) -> FeasibleSet:
    every = tuple(range(data.n_features))
    if not special and first != "auto":
        return _one(first, every, data)
    named = [column for columns, _ in special for column in columns]
    twice = sorted({c for c in named if named.count(c) > 1})
    if twice:
        raise InputError(f"--feasible gives column {data.feature_names[twice[0]]!r} two sets: give it one.")
    parts = list(special)
    rest = tuple(c for c in every if c not in named)
    if first == "auto":
        kinds = np.asarray([_kind(data, c) for c in rest])
        parts += [
            (tuple(int(c) for c in np.asarray(rest)[kinds == kind]), kind)
            for kind in ("binary", "integer", "box")
            if (kinds == kind).any()
        ]
    elif rest:
        parts.append((rest, first))
    sets = [(columns, _one(name, columns, data)) for columns, name in parts]
    return sets[0][1] if len(sets) == 1 else Columns(tuple(sets))


def _units(data: Dataset, column: int) -> np.ndarray:
    """Return a column in the unit of the source."""
    low, high = data.feature_minimum[column], data.feature_maximum[column]
    return data.x[:, column] * (high - low) + low


def _kind(data: Dataset, column: int) -> str:
    values = data.x[:, column]
    if ((values == 0) | (values == 1)).all():
        return "binary"
    return "integer" if _is_whole(data, column) else "box"


def _is_whole(data: Dataset, column: int) -> bool:
    """Tell whether a column holds whole numbers in the unit of the source, but for round-off of its range."""
    own = _units(data, column)
    largest = max(abs(data.feature_minimum[column]), abs(data.feature_maximum[column]))
    slack = 1e-9 + 4 * np.finfo(float).eps * largest
    return bool(np.all(np.abs(own - np.round(own)) <= slack))


def _one(name: str, columns: tuple[int, ...], data: Dataset) -> FeasibleSet:
    """Return the set of some columns."""
    x = data.x[:, list(columns)]
    kind, _, detail = name.partition(":")
    if detail and kind != "box":
        raise InputError(f"--feasible takes numbers after box alone, such as box:0.05..0.95; got {name!r}.")
    if kind == "box":
        return Box.from_data(x, quantiles=_quantiles(detail)) if detail else Box()
    if kind == "binary":
        _require(bool(((x == 0) | (x == 1)).all()), "binary", "features that are all 0 or 1", data)
        return Binary()
    if kind == "onehot":
        _require(bool(((x == 0) | (x == 1)).all() and (x.sum(axis=1) == 1).all()), "onehot", "one 1 in each row", data)
        return OneHot((len(columns),))
    if kind == "image":
        side = round(len(columns) ** 0.5)
        _require(side**2 == len(columns), "image", "square images", data)
        return Image(shape=(side, side))
    if kind == "integer":
        own = np.stack([_units(data, c) for c in columns], axis=1)
        _require(all(_is_whole(data, c) for c in columns), "integer", "whole numbers", data)
        low, high = (np.asarray(bound)[list(columns)] for bound in (data.feature_minimum, data.feature_maximum))
        lattice = Integer(np.floor(own.min(axis=0) + 0.5), np.floor(own.max(axis=0) + 0.5))
        return Rescaled(lattice, low, np.where(high > low, high - low, 1.0))
    raise InputError(f"--feasible must start with one of {_SETS}; got {name!r}.")


def _require(holds: bool, name: str, what: str, data: Dataset) -> None:
    if not holds:
        raise InputError(
            f"--feasible {name} needs {what}, but those of {data.name} are not: use --feasible box, or auto."
        )


def _quantiles(text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    try:
        if dots:
            return float(low), float(high)
    except ValueError:
        pass
    raise InputError(f"--feasible box takes two quantiles, such as box:0.05..0.95; got box:{text}.")


def _wrap(rule: str, base: FeasibleSet, data: Dataset) -> FeasibleSet:
    """Return a set with a rule about the starting points around it."""
    kind, _, detail = rule.partition(":")
    if kind == "fixed":
        return Immutable(base, parse_columns(detail, data))
    if kind in ("l2", "linf"):
        try:
            return Ball(base, float(detail), kind)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"--feasible {kind} takes a radius, such as {kind}:0.5; got {rule!r}.") from None
    raise InputError(f"--feasible takes the rules COLUMNS=SET, fixed:COLUMNS, l2:R and linf:R; got {rule!r}.")


def parse_columns(text: str, data: Dataset) -> tuple[int, ...]:
    """Return the numbers of columns given as names, numbers and ranges of them.

    Args:
        text: such as `3,7-9` or `age,sex`.
        data: whose columns they are.

    Raises:
        InputError: a column that does not exist, or a range that runs backwards.
    """
    numbers = {name: i for i, name in enumerate(data.feature_names)}
    found: list[int] = []
    for part in (piece.strip() for piece in text.split(",")):
        first, dash, last = part.partition("-")
        if part in numbers:
            found.append(numbers[part])
        elif dash and first.isdigit() and last.isdigit() and int(first) <= int(last) < data.n_features:
            found += range(int(first), int(last) + 1)
        elif part.isdigit() and int(part) < data.n_features:
            found.append(int(part))
        else:
            raise InputError(
                f"{data.name} has no column {part!r}: columns are names ({data.feature_names[0]!r}, …), numbers 0 to "
                f"{data.n_features - 1}, or ranges such as 0-2."
            )
    return tuple(dict.fromkeys(found))
