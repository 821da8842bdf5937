"""What an attack's search consists of, as compiled calls that can be timed, weighed and counted."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

# Seconds after which a call is not timed again, and the most times that it is.
_ENOUGH = 1.0
_MOST = 5


class Work(NamedTuple):
    """A part of a search: one compiled function, called again and again.

    Args:
        function: compiled by `equinox.filter_jit`.
        arguments: the number of units to do in one call → the arguments of that call.
        most: units that one call can do.
        units: units that the whole search does.
        hypergradients: what a call returned → hypergradients in each of its units.
    """

    function: Any
    arguments: Callable[[int], tuple[Any, ...]]
    most: int
    units: int
    hypergradients: Callable[[Any], int] = lambda _: 1


class Price(NamedTuple):
    """What a search costs: its seconds, its hypergradients, and the seconds of one."""

    seconds: float
    hypergradients: int

    @property
    def each(self) -> float:
        """Seconds a hypergradient."""
        return self.seconds / self.hypergradients if self.hypergradients else 0.0


def price(work: Work, call: Callable[..., Any]) -> Price:
    """Time a few units of work, and multiply.

    Args:
        work: the part of a search.
        call: its function, compiled.
    """
    found, first = timed(lambda: call(*work.arguments(1)))
    count = min(max(int(_ENOUGH / 2 / max(first, 1e-9)), 1), work.most)
    seconds = first if first > _ENOUGH else seconds_of(lambda: call(*work.arguments(count))) / count
    return Price(seconds * work.units, work.hypergradients(found) * work.units)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, once it is there, and the seconds it took."""
    begin = time.perf_counter()
    found = jax.block_until_ready(call())
    return found, time.perf_counter() - begin


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the seconds of a call, as the median of a few; of a slow one, of the first."""
    times: list[float] = []
    while not times or (len(times) < _MOST and sum(times) < _ENOUGH):
        times.append(timed(call)[1])
    return statistics.median(times)


def program_bytes(compiled: Any) -> int:
    """Return the memory that a compiled program takes while it runs: arguments, results and all between, in bytes."""
    found = compiled.compiled.memory_analysis()
    if found is None:  # a backend that does not say
        return 0
    parts = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(parts - found.alias_size_in_bytes)
