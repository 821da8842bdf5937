"""Where things are kept on this machine."""

import os
import sys
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
