"""Attacks under every goal, knowledge and rule of labels: what is optimised is what the threat model says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.attacks.health import gradient_error
from backgrad.attacks.objective import OuterObjective, evaluate, group_members
from backgrad.attacks.preparation import start_points
from backgrad.errors import InputError
from tests.problems import mostly_slow

RNG = np.random.default_rng(5)
N, D, K, P = 36, 4, 3, 6
LABELS = np.arange(N) % K
CENTRES = np.array([[0.2, 0.2, 0.5, 0.5], [0.8, 0.2, 0.5, 0.5], [0.5, 0.8, 0.5, 0.5]])
X = np.clip(CENTRES[LABELS] + 0.12 * RNG.normal(size=(N, D)), 0, 1)
TRAIN, VALIDATION = (bg.samples(X[rows], LABELS[rows], K) for rows in (np.arange(0, 18), np.arange(18, 36)))
LEARNER, SCHEDULE = bg.SoftmaxRegression(D, n_classes=K), bg.Descent(60, 0.5)
WITHOUT_2 = VALIDATION._replace(weight=1 - VALIDATION.y[:, 2])


def craft(goal=None, *, attack=None, budget=P, train=TRAIN, validation=VALIDATION, **threat):
    goal = bg.ErrorGeneric() if goal is None else goal
    model = bg.ThreatModel(budget, goal=goal, **threat)
    attack = bg.JointAttack(25, step_size=0.5) if attack is None else attack
    return attack.craft(LEARNER, train, validation, schedule=SCHEDULE, threat=model, seed=0)


def value(goal, result, learner=LEARNER, schedule=SCHEDULE):
    """Return a goal's value by training from scratch."""
    block = bg.samples(result.points, result.labels, K)
    params = bg.train(learner, (TRAIN, block), schedule=schedule).params
    return float(goal.value(learner, params, VALIDATION))


TARGETS = np.full(18, -1)
TARGETS[:4] = (np.asarray(LABELS[18:22]) + 1) % K
GOALS = {
    "generic": bg.ErrorGeneric(),
    "targeted": bg.ErrorGeneric(classes=(1,)),
    "specific": bg.ErrorSpecific({1: 2}),
    "several": bg.ErrorSpecific({1: 2, 0: 1}, hold_others=True),
    "samples": bg.SampleTargets(jnp.asarray(TARGETS), bg.LogLoss()),
    "squared": bg.ErrorGeneric(bg.SquaredLoss()),
}


@pytest.mark.parametrize("name", mostly_slow(GOALS, "targeted", "several", "samples"))
def test_every_goal_is_raised_on_gradients_that_check_out(name):
    goal = GOALS[name]
    result = craft(goal)
    assert result.health.verdict == "worked", result.health.sentence
    assert value(goal, result) == pytest.approx(result.health.objective_best, rel=1e-9)
    assert result.health.gradient_error_last < 1e-5


def test_an_error_specific_attack_starts_from_the_classes_involved_with_swapped_labels():
    result = craft(GOALS["specific"])
    same = (result.start[:, None] == np.asarray(TRAIN.x)[None]).all(2)
    true = LABELS[:18][same.argmax(1)]
    assert set(true) == {1, 2}
    np.testing.assert_array_equal(result.labels, np.where(true == 1, 2, 1))


def test_starting_from_sources_alone_takes_rows_of_the_attacked_classes_where_there_are_enough():
    threat = bg.ThreatModel(4, bg.ErrorSpecific({1: 2}))
    points, labels = start_points(TRAIN, threat, 0, sources=True)
    same = (points[:, None] == np.asarray(TRAIN.x)[None]).all(2)
    assert set(LABELS[:18][same.argmax(1)]) == {1}
    assert set(labels) == {2}
    many = bg.ThreatModel(9, bg.ErrorSpecific({1: 2}))  # of six rows of class 1
    assert set(start_points(TRAIN, many, 0, sources=True)[1]) == {1, 2}
    free = bg.ThreatModel(4)
    for one, other in zip(start_points(TRAIN, free, 0, sources=True), start_points(TRAIN, free, 0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_holding_others_counts_their_rows_and_not_holding_them_does_not():
    free, held = bg.ErrorSpecific({1: 2}), bg.ErrorSpecific({1: 2}, hold_others=True)
    attacked = LABELS[18:] == 1
    rows, sign = free.wanted(VALIDATION)
    assert sign == -1
    np.testing.assert_array_equal(np.asarray(rows.weight) > 0, attacked)
    rows, _ = held.wanted(VALIDATION)
    assert (np.asarray(rows.weight) == 1).all()
    np.testing.assert_array_equal(np.argmax(rows.y, 1), np.where(attacked, 2, LABELS[18:]))


def test_hits_are_attacked_rows_that_got_the_attacker_s_label():
    goal = bg.ErrorSpecific({1: 2, 0: 1})
    np.testing.assert_array_equal(goal.hits([0, 1, 2, 1, 0], [1, 2, 2, 1, 0]), [True, True, False, False])
    assert bg.ErrorGeneric().hits([0], [1]) is None


@pytest.mark.parametrize(
    ("goal", "sentence"),
    [
        (lambda: bg.ErrorSpecific({}), "at least one class"),
        (lambda: bg.ErrorSpecific({1: 1}), "to itself"),
        (lambda: craft(bg.ErrorSpecific({1: 7})), r"classes \[7\]"),
        (lambda: craft(bg.ErrorGeneric(classes=(5,))), r"classes \[5\]"),
        (lambda: craft(bg.ErrorGeneric(classes=(0, 2)), validation=WITHOUT_2), "class 2 has none of positive weight"),
        (lambda: craft(bg.ErrorSpecific({0: 1, 2: 1}), validation=WITHOUT_2), "class 2 has none of positive weight"),
        (lambda: craft(bg.SampleTargets(jnp.asarray([1, 2]))), "one a validation row"),
        (lambda: craft(bg.SampleTargets(jnp.full(18, -1))), "no validation row is attacked"),
        (lambda: craft(labels=bg.ChosenResponses(-1.0, 1.0)), "ChosenResponses does not choose classes"),
        (lambda: craft(feasible=bg.Box(np.zeros(3), np.ones(3))), "must be one of points with 4 columns"),
        (lambda: craft(train=TRAIN._replace(y=0.8 * TRAIN.y + 0.1)), "one-hot labels, and these have others"),
        (
            lambda: craft(validation=VALIDATION._replace(y=0.8 * VALIDATION.y)),
            "validation rows must have one-hot labels",
        ),
    ],
)
def test_goals_that_make_no_sense_are_refused_in_a_sentence(goal, sentence):
    with pytest.raises(InputError, match=sentence):
        goal()


def test_a_loss_of_classes_is_refused_on_one_response():
    rows = TRAIN._replace(y=TRAIN.x[:, :1])
    for loss in (bg.SmoothZeroOne(), bg.LogLoss()):
        with pytest.raises(InputError, match=r"is a goal of classes, .* have responses: use .*SquaredLoss"):
            bg.JointAttack(2).craft(
                bg.Ridge(D, 0.1),
                rows,
                rows,
                schedule=bg.Descent(5, 0.1),
                threat=bg.ThreatModel(2, goal=bg.ErrorGeneric(loss)),
                seed=0,
            )


def test_a_single_target_has_a_gradient():
    params = bg.train(LEARNER, TRAIN, schedule=SCHEDULE).params
    sure = np.argsort(-np.max(np.asarray(LEARNER.scores(params, VALIDATION.x)), axis=1))[0]
    targets = np.full(18, -1)
    targets[sure] = (LABELS[18 + sure] + 1) % K
    result = craft(bg.SampleTargets(targets))
    assert result.health.verdict == "worked", result.health.sentence
    assert result.health.gradient_error_first < 1e-5


def test_results_may_be_written_to():
    result = craft(attack=bg.JointAttack(1), budget=1)
    for array in (result.points, result.start, result.labels):
        array[:] = 0


ENSEMBLE = tuple(
    bg.Member(bg.SoftmaxRegression(D, l2, n_classes=K), bg.Descent(steps, step_size))
    for l2, steps, step_size in ((0.0, 60, 0.5), (0.1, 60, 0.5), (0.0, 60, 0.1), (0.0, 20, 0.1))
)


def test_members_that_differ_in_numbers_share_a_shape():
    groups, sizes = group_members(ENSEMBLE, jnp.float64)
    assert sorted(sizes) == [1, 3]
    assert len(groups) == 2


@pytest.mark.parametrize("caution", [0.0, 0.4])
def test_an_ensemble_s_objective_is_the_mean_and_its_soft_minimum(caution):
    result = craft(knowledge=bg.Surrogates(ENSEMBLE, caution=caution))
    values = np.array([value(bg.ErrorGeneric(), result, *member) for member in ENSEMBLE])
    least = -0.05 * np.log(np.mean(np.exp(-values / 0.05)))
    expected = (1 - caution) * values.mean() + caution * least
    assert result.health.objective_best == pytest.approx(expected, rel=1e-9)
    assert result.health.gradient_error_last < 1e-5
    assert result.health.verdict == "worked"


def test_an_ensemble_of_the_victim_alone_is_perfect_knowledge():
    alone = craft(knowledge=bg.Surrogates((bg.Member(LEARNER, SCHEDULE),)))
    np.testing.assert_array_equal(alone.points, craft().points)


def test_chosen_labels_are_classes_and_do_no_worse_than_kept_ones():
    # Points that start as copies of training rows, with their true labels, have labels to gain by.
    begin, attack = (X[:P], LABELS[:P]), bg.JointAttack(40, step_size=0.5)
    kept, chosen = (
        attack.craft(
            LEARNER,
            TRAIN,
            VALIDATION,
            schedule=SCHEDULE,
            threat=bg.ThreatModel(P, labels=labels),
            seed=0,
            start=begin,
        )
        for labels in (bg.FlippedLabels(), bg.ChosenLabels())
    )
    assert chosen.health.objective_best >= kept.health.objective_best
    assert chosen.labels.shape == (P,)
    assert chosen.points.shape == (P, D)
    assert (chosen.labels != chosen.start_labels).any()
    assert value(bg.ErrorGeneric(), chosen) == pytest.approx(chosen.health.objective_best, rel=1e-9)
    assert chosen.health.verdict == "worked"


@pytest.mark.parametrize("attack", [bg.JointAttack(15), bg.GreedyAttack(5, step_size=0.3)], ids=["joint", "greedy"])
def test_assigned_labels_follow_from_the_features_at_every_step(attack):
    def by_first_feature(x):
        return (x[:, 0] > 0.5).astype(int)

    result = craft(labels=bg.AssignedLabels(by_first_feature), attack=attack)
    np.testing.assert_array_equal(result.labels, by_first_feature(result.points))
    np.testing.assert_array_equal(result.start_labels, by_first_feature(result.start))
    assert value(bg.ErrorGeneric(), result) == pytest.approx(result.health.objective_best, rel=1e-9)


def test_a_mixed_set_is_climbed_column_by_column():
    feasible = bg.Columns([((0, 1, 2), bg.Box()), ((3,), bg.Binary())])
    start = np.column_stack([X[:P, :3], np.arange(P) % 2]), (LABELS[:P] + 1) % K
    threat = bg.ThreatModel(P, feasible=feasible)
    attack = bg.JointAttack(25, step_size=0.5)
    result = attack.craft(LEARNER, TRAIN, VALIDATION, schedule=SCHEDULE, threat=threat, seed=0, start=start)
    assert feasible.contains(jnp.asarray(result.points)).all()
    assert result.health.verdict == "worked"
    assert (result.points[:, :3] != result.start[:, :3]).any()


def test_a_regression_is_poisoned_in_features_and_responses():
    y = (X @ np.array([1.0, -1.0, 0.5, 0.0]))[:, None]
    rows = [bg.Samples(jnp.asarray(X[i]), jnp.asarray(y[i]), jnp.ones(18)) for i in (slice(0, 18), slice(18, 36))]
    threat = bg.ThreatModel(
        P, goal=bg.ErrorGeneric(bg.SquaredLoss()), labels=bg.ChosenResponses(float(y.min()), float(y.max()))
    )
    attack = bg.JointAttack(25, step_size=0.5)
    result = attack.craft(bg.Ridge(D, 0.01), *rows, schedule=SCHEDULE, threat=threat, seed=0)
    assert result.labels.shape == (P, 1)
    assert (result.labels >= y.min()).all()
    assert (result.labels <= y.max()).all()
    assert result.health.verdict == "worked"


@pytest.mark.parametrize(
    "goal",
    [
        bg.ErrorGeneric(),
        bg.ErrorGeneric(bg.LogLoss()),
        bg.ErrorGeneric(bg.SquaredLoss(), classes=(1,)),
        bg.ErrorSpecific({0: 1}, outer_loss=bg.SquaredLoss()),
        bg.SampleTargets(np.zeros(18, int), bg.SquaredLoss()),
    ],
)
def test_goals_of_classes_are_refused_where_rows_have_several_responses(goal):
    rows = bg.Samples(jnp.asarray(X[:18]), jnp.asarray(X[:18, :2] + 0.1), jnp.ones(18))
    threat = bg.ThreatModel(P, goal=goal)
    for learner in (bg.Ridge(D, n_responses=2), bg.Standardised(bg.Ridge(D, n_responses=2))):
        with pytest.raises(InputError, match=r"is a goal of classes, and .* use ErrorGeneric\(SquaredLoss\(\)\)"):
            bg.JointAttack(2).craft(learner, rows, rows, schedule=SCHEDULE, threat=threat, seed=0)


def test_the_gradient_of_labels_is_checked_too():
    z = jnp.concatenate([jnp.asarray(X[:P]), jnp.full((P, K), 1 / 3)], axis=1)
    groups, sizes = group_members((bg.Member(LEARNER, SCHEDULE),), jnp.float64)
    objective = OuterObjective(
        groups, sizes, (bg.Checkpointed(),), bg.ErrorGeneric(), TRAIN, VALIDATION, z[:, D:], bg.ChosenLabels()
    )
    assert np.isfinite(float(evaluate(objective, z)))
    assert gradient_error(objective, z, key=jax.random.key(0)) < 1e-6


@pytest.mark.parametrize(
    "assign",
    [lambda x: np.full(len(x), 3), lambda x: np.full(len(x), 0.9), lambda x: ["a"] * len(x), lambda x: np.ones(2, int)],
)
def test_assigned_labels_that_are_none_of_the_classes_are_refused(assign):
    with pytest.raises(InputError, match="must return one of 0 to 2 for each of 6 points; got"):
        craft(labels=bg.AssignedLabels(assign))
