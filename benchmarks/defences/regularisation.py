"""An L2 strength chosen under attack: test error against the share of poison (after Carnerero-Cano et al. 2021).

Logistic regression at four λ: a small and a large fixed one, the one that trusted rows choose without points, and the
one that `choose_l2` chooses under as many points as come. Points are crafted afresh against every λ, by an attacker who
knows it, on validation rows of their own. Here are 100 training rows, and λ counts against the mean of their losses.

Run `python -m benchmarks.defences.regularisation [--pictures FOLDER]`.
"""

import dataclasses
import sys
import time

import jax.numpy as jnp
import numpy as np

import backgrad as bg
from backgrad.defences.regularisation import choose_l2, with_l2
from backgrad.evaluation.metrics import error_rate
from backgrad.evaluation.plan import Rows, Table, as_samples, attack_seed
from backgrad.evaluation.victims import train_and_predict
from backgrad.evaluation.words import Options, make_plan

from .common import cell, picture_folder, save_curves

SPLITS = 5
DATA = ("spambase", "mnist-1-7")
SHARES = (0.05, 0.1, 0.15)
FIXED = {"λ = 1e-4": 1e-4, "λ = 1": 1.0}
NAMES = (*FIXED, "chosen clean", "under attack")
TRUSTED = 200
# At 0.5, points of MNIST make training unstable.
SCHEDULES = {"spambase": bg.Descent(500, 0.5), "mnist-1-7": bg.Descent(500, 0.1)}


def main() -> None:
    pictures, begin, panels = picture_folder(__doc__), time.perf_counter(), {}
    for name in DATA:
        panels[name] = compare(name)
        print(f"  [{time.perf_counter() - begin:.0f} s]\n")
        sys.stdout.flush()
    save_curves(pictures and pictures / "regularisation.png", panels, score="test error")


def compare(name: str) -> dict[str, dict[float, list[float]]]:
    """Print clean and poisoned errors at every λ, and the λ chosen; return the poisoned by λ and share."""
    data = bg.load(name)
    table = Table(data.x, data.y, 2)
    clean, poisoned, chosen = ({share: {key: [] for key in NAMES} for share in SHARES} for _ in range(3))
    for k in range(SPLITS):
        split = bg.split_rows(data.n_samples, train=100, validation=200, seed=0, split=k)
        rows = Rows(split.train, split.validation, split.test).with_trusted(TRUSTED)
        for share in SHARES:
            for key, l2, errors in on_split(data, table, rows, share, SCHEDULES[name], seed=(0, k)):
                chosen[share][key].append(l2)
                clean[share][key].append(errors[0])
                poisoned[share][key].append(errors[1])
    print(f"{name}: test error (%) of logistic regression, {SPLITS} splits; in brackets, the median λ")
    print(f"{'':<22}" + "".join(f"{key:>24}" for key in NAMES))
    for share in SHARES:
        for words, found in ((f"{share:.0%} poison", poisoned), ("  the same, no points", clean)):
            medians = [np.median(chosen[share][key]) for key in NAMES]
            cells = [f"{cell(found[share][key])} ({m:.2g})" for key, m in zip(NAMES, medians, strict=True)]
            print(f"{words:<22}" + "".join(f"{one:>24}" for one in cells))
        gain = np.subtract(poisoned[share]["chosen clean"], poisoned[share]["under attack"])
        print(f"{'  gained on clean λ':<22}{cell(gain):>24}")
    return {key: {share: poisoned[share][key] for share in SHARES} for key in NAMES}


def on_split(data, table: Table, rows: Rows, share: float, schedule: bg.Descent, *, seed: tuple[int, int]):
    """Yield of every λ its name, its value, and the errors without and with points."""
    points = round(100 * share / (1 - share))
    plan = make_plan(Options(learner="logistic", points=points), data)
    train, validation, trusted = (table.samples(part) for part in (rows.train, rows.validation, rows.trusted))
    found = choose_l2(
        plan.learner, train, trusted, schedule=schedule, threat=plan.threat, rounds=10, seed=attack_seed(seed)
    )
    attack = dataclasses.replace(plan.attack, iterations=60, rehearsal=0)
    strengths = {**FIXED, "chosen clean": found.clean_l2, "under attack": found.l2}
    for name, l2 in strengths.items():
        # λ as an array, so that all values share one compilation.
        learner = with_l2(plan.learner, jnp.asarray(l2))
        crafted = attack.craft(
            learner, train, validation, schedule=schedule, threat=plan.threat, seed=attack_seed(seed)
        )
        block = as_samples(crafted.points, crafted.labels, 2)
        sets = (train, block._replace(weight=0 * block.weight)), (train, block)
        predictions = [train_and_predict(learner, blocks, schedule, table.x[rows.test])[0] for blocks in sets]
        yield name, l2, [error_rate(one, table.y[rows.test]) for one in predictions]


if __name__ == "__main__":
    main()
