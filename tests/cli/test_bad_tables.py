"""Tables that cannot be audited: one sentence each, exit code 2, nothing left behind, and no work begun."""

import functools
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backgrad.auditing.tables import file_settings, read_file
from backgrad.datasets import read_table
from backgrad.errors import InputError
from tests.cli.support import run

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))


def csv(row, header="a,b,y", rows=N):
    """Return the text of a table, from a function that returns a line's cells."""
    return "\n".join([header, *(",".join(map(str, row(i))) for i in range(rows))]) + "\n"


def plain(i):
    return f"{X[i, 0]:.3f}", f"{X[i, 1]:.3f}", i % 2


GOOD = csv(plain)
FRAME = pd.read_csv(io.StringIO(GOOD))
ARFF = "@relation r\n@attribute a numeric\n@attribute y {0,1}\n@data\n"


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def packed(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


PARQUET, ARROW = packed(FRAME.to_parquet), packed(FRAME.to_feather)
NPZ = npz(x=X, y=np.arange(N) % 2)

# By name: the file's name, its content, and words of the sentence.
TABLES = {
    "empty": ("a.csv", "", "it is empty"),
    "blank lines": ("a.csv", "\n\n\n", "it is empty"),
    "a mark and nothing": ("a.csv", b"\xef\xbb\xbf", "it is empty"),
    "a header alone": ("a.csv", "a,b,y\n", "only a header"),
    "one column": ("a.csv", csv(lambda i: [i % 2], "y"), "'y' is the only column"),
    "one class": ("a.csv", csv(lambda i: (i * 0.37, 1), "a,y"), "at least two classes"),
    "no label at all": ("a.csv", csv(lambda i: (i * 0.37, ""), "a,y"), "all are missing"),
    "no value at all": ("a.csv", csv(lambda i: ("", "nan", i % 2)), "holds no value"),
    "infinity": ("a.csv", csv(lambda i: ("inf" if i == 3 else i * 0.3, 1 + i, i % 2)), "'inf' in line 5"),
    "huge values": ("a.csv", csv(lambda i: (f"{i + 1}.5e300", i * 0.1, i % 2)), "60 do not, such as '1.5e300'"),
    "beyond float64": ("a.csv", csv(lambda i: ("1e400" if i == 4 else i * 0.3, 1, i % 2)), "'1e400' in line 6"),
    "constants": ("a.csv", csv(lambda i: (1, 2, i % 2)), "all are set aside"),
    "identifiers": ("a.csv", csv(lambda i: (i, i % 2), "id,y"), "as an identifier would"),
    "prose": (
        "a.csv",
        csv(lambda i: (f"mail {i} says this and that, at length", i % 2), "t;y").replace(", ", " "),
        "y",
    ),
    "too few rows": ("a.csv", csv(plain, rows=20), "needs 40 rows or more"),
    "a rare class": ("a.csv", csv(lambda i: (i * 0.3, "x" if i else "z"), "a,y"), "class 'z' of a.csv has 1"),
    "a target of measurements": ("a.csv", csv(lambda i: (i % 7, X[i, 0]), "a,y"), "cut its range into classes"),
    "a target of names": ("a.csv", csv(lambda i: (i * 0.3, f"c{i}"), "a,y"), "60 different values in 60 rows"),
    "infinite labels": ("a.csv", csv(lambda i: (i * 0.3, ["1", "inf"][i % 2]), "a,y"), "holds infinity"),
    "wrong target": ("a.csv", csv(plain, "a,b,Y"), "did you mean 'Y'"),
    "a header twice": ("a.csv", csv(plain, "a,a,y"), "'a' occurs more than once"),
    "the target twice": ("a.csv", csv(lambda i: (X[i, 0], i % 2, i % 2), "a,y,y"), "'y' occurs more than once"),
    "a long row": ("a.csv", GOOD + "1,2,3,4,5\n", "line 62 has 5"),
    "a short row": ("a.csv", GOOD + "1,2\n", "line 62 has 2"),
    "an open quote": ("a.csv", GOOD + '"1,2,0\n1,1,1\n', "row of line 62"),
    "a NUL": ("a.csv", GOOD.encode() + b"1,\0,0\n", "line 62 has a NUL byte"),
    "no delimiter": ("a.csv", GOOD.replace(",", " "), "it has 'a b y'"),
    "Latin-1": ("a.csv", "größe,b,y\n".encode("latin1"), "byte 0xF6 at offset 2"),
    "half of UTF-16": ("a.csv", b"\xff\xfea" + GOOD.encode(), "a.csv"),
    "binary junk": ("a.csv", RNG.integers(128, 256, 4000, dtype=np.uint8).tobytes(), "is not UTF-8"),
    "a program": ("a.csv", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0", "a.csv"),
    "HTML": ("a.csv", "<!DOCTYPE html><html></html>", "HTML or XML"),
    "a PDF": ("a.csv", b"%PDF-1.7\n", "a PDF"),
    "Parquet called CSV": ("a.csv", PARQUET, "give its name the ending .parquet"),
    "a workbook": ("a.xlsx", b"PK\x03\x04junk", "export its sheet as CSV"),
    "JSON": ("a.json", "{}", "save it as CSV"),
    "a pickle": ("a.pkl", b"\x80\x04K\x01.", "never read"),
    "a pickle called CSV": ("a.csv", b"\x80\x04K\x01.", "never read"),
    "a lone array": ("a.npy", b"\x93NUMPY", "numpy.savez"),
    "half of gzip": ("a.csv.gz", gzip.compress(GOOD.encode())[:200], "ends too early"),
    "no gzip": ("a.csv.gz", GOOD, "cannot be unpacked"),
    "gzip without its name": ("a.csv", gzip.compress(GOOD.encode()), "give its name the ending .gz"),
    "packed Parquet": ("a.parquet.gz", gzip.compress(PARQUET), "packs itself"),
    "empty Parquet": ("a.parquet", b"", "cannot be read"),
    "half of Parquet": ("a.parquet", PARQUET[: len(PARQUET) // 2], "is it whole"),
    "half of Arrow": ("a.arrow", ARROW[: len(ARROW) // 2], "is it whole"),
    "old Feather": ("a.feather", b"FEA1junk", "Feather V1"),
    "bytes in Parquet": ("a.parquet", packed(FRAME.assign(a=b"x").to_parquet), "'a' hold lists, records or bytes"),
    "empty npz": ("a.npz", b"", "cannot be read"),
    "half of npz": ("a.npz", NPZ[: len(NPZ) // 2], "is it whole"),
    "no npz": ("a.npz", GOOD, "cannot be read"),
    "pickled objects": ("a.npz", npz(x=np.array([[{}]] * N, object), y=np.arange(N) % 2), "can run code"),
    "npz without labels": ("a.npz", npz(x=X), "it has 'x'"),
    "npz of other shapes": ("a.npz", npz(x=X, y=X), "reshape them"),
    "npz of complex numbers": ("a.npz", npz(x=X + 1j, y=np.arange(N) % 2), "complex128"),
    "npz of NaN": ("a.npz", npz(x=X + np.nan, y=np.arange(N) % 2), "holds no value"),
    "ARFF without rows": ("a.arff", ARFF.removesuffix("@data\n"), "there is none"),
    "ARFF of other values": ("a.arff", ARFF + "1,2\n" * N, "line 5 has '2'"),
    "ARFF with dates": ("a.arff", ARFF.replace("numeric", "date") + "1,1\n" * N, "is 'date'"),
    "sparse ARFF": ("a.arff", ARFF + "{0 1, 1 0}\n" * N, "should be dense"),
    "half of ARFF": ("a.arff", ARFF + "1,1\n" * N + "1", "has 1"),
}


def refused(capsys, folder, *arguments, said, code=2):
    """Run a command that must be refused in one sentence, and must leave nothing in a folder."""
    before = sorted(folder.iterdir())
    found, out, err = run(capsys, *arguments)
    assert found == code, err
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("backgrad: ")
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before
    return err


def audit(capsys, folder, table, *more, said):
    return refused(capsys, folder, "audit", table, "--target", "y", "--out", folder / "out", *more, said=said)


@pytest.fixture(autouse=True)
def _no_work(monkeypatch):
    monkeypatch.setattr("backgrad.cli.run_audit.do_runs", lambda *_, **__: pytest.fail("work began"))


@pytest.mark.parametrize(("name", "content", "said"), TABLES.values(), ids=TABLES)
def test_tables_that_cannot_be_audited(capsys, tmp_path, name, content, said):
    table = tmp_path / name
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    audit(capsys, tmp_path, table, said=said)


@pytest.mark.parametrize("verb", ["audit", "check"])
def test_problems_are_told_all_at_once(capsys, tmp_path, verb):
    table = tmp_path / "a.csv"
    table.write_text(csv(lambda i: ("inf", "1e200" if i else 0, 1), "a,a,y"))
    where = ["--out", tmp_path / "out"] if verb == "audit" else []
    err = refused(capsys, tmp_path, verb, table, "--target", "y", *where, said="problems: (1)")
    for words in ("occurs more than once", "at least two classes"):
        assert words in err


@pytest.mark.parametrize("path", ["", "/dev/zero", "/dev/full", "nowhere.csv", "a\0b.csv", "x" * 5000])
def test_what_is_no_file(capsys, tmp_path, path):
    audit(capsys, tmp_path, path or tmp_path, said="Expected")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX's")
def test_a_pipe_is_not_waited_for(capsys, tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    audit(capsys, tmp_path, tmp_path / "a.csv", said="no regular file")


def test_bombs_are_not_unpacked(capsys, tmp_path, monkeypatch):
    small = functools.partial(read_table, max_unpacked=100_000)
    monkeypatch.setattr("backgrad.auditing.tables.read_table", small)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b,y\n" + b"1,2,0\n" * 100_000))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1_000_000))
    audit(capsys, tmp_path, tmp_path / "a.csv.gz", said="unpacks to more: it was stopped there")
    audit(capsys, tmp_path, tmp_path / "a.npz", said="unpacks to 1,000,000")


OPTIONS = {
    "a folder that is a file": (["--out", "{table}"], "--out must be a folder"),
    "a folder below a file": (["--out", "{table}/out"], "--out must be a folder"),
    "a folder nobody can make": (["--out", "/proc/out"], "--out must be a folder"),
    "a gate's file that is a folder": (["--junit", "{folder}"], "choose another place"),
    "a gate's file below a file": (["--junit", "{table}/gate.xml"], "choose another place"),
    "too many splits": (["--splits", "10000000"], "1 to 1000"),
    "a huge seed": (["--seed", str(2**32)], "seed must be"),
    "a range the wrong way round": (["--range", "b=2:1"], "the lower first"),
    "no YAML": (["--columns", "{table}"], "Expected keys and values"),
    "YAML that is not there": (["--columns", "{folder}/a.yaml"], "cannot be read"),
    "a factory that fails": (["--estimator", "os:system"], "must be callable without arguments (TypeError"),
    "a module that fails": (["--estimator", "broken_module:make"], "cannot be imported (ZeroDivisionError"),
    "a regression": (["--estimator", "sklearn.linear_model:LinearRegression"], "LinearRegression is none"),
    "a limit that is none": (["--limit", "nan", "--at", "0.1"], "limit must lie in"),
    "a share that is none": (["--limit", "0.2", "--at", "nan"], "--at must lie in"),
}


@pytest.mark.parametrize(("words", "said"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_cannot_be_honoured(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    table = tmp_path / "mine.csv"
    table.write_text(GOOD)
    audit(capsys, tmp_path, table, *(word.format(table=table, folder=tmp_path) for word in words), said=said)


RECORDS = {
    "no record": (None, "holds no audit.json"),
    "an empty record": ("", "cannot be read"),
    "half a record": ('{"schema_version": ', "cannot be read"),
    "a list": ("[]", "record"),
    "another version": ('{"schema_version": "9.9"}', "schema_version '1.0'"),
    "bytes": (b"\xff\xfe\0", "cannot be read"),
    "a number that JSON has not": ('{"schema_version": "1.0", "tool": NaN}', "record"),
}


@pytest.mark.parametrize("verb", [["report"], ["gate", "--limit", "0.2", "--at", "0.1"]], ids=["report", "gate"])
@pytest.mark.parametrize(("content", "said"), RECORDS.values(), ids=RECORDS)
def test_folders_that_hold_no_audit(capsys, tmp_path, verb, content, said):
    if content is not None:
        (tmp_path / "audit.json").write_bytes(content.encode() if isinstance(content, str) else content)
    refused(capsys, tmp_path, verb[0], tmp_path, *verb[1:], said=said)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.parquet", "a.arrow", "a.arff"])
def test_damaged_files_are_read_or_refused(tmp_path, name):
    content = {
        "a.csv": GOOD.encode(),
        "a.npz": NPZ,
        "a.parquet": PARQUET,
        "a.arrow": ARROW,
        "a.arff": (ARFF + csv(lambda i: (i * 0.3, i % 2), "")).encode(),
    }[name]
    rng, path, refusals = np.random.default_rng(3), tmp_path / name, []
    for _ in range(12):
        damaged = bytearray(content)
        for place in rng.integers(len(damaged), size=6):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged[: int(rng.integers(1, len(damaged) + 1))] if rng.random() < 0.5 else damaged)
        try:
            read_file(file_settings(path, target="y"))
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 2
    assert not any("\n" in sentence for sentence in refusals)


_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
from backgrad.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("most", [1_000, 30_000], ids=["no result", "no report"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_broken(tmp_path, most):
    table, out = tmp_path / "a.csv", tmp_path / "out"
    table.write_text(GOOD)
    words = ["audit", table, "--target", "y", "--profile", "quick", "--splits", "1", "--workers", "1", "--out", out]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _FULL.format(most=most), *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("backgrad: ")]
    assert len(said) == 1
    assert "File too large" in said[0]
    left = [file for file in out.rglob("*") if file.is_file()] if out.exists() else []
    assert all(file.parent.name == "runs" and file.suffix == ".npz" and len(file.read_bytes()) <= most for file in left)
    for file in left:
        with np.load(file, allow_pickle=False) as archive:
            assert json.loads(archive["record"].tobytes())
    assert sorted(tmp_path.iterdir()) == sorted({table, *([out] if left else [])}, key=Path)
