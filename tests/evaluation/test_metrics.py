"""Intervals and error rates."""

import numpy as np
import pytest
from scipy import stats

from backgrad.evaluation.metrics import error_interval, error_rate, student_interval


def test_the_interval_is_the_textbook_s():
    # Mean 4, standard deviation 2, n = 4: 4 ± 3.18245 · 2/√4, with t from a table of 97.5 % points at 3 degrees.
    found = student_interval([2.0, 4.0 - np.sqrt(2), 4.0 + np.sqrt(2), 6.0])
    assert found == pytest.approx((0.81755, 7.18245), abs=1e-5)  # the table's digits


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_the_interval_is_scipy_s(confidence):
    values = np.random.default_rng(0).normal(3, 0.1, 10)
    expected = stats.t.interval(confidence, 9, loc=values.mean(), scale=stats.sem(values))
    assert student_interval(values, confidence=confidence) == pytest.approx(expected, rel=1e-12, abs=0)


def test_an_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(0.3, 0.05, (2000, 5))
    covered = np.mean([low <= 0.3 <= high for low, high in map(student_interval, draws)])
    # Binomial(2000, 0.95) has a standard deviation of 0.5 %: four of them.
    assert abs(covered - 0.95) < 0.02


@pytest.mark.parametrize("values", [[], [0.2], [0.2, 0.3]])
def test_there_is_no_honest_interval_below_three_splits(values):
    assert student_interval(values) is None


def test_equal_values_have_an_interval_of_no_width():
    assert student_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)


def test_the_error_rate_is_the_share_of_wrong_predictions():
    assert error_rate(np.array([0, 1, 1, 2]), [0, 1, 2, 2]) == 0.25
    assert error_rate([1, 1], [1, 1]) == 0


def test_intervals_of_errors_are_cut_to_where_errors_lie():
    values = [0.0, 0.2, 0.9]
    low, high = student_interval(values)
    assert low < 0
    assert high > 1
    assert error_interval(values) == (0, 1)
    assert error_interval(values, shares=False) == (0, high)
    assert error_interval([0.1, 0.1]) is None
    assert np.isnan(error_interval([np.nan, 0.1, 0.1])).all()
