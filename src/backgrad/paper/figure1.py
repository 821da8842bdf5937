"""Figure 1: one poisoning point in the plane, against multiclass logistic regression on three classes."""

from typing import Any

import numpy as np

from .drawing import new_figure
from .experiment import Experiment, Results, Scale
from .settings import runs

_GOALS = ("error-generic", "lower left:top")
_OBJECTIVES = {"error-generic": "log-loss", "lower left:top": "minus log-loss of top"}
_ERRORS = {"error-generic": "validation error (%)", "lower left:top": "lower left rows not taken for top (%)"}
_WORDS = {"error-generic": "error-generic", "lower left:top": "error-specific (lower left → top)"}


def _settings(goal: str) -> dict[str, Any]:
    options = {
        "learner": "softmax",
        "points": 1,
        "goal": goal,
        "strategy": "greedy",
        "objective": "log-loss",
        "adjoint": "back-gradient",
        "attack_step_size": 0.5,
        "attack_steps": 300,
        "outer_step_size": 0.02,
        "outer_steps": 100,
    }
    sizes = {"train": 30, "validation": 150, "grid": 60, "arrows": 14}
    return {"dataset": "blobs3", "options": options, **sizes}


def plan(scale: Scale):
    """Return one run a goal, on one split: a picture, not an average."""
    del scale
    return runs("plane", [_settings(goal) for goal in _GOALS], 1)


def rows(results: Results) -> list[dict[str, Any]]:
    """Return the objective at both ends of the path, and the test errors without and with the point."""
    found = []
    for goal in _GOALS:
        arrays = results.of("plane", options=_settings(goal)["options"])[0].arrays
        found.append(
            {
                "goal": goal,
                "steps": len(arrays["path"]) - 1,
                "objective_start": float(arrays["trace"][0]),
                "objective_end": float(arrays["trace"][-1]),
                "clean_error": float(arrays["error.clean"]),
                "poisoned_error": float(arrays["error.poisoned"]),
                "largest_objective_on_grid": float(arrays["surface"].max()),
            }
        )
    return found


def draw(results: Results) -> Any:
    """Draw a row a goal: regions before and after, the outer objective with arrows and path, the zero-one error."""
    figure, axes = new_figure(2, 4, (12.5, 6.2))
    for line, goal in zip(axes, _GOALS, strict=True):
        outcome = results.of("plane", options=_settings(goal)["options"])[0]
        arrays, classes = outcome.arrays, outcome.values["classes"]
        for ax, name in zip(line[:2], ("clean", "poisoned"), strict=True):
            _regions(ax, arrays, name, classes)
            ax.set_title(f"{name}: {100 * float(arrays[f'error.{name}']):.1f} % test error", fontsize="medium")
        _surface(figure, line[2], arrays["surface"], f"outer objective ({_OBJECTIVES[goal]})")
        _arrows(line[2], arrays)
        _surface(figure, line[3], 100 * arrays["zero_one"], _ERRORS[goal])
        for ax in line[2:]:
            _path(ax, arrays)
        line[0].set_ylabel(f"{_WORDS[goal]}\nsecond feature")
        for ax in line:
            ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        for ax in line[1:]:
            ax.set_yticklabels([])
    for ax in axes[1]:
        ax.set_xlabel("first feature")
    axes[0, 0].legend(fontsize="x-small", loc="lower right")
    axes[0, 2].legend(fontsize="x-small", loc="upper right")
    return figure


_MARKERS, _SHADES = ("o", "s", "^"), ("#9ecae1", "#fdd0a2", "#c7e9c0")


def _regions(ax: Any, arrays: Any, name: str, classes: Any) -> None:
    from matplotlib.colors import ListedColormap

    regions = arrays[f"regions.{name}"]
    ax.imshow(regions, origin="lower", extent=(0, 1, 0, 1), cmap=ListedColormap(_SHADES), vmin=0, vmax=2, alpha=0.8)
    ticks = np.linspace(0, 1, len(regions))
    for c in range(len(classes)):
        ax.contour(ticks, ticks, regions == c, levels=[0.5], colors="black", linewidths=0.6)
        mine = arrays["train_x"][arrays["train_y"] == c]
        style = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.6, "s": 12, "label": classes[c]}
        ax.scatter(*mine.T, marker=_MARKERS[c], **style)
    if name == "poisoned":
        label = classes[int(arrays["label"][0])]
        x, y = arrays["path"][-1]
        ax.scatter(x, y, marker="X", s=80, color="black", edgecolor="white", zorder=5, clip_on=False)
        # Towards the middle of the picture, wherever the point has gone.
        sides = {"ha": "left" if x < 0.5 else "right", "va": "bottom" if y < 0.5 else "top"}
        offset = (9 if x < 0.5 else -9, 3 if y < 0.5 else -3)
        ax.annotate(f"labelled {label}", (x, y), textcoords="offset points", xytext=offset, fontsize="x-small", **sides)


def _surface(figure: Any, ax: Any, values: np.ndarray, title: str) -> None:
    image = ax.imshow(values, origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
    figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set_title(title, fontsize="medium")


def _arrows(ax: Any, arrays: Any) -> None:
    """Draw the back-gradients; their lengths are compressed, or the steepest alone would be seen."""
    length = np.linalg.norm(arrays["arrows"], axis=1, keepdims=True)
    shown = arrays["arrows"] / np.where(length > 0, length, 1) * np.sqrt(length / length.max())
    ax.quiver(*arrays["arrow_places"].T, *shown.T, color="white", scale=22, width=0.004)


def _path(ax: Any, arrays: Any) -> None:
    ends = {"linestyle": "none", "clip_on": False, "zorder": 5}
    # In front of the frame: where the best places lie on an edge, the path runs along it.
    ax.plot(*arrays["path"].T, color="black", linewidth=1.6, clip_on=False, zorder=4)
    ax.plot(*arrays["path"][0], marker="o", color="white", markeredgecolor="black", label="start", **ends)
    ax.plot(*arrays["path"][-1], marker="X", color="black", markeredgecolor="white", markersize=9, label="end", **ends)


FIGURE = Experiment("figure1", "One poisoning point against three classes in the plane", plan, draw, rows)
