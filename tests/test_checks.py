"""NumPy's numbers are taken where Python's are, and held to the same limits."""

import numpy as np
import pytest

import backgrad as bg
from backgrad.checks import check_count
from backgrad.errors import InputError


def test_numpy_whole_numbers_are_kept_as_plain_ones():
    learner = bg.MLP(np.int64(4), n_classes=np.int32(3), hidden=(np.int64(5),))
    schedule = bg.Descent(steps=np.int64(7), batch_size=np.uint8(2))
    kept = [learner.n_features, learner.n_classes, *learner.hidden, schedule.steps, schedule.batch_size]
    assert kept == [4, 3, 5, 7, 2]
    assert {type(value) for value in kept} == {int}
    assert learner == bg.MLP(4, n_classes=3, hidden=(5,))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bg.LogisticRegression(np.int64(0)), "n_features must be a positive whole number; got 0"),
        (lambda: bg.LogisticRegression(np.float64(3.0)), "n_features must be a positive whole number; got 3.0"),
        (lambda: check_count(n_features=np.bool_(True)), "n_features must be a positive whole number"),
        (lambda: bg.LogisticRegression(3, l2=np.float32(-1)), "l2 must be a finite number, 0 or more; got -1.0"),
        (lambda: bg.Descent(steps=3, step_size=np.float32("nan")), "step_size must be a positive finite number"),
        (lambda: bg.Descent(steps=3, momentum=np.float32(1)), r"momentum must lie in \[0, 1\); got 1.0"),
        (lambda: check_count(least=0, budget=np.int64(-1)), "budget must be a whole number, 0 or more"),
    ],
)
def test_numpy_numbers_out_of_their_range_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
