"""Figures 5 and 6: what poisoning digits look like, made for a convolutional network (5) and for a linear model (6)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluation.confusion import errors
from ..studies.plan import Run
from .drawing import mean_and_half
from .experiment import Experiment, Results, Scale, stacked
from .settings import NETWORK_SPLITS, runs

DIGITS = ("1", "5", "6")
POINTS, MANY = 10, 30
LEARNERS = ("cnn", "softmax")
_VICTIMS = 5


def _settings(scale: Scale, method: str, learner: str | None, points: int) -> dict[str, Any]:
    """Return the settings of a run: a method is `clean`, `flips`, `paper` or `best`."""
    found: dict[str, Any] = {
        "dataset": scale.digits,
        "digits": DIGITS,
        "train": 1000,
        "validation": 2000 if scale.digits == "mnist-full" else 1000,
        "victims": 1 if scale.quick else _VICTIMS,
        "victims_narrow": 8 if scale.quick else 1,
        "method": method,
        "learner": learner,
        "points": points,
    }
    if method in _CRAFTED:
        found |= _CRAFTED[method][str(learner)] | {"outer_step_size": 1.0}
        if scale.quick:
            found |= _QUICK[method][str(learner)]
    return found


# How points are crafted: T and η of the attack's own training (the victim's where left out), what part of the network's
# width it trains (`narrow`), and how many steps it takes, as many of them to rehearse as it says. The paper's step size
# is one at which the reversal of the network's training stays within bounds; `evaluation.networks` has ours.
_CRAFTED: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "paper": {
        "cnn": {"step_size": 0.05, "steps": 60, "batch_size": 100, "narrow": 1, "outer_steps": 2, "halvings": 2},
        "softmax": {"step_size": 0.5, "steps": 60, "batch_size": None, "narrow": 1, "outer_steps": 50, "halvings": 3},
    },
    "best": {
        "cnn": {"narrow": 8, "outer_steps": 120, "rehearsal": 0},
        "softmax": {"narrow": 1, "outer_steps": 40, "rehearsal": 100},
    },
}
_QUICK: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "paper": {"cnn": {"narrow": 8, "outer_steps": 1, "halvings": 0}, "softmax": {"outer_steps": 5}},
    "best": {"cnn": {"narrow": 8, "outer_steps": 8}, "softmax": {"outer_steps": 10, "rehearsal": 30}},
}


def _cases(scale: Scale) -> list[dict[str, Any]]:
    budgets = (POINTS,) if scale.quick else (POINTS, MANY)
    crafted = [("paper", learner, POINTS) for learner in LEARNERS]
    crafted += [("best", "softmax", POINTS), *(("best", "cnn", points) for points in budgets)]
    controls = [("clean", None, 0), *(("flips", None, points) for points in budgets)]
    return [_settings(scale, *case) for case in (*controls, *crafted)]


def plan(scale: Scale) -> tuple[Run, ...]:
    """Return the runs of both figures, which are the same."""
    return runs("network", _cases(scale), 3 if scale.quick else NETWORK_SPLITS)


def _wanted(method: str, learner: str | None, points: int) -> dict[str, Any]:
    """Return the settings by which a method's runs are found; controls are of no learner, clean rows have no points."""
    found = {"method": method, "learner": learner, "points": points}
    return {name: value for name, value in found.items() if value is not None and (method, name) != ("clean", "points")}


def outcomes(results: Results, method: str, learner: str | None = None, points: int = POINTS):
    """Return the outcomes of a method, by split."""
    return results.of("network", **_wanted(method, learner, points))


def has(results: Results, method: str, learner: str | None, points: int) -> bool:
    """Tell whether a method was run."""
    return results.has("network", **_wanted(method, learner, points))


def victim_errors(results: Results, victim: str, method: str, learner: str | None = None, points: int = POINTS):
    """Return test errors, (splits, V) over initialisations."""
    return errors(stacked(outcomes(results, method, learner, points), f"confusion.{victim}"))


def distances(results: Results, learner: str, method: str = "paper") -> np.ndarray:
    """Return how far points moved from the digits they started as, ‖after − before‖ / ‖before‖, (splits, p)."""
    found = outcomes(results, method, learner)
    start, end = stacked(found, "start"), stacked(found, "points")
    return np.linalg.norm(end - start, axis=-1) / np.linalg.norm(start, axis=-1)


def rows(results: Results) -> list[dict[str, Any]]:
    """Return the errors of both kinds of victims under every method."""
    cases = [("clean", None, 0)]
    cases += [("flips", None, points) for points in (POINTS, MANY) if has(results, "flips", None, points)]
    for learner in LEARNERS:
        cases += [(method, learner, POINTS) for method in ("paper", "best")]
    cases += [("best", "cnn", MANY)] if has(results, "best", "cnn", MANY) else []
    found = []
    for method, learner, points in cases:
        for victim in LEARNERS:
            seen = victim_errors(results, victim, method, learner, points).mean(axis=1)
            mean, half = mean_and_half(seen)
            found.append(
                {
                    "dataset": str(results.settings("network")["dataset"]),
                    "method": method,
                    "crafted_against": learner,
                    "points": points,
                    "victim": victim,
                    "error": float(mean),
                    "error_half_interval": float(half),
                    "splits": [float(value) for value in seen],
                }
            )
    return found


def _draw(results: Results, learner: str) -> Any:
    from ..evaluation.displays import PoisonGalleryDisplay

    outcome = outcomes(results, "paper", learner)[0]
    display = PoisonGalleryDisplay(
        before=outcome.arrays["start"],
        after=outcome.arrays["points"],
        labels=outcome.arrays["labels"],
        class_names=outcome.values["classes"],
        image_shape=(28, 28),
    )
    return display.plot(max_points=POINTS).figure_


FIGURE5 = Experiment(
    "figure5", "Poisoning digits against the convolutional network", plan, lambda found: _draw(found, "cnn"), rows
)
FIGURE6 = Experiment(
    "figure6", "Poisoning digits against logistic regression", plan, lambda found: _draw(found, "softmax"), rows
)
