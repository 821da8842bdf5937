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
    from .attacks.subpopulation import SubpopulationAttack
    from .auditing.audit import AuditResult, audit
    from .datasets import Dataset, encode, infer_schema, list_datasets, load, load_table, read_table, split_rows
    from .defences.bagging import bagged
    from .defences.base import Sanitiser
    from .defences.certified.labels import SmoothedLabelsClassifier
    from .defences.certified.partition import DeepPartitionAggregation
    from .defences.distance import Slab, Sphere
    from .defences.loss import LossTrim
    from .defences.neighbours import Anomaly, KnnDistance, LabelSanitisation
    from .defences.outliers import IsolationForestSanitiser, LofSanitiser
    from .defences.regularisation import RobustL2, choose_l2
    from .defences.spectral import SpectralSignatures
    from .defences.trim import Trim, TrimClassifier, TrimRegressor
    from .defences.trusted import RONI, Influence
    from .evaluation.cost import CostEstimate, estimate_cost
    from .evaluation.defence_table import DefenceTable, defence_table
    from .evaluation.displays import PoisonGalleryDisplay, SecurityCurveDisplay, TransferMatrixDisplay
    from .evaluation.displays.certificate import CertificateDisplay
    from .evaluation.displays.defence_table import DefenceTableDisplay
    from .evaluation.plan import Plan, Rows, Table
    from .evaluation.security_curve import BreakingPoint, SecurityCurve, breaking_point, security_curve
    from .evaluation.transfer import TransferMatrix, transfer_matrix
    from .hosted import HostRows, host_rows
    from .learners.base import Learner, Member
    from .learners.cnn import CNN
    from .learners.estimator import LearnerClassifier, expected_failed_checks
    from .learners.linear import Adaline, LogisticRegression, Ridge, SmoothSVM, SoftmaxRegression
    from .learners.mlp import MLP, RegressionMLP
    from .learners.preprocessing import MaxAbsScaled, MinMaxScaled, Selected, Standardised, VarianceSelected
    from .learners.regressor import LearnerRegressor
    from .learners.surrogate import Surrogate, surrogate_for
    from .schedules import Converged, Descent
    from .status import Status
    from .threat.compose import Ball, Columns, Immutable, Linked, Rescaled
    from .threat.discrete import Binary, Integer, OneHot
    from .threat.evasion import Evasion
    from .threat.feasible import Box, FeasibleSet, Image
    from .threat.goals import ErrorGeneric, ErrorSpecific, Goal, SampleTargets
    from .threat.knowledge import Knowledge, PerfectKnowledge, SurrogateData, Surrogates
    from .threat.labels import AssignedLabels, ChosenLabels, ChosenResponses, FlippedLabels, LabelRule
    from .threat.losses import LearnerLoss, LogLoss, OuterLoss, SmoothZeroOne, SquaredLoss
    from .threat.model import ThreatModel
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
    "attacks.subpopulation": ["SubpopulationAttack"],
    "auditing.audit": ["AuditResult", "audit"],
    "datasets": [
        "Dataset",
        "encode",
        "infer_schema",
        "list_datasets",
        "load",
        "load_table",
        "read_table",
        "split_rows",
    ],
    "defences.bagging": ["bagged"],
    "defences.base": ["Sanitiser"],
    "defences.certified.labels": ["SmoothedLabelsClassifier"],
    "defences.certified.partition": ["DeepPartitionAggregation"],
    "defences.distance": ["Slab", "Sphere"],
    "defences.loss": ["LossTrim"],
    "defences.neighbours": ["Anomaly", "KnnDistance", "LabelSanitisation"],
    "defences.outliers": ["IsolationForestSanitiser", "LofSanitiser"],
    "defences.regularisation": ["RobustL2", "choose_l2"],
    "defences.spectral": ["SpectralSignatures"],
    "defences.trim": ["Trim", "TrimClassifier", "TrimRegressor"],
    "defences.trusted": ["Influence", "RONI"],
    "evaluation.cost": ["CostEstimate", "estimate_cost"],
    "evaluation.defence_table": ["DefenceTable", "defence_table"],
    "evaluation.displays": ["PoisonGalleryDisplay", "SecurityCurveDisplay", "TransferMatrixDisplay"],
    "evaluation.displays.certificate": ["CertificateDisplay"],
    "evaluation.displays.defence_table": ["DefenceTableDisplay"],
    "evaluation.plan": ["Plan", "Rows", "Table"],
    "evaluation.security_curve": ["BreakingPoint", "SecurityCurve", "breaking_point", "security_curve"],
    "evaluation.transfer": ["TransferMatrix", "transfer_matrix"],
    "hosted": ["HostRows", "host_rows"],
    "learners.base": ["Learner", "Member"],
    "learners.cnn": ["CNN"],
    "learners.estimator": ["LearnerClassifier", "expected_failed_checks"],
    "learners.linear": ["Adaline", "LogisticRegression", "Ridge", "SmoothSVM", "SoftmaxRegression"],
    "learners.mlp": ["MLP", "RegressionMLP"],
    "learners.preprocessing": ["MaxAbsScaled", "MinMaxScaled", "Selected", "Standardised", "VarianceSelected"],
    "learners.regressor": ["LearnerRegressor"],
    "learners.surrogate": ["Surrogate", "surrogate_for"],
    "schedules": ["Converged", "Descent"],
    "status": ["Status"],
    "threat.compose": ["Ball", "Columns", "Immutable", "Linked", "Rescaled"],
    "threat.discrete": ["Binary", "Integer", "OneHot"],
    "threat.evasion": ["Evasion"],
    "threat.feasible": ["Box", "FeasibleSet", "Image"],
    "threat.goals": ["ErrorGeneric", "ErrorSpecific", "Goal", "SampleTargets"],
    "threat.knowledge": ["Knowledge", "PerfectKnowledge", "SurrogateData", "Surrogates"],
    "threat.labels": ["AssignedLabels", "ChosenLabels", "ChosenResponses", "FlippedLabels", "LabelRule"],
    "threat.losses": ["LearnerLoss", "LogLoss", "OuterLoss", "SmoothZeroOne", "SquaredLoss"],
    "threat.model": ["ThreatModel"],
    "training": ["Trained", "train"],
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
