"""Breaking points, gates and sentences, from curves whose answers are known."""

import numpy as np
import pytest

from backgrad.auditing.profiles import PROFILES, make_budgets
from backgrad.auditing.verdict import Curve, breaking_point, check_gate, gate, regate, sentences
from backgrad.errors import InputError
from backgrad.evaluation.metrics import student_interval

N = 100
POINTS = np.array([0, 5, 25, 100])


def curve(*errors):
    """Return a curve of three splits around the means given."""
    means = np.array(errors)
    return Curve(POINTS / (N + POINTS), POINTS, means[:, None] + np.array([-0.01, 0.0, 0.01]))


RISING = curve(0.1, 0.2, 0.4, 0.6)


def test_breaking_point_lies_on_the_line_between_two_budgets():
    found = breaking_point(RISING, 0.3)
    low, high = 5 / 105, 25 / 125
    assert found["fraction"] == pytest.approx((low + high) / 2)
    share = found["fraction"]
    assert found["points"] == np.ceil(share * N / (1 - share))
    assert found["interval"][0] < share < found["interval"][1]
    assert not found["censored"]
    # Student's interval of three splits with a standard deviation of 1 %.
    half = 4.3026527 * 0.01 / np.sqrt(3)
    assert found["interval"][0] == pytest.approx(low + (0.1 - half) / 0.2 * (high - low))


def test_a_limit_that_is_not_reached_is_a_result():
    found = breaking_point(RISING, 0.7)
    assert found["censored"]
    assert found["fraction"] is None
    assert found["interval"] is None
    assert "A sharper attack may break it" in found["sentence"]
    only_upper = breaking_point(RISING, 0.61)
    assert only_upper["fraction"] is None
    assert only_upper["interval"][1] is None


def test_a_limit_that_is_broken_from_the_start_says_so():
    assert breaking_point(RISING, 0.05)["fraction"] == 0
    assert "without a single poisoned row" in breaking_point(RISING, 0.05)["sentence"]


def test_errors_that_fall_again_break_the_limit_where_they_first_pass_it():
    assert breaking_point(curve(0.1, 0.35, 0.2, 0.6), 0.3)["fraction"] < 5 / 105


def test_the_point_that_is_named_is_enough_and_one_fewer_is_not():
    for limit in np.linspace(0.11, 0.59, 25):
        found = breaking_point(RISING, float(limit))
        share, p = found["fraction"], found["points"]
        assert p / (N + p) >= share - 1e-12
        assert (p - 1) / (N + p - 1) < share


@pytest.mark.parametrize(
    ("limit", "health", "verdict", "code"),
    [
        (0.3, ["worked"] * 3, "broken", 1),
        (0.3, ["failed"] * 3, "broken", 1),  # what a failed attack did achieve, it did
        (0.5, ["worked"] * 3, "passed", 0),
        (0.5, ["worked", "suspect", "worked"], "inconclusive", 3),
        (0.41, ["worked"] * 3, "inconclusive", 3),
    ],
)
def test_gate(limit, health, verdict, code):
    found = gate(RISING, limit, 0.2, health)
    assert (found["verdict"], found["exit_code"]) == (verdict, code)
    assert found["error"]["mean"] == pytest.approx(0.4)


def test_a_gate_is_judged_at_the_budget_that_was_asked_for():
    for at in (0.0693, *np.linspace(0.03, 0.5, 472).tolist()):
        budgets = make_budgets(PROFILES["standard"], 20, at)
        points = np.array([0, *sorted(budgets.values())])
        each = Curve(points / (20 + points), points, np.repeat(points[:, None] / 20, 3, axis=1))
        assert gate(each, 0.9, at, ["worked"])["error"]["mean"] == pytest.approx(budgets[at] / 20)


def test_no_gate_passes_at_a_share_below_which_the_limit_breaks():
    falling = curve(0.1, 0.35, 0.2, 0.6)
    assert gate(falling, 0.3, 0.2, ["worked"] * 3)["verdict"] == "broken"
    assert gate(falling, 0.36, 0.2, ["worked"] * 3)["verdict"] == "inconclusive"
    found = gate(falling, 0.4, 0.2, ["worked"] * 3)
    assert found["verdict"] == "passed"
    assert found["error"]["mean"] == pytest.approx(0.35)
    for limit in np.linspace(0.05, 0.7, 27):
        for at in falling.fractions[1:]:
            passed = gate(falling, limit, at, ["worked"])["verdict"] == "passed"
            share = breaking_point(falling, limit)["fraction"]
            assert not passed or share is None or share > at


def test_two_splits_prove_nothing():
    two = Curve(RISING.fractions, RISING.points, RISING.errors[:, :2])
    assert gate(two, 0.3, 0.2, ["worked"] * 2)["exit_code"] == 3
    assert breaking_point(two, 0.3)["interval"] is None


def test_errors_have_intervals_within_0_and_1_and_the_gate_decides_as_before():
    wide = Curve(RISING.fractions, POINTS, np.array([[0.0, 0.02, 0.05], [0.0, 0.1, 0.4], [0.6, 1.0, 1.0], [0.9, 1, 1]]))
    low, high = wide.ends()
    assert low[:2].tolist() == [0, 0]
    assert high[2:].tolist() == [1, 1]
    for limit in (0.0, 0.3, 0.5, 0.86, 0.999):
        for at, row in zip(wide.fractions[1:], wide.errors[1:], strict=True):
            found, ends = gate(wide, limit, at, ["worked"]), student_interval(row)
            assert found["exit_code"] == (1 if ends[0] > limit else 0 if ends[1] <= limit else 3)
            assert 0 <= found["error"]["interval"][0] <= found["error"]["interval"][1] <= 1
    assert "interval 0.0 % to" in sentences(wide, wide, None, ["worked"])[0]


def test_no_gate_is_no_verdict():
    assert gate(None, None, None, [])["verdict"] == "not asked"
    assert gate(None, None, None, [])["exit_code"] == 0


@pytest.mark.parametrize(("limit", "at"), [(0.2, None), (None, 0.05), (1.0, 0.05), (-0.1, 0.05), (float("nan"), 0.1)])
def test_half_a_gate_is_refused(limit, at):
    with pytest.raises(InputError):
        check_gate(limit, at)


def test_a_failed_attack_is_never_told_as_robustness():
    flat = curve(0.1, 0.1, 0.1, 0.1)
    first, second = sentences(flat, flat, None, ["failed"] * 3)
    assert "no evidence of robustness" in first
    assert "did not work" in second
    first, second = sentences(flat, flat, None, ["worked"] * 3)
    assert "no evidence of robustness" in first
    assert "a sharper attack may do more" in second


def test_sentences_name_rows_shares_and_the_control():
    first, second = sentences(RISING, curve(0.1, 0.12, 0.15, 0.2), breaking_point(RISING, 0.3), ["worked"] * 9)
    assert first.startswith("5 poisoned rows (4.8 % of the training rows) raise the test error from 10.0 % to 20.0 %")
    assert first.endswith("as many random label flips, to 12.0 %.")
    assert second.startswith("The mean error passes 30.0 % at 12.4 % of poisoned rows, about 15 rows")
    assert sentences(RISING, RISING, None, ["worked"])[1] == "It doubles at about 4.8 % of poisoned rows (5)."


def test_another_gate_is_answered_from_the_record():
    series = {"mean": RISING.mean().tolist(), "splits": RISING.errors.tolist()}
    record = {
        "curves": [{"fractions": RISING.fractions.tolist(), "points": POINTS.tolist(), "poisoned": series}],
        "health": {"splits": [{"points": 25, "verdict": "worked"}, {"points": 100, "verdict": "failed"}]},
    }
    assert regate(record, 0.5, 0.2)["gate"]["exit_code"] == 0
    assert regate(record, 0.5, 0.199)["gate"]["exit_code"] == 0  # the share that 25 whole rows come nearest to
    assert regate(record, 0.7, 0.5)["gate"]["exit_code"] == 3
    with pytest.raises(InputError, match="must be a share that was audited"):
        regate(record, 0.5, 0.3)
    with pytest.raises(InputError, match="must be a share that was audited"):
        regate(record, 0.99, 0.001)  # which comes to no row
    with pytest.raises(InputError, match="must lie in"):
        regate(record, 0.99, float("nan"))
    record["health"]["splits"] = []
    assert regate(record, 0.99, 0.2)["gate"]["exit_code"] == 3  # nothing says that an attack worked


@pytest.mark.parametrize("damage", [{"points": [0, 0, 0, 0]}, {"poisoned": {"splits": [[None] * 3] * 4}}])
def test_a_record_without_a_curve_answers_no_gate(damage):
    whole = {"fractions": RISING.fractions.tolist(), "points": POINTS.tolist()}
    series = {**whole, "poisoned": {"splits": RISING.errors.tolist()}, **damage}
    with pytest.raises(InputError, match="must hold the errors of all splits at growing numbers of rows"):
        regate({"curves": [series], "health": {"splits": []}}, 0.5, 0.2)


def test_an_error_of_0_does_not_double():
    faultless = Curve(RISING.fractions, POINTS, RISING.errors - RISING.errors[0])
    first, second = sentences(faultless, faultless, None, ["worked"])
    assert "from 0.0 % to 10.0 %" in first
    assert second == "Without poisoned rows it made no error; with 50 % of them, 50.0 %."
