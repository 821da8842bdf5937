"""A search over subpopulations: rows of a class that have something in common, all with the same wrong label.

A model that has room to learn single rows by heart shrugs off labels that are wrong here and there, and gradients of
its training lead nowhere, since two trainings hardly agree about them. It cannot shrug off a part of a class in which
most rows say the same wrong thing: what it then gets wrong is that part, with all test rows in it. A subpopulation is
here the rows of a class nearest to a place. That may lie among them, or far outside: then it is the end of a class in
one direction, such as the digits 1 that lean most to the right. Points are copies of its rows, with one wrong label.
Whatever would tell them from the rows that they contradict (means of rows, noise, less contrast) helps the model.

Jagielski et al. 2021, "Subpopulation Data Poisoning Attacks", harm a subpopulation that the attacker cares about, a
cluster. Here the attacker looks for the one through which the goal suffers most, and lets what all trials tell of it
(trials.py) say what to try next.

The attacker chooses labels, as `ThreatModel(labels=ChosenLabels())` says. Points stay rows that exist, so that nothing
is differentiated, and any feasible set that holds the rows will do. `JointAttack` can go on from there: give it
`start=(result.points, result.labels)`.
"""

import itertools
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
from .trials import Copies, Trials

#: The width of a smooth zero-one loss that is all but the error: who follows no gradients needs no slope.
ERROR_WIDTH = 0.01

# Rows of a subpopulation for each point in it. Below one, points outnumber the rows that contradict them.
_SHARES = (0.5, 0.65, 0.8, 0.9, 1.0)
# Places lie within so many principal components of a class, as told by so many of its rows.
_COMPONENTS = 10
_ENOUGH = 2000
# Into how many subpopulations the points of a guess are divided.
_PARTS = (1, 1, 1, 2)
# A place is that of a row, so many times as far from the mean of its class.
_FAR = (0.5, 1.0, 2.0, 8.0)
# How far a place is moved towards another one.
_MOVE = 0.3
# The best so many are varied further.
_PARENTS = 5
# From so many new guesses, half of them variations, the most promising one is chosen.
_NEW = 20
# What is hoped of a guess beyond what is expected, in standard deviations.
_HOPE = 3.0
# Under so many draws of initial parameters and batches guesses are tried. Few, so that many are tried under each, and a
# draw under which all do more harm than under others is known for it.
_DRAWS = 16
# The first of those that finalists are compared over.
_OTHERS = 2**20


class _Part(NamedTuple):
    """A subpopulation and its wrong label.

    Args:
        own: the class.
        label: the wrong label.
        place: to which its rows are nearest, along the first principal components of the class.
    """

    own: int
    label: int
    place: tuple[float, ...]


class _Guess(NamedTuple):
    """Subpopulations that share the points equally.

    Args:
        parts: which.
        share: rows of a subpopulation for each point in it.
    """

    parts: tuple[_Part, ...]
    share: float


class _Rows:
    """Training rows on the host, by class, with the wrong labels that rows of a class may get."""

    def __init__(self, objective: OuterObjective):
        train, k = objective.train, objective.train.y.shape[1]
        y, weight = on_host(train.y), on_host(train.weight)
        if not is_one_hot(y):
            raise UnsupportedError(
                "a subpopulation gets a wrong label, and these rows have responses or soft labels: use JointAttack()."
            )
        self.n_labels = k
        self.x: Any = train.x if isinstance(train.x, HostFeatures) else on_host(train.x)
        self.classes, mapping = np.argmax(y, axis=1), objective.goal.swap(k, sources=True)
        self.wrong = {
            c: [t for t in range(k) if t != c] if mapping is None else [mapping[c]]
            for c in (range(k) if mapping is None else mapping)
        }
        members = {c: np.flatnonzero((self.classes == c) & (weight > 0)) for c in self.wrong}
        self.members = {c: rows for c, rows in members.items() if len(rows)}
        if not self.members:
            raise InputError("none of the training rows is of a class that the goal attacks: use another goal or rows.")
        self._charts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def chart(self, own: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the rows of a class lie along its first principal components, and how far beside them.

        Returns:
            coordinates, (members, components), and squared distances, (members,).
        """
        if own not in self._charts:
            rows = self.members[own]
            x = np.asarray(self.x[rows], float).reshape(len(rows), -1)
            x -= x.mean(axis=0)
            # A part of a large class tells its principal components.
            *_, axes = np.linalg.svd(x[:: -(-len(x) // _ENOUGH)], full_matrices=False)
            along = x @ axes[:_COMPONENTS].T
            self._charts[own] = along, np.maximum(np.sum(x**2, axis=1) - np.sum(along**2, axis=1), 0)
        return self._charts[own]

    def nearest(self, part: _Part, count: int) -> np.ndarray:
        """Return so many rows of a subpopulation, or the whole class, the nearest first."""
        along, beside = self.chart(part.own)
        order = np.argsort(np.sum((along - np.asarray(part.place)) ** 2, axis=1) + beside, kind="stable")
        return self.members[part.own][order[:count]]

    def copies(self, guess: _Guess, count: int) -> Copies:
        """Return so many points of a guess, some more than once."""
        rows, labels = [], []
        for some, part in zip(np.array_split(np.arange(count), len(guess.parts)), guess.parts, strict=True):
            found = self.nearest(part, max(round(guess.share * len(some)), 1))
            rows.append(found[np.arange(len(some)) % len(found)])
            labels.append(np.full(len(some), part.label))
        return Copies(np.concatenate(rows), np.concatenate(labels))

    def part(self, rng: np.random.Generator, own: int | None = None) -> _Part:
        """Return a subpopulation at random: of a class, or of any, one as likely as another."""
        own = int(rng.choice(list(self.members))) if own is None else own
        label, (along, _) = int(rng.choice(self.wrong[own])), self.chart(own)
        return _Part(own, label, tuple((rng.choice(along) * rng.choice(_FAR)).tolist()))


class SubpopulationAttack(Attack):
    """One wrong label for the rows of a class nearest to a place, the most harmful of many that are tried.

    A trial is one training of the attacker's learner. The first half of them are of subpopulations at random. Each of
    the others is of the one that most may be hoped of, by all trials before it: what they make likely, and how far that
    may be wrong. Where `redraw`, a third is at random, and trials have initial parameters and batches of several draws,
    since those of victims are unknown: the best are tried again under others. It suits models for which hypergradients
    do not help: networks on many rows, whose trainings do not agree about them.

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
        rows = _Rows(objective)
        search = _Search(rows, np.random.default_rng(seed), len(start), redraw=self.redraw)
        log = _Log(self, objective, feasible, start, seed, progress, checkpoint)

        def points(number: int) -> jax.Array:
            copies = search.trials.guesses[number]
            x = np.asarray(rows.x[copies.rows])
            y = one_hot(copies.labels, start.shape[1] - x.shape[1], dtype=start.dtype)
            return feasible.project(jnp.concatenate([jnp.asarray(x, start.dtype), y], axis=1))

        for trial in range(self.candidates):
            number = search.hopeful() if self._varies(trial) else search.fresh()
            draw = search.draw(number, trial)
            search.trials.record(number, draw, log.value(points(number), draw))
        trials, draws = search.trials, [0]
        if self.redraw:
            # Draws that chose none of them.
            finalists, draws = trials.expected().best(self.finalists), range(_OTHERS, _OTHERS + self.draws)
            for number, draw in itertools.product(finalists, draws):
                trials.record(number, draw, log.value(points(number), draw))
            best = next(number for number in trials.expected().best() if number in finalists)
        else:
            best = max(range(len(trials.guesses)), key=lambda number: trials.values(number)[0])
        value = [trials.values(best)[draw] for draw in draws]
        better = np.mean(value) > np.mean([log.value(start, draw) for draw in draws])
        return unoptimised(points(best) if better else start, log.values)

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return the evaluations."""
        del feasible
        drawn = self.drawn(objective, seed, 0)
        return [Work(evaluate_and_judge, lambda _: (drawn, start), 1, self.evaluations, lambda _: 0)]

    @property
    def evaluations(self) -> int:
        """How many trainings the search takes at most."""
        return self.candidates + ((min(self.finalists, self.candidates) + 1) * self.draws if self.redraw else 1)

    def _varies(self, trial: int) -> bool:
        """Tell whether a trial goes by those before it."""
        return (3 if self.redraw else 2) * trial > self.candidates

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


class _Search:
    """Which subpopulation to try next, and under which draw."""

    def __init__(self, rows: _Rows, rng: np.random.Generator, count: int, *, redraw: bool):
        self.trials = Trials(rows.classes, rows.n_labels, lucky=redraw)
        self._rows, self._rng, self._count, self._redraw = rows, rng, count, redraw
        self._guesses: list[_Guess] = []

    def fresh(self) -> int:
        """Return the number of subpopulations at random."""
        return self._take(self._draw())

    def hopeful(self) -> int:
        """Return the number of what most may be hoped of: one of the best again, a variation of it, or another."""
        known = self.trials.expected()
        parents = known.best(_PARENTS)
        new = [self._vary(parents) if i % 2 else self._draw() for i in range(_NEW)]
        untried = self.trials.expected([self._rows.copies(guess, self._count) for guess in new])
        hope = untried.mean + _HOPE * untried.deviation
        if self._redraw:
            again = known.mean + _HOPE * known.deviation
            again[[len(self.trials.values(number)) >= _DRAWS for number in range(len(again))]] = -np.inf
            if again.max() >= hope.max():
                return int(np.argmax(again))
        return self._take(new[int(np.argmax(hope))])

    def draw(self, number: int, trial: int) -> int:
        """Return the draw for another trial of a guess, one that it has not been tried under."""
        if not self._redraw:
            return 0
        usual = ((trial + i) % _DRAWS for i in range(_DRAWS))
        known = self.trials.values(number)
        return next(draw for draw in itertools.chain(usual, itertools.count(_DRAWS)) if draw not in known)

    def _take(self, guess: _Guess) -> int:
        """Return the number of a guess among those tried, which has it join them."""
        number = self.trials.take(self._rows.copies(guess, self._count))
        if number == len(self._guesses):
            self._guesses.append(guess)
        return number

    def _draw(self) -> _Guess:
        """Return subpopulations at random."""
        parts = min(int(self._rng.choice(_PARTS)), self._count)
        return _Guess(tuple(self._rows.part(self._rng) for _ in range(parts)), float(self._rng.choice(_SHARES)))

    def _vary(self, parents: list[int]) -> _Guess:
        """Return one of some with one thing changed: a place, a label, the size, or a whole subpopulation."""
        rng = self._rng
        guess = self._guesses[rng.choice(parents)]
        number, kind = int(rng.integers(len(guess.parts))), rng.choice(["place", "label", "size", "all"])
        if kind == "size":
            return guess._replace(share=float(rng.choice(_SHARES)))
        part = guess.parts[number]
        fresh = self._rows.part(rng, part.own if kind == "place" else None)
        if kind == "place":
            moved = (1 - _MOVE) * np.asarray(part.place) + _MOVE * np.asarray(fresh.place)
            fresh = part._replace(place=tuple(moved.tolist()))
        elif kind == "label":
            fresh = part._replace(label=int(rng.choice(self._rows.wrong[part.own])))
        return guess._replace(parts=(*guess.parts[:number], fresh, *guess.parts[number + 1 :]))
