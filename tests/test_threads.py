"""Linear algebra has one thread inside, and as many as before outside."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from backgrad import threads as module
from backgrad.threads import one_thread


def threads():
    """Return the threads of BLAS, and of OpenMP in the thread that asks."""
    return [pool["num_threads"] for pool in threadpool_info()]


def test_nested_and_side_by_side_the_last_one_out_restores():
    before, halfway = threads(), threading.Barrier(2)

    seen = {}

    def other():
        with one_thread:
            halfway.wait()
            halfway.wait()
            seen["inside"] = set(threads())
        seen["after"] = threads()

    beside = threading.Thread(target=other)
    with one_thread:
        with one_thread:
            assert set(threads()) <= {1}
        assert set(threads()) <= {1}
        beside.start()
        halfway.wait()
    halfway.wait()  # the other one is inside still
    beside.join()
    assert seen["inside"] <= {1}
    assert seen["after"] == before
    assert threads() == before


def test_the_next_one_need_not_wait_until_the_thread_of_the_last_has_ended(monkeypatch):
    """A thread that was told to end lives on for a moment, and threadpoolctl obeys no other while it has control."""
    alive, end = [], module._Controller.end

    def linger(controller):
        alive.append(controller)

    monkeypatch.setattr(module._Controller, "end", linger)
    try:
        for _ in range(2):
            before = threads()
            with one_thread:
                assert set(threads()) <= {1}
            assert threads() == before
    finally:
        for controller in alive:
            end(controller)
    assert len(alive) == 2


def test_an_attack_limits_the_libraries_that_it_loads():
    """In a process that has loaded none of them, as a worker's first run finds it."""
    code = """
from threadpoolctl import threadpool_info
from backgrad.evaluation import poisoning
from backgrad.studies.config import make_study, parse_study
from backgrad.studies.workers import perform, task_version

def look(*_, **__):
    pools = threadpool_info()
    raise ValueError(f"{len(pools) > 0} {sorted({pool['num_threads'] for pool in pools})}")

poisoning.evaluate_split = look
tiny = {"name": "a", "datasets": "blobs2", "points": 4, "train": 20, "validation": 40, "splits": 1}
(run,) = make_study(parse_study(tiny)).runs
print(perform(run, task_version(run.task)).error)
print(max(pool["num_threads"] for pool in threadpool_info()))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env=environment
    )
    assert done.stdout.splitlines() == ["ValueError: True [1]", "2"]


@pytest.mark.parametrize("moment", ["threading.Thread.start", "concurrent.futures.Future.result"])
def test_ctrl_c_while_it_is_entered_does_not_keep_the_process(moment):
    """An interruption right after a thread was started, and one while it works."""
    code = f"""
import concurrent.futures, threading
import numpy
from threadpoolctl import threadpool_info
from backgrad.threads import one_thread

def threads():
    return [pool["num_threads"] for pool in threadpool_info()]

before, original = threads(), {moment}

def interrupted(*arguments):
    {moment} = original
    original(*arguments)
    raise KeyboardInterrupt

{moment} = interrupted
try:
    with one_thread:
        print("inside")
except KeyboardInterrupt:
    print("interrupted", threads() == before)
with one_thread:
    print(set(threads()) <= {{1}})
print(threads() == before)
{moment} = interrupted
with one_thread:
    pass
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["interrupted True", "True", "True"]
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
