"""A small binary problem on which every attack is tried, and the attacks as they are tried on it."""

import functools

import numpy as np

import backgrad as bg

N, D, P = 20, 6, 4
LEARNER, SCHEDULE = bg.LogisticRegression(D), bg.Descent(40, 0.5)
SETS = {"box": bg.Box(), "binary": bg.Binary()}


def rows(kind, n=N, seed=0):
    """Return n rows of both classes, in a box or binary, of which no two are equal."""
    rng = np.random.default_rng([seed, n])
    labels = np.arange(n) % 2
    if kind == "box":
        x = 0.5 + 0.15 * (2 * labels[:, None] - 1) + 0.2 * rng.normal(size=(n, D))
        return bg.samples(np.clip(x, 0.01, 0.99), labels, 2)
    bits = (rng.permutation(2**D)[:n, None] >> np.arange(D)) % 2
    # Rows with many ones tend to be of class 1.
    order = np.argsort(bits.sum(1) + 0.5 * rng.normal(size=n), kind="stable")
    labels = np.empty(n, int)
    labels[order] = np.arange(n) >= n // 2
    return bg.samples(bits.astype(float), labels, 2)


@functools.cache
def train_rows(kind):
    """Return the clean training rows."""
    return rows(kind, N, 0)


@functools.cache
def validation_rows(kind):
    """Return the attacker's validation rows."""
    return rows(kind, 30, 1)


# No setting is at its default, so that comparing with a reference shows that each of them is honoured.
ATTACKS = {
    ("joint", "box"): bg.JointAttack(13, step_size=0.4),
    ("joint", "binary"): bg.JointAttack(13, discrete_step_size=0.35, temperatures=(1.5, 0.1)),
    ("greedy", "box"): bg.GreedyAttack(5, step_size=0.3, epsilon=1e-3),
    ("greedy", "binary"): bg.GreedyAttack(5, step_size=1.5, epsilon=1e-3),
    ("coordinate", "box"): bg.CoordinateAttack(3, step_size=0.3, epsilon=1e-3, passes=3),
    ("coordinate", "binary"): bg.CoordinateAttack(3, step_size=1.5, epsilon=1e-3, passes=3),
    ("subpopulation", "box"): bg.SubpopulationAttack(20),
    ("subpopulation", "binary"): bg.SubpopulationAttack(20),
    ("label-flip", "box"): bg.LabelFlip(),
    ("label-flip", "binary"): bg.LabelFlip(),
    ("random", "box"): bg.RandomPoints(4),
    ("random", "binary"): bg.RandomPoints(4),
}
# Who labels the points.
LABELS = {name: bg.ChosenLabels() if name == "subpopulation" else bg.FlippedLabels() for name, _ in ATTACKS}
GRADIENT_ATTACKS = [case for case in ATTACKS if case[0] in ("joint", "greedy", "coordinate")]


def craft(attack, kind, *, seed=3, points=P, **settings):
    """Run an attack on the problem."""
    threat = bg.ThreatModel(points, feasible=SETS[kind], labels=LABELS[attack.name])
    settings = {"schedule": SCHEDULE, "threat": threat, **settings}
    model = settings.pop("learner", LEARNER)
    return attack.craft(model, train_rows(kind), validation_rows(kind), seed=seed, **settings)


@functools.cache
def crafted(name, kind, seed=3):
    """Return the result of an attack of the table, crafted once."""
    return craft(ATTACKS[name, kind], kind, seed=seed)


def objective(kind, points, labels, *, schedule=SCHEDULE, learner=LEARNER):
    """Return 𝒜 by training from scratch, as a user would."""
    block = (bg.samples(points, labels, 2),) if len(points) else ()
    trained = bg.train(learner, (train_rows(kind), *block), schedule=schedule)
    return float(bg.ErrorGeneric().value(learner, trained.params, validation_rows(kind)))
