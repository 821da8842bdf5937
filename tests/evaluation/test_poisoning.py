"""One split's evaluation, recomputed in plain NumPy."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import backgrad as bg
from backgrad.errors import DivergenceError, InputError, NotConvergedError
from backgrad.evaluation.metrics import error_rate
from backgrad.evaluation.plan import Plan, Rows
from backgrad.evaluation.poisoning import ERRORS, evaluate_split, summarise
from backgrad.evaluation.victims import predict, require_sound_training, train_and_predict
from backgrad.learners.catalogue import make_learner
from backgrad.learners.linear import LinearParams

STEPS, STEP_SIZE, P = 60, 2.0, 4
N_TRAIN, N_VALIDATION = 20, 40
DATA = bg.load("blobs2")


def split(seed=0, k=0):
    rows = bg.split_rows(600, train=N_TRAIN, validation=N_VALIDATION, seed=seed, split=k, labels=DATA.y)
    return Rows(rows.train, rows.validation, rows.test)


PLAN = Plan(
    learner=bg.LogisticRegression(2),
    schedule=bg.Descent(STEPS, STEP_SIZE),
    attack=bg.JointAttack(15, step_size=0.3),
    threat=bg.ThreatModel(P),
)
FLIPS = dataclasses.replace(PLAN, attack=bg.LabelFlip())


def evaluate(plan, seed=(0, 0), rows=None, **settings):
    rows = split(*seed) if rows is None else rows
    return evaluate_split(plan, DATA.x, DATA.y, rows, n_classes=2, seed=seed, **settings)


@pytest.fixture(scope="module")
def outcome():
    return evaluate(PLAN)


def train_by_hand(x, y):
    """Train logistic regression by gradient descent from zero; return its weights and bias."""
    w, b = np.zeros(x.shape[1]), 0.0
    for _ in range(STEPS):
        pull = 1 / (1 + np.exp(-(x @ w + b))) - y
        w, b = w - STEP_SIZE * x.T @ pull / len(y), b - STEP_SIZE * pull.mean()
    return w, b


def errors_by_hand(outcome, points):
    """Return the number of test rows that a victim of these points gets wrong."""
    rows = outcome.rows
    x, y = DATA.x[rows.train], DATA.y[rows.train]
    if points is not None:
        x, y = np.concatenate([x, points]), np.concatenate([y, outcome.attack.labels])
    w, b = train_by_hand(x, y)
    return int(np.sum((DATA.x[rows.test] @ w + b > 0) != DATA.y[rows.test]))


def test_errors_are_those_of_victims_trained_by_hand(outcome):
    added = {"clean_error": None, "label_flip_error": outcome.attack.start, "poisoned_error": outcome.attack.points}
    n = len(outcome.rows.test)
    assert n == 600 - N_TRAIN - N_VALIDATION
    for name, points in added.items():
        # One row may lie on the boundary to rounding.
        assert abs(outcome.errors[name] * n - errors_by_hand(outcome, points)) <= 1.0 + 1e-9
    assert tuple(outcome.errors) == ERRORS
    assert outcome.errors["poisoned_error"] > outcome.errors["label_flip_error"] + 0.02
    assert not outcome.diverged


def test_scikit_learn_s_victims_are_trained_on_the_same_rows(outcome):
    rows, attack = outcome.rows, outcome.attack
    both = np.concatenate([DATA.x[rows.train], attack.points]), np.concatenate([DATA.y[rows.train], attack.labels])
    poisoned = LogisticRegression().fit(*both)
    clean = LogisticRegression().fit(DATA.x[rows.train], DATA.y[rows.train])
    test = DATA.x[rows.test], DATA.y[rows.test]
    assert outcome.sklearn_errors["poisoned_error"] == pytest.approx(1 - poisoned.score(*test), abs=1e-12)
    assert outcome.sklearn_errors["clean_error"] == pytest.approx(1 - clean.score(*test), abs=1e-12)
    assert set(outcome.sklearn_errors) == set(ERRORS)


def test_points_start_from_training_rows_with_wrong_labels(outcome):
    attack = outcome.attack
    assert_flipped_from(attack, outcome.rows.train)
    assert attack.health.verdict == "worked"
    assert outcome.seconds > 0


def assert_flipped_from(attack, rows):
    same = (attack.start[:, None] == DATA.x[rows][None]).all(2)
    np.testing.assert_array_equal(same.sum(1), 1)
    np.testing.assert_array_equal(attack.labels, 1 - DATA.y[rows][same.argmax(1)])


def test_points_may_start_from_validation_rows():
    outcome = evaluate(dataclasses.replace(FLIPS, start="validation"))
    assert_flipped_from(outcome.attack, outcome.rows.validation)


def test_the_same_seed_repeats_and_each_split_has_its_own_start(outcome):
    again, other = evaluate(PLAN), evaluate(PLAN, seed=(0, 1), rows=outcome.rows)
    assert again.attack.points.tobytes() == outcome.attack.points.tobytes()
    assert again.errors == outcome.errors
    assert (other.attack.start != outcome.attack.start).any()
    assert other.attack.seed != outcome.attack.seed


def test_training_rows_that_are_reused_count_among_those_that_success_is_measured_on():
    reused = evaluate(dataclasses.replace(FLIPS, reuse=0.5))
    rows, attack = reused.rows, reused.attack
    w, b = train_by_hand(
        np.concatenate([DATA.x[rows.train], attack.points]), np.concatenate([DATA.y[rows.train], attack.labels])
    )
    both = np.concatenate([rows.validation, rows.train])
    weight = np.repeat([1.0, 0.5], [N_VALIDATION, N_TRAIN])
    weight /= weight.sum()
    margins = (2 * DATA.y[both] - 1) * (DATA.x[both] @ w + b)
    losses = 1 / (1 + np.exp(margins / (0.5 * weight @ np.abs(margins))))
    assert attack.health.objective_best == pytest.approx(weight @ losses, rel=1e-9)
    # The start, and with it the control, is the same.
    np.testing.assert_array_equal(attack.start, evaluate(FLIPS).attack.start)


def test_an_error_specific_attack_starts_from_attacked_rows_alone_where_the_plan_says_so():
    threat = bg.ThreatModel(P, bg.ErrorSpecific({0: 1}))
    for sources, labels in ((True, {1}), (False, {0, 1})):
        plan = dataclasses.replace(FLIPS, threat=threat, sources=sources)
        assert set(evaluate(plan).attack.labels) == labels


def test_the_test_rows_have_no_say_in_the_attack(outcome):
    x, y = DATA.x.copy(), DATA.y.copy()
    x[outcome.rows.test], y[outcome.rows.test] = 0.5, 1 - y[outcome.rows.test]
    blind = evaluate_split(PLAN, x, y, outcome.rows, n_classes=2, seed=(0, 0))
    assert blind.attack.points.tobytes() == outcome.attack.points.tobytes()


@pytest.fixture
def spied(outcome, monkeypatch):
    """Return a plan whose attack is the one of `outcome`, and what it and the victims are asked for."""
    crafts, victims = [], []

    class Spy(bg.LabelFlip):
        def craft(self, learner, train, validation, **settings):
            crafts.append((train, validation, settings))
            return outcome.attack

    def judge(learner, blocks, schedule, x):
        victims.append((blocks, schedule, x))
        return np.zeros(len(x), int), False

    monkeypatch.setattr("backgrad.evaluation.poisoning.train_and_predict", judge)
    return dataclasses.replace(PLAN, attack=Spy()), crafts, victims


def test_the_attacker_may_train_otherwise_than_the_victim(spied):
    plan, crafts, victims = spied
    evaluate(dataclasses.replace(plan, attack_schedule=bg.Descent(STEPS, 0.7), adjoint=bg.Checkpointed(7_000)))
    ((_, _, asked),) = crafts
    assert (asked["schedule"].steps, asked["schedule"].step_size) == (STEPS, 0.7)
    assert asked["adjoint"] == bg.Checkpointed(7_000)
    assert asked["threat"] is plan.threat
    assert [schedule.step_size for _, schedule, _ in victims] == [STEP_SIZE] * 3


def test_attacker_and_victims_start_from_the_same_parameters_and_every_split_from_others(spied):
    plan, crafts, victims = spied
    seeds = [(0, 0), (0, 1), (1, 0)]
    for seed in seeds:
        evaluate(plan, seed=seed, rows=split())
    of_attacks = [jax.random.key_data(asked["schedule"].key).tobytes() for _, _, asked in crafts]
    of_victims = [jax.random.key_data(schedule.key).tobytes() for _, schedule, _ in victims]
    assert len(set(of_attacks)) == len(seeds)
    assert of_victims == [key for key in of_attacks for _ in ERRORS]


def test_victims_train_on_clean_rows_with_flips_or_with_points_and_the_attacker_on_clean_rows(spied, outcome):
    plan, crafts, victims = spied
    evaluate(plan)
    ((train, validation, _),) = crafts
    rows = outcome.rows
    for found, role in ((train, rows.train), (validation, rows.validation)):
        np.testing.assert_array_equal(found.x, DATA.x[role])
        np.testing.assert_array_equal(np.argmax(found.y, axis=1), DATA.y[role])
    for (blocks, _, test), points in zip(victims, (None, outcome.attack.start, outcome.attack.points), strict=True):
        np.testing.assert_array_equal(blocks[0].x, DATA.x[rows.train])
        np.testing.assert_array_equal(test, DATA.x[rows.test])
        assert len(blocks) == (1 if points is None else 2)
        if points is not None:
            np.testing.assert_array_equal(blocks[1].x, points)
            np.testing.assert_array_equal(np.argmax(blocks[1].y, axis=1), outcome.attack.labels)


def test_progress_is_handed_on_to_the_attack():
    shares = []
    evaluate(FLIPS, progress=shares.append)
    assert shares == [1.0]


def test_a_summary_averages_splits_and_has_an_interval_from_three_on(outcome):
    moved = [
        dataclasses.replace(outcome, errors={name: value + shift for name, value in outcome.errors.items()})
        for shift in (0.0, 0.03, 0.06)
    ]
    for (name, mean, interval), expected in zip(summarise(moved), ERRORS, strict=True):
        assert name == expected
        assert mean == pytest.approx(outcome.errors[name] + 0.03, rel=1e-12)
        # t of 2 degrees is 4.302653, the standard deviation 0.03.
        half = 4.302653 * 0.03 / np.sqrt(3)
        assert interval == pytest.approx((mean - half, mean + half), abs=1e-7)
    assert all(interval is None for _, _, interval in summarise(moved[:2]))
    wide = [dataclasses.replace(outcome, errors=dict.fromkeys(ERRORS, error)) for error in (0.0, 0.2, 0.9)]
    assert all(interval == (0, 1) for _, _, interval in summarise(wide))
    squared = [dataclasses.replace(one, class_errors={}) for one in wide]
    assert all(low == 0 and high > 1 for _, _, (low, high) in summarise(squared))


def test_several_classes_are_predicted_by_the_largest_score_and_two_by_the_sign():
    x = np.random.default_rng(0).normal(size=(8, 2))
    w, b = np.array([1.0, -2.0]), np.array(0.25)
    found = predict(bg.LogisticRegression(2), LinearParams(jnp.asarray(w), jnp.asarray(b)), jnp.asarray(x))
    np.testing.assert_array_equal(found, x @ w + b > 0)
    w, b = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, -1.0]]), np.array([0.1, -0.2, 0.0])
    found = predict(bg.SoftmaxRegression(2, n_classes=3), LinearParams(jnp.asarray(w), jnp.asarray(b)), jnp.asarray(x))
    np.testing.assert_array_equal(found, (x @ w + b).argmax(1))
    assert set(np.asarray(found)) == {0, 1, 2}


def test_a_victim_that_diverges_is_said_to():
    rows = split()
    clean = bg.samples(DATA.x[rows.train], DATA.y[rows.train], 2)
    x, y = DATA.x[rows.test], DATA.y[rows.test]
    sound = train_and_predict(bg.Adaline(2), (clean,), bg.Descent(STEPS, 0.1), x)
    broken = train_and_predict(bg.Adaline(2), (clean,), bg.Descent(STEPS, 10.0), x)
    assert not sound[1]
    assert broken[1]
    assert error_rate(sound[0], y) < 0.3 < error_rate(broken[0], y)


@pytest.mark.parametrize(("name", "momentum"), [("logistic", 0.0), ("adaline", 0.0), ("adaline", 0.9)])
def test_the_step_size_that_a_divergence_suggests_trains(name, momentum):
    rows = split()
    clean = bg.samples(5 * DATA.x[rows.train], DATA.y[rows.train], 2)
    model, schedule = make_learner(name, n_features=2, n_classes=2), bg.Descent(STEPS, 1e4, momentum)
    with pytest.raises(DivergenceError, match=r"training diverged: the loss went from .* in 60 steps") as caught:
        require_sound_training(model, clean, schedule)
    found = re.search(r"The step size was 1e\+04: try (\S+) or less \(2(\(1 \+ momentum\))?/λ_max", str(caught.value))
    assert found is not None
    assert bool(found[2]) == (momentum > 0)
    suggested = float(found[1])
    require_sound_training(model, clean, dataclasses.replace(schedule, step_size=suggested))
    trained = bg.train(model, clean, schedule=dataclasses.replace(schedule, step_size=suggested))
    assert float(trained.loss) < float(trained.initial_loss)
    # The suggestion is of use only if it is not far too careful; for a quadratic loss, twice as much diverges.
    if name == "adaline":
        with pytest.raises(DivergenceError):
            require_sound_training(model, clean, dataclasses.replace(schedule, step_size=2 * suggested))


def test_a_schedule_that_does_not_train_is_refused_before_the_attack():
    class Untouched(bg.LabelFlip):
        def search(self, objective, threat, start, *, seed, progress):
            raise AssertionError("the attack ran")

    plan = dataclasses.replace(
        PLAN, attack=Untouched(), learner=bg.Adaline(2), schedule=bg.Descent(STEPS, 10.0), attack_schedule=None
    )
    with pytest.raises(DivergenceError, match="training diverged"):
        evaluate(plan)
    other = dataclasses.replace(plan, schedule=bg.Descent(STEPS, 0.1), attack_schedule=bg.Descent(STEPS, 10.0))
    with pytest.raises(DivergenceError, match="training diverged"):
        evaluate(other)


def separable():
    """Return features of which those of class 0 lie below 0.4 and those of class 1 above 0.6."""
    return 0.4 * DATA.x + 0.6 * DATA.y[:, None]


def test_a_converged_victim_without_l2_on_separable_classes_is_refused():
    plan = dataclasses.replace(FLIPS, schedule=bg.Converged())
    with pytest.raises(NotConvergedError, match=r"no unique finite optimum.*set l2 above 0"):
        evaluate_split(plan, separable(), DATA.y, split(), n_classes=2, seed=(0, 0))


@pytest.mark.parametrize("start", ["train", "validation"])
def test_training_rows_of_one_class_are_refused(start):
    rows = split()
    one = dataclasses.replace(rows, train=rows.train[DATA.y[rows.train] == 0])
    with pytest.raises(InputError, match="at least two classes"):
        evaluate(dataclasses.replace(FLIPS, start=start), rows=one)


@pytest.mark.parametrize(("start", "available"), [("train", N_TRAIN), ("validation", N_VALIDATION)])
def test_more_points_than_rows_to_start_from_are_refused(start, available):
    plan = dataclasses.replace(FLIPS, threat=bg.ThreatModel(available + 1), start=start)
    with pytest.raises(InputError, match=f"{available + 1} poisoning points cannot start from {available} rows"):
        evaluate(plan)


def test_points_outside_the_feasible_set_are_refused():
    with pytest.raises(InputError, match="outside the feasible set"):
        evaluate(dataclasses.replace(FLIPS, threat=bg.ThreatModel(P, feasible=bg.Binary())))


def test_an_unknown_start_is_refused():
    with pytest.raises(InputError, match="start must be 'train' or 'validation'; got 'test'"):
        dataclasses.replace(PLAN, start="test")
