"""Every feasible set, alone and composed: what it projects, draws and steps to is in it, exactly."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import backgrad as bg
from backgrad.adjoints.check import check_gradient
from backgrad.errors import InputError

P, D = 3, 6
START = np.array([[0.0, 1.0, 0.0, 1.0, 0.0, 0.25], [1.0, 0.0, 0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.0, 0.75]])


def ratio(points):
    """Let the last column be the mean of the two before it."""
    return points.at[:, 5].set((points[:, 3] + points[:, 4]) / 2)


MIXED = bg.Columns(
    [
        ((0, 1, 2), bg.OneHot((3,))),
        ((5,), bg.Box()),
        ((3, 4), bg.Columns([((1,), bg.Binary()), ((0,), bg.Integer(0, 3))])),
    ]
)
SETS = {
    "box": bg.Box(jnp.full(D, -1.0), jnp.asarray([1.0, 2.0, 1.0, 1.0, 9.0, -1.0])),
    "integer": bg.Integer(-2, 5),
    "binary": bg.Binary(),
    "one-hot": bg.OneHot((3, 1, 2)),
    "image": bg.Image(shape=(2, 3)),
    "columns": MIXED,
    "immutable": bg.Immutable(MIXED, (0, 1, 2, 5)).around(jnp.asarray(START)),
    "l2 ball": bg.Ball(bg.Box(), 0.3).around(jnp.asarray(START)),
    "linf ball": bg.Ball(bg.Box(), 0.1, "linf").around(jnp.asarray(START)),
    "linked": bg.Linked(bg.Box(), ratio),
}
every_set = pytest.mark.parametrize("feasible", SETS.values(), ids=SETS.keys())
anywhere = arrays(np.float64, (P, D), elements=st.floats(-10, 10, allow_subnormal=False))


@every_set
@settings(max_examples=200, deadline=None)
@given(points=anywhere, slope=anywhere, length=st.floats(0.01, 4), temperature=st.floats(0.03, 2))
def test_whatever_a_set_gives_it_contains(feasible, points, slope, length, temperature):
    inside = feasible.project(jnp.asarray(points))
    assert feasible.contains(inside).all()
    np.testing.assert_allclose(feasible.project(inside), inside, rtol=1e-12, atol=1e-12)
    assert feasible.contains(feasible.ascend(inside, jnp.asarray(slope), length)).all()
    latent = feasible.settle(feasible.latent(inside) + 0.1 * jnp.asarray(slope))
    soft = feasible.relax(latent, jnp.asarray(temperature))
    assert np.isfinite(soft).all()
    assert feasible.contains(feasible.project(soft)).all()
    assert 0 <= float(feasible.share_at_bounds(inside)) <= 1


@every_set
def test_draws_lie_in_the_set_and_differ(feasible):
    one, other = (feasible.sample(jax.random.key(seed), P, D) for seed in (0, 1))
    assert feasible.contains(one).all()
    assert (np.asarray(one) != np.asarray(other)).any()


@every_set
def test_sets_describe_themselves_in_plain_json(feasible):
    assert json.loads(json.dumps(feasible.describe(), allow_nan=False))["set"]


@every_set
def test_free_variables_stand_for_the_points_they_were_made_of(feasible):
    inside = feasible.project(jnp.asarray(START))
    soft = feasible.relax(feasible.latent(inside), jnp.asarray(0.05))
    np.testing.assert_allclose(feasible.project(soft), inside, atol=1e-12)


@pytest.mark.parametrize("name", ["integer", "one-hot", "columns", "linked"])
def test_relaxations_are_differentiable(name):
    feasible = SETS[name]
    latent = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.4, (P, D)))

    def value(z):
        return jnp.sum(jnp.sin(feasible.relax(z, jnp.asarray(0.7)) * jnp.arange(1.0, D + 1)))

    check_gradient(value, latent, key=jax.random.key(0), gradient=jax.grad(value)(latent), tolerance=1e-6)


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
        (lambda: bg.Box.from_data(START, quantiles=(0.9, 0.1)), "quantiles must satisfy"),
    ],
)
def test_sets_that_make_no_sense_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
