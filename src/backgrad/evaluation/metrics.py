"""Errors, and how sure of their means over splits one can be."""

import numpy as np

from .confusion import class_errors as errors_by_class
from .confusion import shares


def student_interval(values, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval of a mean over splits.

    Args:
        values: one number a split, (K,).
        confidence: of the interval.

    Returns:
        Its ends, or None for fewer than 3 splits, from which no honest interval follows. They are NaN where a number
        is not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 3:
        return None
    from scipy import stats  # takes long to import, and is wanted last

    with np.errstate(invalid="ignore"):
        half = stats.t.ppf(0.5 + confidence / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


def error_interval(values, *, confidence: float = 0.95, shares: bool = True) -> tuple[float, float] | None:
    """Return `student_interval` of errors, cut to [0, 1]: a mean error lies there, which Student's t does not know.

    No comparison of an end with a limit in [0, 1) changes by that.

    Args:
        values: errors, one a split, (K,).
        confidence: of the interval.
        shares: whether they are shares of rows; squared errors, which are not, are cut at 0 alone.

    Returns:
        Its ends, or None for fewer than 3 splits.
    """
    ends = student_interval(values, confidence=confidence)
    if ends is None:
        return None
    # An end that is not a number stays so.
    low, high = np.clip(ends, 0.0, 1.0 if shares else None).tolist()
    return low, high


def half_width(values) -> float | None:
    """Return half the length of `student_interval`, or None for fewer than 3 splits."""
    ends = student_interval(values)
    return None if ends is None else (ends[1] - ends[0]) / 2


def error_rate(predictions, labels) -> float:
    """Return the share of wrong predictions."""
    return float(np.mean(np.asarray(predictions) != np.asarray(labels)))


def squared_error(predictions, responses) -> float:
    """Return the mean squared error, summed over a row's responses."""
    gap = np.asarray(predictions, float).reshape(len(responses), -1) - np.asarray(responses, float).reshape(
        len(responses), -1
    )
    return float(np.mean(np.sum(gap**2, axis=1)))


def class_errors(predictions, labels, n_classes: int) -> np.ndarray:
    """Return the share of wrong predictions among the rows of each class, (k,); NaN for a class without rows."""
    return errors_by_class(confusion_counts(predictions, labels, n_classes))


def balanced_error(predictions, labels, n_classes: int) -> float:
    """Return the mean of the class errors, each class counting alike."""
    return float(np.nanmean(class_errors(predictions, labels, n_classes)))


def confusion_counts(predictions, labels, n_classes: int) -> np.ndarray:
    """Return the number of rows of each true class (row) that are predicted as each class (column), (k, k)."""
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return counts


def confusion(predictions, labels, n_classes: int) -> np.ndarray:
    """Return the share of each true class (row) that is predicted as each class (column), (k, k)."""
    return shares(confusion_counts(predictions, labels, n_classes))
