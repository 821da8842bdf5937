"""Comparisons with PyTorch and with the authors' algorithm. All contestants take turns, and must agree."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

import backgrad as bg

from . import authors_port, ours, pytorch_side
from .comparing import TYPES, agreement, faster
from .options import Options
from .problem import Case, Setting, cases, load_setting
from .table import Row, Section
from .timing import alternate, fastest

_WAYS = {
    "autograd": "autograd through an eager loop",
    "functional": "torch.func",
    "compiled": "torch.compile",
    "by hand": "by hand",
}


def pytorch_section(options: Options) -> Section:
    """Compare with PyTorch's ways of going back through the training loop, in float32."""
    rows: list[Row] = []
    facts = []
    for name, goal in (("LR", 8.0), ("ADALINE", None), ("MLP", 5.0)):
        more, notes = _against_pytorch(cases()[name], goal, options.seconds)
        rows += more
        facts += [f"{name}: {note}." for note in notes]
    title = "6. PyTorch ÷ ours (20 points, float32)"
    return Section("pytorch", title, ("ours", "PyTorch"), tuple(rows), tuple(facts))


def _against_pytorch(case: Case, goal: float | None, seconds: float) -> tuple[list[Row], list[str]]:
    setting = case.setting
    initial = jax.tree.leaves(case.learner.init(jax.random.key(0)))
    steps, step_size = case.schedule.steps, case.schedule.step_size

    def make(way):
        return lambda layout: pytorch_side.Hypergradient(
            case.name, setting, initial, steps=steps, step_size=step_size, layout=layout, way=way
        )

    contestants: dict[str, Any] = {
        "parameter space": ours.hypergradient(case, setting, jnp.float32, bg.Checkpointed()),
        "default": ours.hypergradient(ours.with_schedule(case, gram=None), setting, jnp.float32, bg.Checkpointed()),
    }
    notes, layouts = [], {}
    for way, words in _WAYS.items():
        if way == "by hand" and case.name != "LR":
            continue
        try:
            layouts[way], contestants[way] = pytorch_side.tuned(make(way))
            notes.append(f"{words} ran best with {layouts[way]}")
        except Exception as error:  # torch.compile needs a compiler of C++, and fails in many ways without one
            if way != "compiled":
                raise
            notes.append(f"torch.compile failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
    times = alternate(contestants, seconds=seconds)
    mine = ours.gradient_of(contestants["parameter space"])
    for way in layouts:
        agreement(mine, np.asarray(contestants[way](), np.float64), what=f"backgrad and PyTorch, {way}", least=0.999)
    rows = [
        faster(f"{case.name} parameter space", times["parameter space"], times["autograd"], goal, layouts["autograd"]),
        faster(f"{case.name} default (Gram space)", times["default"], times["autograd"], None, layouts["autograd"]),
    ]
    for way, layout in layouts.items():
        if way != "autograd":
            label = f"{case.name} against {_WAYS[way]}"
            rows.append(faster(label, times["parameter space"], times[way], None, layout))
    return rows, notes


def authors_section(options: Options) -> Section:
    """Compare with the port of the authors' hypergradient of logistic regression, in float64."""
    case, setting = cases()["LR"], load_setting()
    single = setting._replace(points=setting.points.take([0]))
    gram = ours.with_schedule(case, gram=True)
    calls, contestants = {}, {}
    for name, which in (("1 point", single), ("20 points", setting)):
        calls[f"port, {name}"] = _port(which)
        for kind, dtype in TYPES.items():
            contestants[f"{name} {kind} BackGradient"] = ours.hypergradient(case, which, dtype, bg.BackGradient())
            contestants[f"{name} {kind} Checkpointed"] = ours.hypergradient(case, which, dtype, bg.Checkpointed())
            contestants[f"{name} {kind} Gram space"] = ours.hypergradient(gram, which, dtype, bg.Checkpointed())
    threads = tune_numpy(calls["port, 1 point"])
    with threadpool_limits(threads, user_api="blas"):
        times = alternate({**contestants, **calls}, seconds=options.seconds)
    cosines = {}
    for name in ("1 point", "20 points"):
        port, mine = calls[f"port, {name}"]().gradient, ours.gradient_of(contestants[f"{name} f64 BackGradient"])
        cosines[name] = agreement(port, mine, what=f"the port and BackGradient, {name},", least=0.99)
    # In float32, which is what JAX computes in unless asked otherwise; float64 stands beside it.
    goals = {"1 point f32 BackGradient": 3.0, "1 point f32 Checkpointed": 3.0, "1 point f32 Gram space": 10.0}
    rows = tuple(
        faster(f"LR {name}", times[name], times[f"port, {name.split(' f')[0]}"], goals.get(name))
        for name in contestants
    )
    facts = (
        f"The port (float64, {threads} BLAS threads) agrees with BackGradient: cosine {cosines['1 point']:.6f},",
        f"{cosines['20 points']:.6f} for 20 points. The authors' code has one point; for 20, ours",
        "is compared with a port that shares one reversal among all, which they do not.",
    )
    title = "7. The authors' hypergradient of LR (NumPy port) ÷ ours"
    values = {"cosine": cosines, "blas_threads": threads}
    return Section("authors", title, ("ours", "port"), rows, facts, values=values)


def _port(setting: Setting):
    return lambda: authors_port.hypergradient(setting.train, setting.points, setting.validation)


def tune_numpy(call) -> int:
    """Return the number of BLAS threads with which `call` is fastest: one, or one a core."""

    def limited(threads):
        def run():
            with threadpool_limits(threads, user_api="blas"):
                return call()

        return run

    return int(fastest({str(n): limited(n) for n in sorted({1, len(os.sched_getaffinity(0))})}))


class _ReachedError(Exception):
    """The attack reached the target: stop it there."""


def _attack(setting: Setting, dtype, stop: float | None = None):
    """Return a call of the joint attack on log-loss, cut off once the share `stop` of its iterations is done."""
    case = cases()["LR"]
    threat = bg.ThreatModel(len(setting.points.y), goal=bg.ErrorGeneric(bg.LogLoss()), feasible=bg.Box(0.0, 1.0))
    schedule = bg.Descent(case.schedule.steps, case.schedule.step_size)

    def progress(share):
        if stop is not None and share >= stop:
            raise _ReachedError

    def run():
        train, validation = setting.train.samples(dtype), setting.validation.samples(dtype)
        try:
            return bg.JointAttack().craft(
                case.learner,
                train,
                validation,
                schedule=schedule,
                threat=threat,
                seed=0,
                start=(setting.points.x, setting.points.y),
                progress=progress,
            )
        except _ReachedError:
            return None

    return run


def attack_section(options: Options) -> Section:
    """Compare the time to reach the objective of the authors' greedy attack."""
    setting = load_setting()
    threads = tune_numpy(_port(setting._replace(points=setting.points.take([0]))))
    with threadpool_limits(threads, user_api="blas"):
        return _attack_section(setting, options.seconds)


def _attack_section(setting: Setting, seconds: float) -> Section:
    greedy = authors_port.greedy(setting)
    contestants, evaluations, best = {"greedy": lambda: authors_port.greedy(setting)}, {}, {}
    for kind, dtype in TYPES.items():
        trace = _attack(setting, dtype)().trace
        reached = np.flatnonzero(trace >= greedy.objective)
        if not reached.size:
            raise RuntimeError(f"the joint attack stopped at {trace.max():.4f}, below {greedy.objective:.4f}.")
        evaluations[kind], best[kind] = int(reached[0]) + 1, float(trace.max())
        contestants[kind] = _attack(setting, dtype, evaluations[kind] / len(trace))
    jax.clear_caches()  # so that the first timed call compiles again
    times = alternate(contestants, seconds=seconds, least=3)
    rows = []
    for kind in TYPES:
        mine = times[kind]
        rows.append(faster(f"LR {kind} joint attack", mine, times["greedy"], 20.0))
        cold = mine._replace(median=mine.first, lower=mine.first, upper=mine.first, fastest=mine.first)
        rows.append(faster(f"LR {kind} with compilation", cold, times["greedy"], None))
    facts = (
        f"Target: {greedy.objective:.4f} validation log-loss, where greedy ends after {greedy.evaluations}",
        f"hypergradients. Joint passes it at {evaluations['f64']} (20 points each), and ends at {best['f64']:.4f}",
        "after 150. Its time counts whole chunks of 7 evaluations, as a user would see them.",
    )
    values = {"target": greedy.objective, "greedy_evaluations": greedy.evaluations, "joint_evaluations": evaluations}
    title = "8. The authors' greedy attack ÷ our joint one, to the same objective"
    return Section("attack", title, ("ours", "greedy"), tuple(rows), facts, values={**values, "joint_best": best})
