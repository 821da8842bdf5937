"""What a hypergradient costs beside plain training: the time of a call, and the time to compile it."""

import time

import jax
import numpy as np

import backgrad as bg

from . import ours
from .comparing import TYPES, agreement
from .options import Options
from .problem import AUTHORS, Case, cases, converged_cases
from .table import Grid, Row, Section
from .timing import alternate

# Of the adjoints that should come near the cost of arithmetic alone: `segments` trains once more by design, and the
# fixed point of `Reversible` is slower than floats.
_NEAR_THE_LIMIT = ("stored", "BackGradient", "momentum, stored")


def goal(learner: str, adjoint: str) -> float | None:
    """Return the ratio that a hypergradient should stay within, where there is one."""
    if adjoint not in _NEAR_THE_LIMIT:
        return None
    return 3.0 if learner in AUTHORS else (3.5 if learner == "CNN" else None)


def training_section(options: Options) -> Section:
    """Compare hypergradients with plain training of the same steps, and to the same optimum."""
    rows: list[Row] = []
    for case in cases(full=options.full).values():
        for kind in TYPES:
            rows += _over_training(case, kind, options.seconds)
    for case in converged_cases().values():
        rows += _over_converged(case, options.seconds)
    facts = (
        "Both in parameter space and in the same precision; momentum 0.9 where it is named. softmax and CNN: 500 rows",
        "of ten digits, the CNN in mini-batches of 100 for 40 steps"
        + (", with all its parameters." if options.full else ", with layers a quarter as wide (--full for all)."),
        "Implicit: l2 0.1, trained to a gradient of 1e-8 by Newton's method; its checks of the optimum are part of it.",
    )
    title = "1. Hypergradient of 20 points ÷ plain training of the same steps"
    return Section("training", title, ("gradient", "training"), tuple(rows), facts)


def _over_training(case: Case, kind: str, seconds: float) -> list[Row]:
    dtype, setting = TYPES[kind], case.setting
    adjoints = ours.adjoints(case, kind)
    plain = {False: "training", True: "momentum training"}
    heavy = adjoints["momentum, stored"][0]
    contestants = {
        plain[False]: ours.training(case, setting, dtype),
        plain[True]: ours.training(heavy, setting, dtype),
    }
    for name, (which, adjoint) in adjoints.items():
        contestants[name] = ours.hypergradient(which, setting, dtype, adjoint)
    times = alternate(contestants, seconds=seconds)
    exact = ours.gradient_of(contestants["stored"])
    agreement(exact, ours.gradient_of(contestants["segments"]), what="stored and recomputed gradients", least=0.9999)
    rows = []
    for name, (which, _) in adjoints.items():
        base = times[plain[which is heavy]]
        ratio = times[name].median / base.median
        label = f"{case.name} {kind} {name}"
        rows.append(Row(label, times[name], base, ratio, goal(case.name, name), at_most=True))
    return rows


def _over_converged(case: Case, seconds: float) -> list[Row]:
    dtype, setting = TYPES["f64"], case.setting
    contestants = {"training": ours.training(case, setting, dtype)}
    for solver in ("cg", "dense", "neumann"):
        adjoint = bg.Implicit(solver, max_steps=20_000 if solver == "neumann" else 1000)
        contestants[solver] = ours.hypergradient(case, setting, dtype, adjoint)
    times = alternate(contestants, seconds=seconds)
    gradients = {name: ours.gradient_of(call) for name, call in contestants.items() if name != "training"}
    for name, gradient in gradients.items():
        agreement(gradients["dense"], gradient, what=f"the solvers dense and {name} on {case.name}", least=0.9999)
    base = times["training"]
    return [
        Row(f"{case.name} f64 Implicit, {name}", times[name], base, times[name].median / base.median)
        for name in gradients
    ]


def compilation_section(options: Options) -> Section:
    """Time tracing and compilation of a hypergradient, for every learner and adjoint."""
    found = {}
    for case in cases(full=options.full).values():
        made = {"training": ours.training(case, case.setting, TYPES["f32"])}
        for name, (which, adjoint) in ours.adjoints(case, "f64").items():
            dtype = TYPES["f64" if adjoint.needs_float64 else "f32"]
            made[name] = ours.hypergradient(which, case.setting, dtype, adjoint)
        found[case.name] = _compilations(made, options.repeats)
    for case in converged_cases().values():
        made = {"training": ours.training(case, case.setting, TYPES["f64"])}
        for solver in ("cg", "dense", "neumann"):
            made[f"Implicit, {solver}"] = ours.hypergradient(case, case.setting, TYPES["f64"], bg.Implicit(solver))
        found[f"{case.name} converged"] = _compilations(made, options.repeats)
    rows = [
        (f"{name} {what}", f"{traced:.2f}", f"{compiled:.2f}", f"{(traced + compiled) / sum(times['training']):.1f}")
        for name, times in found.items()
        for what, (traced, compiled) in times.items()
    ]
    title = "2. Compilation: seconds to trace and to compile a hypergradient"
    facts = (f"Medians of {options.repeats}, from cleared caches. float32, but for Reversible and Implicit.",)
    grid = Grid(("", "trace, s", "compile, s", "both ÷ training's"), tuple(rows))
    return Section("compilation", title, ("", ""), (), facts, grid, {"seconds_to_trace_and_compile": found})


def _compilations(calls: dict[str, ours.Call], repeats: int) -> dict[str, tuple[float, float]]:
    """Return the seconds to trace and to compile each call, medians of alternating rounds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            jax.clear_caches()
            begin = time.perf_counter()
            lowered = call.function.lower(*call.arguments)
            middle = time.perf_counter()
            lowered.compile()
            found[name].append((middle - begin, time.perf_counter() - middle))
    return {name: tuple(float(part) for part in np.median(pairs, axis=0)) for name, pairs in found.items()}
