"""How good `backgrad attack --estimate` is: `python -m benchmarks.estimates`.

Each job is estimated and then run, in fresh processes one after the other, with a cache of compiled programs of its own
that the estimate fills. A ratio is the job's time divided by the estimate. On a machine that does other work, give
`--cpu`: then both the estimate and the job are measured in seconds of a processor, all threads together.
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
    "LR": "spambase --splits 3",
    "MLP": "spambase --learner mlp --splits 1 --outer-steps 60",
    "ADALINE": "spambase --learner adaline --splits 1",
    "LR, MNIST 1 and 7": "mnist-1-7 --splits 2",
    "LR, binary, rehearsal": "spambase --feasible binary --splits 2 --rehearsal 50",
    "LR, a curve": "spambase --fractions 0,0.05,0.1,0.15 --splits 2 --outer-steps 60",
    "LR, greedy": "spambase --strategy greedy --points 10 --splits 1 --steps 300",
}
_UNITS = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}


# The command line by a processor's clock.
_BY_CPU = "import time; time.perf_counter = time.process_time; from backgrad.cli import main; main()"


class Judged(NamedTuple):
    """A job: estimated seconds, those it took, and those of the estimate itself."""

    estimated: float
    took: float
    estimating: float

    @property
    def ratio(self) -> float:
        """What it took, divided by the estimate."""
        return self.took / self.estimated


def run(arguments: list[str], environment: dict[str, str], *, cpu: bool) -> tuple[str, float]:
    """Run the command line; return what it printed, and its seconds."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, *(["-c", _BY_CPU] if cpu else ["-m", "backgrad"]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"backgrad {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}")
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.stdout, used if cpu else seconds


def judge(job: str, *, cpu: bool) -> Judged:
    """Estimate a job, and run it."""
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment, arguments = {**os.environ, **cache}, ["attack", *job.split()]
        text, estimating = run([*arguments, "--estimate"], environment, cpu=cpu)
        found = re.search(r"^About ([\d.]+) (h|min|s|ms) in all", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no total in what the estimate printed: {text}")
        _, took = run([*arguments, "--out", f"{folder}/out"], environment, cpu=cpu)
    return Judged(float(found[1]) * _UNITS[found[2]], took, estimating)


def main() -> None:
    """Judge the estimates of all jobs, as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="by a processor's clock, on a busy machine")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the numbers, if anywhere")
    arguments = parser.parse_args()
    print(f"Load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} processors.\n")
    print("| job | `backgrad attack …` | estimated | took | ratio | estimating |\n|---|---|---|---|---|---|")
    found = {}
    for name, job in _JOBS.items():
        one = found[name] = judge(job, cpu=arguments.cpu)
        seconds = f"{one.estimated:.1f} s | {one.took:.1f} s | {one.ratio:.2f} | {one.estimating:.1f} s"
        print(f"| {name} | `{job}` | {seconds} |", flush=True)
        if arguments.json is not None:
            record = {"jobs": _JOBS, "found": {name: one._asdict() for name, one in found.items()}}
            arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
