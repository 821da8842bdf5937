"""Wall-clock times of several contestants that take turns, as medians.

Contestants take turns because a machine's speed drifts (neighbours, clock rates, heat): what is measured in the same
minute can be divided, what is measured in different runs cannot. Each round shuffles the order, so that no contestant
always follows the same one, and each turn begins with a call that is not timed, which refills the caches and outlasts
the busy-waiting threads of whoever ran before.
"""

import gc
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Contestant = Callable[[], object]

# A turn repeats calls until it is this long: a single call of 100 µs drowns in the noise of clock and scheduler.
_TURN = 4e-3
# Calls this long need no untimed call before them: refilled caches are a negligible part of their time.
_LONG = 0.5


class Timing(NamedTuple):
    """Seconds a call: median, quartiles and fastest over the rounds, and the first call of all, which compiles."""

    median: float
    lower: float
    upper: float
    fastest: float
    first: float
    rounds: int

    @property
    def compilation(self) -> float:
        """What the first call took beyond a usual one."""
        return max(self.first - self.median, 0.0)


def clock(call: Contestant, repeats: int = 1, timer: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds a call takes, on average over `repeats` calls."""
    begin = timer()
    for _ in range(repeats):
        call()
    return (timer() - begin) / repeats


def alternate(
    contestants: Mapping[str, Contestant],
    *,
    seconds: float,
    least: int = 7,
    most: int = 51,
    timer: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time contestants in turn.

    Args:
        contestants: calls that return when their work is done, by name.
        seconds: after which no further round begins, once there were `least`.
        least: the fewest rounds.
        most: the most rounds.
        timer: the clock; `time.process_time` counts a processor's seconds, all threads together.

    Returns:
        The timing of each.
    """
    first = {name: clock(call, timer=timer) for name, call in contestants.items()}
    usual = {name: clock(call, timer=timer) for name, call in contestants.items()}
    repeats = {name: max(1, math.ceil(_TURN / length)) for name, length in usual.items()}
    found: dict[str, list[float]] = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(0)
    begin, rounds = time.perf_counter(), 0
    gc.collect()
    gc.disable()
    try:
        while rounds < least or (rounds < most and time.perf_counter() - begin < seconds):
            shuffle.shuffle(order)
            for name in order:
                if usual[name] < _LONG:
                    contestants[name]()
                found[name].append(clock(contestants[name], repeats[name], timer))
            rounds += 1
    finally:
        gc.enable()
    return {name: _summary(times, first[name]) for name, times in found.items()}


def _summary(times: list[float], first: float) -> Timing:
    lower, median, upper = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
    return Timing(median, lower, upper, min(times), first, len(times))


def fastest(variants: Mapping[str, Contestant], *, rounds: int = 5) -> str:
    """Return the name of the variant with the smallest median: how a side is tuned before it is measured.

    Variants that take over twice the best one's time at first sight are out at once: more threads than free cores
    can cost PyTorch a factor of 50.
    """
    for call in variants.values():
        call()  # whatever happens once
    seen = {name: clock(call) for name, call in variants.items()}
    final = {name: variants[name] for name, length in seen.items() if length <= 2 * min(seen.values())}
    times = alternate(final, seconds=0.0, least=rounds)
    return min(times, key=lambda name: times[name].median)
