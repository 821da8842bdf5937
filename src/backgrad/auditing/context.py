"""What an audit was of: rows, estimator and threat model, as audit.json holds them."""

import dataclasses
from typing import Any

from .estimators import Audited
from .plan import Audit
from .tasks import open_estimator

_FITTED = (
    "the estimator is not differentiable, so points are searched for by fitting it: rows of one part of a class with a "
    "wrong label, the most harmful part of many that are tried."
)


def own_name(audit: Audit) -> str:
    """Return what the audited estimator is called."""
    return "your estimator" if audit.estimator.startswith("held:") else audit.estimator


def describe_input(audit: Audit) -> dict[str, Any]:
    """Return the rows and columns as they were understood."""
    problem, sizes = audit.problem, audit.sizes
    used = sizes.train + sizes.validation + sizes.trusted + sizes.test
    sampling = problem.sampling
    if used < len(problem.y):
        drawn = f"On every split, {used} of {len(problem.y)} rows are drawn at random (seed {audit.seed})."
        sampling = drawn if sampling is None else f"{sampling} {drawn}"
    return {
        "source": problem.source,
        "name": problem.name,
        "format": problem.form,
        "sha256": problem.sha256,
        "rows": len(problem.y),
        "used_rows": used,
        "sampling": sampling,
        "train_rows": sizes.train,
        "validation_rows": sizes.validation,
        "test_rows": sizes.test,
        "columns": [dataclasses.asdict(column) for column in problem.columns],
        "problems": list(problem.notes),
    }


def describe_estimator(audit: Audit) -> dict[str, Any]:
    """Return who is audited, and what its gradient was had of."""
    audited = open_estimator(audit.settings, "own", audit.problem)
    return {
        "name": own_name(audit),
        "description": audited.description,
        "surrogate": _kind_of_gradient(audited),
        "sentence": audited.surrogate.sentence if audited.differentiable else _FITTED,
    }


def _kind_of_gradient(audited: Audited) -> str:
    if not audited.differentiable:
        return "none"
    return "exact" if audited.surrogate.exact else "copy"


def describe_threat(audit: Audit) -> dict[str, Any]:
    """Return the threat model in words."""
    kind = audit.problem.feasible.describe()["set"]
    set_words = {
        "box": "every feature between the least and the greatest value that the data hold",
        "image": "every pixel between black and white",
        "binary": "every feature at one of the two values that the data hold",
        "integer": "every feature a whole number in the range that the data hold",
    }
    feasible = set_words.get(kind, "numbers within the ranges of the data, whole where the data are, one category each")
    limited = bool(audit.against)
    return {
        "sentences": [
            "The attacker wants as many wrong predictions as possible, of any kind.",
            "The attacker adds rows to the training data and changes none; an added row starts as a training row with "
            "a wrong label.",
            f"Added rows hold {feasible}.",
            "The attacker knows the training rows, the features and the estimator"
            + (
                "; where points were crafted against another estimator, the rows and features alone."
                if limited
                else "."
            ),
        ],
        "goal": "error-generic",
        "capability": "adds rows with chosen features and wrong labels",
        "knowledge": ["perfect", *(["surrogate-learner"] if limited else [])],
        "feasible_set": feasible,
    }
