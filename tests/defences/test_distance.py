"""Distance to the centroid: sphere and slab, and what an attacker who knows them keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from backgrad.adjoints.check import check_gradient
from backgrad.defences.base import most_suspicious
from backgrad.defences.distance import Slab, Sphere
from backgrad.errors import EmptyClassError, InputError
from backgrad.threat.discrete import Binary
from backgrad.threat.feasible import Box
from backgrad.types import samples

KINDS = [Sphere, Slab]
every_kind = pytest.mark.parametrize("kind", KINDS)
CHECKS = [one for kind in KINDS for one in estimator_checks_generator(kind())]
NAMES = [f"{type(one).__name__}-{check.func.__name__}" for one, check in CHECKS]


@pytest.mark.parametrize(("sampler", "check"), CHECKS, ids=NAMES)
def test_they_are_samplers_as_imbalanced_learn_has_them(sampler, check):
    check(sampler)


def rows(n_classes=2, n=60, d=5, seed=0):
    """Return overlapping classes around the corners of a simplex."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return np.clip(0.3 + 0.4 * np.eye(n_classes, d)[y] + 0.1 * rng.normal(size=(n, d)), 0, 1), y


def by_hand(kind, x, y, centre=np.mean):
    """Return every row's suspicion, row by row."""
    found = []
    for row, label in zip(x, y, strict=True):
        own, others = centre(x[y == label], axis=0), centre(x[y != label], axis=0)
        far = row - own
        found.append(np.sqrt(sum(v * v for v in far)) if kind is Sphere else abs(np.dot(far, own - others)))
    return np.array(found)


@every_kind
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("centre", "function"), [("mean", np.mean), ("median", np.median)])
def test_suspicion_is_the_distance(kind, n_classes, centre, function):
    x, y = rows(n_classes)
    expected = by_hand(kind, x, y, function)
    np.testing.assert_allclose(kind(centre=centre).suspicion(x, y), expected, rtol=1e-12)
    defence = kind(centre=centre)
    defence.fit_resample(x, np.array(["ham", "spam", "junk"])[y])
    # Labels 0..k−1 stand for names in their order, so classes trade places, and distances do not.
    np.testing.assert_allclose(defence.suspicion_, expected, rtol=1e-12)


def test_a_known_answer():
    x = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [5.0, 0.0], [5.0, 2.0]])
    y = np.array([0, 0, 0, 1, 1])
    np.testing.assert_allclose(Sphere().suspicion(x, y), [2**0.5, 2**0.5, 2, 1, 1])
    # Centroids (1, 1) and (5, 1): the normal is (4, 0).
    np.testing.assert_allclose(Slab().suspicion(x, y), [4, 4, 0, 0, 0])


@every_kind
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.99])
def test_the_most_suspicious_share_of_each_class_goes(kind, fraction):
    x, y = rows(3, 61)
    defence = kind(fraction=fraction)
    kept_x, kept_y = defence.fit_resample(x, y)
    expected = by_hand(kind, x, y)
    for label in range(3):
        (own,) = np.nonzero(y == label)
        count = min(int(np.ceil(fraction * own.size)), own.size - 1)
        worst = sorted(own, key=lambda i: -expected[i])[:count]
        assert set(defence.removed_indices_) & set(own) == set(worst)
    np.testing.assert_array_equal(kept_x, x[defence.sample_indices_])
    np.testing.assert_array_equal(kept_y, y[defence.sample_indices_])


@every_kind
def test_planted_outliers_are_found(kind):
    x, y = rows(n=100)
    planted = np.array([3, 8, 50, 61])
    # Far beyond the other class's centroid: with a wrong label, and more.
    x[planted] = np.where(y[planted][:, None] == 0, [-0.3, 1.3, 0.3, 0.3, 0.3], [1.3, -0.3, 0.3, 0.3, 0.3])
    defence = kind(fraction=0.04, centre="median")
    defence.fit_resample(x, y)
    np.testing.assert_array_equal(defence.removed_indices_, planted)


def test_a_minority_drags_means_along_and_medians_hardly():
    x, y = rows(n=100)
    clean = Sphere(centre="median").evasion(x, y), Sphere().evasion(x, y)
    x[:30:2] = 9.0  # 15 of the 50 rows of class 0
    spoilt = Sphere(centre="median").evasion(x, y), Sphere().evasion(x, y)
    median, mean = (np.linalg.norm(a.centres[0] - b.centres[0]) for a, b in zip(clean, spoilt, strict=True))
    assert mean > 5
    assert median < 0.3


@every_kind
def test_reasons_say_how_far_and_how_far_is_let_pass(kind):
    x, y = rows()
    defence = kind()
    defence.fit_resample(x, y)
    reasons = defence.reasons()
    assert len(reasons) == defence.removed_indices_.size > 0
    for i, reason in zip(defence.removed_indices_, reasons, strict=True):
        assert f"{defence.suspicion_[i]:.4g} is above {defence.thresholds_[i]:.4g}" in reason
        assert defence.suspicion_[i] > defence.thresholds_[i]
        assert "centroid of its class" in reason


def test_of_rows_that_are_equally_far_the_reason_says_so():
    x = np.array([[0.0, 0], [2, 0], [0, 2], [2, 2]] * 2)  # every row as far from the centroid as any other
    defence = Sphere(fraction=0.25)
    defence.fit_resample(x, np.repeat([0, 1], 4))
    assert [reason.split("centroid of its class ")[-1] for reason in defence.reasons()] == [
        "1.414 is no less than 1.414"
    ] * 2


@every_kind
def test_only_the_classes_that_are_named_are_cleaned(kind):
    x, y = rows(3)
    defence = kind(sampling_strategy=[1])
    defence.fit_resample(x, y)
    assert set(y[defence.removed_indices_]) == {1}


@every_kind
def test_pipelines_and_sparse_rows(kind):
    x, y = rows(n=100)
    pipeline = make_pipeline(kind(fraction=0.2), LogisticRegression()).fit(x, y)
    assert pipeline.score(x, y) > 0.9
    dense, thin = kind(), kind()
    kept, _ = dense.fit_resample(x, y)
    kept_thin, _ = thin.fit_resample(sparse.csc_matrix(x), y)
    np.testing.assert_array_equal(kept_thin.toarray(), kept)


class Emptying(Sphere):
    """Finds every row of class 1 too suspicious."""

    def marks(self, suspicion, y):
        return y == 1, np.zeros(len(y))


def test_a_class_that_would_be_lost_is_an_error():
    x, y = rows(3)
    with pytest.raises(EmptyClassError, match="every row of class junk: remove a smaller share"):
        Emptying().fit_resample(x, np.array(["ham", "junk", "spam"])[y])
    # Not where it is left alone.
    Emptying(sampling_strategy=["ham"]).fit_resample(x, np.array(["ham", "junk", "spam"])[y])


@every_kind
def test_a_class_of_one_row_keeps_it(kind):
    x, y = rows(n=21)
    y[:] = 0
    y[4] = 1
    defence = kind(fraction=0.5)
    defence.fit_resample(x, y)
    assert 4 in defence.sample_indices_


@every_kind
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fraction": 1.0}, r"fraction must lie in \[0, 1\); got 1\.0"),
        ({"fraction": -0.1}, "fraction must lie in"),
        ({"fraction": float("nan")}, "fraction must lie in"),
        ({"centre": "middle"}, "centre must be 'mean' or 'median'; got 'middle'"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, sentence):
    x, y = rows()
    with pytest.raises(InputError, match=sentence):
        kind().set_params(**settings).fit_resample(x, y)
    with pytest.raises(InputError, match=sentence):
        kind().set_params(**settings).evasion(x, y)


@every_kind
def test_rows_of_one_class_are_refused(kind):
    x, _ = rows()
    with pytest.raises(InputError, match="at least two classes"):
        kind().fit_resample(x, np.ones(len(x), int))
    with pytest.raises(InputError, match="every class 0 to 1, and class 1 has none"):
        kind().evasion(x, np.zeros(len(x), int))
    with pytest.raises(InputError, match="every class 0 to 2, and class 1 has none"):
        kind().evasion(x, 2 * (np.arange(len(x)) % 2))


@every_kind
@pytest.mark.parametrize("n_classes", [2, 3])
def test_excess_is_above_zero_where_suspicion_is_above_the_threshold(kind, n_classes):
    x, y = rows(n_classes)
    defence = kind(fraction=0.2)
    suspicion = defence.suspicion(x, y)
    limits = most_suspicious(suspicion, y, 0.2)[1]
    excess = np.asarray(defence.evasion(x, y).excess(samples(x, y, n_classes), None, None))
    np.testing.assert_allclose(excess, suspicion / limits - 1, atol=1e-12)
    clear = np.abs(suspicion - limits) > 1e-9
    np.testing.assert_array_equal((excess > 0)[clear], (suspicion > limits)[clear])
    assert 0 < np.sum(excess > 1e-9) == np.sum(suspicion > limits + 1e-9)
    # The row that sets the threshold lies on it.
    np.testing.assert_allclose(excess[~clear], 0, atol=1e-12)


@every_kind
@pytest.mark.parametrize("n_classes", [2, 3])
def test_slopes_of_the_excess_equal_central_differences(kind, n_classes):
    x, y = rows(n_classes, n=12)
    evasion = kind().evasion(*rows(n_classes))
    points, weights = samples(x, y, n_classes), jnp.asarray(np.random.default_rng(3).normal(size=12))
    soft = points._replace(y=0.9 * points.y + 0.1 / n_classes)

    def total(parts):
        return jnp.sum(weights * evasion.excess(soft._replace(x=parts[0], y=parts[1]), None, None))

    check_gradient(total, (soft.x, soft.y), key=jax.random.key(0), step=1e-6, tolerance=1e-6)


def test_at_a_centroid_the_slope_is_finite_and_the_excess_least():
    evasion = Sphere().evasion(*rows())
    points = samples(evasion.centres, [0, 1], 2)
    slope = jax.grad(lambda x: jnp.sum(evasion.excess(points._replace(x=x), None, None)))(points.x)
    np.testing.assert_array_equal(slope, np.zeros_like(slope))
    np.testing.assert_array_equal(evasion.excess(points, None, None), [-1, -1])


@every_kind
def test_points_within_pass_and_are_tighter_by_the_margin(kind):
    x, y = rows(3)
    evasion = kind(fraction=0.2).evasion(x, y)
    far = samples(np.random.default_rng(1).uniform(-3, 3, (30, 5)), np.arange(30) % 3, 3)
    for margin in (0.0, 0.3):
        clear = type(evasion)(**{**vars(evasion), "margin": margin})
        found = clear.within(Box(), far.y).project(far.x)
        assert Box().contains(found).all()
        excess = np.asarray(evasion.excess(far._replace(x=found), None, None))
        assert excess.max() == pytest.approx(-margin, abs=1e-9)
        assert float(clear.penalty(far._replace(x=found), None, None)) <= 1e-9


@every_kind
def test_points_that_keep_within_are_let_pass_by_the_real_defence_on_top_of_clean_rows(kind):
    x, y = rows(n=200)
    defence = kind(fraction=0.1, centre="median")
    evasion = defence.evasion(x, y)
    few = samples(np.random.default_rng(1).uniform(0, 1, (4, 5)), np.arange(4) % 2, 2)
    clear = type(evasion)(**{**vars(evasion), "margin": 0.1})
    points = np.asarray(clear.within(Box(), few.y).project(few.x))
    both = np.concatenate([x, points]), np.concatenate([y, np.arange(4) % 2])
    defence.fit_resample(*both)
    assert (defence.removed_indices_ < 200).all()


@every_kind
def test_discrete_sets_come_back_as_they_are(kind):
    evasion = kind().evasion(*rows())
    assert evasion.within(Binary(), jnp.eye(2)) == Binary()


@every_kind
def test_a_class_whose_rows_agree_has_a_finite_excess(kind):
    x, y = rows()
    x[y == 1] = 0.5
    evasion = kind().evasion(x, y)
    points = samples(x[:4], y[:4], 2)
    value, slope = jax.value_and_grad(lambda z: jnp.sum(evasion.excess(points._replace(x=z), None, None)))(points.x)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert (np.asarray(evasion.excess(points, None, None))[1::2] <= 0).all()
    away = points._replace(x=points.x + 0.1)
    assert (np.asarray(evasion.excess(away, None, None))[1::2] > 0).all()


@every_kind
def test_descriptions_tell_name_and_limits(kind):
    evasion = kind().evasion(*rows())
    described = evasion.describe()
    limits = described["radii" if kind is Sphere else "widths"]
    assert len(limits) == 2
    assert min(limits) > 0
    assert described["defence"] == f"{kind.__name__}Evasion"
    assert (described["margin"], described["strength"]) == (0.0, 1.0)
