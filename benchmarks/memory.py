"""What going back costs in memory, against the number of steps."""

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np

import backgrad as bg

from . import ours
from .comparing import TYPES
from .options import Options
from .problem import Case, cases
from .table import Grid, Section

STEPS = (100, 400, 1600)
_LEARNERS = ("LR", "MLP")
_LIMIT = 2**23


def adjoints(case: Case) -> dict[str, tuple[Case, bg.Adjoint]]:
    """Return every adjoint of descent, and a stored trajectory that turns to segments where a limit is passed."""
    limited = {f"stored up to {_LIMIT // 2**20} MiB": (case, bg.Checkpointed(memory_limit=_LIMIT))}
    return {**ours.adjoints(case, "f64"), **limited}


def temporary_bytes(case: Case, adjoint: bg.Adjoint, steps: int) -> int:
    """Return the temporary memory of a compiled hypergradient, beside arguments and results, as XLA reports it."""
    call = ours.hypergradient(ours.with_schedule(case, steps=steps), case.setting, TYPES["f64"], adjoint)
    return call.function.lower(*call.arguments).compile().memory_analysis().temp_size_in_bytes


def exponent(steps: tuple[int, ...], sizes: list[int]) -> float:
    """Return the slope of log size against log T between the two longest runs."""
    return math.log(sizes[-1] / sizes[-2]) / math.log(steps[-1] / steps[-2])


def process_peak(learner: str, adjoint: str, steps: int) -> float:
    """Return by how many bytes the peak of a fresh process grows while it computes a hypergradient twice."""
    command = [sys.executable, "-m", __spec__.parent + ".peak", learner, adjoint, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["grown"])


def memory_section(options: Options) -> Section:
    """Report temporary memory at three lengths of training, its exponent, and the process's peak at the longest."""
    del options
    rows: list[tuple[str, ...]] = []
    values: dict[str, Any] = {}
    for name in _LEARNERS:
        case = cases()[name]
        for adjoint, (which, settings) in adjoints(case).items():
            sizes = [temporary_bytes(which, settings, steps) for steps in STEPS]
            peak = process_peak(name, adjoint, STEPS[-1])
            slope = exponent(STEPS, sizes)
            values[f"{name} {adjoint}"] = {"bytes": sizes, "exponent": slope, "process_peak": peak}
            shown = f"{slope:.2f}" if slope > -0.5 else "–"  # where a limit turned the longest to segments
            rows.append((f"{name} {adjoint}", *(f"{size / 1e6:.2f}" for size in sizes), shown, f"{peak / 1e6:.0f}"))
    heads = ("float64", *(f"T = {steps}, MB" for steps in STEPS), "exponent", f"process, T = {STEPS[-1]}, MB")
    facts = (
        "Temporary memory of the compiled hypergradient, from XLA; the exponent is between the two longest runs.",
        "Beside it, by how much a fresh process grew at its peak, with all that JAX and the system buffer.",
        *_reversible_facts(values),
    )
    title = "3. Memory of a hypergradient against the number T of steps"
    grid = Grid(heads, tuple(rows))
    return Section("memory", title, ("", ""), (), facts, grid, {"steps": STEPS, "temporary": values})


def _reversible_facts(values: dict[str, Any]) -> list[str]:
    """Say what Reversible keeps for a parameter and step, against the 128 bits of parameter and velocity."""
    kept = {
        (gamma, steps): bg.Reversible().bits_per_step(bg.Descent(steps, 0.1, momentum=gamma))
        for gamma in (0.9, 0.98)
        for steps in (100, 1500)
    }
    values["reversible bits"] = {f"momentum {gamma}, T = {steps}": bits for (gamma, steps), bits in kept.items()}
    said = "; ".join(f"{bits:.2f} at momentum {gamma} and T = {steps}" for (gamma, steps), bits in kept.items())
    limits = ", ".join(f"{np.log2(1 / gamma):.2f}" for gamma in (0.9, 0.98))
    return [f"Bits Reversible keeps a parameter and step, of 128: {said} (in the limit {limits})."]
