"""The words an option accepts. They stand apart from the objects they name, so that `--help` imports no JAX."""

from enum import StrEnum


class LearnerName(StrEnum):
    """Learners."""

    logistic = "logistic"
    softmax = "softmax"
    adaline = "adaline"
    svm = "svm"
    mlp = "mlp"


class Strategy(StrEnum):
    """Attacks."""

    joint = "joint"
    greedy = "greedy"
    coordinate = "coordinate"


class Objective(StrEnum):
    """Outer losses."""

    zero_one = "zero-one"
    log_loss = "log-loss"
    learner_loss = "learner-loss"


class Feasible(StrEnum):
    """Feasible sets."""

    box = "box"
    binary = "binary"


class AdjointName(StrEnum):
    """Adjoints."""

    checkpointed = "checkpointed"
    back_gradient = "back-gradient"
    reversible = "reversible"
    implicit = "implicit"


class Start(StrEnum):
    """Rows that points start from."""

    train = "train"
    validation = "validation"
