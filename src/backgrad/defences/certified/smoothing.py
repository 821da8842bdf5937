r"""Bounds for a vote of linear scores under random labels (Rosenfeld, Winston, Ravikumar and Kolter, ICML 2020).

Every one of n labels is kept with probability 1 − q, and is each of the K − 1 others with probability u = q/(K − 1).
The base classifier predicts the class c of the largest score f_c = Σ_i α_i [ỹ_i = c]. With c the class of the largest
mean score,

    P(not c) ≤ Σ_{c' ≠ c} P(f_c − f_{c'} ≤ 0) ≤ δ = Σ_{c' ≠ c} min_{t ≥ 0} exp K_{c'}(t),
    K_{c'}(t) = Σ_i log E exp(−t α_i ([ỹ_i = c] − [ỹ_i = c'])),

which is the Chernoff bound, and for K = 2 the paper's. Each K is convex, and any t ≥ 0 gives a valid bound, so Newton's
method need not have converged.

How many labels r may change before c could lose its majority, given P(not c) ≤ δ? Let P be the law of the noisy labels
and Q that after r changes. They differ in r coordinates alone.

- *Kullback-Leibler* (the paper's theorem): KL(P, Q) = r (1 − q − u) log((1 − q)/u), and the majority is safe while
  this is below −½ log(4 δ (1 − δ)); for K = 2, r < log(4 p (1 − p)) / (2 (1 − 2q) log(q/(1 − q))) with p = 1 − δ.
- *Neyman-Pearson* (as Lee, Yuan, Chang and Jaakkola, NeurIPS 2019, do for discrete noise): of all events with P = δ,
  that of largest Q has the largest likelihood ratios. With s the number of the r coordinates that agree with the clean
  label less those that agree with the changed one, Q/P = (u/(1 − q))^s. So the event is {s < J} and a part of
  {s = J}; the majority is safe while its Q is below ½. This is the best that can be said from δ alone, and for small δ
  about twice the paper's r.
"""

from typing import Literal

import numpy as np
from scipy.special import logsumexp

_NEWTON_STEPS = 12
_SLACK = 1e-8


def log_failure(alpha: np.ndarray, codes: np.ndarray, winners: np.ndarray, *, q: float, n_classes: int) -> np.ndarray:
    """Return log δ, an upper bound on log P(not the winner), of every row, (m,).

    Args:
        alpha: what each training label contributes to each row's score, (m, n).
        codes: training labels 0..K−1, (n,).
        winners: a class of every row, (m,).
        q: probability that a label is another.
        n_classes: K.
    """
    found = np.full((len(alpha), n_classes), -np.inf)
    for winner in np.unique(winners):
        rows = np.flatnonzero(winners == winner)
        for rival in range(n_classes):
            if rival != winner:
                pairs = (_probability(codes == one, q, n_classes) for one in (winner, rival))
                found[rows, rival] = _chernoff(alpha[rows], *pairs)
    # The sum of n terms is rounded; a bound must not be too small.
    return np.minimum(logsumexp(found, axis=1) + _SLACK, 0.0)


def flip_thresholds(
    n_rows: int, *, q: float, n_classes: int, bound: Literal["neyman-pearson", "kullback-leibler"], least: float
) -> np.ndarray:
    """Return log δ_r for r = 0, 1, …: while log δ < log δ_r, no r changed labels change the smoothed prediction.

    Args:
        n_rows: the largest r of interest, n.
        q: probability that a label is another.
        n_classes: K.
        bound: which theorem.
        least: the smallest log δ that will be compared; the list ends with the first threshold that is not above it.
    """
    ratio, found = np.log(q / (n_classes - 1)) - np.log1p(-q), [np.log(0.5)]
    if bound == "kullback-leibler":
        divergence = -(1 - q - q / (n_classes - 1)) * ratio
        while found[-1] > least and len(found) <= n_rows:
            double = 2 * len(found) * divergence
            found.append(-double - np.log(2 * (1 + np.sqrt(-np.expm1(-double)))))
        return np.array(found)
    # Law under Q of one coordinate's contribution to s: −1, 0, 1.
    step = np.array([1 - q, q - q / (n_classes - 1), q / (n_classes - 1)])
    law = np.ones(1)
    while found[-1] > least and len(found) <= n_rows:
        law = np.convolve(law, step)
        found.append(min(found[-1], _largest_mass(law, ratio)))
    return np.array(found)


def _largest_mass(law: np.ndarray, ratio: float) -> float:
    """Return the log of the largest P of an event whose worst Q is ½, from the law of s under Q, (2r + 1,)."""
    mass = np.cumsum(law)
    last = int(np.searchsorted(mass, 0.5))
    below = mass[last - 1] if last else 0.0
    level = last - len(law) // 2
    # P = Q (u/(1 − q))^(−s), relative to that at s = J.
    inside = float(np.sum(law[:last] * np.exp(ratio * (last - np.arange(last)))) + max(0.5 - below, 0.0))
    return -level * ratio + np.log(inside) - _SLACK


def _probability(own: np.ndarray, q: float, n_classes: int) -> np.ndarray:
    return np.where(own, 1 - q, q / (n_classes - 1))


def _chernoff(alpha: np.ndarray, wins: np.ndarray, loses: np.ndarray) -> np.ndarray:
    """Return min_t K(t) of every row over the steps of Newton's method, at most 0, (m,).

    Args:
        alpha: (m, n).
        wins: the probability that a label is the winner's, (n,).
        loses: that it is the rival's, (n,).
    """
    mean = alpha @ (wins - loses)
    variance = (alpha**2) @ (wins + loses) - (alpha**2) @ ((wins - loses) ** 2)
    start = np.divide(mean, variance, out=np.zeros_like(mean), where=variance > 0)
    best, t = np.zeros(len(alpha)), np.maximum(start, 0.0)
    ceiling = np.full(len(alpha), np.inf)
    for _ in range(_NEWTON_STEPS):
        value, slope, bend = _cumulant(alpha, t, wins, loses)
        best = np.minimum(best, value)
        # The minimum lies to the left of any t where K rises.
        ceiling = np.where(slope > 0, np.minimum(ceiling, t), ceiling)
        moved = t - np.divide(slope, bend, out=np.zeros_like(t), where=bend > 0)
        t = np.where((moved > 0) & (moved < ceiling), moved, 0.5 * np.where(slope > 0, t, np.minimum(ceiling, 2 * t)))
    return best


def _cumulant(alpha: np.ndarray, t: np.ndarray, wins: np.ndarray, loses: np.ndarray):
    """Return K, K' and K'' at t, (m,) each, with the largest exponent taken out."""
    push = t[:, None] * alpha
    small = np.exp(-np.abs(push))
    up = push >= 0
    ahead, behind = np.where(up, loses, wins), np.where(up, wins, loses) * small**2
    total = ahead + behind + (1 - wins - loses) * small
    tilt = (ahead - behind) / total
    side = np.abs(alpha)
    value = np.sum(np.abs(push) + np.log(total), axis=1)
    return value, np.sum(side * tilt, axis=1), np.sum(side**2 * ((ahead + behind) / total - tilt**2), axis=1)
