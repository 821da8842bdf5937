"""Figure 4: ten digits against multiclass logistic regression, error-generic and error-specific (8 → 3)."""

import dataclasses
from typing import Any

import numpy as np

from ..evaluation.confusion import class_errors, errors, shares
from .drawing import curve, in_shares, mean_and_half, new_figure, percent_axes
from .experiment import Experiment, Results, Scale, stacked
from .settings import QUICK_SPLITS, SPLITS, poison, runs

_LEARNER, TRAIN = "softmax", 1000


@dataclasses.dataclass(frozen=True)
class Part:
    """One row of the figure.

    Args:
        name: for people.
        goal: in the words of `backgrad attack --goal`.
        points: the largest budget.
        validation: the attacker's rows.
        baseline: where label flips come from.
    """

    name: str
    goal: str
    points: int
    validation: int
    baseline: str

    @property
    def budgets(self) -> tuple[int, ...]:
        """Budgets at which victims are retrained."""
        return tuple(range(0, self.points + 1, 10))

    def settings(self, method: str, *, quick: bool = False) -> dict[str, Any]:
        """Return the settings of a run."""
        budgets = self.budgets if method == "paper" else (0, self.points)
        return poison(
            "mnist",
            _LEARNER,
            method,
            points=self.points,
            budgets=budgets,
            victims=(_LEARNER,),
            train=TRAIN,
            validation=self.validation,
            goal=self.goal,
            baseline=self.baseline,
            precision="float32",
            quick=quick,
        )

    def counts(self, results: Results, method: str, kind: str = "confusion") -> np.ndarray:
        """Return confusion counts, (splits, B, 10, 10)."""
        found = results.of("poison", dataset="mnist", method=method, goal=self.goal)
        return stacked(found, f"{kind}.{_LEARNER}")

    def seen(self, counts: np.ndarray) -> np.ndarray:
        """Return the error that the goal is about: of all rows, or of the attacked class."""
        return errors(counts) if self.goal == "error-generic" else class_errors(counts)[..., 8]


GENERIC = Part("error-generic", "error-generic", 60, 1000, "validation")
SPECIFIC = Part("error-specific, 8 → 3", "8:3", 40, 4000, "start")
PARTS = (GENERIC, SPECIFIC)


def plan(scale: Scale):
    """Return the runs of both parts."""
    cases = [part.settings(method, quick=scale.quick) for part in PARTS for method in ("paper", "best")]
    return runs("poison", cases, QUICK_SPLITS if scale.quick else SPLITS)


def rows(results: Results) -> list[dict[str, Any]]:
    """Return errors, errors of each digit, and how many 8s are taken for 3s."""
    found = []
    for part in PARTS:
        for method in ("paper", "best"):
            for kind, control in (("confusion", False), ("flips", True)):
                counts = part.counts(results, method, kind)
                overall, half = mean_and_half(errors(counts))
                digits, as_three = class_errors(counts).mean(axis=0), shares(counts)[..., 8, 3].mean(axis=0)
                for i, budget in enumerate(part.settings(method)["budgets"]):
                    found.append(
                        {
                            "part": part.name,
                            "method": "label flips" if control else method,
                            "paired_with": method,
                            "points": budget,
                            "poison_fraction": budget / (TRAIN + budget),
                            "error": float(overall[i]),
                            "error_half_interval": float(half[i]),
                            "eights_taken_for_threes": float(as_three[i]),
                            **{f"error_of_{digit}": float(digits[i, digit]) for digit in range(10)},
                        }
                    )
    return found


def draw(results: Results) -> Any:
    """Draw a row a part: the error against the budget, the error of each digit, the change of the confusion matrix."""
    figure, axes = new_figure(2, 3, (13.0, 7.4))
    for line, part in zip(axes, PARTS, strict=True):
        paper, flips, best = (
            part.counts(results, method, kind)
            for method, kind in (("paper", "confusion"), ("paper", "flips"), ("best", "confusion"))
        )
        x = in_shares(part.budgets, TRAIN)
        curve(line[0], x, part.seen(flips), _LEARNER, "label flips", control=True)
        curve(line[0], x, part.seen(paper), _LEARNER, "paper's method")
        mean, half = mean_and_half(100 * part.seen(best)[:, -1])
        style = {"fmt": "D", "mfc": "white", "color": "black", "capsize": 3, "label": "our best attack"}
        line[0].errorbar([100 * x[-1]], mean, half, **style)
        percent_axes(line[0], part.name, y="test error (%)" if part is GENERIC else "test error of 8s (%)")
        line[0].legend(fontsize="x-small", loc="upper left")
        _digits(line[1], paper, best)
        _confusion(figure, line[2], paper)
    return figure


def _digits(ax: Any, paper: np.ndarray, best: np.ndarray) -> None:
    """Draw the errors of each digit, without points and with all of them."""
    bars = (
        ("clean", paper[:, 0], "white", ""),
        ("paper's method", paper[:, -1], "0.7", "//"),
        ("our best attack", best[:, -1], "0.35", ""),
    )
    for number, (label, counts, colour, hatch) in enumerate(bars):
        mean, half = mean_and_half(100 * class_errors(counts))
        place = np.arange(10) + 0.28 * (number - 1)
        style = {"color": colour, "hatch": hatch, "edgecolor": "black", "linewidth": 0.6}
        ax.bar(place, mean, 0.28, yerr=half, label=label, capsize=1.5, error_kw={"elinewidth": 0.6}, **style)
    ax.set(xticks=range(10), xlabel="digit", ylabel="test error (%)")
    ax.set_title("errors of each digit at the largest budget", fontsize="medium")
    ax.legend(fontsize="x-small")


def _confusion(figure: Any, ax: Any, paper: np.ndarray) -> None:
    """Draw by how many points of each true digit's rows the predictions changed."""
    change = 100 * (shares(paper[:, -1]) - shares(paper[:, 0])).mean(axis=0)
    limit = float(np.abs(change).max())
    image = ax.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=ax, shrink=0.85, label="change (percentage points)")
    for (i, j), value in np.ndenumerate(change):
        if abs(value) >= 1:
            dark = abs(value) > 0.6 * limit
            ax.text(j, i, f"{value:+.0f}", ha="center", va="center", fontsize=6, color="white" if dark else "black")
    ax.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="true digit")
    ax.set_title("confusion matrix, poisoned − clean (paper's method)", fontsize="medium")


FIGURE = Experiment("figure4", "Ten digits: error-generic, and 8s taken for 3s", plan, draw, rows)
