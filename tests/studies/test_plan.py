"""Runs are known by all that their outcome depends on, and by nothing else."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backgrad
from backgrad.errors import InputError
from backgrad.studies import plan
from backgrad.studies.plan import Frozen, Outcome, Run, Study, canonical, code_version, plain, varying
from tests.studies.cheap import WALK

ROOT = Path(__file__).parents[2]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = {"size": 3, "rate": 0.5, "words": ["a", {"b": None}], "flag": True}


def run(**changes):
    return Run(**{"task": WALK, "settings": SETTINGS, "split": 1, "seed": 2, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "tests.studies.cheap:check"},
        {"split": 2},
        {"seed": 3},
        *({"settings": {**SETTINGS, key: value}} for key, value in [("size", 4), ("rate", 0.5000000000000001)]),
        *({"settings": {**SETTINGS, key: value}} for key, value in [("flag", False), ("size", 3.0), ("flag", 1)]),
        {"settings": {**SETTINGS, "words": ["a", {"b": 0}]}},
        {"settings": {**SETTINGS, "another": None}},
    ],
)
def test_whatever_the_outcome_depends_on_changes_the_identity(changes):
    assert run(**changes).identity != run().identity
    assert len(run().identity) == 64


def test_another_version_of_the_code_is_another_run(monkeypatch):
    before = run().identity
    monkeypatch.setattr(plan, "task_version", lambda task: "0.0.0+0")
    assert run().identity != before


def test_the_order_of_settings_and_the_kind_of_list_do_not_matter():
    other = {key: tuple(value) if isinstance(value, list) else value for key, value in reversed(SETTINGS.items())}
    assert run(settings=other).identity == run().identity
    assert run(settings=other) == run()
    assert hash(run(settings=other)) == hash(run())


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_other_processes_find_the_same_identity(hash_seed):
    code = "from tests.studies.test_plan import run; print(run().identity)"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert done.stdout.split() == [run().identity]


def test_the_code_version_hashes_every_source(tmp_path, monkeypatch):
    assert code_version().startswith(f"{backgrad.__version__}+")
    package = tmp_path / "pretended"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "room" / "part.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plan, "PACKAGE", "pretended")
    versions = {code_version.__wrapped__()}
    for name, content in [("room/part.py", "a = 2\n"), ("room/more.py", ""), ("more.py", "")]:
        (package / name).write_text(content)
        versions.add(code_version.__wrapped__())
    assert len(versions) == 4
    (package / "notes.txt").write_text("not code")
    assert code_version.__wrapped__() in versions


def test_a_task_of_ones_own_counts_as_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "backgrad_test_own_task.py"
    module.write_text("x = 1\n")
    first = plan.task_version.__wrapped__("backgrad_test_own_task:run")
    module.write_text("x = 2\n")
    assert plan.task_version.__wrapped__("backgrad_test_own_task:run") != first
    assert first.startswith(code_version())
    assert plan.task_version.__wrapped__("backgrad.studies.tasks:attack") == code_version()
    with pytest.raises(InputError, match="no_such_module"):
        plan.task_version.__wrapped__("no_such_module:run")


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_settings_come_back_as_they_were(values):
    frozen = Frozen(values)
    assert plain(frozen) == values
    assert json.loads(canonical(frozen)) == values
    assert pickle.loads(pickle.dumps(frozen)) == frozen  # as it travels to a worker


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float64("inf"), object(), {1, 2}, b"bytes", np.ones(2)]
)
def test_settings_that_json_does_not_have_are_refused(value):
    with pytest.raises(InputError, match="'deep' must be a JSON value"):
        run(settings={"outer": [{"deep": [value]}]})


def test_frozen_settings_cannot_be_changed():
    with pytest.raises(TypeError):
        run().settings["size"] = 4  # pyright: ignore[reportIndexIssue]
    with pytest.raises(dataclasses.FrozenInstanceError):
        run().seed = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("changes", [{"split": -1}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(InputError, match="must be a whole number, 0 or more; got -1"):
        run(**changes)


def test_a_study_has_runs_and_each_once():
    with pytest.raises(InputError, match="has no runs"):
        Study("empty", ())
    with pytest.raises(InputError, match="has a run twice"):
        Study("twice", (run(), run()))


def test_the_digest_sees_every_bit_but_not_the_time():
    values, array = {"a": 0.1}, np.arange(4.0)
    base = Outcome(values, {"x": array}, {"total": 1.0})
    assert Outcome(values, {"x": array.copy()}, {"total": 2.0}).digest == base.digest
    flipped = array.copy()
    flipped[2] = np.nextafter(2.0, 3.0)
    others = [
        Outcome({"a": 0.1 + 2**-56}, {"x": array}),
        Outcome(values, {"x": flipped}),
        Outcome(values, {"y": array}),
        Outcome(values, {"x": array.astype(np.float32)}),
        Outcome(values, {"x": array.reshape(2, 2)}),
        Outcome(values),
    ]
    assert len({one.digest for one in [base, *others]}) == 7


def test_an_outcome_of_python_objects_is_refused():
    with pytest.raises(InputError, match="Python objects"):
        Outcome({}, {"x": np.array([{}, []], dtype=object)})


def test_what_varies_is_told_from_what_does_not():
    settings = [Frozen({"a": 1, "b": {"c": c, "d": 0}, "e": [1]}) for c in ("x", "y")]
    assert varying(settings) == [{"b.c": "x"}, {"b.c": "y"}]
    assert varying([Frozen({"a": 1}), Frozen({"a": 1, "b": 2})]) == [{"b": None}, {"b": 2}]
