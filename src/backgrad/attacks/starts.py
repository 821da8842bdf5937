"""Where poisoning points start: rows that exist, with a wrong label."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError


def is_one_hot(y: np.ndarray, weight: np.ndarray) -> bool:
    """Tell labels of classes from responses, by rows that are present."""
    y = y[weight > 0]
    return y.shape[1] > 1 and bool(np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=1) == 1))


def far_responses(
    x: Any, y: np.ndarray, *, weight: np.ndarray, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows, and give each the end of the responses' range that is farther from its own response.

    Args:
        x: rows to draw from without replacement, (n, d); an array, or features on the host.
        y: their responses, (n, k).
        weight: of the rows, (n,); those of weight 0 are absent.
        points: p.
        rng: the only source of randomness.

    Returns:
        Features (p, d), and responses (p, k).

    Raises:
        InputError: more points than rows.
    """
    present = np.flatnonzero(weight > 0)
    _require_rows(points, len(present))
    chosen = present[rng.permutation(len(present))[:points]]
    low, high = y[present].min(axis=0), y[present].max(axis=0)
    return x[chosen].copy(), np.where(y[chosen] > (low + high) / 2, low, high)


def _require_rows(points: int, available: int) -> None:
    if points > available:
        raise InputError(
            f"{points} poisoning points cannot start from {available} rows: ask for at most {available} points, or "
            "more rows."
        )


def require_classes(labels: np.ndarray) -> None:
    """Raise unless training rows are of two classes at least: of one alone nothing can be learnt or flipped."""
    present = np.unique(labels)
    if len(present) < 2:
        raise InputError(f"training rows need at least two classes; all of these have label {present.tolist()}.")


def flipped_rows(
    x: Any,
    labels: np.ndarray,
    *,
    weight: np.ndarray,
    n_classes: int,
    points: int,
    rng: np.random.Generator,
    swap: Mapping[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows, as many of each class as possible, and give each a wrong label at random.

    Both directions of error are needed: points that all carry one label move the threshold, which costs the
    model one class at most, while points of all labels turn the model round.

    Args:
        x: rows to draw from without replacement, (n, d); an array, or features on the host.
        labels: their true labels 0..k−1, (n,).
        weight: of the rows, (n,); those of weight 0 are absent.
        n_classes: k.
        points: p.
        rng: the only source of randomness.
        swap: the classes to draw from, each with the wrong label that its rows get; all, and any, where omitted.

    Returns:
        Features (p, d), and labels (p,).

    Raises:
        InputError: more points than rows.
    """
    eligible = np.flatnonzero(weight > 0)
    if swap is not None:
        eligible = eligible[np.isin(labels[eligible], list(swap))]
    labels = labels[eligible]
    _require_rows(points, len(labels))
    order = rng.permutation(len(labels))
    # Rank each row among its class in random order; taking the lowest ranks first balances the classes.
    ranks = np.empty(len(labels), dtype=np.int64)
    for c in range(n_classes):
        members = order[labels[order] == c]
        ranks[members] = np.arange(len(members))
    chosen = order[np.argsort(ranks[order], kind="stable")[:points]]
    if swap is None:
        wrong = (labels[chosen] + rng.integers(1, n_classes, size=points)) % n_classes
    else:
        wrong = np.asarray([swap[c] for c in labels[chosen].tolist()])
    return x[eligible[chosen]].copy(), wrong.astype(np.int64)
