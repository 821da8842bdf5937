"""What the attacker knows of the victim, and what they put in place of what they do not know.

An attacker who does not know the learner, its schedule, its regularisation or its initial parameters averages the
outer objective over an ensemble of guesses: points that were tuned to one schedule may do nothing under another.
"""

import abc
import dataclasses
from typing import Any

from ..checks import is_number, shown
from ..errors import InputError
from ..learners.base import Member
from ..schedules import Schedule


class Knowledge(abc.ABC):
    """What the attacker knows."""

    #: Whether the attacker holds the victim's training rows, or another sample of their source.
    knows_rows: bool = True
    #: How much of the objective is that of the surrogates the points hurt least; the rest is the mean of all.
    caution: float = 0.0

    @abc.abstractmethod
    def members(self, learner: Any, schedule: Schedule) -> tuple[Member, ...]:
        """Return what the attacker trains, given the victim's learner and schedule."""

    def of_learner(self) -> "Knowledge":
        """Return the knowledge of one who holds the same rows and trains whatever learner is attacked."""
        return self

    @abc.abstractmethod
    def describe(self) -> str:
        """Return the knowledge in one sentence."""


@dataclasses.dataclass(frozen=True)
class PerfectKnowledge(Knowledge):
    """The attacker knows training data, features, learner, schedule and initial parameters (the paper's PK)."""

    def members(self, learner: Any, schedule: Schedule) -> tuple[Member, ...]:
        """Return the victim itself."""
        return (Member(learner, schedule),)

    def describe(self) -> str:
        """Return the knowledge in one sentence."""
        return "perfect: training rows, features, learner, schedule and initial parameters"


@dataclasses.dataclass(frozen=True)
class SurrogateData(Knowledge):
    """The attacker holds another sample of the same source, and knows all else (the paper's LK-SD)."""

    knows_rows: bool = dataclasses.field(default=False, init=False)

    def members(self, learner: Any, schedule: Schedule) -> tuple[Member, ...]:
        """Return the victim's learner and schedule."""
        return (Member(learner, schedule),)

    def describe(self) -> str:
        """Return the knowledge in one sentence."""
        return "limited: other rows of the same source; learner, schedule and initial parameters are known"


@dataclasses.dataclass(frozen=True)
class Surrogates(Knowledge):
    """The attacker trains surrogates of their own in place of the victim (the paper's LK-SL), or an ensemble of them.

    Args:
        ensemble: learners and schedules. The objective is averaged over them; members whose settings differ in numbers
            alone share one compilation.
        knows_rows: whether the attacker holds the victim's training rows.
        caution: in [0, 1]: how much of the objective is that of the surrogates the points hurt least; the rest is the
            mean of all.
        what: what is unknown, for the description.

    Raises:
        InputError: an empty ensemble, or a caution outside its range.
    """

    ensemble: tuple[Member, ...]
    knows_rows: bool = True
    caution: float = 0.0
    what: str = "the learner"

    def __post_init__(self):
        """Check the ensemble."""
        members = self.ensemble if isinstance(self.ensemble, tuple | list) else ()
        if not members or not all(isinstance(member, tuple) and len(member) == 2 for member in members):
            raise InputError(
                "an attacker needs at least one surrogate: give a tuple of (learner, schedule) pairs; got "
                f"{shown(self.ensemble)}."
            )
        if not is_number(self.caution) or not 0 <= self.caution <= 1:
            raise InputError(f"caution must lie in [0, 1]; got {shown(self.caution)}.")
        object.__setattr__(self, "ensemble", tuple(Member(*member) for member in self.ensemble))

    def members(self, learner: Any, schedule: Schedule) -> tuple[Member, ...]:
        """Return the surrogates."""
        del learner, schedule
        return self.ensemble

    def of_learner(self) -> Knowledge:
        """Return the knowledge of one who holds the same rows and needs no surrogates."""
        return PerfectKnowledge() if self.knows_rows else SurrogateData()

    def describe(self) -> str:
        """Return the knowledge in one sentence."""
        rows = "the training rows are known" if self.knows_rows else "other rows of the same source"
        names = ", ".join(dict.fromkeys(type(member.learner).__name__ for member in self.ensemble))
        stand = f"{len(self.ensemble)} surrogates ({names}) stand for the victim"
        return f"limited, without knowing {self.what}: {rows}; {stand}"
