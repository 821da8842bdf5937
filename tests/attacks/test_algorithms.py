"""The attacks' own algorithms, step by step against plain NumPy, and the damage they do."""

import dataclasses
import functools
import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.attacks import back_gradient
from backgrad.defences.distance import Sphere
from backgrad.errors import UnsupportedError
from tests.attacks.problems import ATTACKS, LEARNER, SCHEDULE, D, P, craft, crafted, rows, train_rows, validation_rows
from tests.problems import mostly_slow

# Forty training steps amplify the rounding of another order of summation, from step to step of the attack.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


@functools.partial(jax.jit, static_argnames="held")
def _value_and_gradient(points, labels, weight, clean, validation, held):
    def value(points):
        trained = bg.train(LEARNER, (clean, bg.Samples(points, labels, weight)), schedule=SCHEDULE)
        margins = (2 * validation.y[:, 1] - 1) * LEARNER.scores(trained.params, validation.x)
        unit = jnp.abs(margins).mean()
        unit = jax.lax.stop_gradient(unit) if held else unit
        return jax.nn.sigmoid(-margins / (0.5 * unit)).mean()

    return jax.value_and_grad(value)(points)


def hypergradient(kind, labels, *, held=False):
    """Return f(points, present) → (𝒜, gradient), NumPy in and out; points from number `present` on are absent.

    Where `held`, the mean margin is a constant to the gradient.
    """
    soft = jnp.asarray(np.eye(2)[labels])

    def f(points, present=P):
        weight = jnp.asarray(np.arange(P) < present, float)
        found = _value_and_gradient(jnp.asarray(points), soft, weight, train_rows(kind), validation_rows(kind), held)
        return float(found[0]), np.asarray(found[1])

    return f


def ascend(kind, point, slope, length):
    """Take one step of a single point."""
    if kind == "box":
        return np.clip(point + length * slope / np.linalg.norm(slope), 0, 1)
    gain = slope * (1 - 2 * point)
    flip = np.zeros(D, bool)
    flip[np.argsort(-gain)[: max(round(length**2), 1)]] = True
    return np.where(flip & (gain > 0), 1 - point, point)


def climb(f, kind, points, mover, present, attack):
    """Let one point ascend, as Algorithm 1 says; return all points with its best, and the trace."""
    points, here, halved = points.copy(), points[mover].copy(), 0
    value, gradient = f(points, present)
    trace = [value]
    while len(trace) <= attack.max_steps and halved <= attack.halvings:
        points[mover] = ascend(kind, here, gradient[mover], attack.step_size / 2**halved)
        found, slope = f(points, present)
        trace.append(found)
        if found - value < attack.epsilon:
            halved += 1
        if found > value:
            here, value, gradient = points[mover].copy(), found, slope
    points[mover] = here
    return points, trace


@pytest.mark.parametrize(
    ("name", "kind", "halvings"),
    mostly_slow(
        itertools.product(["greedy", "coordinate"], ["box", "binary"], [0, 2]),
        *[("greedy", "box", 0), ("greedy", "binary", 2), ("coordinate", "box", 2)],
    ),
)
def test_pointwise_attacks_follow_algorithm_1_with_a_line_search_and_without(name, kind, halvings):
    attack = dataclasses.replace(ATTACKS[name, kind], halvings=halvings)
    result = craft(attack, kind) if halvings else crafted(name, kind)
    f, points, trace = hypergradient(kind, result.labels), result.start, []
    if name == "greedy":
        turns = [(j, j + 1) for j in range(P)]
    else:
        turns = [(j, P) for _ in range(attack.passes) for j in range(P)]
    for mover, present in turns:
        points, walk = climb(f, kind, points, mover, present, attack)
        trace += walk
    np.testing.assert_allclose(result.trace, trace, **CLOSE)
    np.testing.assert_allclose(result.points, points, **CLOSE)
    assert result.health.objective_best == pytest.approx(max(walk), rel=1e-8)


@pytest.mark.parametrize("held", [True, False])
def test_the_joint_attack_on_a_box_averages_normalised_gradients(held):
    attack = dataclasses.replace(ATTACKS["joint", "box"], hold_unit=held)
    result = crafted("joint", "box") if held else craft(attack, "box")
    f, x, trace, visited = hypergradient("box", result.labels, held=held), result.start, [], []
    mean = np.zeros((P, D))
    for i in range(attack.iterations):
        value, gradient = f(x)
        trace.append(value)
        visited.append(x)
        mean = 0.9 * mean + 0.1 * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
        step = attack.step_size * (1 + np.cos(np.pi * i / attack.iterations)) / 2
        x = np.clip(x + step * mean / (1 - 0.9 ** (i + 1)), 0, 1)
    np.testing.assert_allclose(result.trace, trace, **CLOSE)
    np.testing.assert_allclose(result.points, visited[int(np.argmax(trace))], **CLOSE)


def test_the_joint_attack_on_a_binary_set_anneals_a_relaxation_and_judges_its_rounding():
    attack, result = ATTACKS["joint", "binary"], crafted("joint", "binary")
    f, trace, visited = hypergradient("binary", result.labels, held=True), [], []
    theta, first, second = 2 * result.start - 1, np.zeros((P, D)), np.zeros((P, D))
    warm, cold = attack.temperatures
    for i in range(attack.iterations):
        temperature = warm * (cold / warm) ** (i / (attack.iterations - 1))
        soft = 1 / (1 + np.exp(-theta / temperature))
        visited.append((soft >= 0.5).astype(float))
        trace.append(f(visited[-1])[0])
        gradient = f(soft)[1] * soft * (1 - soft) / temperature
        gradient /= np.linalg.norm(gradient)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate = np.sqrt(second / (1 - 0.999 ** (i + 1))) + 1e-12
        theta = theta + attack.discrete_step_size * first / (1 - 0.9 ** (i + 1)) / rate
    np.testing.assert_allclose(result.trace, trace, **CLOSE)
    np.testing.assert_array_equal(result.points, visited[int(np.argmax(trace))])
    assert (result.points != result.start).any()


def test_random_points_are_the_best_of_as_many_draws_as_asked_for():
    for draws in (1, 4):
        result = craft(bg.RandomPoints(draws), "box")
        assert len(result.trace) == draws
        best = max(result.trace.max(), result.health.objective_start)
        assert result.health.objective_best == pytest.approx(best, rel=1e-12)
    few, many = (craft(bg.RandomPoints(draws), "box").health.objective_best for draws in (1, 4))
    assert few < many


@pytest.mark.parametrize("control", [bg.RandomPoints(4), bg.LabelFlip()], ids=["random", "label flips"])
def test_what_follows_no_gradients_is_not_judged_by_any(control):
    health = craft(control, "box").health
    assert health.gradient_error_first is None
    assert health.gain_left == 0
    rose = isinstance(control, bg.RandomPoints)
    assert health.verdict == ("worked" if rose else "failed")
    assert "without gradients" in health.sentence or not rose


# Settings that the tests above hold against a reference, or that a test of their own covers.
COVERED = {
    bg.JointAttack: {
        *("iterations", "step_size", "discrete_step_size", "temperatures"),
        *("dropout", "redraw", "rehearsal", "hold_unit"),
    },
    bg.GreedyAttack: {"max_steps", "step_size", "epsilon", "halvings"},
    bg.CoordinateAttack: {"max_steps", "step_size", "epsilon", "passes", "halvings"},
    bg.SubpopulationAttack: {"candidates", "redraw", "finalists", "draws"},  # see test_subpopulation.py
    bg.RandomPoints: {"draws"},
    bg.LabelFlip: set(),
}


@pytest.mark.parametrize("kind", COVERED)
def test_every_declared_setting_of_an_attack_has_a_test_that_it_acts(kind):
    assert {field.name for field in dataclasses.fields(kind)} == COVERED[kind]
    moved = {
        field.name
        for attack in ATTACKS.values()
        if type(attack) is kind
        for field in dataclasses.fields(attack)
        if getattr(attack, field.name) != field.default
    }
    # References are run at settings of which none is at its default.
    own = {"dropout", "redraw", "rehearsal", "halvings", "hold_unit"}  # which have tests of their own
    own |= {"finalists"} | ({"draws"} if kind is bg.SubpopulationAttack else set())
    assert moved == COVERED[kind] - own


def test_dropout_steers_the_search_but_never_judges_it_and_the_best_iterate_is_kept():
    full, attack = crafted("joint", "box"), dataclasses.replace(ATTACKS["joint", "box"], dropout=0.9)
    start = (full.start, full.labels)
    dropped, again, other = (craft(attack, "box", seed=seed, start=start) for seed in (4, 4, 5))
    # The first value is that of the start on rows as they are; the first step already goes elsewhere.
    assert dropped.trace[0] == pytest.approx(full.trace[0], rel=1e-12)
    assert (dropped.trace[1:] != full.trace[1:]).all()
    assert dropped.points.tobytes() == again.points.tobytes()
    assert (dropped.points != other.points).any()
    # With so little to go by the search strays, and its last iterate is not its best.
    assert dropped.trace[-1] < dropped.trace.max() - 1e-3
    assert dropped.health.objective_best == pytest.approx(dropped.trace.max(), rel=1e-12)


def test_dropout_draws_apart_from_redrawing():
    attack = dataclasses.replace(ATTACKS["joint", "box"], dropout=0.5)
    state = attack._begin(bg.Box(), jnp.asarray(crafted("joint", "box").start), 3)
    alone, both = (dataclasses.replace(attack, redraw=r).climb(validation_rows("box"), state) for r in (False, True))
    assert (np.asarray(alone.x) != np.asarray(both.x)).any()


def test_redrawing_trains_from_other_parameters_at_every_step_and_keeps_the_last_iterate():
    # Of a network, whose initial parameters matter. The first draw is already another than the schedule's.
    network = {"learner": bg.MLP(D, 2, (3,)), "schedule": bg.Descent(20, 0.5, key=jax.random.key(7))}
    attack = bg.JointAttack(6, step_size=0.2)
    fixed, moved, again = (
        craft(dataclasses.replace(attack, redraw=redraw), "box", **network) for redraw in (False, True, True)
    )
    np.testing.assert_array_equal(moved.points, again.points)
    assert moved.trace[0] != fixed.trace[0]
    stay = craft(dataclasses.replace(attack, redraw=True, step_size=1e-9), "box", **network)
    assert np.ptp(stay.trace) > 1e-3  # the same points, six networks
    assert np.abs(stay.points - stay.start).max() < 1e-7
    # One iteration more moves the points once more, whatever the objective of that draw.
    values = [craft(bg.JointAttack(n, step_size=0.2, redraw=True), "box", **network).points for n in (1, 2)]
    np.testing.assert_array_equal(values[0], moved.start)
    assert (values[1] != moved.start).any()


def test_a_rehearsal_starts_the_search_from_points_found_against_a_fifth_of_the_training():
    whole, fifth = bg.Descent(40, 0.5), bg.Descent(8, 0.5)
    found = craft(bg.JointAttack(5), "box", schedule=fifth)
    expected = craft(bg.JointAttack(3), "box", schedule=whole, start=(found.points, found.labels))
    told = []
    rehearsed = craft(
        bg.JointAttack(3, rehearsal=5),
        "box",
        schedule=whole,
        start=(found.start, found.start_labels),
        progress=told.append,
    )
    np.testing.assert_array_equal(rehearsed.trace, expected.trace)
    np.testing.assert_array_equal(rehearsed.points, expected.points)
    # Five iterations of a fifth are one of the whole.
    assert told == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 0.75, 1.0])
    with pytest.raises(UnsupportedError, match="set rehearsal=0"):
        craft(bg.JointAttack(3, rehearsal=5), "box", schedule=bg.Converged())


def test_a_start_that_a_rehearsal_spoils_is_what_is_kept():
    # Steps across the whole box, of which the first of the search itself already comes too late.
    good = crafted("joint", "box")
    start = (good.points, good.labels)
    result = craft(bg.JointAttack(1, step_size=50.0, rehearsal=4), "box", start=start, schedule=bg.Descent(40, 0.5))
    assert result.trace[0] < result.health.objective_start
    np.testing.assert_array_equal(result.points, good.points)


class CountedBox(bg.Box):
    """A box that counts how often its steps are traced."""

    traced: ClassVar[list[int]] = []

    def ascend(self, points, gradient, length):
        self.traced.append(1)
        return super().ascend(points, gradient, length)


def test_a_pointwise_attack_is_compiled_once_for_all_its_points():
    threat = bg.ThreatModel(P, feasible=CountedBox())
    result = craft(ATTACKS["greedy", "box"], "box", threat=threat)
    assert result.points.tobytes() == crafted("greedy", "box").points.tobytes()
    # A loop's body is traced once, or twice where JAX widens the types of its state; compiling for each of the points
    # would trace it four times at least.
    assert 1 <= len(CountedBox.traced) < P
    before = len(CountedBox.traced)
    craft(ATTACKS["greedy", "box"], "box", threat=threat, seed=9)
    assert len(CountedBox.traced) == before


@functools.cache
def damage(name, kind):
    """Return how much an attack raises the smooth test error above that of its own start, and the victims' errors."""
    result, test = crafted(name, kind), rows(kind, 40, 2)
    values, errors = [], []
    for points in (result.start, result.points):
        trained = bg.train(LEARNER, (train_rows(kind), bg.samples(points, result.labels, 2)), schedule=SCHEDULE)
        values.append(float(bg.ErrorGeneric().value(LEARNER, trained.params, test)))
        wrong = (np.asarray(LEARNER.scores(trained.params, test.x)) > 0) != np.asarray(test.y).argmax(1)
        errors.append(wrong.mean())
    return values[1] - values[0], errors


@pytest.mark.parametrize("case", ["batches", "defence"])
@pytest.mark.parametrize("name", ["greedy", "coordinate"])
def test_a_point_that_moves_alone_climbs_the_objective_of_all(name, case):
    if case == "batches":
        result = craft(ATTACKS[name, "box"], "box", schedule=bg.Descent(40, 0.5, batch_size=5))
    else:
        clean = train_rows("binary")
        known = Sphere(fraction=0.4).evasion(np.asarray(clean.x), np.argmax(np.asarray(clean.y), axis=1))
        threat = bg.ThreatModel(P, feasible=bg.Binary(), evasion=known)
        result = craft(ATTACKS[name, "binary"], "binary", threat=threat)
    if name == "coordinate":  # greedy starts from one point alone
        assert result.trace[0] == pytest.approx(result.health.objective_start, rel=1e-9)
    assert result.trace.max() == pytest.approx(result.health.objective_best, rel=1e-9)
    assert result.health.objective_best > result.health.objective_start


@pytest.mark.parametrize(
    "feasible", [bg.Immutable(bg.Box(), (1, 4)), bg.Ball(bg.Box(), 0.3)], ids=["immutable", "ball"]
)
def test_a_point_that_moves_alone_keeps_to_what_its_own_start_leaves_it(feasible):
    result = craft(bg.CoordinateAttack(3), "box", threat=bg.ThreatModel(P, feasible=feasible))
    assert np.asarray(feasible.around(jnp.asarray(result.start)).contains(jnp.asarray(result.points))).all()
    assert result.health.objective_best > result.health.objective_start


@pytest.mark.parametrize("kind", ["box", "binary"])
@pytest.mark.parametrize("name", ["joint", "greedy", "coordinate"])
def test_attacks_do_clearly_more_harm_to_unseen_rows_than_label_flips(name, kind):
    gain, (flipped, poisoned) = damage(name, kind)
    # Forty rows: a smooth error of 0.03 is one of them and more.
    assert gain > 0.03
    assert poisoned > flipped


def test_a_joint_search_that_stalls_is_followed_by_one_along_the_whole_gradient(monkeypatch):
    attack = bg.JointAttack(4, step_size=0.5)
    held, whole = craft(attack, "box"), craft(dataclasses.replace(attack, hold_unit=False), "box")
    monkeypatch.setattr(back_gradient, "gain_left", lambda *_: np.inf)
    both = craft(attack, "box")
    np.testing.assert_array_equal(both.trace, np.concatenate([held.trace[:4], whole.trace]))
    better = max(held, whole, key=lambda one: one.health.objective_best)
    np.testing.assert_array_equal(both.points, better.points)
    # Where the unit plays no part, there is no other gradient to follow.
    log_loss = craft(attack, "box", threat=bg.ThreatModel(P, bg.ErrorGeneric(bg.LogLoss())))
    assert len(log_loss.trace) == 4
