"""Figure 7: what the paper could not show, reversed hypergradients against exact ones; and what gradients cost."""

from typing import Any

import numpy as np

from .drawing import STYLES, new_figure
from .experiment import Experiment, Results, Scale
from .settings import INNER, NAMES, QUICK_SPLITS, SPLITS, runs

STEPS = (10, 20, 40, 60, 100, 200, 400, 1000)
_QUICK_STEPS = (10, 100, 400)
_LEARNERS = ("mlp", "logistic", "adaline", "softmax")
_COUNTS = (1, 20)


def _settings(learner: str, steps: tuple[int, ...]) -> dict[str, Any]:
    ten = learner == "softmax"
    sizes = {"train": 1000, "validation": 1000} if ten else {"train": 100, "validation": 400}
    return {
        "dataset": "mnist" if ten else "mnist-1-7",
        "learner": learner,
        "points": max(_COUNTS),
        "counts": _COUNTS,
        "step_size": INNER[learner].step_size,
        "steps": steps,
        **sizes,
    }


def _cost(quick: bool) -> dict[str, Any]:
    return {
        "dataset": "mnist",
        "learner": "softmax",
        "points": 1,
        "step_size": 0.5,
        "l2": 0.01,
        "train": 1000,
        "validation": 1000,
        "sides": (4, 7, 14) if quick else (4, 7, 14, 28),
        "steps": (60, 300),
        "densest": 2000,
    }


def plan(scale: Scale):
    """Return the comparisons, a few splits of each, and one run of timings."""
    steps = _QUICK_STEPS if scale.quick else STEPS
    cases = [_settings(learner, steps) for learner in _LEARNERS]
    compared = runs("reversal", cases, QUICK_SPLITS if scale.quick else SPLITS // 2)
    return (*compared, *runs("cost", [_cost(scale.quick)], 1))


def _series(results: Results, learner: str, points: int) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Return T, and the cosines and drifts of all splits, (splits, T); NaN where a reversal overflowed."""
    found = results.of("reversal", learner=learner)
    steps, place = results.settings("reversal", learner=learner)["steps"], _COUNTS.index(points)
    cosine, drift = (
        np.array([[np.nan if v is None else v for v in outcome.values[name][place]] for outcome in found], float)
        for name in ("cosine", "drift")
    )
    return steps, cosine, drift


def rows(results: Results) -> list[dict[str, Any]]:
    """Return cosine and drift of every split, and the costs."""
    found: list[dict[str, Any]] = []
    for learner in _LEARNERS:
        for points in _COUNTS:
            steps, cosine, drift = _series(results, learner, points)
            for (split, i), value in np.ndenumerate(cosine):
                shared = {"kind": "reversal", "learner": learner, "points": points, "steps": steps[i], "split": split}
                numbers = {"cosine": float(value), "drift": float(drift[split, i])}
                found.append({**shared, **{k: v if np.isfinite(v) else None for k, v in numbers.items()}})
    return found + costs(results)


def costs(results: Results) -> list[dict[str, Any]]:
    """Return parameters, steps, adjoint, cosine to the exact gradient, and seconds of one hypergradient."""
    outcome = results.of("cost")[0]
    return [
        {"kind": "cost", **case, "seconds": outcome.timing[str(number)]}
        for number, case in enumerate(outcome.values["cases"])
    ]


_WAYS = {
    "exact, stored": ("black", "solid", "D"),
    "back-gradient": ("#0072B2", "dashed", "o"),
    "implicit, conjugate gradients": ("#009E73", "dashdot", "^"),
    "implicit, dense": ("#D55E00", "dotted", "s"),
}


# A drift of 10 is as useless as one of 10⁶⁸; above 0.1, marked by a line, the gradient is not to be trusted.
_DRIFTS = (1e-4, 1e4)


def draw(results: Results) -> Any:
    """Draw cosine and drift over T, for one point and for 20, and the costs over the number of parameters."""
    figure, axes = new_figure(2, 3, (13.0, 7.4))
    for column, points in enumerate(_COUNTS):
        for learner in _LEARNERS:
            steps, cosine, drift = _series(results, learner, points)
            colour, line, marker = STYLES[learner]
            style = {"color": colour, "linestyle": line, "marker": marker, "label": _label(learner)}
            if learner == "softmax":
                style |= {"color": "black", "linestyle": "dotted", "marker": "v"}
            whole = ~np.isnan(cosine).any(axis=0)
            axes[0, column].plot(np.asarray(steps)[whole], cosine.mean(axis=0)[whole], **style)
            good = np.isfinite(drift).all(axis=0)
            axes[1, column].plot(np.asarray(steps)[good], drift.mean(axis=0)[good], **style)
        axes[0, column].set_title(f"{points} point{'s' * (points > 1)}", fontsize="medium")
        axes[0, column].set(xscale="log", ylim=(-1.05, 1.05), ylabel="cosine, reversed to exact")
        axes[1, column].set(xscale="log", yscale="log", xlabel="T, steps of training", ylabel="drift of the reversal")
        axes[1, column].axhline(0.1, color="0.6", linewidth=0.8)
        axes[1, column].set_ylim(*_DRIFTS)
        axes[1, column].set_title(f"beyond {_DRIFTS[1]:.0e}: off the axis", fontsize="small")
        for ax in axes[:, column]:
            ax.grid(alpha=0.25, linewidth=0.5)
    axes[0, 0].legend(fontsize="x-small", loc="lower left")
    _draw_costs(axes[:, 2], costs(results))
    return figure


def _label(learner: str) -> str:
    data = "10 digits" if learner == "softmax" else "1 or 7"
    return f"{NAMES[learner]} (η = {INNER[learner].step_size}, {data})"


def _draw_costs(axes: Any, found: list[dict[str, Any]]) -> None:
    longest = max(case["steps"] for case in found)
    parameters = sorted({case["parameters"] for case in found})
    for way, (colour, line, marker) in _WAYS.items():
        mine = [case for case in found if case["adjoint"] == way and case["steps"] == longest]
        style = {"color": colour, "linestyle": line, "marker": marker, "label": way}
        sizes = [case["parameters"] for case in mine]
        axes[0].plot(sizes, [1e3 * case["seconds"] for case in mine], **style)
        axes[1].plot(sizes, [1 - min(case["cosine"], 1) + 1e-16 for case in mine], **style)
    axes[0].set(xscale="log", yscale="log", ylabel="one hypergradient (ms)")
    axes[0].set_title(f"multiclass LR, 10 digits, L2 = 0.01, T = {longest}", fontsize="medium")
    axes[1].set(xscale="log", yscale="log", ylabel="1 − cosine to the exact gradient", xlabel="parameters")
    axes[0].legend(fontsize="x-small", loc="upper left")
    for ax in axes:
        ax.set_xticks(parameters, [str(value) for value in parameters], minor=False)
        ax.set_xticks([], minor=True)
        ax.grid(alpha=0.25, linewidth=0.5)


FIGURE = Experiment("figure7", "Reversed against exact hypergradients, and what they cost", plan, draw, rows)
