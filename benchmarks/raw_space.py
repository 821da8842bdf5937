"""Does it pay to differentiate through a scaler that is refitted on the poisoned rows?

    python -m benchmarks.raw_space [--splits 10] [--seed 0]

The victim is scikit-learn's make_pipeline(StandardScaler(), LogisticRegression()). Points live in the units of the
source, between each column's least and greatest value. One attacker goes back through the scaler, one takes the
victim for LogisticRegression() alone, and label flips are where both start. Paired over splits; ± is half the width of
Student's 95 % interval.
"""

import argparse

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import backgrad as bg
from backgrad.evaluation.metrics import student_interval
from backgrad.evaluation.poisoning import craft_on_split, victim_errors
from backgrad.evaluation.security_curve import budget_of

SIZES = {"breast-cancer": (150, 150), "wine": (60, 50)}
FRACTIONS = (0.05, 0.1, 0.2)


def plan_against(estimator, data: bg.Dataset, n: int) -> bg.Plan:
    """Return an attack on what stands for an estimator."""
    found = bg.surrogate_for(estimator, n_features=data.n_features, n_classes=data.n_classes, n_samples=n)
    (member,) = found.members
    threat = bg.ThreatModel(1, feasible=bg.Box.from_data(data.x))
    return bg.Plan(member.learner, member.schedule, bg.JointAttack(), threat, adjoint=bg.Implicit(throw=False))


def measure(name: str, splits: int, seed: int) -> list[tuple[float, dict[str, np.ndarray]]]:
    """Return the victim's errors by fraction and attacker, one a split."""
    data = bg.load(name, scaled=False)
    table = bg.Table(data.x, data.y, data.n_classes)
    train, validation = SIZES[name]
    victim = make_pipeline(StandardScaler(), LogisticRegression())
    plans = {"through the scaler": plan_against(victim, data, train)}
    plans["scaler ignored"] = plan_against(LogisticRegression(), data, train)
    results = []
    for fraction in FRACTIONS:
        errors: dict[str, list[float]] = {kind: [] for kind in ("clean", "label flips", *plans)}
        for k in range(splits):
            rows = bg.split_rows(data.n_samples, train=train, validation=validation, seed=seed, split=k, labels=data.y)
            for kind, plan in plans.items():
                one = plan.with_budget(budget_of(fraction, train))
                attack = craft_on_split(one, table, bg.Rows(*rows), seed=(seed, k))
                found = victim_errors(victim, table, bg.Rows(*rows), attack, seed=(seed, k))
                errors[kind].append(found["poisoned_error"])
            errors["clean"].append(found["clean_error"])
            errors["label flips"].append(found["label_flip_error"])
        results.append((fraction, {kind: np.asarray(values) for kind, values in errors.items()}))
    return results


def show(values: np.ndarray) -> str:
    """Write a mean and half its interval in percent."""
    ends = student_interval(values)
    half = "" if ends is None else f" ± {50 * (ends[1] - ends[0]):.1f}"
    return f"{100 * values.mean():.1f}{half}"


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name in SIZES:
        for fraction, errors in measure(name, options.splits, options.seed):
            row = ", ".join(f"{kind} {show(values)}" for kind, values in errors.items())
            gains = [errors["through the scaler"] - errors[other] for other in ("label flips", "scaler ignored")]
            print(f"{name} {fraction:.0%}: {row}; more than flips {show(gains[0])}, than ignored {show(gains[1])}")


if __name__ == "__main__":
    main()
