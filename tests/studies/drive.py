"""Studies of walks in processes of their own, which may be killed: `python -m tests.studies.drive VERB FOLDER …`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from backgrad.studies.runner import Summary, run_study
from backgrad.studies.store import Store
from tests.studies.cheap import TASKS, study

ROOT = Path(__file__).parents[2]
SIZES, SPLITS = (2, 30, 400), 10


def walks(folder, seconds):
    """Return the study that all verbs run; its runs note in FOLDER/log when they begin and end."""
    return study(sizes=SIZES, splits=SPLITS, seconds=seconds, log=str(folder / "log"))


def run(folder, seconds, workers=1) -> Summary:
    return run_study(walks(folder, seconds), Store(folder / "runs"), workers=workers, tasks=TASKS)


def kill_again_and_again(folder, seconds, times, seed):
    """Start the study, kill -9 it at a random moment, and so on; then let it finish. Print what was there when."""
    rng, seen = random.Random(seed), []
    for _ in range(times):
        child = os.fork()
        if child == 0:
            run(folder, seconds)
            os._exit(0)
        time.sleep(rng.uniform(0.0, 0.5))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        files = {file.name: [file.stat().st_ino, file.stat().st_mtime_ns] for file in (folder / "runs").glob("*.npz")}
        seen.append({"killed": os.WIFSIGNALED(status), "files": files})
    summary = run(folder, seconds)
    print(json.dumps({"seen": seen, "found": summary.found, "done": summary.done}))


def start(verb, folder, *arguments, **settings):
    """Start this module in another process."""
    words = [sys.executable, "-W", "error", "-m", "tests.studies.drive", verb, str(folder), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment, **settings)


if __name__ == "__main__":
    place, pause, *rest = Path(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:])
    if sys.argv[1] == "kill":
        kill_again_and_again(place, pause, *rest)
    else:
        print("started", flush=True)
        ended = run(place, pause, *rest)
        print(json.dumps({"found": ended.found, "done": ended.done, "elsewhere": ended.elsewhere}))
