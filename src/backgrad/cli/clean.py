"""`backgrad clean`: leave suspicious rows out of a table, or correct their labels, and say why."""

from pathlib import Path
from typing import Annotated

import typer

from ..defences.catalogue import SANITISERS

_DEFENCE = "Defence"


def _marks(name: str) -> str:
    entry = SANITISERS[name]
    trust = " (needs --trusted)" if entry.needs_trusted else " (takes --trusted)" if entry.takes_trusted else ""
    return f"{name}: rows {entry.removes}{trust}{' (takes --relabel)' if entry.relabels else ''}."


#: What the help ends with: the defences, and two examples.
NOTES = "\n\n".join(
    [
        "Defences, by the rows that they leave out:",
        *map(_marks, SANITISERS),
        "Features are scaled to [0, 1] for the defence alone; rows that stay are written as they stood, cell by cell.",
        "Example: backgrad clean spambase --defence sphere --fraction 0.05 --out clean.csv",
        "Example: backgrad clean mails.csv --target kind --defence roni --trusted checked.csv --out clean.csv",
        "Example: backgrad clean mails.csv --target kind --defence label-sanitisation --relabel --out clean.csv",
    ]
)


def clean(
    table: Annotated[str, typer.Argument(help="A CSV file, or a data set that 'backgrad datasets' lists.")],
    *,
    target: Annotated[str | None, typer.Option(help="Column of a CSV file's labels.", rich_help_panel="Data")] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch a data set that does not come with backgrad.", rich_help_panel="Data"),
    ] = False,
    defence: Annotated[
        str, typer.Option(help="Who judges the rows: a name of the list below.", rich_help_panel=_DEFENCE)
    ],
    fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of each class to leave out; of all rows, for loss-trim and trim (default: by defence).",
            rich_help_panel=_DEFENCE,
        ),
    ] = None,
    trusted: Annotated[
        Path | None,
        typer.Option(help="CSV file of the same columns: rows that nobody could poison.", rich_help_panel=_DEFENCE),
    ] = None,
    relabel: Annotated[
        bool,
        typer.Option(
            "--relabel",
            help="Keep suspicious rows, with the label that their neighbours agree on.",
            rich_help_panel=_DEFENCE,
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Fixes everything random.", rich_help_panel=_DEFENCE)] = 0,
    out: Annotated[
        Path,
        typer.Option(
            help="File for the rows that stay, such as clean.csv; clean.removed.csv beside it lists the others.",
            rich_help_panel="Results",
        ),
    ],
) -> None:
    """Leave suspicious rows out of a table before anyone trains on it.

    A defence gives every row a suspicion, and the most suspicious go. The list of removed rows names line, label,
    suspicion, what was let pass, and the reason. Which defence helps against an attacker, and what it costs without
    one, backgrad defend tells.
    """
    from .run_clean import run_clean

    run_clean(
        table,
        target=target,
        download=download,
        defence=defence,
        fraction=fraction,
        trusted=trusted,
        relabel=relabel,
        seed=seed,
        out=out,
    )
