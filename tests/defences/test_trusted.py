"""RONI and influence: derivatives of weights, retraining, planted flips, trusted rows and their absence."""

import functools

import numpy as np
import pandas as pd
import pytest
from imblearn.utils.estimator_checks import estimator_checks_generator
from scipy import sparse
from scipy.special import logsumexp
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB

from backgrad.defences.harm import labelled, weight_effects
from backgrad.defences.trusted import RONI, Influence
from backgrad.errors import DivergenceError, EmptyClassError, InputError, NotConvergedError, UnsupportedError
from backgrad.learners.base import Member
from backgrad.learners.linear import LogisticRegression as Logistic
from backgrad.learners.linear import SoftmaxRegression
from backgrad.learners.sklearn_like import SumOfLosses
from backgrad.schedules import Converged, Descent

# RONI retrains once a row: of the 1,000 rows that the checks make up, most are trusted.
QUICK = {"learner": SoftmaxRegression, "schedule": Descent(5, 0.01)}
SAMPLERS = (Influence(trusted=0.3, **QUICK), RONI(trusted=0.9, trials=1, base_size=200, estimator=GaussianNB()))
CHECKS = [one for sampler in SAMPLERS for one in estimator_checks_generator(sampler)]
NAMES = [f"{type(sampler).__name__}-{check.func.__name__}" for sampler, check in CHECKS]


@pytest.mark.parametrize(("sampler", "check"), CHECKS, ids=NAMES)
def test_imbalanced_learn(sampler, check):
    check(sampler)


def blobs(n=40, k=2, flips=6, seed=0):
    """Return rows of blobs that overlap a little, of which the last have a wrong label, and clean ones to trust."""
    rng = np.random.default_rng([seed, k])

    def draw(n):
        y = np.arange(n) % k
        return rng.normal(size=(n, 3)) + 2.5 * np.eye(k, 3)[y], y

    (x, y), trusted = draw(n), draw(60)
    y[n - flips :] = (y[n - flips :] + 1) % k
    return x, y, trusted


def by_newton(l2):
    """Return (rows, weight) → coefficients and intercept of scikit-learn's own solver, with λ on the sum of losses."""

    def fit(x, y, weight):
        model = LogisticRegression(C=1 / l2(weight), solver="newton-cholesky", tol=1e-13).fit(
            x, y, sample_weight=weight
        )
        return model.coef_.T, model.intercept_

    return fit


def by_steps(x, y, weight):
    """Descend 30 steps with momentum ½ by hand."""
    w, v, inputs = np.zeros(4), np.zeros(4), np.column_stack([x, np.ones(len(y))])
    for _ in range(30):
        gradient = inputs.T @ (weight * (1 / (1 + np.exp(-inputs @ w)) - y)) / weight.sum()
        v = 0.5 * v - 0.4 * (gradient + 0.05 * np.append(w[:3], 0))
        w = w + v
    return w[:3, None], w[3:]


def trusted_loss(fitted, x, y):
    """Return the mean log-loss of coefficients and intercept."""
    scores = x @ fitted[0] + fitted[1]
    scores = np.column_stack([np.zeros(len(y)), scores]) if scores.shape[1] == 1 else scores
    return np.mean(logsumexp(scores, axis=1) - scores[np.arange(len(y)), y])


# --- derivatives ----------------------------------------------------------------------------------

KINDS = {
    "as scikit-learn": (2, Member(SumOfLosses(Logistic(3, 1.0)), Converged()), by_newton(lambda weight: 1.0)),
    "descent": (2, Member(Logistic(3, 0.05), Descent(30, step_size=0.4, momentum=0.5)), by_steps),
    "softmax": (
        3,
        Member(SoftmaxRegression(3, 0.05, 3), Converged(tolerance=1e-12)),
        by_newton(lambda weight: 0.05 * weight.sum()),
    ),
}


@pytest.mark.parametrize(("k", "member", "fit"), KINDS.values(), ids=KINDS.keys())
def test_effects_are_central_differences_of_retraining_with_other_weights(k, member, fit):
    x, y, trusted = blobs(k=k)
    weight = np.random.default_rng(1).uniform(0.5, 1.5, 40)
    effects = weight_effects(member, labelled(x, y, k, weight), labelled(*trusted, k))
    step = 1e-4
    for i in range(0, 40, 3):
        moves = [weight + sign * step * (np.arange(40) == i) for sign in (1, -1)]
        ends = [trusted_loss(fit(x, y, moved), *trusted) for moved in moves]
        assert effects[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-9)


def test_a_row_of_no_weight_has_the_effect_of_adding_it():
    x, y, trusted = blobs()
    _, member, fit = KINDS["as scikit-learn"]
    effect = weight_effects(member, labelled(x, y, 2, np.append(np.ones(39), 0.0)), labelled(*trusted, 2))[-1]
    losses = [trusted_loss(fit(x, y, np.append(np.ones(39), weight)), *trusted) for weight in (1e-5, 0)]
    assert effect == pytest.approx((losses[0] - losses[1]) / 1e-5, rel=1e-3)


def test_influence_ranks_rows_as_leaving_them_out_does():
    x, y, trusted = blobs()
    defence = Influence(trusted=trusted)
    effects = defence.suspicion(x, y)

    def loss(rows):
        model = LogisticRegression(tol=1e-10).fit(x[rows], y[rows])
        return -np.log(model.predict_proba(trusted[0])[np.arange(60), trusted[1]]).mean()

    everything = loss(np.arange(40))
    without = np.array([everything - loss(np.delete(np.arange(40), i)) for i in range(40)])
    assert spearmanr(effects, without).statistic > 0.98
    assert np.corrcoef(effects, without)[0, 1] > 0.98


def test_fast_roni_ranks_rows_as_retraining_does():
    x, y, trusted = blobs()
    slow, fast = (RONI(trusted=trusted, fast=fast, trials=3).suspicion(x, y) for fast in (False, True))
    assert spearmanr(slow, fast).statistic > 0.9
    assert set(np.argsort(-slow)[:6]) == set(np.argsort(-fast)[:6])


@pytest.mark.parametrize(("d", "k"), [(60, 2), (60, 3), (4, 2)])
def test_roni_turns_features_only_where_that_changes_nothing(d, k):
    rng = np.random.default_rng(d + k)
    trusted = rng.random((50, d)), np.arange(50) % k
    x = np.concatenate([rng.random((8, d)), trusted[0][:25]])  # some are rows of the base sets, which add no direction
    y = np.arange(len(x)) % k
    plain, turned = (
        RONI(trusted=trusted, trials=2, estimator=estimator).suspicion(x, y)
        for estimator in (LogisticRegression(max_iter=1000), None)
    )
    np.testing.assert_allclose(turned, plain, atol=5e-4)  # the solver stops at slopes of 1e-4
    assert np.ptp(plain) > 0.01


def test_roni_is_the_mean_change_of_the_loss_over_base_sets():
    x, y, trusted = blobs(6, flips=2)
    defence = RONI(trusted=trusted, trials=2, base_size=10, estimator=LogisticRegression(C=0.5))
    defence.fit_resample(x, y)
    # The base sets, by the seeds that the defence draws.
    rng = np.random.default_rng(0)
    rng.integers(2**31)
    bases = defence._bases(trusted[1], 2, rng)
    assert [base.sum() for base in bases] == [10, 10]
    assert (bases[0] != bases[1]).any()
    for impact in ("loss", "error"):
        expected = np.zeros(6)
        for base in bases:
            held, labels = trusted[0][~base], trusted[1][~base]

            def harm(x, y, held=held, labels=labels, impact=impact):
                model = LogisticRegression(C=0.5).fit(x, y)
                if impact == "error":
                    return np.mean(model.predict(held) != labels)
                return -np.log(model.predict_proba(held)[np.arange(50), labels]).mean()

            before = harm(trusted[0][base], trusted[1][base])
            for i in range(6):
                grown = np.vstack([trusted[0][base], x[i]]), np.append(trusted[1][base], y[i])
                expected[i] += (harm(*grown) - before) / 2
        found = defence.set_params(impact=impact).suspicion(x, y)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# --- what goes ------------------------------------------------------------------------------------


CASES = [(Influence(), 2), (Influence(rounds=2), 2), (RONI(fast=True), 2), (RONI(trials=2), 2), (RONI(trials=2), 3)]


@pytest.mark.parametrize(("defence", "k"), CASES, ids=str)
def test_planted_flips_are_found(defence, k):
    x, y, trusted = blobs(k=k)
    defence.set_params(fraction=0.15, trusted=trusted).fit_resample(x, y)
    assert np.isin(np.arange(34, 40), defence.removed_indices_).mean() >= 0.8
    assert (defence.suspicion_[defence.removed_indices_] > 0).all()
    assert all("trusted rows" in reason and "above" in reason for reason in defence.reasons())
    assert defence.needs_trusted
    assert defence.evasion(x, y) is None


def test_no_more_than_the_share_of_each_class_goes_and_only_what_does_harm():
    x, y, trusted = blobs(flips=0)
    freely, held = Influence(fraction=0.9, trusted=trusted), Influence(fraction=0.1, trusted=trusted)
    freely.fit_resample(x, y)
    effects = freely.suspicion_
    np.testing.assert_array_equal(freely.removed_indices_, np.flatnonzero(effects > 0))
    held.fit_resample(x, y)
    forced = Influence(fraction=0.9, trusted=trusted, only_harmful=False)
    forced.fit_resample(x, y)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        worst = rows[np.argsort(-effects[rows])]
        np.testing.assert_array_equal(np.intersect1d(held.removed_indices_, rows), np.sort(worst[:2]))
        np.testing.assert_array_equal(np.intersect1d(forced.removed_indices_, rows), np.sort(worst[:18]))
        assert held.thresholds_[rows] == pytest.approx(effects[worst[2]])
    assert (forced.suspicion_[forced.removed_indices_] < 0).any()


def test_rounds_train_again_without_what_is_gone():
    x, y, trusted = blobs(seed=2)
    defence = Influence(fraction=0.2, rounds=2, trusted=trusted)
    defence.fit_resample(x, y)
    first = Influence(fraction=0.1, trusted=trusted)
    first.fit_resample(x, y)
    assert set(first.removed_indices_) < set(defence.removed_indices_)
    np.testing.assert_allclose(defence.suspicion_[first.removed_indices_], first.suspicion_[first.removed_indices_])
    stays = first.sample_indices_
    member = Influence(trusted=trusted)._member(3, 2, 40)
    again = weight_effects(member, labelled(x, y, 2, 1.0 * np.isin(np.arange(40), stays)), labelled(*trusted, 2))[stays]
    np.testing.assert_allclose(defence.suspicion_[stays], again, rtol=1e-6, atol=1e-10)


def test_other_learners_and_schedules():
    x, y, trusted = blobs()
    usual = Influence(trusted=trusted).suspicion(x, y)
    recipe = functools.partial(SoftmaxRegression, l2=0.02)
    descent = Influence(trusted=trusted, learner=recipe, schedule=Descent(200, 0.5))
    assert spearmanr(descent.suspicion(x, y), usual).statistic > 0.95
    same = Influence(trusted=trusted, schedule=Descent(1000, 0.5, 0.9))
    np.testing.assert_allclose(same.suspicion(x, y), usual, rtol=1e-3, atol=1e-6)


def test_a_share_is_believed_and_never_removed():
    x, y, _ = blobs()
    settings = {"trusted": 0.3, "fraction": 0.9, "only_harmful": False}
    for defence in (Influence(**QUICK, **settings), RONI(trials=1, **settings)):
        defence.fit_resample(x, y)
        assert len(defence.trusted_indices_) == 2 * 6
        assert not np.isin(defence.trusted_indices_, defence.removed_indices_).any()
        assert np.isinf(defence.thresholds_[defence.trusted_indices_]).all()
    other = Influence(trusted=0.3, random_state=1, **QUICK)
    other.fit_resample(x, y)
    assert (other.trusted_indices_ != defence.trusted_indices_).any()
    separate = Influence(trusted=(x, y))
    separate.fit_resample(x, y)
    assert separate.trusted_indices_.size == 0


def test_named_classes_frames_and_sparse_rows():
    x, y, trusted = blobs()
    names = np.array(["spam", "ham"])  # not in the order of their codes
    plain = Influence(trusted=(trusted[0], 1 - trusted[1]))
    plain.fit_resample(x, 1 - y)
    frame = pd.DataFrame(trusted[0], columns=list("abc"))
    named = Influence(trusted=(frame, pd.Series(names[trusted[1]])))
    kept, labels = named.fit_resample(sparse.csr_matrix(x), names[y])
    np.testing.assert_array_equal(named.removed_indices_, plain.removed_indices_)
    assert sparse.issparse(kept)
    assert set(labels) == {"ham", "spam"}


def test_a_class_to_clean_is_cleaned_alone():
    x, y, trusted = blobs()
    for defence in (Influence(trusted=trusted, rounds=2), RONI(trusted=trusted, trials=1)):
        defence.set_params(sampling_strategy=[1], fraction=0.3).fit_resample(x, y)
        assert len(defence.removed_indices_)
        assert (y[defence.removed_indices_] == 1).all()


# --- bad input ------------------------------------------------------------------------------------

every_kind = pytest.mark.parametrize("kind", [RONI, Influence])


@every_kind
def test_trusted_rows_are_asked_for(kind):
    x, y, trusted = blobs()
    with pytest.raises(InputError, match=r"trusted=\(X, y\).*--trusted FILE"):
        kind().fit_resample(x, y)
    bad = {
        "3 columns": (trusted[0][:, :2], trusted[1]),
        "finite": (np.where(trusted[0] > 1, np.nan, trusted[0]), trusted[1]),
        "one label each": (trusted[0], trusted[1][:-1]),
        "of the classes": (trusted[0], trusted[1] + 1),
        "share of the rows given": "clean.csv",
        "between 0 and 1": 1.5,
    }
    for words, value in bad.items():
        with pytest.raises(InputError, match=words):
            kind(trusted=value).fit_resample(x, y)
    with pytest.raises(InputError, match="between 0 and 1"):
        kind(trusted=0.0).fit_resample(x, y)


def test_roni_needs_trusted_rows_of_every_class_and_some_to_spare():
    x, y, trusted = blobs()
    ones = trusted[1] == 1
    with pytest.raises(InputError, match="every class"):
        RONI(trusted=(trusted[0][ones], trusted[1][ones])).fit_resample(x, y)
    with pytest.raises(InputError, match="more than the 2"):
        RONI(trusted=(trusted[0][:2], trusted[1][:2])).fit_resample(x, y)


@every_kind
def test_bad_settings(kind):
    x, y, trusted = blobs()
    wrong = [{"fraction": 1.0}, {"fraction": -0.1}]
    wrong += [{"trials": 0}, {"base_size": 0}, {"impact": "accuracy"}] if kind is RONI else []
    wrong += [{"rounds": 0}, {"schedule": "newton"}, {"learner": "logistic"}] if kind is Influence else []
    for one in wrong:
        with pytest.raises(InputError, match=next(iter(one))):
            kind(trusted=trusted, **one).fit_resample(x, y)
    with pytest.raises(InputError, match="at least two classes"):
        kind(trusted=trusted).fit_resample(x, np.zeros(len(y)))


def test_fast_roni_refuses_what_it_cannot_differentiate():
    x, y, trusted = blobs()
    with pytest.raises(UnsupportedError, match="fast=False"):
        RONI(trusted=trusted, fast=True, estimator=SGDClassifier()).fit_resample(x, y)
    with pytest.raises(InputError, match="impact='loss'"):
        RONI(trusted=trusted, fast=True, impact="error").fit_resample(x, y)


def test_failures_of_training_are_errors():
    x, y, trusted = blobs(flips=0)
    with pytest.raises(DivergenceError, match="step size"):
        Influence(trusted=trusted, learner=Logistic(3, 10.0), schedule=Descent(100, 5.0)).fit_resample(x, y)
    apart = x + 50 * y[:, None]
    with pytest.raises(NotConvergedError, match="Logistic"):
        Influence(trusted=trusted, learner=Logistic, schedule=Converged()).fit_resample(apart, y)
    with pytest.raises(InputError, match="2 features"):
        Influence(trusted=trusted, learner=Logistic(2), schedule=Converged()).fit_resample(x, y)
    with pytest.raises(InputError, match="classes"):
        Influence(trusted=(x, y), learner=Logistic, schedule=Converged()).fit_resample(x, np.arange(40) % 3)


def test_a_class_is_never_lost():
    x, y, trusted = blobs(flips=0)
    y[:] = 0
    y[3] = 1
    for defence in (Influence(trusted=trusted, fraction=0.99), RONI(trusted=trusted, fast=True, fraction=0.99)):
        try:
            assert 1 in defence.fit_resample(x, y)[1]
        except EmptyClassError as error:
            pytest.fail(str(error))
