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

`SubpopulationAttack.craft_on` is for estimators that nothing differentiates: a trial fits one of them.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..checks import check_count, check_progress, native
from ..devices import on_host, replicate
from ..errors import UnsupportedError
from ..hosted import HostFeatures
from ..identity import identify
from ..threat.feasible import FeasibleSet
from ..threat.labels import ChosenLabels, LabelRule
from ..threat.model import ThreatModel
from ..types import Samples, one_hot
from .base import Attack, AttackResult, Optimised, Progress
from .checkpoint import Checkpoint, belongs, pack, refuse_foreign
from .controls import unoptimised
from .cost import Work
from .health import Evidence, conclude
from .objective import OuterObjective, evaluate, evaluate_and_judge
from .parts import Rows, Search
from .preparation import prepare_start
from .trials import Copies

#: The width of a smooth zero-one loss that is all but the error: who follows no gradients needs no slope.
ERROR_WIDTH = 0.01

# The first of the draws that finalists are compared over.
_OTHERS = 2**20


class _Chosen(NamedTuple):
    """What trials choose.

    Args:
        best: copies of rows, or None where the start is better.
        first: 𝒜 at the start.
        last: 𝒜 at what is chosen.
    """

    best: Copies | None
    first: float
    last: float


class SubpopulationAttack(Attack):
    """One wrong label for the rows of a class nearest to a place, the most harmful of many that are tried.

    A trial is one training of the attacker's learner. The first half of them are of subpopulations at random. Each of
    the others is of the one that most may be hoped of, by all trials before it: what they make likely, and how far that
    may be wrong. Where `redraw`, a third is at random, and trials have initial parameters and batches of several draws,
    since those of victims are unknown: the best are tried again under others. It suits models for which hypergradients
    do not help: networks on many rows, whose trainings do not agree about them, and, by `craft_on`, estimators that
    have none.

    Args:
        candidates: how many trials there are.
        redraw: whether trials draw initial parameters and batches, for victims of whom they are unknown and matter.
        finalists: how many of the best are compared at the end, where `redraw`.
        draws: over how many draws.

    Raises:
        InputError: a number out of its range.
    """

    candidates: int = eqx.field(default=60, static=True, converter=native)
    redraw: bool = eqx.field(default=False, static=True)
    finalists: int = eqx.field(default=4, static=True, converter=native)
    draws: int = eqx.field(default=4, static=True, converter=native)

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
        _require_choice(objective.rule)
        train = objective.train
        x: Any = train.x if isinstance(train.x, HostFeatures) else on_host(train.x)
        rows = Rows(x, on_host(train.y), on_host(train.weight), objective.goal)
        search = Search(rows, np.random.default_rng(seed), len(start), redraw=self.redraw)
        log = _Log(self, objective, feasible, start, seed, progress, checkpoint)

        def points(copies: Copies | None) -> jax.Array:
            return _place(x, copies, feasible, start)

        chosen = self._choose(search, lambda copies, draw: log.value(points(copies), draw))
        return unoptimised(points(chosen.best), log.values)

    def craft_on(
        self,
        estimator: Any,
        train: Samples,
        validation: Samples,
        *,
        threat: ThreatModel,
        seed: int,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        progress: Progress = lambda share: None,
    ) -> AttackResult:
        """Craft poisoning points against an estimator, which is fitted in every trial.

        Success is the error that the goal wants, on the validation rows, whatever the goal's outer loss. Columns are
        measured in standard deviations. With `redraw`, random states that the estimator leaves open are drawn anew.

        Args:
            estimator: an unfitted scikit-learn classifier of labels 0..k−1, of which copies are fitted.
            train: the clean training rows, with one-hot labels; x of shape (n, d).
            validation: the rows on which the attacker measures success.
            threat: goal, budget and feasible set; its labels must be `ChosenLabels()`.
            seed: of the starting points, of the search and of the estimator.
            start: features (p, d) and labels (p,) to start from; flipped training rows where omitted.
            progress: called with the share of the work done, 0 … 1.

        Returns:
            The points, their labels, and evidence that the attack worked.

        Raises:
            InputError: rows that do not fit, more points than rows, no points, or starting points outside the feasible
                set.
            UnsupportedError: an attacker who does not choose labels, does not know the rows' learner, or evades a
                defence.
        """
        from .fitting import Fits  # here, since it imports scikit-learn

        check_progress(progress)
        _require_choice(threat.labels)
        check_count(budget=threat.budget)
        if threat.evasion is not None:
            raise UnsupportedError("copies of rows cannot evade a defence: set the threat model's evasion=None.")
        begin, feasible, _, threat = prepare_start(estimator, train, validation, threat=threat, seed=seed, start=start)
        d, values = train.x.shape[1], []
        fits = Fits(estimator, train, validation, threat.goal, seed)
        how = self if fits.lucky else dataclasses.replace(self, redraw=False)
        x = np.asarray(train.x)
        spread = x.std(axis=0)
        rows = Rows(x / np.where(spread > 0, spread, 1), on_host(train.y), on_host(train.weight), threat.goal)
        search = Search(rows, np.random.default_rng(seed), threat.budget, redraw=how.redraw)

        def split(points: jax.Array) -> tuple[np.ndarray, np.ndarray]:
            found = np.array(points)  # which callers may write to
            return found[:, :d], np.argmax(found[:, d:], axis=1)

        def value(copies: Copies | None, draw: int) -> float:
            values.append(fits.harm(*split(_place(x, copies, feasible, begin)), draw))
            progress(len(values) / how.evaluations)
            return values[-1]

        chosen = how._choose(search, value)
        kept = _place(x, chosen.best, feasible, begin)
        (first, first_labels), (last, labels) = split(begin), split(kept)
        evidence = Evidence(
            chosen.first,
            chosen.last,
            errors=(None, None),
            drift=0.0,
            feasible=bool(np.asarray(feasible.contains(kept)).all()),
            share_at_bounds=float(feasible.share_at_bounds(kept)),
            evaluations=len(values),
            climbs=False,
        )
        return AttackResult(
            points=last,
            labels=labels,
            start=first,
            start_labels=first_labels,
            trace=np.asarray(values),
            threat_model=threat,
            adjoint="none",
            attack=self.name,
            seed=seed,
            health=conclude(evidence),
        )

    def work(self, objective: OuterObjective, feasible: FeasibleSet, start: jax.Array, *, seed: int) -> list[Work]:
        """Return the evaluations."""
        del feasible
        drawn = self.drawn(objective, seed, 0)
        return [Work(evaluate_and_judge, lambda _: (drawn, start), 1, self.evaluations, lambda _: 0)]

    @property
    def evaluations(self) -> int:
        """How many trainings the search takes at most."""
        return self.candidates + ((min(self.finalists, self.candidates) + 1) * self.draws if self.redraw else 1)

    def _choose(self, search: Search, value: Callable[[Copies | None, int], float]) -> _Chosen:
        """Try candidates and compare the best; `value` is 𝒜 at copies, or for None at the start, under a draw."""
        trials, draws = search.trials, [0]

        def record(number: int, draw: int) -> None:
            trials.record(number, draw, value(trials.guesses[number], draw))

        for trial in range(self.candidates):
            number = search.hopeful() if self._varies(trial) else search.fresh()
            record(number, search.draw(number, trial))
        if self.redraw:
            # Draws that chose none of them.
            finalists, draws = trials.expected().best(self.finalists), range(_OTHERS, _OTHERS + self.draws)
            for number, draw in itertools.product(finalists, draws):
                record(number, draw)
            best = next(number for number in trials.expected().best() if number in finalists)
        else:
            best = max(range(len(trials.guesses)), key=lambda number: trials.values(number)[0])
        last = float(np.mean([trials.values(best)[draw] for draw in draws]))
        first = float(np.mean([value(None, draw) for draw in draws]))
        return _Chosen(trials.guesses[best], first, last) if last > first else _Chosen(None, first, first)

    def _varies(self, trial: int) -> bool:
        """Tell whether a trial goes by those before it."""
        return (3 if self.redraw else 2) * trial > self.candidates

    def drawn(self, objective: OuterObjective, seed: int, number: int) -> OuterObjective:
        """Return the objective under a draw of initial parameters and batches."""
        if not self.redraw:
            return objective
        return objective.redrawn(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 3), number))


def _require_choice(rule: LabelRule) -> None:
    if not isinstance(rule, ChosenLabels):
        raise UnsupportedError(
            f"a subpopulation attack chooses labels, but here {rule.describe()}: set the threat model's "
            "labels=ChosenLabels(), or use JointAttack()."
        )


def _place(x: Any, copies: Copies | None, feasible: FeasibleSet, start: jax.Array) -> jax.Array:
    """Return copies of rows as feasible points, their one-hot labels beside them as in `start`, or that for None."""
    if copies is None:
        return start
    features = np.asarray(x[copies.rows])
    y = one_hot(copies.labels, start.shape[1] - features.shape[1], dtype=start.dtype)
    return feasible.project(jnp.concatenate([jnp.asarray(features, start.dtype), y], axis=1))


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
