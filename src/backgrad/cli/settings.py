"""From the command line's words to the library's objects."""

import dataclasses
from typing import Any

from ..adjoints.back_gradient import BackGradient
from ..adjoints.base import Adjoint
from ..adjoints.checkpointed import Checkpointed
from ..adjoints.implicit import Implicit
from ..adjoints.reversible import Reversible
from ..attacks.back_gradient import JointAttack
from ..attacks.base import Attack
from ..attacks.pointwise import CoordinateAttack, GreedyAttack
from ..datasets import Dataset
from ..errors import InputError
from ..evaluation.poisoning import Plan
from ..learners.catalogue import default_schedule, make_learner
from ..schedules import Converged, Descent, Schedule
from ..threat.feasible import Binary, Box, FeasibleSet
from ..threat.goals import ErrorGeneric, LearnerLoss, LogLoss, SmoothZeroOne
from ..threat.model import ThreatModel

# Reversible cannot undo a step without momentum, so this is its default; the step shrinks by 1 − γ to match.
_REVERSIBLE_MOMENTUM = 0.9
# A stationary point needs one; without L2 separable classes have none.
_IMPLICIT_L2 = 0.01

# Hiding a fifth of the words from each step keeps the attack from fitting the validation mails. On splits other than
# those we report, it adds 1.3 ± 0.9 points of test error for logistic regression, and nothing for the others.
_DROPOUT = {"logistic": 0.2}


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user asked for, None where they left the choice to us."""

    learner: str
    points: int
    strategy: str
    objective: str
    feasible: str
    adjoint: str
    step_size: float | None
    steps: int | None
    momentum: float | None
    l2: float | None
    attack_step_size: float | None
    attack_steps: int | None
    outer_step_size: float | None
    outer_steps: int | None
    dropout: float | None
    epsilon: float | None
    start: str


def make_plan(options: Options, data: Dataset) -> Plan:
    """Build the plan of an attack, or raise `InputError` with what to change."""
    l2 = options.l2 if options.l2 is not None else (_IMPLICIT_L2 if options.adjoint == "implicit" else 0.0)
    schedule = _schedule(options)
    inner = None
    if options.attack_step_size is not None or options.attack_steps is not None:
        inner = _attack_schedule(options, schedule)
    return Plan(
        learner=make_learner(options.learner, n_features=data.n_features, n_classes=data.n_classes, l2=l2),
        schedule=schedule,
        attack=_attack(options, data),
        threat=ThreatModel(options.points, goal=_goal(options), feasible=_feasible(options, data)),
        attack_schedule=inner,
        adjoint=_adjoint(options),
        start=options.start,
    )


def _schedule(options: Options) -> Schedule:
    asked = (options.step_size, options.steps, options.momentum)
    if options.adjoint == "implicit" and all(value is None for value in asked):
        # Newton needs a Hessian that bends everywhere, which the SVM's does not, and a convex loss.
        return Converged("lbfgs", max_steps=10_000) if options.learner in ("mlp", "svm") else Converged()
    usual = default_schedule(options.learner)
    momentum = options.momentum
    if momentum is None:
        momentum = _REVERSIBLE_MOMENTUM if options.adjoint == "reversible" else 0.0
    step_size = options.step_size
    if step_size is None:
        step_size = float(f"{usual.step_size * (1 - momentum):.12g}")
    return Descent(options.steps if options.steps is not None else usual.steps, step_size, momentum)


def _attack_schedule(options: Options, schedule: Schedule) -> Descent:
    if not isinstance(schedule, Descent):
        raise InputError("--attack-steps and --attack-step-size need a victim trained by descent: set --steps too.")
    return dataclasses.replace(
        schedule,
        steps=schedule.steps if options.attack_steps is None else options.attack_steps,
        step_size=schedule.step_size if options.attack_step_size is None else options.attack_step_size,
    )


def _goal(options: Options) -> ErrorGeneric:
    losses = {"zero-one": SmoothZeroOne(), "log-loss": LogLoss(), "learner-loss": LearnerLoss()}
    return ErrorGeneric(losses[options.objective])


def _feasible(options: Options, data: Dataset) -> FeasibleSet:
    if options.feasible == "box":
        return Box()
    if not data.is_binary:
        raise InputError(
            f"--feasible binary needs features that are all 0 or 1, but those of {data.name} are not: "
            "use --feasible box."
        )
    return Binary()


def _adjoint(options: Options) -> Adjoint:
    return {
        "checkpointed": Checkpointed(),
        "back-gradient": BackGradient(),
        "reversible": Reversible(),
        # An attack reports a bad inner problem in its health, where an exception would end it.
        "implicit": Implicit(throw=False),
    }[options.adjoint]


def _attack(options: Options, data: Dataset) -> Attack:
    given: dict[str, Any] = {}
    if options.strategy == "joint":
        if options.epsilon is not None:
            raise InputError("--epsilon is the stopping rule of --strategy greedy and coordinate; joint has none.")
        kind, given["iterations"] = JointAttack, options.outer_steps
        given["discrete_step_size" if options.feasible == "binary" else "step_size"] = options.outer_step_size
        usual = _DROPOUT.get(options.learner, 0.0) if data.is_binary else 0.0
        given["dropout"] = usual if options.dropout is None else options.dropout
    else:
        if options.dropout is not None:
            raise InputError("--dropout belongs to --strategy joint; greedy and coordinate have none.")
        kind = GreedyAttack if options.strategy == "greedy" else CoordinateAttack
        given["step_size"] = options.outer_step_size
        given["max_steps"], given["epsilon"] = options.outer_steps, options.epsilon
    return kind(**{name: value for name, value in given.items() if value is not None})
