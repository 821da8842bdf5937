"""Tasks that take no time to speak of, for studies that are about something else."""

import os
import time
from pathlib import Path

import numpy as np

from backgrad.errors import InputError
from backgrad.studies.plan import Outcome, Run, Study
from backgrad.studies.tasks import Task

WALK = "tests.studies.cheap:walk"
TASKS = {"walk": Task(WALK, "tests.studies.cheap:check")}


def walk(settings, split, seed, progress=lambda share: None):
    """Take a random walk; note in the file `log` that it began, and `seconds` later that it ended.

    The file `processes` tells in which process it began.
    """
    note(settings.get("log"), f"began {settings['size']} {split}")
    note(settings.get("processes"), f"{os.getpid()} {settings['size']} {split}")
    for k in range(4):
        progress(k / 4)
        time.sleep(settings.get("seconds", 0.0) / 4)
    if settings.get("fail") == "input":
        raise InputError("this run was asked to fail.")
    if settings.get("fail") == "bug":
        raise ZeroDivisionError("a bug")
    if settings.get("fail") == "death":
        os._exit(3)
    rng = np.random.default_rng([seed, split, settings["size"]])
    path = np.cumsum(rng.normal(size=(settings["size"], 3)), axis=0)
    note(settings.get("log"), f"ended {settings['size']} {split}")
    return Outcome({"end": path[-1].tolist(), "nothing": None}, {"path": path, "whole": np.arange(split + 1)})


def check(runs):
    """Refuse walks of no steps."""
    for run in runs:
        if run.settings["size"] < 1:
            raise InputError(f"size must be positive; got {run.settings['size']}.")


def note(file, line):
    """Append a line to a file, in one write."""
    if file is not None:
        with Path(file).open("a") as handle:
            handle.write(f"{line}\n")


def study(sizes=(3, 5), splits=2, **settings):
    """Return a study of walks."""
    runs = [Run(WALK, {"size": size, **settings}, split, 7) for split in range(splits) for size in sizes]
    return Study("walks", tuple(runs))
