"""The paper's experiments as studies: Muñoz-González et al. 2017, figure by figure, and its claims."""

from .claim import Claim
from .claims import claims
from .experiment import Experiment, Results, Scale
from .reproduction import EXPERIMENTS, make_scale, make_study
from .tasks import PAPER_TASKS

__all__ = [
    "EXPERIMENTS",
    "PAPER_TASKS",
    "Claim",
    "Experiment",
    "Results",
    "Scale",
    "claims",
    "make_scale",
    "make_study",
]
