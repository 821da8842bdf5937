"""The options that verbs share, each declared once.

`with_options` gives a command its own parameters and those of some groups; what it receives of the groups comes as
keyword arguments.
"""

import copy
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .choices import AdjointName, KnowledgeName, Labels, LearnerName, Objective, Start, Strategy, Task

Group = dict[str, tuple[Any, Any]]
_DATA, _VICTIM, _ATTACK, _RUN = "Data", "Victim", "Attacker", "Evaluation"


def option(kind: Any, text: str, panel: str, default: Any = None, *names: str) -> tuple[Any, Any]:
    """Return an option's annotation and default; what its text says of regressions stands in braces."""
    optional = kind | None if default is None else kind
    info = typer.Option(*names, help=re.sub(r"[{}]", "", text), rich_help_panel=panel)
    return Annotated[optional, info, re.sub(r"{.*?}", "", text)], default


DATA: Group = {
    "dataset": (
        Annotated[str, typer.Argument(help="A data set that 'backgrad datasets' lists, or a CSV file.")],
        inspect.Parameter.empty,
    ),
    "target": option(str, "Column of a CSV file's labels{ or responses}.", _DATA),
    "task": option(Task, "What that column holds (default: classification).", _DATA),
    "download": option(bool, "Fetch a data set that does not come with backgrad.", _DATA, False, "--download"),
}
VICTIM: Group = {
    "learner": option(
        LearnerName,
        "What is attacked (default: logistic; softmax for 3 classes and more{; ridge for responses}).",
        _VICTIM,
    ),
    "step_size": option(float, "Step of the victim's descent (default: by learner, see below).", _VICTIM),
    "steps": option(int, "Steps of the victim's descent (default: by learner, see below).", _VICTIM),
    "momentum": option(float, "Momentum of the descent (default: 0; 0.9 for reversible and cnn).", _VICTIM),
    "batch_size": option(int, "Rows of each step of the descent (default: all; 100 for cnn).", _VICTIM),
    "l2": option(float, "L2 strength (default: 0; 0.01 for implicit).", _VICTIM),
}
_FEASIBLE = (
    "Where points may live: box, box:A..B (quantiles), binary, integer, image, onehot or auto; then +COLUMNS=SET, "
    "+fixed:COLUMNS, +l2:R, +linf:R."
)
THREAT: Group = {
    "goal": option(
        str, "error-generic, or classes and the labels they should get: 8:3 or 8:3,4:9.", _ATTACK, "error-generic"
    ),
    "hold_others": option(bool, "Keep all other classes right (with 8:3 goals).", _ATTACK, False, "--hold-others"),
    "knowledge": option(KnowledgeName, "What the attacker knows of the victim.", _ATTACK, KnowledgeName.perfect),
    "feasible": option(str, _FEASIBLE, _ATTACK, "box"),
    "labels": option(
        Labels, "Points' labels: flipped once, or chosen with the features{ (default for responses)}.", _ATTACK
    ),
    "start": option(Start, "Rows that points start from, with flipped labels.", _ATTACK, Start.train),
}
SEARCH: Group = {
    "strategy": option(
        Strategy,
        "Gradients for all points at once, one after another or in turns; or one wrong label for part of a class.",
        _ATTACK,
        Strategy.joint,
    ),
    "objective": option(
        Objective, "Outer loss to maximise on validation rows (default: zero-one{; squared for responses}).", _ATTACK
    ),
    "adjoint": option(AdjointName, "How gradients go back through training.", _ATTACK, AdjointName.checkpointed),
    "outer_step_size": option(float, "Length of a point's step (default: 1; discrete joint: 0.2).", _ATTACK),
    "outer_steps": option(
        int,
        "Steps of all points (default: 150; unknown-schedule: 600), or of each (100), or subpopulations to try (60).",
        _ATTACK,
    ),
    "redraw": option(
        bool,
        "Draw initial parameters and batches anew, as unknown (joint: at each step; subpopulation: at each trial).",
        _ATTACK,
        False,
        "--redraw",
    ),
    "rehearsal": option(
        int, "Steps before these through a fifth of the training, at a fifth of the time (joint only).", _ATTACK
    ),
    "dropout": option(
        float,
        "Share of validation features hidden from each step (default: 0.2 for logistic on binary features, else 0; "
        "joint only).",
        _ATTACK,
    ),
    "reuse": option(
        float,
        "Weight of the attacker's training rows beside the validation rows (default: 1 for joint, else 0).",
        _ATTACK,
    ),
    "epsilon": option(float, "Gain below which a point stops (default: 1e-5; greedy and coordinate).", _ATTACK),
}
# Of attacks on one learner; a verb that crafts against several trains each by a schedule of its own.
TRAINING: Group = {
    "attack_step_size": option(
        float, "The attacker's own training step (default: the victim's; cnn: a fifth of it).", _ATTACK
    ),
    "attack_steps": option(int, "The attacker's own training steps (default: the victim's).", _ATTACK),
}
SURROGATES: Group = {
    "surrogates": option(
        str, "Learners in place of the victim's, a,b,… (surrogate-learner; default: all others).", _ATTACK
    ),
}
RUN: Group = {
    "train": option(int, "Training rows.", _RUN, 100),
    "validation": option(int, "The attacker's rows; all others test.", _RUN, 400),
    "splits": option(int, "Random splits to average over.", _RUN, 10),
    "official_test": option(
        bool, "Test on the source's own test rows, where it has some (mnist-full).", _RUN, False, "--official-test"
    ),
    "seed": option(int, "Fixes everything random.", _RUN, 0),
}


def of_classes(*groups: Group) -> Group:
    """Return the options of some groups for a verb that judges classifiers: none for regressions, no word of them."""
    found: Group = {}
    for name, (annotation, default) in ((name, entry) for group in groups for name, entry in group.items()):
        info, *short = annotation.__metadata__
        if short:
            info = copy.copy(info)
            info.help = short[0]
        found[name] = Annotated[annotation.__origin__, info], default
    del found["task"]
    return found


def with_options(*groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that puts the options of some groups before a command's own."""
    shared = {name: entry for group in groups for name, entry in group.items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        kind = inspect.Parameter.KEYWORD_ONLY
        first = [
            inspect.Parameter(name, kind, annotation=annotation, default=default)
            for name, (annotation, default) in shared.items()
        ]
        own = [
            parameter.replace(kind=kind)
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        command.__signature__ = inspect.Signature([*first, *own])  # pyright: ignore[reportFunctionMemberAccess]
        command.__annotations__ = {p.name: p.annotation for p in (*first, *own)}
        return command

    return decorate
