"""The command itself: help, version, interruption and failure."""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import backgrad as bg
from backgrad.cli import main
from backgrad.cli.choices import AdjointName, KnowledgeName, Labels, LearnerName, Objective, Start, Strategy, Task
from backgrad.cli.output import OutputFolder
from backgrad.errors import ReversalError
from tests.cli.support import TINY, run


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["attack", "--help"],
        ["curve", "-h"],
        ["transfer", "-h"],
        ["datasets", "--help"],
        ["--version"],
    ],
)
def test_help_and_version_import_neither_jax_nor_scikit_learn(arguments):
    code = f"""
import sys
from backgrad.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"jax", "numpy", "sklearn", "scipy", "pandas", "optax", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("Usage: " in done.stdout) == (arguments != ["--version"])


def test_an_attack_begins_before_scikit_learn_and_the_solvers_are_imported(tmp_path):
    code = f"""
import sys
from backgrad.attacks.back_gradient import JointAttack
from backgrad.cli import main

def search(*_, **__):
    print(sorted(heavy & set(sys.modules)))
    raise KeyboardInterrupt

heavy = {{"sklearn", "scipy", "pandas", "pyarrow", "joblib", "matplotlib", "optimistix", "lineax"}}
JointAttack.search = search
main(["attack", "blobs2", *{TINY!r}, "--out", {str(tmp_path)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_package_s(capsys):
    assert run(capsys, "--version") == (0, f"backgrad {bg.__version__}\n", "")


def test_the_help_of_attack_names_every_choice(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "attack", "--help")
    assert code == 0
    for choice in (LearnerName, Strategy, Objective, AdjointName, Start, KnowledgeName, Labels, Task):
        for word in choice:
            assert word in out
    for word in ("box:A..B", "binary", "integer", "image", "onehot", "auto", "fixed:COLUMNS", "l2:R"):
        assert word in out


def test_datasets_lists_every_name_with_licence_and_citation(capsys):
    code, out, err = run(capsys, "datasets")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    names = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert names == [entry.name for entry in bg.list_datasets()]
    for entry in bg.list_datasets():
        assert f"{entry.n_samples} rows" in out
        answers = "a regression" if entry.task == "regression" else f"{entry.n_classes} classes"
        assert f"{entry.n_features} features, {answers}" in out
        assert entry.citation in out
        assert entry.licence in out


def test_characters_that_standard_output_lacks_are_replaced(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    with pytest.raises(SystemExit) as caught:
        main(["datasets"])
    sys.stdout.flush()
    assert not caught.value.code
    assert b"2278?2324" in written.getvalue()


def test_folders_that_others_create_and_remove_meanwhile_are_opened_again(tmp_path, monkeypatch):
    folder, make = tmp_path / "a" / "out", tempfile.mkdtemp
    gone = []

    def make_in_what_is_gone(*arguments, **settings):
        if len(gone) < 3:
            gone.append(folder.rmdir())
        return make(*arguments, **settings)

    monkeypatch.setattr(tempfile, "mkdtemp", make_in_what_is_gone)
    monkeypatch.setattr(Path, "exists", lambda self: self != folder and os.path.exists(self))  # others were faster
    with OutputFolder(folder) as output:
        output.prepare_json("a.json", 1)
        output.commit()
    assert [file.name for file in folder.iterdir()] == ["a.json"]
    with OutputFolder(tmp_path / "b" / "out"):
        assert (tmp_path / "b" / "out").is_dir()
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def failing(error):
    """Return a stand-in for a split's evaluation that raises."""

    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("where", ["evaluate_split", "describe_run"])
def test_an_interruption_says_so_and_leaves_nothing_behind(where, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(f"backgrad.cli.run.{where}", failing(KeyboardInterrupt()))
    if where == "describe_run":
        monkeypatch.setattr("backgrad.cli.run._attack_all", lambda *_: [])
    code, out, err = run(capsys, "attack", "blobs2", *TINY, "--out", tmp_path / "deep" / "out")
    assert code == 130
    assert err.startswith(
        "backgrad: interrupted; no results were written. Run the same command again: it begins anew, where "
    )
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_an_earlier_result_alone(capsys, tmp_path, monkeypatch):
    (tmp_path / "attack.json").write_text("earlier")
    monkeypatch.setattr("backgrad.cli.run.evaluate_split", failing(KeyboardInterrupt()))
    assert run(capsys, "attack", "blobs2", *TINY, "--out", tmp_path)[0] == 130
    assert [p.name for p in tmp_path.iterdir()] == ["attack.json"]
    assert (tmp_path / "attack.json").read_text() == "earlier"


@pytest.mark.parametrize("error", [ZeroDivisionError("a secret of ours"), ReversalError("came back elsewhere")])
def test_a_failure_of_ours_is_told_apart_and_logged(error, capsys, tmp_path, monkeypatch):
    logs, work = tmp_path / "logs", tmp_path / "work"
    logs.mkdir()
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(logs))
    monkeypatch.setattr("backgrad.cli.run.evaluate_split", failing(error))
    code, out, err = run(capsys, "attack", "blobs2", *TINY, "--out", work / "out")
    assert code == 4
    assert err.count("\n") == 1
    assert out == ""
    named = re.search(r"^backgrad: internal failure \((\w+)\)\. The details are in (\S+\.log);", err)
    assert named is not None
    assert named[1] == type(error).__name__
    assert list(logs.iterdir()) == [Path(named[2])]
    log = Path(named[2]).read_text()
    assert "Traceback" in log
    assert str(error) in log
    assert list(work.iterdir()) == []


def test_files_appear_together_or_not_at_all(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("backgrad.cli.run._attack_all", lambda *_: [])
    monkeypatch.setattr("backgrad.cli.run.describe_run", lambda *_: {"fine": 1})
    monkeypatch.setattr("backgrad.cli.run.arrays", failing(MemoryError()))
    code, _, _ = run(capsys, "attack", "blobs2", *TINY, "--out", tmp_path / "out")
    assert code == 4
    assert not (tmp_path / "out").exists()


def test_numbers_that_json_does_not_have_are_never_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("backgrad.cli.run._attack_all", lambda *_: [])
    monkeypatch.setattr("backgrad.cli.run.describe_run", lambda *_: {"error": float("nan")})
    code, _, _ = run(capsys, "attack", "blobs2", *TINY, "--out", tmp_path / "out")
    assert code == 4
    assert not (tmp_path / "out").exists()
