"""Rows whose features stay on the host."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad import hosted
from backgrad.attacks.objective import differentiate
from backgrad.attacks.preparation import make_objective, start_points
from backgrad.errors import InputError, UnsupportedError
from backgrad.learners.sklearn_like import SumOfLosses

N, D, K = 90, 6, 3
MODEL = bg.MLP(D, K, (4,), l2=0.01)
SCHEDULE = bg.Descent(25, 0.3, 0.9, batch_size=20)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return the same rows on the host and in memory, in a file of float32, and points beside them."""
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(file, rng.random((N, D), np.float32))
    labels, weight = rng.integers(0, K, N), rng.uniform(0.5, 1.5, N)
    points = bg.samples(rng.random((7, D)), rng.integers(0, K, 7), K)
    host = bg.host_rows(np.load(file, mmap_mode="r"), labels, K, weight=weight)
    return host, bg.samples(np.load(file), labels, K, weight=weight), points


def test_training_is_that_of_the_same_rows_in_memory_bit_for_bit(rows, monkeypatch):
    monkeypatch.setattr(hosted, "_CHUNK_BYTES", 40 * D * 8)  # three chunks, of which the last is not full
    host, memory, points = rows
    one, other = (bg.train(MODEL, (block, points), schedule=SCHEDULE) for block in (host, memory))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(one.status) == int(other.status)
    for name in ("initial_loss", "loss", "gradient_norm"):  # summed in another order
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)


def test_hypergradients_are_those_of_the_same_rows_in_memory_bit_for_bit(rows):
    host, memory, points = rows
    threat, model, found = bg.ThreatModel(7), bg.SoftmaxRegression(D, 0.0, K), []
    for block in (host, memory):
        start, labels = start_points(block, threat, 3)
        soft = bg.one_hot(labels, K)
        objective = make_objective(model, block, points, schedule=SCHEDULE, threat=threat, labels=soft)
        found.append((start, *differentiate(objective, jnp.asarray(start, float))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert jnp.abs(found[0][2]).max() > 0


@pytest.mark.slow
def test_attacks_see_the_same_rows_bit_for_bit(rows):
    host, memory, _ = rows
    threat = bg.ThreatModel(4)
    one, other = (
        bg.JointAttack(2, redraw=True).craft(MODEL, block, memory, schedule=SCHEDULE, threat=threat, seed=1)
        for block in (host, memory)
    )
    np.testing.assert_array_equal(one.start, other.start)
    np.testing.assert_array_equal(one.points, other.points)
    # Differences of values of 𝒜 are round-off in part, and each block has programs of its own.
    checks = ("gradient_error_first", "gradient_error_last")
    assert max(getattr(result.health, name) for result in (one, other) for name in checks) < 1e-6
    exact = [dataclasses.replace(result.health, **dict.fromkeys(checks, 0.0)) for result in (one, other)]
    assert exact[0] == exact[1]
    assert (one.points != one.start).any()


def test_a_gradient_with_respect_to_them_is_refused_and_one_of_the_weights_is_not(rows):
    host, memory, _ = rows
    model = bg.SoftmaxRegression(D, 0.0, K)

    def loss(block):
        return model.loss(bg.train(model, block, schedule=SCHEDULE).params, memory)

    with pytest.raises(UnsupportedError, match="features on the host have no gradient"):
        jax.grad(loss)(host)
    slope = jax.grad(lambda weight: loss(host._replace(weight=weight)))(host.weight)
    assert jnp.abs(slope).max() > 0


@pytest.mark.parametrize(
    ("model", "schedule", "sentence"),
    [
        (MODEL, bg.Descent(5), "train by Descent with a batch_size below the number of rows"),
        (MODEL, bg.Descent(5, batch_size=N), "train by Descent with a batch_size below the number of rows"),
        (bg.SoftmaxRegression(D, 0.1, K), bg.Converged(), "train by Descent with a batch_size"),
        (bg.Standardised(MODEL), SCHEDULE, "Standardised is fitted on all rows at once"),
        (SumOfLosses(MODEL), SCHEDULE, "SumOfLosses changes how rows count in the loss of all"),
    ],
    ids=["all rows", "one batch", "converged", "preprocessing", "sum"],
)
def test_what_needs_all_rows_at_once_is_refused(rows, model, schedule, sentence):
    with pytest.raises(UnsupportedError, match=sentence):
        bg.train(model, rows[0], schedule=schedule)


def test_rows_that_cannot_be_trained_on_are_refused():
    x = np.ones((4, 2))
    with pytest.raises(InputError, match="x must have the shape"):
        bg.host_rows(x, [0, 1, 0], 2)
    with pytest.raises(InputError, match="x must have the shape"):
        bg.host_rows(x[0], [0, 1], 2)
    x[3, 1] = np.nan
    with pytest.raises(InputError, match="rows must be finite"):
        bg.host_rows(x, [0, 1, 0, 1], 2)


def test_private_copies_keep_what_was_written_to_them(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 2)))
    copy = np.load(tmp_path / "x.npy", mmap_mode="c")
    copy[2] = 1
    block = bg.host_rows(copy, [0, 1, 0, 1, 0], 2)
    np.testing.assert_array_equal(block.x[np.array([2, 0])], [[1, 1], [0, 0]])


_TRAIN_ON_A_FILE = """
import sys
import jax, numpy as np
import backgrad as bg
from backgrad.evaluation.cost import process_peak

x = np.memmap(sys.argv[1], np.float32, "r", shape=(int(sys.argv[2]), 1024))
labels = np.arange(len(x)) % 2
rows = bg.host_rows(x, labels, 2)
trained = bg.train(bg.SoftmaxRegression(1024, 0.0, 2), rows, schedule=bg.Descent(200, 0.002, 0.9, batch_size=500))
jax.block_until_ready(trained)
assert float(trained.loss) < float(trained.initial_loss)
print(process_peak() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count resident memory in other ways")
def test_memory_stays_far_below_the_size_of_the_file(tmp_path):
    size = 2 * 2**30 // 4096
    file = tmp_path / "x.bin"
    with file.open("wb") as handle:
        for first in range(0, size, 2**14):
            block = np.random.default_rng(first).random((min(2**14, size - first), 1024), np.float32)
            block[1::2] += 0.1
            block.tofile(handle)
    source = str(Path(bg.__file__).parents[1])
    settings = {**os.environ, "PYTHONPATH": source, "JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN_ON_A_FILE, file, str(size)],
        check=False,
        env=settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert float(done.stdout) < 600
