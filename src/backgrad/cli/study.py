"""`backgrad study`: run a study that a file describes, and continue it where it was stopped."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..spelling import things
from .runs import Scheduler, Workers, command_again, do_runs, report_failures

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..studies.plan import Study
    from ..studies.results import Combination, Estimate
    from ..studies.runner import Summary

_ERRORS = {"clean_error": "clean", "label_flip_error": "label flips", "poisoned_error": "poisoned"}
# What differs between data sets along with their names.
_UNSHOWN = ("data.sha256", "data.task")


def study(
    file: Annotated[Path, typer.Argument(help="A YAML file: lists of settings, every combination of which is run.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for study.json and the results in runs (default: backgrad-study/NAME)."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Run a study: every combination of a file's settings, on every split.

    A finished run is written at once and never done again: the same command continues a study that was stopped, by
    Ctrl-C or otherwise, with the same results. Several processes may work on one folder.
    """
    from rich.console import Console

    from ..studies.config import read_study
    from ..studies.results import combinations, describe_study
    from ..studies.store import Store
    from .output import OutputFolder

    plan = read_study(file)
    folder = Path("backgrad-study") / plan.name if out is None else out
    store = Store(folder / "runs")
    command = command_again("study", str(file), out=out, workers=workers, scheduler=scheduler)
    summary = do_runs(plan, store, workers=workers, scheduler=scheduler, command=command)
    found = combinations(plan, store)
    with OutputFolder(folder) as output:
        output.prepare_json("study.json", describe_study(plan, found, summary.failures))
        output.commit()
    _print(Console(), plan, found, summary, folder, others=store.count() - summary.total + len(summary.failures))
    if summary.failures:
        raise SystemExit(report_failures(summary.failures, command))


# --- the end --------------------------------------------------------------------------------------


def _print(
    console: "Console", plan: "Study", found: list["Combination"], summary: "Summary", folder: Path, *, others: int
) -> None:
    table = _table(plan, found, " ")
    if console.measure(table, options=console.options.update(max_width=10_000)).maximum > console.width:
        table = _table(plan, found, "\n")  # names would be broken to make room
    console.print(table)
    before = summary.found + summary.elsewhere
    scaled = sum(not one.shares for one in found)
    lines = {
        "Errors of regressions are mean squared errors of responses scaled to [0, 1].": scaled,
        f"Runs: {summary.done} done now, {before} by earlier or other processes.": before,
        f"{len(summary.damaged)} results were damaged, and were done again.": len(summary.damaged),
        f"{others} further results in the folder are of other settings or another version: not used.": others,
        f"Written: {folder / 'study.json'} and {folder / 'runs'}": 1,
    }
    for line, count in lines.items():
        if count > 0:
            console.print(line, soft_wrap=True, markup=False)


def _table(plan: "Study", found: list["Combination"], between: str) -> "Table":
    """Return a row for each combination, a mean and its interval on one line or two."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    names = list(dict.fromkeys(name for one in found for name in one.varying if name not in _UNSHOWN))
    splits = max(len(one.runs) for one in found)
    title = f"{plan.name}: test error, mean of {things(splits, 'split')}{' ± 95 % interval' * (splits >= 3)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names or ["study"]:
        table.add_column(name.rpartition(".")[2] if name != "data.name" else "dataset", overflow="fold")
    for heading in (*_ERRORS.values(), "worked"):
        table.add_column(heading.replace(" ", between), justify="right", no_wrap=True)
    for one in found:
        labels = [escape(_label(one.varying.get(name))) for name in names] or [plan.name]
        errors = (_show(one.estimate("errors", name), one.shares).replace(" ± ", f"{between}± ") for name in _ERRORS)
        table.add_row(*labels, *errors, _worked(one))
    return table


def _label(value: Any) -> str:
    return "default" if value is None else str(value)


def _show(estimate: "Estimate | None", shares: bool) -> str:
    """Write an error with its interval: a share of rows, or a mean squared error."""
    if estimate is None:
        return "–"
    if not math.isfinite(estimate.mean):
        return "diverged"
    write = (lambda value: f"{value:.1%}") if shares else (lambda value: f"{value:.4f}")
    half = estimate.half_width
    return write(estimate.mean) if half is None else f"{write(estimate.mean)} ± {write(half)}"


def _worked(one: "Combination") -> str:
    """Count the attacks that worked; one that failed is no evidence of a robust model."""
    verdicts = [outcome.values["health"]["verdict"] for outcome in one.outcomes.values() if "health" in outcome.values]
    tried = [verdict for verdict in verdicts if verdict != "nothing to do"]
    if verdicts and not tried:
        return "no points"
    return f"{tried.count('worked')} of {len(tried)}" if tried else "–"
