"""Rows of results, printed in 80 columns and written as JSON."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
from importlib.util import find_spec
from typing import Any

from .timing import Timing

_PACKAGES = ("backgrad", "jax", "jaxlib", "numpy", "torch")
_WIDTH = 80


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Args:
        label: what is compared.
        ours: our timing.
        other: what it is compared with.
        ratio: of the medians, the way round that the section says.
        goal: the ratio to meet; None where the row is for information.
        at_most: whether the goal is an upper bound.
        note: how the other side was tuned, or what else one should know.
    """

    label: str
    ours: Timing
    other: Timing
    ratio: float
    goal: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def text(self) -> str:
        """Return the row as a line."""
        verdict = ""
        if self.goal is not None:
            verdict = f"{'≤' if self.at_most else '≥'} {self.goal:g} {'met' if self.met else 'MISSED'}"
        times = f"{self.ours.median * 1e3:9.2f}{self.other.median * 1e3:10.2f}"
        return f"{self.label:<33}{times}{self.ratio:7.2f}  {verdict:<11}{self.ours.compilation:8.1f}"

    def record(self) -> dict[str, Any]:
        """Return the row as plain values; times in seconds."""
        return {
            "label": self.label,
            "ratio": self.ratio,
            "goal": self.goal,
            "goal_is": None if self.goal is None else ("at most" if self.at_most else "at least"),
            "met": self.met,
            "ours": {**self.ours._asdict(), "compilation": self.ours.compilation},
            "other": {**self.other._asdict(), "compilation": self.other.compilation},
            "note": self.note,
        }


@dataclasses.dataclass(frozen=True)
class Section:
    """A table: its name on the command line, what is divided by what, and the rows.

    Args:
        name: short.
        title: one line.
        columns: heads of the two times.
        rows: comparisons.
        facts: lines printed below the table, such as what was checked.
        values: further figures for the JSON file alone.
    """

    name: str
    title: str
    columns: tuple[str, str]
    rows: tuple[Row, ...]
    facts: tuple[str, ...] = ()
    values: dict[str, Any] = dataclasses.field(default_factory=dict)

    def text(self) -> str:
        """Return the table."""
        lines = ["", self.title, "─" * _WIDTH]
        if self.rows:
            ours, other = self.columns
            lines.append(f"{'':<33}{ours:>9}{other:>10}{'ratio':>7}  {'goal':<11}{'compile':>8}")
            lines += [row.text() for row in self.rows]
        return "\n".join([*lines, *(f"  {fact}" for fact in self.facts)])

    def record(self) -> dict[str, Any]:
        """Return the section as plain values."""
        rows = [row.record() for row in self.rows]
        return {"title": self.title, "rows": rows, "facts": list(self.facts), **self.values}


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, load and versions."""
    info = pathlib.Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": (models or [platform.processor() or platform.machine()])[0],
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES if find_spec(name)},
    }


def describe(found: dict[str, Any]) -> str:
    """Return the machine in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    load = found["load"][0]
    crowded = " (BUSY: times are inflated, ratios less so)" if load > found["cores"] else ""
    return f"{found['cpu']}, {found['cores']} cores, load {load:.1f}{crowded}\nPython {found['python']}, {versions}"


def write(path: pathlib.Path, sections: list[Section], before: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write all sections as JSON."""
    record = {
        "machine": before,
        "load_at_end": os.getloadavg(),
        "settings": settings,
        "sections": {section.name: section.record() for section in sections},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
