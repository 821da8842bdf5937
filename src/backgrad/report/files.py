"""Files that are there whole or not at all."""

import io
import json
import os
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


def write_record(record: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write audit.json; numbers that are not finite are an error, since JSON has none."""
    return write(path, (json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_points(points: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Path:
    """Write points.npz: `points` (K, p, d), `labels` (K, p) and `train_rows` (K, n)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **points)
    return write(path, buffer.getvalue())
