"""Trimming by loss: what goes, how the alternation ends, losses of any classifier, and what an attacker keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imblearn.utils.estimator_checks import estimator_checks_generator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from backgrad.defences.loss import LossEvasion, LossTrim, log_losses
from backgrad.defences.trim import Trim
from backgrad.errors import EmptyClassError, InputError, NumericalError
from backgrad.learners.linear import LinearParams, SmoothSVM
from backgrad.learners.linear import LogisticRegression as Logistic
from backgrad.types import samples

CHECKS = [
    one for sampler in (LossTrim(max_iter=3), Trim(n_init=1, max_iter=3)) for one in estimator_checks_generator(sampler)
]
NAMES = [f"{type(sampler).__name__}-{check.func.__name__}" for sampler, check in CHECKS]
every_kind = pytest.mark.parametrize("kind", [LossTrim, Trim])


@pytest.mark.parametrize(("sampler", "check"), CHECKS, ids=NAMES)
def test_imbalanced_learn(sampler, check):
    check(sampler)


def blobs(n=120, k=2, seed=0, flips=10):
    """Return rows in the order of blobs, of which the last `flips` have a wrong label."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    x = rng.normal(size=(n, 3)) + 4 * np.eye(k, 3)[y]
    y[n - flips :] = (y[n - flips :] + 1) % k
    return x, y


@every_kind
@pytest.mark.parametrize("k", [2, 3])
def test_planted_flips_go(kind, k):
    x, y = blobs(k=k, flips=10)
    defence = kind(fraction=10 / 120)
    kept, labels = defence.fit_resample(x, y)
    assert np.mean(np.isin(np.arange(110, 120), defence.removed_indices_)) >= 0.8
    assert len(kept) == len(labels) == 110
    assert defence.settled_
    assert all("loss" in reason for reason in defence.reasons())


@every_kind
def test_where_it_settles_the_rows_kept_are_those_of_least_loss_of_a_model_of_them(kind):
    x, y = blobs(seed=3)
    defence = kind(fraction=0.2)
    defence.fit_resample(x, y)
    kept = defence.sample_indices_
    model = LogisticRegression(max_iter=1000).fit(x[kept], y[kept])
    losses = -np.log(model.predict_proba(x)[np.arange(len(y)), y])
    np.testing.assert_allclose(defence.suspicion_, losses, rtol=1e-10)
    assert set(np.argsort(losses)[: len(kept)]) == set(kept.tolist())
    np.testing.assert_allclose(defence.thresholds_, losses[kept].max(), rtol=1e-10)


def test_one_round_is_the_loss_defence_of_a_model_of_all_rows():
    x, y = blobs(flips=30, seed=1)
    defence = LossTrim(fraction=0.25, max_iter=1)
    defence.fit_resample(x, y)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    losses = -np.log(model.predict_proba(x)[np.arange(len(y)), y])
    assert defence.n_iter_ == 1
    assert not defence.settled_
    assert set(defence.removed_indices_.tolist()) == set(np.argsort(-losses)[:30].tolist())


def test_the_share_is_of_all_rows_and_not_of_each_class():
    x, y = blobs(flips=0)
    y[np.flatnonzero(y == 0)[:12]] = 1  # all poison has label 1
    defence = LossTrim(fraction=0.1)
    defence.fit_resample(x, y)
    assert np.mean(y[defence.removed_indices_] == 1) > 0.8
    assert len(defence.removed_indices_) == 12


@every_kind
def test_other_classes_stay_where_some_are_to_be_cleaned(kind):
    x, y = blobs(flips=20)
    defence = kind(fraction=0.2, sampling_strategy=[1])
    defence.fit_resample(x, y)
    assert (y[defence.removed_indices_] == 1).all()
    assert len(defence.removed_indices_) == np.ceil(0.2 * (y == 1).sum())
    assert np.isinf(defence.thresholds_[y == 0]).all()
    assert np.isfinite(defence.thresholds_[y == 1]).all()


@every_kind
def test_nothing_goes_at_a_share_of_zero(kind):
    x, y = blobs()
    assert len(kind(fraction=0.0).fit_resample(x, y)[0]) == len(x)


def test_random_starts_find_less_loss_than_a_first_fit_that_poison_has_bent():
    def trimmed(defence, x, y):
        defence.fit_resample(x, y)
        return defence.suspicion_[defence.sample_indices_].sum()

    gaps = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y, x = np.arange(24) % 2, rng.normal(size=(24, 2))
        x[:, 0] += 3 * y
        x[16:, 1], y[16:] = x[16:, 1] + 5, 1 - y[16:]
        gaps.append(trimmed(LossTrim(fraction=0.4), x, y) - trimmed(Trim(fraction=0.4, n_init=15), x, y))
    assert min(gaps) > 0.3


@pytest.mark.parametrize(
    "estimator", [DecisionTreeClassifier(max_depth=2), RidgeClassifier(), RandomForestClassifier(5), Perceptron()]
)
def test_any_classifier_will_do_and_open_seeds_are_set(estimator):
    x, y = blobs(k=3)
    one, two = LossTrim(estimator=estimator), LossTrim(estimator=estimator)
    for defence in (one, two):
        defence.fit_resample(x, y)
    np.testing.assert_array_equal(one.suspicion_, two.suspicion_)
    assert len(one.removed_indices_) == 12


def test_losses_from_probabilities_and_from_scores():
    x, y = blobs(k=3)
    model = LinearDiscriminantAnalysis().fit(x, y)
    assert log_losses(model, x, y).mean() == pytest.approx(log_loss(y, model.predict_proba(x)))
    margins = LinearSVC().fit(x, y > 0)
    sign = np.where(y > 0, 1, -1)
    expected = np.log1p(np.exp(-sign * margins.decision_function(x)))
    np.testing.assert_allclose(log_losses(margins, x, (y > 0).astype(int)), expected)
    several = LinearSVC().fit(x, y)
    scores = np.exp(several.decision_function(x))
    expected = -np.log(scores[np.arange(len(y)), y] / scores.sum(axis=1))
    np.testing.assert_allclose(log_losses(several, x, y), expected)


def test_classifiers_without_losses_are_refused():
    class Silent(LogisticRegression):
        predict_proba = decision_function = property(lambda self: (_ for _ in ()).throw(AttributeError()))

    x, y = blobs(k=4)
    with pytest.raises(InputError, match="predict_proba or decision_function"):
        LossTrim(estimator=Silent()).fit_resample(x, y)
    for n_classes in (3, 4):  # which are three and six pairs
        x, y = blobs(k=n_classes)
        for estimator in (SVC(decision_function_shape="ovo"), make_pipeline(SVC(decision_function_shape="ovo"))):
            with pytest.raises(InputError, match="one score a class"):
                LossTrim(estimator=estimator).fit_resample(x, y)


def test_losses_that_are_no_numbers_are_refused():
    class Broken(LogisticRegression):
        def predict_proba(self, X):
            return super().predict_proba(X) * np.nan

    with pytest.raises(NumericalError, match="no finite number"):
        LossTrim(estimator=Broken()).fit_resample(*blobs())


@every_kind
def test_bad_settings(kind):
    x, y = blobs()
    for wrong in ({"fraction": 1.0}, {"fraction": -0.1}, {"max_iter": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            kind(**wrong).fit_resample(x, y)
    with pytest.raises(InputError, match="at least two classes"):
        kind().fit_resample(x, np.zeros(len(y)))
    with pytest.raises(InputError, match="two classes"):
        kind()._read(x, np.zeros(len(y)))
    with pytest.raises(InputError, match="n_init"):
        Trim(n_init=0).fit_resample(x, y)
    with pytest.raises(InputError, match="start_size"):
        Trim(start_size=0).fit_resample(x, y)


@every_kind
def test_a_class_that_would_go_is_named(kind):
    x, y = blobs(flips=0)
    names = np.where(np.arange(len(y)) == 0, "rare", np.array(["a", "b"])[y])
    x[0] = x[names == "a"].mean(axis=0)
    with pytest.raises(EmptyClassError, match="rare"):
        kind(fraction=0.1).fit_resample(x, names)


# --- what an attacker keeps to --------------------------------------------------------------------


def hinge(margin):
    gap = np.maximum(1 - margin, 0)
    return np.where(gap < 0.5, gap**2, gap - 0.25)


@pytest.mark.parametrize(
    ("learner", "loss"),
    [(Logistic(3, 0.1), lambda margin: np.log1p(np.exp(-margin))), (SmoothSVM(3, 0.1), hinge)],
    ids=["logistic", "svm"],
)
def test_excess_is_the_loss_over_the_quantile_of_clean_losses(learner, loss):
    x, y = blobs(41)
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=3), rng.normal()
    params = LinearParams(jnp.asarray(weight), jnp.asarray(bias))
    evasion = LossTrim(fraction=0.1).evasion(x, y)

    def losses(x, y):
        return loss(np.where(y == 1, 1, -1) * (x @ weight + bias))

    limit = np.sort(losses(x, y))[41 - 1 - 5]
    found = evasion.excess(samples(x[:5] + 1, 1 - y[:5], 2), learner, params)
    np.testing.assert_allclose(found, losses(x[:5] + 1, 1 - y[:5]) / limit - 1, rtol=1e-10)
    # Of clean rows, those above 0 are the share that is left out, which are ⌈4.1⌉.
    assert (np.asarray(evasion.excess(samples(x, y, 2), learner, params)) > 1e-12).sum() == 5


def test_the_penalty_has_the_right_slopes_in_points_and_parameters():
    learner = Logistic(3, 0.1)
    x, y = blobs(40)
    evasion = LossEvasion(x, np.eye(2)[y], 0.1, margin=0.2)
    points = samples(x[:6] + 2, 1 - y[:6], 2)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), learner.init(jax.random.key(0)))

    @jax.jit
    def penalty(features, params):
        return evasion.penalty(points._replace(x=features), learner, params)

    slopes = jax.grad(penalty, argnums=(0, 1))(points.x, params)
    moves = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), (points.x, params))
    step = 1e-6
    ends = [penalty(*jax.tree.map(lambda a, b, s=s: a + s * step * b, (points.x, params), moves)) for s in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    found = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(moves), strict=True))
    assert float(penalty(points.x, params)) > 0
    assert float(found) == pytest.approx(float(expected), rel=1e-7)


def test_an_evasion_describes_itself_and_checks_its_share():
    x, y = blobs()
    assert Trim(fraction=0.3).evasion(x, y).describe()["fraction"] == 0.3
    with pytest.raises(InputError, match="fraction"):
        LossEvasion(x, np.eye(2)[y], 1.0)
    with pytest.raises(InputError, match="fraction"):
        LossTrim(fraction=2.0).evasion(x, y)
