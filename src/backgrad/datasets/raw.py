"""A table as it stood in its file, and which of its rows are kept where there are too many.

Row i of a file, counted from 0 without blank lines, has the key

    h(i) = mix(mix(seed) + (i + 1) · 0x9E3779B97F4A7C15),

all modulo 2⁶⁴, with `mix` the finaliser of SplitMix64 (Steele, Lea, Flood 2014, figure 16). The `max_rows` rows of the
smallest keys are kept, in the order of the file: a uniform sample that depends on nothing but the row numbers and the
seed, and needs memory for the kept rows only. `h` is one-to-one, so that no two keys tie.
"""

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from operator import itemgetter

import numpy as np

_BLOCK = 1 << 16
_STRIDE = np.uint64(0x9E3779B97F4A7C15)
_POINTED = r"[1-9]\d{0,2}(?:\.\d{3})+"
_POINTS_BETWEEN = re.compile(rf"[+-]?{_POINTED}(?:,\d+)?")
_DECIMAL_COMMA = re.compile(rf"[+-]?(?:\d*|{_POINTED}),\d+(?:[eE][+-]?\d+)?")
# 1,234 may be a thousand; 0,512 and 1,5 are not.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True, eq=False, repr=False)
class RawTable:
    """The columns of a file before anybody says what they mean.

    Args:
        source: the path.
        format: `"csv"`, `"tsv"`, `"arff"`, `"parquet"`, `"arrow"` or `"npz"`.
        names: of the d columns, without the space around them; they may be empty or repeated.
        rows_in_file: how many rows the file has.
        row_numbers: the kept rows, counted from 0 in the file, ascending, (n,).
        cells: of a text format, n rows of d values, each as it stood between the delimiters, unquoted.
        line_numbers: of a text format, the line that each row begins in, counted from 1, (n,).
        delimiter: of CSV and TSV.
        arrays: of other formats, d columns: numbers (n,) with NaN for missing ones, or texts (n,) with "" for them.
        declared: for each column `"categorical"` where the format says so, otherwise `""`.
        sampling: how rows were chosen, a sentence, where not all were kept.
        notes: what else happened in reading, in sentences.
        image_shape: where rows are images: height and width, and 3 for colours; their pixels are the first columns.
    """

    source: str
    format: str
    names: tuple[str, ...]
    rows_in_file: int
    row_numbers: np.ndarray
    cells: tuple[tuple[str, ...], ...] | None = None
    line_numbers: np.ndarray | None = None
    delimiter: str | None = None
    arrays: tuple[np.ndarray, ...] | None = None
    declared: tuple[str, ...] = ()
    sampling: str | None = None
    notes: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"<RawTable {self.source}: {self.n_rows} of {self.rows_in_file} rows, {len(self.names)} columns>"

    @property
    def n_rows(self) -> int:
        """The number of kept rows, n."""
        return len(self.row_numbers)

    def column(self, j: int) -> np.ndarray:
        """Return column j: float64 numbers, (n,), or texts without the space around them, (n,)."""
        if self.cells is None:
            assert self.arrays is not None
            return self.arrays[j]
        column = np.empty(len(self.cells), object)
        column[:] = [*map(str.strip, map(itemgetter(j), self.cells))]
        return column

    @cached_property
    def decimal_commas(self) -> bool:
        """Whether some column shows that commas are decimal, where they do not separate values."""
        if self.delimiter not in {";", "\t", "|"}:
            return False
        columns = ({text for text in self.column(j) if "," in text} for j in range(len(self.names)))
        return any(texts and may_be_decimal(texts) and not may_be_thousands(texts) for texts in columns)

    def is_declared(self, j: int, kind: str) -> bool:
        """Tell whether the format says that column j is of that kind."""
        return bool(self.declared) and self.declared[j] == kind


# --- which rows -----------------------------------------------------------------------------------


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def row_keys(start: int, stop: int, seed: int) -> np.ndarray:
    """Return the keys of the rows from `start` up to `stop`, uint64."""
    numbers = np.arange(start + 1, stop + 1, dtype=np.uint64)
    return _mix(_mix(np.array([seed % 2**64], np.uint64)) + numbers * _STRIDE)


def chosen_rows(n: int, max_rows: int | None, seed: int) -> np.ndarray:
    """Return the numbers of the rows that are kept of n, ascending."""
    if max_rows is None or n <= max_rows:
        return np.arange(n, dtype=np.int64)
    numbers, keys = np.empty(0, np.int64), np.empty(0, np.uint64)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        keys = np.concatenate([keys, row_keys(start, stop, seed)])
        numbers = np.concatenate([numbers, np.arange(start, stop, dtype=np.int64)])
        if len(keys) > max_rows:
            best = np.argpartition(keys, max_rows - 1)[:max_rows]
            keys, numbers = keys[best], numbers[best]
    return np.sort(numbers)


def _all_keys(seed: int) -> Iterator[int]:
    for start in count(0, _BLOCK):
        yield from row_keys(start, start + _BLOCK, seed).tolist()


def keep_rows(rows: Iterable, max_rows: int | None, seed: int) -> tuple[int, list[tuple[int, object]]]:
    """Go through rows once.

    Returns:
        How many there were, and the kept ones with their numbers, in order.
    """
    if max_rows is None:
        kept = list(enumerate(rows))
        return len(kept), kept
    heap: list[tuple[int, int, object]] = []
    number = -1
    for number, (row, key) in enumerate(zip(rows, _all_keys(seed), strict=False)):
        if len(heap) < max_rows:
            heapq.heappush(heap, (-key, number, row))
        elif -key > heap[0][0]:
            heapq.heapreplace(heap, (-key, number, row))
    return number + 1, sorted((number, row) for _, number, row in heap)  # numbers differ, so rows are never compared


def sampling_sentence(kept: int, n: int, seed: int) -> str | None:
    """Say how rows were chosen, or None where all were kept."""
    if kept == n:
        return None
    return (
        f"Of {n:,} rows {kept:,} are used, chosen at random by a fixed rule: the smallest SplitMix64 keys of row "
        f"number and seed {seed}."
    )


# --- numbers with commas --------------------------------------------------------------------------


def may_be_decimal(texts: Iterable[str]) -> bool:
    """Tell whether all texts would be numbers if their comma were a point; before it, points may part thousands."""
    return all(_DECIMAL_COMMA.fullmatch(text) for text in texts)


def may_be_thousands(texts: Iterable[str]) -> bool:
    """Tell whether all texts may be whole numbers, their comma between thousands and hundreds."""
    return all(_THOUSANDS.fullmatch(text) for text in texts)


def has_points_between(text: str) -> bool:
    """Tell whether a text may be a number with points between its thousands."""
    return _POINTS_BETWEEN.fullmatch(text) is not None


# --- words ----------------------------------------------------------------------------------------


def quoted(text: object, longest: int = 60) -> str:
    """Quote a name or a value, cut where it is long, with control characters escaped."""
    text = str(text)
    return repr(text if len(text) <= longest else f"{text[: longest - 1]}…")


def shown(path: object) -> str:
    """Quote a path, cut where it is absurdly long."""
    return quoted(path, 300)


def listed(names: Iterable[str]) -> str:
    """Quote some names, the first ten of many."""
    names = list(names)
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join(map(quoted, names[:10])) + more
