"""`backgrad curve`: a victim's error against the fraction of poisoned rows, and where it breaks a limit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .choices import Criterion
from .options import DATA, RUN, SEARCH, SURROGATES, THREAT, TRAINING, VICTIM, with_options

_RUN = "Evaluation"


@with_options(DATA, VICTIM, SEARCH, TRAINING, THREAT, SURROGATES, RUN)
def curve(
    fractions: Annotated[
        str, typer.Option(help="Shares of poisoned rows among all training rows.", rich_help_panel=_RUN)
    ] = "0,0.01,0.02,0.05,0.1,0.2",
    victim: Annotated[
        str | None,
        typer.Option(
            help="Who is judged: a learner or scikit-learn class (default: what is attacked).", rich_help_panel=_RUN
        ),
    ] = None,
    scorers: Annotated[
        str | None,
        typer.Option(help="Further scores by scikit-learn's names, such as f1_macro,roc_auc.", rich_help_panel=_RUN),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(help="Find the least share at which the error passes this, by bisection.", rich_help_panel=_RUN),
    ] = None,
    criterion: Annotated[
        Criterion,
        typer.Option(help="What must pass it: the mean, or the upper end of its 95 % interval.", rich_help_panel=_RUN),
    ] = Criterion.mean,
    out: Annotated[
        Path, typer.Option(help="Folder for curve.json, curve.csv, curve.png and curve.pdf.", rich_help_panel=_RUN)
    ] = Path("backgrad-curve"),
    **given: Any,
) -> None:
    """Draw a security evaluation curve: error against the share of poisoned rows.

    At every share, points are crafted afresh on every split; the clean model and as many label flips stand beside
    them. With --limit, it also finds the least share of poisoned rows that breaks the limit.
    """
    from .run_curve import run_curve

    run_curve(
        given,
        fractions=fractions,
        victim=victim,
        scorers=scorers,
        limit=limit,
        criterion=str(criterion),
        out=out,
    )
