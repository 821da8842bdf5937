"""What trials tell of guesses that have been tried, and of those that have not.

Trials are dear and their values depend on luck: two trainings of a network agree neither about the harm that points do
nor about which of two sets does more. So what is expected of a guess comes from all trials, of guesses that are like it
and under draws that others were tried under as well. It is a Gaussian process (Rasmussen and Williams 2006, "Gaussian
Processes for Machine Learning", chapter 2): values are a constant, and what belongs to the points, and what belongs to
the draw of initial parameters and batches, and the luck of points with a draw, which others like them share.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Shares of the variance that may belong to the points and to the draw. The rest is luck.
# That the points matter little is not on the list: few values look like that now and then, and nothing would be tried.
_SHARES = [
    (points, draws)
    for points, draws in itertools.product((0.2, 0.4, 0.6, 0.8, 0.95), (0.0, 0.2, 0.4))
    if points + draws < 1
]
# Where values do not depend on luck: the rest keeps guesses apart that differ little.
_CERTAIN = (1 - 1e-6, 0.0)
# How much of its luck a guess shares with others like it.
_SHARED = 0.9
# The likeness of guesses that are the same, but for round-off.
_SAME = 1 - 1e-9


class Copies(NamedTuple):
    """Points that are copies of training rows.

    Args:
        rows: of which row each is a copy, (p,).
        labels: which wrong label it has, (p,).
    """

    rows: np.ndarray
    labels: np.ndarray


class Expected(NamedTuple):
    """What is expected of guesses, over draws.

    Args:
        mean: of each, (m,).
        deviation: how far it may well be from that, (m,).
    """

    mean: np.ndarray
    deviation: np.ndarray

    def best(self, count: int | None = None) -> list[int]:
        """Return the numbers of those that most is expected of, best first."""
        return np.argsort(-self.mean, kind="stable")[:count].tolist()


class Trials:
    """Guesses, and the values that they had under some draws.

    Args:
        classes: of the rows that they are copies of, (n,).
        n_labels: how many labels there are.
        lucky: whether values depend on the draw and on luck.
    """

    def __init__(self, classes: np.ndarray, n_labels: int, *, lucky: bool):
        self.guesses: list[Copies] = []
        self._classes, self._n_labels, self._lucky = classes, n_labels, lucky
        self._likeness = np.zeros((0, 0))
        self._records: list[tuple[int, int, float]] = []

    def take(self, guess: Copies) -> int:
        """Return the number of a guess, which may be that of the same one before."""
        between = self.likeness([guess])
        same = np.flatnonzero(between[0] > _SAME)
        if len(same):
            return int(same[0])
        self._likeness = np.block([[self._likeness, between.T], [between, np.ones((1, 1))]])
        self.guesses.append(guess)
        return len(self.guesses) - 1

    def record(self, number: int, draw: int, value: float) -> None:
        """Note the value of a guess under a draw. One that is not finite is as bad as the worst."""
        self._records.append((number, draw, value))

    def values(self, number: int) -> dict[int, float]:
        """Return the values of a guess by draw."""
        return {draw: value for of, draw, value in self._records if of == number}

    def likeness(self, guesses: Sequence[Copies]) -> np.ndarray:
        """Return how alike guesses are to those taken in, (m, n), from 0 to 1.

        It is the mean of three cosines: of how often they copy rows of each class, each row, and each with each label.
        """
        if not self.guesses:
            return np.zeros((len(guesses), 0))
        pairs = zip(self._counts(guesses), self._counts(self.guesses), strict=True)
        return np.mean([(new @ old.T).toarray() for new, old in pairs], axis=0)

    def expected(self, guesses: Sequence[Copies] | None = None) -> Expected:
        """Return what is expected of guesses, or of those taken in."""
        between = self._likeness if guesses is None else self.likeness(guesses)
        of, draws = (np.array([record[i] for record in self._records], int) for i in (0, 1))
        values = np.array([value for *_, value in self._records])
        finite = np.isfinite(values)
        if not finite.any() or np.ptp(values[finite]) == 0:
            usual = float(values[finite][0]) if finite.any() else -math.inf
            return Expected(np.full(len(between), usual), np.zeros(len(between)))
        values = np.where(finite, values, values[finite].min())
        shares = _SHARES if self._lucky else [_CERTAIN]
        fit = _fit(self._likeness[np.ix_(of, of)], draws[:, None] == draws, values, shares)
        across = fit.of_points * between[:, of]
        explained = np.sum(across @ fit.inverse * across, axis=1)
        spread = np.sqrt(fit.scale * np.maximum(fit.of_points - explained, 0))
        return Expected(fit.usual + across @ fit.inverse @ (values - fit.usual), spread)

    def _counts(self, guesses: Sequence[Copies]) -> list[Any]:
        """Return how often guesses copy each class, row, and row with a label, as sparse rows of length 1."""
        from scipy import sparse  # takes long to import, and few attacks want it

        n_rows, n_labels = len(self._classes), self._n_labels
        each = np.repeat(np.arange(len(guesses)), [len(guess.rows) for guess in guesses])
        rows, labels = (np.concatenate(column) for column in zip(*guesses, strict=True))
        shown, found = rows * n_labels + labels, []
        for keys, count in ((self._classes[rows], n_labels), (rows, n_rows), (shown, n_rows * n_labels)):
            counts = sparse.csr_matrix((np.ones(len(keys)), (each, keys)), shape=(len(guesses), count))
            lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(1)).ravel())
            found.append(sparse.diags(1 / lengths) @ counts)
        return found


class _Fit(NamedTuple):
    """Shares of the variance, how likely they make the values, and what follows from them."""

    likely: float
    of_points: float
    inverse: np.ndarray
    usual: float
    scale: float


def _fit(likeness: np.ndarray, same_draw: np.ndarray, values: np.ndarray, shares: list[tuple[float, float]]) -> _Fit:
    """Return the process under which values are likeliest, its mean and variance included."""
    luck = _SHARED * likeness * same_draw + (1 - _SHARED) * np.eye(len(values))

    def fit(of_points: float, of_draws: float) -> _Fit:
        covariance = of_points * likeness + of_draws * same_draw + (1 - of_points - of_draws) * luck
        inverse = np.linalg.inv(covariance)
        usual = float(inverse.sum(axis=0) @ values / inverse.sum())
        scale = float((values - usual) @ inverse @ (values - usual)) / len(values)
        likely = -(len(values) * math.log(scale) + np.linalg.slogdet(covariance).logabsdet) / 2
        return _Fit(likely, of_points, inverse, usual, scale)

    return max((fit(*pair) for pair in shares), key=lambda found: found.likely)
