"""How long whole attacks take, as a user would run them, with and without compilation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import backgrad as bg
from backgrad.learners.catalogue import default_schedule, make_learner

from .options import Options
from .problem import load_setting
from .table import Grid, Section
from .timing import clock


class Attack(NamedTuple):
    """An attack to time.

    Args:
        learner: a name of the catalogue.
        data: a name of `load_setting`.
        iterations: of `JointAttack`; its default where None.
    """

    learner: str
    data: str
    iterations: int | None = None


ATTACKS = (
    *(Attack(learner, data) for data in ("spambase", "mnist-1-7") for learner in ("logistic", "adaline", "mlp")),
    Attack("softmax", "mnist"),
    Attack("cnn", "mnist", 3),
)


def attack_call(attack: Attack, *, full: bool):
    """Return a call that runs an attack with its defaults: the catalogue's schedule, 20 points in the unit cube."""
    setting = load_setting(attack.data)
    d = setting.train.x.shape[1]
    learner: Any = make_learner(attack.learner, n_features=d, n_classes=setting.train.n_classes)
    if attack.learner == "cnn" and not full:
        learner = learner.narrow(4)
    joint = bg.JointAttack() if attack.iterations is None else bg.JointAttack(attack.iterations)
    threat = bg.ThreatModel(len(setting.points.y), feasible=bg.Box(0.0, 1.0))
    train, validation = setting.train.samples(jnp.float32), setting.validation.samples(jnp.float32)

    def run():
        return joint.craft(learner, train, validation, schedule=default_schedule(attack.learner), threat=threat, seed=0)

    return joint.iterations, run


def attacks_section(options: Options) -> Section:
    """Time whole attacks: the first call compiles, those after it do not."""
    rows, values = [], {}
    for attack in ATTACKS:
        iterations, run = attack_call(attack, full=options.full)
        jax.clear_caches()
        cold = clock(run)
        # An attack of half a minute is not repeated for the sake of a median.
        warm = [clock(run) for _ in range(options.repeats if cold < 10 else 1)]
        usual, steps = float(np.median(warm)), default_schedule(attack.learner).steps
        setting = load_setting(attack.data)
        name = f"{attack.learner}, {attack.data}"
        values[name] = {"with_compilation": cold, "without": warm, "iterations": iterations, "steps": steps}
        rows.append(
            (
                name,
                str(len(setting.train.y)),
                str(steps),
                str(iterations),
                f"{cold:.1f}",
                f"{usual:.1f}",
                f"{usual / iterations * 1e3:.1f}",
            )
        )
    heads = ("float32", "rows", "T", "iterations", "first call, s", "then, s", "ms an iteration")
    facts = (
        "JointAttack against the catalogue's learner and schedule, 20 points and 400 validation rows; the evidence",
        "of the attack's health is part of the time. The first call traces and compiles, from cleared caches.",
        "The CNN runs 3 iterations in place of 150"
        + (", with all its parameters." if options.full else ", with layers a quarter as wide (--full for all)."),
    )
    return Section("attacks", "4. Whole attacks", ("", ""), (), facts, Grid(heads, tuple(rows)), {"attacks": values})
