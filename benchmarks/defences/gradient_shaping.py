"""Clipped gradients and noise against poisoning (Hong et al. 2020), with 95 % intervals over splits.

Logistic regression at 15 % poison, trained plainly, with every row's gradient clipped to C, and with noise of
multiplier σ on their mean besides. Points are crafted once against plain training, by an attacker who knows of no
clipping, and once through the very steps that the victim takes, noise included, by one who knows its settings and key.

Run `python -m benchmarks.defences.gradient_shaping`.
"""

import dataclasses
import sys
import time

import backgrad as bg
from backgrad.evaluation.metrics import error_rate
from backgrad.evaluation.plan import Table, as_samples, attack_seed
from backgrad.evaluation.victims import train_and_predict
from backgrad.evaluation.words import Options, make_plan

from .common import show

SPLITS = 5
DATA = ("spambase", "mnist-1-7")
POINTS = 18
SCHEDULES = {"spambase": bg.Descent(500, 0.5), "mnist-1-7": bg.Descent(500, 0.1)}
SHAPED = {
    "plain": {},
    "C = 1": {"clip": 1.0},
    "C = 0.1": {"clip": 0.1},
    "C = 0.01": {"clip": 0.01},
    "C = 0.1, σ = 10": {"clip": 0.1, "noise": 10.0},
    "C = 0.1, σ = 50": {"clip": 0.1, "noise": 50.0},
}
COLUMNS = ("no points", "label flips", "unaware attack", "aware attack")


def main() -> None:
    begin = time.perf_counter()
    for name in DATA:
        data = bg.load(name)
        table = Table(data.x, data.y, 2)
        found = {key: [[] for _ in COLUMNS] for key in SHAPED}
        for k in range(SPLITS):
            for key, errors in on_split(data, table, k, SCHEDULES[name]):
                for values, error in zip(found[key], errors, strict=True):
                    values.append(error)
        show(f"Gradient shaping, {name}: test error (%) of logistic regression, {POINTS} points on 100", COLUMNS, found)
        print(f"  [{time.perf_counter() - begin:.0f} s]\n")
        sys.stdout.flush()


def on_split(data, table: Table, k: int, plain: bg.Descent):
    """Yield of every way to train its name and its errors, in the order of the columns."""
    split = bg.split_rows(data.n_samples, train=100, validation=200, seed=0, split=k)
    plan = make_plan(Options(learner="logistic", points=POINTS), data)
    attack = dataclasses.replace(plan.attack, iterations=40, rehearsal=0)
    train, validation = table.samples(split.train), table.samples(split.validation)

    def craft(schedule):
        return attack.craft(
            plan.learner, train, validation, schedule=schedule, threat=plan.threat, seed=attack_seed((0, k))
        )

    unaware = craft(plain)
    for name, settings in SHAPED.items():
        schedule = dataclasses.replace(plain, **settings)
        aware = craft(schedule) if settings else unaware
        sets = (
            (),
            (as_samples(unaware.start, unaware.start_labels, 2),),
            (as_samples(unaware.points, unaware.labels, 2),),
            (as_samples(aware.points, aware.labels, 2),),
        )
        predictions = [
            train_and_predict(plan.learner, (train, *added), schedule, table.x[split.test])[0] for added in sets
        ]
        yield name, [error_rate(one, table.y[split.test]) for one in predictions]


if __name__ == "__main__":
    main()
