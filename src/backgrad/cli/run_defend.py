"""Comparing defences: progress, the table, the files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..checks import check_count, check_share
from ..errors import InputError
from ..evaluation.defence_table import MEASURES, UNDEFENDED, DefenceTable, defence_table
from ..evaluation.metrics import half_width
from ..evaluation.security_curve import budget_of
from ..evaluation.words.defences import make_defences
from ..evaluation.words.victims import split_names
from ..learners.base import Member
from ..spelling import things
from .output import OutputFolder, figure_writer, print_health
from .record import as_json, describe_session, versions
from .session import Session, check_points, open_session, parse_fractions, watch

_COLUMNS = {
    "clean_error": "no\nattack",
    "oblivious_error": "attack,\ndefence\nunknown",
    "adaptive_error": "attack,\ndefence\nknown",
    "poison_removed": "points\nremoved",
    "clean_removed": "clean\nremoved",
}


def run_defend(
    given: dict[str, Any],
    *,
    defences: str | None,
    fractions: str,
    remove: float,
    trusted: int,
    adaptive: bool,
    out: Path,
) -> None:
    """Check the input, measure the table, print it, and write the files."""
    budgets = [budget_of(share, given["train"]) for share in parse_fractions(fractions)]
    if min(budgets) < 1:
        raise InputError(f"--fractions must ask for a point at least; got {fractions!r}.")
    check_share(remove=remove)
    check_count(trusted=trusted)
    refusal = "backgrad defend compares defences of classifiers"
    session = open_session(given, only_classes=refusal, points=max(budgets))
    check_points(max(budgets), session.options.start, session.train, session.validation)
    names = None if defences is None else split_names(defences, "--defences")
    made = make_defences(
        names,
        Member(session.plan.learner, session.plan.schedule),
        fraction=remove,
        train=session.train,
        seed=session.seed,
    )
    splits = [rows.with_trusted(trusted, labels=session.data.table.y) for rows in session.splits]
    with OutputFolder(out) as folder:
        with watch(Console(stderr=True), "defences") as progress:
            found = defence_table(
                session.plan,
                session.data.table,
                splits,
                defences=made,
                budgets=budgets,
                seed=session.seed,
                adaptive=adaptive,
                progress=progress,
            )
        folder.prepare_json("defend.json", _record(session, found, remove=remove, trusted=trusted))
        folder.prepare("defend.csv", lambda path: _write_csv(path, found))
        draw = figure_writer(lambda: _draw(found))
        folder.prepare("defend.png", draw)
        folder.prepare("defend.pdf", draw)
        folder.commit()
    _print(Console(), session, found, out)


def _draw(found: DefenceTable) -> Any:
    from ..evaluation.displays import DefenceTableDisplay

    return DefenceTableDisplay.from_result(found).plot().figure_


def _record(session: Session, found: DefenceTable, *, remove: float, trusted: int) -> dict[str, Any]:
    """Return the content of defend.json; what was not measured is null."""
    found_by = {name: {measure: found.of(measure, name).tolist() for measure in MEASURES} for name in found.names}
    record = {
        **describe_session(session),
        "defences": found_by,
        "budgets": found.budgets.tolist(),
        "fractions": found.fractions.tolist(),
        "label_flips": found.label_flips.tolist(),
        "removed_share": remove,
        "trusted_rows": trusted,
        "health": {str(budget): verdicts for budget, verdicts in found.health.items()},
        "warnings": list(found.warnings),
        "versions": versions(),
    }
    return as_json(record)


def _write_csv(path: Path, found: DefenceTable) -> None:
    """Write one line a defence, budget and split."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["defence", "points", "fraction", "split", *MEASURES])
        for i, name in enumerate(found.names):
            for b, (budget, fraction) in enumerate(zip(found.budgets, found.fractions, strict=True)):
                for k in range(found.label_flips.shape[1]):
                    values = [found.measures[measure][i, b, k] for measure in MEASURES]
                    shown = [repr(float(value)) if np.isfinite(value) else "" for value in values]
                    writer.writerow([name, budget, f"{fraction:.6g}", k, *shown])


def _print(console: Console, session: Session, found: DefenceTable, out: Path) -> None:
    splits = found.label_flips.shape[1]
    for b, (budget, fraction) in enumerate(zip(found.budgets, found.fractions, strict=True)):
        title = (
            f"{escape(session.data.dataset.name)}: test error of {session.options.learner} with "
            f"{things(budget, 'point')} ({fraction:.0%}), mean of {things(splits, 'split')}"
        )
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("defence", no_wrap=True)
        for heading in _COLUMNS.values():
            table.add_column(heading, justify="right")
        for name in found.names:
            cells = [_show(measure, name, found.of(measure, name)[b]) for measure in _COLUMNS]
            table.add_row(name, *cells)
        console.print(table)
        console.print(f"Undefended, label flips alone: {found.label_flips[b].mean():.1%}.")
        print_health(console, f"at {things(int(budget), 'point')}", found.health[int(budget)])
    rows = [row[np.isfinite(row)] for name in found.names for row in found.of("oblivious_error", name)]
    widest = [half_width(row) or 0.0 for row in rows]
    if splits >= 3:
        console.print(
            f"95 % intervals of the third column are ± {100 * max(widest):.1f} points at most; defend.csv has all."
        )
    for warning in found.warnings:
        console.print(f"Warning: {warning}", highlight=False, markup=False)
    console.print(f"Written: {out / 'defend.json'}, .csv, .png and .pdf", soft_wrap=True, markup=False)


def _show(measure: str, name: str, values: np.ndarray) -> str:
    """Return a cell: a mean in percent, a dash where a measure does not apply, or that nobody tried."""
    known = values[np.isfinite(values)]
    if known.size:
        return f"{known.mean():.1%}"
    return "not tried" if measure == "adaptive_error" and name != UNDEFENDED else "–"
