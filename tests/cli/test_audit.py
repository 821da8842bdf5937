"""`backgrad audit`, `gate`, `report` and `check`, as their users meet them."""

import contextlib
import io
import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest

from backgrad.auditing.verdict import Curve, breaking_point
from backgrad.cli import main
from backgrad.report import validate
from tests.report.samples import normal

N = 90


def run(*arguments):
    """Run the command line; return its exit code and what it wrote. An audit serves all tests, so no fixture does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code, out.getvalue(), err.getvalue()


def write_table(path, seed=0):
    """Write a messy table: a gap, categories, whole numbers, a constant, three uneven classes, a hostile name."""
    rng = np.random.default_rng(seed)
    label = rng.choice(3, size=N, p=[0.5, 0.3, 0.2])
    lines = ["<script>alert(1)</script>;größe;colour;count;same;label"]
    for i, c in enumerate(label):
        first = "" if i == 7 else f"{rng.normal(2 * c, 1):.4f}"
        colour = ["red", "green", "blue"][int(rng.integers(3))]
        lines.append(f"{first};{rng.normal(-c, 1):.4f};{colour};{int(rng.integers(9)) + c};1;class {c}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Audit the table once."""
    folder = tmp_path_factory.mktemp("audit")
    table = write_table(folder / "mine.csv")
    code, out, err = run(
        *("audit", table, "--target", "label", "--profile", "quick", "--limit", "0.9", "--at", "0.05"),
        *("--workers", "1", "--out", folder / "found", "--junit", folder / "gate.xml"),
    )
    assert code == 0, err
    return folder, out, err


def test_progress_says_how_far_every_stage_is(done):
    """Two budgets on three splits, each but the first attacked; one line a run."""
    lines = [line for line in done[2].splitlines() if " runs done" in line]
    assert lines[0].startswith("0 of 12 runs done; attack 0/6, defend 0/3, certify 0/3")
    assert lines[-1] == "12 of 12 runs done; attack 6/6, defend 3/3, certify 3/3; about 0 s left"
    assert all(len(line) <= 80 for line in lines)


def test_breaking_points_of_every_limit_are_valid(done):
    record = json.loads((done[0] / "found" / "audit.json").read_text(encoding="utf-8"))
    first = record["curves"][0]
    curve = Curve(*(np.array(part) for part in (first["fractions"], first["points"], first["poisoned"]["splits"])))
    low, high = curve.mean().min(), curve.mean().max()
    assert low < high
    for limit in np.linspace(low, high, 20):
        record["breaking_point"] = breaking_point(curve, float(limit))
        validate(record)


def test_everything_is_written_and_valid(done):
    folder, out, _ = done
    record = json.loads((folder / "found" / "audit.json").read_text(encoding="utf-8"))
    validate(record)
    assert set(record["artifacts"]) <= set(os.listdir(folder / "found"))
    assert record["gate"]["verdict"] == "passed"
    assert [column["kind"] for column in record["input"]["columns"]] == [
        "numeric",
        "numeric",
        "categorical",
        "integer",
        "constant",
    ]
    assert record["input"]["columns"][0]["missing"] == 1
    assert "Gate: passed." in out
    assert record["verdict"][0].split()[0] in out
    page = (folder / "found" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert max(map(len, out.splitlines())) <= 80 or "report.html" in max(out.splitlines(), key=len)


def test_points_can_be_checked_by_anyone(done):
    folder, _, _ = done
    with np.load(folder / "found" / "points.npz", allow_pickle=False) as stored:
        points, labels, rows = stored["points"], stored["labels"], stored["train_rows"]
    assert points.shape[:2] == labels.shape
    assert len(rows) == len(points) == 3
    colours = points[:, :, 2:5]
    assert np.all(colours.sum(axis=2) == 1)
    assert set(np.unique(colours)) == {0.0, 1.0}
    assert np.all(points[:, :, 5] == np.round(points[:, :, 5]))


def test_damage_is_more_than_that_of_label_flips(done):
    record = json.loads((done[0] / "found" / "audit.json").read_text(encoding="utf-8"))
    curve = record["curves"][0]
    assert curve["poisoned"]["mean"][-1] > curve["label_flips"]["mean"][-1] + 0.05
    assert curve["poisoned"]["mean"][0] == curve["clean"]["mean"][0]


def test_a_stored_audit_answers_other_gates(done):
    folder = done[0] / "found"
    record = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    mean = record["curves"][0]["poisoned"]["mean"]
    assert run("gate", folder, "--limit", "0.99", "--at", "0.05")[0] == 0
    assert run("gate", folder, "--limit", "0.01", "--at", "0.2")[0] == 1
    middle = str(min(mean[-1], 0.99))
    code, out, _ = run("gate", folder, "--limit", middle, "--at", "0.2", "--junit", done[0] / "other.xml")
    assert code == 3
    assert "inconclusive" in out
    suite = ElementTree.parse(done[0] / "other.xml").getroot()
    assert suite.get("errors") == "1"
    assert ElementTree.parse(done[0] / "gate.xml").getroot().get("failures") == "0"
    code, _, err = run("gate", folder, "--limit", "0.2", "--at", "0.37")
    assert code == 2
    assert "must be a share that was audited" in err


def test_a_reader_who_leaves_changes_no_exit_code(tmp_path, monkeypatch):
    (tmp_path / "audit.json").write_text(json.dumps(normal()), encoding="utf-8")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with pytest.raises(SystemExit) as caught:
            main(["gate", str(tmp_path), "--limit", "0.9", "--at", "0.05"])
    assert caught.value.code == 0


def test_the_page_can_be_written_again(done):
    folder = done[0] / "found"
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert run("report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == page


def test_an_audit_that_is_done_is_not_done_again(done):
    folder = done[0]
    before = {
        file: os.stat(folder / "found" / "runs" / file).st_mtime_ns for file in os.listdir(folder / "found" / "runs")
    }
    code, _, err = run(
        *("audit", folder / "mine.csv", "--target", "label", "--profile", "quick", "--limit", "0.9", "--at", "0.05"),
        *("--workers", "1", "--out", folder / "found"),
    )
    assert code == 0, err
    after = {
        file: os.stat(folder / "found" / "runs" / file).st_mtime_ns for file in os.listdir(folder / "found" / "runs")
    }
    assert after == before


def test_check_says_how_columns_were_understood(tmp_path):
    table = write_table(tmp_path / "mine.csv")
    options = ["--profile", "quick", "--immutable", "größe", "--at", "0.07"]  # a share that no limit goes with
    code, out, err = run("check", table, "--target", "label", *options)
    assert code == 0, err
    for word in ("größe", "immutable", "categorical", "integer", "constant", "class 0", "about"):
        assert word in out
    assert os.listdir(tmp_path) == ["mine.csv"]


BAD = {
    "no target": (["{table}"], "--target"),
    "wrong target": (["{table}", "--target", "lable"], "label"),
    "no such file": (["nowhere.csv", "--target", "y"], "nowhere.csv"),
    "unknown estimator": (["{table}", "--target", "label", "--estimator", "gbm"], "must be one of"),
    "no such module": (["{table}", "--target", "label", "--estimator", "no_such_module:make"], "cannot be imported"),
    "no such factory": (["{table}", "--target", "label", "--estimator", "json:make"], "must name a callable"),
    "no classifier": (["{table}", "--target", "label", "--estimator", "collections:OrderedDict"], "classifier"),
    "columns by name": (
        ["{table}", "--target", "label", "--estimator", "tests.cli.support:make_by_name"],
        "must fit arrays of the",
    ),
    "unknown profile": (["{table}", "--target", "label", "--profile", "fast"], "quick, standard, thorough"),
    "half a gate": (["{table}", "--target", "label", "--limit", "0.2"], "--at"),
    "limit out of range": (["{table}", "--target", "label", "--limit", "20", "--at", "0.05"], "limit"),
    "share out of range": (["{table}", "--target", "label", "--limit", "0.2", "--at", "5"], "--at"),
    "no splits": (["{table}", "--target", "label", "--splits", "0"], "splits must lie in 1 to 1000; got 0"),
    "negative seed": (["{table}", "--target", "label", "--seed", "-1"], "seed must be"),
    "unknown immutable": (["{table}", "--target", "label", "--immutable", "weight"], "weight"),
    "bad range": (["{table}", "--target", "label", "--range", "count=many"], "COLUMN=LOW:HIGH"),
    "target of a bundled set": (["wine", "--target", "y"], "brings its own"),
    "a regression": (["diabetes"], "judges classifiers"),
    "a folder": (["{folder}", "--target", "y"], "file"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, words, said):
    table = write_table(tmp_path / "mine.csv")
    given = [word.format(table=table, folder=tmp_path) for word in words]
    code, out, err = run("audit", *given, "--out", tmp_path / "found")
    assert code == 2, err
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == ["mine.csv"]


def test_folders_that_hold_no_audit_are_refused(tmp_path):
    for verb in (["report"], ["gate", "--limit", "0.2", "--at", "0.05"]):
        code, _, err = run(verb[0], tmp_path, *verb[1:])
        assert code == 2
        assert "run backgrad audit" in err


@pytest.mark.parametrize(
    "damaged", [b'{"schema_version": "1.0"}', b'{"schema_version": "1', b"[" * 100_000, b"\xff\xfe", b"[1, 2]", b""]
)
@pytest.mark.parametrize("verb", ["report", "gate"])
def test_a_damaged_record_is_refused_in_a_sentence(tmp_path, verb, damaged):
    (tmp_path / "audit.json").write_bytes(damaged)
    code, _, err = run(verb, tmp_path, *(["--limit", "0.2", "--at", "0.05"] if verb == "gate" else []))
    assert code == 2, err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
