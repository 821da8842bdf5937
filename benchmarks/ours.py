"""Our side: hypergradients and plain training, compiled once, as calls without arguments."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import backgrad as bg

from .problem import Case, Setting


class Call(NamedTuple):
    """A compiled function with its arguments. Calling it returns once the result is there."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self):
        return jax.block_until_ready(self.function(*self.arguments))


def adjoints(case: Case, kind: str) -> dict[str, tuple[Case, bg.Adjoint]]:
    """Return every adjoint that goes back through descent, by name, with the case it is measured on.

    Args:
        case: without momentum.
        kind: `"f32"` or `"f64"`; the fixed point of `Reversible` is 64 bits wide, whatever comes in.
    """
    heavy = with_schedule(case, momentum=0.9)
    found: dict[str, tuple[Case, bg.Adjoint]] = {
        "stored": (case, bg.Checkpointed(segments=False)),
        "segments": (case, bg.Checkpointed(segments=True)),
        "BackGradient": (case, bg.BackGradient()),
        "momentum, stored": (heavy, bg.Checkpointed(segments=False)),
    }
    if kind == "f64":
        found["momentum, Reversible"] = (heavy, bg.Reversible())
    return found


def with_schedule(case: Case, **settings) -> Case:
    """Return a case with a changed schedule."""
    return case._replace(schedule=dataclasses.replace(case.schedule, **settings))


def training(case: Case, setting: Setting, dtype) -> Call:
    """Return plain training: the same steps on the same blocks of rows, and nothing else."""
    learner, schedule = case.learner, case.schedule

    def run(train, points):
        return bg.train(learner, (train, points), schedule=schedule).params

    return Call(jax.jit(run), (setting.train.samples(dtype), setting.points.samples(dtype)))


def hypergradient(case: Case, setting: Setting, dtype, adjoint: bg.Adjoint) -> Call:
    """Return the validation loss after training, and its gradient with respect to the features of all points."""
    learner, schedule = case.learner, case.schedule

    def loss(x, train, points, validation):
        trained = bg.train(learner, (train, points._replace(x=x)), schedule=schedule, adjoint=adjoint)
        return learner.loss(trained.params, validation)

    train, points, validation = (rows.samples(dtype) for rows in (setting.train, setting.points, setting.validation))
    return Call(jax.jit(jax.value_and_grad(loss)), (points.x, train, points, validation))


def gradient_of(call: Call) -> np.ndarray:
    """Return the gradient that a hypergradient call computes, in float64."""
    return np.asarray(call()[1], np.float64)
