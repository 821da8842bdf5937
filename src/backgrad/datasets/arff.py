"""ARFF, the format of Weka: a header of typed attributes, then rows of comma-separated values.

Read are dense rows of numeric, nominal and string attributes. Sparse rows, dates, relational attributes and weights of
rows are refused, with a sentence each. SciPy's reader knows no string attributes and no line numbers, and holds all
rows at once.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from backgrad.datasets.columns import MISSING, number
from backgrad.datasets.delimited import encoding_of, read_head, refuse_nothing, said_plainly, text_lines
from backgrad.datasets.raw import RawTable, keep_rows, quoted, sampling_sentence, shown
from backgrad.errors import DatasetError

_ATTRIBUTE = re.compile(
    r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s'"{][^\s{]*+))\s*(\{.*\}|\S+)""", re.IGNORECASE
)
_CELL = re.compile(r"""\s*+(?:'((?:[^'\\]|\\.)*+)'|"((?:[^"\\]|\\.)*+)"|([^\s,'"][^,]*+|))\s*+(,|$)""")
_ESCAPED = re.compile(r"\\(.)")
_NUMERIC = {"numeric", "real", "integer"}


class Attribute(NamedTuple):
    """A column: its name, and its kind `"numeric"`, `"nominal"` (one of `values`) or `"string"`."""

    name: str
    kind: str
    values: frozenset[str]


def _split(line: str, file: Path, place: int) -> list[str]:
    """Split a line at its commas, without the quotes, single or double, around values."""
    cells, at = [], 0
    while True:
        found = _CELL.match(line, at)
        if found is None:
            raise DatasetError(
                f"Quoted values of {shown(file)} should end with a quote and a comma, and in line {place:,} one does "
                "not; close the quote, and put a backslash before quotes within values."
            )
        single, double, bare, comma = found.groups()
        cells.append(bare.strip() if bare is not None else _ESCAPED.sub(r"\1", single if double is None else double))
        if not comma:
            return cells
        at = found.end()


def _attribute(line: str, file: Path, place: int) -> Attribute:
    found = _ATTRIBUTE.match(line)
    if found is None:
        raise DatasetError(
            f"Expected '@attribute NAME TYPE' in line {place:,} of {shown(file)}, and got {quoted(line)}; give the "
            "type numeric, string or {a,b,…}."
        )
    name = next(group for group in found.groups() if group is not None)
    name, kind = _ESCAPED.sub(r"\1", name), found[4]
    if kind.startswith("{"):
        return Attribute(name, "nominal", frozenset(_split(kind[1:-1], file, place)))
    if kind.lower() in _NUMERIC:
        return Attribute(name, "numeric", frozenset())
    if kind.lower() == "string":
        return Attribute(name, "string", frozenset())
    raise DatasetError(
        f"Attributes of {shown(file)} should be numeric, string or {{a,b,…}}, and {quoted(name)} in line {place:,} "
        f"is {quoted(kind)}; write it as one of these (a date as numbers), or leave it out."
    )


class _Body:
    """The attributes of a file and, after them, its rows with their lines."""

    def __init__(self, lines: Iterator[str], file: Path):
        self._file = file
        self._lines = ((place, line.strip()) for place, line in enumerate(lines, 1))
        self._lines = ((place, line) for place, line in self._lines if line and not line.startswith("%"))
        self.attributes = tuple(self._header())

    def _header(self) -> Iterator[Attribute]:
        for place, line in self._lines:
            word = line.split(maxsplit=1)[0].lower()
            if word == "@data":
                return
            if word == "@attribute":
                yield _attribute(line, self._file, place)
            elif word != "@relation":
                raise DatasetError(
                    f"Expected @relation, @attribute or @data in line {place:,} of {shown(self._file)}, and got "
                    f"{quoted(line)}; is it an ARFF file?"
                )
        raise DatasetError(f"Expected a line @data in {shown(self._file)}, and there is none; is it a whole ARFF file?")

    def __iter__(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        for place, line in self._lines:
            if line.startswith("{"):
                raise DatasetError(
                    f"Rows of {shown(self._file)} should be dense, and line {place:,} is sparse, in braces; write "
                    "all values (Weka's filter SparseToNonSparse does)."
                )
            cells = _split(line, self._file, place)
            if len(cells) != len(self.attributes):
                weighted = cells[-1].startswith("{") and len(cells) == len(self.attributes) + 1
                advice = "weights of rows are not read: drop them" if weighted else "quote values that hold commas"
                raise DatasetError(
                    f"Every row of {shown(self._file)} should have {len(self.attributes)} values, one for each "
                    f"attribute, and line {place:,} has {len(cells)}; {advice}."
                )
            yield place, tuple(cells)


def _check_cells(file: Path, attributes: tuple[Attribute, ...], lines: list[int], cells: list[tuple[str, ...]]) -> None:
    """Raise at a value that its attribute does not allow."""
    for j, attribute in enumerate(attributes):
        if attribute.kind == "string":
            continue
        for line, row in zip(lines, cells, strict=True):
            cell = row[j]
            if cell in attribute.values or cell.lower() in MISSING:
                continue
            if attribute.kind == "nominal" or math.isnan(number(cell)):
                expected = "a number" if attribute.kind == "numeric" else "one of the values that it lists"
                raise DatasetError(
                    f"The attribute {quoted(attribute.name)} of {shown(file)} should hold {expected}, and line "
                    f"{line:,} has {quoted(cell)}; correct the value or the attribute."
                )


def read_arff(file: Path, max_rows: int | None, seed: int, max_unpacked: int) -> RawTable:
    """Read dense ARFF, perhaps packed by gzip; see `backgrad.datasets.read_table`."""
    what = "an ARFF file in UTF-8"
    with said_plainly(file, what):
        head = read_head(file, max_unpacked)
    with text_lines(file, what, max_unpacked, encoding_of(head, file)) as lines:
        body = _Body(lines, file)
        n, found = keep_rows(body, max_rows, seed)
    refuse_nothing(file, n, header=bool(body.attributes))
    kept = cast(list[tuple[int, tuple[int, tuple[str, ...]]]], found)
    places, cells = [place for _, (place, _) in kept], [row for _, (_, row) in kept]
    _check_cells(file, body.attributes, places, cells)
    return RawTable(
        source=str(file),
        format="arff",
        names=tuple(attribute.name.strip() for attribute in body.attributes),
        rows_in_file=n,
        row_numbers=np.array([at for at, _ in kept], np.int64),
        cells=tuple(cells),
        line_numbers=np.array(places, np.int64),
        declared=tuple("categorical" if one.kind == "nominal" else "" for one in body.attributes),
        sampling=sampling_sentence(len(kept), n, seed),
    )
