"""`backgrad audit`: a table and a pipeline in, a verdict out."""

from pathlib import Path
from typing import Annotated

import typer

from .runs import Scheduler, Workers

_INPUT, _WHAT, _GATE, _OUTPUT = "Input", "What is done", "Gate", "Output"

Table = Annotated[
    str, typer.Argument(help="A table (CSV, TSV, Parquet, Arrow, ARFF, npz), or a data set of 'backgrad datasets'.")
]
Target = Annotated[str | None, typer.Option(help="The column of the labels.", rich_help_panel=_INPUT)]
Immutable = Annotated[
    str | None, typer.Option(help="Columns that an attacker cannot set, a,b,…", rich_help_panel=_INPUT)
]
Ranges = Annotated[
    list[str] | None,
    typer.Option("--range", help="What an attacker may set a column to: COLUMN=low:high.", rich_help_panel=_INPUT),
]
Columns = Annotated[
    Path | None, typer.Option(help="A YAML file with kinds, ranges and immutable columns.", rich_help_panel=_INPUT)
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a data set that does not come with backgrad.", rich_help_panel=_INPUT)
]
Estimator = Annotated[
    str,
    typer.Option(
        help="logistic, softmax, mlp, svm, forest, or package.module:factory, a callable that returns an unfitted "
        "classifier.",
        rich_help_panel=_WHAT,
    ),
]
ProfileName = Annotated[
    str, typer.Option(help="quick (minutes), standard, or thorough (hours).", rich_help_panel=_WHAT)
]
Splits = Annotated[int | None, typer.Option(help="Random splits (default: 3, 5 or 10).", rich_help_panel=_WHAT)]
Seed = Annotated[int, typer.Option(help="Fixes everything random.", rich_help_panel=_WHAT)]
Limit = Annotated[float | None, typer.Option(help="The largest test error accepted …", rich_help_panel=_GATE)]
At = Annotated[float | None, typer.Option(help="… at this share of poisoned rows.", rich_help_panel=_GATE)]
JUnit = Annotated[Path | None, typer.Option(help="Write the gate as JUnit XML, too.", rich_help_panel=_GATE)]
Json = Annotated[bool, typer.Option("--json", help="Print audit.json to standard output.", rich_help_panel=_OUTPUT)]


def audit(
    table: Table,
    target: Target = None,
    estimator: Estimator = "logistic",
    profile: ProfileName = "standard",
    limit: Limit = None,
    at: At = None,
    junit: JUnit = None,
    immutable: Immutable = None,
    ranges: Ranges = None,
    columns: Columns = None,
    download: Download = False,
    splits: Splits = None,
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    show_rows: Annotated[
        bool,
        typer.Option("--show-rows", help="Let the report show poisoned rows as they are.", rich_help_panel=_OUTPUT),
    ] = False,
    as_json: Json = False,
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, audit.json, figures and points.npz.", rich_help_panel=_OUTPUT)
    ] = Path("backgrad-audit"),
) -> None:
    """Audit a training pipeline: how far can poisoned rows push its error, how few does it take, what helps?

    The report opens with the verdict. With --limit and --at, the exit code is a gate: 0 the error stays within the
    limit, 1 it does not, 3 the audit cannot tell. An audit that was stopped goes on where it was.
    """
    from .run_audit import Request, run_audit

    request = Request(
        table=table,
        target=target,
        immutable=immutable,
        ranges=tuple(ranges or ()),
        columns=columns,
        download=download,
        estimator=estimator,
        profile=profile,
        limit=limit,
        at=at,
        splits=splits,
        seed=seed,
        out=out,
    )
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


def check(
    table: Table,
    target: Target = None,
    estimator: Estimator = "logistic",
    profile: ProfileName = "standard",
    at: At = None,
    immutable: Immutable = None,
    ranges: Ranges = None,
    columns: Columns = None,
    download: Download = False,
    splits: Splits = None,
    seed: Seed = 0,
) -> None:
    """Say how every column of a table was understood, every problem at once, and what an audit would cost.

    Nothing is attacked and nothing is written. Exit codes: 0 an audit can start, 2 it cannot.
    """
    from .run_audit import Request, run_check

    run_check(
        Request(
            table=table,
            target=target,
            immutable=immutable,
            ranges=tuple(ranges or ()),
            columns=columns,
            download=download,
            estimator=estimator,
            profile=profile,
            limit=None,
            at=at,
            splits=splits,
            seed=seed,
            out=None,
        )
    )
