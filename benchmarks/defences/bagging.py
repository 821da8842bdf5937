"""Does bagging dampen poison? After Biggio, Corona, Fumera, Giacinto and Roli (2011), with 95 % intervals over splits.

The source poisons a word-counting spam filter with messages that hold many words at once, and finds that ensembles of
bootstrap replicates lose less, most where outlying rows are drawn more rarely. Here it is Spambase, words present or
not, and 200 training rows. *Dictionary* points have every word, are labelled as spam, and come to naive Bayes, which
counts words like the source's filter; *optimised* points are crafted against logistic regression, by an attacker who
does not know of the ensemble.

Run `python -m benchmarks.defences.bagging [--pictures FOLDER]`.
"""

import sys
import time

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB

import backgrad as bg
from backgrad.defences.bagging import bagged
from backgrad.evaluation.metrics import error_rate
from backgrad.evaluation.plan import Rows
from backgrad.evaluation.security_curve import budget_of

from .common import picture_folder, save_curves, show
from .trusted import craft

SPLITS, TRAIN, VALIDATION = 5, 200, 200
SHARES = (0.0, 0.05, 0.1, 0.2)
SPAM = 1
VICTIMS = {"dictionary": BernoulliNB(), "optimised": LogisticRegression(max_iter=1000)}


def models(base, seed: int) -> dict[str, object]:
    """Return the classifiers that are compared."""
    return {
        "one model": base,
        "bagging, 10": bagged(base, n_estimators=10, random_state=seed),
        "bagging, 50": bagged(base, n_estimators=50, random_state=seed),
        "weighted bagging, 50": bagged(base, n_estimators=50, weighted=True, random_state=seed),
    }


def dictionary(data: bg.Dataset, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return messages of all words, as spam."""
    return np.ones((count, data.n_features)), np.full(count, SPAM)


def main() -> None:
    pictures, begin, panels = picture_folder(__doc__), time.perf_counter(), {}
    jax.config.update("jax_enable_x64", True)
    data = bg.load("spambase")
    for kind, victim in VICTIMS.items():
        found = {name: {share: [] for share in SHARES} for name in models(victim, 0)}
        for k in range(SPLITS):
            rows = Rows(*bg.split_rows(data.n_samples, train=TRAIN, validation=VALIDATION, seed=0, split=k))
            for share in SHARES:
                count = budget_of(share, TRAIN)
                points, labels = dictionary(data, count)
                if count and kind == "optimised":
                    points, labels = craft(bg.JointAttack(60), data, rows, count, k)
                x, y = np.concatenate([data.x[rows.train], points]), np.append(data.y[rows.train], labels)
                for name, model in models(victim, k).items():
                    error = error_rate(model.fit(x, y).predict(data.x[rows.test]), data.y[rows.test])
                    found[name][share].append(error)
        columns = [f"{share:.0%} poison" for share in SHARES]
        lines = {name: list(curve.values()) for name, curve in found.items()}
        show(f"Bagging of {type(victim).__name__}, spambase, {kind} points: test error (%)", columns, lines)
        print(f"  [{time.perf_counter() - begin:.0f} s]\n")
        sys.stdout.flush()
        panels[f"{type(victim).__name__}, {kind} points"] = found
    save_curves(pictures and pictures / "bagging.png", panels, score="test error")


if __name__ == "__main__":
    main()
