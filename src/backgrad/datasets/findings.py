"""What is wrong with a table, and what is worth knowing, collected in sentences."""

import hashlib
import math
from collections.abc import Iterable, Mapping

import numpy as np

from backgrad.datasets.columns import Values, categories_of
from backgrad.datasets.raw import listed, quoted
from backgrad.datasets.understood import Range
from backgrad.spelling import nearest

# More fractional values than this are no class labels.
MOST_FRACTIONAL_CLASSES = 20
_FEW_ROWS = 20


class Findings:
    """Problems, which forbid going on, and notes; each a sentence."""

    def __init__(self):
        self.problems: list[str] = []
        self.notes: list[str] = []

    def problem(self, sentence: str) -> None:
        """Add what forbids going on."""
        self.problems.append(sentence)

    def note(self, sentence: str) -> None:
        """Add what is worth knowing."""
        self.notes.append(sentence)


def near(word: str, words: Iterable[str]) -> str:
    """Return a hint for a name that is not there."""
    words = list(words)
    close = nearest(word, words, most=2)
    return f"did you mean {' or '.join(map(quoted, close))}?" if close else f"it has {listed(words)}."


# --- the target -----------------------------------------------------------------------------------


def class_problem(target: str, values: Values, names: tuple[str, ...], rows: int) -> str | None:
    """Say why a column cannot be the classes of a table, or None.

    Args:
        target: its name.
        values: of all rows.
        names: of the classes.
        rows: how many have a value.
    """
    called = f"The target {quoted(target)}"
    if len(names) == 0:
        return f"{called} should hold class labels, and all are missing; choose another target."
    if len(names) == 1:
        return (
            f"{called} should have at least two classes, and all rows are {quoted(names[0])}; choose another target or "
            "add rows."
        )
    numbers = values.numbers[values.used]
    if np.isinf(numbers).any() and not np.isnan(numbers).any():
        return f"{called} should hold class labels, and holds infinity; correct those rows."
    fractional = not np.isnan(numbers).any() and (numbers % 1 != 0).any()
    if fractional and len(names) > MOST_FRACTIONAL_CLASSES:
        return (
            f"{called} should hold class labels, and it has {len(names):,} values, some of them fractions; choose "
            "another target, or cut its range into classes."
        )
    if rows >= _FEW_ROWS and len(names) > rows / 2:
        return (
            f"{called} should hold class labels, and it has {len(names):,} different values in {rows:,} rows; choose "
            "another target."
        )
    return None


def class_notes(names: tuple[str, ...], counts: np.ndarray, found: Findings) -> None:
    """Note classes that are rare."""
    rows, least = int(counts.sum()), int(counts.argmin())
    if counts[least] < 10 or counts[least] < 0.05 * rows:
        found.note(f"Classes are imbalanced: {quoted(names[least])} has {counts[least]:,} of {rows:,} rows.")


# --- what the caller asked for ----------------------------------------------------------------------


def check_overrides(
    names: tuple[str, ...],
    target: str,
    immutable: frozenset[str],
    ranges: Mapping[str, Range],
    kinds: Mapping[str, str],
    known_kinds: tuple[str, ...],
    found: Findings,
) -> None:
    """Find settings of columns that are not there, unknown kinds, and ranges that are none."""
    for what, asked in (("immutable", sorted(immutable)), ("ranges", ranges), ("kinds", kinds)):
        for name in asked:
            if name not in names:
                found.problem(f"Expected columns in {what}, got {quoted(name)}; {near(name, names)}")
            elif name == target:
                found.problem(f"The target {quoted(name)} should not be in {what}, and is; leave it out.")
    for name, kind in kinds.items():
        if kind not in known_kinds:
            found.problem(f"Expected a kind for column {quoted(name)}, got {quoted(kind)}; {near(kind, known_kinds)}")
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            found.problem(
                f"The range of {quoted(name)} should be two finite numbers, the lower first, and is {low:g} to "
                f"{high:g}; correct it."
            )


# --- columns that repeat others -------------------------------------------------------------------


def fingerprint(values: Values) -> bytes:
    """Return a digest that two columns share if they hold the same numbers, or the same texts, row by row."""
    digest = hashlib.blake2b(digest_size=16)
    if np.isnan(values.numbers[values.used]).any():
        labels, names = categories_of(values)
        digest.update(labels.astype(np.int64).tobytes())
        digest.update(repr(names).encode("utf-8", "backslashreplace"))
    else:
        # Adding 0 makes −0 the same as 0; NaN, where a value is missing, has one pattern of bits.
        digest.update((values.as_numbers() + 0.0).tobytes())
    return digest.digest()


def repeats(values: Values, is_asked: bool, goal: bytes | None, seen: dict[bytes, str], name: str) -> str | None:
    """Say that a column equals the target or one seen before, in words that follow its name; or None.

    Args:
        values: of the column.
        is_asked: whether the caller said what it is, and so wants it.
        goal: the target's fingerprint.
        seen: of columns before it, which this one joins.
        name: of the column.
    """
    print_ = fingerprint(values)
    if is_asked:
        return None
    if print_ == goal:
        return "equals the target: set aside, since a model would only copy it"
    if print_ in seen:
        return f"copies {quoted(seen[print_])}: set aside, since the two could not be told apart"
    seen[print_] = name
    return None
