"""Rows and points on several devices: the numbers of one, and the work shared out."""

import functools
import inspect
import json
import os
import socket
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

import backgrad as bg
from backgrad.devices import SpreadRows, holds, join, on_host, row_mesh, rows_from_hosts, rows_of, spread_rows
from backgrad.errors import InputError
from tests.hosts import HOSTS, N
from tests.problems import mostly_slow
from tests.spread import DEVICES, ROOT, ROWS, D, block, run, several

QUICK = ("hypergradient:softmax:full", "hypergradient:mlp:batch", "attack:joint", "joined")
FULL = [f"hypergradient:{model}:full" for model in ("lr", "softmax", "mlp", "cnn", "cnn-in-chunks")]
BATCH = [f"hypergradient:{model}:batch" for model in ("lr", "softmax", "mlp", "cnn")]
WAYS = [
    *(f"hypergradient:{model}:full" for model in ("standardised", "min-max")),
    *(f"hypergradient:mlp:{way}" for way in ("segments", "reversal", "batch-reversal", "reversible")),
    *(f"hypergradient:mlp:{way}" for way in ("clipped", "batch-clipped")),
    *(f"hypergradient:lr:{way}" for way in ("gram", "dense", "cg", "neumann", "lbfgs")),
]


@functools.cache
def quick():
    """Return what the cases of the default suite found, in one process of four devices."""
    return {found["case"]: found for found in run(*QUICK)}


@functools.cache
def found(case):
    return quick()[case] if case in QUICK else run(case)[0]


@pytest.mark.parametrize("case", mostly_slow([*FULL, *BATCH, *WAYS], *QUICK))
def test_a_hypergradient_on_four_devices_is_that_on_one(case):
    told = found(case)
    assert told["gradient"] > 1e-7
    # L-BFGS stops where the loss no longer changes, which says half as many digits of where that is.
    value, gradient = (1e-7, 1e-6) if case.endswith("lbfgs") else (1e-12, 1e-10)
    assert told["value_error"] <= value
    assert told["gradient_error"] <= gradient * told["gradient"]


@pytest.mark.parametrize("case", mostly_slow(FULL, *QUICK))
def test_each_device_has_its_rows_and_none_ever_moves(case):
    told = found(case)
    # 103 rows and an empty one.
    assert told["shards"] == [[26, D]] * DEVICES
    assert told["owners"] == DEVICES
    # Training exchanges sums alone: numbers that there are as many of as parameters, not as rows.
    inside = [(kind, size) for kind, size, loop in told["collectives"] if loop]
    assert inside
    assert {kind for kind, _ in inside} == {"all-reduce"}
    assert max(size for _, size in inside) <= told["parameters"] < ROWS
    # Outside, points come together once.
    assert max(size for _, size, _ in told["collectives"]) <= 8 * D


@pytest.mark.parametrize("case", mostly_slow(BATCH, *QUICK))
def test_of_mini_batches_no_more_than_their_rows_move(case):
    told = found(case)
    assert max(size for _, size, _ in told["collectives"]) <= 22 * D < ROWS * D / DEVICES
    assert any(kind == "all-reduce" and loop for kind, _, loop in told["collectives"])


@pytest.mark.parametrize(
    "case", mostly_slow([f"attack:{kind}" for kind in ("joint", "rehearsed", "coordinate", "subpopulation")], *QUICK)
)
def test_an_attack_on_four_devices_is_that_on_one(case):
    told = found(case)
    assert told["moved"] > 0.01
    assert told["trace_error"] <= 1e-12
    assert told["points_error"] <= 1e-10
    assert told["labels"]
    assert told["verdicts"] == ["worked", "worked"]
    # All its pieces lie after a step as they did before it, so that nothing is compiled for a second time.
    assert told["compiled"] > 0
    assert told["again"] == 0


def test_joined_blocks_hold_the_same_rows_and_stay_where_they_are():
    told = found("joined")
    assert told["same"] == [True, True, True]
    # Two rows, fewer than there are devices, lie on all of them; the others move nowhere.
    assert all(size <= 2 * D for _, size, _ in told["collectives"])


def test_on_one_device_nothing_changes():
    blocks = (block(5, 2, 0), block(3, 2, 1))
    together = join(blocks)
    for part, *parts in zip(together, *blocks, strict=True):
        np.testing.assert_array_equal(part, np.concatenate(parts))
    assert row_mesh(None) is None
    mesh = row_mesh("all")
    assert mesh is not None
    spread = spread_rows(blocks[0], mesh)
    assert isinstance(spread, SpreadRows)
    assert spread_rows(spread, mesh) is spread
    for part, other in zip(rows_of(spread), blocks[0], strict=True):
        np.testing.assert_array_equal(part, other)
    assert holds(lambda xp, x: xp is np and xp.isfinite(x).all(), blocks[0].x)
    np.testing.assert_array_equal(on_host(spread.padded.x), blocks[0].x)


@pytest.mark.parametrize("devices", [0, -1, True, "two"])
def test_what_is_no_number_of_devices_is_refused(devices):
    with pytest.raises(InputError, match=r"devices must be a positive whole number or 'all'; got "):
        row_mesh(devices)


def test_more_devices_than_there_are_is_an_error_that_tells_the_way_out():
    there = len(jax.devices())
    sentence = rf"{there + 1} devices are asked for, but JAX sees {there} \(cpu\): .*device_count={there + 1}"
    rows = block(6, 2, 0)
    with pytest.raises(InputError, match=sentence):
        bg.LabelFlip().craft(
            bg.LogisticRegression(D),
            rows,
            rows,
            schedule=bg.Descent(2),
            threat=bg.ThreatModel(1),
            seed=0,
            devices=there + 1,
        )


@pytest.mark.slow
def test_the_command_line_spreads_an_attack(tmp_path):
    options = ("--train", "41", "--validation", "33", "--points", "3", "--splits", "1", "--outer-steps", "5")
    told = {}
    for devices in ((), ("--devices", "all")):
        out = tmp_path / "-".join(("out", *devices))
        environment = {**os.environ, **several(DEVICES)}
        words = [sys.executable, "-m", "backgrad", "attack", "spambase", *options, *devices, "--out", str(out)]
        subprocess.run(words, check=True, capture_output=True, cwd=ROOT, env=environment)
        told[devices] = json.loads((out / "attack.json").read_text()), np.load(out / "points.npz")
    (alone, points), (together, others) = told.values()
    assert together.pop("devices") == "all"
    assert "devices" not in alone
    assert alone["mean"] == together["mean"]
    np.testing.assert_allclose(others["points"], points["points"], rtol=0, atol=1e-9)
    assert np.abs(points["points"] - points["start"]).max() > 0.01


@pytest.mark.slow
def test_two_hosts_that_hold_half_of_the_rows_each_find_the_same():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    flags = {**several(2), "JAX_ENABLE_X64": "1", "PYTHONPATH": path}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.hosts", port, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **flags},
        )
        for number in range(HOSTS)
    ]
    ended = [host.communicate(timeout=500) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], ended
    told = [json.loads(out.splitlines()[-1]) for out, _ in ended]
    alone = bg.JointAttack(4, step_size=0.3).craft(
        bg.LogisticRegression(D),
        block(N, 2, 0),
        block(13, 2, 1),
        schedule=bg.Descent(10, 0.5),
        threat=bg.ThreatModel(5),
        seed=0,
    )
    assert told[0] == told[1]
    assert told[0]["devices"] == [4, 2]
    assert told[0]["whole"]
    assert told[0]["verdict"] == alone.health.verdict == "worked"
    np.testing.assert_allclose(told[0]["trace"], alone.trace, rtol=0, atol=1e-12)
    np.testing.assert_allclose(told[0]["points"], alone.points, rtol=0, atol=1e-10)


def test_a_host_hands_over_equal_parts():
    mesh = row_mesh("all")
    assert mesh is not None
    mine = rows_from_hosts(block(5, 2, 0), mesh)
    np.testing.assert_array_equal(mine.x, block(5, 2, 0).x)
    pretended = types.SimpleNamespace(local_mesh=types.SimpleNamespace(size=4))
    with pytest.raises(InputError, match=r"a multiple of its 4 devices.*got 5 rows: leave out 1, or add 3 of weight 0"):
        inspect.unwrap(rows_from_hosts)(block(5, 2, 0), pretended)
