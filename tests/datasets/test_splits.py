"""Splits: disjoint, complete, repeatable, and refused in a sentence where they cannot be made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backgrad.datasets import SplitRows, split_rows
from backgrad.errors import InputError


@st.composite
def _sizes(draw):
    n = draw(st.integers(3, 400))
    train = draw(st.integers(1, n - 2))
    return n, train, draw(st.integers(1, n - train - 1))


@given(sizes=_sizes(), seed=st.integers(0, 2**32 - 1), split=st.integers(0, 1000))
def test_the_roles_are_disjoint_and_cover_every_row(sizes, seed, split):
    n, train, validation = sizes
    rows = split_rows(n, train=train, validation=validation, seed=seed, split=split)
    assert [len(role) for role in rows] == [train, validation, n - train - validation]
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    again = split_rows(n, train=train, validation=validation, seed=seed, split=split)
    assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))


def test_the_rows_are_those_of_the_documented_generator():
    rows = split_rows(50, train=10, validation=15, seed=3, split=4)
    permutation = np.random.default_rng([3, 4]).permutation(50)
    assert isinstance(rows, SplitRows)
    assert all(role.dtype == np.int64 for role in rows)
    assert np.array_equal(rows.train, permutation[:10])
    assert np.array_equal(rows.validation, permutation[10:25])
    assert np.array_equal(rows.test, permutation[25:])


def test_given_test_rows_are_the_last_and_what_is_left_stays_out():
    rows = split_rows(50, train=10, validation=15, seed=3, split=4, last=20)
    permutation = np.random.default_rng([3, 4]).permutation(30)
    assert np.array_equal(rows.train, permutation[:10])
    assert np.array_equal(rows.validation, permutation[10:25])
    assert np.array_equal(rows.test, np.arange(30, 50))
    assert split_rows(50, train=10, validation=20, seed=0, split=0, last=20).validation.size == 20
    with pytest.raises(InputError, match=r"at most 30 of the 50 rows together, because the last 20 are the test set"):
        split_rows(50, train=11, validation=20, seed=0, split=0, last=20)


def test_the_global_generator_is_neither_read_nor_moved():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # pyright: ignore
    split_rows(50, train=10, validation=10, seed=0, split=0)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002  # pyright: ignore


def test_seeds_and_splits_differ():
    trains = {
        tuple(split_rows(200, train=50, validation=50, seed=seed, split=split).train)
        for seed in range(5)
        for split in range(5)
    }
    assert len(trains) == 25


def test_a_larger_train_set_keeps_the_rows_of_a_smaller_one():
    small = split_rows(100, train=20, validation=10, seed=1, split=0)
    large = split_rows(100, train=30, validation=10, seed=1, split=0)
    assert np.array_equal(large.train[:20], small.train)


def test_numpy_integers_are_whole_numbers():
    rows = split_rows(np.int64(10), train=np.int32(3), validation=3, seed=np.uint8(0), split=0)
    assert len(rows.test) == 4


@pytest.mark.parametrize("train", [(50, 50), (60, 50), (99, 1), (1, 500)])
def test_nothing_left_for_the_test_set(train):
    train, validation = train
    with pytest.raises(InputError) as caught:
        split_rows(100, train=train, validation=validation, seed=0, split=0)
    assert str(caught.value) == (
        "train and validation may take at most 99 of the 100 rows together, because what is left is the "
        f"test set, got {train} + {validation} = {train + validation}; train=33 and validation=33 would fit."
    )
    split_rows(100, train=33, validation=33, seed=0, split=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n": 2}, "^n .the rows of the data set. must be at least 3, got 2; give a larger one"),
        ({"n": 0}, "^n .*got 0"),
        ({"train": 0}, r"^train \(rows\) must be at least 1, got 0"),
        ({"validation": -5}, r"^validation \(rows\) must be at least 1, got -5"),
        ({"seed": -1}, r"^seed must be a whole number from 0 to 2\*\*32 - 1; got -1"),
        ({"split": -1}, "^split must be at least 0, got -1"),
    ],
)
def test_a_number_that_is_too_small(changes, sentence):
    settings = {"n": 100, "train": 10, "validation": 10, "seed": 0, "split": 0} | changes
    with pytest.raises(InputError, match=sentence):
        split_rows(settings.pop("n"), **settings)


def test_a_fraction_is_not_a_number_of_rows():
    # With runtime type checks on, they speak first; their error is a TypeError.
    with pytest.raises((InputError, TypeError), match="train"):
        split_rows(100, train=0.5, validation=10, seed=0, split=0)  # pyright: ignore


def test_train_rows_of_one_class():
    labels = np.zeros(100, int)
    rows = split_rows(100, train=10, validation=10, seed=0, split=2)
    labels[rows.test] = 1
    with pytest.raises(InputError) as caught:
        split_rows(100, train=10, validation=10, seed=0, split=2, labels=labels)
    assert str(caught.value) == (
        "The 10 train rows of seed 0, split 2 should hold at least two classes and all are of class 0; "
        "ask for more train rows or take another seed."
    )
    labels[rows.train[0]] = 1
    checked = split_rows(100, train=10, validation=10, seed=0, split=2, labels=labels)
    assert np.array_equal(checked.train, rows.train)


def test_labels_may_be_names():
    labels = ["ham", "spam"] * 50
    split_rows(100, train=20, validation=10, seed=0, split=0, labels=labels)


@pytest.mark.parametrize("labels", [np.zeros(99), np.zeros((100, 2))])
def test_labels_of_another_data_set(labels):
    with pytest.raises(InputError, match=r"labels must have the shape \(100,\), one for each row, got \(\d+,"):
        split_rows(100, train=10, validation=10, seed=0, split=0, labels=labels)
