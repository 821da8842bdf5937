"""Doing what is missing of a study.

    missing = runs without a whole file in the store
    until nothing is missing: do those that no other process has claimed; where there is none, wait for the others

A run that is in the store is never done again, and one that was being done when the process was killed is done
again from its start, to the same outcome.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..checks import check_progress
from .claims import Heart
from .plan import Run, Study
from .store import Store
from .tasks import TASKS, Task, check_tasks
from .workers import Finished, Perform, WorkersError, open_workers, parse_scheduler

_POLL = 0.5
# Runs of this session that the time left is estimated from, at least: the first ones wait for compilation.
_RECENT = 10


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a study is.

    Args:
        done: runs in the store.
        failed: runs that failed in this session.
        total: all runs.
        share: of all runs that is done, those under way in this process counted in part, 0 … 1.
        seconds_left: an estimate from the runs of this session; None before the first.
        finished: the run that has just ended; None where one is under way.
        error: why it failed; None where it did not.
        waiting: the number of runs that other processes are doing, while there is nothing else to do.
    """

    done: int
    failed: int
    total: int
    share: float
    seconds_left: float | None
    finished: Run | None = None
    error: str | None = None
    waiting: int = 0


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of a study.

    Args:
        total: its runs.
        found: how many of these were in the store when it started.
        done: how many were done by this process.
        elsewhere: how many other processes did meanwhile.
        failures: those that failed.
        damaged: runs whose files were damaged, and which were done again.
    """

    total: int
    found: int
    done: int
    elsewhere: int
    failures: tuple[Finished, ...]
    damaged: tuple[Run, ...]


def check_study(
    study: Study, *, workers: int = 1, scheduler: str | None = None, tasks: Mapping[str, Task] = TASKS
) -> None:
    """Raise where a study cannot be run, without starting anything.

    Args:
        study: its runs.
        workers: processes on this machine.
        scheduler: of a cluster.
        tasks: those that runs may name.

    Raises:
        InputError: an unknown task, settings that a task refuses, or a scheduler's address of another form.
    """
    parse_scheduler(workers, scheduler)
    check_tasks(study.runs, tasks)


def run_study(
    study: Study,
    store: Store,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    tasks: Mapping[str, Task] = TASKS,
    progress: Callable[[Progress], None] = lambda state: None,
) -> Summary:
    """Do every run of a study that is not in the store yet.

    Args:
        study: its runs.
        store: where outcomes are, and go.
        workers: processes on this machine; with one, runs are done in this process.
        scheduler: `dask://HOST:PORT` or `ray://HOST:PORT` of an existing cluster, whose workers do the runs.
        tasks: those that runs may name.
        progress: called when a run has ended, and meanwhile where runs are done in this process.

    Returns:
        How many runs were there, were done and failed. A failed run does not stop the others.

    Raises:
        InputError: what `check_study` refuses, a folder that cannot be written, or a scheduler that does not answer.
        WorkersError: a cluster that was there is gone.
    """
    check_progress(progress)
    check_study(study, workers=workers, scheduler=scheduler, tasks=tasks)
    session = _Session(study, store, progress)
    if session.missing:
        with open_workers(workers, scheduler, session.tell_share, store.write) as perform:
            store.open()
            with Heart() as heart:
                while session.missing:
                    session.step(perform, heart)
    return session.summary()


class _Session:
    """What one process knows of a study that it works on."""

    def __init__(self, study: Study, store: Store, progress: Callable[[Progress], None]):
        self.store, self.progress = store, progress
        self.total = len(study.runs)
        self.missing = {run.identity: run for run in study.runs if store.read(run) is None}
        self.damaged = tuple(run for run in self.missing.values() if store.file(run).exists())
        self.found = self.total - len(self.missing)
        self.done, self.elsewhere, self.failures, self.loss = 0, 0, [], ""
        self.times = [time.monotonic()]  # of the start, and of the end of every run of this process
        self.tell()

    def step(self, perform: Perform, heart: Heart) -> None:
        """Do all runs that nobody has claimed, or wait for others to finish theirs."""
        ready = [run for run in self.missing.values() if not self.store.is_held(run)]
        if ready:
            for suspect in self._round(perform, ready, heart):
                # With others, it may have died of their hunger for memory; alone, of its own.
                if self._round(perform, [suspect], heart):
                    self._take(Finished(suspect, None, self.loss))
        self._look_around()
        if not ready and self.missing:
            self.tell(waiting=len(self.missing))
            time.sleep(_POLL)

    def _round(self, perform: Perform, runs: Iterable[Run], heart: Heart) -> list[Run]:
        """Do runs; return those that were under way when a worker died, and with it all others."""
        try:
            with contextlib.closing(perform(self._claimed(runs, heart))) as ended:
                for finished in ended:
                    self._take(finished)
                    heart.drop(finished.run.identity)
        except WorkersError as error:
            self.loss = str(error)
            return [self.missing[name] for name in heart.drop_all() if name in self.missing]
        return []

    def _claimed(self, runs: Iterable[Run], heart: Heart) -> Iterator[Run]:
        """Yield those runs that this process gets to do; joblib asks for the next when a worker is free."""
        for run in runs:
            held = self.store.claim(run)
            if held is None:
                continue
            if self.store.read(run) is not None:  # another process was faster; `_look_around` counts it
                held.release()
                continue
            heart.keep(run.identity, held)
            yield run

    def _take(self, finished: Finished) -> None:
        """Put an outcome into the store, or note a failure."""
        self.times.append(time.monotonic())
        if finished.outcome is not None:
            if not finished.kept:
                self.store.write(finished.run, finished.outcome)
            self.done += 1
        else:
            self.failures.append(finished)
        del self.missing[finished.run.identity]
        self.tell(finished=finished.run, error=finished.error)

    def _look_around(self) -> None:
        """Note what other processes have finished."""
        for identity, run in list(self.missing.items()):
            if self.store.file(run).exists() and self.store.read(run) is not None:
                del self.missing[identity]
                self.elsewhere += 1
                self.tell(finished=run)

    def tell_share(self, run: Run, share: float) -> None:
        """Pass on how much of a run in this process is done."""
        del run
        self.tell(part=min(max(float(share), 0.0), 1.0))

    def tell(
        self, *, part: float = 0.0, finished: Run | None = None, error: str | None = None, waiting: int = 0
    ) -> None:
        """Say how far the study is."""
        ended = self.total - len(self.missing)
        left = self.total - ended - part
        # Runs that others finish shorten the rest, but say nothing of this process's speed.
        own = len(self.times) - 1
        recent = min(own, max(_RECENT, own // 2))
        elapsed = time.monotonic() - self.times[own - recent]
        seconds = left * elapsed / (recent + part) if recent + part else None
        self.progress(
            Progress(
                done=ended - len(self.failures),
                failed=len(self.failures),
                total=self.total,
                share=(ended + part) / self.total,
                seconds_left=seconds if left else 0.0,
                finished=finished,
                error=error,
                waiting=waiting,
            )
        )

    def summary(self) -> Summary:
        """Return what became of the study."""
        return Summary(self.total, self.found, self.done, self.elsewhere, tuple(self.failures), self.damaged)
