"""What JAX compiled is kept from one command to the next, in the user's cache.

Compiling takes longer than most attacks on a small table. What is kept are machine instructions for arrays of certain
shapes, never their contents.
"""

import contextlib
import os
import sys
from pathlib import Path

from ..folders import cache_folder

# Files; about 10 kB each. Beyond, the oldest go.
_MOST = 5000


def keep_compiled() -> None:
    """Let JAX keep what it compiles, unless it is told otherwise by its own environment variables.

    Workers of a study inherit this. Nothing happens where the cache cannot be written to, or JAX is in use already.
    """
    told = {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & set(os.environ)
    if told or "jax" in sys.modules:
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _prune(folder)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def _prune(folder: Path) -> None:
    """Remove the oldest files above a number, half of them so that it is seldom done."""
    files = list(folder.iterdir())
    if len(files) <= _MOST:
        return
    aged: list[tuple[float, Path]] = []
    for file in files:
        with contextlib.suppress(OSError):  # another process may be doing the same
            aged.append((file.stat().st_mtime, file))
    for _, file in sorted(aged)[: len(aged) // 2]:
        with contextlib.suppress(OSError):
            file.unlink()
