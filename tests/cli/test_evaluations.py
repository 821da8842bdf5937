"""Curves, transfer matrices, and the threat models that an attack takes: what is written and printed."""

import csv
import dataclasses
import json

import numpy as np
import pytest

import backgrad as bg
from backgrad.evaluation.poisoning import evaluate_split
from tests.cli.support import TINY, run
from tests.problems import mostly_slow

SMALL = ["--train", "20", "--validation", "40", "--outer-steps", "3", "--splits", "3", "--seed", "2"]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_a_curve_is_printed_drawn_and_written(capsys, tmp_path):
    options = ["--steps", "30", "--fractions", "0,0.1,0.2", "--limit", "0.01", "--scorers", "roc_auc"]
    code, out, err = run(capsys, "curve", "blobs2", *SMALL, *options, "--out", tmp_path)
    assert code == 0, err
    assert {p.name for p in tmp_path.iterdir()} == {f"curve.{end}" for end in ("json", "csv", "png", "pdf")}
    record = read(tmp_path / "curve.json")
    assert record["budgets"] == [0, 2, 5]
    np.testing.assert_allclose(record["fractions"], [0, 2 / 22, 5 / 25])
    assert set(record["scores"]) >= {"error", "balanced error", "error of class 0", "roc_auc"}
    error = record["scores"]["error"]
    assert set(error) == {"clean", "label flips", "poisoned"}
    assert error["poisoned"]["mean"][0] == error["clean"]["mean"][0]
    assert len(error["poisoned"]["splits"][1]) == 3
    assert record["breaking_point"]["points"] == 0
    assert "passes 1.0% at 0 points" in " ".join(out.split())
    with (tmp_path / "curve.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["score"] == "error" and row["curve"] == "poisoned"]
    assert [float(row["value"]) for row in rows[:3]] == error["poisoned"]["splits"][0]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "curve: 100 % after" in err
    assert record["points_against"] == "logistic"
    assert "points against" not in out
    assert set(record["breaking_point"]["health"]) <= {"2", "5"}


def test_a_curve_of_another_victim_says_whom_points_were_crafted_against(capsys, tmp_path):
    options = ["--steps", "30", "--fractions", "0.2", "--victim", "KNeighborsClassifier", "--outer-step-size", "1e-9"]
    code, out, err = run(capsys, "curve", "blobs2", *SMALL, *options, "--limit", "0.9", "--out", tmp_path)
    assert code == 0, err
    said = " ".join(out.split())
    assert "test error of KNeighborsClassifier with points against logistic, mean of 3 splits" in said
    assert "not what KNeighborsClassifier withstands. backgrad audit attacks it itself." in said
    record = read(tmp_path / "curve.json")
    assert (record["victim"], record["points_against"]) == ("KNeighborsClassifier", "logistic")
    assert record["breaking_point"]["health"] == {"5": ["failed"] * 3}


def test_a_curve_of_a_regression_says_in_which_unit_its_errors_are(capsys, tmp_path):
    options = ["--steps", "30", "--fractions", "0,0.1", "--limit", "0.9", "--scorers", "r2", "--splits", "1"]
    code, out, err = run(capsys, "curve", "diabetes", *SMALL, *options, "--out", tmp_path)
    assert code == 0, err
    record = read(tmp_path / "curve.json")
    assert record["response_range"] == [25.0, 346.0]
    errors, r2 = (np.array(record["scores"][name]["poisoned"]["mean"]) for name in ("error", "r2"))
    np.testing.assert_allclose((1 - r2) / errors, (1 - r2[0]) / errors[0])
    for text in ("scaled to [0, 1], from 25 to 346: times 103041 they are", "up to 2 points, the most that were tried"):
        assert text in " ".join(out.split())


def test_a_transfer_matrix_is_printed_drawn_and_written(capsys, tmp_path):
    options = ["--points", "4", "--surrogates", "logistic,adaline", "--victims", "adaline,KNeighborsClassifier"]
    code, out, err = run(capsys, "transfer", "blobs2", *SMALL, *options, "--out", tmp_path)
    assert code == 0, err
    record = read(tmp_path / "transfer.json")
    assert "learner" not in record
    assert {name: one["steps"] for name, one in record["schedules"].items()} == {"logistic": 1500, "adaline": 2000}
    assert (record["surrogates"], record["victims"]) == (["logistic", "adaline"], ["adaline", "KNeighborsClassifier"])
    assert np.shape(record["errors"]) == (2, 2, 3)
    assert {p.name for p in tmp_path.iterdir()} == {f"transfer.{end}" for end in ("json", "csv", "png", "pdf")}
    for text in ("from", "logistic", "adaline", "KNeighborsClassifier", "±"):
        assert text in out


def attack(capsys, folder, dataset, *options):
    code, out, err = run(capsys, "attack", dataset, *TINY, *options, "--out", folder)
    assert code == 0, err
    with np.load(folder / "points.npz", allow_pickle=False) as stored:
        return read(folder / "attack.json"), dict(stored), out


def test_further_victims_are_trained_on_the_same_points(capsys, tmp_path):
    record, arrays, out = attack(capsys, tmp_path, "blobs2", "--victims", "adaline,KNeighborsClassifier")
    from sklearn.neighbors import KNeighborsClassifier

    data, rows = bg.load("blobs2"), {name: arrays[f"{name}_rows"][0] for name in ("train", "test")}
    x = np.concatenate([data.x[rows["train"]], arrays["points"][0]])
    y = np.concatenate([data.y[rows["train"]], arrays["labels"][0]])
    error = np.mean(KNeighborsClassifier().fit(x, y).predict(data.x[rows["test"]]) != data.y[rows["test"]])
    assert record["mean"]["victims"]["KNeighborsClassifier"] == error
    assert set(record["mean"]["victims"]) == {"adaline", "KNeighborsClassifier"}
    assert "Other victims of the same points" in out


def test_fractions_make_a_curve_of_attacks(capsys, tmp_path):
    small = ["--train", "20", "--validation", "40", "--steps", "30", "--outer-steps", "3", "--splits", "1"]
    code, out, err = run(capsys, "attack", "blobs2", *small, "--fractions", "0,0.05,0.2", "--out", tmp_path)
    assert code == 0, err
    record = read(tmp_path / "attack.json")
    assert record["curve"]["points"] == [0, 1, 5]
    assert record["curve"]["mean"]["poisoned_error"][-1] == record["mean"]["poisoned_error"]
    assert record["threat_model"]["budget"] == 5
    assert "At 4.8% (1 point): clean" in out


def test_an_attacker_who_guesses_the_schedule_says_so(capsys, tmp_path):
    record, _, _ = attack(capsys, tmp_path, "blobs2", "--knowledge", "unknown-schedule")
    assert "4 surrogates" in record["threat_model"]["knowledge"]
    assert "without knowing the schedule, regularisation and initialisation" in record["threat_model"]["knowledge"]


def test_an_attacker_with_other_rows_leaves_them_out_of_the_test(capsys, tmp_path):
    record, arrays, _ = attack(capsys, tmp_path, "blobs2", "--knowledge", "surrogate-data")
    assert "other rows of the same source" in record["threat_model"]["knowledge"]
    assert arrays["test_rows"].shape == (1, 600 - 20 - 40 - 20)


@pytest.mark.parametrize(("value", "written"), [(float("nan"), None), (float("inf"), "inf")])
def test_a_poisoned_victim_that_diverges_loses_no_results(value, written, capsys, tmp_path, monkeypatch):
    def diverged(*arguments, **settings):
        made = evaluate_split(*arguments, **settings)
        return dataclasses.replace(made, errors={**made.errors, "poisoned_error": value}, diverged=True)

    monkeypatch.setattr("backgrad.cli.run.evaluate_split", diverged)
    record, arrays, out = attack(capsys, tmp_path, "diabetes")
    assert record["splits"][0]["poisoned_error"] == record["mean"]["poisoned_error"] == written
    assert record["splits"][0]["health"]["training"] == "done"
    assert "diverged on 1 of 1 split" in out
    assert arrays["points"].shape[1] == 4


@pytest.mark.parametrize("verb", mostly_slow(["attack", "curve", "transfer", "defend"], "attack"))
def test_folders_may_have_any_name(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {
        "attack": TINY,
        "curve": [*SMALL, "--fractions", "0,0.1"],
        "transfer": [*SMALL, "--surrogates", "adaline", "--victims", "adaline", "--points", "2"],
        "defend": [*SMALL, "--defences", "sphere", "--fractions", "0.1"],
    }
    code, out, err = run(capsys, verb, "blobs2", *more[verb], "--out", "o[/x]")
    assert code == 0, err
    assert "o[/x]" in out


def test_chosen_labels_and_columns_of_many_kinds(capsys, tmp_path):
    spec = "auto+fixed:0-9"
    record, arrays, _ = attack(capsys, tmp_path, "spambase57", "--feasible", spec, "--labels", "chosen")
    assert record["threat_model"]["feasible_set"]["set"] == "immutable"
    np.testing.assert_array_equal(arrays["points"][0][:, :10], arrays["start"][0][:, :10])
    assert set(arrays["labels"].ravel()) <= {0, 1}
    assert record["splits"][0]["health"]["feasible"]


def test_boxes_between_quantiles_take_starts_from_outside(capsys, tmp_path):
    record, arrays, _ = attack(capsys, tmp_path, "spambase57", "--feasible", "box:0.05..0.95")
    upper = np.quantile(bg.load("spambase57").x, 0.95, axis=0)
    assert (arrays["points"][0] <= upper + 1e-12).all()
    assert (arrays["start"][0] <= upper + 1e-12).all()
    assert record["splits"][0]["health"]["feasible"]


def test_a_regression_is_attacked_in_its_responses_too(capsys, tmp_path):
    record, arrays, out = attack(capsys, tmp_path, "diabetes", "--outer-steps", "8")
    assert "mean squared error" in out
    responses = bg.load("diabetes").y
    assert record["response_range"] == [responses.min(), responses.max()]
    assert "Errors are of responses scaled to [0, 1], from 25 to 346: times 103041" in " ".join(out.split())
    assert arrays["labels"].shape == (1, 4, 1)
    assert ((arrays["labels"] >= 0) & (arrays["labels"] <= 1)).all()
    assert "responses are optimised" in record["threat_model"]["capability"]
    assert record["mean"]["poisoned_error"] > record["mean"]["clean_error"]
    assert "per_class_error" not in record["mean"]


def test_a_table_of_one_s_own_is_attacked_by_the_names_of_its_classes(capsys, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal(k):.3f},{rng.normal(-k):.3f},{'ab'[k]}" for k in (0, 1) for _ in range(60)]
    table = tmp_path / "mine[old].csv"
    table.write_text("one,two,kind\n" + "\n".join(rows) + "\n", encoding="utf-8")
    record, _, out = attack(capsys, tmp_path / "out", str(table), "--target", "kind", "--goal", "a:b")
    assert record["dataset"] == "mine[old]"
    assert "mine[old]: test error of" in out
    assert set(record["mean"]["per_class_error"]) == {"a", "b"}
    assert "with the attacker's label" in " ".join(out.split())
