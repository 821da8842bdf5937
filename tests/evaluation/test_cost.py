"""Estimates of cost, against counts by hand and against what a job really does."""

import dataclasses
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import backgrad as bg
from backgrad.attacks.base import Attack
from backgrad.errors import InputError, UnsupportedError
from backgrad.evaluation import cost
from backgrad.evaluation.cost import PARTS, estimate_cost
from backgrad.evaluation.plan import Fitted, Plan, Rows, Table
from backgrad.evaluation.poisoning import craft_on_split

DATA = bg.load("blobs2")
TABLE = Table(DATA.x, DATA.y, 2)
P = 4


def split(k=0):
    rows = bg.split_rows(600, train=20, validation=40, seed=0, split=k, labels=DATA.y)
    return Rows(rows.train, rows.validation, rows.test)


PLAN = Plan(
    learner=bg.LogisticRegression(2),
    schedule=bg.Descent(20, 2.0),
    # Four points in two dimensions stall a held unit, and an estimate cannot foresee the search that follows.
    attack=bg.JointAttack(15, step_size=0.3, hold_unit=False),
    threat=bg.ThreatModel(P),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Take every time once, and compile nothing twice."""
    monkeypatch.setattr("backgrad.attacks.cost._ENOUGH", 0.0)


@pytest.fixture(scope="module")
def one():
    return estimate_cost(PLAN, TABLE, [split(0)])


def test_an_estimate_counts_the_hypergradients_that_the_attack_computes(one):
    found = craft_on_split(PLAN, TABLE, split(), seed=(0, 0))
    assert one.hypergradients == found.health.evaluations == 15
    assert one.hypergradient > 0
    assert one.attack == pytest.approx(15 * one.hypergradient)


def test_an_estimate_of_a_search_that_fits_an_estimator_counts_its_fits():
    waits = []

    class Slow(LogisticRegression):
        def fit(self, X, y):
            time.sleep(0.02)
            waits.append(len(X))
            return super().fit(X, y)

    fitted = Fitted(Slow(), bg.SubpopulationAttack(10, redraw=True))
    plan = dataclasses.replace(PLAN, fitted=fitted)
    found = estimate_cost(plan, TABLE, [split(0)])
    assert found.hypergradients == 0
    asked, waits[:] = len(waits), []
    craft_on_split(plan, TABLE, split(), seed=(0, 0))
    assert asked < len(waits) <= fitted.attack.evaluations
    assert found.attack >= 0.02 * fitted.attack.evaluations


def test_an_estimate_adds_up(one):
    assert tuple(one.parts) == PARTS
    assert one.seconds == pytest.approx(sum(one.parts.values()))
    assert all(value >= 0 for value in one.parts.values())
    assert one.compilation > one.training > 0


def test_memory_is_that_of_the_largest_program(one):
    # The trajectory alone: 20 steps of a weight vector and a bias, in float64 or float32.
    width = jax.numpy.zeros(()).dtype.itemsize
    assert one.memory > 20 * 3 * width
    longer = dataclasses.replace(PLAN, schedule=bg.Descent(2000, 2.0))
    grown = estimate_cost(longer, TABLE, [split(0)]).memory - one.memory
    assert grown > 0.99 * (2000 - 20) * 3 * width
    assert one.process is None or one.process > 50e6


@pytest.fixture
def lines(monkeypatch):
    """Measurements that lie on a line, and the budgets that they were asked for."""
    asked = []

    def measure(plan, *_):
        asked.append(plan.threat.budget)
        p = plan.threat.budget
        return cost._Split(1.0, 5.0, 2.0 * p, 0.5 * p, 1.0, 15.0, 0.1, 0.01, 1000.0 * p)

    monkeypatch.setattr(cost, "_measure", measure)
    monkeypatch.setattr(cost, "_price_victims", lambda *_: (0.25, 3.0))
    return asked


def test_a_curve_is_measured_at_its_ends_and_summed_over_budgets_and_splits(lines):
    found = estimate_cost(PLAN, TABLE, [split(0), split(1)], budgets=[0, 2, 6, 10])
    assert lines == [0, 2, 10]
    assert found.attack == pytest.approx(2 * 2.0 * (2 + 6 + 10))
    assert found.checks == pytest.approx(2 * 0.5 * (2 + 6 + 10))
    assert found.victims == pytest.approx(2 * 4 * (1.0 + 3.0))
    assert (found.startup, found.compilation, found.hypergradients) == (0.25, 1.0 + 1.0 + 5.0 + 1.0, 2 * 4 * 15)
    assert found.memory == 10_000


def test_no_points_search_for_nothing():
    found = estimate_cost(PLAN, TABLE, [split(0)], budgets=[0])
    assert (found.attack, found.hypergradients) == (0.0, 0)
    assert found.victims > 0


def test_a_rehearsal_is_counted_with_its_shorter_training():
    plan = dataclasses.replace(PLAN, attack=dataclasses.replace(PLAN.attack, rehearsal=5))
    assert estimate_cost(plan, TABLE, [split(0)]).hypergradients == 15 + 5


def test_points_that_move_in_turn_are_counted_by_the_first():
    attack = bg.CoordinateAttack(max_steps=3, epsilon=0.0, step_size=1e-3, passes=2)
    found = estimate_cost(dataclasses.replace(PLAN, attack=attack), TABLE, [split(0)])
    # Each turn: the gradient where the point is, and at most one a step.
    assert 2 * P * 2 <= found.hypergradients <= 2 * P * 4


@pytest.mark.parametrize("attack", [bg.LabelFlip(), bg.RandomPoints(draws=3)], ids=["label flips", "random points"])
def test_controls_compute_no_hypergradients(attack):
    found = estimate_cost(dataclasses.replace(PLAN, attack=attack), TABLE, [split(0)])
    assert found.hypergradients == 0
    assert (found.attack > 0) == isinstance(attack, bg.RandomPoints)


def test_programs_kept_on_disk_are_counted_as_they_are_found_again(monkeypatch):
    compiler = cost._Compiler()
    lengths = iter([1.0, 0.25])
    monkeypatch.setattr(cost, "timed", lambda call: (None, next(lengths)))
    monkeypatch.setattr(cost, "seconds_of", lambda call: 0.125)
    assert compiler.usual(lambda: None) == 0.125
    assert compiler.expected() == compiler.seconds == 1.0 - 0.125
    emptied = []
    monkeypatch.setattr(jax, "clear_caches", lambda: emptied.append(True))
    monkeypatch.setattr(cost, "_kept_on_disk", lambda: True)
    assert compiler.expected() == 0.25 - 0.125
    assert emptied == [True]


def test_what_takes_long_is_not_done_again_for_its_compilation(monkeypatch):
    compiler = cost._Compiler()
    lengths = iter([50.0])
    monkeypatch.setattr(cost, "timed", lambda call: (None, next(lengths)))
    monkeypatch.setattr(cost, "seconds_of", lambda call: 40.0)
    monkeypatch.setattr(cost, "_kept_on_disk", lambda: True)
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    assert compiler.usual(lambda: None) == 40.0
    assert compiler.expected() == compiler.seconds == 10.0


def test_an_estimate_refuses_what_it_cannot_know():
    class Own(Attack):
        def search(self, objective, feasible, start, *, seed, progress):
            raise NotImplementedError

    with pytest.raises(InputError, match="at least one split"):
        estimate_cost(PLAN, TABLE, [])
    with pytest.raises(UnsupportedError, match="Own does not say what its search consists of"):
        estimate_cost(dataclasses.replace(PLAN, attack=Own()), TABLE, [split(0)])


def test_between_two_budgets_lies_the_line():
    ends = {0: cost._Split(*[0.0] * 9), 2: cost._Split(*range(9)), 4: cost._Split(*range(2, 11))}
    found = cost._between(ends, 3)
    np.testing.assert_allclose(found[1:], np.arange(2, 10))
    assert found.compilation == found.cold  # what was measured is on disk by now, and this is not
    assert cost._between(ends, 0) is ends[0]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count a process's peak in other ways")
def test_the_peak_of_a_process_is_its_own_and_not_that_of_its_parent():
    held = np.ones(2**27)  # 1 GiB
    code = "from backgrad.evaluation.cost import process_peak; print(process_peak())"
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 2**25 < int(child.stdout) < held.nbytes <= cost.process_peak()
