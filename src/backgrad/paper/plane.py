"""The task behind figure 1: one point that moves in the plane, and all that can be seen of it there.

On a grid over the box the point may live in: the outer objective 𝒜 and its hypergradient, both by the paper's
back-gradients, and the share of validation rows that a model trained with the point there gets wrong. On the same
grid, the classes that models give to the plane.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..precision import float64
from ..studies.plan import Outcome, plain
from ..threads import one_thread
from .tasks import open_digits, split_of


def plane(
    settings: Mapping[str, Any], split: int, seed: int, progress: Callable[[float], None] = lambda share: None
) -> Outcome:
    """Let one point climb in the plane, and map what it climbs on.

    Args:
        settings: as `backgrad.paper.figure1` makes them.
        split: the number of the split.
        seed: of the split and the start.
        progress: called with the share done, 0 … 1.

    Returns:
        Grids (g, g) indexed by height and then width, arrows on a coarser one, the point's path (s, 2), the training
        rows and labels, and the test errors of the models without and with the point.
    """
    import jax
    import jax.numpy as jnp

    from ..attacks.objective import differentiate
    from ..attacks.preparation import make_objective, start_points
    from ..evaluation.metrics import error_rate
    from ..evaluation.plan import attack_seed, split_key
    from ..evaluation.words import Options, make_plan
    from ..training import train
    from ..types import Samples, one_hot

    with one_thread, float64():
        data = open_digits(settings["dataset"], None)
        plan = make_plan(Options(**plain(settings["options"])), data.dataset)
        rows = split_of(data, settings, seed, split)
        clean, validation = (data.table.samples(part) for part in (rows.train, rows.validation))
        own = (seed, split)
        start, labels = start_points(clean, plan.threat, attack_seed(own))
        soft = one_hot(labels, data.table.n_classes, dtype=clean.x.dtype)
        schedule = plan.inner(split_key(own))
        objective = make_objective(
            plan.learner,
            clean,
            validation,
            schedule=schedule,
            threat=plan.threat,
            labels=soft,
            adjoint=plan.adjoint,
        )
        path, trace = _climb(plan, lambda x: differentiate(objective, x), jnp.asarray(start))
        progress(0.3)
        victim = dataclasses.replace(plan.schedule, key=split_key(own))
        wanted, _ = plan.threat.goal.wanted(validation)

        def trained(point, weight):
            block = Samples(point[None], soft, jnp.full(1, weight, point.dtype))
            return train(plan.learner, (clean, block), schedule=victim).params

        def wrong(point):
            found = jnp.argmax(plan.learner.scores(trained(point, 1.0), validation.x), axis=1)
            return jnp.sum(wanted.weight * (found != jnp.argmax(wanted.y, axis=1))) / jnp.sum(wanted.weight)

        fine, coarse = _grid(settings["grid"]), _grid(settings["arrows"])
        surface = jax.jit(lambda x: jax.lax.map(lambda point: objective(point[None]), x, batch_size=64))(fine)
        progress(0.5)
        zero_one = jax.jit(lambda x: jax.lax.map(wrong, x, batch_size=64))(fine)
        progress(0.8)
        slopes = jax.jit(lambda x: jax.lax.map(lambda point: objective.hypergradient(point[None]).gradient[0], x))
        arrays = {
            "surface": np.asarray(surface).reshape(settings["grid"], -1),
            "zero_one": np.asarray(zero_one).reshape(settings["grid"], -1),
            "arrow_places": np.asarray(coarse),
            "arrows": np.asarray(slopes(coarse)),
            "path": path,
            "trace": trace,
            "label": labels,
            "train_x": data.table.x[rows.train],
            "train_y": data.table.y[rows.train],
        }
        regions = _grid(2 * settings["grid"])
        for name, weight in (("clean", 0.0), ("poisoned", 1.0)):
            params = trained(jnp.asarray(path[-1]), weight)
            classes = np.argmax(np.asarray(plan.learner.scores(params, regions)), axis=1)
            arrays[f"regions.{name}"] = classes.reshape(2 * settings["grid"], -1)
            predictions = np.argmax(
                np.asarray(plan.learner.scores(params, jnp.asarray(data.table.x[rows.test]))), axis=1
            )
            arrays[f"error.{name}"] = error_rate(predictions, data.table.y[rows.test])
        progress(1.0)
    return Outcome({"classes": data.dataset.class_names}, arrays)


def _climb(plan: Any, measure: Callable[[Any], Any], x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Follow the paper's Algorithm 1 and keep every place that gained, (s, 2), with its objective, (s,)."""
    found = measure(x)
    path, trace = [np.asarray(x[0])], [float(found.value)]
    for _ in range(plan.attack.max_steps):
        x = plan.threat.feasible.ascend(x, found.gradient, plan.attack.step_size)
        found = measure(x)
        if float(found.value) - trace[-1] < plan.attack.epsilon:
            break
        path.append(np.asarray(x[0]))
        trace.append(float(found.value))
    return np.stack(path), np.asarray(trace)


def _grid(side: int) -> Any:
    """Return the places of a grid over the unit square, (side², 2), row by row from the bottom."""
    import jax.numpy as jnp

    ticks = jnp.linspace(0.0, 1.0, side)
    height, width = jnp.meshgrid(ticks, ticks, indexing="ij")
    return jnp.stack([width.ravel(), height.ravel()], axis=1)
