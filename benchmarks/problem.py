"""The setting that is measured: the authors' MNIST 1-vs-7, with 100 rows to train on, 400 to validate, 20 points."""

from typing import Any, NamedTuple

import numpy as np

import backgrad as bg

N_TRAIN, N_VALIDATION, N_POINTS = 100, 400, 20


class Rows(NamedTuple):
    """Features (n, d) in [0, 1] and labels 0 or 1 (n,), in NumPy's float64."""

    x: np.ndarray
    y: np.ndarray

    def samples(self, dtype) -> bg.Samples:
        """Return the rows as backgrad takes them."""
        return bg.samples(self.x, self.y, 2, dtype=dtype)

    def take(self, rows) -> "Rows":
        """Return some of the rows."""
        return Rows(self.x[rows], self.y[rows])

    def join(self, other: "Rows") -> "Rows":
        """Return these rows and others after them."""
        return Rows(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]))


class Setting(NamedTuple):
    """Training rows, validation rows, and poisoning points: validation rows with their labels flipped."""

    train: Rows
    validation: Rows
    points: Rows


class Case(NamedTuple):
    """A learner and the schedule through which the authors' code differentiates it, in parameter space."""

    name: str
    learner: Any
    schedule: bg.Descent


def load_setting() -> Setting:
    """Return the setting of split 0."""
    data = bg.load("mnist-1-7")
    split = bg.split_rows(data.n_samples, train=N_TRAIN, validation=N_VALIDATION, seed=0, split=0)
    whole = Rows(data.x, data.y)
    validation = whole.take(split.validation)
    start = validation.take(np.random.default_rng(0).permutation(N_VALIDATION)[:N_POINTS])
    return Setting(whole.take(split.train), validation, Rows(start.x, 1 - start.y))


def cases() -> dict[str, Case]:
    """Return the three learners of the authors' code, by name."""
    d = 784
    return {
        case.name: case
        for case in (
            Case("LR", bg.LogisticRegression(d), bg.Descent(100, 0.1, gram=False)),
            Case("ADALINE", bg.Adaline(d), bg.Descent(60, 0.02, gram=False)),
            Case("MLP", bg.MLP(d), bg.Descent(200, 0.1, gram=False)),
        )
    }
