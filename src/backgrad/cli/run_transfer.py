"""Measuring a transfer matrix: progress, the table, the files."""

import csv
import re
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluation.metrics import half_width
from ..evaluation.transfer import TransferMatrix, transfer_matrix
from ..evaluation.words import make_victims
from ..evaluation.words.victims import make_surrogates
from ..learners.base import Member
from ..spelling import things
from .output import OutputFolder, figure_writer, print_health
from .record import as_json, describe_schedule, describe_session, versions
from .session import Session, open_session, print_scale, watch

# scikit-learn's names are broken where they end: with numbers beside them they are too long for a terminal.
_LONG_NAME = re.compile(r"(Classifier|Regressor)$")
_OTHERS = ("RandomForest", "HistGradientBoosting", "KNeighbors")


def run_transfer(given: dict[str, Any], *, points: int, surrogates: str | None, victims: str | None, out: Path) -> None:
    """Check the input, measure the matrix, print it, and write the files."""
    session = open_session(given, points=points)
    dataset = session.data.dataset
    crafted = make_surrogates(surrogates, dataset, victim="")
    judged = make_victims(_default_victims(crafted, dataset.is_regression) if victims is None else victims, dataset)
    console = Console(stderr=True)
    with OutputFolder(out) as folder:
        with watch(console, "transfer") as progress:
            found = transfer_matrix(
                session.plan,
                session.data.table,
                session.splits,
                surrogates=crafted,
                victims=judged,
                seed=session.seed,
                progress=progress,
            )
        folder.prepare_json("transfer.json", _record(session, found, crafted))
        folder.prepare("transfer.csv", lambda path: _write_csv(path, found))
        draw = figure_writer(lambda: _draw(found, share=session.data.table.n_classes > 0))
        folder.prepare("transfer.png", draw)
        folder.prepare("transfer.pdf", draw)
        folder.commit()
    _print(Console(), session, found, out)


def _default_victims(surrogates: dict[str, Any], regression: bool) -> str:
    """Return the surrogates, and estimators that have no gradient to follow."""
    ending, machine = ("Regressor", "SVR") if regression else ("Classifier", "SVC")
    return ",".join([*surrogates, *(f"{name}{ending}" for name in _OTHERS), machine])


def _draw(found: TransferMatrix, *, share: bool) -> Any:
    from ..evaluation.displays import TransferMatrixDisplay

    return TransferMatrixDisplay.from_result(found, percent=None if share else False).plot().figure_


def _record(session: Session, found: TransferMatrix, crafted: dict[str, Member]) -> dict[str, Any]:
    """Return the content of transfer.json, with the schedules of those that were attacked."""
    described = describe_session(session)
    for name in ("learner", "l2", "schedule", "attack_schedule"):
        del described[name]
    record = {
        **described,
        "surrogates": list(found.surrogates),
        "schedules": {name: describe_schedule(crafted[name].schedule) for name in found.surrogates},
        "victims": list(found.victims),
        "mean": found.mean().tolist(),
        "errors": found.errors.tolist(),
        "clean": found.clean.tolist(),
        "label_flips": found.label_flips.tolist(),
        "health": found.health,
        "versions": versions(),
    }
    return as_json(record)


def _write_csv(path: Path, found: TransferMatrix) -> None:
    """Write one line a pair of surrogate and victim, the controls as surrogates of their own."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["surrogate", "victim", "split", "error"])
        rows = [*zip(found.surrogates, found.errors, strict=True), ("label flips", found.label_flips)]
        for surrogate, errors in [*rows, ("clean", found.clean)]:
            for victim, values in zip(found.victims, errors, strict=True):
                for split, value in enumerate(values):
                    writer.writerow([surrogate, victim, split, repr(float(value))])


def _print(console: Console, session: Session, found: TransferMatrix, out: Path) -> None:
    classes = session.data.table.n_classes > 0
    kind = "test errors" if classes else "mean squared errors"
    budget, splits = session.plan.threat.budget, len(session.splits)
    mean = f"mean of {things(splits, 'split')}"
    title = f"{escape(session.data.dataset.name)}: {kind} with {things(budget, 'point')}, {mean}"
    # Victims go down the page: their names are long, and there may be many.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("victim", overflow="fold")
    for heading in ("clean", "label\nflips", *(f"from\n{name}" for name in found.surrogates)):
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, heading.split("\n"))))
    for j, victim in enumerate(found.victims):
        means = [found.clean[j].mean(), found.label_flips[j].mean(), *found.mean()[:, j]]
        table.add_row(
            _LONG_NAME.sub(r"\n \1", victim) if len(victim) > 20 else victim,
            *(f"{mean:.1%}" if classes else f"{mean:.4f}" for mean in means),
        )
    console.print(table)
    halves = [half_width(row) or 0.0 for row in found.errors.reshape(-1, splits)]
    if splits >= 3:
        widest = f"{100 * max(halves):.1f} points" if classes else f"{max(halves):.4f}"
        console.print(f"95 % intervals of poisoned errors are ± {widest} at most; transfer.csv has every split.")
    print_scale(console, session)
    for name, verdicts in found.health.items():
        print_health(console, f"against {name}", verdicts)
    console.print(f"Written: {out / 'transfer.json'}, .csv, .png and .pdf", soft_wrap=True, markup=False)
