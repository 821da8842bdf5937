"""`backgrad study`: run a study that a file describes, and continue it where it was stopped."""

import contextlib
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..studies.plan import Study
    from ..studies.results import Combination, Estimate
    from ..studies.runner import Progress, Summary
    from ..studies.workers import Finished

_ERRORS = {"clean_error": "clean", "label_flip_error": "label flips", "poisoned_error": "poisoned"}
# What differs between data sets along with their names.
_UNSHOWN = ("data.sha256", "data.task")


def study(
    file: Annotated[Path, typer.Argument(help="A YAML file: lists of settings, every combination of which is run.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for study.json and the results in runs (default: backgrad-study/NAME)."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this machine (default: one a core; 1 uses this process).")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A cluster to run on instead: dask://HOST:PORT or ray://HOST:PORT.")
    ] = None,
) -> None:
    """Run a study: every combination of a file's settings, on every split.

    A finished run is written at once and never done again: the same command continues a study that was stopped, by
    Ctrl-C or otherwise, with the same results. Several processes may work on one folder.
    """
    from rich.console import Console

    from ..studies.config import read_study
    from ..studies.results import combinations, describe_study
    from ..studies.runner import check_study, run_study
    from ..studies.store import Store
    from ..studies.workers import WorkersError
    from .output import OutputFolder

    plan = read_study(file)
    folder = Path("backgrad-study") / plan.name if out is None else out
    count = _count(workers, scheduler, len(plan.runs))
    check_study(plan, workers=count, scheduler=scheduler)
    store = Store(folder / "runs")
    command = _command(file, out, workers, scheduler)
    console = Console(stderr=True)
    try:
        with _watch(console, here=count == 1 and scheduler is None) as tell:
            summary = run_study(plan, store, workers=count, scheduler=scheduler, progress=tell)
    except (KeyboardInterrupt, WorkersError) as error:
        kept = sum(store.file(run).exists() for run in plan.runs)
        lost = isinstance(error, WorkersError)
        what = str(error) if lost else "interrupted;"
        _say(f"{what} {kept} of {len(plan.runs)} runs are done and kept. Continue with: {command}")
        raise SystemExit(_log("".join(traceback.format_exception(error))) if lost else 130) from None
    found = combinations(plan, store)
    with OutputFolder(folder) as output:
        output.prepare_json("study.json", describe_study(plan, found, summary.failures))
        output.commit()
    _print(Console(), plan, found, summary, folder, others=store.count() - summary.total + len(summary.failures))
    if summary.failures:
        raise SystemExit(_report(summary.failures, command))


def _count(workers: int | None, scheduler: str | None, runs: int) -> int:
    """Return the number of processes: as many as asked for, or one a core and no more than there are runs."""
    from joblib import cpu_count

    if workers is not None:
        return workers
    return 1 if scheduler is not None else min(cpu_count(), runs)


def _command(file: Path, out: Path | None, workers: int | None, scheduler: str | None) -> str:
    """Return the command that was given, for the user to give again."""
    given = {"--out": out, "--workers": workers, "--scheduler": scheduler}
    words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join(["backgrad", "study", str(file), *words])


def _say(message: str) -> None:
    print(f"backgrad: {message}", file=sys.stderr)


# --- progress -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _watch(console: "Console", *, here: bool) -> Iterator[Callable[["Progress"], None]]:
    """Show progress: a bar on a terminal, a line a run (or a hundredth of them) elsewhere.

    Args:
        console: where to.
        here: whether runs are done in this process, where Ctrl-C must wait for a safe moment.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from .interrupt import deferred_interrupt

    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    bar = Bar(*columns, console=console, disable=not console.is_terminal, transient=True)
    shown = [-1]
    guard: Any = deferred_interrupt() if here else contextlib.nullcontext(lambda: None)
    with bar, guard as check_interrupt:
        task = bar.add_task("")

        def tell(state: "Progress") -> None:
            check_interrupt()
            text = _left(state)
            bar.update(task, total=state.total, completed=state.share * state.total, description=text)
            if state.error is not None:
                console.print(f"A run failed: {state.error}", soft_wrap=True, markup=False, highlight=False)
            hundredth = 100 * (state.done + state.failed) // state.total
            if not console.is_terminal and hundredth != shown[0]:
                shown[0] = hundredth
                console.print(f"{state.done} of {state.total} runs done{', ' if text else ''}{text}", soft_wrap=True)

        yield tell


def _left(state: "Progress") -> str:
    if state.waiting:
        return f"waiting for {state.waiting} runs of another process"
    return "" if state.seconds_left is None else f"about {_duration(state.seconds_left)} left"


def _duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


# --- the end --------------------------------------------------------------------------------------


def _print(
    console: "Console", plan: "Study", found: list["Combination"], summary: "Summary", folder: Path, *, others: int
) -> None:
    from rich.table import Table

    names = list(dict.fromkeys(name for one in found for name in one.varying if name not in _UNSHOWN))
    splits = max(len(one.runs) for one in found)
    title = f"{plan.name}: test error, mean of {splits} split{'s' * (splits > 1)} ± 95 % interval"
    table = Table(title=title, title_justify="left")
    for name in names or ["study"]:
        table.add_column(name.rpartition(".")[2] if name != "data.name" else "dataset")
    for heading in (*_ERRORS.values(), "worked"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        labels = [_label(one.varying.get(name)) for name in names] or [plan.name]
        shares = all(outcome.values.get("n_classes", 1) for outcome in one.outcomes.values())
        errors = (_show(one.estimate("errors", name), shares) for name in _ERRORS)
        table.add_row(*labels, *errors, _worked(one))
    console.print(table)
    before = summary.found + summary.elsewhere
    lines = {
        f"Runs: {summary.done} done now, {before} by earlier or other processes.": before,
        f"{len(summary.damaged)} results were damaged, and were done again.": len(summary.damaged),
        f"{others} further results in the folder are of other settings or another version: not used.": others,
        f"Written: {folder / 'study.json'} and {folder / 'runs'}": 1,
    }
    for line, count in lines.items():
        if count > 0:
            console.print(line, soft_wrap=True)


def _label(value: Any) -> str:
    return "default" if value is None else str(value)


def _show(estimate: "Estimate | None", shares: bool) -> str:
    """Write an error with its interval: a share of rows, or a mean squared error."""
    if estimate is None:
        return "–"
    write = (lambda value: f"{value:.1%}") if shares else (lambda value: f"{value:.4f}")
    half = estimate.half_width
    return write(estimate.mean) if half is None else f"{write(estimate.mean)} ± {write(half)}"


def _worked(one: "Combination") -> str:
    """Count the attacks that worked; one that failed is no evidence of a robust model."""
    verdicts = [outcome.values["health"]["verdict"] for outcome in one.outcomes.values() if "health" in outcome.values]
    return f"{verdicts.count('worked')} of {len(verdicts)}" if verdicts else "–"


def _report(failures: tuple["Finished", ...], command: str) -> int:
    """Say which runs failed and why, with a log of those that no input explains; return the exit code."""
    causes = list(dict.fromkeys(str(failure.error) for failure in failures))
    listed = " ".join(f"({number}) {cause}" for number, cause in enumerate(causes[:5], 1))
    more = f" and {len(causes) - 5} more" if len(causes) > 5 else ""
    _say(f"{len(failures)} runs failed: {listed}{more}. All others are kept; to try again: {command}")
    details = [failure for failure in failures if failure.details is not None]
    if not details:
        return 2
    return _log("".join(f"run {failure.run.identity}\n{failure.details}\n" for failure in details))


def _log(text: str) -> int:
    """Write a log of an internal failure, and say where; return the exit code."""
    with tempfile.NamedTemporaryFile("w", prefix="backgrad-", suffix=".log", delete=False) as log:
        log.write(text)
    _say(f"internal failure. The details are in {log.name}; please report them.")
    return 4
