"""Numbers as people write them, and the names that they meant."""

import difflib
from collections.abc import Iterable


def nearest(word: str, words: Iterable[str], *, most: int = 1) -> list[str]:
    """Return the names that somebody may have meant by another, the likeliest first; in any case, if need be.

    >>> nearest("KNN", ["knn", "trim"]), nearest("sphere", ["slab", "spheres", "spherical"], most=2), nearest("x", [])
    (['knn'], ['spheres', 'spherical'], [])
    """
    # Long names and wide tables are not worth the time.
    pool, word = [one for one in words if len(one) <= 100][:5000], word[:100]
    lower = {one.lower(): one for one in pool}
    return difflib.get_close_matches(word, pool, n=most) or [
        lower[one] for one in difflib.get_close_matches(word.lower(), lower, n=most)
    ]


def spell_seconds(value: float) -> str:
    """Return a time in the unit that suits it, with two digits or more.

    >>> [spell_seconds(value) for value in (0.00061, 0.25, 9.96, 84.0, 119.6, 7260.0)]
    ['0.61 ms', '0.25 s', '10 s', '84 s', '2 min', '2 h 1 min']
    """
    if 0 < value < 0.0995:
        return f"{_two_digits(1000 * value)} ms"
    if value < 119.5:
        return f"{_two_digits(value)} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _two_digits(value: float) -> str:
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"


def spell_share(value: float) -> str:
    """Return a share in percent.

    >>> spell_share(0.125)
    '12.5 %'
    """
    return f"{100 * value:.1f} %"


def things(value: int, one: str, many: str | None = None) -> str:
    """Write a number of things.

    >>> things(1, "row"), things(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def spans(numbers: Iterable[int]) -> str:
    """Write whole numbers as ranges.

    >>> spans((7, 0, 1, 2, 3))
    '0-3,7'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
