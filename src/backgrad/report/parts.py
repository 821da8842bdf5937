"""Parts of an audit's record that say what was audited and how, and what all parts share."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Ends = Annotated[list[float], Field(min_length=2, max_length=2)]
Kind = Literal["numeric", "binary", "integer", "categorical", "constant", "identifier", "text"]


class Part(BaseModel):
    """A part of the record: no unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def refuse(text: str) -> PydanticCustomError:
    """Return an error with a text of ours, in which braces stand for themselves."""
    return PydanticCustomError("backgrad", "{text}", {"text": text})  # pyright: ignore[reportArgumentType]


def same_length(size: int, what: str, **lists: Any) -> None:
    """Raise unless every list, or none in its place, has `size` entries."""
    for name, values in lists.items():
        if values is not None and len(values) != size:
            raise refuse(f"{name} must have one entry for each of the {size} {what}, got {len(values)}")


def increasing(**lists: list[float] | list[int]) -> None:
    """Raise unless every list increases."""
    for name, values in lists.items():
        if any(right <= left for left, right in pairwise(values)):
            raise refuse(f"{name} must increase, got {values[:12]}")


def ordered(**intervals: list[float | None] | list[float] | None) -> None:
    """Raise unless every interval that is there runs upwards."""
    for name, ends in intervals.items():
        low, high = ends or (None, None)
        if low is not None and high is not None and low > high:
            raise refuse(f"{name} must run from its lower to its upper end, got {ends}")


class Tool(Part):
    """What made the record."""

    name: str
    version: str
    code: str
    """A hash of the sources."""


class RunFacts(Part):
    """How the audit was started."""

    command: str
    """What to type to run it again."""
    profile: str
    seed: int
    splits: Annotated[int, Field(ge=1)]
    started: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
    """In UTC, as in 2026-11-25T10:00:00Z."""
    seconds: Annotated[float, Field(ge=0)] | None


class Environment(Part):
    """The software that it ran on."""

    python: str
    platform: str
    packages: dict[str, str]


class Column(Part):
    """How a column of the table was understood."""

    name: str
    kind: Kind
    used: bool
    note: str | None
    """Why it was set aside, or what was done with it."""
    missing: Count
    low: float | None
    """The lower end of the range that poisoned rows may take."""
    high: float | None
    categories: Count | None


class Input(Part):
    """The table."""

    source: str
    name: str | None = None
    """What the report calls the table; its source where null."""
    format: str
    sha256: str | None
    rows: Count
    used_rows: Count
    sampling: str | None
    """The rule by which rows were sampled, where not all were used."""
    train_rows: Count
    validation_rows: Count
    test_rows: Count
    columns: list[Column]
    problems: list[str]


class ClassSize(Part):
    """A class and its rows."""

    name: str
    rows: Count


class Target(Part):
    """What the pipeline predicts."""

    column: str
    classes: Annotated[list[ClassSize], Field(min_length=2)]


class Estimator(Part):
    """The audited pipeline."""

    name: str
    description: str
    surrogate: str
    """"exact" where its own gradient was used, "copy" where a stand-in's was, "none" where it has none."""
    sentence: str


class ThreatModel(Part):
    """Who attacks, with what."""

    sentences: Annotated[list[str], Field(min_length=1)]
    goal: str
    capability: str
    knowledge: list[str]
    feasible_set: str
