"""What the verbs that do many runs share: workers, progress, and what is said when runs fail or are interrupted."""

import contextlib
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..spelling import spell_seconds, things

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from ..studies.plan import Run, Study
    from ..studies.runner import Progress, Summary
    from ..studies.store import Store
    from ..studies.tasks import Task
    from ..studies.workers import Finished

# More stages than these do not fit into a line.
_MOST_STAGES = 3

Workers = Annotated[
    int | None, typer.Option(help="Processes on this machine (default: one a core; 1 uses this process).")
]
Scheduler = Annotated[
    str | None, typer.Option(help="A cluster to run on instead: dask://HOST:PORT or ray://HOST:PORT.")
]


def command_again(*words: str, out: Path | None, workers: int | None, scheduler: str | None) -> str:
    """Return the command that was given, for the user to give again."""
    given = {"--out": out, "--workers": workers, "--scheduler": scheduler}
    options = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join(["backgrad", *words, *options])


def do_runs(
    plan: "Study",
    store: "Store",
    *,
    workers: int | None,
    scheduler: str | None,
    tasks: "Mapping[str, Task] | None" = None,
    command: str,
) -> "Summary":
    """Do what is missing of a study, with progress; say how to go on, and exit, where that is interrupted.

    Args:
        plan: the study.
        store: where its outcomes are, and go.
        workers: processes on this machine; one a core where None.
        scheduler: of a cluster.
        tasks: those that runs may name; those of study files where None.
        command: what the user would type to continue.
    """
    from rich.console import Console

    from ..studies.runner import check_study, run_study
    from ..studies.tasks import TASKS
    from ..studies.workers import WorkersError

    tasks = TASKS if tasks is None else tasks
    count = count_workers(workers, scheduler, len(plan.runs))
    check_study(plan, workers=count, scheduler=scheduler, tasks=tasks)
    try:
        stages = _Stages(plan, store)
        with _watch(Console(stderr=True), stages, here=count == 1 and scheduler is None) as tell:
            return run_study(plan, store, workers=count, scheduler=scheduler, tasks=tasks, progress=tell)
    except (KeyboardInterrupt, WorkersError) as error:
        kept = sum(store.file(run).exists() for run in plan.runs)
        lost = isinstance(error, WorkersError)
        what = str(error) if lost else "interrupted;"
        _say(f"{what} {kept} of {len(plan.runs)} runs are done and kept. Continue with: {command}")
        raise SystemExit(_log("".join(traceback.format_exception(error))) if lost else 130) from None


def count_workers(workers: int | None, scheduler: str | None, runs: int) -> int:
    """Return the number of processes: as many as asked for, or one a core and no more than there are runs."""
    from joblib import cpu_count

    if workers is not None:
        return workers
    return 1 if scheduler is not None else min(cpu_count(), runs)


def _say(message: str) -> None:
    print(f"backgrad: {message}", file=sys.stderr)


@contextlib.contextmanager
def _watch(console: "Console", stages: "_Stages", *, here: bool) -> Iterator[Callable[["Progress"], None]]:
    """Show progress: a bar on a terminal, a line a run (or a hundredth of them) elsewhere.

    Args:
        console: where to.
        stages: what the runs are of.
        here: whether runs are done in this process, where Ctrl-C must wait for a safe moment.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from .interrupt import deferred_interrupt
    from .output import on_terminal

    columns = (
        TextColumn("runs"),
        BarColumn(12 if stages.several else 40),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    bar = Bar(*columns, console=console, transient=True)
    shown = [-1]
    guard: Any = deferred_interrupt() if here else contextlib.nullcontext(lambda: None)
    with on_terminal(bar, console), guard as check_interrupt:
        task = bar.add_task("")

        def tell(state: "Progress") -> None:
            check_interrupt()
            gap = "; " if stages.several else ", "
            text = "; ".join(filter(None, (stages.after(state), _left(state))))
            bar.update(task, total=state.total, completed=state.share * state.total, description=text)
            if state.error is not None:
                console.print(f"A run failed: {state.error}", soft_wrap=True, markup=False, highlight=False)
            hundredth = 100 * (state.done + state.failed) // state.total
            if not console.is_terminal and hundredth != shown[0]:
                shown[0] = hundredth
                console.print(f"{state.done} of {state.total} runs done{gap if text else ''}{text}", soft_wrap=True)

        yield tell


class _Stages:
    """How many runs of each task are done, where a study has a few tasks that follow each other."""

    def __init__(self, plan: "Study", store: "Store"):
        self._stages = {run.identity: _stage(run) for run in plan.runs}
        self._all = Counter(self._stages.values())
        self._done = {run.identity for run in plan.runs if store.file(run).exists()}
        self.several = 1 < len(self._all) <= _MOST_STAGES

    def after(self, state: "Progress") -> str:
        """Return how far every stage is, or nothing where there is one stage, or too many for a line."""
        if state.finished is not None and state.error is None:
            self._done.add(state.finished.identity)
        if not self.several:
            return ""
        done = Counter(self._stages[identity] for identity in self._done)
        return ", ".join(f"{name} {done[name]}/{count}" for name, count in self._all.items())


def _stage(run: "Run") -> str:
    return run.task.rpartition(":")[2]


def _left(state: "Progress") -> str:
    if state.waiting:
        return f"waiting for {things(state.waiting, 'run')} of another process"
    return "" if state.seconds_left is None else f"about {spell_seconds(state.seconds_left)} left"


def report_failures(failures: tuple["Finished", ...], command: str) -> int:
    """Say which runs failed and why, with a log of those that no input explains; return the exit code."""
    causes = list(dict.fromkeys(str(failure.error) for failure in failures))
    listed = " ".join(f"({number}) {cause}" for number, cause in enumerate(causes[:5], 1))
    more = f" and {len(causes) - 5} more" if len(causes) > 5 else ""
    said = f"{listed}{more}".removesuffix(".")
    _say(f"{things(len(failures), 'run')} failed: {said}. All others are kept; to try again: {command}")
    details = [failure for failure in failures if failure.details is not None]
    if not details:
        return 2
    return _log("".join(f"run {failure.run.identity}\n{failure.details}\n" for failure in details))


def _log(text: str) -> int:
    """Write a log of an internal failure, and say where; return the exit code."""
    from .output import write_log

    _say(f"internal failure. {write_log(text)}")
    return 4
