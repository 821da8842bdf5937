"""What columns of numbers mean, and where points may lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import backgrad as bg
from backgrad.auditing.audit import _features
from backgrad.auditing.problem import Column, feasible_set, from_arrays, from_dataset
from backgrad.auditing.profiles import PROFILES, deal, make_budgets
from backgrad.auditing.reading import read_bundled
from backgrad.errors import InputError

RNG = np.random.default_rng(0)
N = 60
Y = np.array(["no", "yes"])[np.arange(N) % 2]


def columns():
    """Return columns of every kind, with a gap in the first."""
    x = np.column_stack(
        [
            RNG.normal(size=N),
            np.where(np.arange(N) % 3, 2.0, 5.0),
            np.arange(N) % 7,
            np.full(N, 4.0),
            1000 * np.arange(N),
        ]
    ).astype(float)
    x[3, 0] = np.nan
    return x


def problem():
    names = ("real", "two", "few", "same", "many")
    return from_arrays(columns(), Y, feature_names=names, target="answer")


def test_kinds_and_ranges_follow_from_the_values():
    found = problem().columns
    assert [column.kind for column in found] == ["numeric", "binary", "integer", "constant", "integer"]
    assert (found[1].low, found[1].high) == (2.0, 5.0)
    assert found[0].missing == 1
    assert problem().class_names == ("no", "yes")


def test_points_are_of_the_columns_kinds():
    feasible = problem().feasible
    points = np.asarray(feasible.sample(jax.random.key(0), 50, 5))
    assert set(np.unique(points[:, 1])) == {2.0, 5.0}
    assert set(np.unique(points[:, 2])) <= set(range(7))
    assert np.all(points[:, 3] == 4.0)
    assert np.all(points[:, 4] == np.round(points[:, 4]))
    assert np.asarray(feasible.contains(jnp.asarray(points))).all()
    off = points.copy()
    off[:, 2] += 0.5
    assert not np.asarray(feasible.contains(jnp.asarray(off))).any()


def test_groups_hold_one_category_each():
    found = feasible_set(
        (Column("a", "numeric", low=0.0, high=1.0), *[Column(f"b={i}", "binary") for i in range(3)]),
        groups=((1, 2, 3),),
    )
    points = np.asarray(found.sample(jax.random.key(0), 20, 4))
    assert np.all(points[:, 1:].sum(axis=1) == 1)


def test_gaps_are_filled_by_medians_of_the_rows_given():
    one, rows = problem(), np.arange(10, 30)
    filled = one.imputed(rows)
    assert filled[3, 0] == np.median(one.x[rows, 0])
    assert not np.isnan(filled).any()
    assert np.isnan(one.x[3, 0])


def test_bundled_images_are_images_and_others_keep_their_units():
    digits, wine = read_bundled("digits"), read_bundled("wine")
    assert digits.image_shape == (8, 8)
    assert digits.feasible.describe()["set"] == "image"
    assert digits.x.max() == 1.0
    assert wine.image_shape is None
    assert wine.x.max() > 100
    with pytest.raises(InputError, match="judges classifiers"):
        from_dataset(bg.load("diabetes"))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (columns()[:20], Y[:20], "needs 40 rows or more"),
        (columns(), np.where(np.arange(N) < 2, "rare", "rest"), "class 'rare' .* has 2"),
        (columns(), np.full(N, "one"), "two classes or more"),
        (np.where(np.isnan(columns()), np.inf, columns()), Y, "1 are infinite"),
        (columns(), Y[:-1], "one label a row of X; got 59 labels for 60 rows"),
        (columns()[:-1], Y, "one label a row of X; got 60 labels for 59 rows"),
        (columns(), np.where(np.arange(N) < 9, np.nan, np.arange(N) % 2), "9 of 60 have none"),
        (columns(), [None] * 5 + Y[5:].tolist(), "5 of 60 have none"),
        (columns(), [float("nan")] * 5 + Y[5:].tolist(), "5 of 60 have none"),
        (columns(), pd.Series([None, *(np.arange(1, N) % 2)], dtype="Int64"), "1 of 60 have none"),
        (columns(), np.array(["a", 7] * (N // 2), object), "labels must be of one kind.* got int and str"),
        (columns(), pd.Series([pd.NaT] * 4 + [pd.Timestamp(0)] * 56), "4 of 60 have none"),
    ],
)
def test_rows_that_cannot_be_audited_are_refused(x, y, words):
    with pytest.raises(InputError, match=words):
        from_arrays(x, y, feature_names=tuple("abcde"))


@pytest.mark.parametrize(
    "y", [Y[:, None], Y.tolist(), pd.Series(np.arange(N) % 2, dtype="Int64"), pd.Series(Y, dtype="category")]
)
def test_labels_may_be_of_any_kind(y):
    found = from_arrays(columns(), y, feature_names=tuple("abcde"))
    np.testing.assert_array_equal(found.y, np.arange(N) % 2)


def test_a_frame_s_own_missing_values_are_gaps():
    frame = pd.DataFrame(np.nan_to_num(columns()), columns=list("abcde")).convert_dtypes()
    frame.loc[3, "a"] = pd.NA
    x, names = _features(frame)
    assert names == tuple("abcde")
    assert np.argwhere(np.isnan(x)).tolist() == [[3, 0]]


@pytest.mark.parametrize("rows", [40, 178, 569, 4601, 1_000_000])
@pytest.mark.parametrize("name", PROFILES)
def test_rows_are_dealt_out_without_overlap(name, rows):
    sizes = deal(PROFILES[name], rows)
    assert sizes.train + sizes.validation + sizes.trusted + sizes.test <= rows
    assert min(sizes.train, sizes.validation, sizes.trusted, sizes.test) > 0
    assert sizes.train <= PROFILES[name].most_rows


def test_budgets_are_whole_and_hold_the_share_of_the_gate():
    budgets = make_budgets(PROFILES["standard"], 100, 0.03)
    assert budgets[0.03] == 3
    assert list(budgets) == sorted(budgets)
    assert len(set(budgets.values())) == len(budgets)
    # Shares that come to the same number of rows are one, and that of the gate is the one that stays.
    assert make_budgets(PROFILES["standard"], 20, 0.06) == {0.06: 1, 0.1: 2, 0.2: 5}


@pytest.mark.parametrize(("at", "words"), [(0.0, "must lie in"), (0.7, "must lie in"), (0.001, "less than one of 100")])
def test_shares_out_of_range_are_refused(at, words):
    with pytest.raises(InputError, match=words):
        make_budgets(PROFILES["quick"], 100, at)
