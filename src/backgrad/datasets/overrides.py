"""What a person says about columns, from a YAML file or from words such as `income=0:1e6`.

```yaml
immutable: [age, sex]
ranges: {income: [0, 1e6]}
kinds: {notes: hash, postcode: categorical}
```
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backgrad.datasets.findings import near
from backgrad.datasets.raw import quoted, shown
from backgrad.datasets.settling import KINDS
from backgrad.datasets.understood import Range
from backgrad.errors import DatasetError
from backgrad.plain_yaml import read_yaml

_KEYS = ("immutable", "ranges", "kinds")


@dataclass(frozen=True)
class Overrides:
    """Settings of `infer_schema`, which has what they mean.

    Args:
        immutable: columns that an attacker has to leave as they are.
        ranges: least and greatest feasible value of columns.
        kinds: what columns are.
    """

    immutable: tuple[str, ...] = ()
    ranges: Mapping[str, Range] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    def and_then(self, other: "Overrides") -> "Overrides":
        """Return both, the other's where they disagree."""
        both = dict.fromkeys((*self.immutable, *other.immutable))
        return Overrides(tuple(both), {**self.ranges, **other.ranges}, {**self.kinds, **other.kinds})


def parse_range(text: str) -> tuple[str, tuple[float, float]]:
    """Return the column and the range that `COLUMN=LOW:HIGH` says; the column's name may have = and : in it.

    Raises:
        DatasetError: it is no such text.
    """
    name, equals, ends = text.rpartition("=")
    low, colon, high = ends.partition(":")
    try:
        if name and equals and colon:
            return name, (float(low), float(high))
    except ValueError:
        pass
    raise DatasetError(f"Expected a range such as 'age=18:90', got {quoted(text)}; write COLUMN=LOW:HIGH.")


def read_overrides(path: str | os.PathLike[str]) -> Overrides:
    """Read a YAML file with the keys `immutable`, `ranges` and `kinds`, each of which may be left out.

    Raises:
        InputError: it cannot be read, or is no YAML that `backgrad.plain_yaml` reads.
        DatasetError: it has other keys or values, all of which are named.
    """
    file = Path(path)
    content = read_yaml(file)
    if content is None:
        return Overrides()
    if not isinstance(content, dict):
        raise DatasetError(
            f"Expected keys and values in {shown(file)}, such as 'immutable: [age]', and it has none; write them."
        )
    problems, found = _validate(content)
    if problems:
        numbered = "; ".join(problems if len(problems) == 1 else [f"({i}) {p}" for i, p in enumerate(problems, 1)])
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DatasetError(f"{shown(file)} has {count}: {numbered}.")
    return found


def _validate(content: dict[Any, Any]) -> tuple[list[str], Overrides]:
    """Return what is wrong, and where nothing is, the settings."""
    from pydantic import BaseModel, ConfigDict, ValidationError

    class OverridesFile(BaseModel):
        model_config = ConfigDict(extra="forbid")
        immutable: tuple[str, ...] = ()
        ranges: dict[str, tuple[float, float]] = {}
        kinds: dict[str, str] = {}

    try:
        found = OverridesFile.model_validate(content)
    except ValidationError as error:
        return [_describe(one) for one in error.errors()], Overrides()
    wrong = [
        f"kinds.{column}: expected a kind, got {quoted(kind)}; {near(kind, KINDS).rstrip('.')}"
        for column, kind in found.kinds.items()
        if kind not in KINDS
    ]
    return wrong, Overrides(found.immutable, found.ranges, found.kinds)


def _describe(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{quoted(place)} is no key; {near(place, _KEYS).rstrip('.')}"
    text = error["msg"].replace("Input should be", "expected").replace("a valid ", "a ")
    return f"{place}: {text}, got {quoted(error['input'])}"
