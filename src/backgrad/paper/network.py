"""The task behind figures 5 and 6: digits 1, 5 and 6 against a convolutional network and logistic regression.

The paper's method differentiates one training run, from one set of initial weights. Victims here start from weights and
see batches that the attacker never saw, several of them a split.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..studies.plan import Outcome
from ..studies.tasks import numbers
from ..threads import one_thread
from .tasks import open_digits, split_of

if TYPE_CHECKING:
    from ..attacks.base import AttackResult
    from ..evaluation.plan import Rows, Table

# Victims' keys must not be those that an attacker draws from the same seed.
_VICTIMS = 1000


def network(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Craft points (or none, or label flips) on one split, and train networks and a linear model on them.

    All of it is done in single precision, as everybody trains networks.

    Args:
        settings: as `backgrad.paper.figure5` makes them.
        split: the number of the split.
        seed: of the split, the start, and everything drawn after.
        progress: called with the share done, 0 … 1.

    Returns:
        Confusion counts of every network (`confusion.cnn`, (V, k, k) over V initialisations) and of multiclass logistic
        regression (`confusion.softmax`, (1, k, k)); points, labels, starting points; and the attack's health.
    """
    from ..attacks.preparation import start_points
    from ..evaluation.plan import attack_seed
    from ..threat.model import ThreatModel

    with one_thread:
        data = open_digits(settings["dataset"], settings["digits"])
        rows = split_of(data, settings, seed, split)
        own = (seed, split)
        values: dict[str, Any] = {"classes": data.dataset.class_names}
        arrays: dict[str, Any] = {}
        added = None
        if settings["method"] != "clean":
            threat = ThreatModel(settings["points"])
            start = start_points(data.table.samples(rows.train), threat, attack_seed(own))
            added = np.asarray(start[0]), np.asarray(start[1])
            if settings["method"] != "flips":
                made = _craft(settings, data.table, rows, added, own, lambda share: progress(0.7 * share))
                values["health"] = numbers(dataclasses.asdict(made.health))
                arrays |= {"start": made.start, "trace": made.trace}
                added = made.points, made.labels
            arrays |= {"points": added[0], "labels": added[1]}
        arrays["confusion.softmax"] = _judge("softmax", data.table, rows, added, own, 1)
        count, narrow = settings["victims"], settings["victims_narrow"]
        arrays["confusion.cnn"] = _judge("cnn", data.table, rows, added, own, count, narrow=narrow)
        progress(1.0)
    return Outcome(values, arrays)


def _craft(
    settings: Mapping[str, Any],
    table: "Table",
    rows: "Rows",
    start: tuple[Any, Any],
    own: tuple[int, int],
    progress: Callable[[float], None],
) -> "AttackResult":
    """Craft points with the paper's method, or ours."""
    from ..adjoints.back_gradient import BackGradient
    from ..attacks.back_gradient import JointAttack
    from ..attacks.pointwise import CoordinateAttack
    from ..evaluation.networks import LOSS_WIDTH, smoother
    from ..evaluation.plan import attack_seed, split_key
    from ..learners.catalogue import default_schedule
    from ..schedules import Descent
    from ..threat.goals import ErrorGeneric
    from ..threat.losses import LogLoss, SmoothZeroOne
    from ..threat.model import ThreatModel

    name, paper = settings["learner"], settings["method"] == "paper"
    loss = LogLoss() if paper else SmoothZeroOne(LOSS_WIDTH) if name == "cnn" else SmoothZeroOne()
    learner = _learner(name, table, settings["narrow"])
    if paper:
        schedule = Descent(settings["steps"], settings["step_size"], batch_size=settings["batch_size"])
        attack: Any = CoordinateAttack(
            max_steps=settings["outer_steps"],
            step_size=settings["outer_step_size"],
            halvings=settings["halvings"],
            passes=2,
        )
    else:
        usual = default_schedule(name)
        schedule = smoother(usual) if name == "cnn" else usual
        attack = JointAttack(
            iterations=settings["outer_steps"],
            step_size=settings["outer_step_size"],
            redraw=name == "cnn",
            rehearsal=settings["rehearsal"],
            hold_unit=name != "cnn",
        )
    return attack.craft(
        learner,
        table.samples(rows.train),
        table.samples(rows.validation),
        schedule=dataclasses.replace(schedule, key=split_key(own)),
        threat=ThreatModel(settings["points"], ErrorGeneric(loss)),
        seed=attack_seed(own),
        adjoint=BackGradient() if paper else None,
        start=start,
        progress=progress,
    )


def _learner(name: str, table: "Table", narrow: int) -> Any:
    """Return a learner, a network with its widths divided by `narrow`."""
    from ..learners.catalogue import make_learner

    learner: Any = make_learner(name, n_features=table.x.shape[1], n_classes=table.n_classes)
    return learner.narrow(narrow) if narrow > 1 else learner


def _judge(
    name: str,
    table: "Table",
    rows: "Rows",
    added: tuple[Any, Any] | None,
    own: tuple[int, int],
    count: int,
    *,
    narrow: int = 1,
) -> np.ndarray:
    """Train victims from initial parameters of their own; return test rows by true and predicted class, (V, k, k)."""
    import jax

    from ..evaluation.metrics import confusion_counts
    from ..evaluation.plan import as_samples, split_key
    from ..evaluation.victims import train_and_predict
    from ..learners.catalogue import default_schedule

    k = table.n_classes
    learner = _learner(name, table, narrow)
    blocks = (table.samples(rows.train),) if added is None else (table.samples(rows.train), as_samples(*added, k))
    counts = []
    for number in range(count):
        key = jax.random.fold_in(split_key(own), _VICTIMS + number)
        schedule = dataclasses.replace(default_schedule(name), key=key)
        predictions, _ = train_and_predict(learner, blocks, schedule, table.x[rows.test])
        counts.append(confusion_counts(predictions, table.y[rows.test], k))
    return np.stack(counts)
