"""What the runs of the paper's experiments do, and the task of most of them: poison, and retrain victims.

A task is a function as `backgrad.studies.tasks` defines it. Greedy attacks add points one after another, so that the
first b points of one attack are the attack of budget b, and one run gives a whole curve.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..precision import float64
from ..studies.plan import Outcome, plain
from ..studies.tasks import Task, attack_data, numbers
from ..threads import one_thread

if TYPE_CHECKING:
    from ..evaluation.plan import Rows, Table
    from ..evaluation.words import Data
    from ..learners.base import Member

_ROOM = __name__.rpartition(".")[0]

#: The tasks that the paper's experiments consist of.
PAPER_TASKS: Mapping[str, Task] = {
    "poison": Task(f"{_ROOM}.tasks:poison"),
    "plane": Task(f"{_ROOM}.plane:plane"),
    "reversal": Task(f"{_ROOM}.reversal:reversal"),
    "cost": Task(f"{_ROOM}.reversal:cost"),
    "network": Task(f"{_ROOM}.network:network"),
}


def poison(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Craft points on one split, and retrain victims from scratch at several budgets.

    Args:
        settings: as `backgrad.paper.settings.poison` makes them.
        split: the number of the split.
        seed: of the splits and the attack.
        progress: called with the share done, 0 … 1.

    Returns:
        Of each victim at each budget b: how many test rows of each class (row) it takes for each class (column), with
        the first b points added (`confusion.VICTIM`, (B, k, k)), and with as many label flips (`flips.VICTIM`); the
        points, labels and starting points; and the attack's health.
    """
    from ..attacks.preparation import start_points
    from ..evaluation.plan import attack_seed
    from ..evaluation.poisoning import craft_on_split
    from ..evaluation.words import Options, make_plan
    from ..evaluation.words.victims import make_member

    with one_thread, in_precision(settings["precision"]):
        data = open_digits(settings["dataset"], None)
        plan = make_plan(Options(**plain(settings["options"])), data.dataset)
        rows = split_of(data, settings, seed, split)
        own = (seed, split)
        attack = craft_on_split(plan, data.table, rows, seed=own, progress=lambda share: progress(0.8 * share))
        flips = attack.start, attack.start_labels
        if settings["baseline"] == "validation":
            flips = start_points(data.table.samples(rows.validation), plan.threat, attack_seed(own))
        found = {}
        for number, name in enumerate(settings["victims"], 1):
            member = make_member(name, data.dataset)
            for kind, added in (("confusion", (attack.points, attack.labels)), ("flips", flips)):
                found[f"{kind}.{name}"] = retrained(member, data.table, rows, added, settings["budgets"], own)
            progress(0.8 + 0.2 * number / len(settings["victims"]))
    made = {name: getattr(attack, name) for name in ("points", "labels", "start", "start_labels", "trace")}
    health = numbers(dataclasses.asdict(attack.health))
    return Outcome({"health": health, "classes": data.dataset.class_names}, {**made, **found})


def open_digits(name: str, digits: Sequence[str] | None) -> "Data":
    """Return a data set, or the rows of some of its classes alone.

    Args:
        name: of the data set.
        digits: names of classes; all where None.
    """
    data = attack_data({"name": name, "target": None, "task": None, "sha256": None})
    if digits is None:
        return data
    from ..evaluation.plan import Table
    from ..evaluation.words import Data

    whole = data.dataset
    kept = [whole.class_names.index(name) for name in digits]
    rows = np.flatnonzero(np.isin(whole.y, kept))
    labels = np.searchsorted(kept, whole.y[rows])
    part = dataclasses.replace(whole, x=whole.x[rows], y=labels, class_names=tuple(digits))
    return Data(part, Table(part.x, part.y, part.n_classes))


def split_of(data: "Data", settings: Mapping[str, Any], seed: int, split: int) -> "Rows":
    """Return the rows of one split."""
    sizes = {"train": settings["train"], "validation": settings["validation"]}
    return data.splits(**sizes, seed=seed, count=split + 1)[split]


def in_precision(name: str) -> contextlib.AbstractContextManager[None]:
    """Let JAX compute in `"float64"` or `"float32"` for the length of a block."""
    return float64() if name == "float64" else contextlib.nullcontext()


def retrained(
    member: "Member",
    table: "Table",
    rows: "Rows",
    added: tuple[np.ndarray, np.ndarray],
    budgets: Sequence[int],
    seed: tuple[int, int],
) -> np.ndarray:
    """Train a victim from scratch with the first b points, for every budget b.

    All points are always there, those beyond b with weight 0, so that one compilation serves.

    Returns:
        Test rows by their true class and the one predicted, (B, k, k).
    """
    from ..evaluation.metrics import confusion_counts
    from ..evaluation.plan import as_samples, split_key
    from ..evaluation.victims import train_and_predict

    k, truth = table.n_classes, table.y[rows.test]
    block, clean = as_samples(*added, k), table.samples(rows.train)
    schedule = dataclasses.replace(member.schedule, key=split_key(seed))
    counts = []
    for budget in budgets:
        weight = block.weight * (np.arange(len(added[1])) < budget)
        blocks = (clean, block._replace(weight=weight.astype(block.weight.dtype)))
        predictions, _ = train_and_predict(member.learner, blocks, schedule, table.x[rows.test])
        counts.append(confusion_counts(predictions, truth, k))
    return np.stack(counts)
