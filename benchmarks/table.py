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

    @property
    def verdict(self) -> str:
        """The goal, and whether it is met; empty without one."""
        if self.goal is None:
            return ""
        return f"{'≤' if self.at_most else '≥'} {self.goal:g} {'met' if self.met else 'MISSED'}"

    def cells(self) -> tuple[str, ...]:
        """Return the row as cells of a table."""
        times = tuple(f"{time.median * 1e3:.2f}" for time in (self.ours, self.other))
        return (self.label, *times, f"{self.ratio:.2f}", self.verdict, f"{self.ours.compilation:.1f}")

    def text(self) -> str:
        """Return the row as a line."""
        times = f"{self.ours.median * 1e3:9.2f}{self.other.median * 1e3:10.2f}"
        return f"{self.label:<33}{times}{self.ratio:7.2f}  {self.verdict:<11}{self.ours.compilation:8.1f}"

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
class Grid:
    """A table of other things than two times and their ratio: words and figures, ready to print.

    Args:
        heads: of the columns.
        rows: cells.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> list[str]:
        """Return the grid as lines, the first column to the left and all others to the right."""
        lines = (self.heads, *self.rows)
        widths = [max(len(row[i]) for row in lines) for i in range(len(self.heads))]

        def line(row: tuple[str, ...]) -> str:
            return "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(w) for i, w in enumerate(widths) if i)])

        return [line(row) for row in lines]

    def markdown(self) -> list[str]:
        """Return the grid as a table in Markdown."""
        return [_cells(self.heads), "|---|" + "---:|" * (len(self.heads) - 1), *(_cells(row) for row in self.rows)]


def _cells(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(row)} |"


@dataclasses.dataclass(frozen=True)
class Section:
    """A table: its name on the command line, what is divided by what, and the rows.

    Args:
        name: short.
        title: one line.
        columns: heads of the two times.
        rows: comparisons.
        facts: lines printed below the table, such as what was checked.
        grid: a table of its own columns, for sections that have no ratios.
        values: further figures for the JSON file alone.
    """

    name: str
    title: str
    columns: tuple[str, str]
    rows: tuple[Row, ...]
    facts: tuple[str, ...] = ()
    grid: Grid | None = None
    values: dict[str, Any] = dataclasses.field(default_factory=dict)

    def text(self) -> str:
        """Return the table."""
        lines = ["", self.title, "─" * _WIDTH]
        if self.rows:
            ours, other = self.columns
            lines.append(f"{'':<33}{ours:>9}{other:>10}{'ratio':>7}  {'goal':<11}{'compile':>8}")
            lines += [row.text() for row in self.rows]
        if self.grid is not None:
            lines += self.grid.text()
        return "\n".join([*lines, *(f"  {fact}" for fact in self.facts)])

    def markdown(self) -> str:
        """Return the table in Markdown, under its title."""
        lines = [f"## {self.title}", ""]
        if self.rows:
            ours, other = self.columns
            heads = ("", f"{ours}, ms", f"{other}, ms", "ratio", "goal", "compilation, s")
            lines += Grid(heads, tuple(row.cells() for row in self.rows)).markdown()
        if self.grid is not None:
            lines += self.grid.markdown()
        if self.facts:
            lines += ["", *(f"- {fact}" for fact in self.facts)]
        return "\n".join(lines) + "\n"

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


def markdown(found: dict[str, Any], sections: list[Section], settings: dict[str, Any]) -> str:
    """Return all sections as a page in Markdown, after a line about the command and the machine."""
    command = " ".join(["python -m benchmarks", *settings["arguments"]])
    busy = found["load"][0] > found["cores"]
    load = f"load {found['load'][0]:.1f} at the start" + (", so times are inflated, ratios less so" if busy else "")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    where = f"{found['cpu']}, {found['cores']} cores, {load}"
    head = f"Measured by `{command}` on {where}; Python {found['python']}, {versions}."
    return "\n".join([head, "", *(section.markdown() for section in sections)])


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
