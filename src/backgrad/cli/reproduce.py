"""`backgrad reproduce`: the paper's experiments, figure by figure, and its claims."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .runs import Scheduler, Workers, command_again, do_runs, report_failures

if TYPE_CHECKING:
    from ..paper import Claim, Results, Scale
    from ..studies.plan import Run, Study
    from ..studies.store import Store
    from .output import OutputFolder


def reproduce(
    figures: Annotated[
        list[str], typer.Argument(help="figure1 … figure7 (figure7 is ours: reversed against exact gradients), or all.")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Three splits, and little of the convolutional network: minutes, not hours.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for figures, numbers, claims.json and the results in runs.")] = Path(
        "backgrad-paper"
    ),
    workers: Workers = None,
    scheduler: Scheduler = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the full MNIST for figures 5 and 6.")] = False,
) -> None:
    """Repeat the paper's experiments: its figures with their numbers, and a table of its claims.

    Each claim stands beside what the paper's method gives here, and what our best attack gives at the same budget. A
    finished run is kept and never done again: the same command continues where it was stopped.
    """
    from ..datasets import list_datasets, load
    from ..paper import EXPERIMENTS, PAPER_TASKS, Results, claims, make_scale, make_study
    from ..studies.store import Store
    from .output import OutputFolder

    names = list(EXPERIMENTS) if figures == ["all"] else list(dict.fromkeys(figures))
    scale = make_scale(names, quick=quick, download=download)
    study = make_study(names, scale)
    store = Store(out / "runs")
    # Whether data are at hand, and the folder can be written, is found out before hours of work.
    # The digits of figures 5 and 6 were chosen by what is there.
    needed = {str(run.settings["dataset"]) for run in study.runs if not store.file(run).exists()} - {scale.digits}
    for name in (info.name for info in list_datasets() if not info.bundled and info.name in needed):
        load(name, download=download)
    with OutputFolder(out):
        pass
    words = ("reproduce", *figures, *["--quick"] * quick)
    command = command_again(*words, out=out, workers=workers, scheduler=scheduler)
    summary = do_runs(study, store, workers=workers, scheduler=scheduler, tasks=PAPER_TASKS, command=command)
    if summary.failures:
        raise SystemExit(report_failures(summary.failures, command))
    results = Results(study.runs, store)
    table = claims(Results([*study.runs, *_done_before(study, names, scale, store)], store), quick=quick)
    with OutputFolder(out) as output:
        for name in names:
            _prepare(output, name, results)
        output.prepare_json("claims.json", [claim.as_json() for claim in table])
        output.prepare("claims.md", lambda path: path.write_text(_markdown(table), encoding="utf-8"))
        output.commit()
    _print(table, names, scale, out)


def _done_before(study: "Study", names: list[str], scale: "Scale", store: "Store") -> "list[Run]":
    """Return the runs of other figures that earlier commands did to their end: the table of claims keeps theirs."""
    from ..paper import EXPERIMENTS, make_study

    found: dict[str, Run] = {}
    for name in EXPERIMENTS.keys() - set(names):
        # Which digits a figure of networks used is not among the names.
        for digits in dict.fromkeys((scale.digits, "mnist-full")):
            runs = make_study([name], dataclasses.replace(scale, digits=digits)).runs
            if all(store.file(run).exists() for run in runs):
                found |= {run.identity: run for run in runs}
                break
    mine = {run.identity for run in study.runs}
    return [run for identity, run in sorted(found.items()) if identity not in mine]


def _prepare(output: "OutputFolder", name: str, results: "Results") -> None:
    """Prepare a figure as PNG and PDF, and its numbers as CSV and JSON."""
    from ..paper import EXPERIMENTS
    from .output import figure_writer

    experiment = EXPERIMENTS[name]
    write = figure_writer(lambda: experiment.draw(results))
    for suffix in (".png", ".pdf"):
        output.prepare(f"{name}{suffix}", write)
    rows = experiment.rows(results)
    output.prepare_json(f"{name}.json", {"title": experiment.title, "rows": rows})
    output.prepare(f"{name}.csv", _csv_writer(rows))


def _csv_writer(rows: list[dict[str, Any]]) -> Callable[[Path], None]:
    names = list(dict.fromkeys(name for row in rows for name in row))

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for row in rows:
                writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})

    return write


_HOLDS = {True: "yes", False: "no", None: "cannot tell"}
_HEADINGS = ("fig.", "claim and what the paper reports", "the paper's method here", "our best attack", "holds")


def _cells(claim: "Claim") -> tuple[str, ...]:
    """Return a claim's row, under `_HEADINGS`."""
    words = f"{claim.claim} (paper: {claim.paper})"
    return claim.figure, words, claim.paper_method, claim.best_attack or "–", _HOLDS[claim.holds]


def _markdown(table: "list[Claim]") -> str:
    """Return the claims as a table in Markdown."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, table)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _print(table: "list[Claim]", names: list[str], scale: "Scale", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    shown = Table(title="The paper's claims, mean [95 % interval] over splits", title_justify="left", show_lines=True)
    for heading in _HEADINGS:
        shown.add_column(heading, overflow="fold")
    for claim in table:
        shown.add_row(*_cells(claim))
    if table:
        console.print(shown)
    if {"figure5", "figure6"} & set(names):
        source = "the full MNIST" if scale.digits == "mnist-full" else "the bundled 10,000 digits of MNIST"
        network = f"a network of {'an eighth of the width' if scale.quick else '> 450,000 parameters'}"
        console.print(
            f"Figures 5 and 6 use 1s, 5s and 6s of {source}, and {network} without dropout or normalisation.",
            soft_wrap=True,
        )
    files = ", ".join(f"{name}.png" for name in names)
    written = f"Written to {out}: {files} (and .pdf, .csv, .json), claims.json, claims.md."
    console.print(written, soft_wrap=True, markup=False)
