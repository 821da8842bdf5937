"""One thread of linear algebra, so that sums come out the same however many workers share a machine.

BLAS has one pool a process, which threadpoolctl lets one thread alone control; OpenMP has limits of each thread's own.
So BLAS is limited by a thread that does nothing else, for as long as any run is being done, and OpenMP by the run's.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future


class _Controller:
    """A thread that does one thing after another, for those who wait for each."""

    def __init__(self):
        """Start it."""
        self._orders: queue.SimpleQueue[tuple[Callable[[], object], Future[None]] | None] = queue.SimpleQueue()
        # A daemon, which an interrupted process does not wait for: an executor's thread whose start was interrupted
        # would be waited for at exit by a process that does not know how to end it.
        threading.Thread(target=self._obey, name="backgrad-threads", daemon=True).start()

    def do(self, order: Callable[[], object]) -> None:
        """Have something done, and wait; it is done also where the waiting is interrupted."""
        done: Future[None] = Future()
        self._orders.put((order, done))
        done.result()

    def end(self) -> None:
        """Let the thread end after what it was told before."""
        self._orders.put(None)

    def _obey(self) -> None:
        while (told := self._orders.get()) is not None:
            order, done = told
            try:
                order()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)


class OneThread(contextlib.ContextDecorator):
    """Limits linear algebra while any run is being done, also by threads side by side.

    Functions can be decorated with it, too. Only libraries that are loaded by then are limited; a task that loads
    more of them enters once more after that. Ctrl-C while it is entered or left is as Ctrl-C inside.
    """

    def __init__(self):
        """Start without limits."""
        self._lock, self._inside, self._own = threading.Lock(), 0, threading.local()
        self._limits = contextlib.ExitStack()
        self._controller: _Controller | None = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            self._inside += 1
        try:
            with self._lock:
                if self._controller is None:
                    self._controller = _Controller()
                self._controller.do(lambda: self._limits.enter_context(threadpool_limits(1, user_api="blas")))
            self._own.limits = [*getattr(self._own, "limits", []), threadpool_limits(1, user_api="openmp")]
        except BaseException:
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._own.limits.pop().restore_original_limits()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Give BLAS its threads back where this was the last one inside."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._controller is not None:
                controller, self._controller = self._controller, None
                try:
                    # Newest first: each remembers what it found. Left like this, the thread gives the control up at
                    # once, and not when it has come to its end: the next run may begin before that.
                    controller.do(self._limits.close)
                finally:
                    controller.end()


#: The one that all runs of a process share.
one_thread = OneThread()
