"""The record of an audit, `audit.json`, as models: they refuse what is no audit, and `audit.schema.json` is theirs.

Errors are shares in [0, 1]. A number that does not exist is null. `python -m backgrad.report` prints the schema
(JSON Schema, draft 2020-12). The models also hold rules that a schema cannot say: lists that belong together
have the same length, exit codes fit verdicts, and an attack that failed passes no gate.
"""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from ..errors import InputError
from .parts import Count, Environment, Estimator, Input, Part, RunFacts, Share, Target, ThreatModel, Tool, refuse
from .results import (
    Baseline,
    BreakingPoint,
    Certificates,
    ClassDamage,
    Curve,
    Defences,
    Estimate,
    Poison,
    Transfer,
)

#: The version of the record that this room reads, and that audits write.
SCHEMA_VERSION = "1.0"
#: The gate's exit codes.
EXIT_CODES = {"passed": 0, "not asked": 0, "broken": 1, "inconclusive": 3}
_SHOWN_PROBLEMS = 8

Verdict = Literal["worked", "suspect", "failed", "nothing to do"]


class SplitHealth(Part):
    """Whether the attack worked on one split."""

    split: Count
    points: Count
    verdict: Verdict
    sentence: str
    gradient_error_first: float | None
    gradient_error_last: float | None
    objective_start: float | None
    objective_best: float | None
    gain_left: float | None
    share_at_bounds: Share | None


class Health(Part):
    """Whether the attack worked."""

    verdict: Verdict
    sentence: str
    splits: list[SplitHealth]


class Gate(Part):
    """The limit that the user set."""

    limit: Share | None
    at: Share | None
    """The share of poisoned rows at which the limit is judged."""
    error: Estimate | None
    """The largest mean at shares up to it."""
    verdict: Literal["passed", "broken", "inconclusive", "not asked"]
    rules: list[str]
    exit_code: int

    @model_validator(mode="after")
    def _check(self) -> "Gate":
        if self.exit_code != EXIT_CODES[self.verdict]:
            raise refuse(
                f"exit_code must be {EXIT_CODES[self.verdict]} where verdict is {self.verdict!r}, got {self.exit_code}"
            )
        if self.verdict != "not asked" and (self.limit is None or self.at is None):
            raise refuse("limit and at must be numbers where the gate has a verdict")
        return self


class Mapping_(Part):
    """A term of a vocabulary that the audit is evidence towards."""

    model_config = ConfigDict(title="Mapping")
    framework: str
    version: str
    id: str
    name: str
    why: str


class AuditRecord(Part):
    """The record of an audit by backgrad. All errors are shares in [0, 1]; a number that does not exist is null."""

    schema_version: Literal["1.0"]
    tool: Tool
    run: RunFacts
    environment: Environment
    input: Input
    target: Target
    estimator: Estimator
    threat_model: ThreatModel
    baseline: Baseline
    curves: Annotated[list[Curve], Field(min_length=1)]
    """The first is the audited pipeline's, under perfect knowledge."""
    class_damage: ClassDamage | None
    breaking_point: BreakingPoint | None
    """Null where there is no limit to break."""
    transfer: Transfer | None
    defences: Defences | None
    certificates: Certificates | None
    poison: Poison | None
    health: Health
    gate: Gate
    verdict: Annotated[list[str], Field(min_length=2, max_length=2)]
    """Two sentences."""
    mappings: list[Mapping_]
    artifacts: list[str]

    @model_validator(mode="after")
    def _check_shares(self) -> "AuditRecord":
        n = self.input.train_rows
        found: list[tuple[str, float, int]] = []
        for i, curve in enumerate(self.curves):
            found += [(f"curves[{i}]", *pair) for pair in zip(curve.fractions, curve.points, strict=True)]
        for name in ("class_damage", "breaking_point", "transfer", "defences"):
            part = getattr(self, name)
            if part is not None and part.fraction is not None:
                found.append((name, part.fraction, part.points))
        for where, fraction, points in found:
            if abs(fraction * (n + points) - points) >= 1:  # a breaking point lies between two budgets
                raise refuse(
                    f"{where}: {points} points among {n} training rows must be a fraction of "
                    f"{points / (n + points):.4g}, got {fraction:.4g}"
                )
        return self

    @model_validator(mode="after")
    def _check(self) -> "AuditRecord":
        curve, at = self.curves[0], self.gate.at
        if self.gate.verdict == "passed" and at is not None:
            judged = min(range(len(curve.points)), key=lambda i: abs(curve.fractions[i] - at))
            points = curve.points[judged]
            failed = sum(one.verdict == "failed" for one in self.health.splits if one.points == points)
            if failed or (self.health.verdict == "failed" and not self.health.splits):
                raise refuse(
                    f"gate.verdict must be 'inconclusive' where attacks of {points} points failed: an attack that did "
                    "not work passes no limit"
                )
        return self


def validate(record: Any) -> AuditRecord:
    """Check an audit's record.

    Args:
        record: the content of `audit.json`, or whatever is in its place.

    Returns:
        The same as a model.

    Raises:
        InputError: no JSON, or not a record of an audit; all problems in one sentence.
    """
    if isinstance(record, AuditRecord):
        return record
    try:
        plain = json.loads(json.dumps(record, allow_nan=False))  # tuples become lists, as in the file
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"an audit's record must be plain JSON, but it cannot be written as such ({error}): use text, finite "
            "numbers, lists, dictionaries and null."
        ) from None
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version is not None and version != SCHEMA_VERSION:
        raise InputError(
            f"an audit's record must have schema_version {SCHEMA_VERSION!r}, got {str(version)[:40]!r}: render it with "
            "the version of backgrad that wrote it."
        )
    try:
        return AuditRecord.model_validate(plain)
    except ValidationError as error:
        raise InputError(_sentence(error.errors(include_url=False))) from None


def _sentence(errors: Iterable[Any]) -> str:
    problems = [_problem(error) for error in errors]
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"an audit's record must follow audit.schema.json, but it has {count}: {shown}{more}."


def _problem(error: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    where = f"{place}: " if place else ""
    if error["type"] == "backgrad":
        return where + error["msg"]
    if error["type"] == "missing":
        return f"{where}is missing"
    if error["type"] == "extra_forbidden":
        return f"{where}is no key of this part"
    got = repr(error["input"])
    return f"{where}{error['msg'].replace('Input should', 'should')}, got {got if len(got) <= 60 else got[:57] + '…'}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an audit's record."""
    schema = AuditRecord.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:backgrad:audit:{SCHEMA_VERSION}",
        **schema,
        "title": "audit.json",
    }
