"""An evaluation as plain values: what attack.json and points.npz hold."""

import dataclasses
import platform
from typing import Any

import numpy as np

from .._version import __version__
from ..attacks.health import AttackHealth
from ..evaluation.poisoning import ERRORS, SplitOutcome, summarise
from ..schedules import Descent, Schedule
from ..studies.plan import package_versions
from ..studies.tasks import number
from .session import Session


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"backgrad": __version__, "python": platform.python_version(), **package_versions()}


def describe_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as plain values."""
    if isinstance(schedule, Descent):
        return {
            "kind": "descent",
            "steps": schedule.steps,
            "step_size": schedule.step_size,
            "momentum": schedule.momentum,
            "batch_size": schedule.batch_size,
            "clip": None if schedule.clip is None else float(schedule.clip),
            "noise": float(schedule.noise),
        }
    return {
        "kind": "converged",
        "solver": schedule.solver,
        "tolerance": schedule.tolerance,
        "max_steps": schedule.max_steps,
    }


def describe_session(session: Session) -> dict[str, Any]:
    """Return what was asked for, and what it stands for, as plain values."""
    options, plan = session.options, session.plan
    size, budget = session.train, plan.threat.budget
    return {
        "dataset": session.data.dataset.name,
        **({} if session.data.response_range is None else {"response_range": list(session.data.response_range)}),
        "learner": options.learner,
        "strategy": options.strategy,
        "objective": options.objective,
        "adjoint": options.adjoint,
        "start": options.start,
        "reuse": plan.reuse,
        "seed": session.seed,
        "train": size,
        "validation": session.validation,
        "official_test": session.official_test,
        "l2": float(plan.learner.strength),
        "schedule": describe_schedule(plan.schedule),
        "attack_schedule": describe_schedule(plan.attack_schedule or plan.schedule),
        "attack_settings": {f.name: getattr(plan.attack, f.name) for f in dataclasses.fields(plan.attack)},
        "threat_model": plan.threat.describe(),
        "poison_fraction": budget / (size + budget),
        **({} if plan.devices is None else {"devices": plan.devices}),
    }


def describe_run(
    session: Session, outcomes: list[SplitOutcome], budgets: dict[int, list[SplitOutcome]] | None
) -> dict[str, Any]:
    """Return the content of attack.json.

    Args:
        session: who was attacked, how and on which rows.
        outcomes: one a split, at the greatest budget.
        budgets: outcomes by budget, where several were asked for.
    """
    summary = list(summarise(outcomes))
    classes = session.data.table.n_classes > 0
    names = session.data.dataset.class_names
    curve = {} if budgets is None else {"curve": _describe_curve(session.train, budgets)}
    found = {
        **describe_session(session),
        "versions": versions(),
        "splits": [_describe_split(outcome) for outcome in outcomes],
        "mean": {
            **{name: mean for name, mean, _ in summary},
            **({"per_class_error": _mean_class_errors(outcomes, names)} if classes else {}),
            **_mean_victims(outcomes),
            **_mean_goal_rate(outcomes),
        },
        "interval": {name: None if interval is None else list(interval) for name, _, interval in summary},
        "mean_sklearn_" + ("logistic" if classes else "ridge"): {
            name: float(np.mean([outcome.sklearn_errors[name] for outcome in outcomes])) for name, _, _ in summary
        },
        **curve,
    }
    return as_json(found)


def _describe_curve(train: int, budgets: dict[int, list[SplitOutcome]]) -> dict[str, Any]:
    """Return means and intervals against the fraction of poisoned rows."""
    mean: dict[str, list[Any]] = {name: [] for name in ERRORS}
    interval: dict[str, list[Any]] = {name: [] for name in ERRORS}
    for outcomes in budgets.values():
        for name, value, ends in summarise(outcomes):
            mean[name].append(value)
            interval[name].append(None if ends is None else list(ends))
    fractions = [budget / (train + budget) for budget in budgets]
    health = [[outcome.attack.health.verdict for outcome in outcomes] for outcomes in budgets.values()]
    return {"fractions": fractions, "points": list(budgets), "mean": mean, "interval": interval, "health": health}


def _mean_victims(outcomes: list[SplitOutcome]) -> dict[str, Any]:
    """Return the poisoned error of every further victim, and beside it those of the controls."""
    names = list(outcomes[0].victims)
    if not names:
        return {}

    def mean(error: str) -> dict[str, float]:
        return {name: float(np.mean([outcome.victims[name][error] for outcome in outcomes])) for name in names}

    return {
        "victims": mean("poisoned_error"),
        "victims_clean": mean("clean_error"),
        "victims_label_flip": mean("label_flip_error"),
    }


def _mean_class_errors(outcomes: list[SplitOutcome], class_names: tuple[str, ...]) -> dict[str, float | None]:
    """Return the poisoned victim's mean error on each class, None for a class that no split has test rows of."""
    found = np.stack([outcome.class_errors["poisoned_error"] for outcome in outcomes])
    return {
        str(name): None if np.isnan(column).all() else float(np.nanmean(column))
        for name, column in zip(class_names, found.T, strict=True)
    }


def _mean_goal_rate(outcomes: list[SplitOutcome]) -> dict[str, float]:
    rates = [outcome.goal_rates["poisoned_error"] for outcome in outcomes if outcome.goal_rates]
    return {"attacker_goal_rate": float(np.mean(rates))} if rates else {}


def _describe_split(outcome: SplitOutcome) -> dict[str, Any]:
    return {
        **outcome.errors,
        "seconds": outcome.seconds,
        "victim_diverged": outcome.diverged,
        "attack_seed": outcome.attack.seed,
        "health": _describe_health(outcome.attack.health),
        "sklearn_logistic" if outcome.class_errors else "sklearn_ridge": outcome.sklearn_errors,
        **({"victims": outcome.victims} if outcome.victims else {}),
    }


def _describe_health(health: AttackHealth) -> dict[str, Any]:
    return {**dataclasses.asdict(health), "training": health.training.name.lower()}


def as_json(value: Any) -> Any:
    """Return a record whose numbers are those that JSON has, see `number`."""
    if isinstance(value, dict):
        return {name: as_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_json(one) for one in value]
    return number(value)


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
