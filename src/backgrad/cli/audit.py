"""`backgrad audit`: a table and a pipeline in, a verdict out."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Group, option, with_options
from .runs import Scheduler, Workers

_INPUT, _WHAT, _GATE, _OUTPUT = "Input", "What is done", "Gate", "Output"

_Table = Annotated[
    str, typer.Argument(help="A table (CSV, TSV, Parquet, Arrow, ARFF, npz), or a data set of 'backgrad datasets'.")
]
#: What is audited, and how much is done.
REQUEST: Group = {
    "table": (_Table, inspect.Parameter.empty),
    "target": option(str, "The column of the labels.", _INPUT),
    "immutable": option(str, "Columns that an attacker cannot set, a,b,…", _INPUT),
    "ranges": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--range", help="What an attacker may set a column to: COLUMN=low:high.", rich_help_panel=_INPUT
            ),
        ],
        None,
    ),
    "columns": option(Path, "A YAML file with kinds, ranges and immutable columns.", _INPUT),
    "download": option(bool, "Fetch a data set that does not come with backgrad.", _INPUT, False, "--download"),
    "estimator": option(
        str,
        "logistic, softmax, mlp, svm, forest, or package.module:factory, a callable that returns an unfitted "
        "classifier.",
        _WHAT,
        "logistic",
    ),
    "profile": option(str, "quick (minutes), standard, or thorough (hours).", _WHAT, "standard"),
    "splits": option(int, "Random splits (default: 3, 5 or 10).", _WHAT),
    "seed": option(int, "Fixes everything random.", _WHAT, 0),
    "at": option(float, "The share of poisoned rows at which the limit must hold.", _GATE),
}
JUnit = Annotated[Path | None, typer.Option(help="Write the gate as JUnit XML, too.", rich_help_panel=_GATE)]


@with_options(REQUEST)
def audit(
    limit: Annotated[
        float | None, typer.Option(help="The largest test error accepted, with --at.", rich_help_panel=_GATE)
    ] = None,
    junit: JUnit = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    show_rows: Annotated[
        bool,
        typer.Option(
            "--show-rows", help="Let the report show poisoned rows, or images, as they are.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print audit.json to standard output.", rich_help_panel=_OUTPUT)
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, audit.json, figures and points.npz.", rich_help_panel=_OUTPUT)
    ] = Path("backgrad-audit"),
    **given: Any,
) -> None:
    """Audit a training pipeline: how far can poisoned rows push its error, how few does it take, what helps?

    The report opens with the verdict. With --limit and --at, the exit code is a gate: 0 the error stays within the
    limit, 1 it does not, 3 the audit cannot tell. An audit that was stopped goes on where it was.
    """
    from .run_audit import Request, run_audit

    request = Request(**given, limit=limit, out=out)
    code = run_audit(request, junit=junit, workers=workers, scheduler=scheduler, show_rows=show_rows, as_json=as_json)
    raise SystemExit(code)


def gate(
    folder: Annotated[Path, typer.Argument(help="Folder of an audit.")],
    limit: Annotated[float, typer.Option(help="The largest test error accepted …")],
    at: Annotated[float, typer.Option(help="… at this share of poisoned rows, of those that were audited.")],
    junit: JUnit = None,
) -> None:
    """Ask an audit that is done whether the error stays within a limit, without attacking again.

    Exit codes: 0 it does, 1 it does not, 3 the audit cannot tell.
    """
    from .run_audit import run_gate

    raise SystemExit(run_gate(folder, limit=limit, at=at, junit=junit))


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of an audit.")],
) -> None:
    """Write report.html and the figures again from audit.json, without attacking again."""
    from .run_audit import run_report

    run_report(folder)


@with_options(REQUEST)
def check(**given: Any) -> None:
    """Say how every column of a table was understood, every problem at once, and what an audit would cost.

    Nothing is attacked and nothing is written. Exit codes: 0 an audit can start, 2 it cannot.
    """
    from .run_audit import Request, run_check

    run_check(Request(**given, limit=None, out=None))
