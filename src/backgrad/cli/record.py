"""An evaluation as plain values: what attack.json and points.npz hold."""

import dataclasses
import platform
from importlib.metadata import version
from typing import Any

import numpy as np

from .._version import __version__
from ..evaluation.poisoning import Plan, SplitOutcome, summarise
from ..schedules import Descent, Schedule

_PACKAGES = ("jax", "jaxlib", "equinox", "lineax", "numpy", "optax", "optimistix", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "backgrad": __version__,
        "python": platform.python_version(),
        **{n: version(n) for n in _PACKAGES},
    }


def describe_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as plain values."""
    if isinstance(schedule, Descent):
        return {
            "kind": "descent",
            "steps": schedule.steps,
            "step_size": schedule.step_size,
            "momentum": schedule.momentum,
            "batch_size": schedule.batch_size,
        }
    return {
        "kind": "converged",
        "solver": schedule.solver,
        "tolerance": schedule.tolerance,
        "max_steps": schedule.max_steps,
    }


def describe_run(plan: Plan, outcomes: list[SplitOutcome], asked: dict[str, Any]) -> dict[str, Any]:
    """Return the content of attack.json.

    Args:
        plan: who was attacked, and how.
        outcomes: one a split.
        asked: the settings that are words or numbers already.
    """
    summary = list(summarise(outcomes))
    size = outcomes[0].rows.train.size
    return {
        **asked,
        "l2": float(plan.learner.strength),
        "schedule": describe_schedule(plan.schedule),
        "attack_schedule": describe_schedule(plan.attack_schedule or plan.schedule),
        "attack_settings": {f.name: getattr(plan.attack, f.name) for f in dataclasses.fields(plan.attack)},
        "threat_model": plan.threat.describe(),
        "poison_fraction": plan.threat.budget / (size + plan.threat.budget),
        "versions": versions(),
        "splits": [_describe_split(outcome) for outcome in outcomes],
        "mean": {name: mean for name, mean, _ in summary},
        "interval": {name: None if interval is None else list(interval) for name, _, interval in summary},
        "mean_sklearn_logistic": {
            name: float(np.mean([outcome.sklearn_errors[name] for outcome in outcomes])) for name, _, _ in summary
        },
    }


def _describe_split(outcome: SplitOutcome) -> dict[str, Any]:
    return {
        **outcome.errors,
        "seconds": outcome.seconds,
        "victim_diverged": outcome.diverged,
        "attack_seed": outcome.attack.seed,
        "health": _finite(dataclasses.asdict(outcome.attack.health)),
        "sklearn_logistic": outcome.sklearn_errors,
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace numbers that JSON does not have by their names."""
    return {k: str(v) if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}


def arrays(outcomes: list[SplitOutcome]) -> dict[str, np.ndarray]:
    """Return the content of points.npz."""
    return {
        "points": np.stack([o.attack.points for o in outcomes]),
        "labels": np.stack([o.attack.labels for o in outcomes]),
        "start": np.stack([o.attack.start for o in outcomes]),
        "train_rows": np.stack([o.rows.train for o in outcomes]),
        "validation_rows": np.stack([o.rows.validation for o in outcomes]),
        "test_rows": np.stack([o.rows.test for o in outcomes]),
    }
