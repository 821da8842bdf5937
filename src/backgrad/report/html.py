"""The report as one page: no scripts, no outside requests, every text escaped.

The page forbids itself everything but its own style sheet (by its hash) and pictures inside it, in a
Content-Security-Policy. Figures are inline SVG. The same record gives the same bytes.
"""

import base64
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from . import files, text, words
from .figures import draw_figures, look
from .schema import AuditRecord, validate
from .sections import Section, make_sections
from .svg import inline_svg


def render(record: Mapping[str, Any] | AuditRecord) -> str:
    """Return the page of an audit.

    Args:
        record: the content of `audit.json`.

    Raises:
        InputError: not a record of an audit.
    """
    audit = AuditRecord.model_validate(text.all_visible(validate(record).model_dump()))
    sections = make_sections(audit)
    style = _style()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            audit=audit,
            words=words,
            facts=_key_facts(audit),
            sections=sections,
            svgs=_svgs(audit, sections),
            style=style,
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            warning=words.WARNINGS.get(audit.health.verdict),
            title=f"Poisoning audit of {text.shorten(audit.input.name or audit.input.source, 80)}",
        )
    )


def write_report(record: Mapping[str, Any] | AuditRecord, path: str | os.PathLike[str]) -> Path:
    """Write the page of an audit.

    Args:
        record: the content of `audit.json`.
        path: of the file.

    Returns:
        The file.

    Raises:
        InputError: not a record of an audit, or a file that cannot be written.
    """
    return files.write(path, render(record).encode())


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("backgrad.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["glue"] = text.glue
    return environment


@cache
def _style() -> str:
    lines = resources.files("backgrad.report").joinpath("templates/report.css").read_text("utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _svgs(audit: AuditRecord, sections: list[Section]) -> dict[str, str]:
    """Return the figures of the page by name, each with its text alternative."""
    alts = {picture.name: picture.alt for section in sections for picture in section.pictures}
    with look():
        drawn = draw_figures(audit)
        return {name: inline_svg(figure, name=name, label=alts[name]) for name, figure in drawn.items() if name in alts}


def _key_facts(audit: AuditRecord) -> list[tuple[str, str, str]]:
    """Return the numbers at the top: what, how much, and what belongs to it."""
    baseline, first, point, gate = audit.baseline.error, audit.curves[0], audit.breaking_point, audit.gate
    facts = [("Error without an attack", text.percent(baseline.mean), text.between(baseline.interval))]
    if gate.error is not None and gate.at is not None:
        name, error, ends = f"Error with up to {text.fraction(gate.at)} poisoned", gate.error.mean, gate.error.interval
    else:
        name, series = f"Error with {text.fraction(first.fractions[-1])} poisoned", first.poisoned
        error, ends = series.mean[-1], series.interval[-1] if series.interval else None
    facts.append((name, text.percent(error), text.between(ends)))
    if point is not None:
        limit = f"Smallest share that breaks {text.percent(point.limit, '.3g')}"
        budget = f"within {text.fraction(point.most_fraction)}"
        found = "not reached" if point.fraction is None else text.fraction(point.fraction)
        facts.append((limit, found, budget if point.fraction is None else text.between(point.interval, text.fraction)))
    facts.append(("Attack health", audit.health.verdict, ""))
    return [(name, value, "" if note == text.NONE else note) for name, value, note in facts]
