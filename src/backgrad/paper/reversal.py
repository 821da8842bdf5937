"""The tasks behind figure 7 and the claim about cost: reversed gradients against exact and implicit ones."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..precision import float64
from ..studies.plan import Outcome
from ..studies.tasks import number
from ..threads import one_thread
from .tasks import open_digits, split_of

# Rounds of a timing, after one that compiles; the fastest is taken.
_ROUNDS = 3


def reversal(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Compare the paper's reversed hypergradient with the exact one, for several lengths of training.

    Args:
        settings: as `backgrad.paper.figure7` makes them.
        split: the number of the split.
        seed: of the split and the starting points.
        progress: called with the share done, 0 … 1.

    Returns:
        `cosine` and `drift`, for each number of points in the settings' `counts` a list over their `steps`; None where
        a reversal overflowed.
    """
    from ..adjoints.back_gradient import BackGradient
    from ..adjoints.check import compare_gradients
    from ..adjoints.checkpointed import Checkpointed
    from ..attacks.objective import differentiate

    counts = settings["counts"]
    found: dict[str, list[list[float | None]]] = {"cosine": [[] for _ in counts], "drift": [[] for _ in counts]}
    with one_thread, float64():
        for done, steps in enumerate(settings["steps"], 1):
            make, points = _problem(settings, seed, split, steps=steps)
            exactly, reversing = make(Checkpointed(), gram=None), make(BackGradient(), gram=None)
            for place, count in enumerate(counts):
                # Those beyond the count are there with weight 0, so that one compilation serves.
                weight = (np.arange(len(points)) < count).astype(points.dtype)
                exact = differentiate(exactly, points, weight)
                back = differentiate(reversing, points, weight)
                agreement = compare_gradients(back.gradient[:count], exact.gradient[:count])
                for name, value in (("cosine", agreement.cosine), ("drift", back.drift)):
                    found[name][place].append(float(value) if np.isfinite(value) else None)
            progress(done / len(settings["steps"]))
    return Outcome(found)


def _problem(settings: Mapping[str, Any], seed: int, split: int, *, steps: int, side: int | None = None):
    """Return a function from adjoints to objectives, and the points to differentiate at.

    Args:
        settings: of the run.
        seed: of the split and the starting points.
        split: its number.
        steps: T.
        side: of the images after averaging blocks of pixels; as they are where None.
    """
    import jax.numpy as jnp

    from ..attacks.preparation import make_objective, start_points
    from ..evaluation.plan import attack_seed, split_key
    from ..learners.catalogue import make_learner
    from ..schedules import Descent
    from ..threat.goals import ErrorGeneric
    from ..threat.losses import LearnerLoss
    from ..threat.model import ThreatModel
    from ..types import one_hot

    data = open_digits(settings["dataset"], None)
    rows = split_of(data, settings, seed, split)
    table = data.table if side is None else dataclasses.replace(data.table, x=averaged(data.table.x, side))
    clean, validation = table.samples(rows.train), table.samples(rows.validation)
    learner = make_learner(
        settings["learner"], n_features=table.x.shape[1], n_classes=table.n_classes, l2=settings.get("l2", 0.0)
    )
    threat = ThreatModel(settings["points"], ErrorGeneric(LearnerLoss()))
    points, labels = start_points(clean, threat, attack_seed((seed, split)))
    soft = one_hot(labels, table.n_classes, dtype=clean.x.dtype)

    def make(adjoint, *, gram):
        schedule = Descent(steps, settings["step_size"], key=split_key((seed, split)), gram=gram)
        return make_objective(
            learner, clean, validation, schedule=schedule, threat=threat, labels=soft, adjoint=adjoint
        )

    return make, jnp.asarray(points)


def averaged(x: np.ndarray, side: int) -> np.ndarray:
    """Return square images whose blocks of pixels are averaged to side × side ones, (n, side²)."""
    whole = round(x.shape[1] ** 0.5)
    block = whole // side
    return x.reshape(len(x), side, block, side, block).mean(axis=(2, 4)).reshape(len(x), -1)


def cost(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Time one hypergradient by several adjoints, and compare it with the exact gradient of the same T steps.

    Args:
        settings: as `backgrad.paper.figure7` makes them.
        split: the number of the split.
        seed: of the split and the starting points.
        progress: called with the share done, 0 … 1.

    Returns:
        A list of cases: parameters m, steps T, the adjoint's name and its cosine to the exact gradient. Seconds are
        in the timing, by the number of the case.
    """
    import jax

    from ..adjoints.back_gradient import BackGradient
    from ..adjoints.check import compare_gradients
    from ..adjoints.checkpointed import Checkpointed
    from ..adjoints.implicit import Implicit
    from ..attacks.objective import differentiate

    ways = {
        "exact, stored": Checkpointed(),
        "back-gradient": BackGradient(),
        "implicit, conjugate gradients": Implicit("cg", throw=False),
        "implicit, dense": Implicit("dense", throw=False),
    }
    cases, seconds = [], {}
    with one_thread, float64():
        total = len(settings["sides"]) * len(settings["steps"])
        for done, (side, steps) in enumerate((a, b) for a in settings["sides"] for b in settings["steps"]):
            make, points = _problem(settings, seed, split, steps=steps, side=side)
            objectives = {name: make(adjoint, gram=False) for name, adjoint in ways.items()}
            exact = differentiate(objectives["exact, stored"], points)
            for name, objective in objectives.items():
                parameters = (side**2 + 1) * 10
                if name == "implicit, dense" and parameters > settings["densest"]:
                    continue
                found = jax.block_until_ready(differentiate(objective, points))
                times = []
                for _ in range(_ROUNDS):
                    begin = time.perf_counter()
                    jax.block_until_ready(differentiate(objective, points))
                    times.append(time.perf_counter() - begin)
                agreement = compare_gradients(found.gradient, exact.gradient)
                seconds[str(len(cases))] = min(times)
                case = {"parameters": parameters, "steps": steps, "adjoint": name}
                cases.append({**case, "cosine": number(float(agreement.cosine))})
            progress((done + 1) / total)
    return Outcome({"cases": cases}, {}, seconds)
