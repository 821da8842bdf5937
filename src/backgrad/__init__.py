"""backgrad: how much damage can poisoned training rows do to a model, how few rows does it take, what stops it?

The names below are the public interface. They are imported when first used, so that `import backgrad` (and
`backgrad --help`) costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .adjoints.back_gradient import BackGradient
    from .adjoints.base import Adjoint
    from .adjoints.checkpointed import Checkpointed
    from .adjoints.implicit import Implicit
    from .adjoints.reversible import Reversible
    from .attacks.back_gradient import JointAttack
    from .attacks.base import Attack, AttackResult
    from .attacks.controls import LabelFlip, RandomPoints
    from .attacks.health import AttackHealth
    from .attacks.pointwise import CoordinateAttack, GreedyAttack
    from .datasets import Dataset, list_datasets, load, split_rows
    from .learners.base import Learner
    from .learners.estimator import LearnerClassifier
    from .learners.linear import Adaline, LogisticRegression, Ridge, SmoothSVM, SoftmaxRegression
    from .learners.mlp import MLP
    from .schedules import Converged, Descent
    from .status import Status
    from .threat.feasible import Binary, Box, FeasibleSet
    from .threat.goals import ErrorGeneric, LearnerLoss, LogLoss, SmoothZeroOne
    from .threat.model import PerfectKnowledge, ThreatModel
    from .training import Trained, train
    from .types import Samples, one_hot, samples

_HOMES = {
    "adjoints.back_gradient": ["BackGradient"],
    "adjoints.base": ["Adjoint"],
    "adjoints.checkpointed": ["Checkpointed"],
    "adjoints.implicit": ["Implicit"],
    "adjoints.reversible": ["Reversible"],
    "attacks.back_gradient": ["JointAttack"],
    "attacks.base": ["Attack", "AttackResult"],
    "attacks.controls": ["LabelFlip", "RandomPoints"],
    "attacks.health": ["AttackHealth"],
    "attacks.pointwise": ["CoordinateAttack", "GreedyAttack"],
    "datasets": ["Dataset", "list_datasets", "load", "split_rows"],
    "learners.base": ["Learner"],
    "learners.estimator": ["LearnerClassifier"],
    "learners.linear": ["Adaline", "LogisticRegression", "Ridge", "SmoothSVM", "SoftmaxRegression"],
    "learners.mlp": ["MLP"],
    "schedules": ["Converged", "Descent"],
    "status": ["Status"],
    "training": ["Trained", "train"],
    "threat.feasible": ["Binary", "Box", "FeasibleSet"],
    "threat.goals": ["ErrorGeneric", "LearnerLoss", "LogLoss", "SmoothZeroOne"],
    "threat.model": ["PerfectKnowledge", "ThreatModel"],
    "types": ["Samples", "one_hot", "samples"],
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_WHERE)]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'backgrad' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
