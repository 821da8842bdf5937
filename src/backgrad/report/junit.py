"""The gate as JUnit XML: one test case, which fails where the limit is broken and errs where it is inconclusive.

A case that was not asked for is skipped. So a build is red exactly where the exit code is not 0. Every text passes
`visible` first, which leaves no character that XML 1.0 forbids.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import files, words
from .schema import AuditRecord, validate
from .text import all_visible, estimate, fraction, percent

_TAGS = {"broken": "failure", "inconclusive": "error", "not asked": "skipped"}


def junit_xml(record: Mapping[str, Any] | AuditRecord) -> str:
    """Return the gate's result.

    Args:
        record: the content of `audit.json`.

    Raises:
        InputError: not a record of an audit.
    """
    audit = AuditRecord.model_validate(all_visible(validate(record).model_dump()))
    gate, run = audit.gate, audit.run
    tags = [_TAGS.get(gate.verdict)]
    totals = {f"{tag}s": str(tags.count(tag)) for tag in ("failure", "error")}
    totals |= {"tests": "1", "skipped": str(tags.count("skipped")), "time": f"{run.seconds or 0:.3f}"}
    suites = ElementTree.Element("testsuites", {"name": "backgrad audit", **totals})
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        {"name": f"backgrad audit of {audit.input.source}", "timestamp": run.started[:19], **totals},
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _facts(audit).items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    case = {"classname": "backgrad.audit", "name": _title(audit), "time": totals["time"]}
    found = ElementTree.SubElement(suite, "testcase", case)
    if tags[0] is not None:
        message = {"message": f"{words.GATE[gate.verdict]}: {' '.join(audit.verdict)}"}
        kind = {} if tags[0] == "skipped" else {"type": gate.verdict}
        ElementTree.SubElement(found, tags[0], {**message, **kind}).text = "\n".join(gate.rules)
    ElementTree.SubElement(found, "system-out").text = "\n".join(_lines(audit))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def write_junit(record: Mapping[str, Any] | AuditRecord, path: str | os.PathLike[str]) -> Path:
    """Write the gate's result.

    Args:
        record: the content of `audit.json`.
        path: of the file.

    Raises:
        InputError: not a record of an audit, or a file that cannot be written.
    """
    return files.write(path, junit_xml(record).encode())


def _title(audit: AuditRecord) -> str:
    gate = audit.gate
    if gate.limit is None or gate.at is None:
        return "no limit was set"
    return f"error at most {percent(gate.limit, '.3g')} with {fraction(gate.at)} of the training rows poisoned"


def _facts(audit: AuditRecord) -> dict[str, str]:
    error = audit.gate.error
    return {
        "verdict": audit.gate.verdict,
        "exit code": str(audit.gate.exit_code),
        "error": "not measured" if error is None else estimate(error.mean, error.interval),
        "attack health": audit.health.verdict,
        "estimator": audit.estimator.description,
        "data": audit.input.sha256 or audit.input.source,
        "seed": str(audit.run.seed),
        "version": audit.tool.version,
    }


def _lines(audit: AuditRecord) -> list[str]:
    warning = words.WARNINGS.get(audit.health.verdict)
    lines = [] if warning is None else [f"Warning: {warning} {audit.health.sentence}"]
    return [*lines, *audit.verdict, *audit.gate.rules, f"Attack health: {audit.health.verdict}."]
