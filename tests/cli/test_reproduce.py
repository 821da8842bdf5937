"""`backgrad reproduce`: what it writes, and how it ends."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from backgrad.cli.reproduce import _done_before, _markdown
from backgrad.paper import Claim, Scale, make_study
from backgrad.studies.store import Store
from tests.cli.support import run

COMMAND = [sys.executable, "-c", "import sys; from backgrad.cli import main; main(sys.argv[1:])"]


def test_names_and_folders_are_checked_before_anything_runs(tmp_path, capsys):
    code, _, err = run(capsys, "reproduce", "figure9", "--out", tmp_path / "out")
    assert code == 2
    assert "figures must be of figure1, figure2" in err
    assert "got figure9" in err
    assert not (tmp_path / "out").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    code, _, err = run(capsys, "reproduce", "figure1", "--out", blocked)
    assert code == 2
    assert "--out" in err
    assert run(capsys, "reproduce")[0] == 2


def test_data_that_are_not_there_are_missed_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BACKGRAD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, _, err = run(capsys, "reproduce", "figure2", "--out", tmp_path / "out")
    assert code == 2
    assert "The data set 'ransomware' does not travel with backgrad" in err
    assert not (tmp_path / "out").exists()


def test_claims_are_a_table_in_markdown_whatever_their_words():
    claim = Claim("4", "8s | 3s", "50 %", "a rule", "53.1 % [50.0, 56.2]", None, None)
    heading, rule, row = _markdown([claim]).splitlines()
    assert heading.count("|") == rule.count("|") == 6
    assert row == "| 4 | 8s \\| 3s (paper: 50 %) | 53.1 % [50.0, 56.2] | – | cannot tell |"


def test_claims_are_of_every_figure_that_was_done_in_the_folder(tmp_path):
    store, scale = Store(tmp_path), Scale(quick=True)
    other, study = (make_study([name], scale) for name in ("figure1", "figure4"))
    runs = study.runs
    for one in runs:
        store.file(one).parent.mkdir(parents=True, exist_ok=True)
        store.file(one).touch()
    found = _done_before(other, ["figure1"], scale, store)
    assert {one.identity for one in found} == {one.identity for one in runs}
    assert _done_before(study, ["figure4"], scale, store) == []
    store.file(runs[0]).unlink()
    assert _done_before(other, ["figure1"], scale, store) == []


@pytest.mark.slow
def test_a_figure_is_written_with_its_numbers_and_not_computed_twice(tmp_path, capsys):
    arguments = ("reproduce", "figure1", "--quick", "--workers", "1", "--out", tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    assert "figure1.png" in out
    for suffix in ("png", "pdf", "csv", "json"):
        assert (tmp_path / f"figure1.{suffix}").stat().st_size > 100
    content = json.loads((tmp_path / "figure1.json").read_text())
    with (tmp_path / "figure1.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["goal"] for row in table] == [row["goal"] for row in content["rows"]]
    assert [row["goal"] for row in table] == ["error-generic", "lower left:top"]
    assert json.loads((tmp_path / "claims.json").read_text()) == []
    assert (tmp_path / "claims.md").read_text().startswith("| fig. | claim and what the paper reports |")
    times = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    assert run(capsys, *arguments)[0] == 0
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()} == times


def contents(folder):
    """Return all numbers of all runs, without their times."""
    found = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as archive:
            found[file.name] = {name: archive[name].tobytes() for name in archive.files if name != "timing"}
    return found


@pytest.mark.slow
def test_a_reproduction_that_is_killed_ten_times_ends_as_an_undisturbed_one(tmp_path):
    arguments = [*COMMAND, "reproduce", "figure2", "--quick", "--workers", "2", "--out"]
    rng, once, often = random.Random(0), tmp_path / "once", tmp_path / "often"
    begin = time.monotonic()
    subprocess.run([*arguments, str(once)], check=True, capture_output=True)
    seconds = time.monotonic() - begin
    done = {}
    for _ in range(10):
        process = subprocess.Popen([*arguments, str(often)], start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.05, 0.3) * seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = {file.name: file.stat().st_mtime_ns for file in (often / "runs").glob("*.npz")}
        assert done.items() <= now.items()  # nothing that was finished is lost, or done again
        done = now
    subprocess.run([*arguments, str(often)], check=True, capture_output=True)
    now = {file.name: file.stat().st_mtime_ns for file in (often / "runs").glob("*.npz")}
    assert done.items() <= now.items()
    assert contents(once / "runs") == contents(often / "runs")
    for name in ("figure2.csv", "figure2.json", "claims.json"):
        assert (once / name).read_bytes() == (often / name).read_bytes()
