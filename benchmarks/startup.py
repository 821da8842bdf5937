"""How long a user waits before anything happens: `python -m benchmarks.startup`.

Every contestant is a fresh process, they take turns in shuffled order, and medians are compared. An attack is run twice
before it is measured, so that what it compiles is in a cache of its own. It *begins* when the search is called: options
read, rows split, the clean model trained once to see that its schedule is sound. Goals in seconds hold on a quiet
machine; beside them stand seconds of processor time, which a busy machine changes least.
"""

import argparse
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

_ATTACK = ("attack", "spambase", "--splits", "1")
# Runs the command line up to the search, in a process told when it was started.
_BEGIN = """
import sys
from backgrad.cli import main
from backgrad.attacks.back_gradient import JointAttack

def search(*_, **__):
    raise KeyboardInterrupt

JointAttack.search = search
main(sys.argv[1:])
"""


class Wait(NamedTuple):
    """Medians over the rounds: seconds by the clock, and of a processor."""

    seconds: float
    cpu: float


def run(command: list[str], environment: dict[str, str], codes: tuple[int, ...]) -> Wait:
    """Run a command once, quietly."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}: {done.stderr[-500:]}")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Wait(seconds, cpu)


def measure(rounds: int, folder: str) -> dict[str, Wait]:
    """Run every contestant so often, in turn."""
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = {**os.environ, **cache}
    attack = [*_ATTACK, "--out", f"{folder}/out"]
    contestants = {
        "import jax": [sys.executable, "-c", "import jax"],
        "import backgrad": [sys.executable, "-c", "import backgrad"],
        "backgrad --help": [sys.executable, "-m", "backgrad", "--help"],
        "attack begins": [sys.executable, "-c", _BEGIN, *attack],
        "attack ends": [sys.executable, "-m", "backgrad", *attack],
    }
    codes = {"attack begins": (130,)}
    for _ in range(2):
        run(contestants["attack ends"], environment, (0,))
    found: dict[str, list[Wait]] = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(0)
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            found[name].append(run(contestants[name], environment, codes.get(name, (0,))))
    return {
        name: Wait(*(statistics.median(part) for part in zip(*waits, strict=True))) for name, waits in found.items()
    }


def describe(found: dict[str, Wait]) -> list[str]:
    """Return the table against the goals, in lines."""
    jax = found["import jax"]
    goals = {
        "import backgrad": ("≤ 1.5 × import jax", 1.5 * jax.seconds, 1.5 * jax.cpu),
        "backgrad --help": ("< 0.5 s", 0.5, 0.5),
        "attack begins": ("< 2 s", 2.0, 2.0),
    }
    lines = [f"{'':<18}{'seconds':>9}{'CPU s':>8}{'÷ jax':>8}  goal"]
    for name, wait in found.items():
        text = f"{name:<18}{wait.seconds:>9.2f}{wait.cpu:>8.2f}{wait.seconds / jax.seconds:>8.2f}"
        if name in goals:
            words, limit, cpu = goals[name]
            verdict = "met" if wait.seconds <= limit else "met in CPU s" if wait.cpu <= cpu else "MISSED"
            text += f"  {words} {verdict}"
        lines.append(text)
    return lines


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each contestant (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, help="where to write, if anywhere")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.rounds, folder)
    load = os.getloadavg()[0]
    print("\n".join([f"Load {load:.1f} on {len(os.sched_getaffinity(0))} processors.", *describe(found)]))
    if arguments.json is not None:
        record = {"load": load, "rounds": arguments.rounds, **{name: wait._asdict() for name, wait in found.items()}}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
