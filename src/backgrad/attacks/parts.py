"""Parts of classes, which of their rows points are copies of, and which parts to try next.

Places, sizes and labels are drawn at random first. Later guesses are those of which all trials before them let hope
most, see `trials.py`.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..threat.goals import Goal
from .trials import Copies, Trials

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


class Part(NamedTuple):
    """A subpopulation and its wrong label.

    Args:
        own: the class.
        label: the wrong label.
        place: to which its rows are nearest, along the first principal components of the class.
    """

    own: int
    label: int
    place: tuple[float, ...]


class Guess(NamedTuple):
    """Subpopulations that share the points equally.

    Args:
        parts: which.
        share: rows of a subpopulation for each point in it.
    """

    parts: tuple[Part, ...]
    share: float


class Rows:
    """Training rows on the host, by class, with the wrong labels that rows of a class may get.

    Args:
        x: features, (n, …), in units in which distances mean something; an array, or features on the host.
        y: one-hot labels, (n, k).
        weight: (n,); rows of weight 0 are absent.
        goal: what the attacker wants.

    Raises:
        InputError: no row of a class that the goal attacks.
    """

    def __init__(self, x: Any, y: np.ndarray, weight: np.ndarray, goal: Goal):
        self.x, self.n_labels = x, y.shape[1]
        self.classes, mapping = np.argmax(y, axis=1), goal.swap(self.n_labels, sources=True)
        self.wrong = {
            c: [t for t in range(self.n_labels) if t != c] if mapping is None else [mapping[c]]
            for c in (range(self.n_labels) if mapping is None else mapping)
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

    def nearest(self, part: Part, count: int) -> np.ndarray:
        """Return so many rows of a subpopulation, or the whole class, the nearest first."""
        along, beside = self.chart(part.own)
        order = np.argsort(np.sum((along - np.asarray(part.place)) ** 2, axis=1) + beside, kind="stable")
        return self.members[part.own][order[:count]]

    def copies(self, guess: Guess, count: int) -> Copies:
        """Return so many points of a guess, some more than once."""
        rows, labels = [], []
        for some, part in zip(np.array_split(np.arange(count), len(guess.parts)), guess.parts, strict=True):
            found = self.nearest(part, max(round(guess.share * len(some)), 1))
            rows.append(found[np.arange(len(some)) % len(found)])
            labels.append(np.full(len(some), part.label))
        return Copies(np.concatenate(rows), np.concatenate(labels))

    def part(self, rng: np.random.Generator, own: int | None = None) -> Part:
        """Return a subpopulation at random: of a class, or of any, one as likely as another."""
        own = int(rng.choice(list(self.members))) if own is None else own
        label, (along, _) = int(rng.choice(self.wrong[own])), self.chart(own)
        return Part(own, label, tuple((rng.choice(along) * rng.choice(_FAR)).tolist()))


class Search:
    """Which subpopulation to try next, and under which draw."""

    def __init__(self, rows: Rows, rng: np.random.Generator, count: int, *, redraw: bool):
        self.trials = Trials(rows.classes, rows.n_labels, lucky=redraw)
        self._rows, self._rng, self._count, self._redraw = rows, rng, count, redraw
        self._guesses: list[Guess] = []

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

    def _take(self, guess: Guess) -> int:
        """Return the number of a guess among those tried, which has it join them."""
        number = self.trials.take(self._rows.copies(guess, self._count))
        if number == len(self._guesses):
            self._guesses.append(guess)
        return number

    def _draw(self) -> Guess:
        """Return subpopulations at random."""
        parts = min(int(self._rng.choice(_PARTS)), self._count)
        return Guess(tuple(self._rows.part(self._rng) for _ in range(parts)), float(self._rng.choice(_SHARES)))

    def _vary(self, parents: list[int]) -> Guess:
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
