"""The task behind figures 5 and 6, on small digits."""

import numpy as np
import pytest

from backgrad.paper.network import network

SETTINGS = {"dataset": "digits", "digits": ("1", "5", "6"), "train": 60, "validation": 60, "victims": 2, "points": 3}
SETTINGS |= {"victims_narrow": 1}
PAPER = {"method": "paper", "step_size": 0.05, "steps": 20, "batch_size": 30, "outer_step_size": 0.5, "outer_steps": 1}
PAPER |= {"halvings": 1}
BEST = {"method": "best", "outer_step_size": 0.5, "outer_steps": 2, "rehearsal": 1}


def do(**changed):
    shares = []
    outcome = network({**SETTINGS, "learner": None, "narrow": 4, **changed}, 0, 0, shares.append)
    assert shares[-1] == 1.0
    return outcome


@pytest.fixture(scope="module")
def controls():
    return do(method="clean"), do(method="flips")


def rows(outcome):
    return {int(counts.sum()) for name in ("cnn", "softmax") for counts in outcome.arrays[f"confusion.{name}"]}


@pytest.mark.slow
def test_controls_have_no_points_or_unoptimised_ones(controls):
    clean, flips = controls
    assert "points" not in clean.arrays
    assert flips.arrays["points"].shape == (3, 64)
    for outcome in controls:
        assert outcome.arrays["confusion.cnn"].shape == (2, 3, 3)
        assert outcome.arrays["confusion.softmax"].shape == (1, 3, 3)
        assert len(rows(outcome)) == 1
    # Two initialisations are two networks.
    first, second = clean.arrays["confusion.cnn"]
    assert (first != second).any()
    assert (clean.arrays["confusion.softmax"] != flips.arrays["confusion.softmax"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["cnn", "softmax"])
@pytest.mark.parametrize("method", [PAPER, BEST], ids=["paper", "best"])
def test_points_start_as_the_flips_and_end_elsewhere_in_the_box(controls, method, learner):
    narrow = 4 if learner == "cnn" else 1
    outcome = do(**method, learner=learner, narrow=narrow)
    np.testing.assert_allclose(outcome.arrays["start"], controls[1].arrays["points"], atol=1e-7)
    np.testing.assert_array_equal(outcome.arrays["labels"], controls[1].arrays["labels"])
    points = outcome.arrays["points"]
    assert (points >= 0).all()
    assert (points <= 1).all()
    assert (points != outcome.arrays["start"]).any()
    assert outcome.values["health"]["verdict"] in ("worked", "suspect", "failed")
    assert rows(outcome) == rows(controls[0])
