"""A search over subpopulations: rows of a class that have something in common, all with the same wrong label.

A model that has room to learn single rows by heart shrugs off labels that are wrong here and there, and gradients of
its training lead nowhere, since two trainings hardly agree about them. It cannot shrug off a part of a class in which
most rows say the same wrong thing: what it then gets wrong is that part, with all test rows in it. A subpopulation is
here the end of a class in one direction, such as the digits 1 that lean most to the right; points are copies of its
rows, with one wrong label. Jagielski et al. 2021, "Subpopulation Data Poisoning Attacks", harm a subpopulation that the
attacker cares about, a cluster. Here the attacker looks for the one through which the goal suffers most.

The attacker chooses labels, as `ThreatModel(labels=ChosenLabels())` says. Points stay rows that exist, so that nothing
is differentiated, and any feasible set that holds the rows will do. `JointAttack` can go on from there: give it
`start=(result.points, result.labels)`.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..checks import check_count
from ..devices import on_host, replicate
from ..errors import InputError, UnsupportedError
from ..hosted import HostFeatures
from ..threat.feasible import FeasibleSet
from ..threat.labels import ChosenLabels
from ..types import one_hot
from .base import Attack, Optimised, Progress
from .checkpoint import Checkpoint, belongs, identify, pack, refuse_foreign
from .controls import unoptimised
from .cost import Work
from .objective import OuterObjective, evaluate, evaluate_and_judge
from .starts import is_one_hot

#: The width of a smooth zero-one loss that is all but the error: who follows no gradients needs no slope.
ERROR_WIDTH = 0.01

# Rows of a subpopulation for each point in it. Below one, points outnumber the rows that contradict them.
_SHARES = (0.5, 0.65, 0.8, 0.9, 1.0)
# Directions are drawn within so many principal components of a class, as told by so many of its rows.
_COMPONENTS = 3
_ENOUGH = 2000
# How far a direction is turned, in the length of another one.
_TURN = 0.5
# Into how many subpopulations the points of a first guess are divided.
_PARTS = (1, 1, 2, 4)
# The best so many are varied further, and tried again.
_PARENTS = 5
# How many trials at the usual value a candidate is credited with. Where as many rows say one thing as say another, two
# trainings of a network differ by half of the harm, and the best of many single trials is a lucky one.
_USUAL_TRIALS = 2


class _Part(NamedTuple):
    """A subpopulation and its wrong label.

    Args:
        own: the class.
        label: the wrong label.
        direction: in which its end is meant, along the first principal components of the class.
    """

    own: int
    label: int
    direction: tuple[float, ...]


class _Guess(NamedTuple):
    """Subpopulations that share the points equally.

    Args:
        parts: which.
        share: rows of a subpopulation for each point in it.
    """

    parts: tuple[_Part, ...]
    share: float


class _Candidate(NamedTuple):
    """A guess, and what trials of it gave."""

    guess: _Guess
    values: list[float]


class _Rows:
    """Training rows on the host, by class, with the wrong labels that rows of a class may get."""

    def __init__(self, objective: OuterObjective):
        train, k = objective.train, objective.train.y.shape[1]
        y, weight = on_host(train.y), on_host(train.weight)
        if not is_one_hot(y):
            raise UnsupportedError(
                "a subpopulation gets a wrong label, and these rows have responses or soft labels: use JointAttack()."
            )
        self.x: Any = train.x if isinstance(train.x, HostFeatures) else on_host(train.x)
        labels, mapping = np.argmax(y, axis=1), objective.goal.swap(k, sources=True)
        self.wrong = {
            c: [t for t in range(k) if t != c] if mapping is None else [mapping[c]]
            for c in (range(k) if mapping is None else mapping)
        }
        members = {c: np.flatnonzero((labels == c) & (weight > 0)) for c in self.wrong}
        self.members = {c: rows for c, rows in members.items() if len(rows)}
        if not self.members:
            raise InputError("none of the training rows is of a class that the goal attacks: use another goal or rows.")
        self._coordinates: dict[int, np.ndarray] = {}

    def coordinates(self, own: int) -> np.ndarray:
        """Return where the rows of a class lie along its first principal components, (members, components)."""
        if own not in self._coordinates:
            rows = self.members[own]
            x = np.asarray(self.x[rows], float).reshape(len(rows), -1)
            x -= x.mean(axis=0)
            # A part of a large class tells its principal components.
            *_, axes = np.linalg.svd(x[:: -(-len(x) // _ENOUGH)], full_matrices=False)
            found = np.zeros((len(rows), _COMPONENTS))
            found[:, : len(axes)] = x @ axes[:_COMPONENTS].T
            self._coordinates[own] = found
        return self._coordinates[own]

    def end(self, part: _Part, count: int) -> np.ndarray:
        """Return so many rows of a subpopulation, or the whole class, the farthest first."""
        order = np.argsort(-self.coordinates(part.own) @ np.asarray(part.direction), kind="stable")
        return self.members[part.own][order[:count]]

    def points(self, guess: _Guess, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return so many rows of a guess, some more than once, and their wrong labels."""
        rows, labels = [], []
        for some, part in zip(np.array_split(np.arange(count), len(guess.parts)), guess.parts, strict=True):
            found = self.end(part, max(round(guess.share * len(some)), 1))
            rows.append(found[np.arange(len(some)) % len(found)])
            labels.append(np.full(len(some), part.label))
        return np.asarray(self.x[np.concatenate(rows)]), np.concatenate(labels)

    def part(self, rng: np.random.Generator) -> _Part:
        """Return a subpopulation at random, one class as likely as another."""
        own = int(rng.choice(list(self.members)))
        return _Part(own, int(rng.choice(self.wrong[own])), tuple(rng.normal(size=_COMPONENTS).tolist()))


class SubpopulationAttack(Attack):
    """One wrong label for the rows at one end of a class, the most harmful of many that are tried.

    A trial is one training of the attacker's learner. The first half of them are of subpopulations at random; the
    others vary the best so far in the direction, the label or the size. Where `redraw`, each trial has initial
    parameters and batches of its own, as an unknown victim has: then a third is at random, and of the rest every second
    one tries one of the best again. The attack suits models that hypergradients do not help against: networks on many
    rows, whose trainings do not agree about them.

    Args:
        candidates: how many trials there are.
        redraw: whether trials draw initial parameters and batches, for victims of whom they are unknown and matter.
        finalists: how many of the best are compared at the end, where `redraw`.
        draws: over how many draws.

    Raises:
        InputError: a number out of its range.
    """

    candidates: int = eqx.field(default=60, static=True)
    redraw: bool = eqx.field(default=False, static=True)
    finalists: int = eqx.field(default=4, static=True)
    draws: int = eqx.field(default=4, static=True)

    name = "subpopulation"
    resumable = True
    climbs = False

    def __check_init__(self):
        check_count(candidates=self.candidates, finalists=self.finalists, draws=self.draws)

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
        """Try candidates, and return the best of them, or the start where none is better."""
        if not isinstance(objective.rule, ChosenLabels):
            raise UnsupportedError(
                f"a subpopulation attack chooses labels, but here {objective.rule.describe()}: set the threat model's "
                "labels=ChosenLabels(), or use JointAttack()."
            )
        rows, rng = _Rows(objective), np.random.default_rng(seed)
        log = _Log(self, objective, feasible, start, seed, progress, checkpoint)

        def place(guess: _Guess) -> jax.Array:
            x, labels = rows.points(guess, len(start))
            y = one_hot(labels, start.shape[1] - x.shape[1], dtype=start.dtype)
            return feasible.project(jnp.concatenate([jnp.asarray(x, start.dtype), y], axis=1))

        tried: list[_Candidate] = []
        for number in range(self.candidates):
            best = _best(tried, _PARENTS)
            if self._tries_again(number):
                candidate = min(best, key=lambda found: len(found.values))
            else:
                guess = _vary(rows, rng, best) if self._varies(number) else _draw(rows, rng, len(start))
                candidate = _Candidate(guess, [])
                tried.append(candidate)
            candidate.values.append(log.value(place(candidate.guess), number))
        finals = [place(candidate.guess) for candidate in _best(tried, self.finalists if self.redraw else 1)]
        # Draws that chose none of them.
        draws = range(self.candidates, self.candidates + self.draws) if self.redraw else range(1)
        *means, least = (float(np.mean([log.value(p, draw) for draw in draws])) for p in (*finals, start))
        best = int(np.argmax(means))
        return unoptimised(finals[best] if means[best] > least else start, log.values)

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return the evaluations."""
        del feasible
        drawn = self.drawn(objective, seed, 0)
        return [Work(evaluate_and_judge, lambda _: (drawn, start), 1, self.evaluations, lambda _: 0)]

    @property
    def evaluations(self) -> int:
        """How many trainings the search takes."""
        tried = self.candidates - sum(map(self._tries_again, range(self.candidates)))
        return self.candidates + ((min(self.finalists, tried) + 1) * self.draws if self.redraw else 2)

    def _varies(self, number: int) -> bool:
        """Tell whether a trial goes by those before it."""
        return (3 if self.redraw else 2) * number > self.candidates

    def _tries_again(self, number: int) -> bool:
        """Tell whether a trial is another one of what has been tried: one draw may think well of it by luck."""
        return self.redraw and self._varies(number) and number % 2 == 1

    def drawn(self, objective: OuterObjective, seed: int, number: int) -> OuterObjective:
        """Return the objective under a draw of initial parameters and batches."""
        if not self.redraw:
            return objective
        return objective.redrawn(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 3), number))


class _Log:
    """Values in the order in which a search asks for them, which is what a checkpoint keeps."""

    def __init__(
        self,
        attack: SubpopulationAttack,
        objective: OuterObjective,
        feasible: FeasibleSet,
        start: jax.Array,
        seed: int,
        progress: Progress,
        checkpoint: Checkpoint | None,
    ):
        self.values: list[float] = []
        self._attack, self._objective, self._seed = attack, objective, seed
        self._progress, self._checkpoint = progress, checkpoint
        self._known: list[float] = []
        if checkpoint is not None:
            self._identity = identify(f"{attack} from {seed}", objective, feasible, start)
            saved = checkpoint.load()
            if saved is not None:
                if not belongs(saved, self._identity):
                    raise refuse_foreign()
                self._known = np.asarray(saved["trace"])[0].tolist()

    def value(self, points: jax.Array, draw: int) -> float:
        """Return 𝒜 at points under a draw; −∞ where it is not finite."""
        done = len(self.values)
        if done < len(self._known):
            self.values.append(self._known[done])
            return self._known[done]
        objective = self._attack.drawn(self._objective, self._seed, draw)
        found = float(evaluate(objective, replicate(points, objective.mesh)))
        self.values.append(found if math.isfinite(found) else -math.inf)
        if self._checkpoint is not None:
            self._checkpoint.save(pack((), self._identity, trace=np.asarray([self.values])))
        self._progress(len(self.values) / self._attack.evaluations)
        return self.values[-1]


def _best(tried: list[_Candidate], count: int) -> list[_Candidate]:
    """Return the candidates that most is expected of, best first."""
    values = [candidate.values[0] for candidate in tried if math.isfinite(candidate.values[0])]
    usual = float(np.mean(values)) if values else 0.0

    def expected(candidate: _Candidate) -> float:
        return (sum(candidate.values) + _USUAL_TRIALS * usual) / (len(candidate.values) + _USUAL_TRIALS)

    return sorted(tried, key=expected, reverse=True)[:count]


def _draw(rows: _Rows, rng: np.random.Generator, points: int) -> _Guess:
    """Return subpopulations at random."""
    parts = tuple(rows.part(rng) for _ in range(min(int(rng.choice(_PARTS)), points)))
    return _Guess(parts, float(rng.choice(_SHARES)))


def _vary(rows: _Rows, rng: np.random.Generator, best: list[_Candidate]) -> _Guess:
    """Return one of the best with one thing changed: a direction, a label, the size, or a whole subpopulation."""
    guess = best[int(rng.integers(len(best)))].guess
    number, kind = int(rng.integers(len(guess.parts))), rng.choice(["direction", "label", "size", "all"])
    if kind == "size":
        return guess._replace(share=float(rng.choice(_SHARES)))
    part, fresh = guess.parts[number], rows.part(rng)
    if kind == "direction":
        turned = np.asarray(part.direction) + _TURN * np.asarray(fresh.direction)
        fresh = part._replace(direction=tuple(turned.tolist()))
    elif kind == "label":
        fresh = part._replace(label=int(rng.choice(rows.wrong[part.own])))
    return guess._replace(parts=(*guess.parts[:number], fresh, *guess.parts[number + 1 :]))
