"""Isolation forest and local outlier factor, class by class."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from imblearn.utils.estimator_checks import estimator_checks_generator
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from backgrad.adjoints.check import check_gradient
from backgrad.defences.outliers import IsolationForestSanitiser, LofSanitiser
from backgrad.errors import InputError
from backgrad.types import Samples, one_hot

DEFENCES = [IsolationForestSanitiser(n_estimators=4), LofSanitiser()]


def _name(part):
    return part.func.__name__ if hasattr(part, "func") else type(part).__name__


@pytest.mark.parametrize(
    ("estimator", "check"), [pair for one in DEFENCES for pair in estimator_checks_generator(one)], ids=_name
)
def test_keeps_to_imbalanced_learn(estimator, check):
    check(estimator)


def blobs(n=90, seed=0):
    return make_blobs(n, centers=[[0.0, 0, 0], [6.0, 6, 6], [-6.0, 6, 0]], random_state=seed)


def slow_lof(x, k):
    """Return the local outlier factors of rows, from the definition."""
    gaps = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    np.fill_diagonal(gaps, np.inf)
    near = np.argsort(gaps, axis=1)[:, :k]
    kth = np.sort(gaps, axis=1)[:, k - 1]
    density = np.array([1 / np.mean([max(gaps[i, j], kth[j]) for j in near[i]]) for i in range(len(x))])
    return np.array([density[near[i]].mean() / density[i] for i in range(len(x))])


def test_local_outlier_factor_by_its_definition():
    x, y = blobs(45)
    defence = LofSanitiser(k=4)
    defence.fit_resample(x + 1e5, y)
    for label in range(3):
        np.testing.assert_allclose(defence.suspicion_[y == label], slow_lof(x[y == label], 4), rtol=1e-6)


def test_forest_scores_are_those_of_one_forest_a_class():
    x, y = blobs(60)
    defence = IsolationForestSanitiser(n_estimators=7, random_state=3)
    first = defence.fit_resample(x, y)
    for label in range(3):
        rows = x[y == label]
        expected = IsolationForest(n_estimators=7, random_state=3).fit(rows).score_samples(rows)
        np.testing.assert_array_equal(defence.suspicion_[y == label], -expected)
    np.testing.assert_array_equal(defence.fit_resample(x, y)[0], first[0])
    other = IsolationForestSanitiser(n_estimators=7, random_state=4).suspicion(x, y)
    assert not np.allclose(other, defence.suspicion_)


@pytest.mark.parametrize("defence", [IsolationForestSanitiser(fraction=0.03), LofSanitiser(fraction=0.03, k=10)])
def test_planted_outliers_go(defence):
    x, y = blobs()
    names = np.array(["a", "b", "c"])
    x, y = np.concatenate([x, [[0, 40, -40], [20, -20, 70], [50, 0, -30]]]), np.append(y, [0, 1, 2])
    kept, labels = defence.fit_resample(pd.DataFrame(x), names[y])
    assert defence.removed_indices_.tolist() == [90, 91, 92]
    assert isinstance(kept, pd.DataFrame)
    assert set(labels) == set(names)
    assert len(defence.reasons()) == 3
    held = sparse.csr_matrix(x), y
    np.testing.assert_array_equal(defence.fit_resample(*held)[1], np.delete(y, [90, 91, 92]))


@pytest.mark.parametrize("defence", [IsolationForestSanitiser(n_estimators=5), LofSanitiser()])
def test_classes_of_few_rows(defence):
    x = np.array([[0.0], [9.0], [9.5], [20.0], [20.1], [20.3]])
    y = np.array([0, 1, 1, 2, 2, 2])
    suspicion = defence.suspicion(x, y)
    assert suspicion[0] == 0
    assert np.isfinite(suspicion).all()
    assert set(defence.fit_resample(x, y)[1]) == {0, 1, 2}


def test_settings_out_of_range():
    x, y = blobs(30)
    for defence, words in [
        (IsolationForestSanitiser(n_estimators=0), "n_estimators"),
        (LofSanitiser(k=0), "k must be"),
        (LofSanitiser(fraction=-0.1), "fraction"),
    ]:
        with pytest.raises(InputError, match=words):
            defence.fit_resample(x, y)
    with pytest.raises(InputError, match="class 1 has none"):
        LofSanitiser().evasion(x[y != 1], y[y != 1])


def test_rows_a_tree_may_be_a_number_or_a_share():
    x, y = blobs(30)
    for size in (0.5, 5, 1000):
        assert np.isfinite(IsolationForestSanitiser(n_estimators=3, max_samples=size).suspicion(x, y)).all()


@pytest.mark.parametrize("size", [0.1, 0.99, np.int64(256), 1])
def test_an_isolation_forest_takes_a_row_of_a_small_class_at_least(size):
    x, y = np.random.default_rng(0).normal(size=(54, 3)), np.repeat([0, 1], [50, 4])
    defence = IsolationForestSanitiser(n_estimators=3, max_samples=size)
    defence.fit_resample(x, y)
    assert np.isfinite(defence.suspicion_).all()


def test_no_adaptive_attack_on_a_forest_is_known():
    assert IsolationForestSanitiser().evasion(*blobs(30)) is None


@eqx.filter_jit
def excess(evasion, block):
    return evasion.excess(block, None, None)


@eqx.filter_jit
def slope(evasion, block, weights):
    return jax.grad(lambda x: weights @ evasion.excess(block._replace(x=x), None, None))(block.x)


def points(x, labels):
    return Samples(jnp.asarray(x), one_hot(jnp.asarray(labels), 3), jnp.ones(len(x)))


def probes(n=30):
    """Return points in and around the blobs."""
    x, y = blobs(n, seed=1)
    return x + np.random.default_rng(3).normal(size=x.shape), y


def test_excess_is_what_scikit_learn_says_of_new_points():
    x, y = blobs(60)
    new, labels = probes()
    defence = LofSanitiser(k=5, fraction=0.2)
    defence.fit_resample(x, y)
    evasion = defence.evasion(x, y)
    found, expected = [], []
    for row, label in zip(new, labels, strict=True):
        judge = LocalOutlierFactor(n_neighbors=5, novelty=True).fit(x[y == label])
        expected.append(-judge.score_samples(row[None])[0] / defence.thresholds_[y == label][0] - 1)
        found.append(float(excess(evasion, points(row[None], [label]))[0]))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert 0 < np.sum(np.array(found) > 0) < 30


def test_points_hide_behind_each_other():
    x, y = blobs(60)
    new = np.random.default_rng(0).normal(size=(12, 3)) * 0.3 + [0.0, 0.0, 30.0]
    evasion = LofSanitiser(k=5).evasion(x, y)
    assert float(excess(evasion, points(new[:1], [0]))[0]) > 3
    assert (np.asarray(excess(evasion, points(new, np.zeros(12, int)))) < 0.5).all()
    assert evasion.describe()["k"] == 5


def test_gradient_of_excess():
    x, y = blobs(60)
    evasion = LofSanitiser(k=4).evasion(x, y)
    block, weights = points(*probes(7)), jnp.asarray(np.random.default_rng(0).normal(size=7))
    check_gradient(
        lambda moved: weights @ excess(evasion, block._replace(x=moved)),
        block.x,
        gradient=slope(evasion, block, weights),
        key=jax.random.key(0),
        step=1e-5,
        tolerance=1e-7,
    )
    on_top = points(np.concatenate([x[:2], x[:2], x[:3]]), [0, 1, 2, 0, 0, 0, 1])
    assert np.isfinite(slope(evasion, on_top, weights)).all()
