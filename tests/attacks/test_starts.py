"""Where points start: rows with wrong labels, as many of each class as possible."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backgrad as bg
from backgrad.attacks.preparation import start_points
from backgrad.attacks.starts import flipped_rows
from backgrad.errors import InputError
from tests.attacks.problems import LEARNER, SCHEDULE, train_rows

many = settings(deadline=None, max_examples=200, derandomize=True)


@st.composite
def problems(draw):
    """Return the number of classes, labels of some rows, and a number of points that they can supply."""
    k = draw(st.integers(2, 5))
    labels = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=25))
    return k, np.array(labels), draw(st.integers(0, len(labels)))


def flip(k, labels, points, seed=0):
    """Draw points from rows whose only feature is their number; return the rows' numbers and the points' labels."""
    x = np.arange(len(labels), dtype=float)[:, None]
    found, wrong = flipped_rows(
        x, labels, weight=np.ones(len(x)), n_classes=k, points=points, rng=np.random.default_rng(seed)
    )
    return found[:, 0].astype(int), wrong


@many
@given(problem=problems(), seed=st.integers(0, 10**6))
def test_points_are_different_rows_with_labels_that_are_wrong(problem, seed):
    k, labels, points = problem
    rows, wrong = flip(k, labels, points, seed)
    assert rows.shape == wrong.shape == (points,)
    assert len(set(rows)) == points
    assert ((wrong >= 0) & (wrong < k)).all()
    assert (wrong != labels[rows]).all()


@many
@given(problem=problems(), seed=st.integers(0, 10**6))
def test_classes_differ_by_one_point_at_most_unless_their_rows_run_out(problem, seed):
    k, labels, points = problem
    rows, _ = flip(k, labels, points, seed)
    drawn, there = (np.bincount(some, minlength=k) for some in (labels[rows], labels))
    unused = drawn < there
    if unused.any():
        assert drawn[unused].min() >= drawn.max() - 1


def test_all_wrong_classes_are_used_about_equally():
    labels = np.repeat([0, 1, 2], 400)
    rows, wrong = flip(3, labels, 1200)
    table = np.array([[np.sum(wrong[labels[rows] == a] == b) for b in range(3)] for a in range(3)])
    assert (np.diag(table) == 0).all()
    # Each of the others is Binomial(400, ½), with a standard deviation of 10: five of them.
    assert (np.abs(table[~np.eye(3, dtype=bool)] - 200) < 50).all()


def test_the_generator_decides_and_nothing_else_does():
    labels = np.arange(30) % 3
    one, again, other = (flip(3, labels, 7, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one[0] != other[0]).any()


def test_points_are_copies_and_labels_stay_as_they_are():
    x, labels = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    found, _ = flipped_rows(x, labels, weight=np.ones(4), n_classes=2, points=4, rng=np.random.default_rng(0))
    found += 1
    assert (x == 0).all()
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])


@pytest.mark.parametrize("kind", ["labels", "responses"])
def test_rows_of_weight_zero_are_no_starts_and_do_not_say_what_labels_are(kind):
    rng = np.random.default_rng(0)
    x, weight = rng.uniform(size=(12, 3)), np.repeat([1.0, 0.0], [8, 4])
    y = np.eye(2)[np.arange(12) % 2] if kind == "labels" else rng.uniform(size=(12, 1))
    y[8:] = 0 if kind == "labels" else 99  # as padding leaves them, or anything
    rows = bg.Samples(*(jnp.asarray(a) for a in (x, y, weight)))
    present = bg.Samples(*(a[:8] for a in rows))
    threat = bg.ThreatModel(6)
    for one, other in zip(start_points(rows, threat, 1), start_points(present, threat, 1), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="9 poisoning points cannot start from 8 rows"):
        start_points(rows, bg.ThreatModel(9), 1)


def test_an_attack_on_padded_rows_is_that_on_the_rows():
    rows = train_rows("box")
    padded = bg.Samples(*(jnp.concatenate([a, jnp.zeros_like(a[:5])]) for a in rows))
    one, other = (
        bg.LabelFlip().craft(LEARNER, some, rows, schedule=SCHEDULE, threat=bg.ThreatModel(4), seed=0)
        for some in (rows, padded)
    )
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert other.labels.shape == (4,)


def test_more_points_than_rows_are_refused_in_a_sentence():
    with pytest.raises(InputError, match="6 poisoning points cannot start from 5 rows: ask for at most 5 points"):
        flip(2, np.array([0, 1, 0, 1, 1]), 6)
