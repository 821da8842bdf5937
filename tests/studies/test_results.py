"""Means and records are functions of the plan and the store."""

import json

import pytest

from backgrad.evaluation.metrics import student_interval
from backgrad.studies.plan import Outcome, Run, Study
from backgrad.studies.results import combinations, describe_study
from backgrad.studies.store import Store
from backgrad.studies.workers import Finished
from tests.studies.cheap import WALK

ERRORS = {"a": [0.1, 0.2, 0.4], "b": [0.5, 0.6, 0.9]}


@pytest.fixture
def study():
    runs = [Run(WALK, {"size": 1, "deep": {"name": name}}, split, 7) for split in range(3) for name in ERRORS]
    return Study("two", tuple(runs), {"name": "two"})


@pytest.fixture
def store(study, tmp_path):
    store = Store(tmp_path).open()
    for run in study.runs:
        error = ERRORS[run.settings["deep"]["name"]][run.split]
        store.write(run, Outcome({"errors": {"clean_error": error, "other": None}}, timing={"total": 1.0 + run.split}))
    return store


def test_runs_of_the_same_settings_are_a_combination(study, store):
    found = combinations(study, store)
    assert [dict(one.varying) for one in found] == [{"deep.name": "a"}, {"deep.name": "b"}]
    for one, values in zip(found, ERRORS.values(), strict=True):
        assert [run.split for run in one.runs] == [0, 1, 2]
        estimate = one.estimate("errors", "clean_error")
        assert estimate.mean == pytest.approx(sum(values) / 3)
        low, high = student_interval(values)
        assert low < 0 or high > 1
        assert estimate.interval == pytest.approx((max(low, 0), min(high, 1)))
        assert estimate.half_width == pytest.approx((high - low) / 2)
        assert one.estimate("errors", "no_such_error") is None


def test_below_three_splits_there_is_no_interval(study, store):
    store.file(study.runs[0]).unlink()
    estimate = combinations(study, store)[0].estimate("errors", "clean_error")
    assert estimate.mean == pytest.approx(0.3)
    assert (estimate.interval, estimate.half_width) == (None, None)


def test_the_record_is_json_without_times(study, store):
    failure = Finished(study.runs[0], None, "it failed.")
    before = json.dumps(describe_study(study, combinations(study, store)), allow_nan=False)
    for run in study.runs:  # the same again, only slower
        outcome = store.read(run)
        store.write(run, Outcome(outcome.values, outcome.arrays, {"total": 99.0}))
    assert json.dumps(describe_study(study, combinations(study, store)), allow_nan=False) == before
    record = json.loads(before)
    assert record["name"] == "two"
    assert [one["varying"] for one in record["combinations"]] == [{"deep.name": "a"}, {"deep.name": "b"}]
    one = record["combinations"][1]
    assert one["mean"] == {"clean_error": pytest.approx(2.0 / 3), "other": None}
    assert [run["values"]["errors"]["clean_error"] for run in one["runs"]] == ERRORS["b"]
    assert {run["identity"] for run in one["runs"]} == {run.identity for run in study.runs[1::2]}
    store.file(study.runs[0]).unlink()
    store.file(study.runs[3]).unlink()
    record = describe_study(study, combinations(study, store), [failure])
    assert record["combinations"][0]["runs"][0]["error"] == "it failed."
    assert record["combinations"][1]["runs"][1]["error"] == "not done yet"
