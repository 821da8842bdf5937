"""Searches that are stopped and go on."""

import contextlib
import dataclasses
import functools
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import backgrad as bg
from backgrad.attacks import back_gradient
from backgrad.attacks.checkpoint import Memory
from backgrad.errors import InputError, UnsupportedError
from backgrad.identity import identify
from tests.attacks.problems import SCHEDULE, P, craft, train_rows

BATCHES = bg.Descent(8, 0.5, 0.5, batch_size=5)


class Killed(Exception):
    """What ends a search between two chunks."""


class Dying(Memory):
    """A memory whose owner is killed after so many states were kept."""

    def __init__(self, saves):
        super().__init__()
        self.left, self.saves = saves, 0

    def save(self, arrays):
        super().save(arrays)
        self.saves += 1
        self.left -= 1
        if self.left == 0:
            raise Killed


ATTACK = bg.JointAttack(3)


def killed(attack, kind, saves):
    """Run a search that is killed after so many saves, then once more; return the result and the memory."""
    memory = Dying(saves)
    with contextlib.suppress(Killed):
        craft(attack, kind, schedule=BATCHES, checkpoint=memory)
    assert memory.saves == saves
    return craft(attack, kind, schedule=BATCHES, checkpoint=memory), memory


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        (bg.JointAttack(43, redraw=True, dropout=0.1, rehearsal=21), "box"),
        pytest.param(bg.JointAttack(41, rehearsal=21), "binary", marks=pytest.mark.slow),
    ],
)
def test_a_search_that_was_killed_and_goes_on_ends_with_the_same_bytes(attack, kind):
    whole = craft(attack, kind, schedule=BATCHES)
    for saves in (3, 24):  # while it rehearses, and after
        again, memory = killed(attack, kind, saves)
        assert again.points.tobytes() == whole.points.tobytes()
        np.testing.assert_array_equal(again.trace, whole.trace)
        assert again.health == whole.health
        assert memory.saves == -(-attack.iterations // 2) + 21  # nothing was done twice


def test_a_search_over_subpopulations_goes_on_too():
    attack = bg.SubpopulationAttack(12, redraw=True, finalists=2, draws=2)
    whole = craft(attack, "box", schedule=BATCHES)
    for saves in (3, 11, 15):  # among first guesses, among their variations, among the finals
        again, memory = killed(attack, "box", saves)
        assert again.points.tobytes() == whole.points.tobytes()
        np.testing.assert_array_equal(again.trace, whole.trace)
        assert again.health == whole.health
        assert memory.saves == len(whole.trace) == attack.evaluations == 12 + 3 * 2
    told = []
    finished = craft(attack, "box", schedule=BATCHES, checkpoint=memory, progress=told.append)
    assert finished.points.tobytes() == whole.points.tobytes()
    assert told == []
    with pytest.raises(InputError, match="the state of another search"):
        craft(attack, "box", schedule=BATCHES, checkpoint=memory, seed=4)


def test_the_search_after_one_that_stalled_goes_on_too(monkeypatch):
    monkeypatch.setattr(back_gradient, "gain_left", lambda *_: np.inf)
    attack = bg.JointAttack(5)
    whole = craft(attack, "box", schedule=BATCHES)
    assert len(whole.trace) == 2 * 5
    for saves in (3, 5, 7):  # before it stalls, when it has, and after
        again, memory = killed(attack, "box", saves)
        assert again.points.tobytes() == whole.points.tobytes()
        np.testing.assert_array_equal(again.trace, whole.trace)
        assert memory.saves == 2 * 5


def test_a_finished_search_is_not_run_again():
    memory = Memory()
    first = craft(ATTACK, "box", checkpoint=memory)
    told = []
    again = craft(ATTACK, "box", checkpoint=memory, progress=told.append)
    assert told == []
    assert again.points.tobytes() == first.points.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"attack": bg.JointAttack(3, step_size=0.9)},
        {"attack": bg.JointAttack(3, rehearsal=2)},
        {"seed": 4},
        {"schedule": bg.Descent(41, 0.5)},
        {"schedule": bg.Descent(40, 0.4)},
        {"schedule": dataclasses.replace(SCHEDULE, key=jax.random.key(5))},
        {"learner": bg.LogisticRegression(6, 0.1)},
        {"points": 5},
        {"start": (np.full((4, 6), 0.5), np.array([0, 1, 0, 1]))},
    ],
    ids=str,
)
def test_the_state_of_another_search_is_refused(change):
    memory = Memory()
    craft(ATTACK, "box", checkpoint=memory)
    with pytest.raises(InputError, match="the state of another search, of other settings, rows, seed or start"):
        craft(**{"attack": ATTACK, "kind": "box", "checkpoint": memory, **change})


def above(limit):
    """Return who labels points by their mean."""
    return lambda x: x.mean(axis=1) > limit


def nested(depth):
    """Return a function that encloses itself, with a set whose order differs from process to process."""

    def call(n):
        return call(n - 1) if n in {"a", "b", "c", depth} else depth

    return call


class Oracle:
    """Labels points by a number of its own."""

    def __init__(self, limit):
        self.limit = limit

    def label(self, x):
        return x.mean(axis=1) > self.limit


def functions(number):
    """Return settings that hold functions, those of which a number is part in some way."""
    return [
        bg.Descent(40, optimiser=optax.adam(number)),
        bg.Descent(40, optimiser=optax.chain(optax.clip(1.0), optax.sgd(optax.linear_schedule(number, 0.0, 9)))),
        bg.AssignedLabels(above(np.array([number]))),
        bg.AssignedLabels(functools.partial(above, number)),
        bg.AssignedLabels(Oracle(number).label),
        bg.AssignedLabels((lambda x: x[:, 0] > 0.1) if number == 0.1 else (lambda x: x[:, 0] > 0.2)),
        bg.AssignedLabels((lambda x: np.sin(x) > 0) if number == 0.1 else (lambda x: np.cos(x) > 0)),
        bg.AssignedLabels(lambda x, limit=number: x > limit),
        bg.Linked(bg.Box(), jax.jit(above(number))),
        nested(number),
    ]


def test_functions_tell_searches_apart_and_are_known_again_in_another_process():
    names = [identify("", one) for one in functions(0.1)]
    assert names == [identify("", one) for one in functions(0.1)]
    assert not set(names) & {identify("", one) for one in functions(0.2)}
    code = (
        "from tests.attacks.test_checkpoint import functions, identify\n"
        "print(*[identify('', one) for one in functions(0.1)])"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == names


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        [{"schedule": bg.Descent(9, optimiser=optax.adam(rate))} for rate in (0.1, 0.001)],
        [{"threat": bg.ThreatModel(P, labels=bg.AssignedLabels(above(limit)))} for limit in (0.4, 0.5)],
    ],
    ids=["optimiser", "labels"],
)
def test_the_state_of_a_search_with_another_function_is_refused(saved, other):
    memory = Memory()
    found = craft(ATTACK, "box", checkpoint=memory, **saved)
    assert craft(ATTACK, "box", checkpoint=memory, **saved).points.tobytes() == found.points.tobytes()
    with pytest.raises(InputError, match="the state of another search"):
        craft(ATTACK, "box", checkpoint=memory, **other)


def test_other_rows_are_another_search():
    rows = train_rows("box")
    moved = rows._replace(x=rows.x.at[7, 3].add(1e-9))
    assert identify("", rows) == identify("", train_rows("box"))
    assert identify("", rows) != identify("", moved)
    assert identify("", rows) != identify("x", rows)


def test_a_damaged_state_is_refused():
    memory = Memory()
    craft(ATTACK, "box", checkpoint=memory)
    memory.save({name: array for name, array in memory.load().items() if name != "state.0"})
    with pytest.raises(InputError, match="lacks a part of this search's state"):
        craft(ATTACK, "box", checkpoint=memory)


def test_attacks_that_keep_no_state_refuse_a_checkpoint():
    with pytest.raises(UnsupportedError, match=r"GreedyAttack cannot go on where it was stopped.*JointAttack\(\)"):
        craft(bg.GreedyAttack(2), "box", checkpoint=Memory())
