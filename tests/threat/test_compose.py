"""Sets of several kinds of columns: the steps they take, bounds that are learnt, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.errors import InputError


def test_a_step_changes_the_category_that_promises_most():
    slope = jnp.asarray([[0.0, 1.0, 3.0, 0.0, 0.0, 0.1]])
    start = jnp.asarray([[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(bg.OneHot((3, 1, 2)).ascend(start, slope, 1.0), [[0, 0, 1, 1, 1, 0]])


def test_a_small_step_still_moves_a_whole_number():
    end = bg.Integer(0, 9).ascend(jnp.full((1, 2), 4.0), jnp.asarray([[1.0, -0.2]]), 0.01)
    np.testing.assert_array_equal(end, [[5.0, 4.0]])


def test_bounds_are_learnt_from_quantiles_and_a_constant_column_stays():
    x = np.column_stack([np.arange(101.0), np.full(101, 7.0)])
    box = bg.Box.from_data(x, quantiles=(0.05, 0.95))
    np.testing.assert_allclose(box.lower, [5, 7])
    np.testing.assert_allclose(box.upper, [95, 7])
    assert np.asarray(box.project(jnp.asarray([[200.0, 3.0]]))).tolist() == [[95.0, 7.0]]


@pytest.mark.parametrize("kind", [bg.Box, bg.Integer])
def test_a_fixed_column_takes_no_share_of_a_step_whatever_its_gradient(kind):
    start, slope = jnp.asarray([[1.0, 7.0]]), jnp.asarray([[1.0, 1e6]])
    fixed, free = kind(np.array([0, 7]), np.array([4, 7])), kind(0, 4)
    alone = free.ascend(start[:, :1], slope[:, :1], 0.25)
    np.testing.assert_array_equal(fixed.ascend(start, slope, 0.25), jnp.column_stack([alone, start[:, 1]]))
    # A joint attack follows the gradient of its free variables, over its length.
    pulled = jax.vjp(lambda latent: fixed.relax(latent, jnp.ones(())), fixed.latent(start))[1](slope)[0]
    np.testing.assert_array_equal(np.asarray(pulled) != 0, [[True, False]])
    far = fixed.relax(fixed.settle(fixed.latent(start) + 5.0), jnp.ones(()))
    np.testing.assert_allclose(far, [[4.0, 7.0]], rtol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_a_set_in_other_units_holds_its_points_though_they_lie_far_from_zero(dtype):
    shift, scale = (1e9, 1e3) if dtype == jnp.float64 else (1e4, 10.0)
    narrow = bg.Rescaled(bg.Box(shift, shift + scale), shift, scale)
    inside = jnp.asarray(np.random.default_rng(0).uniform(size=(200, 3)), dtype)
    assert np.asarray(narrow.contains(inside)).all()
    assert not np.asarray(narrow.contains(inside + jnp.asarray([1.01, 0.0, 0.0], dtype))).any()


def test_draws_beyond_a_single_bound_are_not_all_at_it():
    box = bg.Box(np.array([10.0, -np.inf]), np.array([np.inf, -5.0]))
    draws = np.asarray(box.sample(jax.random.key(0), 500, 2))
    assert np.asarray(box.contains(jnp.asarray(draws))).all()
    # Half-normal: its mean is √(2/π), and the standard error of 500 draws 0.03.
    np.testing.assert_allclose(draws.mean(axis=0), [10 + 0.798, -5 - 0.798], atol=0.13)


def test_columns_that_follow_from_fixed_ones_or_share_a_ball_with_them_know_where_these_stay():
    start, points = jnp.full((2, 3), 0.5), jnp.asarray([[1.0, 0.65, 0.1], [0.0, 0.4, 0.9]])
    linked = bg.Immutable(bg.Linked(bg.Box(), lambda x: x.at[:, 2].set(x[:, 0])), (0,)).around(start)
    np.testing.assert_array_equal(linked.project(points), [[0.5, 0.65, 0.5], [0.5, 0.4, 0.5]])
    assert np.asarray(linked.contains(linked.sample(jax.random.key(0), 2, 3))).all()
    near = bg.Immutable(bg.Ball(bg.Box(), 0.2), (0, 2)).around(start)
    np.testing.assert_array_equal(near.project(points), [[0.5, 0.65, 0.5], [0.5, 0.4, 0.5]])


def test_columns_that_follow_do_so_to_the_round_off_of_their_type():
    linked = bg.Linked(bg.Box(), lambda x: jnp.stack([x[:, 0], x[:, 1], 0.3 * x[:, 0] + 0.7 * x[:, 1]], axis=1))
    points = linked.project(jnp.asarray(np.random.default_rng(0).uniform(size=(200, 3)), jnp.float32))
    rounded = points.at[:, 2].set(jnp.nextafter(points[:, 2], jnp.float32(2)))
    assert np.asarray(linked.contains(rounded)).all()
    assert not np.asarray(linked.contains(points.at[:, 2].add(1e-4))).any()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bg.Columns([((0, 1), bg.Box()), ((1,), bg.Binary())]), "named once each"),
        (lambda: bg.Columns([((0, 2), bg.Box())]), "named once each"),
        (lambda: bg.OneHot(()), "at least one column"),
        (lambda: bg.Integer(0.5, 3), "whole numbers"),
        (lambda: bg.Ball(bg.Box(), 0.1, "l1"), "norm must be"),
        (lambda: bg.Ball(bg.Box(), 0.0), "radius must be a positive"),
        (lambda: bg.Ball(bg.Binary(), 0.1), "convex set inside"),
        (lambda: bg.Box.from_data(np.eye(3), quantiles=(0.9, 0.1)), "quantiles must satisfy"),
    ],
)
def test_sets_that_make_no_sense_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("feasible", "sentence"),
    [
        (bg.Columns([((0, 1), bg.Box())]), "must name every column: they name 2 of 4"),
        (bg.Columns([((0, 1, 2, 3, 4), bg.Box())]), "must name every column: they name 5 of 4"),
        (bg.Immutable(bg.Box(), (1, 4)), r"must be among 0 to 3, as the points have; got \[4\]"),
        (bg.OneHot((2, 1)), "have 3 columns; the points have 4"),
        (bg.Image(shape=(2, 3)), "have 6 pixels; got 4"),
        (bg.Box(np.zeros(3), 1.0), "must be one of points with 4 columns"),
    ],
)
def test_sets_of_other_points_than_the_rows_are_refused_in_a_sentence(feasible, sentence):
    x, y = np.eye(4)[np.arange(12) % 4], np.eye(2)[np.arange(12) % 2]
    rows = bg.Samples(*(jnp.asarray(a) for a in (x, y, np.ones(12))))
    threat, schedule = bg.ThreatModel(2, feasible=feasible), bg.Descent(3)
    with pytest.raises(InputError, match=sentence):
        bg.LabelFlip().craft(bg.LogisticRegression(4), rows, rows, schedule=schedule, threat=threat, seed=0)
