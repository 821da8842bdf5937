"""`backgrad defend`: what helps, what it costs, and whether it still helps against an attacker who knows it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import DATA, RUN, SEARCH, THREAT, TRAINING, VICTIM, of_classes, with_options

_RUN = "Evaluation"


@with_options(of_classes(DATA, VICTIM, SEARCH, TRAINING, THREAT), RUN)
def defend(
    defences: Annotated[
        str | None,
        typer.Option(
            help="Defences to compare, a,b,… (default: all): those of 'backgrad clean', bagging and dpa.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    fractions: Annotated[
        str, typer.Option(help="Shares of poisoned rows among all training rows.", rich_help_panel=_RUN)
    ] = "0.15",
    remove: Annotated[
        float, typer.Option(help="Share of each class that a defence leaves out.", rich_help_panel=_RUN)
    ] = 0.2,
    trusted: Annotated[
        int,
        typer.Option(help="The defender's trusted rows, for the defences that need some.", rich_help_panel=_RUN),
    ] = 100,
    oblivious: Annotated[
        bool,
        typer.Option(
            "--oblivious", help="Skip the attackers who know the defence: faster, and blind.", rich_help_panel=_RUN
        ),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for defend.json, defend.csv, defend.png and defend.pdf.", rich_help_panel=_RUN)
    ] = Path("backgrad-defend"),
    **given: Any,
) -> None:
    """Compare defences: error without an attack, under one that does not know the defence, under one that does.

    A defence that an attacker can walk around helps only those who have not met one yet: read the last column. What no
    adaptive attack is known for is said below the table.
    """
    from .run_defend import run_defend

    run_defend(
        given,
        defences=defences,
        fractions=fractions,
        remove=remove,
        trusted=trusted,
        adaptive=not oblivious,
        out=out,
    )
