"""`backgrad attack`: craft poisoning points against a learner, and see how far they push its error."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import DATA, RUN, SEARCH, SURROGATES, THREAT, TRAINING, VICTIM, with_options

_RUN = "Evaluation"


@with_options(DATA, VICTIM, SEARCH, TRAINING, THREAT, SURROGATES, RUN)
def attack(
    points: Annotated[
        int | None, typer.Option(help="Poisoning points to add (default: 20).", rich_help_panel="Attacker")
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(help="Shares of poisoned rows instead of --points, such as 0,0.05,0.1.", rich_help_panel=_RUN),
    ] = None,
    victims: Annotated[
        str | None,
        typer.Option(help="Further victims: learners or scikit-learn classes, a,b,….", rich_help_panel=_RUN),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Spread rows and points over so many devices, or all (default: one).", rich_help_panel=_RUN),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for attack.json and points.npz.", rich_help_panel=_RUN)] = Path(
        "backgrad-out"
    ),
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Say what this would cost in time and memory; write nothing.", rich_help_panel=_RUN
        ),
    ] = False,
    **given: Any,
) -> None:
    """Poison a learner's training rows and measure its test error.

    Crafts poisoning points by following the gradient of the validation error back through training, retrains
    the victim with them, and prints its test error next to the clean model's and to that of random label flips.
    """
    begin = time.perf_counter()
    if estimate:
        from .run_estimate import run_estimate

        run_estimate(given, points=points, fractions=fractions, victims=victims, devices=devices, begin=begin)
        return
    from .run import run_attack

    run_attack(given, points=points, fractions=fractions, victims=victims, devices=devices, out=out)
