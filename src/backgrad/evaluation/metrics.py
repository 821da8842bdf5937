"""Means over splits, and how sure of them one can be."""

import numpy as np
from scipy import stats


def student_interval(values, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval of a mean over splits.

    Args:
        values: one number a split, (K,).
        confidence: of the interval.

    Returns:
        Its ends, or None for fewer than 3 splits, from which no honest interval follows.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 3:
        return None
    half = stats.t.ppf(0.5 + confidence / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


def error_rate(predictions, labels) -> float:
    """Return the share of wrong predictions."""
    return float(np.mean(np.asarray(predictions) != np.asarray(labels)))
