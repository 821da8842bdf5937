"""Distance within a class, anomaly detection and label sanitisation, against slow computations and planted poison."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from backgrad.adjoints.check import check_gradient
from backgrad.defences.neighbours import Anomaly, KnnDistance, LabelSanitisation
from backgrad.errors import EmptyClassError, InputError
from backgrad.types import Samples, one_hot

DEFENCES = [KnnDistance(), Anomaly(), LabelSanitisation(), LabelSanitisation(relabel=True)]


def _name(part):
    return part.func.__name__ if hasattr(part, "func") else str(part)


# Labels are drawn there apart from features, 20 of one class and 10 of another, so that neighbours back the first.
UNFIT = {"check_samplers_fit": "all ten rows of a class would be left out, which raises EmptyClassError"}
CHECKS = [
    pair
    for defence in DEFENCES
    for pair in estimator_checks_generator(
        defence, mark="xfail", expected_failed_checks=UNFIT if isinstance(defence, LabelSanitisation) else None
    )
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=_name)
def test_keeps_to_imbalanced_learn(estimator, check):
    check(estimator)


def blobs(n=90, seed=0, d=3, spread=1.0):
    x, y = make_blobs(n, n_features=d, centers=[[0.0] * d, [6.0] * d, [-6.0, 6.0] + [0.0] * (d - 2)], random_state=seed)
    return spread * x, y


def slow_distances(row, others, k):
    """Return the distances to the k nearest others, by sorting all."""
    return np.sort([np.sqrt(np.sum((row - other) ** 2)) for other in others])[:k]


def slow(x, y, k, of):
    """Return a summary of every row's distances to the k nearest other rows of its class."""
    found = []
    for i in range(len(x)):
        mates = [x[j] for j in range(len(x)) if y[j] == y[i] and j != i]
        found.append(of(slow_distances(x[i], mates, k)))
    return np.array(found)


@pytest.mark.parametrize(("defence", "of"), [(KnnDistance(k=4), np.mean), (Anomaly(k=4), np.max)])
def test_suspicion_is_the_distance_to_neighbours_of_its_class(defence, of):
    x, y = blobs(40)
    x = x + 1e6  # far from the origin, where squares of coordinates would drown all differences
    defence.fit_resample(x, y)
    np.testing.assert_allclose(defence.suspicion_, slow(x, y, 4, of), rtol=1e-6)


def test_fewer_rows_than_neighbours():
    x = np.array([[0.0], [1.0], [3.0], [10.0], [11.0], [20.0]])
    y = np.array([0, 0, 0, 1, 1, 2])
    np.testing.assert_allclose(KnnDistance(k=5).suspicion(x, y), [2, 1.5, 2.5, 1, 1, 0])
    np.testing.assert_allclose(Anomaly(k=5).suspicion(x, y), [3, 2, 3, 1, 1, 0])
    kept = KnnDistance(k=5, fraction=0.3).fit_resample(x, y)[1]
    assert kept.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("make", [KnnDistance, Anomaly])
def test_planted_outliers_go(make):
    x, y = blobs()
    x, y = np.concatenate([x, [[0, 60, 0], [0, 0, 70], [50, 0, 0]]]), np.append(y, [0, 1, 2])
    defence = make(fraction=0.03)
    kept, labels = defence.fit_resample(x, y)
    assert defence.removed_indices_.tolist() == [90, 91, 92]
    assert len(kept) == len(labels) == 90
    assert all("class" in reason and "above" in reason for reason in defence.reasons())


def test_trusted_rows_set_the_limit_and_expose_points_that_hide_among_themselves():
    x, y = blobs(300, seed=1)
    mine, known = slice(0, 150), slice(150, 300)
    crowd = np.random.default_rng(2).normal(size=(40, 3)) * 0.1 + [0.0, 0.0, 30.0]
    px, py = np.concatenate([x[mine], crowd]), np.append(y[mine], np.zeros(40, int))
    alone = Anomaly(fraction=0.1)
    alone.fit_resample(px, py)
    assert not np.isin(alone.removed_indices_, np.arange(150, 190)).any()
    trusting = Anomaly(fraction=0.1, k=3, trusted=(x[known], y[known]))
    trusting.fit_resample(px, py)
    assert np.isin(np.arange(150, 190), trusting.removed_indices_).all()
    assert np.mean(trusting.removed_indices_ < 150) < 1
    # Scores and limits by sorting.
    for label in range(3):
        rows = x[known][y[known] == label]
        own = [slow_distances(row, np.delete(rows, i, 0), 3)[-1] for i, row in enumerate(rows)]
        limit = np.sort(own)[len(own) - 1 - int(0.1 * len(own))]
        assert np.mean(own > limit) <= 0.1 < np.mean(own >= limit)
        of_class = py == label
        expected = [slow_distances(row, rows, 3)[-1] for row in px[of_class]]
        np.testing.assert_allclose(trusting.suspicion_[of_class], expected, rtol=1e-9)
        np.testing.assert_allclose(trusting.thresholds_[of_class], limit, rtol=1e-9)
        removed = np.isin(np.arange(len(px)), trusting.removed_indices_)
        np.testing.assert_array_equal(removed[of_class], expected > limit)
    # About the share of clean rows that was asked for, not all of them.
    assert 0.02 < np.mean(np.isin(np.arange(150), trusting.removed_indices_)) < 0.25


def test_trusted_rows_with_names_and_frames():
    x, y = blobs(120)
    names = np.array(["ham", "offer", "spam"])
    frame = pd.DataFrame(x[:60], columns=["a", "b", "c"])
    defence = Anomaly(trusted=(pd.DataFrame(x[60:]), pd.Series(names[y[60:]])))
    kept, labels = defence.fit_resample(frame, names[y[:60]])
    plain = Anomaly(trusted=(x[60:], y[60:]))
    plain.fit_resample(sparse.csr_matrix(x[:60]), y[:60])
    assert isinstance(kept, pd.DataFrame)
    assert set(labels) == set(names)
    np.testing.assert_array_equal(defence.removed_indices_, plain.removed_indices_)


def test_trusted_rows_that_cannot_be_used():
    x, y = blobs(60)
    with pytest.raises(InputError, match="of the classes"):
        Anomaly(trusted=(x, y + 1)).fit_resample(x, y)
    with pytest.raises(InputError, match="3 columns"):
        Anomaly(trusted=(x[:, :2], y)).fit_resample(x, y)
    with pytest.raises(InputError, match="two rows at least"):
        Anomaly(trusted=(x[y < 2], y[y < 2])).evasion(x, y)
    one = np.flatnonzero(y == 2)[1:]
    with pytest.raises(InputError, match="two rows at least"):
        Anomaly(trusted=(np.delete(x, one, 0), np.delete(y, one))).fit_resample(x, y)


def test_a_class_far_from_its_trusted_rows_would_be_empty():
    x, y = blobs(60)
    far = x + np.where(y == 1, 100.0, 0.0)[:, None]
    with pytest.raises(EmptyClassError, match="class 1"):
        Anomaly(trusted=(x, y)).fit_resample(far, y)


def flipped(seed=0, share=0.1, n=200):
    """Return blobs with a share of the labels of class 0 and 1 moved on by one."""
    x, y = blobs(n, seed=seed)
    rows = np.random.default_rng(seed).choice(n, int(share * n), replace=False)
    wrong = y.copy()
    wrong[rows] = (y[rows] + 1) % 3
    return x, y, wrong, np.sort(rows)


def slow_votes(x, y, k):
    gaps = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    np.fill_diagonal(gaps, np.inf)
    near = np.argsort(gaps, axis=1)[:, :k]
    return np.array([[sum(y[j] == c for j in line) / k for c in range(y.max() + 1)] for line in near])


def test_flipped_labels_are_found_dropped_and_corrected():
    x, y, wrong, rows = flipped()
    dropping = LabelSanitisation(eta=0.6)
    kept, labels = dropping.fit_resample(x, wrong)
    np.testing.assert_array_equal(dropping.removed_indices_, rows)
    np.testing.assert_array_equal(labels, np.delete(y, rows))
    assert len(kept) == 180
    assert dropping.relabelled_indices_.size == dropping.relabelled_.size == 0
    relabelling = LabelSanitisation(eta=0.6, relabel=True)
    same, corrected = relabelling.fit_resample(x, wrong)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(corrected, y)
    np.testing.assert_array_equal(relabelling.relabelled_indices_, rows)
    np.testing.assert_array_equal(relabelling.relabelled_, y[rows])
    assert relabelling.removed_indices_.size == 0
    np.testing.assert_array_equal(relabelling.sample_indices_, np.arange(200))
    assert len(relabelling.reasons()) == len(dropping.reasons()) == 20
    assert not hasattr(dropping, "fraction")


@pytest.mark.parametrize(("k", "eta"), [(7, 0.5), (10, 0.5), (10, 0.8), (4, 1.0)])
def test_votes_are_counted(k, eta):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(80, 2)), rng.integers(3, size=80)  # labels without meaning: votes are mixed
    defence = LabelSanitisation(k=k, eta=eta)
    defence.fit_resample(x, y)
    votes = slow_votes(x, y, k)
    own = votes[np.arange(80), y]
    others = np.where(np.arange(3) == y[:, None], -1, votes).max(axis=1)
    np.testing.assert_array_equal(defence.removed_indices_, np.flatnonzero((others >= eta) & (others > own)))
    np.testing.assert_allclose(defence.suspicion_, np.where(others > own, others, 0))
    assert (defence.thresholds_ == eta).all()


def test_reasons_name_the_label_agreed_on():
    x = np.array([[0.0], [0.1], [0.2], [0.3], [0.35], [9.0], [9.1], [9.2]])
    y = np.array(["ham", "ham", "spam", "ham", "ham", "spam", "spam", "spam"])
    defence = LabelSanitisation(k=4, relabel=True)
    assert defence.fit_resample(x, y)[1].tolist() == ["ham"] * 5 + ["spam"] * 3
    assert defence.reasons() == ["100% of the 4 nearest rows have the label ham"]
    assert defence.relabelled_.tolist() == ["ham"]


def test_a_tie_with_its_own_label_is_no_agreement():
    x = np.array([[0.0], [1.0], [-1.0], [20.0], [21.0], [19.0]])
    y = np.array([0, 0, 1, 1, 1, 1])
    assert 0 not in _removed(LabelSanitisation(k=2), x, y)
    assert 2 in _removed(LabelSanitisation(k=2), x, y)


def _removed(defence, x, y):
    defence.fit_resample(x, y)
    return defence.removed_indices_


def test_only_the_classes_asked_for_are_judged():
    x, y, wrong, rows = flipped()
    defence = LabelSanitisation(sampling_strategy=[1], relabel=True)
    labels = defence.fit_resample(x, wrong)[1]
    asked = rows[wrong[rows] == 1]
    np.testing.assert_array_equal(defence.relabelled_indices_, asked)
    np.testing.assert_array_equal(labels[asked], y[asked])
    assert set(y[_removed(KnnDistance(sampling_strategy=[2]), x, y)]) == {2}


@pytest.mark.parametrize("relabel", [False, True])
def test_a_class_may_not_vanish(relabel):
    x, y = blobs(60)
    y = np.where(y == 2, 0, y)
    y[np.flatnonzero(y == 0)[0]] = 2
    with pytest.raises(EmptyClassError, match="class 2"):
        LabelSanitisation(relabel=relabel).fit_resample(x, y)


def test_settings_out_of_range():
    x, y = blobs(30)
    for defence, words in [
        (KnnDistance(k=0), "k must be"),
        (KnnDistance(fraction=1.0), "fraction"),
        (Anomaly(k=0), "k must be"),
        (LabelSanitisation(k=0), "k must be"),
        (LabelSanitisation(eta=0.4), r"\[0.5, 1\]"),
        (LabelSanitisation(eta=1.1), r"\[0.5, 1\]"),
    ]:
        with pytest.raises(InputError, match=words):
            defence.fit_resample(x, y)
        with pytest.raises(InputError, match=words):
            defence.evasion(x, y)
    for defence in DEFENCES:
        with pytest.raises(InputError, match="class 1 has none"):
            defence.evasion(x[y != 1], y[y != 1])


def test_in_a_pipeline_of_imbalanced_learn():
    x, y, wrong, _ = flipped(share=0.2)
    pipeline = make_pipeline(LabelSanitisation(relabel=True), LogisticRegression()).fit(x, wrong)
    assert pipeline.score(x, y) == 1


# --- what an attacker keeps to ---------------------------------------------------------------------


def points(x, labels, n_classes=3, weight=None):
    weight = jnp.ones(len(x)) if weight is None else jnp.asarray(weight)
    return Samples(jnp.asarray(x), one_hot(jnp.asarray(labels), n_classes), weight)


@eqx.filter_jit
def excess(evasion, block):
    return evasion.excess(block, None, None)


@eqx.filter_jit
def slope(evasion, block, weights):
    return jax.grad(lambda x: weights @ evasion.excess(block._replace(x=x), None, None))(block.x)


def excess_of(evasion, x, labels, **settings):
    return np.asarray(excess(evasion, points(x, labels, **settings)))


def one_by_one(evasion, x, labels):
    """Return each point's excess where it is the only one."""
    return np.array([excess_of(evasion, x[i : i + 1], labels[i : i + 1])[0] for i in range(len(x))])


def probes(seed=3, n=40):
    rng = np.random.default_rng(seed)
    return rng.uniform(-9, 9, size=(n, 3)), rng.integers(3, size=n)


def evading(name, x, y):
    return {
        "knn": KnnDistance(k=4, fraction=0.2),
        "anomaly": Anomaly(k=4, fraction=0.2),
        "trusted": Anomaly(k=4, fraction=0.2, trusted=(x, y)),
    }[name]


@pytest.mark.parametrize("name", ["knn", "anomaly", "trusted"])
def test_excess_is_what_a_defence_of_clean_rows_says(name):
    x, y = blobs(60, spread=2.0)
    new, labels = probes()
    defence = evading(name, x, y)
    of = np.mean if name == "knn" else np.max
    suspicion = np.array([of(slow_distances(row, x[y == c], 4)) for row, c in zip(new, labels, strict=True)])
    defence.fit_resample(x, y)
    own = slow(x, y, 4, of)
    limits = np.array([np.sort(own[y == c])[-1 - int(np.ceil(0.2 * np.sum(y == c) - 1e-9))] for c in range(3)])
    found = one_by_one(defence.evasion(x, y), new, labels)
    np.testing.assert_allclose(found, suspicion / limits[labels] - 1, rtol=1e-9, atol=1e-12)
    assert 0 < np.sum(found > 0) < len(found)
    if name != "trusted":  # these see themselves among their neighbours
        for c in range(3):
            assert np.isclose(defence.thresholds_[y == c], limits[c]).all()


def test_points_hide_behind_each_other_but_not_from_trusted_rows():
    x, y = blobs(60)
    new, labels = np.tile([[0.0, 0.0, 40.0]], (6, 1)) + 0.01 * np.arange(6)[:, None], np.zeros(6, int)
    defence, trusting = KnnDistance(), Anomaly(trusted=(x, y))
    assert (one_by_one(defence.evasion(x, y), new, labels) > 5).all()
    assert (excess_of(defence.evasion(x, y), new, labels) < -0.9).all()
    assert (excess_of(trusting.evasion(x, y), new, labels) > 5).all()
    # Those of another label, and those that are absent, are no company.
    assert excess_of(defence.evasion(x, y), new, [0, 1, 1, 1, 1, 1])[0] > 5
    assert excess_of(defence.evasion(x, y), new, labels, weight=[1, 0, 0, 0, 0, 0])[0] > 5
    # The real defence agrees.
    defence.fit_resample(np.concatenate([x, new]), np.concatenate([y, labels]))
    assert not np.isin(np.arange(60, 66), defence.removed_indices_).any()


@pytest.mark.parametrize(
    ("n_classes", "k", "eta"), [(2, 5, 0.5), (2, 6, 0.5), (2, 10, 0.7), (3, 6, 0.5), (3, 10, 0.7), (3, 4, 1.0)]
)
def test_label_excess_is_above_0_exactly_where_the_defence_strikes(k, eta, n_classes):
    rng = np.random.default_rng(k)
    x, y = rng.normal(size=(60, 2)), rng.integers(n_classes, size=60)
    new, labels = rng.normal(size=(25, 2)), rng.integers(n_classes, size=25)
    defence = LabelSanitisation(k=k, eta=eta)
    # All points at once: the defence sees clean rows and points, as they see each other.
    defence.fit_resample(np.concatenate([x, new]), np.concatenate([y, labels]))
    struck = np.isin(np.arange(60, 85), defence.removed_indices_)
    found = excess_of(defence.evasion(x, y), new, labels, n_classes=n_classes)
    np.testing.assert_array_equal(found > 0, struck)
    assert (np.abs(found) <= 1).all()
    assert eta == 1 or 0 < struck.sum() < 25


def test_label_excess_where_fewer_rows_vote_than_are_asked():
    x, y = np.array([[0.0], [1.0], [2.0], [10.0]]), np.array([0, 0, 0, 1])
    evasion = LabelSanitisation(k=50).evasion(x, y)
    assert excess_of(evasion, [[1.5]], [1], n_classes=2)[0] > 0
    assert excess_of(evasion, [[1.5]], [0], n_classes=2)[0] < 0


@pytest.mark.parametrize("name", ["knn", "anomaly", "trusted", "label"])
def test_gradient_of_excess(name):
    x, y = blobs(60)
    defence = LabelSanitisation(k=6) if name == "label" else evading(name, x, y)
    evasion = defence.evasion(x, y)
    new, labels = probes(n=7)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=7))

    block = points(new, labels)
    check_gradient(
        lambda moved: weights @ excess(evasion, block._replace(x=moved)),
        block.x,
        gradient=slope(evasion, block, weights),
        key=jax.random.key(0),
        step=1e-5,
        tolerance=1e-7,
    )


@pytest.mark.parametrize("name", ["knn", "anomaly", "label"])
def test_gradient_is_finite_on_top_of_rows_and_of_each_other(name):
    x, y = blobs(60)
    evasion = (LabelSanitisation(k=3) if name == "label" else evading(name, x, y)).evasion(x, y)
    block = points(np.concatenate([x[:2], x[:2], x[:3]]), [0, 1, 2, 0, 0, 0, 1])
    assert np.isfinite(slope(evasion, block, jnp.ones(7))).all()


def test_excess_of_soft_labels_is_their_mean():
    x, y = blobs(60)
    new = probes(n=1)[0]
    evasion = KnnDistance().evasion(x, y)
    hard = [excess_of(evasion, new, [c])[0] for c in range(3)]
    soft = jnp.asarray([[0.2, 0.5, 0.3]])
    found = excess(evasion, points(new, [0])._replace(y=soft))[0]
    np.testing.assert_allclose(found, np.dot(soft[0], hard), rtol=1e-12)
    assert evasion.describe()["k"] == 5
