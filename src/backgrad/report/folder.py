"""Everything an audit writes, in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .figures import write_figures
from .html import write_report


def write_audit(record: Mapping[str, Any], points: Mapping[str, np.ndarray] | None, folder: Path) -> list[str]:
    """Write report.html, the figures, audit.json with the list of all files, and points.npz.

    Args:
        record: the content of `audit.json`; its `artifacts` are filled in.
        points: what points.npz holds; None to leave that file as it is.
        folder: where to; created where it is missing.

    Returns:
        The names of the files.

    Raises:
        InputError: not a record of an audit, or a folder that cannot be written.
    """
    names = [file.name for file in write_figures(record, folder)]
    if points is not None:
        files.write_points(points, folder / "points.npz")
    kept = ["points.npz"] if points is not None or "points.npz" in record["artifacts"] else []
    names = ["report.html", "audit.json", *kept, *sorted(names)]
    whole = {**record, "artifacts": names}
    write_report(whole, folder / "report.html")
    files.write_record(whole, folder / "audit.json")
    return names
