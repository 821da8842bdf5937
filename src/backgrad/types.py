"""The training rows, and the legend of every shape in the library.

Shapes: n samples (rows), d features, k classes (or responses of a regression), p poisoning points,
m parameters, T training steps, b rows of a mini-batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from .checks import check_count, shown
from .errors import InputError

Params = PyTree[Float[Array, "..."], "Params"]

#: Features (p, d) and labels 0..k−1 (p,), or responses (p, k), of an attacker's points.
Added = tuple[np.ndarray, np.ndarray]


class Samples(NamedTuple):
    """Weighted rows of a training, validation or test set.

    Args:
        x: features, (n, d).
        y: soft labels, (n, k): each row holds the probabilities of the classes, or for a regression
            the responses. A hard label is a one-hot row; `one_hot` makes them.
        weight: how much each row counts, (n,), not negative. A row of weight 0 is as good as absent, which
            is how sets of changing size keep one compiled shape.
    """

    x: Float[Array, "n d"]
    y: Float[Array, "n k"]
    weight: Float[Array, "n"]


def one_hot(labels, n_classes: int, *, dtype=None) -> Float[Array, "n k"]:
    """Turn integer labels 0..k−1 of shape (n,) into soft labels of shape (n, k).

    Args:
        labels: integers, (n,).
        n_classes: k.
        dtype: of the result; JAX's default float where omitted.

    Returns:
        Rows of zeros with a single one.

    Raises:
        InputError: a label that is none of these, unless labels are traced.
    """
    # Labels become rows on the host: each operation on a device waits for a program of its own at first.
    labels = labels if isinstance(labels, Tracer) else np.asarray(labels)
    check_count(n_classes=n_classes)
    if labels.ndim != 1:
        raise InputError(
            f"labels must have shape (n,), one whole number a row; got {labels.shape}: ravel labels of shape (n, 1), "
            "and take numpy.argmax(labels, axis=1) of one-hot ones."
        )
    dtype = dtype or jnp.result_type(float)
    rows = labels[:, None] == np.arange(n_classes)
    if not isinstance(rows, Tracer) and not rows.any(axis=1).all():
        raise InputError(
            f"labels must be whole numbers 0 to {n_classes - 1}; got {labels[~rows.any(axis=1)][0]}: number the "
            "classes from 0, as numpy.unique(labels, return_inverse=True) does."
        )
    return jnp.asarray(rows.astype(dtype), dtype)


def samples(x, labels, n_classes: int, *, weight=None, dtype=None) -> Samples:
    """Build `Samples` from features and integer labels.

    Args:
        x: features, (n, d).
        labels: integers 0..k−1, (n,).
        n_classes: k.
        weight: (n,), not negative; ones where omitted.
        dtype: of the result; JAX's default float where omitted.

    Returns:
        The rows, ready for `train`.

    Raises:
        InputError: a label that is none of these, or a negative weight, unless they are traced; shapes that do not fit.
    """
    dtype = dtype or jnp.result_type(float)
    y = one_hot(labels, n_classes, dtype=dtype)
    x = _read_numbers(dtype, x=x)
    weight = jnp.ones(y.shape[0], dtype) if weight is None else _read_numbers(dtype, weight=weight)
    if x.ndim < 2 or x.shape[0] != y.shape[0] or weight.shape != y.shape[:1]:
        raise InputError(
            f"x must have shape (n, d), and labels and weight (n,), with one n; got {x.shape}, {y.shape[:1]} and "
            f"{weight.shape}."
        )
    if not isinstance(weight, Tracer) and (np.asarray(weight) < 0).any():
        raise refuse_negative()
    return Samples(x, y, weight)


def _read_numbers(dtype, **given) -> Float[Array, "..."]:
    ((name, values),) = given.items()
    try:
        return jnp.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a dense array of numbers; got {shown(values)}.") from error


def refuse_negative() -> InputError:
    """Return the error of negative weights."""
    return InputError(
        "rows must have weights of 0 or more, and some are negative: give rows that are not to count a weight of 0."
    )


def concatenate(blocks: tuple[Samples, ...]) -> Samples:
    """Stack blocks of rows, in order, into one."""
    if len(blocks) == 1:
        return blocks[0]
    return Samples(*(jnp.concatenate(parts) for parts in zip(*blocks, strict=True)))


def with_reused(validation: Samples, train: Samples, weight: float) -> Samples:
    """Return validation rows, and training rows after them at so many times their weight; without these for 0."""
    return _reused(validation, train, weight) if weight else validation


@jax.jit
def _reused(validation: Samples, train: Samples, weight: Float[Array, ""]) -> Samples:
    return concatenate((validation, train._replace(weight=weight * train.weight)))


def with_added(x: np.ndarray, y: np.ndarray, added: Added | None) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) and labels or responses of clean rows, and of an attacker's points after them."""
    if added is None:
        return x, y
    return np.concatenate([x, added[0]]), np.concatenate([y, np.asarray(added[1]).reshape(-1, *y.shape[1:])])
