r"""Attacks that move one point at a time: the paper's greedy Algorithm 1, and coordinate passes.

A single point x_c ascends by steps of fixed length along its normalised hypergradient,

    x_c ← Π_Φ(x_c + α ∇_{x_c}𝒜 / ‖∇_{x_c}𝒜‖),    until 𝒜 gains less than ε  (Algorithm 1, line 5),

while the others stay. With a line search, a step that gains less than ε is tried again at half its length, a given
number of times, before the point stops; the point never moves to where 𝒜 is lower. `GreedyAttack` adds the points
one after another, each optimised once when it joins. `CoordinateAttack` starts with all points in place and goes round
them in passes, which the paper's CNN experiment does.
On a binary set a step of length α flips the α² coordinates that promise most.

Shapes are static: points yet to join are there with weight 0, so one compilation serves however many points.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..checks import check_count, check_not_negative, check_positive, native
from ..devices import everywhere, spreading
from ..threat.feasible import FeasibleSet
from .base import Attack, Optimised, Progress
from .cost import Work
from .objective import OuterObjective


class PointwiseAttack(Attack):
    """What greedy and coordinate attacks share.

    Args:
        max_steps: most ascent steps of a point, each time it is its turn.
        step_size: α, the length of a step.
        epsilon: ε, the gain of 𝒜 below which a point stops.
        halvings: how often a step that gained too little is tried again at half its length (line search).

    Raises:
        InputError: a number out of its range.
    """

    max_steps: int = eqx.field(default=100, static=True, converter=native)
    step_size: float = eqx.field(default=1.0, static=True, converter=native)
    epsilon: float = eqx.field(default=1e-5, static=True, converter=native)
    halvings: int = eqx.field(default=0, static=True, converter=native)

    def __check_init__(self):
        check_count(max_steps=self.max_steps)
        check_count(least=0, halvings=self.halvings)
        check_positive(step_size=self.step_size)
        check_not_negative(epsilon=self.epsilon)

    def _turns(self, points: int) -> list[tuple[int, int]]:
        """Return the points in the order of their turns, each with the number of points present."""
        raise NotImplementedError

    def search(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        *,
        seed: int,
        progress: Progress,
    ) -> Optimised:
        """Give each point its turns."""
        del seed
        points, trace, drift, budget = start, [], 0.0, len(start)
        turns = self._turns(budget)
        for done, (mover, present) in enumerate(turns, start=1):
            weight = jnp.asarray(np.arange(budget) < present, start.dtype)
            points, values, steps, drifted = _ascend(self, objective, feasible, points, weight, jnp.int32(mover))
            trace.append(np.asarray(values)[: int(steps)])
            drift = max(drift, float(drifted))
            progress(done / len(turns))
        return Optimised(points, np.concatenate(trace), drift)

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return the turns. How long one is shows when a point has had it; the first stands for all."""
        del seed
        turns = self._turns(len(start))
        mover, present = turns[0]
        weight = jnp.asarray(np.arange(len(start)) < present, start.dtype)
        arguments = (self, objective, feasible, start, weight, jnp.int32(mover))
        return [Work(_ascend, lambda _: arguments, 1, len(turns), lambda found: int(found[2]))]


class GreedyAttack(PointwiseAttack):
    """The paper's Algorithm 1 for several points: one after another, each kept once optimised."""

    name = "greedy"

    def _turns(self, points: int) -> list[tuple[int, int]]:
        return [(j, j + 1) for j in range(points)]


class CoordinateAttack(PointwiseAttack):
    """All points present from the start, optimised in turn over several passes.

    Args:
        passes: times each point gets its turn.
    """

    passes: int = eqx.field(default=2, static=True, converter=native)

    name = "coordinate"

    def __check_init__(self):
        check_count(passes=self.passes)

    def _turns(self, points: int) -> list[tuple[int, int]]:
        return [(j, points) for _ in range(self.passes) for j in range(points)]


class _Walk(NamedTuple):
    """One point's ascent: all points, 𝒜 and its gradient there, how often the step was halved, and what was seen."""

    points: Float[Array, "p d"]
    value: Float[Array, ""]
    gradient: Float[Array, "p d"]
    halved: Int[Array, ""]
    values: Float[Array, "s"]
    i: Int[Array, ""]
    drift: Float[Array, ""]


@eqx.filter_jit
def _ascend(
    attack: PointwiseAttack,
    objective: OuterObjective,
    feasible: FeasibleSet,
    points: Float[Array, "p d"],
    weight: Float[Array, "p"],
    mover: Int[Array, ""],
):
    """Let point `mover` ascend; return all points, the objective's trace, its length, and the largest drift."""
    values = jnp.full(attack.max_steps + 1, -jnp.inf, points.dtype)

    def measure(points):
        return objective.hypergradient(points, weight=weight)

    def move(points, gradient, length):
        # A step of all, since a set may hold each point in a place of its own; one of them takes it.
        return points.at[mover].set(feasible.ascend(points, gradient, length)[mover])

    # Lengths are static, since on a discrete set they say how many coordinates flip.
    lengths = [attack.step_size * 0.5**halved for halved in range(attack.halvings + 1)]
    moves = [functools.partial(move, length=length) for length in lengths]

    def more(walk):
        return (walk.halved <= attack.halvings) & (walk.i < attack.max_steps)

    def step(walk):
        tried = jax.lax.switch(walk.halved, moves, walk.points, walk.gradient)
        found = measure(tried)
        better = found.value > walk.value
        enough = found.value - walk.value >= attack.epsilon
        return _Walk(
            jnp.where(better, tried, walk.points),
            jnp.where(better, found.value, walk.value),
            jnp.where(better, found.gradient, walk.gradient),
            jnp.where(enough, walk.halved, walk.halved + 1),
            walk.values.at[walk.i + 1].set(found.value),
            walk.i + 1,
            jnp.maximum(walk.drift, found.drift),
        )

    found = measure(points)
    begin = _Walk(
        points, found.value, found.gradient, jnp.int32(0), values.at[0].set(found.value), jnp.int32(0), found.drift
    )
    end = jax.lax.while_loop(more, step, begin)
    with spreading(objective.mesh):
        return everywhere((end.points, end.values, end.i + 1, end.drift))
