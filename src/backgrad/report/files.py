"""Files that are there whole or not at all."""

import errno
import io
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..folders import write_whole


def write(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file under another name, then rename it.

    Raises:
        InputError: the file cannot be written.
    """
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"a report must go where files can be written, but {file} cannot be ({reason}): choose another place."
        ) from None
    return file


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise where `write` could not write a file; nothing stays behind.

    Raises:
        InputError: the path is a folder, or the nearest folder above it that is there cannot be written.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe = next(one for one in file.absolute().parents if one.exists()) / f".{uuid.uuid4().hex}.tmp"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise InputError(
            f"a report must go where files can be written, but {file} cannot be "
            f"({getattr(error, 'strerror', None) or error}): choose another place."
        ) from None


def write_record(record: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write audit.json; numbers that are not finite are an error, since JSON has none."""
    return write(path, (json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_points(points: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Path:
    """Write points.npz: `points` (K, p, d), `labels` (K, p) and `train_rows` (K, n)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **points)
    return write(path, buffer.getvalue())
