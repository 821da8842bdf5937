"""A study on one Dask worker and on two: `python -m benchmarks.cluster`.

Two kinds of runs, 12 of each. Some wait for 1 s and compute nothing: their speed-up is what scheduling, claims and
the store leave of 2. The others multiply small matrices in one thread: theirs is bounded by what the machine gives two
processes that know nothing of each other, which is measured beside them, in turns, and which on two hardware threads of
one core is far below 2. Efficiency is the speed-up over that ceiling.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backgrad.studies.plan import Outcome, Run, Study
from backgrad.studies.runner import run_study
from backgrad.studies.store import Store
from backgrad.studies.tasks import Task

from .table import describe, machine

_ROOT = Path(__file__).parents[1]
_WORK = "benchmarks.cluster:work"
_TASKS = {"work": Task(_WORK, "benchmarks.cluster:check")}
_RUNS, _WAIT, _PRODUCTS = 12, 1.0, 8000


def compute(products: int) -> float:
    """Multiply matrices that fit a first-level cache."""
    matrix = np.random.default_rng(0).normal(size=(48, 48)) / 7
    state = np.eye(48)
    for _ in range(products):
        state = matrix @ state
        state /= np.linalg.norm(state)
    return float(state[0, 0])


def work(settings: Any, split: int, seed: int, progress=lambda share: None) -> Outcome:
    """Wait, or compute."""
    del split, seed
    if settings["kind"] == "wait":
        time.sleep(_WAIT)
        return Outcome({"value": 0.0}, {})
    value = compute(_PRODUCTS)
    progress(1.0)
    return Outcome({"value": value}, {})


def check(runs: Any) -> None:
    """Accept all runs."""


@contextlib.contextmanager
def workers(count: int) -> Iterator[str]:
    """Start Dask workers of one thread; yield the scheduler's address."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


def study_seconds(kind: str, address: str, label: int) -> float:
    """Return the time of a study whose runs nobody has done yet."""
    runs = tuple(Run(_WORK, {"kind": kind, "label": label}, split, 0) for split in range(_RUNS))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        summary = run_study(Study("work", runs), Store(Path(folder) / "runs"), scheduler=address, tasks=_TASKS)
        seconds = time.perf_counter() - begin
    if summary.done != _RUNS:
        raise RuntimeError(f"{summary.done} of {_RUNS} runs were done: {[f.error for f in summary.failures]}")
    return seconds


def process_seconds(count: int) -> float:
    """Return the time in which so many independent processes do the work of the computing study, shared out."""
    words = [sys.executable, "-m", "benchmarks.cluster", "--alone", str(_PRODUCTS * _RUNS // count)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=_ROOT) for _ in range(count)]
    return max(float(process.communicate()[0]) for process in running)


def alone(products: int) -> None:
    """Do the work of one process and print its seconds, those of starting left out."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        compute(100)
        begin = time.perf_counter()
        compute(products)
    print(time.perf_counter() - begin)


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        alone(arguments.alone)
        return
    print(describe(machine()), flush=True)
    times: dict[str, list[float]] = {name: [] for name in ("wait 1", "wait 2", "compute 1", "compute 2", "1", "2")}
    with workers(1) as one, workers(2) as two:
        for label in range(-1, arguments.rounds):  # the first round imports, and is not counted
            for name, address in (("1", one), ("2", two)):
                found = {f"{kind} {name}": study_seconds(kind, address, label) for kind in ("wait", "compute")}
                found[name] = process_seconds(int(name))
                if label >= 0:
                    for key, seconds in found.items():
                        times[key].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {kind: medians[f"{kind}1"] / medians[f"{kind}2"] for kind in ("wait ", "compute ", "")}
    print(f"{_RUNS} runs, medians of {arguments.rounds} rounds in turns; seconds on one worker, on two, and speed-up:")
    for kind, text in (("wait ", "waiting runs"), ("compute ", "computing runs"), ("", "independent processes")):
        print(f"  {text:24}{medians[kind + '1']:8.2f}{medians[kind + '2']:8.2f}{ratios[kind]:8.2f}")
    print(f"Efficiency of computing runs, of the machine's own ceiling: {ratios['compute '] / ratios['']:.0%}")


if __name__ == "__main__":
    main()
