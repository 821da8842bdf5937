"""What every attack is compared with: points that nobody optimised."""

import equinox as eqx
import jax
import numpy as np

from ..checks import check_count, native
from ..threat.feasible import FeasibleSet
from .base import Attack, Optimised, Progress
from .cost import Work
from .objective import OuterObjective, evaluate, evaluate_and_judge


class LabelFlip(Attack):
    """The start of an attack and no more: rows with a wrong label."""

    name = "label-flip"
    climbs = False

    def search(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        *,
        seed: int,
        progress: Progress,
    ) -> Optimised:
        """Return the start."""
        del objective, feasible, seed
        progress(1.0)
        return unoptimised(start)

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return nothing, which is what there is to compute."""
        del objective, feasible, start, seed
        return []


class RandomPoints(Attack):
    """Points drawn uniformly from the feasible set, the best of several draws.

    Args:
        draws: how many sets of points to try.
    """

    draws: int = eqx.field(default=10, static=True, converter=native)

    name = "random"
    climbs = False

    def __check_init__(self):
        check_count(draws=self.draws)

    def search(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        *,
        seed: int,
        progress: Progress,
    ) -> Optimised:
        """Return the best draw, or the start where no draw is better."""
        best, best_value, trace = start, float(evaluate(objective, start)), []
        for i, key in enumerate(jax.random.split(jax.random.key(seed), self.draws), start=1):
            points = feasible.sample(key, *start.shape).astype(start.dtype)
            value = float(evaluate(objective, points))
            trace.append(value)
            if value > best_value:
                best, best_value = points, value
            progress(i / self.draws)
        return unoptimised(best, trace)

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return the evaluations of the start and of the draws."""
        del feasible, seed
        return [Work(evaluate_and_judge, lambda _: (objective, start), 1, 1 + self.draws, lambda _: 0)]


def unoptimised(points: jax.Array, trace=()) -> Optimised:
    """Return points that no gradient moved."""
    return Optimised(points, np.asarray(trace, dtype=float), 0.0)
