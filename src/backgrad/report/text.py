"""Numbers and names in the form in which a reader meets them."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..spelling import spell_seconds

#: What stands for a number that does not exist.
NONE = "–"
# Scripts and emoji need the joiners; nobody needs the other characters that cannot be seen.
_JOINERS = "\u200c\u200d"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: No text of a record is shown beyond this length.
LONGEST_TEXT = 1_000
_MOST_MARKS = 4


def visible(text: str, *, longest: int = LONGEST_TEXT) -> str:
    r"""Return a text without characters that hide, reorder or break what stands around them.

    Control characters, marks of direction and lone surrogates become escapes; of combining marks in a row, four stay.

    >>> visible("a\u202eb\nc")
    'a\\u202eb\\nc'
    """
    if len(text) <= longest and text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = 0
    for character in text[: longest + 1]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > _MOST_MARKS:
            continue
        if category in _HIDDEN and character not in _JOINERS:
            code = ord(character)
            out.append(_SHORT.get(character) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"))
        else:
            out.append(character)
    return shorten("".join(out), longest)


def glue(sentence: str) -> str:
    """Return a sentence whose percent signs stay on the line of their numbers."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def shorten(text: str, longest: int) -> str:
    """Return a text cut to a length, its cut marked."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def all_visible(value: Any) -> Any:
    """Apply `visible` to every text of a JSON value, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): all_visible(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [all_visible(part) for part in value]
    return value


def labels(names: Iterable[str], longest: int) -> list[str]:
    """Return names short enough for a picture, all different."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        short = shorten(name.strip() or "(no name)", longest)
        short = "\N{NO-BREAK SPACE}" + short if short.startswith("_") else short  # matplotlib hides such labels
        seen[short] = seen.get(short, 0) + 1
        out.append(short if seen[short] == 1 else f"{shorten(short, longest - 4)} ({seen[short]})")
    return out


def percent(share: float | None, form: str = ".1f") -> str:
    r"""Write a share in percent.

    >>> percent(0.125), percent(None)
    ('12.5\xa0%', '–')
    """
    return NONE if share is None else f"{signed(100 * share, form)}\N{NO-BREAK SPACE}%"


def fraction(share: float | None) -> str:
    """Write a poison fraction in percent, with no more digits than it needs."""
    return percent(share, ".3g")


def signed(number: float, form: str) -> str:
    """Format a number with a true minus sign, and no sign on a zero."""
    text = format(number, form)
    zero = not text.strip("+-0.")
    return text.lstrip("+-") if zero else text.replace("-", "\N{MINUS SIGN}")


def number(value: float | None, form: str = ".3g") -> str:
    """Format a number, or say that there is none."""
    return NONE if value is None else signed(value, form)


def count(value: int | None) -> str:
    """Format a whole number, thousands apart."""
    return NONE if value is None else f"{value:,}"


def between(ends: Sequence[float | None] | None, write: Callable[[float | None], str] = percent) -> str:
    """Write an interval; an end that is none lies beyond what was tried."""
    if ends is None or all(end is None for end in ends):
        return NONE
    low, high = ends
    if high is None:
        return f"{write(low)} to beyond the budget"
    return f"{write(low)} to {write(high)}" if low is not None else f"up to {write(high)}"


def estimate(mean: float | None, ends: Sequence[float | None] | None) -> str:
    """Write a mean with its interval in brackets."""
    return percent(mean) if ends is None or mean is None else f"{percent(mean)} ({between(ends)})"


def seconds(value: float | None) -> str:
    """Write a time.

    >>> seconds(0.00002), seconds(0.25), seconds(7260.0)
    ('under 1 ms', '0.25 s', '2 h 1 min')
    """
    if value is None:
        return NONE
    return "under 1 ms" if value < 0.001 else spell_seconds(value)
