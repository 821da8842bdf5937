"""Parts of an audit's record that say what was found."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .parts import Count, Ends, Part, Share, increasing, ordered, refuse, same_length


class Estimate(Part):
    """A mean over splits."""

    mean: Share | None
    interval: Ends | None
    """Student's 95 % interval; null below 3 splits."""
    splits: list[Share | None] | None = None
    """One number a split; null where a split has no result."""

    @model_validator(mode="after")
    def _check(self) -> "Estimate":
        ordered(interval=self.interval)
        return self


class Baseline(Part):
    """The pipeline without poisoned rows."""

    error: Estimate
    majority_error: Share | None
    """The error of always answering the largest class."""
    class_errors: dict[str, Share | None]


class Series(Part):
    """Errors at every fraction."""

    mean: list[Share | None]
    interval: list[Ends | None] | None
    splits: list[list[Share | None]]
    """At every fraction, one number a split."""


class Curve(Part):
    """The security curve of one victim."""

    victim: str
    knowledge: str
    crafted_against: str
    fractions: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=1)]
    """p / (n + p)."""
    points: list[Count]
    """p, the poisoned rows."""
    clean: Series
    label_flips: Series
    poisoned: Series

    @model_validator(mode="after")
    def _check(self) -> "Curve":
        increasing(fractions=self.fractions)
        size, splits = len(self.fractions), len(self.clean.splits[0]) if self.clean.splits else 0
        same_length(size, "fractions", points=self.points)
        for name in ("clean", "label_flips", "poisoned"):
            series: Series = getattr(self, name)
            parts = {"mean": series.mean, "interval": series.interval, "splits": series.splits}
            same_length(size, "fractions", **{f"{name}.{key}": part for key, part in parts.items()})
            for at in series.splits:
                same_length(splits, "splits", **{f"each list in {name}.splits": at})
            for ends in series.interval or ():
                ordered(**{f"{name}.interval": ends})
        if not splits:
            raise refuse("clean.splits must have at least one split")
        return self


class ClassErrors(Part):
    """The errors of one class."""

    name: str
    clean: Share | None
    label_flips: Share | None
    poisoned: Share | None


class ClassDamage(Part):
    """What the attack does to each class."""

    fraction: Share
    points: Count
    classes: Annotated[list[ClassErrors], Field(min_length=2)]
    confusion_clean: list[list[Share | None]] | None
    """Rows true, columns predicted, as shares of the row; in the order of `classes`."""
    confusion_poisoned: list[list[Share | None]] | None

    @model_validator(mode="after")
    def _check(self) -> "ClassDamage":
        size = len(self.classes)
        if (self.confusion_clean is None) != (self.confusion_poisoned is None):
            raise refuse("confusion_clean and confusion_poisoned must be given together, or both be null")
        for name in ("confusion_clean", "confusion_poisoned"):
            rows = getattr(self, name)
            same_length(size, "classes", **{name: rows})
            for row in rows or ():
                same_length(size, "classes", **{f"each row of {name}": row})
        return self


class BreakingPoint(Part):
    """The smallest share of poisoned rows that breaks the limit."""

    limit: Share
    fraction: Share | None
    """Null where the limit was not reached within the budget."""
    points: Count | None
    interval: Annotated[list[Share | None], Field(min_length=2, max_length=2)] | None
    """In fractions; a null end lies beyond the budget."""
    censored: bool
    most_points: Count
    most_fraction: Share
    sentence: str

    @model_validator(mode="after")
    def _check(self) -> "BreakingPoint":
        ordered(interval=self.interval)
        if self.censored != (self.fraction is None) or self.censored != (self.points is None):
            raise refuse("fraction and points must be null where censored is true, and numbers where it is false")
        return self


class Transfer(Part):
    """Errors of victims on points crafted against others."""

    surrogates: Annotated[list[str], Field(min_length=1)]
    victims: Annotated[list[str], Field(min_length=1)]
    errors: list[list[Share | None]]
    """Rows surrogates, columns victims."""
    half_intervals: list[list[Annotated[float, Field(ge=0)] | None]] | None
    clean: list[Share | None] | None
    label_flips: list[Share | None] | None
    fraction: Share
    points: Count

    @model_validator(mode="after")
    def _check(self) -> "Transfer":
        same_length(len(self.surrogates), "surrogates", errors=self.errors, half_intervals=self.half_intervals)
        for row in (*self.errors, *(self.half_intervals or ())):
            same_length(len(self.victims), "victims", **{"each row": row})
        same_length(len(self.victims), "victims", clean=self.clean, label_flips=self.label_flips)
        return self


class DefenceRow(Part):
    """One defence."""

    name: str
    clean_error: Share | None
    oblivious_error: Share | None
    """Under an attacker who does not know the defence."""
    adaptive_error: Share | None
    """Under one who does; null where nobody tried."""
    poison_removed: Share | None
    clean_removed: Share | None
    seconds: Annotated[float, Field(ge=0)] | None


class Defences(Part):
    """Defences and what they cost."""

    fraction: Share
    points: Count
    rows: Annotated[list[DefenceRow], Field(min_length=1)]
    warnings: list[str]


class Measured(Part):
    """An error that an attack reached, beside the certificate."""

    points: Count
    error: Share
    interval: Ends | None
    attack: str
    model: Literal["defended", "audited"] = "defended"
    """Whose error: only that of the defended model must stay below the certificate."""
    splits: list[Share] | None = None
    """One number a split."""


class Certificates(Part):
    """An error that no attack exceeds, of the defended model."""

    method: str
    partitions: Count | None
    budgets: Annotated[list[Count], Field(min_length=1)]
    certified_error: list[Share]
    measured: list[Measured]
    note: str

    @model_validator(mode="after")
    def _check(self) -> "Certificates":
        increasing(budgets=self.budgets)
        same_length(len(self.budgets), "budgets", certified_error=self.certified_error)
        if any(right < left for left, right in pairwise(self.certified_error)):
            raise refuse("certified_error must not fall as the budget grows")
        return self


class FeatureShift(Part):
    """How far poisoned rows lie from clean ones in one feature."""

    name: str
    clean_mean: float | None
    poison_mean: float | None
    shift: float | None
    """In standard deviations of clean rows."""


class Images(Part):
    """Poisoned rows that are images."""

    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=3)]
    """Height and width; 3 follows for colour."""
    before: Annotated[list[list[float]], Field(min_length=1)]
    after: list[list[float]]
    labels: list[str] | None

    @model_validator(mode="after")
    def _check(self) -> "Images":
        if len(self.shape) == 3 and self.shape[2] != 3:
            raise refuse(f"shape must be height and width, and 3 for colour, got {self.shape}")
        pixels = 1
        for side in self.shape:
            pixels *= side
        same_length(len(self.before), "images", after=self.after, labels=self.labels)
        for row in (*self.before, *self.after):
            same_length(pixels, "pixels", **{"each image": row})
        return self


class Poison(Part):
    """What poisoned rows look like."""

    features: list[FeatureShift]
    images: Images | None
    rows: list[dict[str, str | float | bool | None]] | None
    """Raw rows, only where the user asked for them."""
