"""A study's outcomes: a folder with one file a run, `IDENTITY.npz`.

A file is written under another name, brought to the disk and renamed, so that it is there whole or not at all, and
may be read at any time. It holds arrays, JSON among them as bytes of UTF-8; `allow_pickle` is never on. Seconds have
an entry of their own: all other bytes of a run's file are the same whenever and wherever it was done.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..folders import write_whole
from . import claims
from .plan import Outcome, Run, canonical, task_version

_RECORD, _TIMING, _ARRAY = "record", "timing", "array."
_TEMPORARY = re.compile(r"\.?(?:[0-9a-f]{64}\.)?(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{32}\.tmp")
_CLAIM = re.compile(r"(?P<identity>[0-9a-f]{64})\.claim\d+")
# Older temporary files of other machines belong to processes that are gone; writing one takes a moment.
_LEFT_BEHIND = 3600.0


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder of outcomes. Several processes, on several machines, may use it at once.

    Args:
        path: the folder.
    """

    path: Path

    def open(self) -> "Store":
        """Create the folder where it is missing, and remove what killed processes left in it.

        Raises:
            InputError: the folder cannot be created or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".{claims.host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
            probe.touch()
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"a study's folder must be one that can be written, but {self.path} is not ({reason}): choose another."
            ) from None
        self._sweep()
        return self

    def file(self, run: Run) -> Path:
        """Return the path of a run's file."""
        return self.path / f"{run.identity}.npz"

    def read(self, run: Run) -> Outcome | None:
        """Return what a run found; None where it is missing or its file is damaged.

        Raises:
            InputError: the file is there and cannot be opened.
        """
        try:
            content = self.file(run).read_bytes()
        except (FileNotFoundError, NotADirectoryError):  # `open` says what is wrong with the latter
            return None
        except OSError as error:
            raise InputError(
                f"the results of a study must be readable, but {self.file(run)} is not "
                f"({error.strerror or error}): change its rights, or choose another folder."
            ) from None
        try:
            return _decode(content, run.identity)
        except Exception:  # whatever a reader of archives may raise on bytes that are none
            return None

    def write(self, run: Run, outcome: Outcome) -> None:
        """Write what a run found, whole or not at all.

        Raises:
            InputError: there is no room for it, or the folder is gone.
        """
        file = self.file(run)
        temporary = f"{run.identity}.{claims.host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
        with self._writing():
            write_whole(file, _encode(run, outcome), temporary=temporary)
            _sync_folder(self.path)

    def claim(self, run: Run) -> claims.Claim | None:
        """Claim a run for this process; None where another one has it.

        Raises:
            InputError: there is no room for a claim, or the folder is gone.
        """
        with self._writing():
            return claims.claim(self.path, run.identity)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"results must be kept, but {self.path} cannot be written ({error.strerror or error}): free some room, "
                "and run the same command again; what is done is kept."
            ) from None

    def is_held(self, run: Run) -> bool:
        """Tell whether a live process has claimed a run."""
        return claims.is_held(self.path, run.identity)

    def count(self) -> int:
        """Return how many files of outcomes there are, of this study and others."""
        return sum(1 for _ in self.path.glob("*.npz"))

    def _sweep(self) -> None:
        """Remove temporary files of dead processes, and stale claims on finished runs."""
        for file in list(self.path.iterdir()):
            with contextlib.suppress(OSError):  # another process swept it away
                if (match := _TEMPORARY.fullmatch(file.name)) is not None:
                    mine = match["host"] == claims.host()
                    if (mine and claims.is_gone(int(match["pid"]))) or (claims.age(file) or 0) > _LEFT_BEHIND:
                        file.unlink()
                elif (match := _CLAIM.fullmatch(file.name)) is not None:
                    done = (self.path / f"{match['identity']}.npz").exists()
                    if done and claims.is_stale(file):
                        file.unlink()


def _encode(run: Run, outcome: Outcome) -> bytes:
    """Return a run's file. NumPy puts no time of day into it."""
    record = {
        "identity": run.identity,
        "task": run.task,
        "settings": run.settings,
        "split": run.split,
        "seed": run.seed,
        "code": task_version(run.task),
        "values": outcome.values,
        "digest": outcome.digest,
    }
    entries = {_RECORD: _as_bytes(record), _TIMING: _as_bytes(outcome.timing)}
    entries |= {f"{_ARRAY}{name}": array for name, array in sorted(outcome.arrays.items())}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **entries)
    return buffer.getvalue()


def _as_bytes(value: Any) -> np.ndarray:
    return np.frombuffer(canonical(value).encode(), dtype=np.uint8)


def _decode(content: bytes, identity: str) -> Outcome:
    """Return the outcome in a run's file; raise anything at all where it is not that run's, whole."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        entries = {name: archive[name] for name in archive.files}
    record, timing = (json.loads(entries[name].tobytes().decode()) for name in (_RECORD, _TIMING))
    arrays = {name.removeprefix(_ARRAY): array for name, array in entries.items() if name.startswith(_ARRAY)}
    outcome = Outcome(record["values"], arrays, timing)
    if record["identity"] != identity or record["digest"] != outcome.digest:
        raise ValueError("another run's file, or a changed one")
    return outcome


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:  # some network file systems refuse; the rename is in their hands
            pass
        finally:
            os.close(handle)
