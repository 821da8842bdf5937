"""Where runs are done: in this process, in processes of this machine, or on a Dask or Ray cluster.

All of these do a run in the same way, `perform`: with one thread of linear algebra, so that its outcome does not
depend on how many workers there are, and with its failure as data. Processes of this machine put outcomes into the
store themselves, so that a run which has ended is never lost to an interruption of the process that waits for it.
A cluster's workers may not reach the store, and send outcomes back.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from ..errors import BackgradError, InputError
from ..threads import one_thread
from .plan import Outcome, Run, task_version
from .tasks import resolve

# Seconds that a cluster has to answer, and that it may be without any worker.
_ANSWER, _PATIENCE = 10, 60.0

Perform = Callable[[Iterable[Run]], Generator["Finished", None, None]]


@dataclasses.dataclass(frozen=True, eq=False)
class Finished:
    """A run that came to an end.

    Args:
        run: which.
        outcome: what it found; None where it failed.
        error: one sentence, where it failed.
        details: the traceback of a failure that is not one of backgrad's own errors.
        kept: whether the outcome is in the store already.
    """

    run: Run
    outcome: Outcome | None
    error: str | None = None
    details: str | None = None
    kept: bool = False


class WorkersError(BackgradError):
    """The workers are gone: a process was killed, or the cluster cannot be reached."""


def perform(
    run: Run,
    version: str,
    progress: Callable[[float], None] = lambda share: None,
    *,
    keep: Callable[[Run, Outcome], None] | None = None,
) -> Finished:
    """Do a run, and keep its outcome where that is asked for; a failure to keep it is raised.

    Args:
        run: which.
        version: the code version of its task where the study was started; another one here would file an outcome
            under code that did not produce it.
        progress: called with the share done, 0 … 1.
        keep: puts an outcome into the store, where this process can reach it.
    """
    finished = _attempt(run, version, progress)
    if keep is None or finished.outcome is None:
        return finished
    keep(run, finished.outcome)
    return dataclasses.replace(finished, kept=True)


def _attempt(run: Run, version: str, progress: Callable[[float], None]) -> Finished:
    """Do a run; its failure is data."""
    begin = time.perf_counter()
    try:
        if task_version(run.task) != version:
            raise InputError(
                f"a worker runs the code {task_version(run.task)}, but the study was started by {version}: install "
                "the same version everywhere."
            )
        with one_thread:
            outcome = resolve(run.task)(run.settings, run.split, run.seed, progress)
        seconds = {**outcome.timing, "total": time.perf_counter() - begin}
        return Finished(run, dataclasses.replace(outcome, timing=seconds))
    except BackgradError as error:
        return Finished(run, None, str(error))
    except Exception as error:
        sentence = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Finished(run, None, sentence, "".join(traceback.format_exception(error)))


def _follow(parent: int) -> None:
    """Let a worker process of ours leave Ctrl-C to its parent, and end soon after it.

    A killed parent would leave workers behind that compute, or wait, for nobody.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    if os.name == "posix":  # elsewhere, a process keeps the number of a parent that is gone
        threading.Thread(target=watch, name="backgrad-parent", daemon=True).start()


# --- the four places ------------------------------------------------------------------------------


@contextlib.contextmanager
def open_workers(
    count: int,
    scheduler: str | None,
    progress: Callable[[Run, float], None],
    keep: Callable[[Run, Outcome], None],
) -> Iterator[Perform]:
    """Provide workers for the length of a block.

    Args:
        count: processes on this machine; with one, runs are done in this process.
        scheduler: `dask://HOST:PORT` or `ray://HOST:PORT` of an existing cluster.
        progress: called with a run and the share of it done, where it is done in this process.
        keep: puts an outcome into the store; it travels to the processes of this machine.

    Yields:
        A function from runs to what became of them, in the order in which they end, which takes a run from its
        argument when a worker is free.

    Raises:
        InputError: not a scheduler, one that does not answer, or an extra that is not installed.
    """
    kind, address = parse_scheduler(count, scheduler)
    if kind == "dask":
        with _dask_client(address) as client:
            yield _joblib(_dask_backend(client))
    elif kind == "ray":
        with _ray_cluster(address) as cores:
            yield _rounds(cores)
    elif count == 1:
        yield _here(progress, keep)
    else:
        follow = {"initializer": _follow, "initargs": (os.getpid(),)}
        yield _joblib("loky", keep, n_jobs=count, **follow)


def parse_scheduler(count: int, scheduler: str | None) -> tuple[str, str]:
    """Return a scheduler's kind, empty for this machine, and its address.

    Raises:
        InputError: no such kind, or a number of workers that is not the scheduler's own.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"workers must be a positive whole number; got {count!r}.")
    if scheduler is None:
        return "", ""
    kind, separator, address = scheduler.partition("://")
    if kind not in ("dask", "ray") or not separator or not address.strip("/"):
        raise InputError(f"a scheduler must be dask://HOST:PORT or ray://HOST:PORT; got {scheduler!r}.")
    if count != 1:
        raise InputError("a scheduler brings its own workers: leave their number out.")
    return kind, address.rstrip("/")


def _here(progress: Callable[[Run, float], None], keep: Callable[[Run, Outcome], None]) -> Perform:
    def each(runs: Iterable[Run]) -> Generator[Finished, None, None]:
        for run in runs:
            yield perform(run, task_version(run.task), lambda share, run=run: progress(run, share), keep=keep)

    return each


def _joblib(
    backend: Any, keep: Callable[[Run, Outcome], None] | None = None, *, n_jobs: int = -1, **settings: Any
) -> Perform:
    """Return runs through joblib, one at a time and no more started than there are workers."""
    from joblib import Parallel, delayed, parallel_config

    one_by_one: Any = 1  # joblib's stubs know of "auto" alone

    def each(runs: Iterable[Run]) -> Generator[Finished, None, None]:
        with parallel_config(backend, n_jobs=n_jobs, **settings):
            pool = Parallel(
                return_as="generator_unordered", batch_size=one_by_one, pre_dispatch="n_jobs", max_nbytes=None
            )
        found: Any = pool(delayed(perform)(run, task_version(run.task), keep=keep) for run in runs)
        try:
            # Not `yield from`, which would close it here, where its warning is not kept down.
            for finished in found:  # noqa: UP028
                yield finished
        except (Exception, asyncio.CancelledError) as error:  # Dask's comes where the scheduler ends
            raise _loss(error) from error
        finally:
            with warnings.catch_warnings():
                # joblib warns of outcomes that nobody took, which is what an interruption means.
                warnings.simplefilter("ignore", UserWarning)
                found.close()

    return each


def _loss(error: BaseException) -> BaseException:
    """Return a `WorkersError` where workers are gone, by the names that loky, Dask and Ray have for it."""
    names = {"BrokenExecutor", "KilledWorker", "CommClosedError", "CancelledError", "RayError"}
    if not names & {cls.__name__ for cls in type(error).__mro__}:
        return error
    return WorkersError(f"a worker died ({type(error).__name__}): it may have run out of memory.")


@contextlib.contextmanager
def _dask_client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError("dask:// needs an extra: pip install 'backgrad[dask]'.") from None
    full = address if "://" in address else f"tcp://{address}"
    try:
        client = Client(full, timeout=_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {full} ({type(error).__name__}): start one there.") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_ANSWER)
        except TimeoutError:
            raise InputError(f"the Dask scheduler at {full} has no workers: start some.") from None
        with _give_up_without_workers(client):
            try:
                yield client
            except Exception as error:
                if client.status == "running" and not isinstance(error, TimeoutError):
                    raise
                raise WorkersError(f"the Dask cluster at {full} is gone, or has no workers left.") from error


@contextlib.contextmanager
def _give_up_without_workers(client: Any) -> Iterator[None]:
    """Close a client whose cluster has had no workers for long: runs would wait for one for ever."""
    stop = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        with contextlib.suppress(Exception):  # the scheduler is gone, of which the client takes note itself
            while not stop.wait(_PATIENCE / 10):
                if client.ncores():
                    seen = time.monotonic()
                elif time.monotonic() - seen > _PATIENCE:
                    client.close()
                    return

    thread = threading.Thread(target=watch, name="backgrad-dask", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _dask_backend(client: Any) -> Any:
    """Return joblib's Dask backend, mended in three places.

    A run whose worker dies again and again fails: joblib 1.6 puts the error into the future and never calls back, so
    that `Parallel` waits for ever. Dask knows which run it was, and the others go on. Dask does a run again whose
    outcome is lost with its worker for as long as anybody refers to it, which joblib's loop does to the last one after
    it has come here. And a cluster of one core does the work, which joblib would do in this process.
    """
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)

            def tell(done: Any) -> None:
                if (error := done.exception()) is None:
                    return
                run = func.items[0][1][0]  # the one call in the batch, and its first argument
                died = type(error).__name__ == "KilledWorker"
                callback([Finished(run, None, str(_loss(error)))] if died else error)

            future.add_done_callback(tell)
            return future

        async def _collect(self) -> None:
            while self._continue:
                async for future, result in self.waiting_futures:
                    told, callback = self._results.pop(future), self._callbacks.pop(future)
                    failed = future.status == "error"
                    del future
                    if failed:
                        told.set_exception(result[1])
                    else:
                        told.set_result(result)
                        callback(result)
                await asyncio.sleep(0.01)

    return Backend(client=client, wait_for_workers_timeout=_ANSWER)


@contextlib.contextmanager
def _ray_cluster(address: str) -> Iterator[int]:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("ray:// needs an extra: pip install 'backgrad[ray]'.") from None
    register_ray()
    try:
        connection: Any = ray.init(address=f"ray://{address}", logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at ray://{address} ({type(error).__name__}): start one there."
        ) from None
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < 2:  # joblib takes one worker to mean this process, and Ray grants no more workers than cores
            raise InputError(f"the Ray cluster at ray://{address} must have 2 cores or more; it has {cores}.")
        yield cores
    except ConnectionError as error:
        raise WorkersError(f"the Ray cluster at ray://{address} is gone ({type(error).__name__}).") from error
    finally:
        connection.disconnect()


def _rounds(count: int) -> Perform:
    """Return runs through joblib's Ray backend, which hands results over only once all it was given are done.

    So it is given as many runs at a time as there are workers, and no more than these are lost to an interruption.
    """
    from joblib import Parallel, delayed, parallel_config

    one_by_one: Any = 1

    def each(runs: Iterable[Run]) -> Generator[Finished, None, None]:
        remaining = iter(runs)
        while block := list(itertools.islice(remaining, count)):
            with parallel_config("ray", n_jobs=count):
                pool = Parallel(batch_size=one_by_one, max_nbytes=None)
            try:
                found: Any = pool(delayed(perform)(run, task_version(run.task)) for run in block)
            except Exception as error:
                raise _loss(error) from error
            yield from found

    return each
