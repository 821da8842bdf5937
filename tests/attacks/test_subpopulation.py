"""One wrong label for a part of a class: which rows get it, and how the part is found."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

import backgrad as bg
from backgrad.attacks import parts
from backgrad.attacks.trials import Trials
from backgrad.errors import InputError, UnsupportedError
from tests.attacks.problems import craft, crafted, objective, train_rows, validation_rows

# Rows come from clusters of which a linear model can learn each for itself: a class, and rows to train on and to judge.
CLUSTERS = ((0, 12, 12), (0, 12, 60), (1, 12, 12), (1, 12, 12), (2, 12, 4), (2, 12, 4))


def clusters(column, *, seed):
    """Return rows that are one-hot by cluster, to 0.05, their classes, and their clusters."""
    own = np.repeat(np.arange(len(CLUSTERS)), [cluster[column] for cluster in CLUSTERS])
    noise = 0.05 * np.random.default_rng(seed).random((len(own), len(CLUSTERS)))
    x = np.abs(np.eye(len(CLUSTERS))[own] - noise)
    return x, np.array([CLUSTERS[c][0] for c in own]), own


def attack(how, *, points=9, goal=None, train=None, seed=0, **threat):
    """Attack softmax regression on clusters."""
    x, labels, _ = clusters(1, seed=0)
    judged, true, _ = clusters(2, seed=1)
    return how.craft(
        bg.SoftmaxRegression(x.shape[1], 0.0, 3),
        bg.samples(x, labels, 3) if train is None else train,
        bg.samples(judged, true, 3),
        schedule=bg.Descent(150, 1.0),
        threat=bg.ThreatModel(points, goal=goal or bg.ErrorGeneric(), **{"labels": bg.ChosenLabels(), **threat}),
        seed=seed,
    )


def sources(result):
    """Return the training row that each point is a copy of."""
    x, *_ = clusters(1, seed=0)
    same = (result.points[:, None] == x[None]).all(2)
    np.testing.assert_array_equal(same.sum(1), 1)
    return same.argmax(1)


def test_the_part_of_a_class_that_most_rows_to_judge_lie_in_is_found():
    _, labels, own = clusters(1, seed=0)
    for seed in range(3):
        result = attack(bg.SubpopulationAttack(60), points=15, goal=bg.ErrorGeneric(bg.SmoothZeroOne(0.01)), seed=seed)
        rows = sources(result)
        # Sixty of 104 rows to judge lie in cluster 1, of class 0: no other place is worth as many points.
        assert np.mean(own[rows] == 1) > 0.5
        assert set(result.labels) <= {1, 2}
        assert result.health.verdict == "worked"
        assert "without gradients" in result.health.sentence
        # Rows with wrong labels here and there are what it starts from, and do less.
        assert result.health.objective_best > 2 * result.health.objective_start
        assert (
            result.start_labels != labels[np.argmax((result.start[:, None] == clusters(1, seed=0)[0]).all(2), 1)]
        ).all()


@pytest.mark.parametrize("components", [2, 10])
@pytest.mark.parametrize("far", [0.0, 0.7, 1e4])  # the last is the end of a class
def test_points_are_the_rows_of_a_class_nearest_to_a_place(monkeypatch, far, components):
    monkeypatch.setattr(parts, "_COMPONENTS", components)
    monkeypatch.setattr(parts, "_PARTS", (1,))
    monkeypatch.setattr(parts, "_SHARES", (0.8,))
    monkeypatch.setattr(parts, "_FAR", (far,))
    x, labels, _ = clusters(1, seed=0)
    for seed in range(4):
        rows = sources(attack(bg.SubpopulationAttack(1), points=10, seed=seed))
        chosen, counts = np.unique(rows, return_counts=True)
        assert set(counts.tolist()) == {1, 2}
        assert (len(chosen), counts.sum()) == (8, 10)
        own = np.flatnonzero(labels == labels[chosen[0]])
        pca = PCA(min(components, 6)).fit(x[own])
        places = pca.mean_ + far * (pca.transform(x[own]) @ pca.components_)
        distances = ((x[own] - places[:, None]) ** 2).sum(2)
        assert set(chosen.tolist()) in [set(own[np.argsort(d)[:8]].tolist()) for d in distances]


def test_points_for_more_than_a_class_are_copies_of_all_of_it(monkeypatch):
    monkeypatch.setattr(parts, "_PARTS", (1,))
    monkeypatch.setattr(parts, "_SHARES", (1.0,))
    _, labels, _ = clusters(1, seed=0)
    rows = sources(attack(bg.SubpopulationAttack(1), points=60, seed=1))
    np.testing.assert_array_equal(np.unique(rows), np.flatnonzero(labels == labels[rows[0]]))


def test_candidates_are_tried_one_after_another_and_the_best_is_kept():
    few, many = (craft(bg.SubpopulationAttack(n), "box") for n in (4, 40))
    for result, tried in ((few, 4), (many, 40)):
        assert len(result.trace) == tried + 1  # and the start
        assert result.health.evaluations == tried + 1
        assert result.health.objective_best == pytest.approx(result.trace.max(), rel=1e-12)
        assert result.health.objective_start == pytest.approx(result.trace[-1], rel=1e-12)
    assert few.health.objective_best < many.health.objective_best
    np.testing.assert_array_equal(few.trace[:2], many.trace[:2])  # first guesses are the same


def test_where_nothing_is_better_the_start_is_kept():
    x, labels = np.asarray(train_rows("box").x)[:4], np.asarray(train_rows("box").y).argmax(1)[:4]
    good = craft(bg.JointAttack(60), "box", start=(x, 1 - labels))
    result = craft(bg.SubpopulationAttack(4), "box", start=(good.points, good.labels))
    np.testing.assert_array_equal(result.points, good.points)
    np.testing.assert_array_equal(result.labels, good.labels)
    assert result.health.verdict == "failed"


def test_finalists_are_compared_over_draws_that_chose_none_of_them():
    batches = {"schedule": bg.Descent(20, 0.5, 0.5, batch_size=5)}
    kept = set()
    for seed in range(3, 7):
        result = craft(bg.SubpopulationAttack(10, redraw=True, finalists=1, draws=3), "box", seed=seed, **batches)
        assert len(result.trace) == 10 + 2 * 3 == result.health.evaluations
        final, start = result.trace[10:].reshape(2, 3).mean(1)
        better = (result.points != result.start).any()
        assert better == (final > start)
        kept.add(bool(better))
    assert kept == {False, True}
    more = craft(bg.SubpopulationAttack(10, redraw=True, finalists=3, draws=2), "box", seed=seed, **batches)
    assert len(more.trace) == 10 + (3 + 1) * 2
    np.testing.assert_array_equal(more.trace[:12], result.trace[:12])
    # Without draws of its own the attack knows the schedule's, and so does each trial.
    fixed = craft(bg.SubpopulationAttack(10), "box", seed=seed, **batches)
    assert (fixed.trace[:10] != more.trace[:10]).any()
    assert fixed.trace[10] == pytest.approx(fixed.health.objective_start, rel=1e-12)


def test_the_best_are_tried_again_under_other_draws(monkeypatch):
    monkeypatch.setattr(parts, "_DRAWS", 4)
    asked, tried_under = [], {}

    class Noted(Trials):
        def record(self, number, draw, value):
            tried_under.setdefault(number, []).append(draw)
            super().record(number, draw, value)

    monkeypatch.setattr(parts, "Trials", Noted)

    class Spied(bg.SubpopulationAttack):
        def drawn(self, objective, seed, number):
            asked.append(number)
            return super().drawn(objective, seed, number)

    craft(Spied(30, redraw=True, finalists=2, draws=3), "box", schedule=bg.Descent(20, 0.5, 0.5, batch_size=5))
    tried, last = asked[: -3 * 3], asked[-3 * 3 :]
    assert len(tried) == 30
    # Guesses at random meet all draws in turn; those at the end are compared under the same ones, none of the others.
    assert tried[:11] == [number % 4 for number in range(11)]
    assert last == last[:3] * 3
    assert not set(last) & set(tried)
    usual = [[draw for draw in draws if draw < 4] for draws in tried_under.values()]
    assert max(map(len, usual)) > 1
    assert all(len(set(draws)) == len(draws) for draws in usual)


def test_the_claimed_objective_is_that_of_training_on_the_points():
    result = crafted("subpopulation", "box")
    assert result.health.objective_best == pytest.approx(objective("box", result.points, result.labels), rel=1e-12)


@pytest.mark.parametrize("hold_others", [False, True])
def test_goals_say_whose_rows_are_labelled_how(hold_others):
    _, labels, _ = clusters(1, seed=0)
    goal = bg.ErrorSpecific(mapping={1: 2, 2: 0}, hold_others=hold_others)
    result = attack(bg.SubpopulationAttack(12), goal=goal)
    assert {(c, t) for c, t in zip(labels[sources(result)].tolist(), result.labels.tolist(), strict=True)} <= {
        (1, 2),
        (2, 0),
    }


def test_rows_of_weight_nothing_are_not_copied():
    x, labels, own = clusters(1, seed=0)
    weight = np.where(own == 1, 0.0, 1.0)
    result = attack(bg.SubpopulationAttack(30), train=bg.samples(x, labels, 3, weight=weight))
    assert 1 not in own[sources(result)]


def test_points_are_put_into_a_set_that_does_not_hold_the_rows():
    x, labels, _ = clusters(1, seed=0)
    start = np.full((9, x.shape[1]), 0.5), np.zeros(9, int)
    result = bg.SubpopulationAttack(6).craft(
        bg.SoftmaxRegression(x.shape[1], 0.0, 3),
        bg.samples(x, labels, 3),
        bg.samples(x, labels, 3),
        schedule=bg.Descent(150, 1.0),
        threat=bg.ThreatModel(9, feasible=bg.Box(0.2, 0.7), labels=bg.ChosenLabels()),
        seed=0,
        start=start,
    )
    assert result.health.feasible
    assert (result.points.min(), result.points.max()) == (0.2, 0.7)


def test_rows_on_the_host_are_the_same_rows():
    x, labels, _ = clusters(1, seed=0)
    train = bg.samples(x, labels, 3)
    schedule = bg.Descent(30, 1.0, batch_size=12)

    def run(rows):
        return bg.SubpopulationAttack(8).craft(
            bg.SoftmaxRegression(x.shape[1], 0.0, 3),
            rows,
            train,
            schedule=schedule,
            threat=bg.ThreatModel(9, labels=bg.ChosenLabels()),
            seed=1,
        )

    here, there = run(train), run(bg.host_rows(x, labels, 3))
    assert here.points.tobytes() == there.points.tobytes()
    assert here.labels.tolist() == there.labels.tolist()


@pytest.mark.parametrize("rule", [bg.FlippedLabels(), bg.AssignedLabels(lambda x: np.zeros(len(x), int))])
def test_labels_that_the_attacker_does_not_choose_are_refused(rule):
    with pytest.raises(UnsupportedError, match=r"chooses labels, but here labels are .*set .* labels=ChosenLabels\(\)"):
        attack(bg.SubpopulationAttack(2), labels=rule)


def test_a_regression_is_refused():
    rows = train_rows("box")
    with pytest.raises(InputError, match="ChosenLabels does not choose responses, which these rows have"):
        bg.SubpopulationAttack(2).craft(
            bg.Ridge(6, 0.1),
            rows._replace(y=rows.x[:, :1]),
            validation_rows("box")._replace(y=validation_rows("box").x[:, :1]),
            schedule=bg.Descent(10, 0.1),
            threat=bg.ThreatModel(3, goal=bg.ErrorGeneric(bg.SquaredLoss()), labels=bg.ChosenLabels()),
            seed=0,
        )


def test_a_goal_without_rows_is_refused():
    x, labels, _ = clusters(1, seed=0)
    without = bg.samples(x[labels != 2], labels[labels != 2], 3)
    with pytest.raises(InputError, match="none of the training rows is of a class that the goal attacks"):
        attack(bg.SubpopulationAttack(2), goal=bg.ErrorSpecific(mapping={2: 0}), train=without)


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"finalists": 0}, {"draws": -1}])
def test_numbers_out_of_their_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
        bg.SubpopulationAttack(**wrong)
