"""The threat model as a whole."""

import dataclasses
import json

import pytest

import backgrad as bg
from backgrad.errors import InputError


def test_a_threat_model_describes_all_of_itself_in_plain_json():
    threat = bg.ThreatModel(7, goal=bg.ErrorGeneric(bg.LogLoss()), feasible=bg.Binary())
    described = json.loads(json.dumps(threat.describe(), allow_nan=False))
    assert described["budget"] == 7
    assert described["feasible_set"] == {"set": "binary"}
    assert described["goal"]["outer_loss"] == "LogLoss"
    assert described["knowledge"].startswith("perfect")
    assert "labels are chosen once" in described["capability"]


def test_a_threat_model_cannot_be_changed_after_the_fact():
    with pytest.raises(dataclasses.FrozenInstanceError):
        bg.ThreatModel(3).budget = 4  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("budget", [-1, True])
def test_a_budget_that_is_no_count_is_refused_in_a_sentence(budget):
    with pytest.raises(InputError, match=f"budget must be a whole number, 0 or more; got {budget}"):
        bg.ThreatModel(budget)
