"""Figures 2 and 3: Spambase and Ransomware, each learner attacked knowingly (PK) and through another (LK-SL)."""

import itertools
from typing import Any

import numpy as np

from ..evaluation.confusion import errors
from .drawing import STYLES, curve, in_shares, mean_and_half, new_figure, percent_axes
from .experiment import Experiment, Results, Scale, stacked
from .settings import BINARY, BUDGETS, FIFTEEN, NAMES, NEAR, QUICK_SPLITS, SPLITS, poison, runs

DATASETS = ("spambase", "ransomware")
_TRAIN = 100
# Learners and methods; for the MLP, the attack made for other learners' victims is the best on its own.
_METHODS = (*itertools.product(BINARY, ("paper", "best")), *((learner, "transfer") for learner in NEAR))


def settings(dataset: str, learner: str, method: str, *, quick: bool = False) -> dict[str, Any]:
    """Return the settings of a run: the paper's attack at all budgets, or one of ours at 15 % alone."""
    points, budgets = (BUDGETS[-1], BUDGETS) if method == "paper" else (FIFTEEN, (0, FIFTEEN))
    return poison(dataset, learner, method, points=points, budgets=budgets, victims=BINARY, train=_TRAIN, quick=quick)


def plan(scale: Scale):
    """Return the runs of both figures, which are the same."""
    cases = itertools.product(DATASETS, _METHODS)
    found = [settings(dataset, *case, quick=scale.quick) for dataset, case in cases]
    return runs("poison", found, QUICK_SPLITS if scale.quick else SPLITS)


def best_method(surrogate: str, victim: str) -> str:
    """Return which of our attacks on a surrogate does most harm to a victim."""
    return "transfer" if surrogate != victim and (surrogate, "transfer") in _METHODS else "best"


def outcomes(results: Results, dataset: str, learner: str, method: str):
    """Return the outcomes of points crafted against a learner."""
    return results.of("poison", dataset=dataset, learner=learner, method=method)


def curves(results: Results, dataset: str, surrogate: str, victim: str, method: str, kind: str = "confusion"):
    """Return the test errors of a victim at every budget, (splits, B)."""
    return errors(stacked(outcomes(results, dataset, surrogate, method), f"{kind}.{victim}"))


def rows(results: Results) -> list[dict[str, Any]]:
    """Return means and intervals of every curve."""
    found = []
    for dataset, (surrogate, method), victim in itertools.product(DATASETS, _METHODS, BINARY):
        budgets = settings(dataset, surrogate, method)["budgets"]
        (mean, half), (flips, flips_half) = (
            mean_and_half(curves(results, dataset, surrogate, victim, method, kind)) for kind in ("confusion", "flips")
        )
        for i, budget in enumerate(budgets):
            found.append(
                {
                    "dataset": dataset,
                    "surrogate": surrogate,
                    "victim": victim,
                    "method": method,
                    "points": budget,
                    "poison_fraction": budget / (_TRAIN + budget),
                    "error": float(mean[i]),
                    "error_half_interval": float(half[i]),
                    "label_flip_error": float(flips[i]),
                    "label_flip_half_interval": float(flips_half[i]),
                }
            )
    return found


def _rows2(results: Results) -> list[dict[str, Any]]:
    own = (row for row in rows(results) if row["surrogate"] == row["victim"])
    return [row for row in own if row["method"] != "transfer"]


def _best(axes: Any, results: Results, dataset: str, surrogate: str, victim: str, label: str | None) -> None:
    """Mark what our attack reaches at 15 %."""
    method = best_method(surrogate, victim)
    mean, half = mean_and_half(100 * curves(results, dataset, surrogate, victim, method)[:, -1])
    colour, _, marker = STYLES[victim]
    x = 100 * FIFTEEN / (_TRAIN + FIFTEEN)
    style = {"color": colour, "marker": marker, "markersize": 9, "mfc": "white", "capsize": 3, "linestyle": "none"}
    axes.errorbar([x], mean, half, label=label, **style)


def _share_tops(line: Any) -> None:
    """Let panels that share their axis show what is highest in any of them, not in the first alone."""
    line[0].autoscale(axis="y")
    line[0].set_ylim(bottom=0)


def _draw2(results: Results) -> Any:
    figure, axes = new_figure(1, 2, (10.0, 4.2), sharey=True)
    x = in_shares(BUDGETS, _TRAIN)
    for ax, dataset in zip(axes[0], DATASETS, strict=True):
        for learner in BINARY:
            flips = curves(results, dataset, learner, learner, "paper", "flips")
            curve(ax, x, flips, learner, f"{NAMES[learner]}, label flips", control=True)
        for learner in BINARY:
            crafted = curves(results, dataset, learner, learner, "paper")
            curve(ax, x, crafted, learner, f"{NAMES[learner]}, paper's method")
            _best(ax, results, dataset, learner, learner, f"{NAMES[learner]}, our best attack at 15 %")
        percent_axes(ax, NAMES[dataset])
    axes[0, 1].set_ylabel("")
    _share_tops(axes[0])
    axes[0, 0].legend(fontsize="x-small", loc="upper left")
    return figure


def _draw3(results: Results) -> Any:
    figure, axes = new_figure(2, 3, (12.0, 7.0), sharex=True, sharey="row")
    x = in_shares(BUDGETS, _TRAIN)
    for (i, dataset), (j, surrogate) in itertools.product(enumerate(DATASETS), enumerate(BINARY)):
        ax = axes[i, j]
        for victim in BINARY:
            curve(ax, x, curves(results, dataset, surrogate, victim, "paper"), victim, f"victim {NAMES[victim]}")
            _best(ax, results, dataset, surrogate, victim, f"{NAMES[victim]}, our best at 15 %")
        percent_axes(ax, f"{NAMES[dataset]}, points crafted against {NAMES[surrogate]}")
        if j:
            ax.set_ylabel("")
        if not i:
            ax.set_xlabel("")
    for line in axes:
        _share_tops(line)
    axes[0, 0].legend(fontsize="x-small", loc="upper left")
    return figure


def at_fifteen(results: Results, dataset: str, surrogate: str, victim: str, method: str, kind: str = "confusion"):
    """Return the test errors of a victim with 18 points on 100, (splits,)."""
    budgets = list(settings(dataset, surrogate, method)["budgets"])
    return curves(results, dataset, surrogate, victim, method, kind)[:, budgets.index(FIFTEEN)]


def clean(results: Results, dataset: str, victim: str) -> np.ndarray:
    """Return the test errors of a victim without points, (splits,)."""
    return curves(results, dataset, victim, victim, "paper")[:, 0]


FIGURE2 = Experiment("figure2", "Perfect knowledge: three learners on Spambase and Ransomware", plan, _draw2, _rows2)
FIGURE3 = Experiment("figure3", "Surrogate learners: the same points against all three", plan, _draw3, rows)
