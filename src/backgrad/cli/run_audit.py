"""Auditing: input, runs, the table and the verdict, the files; and what is asked of an audit that is done."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..auditing.audit import command_line, conclude, find_profile
from ..auditing.estimators import make_estimator
from ..auditing.plan import Audit, make_audit
from ..auditing.problem import Column, Problem
from ..auditing.reading import read_bundled
from ..auditing.tables import file_settings, read_file
from ..auditing.tasks import AUDIT_TASKS, HELD, make_plan, open_estimator, open_split, try_out
from ..auditing.verdict import check_gate, regate
from ..datasets.registry import is_known
from ..errors import InputError
from ..precision import float64
from ..report.files import check_writable
from ..report.text import visible
from ..spelling import spell_seconds, spell_share, things
from ..studies.store import Store
from .output import OutputFolder, readers_may_leave
from .runs import do_runs, report_failures

# Files of an audit that name its inputs; all others follow from them.
_RECORD = "audit.json"


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for, in the words of the command line; see `backgrad audit --help`."""

    table: str
    target: str | None
    immutable: str | None
    ranges: list[str] | None
    columns: Path | None
    download: bool
    estimator: str
    profile: str
    limit: float | None
    at: float | None
    splits: int | None
    seed: int
    out: Path | None

    def command(self, **more: Any) -> str:
        """Return the command that asks for this, and for more: values by the names of options, `_` for `-`."""
        options: dict[str, Any] = {
            "--target": self.target,
            "--estimator": self.estimator,
            "--profile": self.profile,
            "--limit": self.limit,
            "--at": self.at,
            "--immutable": self.immutable,
            "--columns": self.columns,
            "--splits": self.splits,
            "--seed": self.seed,
            "--out": self.out,
            "--download": self.download,
            **{f"--{name.replace('_', '-')}": value for name, value in more.items()},
        }
        ranges = [part for one in self.ranges or () for part in ("--range", one)]
        return command_line(["backgrad", "audit", self.table, *ranges], options)


def open_audit(request: Request) -> Audit:
    """Read the input and plan the audit, or raise `InputError` before any work is done."""
    profile = find_profile(request.profile)
    make_estimator(request.estimator)  # an unknown one is found before the rows are read
    problem, data = open_problem(request)
    made = make_audit(
        problem,
        data,
        request.estimator,
        profile=profile,
        splits=request.splits,
        seed=request.seed,
        limit=request.limit,
        at=request.at,
    )
    try_out(made.settings, request.seed)
    return made


def open_problem(request: Request) -> tuple[Problem, dict[str, Any]]:
    """Return the rows, and how runs find them again: those of this process need not read them twice."""
    problem, data = _read_problem(request)
    HELD[problem.sha256] = problem
    return problem, {**data, "sha256": problem.sha256}


def _read_problem(request: Request) -> tuple[Problem, dict[str, Any]]:
    if is_known(request.table):
        given = {"--target": request.target, "--immutable": request.immutable, "--columns": request.columns}
        given["--range"] = request.ranges or None
        unused = [name for name, value in given.items() if value is not None]
        if unused:
            raise InputError(
                f"{unused[0]} belongs to a table of your own; the data set {request.table!r} brings its own."
            )
        problem = read_bundled(request.table, download=request.download)
        return problem, {"kind": "bundled", "name": request.table}
    data = file_settings(
        request.table,
        target=request.target,
        immutable=request.immutable,
        ranges=request.ranges or (),
        columns=request.columns,
        seed=request.seed,
    )
    return read_file(data), data


def run_audit(
    request: Request,
    *,
    junit: Path | None,
    workers: int | None,
    scheduler: str | None,
    show_rows: bool,
    as_json: bool,
) -> int:
    """Audit, print the verdict, and write the files; return the exit code."""
    assert request.out is not None
    if junit is not None:
        check_writable(junit)
    check_gate(request.limit, request.at)
    begin = time.time()
    made = open_audit(request)
    study, command = made.study(), request.command()
    again = request.command(junit=junit, workers=workers, scheduler=scheduler, show_rows=show_rows, json=as_json)
    store = Store(request.out / "runs")
    with OutputFolder(request.out) as output, _removed_if_empty(store.path):
        summary = do_runs(study, store, workers=workers, scheduler=scheduler, tasks=AUDIT_TASKS, command=again)
        if summary.failures:
            return report_failures(summary.failures, again)
        result = conclude(made, study, store, command=command, begin=begin, show_rows=show_rows)
        output.prepare_in(result.save)
        output.commit()
    if junit is not None:
        _write_junit(result.record, junit)
    with readers_may_leave():
        if as_json:
            print(json.dumps(result.record, indent=2, allow_nan=False))
        else:
            print_record(Console(), result.record, request.out)
    return result.exit_code


@contextlib.contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Leave no folder behind that nothing came into."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it holds files, or was never there
            folder.rmdir()


def run_gate(folder: Path, *, limit: float, at: float, junit: Path | None) -> int:
    """Ask the stored record whether a limit holds; return the exit code."""
    check_gate(limit, at)
    record = regate(read_record(folder), limit, at)
    if junit is not None:
        _write_junit(record, junit)
    with readers_may_leave():
        Console().print(_gate_sentence(record["gate"]), soft_wrap=True)
    return int(record["gate"]["exit_code"])


def run_report(folder: Path) -> None:
    """Write the page and the figures again."""
    from ..report import write_audit

    record = read_record(folder)
    with OutputFolder(folder) as output:
        output.prepare_in(lambda path: write_audit(record, None, path))
        output.commit()
    print(f"Written: {folder / 'report.html'} and the figures")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of an audit that is done.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from ..report import validate

    file = folder / _RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} must be the folder of an audit, and holds no {_RECORD}: run backgrad audit."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} must be the record of an audit, and cannot be read ({error}): audit again.") from None
    validate(record)
    return record


def _write_junit(record: dict[str, Any], path: Path) -> None:
    from ..report import write_junit

    write_junit(record, path)


# --- the terminal ---------------------------------------------------------------------------------


def print_record(console: Console, record: dict[str, Any], out: Path) -> None:
    """Print the verdict in plain words, the curve, the defences, and at the end the gate's answer."""
    console.print(f"Verdict: {' '.join(record['verdict'])}", highlight=False, markup=False)
    health = record["health"]
    if health["verdict"] not in ("worked", "nothing to do"):
        console.print(f"Attack health: {health['sentence']}", highlight=False, markup=False)
    console.print()
    curve = record["curves"][0]
    splits = record["run"]["splits"]
    data, audited = (_plain(record[part]["name"] or "") for part in ("input", "estimator"))
    title = f"{data}: test error of {audited}, mean of {things(splits, 'split')}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("poisoned rows", "rows", "label flips", "poisoned", "95 % interval"):
        table.add_column(heading, justify="right")
    for i, (fraction, points) in enumerate(zip(curve["fractions"], curve["points"], strict=True)):
        ends = curve["poisoned"]["interval"][i]
        spread = "–" if ends is None else f"{spell_share(ends[0])} to {spell_share(ends[1])}"
        means = [spell_share(curve[name]["mean"][i]) for name in ("label_flips", "poisoned")]
        table.add_row(spell_share(fraction), str(points), *means, spread)
    console.print(table)
    if record["defences"] is not None:
        _print_defences(console, record["defences"])
    if record["gate"]["verdict"] != "not asked":
        console.print(_gate_sentence(record["gate"]), highlight=False)
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True, markup=False)


def _print_defences(console: Console, defences: dict[str, Any]) -> None:
    title = f"Defences, {defences['points']} poisoned rows ({spell_share(defences['fraction'])})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = {"no attack": "clean_error", "attack": "oblivious_error", "defence known": "adaptive_error"}
    names["poison removed"] = "poison_removed"
    if all(row["adaptive_error"] is None for row in defences["rows"]):  # nobody tried
        del names["defence known"]
    for heading in ("defence", *names):
        table.add_column(heading, justify="left" if heading == "defence" else "right")
    for row in defences["rows"]:
        cells = [row[name] for name in names.values()]
        table.add_row(row["name"], *("–" if cell is None else spell_share(cell) for cell in cells))
    console.print(table)


def _gate_sentence(gate: dict[str, Any]) -> str:
    error = gate["error"]
    ends = error["interval"]
    spread = "" if ends is None else f", 95 % interval {spell_share(ends[0])} to {spell_share(ends[1])}"
    return (
        f"Gate: {gate['verdict']}. With up to {spell_share(gate['at'])} poisoned rows the test error is "
        f"{spell_share(error['mean'])}{spread}; the limit is {spell_share(gate['limit'])}."
    )


def run_check(request: Request) -> None:
    """Print how the input was understood, and what an audit would cost."""
    made = open_audit(request)
    problem, console = made.problem, Console()
    title = f"{_plain(problem.name)}: {things(len(problem.y), 'row')}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("column", "kind", "values", "missing", "note"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "missing" else "left")
    for column in problem.columns:
        table.add_row(_plain(column.name), column.kind, _values(column), str(column.missing or ""), _note(column))
    console.print(table)
    counts = [int((problem.y == label).sum()) for label in range(problem.n_classes)]
    classes = ", ".join(f"{name} ({count})" for name, count in zip(problem.class_names, counts, strict=True))
    console.print(f"Classes of {_plain(problem.target)}: {_plain(classes)}", soft_wrap=True, highlight=False)
    for sentence in (*problem.notes, *([] if problem.sampling is None else [problem.sampling])):
        console.print(f"Note: {_plain(sentence)}", highlight=False)
    minutes = estimate_minutes(made)
    console.print(
        f"An audit of profile {made.profile.name} trains on {made.sizes.train} rows, {things(made.splits, 'split')}, "
        f"{things(len(made.study().runs), 'run')}: about {spell_seconds(60 * minutes)} in one process.",
        highlight=False,
    )


def _plain(text: str) -> str:
    """Return a text of the user's as the terminal shows it: no markup, no characters that command it."""
    return escape(visible(text))


def _values(column: Column) -> str:
    if column.low is not None and column.high is not None:
        return f"{column.low:.4g} to {column.high:.4g}"
    return "" if column.categories is None else f"{column.categories} categories"


def _note(column: Column) -> str:
    """Say what the columns of the table beside do not: of numbers in use, not their range and gaps again."""
    note = column.note or ("" if column.used else "set aside")
    if column.used and column.kind in ("numeric", "integer"):
        said = f"{column.missing:,} missing, to be imputed"
        note = "; ".join(part for part in note.split("; ")[1:] if part != said)
    return _plain(note)


def estimate_minutes(made: Audit) -> float:
    """Return the time of all runs in one process, from a sample of the work of one attack at the greatest budget."""
    from ..evaluation.cost import estimate_cost
    from ..evaluation.plan import Table as Rows

    settings = {**made.settings, "points": max(made.budgets.values())}
    with float64():
        _, rows, _ = open_split(settings, 0, made.seed)
        audited = open_estimator(settings, "own", made.problem)
        plan = make_plan(settings, audited, made.problem)
        table = Rows(made.problem.imputed(rows.train), made.problem.y, made.problem.n_classes)
        cost = estimate_cost(plan, table, [rows], victims={"audited": audited.victim}, seed=made.seed)
    # Attackers who know a defence follow gradients four times, or clean and fit in every trial of one search.
    adaptive = (4 if plan.fitted is None else 2) if made.profile.adaptive else 0
    attacks = len(made.study().runs) + made.splits * len(made.profile.defences) * adaptive
    compiled = len(set(made.budgets.values())) * cost.compilation
    return (cost.startup + compiled + attacks * (cost.attack + cost.checks + cost.victims)) / 60
