"""Points against estimators that nothing differentiates: every trial fits one of them."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import backgrad as bg
from backgrad.errors import EmptyClassError, InputError, UnsupportedError

BOX = bg.Box(-1e6, 1e6)


def rows(n, *, seed, scale=(1.0, 1.0, 1.0)):
    """Return rows of three classes around three places, in columns of different scales, with their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    return (3 * np.eye(3)[labels] + rng.normal(size=(n, 3))) * scale, labels


def craft(estimator, how=None, *, points=20, scale=(1.0, 1.0, 1.0), seed=0, goal=None, weight=None, **threat):
    x, labels = rows(120, seed=1, scale=scale)
    judged, true = rows(300, seed=2, scale=scale)
    settings = {"feasible": BOX, "labels": bg.ChosenLabels(), "goal": goal or bg.ErrorGeneric(), **threat}
    train = bg.samples(x, labels, 3)
    return (how or bg.SubpopulationAttack(25, redraw=True)).craft_on(
        estimator,
        train if weight is None else train._replace(weight=train.weight * weight),
        bg.samples(judged, true, 3),
        threat=bg.ThreatModel(points, **settings),
        seed=seed,
    )


def error(estimator, x=None, labels=None, *, scale=(1.0, 1.0, 1.0), seed=2):
    """Return the error of a fit on clean rows and points, on the attacker's rows or, by another seed, on others."""
    clean, y = rows(120, seed=1, scale=scale)
    judged, true = rows(300, seed=seed, scale=scale)
    if x is not None:
        clean, y = np.concatenate([clean, x]), np.concatenate([y, labels])
    return np.mean(estimator.fit(clean, y).predict(judged) != true)


def test_rows_that_count_differently_are_refused_since_fit_is_not_told():
    with pytest.raises(InputError, match=r"give training rows weights of 0 or 1\.$"):
        craft(KNeighborsClassifier(5), weight=np.arange(120) / 120)


def test_points_do_more_harm_to_an_estimator_than_label_flips():
    for estimator in (KNeighborsClassifier(5), DecisionTreeClassifier(min_samples_leaf=5, random_state=0)):
        result = craft(estimator)
        assert result.health.verdict == "worked", result.health.sentence
        # What is claimed is what anyone measures who fits the estimator on the points.
        assert result.health.objective_best == pytest.approx(error(estimator, result.points, result.labels))
        assert result.health.objective_start == pytest.approx(error(estimator, result.start, result.start_labels))
        flips, found = (
            error(estimator, x, y, seed=3)
            for x, y in ((result.start, result.start_labels), (result.points, result.labels))
        )
        assert found > flips + 0.02
        assert result.attack == "subpopulation"
        assert result.adjoint == "none"
        assert result.health.gradient_error_first is None


def test_points_are_copies_of_training_rows_with_a_wrong_label():
    x, labels = rows(120, seed=1)
    result = craft(KNeighborsClassifier(5))
    same = (result.points[:, None] == x[None]).all(2)
    assert (same.sum(1) == 1).all()
    assert (result.labels != labels[same.argmax(1)]).all()


def test_open_random_states_are_drawn_anew_and_settled_ones_are_not():
    loose, tight = RandomForestClassifier(5), RandomForestClassifier(5, random_state=0)
    how = bg.SubpopulationAttack(6, redraw=True, finalists=2, draws=3)
    assert len(craft(loose, how).trace) == 6 + (2 + 1) * 3
    assert len(craft(tight, how).trace) == 6 + 1
    assert loose.random_state is None
    assert not hasattr(loose, "estimators_")
    for estimator in (loose, tight):
        one, two = (craft(estimator, how) for _ in range(2))
        np.testing.assert_array_equal(one.trace, two.trace)
        np.testing.assert_array_equal(one.points, two.points)


def test_places_do_not_depend_on_the_units_of_columns():
    scale = (1.0, 1e4, 1e-3)
    plain, odd = (craft(DecisionTreeClassifier(random_state=0), scale=s) for s in ((1.0, 1.0, 1.0), scale))
    np.testing.assert_allclose(odd.points, plain.points * np.asarray(scale), rtol=1e-9)
    np.testing.assert_array_equal(odd.trace, plain.trace)


def test_goals_and_weights_say_which_rows_matter():
    estimator = KNeighborsClassifier(5)
    result = craft(estimator, goal=bg.ErrorSpecific({0: 2}))
    assert set(result.labels.tolist()) == {2}
    judged, true = rows(300, seed=2)
    clean, y = rows(120, seed=1)
    fitted = estimator.fit(np.concatenate([clean, result.points]), np.concatenate([y, result.labels]))
    hits = np.mean(fitted.predict(judged)[true == 0] == 2)
    assert result.health.objective_best == pytest.approx(hits - 1)
    present = np.arange(120) % 4 > 0
    absent = craft(estimator, points=10, weight=present)
    same = (absent.points[:, None] == clean[None]).all(2).argmax(1)
    assert present[same].all()


@pytest.mark.parametrize(
    ("settings", "error_type", "words"),
    [
        ({"labels": bg.FlippedLabels()}, UnsupportedError, "chooses labels"),
        ({"points": 0}, InputError, "budget"),
        ({"points": 1000}, InputError, "cannot start from 120 rows"),
        ({"feasible": bg.Box(0, 1e-3)}, InputError, "outside the feasible set"),
    ],
)
def test_bad_input_is_one_sentence(settings, error_type, words):
    with pytest.raises(error_type, match=words):
        craft(KNeighborsClassifier(), **settings)


def test_what_cannot_be_fitted_is_no_success():
    class Refuses(KNeighborsClassifier):
        """Cannot be fitted to more than a few rows of class 0 that lie where those of class 1 do."""

        def fit(self, X, y):
            if ((y == 0) & (X[:, 1] > 2)).sum() > 3:
                raise EmptyClassError("a class would lose all its rows.")
            return super().fit(X, y)

    result = craft(Refuses(5))
    assert (result.trace == -1).any()
    assert result.health.objective_best > 0
    assert ((result.labels == 0) & (result.points[:, 1] > 2)).sum() <= 3
