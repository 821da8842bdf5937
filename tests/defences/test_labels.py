"""The certificate against changed labels, against every change and every draw of the noise on tiny problems."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from backgrad.defences.certified import SmoothedLabelsClassifier
from backgrad.defences.certified.smoothing import flip_thresholds, log_failure
from backgrad.errors import InputError

BOUNDS = ["neyman-pearson", "kullback-leibler"]


@parametrize_with_checks([SmoothedLabelsClassifier()])
def test_scikit_learn_accepts(estimator, check):
    check(estimator)


def problem(n, n_classes=2, seed=0, spread=0.6):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centres = np.stack([np.cos(2 * np.pi * np.arange(n_classes) / n_classes), np.arange(n_classes) % 2 * 2.0], axis=1)
    queries = np.concatenate([centres, rng.normal(size=(6, 2))])
    return centres[y] + spread * rng.normal(size=(n, 2)), y, queries


def labellings(n, n_classes):
    return np.array(list(itertools.product(range(n_classes), repeat=n)))


def smoothed_shares(model, x, n_classes, queries, q):
    """Return the exact probability of every class under noise around every labelling, (labellings, m, K)."""
    n = len(x)
    model = model.fit(x, labellings(n, n_classes)[1] * 0 + np.arange(n) % n_classes)
    alpha = 1 / n + (queries - model.centre_) @ model.influence_.T
    every = labellings(n, n_classes)
    hot = every[:, :, None] == np.arange(n_classes)
    base = np.einsum("mi,lik->lmk", alpha, hot).argmax(axis=2)
    wins = base[:, :, None] == np.arange(n_classes)
    distance = (every[:, None] != every[None]).sum(axis=2)
    weight = (1 - q) ** (n - distance) * (q / (n_classes - 1)) ** distance
    return every, distance, base, np.einsum("ab,bmk->amk", weight, wins)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(("n", "n_classes", "q"), [(9, 2, 0.05), (10, 2, 0.01), (6, 3, 0.01)])
def test_no_change_within_the_certificate_changes_either_prediction(bound, n, n_classes, q):
    x, _, queries = problem(n, n_classes)
    every, distance, base, shares = smoothed_shares(SmoothedLabelsClassifier(q), x, n_classes, queries, q)
    reached, apart = set(), int(np.flatnonzero((every == np.arange(n) % n_classes).all(axis=1))[0])
    for start in (apart, *range(0, len(every), 37)):
        if len(np.unique(every[start])) < n_classes:
            continue
        model = SmoothedLabelsClassifier(q, bound=bound).fit(x, every[start])
        flips, exact = model.certified_flips(queries), model.exact_flips(queries)
        winners = model.predict(queries)
        assert np.array_equal(winners, base[start])
        true = np.take_along_axis(shares[start], winners[:, None], axis=1)[:, 0]
        assert (model.probability_bound(queries) <= true).all()
        for m, (limit, sharp, winner) in enumerate(zip(flips, exact, winners, strict=True)):
            near = distance[start] <= limit
            assert (shares[near, m].argmax(axis=1) == winner).all()
            assert (shares[near, m, winner] > 0.5).all()
            assert (base[distance[start] <= sharp, m] == winner).all()
            # The exact number is exact.
            assert sharp == n or (base[distance[start] == sharp + 1, m] != winner).any()
        reached |= set(flips.tolist())
    assert -1 in reached
    assert max(reached) >= (1 if n_classes == 2 and bound == "neyman-pearson" else 0)


# The paper's certificate reaches no change at all with three classes of six rows.
@pytest.mark.parametrize(
    ("bound", "n", "n_classes", "q"),
    [
        *((bound, *case) for bound in BOUNDS for case in [(10, 2, 0.1), (10, 2, 0.25), (9, 2, 0.4)]),
        (BOUNDS[0], 6, 3, 0.3),
    ],
)
def test_thresholds_hold_for_the_exact_probability_and_twice_the_reach_would_not(bound, n, n_classes, q):
    x, _, queries = problem(n, n_classes)
    _, distance, base, shares = smoothed_shares(SmoothedLabelsClassifier(q), x, n_classes, queries, q)
    thresholds = np.exp(flip_thresholds(n, q=q, n_classes=n_classes, bound=bound, least=-np.inf))
    failure = 1 - shares
    reach = np.sum(failure[..., None] < thresholds, axis=3) - 1  # (labellings, m, K)
    assert reach.max() >= 1
    wrong = {1: 0, 2: 0}
    for stretch in wrong:
        for centre, m, winner in np.argwhere(reach >= 1)[::5]:
            near = distance[centre] <= stretch * reach[centre, m, winner] + (stretch > 1)
            wrong[stretch] += int((shares[near, m, winner] <= 0.5).any())
    assert wrong[1] == 0
    assert wrong[2] > 0
    assert base.shape == shares.shape[:2]


@pytest.mark.parametrize(("n_classes", "q"), [(2, 0.1), (2, 0.4), (3, 0.2), (4, 0.05)])
def test_the_neyman_pearson_threshold_is_the_best_there_is(n_classes, q):
    """All events of r coordinates, of worst likelihood ratio first, by enumeration."""
    thresholds = flip_thresholds(6, q=q, n_classes=n_classes, bound="neyman-pearson", least=-np.inf)
    for r in range(1, 5):
        draws, u = labellings(r, n_classes), q / (n_classes - 1)
        clean = np.prod(np.where(draws == 0, 1 - q, u), axis=1)
        changed = np.prod(np.where(draws == 1, 1 - q, u), axis=1)
        order = np.argsort(-changed / clean)
        mass = np.cumsum(changed[order])
        last = int(np.searchsorted(mass, 0.5 - 1e-12))
        part = (0.5 - (mass[last - 1] if last else 0)) / changed[order][last]
        expected = clean[order][:last].sum() + part * clean[order][last]
        assert thresholds[r] == pytest.approx(np.log(expected), abs=1e-7)
    assert (np.diff(thresholds) < 0).all()
    assert thresholds[0] == np.log(0.5)


@pytest.mark.parametrize("q", [0.05, 0.2, 0.4])
def test_the_kullback_leibler_threshold_is_the_paper_s_formula(q):
    thresholds = flip_thresholds(12, q=q, n_classes=2, bound="kullback-leibler", least=-np.inf)
    for r, threshold in enumerate(thresholds[1:4], start=1):
        p = 1 - np.exp(threshold)
        assert np.log(4 * p * (1 - p)) / (2 * (1 - 2 * q) * np.log(q / (1 - q))) == pytest.approx(r, rel=1e-4)


@pytest.mark.parametrize(("n_classes", "q"), [(2, 0.1), (2, 0.4), (5, 0.3)])
def test_neyman_pearson_reaches_farther_and_about_twice_as_far_for_small_failure(n_classes, q):
    sharp, loose = (
        flip_thresholds(400, q=q, n_classes=n_classes, bound=bound, least=-200.0)
        for bound in ("neyman-pearson", "kullback-leibler")
    )
    few = min(len(sharp), len(loose))
    assert (sharp[:few] >= loose[:few]).all()
    if q < 0.4:
        assert np.sum(sharp > -200.0) == pytest.approx(2 * np.sum(loose > -200.0), rel=0.15)


def test_the_certificate_of_many_rows_does_not_underflow():
    thresholds = flip_thresholds(3000, q=0.2, n_classes=2, bound="neyman-pearson", least=-1500.0)
    assert np.isfinite(thresholds).all()
    # Each change costs near its divergence, (1 − 2q) log((1 − q)/q), once there are many.
    assert -np.diff(thresholds)[-100:].mean() == pytest.approx(0.6 * np.log(4), rel=0.02)


def test_the_chernoff_bound_is_above_the_binomial_and_close_in_the_exponent():
    n, q = 200, 0.2
    (found,) = log_failure(np.full((1, n), 0.01), np.zeros(n, int), np.zeros(1, int), q=q, n_classes=2)
    exact = stats.binom.logsf(n // 2 - 1, n, q)  # at least half of the labels change
    assert exact < found < exact + 3.5
    # The optimum of equal weights is known: n log(2 √(q (1 − q))).
    assert found == pytest.approx(n * np.log(2 * np.sqrt(q * (1 - q))), abs=1e-6)


def test_the_bound_is_that_of_a_fine_search_over_t():
    rng = np.random.default_rng(0)
    alpha, codes, q = rng.normal(0.3, 1, size=(5, 60)), rng.integers(0, 2, 60), 0.15
    alpha[:, codes == 1] -= 0.6
    found = log_failure(alpha, codes, np.zeros(5, int), q=q, n_classes=2)
    pushes = alpha * np.where(codes == 0, 1, -1)
    t = np.linspace(0, 4, 20_001)
    for one, push in zip(found, pushes, strict=True):
        cumulant = np.log((1 - q) * np.exp(-np.outer(t, push)) + q * np.exp(np.outer(t, push))).sum(axis=1)
        assert one == pytest.approx(cumulant.min(), abs=1e-5)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_sampled_noise_fails_no_oftener_than_the_bound_says(n_classes):
    x, y, queries = problem(60, n_classes, spread=0.6)
    q, rng = 0.2, np.random.default_rng(1)
    model = SmoothedLabelsClassifier(q).fit(x, y)
    alpha, winners = 1 / 60 + (queries - model.centre_) @ model.influence_.T, model.predict(queries)
    noise = (rng.random((20_000, 60)) < q) * rng.integers(1, n_classes, size=(20_000, 60))
    hot = (y + noise)[:, :, None] % n_classes == np.arange(n_classes)
    scores = np.stack([hot[:, :, c] @ alpha.T for c in range(n_classes)], axis=2)
    share = (scores.argmax(axis=2) == winners).mean(axis=0)
    error = 3 * np.sqrt(share * (1 - share) / 20_000) + 1e-4
    assert (model.probability_bound(queries) <= share + error).all()
    assert model.probability_bound(queries).max() > 0.6


@pytest.mark.parametrize(("n", "n_classes"), [(40, 2), (40, 3), (8, 2)])
def test_scores_are_those_of_scikit_learn_s_ridge(n, n_classes):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 12)), np.arange(n) % n_classes  # more features than rows, too
    centred = x - x.mean(axis=0)
    strength = 0.05 * np.trace(centred.T @ centred)
    ridge = Ridge(alpha=strength).fit(x, np.eye(n_classes)[y])
    expected = ridge.predict(x)
    found = SmoothedLabelsClassifier(l2=0.05).fit(x, y).decision_function(x)
    assert np.allclose(found, expected if n_classes > 2 else expected[:, 1] - expected[:, 0])


def test_the_regularisation_does_not_look_at_the_labels():
    x, y, _ = problem(30)
    one, other = (SmoothedLabelsClassifier().fit(x, labels) for labels in (y, (y + (x[:, 0] > 0)) % 2))
    assert np.array_equal(one.influence_, other.influence_)


def test_the_worst_changes_do_what_the_exact_number_says():
    for n_classes in (2, 3):
        x, y, queries = problem(60, n_classes, spread=1.0)
        model = SmoothedLabelsClassifier(bound="exact").fit(x, y)
        exact = model.exact_flips(queries)
        assert np.array_equal(exact, model.certified_flips(queries))
        for query, flips in zip(queries[:, None], exact.tolist(), strict=True):
            before = model.predict(query)
            for budget, same in ((flips, True), (flips + 1, False)):
                labels = model.worst_flips(query, budget)
                assert (labels != y).sum() <= budget
                again = SmoothedLabelsClassifier(classes=range(n_classes)).fit(x, labels)
                assert (again.predict(query) == before) == same


def test_changes_are_of_one_prediction_and_no_negative_number():
    x, y, queries = problem(60, 2, spread=1.0)
    model = SmoothedLabelsClassifier().fit(x, y)
    with pytest.raises(InputError, match="budget must be a whole number, 0 or more; got -1"):
        model.worst_flips(queries[:1], -1)
    with pytest.raises(InputError, match="X must have one row; got 2"):
        model.worst_flips(queries[:2], 1)


def test_certified_accuracy_falls_with_the_budget_and_counts_rows():
    x, y, _ = problem(400, 2, spread=1.0)
    test, labels = x[200:], y[200:]
    model = SmoothedLabelsClassifier().fit(x[:200], y[:200])
    shares = model.certified_accuracy(test, labels, range(0, 60, 5))
    right, flips = model.predict(test) == labels, model.certified_flips(test)
    assert shares.tolist() == [np.mean(right & (flips >= p)) for p in range(0, 60, 5)]
    assert (np.diff(shares) <= 0).all()
    assert shares[0] > 0.7 > shares[-1]
    assert (flips <= model.exact_flips(test)).all()


def test_a_pipeline_of_constant_features_is_certified_for_nothing_it_does_not_know():
    model = SmoothedLabelsClassifier().fit(np.ones((6, 2)), [0, 1, 1, 1, 1, 1])
    assert model.predict(np.ones((1, 2))) == [1]
    # 5 against 1: after 2 changes it is 3 against 3.
    assert model.exact_flips(np.ones((1, 2))) == [1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q": 0.5}, "q must lie between 0 and 0.5 for 2 classes; got 0.5"),
        ({"q": 0.0}, "q must lie between 0 and 0.5"),
        ({"l2": 0.0}, "l2 must be a positive finite number"),
        ({"bound": "tight"}, "bound must be one of 'neyman-pearson', 'kullback-leibler', 'exact'; got 'tight'"),
        ({"classes": [1, 2]}, r"named classes alone, \[1, 2\]; got \[0\] too"),
    ],
)
def test_bad_settings(settings, message):
    x, y, _ = problem(20)
    with pytest.raises(InputError, match=message):
        SmoothedLabelsClassifier(**settings).fit(x, y)


def test_one_class_is_refused():
    with pytest.raises(InputError, match="rows of at least 2 classes; all are of one class, 3"):
        SmoothedLabelsClassifier().fit(np.eye(3), [3, 3, 3])
