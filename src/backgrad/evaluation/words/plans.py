"""The plan of an attack from words."""

import dataclasses
from typing import Any

import jax

from ...adjoints.back_gradient import BackGradient
from ...adjoints.base import Adjoint
from ...adjoints.checkpointed import Checkpointed
from ...adjoints.implicit import Implicit
from ...adjoints.reversible import Reversible
from ...attacks.back_gradient import JointAttack
from ...attacks.base import Attack
from ...attacks.pointwise import CoordinateAttack, GreedyAttack
from ...attacks.subpopulation import ERROR_WIDTH, SubpopulationAttack
from ...checks import check_not_negative, check_share
from ...datasets import Dataset
from ...errors import InputError
from ...learners.catalogue import default_schedule, make_learner
from ...schedules import Converged, Descent, Schedule
from ...threat.goals import ErrorGeneric, ErrorSpecific, Goal
from ...threat.knowledge import Knowledge, Member, PerfectKnowledge, SurrogateData, Surrogates
from ...threat.labels import ChosenLabels, ChosenResponses, FlippedLabels, LabelRule
from ...threat.losses import LearnerLoss, LogLoss, OuterLoss, SmoothZeroOne, SquaredLoss
from ...threat.model import ThreatModel
from ..networks import LOSS_WIDTH, smoother
from ..plan import Plan
from .feasible import learns_bounds, make_feasible
from .options import Options
from .victims import make_surrogates

# Reversible cannot undo a step without momentum, so this is its default; the step shrinks by 1 − γ to match.
_REVERSIBLE_MOMENTUM = 0.9
# A stationary point needs one; without L2 separable classes have none.
_IMPLICIT_L2 = 0.01

# Hiding a fifth of the words from each step keeps the attack from fitting the validation mails. On splits other than
# those we report, it adds 1.3 ± 0.9 points of test error for logistic regression, and nothing for the others.
_DROPOUT = {"logistic": 0.2}

# Whose hypergradients are taken as `evaluation.networks` says.
_NETWORKS = ("cnn",)

# As many rows to measure success on as there are leave an attack less to fit.
_REUSE = 1.0

# Options that only some strategies have.
_BELONGS = {
    "epsilon": ("greedy", "coordinate"),
    "outer_step_size": ("joint", "greedy", "coordinate"),
    "redraw": ("joint", "subpopulation"),
    "rehearsal": ("joint",),
    "dropout": ("joint",),
}

# How an attacker who does not know the schedule guesses at it: step size and steps in shares of the usual ones, L2.
# Strongly regularised training goes in smaller steps: in the usual ones logistic regression does not settle on digits
# but oscillates, and an attack fits the phase in which its guess happens to end.
_GUESSES = ((1.0, 1.0, 0.0), (0.2, 1 / 15, 0.0), (0.4, 0.5, 0.1), (1.0, 0.5, 0.001))
_CAUTION = 0.35
# An ensemble's objective rises more slowly than one victim's.
_ENSEMBLE_ITERATIONS = 600


def make_plan(options: Options, data: Dataset) -> Plan:
    """Build the plan of an attack, or raise `InputError` with what to change."""
    options = resolve(options, data)
    l2 = options.l2 if options.l2 is not None else (_IMPLICIT_L2 if options.adjoint == "implicit" else 0.0)
    check_not_negative(l2=l2)
    schedule = _schedule(options)
    inner = _attack_schedule(options, schedule)
    learner = make_learner(
        str(options.learner),
        n_features=data.n_features,
        n_classes=data.n_classes,
        l2=l2,
        regression=data.is_regression,
    )
    threat = ThreatModel(
        options.points,
        goal=_goal(options, data),
        feasible=make_feasible(options.feasible, data),
        knowledge=_knowledge(options, data, Member(learner, schedule)),
        labels=_labels(options, data),
    )
    return Plan(
        learner=learner,
        schedule=schedule,
        attack=_attack(options, data),
        threat=threat,
        attack_schedule=inner,
        adjoint=_adjoint(options),
        start=options.start,
        project_start=learns_bounds(options.feasible),
        # Where other classes are to keep their labels, points on both sides of the boundary are needed.
        sources=options.strategy == "joint" and options.goal != "error-generic" and not options.hold_others,
        reuse=options.reuse if options.reuse is not None else (_REUSE if options.strategy == "joint" else 0.0),
    )


def resolve(options: Options, data: Dataset) -> Options:
    """Return options with the choices that follow from the data filled in."""
    of_classes = "logistic" if data.n_classes == 2 else "softmax"
    usual = ("ridge", "squared", "chosen") if data.is_regression else (of_classes, "zero-one", "flipped")
    labels = "chosen" if options.strategy == "subpopulation" else usual[2]
    return dataclasses.replace(
        options,
        learner=options.learner or usual[0],
        objective=options.objective or usual[1],
        labels=options.labels or labels,
    )


def _schedule(options: Options) -> Schedule:
    asked = (options.step_size, options.steps, options.momentum, options.batch_size)
    name = str(options.learner)
    if options.adjoint == "implicit" and all(value is None for value in asked):
        # Newton needs a Hessian that bends everywhere, which the SVM's does not, and a convex loss.
        return Converged("lbfgs", max_steps=10_000) if name in ("mlp", "svm") else Converged()
    usual = default_schedule(name)
    momentum = options.momentum
    if momentum is None:
        momentum = _REVERSIBLE_MOMENTUM if options.adjoint == "reversible" else usual.momentum
    check_share(momentum=momentum)  # before the default step is scaled by 1 − momentum
    step_size = options.step_size
    if step_size is None:
        step_size = float(f"{usual.step_size * (1 - momentum) / (1 - usual.momentum):.12g}")
    steps = options.steps if options.steps is not None else usual.steps
    batch_size = usual.batch_size if options.batch_size is None else options.batch_size
    return dataclasses.replace(usual, steps=steps, step_size=step_size, momentum=momentum, batch_size=batch_size)


def _attack_schedule(options: Options, schedule: Schedule) -> Descent | None:
    """Return how the attacker trains its copy of the victim, or None for as the victim is trained."""
    asked = options.attack_step_size is not None or options.attack_steps is not None
    if asked and options.knowledge in ("surrogate-learner", "unknown-schedule"):
        raise InputError(
            f"--attack-steps and --attack-step-size do not belong to --knowledge {options.knowledge}, whose attacker "
            "trains each learner by a schedule of its own: leave them out."
        )
    if not isinstance(schedule, Descent):
        if asked:
            raise InputError("--attack-steps and --attack-step-size need a victim trained by descent: set --steps too.")
        return None
    if options.learner in _NETWORKS and options.strategy != "subpopulation":  # which follows no gradients
        schedule = smoother(schedule)
    elif not asked:
        return None
    return dataclasses.replace(
        schedule,
        steps=schedule.steps if options.attack_steps is None else options.attack_steps,
        step_size=schedule.step_size if options.attack_step_size is None else options.attack_step_size,
    )


# --- the threat model -----------------------------------------------------------------------------


def _goal(options: Options, data: Dataset) -> Goal:
    loss = _outer_loss(options, data)
    if options.goal == "error-generic":
        if options.hold_others:
            raise InputError("--hold-others belongs to goals such as --goal 8:3; error-generic harms all classes.")
        return ErrorGeneric(loss)
    if data.is_regression:
        raise InputError(f"--goal {options.goal} needs classes; a regression takes error-generic.")
    mapping = parse_mapping(options.goal, data.class_names)
    return ErrorSpecific(mapping=mapping, hold_others=options.hold_others, outer_loss=loss)


def _outer_loss(options: Options, data: Dataset) -> OuterLoss:
    zero_one = SmoothZeroOne(LOSS_WIDTH) if options.learner in _NETWORKS else SmoothZeroOne()
    if options.strategy == "subpopulation":
        zero_one = SmoothZeroOne(ERROR_WIDTH)
    losses = {"zero-one": zero_one, "log-loss": LogLoss(), "squared": SquaredLoss()}
    name = str(options.objective)
    if data.is_regression and name not in ("squared", "learner-loss"):
        raise InputError(f"--objective {name} needs classes; a regression takes squared.")
    return LearnerLoss() if name == "learner-loss" else losses[name]


def parse_mapping(text: str, class_names: tuple[str, ...]) -> dict[int, int]:
    """Return the classes that words such as '8:3,4:9' send to others, as numbers 0..k−1.

    Args:
        text: names of classes, SOURCE:TARGET, separated by commas.
        class_names: the data set's, in the order of their numbers.

    Raises:
        InputError: words of another form, a class that does not exist, or one that is sent to two others.
    """
    numbers = {str(name): number for number, name in enumerate(class_names)}
    mapping: dict[int, int] = {}
    for pair in text.split(","):
        source, colon, target = (part.strip() for part in pair.partition(":"))
        if not colon:
            raise InputError(f"--goal must be error-generic, or classes such as 8:3 or 8:3,4:9; got {text!r}.")
        for name in (source, target):
            if name not in numbers:
                raise InputError(f"--goal names the class {name!r}, but the classes are {', '.join(numbers)}.")
        if numbers[source] in mapping:
            raise InputError(f"--goal sends the class {source!r} to two others: name it once.")
        mapping[numbers[source]] = numbers[target]
    return mapping


def _knowledge(options: Options, data: Dataset, victim: Member) -> Knowledge:
    name = options.knowledge
    if options.surrogates is not None and name != "surrogate-learner":
        raise InputError(f"--surrogates belongs to --knowledge surrogate-learner; got --knowledge {name}.")
    if name == "surrogate-data":
        return SurrogateData()
    if name == "surrogate-learner":
        found = make_surrogates(options.surrogates, data, victim=str(options.learner))
        return Surrogates(tuple(found.values()))
    if name == "unknown-schedule":
        return Surrogates(_guesses(victim), caution=_CAUTION, what="the schedule, regularisation and initialisation")
    return PerfectKnowledge()


def _guesses(victim: Member) -> tuple[Member, ...]:
    """Return learners of the victim's kind, trained in several ways from several initial parameters."""
    usual = victim.schedule
    if not isinstance(usual, Descent):
        raise InputError("--knowledge unknown-schedule guesses at a descent; with --adjoint implicit, set --steps too.")
    members = []
    for number, (size, steps, l2) in enumerate(_GUESSES):
        schedule = dataclasses.replace(
            usual,
            step_size=size * float(usual.step_size),
            steps=max(1, round(steps * usual.steps)),
            key=jax.random.key(number + 1),
        )
        members.append(Member(dataclasses.replace(victim.learner, l2=max(l2, float(victim.learner.l2))), schedule))
    return tuple(members)


def _labels(options: Options, data: Dataset) -> LabelRule:
    if options.strategy == "subpopulation" and data.is_regression:
        raise InputError("--strategy subpopulation needs classes; a regression has none.")
    if options.strategy == "subpopulation" and options.labels == "flipped":
        raise InputError("--strategy subpopulation chooses labels: leave --labels flipped out.")
    if options.labels == "flipped":
        return FlippedLabels()
    return ChosenResponses() if data.is_regression else ChosenLabels()


# --- the attack -----------------------------------------------------------------------------------


def _adjoint(options: Options) -> Adjoint | None:
    if options.strategy == "subpopulation" and options.adjoint in ("back-gradient", "reversible"):
        raise InputError(
            f"--adjoint {options.adjoint} says how gradients go back, and --strategy subpopulation follows none: leave "
            "it out."
        )
    if options.adjoint == "checkpointed":
        return Checkpointed()
    if options.adjoint == "implicit":
        # An attack reports a bad inner problem in its health, where an exception would end it.
        return Implicit(throw=False)
    return {"back-gradient": BackGradient(), "reversible": Reversible()}[options.adjoint]


def _attack(options: Options, data: Dataset) -> Attack:
    for name, strategies in _BELONGS.items():
        if getattr(options, name) not in (None, False) and options.strategy not in strategies:
            raise InputError(
                f"--{name.replace('_', '-')} belongs to --strategy {' and '.join(strategies)}; "
                f"{options.strategy} has none."
            )
    kind, given = _joint(options, data) if options.strategy == "joint" else _others(options)
    return kind(**{name: value for name, value in given.items() if value is not None})


def _joint(options: Options, data: Dataset) -> tuple[type[Attack], dict[str, Any]]:
    longer = _ENSEMBLE_ITERATIONS if options.knowledge == "unknown-schedule" else None
    discrete = not make_feasible(options.feasible, data).exact
    usual = _DROPOUT.get(str(options.learner), 0.0) if data.is_binary else 0.0
    return JointAttack, {
        "iterations": longer if options.outer_steps is None else options.outer_steps,
        "discrete_step_size" if discrete else "step_size": options.outer_step_size,
        "rehearsal": options.rehearsal,
        "redraw": options.redraw,
        "dropout": usual if options.dropout is None else options.dropout,
        # Holding the unit raises what an ensemble's victims suffer on average (by 1 point on other splits), and lowers
        # what the one suffers that is hurt least (by 2), which is what a cautious attacker looks at.
        "hold_unit": options.knowledge != "unknown-schedule" and options.learner not in _NETWORKS,
    }


def _others(options: Options) -> tuple[type[Attack], dict[str, Any]]:
    if options.strategy == "subpopulation":
        return SubpopulationAttack, {"candidates": options.outer_steps, "redraw": options.redraw}
    kind = GreedyAttack if options.strategy == "greedy" else CoordinateAttack
    return kind, {
        "step_size": options.outer_step_size,
        "max_steps": options.outer_steps,
        "epsilon": options.epsilon,
    }
