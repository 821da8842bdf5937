"""Sets of several kinds of columns: the steps they take, bounds that are learnt, and what they refuse."""

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
