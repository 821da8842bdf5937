r"""How time and memory of a hypergradient grow: `python -m benchmarks.growth`.

One number at a time is varied over a range of 64 or more, five sizes each, while all others keep a middle value: rows
n, features d, points p, training steps T, and parameters m (an MLP of more units). Rows are drawn from a normal
distribution, with labels from a plane: the work of a step depends on shapes alone. Contestants are the adjoints; LR in
parameter space for n, d, p and T, and an MLP for m. Memory is what the compiled program takes while it runs, temporary
arrays and results without its arguments, as the compiler planned it. A time is the fastest of several calls that take
turns, which other work on the machine disturbs least; with `--cpu` it is a processor's, all threads together.

Each curve is fitted by a power law, least squares in log–log, whose exponent stands with its standard error. A curve
that bends, since a constant part matters at its small end, has a local exponent that still grows: that of its last two
sizes stands beside it.
"""

import argparse
import json
import math
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import backgrad as bg

from .table import describe, machine
from .timing import alternate

_RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "results"
# The middle values.
_USUAL = {"n": 400, "d": 100, "p": 20, "T": 100, "m": 10}
_SIZES = {
    "n": (250, 700, 2000, 5600, 16000),
    "d": (25, 75, 200, 560, 1600),
    "p": (5, 20, 80, 320, 1280),
    "T": (50, 150, 450, 1350, 4050),
    "m": (2, 8, 32, 64, 128),
}
_WHAT = {
    "n": "training rows n",
    "d": "features d",
    "p": "poisoning points p",
    "T": "training steps T",
    "m": "parameters m (MLP)",
}
_STORED, _SEGMENTS, _REVERSIBLE, _IMPLICIT = "stored", "segments", "reversible", "implicit"
_STYLES = {_STORED: ("-", "o"), _SEGMENTS: ("--", "s"), _REVERSIBLE: (":", "^"), _IMPLICIT: ("-.", "D")}


class Point(NamedTuple):
    """One size: seconds of a hypergradient, and bytes while it runs."""

    size: int
    seconds: float
    memory: int


class Fit(NamedTuple):
    """A power law: its exponent with its standard error, and that between the last two sizes."""

    exponent: float
    error: float
    last: float

    def text(self) -> str:
        """Return the exponent as the table shows it."""
        return f"{self.exponent:.2f} ± {self.error:.2f} ({self.last:.2f})"


def fit(sizes, values) -> Fit:
    """Fit a power law by least squares in log–log.

    Args:
        sizes: increasing, (K,).
        values: positive, (K,).
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float))
    deviation = x - x.mean()
    slope = float(deviation @ y / (deviation @ deviation))
    residuals = y - y.mean() - slope * deviation
    error = math.sqrt(float(residuals @ residuals) / (len(x) - 2) / float(deviation @ deviation))
    return Fit(slope, error, float((y[-1] - y[-2]) / (x[-1] - x[-2])))


def _hypergradient(axis: str, size: int, name: str):
    """Return the compiled gradient with its arguments, the number that the axis counts, and the bytes it takes."""
    at = {**_USUAL, axis: size}
    rng = np.random.default_rng(0)
    plane = rng.normal(size=at["d"])

    def rows(count: int) -> bg.Samples:
        x = rng.normal(size=(count, at["d"])) / math.sqrt(at["d"])
        return bg.samples(x, (x @ plane > 0).astype(int), 2, dtype=jnp.float64)

    train, points, validation = rows(at["n"]), rows(at["p"]), rows(200)
    learner: Any = bg.MLP(at["d"], hidden=(at["m"],)) if axis == "m" else bg.LogisticRegression(at["d"], l2=0.01)
    schedule: Any = bg.Descent(at["T"], 0.1, gram=False)
    if name == _REVERSIBLE:
        schedule = bg.Descent(at["T"], 0.1, momentum=0.9, gram=False)
    if name == _IMPLICIT:
        schedule = bg.Converged()
    adjoint = {
        _STORED: bg.Checkpointed(segments=False, memory_limit=2**62),
        _SEGMENTS: bg.Checkpointed(segments=True, memory_limit=2**62),
        _REVERSIBLE: bg.Reversible(),
        _IMPLICIT: bg.Implicit(throw=False),
    }[name]

    def loss(x, train, points, validation):
        trained = bg.train(learner, (train, points._replace(x=x)), schedule=schedule, adjoint=adjoint)
        return learner.loss(trained.params, validation)

    arguments = (points.x, train, points, validation)
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    params = learner.init(jax.random.key(0))
    counted = size if axis != "m" else sum(leaf.size for leaf in jax.tree.leaves(params))
    stats: Any = compiled.memory_analysis()
    memory = int(stats.temp_size_in_bytes + stats.output_size_in_bytes)
    return lambda: jax.block_until_ready(compiled(*arguments)), counted, memory


def _names(axis: str) -> tuple[str, ...]:
    """Return the adjoints of an axis: those that are affordable and say something."""
    return {
        "T": (_STORED, _SEGMENTS, _REVERSIBLE),
        "d": (_STORED, _SEGMENTS),
        "m": (_STORED, _SEGMENTS),
    }.get(axis, (_STORED, _SEGMENTS, _IMPLICIT))


def measure(axis: str, *, sizes: tuple[int, ...], seconds: float, cpu: bool) -> dict[str, list[Point]]:
    """Measure the curves of one axis, size after size; at each size adjoints take turns."""
    curves: dict[str, list[Point]] = {name: [] for name in _names(axis)}
    timer = time.process_time if cpu else time.perf_counter
    for size in sizes:
        ready = {name: _hypergradient(axis, size, name) for name in curves}
        times = alternate({name: one[0] for name, one in ready.items()}, seconds=seconds, least=5, timer=timer)
        for name, (_, counted, memory) in ready.items():
            curves[name].append(Point(counted, times[name].fastest, memory))
            print(f"{axis} = {counted:<8}{name:<12}{times[name].fastest:10.4f} s{memory / 1e6:12.2f} MB", flush=True)
    return curves


def table(found: dict[str, dict[str, list[Point]]]) -> str:
    """Return all exponents as a Markdown table."""
    lines = ["| grows | from … to | adjoint | time | memory |", "|---|---|---|---|---|"]
    for axis, curves in found.items():
        for name, points in curves.items():
            sizes = [point.size for point in points]
            seconds = fit(sizes, [point.seconds for point in points]).text()
            memory = fit(sizes, [point.memory for point in points]).text()
            lines.append(f"| {_WHAT[axis]} | {sizes[0]:,} … {sizes[-1]:,} | {name} | {seconds} | {memory} |")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, list[Point]]], path: pathlib.Path) -> None:
    """Draw time above memory, one column an axis, in log–log."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(found), figsize=(2.6 * len(found), 5.0), squeeze=False, layout="constrained")
    for column, (axis, curves) in enumerate(found.items()):
        for name, points in curves.items():
            style, marker = _STYLES[name]
            look: dict[str, Any] = {"linestyle": style, "marker": marker, "color": "black", "markerfacecolor": "white"}
            sizes = [point.size for point in points]
            for row, values in enumerate(([p.seconds for p in points], [p.memory / 1e6 for p in points])):
                slope = fit(sizes, values).exponent
                axes[row, column].loglog(sizes, values, label=f"{name}: {slope:.2f}", markersize=4, **look)
        for row, what in enumerate(("seconds", "MB")):
            axes[row, column].legend(fontsize=7, title="exponent", title_fontsize=7)
            axes[row, column].set_ylabel(what if column == 0 else "")
            axes[row, column].grid(alpha=0.3)
        axes[1, column].set_xlabel(_WHAT[axis])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure, print, draw, and write JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_SIZES, default=list(_SIZES), help="what to vary")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the numbers, if anywhere")
    parser.add_argument("--figure", type=pathlib.Path, default=_RESULTS / "growth.png", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="a size, once every adjoint had 5 turns")
    parser.add_argument("--cpu", action="store_true", help="by a processor's clock, on a busy machine")
    parser.add_argument("--quick", action="store_true", help="the three smallest sizes, to see that it runs")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    before = machine()
    print(describe(before), flush=True)
    count = 3 if arguments.quick else 5
    found = {}
    for axis in arguments.only:
        found[axis] = measure(axis, sizes=_SIZES[axis][:count], seconds=arguments.seconds, cpu=arguments.cpu)
        if arguments.json is not None:  # after every axis, so that an interrupted run leaves what it has
            curves = {a: {n: [p._asdict() for p in points] for n, points in c.items()} for a, c in found.items()}
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps({"machine": before, "curves": curves}, indent=2) + "\n")
    draw(found, arguments.figure)
    print(table(found))


if __name__ == "__main__":
    main()
