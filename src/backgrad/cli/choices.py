"""The words an option accepts. They stand apart from the objects they name, so that `--help` imports no JAX."""

from enum import StrEnum


class LearnerName(StrEnum):
    """Learners."""

    logistic = "logistic"
    softmax = "softmax"
    adaline = "adaline"
    svm = "svm"
    mlp = "mlp"
    cnn = "cnn"
    ridge = "ridge"


class Strategy(StrEnum):
    """Attacks."""

    joint = "joint"
    greedy = "greedy"
    coordinate = "coordinate"
    subpopulation = "subpopulation"


class Objective(StrEnum):
    """Outer losses."""

    zero_one = "zero-one"
    log_loss = "log-loss"
    squared = "squared"
    learner_loss = "learner-loss"


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


class KnowledgeName(StrEnum):
    """What the attacker knows."""

    perfect = "perfect"
    surrogate_data = "surrogate-data"
    surrogate_learner = "surrogate-learner"
    unknown_schedule = "unknown-schedule"


class TransferKnowledge(StrEnum):
    """What the attacker of a transfer matrix knows: its rows are the surrogates."""

    perfect = "perfect"
    surrogate_data = "surrogate-data"


class Labels(StrEnum):
    """Who chooses the points' labels, and when."""

    flipped = "flipped"
    chosen = "chosen"


class Task(StrEnum):
    """What a table's target holds."""

    classification = "classification"
    regression = "regression"


class Criterion(StrEnum):
    """What must pass a limit for a model to count as broken."""

    mean = "mean"
    upper_end = "upper"
