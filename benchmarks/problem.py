"""The settings that are measured: the authors' MNIST 1-vs-7, Spambase, and ten digits; and the learners."""

import functools
from typing import Any, NamedTuple

import numpy as np

import backgrad as bg

N_TRAIN, N_VALIDATION, N_POINTS = 100, 400, 20
#: The authors' learners: the ones that goals are set for, and that PyTorch and the port are compared on.
AUTHORS = ("LR", "ADALINE", "MLP")


class Rows(NamedTuple):
    """Features (n, d) in [0, 1] and integer labels (n,), in NumPy's float64."""

    x: np.ndarray
    y: np.ndarray
    n_classes: int = 2

    def samples(self, dtype) -> bg.Samples:
        """Return the rows as backgrad takes them."""
        return bg.samples(self.x, self.y, self.n_classes, dtype=dtype)

    def take(self, rows) -> "Rows":
        """Return some of the rows."""
        return Rows(self.x[rows], self.y[rows], self.n_classes)

    def join(self, other: "Rows") -> "Rows":
        """Return these rows and others after them."""
        return Rows(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]), self.n_classes)


class Setting(NamedTuple):
    """Training rows, validation rows, and poisoning points: validation rows with the label after theirs."""

    train: Rows
    validation: Rows
    points: Rows


class Case(NamedTuple):
    """A learner, the schedule through which it is differentiated, in parameter space, and the data set."""

    name: str
    learner: Any
    schedule: Any
    data: str = "mnist-1-7"

    @property
    def setting(self) -> Setting:
        """The rows: 100 of two classes, or 500 of ten, and 20 points."""
        return load_setting(self.data)


@functools.cache
def load_setting(data: str = "mnist-1-7") -> Setting:
    """Return the setting of split 0."""
    table = bg.load(data)
    n_train = N_TRAIN if table.n_classes == 2 else 5 * N_TRAIN
    split = bg.split_rows(table.n_samples, train=n_train, validation=N_VALIDATION, seed=0, split=0)
    whole = Rows(table.x, table.y, table.n_classes)
    validation = whole.take(split.validation)
    start = validation.take(np.random.default_rng(0).permutation(N_VALIDATION)[:N_POINTS])
    flipped = start._replace(y=(start.y + 1) % table.n_classes)
    return Setting(whole.take(split.train), validation, flipped)


def cases(*, full: bool = False) -> dict[str, Case]:
    """Return the learners by name: the three of the authors' code first.

    Args:
        full: whether the CNN has all of its 450,000 parameters; else its layers are a quarter as wide.
    """
    d, cnn = 784, bg.CNN()
    found = (
        Case("LR", bg.LogisticRegression(d), bg.Descent(100, 0.1, gram=False)),
        Case("ADALINE", bg.Adaline(d), bg.Descent(60, 0.02, gram=False)),
        Case("MLP", bg.MLP(d), bg.Descent(200, 0.1, gram=False)),
        Case("SVM", bg.SmoothSVM(d, 0.01), bg.Descent(100, 0.05, gram=False)),
        Case("ridge", bg.Ridge(d, 0.01, n_responses=2), bg.Descent(100, 0.02, gram=False)),
        Case("softmax", bg.SoftmaxRegression(d, n_classes=10), bg.Descent(100, 0.1, gram=False), "mnist"),
        Case("CNN", cnn if full else cnn.narrow(4), bg.Descent(40, 0.05, batch_size=100), "mnist"),
    )
    return {case.name: case for case in found}


def converged_cases() -> dict[str, Case]:
    """Return the learners that are trained to convergence, for `Implicit`."""
    d, schedule = 784, bg.Converged()
    return {
        "LR": Case("LR", bg.LogisticRegression(d, 0.1), schedule),
        "ridge": Case("ridge", bg.Ridge(d, 0.1, n_responses=2), schedule),
    }
