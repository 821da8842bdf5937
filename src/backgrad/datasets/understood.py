"""A table as it was understood: its columns, its target, and what is wrong with it."""

from dataclasses import dataclass

from backgrad.datasets.raw import shown
from backgrad.errors import DatasetError

Range = tuple[float | int, float | int]


@dataclass(frozen=True)
class Column:
    """A column beside the target, as it was understood.

    Args:
        name: in the file's header; of one without, "column 3", counted from 1.
        number: in the file, counted from 0.
        kind: `"numeric"`, `"binary"`, `"integer"`, `"categorical"`, `"constant"`, `"identifier"` or `"text"`.
        used: whether it becomes features; otherwise it is set aside.
        sentence: how it was understood, for people.
        missing: how many rows have no value, or one that does not belong.
        low: its least feasible value, of a numeric or integer column in its unit, of a binary one 0.
        high: its greatest, or 1.
        categories: of a categorical column in their order; of a binary one what 0 and 1 stand for.
        immutable: whether an attacker has to leave it as it is.
        hashed: how many columns a text is hashed into, otherwise 0.
    """

    name: str
    number: int
    kind: str
    used: bool
    sentence: str
    missing: int = 0
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()
    immutable: bool = False
    hashed: int = 0

    @property
    def has_missing_category(self) -> bool:
        """Whether missing values are a category of their own."""
        return self.kind == "categorical" and self.missing > 0

    @property
    def width(self) -> int:
        """How many features it becomes."""
        if not self.used:
            return 0
        if self.kind == "categorical":
            return len(self.categories) + self.has_missing_category
        return self.hashed or 1

    def describe(self) -> dict[str, object]:
        """Return what a report shows, as plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "used": self.used,
            "note": self.sentence,
            "missing": self.missing,
            "low": self.low,
            "high": self.high,
            "categories": len(self.categories) or None,
            "immutable": self.immutable,
        }


@dataclass(frozen=True)
class Target:
    """The column of the labels.

    Args:
        name: in the header.
        number: in the file, counted from 0.
        class_names: k names, label i is called `class_names[i]`.
        class_rows: how many rows each class has.
        missing: how many rows have no label, and are dropped.
    """

    name: str
    number: int
    class_names: tuple[str, ...]
    class_rows: tuple[int, ...]
    missing: int


@dataclass(frozen=True)
class Schema:
    """A table as it was understood.

    Args:
        source: the path.
        names: of all columns in the file.
        target: the labels; None where there is no such column.
        columns: all others, in the order of the file.
        problems: why the table cannot be used, one sentence each; empty where it can.
        notes: what is worth knowing, one sentence each.
    """

    source: str
    names: tuple[str, ...]
    target: Target | None
    columns: tuple[Column, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of features, d."""
        return sum(column.width for column in self.columns)

    def check(self) -> None:
        """Raise `DatasetError` with all problems, where there are any."""
        if len(self.problems) == 1:
            raise DatasetError(f"The table {shown(self.source)} has a problem: {self.problems[0]}")
        if self.problems:
            bare = [problem.removesuffix(".") for problem in self.problems]
            numbered = "; ".join(f"({number}) {problem}" for number, problem in enumerate(bare, 1))
            raise DatasetError(f"The table {shown(self.source)} has {len(bare)} problems: {numbered}.")
