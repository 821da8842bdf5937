"""Ctrl-C at a safe moment.

Python raises KeyboardInterrupt wherever it happens to be, and inside JAX's compiled dispatch that can crash the
process. So while an attack runs, Ctrl-C only takes note, and the next sign of progress raises; pressing it again
raises at once.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back for the length of a block.

    Yields:
        A function to call at safe moments: it raises KeyboardInterrupt where Ctrl-C was pressed since.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: None
        return
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(number, frame) -> None:
        del number, frame
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
