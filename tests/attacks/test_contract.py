"""What attacks promise beyond `backgrad.testing.AttackContract`, and what they refuse."""

import jax
import numpy as np
import pytest

import backgrad as bg
from backgrad.errors import InputError
from tests.attacks.problems import (
    ATTACKS,
    GRADIENT_ATTACKS,
    LABELS,
    LEARNER,
    SCHEDULE,
    SETS,
    D,
    N,
    P,
    craft,
    crafted,
    train_rows,
    validation_rows,
)

every_attack = pytest.mark.parametrize(("name", "kind"), ATTACKS)
every_gradient_attack = pytest.mark.parametrize(("name", "kind"), GRADIENT_ATTACKS)


def true_labels(kind):
    return np.asarray(train_rows(kind).y).argmax(1)


def origins(result, kind):
    """Return which training row each point started from; rows of the problem are all different."""
    same = (result.start[:, None, :] == np.asarray(train_rows(kind).x)[None]).all(2)
    np.testing.assert_array_equal(same.sum(1), 1)
    return same.argmax(1)


@every_attack
def test_points_start_from_different_training_rows_with_wrong_labels(name, kind):
    result = crafted(name, kind)
    rows = origins(result, kind)
    assert len(set(rows)) == P
    np.testing.assert_array_equal(result.start_labels, 1 - true_labels(kind)[rows])
    if LABELS[name] == bg.FlippedLabels():
        np.testing.assert_array_equal(result.labels, result.start_labels)
    # As many of one class as of the other.
    assert result.start_labels.sum() == P // 2


@every_attack
def test_points_are_exactly_feasible(name, kind):
    points = crafted(name, kind).points
    inside = (points >= 0) & (points <= 1) if kind == "box" else (points == 0) | (points == 1)
    assert inside.all()


@every_gradient_attack
def test_attacks_that_follow_gradients_raise_the_objective_and_more_than_random_points_do(name, kind):
    result, chance = crafted(name, kind), crafted("random", kind)
    assert result.health.rose
    assert result.health.verdict == "worked"
    assert result.health.objective_best > chance.health.objective_best
    assert (result.points != result.start).any()


@every_attack
def test_results_name_the_attack_and_equal_threat_models(name, kind):
    result = crafted(name, kind)
    assert (result.attack, result.adjoint, result.seed) == (name, "Checkpointed", 3)
    assert result.threat_model == bg.ThreatModel(P, feasible=SETS[kind], labels=LABELS[name])


@every_attack
def test_the_share_at_bounds_is_that_of_zeros_and_ones(name, kind):
    result = crafted(name, kind)
    coordinates = result.points
    if LABELS[name] == bg.ChosenLabels():  # labels are coordinates, too
        coordinates = np.concatenate([coordinates, np.eye(2)[result.labels]], axis=1)
    at_bounds = np.isin(coordinates, [0.0, 1.0]).mean()
    assert result.health.share_at_bounds == pytest.approx(at_bounds, rel=1e-6)  # may be computed in float32


@pytest.mark.parametrize("kind", SETS)
def test_label_flips_end_where_they_are_told_to_start(kind):
    points, labels = np.asarray(train_rows(kind).x)[[5, 7, 8, 11]], np.array([0, 1, 1, 1])
    result = craft(bg.LabelFlip(), kind, start=(points.copy(), labels.copy()))
    np.testing.assert_array_equal(result.points, points)
    np.testing.assert_array_equal(result.labels, labels)


def test_the_attacker_sees_validation_rows_as_they_are_weighted():
    heavy = validation_rows("box")._replace(weight=train_rows("box").weight[0] * np.where(np.arange(30) < 5, 9.0, 1.0))
    result = bg.LabelFlip().craft(
        LEARNER, train_rows("box"), heavy, schedule=SCHEDULE, threat=bg.ThreatModel(P), seed=3
    )
    assert result.health.objective_start != crafted("label-flip", "box").health.objective_start


def refused(sentence, *, attack=None, train=None, kind="box", points=P, **settings):
    """Check that an attack is refused with a sentence."""
    threat = bg.ThreatModel(points, feasible=SETS[kind])
    with pytest.raises(InputError, match=sentence):
        (attack or bg.JointAttack(2)).craft(
            LEARNER,
            train_rows("box") if train is None else train,
            validation_rows("box"),
            schedule=SCHEDULE,
            threat=threat,
            seed=0,
            **settings,
        )


def test_more_points_than_rows_are_refused():
    refused(f"{N + 1} poisoning points cannot start from {N} rows: ask for at most {N} points", points=N + 1)


def test_training_rows_of_one_class_are_refused():
    full = train_rows("box")
    one = jax.tree.map(lambda a: a[np.flatnonzero(true_labels("box") == 1)], full)
    refused(r"at least two classes; all of these have label \[1\]", train=one)


def test_training_rows_that_do_not_fit_the_learner_are_refused():
    refused("the learner expects 6 features, but x has 5 columns", train=bg.samples(np.ones((4, 5)), [0, 1, 0, 1], 2))


@pytest.mark.parametrize(
    ("points", "labels"), [((P - 1, D), (P - 1,)), ((P, D + 1), (P,)), ((P, D), (P + 1,)), ((P, D), (P, 2))]
)
def test_starting_points_of_another_shape_are_refused(points, labels):
    start = (np.full(points, 0.5), np.zeros(labels, int))
    refused(r"starting points must have (shape \(4, 6\)|labels of shape \(4,\)); got", start=start)


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_starting_points_outside_the_box_are_refused(value):
    points = np.full((P, D), 0.5)
    points[1, 2] = value
    refused(r"1 of 4 starting points lie outside the feasible set \(box\)", start=(points, np.array([0, 1, 0, 1])))


def test_training_rows_that_are_not_binary_are_refused_by_a_binary_set():
    refused(r"4 of 4 starting points lie outside the feasible set \(binary\): choose a set", kind="binary")


@pytest.mark.parametrize("labels", [[5, 0, 1, 0], [-1, 0, 1, 0]])
def test_labels_that_no_class_has_are_refused(labels):
    refused("label", start=(np.full((P, D), 0.5), np.array(labels)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bg.JointAttack(0), "iterations must be a positive whole number; got 0"),
        (lambda: bg.JointAttack(step_size=0.0), "must be a positive"),
        (lambda: bg.JointAttack(discrete_step_size=-1.0), "must be a positive"),
        (lambda: bg.JointAttack(temperatures=(1.0, 0.0)), "must be a positive"),
        (lambda: bg.GreedyAttack(0), "max_steps must be a positive whole number; got 0"),
        (lambda: bg.CoordinateAttack(step_size=-0.1), "step_size must be a positive"),
        (lambda: bg.GreedyAttack(epsilon=-1e-9), "epsilon must be a finite number, 0 or more"),
        (lambda: bg.GreedyAttack(epsilon=float("nan")), "epsilon must be a finite number, 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "make",
    [
        lambda: bg.JointAttack(step_size=NAN),
        lambda: bg.JointAttack(step_size=INF),
        lambda: bg.JointAttack(discrete_step_size=NAN),
        lambda: bg.JointAttack(temperatures=(1.0, NAN)),
        lambda: bg.JointAttack(temperatures=(INF, 1.0)),
        lambda: bg.GreedyAttack(step_size=INF),
        lambda: bg.GreedyAttack(epsilon=INF),
        lambda: bg.CoordinateAttack(passes=0),
        lambda: bg.RandomPoints(0),
        lambda: bg.RandomPoints(-1),
    ],
)
def test_settings_that_would_fail_only_after_the_work_are_refused_before_it(make):
    with pytest.raises(InputError):
        make()
