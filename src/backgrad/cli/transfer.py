"""`backgrad transfer`: what points crafted against one learner do to others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .choices import TransferKnowledge
from .options import DATA, RUN, SEARCH, THREAT, Group, option, with_options

_RUN = "Evaluation"
_KNOWLEDGE: Group = {
    "knowledge": option(
        TransferKnowledge, "What the attacker knows of the victim's rows.", "Attacker", TransferKnowledge.perfect
    )
}


@with_options(DATA, SEARCH, {**THREAT, **_KNOWLEDGE}, RUN)
def transfer(
    points: Annotated[int, typer.Option(help="Poisoning points to add.", rich_help_panel="Attacker")] = 20,
    surrogates: Annotated[
        str | None,
        typer.Option(help="Learners to craft points against, a,b,… (default: all that fit).", rich_help_panel=_RUN),
    ] = None,
    victims: Annotated[
        str | None,
        typer.Option(
            help="Victims: learners or scikit-learn classes, a,b,… (default: the surrogates and four others).",
            rich_help_panel=_RUN,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for transfer.json, transfer.csv, transfer.png and .pdf.", rich_help_panel=_RUN),
    ] = Path("backgrad-transfer"),
    **given: Any,
) -> None:
    """Craft points against each surrogate, and train every victim on them.

    The diagonal is perfect knowledge of the learner, the rest is what an attacker achieves who had to guess it. With
    --knowledge surrogate-data the attacker does not hold the training rows either.
    """
    from .run_transfer import run_transfer

    run_transfer(given, points=points, surrogates=surrogates, victims=victims, out=out)
