"""Successful runs: what they write and print, at tiny sizes."""

import contextlib
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from rich.console import Console

import backgrad as bg
from backgrad.cli import main
from backgrad.cli.run import _print_health as print_health
from backgrad.evaluation.poisoning import SplitOutcome
from tests.cli.support import TINY, run

KEYS = [
    *(
        "dataset",
        "learner",
        "strategy",
        "objective",
        "adjoint",
        "start",
        "reuse",
        "seed",
        "train",
        "validation",
        "official_test",
        "l2",
    ),
    *("schedule", "attack_schedule", "attack_settings", "threat_model", "poison_fraction", "versions"),
    *("splits", "mean", "interval", "mean_sklearn_logistic"),
]
ERRORS = {"clean_error", "label_flip_error", "poisoned_error"}
P, TRAIN, VALIDATION, SPLITS = 4, 20, 40, 3


def read(folder):
    """Return attack.json and the arrays of points.npz."""
    assert {p.name for p in folder.iterdir()} == {"attack.json", "points.npz"}
    record = json.loads((folder / "attack.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    with np.load(folder / "points.npz", allow_pickle=False) as stored:
        return record, dict(stored)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run `backgrad attack blobs2` once; return its folder and what it printed."""
    folder, out, err = tmp_path_factory.mktemp("run") / "nested" / "out", io.StringIO(), io.StringIO()
    arguments = ["attack", "blobs2", *TINY, "--splits", str(SPLITS), "--seed", "5", "--out", str(folder)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0, err.getvalue()
    return folder, {"stdout": out.getvalue(), "stderr": err.getvalue()}


def test_the_record_says_all_that_was_asked_for_and_found(finished):
    record, _ = read(finished[0])
    assert list(record) == KEYS
    asked = {"dataset": "blobs2", "learner": "logistic", "strategy": "joint", "objective": "zero-one", "start": "train"}
    asked |= {"adjoint": "checkpointed", "seed": 5, "train": TRAIN, "validation": VALIDATION, "l2": 0.0}
    assert {key: record[key] for key in asked} == asked
    assert record["schedule"] == {
        "kind": "descent",
        "steps": 30,
        "step_size": 0.5,
        "momentum": 0.0,
        "batch_size": None,
        "clip": None,
        "noise": 0.0,
    }
    assert record["attack_schedule"] == record["schedule"]
    assert record["attack_settings"]["iterations"] == 3
    assert record["threat_model"]["budget"] == P
    assert record["threat_model"]["feasible_set"] == {"set": "box", "lower": 0.0, "upper": 1.0}
    assert record["poison_fraction"] == P / (TRAIN + P)
    assert record["versions"]["backgrad"] == bg.__version__
    assert {"python", "jax", "numpy", "scikit-learn"} <= set(record["versions"])


def test_the_record_holds_every_split_and_averages_them(finished):
    record, _ = read(finished[0])
    assert len(record["splits"]) == SPLITS
    for one in record["splits"]:
        assert ERRORS | {"seconds", "health", "victim_diverged", "attack_seed", "sklearn_logistic"} == set(one)
        assert set(one["sklearn_logistic"]) == ERRORS
        assert one["health"]["feasible"] is True
        assert one["health"]["verdict"] in ("worked", "suspect", "failed")
    # Three steps a search; one that stalls is followed by another.
    assert [one["health"]["evaluations"] for one in record["splits"]] == [3, 3, 6]
    assert len({one["attack_seed"] for one in record["splits"]}) == SPLITS
    for name in ERRORS:
        values = np.array([one[name] for one in record["splits"]])
        # Shares of the 540 test rows.
        np.testing.assert_allclose(values * 540, np.round(values * 540), atol=1e-9)
        assert record["mean"][name] == pytest.approx(values.mean(), rel=1e-12)
        half = 4.302652729911275 * values.std(ddof=1) / np.sqrt(SPLITS)  # t of 2 degrees
        ends = [max(values.mean() - half, 0), min(values.mean() + half, 1)]
        assert record["interval"][name] == pytest.approx(ends, rel=1e-9)
        sklearn = np.mean([one["sklearn_logistic"][name] for one in record["splits"]])
        assert record["mean_sklearn_logistic"][name] == pytest.approx(sklearn, rel=1e-12)


def test_the_points_come_with_the_rows_of_every_role(finished):
    _, arrays = read(finished[0])
    rows = {"train_rows": TRAIN, "validation_rows": VALIDATION, "test_rows": 600 - TRAIN - VALIDATION}
    shapes = {"points": (SPLITS, P, 2), "start": (SPLITS, P, 2), "labels": (SPLITS, P)}
    shapes |= {name: (SPLITS, count) for name, count in rows.items()}
    assert {name: a.shape for name, a in arrays.items()} == shapes
    assert arrays["points"].dtype == arrays["start"].dtype == np.float64
    assert all(arrays[name].dtype == np.int64 for name in ("labels", *rows))
    data = bg.load("blobs2")
    for k in range(SPLITS):
        roles = [arrays[name][k] for name in rows]
        np.testing.assert_array_equal(np.sort(np.concatenate(roles)), np.arange(600))
        expected = bg.split_rows(600, train=TRAIN, validation=VALIDATION, seed=5, split=k)
        for found, role in zip(roles, expected, strict=True):
            np.testing.assert_array_equal(found, role)
        own = data.x[arrays["train_rows"][k]]
        assert (arrays["start"][k][:, None] == own[None]).all(2).any(1).all()
    assert ((arrays["points"] >= 0) & (arrays["points"] <= 1)).all()
    assert (arrays["points"] != arrays["start"]).any()


def test_a_run_prints_a_table_to_stdout_and_its_progress_to_stderr(finished):
    folder, texts = finished
    record, _ = read(folder)
    for text in ("clean rows", f"+ {P} label flips", f"+ {P} poisoning points", "95 % interval", "Poison fraction"):
        assert text in texts["stdout"]
    assert f"{record['mean']['poisoned_error']:.1%}" in texts["stdout"]
    assert f"{P} of {TRAIN + P} training rows (16.7%)" in texts["stdout"]
    assert "attack.json" in texts["stdout"]
    assert [line.split(":")[0] for line in texts["stderr"].splitlines()] == [f"split {k} of 3" for k in (1, 2, 3)]


def go(capsys, folder, dataset, *options):
    """Run an attack that should end well; return attack.json, the arrays, and what was printed."""
    code, out, err = run(capsys, "attack", dataset, *TINY, *options, "--out", folder)
    assert code == 0, err
    return *read(folder), out


def test_three_classes_are_attacked_with_softmax_from_validation_rows(capsys, tmp_path):
    options = ["--learner", "softmax", "--objective", "learner-loss", "--start", "validation"]
    record, arrays, out = go(capsys, tmp_path, "iris", *options, "--attack-steps", "10", "--attack-step-size", "0.2")
    assert "SoftmaxRegression" in out
    assert record["threat_model"]["goal"]["outer_loss"] == "LearnerLoss"
    assert (record["attack_schedule"]["steps"], record["attack_schedule"]["step_size"]) == (10, 0.2)
    assert (record["schedule"]["steps"], record["schedule"]["step_size"]) == (30, 0.5)
    data, rows = bg.load("iris"), arrays["validation_rows"][0]
    same = (arrays["start"][0][:, None] == data.x[rows][None]).all(2)
    # Iris has a few equal flowers; each point carries a label that none of its own has.
    assert same.any(1).all()
    for point, label in zip(same, arrays["labels"][0], strict=True):
        assert label not in data.y[rows][point]
    assert record["interval"] == dict.fromkeys(ERRORS)


def test_the_authors_way_runs_greedily_through_the_paper_s_reversal(capsys, tmp_path):
    options = ["--strategy", "greedy", "--adjoint", "back-gradient", "--objective", "log-loss", "--epsilon", "0.001"]
    record, _, _ = go(capsys, tmp_path, "blobs2", *options)
    assert record["attack_settings"] == {"max_steps": 3, "step_size": 1.0, "epsilon": 0.001, "halvings": 0}
    assert record["splits"][0]["health"]["drift"] > 0
    assert record["threat_model"]["goal"]["outer_loss"] == "LogLoss"


def test_coordinate_passes_over_binary_points_run_through_exact_reversal(capsys, tmp_path):
    options = ["--strategy", "coordinate", "--adjoint", "reversible", "--learner", "adaline", "--feasible", "binary"]
    record, arrays, _ = go(capsys, tmp_path, "spambase", *options, "--outer-step-size", "2.5")
    assert record["threat_model"]["feasible_set"] == {"set": "binary"}
    assert set(np.unique(arrays["points"])) == {0.0, 1.0}
    assert record["attack_settings"]["step_size"] == 2.5
    # The step shrinks by 1 − γ, so that the momentum of 0.9 does not lengthen it.
    assert (record["schedule"]["momentum"], record["schedule"]["step_size"]) == (0.9, 0.001)
    health = record["splits"][0]["health"]
    assert health["drift"] == 0
    # The fixed-point pass rounds at 2⁻⁴⁴ = 6e-14 a step, which differences of step 10⁻⁵ see as 10⁻⁸, in gradients of
    # 10⁻⁴ and more.
    assert max(health["gradient_error_first"], health["gradient_error_last"]) < 1e-2
    assert health["verdict"] == "worked"


def test_a_victim_that_ends_at_its_optimum_is_attacked_implicitly(capsys, tmp_path):
    # With this L2 strength an error shrinks by 5 % a step at least, 10⁻⁹ of it remains.
    record, _, _ = go(capsys, tmp_path, "blobs2", "--adjoint", "implicit", "--l2", "0.1", "--steps", "400")
    assert record["schedule"]["kind"] == "descent"
    health = record["splits"][0]["health"]
    assert max(health["gradient_error_first"], health["gradient_error_last"]) < 1e-4
    assert health["verdict"] == "worked"


@pytest.mark.slow  # compiling Newton's method costs more than any other run
def test_a_converged_victim_is_attacked_implicitly(capsys, tmp_path):
    options = ["--points", 4, "--train", 20, "--validation", 40, "--outer-steps", 3, "--splits", 1]
    code, _, err = run(capsys, "attack", "blobs2", *options, "--adjoint", "implicit", "--out", tmp_path)
    assert code == 0, err
    record, _ = read(tmp_path)
    assert record["schedule"]["kind"] == "converged"
    assert record["l2"] == 0.01
    assert record["splits"][0]["health"]["verdict"] == "worked"


def test_an_attack_that_failed_is_not_shown_as_a_robust_model(capsys, tmp_path):
    record, _, out = go(capsys, tmp_path, "blobs2", "--outer-steps", "1")
    assert record["splits"][0]["health"]["verdict"] == "failed"
    assert "That is no evidence of a robust model" in " ".join(out.split())
    assert "worked" not in out


def test_no_points_are_reported_as_such(capsys, tmp_path):
    record, arrays, out = go(capsys, tmp_path, "blobs2", "--points", "0")
    assert arrays["points"].shape == (1, 0, 2)
    assert record["splits"][0]["poisoned_error"] == record["splits"][0]["clean_error"]
    # Nothing was optimised, so nothing rose and no gradient was checked.
    assert "objective rose" not in out


def test_a_second_run_replaces_results_and_keeps_other_files(capsys, tmp_path):
    (tmp_path / "attack.json").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    code, _, _ = run(capsys, "attack", "blobs2", *TINY, "--outer-steps", "1", "--out", tmp_path)
    assert code == 0
    assert json.loads((tmp_path / "attack.json").read_text())["dataset"] == "blobs2"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"attack.json", "notes.txt", "points.npz"}


def test_two_processes_write_the_same_bytes(tmp_path):
    command = "import sys; from backgrad.cli import main; main(sys.argv[1:])"
    # Without 64-bit mode in the environment: the command turns it on by itself.
    clean = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"}
    small = [*TINY, "--steps", "10", "--outer-steps", "2"]
    for name in ("one", "two"):
        subprocess.run(
            [sys.executable, "-c", command, "attack", "blobs2", *small, "--out", name],
            cwd=tmp_path,
            env=clean,
            check=True,
            capture_output=True,
        )
    assert (tmp_path / "one/points.npz").read_bytes() == (tmp_path / "two/points.npz").read_bytes()
    records = [json.loads((tmp_path / name / "attack.json").read_text()) for name in ("one", "two")]
    for record in records:
        del record["splits"][0]["seconds"]
    assert records[0] == records[1]
    assert records[0]["splits"][0]["health"]["gradient_error_first"] is not None


def test_an_error_specific_goal_reports_how_often_it_was_reached(capsys, tmp_path):
    record, arrays, out = go(
        capsys, tmp_path, "iris", "--learner", "softmax", "--goal", "virginica:versicolor", "--hold-others"
    )
    assert record["threat_model"]["goal"]["mapping"] == {"2": 1}
    assert record["threat_model"]["goal"]["violation"] == "integrity"
    assert set(record["mean"]["per_class_error"]) == {"setosa", "versicolor", "virginica"}
    assert 0 <= record["mean"]["attacker_goal_rate"] <= 1
    assert set(arrays["labels"].ravel()) == {1, 2}
    assert "with the attacker's label" in " ".join(out.split())


@pytest.mark.parametrize(
    ("errors", "rates", "said"),
    [
        ((0.2, 0.2, 0.3), (), "The damage is real, but a sharper attack may do more"),
        ((0.2, 0.1, 0.2), (), "suspect, and did no damage. That is no evidence of a robust model"),
        ((0.3, 0.4, 0.2), (), "suspect, and did no damage. That is no evidence of a robust model"),
        ((0.2, 0.3, 0.3), (), "suspect, and did no more than label flips. That is no evidence of a robust model"),
        # An attack on some classes is after its label.
        ((0.3, 0.3, 0.2), (0.1, 0.3, 0.4), "The damage is real, but a sharper attack may do more"),
    ],
)
def test_a_suspect_attack_did_damage_only_where_it_did_more_than_label_flips(errors, rates, said):
    names = ("clean_error", "label_flip_error", "poisoned_error")
    health = SimpleNamespace(verdict="suspect", sentence="It stopped early.", gradient_error_last=0.0)
    outcome = Mock(spec=SplitOutcome, attack=SimpleNamespace(health=health), diverged=False)
    outcome.errors = dict(zip(names, errors, strict=True))
    outcome.goal_rates = dict(zip(names, rates, strict=False))
    out = io.StringIO()
    print_health(Console(width=200, file=out), [outcome])
    told = out.getvalue()
    assert said in told
    assert told.count("Attack health: 1 of 1 split suspect") == 1
    assert ("damage is real" in told) == ("damage is real" in said)
