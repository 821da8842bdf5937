"""What counts of test rows by true class (row) and predicted class (column) say, of any number of victims at once."""

import numpy as np


def errors(counts: np.ndarray) -> np.ndarray:
    """Return the share of wrong predictions, (…, k, k) → (…)."""
    return np.asarray(1 - np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1)))


def shares(counts: np.ndarray) -> np.ndarray:
    """Return counts as shares of the true class, (…, k, k); NaN for a class without rows."""
    rows = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)


def class_errors(counts: np.ndarray) -> np.ndarray:
    """Return the share of wrong predictions in each true class, (…, k, k) → (…, k); NaN for a class without rows."""
    return 1 - np.diagonal(shares(counts), axis1=-2, axis2=-1)
