"""The attack on all of MNIST, on a few of its digits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import backgrad

ROOT = Path(__file__).parents[2]


def run(*arguments):
    settings = {**os.environ, "PYTHONPATH": str(Path(backgrad.__file__).parents[1]), "JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-m", "benchmarks.full_mnist", "--quick", "--epochs", "2", "--victims", "1", *arguments]
    done = subprocess.run(command, check=False, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["softmax", "mlp"])  # by a joint attack, and by one on subpopulations
def test_a_quick_run_judges_victims_and_a_second_one_goes_on_from_its_state(learner, tmp_path):
    state, first, second = (tmp_path / name for name in ("state.npz", "first.json", "second.json"))
    run("--learner", learner, "--state", state, "--json", first)
    assert "going on from" in run("--learner", learner, "--state", state, "--json", second)
    one, other = (json.loads(file.read_text(encoding="utf-8")) for file in (first, second))
    assert one["errors"] == other["errors"]
    if learner == "softmax":  # four trials need not find anything in a network that is half trained
        assert one["mean"]["poisoned"] > one["mean"]["label_flip"]
    assert one["seconds"]["search"] == other["seconds"]["search"] > 0
    assert other["seconds"]["each"] is None
