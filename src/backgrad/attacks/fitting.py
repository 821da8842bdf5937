"""What points do to an estimator that nothing differentiates: fit it, and count its errors."""

from typing import Any

import numpy as np

from ..devices import on_host
from ..errors import EmptyClassError, InputError, NumericalError
from ..learners.seeding import fit_seeded, open_states
from ..threat.goals import Goal
from ..types import Samples, with_added


class Fits:
    """Fits of copies of an estimator, to clean rows and points.

    Args:
        estimator: an unfitted classifier of labels 0..k−1.
        train: the clean rows, with one-hot labels; those of weight 0 are left out.
        validation: the rows on which the attacker measures success.
        goal: what the attacker wants of them.
        seed: of random states that the estimator leaves open.

    Raises:
        InputError: clean rows of different weights, which `fit` is not told.
    """

    def __init__(self, estimator: Any, train: Samples, validation: Samples, goal: Goal, seed: int):
        weights = on_host(train.weight)
        present = weights > 0
        if np.unique(weights[present]).size > 1:
            raise InputError(
                "an estimator is fitted to rows that count alike, or not at all: give training rows weights of 0 or 1."
            )
        self._rows = on_host(train.x)[present], np.argmax(on_host(train.y), axis=1)[present]
        wanted, self._sign = goal.wanted(validation)
        self._x, self._weight = on_host(wanted.x), on_host(wanted.weight)
        self._labels = np.argmax(on_host(wanted.y), axis=1)
        self._estimator, self._seed = estimator, seed

    @property
    def lucky(self) -> bool:
        """Whether the estimator leaves a random state open, so that two fits may differ."""
        return bool(open_states(self._estimator))

    def harm(self, x: np.ndarray, labels: np.ndarray, draw: int) -> float:
        """Return 𝒜 of a fit with points: the share of validation rows that are wrong, or that get wanted labels less 1.

        Args:
            x: the points' features, (p, d).
            labels: their labels, (p,).
            draw: of the open random states.
        """
        state = int(np.random.SeedSequence([self._seed, draw]).generate_state(1)[0]) % 2**31
        try:
            fitted = fit_seeded(self._estimator, *with_added(*self._rows, (x, labels)), seed=state)
        except (EmptyClassError, NumericalError):  # a defence that lets nothing be trained: the owner would notice
            return -1.0
        wrong = np.asarray(fitted.predict(self._x)) != self._labels
        return float(self._sign * (self._weight @ wrong) / self._weight.sum())
