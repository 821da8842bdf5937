"""What to show where a record has more than a reader, or a page, can take: the most striking first."""

from collections.abc import Sequence

from .parts import Column
from .results import ClassDamage, ClassErrors, FeatureShift, Poison


def _gap(one: ClassErrors) -> float:
    return -1.0 if one.poisoned is None or one.clean is None else abs(one.poisoned - one.clean)


def most_damaged(damage: ClassDamage) -> list[ClassErrors]:
    """Return classes, those whose error changed most first."""
    return sorted(damage.classes, key=_gap, reverse=True)


def most_changed_classes(damage: ClassDamage) -> list[int]:
    """Return the numbers of classes, those whose error changed most first."""
    return sorted(range(len(damage.classes)), key=lambda i: _gap(damage.classes[i]), reverse=True)


def most_shifted(poison: Poison) -> list[FeatureShift]:
    """Return features with a known shift, the furthest first."""
    known = [one for one in poison.features if one.shift is not None]
    return sorted(known, key=lambda one: abs(one.shift or 0.0), reverse=True)


def columns_first_noted(columns: Sequence[Column]) -> list[Column]:
    """Return columns, those that were set aside or that have a note first."""
    return sorted(columns, key=lambda one: (one.used, one.note is None))
