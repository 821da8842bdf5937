"""A search's state in a file, so that a run of hours that is killed goes on where it was.

The file is an npz archive, written whole or not at all: whoever dies while writing leaves the state before. Arrays
are not compressed, which would take longer than writing them.
"""

import dataclasses
import io
from pathlib import Path

import numpy as np

from ..attacks.checkpoint import Arrays
from ..errors import InputError
from ..folders import write_whole


@dataclasses.dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint for `Attack.craft`.

    Args:
        path: of the file; its folder is made where it does not exist.
    """

    path: Path

    def load(self) -> Arrays | None:
        """Return the arrays in the file, None where there is none.

        Raises:
            InputError: the file cannot be read, or is none of ours.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"a checkpoint must be a file that can be read, but {self.path} is not "
                f"({error.strerror or error}): change its rights, or name another."
            ) from None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        # Damaged archives make zipfile and zlib raise errors of their own, which NumPy passes on.
        except Exception:
            raise InputError(
                f"a checkpoint must be an npz file, but {self.path} is none or damaged: remove it to start afresh."
            ) from None

    def save(self, arrays: Arrays) -> None:
        """Write the arrays in place of those in the file.

        Raises:
            InputError: the file cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, buffer.getvalue())
        except OSError as error:
            raise InputError(
                f"a checkpoint must be a file that can be written, but {self.path} cannot be "
                f"({error.strerror or error}): choose another place."
            ) from None
