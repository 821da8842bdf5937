"""Rows that fit each other and the learner, or one sentence that says what was expected and what came."""

from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from .checks import check_kind, shown
from .devices import holds
from .errors import InputError
from .hosted import Block, HostFeatures, HostRows
from .types import Samples, refuse_negative


def check_samples(learner, blocks: tuple[Any, ...]) -> None:
    """Raise `InputError` unless blocks of rows fit each other and the learner.

    Values are looked at only where they are concrete: others were checked when they went in.
    """
    if not blocks:
        raise InputError("samples must hold at least one block of rows; got an empty tuple.")
    for block in blocks:
        check_kind((Samples, HostRows), "made by backgrad.samples(x, labels, n_classes) or host_rows", rows=block)
        shapes = tuple(a.shape for a in block)
        if block.x.ndim < 2 or block.y.ndim != 2 or block.weight.ndim != 1 or len({s[0] for s in shapes}) != 1:
            raise InputError(
                "rows must be x of shape (n, d), y of shape (n, k) and weight of shape (n,) with one n; "
                f"got {shapes[0]}, {shapes[1]} and {shapes[2]}."
            )
        if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in block):
            x, y, weight = (a.dtype for a in block)
            raise InputError(
                f"rows must be real numbers; got x of {x}, y of {y} and weight of {weight}: make them with "
                "backgrad.samples."
            )
        _check_block(learner, block, blocks[0])
        for name, values in zip(Samples._fields, block, strict=True):
            looked_at = not isinstance(values, Tracer | HostFeatures)
            if looked_at and not holds(lambda xp, a: xp.isfinite(a).all(), values):
                raise InputError(f"rows must be finite, but {name} holds NaN or infinity: drop or impute those rows.")
        if not isinstance(block.weight, Tracer) and not holds(lambda xp, a: (a >= 0).all(), block.weight):
            raise refuse_negative()
    weights = [block.weight for block in blocks]
    if not any(isinstance(one, Tracer) for one in weights) and not any(
        holds(lambda xp, a: a.sum() > 0, w) for w in weights
    ):
        raise InputError("rows must have weights of which one at least is above 0; all are 0: give some row a weight.")


def check_learner(learner: Any) -> None:
    """Raise unless a learner has what `train` asks for, as a class of learners has not."""
    if isinstance(learner, type):
        raise InputError(f"learner must be one that was made, such as {learner.__name__}(n_features); got the class.")
    missing = [name for name in ("init", "scores", "loss") if not hasattr(learner, name)]
    if missing:
        raise InputError(
            f"learner must have init, scores and loss, as LogisticRegression(n_features) has; got {shown(learner)} "
            f"without {missing[0]}: of a scikit-learn estimator, surrogate_for makes learners."
        )


def _check_block(learner, block: Block, first: Block) -> None:
    if block.x.shape[1:] != first.x.shape[1:] or block.y.shape[1] != first.y.shape[1]:
        raise InputError(
            f"all blocks need the same columns; got x {first.x.shape} and {block.x.shape}, "
            f"y {first.y.shape} and {block.y.shape}."
        )
    n_features, n_outputs = getattr(learner, "n_features", None), getattr(learner, "n_outputs", None)
    if n_features is not None and block.x.shape[1] != n_features:
        raise InputError(f"the learner expects {n_features} features, but x has {block.x.shape[1]} columns.")
    if n_outputs is not None and block.y.shape[1] != n_outputs:
        raise InputError(
            f"{type(learner).__name__} expects soft labels of {n_outputs} columns, but y has {block.y.shape[1]}."
        )
