"""Where poisoning points start: rows that exist, with a wrong label."""

import numpy as np

from ..errors import InputError


def flipped_rows(
    x: np.ndarray, labels: np.ndarray, *, n_classes: int, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows, as many of each class as possible, and give each a wrong label at random.

    Both directions of error are needed: points that all carry one label move the threshold, which costs the
    model one class at most, while points of all labels turn the model round.

    Args:
        x: rows to draw from without replacement, (n, d).
        labels: their true labels 0..k−1, (n,).
        n_classes: k.
        points: p.
        rng: the only source of randomness.

    Returns:
        Features (p, d), and labels (p,).

    Raises:
        InputError: more points than rows.
    """
    if points > len(x):
        raise InputError(
            f"{points} poisoning points cannot start from {len(x)} rows: ask for at most {len(x)} points, or more rows."
        )
    order = rng.permutation(len(x))
    # Rank each row among its class in random order; taking the lowest ranks first balances the classes.
    ranks = np.empty(len(x), dtype=np.int64)
    for c in range(n_classes):
        members = order[labels[order] == c]
        ranks[members] = np.arange(len(members))
    chosen = order[np.argsort(ranks[order], kind="stable")[:points]]
    wrong = (labels[chosen] + rng.integers(1, n_classes, size=points)) % n_classes
    return x[chosen].copy(), wrong.astype(np.int64)
