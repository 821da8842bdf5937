"""Numbers as people write them."""


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
