"""An audit that is killed goes on where it was, and comes to the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

_WORDS = ["audit", "mine.csv", "--target", "y", "--profile", "quick", "--splits", "1", "--workers", "1", "--out", "out"]
_PATIENCE = 600.0


def start(folder):
    """Start an audit of the table in a folder, with that folder's own names only."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    words = [sys.executable, "-m", "backgrad", *_WORDS]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def without_times(value):
    """Return a record without the numbers that say when, and how long."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in ("seconds", "started")}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def read(folder):
    record = json.loads((folder / "out" / "audit.json").read_text(encoding="utf-8"))
    return json.dumps(without_times(record), indent=2).encode(), (folder / "out" / "points.npz").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
def test_a_killed_audit_resumes_and_ends_in_the_same_bytes(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    text = "a,b,y\n" + "".join(f"{a:.3f},{b:.3f},{int(a + b / 4 > 0)}\n" for a, b in x)
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.csv").write_text(text)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process, end = start(killed), time.monotonic() + _PATIENCE
    while len(done := list(killed.glob("out/runs/*.npz"))) < 2:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = {file: file.stat().st_mtime_ns for file in killed.glob("out/runs/*.npz")}
    # What it leaves is of use, but for a hidden folder that the next audit removes.
    assert {file.name for file in (killed / "out").iterdir() if not file.name.startswith(".")} == {"runs"}
    for folder in (killed, whole):
        process = start(folder)
        _, err = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 0, err
    assert set(done) <= set(kept)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert len(list(killed.glob("out/runs/*.npz"))) > len(kept)
    assert read(killed) == read(whole)
    assert [file.name for file in (killed / "out").iterdir() if file.name.startswith(".")] == []
