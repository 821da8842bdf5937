"""Disjoint roles for the rows of a data set, drawn from a seed and the number of the split.

With π a random permutation of 0..n−1 from the seed sequence (seed, split):
train = π[0 : a], validation = π[a : a + b], test = π[a + b : n].

Where the last c rows are the source's own test rows and are to serve as such, π permutes the n − c others, the test
rows are those c in their order, and what is left of π stays out.
"""

import operator
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int64

from backgrad.checks import check_seed
from backgrad.errors import InputError


class SplitRows(NamedTuple):
    """Row numbers of the three roles; they are disjoint, and cover every row unless the test rows were given.

    Args:
        train: what the learner is trained on, (a,).
        validation: what the attacker chooses on, (b,).
        test: what is reported on, once, (n − a − b,).
    """

    train: Int64[np.ndarray, "a"]
    validation: Int64[np.ndarray, "b"]
    test: Int64[np.ndarray, "c"]


def _whole(name: str, value: SupportsIndex, *, least: int) -> int:
    """Return `value` as an int that is at least `least`."""
    try:
        whole = operator.index(value)
    except TypeError as error:
        raise InputError(
            f"{name} must be a whole number, got {value!r}; give an integer of at least {least}."
        ) from error
    if whole < least:
        raise InputError(f"{name} must be at least {least}, got {whole}; give a larger one.")
    return whole


def _check_classes(labels, *, n: int, train: np.ndarray, seed: int, split: int) -> None:
    """Raise where the train rows cannot teach a classifier anything."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise InputError(
            f"labels must have the shape ({n},), one for each row, got {labels.shape}; "
            "give the labels of the whole data set."
        )
    present = np.unique(labels[train])
    if len(present) < 2:
        raise InputError(
            f"The {len(train)} train rows of seed {seed}, split {split} should hold at least two classes and "
            f"all are of class {present[0]!s}; ask for more train rows or take another seed."
        )


def split_rows(
    n: SupportsIndex,
    *,
    train: SupportsIndex,
    validation: SupportsIndex,
    seed: SupportsIndex,
    split: SupportsIndex,
    labels=None,
    last: SupportsIndex = 0,
) -> SplitRows:
    """Deal the rows of a data set out to train, validation and test.

    The generator starts from (seed, split), so the splits of one seed are independent of each other, and the
    same numbers give the same rows whatever was drawn before.

    Args:
        n: rows of the data set.
        train: rows to train on.
        validation: rows for the attacker's validation; all the rest is test.
        seed: of the experiment, 0 to 2³² − 1.
        split: the number of the repetition, from 0.
        labels: of all rows, (n,); where given, train rows of a single class are an error.
        last: c, how many of the last rows are the test; 0 to test on all that is left.

    Returns:
        Row numbers, in random order within each role; given test rows in their own.

    Raises:
        InputError: a size is not positive, no row would be left for the test, the seed is out of range, or the
            train rows have one class only.
    """
    n = _whole("n (the rows of the data set)", n, least=3)
    train = _whole("train (rows)", train, least=1)
    validation = _whole("validation (rows)", validation, least=1)
    check_seed(seed)
    seed, split = operator.index(seed), _whole("split", split, least=0)
    last = _whole("last (rows, as the test)", last, least=0)
    free = n - last if last else n - 1
    if train + validation > free:
        why = f"the last {last} are the test set" if last else "what is left is the test set"
        raise InputError(
            f"train and validation may take at most {free} of the {n} rows together, because {why}, "
            f"got {train} + {validation} = {train + validation}; "
            f"train={(free + 1) // 3} and validation={(free + 1) // 3} would fit."
        )
    permutation = np.random.default_rng([seed, split]).permutation(n - last).astype(np.int64)
    rows = SplitRows(*np.split(permutation, [train, train + validation]))
    if last:
        rows = rows._replace(test=np.arange(n - last, n, dtype=np.int64))
    if labels is not None:
        _check_classes(labels, n=n, train=rows.train, seed=seed, split=split)
    return rows
