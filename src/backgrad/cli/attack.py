"""`backgrad attack`: craft poisoning points against a learner, and see how far they push its error."""

from pathlib import Path
from typing import Annotated

import typer

from .choices import AdjointName, Feasible, LearnerName, Objective, Start, Strategy

_VICTIM, _ATTACK, _RUN = "Victim", "Attacker", "Evaluation"


def attack(
    dataset: Annotated[str, typer.Argument(help="Name of a data set; 'backgrad datasets' lists them.")],
    learner: Annotated[
        LearnerName, typer.Option(help="What is attacked.", rich_help_panel=_VICTIM)
    ] = LearnerName.logistic,
    step_size: Annotated[
        float | None,
        typer.Option(help="Step of the victim's descent (default: by learner, see below).", rich_help_panel=_VICTIM),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of the victim's descent (default: by learner, see below).", rich_help_panel=_VICTIM),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(help="Momentum of the descent (default: 0; 0.9 for reversible).", rich_help_panel=_VICTIM),
    ] = None,
    l2: Annotated[
        float | None,
        typer.Option(help="L2 strength (default: 0; 0.01 for implicit).", rich_help_panel=_VICTIM),
    ] = None,
    points: Annotated[int, typer.Option(help="Poisoning points to add.", rich_help_panel=_ATTACK)] = 20,
    strategy: Annotated[
        Strategy,
        typer.Option(help="All points at once, one after another, or in turns.", rich_help_panel=_ATTACK),
    ] = Strategy.joint,
    objective: Annotated[
        Objective, typer.Option(help="Outer loss to maximise on validation rows.", rich_help_panel=_ATTACK)
    ] = Objective.zero_one,
    feasible: Annotated[Feasible, typer.Option(help="Where points may live.", rich_help_panel=_ATTACK)] = Feasible.box,
    adjoint: Annotated[
        AdjointName, typer.Option(help="How gradients go back through training.", rich_help_panel=_ATTACK)
    ] = AdjointName.checkpointed,
    start: Annotated[
        Start, typer.Option(help="Rows that points start from, with flipped labels.", rich_help_panel=_ATTACK)
    ] = Start.train,
    attack_step_size: Annotated[
        float | None,
        typer.Option(help="The attacker's own training step (default: the victim's).", rich_help_panel=_ATTACK),
    ] = None,
    attack_steps: Annotated[
        int | None,
        typer.Option(help="The attacker's own training steps (default: the victim's).", rich_help_panel=_ATTACK),
    ] = None,
    outer_step_size: Annotated[
        float | None,
        typer.Option(help="Length of a point's step (default: 1; binary joint: 0.2).", rich_help_panel=_ATTACK),
    ] = None,
    outer_steps: Annotated[
        int | None,
        typer.Option(help="Steps of all points (default: 150) or of each (default: 100).", rich_help_panel=_ATTACK),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Share of validation features hidden from each step (default: 0.2 for logistic on binary features, "
            "else 0; joint only).",
            rich_help_panel=_ATTACK,
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Gain below which a point stops (default: 1e-5; not for joint).", rich_help_panel=_ATTACK),
    ] = None,
    train: Annotated[int, typer.Option(help="Training rows.", rich_help_panel=_RUN)] = 100,
    validation: Annotated[int, typer.Option(help="The attacker's rows; all others test.", rich_help_panel=_RUN)] = 400,
    splits: Annotated[int, typer.Option(help="Random splits to average over.", rich_help_panel=_RUN)] = 10,
    seed: Annotated[int, typer.Option(help="Fixes everything random.", rich_help_panel=_RUN)] = 0,
    out: Annotated[Path, typer.Option(help="Folder for attack.json and points.npz.", rich_help_panel=_RUN)] = Path(
        "backgrad-out"
    ),
) -> None:
    """Poison a learner's training rows and measure its test error.

    Crafts poisoning points by following the gradient of the validation error back through training, retrains
    the victim with them, and prints its test error next to the clean model's and to that of random label flips.
    """
    import jax

    # Hypergradients are checked against finite differences, which takes float64.
    jax.config.update("jax_enable_x64", True)
    from .run import Request, run_attack
    from .settings import Options

    options = Options(
        learner=learner.value,
        points=points,
        strategy=strategy.value,
        objective=objective.value,
        feasible=feasible.value,
        adjoint=adjoint.value,
        step_size=step_size,
        steps=steps,
        momentum=momentum,
        l2=l2,
        attack_step_size=attack_step_size,
        attack_steps=attack_steps,
        outer_step_size=outer_step_size,
        outer_steps=outer_steps,
        dropout=dropout,
        epsilon=epsilon,
        start=start.value,
    )
    run_attack(options, Request(dataset, train, validation, splits, seed, out))
