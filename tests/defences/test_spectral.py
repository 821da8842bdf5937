"""Spectral signatures against a plain singular value decomposition, on a planted direction, and their evasion."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from imblearn.utils.estimator_checks import estimator_checks_generator
from sklearn.datasets import make_blobs

from backgrad.adjoints.check import check_gradient
from backgrad.defences.spectral import SpectralSignatures
from backgrad.errors import InputError
from backgrad.types import Samples, one_hot

MATRIX = np.random.default_rng(0).normal(size=(4, 6))


def _name(part):
    return part.func.__name__ if hasattr(part, "func") else type(part).__name__


@pytest.mark.parametrize(("estimator", "check"), list(estimator_checks_generator(SpectralSignatures())), ids=_name)
def test_keeps_to_imbalanced_learn(estimator, check):
    check(estimator)


def blobs(n=90, d=4, seed=0):
    centers = 6 * np.random.default_rng(seed).normal(size=(3, d))
    return make_blobs(n, centers=centers, random_state=seed)


def plain(hidden, y):
    found = np.zeros(len(y))
    for label in range(3):
        moved = hidden[y == label] - hidden[y == label].mean(axis=0)
        found[y == label] = (moved @ np.linalg.svd(moved)[2][0]) ** 2
    return found


def nonlinear(x):
    return jnp.tanh(jnp.asarray(x) @ jnp.asarray(MATRIX) / 5)


@pytest.mark.parametrize("d", [4, 50])
def test_suspicion_is_the_squared_projection(d):
    x, y = blobs(60, d)
    np.testing.assert_allclose(SpectralSignatures().suspicion(x, y), plain(x, y), rtol=1e-8, atol=1e-10)


def test_suspicion_in_a_representation():
    x, y = blobs(60)
    defence = SpectralSignatures(representation=nonlinear)
    np.testing.assert_allclose(defence.suspicion(x, y), plain(np.asarray(nonlinear(x)), y), rtol=1e-8, atol=1e-10)
    assert not np.allclose(defence.suspicion(x, y), plain(x, y))


def test_what_moves_the_mean_in_one_direction_goes():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 20)), np.repeat([0, 1, 2], 100)
    poison = rng.normal(size=(8, 20)) + 6 * np.eye(20)[3]
    names = np.array(["a", "b", "c"])
    defence = SpectralSignatures(fraction=12 / 108)
    frame = pd.DataFrame(np.concatenate([x, poison]))
    kept, labels = defence.fit_resample(frame, names[np.append(y, np.ones(8, int))])
    assert np.isin(np.arange(300, 308), defence.removed_indices_).all()
    assert sum(labels == "b") == 96
    assert isinstance(kept, pd.DataFrame)
    assert len(defence.reasons()) == len(defence.removed_indices_)


def test_rows_that_agree_and_classes_of_one_row():
    x = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [5.0, 5.0], [6.0, 5.0], [9.0, 5.0], [7.0, 7.0]])
    y = np.array([0, 0, 0, 1, 1, 1, 2])
    suspicion = SpectralSignatures().suspicion(x, y)
    np.testing.assert_allclose(suspicion, [0, 0, 0, 25 / 9, 4 / 9, 49 / 9, 0], atol=1e-12)
    evasion = SpectralSignatures().evasion(x, y)
    assert np.isfinite(excess(evasion, points(x[:, :2], y))).all()


def test_representations_that_cannot_be_used():
    x, y = blobs(30)
    for representation in (lambda x: x[:, 0], lambda x: x[:5], lambda x: x * np.nan):
        with pytest.raises(InputError, match="representation must return"):
            SpectralSignatures(representation=representation).fit_resample(x, y)
    with pytest.raises(InputError, match="fraction"):
        SpectralSignatures(fraction=1.5).fit_resample(x, y)
    with pytest.raises(InputError, match="class 1 has none"):
        SpectralSignatures().evasion(x[y != 1], y[y != 1])


def test_not_every_representation_has_a_gradient():
    x, y = blobs(30)
    assert SpectralSignatures(representation=lambda x: np.tanh(np.asarray(x))).evasion(x, y) is None
    assert SpectralSignatures(representation=nonlinear).evasion(x, y) is not None


@eqx.filter_jit
def excess(evasion, block):
    return evasion.excess(block, None, None)


@eqx.filter_jit
def slope(evasion, block, weights):
    return jax.grad(lambda x: weights @ evasion.excess(block._replace(x=x), None, None))(block.x)


def points(x, labels):
    return Samples(jnp.asarray(x), one_hot(jnp.asarray(labels), 3), jnp.ones(len(x)))


@pytest.mark.parametrize("representation", [None, nonlinear])
def test_excess_is_what_the_defence_of_clean_rows_and_points_says(representation):
    x, y = blobs(90)
    rng = np.random.default_rng(4)
    new, labels = 2 * rng.normal(size=(5, 4)) + x[:5] + [9.0, 0, 0, 0], y[:5]
    both, theirs = np.concatenate([x, new]), np.append(y, labels)
    defence = SpectralSignatures(fraction=0.2, representation=representation)
    suspicion = defence.suspicion(both, theirs)
    evasion = defence.evasion(x, y)
    limits = [np.sort(suspicion[:90][y == c])[-1 - 6] for c in range(3)]  # 0.2 of 30 rows are above
    found = np.asarray(excess(evasion, points(new, labels)))
    np.testing.assert_allclose(found, suspicion[90:] / np.array(limits)[labels] - 1, rtol=1e-5)
    assert (found > 0).any()
    assert evasion.describe()["above"] == [6, 6, 6]


def test_excess_of_clean_rows_is_above_0_where_the_defence_removes_them():
    x, y = blobs(90)
    defence = SpectralSignatures(fraction=0.2)
    defence.fit_resample(x, y)
    found = np.asarray(excess(defence.evasion(x, y), points(x, y)))
    np.testing.assert_array_equal(np.flatnonzero(found > 1e-5), defence.removed_indices_)


def test_points_cannot_hide_in_a_direction_in_which_clean_rows_do_not_vary():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)) * [3, 1, 1, 0.1], np.repeat([0, 1, 2], 30)
    new, labels = np.tile([[0.0, 0, 0, 12.0]], (6, 1)) + 0.01 * rng.normal(size=(6, 4)), np.zeros(6, int)
    evasion = SpectralSignatures(fraction=0.2).evasion(x, y)
    assert (np.asarray(excess(evasion, points(new, labels))) > 1).all()
    # Absent points turn nothing.
    absent = points(new, labels)._replace(weight=jnp.zeros(6))
    assert (np.asarray(excess(evasion, absent)) < 0).all()


@pytest.mark.parametrize("representation", [None, nonlinear])
def test_gradient_of_excess_along_the_direction_of_the_moment(representation):
    x, y = blobs(60)
    evasion = SpectralSignatures(representation=representation).evasion(x, y)
    rng = np.random.default_rng(2)
    block, weights = points(rng.normal(size=(6, 4)), rng.integers(3, size=6)), jnp.asarray(rng.normal(size=6))
    held = evasion.signature(block)
    check_gradient(
        lambda moved: weights @ evasion.excess_by(held, block._replace(x=moved)),
        block.x,
        gradient=slope(evasion, block, weights),
        key=jax.random.key(0),
    )
    centred = points(np.stack([x[y == 0].mean(axis=0)] * 6), np.zeros(6, int))
    assert np.isfinite(slope(evasion, centred, weights)).all()
