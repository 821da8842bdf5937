"""What the values of one column are: numbers, two values, categories, an identifier or text.

The rules, in order, with n rows whose target is known:

1. no value at all, or a single one in every row: *constant*;
2. all values are numbers: *binary* if there are two, *identifier* if they are whole, distinct and consecutive (n ≥ 20)
   or long (from 2⁵³) or under a name like `id`, *integer* if they are whole, else *numeric*; long ones that repeat are
   words;
3. nine tenths are numbers, more than `most_categories` of them: *numeric*, the others count as missing;
4. words: *binary* if there are two and none is missing; with n ≥ 20 and nine tenths distinct, *identifier* if all are
   distinct and hold no spaces, else *text*; *categorical* up to `most_categories`; else *text*.

Two values of which one is "missing" are categories too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from backgrad.datasets.raw import RawTable, has_points_between, listed, may_be_decimal, may_be_thousands, quoted
from backgrad.spelling import things

Kind = Literal["numeric", "binary", "integer", "categorical", "constant", "identifier", "text"]
USED: frozenset[str] = frozenset({"numeric", "binary", "integer", "categorical"})

MISSING = frozenset(
    {"", "?", "na", "n/a", "nan", "-nan", "+nan", "<na>", "#n/a", "#na", "#n/a n/a", "1.#qnan", "-1.#ind"}
)
NOTHING = frozenset({"null", "none", "nil"})  # these may be the name of a class
_DASHES = frozenset({"-", "--", ".", "—", "–"})  # missing where all else is numbers
_FEW_ROWS = 20
_NEARLY_ALL = 0.9
_LONG = 40  # characters, on average, of prose
# A word of its own, or the end of camel case; pandas calls an index without a name "Unnamed: 0" in CSV, and
# "__index_level_0__" in Parquet.
_ID_NAME = re.compile(
    r"(?i:(?:^|[\W_])(?:id|uuid|guid|index|rowid|key)$|^unnamed: \d+$|^__index_level_\d+__$)|[a-z](?:Id|ID)$"
)
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{2,4}")


def number(text: str) -> float:
    """Return the number that a text spells, or NaN; unlike Python's, numbers have no underscores."""
    try:
        return np.nan if "_" in text else float(text)
    except ValueError:
        return np.nan


@dataclass(frozen=True, eq=False)
class Values:
    """A column value by value.

    Args:
        codes: which of the k distinct values a row holds, (n,), −1 where it is missing.
        numbers: what each spells, (k,), NaN where it is no number.
        texts: each as text, (k,); of a column of numbers None.
        decimal_comma: whether numbers are spelt as 1,5.
        points_between: whether numbers are spelt as 1.000.
    """

    codes: np.ndarray
    numbers: np.ndarray
    texts: tuple[str, ...] | None
    decimal_comma: bool = False
    points_between: bool = False

    @property
    def present(self) -> np.ndarray:
        """Which rows have a value, (n,)."""
        return self.codes >= 0

    @property
    def used(self) -> np.ndarray:
        """The distinct values that occur."""
        return np.unique(self.codes[self.present])

    def text(self, code: int | np.integer) -> str:
        """Return a distinct value as text."""
        return self.texts[code] if self.texts is not None else plain(float(self.numbers[code]))

    def as_numbers(self) -> np.ndarray:
        """Return every row's number, (n,), NaN where it is missing or no number."""
        return np.append(self.numbers, np.nan)[self.codes]

    def at(self, rows: np.ndarray) -> "Values":
        """Return the values of some rows."""
        return Values(self.codes[rows], self.numbers, self.texts, self.decimal_comma, self.points_between)


def plain(value: float) -> str:
    """Spell a number, whole ones without a point."""
    return str(int(value)) if float(value).is_integer() else str(float(value))


def values_of(raw: RawTable, j: int, *, keep_nothing: bool = False) -> Values:
    """Look at column j.

    Args:
        raw: the table.
        j: the number of the column.
        keep_nothing: whether "null" and "none" are values, as of a target.
    """
    column = raw.column(j)
    between = column.dtype == object and _has_points_between(raw, column)
    numeric = column if column.dtype != object else _all_numbers(column)
    if numeric is not None and not between:
        distinct, codes = np.unique(numeric, return_inverse=True)
        gone = np.isnan(distinct)
        return Values(np.where(gone[codes], -1, codes), distinct, None)
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(text, len(places)) for text in column], np.int64)
    texts = tuple(places)
    missing, numbers = _parse(texts, MISSING if keep_nothing else MISSING | NOTHING)
    comma = raw.delimiter in {";", "\t", "|"} and _is_decimal_comma(raw, texts)
    if comma or between:
        pointed = [text.replace(".", "") if between or "," in text else text for text in texts]
        numbers = np.array([number(text.replace(",", ".") if comma else text) for text in pointed])
    if not _DASHES.isdisjoint(texts) and np.isfinite(numbers).any():
        dashes = np.array([text in _DASHES for text in texts], bool)
        if not (np.isnan(numbers) & ~missing & ~dashes).any():
            missing |= dashes
    return Values(np.where(missing[codes], -1, codes), np.where(missing, np.nan, numbers), texts, comma, between)


def _all_numbers(column: np.ndarray) -> np.ndarray | None:
    """Return a column of texts as numbers, if all are; the quick way for most columns.

    None also where float64 might make two whole numbers one, or infinity of a number.
    """
    try:
        numbers = np.array([*map(float, column)])
    except ValueError:
        return None
    if (np.abs(numbers) >= 2.0**53).any() or "_" in "".join(column):
        return None
    return numbers


def _parse(texts: tuple[str, ...], lost: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which texts stand for a missing value, and the numbers that they spell, NaN where they spell none."""
    missing = np.array([text.lower() in lost for text in texts], bool)
    return missing, np.array([np.nan if gone else number(text) for text, gone in zip(texts, missing, strict=True)])


def _is_decimal_comma(raw: RawTable, texts: tuple[str, ...]) -> bool:
    """Tell whether all with a comma would be numbers with a point; 1,234 is one if other numbers of the file are."""
    spelt = [text for text in texts if "," in text]
    return bool(spelt) and may_be_decimal(spelt) and (not may_be_thousands(spelt) or raw.decimal_commas)


def _has_points_between(raw: RawTable, texts: Iterable[str]) -> bool:
    """Tell whether points stand between thousands: 1.234 is such a number where commas of the file are decimal."""
    if not raw.decimal_commas:
        return False
    pointed = {text for text in texts if "." in text}
    between = {text for text in pointed if has_points_between(text)}
    return bool(between) and all(np.isnan(number(text)) for text in pointed - between)


class Categories(NamedTuple):
    """Labels 0..k−1 of rows, (n,), −1 where missing, and the k names in their order."""

    labels: np.ndarray
    names: tuple[str, ...]


def categories_of(values: Values) -> Categories:
    """Number the distinct values in their order: as numbers if all are (1, 1.0 and 01 are one), else as texts.

    Long whole numbers are texts, too, since float64 would make some of them one.
    """
    used = values.used
    numbers = values.numbers[used]
    if np.isnan(numbers).any() or any(_is_long(values, code) for code in used):
        keys = sorted((values.text(code), code) for code in used)
        order = np.full(len(values.numbers) + 1, -1)
        order[[code for _, code in keys]] = np.arange(len(keys))
        return Categories(order[values.codes], tuple(text for text, _ in keys))
    distinct, places = np.unique(numbers, return_inverse=True)
    order = np.full(len(values.numbers) + 1, -1)
    order[used] = places
    names = tuple(plain(value) for value in distinct.tolist())
    return Categories(order[values.codes], names)


# --- kinds ----------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """What a guess needs to know besides the values: rules' bounds, and how many rows the file has."""

    most_categories: int
    rows_in_file: int
    row_numbers: np.ndarray


class Guess(NamedTuple):
    """A kind, and in words what was seen."""

    kind: Kind
    sentence: str


def describe_numbers(numbers: np.ndarray) -> str:
    """Say from where to where numbers run."""
    return f"from {numbers.min():.6g} to {numbers.max():.6g}"


def guess(name: str, values: Values, setting: Setting, *, declared: bool) -> Guess:
    """Tell what a column is.

    Args:
        name: of the column.
        values: of rows whose target is known.
        setting: the bounds of the rules.
        declared: whether the format says that it is categorical.
    """
    used, present = values.used, int(values.present.sum())
    if len(used) < 2:
        return _single(values)
    if declared or all(_is_long(values, code) for code in used):
        if len(used) == len(values.codes) and not declared:
            return Guess("identifier", "every row has its own long number, as an identifier would")
        return _words(name, values, setting, declared=declared)
    numeric = ~np.isnan(values.numbers[used])
    if numeric.all():
        return _numbers(name, values, setting)
    all_numbers = values.as_numbers()
    n_numbers = int((~np.isnan(all_numbers)).sum())
    if n_numbers >= _NEARLY_ALL * present and numeric.sum() > setting.most_categories:
        strays, cells = [values.text(code) for code in used[~numeric]], present - n_numbers
        said = f"{things(cells, 'cell')} {'is a word' if cells == 1 else 'are words'}"
        return Guess(
            "numeric",
            f"numbers {describe_numbers(all_numbers[~np.isnan(all_numbers)])}; {said} ({listed(strays[:3])}"
            f"{', …' if len(strays) > 3 else ''}) and {'counts' if cells == 1 else 'count'} as missing",
        )
    return _words(name, values, setting, declared=False)


def _single(values: Values) -> Guess:
    if not len(values.used):
        return Guess("constant", "holds no value")
    only = quoted(values.text(values.used[0]))
    if values.present.all():
        return Guess("constant", f"holds {only} in every row")
    return Guess("categorical", f"either {only} or missing")


def _numbers(name: str, values: Values, setting: Setting) -> Guess:
    numbers = values.as_numbers()[values.present]
    distinct = np.unique(numbers)
    if len(distinct) == 1:  # spelt in several ways
        return _single(values)
    if len(distinct) == 2:
        return Guess("binary", f"two values: {plain(distinct[0])} is read as 0 and {plain(distinct[1])} as 1")
    finite = np.isfinite(distinct)
    if not (distinct[finite] == np.round(distinct[finite])).all():
        return Guess("numeric", f"numbers {describe_numbers(numbers)}")
    if len(values.used) == len(values.codes) and _is_running(name, numbers, setting):
        return Guess("identifier", "every row has its own whole number, as an identifier would")
    return Guess("integer", f"whole numbers {describe_numbers(numbers)}")


def _is_long(values: Values, code: int | np.integer) -> bool:
    """Tell whether a value is a whole number so long that float64 might make it another's equal."""
    if values.texts is None or not abs(values.numbers[code]) >= 2.0**53:
        return False
    return values.text(code).lstrip("+-").isdecimal()


def _is_running(name: str, numbers: np.ndarray, setting: Setting) -> bool:
    """Tell identifiers from counts, both whole numbers that are all distinct."""
    if _ID_NAME.search(name):
        return True
    n = len(numbers)
    if n < _FEW_ROWS:
        return False
    in_order = len(np.unique(numbers - setting.row_numbers)) == 1
    return in_order or bool(n == setting.rows_in_file and numbers.max() - numbers.min() == n - 1)


def _words(name: str, values: Values, setting: Setting, *, declared: bool) -> Guess:
    texts = sorted(values.text(code) for code in values.used)
    present, n = int(values.present.sum()), len(values.codes)
    if len(texts) == 2 and present == n:
        names = categories_of(values).names
        return Guess("binary", f"two values: {quoted(names[0])} is read as 0 and {quoted(names[1])} as 1")
    many = n >= _FEW_ROWS and len(texts) >= _NEARLY_ALL * present and not declared
    if many and len(texts) == present and not _are_dates(texts) and (_ID_NAME.search(name) or not _any_spaces(texts)):
        return Guess("identifier", "every row has its own value, as an identifier would")
    length = float(np.mean([len(text) for text in texts]))
    if not many and len(texts) <= setting.most_categories and (declared or n < _FEW_ROWS or length <= _LONG):
        return Guess("categorical", f"{len(texts)} categories: {listed(texts[:5])}{', …' if len(texts) > 5 else ''}")
    shown = "dates" if _are_dates(texts) else "texts"
    return Guess("text", f"{len(texts):,} different {shown} in {present:,} rows")


def _any_spaces(texts: list[str]) -> bool:
    return any(len(text.split()) > 1 for text in texts)


def _are_dates(texts: list[str]) -> bool:
    return all(_DATE.match(text) for text in texts[:20])
