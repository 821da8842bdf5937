r"""Joint back-gradient attack: all poisoning points climb the hypergradient at once.

One evaluation gives the gradient with respect to every point, so optimising them together costs as much a step as
optimising one, and lets points divide the work. On a convex set each point j climbs by

    u_j ← 0.9 u_j + 0.1 g_j / ‖g_j‖,    x_j ← Π_Φ(x_j + α_i u_j / (1 − 0.9^i)),

with g_j its hypergradient and α_i falling from α to 0 by half a cosine. Normalising point by point matters: raw
gradients differ by orders of magnitude between points and iterations, and explode now and then through a long
training run, which spoils Adam's second moments for good.

Columns of a discrete set climb through free variables θ instead, by Adam with constant step on the gradient over its
norm (that of all points together, so that a single explosion does not outweigh Adam's memory of all other
iterations): x = relax(θ, τ_i), with a temperature τ_i that falls geometrically. Where the attacker chooses labels too,
those are such columns. What is judged at every step is the projection of x, so that the kept points were feasible when
they were measured. `benchmarks/discrete.py` holds this against other searches of discrete sets.

With p·d free coordinates, an attack fits the few hundred validation rows it can see better than the rows it is meant to
harm. `dropout` works against that: each gradient is taken on validation rows of which a random share of the features is
set to zero. The best iterate is kept, not the last, judged on the rows as they are.

Networks that start from other initial parameters end elsewhere, and points that were made for one start do nothing to
another. With `redraw`, each gradient is taken through training from initial parameters drawn afresh, so that the
attack is one on all of them. The objective of a single draw says little of an iterate then, and the last iterate is
kept, where steps have become small; the result's health is judged from the schedule's own start. Where training is
chaotic, as that of deep networks at large step sizes is, a draw's gradient says nothing of the others', and an attack
through smaller steps than the victim's finds more (`backgrad.evaluation.networks`).

A hypergradient costs as much as training is long, and points that harm a model halfway through its training lie near
those that harm it at the end. With `rehearsal`, the search starts from points found against a fifth of the training
steps, at a fifth of the cost an iteration. On ten digits, 100 iterations of these and 40 of the whole do about as much
harm as 150 of the whole, in less than half the time.

What is climbed is not quite 𝒜: the smooth zero-one loss measures margins in units of their mean, and the search holds
that unit (`OuterLoss.held`). With few points in few dimensions it may come to rest where 𝒜 itself still has a slope. A
search that ends so, with more to gain by one step along the whole gradient than by all steps before, is followed by
another one along the whole gradient, and the better of the two is kept.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..checks import check_count, check_kind, check_positive, check_share, native
from ..devices import SpreadRows, everywhere, replicate, rows_of, spreading
from ..identity import identify
from ..threat.feasible import FeasibleSet, unit
from ..types import Samples
from .base import Attack, Optimised, Progress
from .checkpoint import Checkpoint, belongs, pack, refuse_foreign, unpack
from .cost import Work
from .health import gain_left
from .objective import OuterObjective, evaluate

# A rehearsal trains for one step where the schedule has so many.
_SHORTER = 5
# What is folded into a step's key for dropout: a number that no group of members has.
_DROPOUT = 2**31


class SearchState(NamedTuple):
    """Where the search stands; with the trace so far it is all that a `Checkpoint` keeps."""

    latent: Float[Array, "p d"]
    optimiser: Any
    key: PRNGKeyArray
    step: Int[Array, ""]
    best: Float[Array, "p d"]
    best_value: Float[Array, ""]


class JointAttack(Attack):
    """Optimise all points together.

    Args:
        iterations: hypergradients to compute.
        step_size: α, the length of a point's first step on a convex set, in units of the features.
        discrete_step_size: Adam's step on a discrete set, in units of its free variables.
        temperatures: first and last temperature of a discrete set's relaxation.
        dropout: the share of the validation rows' features that is set to zero, afresh at each iteration. It suits
            data whose features are many weak hints, such as words, and hurts with images.
        redraw: whether each iteration trains from initial parameters and batches of its own, for victims whose initial
            parameters are unknown and matter.
        rehearsal: iterations before these, against a fifth of the training steps.
        hold_unit: whether the unit of the smooth zero-one loss counts as a constant in gradients, until that stalls.

    Raises:
        InputError: a number out of its range.
    """

    iterations: int = eqx.field(default=150, static=True, converter=native)
    step_size: float = eqx.field(default=1.0, static=True, converter=native)
    discrete_step_size: float = eqx.field(default=0.2, static=True, converter=native)
    temperatures: tuple[float, float] = eqx.field(default=(1.0, 0.05), static=True, converter=native)
    dropout: float = eqx.field(default=0.0, static=True, converter=native)
    redraw: bool = eqx.field(default=False, static=True)
    rehearsal: int = eqx.field(default=0, static=True, converter=native)
    hold_unit: bool = eqx.field(default=True, static=True)

    name = "joint"
    resumable = True

    @property
    def redraws(self) -> bool:
        """Whether each step trains from initial parameters of its own."""
        return self.redraw

    def __check_init__(self):
        check_count(iterations=self.iterations)
        check_count(least=0, rehearsal=self.rehearsal)
        first, last = self.temperatures
        check_positive(
            step_size=self.step_size,
            discrete_step_size=self.discrete_step_size,
            first_temperature=first,
            last_temperature=last,
        )
        check_share(dropout=self.dropout)
        check_kind(bool, "True or False", redraw=self.redraw, hold_unit=self.hold_unit)

    def search(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        *,
        seed: int,
        progress: Progress,
        checkpoint: Checkpoint | None = None,
    ) -> Optimised:
        """Climb for a fixed number of iterations, in chunks between which progress is told and the state is kept."""
        own, again = ("", "") if checkpoint is None else self._identities(objective, feasible, start, seed)
        saved = None if checkpoint is None else checkpoint.load()
        whole = dataclasses.replace(self, hold_unit=False, rehearsal=0)
        if saved is not None and belongs(saved, again):
            state, trace = unpack(saved, whole._begin(feasible, start, seed)), saved["trace"]
        else:
            if saved is not None and not belongs(saved, own):
                if not self.rehearsal:
                    raise refuse_foreign()
                saved = None  # the rehearsal's own
            told = self.rehearsal / (self.rehearsal + _SHORTER * self.iterations)
            state, trace = self._begin(feasible, start, seed), np.zeros((2, 0), start.dtype)
            if saved is not None:
                state, trace = unpack(saved, state), saved["trace"]
            elif self.rehearsal:
                begin = self._rehearse(
                    objective, feasible, start, seed, lambda share: progress(told * share), checkpoint
                )
                # What is better halfway need not be so at the end: the start stays the best until it is beaten.
                state = state._replace(latent=feasible.latent(begin), best_value=evaluate(objective, start))
            state, trace = self._climb(
                objective, feasible, state, trace, own, checkpoint, lambda share: progress(told + (1 - told) * share)
            )
            if not self._stalls(objective, feasible, start, state):
                return _optimised(state, trace)
            state = whole._begin(feasible, start, seed)._replace(best=state.best, best_value=state.best_value)
        # The share done has been told to the end; it does not go back.
        return _optimised(*whole._climb(objective, feasible, state, trace, again, checkpoint, lambda _: progress(1.0)))

    def _identities(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, seed: int):
        """Return whose states a checkpoint may hold: this search's, and that of the one along the whole gradient."""
        words = f"{self} from {seed}"
        return tuple(identify(text, objective, feasible, start) for text in (words, f"{words}, stalled"))

    def _climb(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        state: SearchState,
        trace: np.ndarray,
        identity: str,
        checkpoint: Checkpoint | None,
        progress: Progress,
    ) -> tuple[SearchState, np.ndarray]:
        """Go on from a state to the last iteration; return it with the trace of objectives and drifts, (2, …)."""
        state, chunk = replicate(state, objective.mesh), self._chunk
        for first in range(int(state.step), self.iterations, chunk):
            count = min(chunk, self.iterations - first)
            state, found = _advance(self, objective, feasible, state, jnp.int32(count), chunk)
            trace = np.concatenate([trace, np.asarray(found)[:, :count]], axis=1)
            if checkpoint is not None:
                checkpoint.save(pack(state, identity, trace=trace))
            progress((first + count) / self.iterations)
        return state, trace

    def _stalls(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, state: SearchState) -> bool:
        """Tell whether the gradient with its unit held has led nowhere, and the whole one leads somewhere."""
        if not self.hold_unit or self.redraw or objective.goal.held() is objective.goal:
            return False
        gain = float(state.best_value) - float(evaluate(objective, start))
        return gain_left(objective, feasible, state.best) > gain

    @property
    def _chunk(self) -> int:
        """The number of iterations between two signs of progress."""
        return max(self.iterations // 20, 1)

    def _begin(self, feasible: FeasibleSet, start: jax.Array, seed: int) -> SearchState:
        """Return the state before the first iteration."""
        latent = feasible.latent(start)
        return SearchState(
            latent,
            self.optimiser(feasible, latent.shape[1]).init(latent),
            jax.random.fold_in(jax.random.key(seed), 1),
            jnp.int32(0),
            start,
            jnp.asarray(-jnp.inf, start.dtype),
        )

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return the rehearsal's iterations, where there is one, and the search's."""
        before = []
        if self.rehearsal:
            before = self._practice.work(objective.shortened(_SHORTER), feasible, start, seed=seed)
        state = self._begin(feasible, start, seed)

        def arguments(count: int):
            return self, objective, feasible, state, jnp.int32(count), self._chunk

        return [*before, Work(_advance, arguments, self._chunk, self.iterations)]

    @property
    def _practice(self) -> "JointAttack":
        """The rehearsal, as an attack of its own."""
        return dataclasses.replace(self, iterations=self.rehearsal, rehearsal=0)

    def _rehearse(
        self,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        seed: int,
        progress: Progress,
        checkpoint: Checkpoint | None,
    ) -> jax.Array:
        """Return points found against a shorter training."""
        shorter, practice = objective.shortened(_SHORTER), self._practice
        return practice.search(shorter, feasible, start, seed=seed, progress=progress, checkpoint=checkpoint).points

    def optimiser(self, feasible: FeasibleSet, columns: int) -> optax.GradientTransformation:
        """Return the rule by which iterates move uphill."""
        # Gradients of hardened logits are tiny: a usual ε of 1e-8 would stall the end of the annealing.
        adam = optax.adam(self.discrete_step_size, eps=1e-12)
        logits = optax.chain(optax.stateless(lambda gradient, _: _unit_in_all(gradient)), optax.scale(-1.0), adam)
        features = optax.chain(
            optax.stateless(lambda gradient, _: unit(jnp.asarray(gradient))),
            optax.ema(0.9),
            optax.scale_by_schedule(optax.cosine_decay_schedule(self.step_size, self.iterations)),
        )
        mask = feasible.logits(columns)
        if mask.all():
            return logits
        return _by_column(mask, logits, features) if mask.any() else features

    def measure(self, objective: OuterObjective, feasible: FeasibleSet, state: SearchState):
        """Return the feasible points of an iterate, their objective, the gradient at the iterate, and the drift."""
        temperature = self.temperature(state)
        if self.redraw:
            objective = objective.redrawn(jax.random.fold_in(state.key, state.step))
        soft, pull = jax.vjp(lambda latent: feasible.relax(latent, temperature), state.latent)
        with spreading(objective.mesh):
            found = objective.hypergradient(soft, climb=self.climb(objective.validation, state), held=self.hold_unit)
        points = feasible.project(soft)
        value = found.value if feasible.exact else objective(points)
        return points, value, pull(found.gradient)[0], found.drift

    def climb(self, validation: Samples | SpreadRows, state: SearchState) -> Samples | None:
        """Return the rows of this iteration's gradient, or None where they are the validation rows themselves."""
        if self.dropout == 0:
            return None
        key = jax.random.fold_in(state.key, state.step)
        if self.redraw:
            # Initial parameters and batches are drawn from that one, into which `redrawn` folds numbers of groups.
            key = jax.random.fold_in(key, _DROPOUT)
        rows = rows_of(validation)
        keep = jax.random.bernoulli(key, 1 - self.dropout, rows.x.shape)
        return rows._replace(x=jnp.where(keep, rows.x, 0.0))

    def temperature(self, state: SearchState) -> Float[Array, ""]:
        """Return τ_i."""
        first, last = self.temperatures
        dtype = state.latent.dtype
        share = state.step.astype(dtype) / max(self.iterations - 1, 1)
        return jnp.asarray(first, dtype) * jnp.asarray(last / first, dtype) ** share


def _optimised(state: SearchState, trace: np.ndarray) -> Optimised:
    """Return what a search has found."""
    return Optimised(state.best, trace[0], float(np.max(trace[1])))


def _unit_in_all(gradient) -> Float[Array, "p d"]:
    """Scale the gradients of all points together to length one; zeros stay."""
    return unit(jnp.reshape(gradient, (1, -1))).reshape(gradient.shape)


def _by_column(mask, yes: optax.GradientTransformation, no: optax.GradientTransformation):
    """Return a rule that moves the marked columns by one rule and the others by another."""

    def init(params):
        return yes.init(params), no.init(params)

    def update(updates, state, params=None):
        del params
        gradient = jnp.asarray(updates)
        marked, first = yes.update(jnp.where(mask, gradient, 0.0), state[0])
        rest, second = no.update(jnp.where(mask, 0.0, gradient), state[1])
        return jnp.where(mask, jnp.asarray(marked), jnp.asarray(rest)), (first, second)

    return optax.GradientTransformation(init, update)


@eqx.filter_jit
def _advance(
    attack: JointAttack,
    objective: OuterObjective,
    feasible: FeasibleSet,
    state: SearchState,
    count,
    chunk: int,
):
    """Take up to `chunk` steps; those after `count` leave everything as it is, so that one compilation serves."""

    def step(state: SearchState, i):
        return jax.lax.cond(i < count, lambda s: _step(attack, objective, feasible, s), _idle, state)

    with spreading(objective.mesh):
        return everywhere(jax.lax.scan(step, state, jnp.arange(chunk, dtype=jnp.int32)))


def _idle(state: SearchState):
    nothing = jnp.zeros((), state.latent.dtype)
    return state, (nothing, nothing)


def _step(attack: JointAttack, objective: OuterObjective, feasible: FeasibleSet, state: SearchState):
    points, value, gradient, drift = attack.measure(objective, feasible, state)
    # A gradient that is not finite would end the search for good; a step of zero lets it go on from where it is.
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
    rule = attack.optimiser(feasible, gradient.shape[1])
    updates, optimiser = rule.update(gradient, state.optimiser, state.latent)
    latent = state.latent + jnp.asarray(updates)
    better = (value > state.best_value) | attack.redraw
    new = SearchState(
        feasible.settle(latent),
        optimiser,
        state.key,
        state.step + 1,
        jnp.where(better, points, state.best),
        jnp.where(better, value, state.best_value),
    )
    return new, (value, drift)
