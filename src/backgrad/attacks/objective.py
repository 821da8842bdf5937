r"""The attacker's objective as one differentiable function, compiled once an attack.

With one surrogate of the victim, 𝒜(x) is the goal's value on validation rows after training on clean rows and points
x. With an ensemble of M surrogates of values 𝒜_m it is

    𝒜 = (1 − c) · mean_m 𝒜_m + c · softmin_m 𝒜_m,    softmin = −τ log mean_m exp(−𝒜_m / τ),

where c is the attacker's caution: the surrogates that the points hurt least then pull most. An attacker who knows a
defence pays for points that it finds suspicious, see `backgrad.threat.evasion`. Members that differ in
numbers alone share one compilation, and run one after another, so that memory is that of one training run.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..adjoints.base import Adjoint
from ..devices import SpreadRows, everywhere, rows_of, spreading
from ..errors import UnsupportedError
from ..hosted import Block
from ..schedules import Descent
from ..threat.evasion import Evasion
from ..threat.goals import Goal
from ..threat.knowledge import Member
from ..threat.labels import LabelRule
from ..training import train
from ..types import Samples

# τ, in units of 𝒜, which a smooth zero-one loss keeps between 0 and 1.
_SOFTMIN_WIDTH = 0.05


class Hypergradient(NamedTuple):
    """𝒜, its gradient with respect to the points, and the reversal drift (0 for exact adjoints)."""

    value: Float[Array, ""]
    gradient: Float[Array, "p d"]
    drift: Float[Array, ""]


class OuterObjective(eqx.Module):
    """𝒜 as a function of the points.

    Where labels move, points carry them as k further columns after their d features.

    Args:
        groups: the surrogates, those of one compiled shape together: each a member whose differing numbers are stacked
            along a first axis of `sizes` entries.
        sizes: the number of members of each group.
        adjoints: of each group: how gradients go back through training.
        goal: what the attacker wants.
        train: the clean training rows.
        validation: the attacker's validation rows.
        labels: soft labels of the points, (p, k), where they do not move.
        rule: who labels the points.
        caution: c.
        evasion: the defence that the attacker knows.
        mesh: the devices that rows and, while training runs, points are spread over; None for one device.
    """

    groups: tuple[Member, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)
    adjoints: tuple[Adjoint, ...]
    goal: Goal
    train: Block | SpreadRows
    validation: Samples | SpreadRows
    labels: Float[Array, "p k"]
    rule: LabelRule = eqx.field(static=True)
    caution: float = eqx.field(default=0.0, static=True)
    evasion: Evasion | None = None
    mesh: Mesh | None = eqx.field(default=None, static=True)

    def __call__(self, points: Float[Array, "p _"]) -> Float[Array, ""]:
        """Return 𝒜 with all points present."""
        weight = jnp.ones(points.shape[0], points.dtype)

        def value(member: Member, adjoint: Adjoint):
            return self._value(member, adjoint, points, weight, None)[1][0]

        with spreading(self.mesh):
            return self._combine(self._over_members(value))

    def judged(self, points: Float[Array, "p _"]) -> tuple[Float[Array, ""], Int[Array, ""]]:
        """Return 𝒜 with all points present, and the worst `Status` in which the training of a member ended."""
        weight = jnp.ones(points.shape[0], points.dtype)

        def value(member: Member, adjoint: Adjoint):
            return self._value(member, adjoint, points, weight, None)[1]

        with spreading(self.mesh):
            values, statuses = self._over_members(value)
            return self._combine(values), jnp.max(statuses)

    def hypergradient(
        self,
        points: Float[Array, "p _"],
        *,
        weight: Float[Array, "p"] | None = None,
        climb: Samples | None = None,
        held: bool = False,
    ) -> Hypergradient:
        """Return 𝒜 and its gradient.

        Args:
            points: the points, (p, d), or (p, d + k) where labels move.
            weight: of the points; ones where omitted.
            climb: rows to take the gradient on instead of the validation rows; the value stays that on validation.
            held: whether the gradient is that of the goal with its units of measurement held, see `OuterLoss.held`.
        """
        ascent = _Ascent(climb, self.goal.held() if held else self.goal)
        weight = jnp.ones(points.shape[0], points.dtype) if weight is None else weight

        def differentiate_member(member: Member, adjoint: Adjoint):
            def value(points, probe):
                return self._value(member, adjoint, points, weight, probe, ascent)

            probe = jnp.zeros((), points.dtype)
            (_, (own, _)), found = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(points, probe)
            return own, *found

        with spreading(self.mesh):
            values, gradients, drifts = self._over_members(differentiate_member)
            if sum(self.sizes) == 1:
                return everywhere(Hypergradient(values[0], gradients[0], drifts[0]))
            combined, share = jax.value_and_grad(self._combine)(values)
            return everywhere(Hypergradient(combined, jnp.tensordot(share, gradients, axes=1), jnp.max(drifts)))

    def redrawn(self, key: PRNGKeyArray) -> "OuterObjective":
        """Return the same objective with other initial parameters and batches, those that follow from a key."""

        def redraw(number: int, size: int, group: Member) -> Member:
            own = jax.random.fold_in(key, number)
            stacked = _is_stack(group.schedule.key)
            fresh = _Stack(jax.random.split(own, size)) if stacked else own
            return eqx.tree_at(lambda g: g.schedule.key, group, fresh, is_leaf=lambda x: x is None)

        pairs = zip(self.groups, self.sizes, strict=True)
        groups = tuple(redraw(number, size, group) for number, (group, size) in enumerate(pairs))
        return eqx.tree_at(lambda o: o.groups, self, groups)

    def shortened(self, factor: int) -> "OuterObjective":
        """Return the same objective after a training of fewer steps, one for every `factor` of the schedule's.

        Raises:
            UnsupportedError: a schedule that has no number of steps.
        """

        def shorten(group: Member) -> Member:
            if not isinstance(group.schedule, Descent):
                raise UnsupportedError("a rehearsal shortens training and needs a Descent schedule: set rehearsal=0.")
            steps = max(group.schedule.steps // factor, 1)
            return group._replace(schedule=dataclasses.replace(group.schedule, steps=steps))

        return dataclasses.replace(self, groups=tuple(shorten(group) for group in self.groups))

    def split(self, points: Float[Array, "p _"]) -> tuple[Float[Array, "p d"], Float[Array, "p k"]]:
        """Return the features and the soft labels of points."""
        d = self.train.x.shape[1]
        if points.shape[1] > d:
            return points[:, :d], points[:, d:]
        assigned = self.rule.assign(points, self.train.y.shape[1])
        return points, self.labels if assigned is None else assigned

    def _combine(self, values: Float[Array, "M"]) -> Float[Array, ""]:
        if len(values) == 1:
            return values[0]
        mean = jnp.mean(values)
        if self.caution == 0:
            return mean
        least = -_SOFTMIN_WIDTH * (jax.nn.logsumexp(-values / _SOFTMIN_WIDTH) - jnp.log(1.0 * len(values)))
        return (1 - self.caution) * mean + self.caution * least

    def _over_members(self, function) -> Any:
        """Return what `function` gives for every member, stacked."""
        results = []
        for group, size, adjoint in zip(self.groups, self.sizes, self.adjoints, strict=True):
            if size == 1:
                results.append(jax.tree.map(lambda a: a[None], function(group, adjoint)))
                continue
            numbers, member = _unstack(group)

            def one(numbers, member=member, adjoint=adjoint):
                return function(member(numbers), adjoint)

            results.append(jax.lax.map(one, numbers))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)

    def _value(self, member: Member, adjoint: Adjoint, points, weight, probe, ascent: "_Ascent | None" = None):
        """Return the value to climb; and the goal's on the validation rows, with training's status."""
        x, y = self.split(points)
        blocks = (rows_of(self.train), Samples(x, y, weight))
        trained = train(member.learner, blocks, schedule=member.schedule, adjoint=adjoint, probe=probe)
        own = self.goal.value(member.learner, trained.params, rows_of(self.validation))
        climbed = own
        if ascent is not None and (ascent.rows is not None or ascent.goal is not self.goal):
            rows = rows_of(self.validation) if ascent.rows is None else ascent.rows
            climbed = ascent.goal.value(member.learner, trained.params, rows)
        if self.evasion is not None:
            cost = self.evasion.penalty(Samples(x, y, weight), member.learner, trained.params)
            climbed, own = climbed - cost, own - cost
        return climbed, (own, trained.status)


class _Ascent(NamedTuple):
    """What a search climbs instead of 𝒜: a goal of the same kind, on these rows or, for None, the validation rows."""

    rows: Samples | None
    goal: Goal


class _Stack(eqx.Module):
    """Numbers of a group's members that differ, along a first axis."""

    values: Array


def _is_stack(leaf) -> bool:
    return isinstance(leaf, _Stack)


def _unstack(group: Member):
    """Return the numbers in which a group's members differ, stacked, and how to make a member of one set of them."""
    leaves, structure = jax.tree.flatten(group, is_leaf=_is_stack)

    def member(numbers) -> Member:
        given = iter(numbers)
        return structure.unflatten([next(given) if _is_stack(leaf) else leaf for leaf in leaves])

    return [leaf.values for leaf in leaves if _is_stack(leaf)], member


def group_members(members: tuple[Member, ...], dtype) -> tuple[tuple[Member, ...], tuple[int, ...]]:
    """Put members of one compiled shape together.

    Args:
        members: learners and schedules.
        dtype: of numbers that become arrays because members differ in them.

    Returns:
        The groups, and the number of members in each.
    """
    found: dict[Any, list[Member]] = {}
    for member in members:
        leaves, structure = jax.tree.flatten(member)
        shapes = tuple(getattr(leaf, "shape", ()) for leaf in leaves)
        found.setdefault((structure, shapes), []).append(member)
    groups = []
    for alike in found.values():
        groups.append(jax.tree.map(lambda *leaves: _join(leaves, dtype), *alike))
    return tuple(groups), tuple(len(alike) for alike in found.values())


def _join(leaves, dtype):
    """Return the number that all members share, or a stack of theirs."""
    first = leaves[0]
    if all(isinstance(leaf, int | float) and leaf == first for leaf in leaves) or len(leaves) == 1:
        return first
    arrays = [leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf, dtype) for leaf in leaves]
    return _Stack(jnp.stack(arrays))


@eqx.filter_jit
def evaluate_and_judge(
    objective: OuterObjective, points: Float[Array, "p _"]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Return 𝒜 and the worst status of its trainings, compiled."""
    return objective.judged(points)


def evaluate(objective: OuterObjective, points: Float[Array, "p _"]) -> Float[Array, ""]:
    """Return 𝒜; of the compiled function that also judges, so that one compilation serves both."""
    return evaluate_and_judge(objective, points)[0]


@eqx.filter_jit
def differentiate(
    objective: OuterObjective, points: Float[Array, "p _"], weight: Float[Array, "p"] | None = None
) -> Hypergradient:
    """Return 𝒜 and its gradient, compiled; points weigh one where no weights are given."""
    return objective.hypergradient(points, weight=weight)
