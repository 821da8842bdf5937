"""From outcomes to the record: what is known, what is not, and what nobody may see."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier

from backgrad.auditing.context import describe_estimator, describe_input
from backgrad.auditing.plan import make_audit
from backgrad.auditing.problem import from_arrays
from backgrad.auditing.profiles import PROFILES
from backgrad.auditing.record import _baseline, _certificates, _class_damage, _poison
from backgrad.auditing.tables import file_settings, read_file
from backgrad.auditing.tasks import HELD
from backgrad.identity import identify
from backgrad.studies.plan import Outcome
from backgrad.studies.results import TaskResults

N, K = 60, 3
RNG = np.random.default_rng(0)


def plan(problem, limit=None, at=None):
    return make_audit(problem, {}, "logistic", profile=PROFILES["quick"], splits=3, seed=0, limit=limit, at=at)


def outcome(clean, poisoned, width=2, points=3):
    """Return what an attack of a split found, from two confusion matrices."""
    arrays = {f"confusion.own.{kind}": np.array(found) for kind, found in (("clean", clean), ("poisoned", poisoned))}
    arrays["confusion.own.flips"] = arrays["confusion.own.clean"]
    arrays["confusion.certified"] = arrays["confusion.own.poisoned"]
    arrays |= {name: np.zeros(width) for name in ("clean_mean", "poison_mean", "shift")}
    arrays |= {name: RNG.uniform(size=(points, width)) for name in ("start", "points")}
    return Outcome({"health": {"verdict": "worked"}}, {**arrays, "labels": np.arange(points) % K})


class Found(TaskResults):
    """Outcomes that are the same at every budget."""

    others = 0

    def __init__(self, *found):
        self._found = list(found)

    def find(self, task, **_):
        if task == "certify":
            found = {"budgets": np.array([0, 5]), "certified_error": np.array([0.1, 0.4])}
            return [Outcome({"others": self.others}, found)]
        return self._found if task == "attack" else []


@pytest.fixture(scope="module")
def made():
    problem = from_arrays(RNG.normal(size=(N, 2)), np.arange(N) % K, feature_names=("a", "b"))
    return plan(problem)


# The second split has no test row of class 1, and no split has one of class 2.
SPLITS = (
    outcome([[4, 0, 0], [1, 3, 0], [0, 0, 0]], [[2, 2, 0], [2, 1, 1], [0, 0, 0]]),
    outcome([[5, 0, 1], [0, 0, 0], [0, 0, 0]], [[3, 3, 0], [0, 0, 0], [0, 0, 0]]),
)


def test_a_class_without_test_rows_has_no_error_and_counts_in_no_mean(made):
    base, damage = _baseline(made, Found(*SPLITS)), _class_damage(made, Found(*SPLITS))
    assert base["class_errors"] == {"0": pytest.approx(1 / 12), "1": 0.25, "2": None}
    assert [one["poisoned"] for one in damage["classes"]] == [0.5, 0.75, None]
    assert damage["confusion_poisoned"] == [[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [None] * 3]
    assert base["error"]["splits"] == [pytest.approx(1 / 8), pytest.approx(1 / 6)]


def test_certificates_stand_beside_damage_with_and_without_the_defence(made):
    found = _certificates(made, Found(*SPLITS))
    assert {one["model"] for one in found["measured"]} == {"defended", "audited"}
    assert found["measured"][0]["splits"] == [pytest.approx(5 / 8), pytest.approx(1 / 2)]
    assert found["measured"][0]["error"] == pytest.approx(9 / 16)
    assert found["note"].endswith("not for the pipeline that was audited.")


def test_members_that_are_no_copies_of_the_audited_estimator_are_counted(made):
    results = Found(*SPLITS)
    for results.others, words in ((1, "1 is logistic"), (2, "2 are logistic")):
        note = _certificates(made, results)["note"]
        assert f"Of the {made.partitions} members of all splits, {words} regression" in note


@pytest.mark.parametrize(
    ("estimator", "kind", "words"),
    [
        (LogisticRegression(), "exact", "trained as it is"),
        (SGDClassifier(), "copy", "a differentiable copy"),
        (KNeighborsClassifier(), "none", "searched for by fitting it"),
    ],
)
def test_a_stand_in_is_called_what_it_is(made, estimator, kind, words):
    key = identify("", estimator)
    HELD[key] = estimator
    found = describe_estimator(dataclasses.replace(made, estimator=f"held:{key}"))
    assert found["surrogate"] == kind
    assert words in found["sentence"]


@pytest.mark.parametrize("sampling", [None, "Of 9,000 rows 60 are used."])
def test_rows_that_are_drawn_twice_are_said_to_be(made, sampling):
    problem = dataclasses.replace(made.problem, sampling=sampling)
    assert describe_input(dataclasses.replace(made, problem=problem))["sampling"] == sampling
    fewer = dataclasses.replace(made, problem=problem, sizes=dataclasses.replace(made.sizes, train=10))
    drawn = "On every split, 40 of 60 rows are drawn at random (seed 0)."
    assert describe_input(fewer)["sampling"] == " ".join(filter(None, (sampling, drawn)))


def test_images_of_a_table_of_one_s_own_are_rows_and_stay_out_unless_asked_for(tmp_path):
    np.savez(tmp_path / "mine.npz", x=RNG.uniform(size=(N, 4, 5)), y=np.arange(N) % K)
    audit = plan(read_file(file_settings(tmp_path / "mine.npz", target="y")))
    one = outcome(np.eye(K, dtype=int), np.eye(K, dtype=int), width=20)
    hidden, shown = (_poison(audit, Found(one, one), show_rows=asked) for asked in (False, True))
    assert hidden["images"] is hidden["rows"] is None
    assert shown["images"]["shape"] == [4, 5]
    assert shown["images"]["after"] == one.arrays["points"].tolist()
    assert len(shown["rows"]) == 3
