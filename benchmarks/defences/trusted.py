"""Do trusted rows tell poison from clean rows?

    python -m benchmarks.defences.trusted [--splits 5] [--seed 0]

After the RONI experiment of Nelson et al. (2008), where one threshold of impact told messages of a dictionary attack
from all others. Here it is Spambase (scaled to [0, 1]), 200 training rows, 100 trusted ones, and 20 points: training
rows with wrong labels, or points optimised against logistic regression. The table has the mean impact of points and of
clean rows on trusted rows, in thousandths; the chance that a point has more of it than a clean row (the area under the
ROC curve); the share of points among the rows removed, when each defence may remove as many as there are; and the test
error with all rows, without those removed, and of the clean model. Over splits; ± is half the width of Student's 95 %
interval.
"""

import argparse
import time

import jax
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import backgrad as bg
from backgrad.defences.trusted import RONI, Influence
from backgrad.evaluation.metrics import student_interval
from backgrad.types import samples

TRAIN, VALIDATION, TRUSTED, POINTS = 200, 200, 100, 20
DEFENCES = {
    "RONI, error": RONI(impact="error"),
    "RONI, loss": RONI(),
    "RONI, fast": RONI(fast=True),
    "influence": Influence(),
    "influence, 3 rounds": Influence(rounds=3),
}


def craft(attack: bg.Attack, data: bg.Dataset, rows: bg.Rows, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what an attack on scikit-learn's logistic regression adds to the training rows."""
    found = bg.surrogate_for(LogisticRegression(), n_features=data.n_features, n_classes=2, n_samples=TRAIN)
    (member,) = found.members
    train, validation = (samples(data.x[part], data.y[part], 2) for part in (rows.train, rows.validation))
    threat = bg.ThreatModel(count, feasible=bg.Box())
    result = attack.craft(member.learner, train, validation, schedule=member.schedule, threat=threat, seed=seed)
    return result.points, result.labels


def measure(kind: str, splits: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Return what the table holds, by defence, one a split."""
    data, found = bg.load("spambase"), {name: [] for name in DEFENCES}
    for k in range(splits):
        rows = bg.Rows(*bg.split_rows(data.n_samples, train=TRAIN, validation=VALIDATION, seed=seed, split=k))
        trusted, test = rows.test[:TRUSTED], rows.test[TRUSTED:]
        attack = bg.LabelFlip() if kind == "flips" else bg.JointAttack(60)
        points, labels = craft(attack, data, rows, POINTS, k)
        x, y = np.concatenate([data.x[rows.train], points]), np.append(data.y[rows.train], labels)
        is_point = np.arange(len(y)) >= TRAIN

        def error(kept, x=x, y=y, test=test):
            return 1 - LogisticRegression(max_iter=1000).fit(x[kept], y[kept]).score(data.x[test], data.y[test])

        given = {"trusted": (data.x[trusted], data.y[trusted]), "fraction": POINTS / len(y), "random_state": k}
        for name, one in DEFENCES.items():
            defence, begin = clone(one).set_params(**given), time.perf_counter()
            defence.fit_resample(x, y)
            seconds, impact, removed = time.perf_counter() - begin, defence.suspicion_, defence.removed_indices_
            found[name].append(
                {
                    "points": 1000 * impact[is_point].mean(),
                    "clean": 1000 * impact[~is_point].mean(),
                    "area": roc_auc_score(is_point, impact),
                    "hits %": 100 * is_point[removed].mean() if removed.size else 0.0,
                    "error %": 100 * error(np.ones(len(y), bool)),
                    "cleaned %": 100 * error(defence.sample_indices_),
                    "clean model %": 100 * error(~is_point),
                    "seconds": seconds,
                }
            )
    return {name: {key: np.array([one[key] for one in many]) for key in many[0]} for name, many in found.items()}


def show(values: np.ndarray) -> str:
    """Write a mean and half its interval."""
    ends = student_interval(values)
    half = "" if ends is None else f" ± {(ends[1] - ends[0]) / 2:.2g}"
    return f"{values.mean():.3g}{half}"


def main() -> None:
    """Print a table for each kind of points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for kind in ("flips", "optimised"):
        for name, columns in measure(kind, options.splits, options.seed).items():
            print(
                f"{kind}, {name}: " + ", ".join(f"{key} {show(values)}" for key, values in columns.items()), flush=True
            )


if __name__ == "__main__":
    main()
