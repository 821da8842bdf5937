"""Does TRIM hold a regression's error down while poison grows?

    python -m benchmarks.defences.trim [--splits 5] [--seed 0] [--pictures FOLDER]

After the figures of Jagielski et al. (2018) of mean squared error against the share of poison, on diabetes patients
(442 rows, 10 features in [0, 1], responses scaled to [0, 1]). Points are the far ends of the responses at rows of the
training set ("far"), or optimised in features and responses by hypergradients ("optimised"). TRIM is told the true
share, as in the source, and starts from as many rows as it keeps, 20 times, or from 11 rows, 100 times. Errors are in
squared units of the response. Over splits; ± is half the width of Student's 95 % interval.
"""

import argparse
import warnings

import jax
import numpy as np
from sklearn.linear_model import HuberRegressor, RANSACRegressor, Ridge

import backgrad as bg
from backgrad.defences.trim import TrimRegressor
from backgrad.evaluation.metrics import squared_error, student_interval
from backgrad.evaluation.plan import as_samples
from backgrad.evaluation.security_curve import budget_of

from .common import add_pictures, save_curves

FRACTIONS = (0.0, 0.05, 0.1, 0.15, 0.2)
TRAIN, VALIDATION, ALPHA, FEW = 150, 100, 0.1, 11


def far_points(x: np.ndarray, y: np.ndarray, p: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return rows whose response is at the end of the range that is farther from their own."""
    rows = rng.permutation(len(y))[:p]
    return x[rows], np.where(y[rows] > 0.5, 0.0, 1.0)


def optimised_points(data: tuple, rows: bg.Rows, p: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points that raise the squared error on validation rows."""
    x, y = data
    train, validation = (as_samples(x[part], y[part], 0) for part in (rows.train, rows.validation))
    threat = bg.ThreatModel(p, goal=bg.ErrorGeneric(bg.SquaredLoss()), labels=bg.ChosenResponses())
    attack = bg.JointAttack(100, step_size=0.2)
    learner = bg.Ridge(x.shape[1], ALPHA / TRAIN)
    result = attack.craft(learner, train, validation, schedule=bg.Converged(), threat=threat, seed=seed)
    return result.points, result.labels[:, 0]


def defences(fraction: float, seed: int) -> dict[str, object]:
    """Return the regressors that are compared."""
    return {
        "ridge": Ridge(ALPHA),
        "TRIM": TrimRegressor(Ridge(ALPHA), fraction=fraction, random_state=seed),
        "TRIM, small starts": TrimRegressor(
            Ridge(ALPHA), fraction=fraction, start_size=FEW, n_init=100, random_state=seed
        ),
        "Huber": HuberRegressor(alpha=ALPHA, max_iter=1000),
        "RANSAC": RANSACRegressor(Ridge(ALPHA), random_state=seed, min_samples=0.5),
    }


def measure(kind: str, fraction: float, splits: int, seed: int) -> dict[str, np.ndarray]:
    """Return test errors by regressor, one a split."""
    data = bg.load("diabetes", scaled=True)
    low, reach = data.y.min(), np.ptp(data.y)
    x, y = data.x, (data.y - low) / reach
    errors: dict[str, list[float]] = {}
    for k in range(splits):
        rows = bg.Rows(*bg.split_rows(len(y), train=TRAIN, validation=VALIDATION, seed=seed, split=k))
        p, rng = budget_of(fraction, TRAIN), np.random.default_rng([seed, k])
        points, responses = x[:0], y[:0]
        if p:
            far = far_points(x[rows.train], y[rows.train], p, rng)
            points, responses = far if kind == "far" else optimised_points((x, y), rows, p, k)
        features, targets = np.concatenate([x[rows.train], points]), np.concatenate([y[rows.train], responses])
        for name, model in defences(p / (TRAIN + p), k).items():
            fitted = model.fit(features, targets)
            errors.setdefault(name, []).append(reach**2 * squared_error(fitted.predict(x[rows.test]), y[rows.test]))
    return {name: np.asarray(values) for name, values in errors.items()}


def show(values: np.ndarray) -> str:
    """Write a mean and half its interval."""
    ends = student_interval(values)
    half = "" if ends is None else f" ± {(ends[1] - ends[0]) / 2:.0f}"
    return f"{values.mean():.0f}{half}"


def main() -> None:
    """Print a table for each kind of points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    add_pictures(parser)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")
    panels: dict[str, dict[str, dict[float, list[float]]]] = {}
    for kind in ("far", "optimised"):
        for fraction in FRACTIONS:
            errors = measure(kind, fraction, options.splits, options.seed)
            row = ", ".join(f"{name} {show(values)}" for name, values in errors.items())
            print(f"{kind} {fraction:.0%}: {row}", flush=True)
            for name, values in errors.items():
                panels.setdefault(f"{kind} points", {}).setdefault(name, {})[fraction] = values.tolist()
    save_curves(options.pictures and options.pictures / "trim.png", panels, score="mean squared error")


if __name__ == "__main__":
    main()
