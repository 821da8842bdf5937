"""`backgrad study`: what it writes and prints, and how it ends."""

import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from backgrad.errors import DivergenceError
from backgrad.studies.config import read_study
from backgrad.studies.store import Store
from tests.cli.support import run

TEXT = """
name: tiny
datasets: blobs2
learners: logistic
strategies: [joint, greedy]
points: 4
train: 20
validation: 40
splits: {splits}
steps: 30
outer_steps: 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT.format(splits=3))
    return path


def record(folder):
    return json.loads((folder / "study.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the study once, in this process; return its file and folder, and what it printed."""
    import contextlib
    import io

    from backgrad.cli import main

    folder, out, err = tmp_path_factory.mktemp("study"), io.StringIO(), io.StringIO()
    (folder / "tiny.yaml").write_text(TEXT.format(splits=3))
    arguments = ["study", str(folder / "tiny.yaml"), "--out", str(folder / "out"), "--workers", "1"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


def test_it_writes_a_record_and_one_file_a_run(finished):
    folder, out, err = finished
    assert {file.name for file in (folder / "out").iterdir()} == {"study.json", "runs"}
    found = record(folder / "out")
    identities = [run["identity"] for one in found["combinations"] for run in one["runs"]]
    assert {file.name for file in (folder / "out" / "runs").iterdir()} == {f"{name}.npz" for name in identities}
    assert len(identities) == 6
    assert [one["varying"] for one in found["combinations"]] == [
        {"options.strategy": "joint"},
        {"options.strategy": "greedy"},
    ]
    for one in found["combinations"]:
        for name in ("clean_error", "label_flip_error", "poisoned_error"):
            values = [run["values"]["errors"][name] for run in one["runs"]]
            assert one["mean"][name] == pytest.approx(sum(values) / 3)
            assert one["interval"][name][0] <= one["mean"][name] <= one["interval"][name][1]
    assert found["study"]["strategies"] == ["joint", "greedy"]
    assert "tiny: test error, mean of 3 splits" in out
    for row in ("joint", "greedy"):
        assert re.search(rf"{row}\s+[\d.]+% ± [\d.]+% .*\d of 3", out)
    assert err.splitlines()[0] == "0 of 6 runs done"
    assert re.fullmatch(r"6 of 6 runs done, about 0 s left", err.splitlines()[-1])


def test_a_second_time_nothing_is_redone_and_the_record_is_the_same(finished, capsys):
    folder = finished[0]
    before = (folder / "out" / "study.json").read_bytes()
    times = {file.name: file.stat().st_mtime_ns for file in (folder / "out" / "runs").iterdir()}
    code, out, _ = run(capsys, "study", folder / "tiny.yaml", "--out", folder / "out", "--workers", "1")
    assert code == 0
    assert "Runs: 0 done now, 6 by earlier or other processes." in out
    assert (folder / "out" / "study.json").read_bytes() == before
    assert {file.name: file.stat().st_mtime_ns for file in (folder / "out" / "runs").iterdir()} == times


def test_an_interruption_names_the_command_that_continues(capsys, file, tmp_path, monkeypatch):
    import backgrad.evaluation.poisoning as evaluation

    evaluate, calls = evaluation.evaluate_split, []

    def interrupted(*arguments, **settings):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments, **settings)

    out = tmp_path / "a folder"
    monkeypatch.setattr(evaluation, "evaluate_split", interrupted)
    code, printed, err = run(capsys, "study", file, "--out", out, "--workers", "1")
    assert (code, printed) == (130, "")
    last = err.splitlines()[-1]
    assert last == (
        f"backgrad: interrupted; 2 of 6 runs are done and kept. Continue with: "
        f"backgrad study {file} --out '{out}' --workers 1"
    )
    assert "nothing was written" not in err
    assert {path.suffix for path in (out / "runs").iterdir()} == {".npz"}
    assert not (out / "study.json").exists()
    code, printed, _ = run(capsys, "study", file, "--out", out, "--workers", "1")
    assert code == 0
    assert "Runs: 4 done now, 2 by earlier" in printed


@pytest.mark.parametrize("error", [DivergenceError("it blew up: lower the step."), ZeroDivisionError("a bug")])
def test_failed_runs_are_told_and_the_others_kept(error, capsys, file, tmp_path, monkeypatch):
    import backgrad.evaluation.poisoning as evaluation

    evaluate, calls = evaluation.evaluate_split, []
    logs, out = tmp_path / "logs", tmp_path / "out"
    logs.mkdir()

    def failing(*arguments, **settings):
        calls.append(0)
        if len(calls) % 2:
            raise error
        return evaluate(*arguments, **settings)

    monkeypatch.setattr(tempfile, "tempdir", str(logs))
    monkeypatch.setattr(evaluation, "evaluate_split", failing)
    code, printed, err = run(capsys, "study", file, "--out", out, "--workers", "1")
    ours = isinstance(error, DivergenceError)
    assert code == (2 if ours else 4)
    assert "greedy" in printed
    said = str(error).removesuffix(".")
    assert f"3 runs failed: (1) {'' if ours else 'ZeroDivisionError: '}{said}. All others are kept" in err
    assert f"to try again: backgrad study {file}" in err
    first = record(out)["combinations"][0]
    assert all(str(error) in run["error"] for run in first["runs"])
    assert len(list((out / "runs").iterdir())) == 3
    written = list(logs.iterdir())
    assert len(written) == (0 if ours else 1)
    if written:
        assert "ZeroDivisionError: a bug" in written[0].read_text()
        assert str(written[0]) in err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("name: x\nlearnes: mlp\n", [], "has 2 problems: (1) datasets is missing; (2) learnes is no key"),
        (TEXT.format(splits=3).replace("blobs2", "spambse"), [], "did you mean 'spambase'"),
        (TEXT.format(splits=3).replace("points: 4", "points: 21"), [], "at most the 20 train rows"),
        (TEXT.format(splits=3), ["--workers", "0"], "workers must be a positive whole number"),
        (TEXT.format(splits=3), ["--scheduler", "host"], "must be dask://HOST:PORT"),
        (TEXT.format(splits=3), ["--scheduler", "dask://host:1", "--workers", "2"], "brings its own workers"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(text, options, message, capsys, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    code, out, err = run(capsys, "study", tmp_path / "bad.yaml", "--out", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert err.startswith("backgrad: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_told_first(capsys, file, tmp_path):
    (tmp_path / "out").write_text("")
    code, _, err = run(capsys, "study", file, "--out", tmp_path / "out", "--workers", "1")
    assert code == 2
    assert "must be one that can be written" in err


def test_the_default_folder_has_the_study_s_name(capsys, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(TEXT.format(splits=1).replace("[joint, greedy]", "joint"))
    code, out, _ = run(capsys, "study", "one.yaml", "--workers", "1")
    assert code == 0
    assert "Written: backgrad-study/tiny/study.json and backgrad-study/tiny/runs" in out
    assert re.search(r"tiny: test error, mean of 1 split *\n", out)


def test_results_of_other_settings_are_left_alone_and_named(capsys, finished, tmp_path):
    folder = finished[0]
    (tmp_path / "other.yaml").write_text(TEXT.format(splits=1).replace("points: 4", "points: 4\nseed: 1"))
    code, out, _ = run(capsys, "study", tmp_path / "other.yaml", "--out", folder / "out", "--workers", "1")
    assert code == 0
    assert "6 further results in the folder are of other settings or another version: not used." in out


def start(file, out, workers):
    code = "from backgrad.cli import main; main()"
    words = [sys.executable, "-c", code, "study", str(file), "--out", str(out), "--workers", str(workers)]
    pipe = subprocess.PIPE
    root = Path(__file__).parents[2]
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=root, start_new_session=True)


def wait_for_runs(folder, count):
    """Wait until a study in another process has finished so many runs."""
    deadline = time.monotonic() + 300
    while len(list(folder.glob("*.npz"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ten_kills_of_real_attacks_change_no_bit(workers, tmp_path):
    """Kill -9 at spread moments: the record and all digests are those of an undisturbed study; nothing is redone."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT.format(splits=60))
    runs, rng, seen = tmp_path / "killed" / "runs", random.Random(workers), {}
    for _ in range(10):
        process = start(file, tmp_path / "killed", workers)
        wait_for_runs(runs, len(seen) + 1)
        time.sleep(rng.uniform(0.0, 1.5))
        process.kill()
        process.communicate()
        found = {f.name: f.stat().st_mtime_ns for f in runs.glob("*.npz")}
        assert seen.items() <= found.items()
        seen = found
    assert 10 <= len(seen) < 120
    for name in ("killed", "whole"):
        process = start(file, tmp_path / name, workers if name == "killed" else 1)
        _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
    final = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "killed" / "runs").iterdir()}
    assert seen.items() <= final.items()
    plan = read_study(file)
    one, other = (Store(tmp_path / name / "runs") for name in ("killed", "whole"))
    assert [one.read(r).digest for r in plan.runs] == [other.read(r).digest for r in plan.runs]
    assert (tmp_path / "killed" / "study.json").read_bytes() == (tmp_path / "whole" / "study.json").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_in_a_real_attack_names_the_command(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT.format(splits=200))
    process = start(file, tmp_path / "out", 1)
    wait_for_runs(tmp_path / "out" / "runs", 3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert re.search(r"interrupted; \d+ of 400 runs are done and kept\. Continue with: backgrad study ", err)
    assert "Traceback" not in err
    assert {path.suffix for path in (tmp_path / "out" / "runs").iterdir()} == {".npz"}


def printed(names, verdicts, errors=(0.2, 0.3, 0.4, 0.5)):
    """Return the lines of a study's table in 80 columns: a row for each verdict, of combinations that have these names.

    Four splits have these errors, whatever the victim.
    """
    from rich.console import Console

    from backgrad.cli.study import _print as print_study
    from backgrad.studies.plan import Outcome, Run, Study
    from backgrad.studies.results import Combination
    from backgrad.studies.runner import Summary
    from backgrad.studies.tasks import number

    runs = tuple(Run("tests.studies.cheap:walk", names, split, 0) for split in range(4))
    kinds = ("clean_error", "label_flip_error", "poisoned_error")
    found = []
    for row in verdicts:
        outcomes = {
            k: Outcome({"errors": dict.fromkeys(kinds, number(errors[k])), "health": {"verdict": verdict}})
            for k, verdict in enumerate(row)
        }
        found.append(Combination(names, names, runs, outcomes))
    out, summary = io.StringIO(), Summary(8, 0, 8, 0, (), ())
    print_study(Console(width=80, file=out), Study("long", runs), found, summary, Path("out"), others=0)
    lines = out.getvalue().splitlines()
    return lines[: next(i for i, line in enumerate(lines) if line.startswith("Written"))]


@pytest.mark.parametrize(
    ("more", "rows"),
    [
        ({"options.points": 20}, ["breast-cancer  20      35.0% ± 20.5%  35.0% ± 20.5%  35.0% ± 20.5%  3 of 4"]),
        (
            {"options.learner": "logistic", "options.points": 20, "options.strategy": "joint"},
            [
                "breast-cancer  logistic  20      joint       35.0%    35.0%     35.0%  3 of 4",
                "± 20.5%  ± 20.5%   ± 20.5%",
            ],
        ),
        ({"data.name": "mails[old].csv", "options.strategy": None}, ["mails[old].csv  default"]),
    ],
)
def test_names_of_a_table_are_whole_at_80_columns(more, rows):
    table = printed({"data.name": "breast-cancer", **more}, [["worked", "failed", "worked", "worked"]])
    first = next(i for i, line in enumerate(table) if "───" in line) + 1
    for line, row in zip(table[first:], rows, strict=False):
        assert row in line
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize("last", [math.inf, math.nan])
def test_errors_that_are_no_numbers_are_said_to_have_diverged(last):
    table = printed({"data.name": "wine"}, [["worked"] * 4], (0.2, 0.3, 0.4, last))
    assert re.search(r"wine +diverged +diverged +diverged +4 of 4", table[-2])


def test_a_table_that_is_too_wide_all_the_same_cuts_no_name():
    names = {
        "data.name": "a_table_with_a_very_long_name.csv",
        "options.learner": "logistic",
        "options.strategy": "coordinate",
        "options.points": 20,
        "options.feasible": "box:0.05..0.95",
    }
    table = printed(names, [["worked", "failed", "worked", "worked"], ["nothing to do"] * 4])
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    first = next(i for i, line in enumerate(table) if "───" in line) + 1
    assert "3 of 4" in table[first]
    assert "no points" in "".join(table)
    found = "".join(line.split()[0] for line in table[first:] if line[1:2].strip())
    assert found == 2 * "a_table_with_a_very_long_name.csv"
