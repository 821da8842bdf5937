"""What is compared with what. Every section times its contestants in turn, and checks that they agree."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

import backgrad as bg

from . import authors_port, ours, pytorch_side
from .problem import Case, Setting, cases
from .table import Row, Section
from .timing import Timing, alternate, fastest

_TYPES = {"f64": jnp.float64, "f32": jnp.float32}


def agreement(a: np.ndarray, b: np.ndarray, *, what: str, least: float) -> float:
    """Return the cosine of two gradients; raise unless it is high, since times of different things mean nothing."""
    cosine = float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
    if not cosine >= least:
        raise RuntimeError(f"{what} disagree: their cosine is {cosine:.6f}, where at least {least} is expected.")
    return cosine


def training_section(setting: Setting, *, seconds: float) -> Section:
    """Compare hypergradients with plain training of the same steps."""
    rows: list[Row] = []
    for case in cases().values():
        for kind in _TYPES:
            rows += _over_training(case, setting, kind, seconds)
    facts = ("Both in parameter space and in the same precision; momentum 0.9 where it is named.",)
    title = "1. Hypergradient of 20 points ÷ plain training of the same steps"
    return Section("training", title, ("gradient", "training"), tuple(rows), facts)


def _over_training(case: Case, setting: Setting, kind: str, seconds: float) -> list[Row]:
    dtype, heavy = _TYPES[kind], ours.with_schedule(case, momentum=0.9)
    adjoints = {
        "stored": (case, bg.Checkpointed(segments=False), 3.5),
        "segments": (case, bg.Checkpointed(segments=True), None),
        "BackGradient": (case, bg.BackGradient(), 3.5),
        "momentum, stored": (heavy, bg.Checkpointed(segments=False), 3.5),
    }
    if kind == "f64":  # the fixed point of Reversible is 64 bits wide, whatever comes in
        adjoints["momentum, Reversible"] = (heavy, bg.Reversible(), None)
    plain = {False: "training", True: "momentum training"}
    contestants = {plain[False]: ours.training(case, setting, dtype), plain[True]: ours.training(heavy, setting, dtype)}
    for name, (which, adjoint, _) in adjoints.items():
        contestants[name] = ours.hypergradient(which, setting, dtype, adjoint)
    times = alternate(contestants, seconds=seconds)
    exact = ours.gradient_of(contestants["stored"])
    agreement(exact, ours.gradient_of(contestants["segments"]), what="stored and recomputed gradients", least=0.9999)
    rows = []
    for name, (which, _, goal) in adjoints.items():
        base = times[plain[which is heavy]]
        ratio = times[name].median / base.median
        rows.append(Row(f"{case.name} {kind} {name}", times[name], base, ratio, goal, at_most=True))
    return rows


def _faster(label: str, mine: Timing, other: Timing, goal: float | None = None, note: str = "") -> Row:
    return Row(label, mine, other, other.median / mine.median, goal, note=note)


def pytorch_section(setting: Setting, *, seconds: float) -> Section:
    """Compare with PyTorch's autograd through the training loop, in float32."""
    rows: list[Row] = []
    facts = []
    for name, goal in (("LR", 8.0), ("ADALINE", None), ("MLP", 5.0)):
        more, layout = _against_pytorch(cases()[name], setting, goal, seconds)
        rows += more
        facts.append(f"{name}: PyTorch ran best with {layout}.")
    title = "2. PyTorch autograd through the loop ÷ ours (20 points, float32)"
    return Section("pytorch", title, ("ours", "PyTorch"), tuple(rows), tuple(facts))


def _against_pytorch(case: Case, setting: Setting, goal: float | None, seconds: float) -> tuple[list[Row], str]:
    initial = jax.tree.leaves(case.learner.init(jax.random.key(0)))
    steps, step_size = case.schedule.steps, case.schedule.step_size

    def make(by_hand):
        return lambda layout: pytorch_side.Hypergradient(
            case.name, setting, initial, steps=steps, step_size=step_size, layout=layout, by_hand=by_hand
        )

    layout, autograd = pytorch_side.tuned(make(False))
    contestants = {
        "parameter space": ours.hypergradient(case, setting, jnp.float32, bg.Checkpointed()),
        "default": ours.hypergradient(ours.with_schedule(case, gram=None), setting, jnp.float32, bg.Checkpointed()),
        "autograd": autograd,
    }
    if case.name == "LR":
        contestants["by hand"] = pytorch_side.tuned(make(True))[1]
    times = alternate(contestants, seconds=seconds)
    mine, theirs = ours.gradient_of(contestants["parameter space"]), np.asarray(autograd(), np.float64)
    agreement(mine, theirs, what=f"backgrad and PyTorch on {case.name}", least=0.999)
    other = times["autograd"]
    rows = [
        _faster(f"{case.name} parameter space", times["parameter space"], other, goal, layout),
        _faster(f"{case.name} default (Gram space)", times["default"], other, None, layout),
    ]
    if "by hand" in times:
        note = "PyTorch with each step's gradient written as a formula, so that autograd differentiates once"
        label = f"{case.name} PyTorch by hand"
        rows.append(_faster(label, times["parameter space"], times["by hand"], None, note))
    return rows, layout


def authors_section(setting: Setting, *, seconds: float) -> Section:
    """Compare with the port of the authors' hypergradient of logistic regression, in float64."""
    case, single = cases()["LR"], setting._replace(points=setting.points.take([0]))
    gram = ours.with_schedule(case, gram=True)
    calls, contestants = {}, {}
    for name, which in (("1 point", single), ("20 points", setting)):
        calls[f"port, {name}"] = _port(which)
        for kind, dtype in _TYPES.items():
            contestants[f"{name} {kind} BackGradient"] = ours.hypergradient(case, which, dtype, bg.BackGradient())
            contestants[f"{name} {kind} Checkpointed"] = ours.hypergradient(case, which, dtype, bg.Checkpointed())
            contestants[f"{name} {kind} Gram space"] = ours.hypergradient(gram, which, dtype, bg.Checkpointed())
    threads = tune_numpy(calls["port, 1 point"])
    with threadpool_limits(threads, user_api="blas"):
        times = alternate({**contestants, **calls}, seconds=seconds)
    cosines = {}
    for name in ("1 point", "20 points"):
        port, mine = calls[f"port, {name}"]().gradient, ours.gradient_of(contestants[f"{name} f64 BackGradient"])
        cosines[name] = agreement(port, mine, what=f"the port and BackGradient, {name},", least=0.99)
    # In float32, which is what JAX computes in unless asked otherwise; float64 stands beside it.
    goals = {"1 point f32 BackGradient": 3.0, "1 point f32 Checkpointed": 3.0, "1 point f32 Gram space": 10.0}
    rows = tuple(
        _faster(f"LR {name}", times[name], times[f"port, {name.split(' f')[0]}"], goals.get(name))
        for name in contestants
    )
    facts = (
        f"The port (float64, {threads} BLAS threads) agrees with BackGradient: cosine {cosines['1 point']:.6f},",
        f"{cosines['20 points']:.6f} for 20 points. The authors' code has one point; for 20, ours",
        "is compared with a port that shares one reversal among all, which they do not.",
    )
    title = "3. The authors' hypergradient of LR (NumPy port) ÷ ours"
    return Section("authors", title, ("ours", "port"), rows, facts, {"cosine": cosines, "blas_threads": threads})


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
                start=tuple(setting.points),
                progress=progress,
            )
        except _ReachedError:
            return None

    return run


def attack_section(setting: Setting, *, seconds: float) -> Section:
    """Compare the time to reach the objective of the authors' greedy attack."""
    threads = tune_numpy(_port(setting._replace(points=setting.points.take([0]))))
    with threadpool_limits(threads, user_api="blas"):
        return _attack_section(setting, seconds)


def _attack_section(setting: Setting, seconds: float) -> Section:
    greedy = authors_port.greedy(setting)
    contestants, evaluations, best = {"greedy": lambda: authors_port.greedy(setting)}, {}, {}
    for kind, dtype in _TYPES.items():
        trace = _attack(setting, dtype)().trace
        reached = np.flatnonzero(trace >= greedy.objective)
        if not reached.size:
            raise RuntimeError(f"the joint attack stopped at {trace.max():.4f}, below {greedy.objective:.4f}.")
        evaluations[kind], best[kind] = int(reached[0]) + 1, float(trace.max())
        contestants[kind] = _attack(setting, dtype, evaluations[kind] / len(trace))
    jax.clear_caches()  # so that the first timed call compiles again
    times = alternate(contestants, seconds=seconds, least=3)
    rows = []
    for kind in _TYPES:
        mine = times[kind]
        rows.append(_faster(f"LR {kind} joint attack", mine, times["greedy"], 20.0))
        cold = mine._replace(median=mine.first, lower=mine.first, upper=mine.first, fastest=mine.first)
        rows.append(_faster(f"LR {kind} with compilation", cold, times["greedy"], None))
    facts = (
        f"Target: {greedy.objective:.4f} validation log-loss, where greedy ends after {greedy.evaluations}",
        f"hypergradients. Joint passes it at {evaluations['f64']} (20 points each), and ends at {best['f64']:.4f}",
        "after 150. Its time counts whole chunks of 7 evaluations, as a user would see them.",
    )
    values = {"target": greedy.objective, "greedy_evaluations": greedy.evaluations, "joint_evaluations": evaluations}
    title = "4. The authors' greedy attack ÷ our joint one, to the same objective"
    return Section("attack", title, ("ours", "greedy"), tuple(rows), facts, {**values, "joint_best": best})


def memory_section(setting: Setting, *, seconds: float) -> Section:
    """Say what Reversible keeps, against the stored trajectory: nothing is timed."""
    del setting, seconds
    facts, values = [], {}
    for gamma in (0.9, 0.98):
        for steps in (100, 200, 1500):
            kept = bg.Reversible().bits_per_step(bg.Descent(steps, 0.1, momentum=gamma))
            values[f"momentum {gamma}, T = {steps}"] = kept
            share = 2 * 64 / kept
            facts.append(f"momentum {gamma:<5} T = {steps:<6}{kept:6.2f} bits against 128: {share:5.0f} times less")
    facts.append("128 bits: parameter and velocity in float64. The limit for large T is log₂(1/momentum).")
    title = "5. Memory: bits Reversible keeps per parameter and step"
    return Section("memory", title, ("", ""), (), tuple(facts), {"bits_per_parameter_and_step": values})


SECTIONS = {
    "training": training_section,
    "pytorch": pytorch_section,
    "authors": authors_section,
    "attack": attack_section,
    "memory": memory_section,
}
