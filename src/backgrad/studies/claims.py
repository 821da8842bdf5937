"""Claims: how two processes that work on one store share its runs.

A claim is a file made with O_EXCL, so that one process alone can make it; it says who made it, and is touched while
the work goes on. A claim is stale once its process is gone (on this host) or has not touched it for two minutes
(anywhere). A stale claim is not removed but followed by one of the next number, again with O_EXCL:

    RUN.claim0, RUN.claim1, …; the last one counts

so that of several processes which find it stale, one alone takes over. Whoever gets a claim must look once more
whether the run is finished. Should two processes do the same run all the same (a machine that slept, a clock that
jumped), they write the same outcome, and each writes it at once or not at all.
"""

import contextlib
import hashlib
import itertools
import json
import os
import socket
import threading
import uuid
from pathlib import Path
from typing import Any

#: Seconds between two touches, and after how many a claim that was not touched is stale.
BEAT, STALE = 15.0, 120.0
# The time between making a claim and writing into it is far shorter: its process died in between.
_TORN = 5.0

# A process number may come back after a restart; this does not.
_LIFE = uuid.uuid4().hex


def host() -> str:
    """Return eight digits that stand for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def is_gone(pid: int) -> bool:
    """Tell whether a process of this machine has surely ended."""
    if os.name != "posix":  # elsewhere, signal 0 is not harmless: rely on the time of the last touch
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and another user's
        return False
    try:  # a zombie has ended, though nobody has asked for its exit code
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (OSError, IndexError):
        return False


def age(file: Path) -> float | None:
    """Return the seconds since a file was touched by the clock of its own file system; None where it is gone."""
    probe = file.with_name(f".{host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - file.stat().st_mtime
    except FileNotFoundError:
        return None
    finally:
        probe.unlink(missing_ok=True)


class Claim:
    """The right to do one run.

    Args:
        files: of this claim, last, and of the stale ones before it.
    """

    def __init__(self, files: list[Path]):
        """Hold the files."""
        self.files = files

    def touch(self) -> None:
        """Show that the work goes on."""
        with contextlib.suppress(OSError):  # somebody removed it; the worst that follows is work done twice
            os.utime(self.files[-1])

    def release(self) -> None:
        """Give the right back; the claim that counts goes last, so that nobody comes in between."""
        for file in self.files:
            file.unlink(missing_ok=True)


def claim(folder: Path, name: str) -> Claim | None:
    """Claim a run, or return None where a live process has it.

    Args:
        folder: of the claims.
        name: of the run.
    """
    text = json.dumps({"host": host(), "pid": os.getpid(), "life": _LIFE}).encode()
    files = []
    for number in itertools.count():
        file = folder / f"{name}.claim{number}"
        files.append(file)
        try:
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if is_stale(file):
                continue
            return None
        try:
            with open(handle, "wb") as opened:
                opened.write(text)
        except OSError:  # no room: a claim that nobody can read would hold the run for a while
            file.unlink(missing_ok=True)
            raise
        return Claim(files)
    return None


def is_held(folder: Path, name: str) -> bool:
    """Tell whether a live process has a claim on a run."""
    for number in itertools.count():
        file = folder / f"{name}.claim{number}"
        if not file.exists():
            return False
        if not is_stale(file):
            return True
    return False


def is_stale(file: Path) -> bool:
    """Tell whether nobody stands behind a claim any more."""
    owner = _owner(file)
    if owner is not None and owner.get("host") == host():
        pid = owner.get("pid")
        if pid == os.getpid():
            return owner.get("life") != _LIFE
        if isinstance(pid, int) and is_gone(pid):
            return True
    seconds = age(file)
    return seconds is None or seconds > (_TORN if owner is None else STALE)


def _owner(file: Path) -> dict[str, Any] | None:
    """Return what a claim says of its process, None where it is torn."""
    try:
        owner = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


class Heart:
    """Touches claims from a thread of its own, from `with` to its end, where those that are left are released."""

    def __init__(self):
        """Start without claims."""
        self._claims: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="backgrad-claims", daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.drop_all()

    def keep(self, name: str, held: Claim) -> None:
        """Touch a claim from now on."""
        with self._lock:
            self._claims[name] = held

    def drop(self, name: str) -> None:
        """Release a claim."""
        with self._lock:
            held = self._claims.pop(name, None)
        if held is not None:
            held.release()

    def drop_all(self) -> list[str]:
        """Release all claims; return their names."""
        names = list(self._claims)
        for name in names:
            self.drop(name)
        return names

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with self._lock:
                for held in self._claims.values():
                    held.touch()
