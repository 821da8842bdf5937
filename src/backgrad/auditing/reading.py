"""From what a user names to a problem: a bundled data set, or a table of their own."""

from collections.abc import Mapping
from typing import Any

from ..datasets import load
from .problem import Problem, from_dataset


def read_problem(data: Mapping[str, Any]) -> Problem:
    """Return the problem that settings name.

    Args:
        data: `kind`, `"bundled"` with a `name`, or `"file"` with what `backgrad.auditing.tables` takes.

    Raises:
        InputError: there is no such data set or file, or it cannot be audited.
    """
    if data["kind"] == "bundled":
        return read_bundled(data["name"])
    from .tables import read_file

    return read_file(data)


def read_bundled(name: str, *, download: bool = False) -> Problem:
    """Return a bundled data set as a problem: images in [0, 1], all else in the units of its source."""
    found = load(name, scaled=False, download=download)
    if found.feature_names[0].startswith("pixel"):
        found = load(name, download=download)
    return from_dataset(found)
