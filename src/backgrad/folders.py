"""Where things are kept on this machine, and files that are there whole or not at all."""

import os
import sys
import uuid
from pathlib import Path


def cache_folder() -> Path:
    """Return `backgrad` in the user's cache, whether it exists or not."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backgrad"


def write_whole(file: Path, content: bytes, *, temporary: str | None = None) -> None:
    """Write a file under another name, bring it to the disk, and rename it.

    Args:
        file: its path, in a folder that exists.
        content: its bytes.
        temporary: the other name; a random one where omitted.
    """
    other = file.with_name(f".{uuid.uuid4().hex}.tmp" if temporary is None else temporary)
    try:
        with other.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(other, file)
    finally:
        other.unlink(missing_ok=True)
