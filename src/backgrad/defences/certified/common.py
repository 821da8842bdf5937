"""What the certified classifiers share: classes named in advance, and certified accuracy from radii."""

from typing import Any

import numpy as np

from ...errors import InputError


def named_classes(classes: Any) -> np.ndarray:
    """Return the classes that the user named, sorted.

    Raises:
        InputError: fewer than two of them, or no list.
    """
    if isinstance(classes, str) or not hasattr(classes, "__iter__"):
        raise InputError(f"classes must be a list of labels; got {classes!r}: name all classes there can be.")
    found = np.unique(np.asarray(list(classes)))
    if found.size < 2:
        raise InputError(f"classes must name at least two classes; got {found.tolist()}.")
    return found


def encode(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return labels as positions in sorted classes, (n,).

    Raises:
        InputError: a label that is none of the classes.
    """
    strangers = sorted(set(np.unique(y).tolist()) - set(classes.tolist()), key=str)
    if strangers:
        raise InputError(
            f"y must hold the named classes alone, {classes.tolist()}; got {strangers} too: name them, or leave the "
            "rows out."
        )
    return np.searchsorted(classes, y)


def certified_shares(predicted: np.ndarray, y: Any, radii: np.ndarray, budgets: Any) -> np.ndarray:
    """Return, for every budget, the share of rows that are right and certified at least that far.

    Args:
        predicted: labels, (n,).
        y: true labels, (n,).
        radii: of the rows, (n,).
        budgets: whole numbers, 0 or more, (b,).

    Raises:
        InputError: budgets that are no list of such numbers, or another number of labels than of rows.
    """
    y = np.asarray(y)
    if y.shape != predicted.shape:
        raise InputError(f"y must hold one label a row, {predicted.shape}; got {y.shape}: give X and y of one length.")
    wanted = np.asarray(budgets)
    if wanted.ndim != 1 or wanted.size == 0 or wanted.dtype.kind not in "iu" or (wanted < 0).any():
        raise InputError(f"budgets must be a list of whole numbers, 0 or more; got {budgets!r}.")
    return np.mean((predicted == y)[:, None] & (radii[:, None] >= wanted), axis=0)
