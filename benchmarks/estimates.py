"""How good `backgrad attack --estimate` is: `python -m benchmarks.estimates`.

Each job is estimated and then run, in fresh processes one after the other, with a cache of compiled programs of its own
that the estimate fills. A ratio is the job's time divided by the estimate; beside it stands the same for the job's
processor time, which tells how much of the gap is the machine's other work.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

_JOBS = {
    "LR, spambase": "spambase --splits 3",
    "MLP, spambase": "spambase --learner mlp --splits 2 --outer-steps 60",
    "ADALINE, spambase": "spambase --learner adaline --splits 2",
    "LR, mnist-1-7": "mnist-1-7 --splits 3",
    "LR, binary, rehearsal": "spambase --feasible binary --splits 2 --rehearsal 50",
    "LR, a curve": "spambase --fractions 0,0.02,0.05,0.1,0.15 --splits 2",
    "LR, greedy": "spambase --strategy greedy --points 10 --splits 1 --steps 300",
    "LR, unknown schedule": "spambase --knowledge unknown-schedule --splits 1 --outer-steps 60",
}
_UNITS = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}


class Judged(NamedTuple):
    """A job: estimated seconds, those it took, its processor's, and those of the estimate itself."""

    estimated: float
    seconds: float
    cpu: float
    took: float


def run(arguments: list[str], environment: dict[str, str]) -> tuple[str, float, float]:
    """Run the command line; return what it printed, its seconds and its processor's."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "backgrad", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"backgrad {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout, seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def judge(job: str) -> Judged:
    """Estimate a job, and run it."""
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment, arguments = {**os.environ, **cache}, ["attack", *job.split()]
        text, took, _ = run([*arguments, "--estimate"], environment)
        found = re.search(r"^About ([\d.]+) (h|min|s|ms) in all", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no total in what the estimate printed: {text}")
        _, seconds, cpu = run([*arguments, "--out", f"{folder}/out"], environment)
    return Judged(float(found[1]) * _UNITS[found[2]], seconds, cpu, took)


def main() -> None:
    """Judge the estimates of all jobs, as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the numbers, if anywhere")
    arguments = parser.parse_args()
    print(f"Load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} processors.")
    print("| job | estimated | took | ratio | CPU | CPU ratio | estimating |\n|---|---|---|---|---|---|---|")
    found = {}
    for name, job in _JOBS.items():
        one = found[name] = judge(job)
        cells = (f"{one.estimated:.0f} s", f"{one.seconds:.0f} s", f"{one.seconds / one.estimated:.2f}")
        more = (f"{one.cpu:.0f} s", f"{one.cpu / one.estimated:.2f}", f"{one.took:.0f} s")
        print(f"| {name} | {' | '.join((*cells, *more))} |", flush=True)
    if arguments.json is not None:
        record = {"jobs": _JOBS, "found": {name: one._asdict() for name, one in found.items()}}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
