"""Bagging: many replicates and their vote, with and without weights of rows."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from backgrad.defences.bagging import DensityDraw, Vote, bagged, density_shares
from backgrad.errors import InputError

ENSEMBLES = [
    bagged(LogisticRegression(), n_estimators=3, weighted=weighted, random_state=0) for weighted in (False, True)
]
ALONE = [Vote(LogisticRegression()), DensityDraw(DecisionTreeClassifier(random_state=0), random_state=0)]
# scikit-learn's own ensemble draws rows by weights, so that it fails its checks of these too.
OF_WEIGHTS = ("check_sample_weight_equivalence", "check_classifiers_one_label_sample_weights")


@parametrize_with_checks(ALONE)
def test_members_are_classifiers_as_scikit_learn_has_them(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=["bagged", "weighted"])
def test_ensembles_are_classifiers_as_scikit_learn_has_them(ensemble):
    results = check_estimator(ensemble, on_fail=None, on_skip=None)
    failed = [one["check_name"] for one in results if one["status"] == "failed"]
    assert len(results) > 30
    assert not [name for name in failed if not name.startswith(OF_WEIGHTS)]


def rows(n=120, seed=0):
    """Return two classes of three features."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return rng.normal(size=(n, 3)) + 1.5 * y[:, None], np.array(["ham", "spam"])[y]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_ensemble_votes(weighted):
    x, y = rows()
    ensemble = bagged(LogisticRegression(), n_estimators=7, weighted=weighted, random_state=3).fit(x, y)
    assert isinstance(ensemble, BaggingClassifier)
    votes = np.array([one.predict(x) for one in ensemble.estimators_])
    share = np.mean(votes == 1, axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(x)[:, 1], share)
    np.testing.assert_array_equal(ensemble.predict(x), np.where(share > 0.5, "spam", "ham"))
    assert np.any((share > 0) & (share < 1))  # its members differ
    means = np.mean([one.estimator_.predict_proba(x)[:, 1] for one in ensemble.estimators_], axis=0)
    assert (np.abs(means - share) > 0.1).any()


def test_shares_are_those_of_a_plain_loop():
    x, y = rows(n=15)
    shares = density_shares(x, y, bandwidth=0.8)
    expected = np.zeros(15)
    for i in range(15):
        own = [j for j in range(15) if y[j] == y[i]]
        density = {k: sum(np.exp(-np.sum((x[k] - x[j]) ** 2) / (2 * 0.64)) for j in own) for k in own}
        expected[i] = len(own) / 15 * density[i] / sum(density.values())
    np.testing.assert_allclose(shares, expected, rtol=1e-12)
    assert shares.sum() == pytest.approx(1.0)
    median = np.median([np.linalg.norm(a - b) for i, a in enumerate(x[y == "ham"]) for b in x[y == "ham"][:i]])
    np.testing.assert_allclose(density_shares(x, y)[y == "ham"], density_shares(x, y, median)[y == "ham"], rtol=1e-9)


def test_rows_that_are_equal_or_alone_have_shares_too():
    x = np.array([[0.0], [0.0], [0.0], [5.0], [9.0]])
    shares = density_shares(x, np.array([0, 0, 0, 0, 1]))
    assert shares[4] == pytest.approx(0.2)
    assert shares[0] == shares[1] > shares[3] > 0
    np.testing.assert_allclose(density_shares(np.zeros((4, 2)), np.array([0, 0, 1, 1])), 0.25)


def test_draws_follow_the_shares():
    x, y = rows(n=30)
    draw = DensityDraw(LogisticRegression(), random_state=np.random.RandomState(1))
    counts = np.zeros(30)
    for _ in range(400):
        drawn, _ = draw._drawn(x, y)
        counts += [(np.abs(drawn - row).max(axis=1) == 0).sum() for row in x]
    expected = 12_000 * density_shares(x, y)
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected)).all()


def test_outlying_points_do_less_harm_to_weighted_bagging():
    """What Biggio et al. argue for: poison as outliers, that weighted replicates leave out."""
    errors = {"alone": [], "bagged": [], "weighted": []}
    for seed in range(3):
        x, y = rows(n=100, seed=seed)
        rng = np.random.default_rng([seed, 1])
        poison = np.full(3, 9.0) + 0.5 * rng.normal(size=(12, 3))  # far on the side of spam, and labelled as ham
        px, py = np.concatenate([x, poison]), np.concatenate([y, np.repeat("ham", 12)])
        test = rows(n=1000, seed=100 + seed)
        base = LogisticRegression()
        for name, model in (
            ("alone", base),
            ("bagged", bagged(base, n_estimators=9, random_state=seed)),
            ("weighted", bagged(base, n_estimators=9, weighted=True, bandwidth=2.0, random_state=seed)),
        ):
            errors[name].append(1 - model.fit(px, py).score(*test))
    means = {name: np.mean(values) for name, values in errors.items()}
    assert means["weighted"] < means["alone"] - 0.05, means


def test_it_goes_into_pipelines_and_takes_sparse_rows():
    x, y = rows()
    found = make_pipeline(StandardScaler(), bagged(LogisticRegression(), n_estimators=5, weighted=True)).fit(x, y)
    assert found.score(x, y) > 0.8
    dense, thin = (
        bagged(LogisticRegression(), n_estimators=5, weighted=True, random_state=0).fit(rows_, y).predict(rows_)
        for rows_ in (x, sparse.csr_matrix(x))
    )
    np.testing.assert_array_equal(dense, thin)


def test_equal_states_give_equal_ensembles():
    x, y = rows()
    one, two, other = (
        bagged(DecisionTreeClassifier(), n_estimators=5, share=0.5, random_state=s).fit(x, y).predict_proba(x)
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_share_is_a_share(weighted):
    x, y = rows()
    sizes = []

    class Counting(LogisticRegression):
        def fit(self, X, y):
            sizes.append(len(X))
            return super().fit(X, y)

    bagged(Counting(), n_estimators=3, share=0.25, weighted=weighted, random_state=0).fit(x, y)
    assert sizes == [30, 30, 30]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_estimators": 0}, "n_estimators must be a positive whole number; got 0"),
        ({"share": 0.0}, "share must be a number above 0, and 1 at most; got 0.0"),
        ({"share": 1.5}, "share must be"),
        ({"bandwidth": 1.0}, "set weighted=True"),
        ({"bandwidth": -1.0, "weighted": True}, "bandwidth must be a positive"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        bagged(LogisticRegression(), **settings)
