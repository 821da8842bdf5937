"""One thread of linear algebra, so that sums come out the same however many workers share a machine.

BLAS has one pool a process, which threadpoolctl lets one thread alone control; OpenMP has limits of each thread's own.
So BLAS is limited by a thread that does nothing else, for as long as any run is being done, and OpenMP by the run's.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class OneThread:
    """Limits linear algebra while any run is being done, also by threads side by side.

    Only libraries that are loaded by then are limited; a task that loads more of them enters once more after that.
    """

    def __init__(self):
        """Start without limits."""
        self._lock, self._inside, self._own = threading.Lock(), 0, threading.local()
        self._limits: list[Any] = []
        self._controller: ThreadPoolExecutor | None = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        def limit() -> None:
            self._limits.append(threadpool_limits(1, user_api="blas"))

        with self._lock:
            self._inside += 1
            if self._controller is None:
                self._controller = ThreadPoolExecutor(1, "backgrad-threads")
            self._controller.submit(limit).result()
        self._own.limits = [*getattr(self._own, "limits", []), threadpool_limits(1, user_api="openmp")]

    def __exit__(self, *_: object) -> None:
        self._own.limits.pop().restore_original_limits()
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._controller is not None:
                self._controller.submit(self._restore).result()
                self._controller.shutdown()  # and with its thread ends the control
                self._controller = None

    def _restore(self) -> None:
        while self._limits:  # newest first: each remembers what it found
            self._limits.pop().restore_original_limits()


#: The one that all runs of a process share.
one_thread = OneThread()
