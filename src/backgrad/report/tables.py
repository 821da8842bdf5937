"""The record's numbers as tables, each bounded: a reader of thousands of rows takes the record itself."""

import dataclasses
from collections.abc import Sequence

from ..spelling import things
from . import text
from .parts import Column, Input
from .pick import columns_first_noted, most_changed_classes, most_damaged, most_shifted
from .results import Certificates, ClassDamage, Curve, Defences, Poison, Transfer
from .schema import AuditRecord, Health

#: The most rows of a table, and the most columns of a matrix.
MOST_ROWS = 60
MOST_COLUMNS = 12
_LONGEST_NAME = 160
_RAW_ROWS = 20


@dataclasses.dataclass(frozen=True)
class Table:
    """A table. The first cell of a row is its head.

    Args:
        caption: what it shows.
        heads: of the columns.
        rows: cells, as text.
        more: what was left out; empty where nothing was.
        numbers: whether all cells but the heads are numbers, which are set to the right.
        own: whether all words are the report's own, none of which need be broken.
    """

    caption: str
    heads: list[str]
    rows: list[list[str]]
    more: str = ""
    numbers: bool = True
    own: bool = False


def _name(given: str) -> str:
    return text.shorten(given, _LONGEST_NAME) if given.strip() else "(no name)"


def _more(shown: int, total: int, what: str, order: str = "") -> str:
    """Say how much was left out; nothing where nothing was."""
    if shown >= total:
        return ""
    which = f"{order} " if order else "first "
    left = total - shown
    return f"The {which}{shown} of {total:,} {what}; {left:,} more {'is' if left == 1 else 'are'} in audit.json."


def curve(found: Curve, caption: str) -> Table:
    """Return a security curve's numbers."""
    rows = []
    for at in range(min(len(found.fractions), MOST_ROWS)):
        cells = [text.fraction(found.fractions[at]), text.count(found.points[at])]
        for series in (found.clean, found.label_flips, found.poisoned):
            cells.append(text.estimate(series.mean[at], series.interval[at] if series.interval else None))
        rows.append(cells)
    heads = ["Poisoned share", "Poisoned rows", "No attack", "Label flips", "Optimised rows"]
    return Table(caption, heads, rows, _more(len(rows), len(found.fractions), "fractions"))


def victims(curves: Sequence[Curve]) -> Table:
    """Return all curves at their largest fraction, a row each."""
    rows = []
    for found in curves[:MOST_ROWS]:
        cells = [f"{_name(found.victim)}; {found.knowledge}; crafted against {_name(found.crafted_against)}"]
        cells.append(f"{text.fraction(found.fractions[-1])} ({found.points[-1]:,})")
        for series in (found.clean, found.label_flips, found.poisoned):
            cells.append(text.estimate(series.mean[-1], series.interval[-1] if series.interval else None))
        rows.append(cells)
    heads = ["Victim; knowledge; points", "Poisoned share (rows)", "No attack", "Label flips", "Optimised rows"]
    caption = "Error of every victim at the largest share that was tried"
    return Table(caption, heads, rows, _more(len(rows), len(curves), "curves"))


def columns(given: Input) -> Table:
    """Return how columns were understood, those with something to say first."""
    shown = columns_first_noted(given.columns)[:MOST_ROWS]
    rows = [
        [_name(one.name), one.kind, "yes" if one.used else "no", text.count(one.missing), _range(one), one.note or ""]
        for one in shown
    ]
    more = _more(len(rows), len(given.columns), "columns", "most notable")
    heads = ["Column", "Kind", "Used", "Missing", "Range or categories", "Note"]
    return Table("How every column was understood", heads, rows, more, numbers=False)


def _range(one: Column) -> str:
    if one.categories is not None:
        return things(one.categories, "category", "categories")
    if one.low is None and one.high is None:
        return text.NONE
    return f"{text.number(one.low, '.4g')} to {text.number(one.high, '.4g')}"


def classes(audit: AuditRecord) -> Table:
    """Return the target's classes and their errors without an attack."""
    found = sorted(audit.target.classes, key=lambda one: -one.rows)
    errors = audit.baseline.class_errors
    rows = [[_name(one.name), text.count(one.rows), text.percent(errors.get(one.name))] for one in found[:MOST_ROWS]]
    more = _more(len(rows), len(found), "classes", "largest")
    return Table("Classes of the target", ["Class", "Rows", "Error without an attack"], rows, more)


def class_damage(damage: ClassDamage) -> Table:
    """Return the errors of classes, the most damaged first."""
    found = most_damaged(damage)
    rows = [
        [_name(one.name), *(text.percent(value) for value in (one.clean, one.label_flips, one.poisoned))]
        for one in found[:MOST_ROWS]
    ]
    caption = f"Error of each class with {text.fraction(damage.fraction)} poisoned"
    more = _more(len(rows), len(found), "classes", "most damaged")
    return Table(caption, ["Class", "No attack", "Label flips", "Optimised rows"], rows, more)


def confusion_difference(damage: ClassDamage) -> Table | None:
    """Return the poisoned confusion matrix less the clean one, in percentage points."""
    clean, poisoned = damage.confusion_clean, damage.confusion_poisoned
    if clean is None or poisoned is None:
        return None
    picked = most_changed_classes(damage)[:MOST_COLUMNS]
    names = [_name(damage.classes[i].name) for i in picked]
    rows = []
    for name, i in zip(names, picked, strict=True):
        pairs = [(clean[i][j], poisoned[i][j]) for j in picked]
        rows.append([name, *(_change(*pair) for pair in pairs)])
    caption = "Change of the confusion matrix in percentage points of the true class's rows: true classes down, "
    caption += "predicted ones across"
    more = _more(len(picked), len(damage.classes), "classes", "most damaged")
    return Table(caption, ["True class", *names], rows, more)


def _change(before: float | None, after: float | None) -> str:
    return text.NONE if before is None or after is None else text.number(100 * (after - before), "+.1f")


def transfer(found: Transfer) -> Table:
    """Return the transfer matrix with its controls."""
    shown = slice(0, MOST_COLUMNS)
    rows = []
    for i, name in enumerate(found.surrogates[shown]):
        halves = found.half_intervals[i] if found.half_intervals else [None] * len(found.victims)
        pairs = zip(found.errors[i][shown], halves[shown], strict=True)
        rows.append([f"crafted against {_name(name)}", *(_plus_minus(*pair) for pair in pairs)])
    for name, values in (("label flips", found.label_flips), ("no attack", found.clean)):
        if values is not None:
            rows.append([name, *map(text.percent, values[shown])])
    total = max(len(found.surrogates), len(found.victims))
    caption = f"Error of victims (columns) with {text.fraction(found.fraction)} poisoned, ± half the 95 % interval"
    more = _more(min(total, MOST_COLUMNS), total, "learners")
    return Table(caption, ["Points", *map(_name, found.victims[shown])], rows, more)


def _plus_minus(mean: float | None, half: float | None) -> str:
    return text.percent(mean) if half is None else f"{text.percent(mean)} ± {100 * half:.1f}"


def defences(found: Defences) -> Table:
    """Return the defence table."""
    rows = []
    for one in found.rows[:MOST_ROWS]:
        adaptive = "not tried" if one.adaptive_error is None else text.percent(one.adaptive_error)
        shares = map(text.percent, (one.clean_error, one.oblivious_error))
        removed = map(text.percent, (one.poison_removed, one.clean_removed))
        rows.append([_name(one.name), *shares, adaptive, *removed, text.seconds(one.seconds)])
    caption = f"Error behind each defence with {text.fraction(found.fraction)} poisoned, and what the defence costs"
    heads = ["Defence", "No attack", "Attacker does not know it", "Attacker knows it", "Poisoned rows removed"]
    return Table(caption, [*heads, "Clean rows removed", "Time"], rows, _more(len(rows), len(found.rows), "defences"))


def certificates(found: Certificates) -> Table:
    """Return the certified errors; of very many budgets, evenly spread ones."""
    size = len(found.budgets)
    step = -(-size // MOST_ROWS)
    rows = [[text.count(found.budgets[i]), text.percent(found.certified_error[i])] for i in range(0, size, step)]
    more = "" if step == 1 else f"One in {step} of {size:,} budgets; all are in audit.json."
    return Table("Certified error of the defended model", ["Poisoned rows", "No attack does worse than"], rows, more)


def measured(found: Certificates) -> Table:
    """Return the errors that attacks reached."""
    models = {"defended": "defended model", "audited": "audited pipeline, without the defence"}
    rows = [
        [_name(one.attack), models[one.model], text.count(one.points), text.estimate(one.error, one.interval)]
        for one in found.measured[:MOST_ROWS]
    ]
    more = _more(len(rows), len(found.measured), "attacks")
    return Table("Errors that attacks reached", ["Attack", "Model", "Poisoned rows", "Error"], rows, more)


def features(poison: Poison) -> Table:
    """Return the features that poisoned rows shift furthest."""
    found = most_shifted(poison)
    rows = [
        [_name(one.name), text.number(one.clean_mean), text.number(one.poison_mean), text.number(one.shift, "+.2f")]
        for one in found[:MOST_ROWS]
    ]
    heads = ["Feature", "Mean of clean rows", "Mean of poisoned rows", "Shift in standard deviations"]
    more = _more(len(rows), len(found), "features", "most shifted")
    return Table("Features of poisoned and clean rows", heads, rows, more)


def images(poison: Poison) -> Table | None:
    """Return, image by image, how much its pixels changed at most."""
    found = poison.images
    if found is None:
        return None
    rows = []
    for i, (before, after) in enumerate(zip(found.before, found.after, strict=True)):
        change = max((abs(b - a) for a, b in zip(before, after, strict=True)), default=0.0)
        label = _name(found.labels[i]) if found.labels else text.NONE
        rows.append([str(i + 1), label, text.number(change, ".2g")])
    caption = "Poisoned images: the label that they carry, and the largest change of a pixel"
    more = _more(min(len(rows), MOST_ROWS), len(rows), "images")
    return Table(caption, ["Image", "Label", "Largest change"], rows[:MOST_ROWS], more)


def raw_rows(poison: Poison) -> Table | None:
    """Return raw poisoned rows, which a record has only if the user asked for them."""
    if not poison.rows:
        return None
    every = list(dict.fromkeys(key for row in poison.rows for key in row))
    known = set(every)
    furthest = [one.name for one in most_shifted(poison) if one.name in known]
    shown = list(dict.fromkeys([*furthest, *every]))[:MOST_COLUMNS]
    rows = [[str(i + 1), *(_cell(row.get(key)) for key in shown)] for i, row in enumerate(poison.rows[:_RAW_ROWS])]
    notes = [_more(len(rows), len(poison.rows), "rows"), _more(len(shown), len(every), "columns", "most shifted")]
    return Table("Poisoned rows", ["Row", *map(_name, shown)], rows, " ".join(note for note in notes if note), False)


def _cell(value: str | float | bool | None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "missing", True: "true", False: "false"}[value]
    return _name(value) if isinstance(value, str) else text.number(value, ".6g")


def health(found: Health) -> Table:
    """Return what the optimiser did on each split."""
    rows = []
    for one in found.splits[:MOST_ROWS]:
        errors = [text.number(value, ".1e") for value in (one.gradient_error_first, one.gradient_error_last)]
        rise = [text.number(value) for value in (one.objective_start, one.objective_best, one.gain_left)]
        verdict = f"{one.verdict}: {one.sentence}"
        head = f"{one.split} ({things(one.points, 'row')})"
        rows.append([head, *errors, *rise, text.percent(one.share_at_bounds, ".0f"), verdict])
    heads = ["Split", "Gradient error, first", "Gradient error, last", "Objective, start", "Objective, best"]
    heads += ["Gain left", "Coordinates at bounds", "Verdict"]
    return Table("The attack on each split", heads, rows, _more(len(rows), len(found.splits), "splits"), False)


def vocabulary(audit: AuditRecord) -> Table:
    """Return the terms that the audit is evidence towards."""
    rows = [[f"{one.framework} {one.version}", one.id, one.name, one.why] for one in audit.mappings[:MOST_ROWS]]
    heads = ["Framework", "Identifier", "Name", "Evidence towards it"]
    more = _more(len(rows), len(audit.mappings), "terms")
    return Table("Terms, with the version of each vocabulary", heads, rows, more, numbers=False, own=True)


def environment(audit: AuditRecord) -> Table:
    """Return versions."""
    own = [[audit.tool.name, f"{audit.tool.version}, code {audit.tool.code}"], ["Python", audit.environment.python]]
    packages = sorted(audit.environment.packages.items())
    rows = [*own, ["Platform", audit.environment.platform], *([name, version] for name, version in packages)]
    more = _more(min(len(rows), MOST_ROWS), len(rows), "entries")
    return Table("Versions", ["Software", "Version"], rows[:MOST_ROWS], more, numbers=False)
