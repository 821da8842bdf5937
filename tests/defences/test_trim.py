"""TRIM as scikit-learn estimators: their contract, the alternation, planted points, and bad input."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import estimator_checks_generator

from backgrad.defences.trim import Trim, TrimClassifier, TrimRegressor
from backgrad.errors import EmptyClassError, InputError

ESTIMATORS = (TrimRegressor(n_init=2), TrimClassifier(n_init=2))
CHECKS = [one for estimator in ESTIMATORS for one in estimator_checks_generator(estimator)]


def name_of(value):
    return getattr(getattr(value, "func", value), "__name__", type(value).__name__)


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name_of)
def test_scikit_learn(estimator, check):
    check(estimator)


def line(n=80, poison=20, seed=0):
    """Return rows of a plane, of which the last ones have far responses."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    y = x @ [2.0, -1.0] + 0.5 + 0.1 * rng.normal(size=n)
    y[n - poison :] = 10 + x[n - poison :, 0]
    return x, y


def test_planted_far_responses_go_and_the_line_comes_back():
    x, y = line()
    trimmed = TrimRegressor(LinearRegression(), fraction=0.25).fit(x, y)
    np.testing.assert_array_equal(trimmed.kept_indices_, np.arange(60))
    clean = LinearRegression().fit(x[:60], y[:60])
    np.testing.assert_allclose(trimmed.estimator_.coef_, clean.coef_, rtol=1e-10)
    assert trimmed.trimmed_loss_ == pytest.approx(np.sum((clean.predict(x[:60]) - y[:60]) ** 2))
    assert trimmed.n_iter_ >= 2
    assert trimmed.score(x[:60], y[:60]) > 0.99


def test_its_end_is_a_fixed_point_that_is_better_than_random_subsets():
    x, y = line(poison=30, seed=2)
    trimmed = TrimRegressor(Ridge(), fraction=0.375, n_init=10).fit(x, y)
    residuals = (trimmed.predict(x) - y) ** 2
    assert set(np.argsort(residuals)[:50]) == set(trimmed.kept_indices_.tolist())
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.permutation(80)[:50]
        loss = np.sum((Ridge().fit(x[rows], y[rows]).predict(x[rows]) - y[rows]) ** 2)
        assert loss > trimmed.trimmed_loss_


def test_more_starts_never_do_worse():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    losses = [TrimRegressor(fraction=0.4, n_init=n).fit(x, y).trimmed_loss_ for n in (1, 3, 9, 27)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_diabetes_with_a_fifth_of_poison():
    x, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    train, test = order[:240], order[240:]
    far = train[rng.permutation(240)[:60]]
    features = np.concatenate([x[train], x[far]])
    responses = np.concatenate([y[train], np.where(y[far] > 150, 25.0, 346.0)])

    def error(model, rows):
        return np.mean((model.fit(features[rows], responses[rows]).predict(x[test]) - y[test]) ** 2)

    clean, poisoned = error(Ridge(0.1), slice(240)), error(Ridge(0.1), slice(None))
    trimmed = error(TrimRegressor(Ridge(0.1), fraction=0.2), slice(None))
    assert poisoned > 1.25 * clean
    assert trimmed < 1.03 * clean


def test_small_starts_escape_a_crowd_that_large_ones_end_with():
    # Two fifths of the rows agree on a plane of their own, far out, where they have the most leverage.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 5))
    x[60:] += 6 * np.sign(rng.normal(size=5))
    y = x @ np.ones(5) + 0.3 * rng.normal(size=100)
    y[60:] = -x[60:] @ np.ones(5) + 0.01 * rng.normal(size=40)
    ends = [TrimRegressor(fraction=0.4, n_init=30, start_size=size).fit(x, y) for size in (None, 6)]
    kept = [np.mean(np.isin(np.arange(60, 100), end.kept_indices_)) for end in ends]
    assert kept[0] > 0.9
    assert kept[1] == 0
    assert ends[1].trimmed_loss_ < ends[0].trimmed_loss_


def test_several_responses_count_together():
    x, y = line()
    both = np.column_stack([y, x[:, 1]])
    trimmed = TrimRegressor(fraction=0.25).fit(x, both)
    np.testing.assert_array_equal(trimmed.kept_indices_, np.arange(60))
    assert trimmed.predict(x[:3]).shape == (3, 2)


def test_a_classifier_leaves_out_flips_and_answers_in_its_classes():
    rng = np.random.default_rng(1)
    codes = np.arange(120) % 3
    x = rng.normal(size=(120, 4)) + 5 * np.eye(3, 4)[codes]
    codes[110:] = (codes[110:] + 1) % 3
    y = np.array(["eggs", "ham", "spam"])[codes]
    model = TrimClassifier(fraction=10 / 120).fit(x, y)
    np.testing.assert_array_equal(model.kept_indices_, np.arange(110))
    assert model.classes_.tolist() == ["eggs", "ham", "spam"]
    plain = LogisticRegression(max_iter=1000).fit(x[:110], y[:110])
    np.testing.assert_allclose(model.predict_proba(x), plain.predict_proba(x), rtol=1e-10)
    np.testing.assert_allclose(model.decision_function(x), plain.decision_function(x), rtol=1e-10)
    assert model.trimmed_loss_ == pytest.approx(-np.log(plain.predict_proba(x)[range(110), codes[:110]]).sum())


def test_the_sampler_keeps_what_the_classifier_keeps():
    rng = np.random.default_rng(5)
    y = np.arange(90) % 2
    x = rng.normal(size=(90, 3)) + y[:, None]
    sampler = Trim(fraction=0.2, random_state=3)
    sampler.fit_resample(x, y)
    model = TrimClassifier(fraction=0.2, random_state=3).fit(x, y)
    np.testing.assert_array_equal(sampler.sample_indices_, model.kept_indices_)


def test_what_the_estimator_cannot_do_is_not_there():
    assert not hasattr(TrimClassifier(LinearSVC()), "predict_proba")
    assert hasattr(TrimClassifier(LinearSVC()), "decision_function")
    assert hasattr(TrimClassifier(), "predict_proba")
    assert not hasattr(TrimRegressor(), "predict_proba")


def test_pipelines_and_seeds():
    x, y = line()
    inside = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=2, max_features=1))
    one, two = (TrimRegressor(inside, fraction=0.25, random_state=7, n_init=2).fit(x, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict(x), two.predict(x))
    several = TrimRegressor(MultiOutputRegressor(Ridge()), fraction=0.25).fit(x, np.column_stack([y, y]))
    assert len(several.kept_indices_) == 60


def test_no_share_is_the_estimator_itself():
    x, y = line()
    model = TrimRegressor(fraction=0.0).fit(x, y)
    np.testing.assert_allclose(model.predict(x), Ridge().fit(x, y).predict(x))
    assert model.n_iter_ == 1


def test_rows_that_still_change_are_warned_of():
    x, y = line()
    with pytest.warns(ConvergenceWarning, match="still changed after 1 fit"):
        model = TrimRegressor(fraction=0.25, max_iter=1, n_init=1).fit(x, y)
    kept = model.kept_indices_
    np.testing.assert_allclose(model.predict(x), Ridge().fit(x[kept], y[kept]).predict(x))


@pytest.mark.parametrize("kind", [TrimRegressor, TrimClassifier])
def test_bad_settings(kind):
    x, y = line()
    y = y > 0
    for wrong in ({"fraction": 1.0}, {"fraction": -0.1}, {"max_iter": 0}, {"n_init": 0}, {"start_size": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            kind(**wrong).fit(x, y.astype(float) if kind is TrimRegressor else y)


def test_bad_classes():
    x = line()[0]
    with pytest.raises(InputError, match="two classes"):
        TrimClassifier().fit(x, np.zeros(80, int))
    labels = np.where(np.arange(80) == 0, "rare", np.where(x[:, 0] > 0, "a", "b"))
    with pytest.raises(EmptyClassError, match="rare"):
        TrimClassifier(fraction=0.1).fit(x, labels)
