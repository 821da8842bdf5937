"""The threat model: goal, knowledge, budget and feasible set, printed in every result."""

import dataclasses
from typing import Any

from ..checks import check_count, check_kind, native
from .evasion import Evasion
from .feasible import Box, FeasibleSet
from .goals import ErrorGeneric, Goal
from .knowledge import Knowledge, PerfectKnowledge
from .labels import FlippedLabels, LabelRule


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """Who attacks, and what they can do.

    Args:
        budget: p, the number of rows the attacker adds.
        goal: what the attacker wants.
        feasible: where the points' features may live.
        knowledge: what the attacker knows.
        labels: who labels the points, and how.
        evasion: the defence that the attacker knows, and keeps to; None for an attacker who knows of none.

    Raises:
        InputError: a budget that is not a whole number, 0 or more, or objects of other kinds.
    """

    budget: int
    goal: Goal = dataclasses.field(default_factory=ErrorGeneric)
    feasible: FeasibleSet = dataclasses.field(default_factory=Box)
    knowledge: Knowledge = dataclasses.field(default_factory=PerfectKnowledge)
    labels: LabelRule = dataclasses.field(default_factory=FlippedLabels)
    evasion: Evasion | None = None

    def __post_init__(self):
        """Check what was given, and keep the budget as a plain number, for results."""
        check_count(least=0, budget=self.budget)
        check_kind(Goal, "a goal, such as ErrorGeneric()", goal=self.goal)
        check_kind(FeasibleSet, "a feasible set, such as Box(0, 1)", feasible=self.feasible)
        check_kind(Knowledge, "knowledge, such as PerfectKnowledge()", knowledge=self.knowledge)
        check_kind(LabelRule, "a label rule, such as FlippedLabels()", labels=self.labels)
        if self.evasion is not None:
            evasion = "None, or what a defence's method evasion(x, y) gives"
            check_kind(Evasion, evasion, evasion=self.evasion)
        object.__setattr__(self, "budget", native(self.budget))

    def describe(self) -> dict[str, Any]:
        """Return the threat model as plain values, for results."""
        known = {} if self.evasion is None else {"evades": self.evasion.describe()}
        return {
            "goal": self.goal.describe(),
            "knowledge": self.knowledge.describe(),
            "capability": f"adds rows with chosen features; {self.labels.describe()}",
            "budget": self.budget,
            "feasible_set": self.feasible.describe(),
            **known,
        }
