"""The report's sections: which sentences, figures and tables stand where."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ..spelling import things
from . import tables, text, words
from .pick import most_damaged, most_shifted
from .results import BreakingPoint, Curve
from .schema import AuditRecord
from .tables import Table

_MOST_SENTENCES = 30


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure, its text alternative and its numbers.

    Args:
        name: of the figure.
        alt: what it shows, in words.
        tables: its numbers.
    """

    name: str
    alt: str
    tables: list[Table]


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        key: its anchor.
        paragraphs: sentences about this audit, after the section's own.
        facts: pairs of a term and its value.
        points: a list of sentences.
        pictures: figures; one that could not be drawn leaves its tables.
        tables: tables that stand open.
        folded: tables that are folded.
        code: text to type, or to compare, with a name each.
    """

    key: str
    paragraphs: list[str] = dataclasses.field(default_factory=list)
    facts: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    points: list[str] = dataclasses.field(default_factory=list)
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
    folded: list[Table] = dataclasses.field(default_factory=list)
    code: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def title(self) -> str:
        """The heading."""
        return words.SECTIONS[self.key][0]

    @property
    def about(self) -> str:
        """The sentence under it."""
        return words.SECTIONS[self.key][1]


def make_sections(audit: AuditRecord) -> list[Section]:
    """Return all sections, in the report's order."""
    makers: dict[str, Callable[[AuditRecord], Section | None]] = {
        "threat-model": _threat_model,
        "data": _data,
        "curve": _curve,
        "breaking-point": _breaking_point,
        "class-damage": _class_damage,
        "transfer": _transfer,
        "defences": _defences,
        "certificates": _certificates,
        "poison": _poison,
        "health": _health,
        "vocabulary": lambda audit: Section("vocabulary", tables=[tables.vocabulary(audit)]),
        "reproduce": _reproduce,
    }
    return [makers[key](audit) or Section(key, paragraphs=[words.MISSING[key]]) for key in words.SECTIONS]


def _some(sentences: Sequence[str], what: str) -> list[str]:
    """Return the first sentences, and how many there are more."""
    left = len(sentences) - _MOST_SENTENCES
    more = f"{things(left, f'more {what}')} {'is' if left == 1 else 'are'} in audit.json."
    return [*sentences[:_MOST_SENTENCES], *([more] if left > 0 else [])]


def _listed(names: Sequence[str], longest: int = 40, at_most: int = 5) -> str:
    shown = ", ".join(text.shorten(name, longest) for name in names[:at_most])
    return shown + (f" and {len(names) - at_most:,} more" if len(names) > at_most else "")


def _threat_model(audit: AuditRecord) -> Section:
    model = audit.threat_model
    facts = [("Goal", model.goal), ("Capability", model.capability), ("Knowledge", _listed(model.knowledge))]
    facts.append(("Feasible set", model.feasible_set))
    return Section("threat-model", points=_some(model.sentences, "sentence"), facts=facts)


def _data(audit: AuditRecord) -> Section:
    given, target, pipeline = audit.input, audit.target, audit.estimator
    kinds: dict[str, int] = {}
    for one in given.columns:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    used = sum(one.used for one in given.columns)
    rows = f"{things(given.used_rows, 'row')} of {given.rows:,}: {given.train_rows:,} to train, "
    rows += f"{given.validation_rows:,} to validate, {given.test_rows:,} to test"
    rest = given.used_rows - given.train_rows - given.validation_rows - given.test_rows
    rows += f", {rest:,} that defences may trust" if rest > 0 else ""
    facts = [
        ("Table", f"{text.shorten(given.source, 200)} ({given.format})"),
        ("Rows used", rows),
        (
            "Columns",
            f"{used:,} of {len(given.columns):,} used; {', '.join(f'{n:,} {kind}' for kind, n in kinds.items())}",
        ),
        ("Target", f"{text.shorten(target.column, 200)}, {things(len(target.classes), 'class', 'classes')}"),
        ("Pipeline", pipeline.description),
        ("Gradient", f"{pipeline.surrogate}: {pipeline.sentence}"),
        ("Error without an attack", text.estimate(audit.baseline.error.mean, audit.baseline.error.interval)),
        ("Error of always answering the largest class", text.percent(audit.baseline.majority_error)),
    ]
    return Section(
        "data",
        facts=facts,
        paragraphs=[] if given.sampling is None else [given.sampling],
        points=_some(given.problems, "problem"),
        folded=[tables.columns(given), tables.classes(audit)],
    )


def _series_words(curve: Curve) -> str:
    """Say the three curves in words, at up to seven fractions."""
    step = max(1, -(-len(curve.fractions) // 7))
    picked = list(range(0, len(curve.fractions), step))
    parts = []
    for name, series in (("optimised", curve.poisoned), ("label flips", curve.label_flips), ("no attack", curve.clean)):
        steps = ", ".join(f"{text.percent(series.mean[i])} at {text.fraction(curve.fractions[i])}" for i in picked)
        parts.append(f"{name}: {steps}")
    return "; ".join(parts)


def _curve(audit: AuditRecord) -> Section:
    first = audit.curves[0]
    alt = (
        f"Line chart of the error on test rows against the share of poisoned rows. Mean error, {_series_words(first)}."
    )
    table = tables.curve(first, "Mean error on test rows, with the 95 % interval in brackets")
    pictures = [Picture("curve", alt, [table])]
    last = f"With {things(first.points[-1], 'poisoned row')} ({text.fraction(first.fractions[-1])}), the mean error "
    last += (
        f"is {text.percent(first.poisoned.mean[-1])} under optimised rows, {text.percent(first.label_flips.mean[-1])} "
    )
    last += f"under as many label flips and {text.percent(first.clean.mean[-1])} without an attack."
    if len(audit.curves) > 1:
        ends = [f"{one.victim} {text.percent(one.poisoned.mean[-1])}" for one in audit.curves]
        other = (
            f"Line chart of the error of {len(audit.curves)} victims against the share of poisoned rows. Mean error at "
        )
        other += f"the largest share: {_listed(ends, 60, 8)}."
        pictures.append(Picture("victims", other, [tables.victims(audit.curves)]))
    return Section("curve", paragraphs=[last], pictures=pictures)


def _breaking_point(audit: AuditRecord) -> Section | None:
    point = audit.breaking_point
    if point is None:
        return None
    paragraphs = [point.sentence, *([words.CENSORED] if point.censored else [])]
    return Section("breaking-point", paragraphs=paragraphs, facts=_breaking_facts(point))


def _breaking_facts(point: BreakingPoint) -> list[tuple[str, str]]:
    budget = f"{things(point.most_points, 'row')} ({text.fraction(point.most_fraction)})"
    return [
        ("Limit on the error", text.fraction(point.limit)),
        ("Smallest share that breaks it", "not reached" if point.fraction is None else text.fraction(point.fraction)),
        ("Poisoned rows", "not reached" if point.points is None else text.count(point.points)),
        ("95 % interval of the share", text.between(point.interval, text.fraction)),
        ("Largest budget that was tried", budget),
    ]


def _class_damage(audit: AuditRecord) -> Section | None:
    damage = audit.class_damage
    if damage is None:
        return None
    worst = most_damaged(damage)
    parts = [f"{one.name} from {text.percent(one.clean)} to {text.percent(one.poisoned)}" for one in worst]
    bars = (
        f"Bar chart of the error of each class with {text.fraction(damage.fraction)} poisoned. Without an attack and "
    )
    pictures = [
        Picture("class_damage", f"{bars}under optimised rows: {_listed(parts, 90, 6)}.", [tables.class_damage(damage)])
    ]
    change = tables.confusion_difference(damage)
    if change is not None:
        alt = "Matrix of true against predicted classes: how many percentage points more, or fewer, of a true class's "
        alt += "rows are predicted as each class under optimised rows. The table has the numbers."
        pictures.append(Picture("confusion_difference", alt, [change]))
    return Section("class-damage", pictures=pictures)


def _transfer(audit: AuditRecord) -> Section | None:
    found = audit.transfer
    if found is None:
        return None
    known = [(error, i, j) for i, row in enumerate(found.errors) for j, error in enumerate(row) if error is not None]
    alt = f"Matrix of the error of {things(len(found.victims), 'victim')} on rows crafted against "
    alt += f"{things(len(found.surrogates), 'learner')}."
    if known:
        error, i, j = max(known)
        alt += (
            f" The largest is {text.percent(error)}: {found.victims[j]} on rows crafted against {found.surrogates[i]}."
        )
    return Section("transfer", pictures=[Picture("transfer", alt, [tables.transfer(found)])])


def _defences(audit: AuditRecord) -> Section | None:
    found = audit.defences
    if found is None:
        return None
    parts = [
        f"{one.name} {text.percent(one.clean_error)} and {text.percent(one.oblivious_error)}" for one in found.rows
    ]
    alt = f"Bar chart of the error behind each defence, without an attack and under one: {_listed(parts, 80, 8)}."
    picture = Picture("defences", alt, [])
    return Section(
        "defences", points=_some(found.warnings, "warning"), pictures=[picture], tables=[tables.defences(found)]
    )


def _certificates(audit: AuditRecord) -> Section | None:
    found = audit.certificates
    if found is None:
        return None
    alt = "Step chart of the certified error of the defended model against the number of poisoned rows, from "
    alt += f"{text.percent(found.certified_error[0])} at {found.budgets[0]:,} to "
    alt += f"{text.percent(found.certified_error[-1])} at "
    alt += f"{things(found.budgets[-1], 'row')}, with {things(len(found.measured), 'measured error')}."
    facts = [("Method", found.method)]
    if found.partitions is not None:
        facts.append(("Partitions", text.count(found.partitions)))
    shown = [tables.certificates(found), *([tables.measured(found)] if found.measured else [])]
    said = found.note.rstrip(".").lower() in words.SECTIONS["certificates"][1].lower()
    return Section(
        "certificates",
        paragraphs=[] if said else [found.note],
        facts=facts,
        pictures=[Picture("certificates", alt, shown)],
    )


def _poison(audit: AuditRecord) -> Section | None:
    poison = audit.poison
    if poison is None:
        return None
    pictures, shifted = [], most_shifted(poison)
    if shifted:
        parts = [f"{one.name} {text.number(one.shift, '+.2f')}" for one in shifted]
        alt = f"Bar chart of the shift of poisoned rows in standard deviations of clean rows: {_listed(parts, 60, 8)}."
        pictures.append(Picture("features", alt, [tables.features(poison)]))
    if (shown := tables.images(poison)) is not None:
        alt = "Images of poisoned rows in columns: at the start of the optimisation, at its end, and their difference."
        pictures.append(Picture("images", alt, [shown]))
    raw = tables.raw_rows(poison)
    return Section("poison", pictures=pictures, folded=[] if raw is None else [raw])


def _health(audit: AuditRecord) -> Section:
    verdict = f"The attack's health is “{audit.health.verdict}”. {audit.health.sentence}"
    return Section("health", paragraphs=[verdict], folded=[tables.health(audit.health)] if audit.health.splits else [])


def _reproduce(audit: AuditRecord) -> Section:
    run = audit.run
    facts: list[tuple[str, Any]] = [("Profile", run.profile), ("Seed", str(run.seed)), ("Splits", str(run.splits))]
    facts += [("Started (UTC)", run.started), ("Took", text.seconds(run.seconds))]
    code = [("Command", run.command)]
    if audit.input.sha256 is not None:
        code.append(("SHA-256 of the data", audit.input.sha256))
    files = [f"Files beside this page: {_listed(audit.artifacts, 80, 40)}."] if audit.artifacts else []
    return Section("reproduce", paragraphs=files, facts=facts, code=code, folded=[tables.environment(audit)])
