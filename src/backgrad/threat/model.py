"""The threat model: goal, knowledge, budget and feasible set, printed in every result."""

import dataclasses
from typing import Any

from ..errors import InputError
from .feasible import Box, FeasibleSet
from .goals import ErrorGeneric


@dataclasses.dataclass(frozen=True)
class PerfectKnowledge:
    """The attacker knows training data, features, learner, schedule and initial parameters (the paper's PK)."""

    def describe(self) -> str:
        """Return the knowledge in one sentence."""
        return "perfect: training rows, features, learner, schedule and initial parameters"


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """Who attacks, and what they can do.

    Args:
        budget: p, the number of rows the attacker adds.
        goal: what the attacker wants.
        feasible: where the points' features may live.
        knowledge: what the attacker knows.

    Raises:
        InputError: a budget that is not a whole number, 0 or more.
    """

    budget: int
    goal: ErrorGeneric = dataclasses.field(default_factory=ErrorGeneric)
    feasible: FeasibleSet = dataclasses.field(default_factory=Box)
    knowledge: PerfectKnowledge = PerfectKnowledge()

    def __post_init__(self):
        """Check the budget."""
        if not isinstance(self.budget, int) or isinstance(self.budget, bool) or self.budget < 0:
            raise InputError(f"budget must be a whole number of points, 0 or more; got {self.budget!r}.")

    def describe(self) -> dict[str, Any]:
        """Return the threat model as plain values, for results."""
        return {
            "goal": self.goal.describe(),
            "knowledge": self.knowledge.describe(),
            "capability": "adds rows with chosen features; labels are chosen once and kept",
            "budget": self.budget,
            "feasible_set": self.feasible.describe(),
        }
