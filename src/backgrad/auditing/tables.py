"""A table of the user's own as a problem: read, understood, and turned into numbers."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import (
    EncodedTable,
    Overrides,
    RawTable,
    Schema,
    encode,
    infer_schema,
    parse_range,
    read_overrides,
    read_table,
)
from ..errors import InputError
from ..threat.compose import Immutable
from ..threat.feasible import FeasibleSet
from .problem import Column, Problem, digest, feasible_set

#: Rows that are read at most; of larger tables, a random sample by a fixed rule.
MOST_ROWS = 200_000


def file_settings(
    path: str | os.PathLike[str],
    *,
    target: str | None,
    immutable: str | None = None,
    ranges: Sequence[str] = (),
    columns: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how a table is read, as the JSON values that `read_file` takes.

    Args:
        path: of the file.
        target: the column of the labels.
        immutable: names of columns that an attacker cannot set, separated by commas.
        ranges: texts such as `"age=18:90"`.
        columns: a YAML file with `immutable`, `ranges` and `kinds`; the other options win over it.
        seed: of the sample of rows.

    Raises:
        InputError: no target, or settings of another form.
    """
    if target is None:
        raise InputError(f"{path} is a table: name the column of its labels with --target.")
    given = Overrides() if columns is None else read_overrides(columns)
    names = () if immutable is None else tuple(name.strip() for name in immutable.split(",") if name.strip())
    found = given.and_then(Overrides(immutable=names, ranges=dict(map(parse_range, ranges))))
    return {
        "kind": "file",
        "path": os.path.abspath(path),
        "target": target,
        "immutable": list(found.immutable),
        "ranges": {name: list(ends) for name, ends in found.ranges.items()},
        "kinds": dict(found.kinds),
        "seed": seed,
    }


def read_file(data: Mapping[str, Any]) -> Problem:
    """Return the table that settings name, or raise with all that is wrong with it.

    Args:
        data: as `file_settings` makes them.

    Raises:
        InputError: the file cannot be read, or its content cannot be audited.
    """
    raw = read_table(data["path"], max_rows=MOST_ROWS, seed=data["seed"])
    kinds, ranges = ({}, {}) if raw.image_shape is None else _pixels(raw)
    schema = infer_schema(
        raw,
        target=data["target"],
        immutable=data["immutable"],
        ranges={**ranges, **{name: (low, high) for name, (low, high) in data["ranges"].items()}},
        kinds={**kinds, **data["kinds"]},
    )
    table = encode(raw, schema)
    file = Path(data["path"])
    return Problem(
        name=file.name,
        x=table.x,
        y=table.y,
        class_names=table.class_names,
        classes=table.class_names,
        feature_names=table.feature_names,
        feasible=_feasible(table),
        columns=_columns(schema),
        target=data["target"],
        source=file.name,
        form=raw.format,
        sha256=digest(table.x, table.y, np.array(table.class_names)),
        image_shape=raw.image_shape if table.x.shape[1] == len(kinds) else None,
        notes=tuple(note for note in table.notes if note != raw.sampling),
        sampling=raw.sampling,
    )


def _pixels(raw: RawTable) -> tuple[dict[str, str], dict[str, tuple[float, float]]]:
    """Return kinds and ranges of an image's pixels: none is set aside, and all run from black to white."""
    assert raw.image_shape is not None
    names = raw.names[: math.prod(raw.image_shape)]
    arrays = [raw.column(j) for j in range(len(names))]
    white = 1.0 if max(array.max() for array in arrays) <= 1 else 255.0
    whole = white > 1 and all((array == np.round(array)).all() for array in arrays)
    return dict.fromkeys(names, "integer" if whole else "numeric"), dict.fromkeys(names, (0.0, white))


def _columns(schema: Schema) -> tuple[Column, ...]:
    names = {field.name for field in dataclasses.fields(Column)}
    described = (column.describe() for column in schema.columns)
    return tuple(Column(**{name: value for name, value in one.items() if name in names}) for one in described)  # pyright: ignore[reportArgumentType]


def _feasible(table: EncodedTable) -> FeasibleSet:
    """Return where points may live: of each feature's kind, within its range, with what is fixed left alone."""
    kinds = {**dict.fromkeys(table.integer, "integer"), **dict.fromkeys(table.binary, "binary")}
    features = tuple(
        Column(name, kinds.get(i, "numeric"), low=float(table.lower[i]), high=float(table.upper[i]))
        for i, name in enumerate(table.feature_names)
    )
    found = feasible_set(features, groups=table.groups)
    return Immutable(found, table.immutable) if table.immutable else found
