"""What the command line chooses for all sections."""

from typing import NamedTuple


class Options(NamedTuple):
    """How long and how much to measure.

    Args:
        seconds: a group of contestants takes, once all had the fewest rounds.
        full: whether the CNN has all its parameters, in place of layers a quarter as wide.
    """

    seconds: float = 4.0
    full: bool = False

    @property
    def repeats(self) -> int:
        """How often to repeat what takes seconds, such as compilation: once where less than a second was asked for."""
        return 3 if self.seconds >= 1 else 1
