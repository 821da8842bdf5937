"""Cleaning a table: the rows as text and as numbers, the defence between them, the summary, the two files."""

import contextlib
import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..checks import check_seed
from ..datasets import Dataset, RawTable, load, load_table, read_table
from ..datasets.dataset import scale
from ..datasets.registry import is_known
from ..datasets.table import table_from
from ..defences.catalogue import find, make_sanitiser
from ..errors import InputError
from ..evaluation.words import open_data
from ..evaluation.words.data import CLASSES_ALONE
from .output import OutputFolder
from .session import enable_float64


class TextTable(NamedTuple):
    """A table as it is written.

    Args:
        header: all that comes before the first row, with the lines' ends.
        rows: every row, with the line's end.
        lines: the number of every row's first line, from 1.
        delimiter: between cells.
        spaced: whether space may come between a delimiter and a quote.
        column: the number of the label's column, from 0.
    """

    header: str
    rows: list[str]
    lines: list[int]
    delimiter: str
    spaced: bool
    column: int


class Judged(NamedTuple):
    """What a defence made of the rows.

    Args:
        sanitiser: fitted.
        labels: of all rows, (n,).
        listed: the rows that were left out, or labelled anew, ascending.
        agreed: by row, the label that neighbours agree on, where the defence asks them.
        relabelled: whether the rows listed stay.
    """

    sanitiser: Any
    labels: np.ndarray
    listed: np.ndarray
    agreed: dict[int, str]
    relabelled: bool


def run_clean(
    table: str,
    *,
    target: str | None,
    download: bool,
    defence: str,
    fraction: float | None,
    trusted: Path | None,
    relabel: bool,
    seed: int,
    out: Path,
) -> None:
    """Check the input, judge the rows, write both files, and print what was done."""
    _check_options(defence, fraction=fraction, trusted=trusted, relabel=relabel, seed=seed)
    sanitiser: Any = make_sanitiser(defence, fraction=fraction, relabel=relabel, random_state=seed)
    sanitiser.check_settings()
    listed = out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.csv')}.removed.csv")
    _check_files(out, listed, {"the table": Path(table), "the trusted rows": trusted})
    data, text = _read(table, target=target, download=download)
    if trusted is not None:
        sanitiser.set_params(trusted=_read_trusted(trusted, data, target or _label_name(data)))
    with _beside(out) as folder:
        with _waiting(f"{defence}: judging {data.n_samples} rows"):
            judged = _judge(sanitiser, data, relabel=relabel)
        folder.prepare(out.name, lambda path: _write_rows(path, text, judged))
        folder.prepare(listed.name, lambda path: _write_list(path, text, judged))
        folder.commit()
    _print(Console(), data, defence, judged)
    Console().print(f"Written: {escape(str(out))} and {escape(str(listed))}", soft_wrap=True, highlight=False)


# --- before the work ------------------------------------------------------------------------------


def _check_options(defence: str, *, fraction: float | None, trusted: Path | None, relabel: bool, seed: int) -> None:
    """Raise where options do not belong to the defence."""
    entry = find(defence)
    if relabel and not entry.relabels:
        raise InputError(f"--relabel belongs to --defence label-sanitisation: {defence} leaves rows out.")
    if fraction is not None and not entry.takes_fraction:
        raise InputError(f"--fraction does not belong to {defence}, which finds out by itself how many rows to list.")
    if trusted is None and entry.needs_trusted:
        raise InputError(f"{defence} believes trusted rows: name a file of them with --trusted, or another defence.")
    if trusted is not None and not entry.takes_trusted:
        raise InputError(f"--trusted does not belong to {defence}: it takes roni, influence or anomaly.")
    check_seed(seed)


def _check_files(out: Path, listed: Path, given: dict[str, Path | None]) -> None:
    """Raise where a result cannot be a file, or would take the place of what is read."""
    for file in (out, listed):
        if file.is_dir():
            raise InputError(f"--out must name a file, such as {file / 'clean.csv'}: {file} is a folder.")
        for what, path in given.items():
            if path is not None and path.exists() and file.exists() and file.samefile(path):
                raise InputError(f"--out would overwrite {what}, {path}: name another file.")


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[OutputFolder]:
    """Open the folder of a file for writing."""
    try:
        folder = OutputFolder(out.parent)
    except InputError as error:
        raise InputError(str(error).replace("--out must be a folder", "--out must lie in a folder", 1)) from None
    with folder:
        yield folder


@contextlib.contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Show on a terminal that work goes on."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


# --- rows as text ---------------------------------------------------------------------------------


def _read(table: str, *, target: str | None, download: bool) -> tuple[Dataset, TextTable]:
    """Return the rows as numbers, and as they are written."""
    if target is not None and not is_known(table):
        path = Path(table)
        before = _state(path)
        raw = read_table(path, max_rows=None)
        data = table_from(raw, target=target, otherwise=CLASSES_ALONE)
        text = _file_text(path, raw, target)
        if _state(path) != before:
            raise InputError(f"{path} was changed while it was read: run the same command again.")
        return data, text
    data = open_data(table, target=target, download=download, only_classes="backgrad clean judges labels").dataset
    return data, _named_text(data)


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes with a file's content; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _file_text(path: Path, raw: RawTable, target: str) -> TextTable:
    """Return the rows of a file as they stand there."""
    if raw.cells is None or raw.line_numbers is None or raw.delimiter is None:
        raise InputError(f"rows are written as they stood, which takes a CSV file; {path} is {raw.format}: export it.")
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    try:
        lines = list(io.StringIO(content.decode("utf-8"), newline=""))
    except UnicodeDecodeError:
        raise InputError(
            f"rows are written as they stood, which takes UTF-8; {path} is not: save it as that."
        ) from None
    starts = (raw.line_numbers - 1).tolist()
    if starts[-1] >= len(lines):  # the file was cut short meanwhile
        raise InputError(f"{path} was changed while it was read: run the same command again.")
    rows = [_record(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]
    plain = (tuple(next(csv.reader(io.StringIO(row, newline=""), delimiter=raw.delimiter))) for row in rows)
    spaced = any(found != cells for found, cells in zip(plain, raw.cells, strict=True))
    header = "".join(lines[: starts[0]])
    return TextTable(header, rows, raw.line_numbers.tolist(), raw.delimiter, spaced, raw.names.index(target))


def _record(lines: list[str]) -> str:
    """Return the text of a row, without the blank lines that follow it."""
    while not lines[-1].strip():
        lines.pop()
    return "".join(lines)


def _named_text(data: Dataset) -> TextTable:
    """Return the rows of a data set of ours as a file would hold them, in the units of its source."""
    values, lines = load(data.name, scaled=False).x, io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")

    def line(cells: list[str]) -> str:
        lines.seek(0)
        lines.truncate()
        writer.writerow(cells)
        return lines.getvalue()

    header = line([*data.feature_names, _label_name(data)])
    cells = [[_number(value) for value in row] for row in values.tolist()]
    rows = [line([*row, data.class_names[label]]) for row, label in zip(cells, data.y, strict=True)]
    return TextTable(header, rows, list(range(2, len(rows) + 2)), ",", False, values.shape[1])


def _label_name(data: Dataset) -> str:
    """Return a column name for the labels of a data set of ours."""
    return next(name for name in ("label", "class", "target label") if name not in data.feature_names)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def cell_span(row: str, delimiter: str, column: int, *, spaced: bool = False) -> tuple[int, int]:
    """Return where a cell begins and ends in the text of a row, quotes included, as the module `csv` reads it.

    Args:
        row: with or without the line's end.
        delimiter: between cells.
        column: the number of the cell, from 0.
        spaced: whether a quote may come after space.
    """
    body = row.rstrip("\r\n")
    start, count, quoted, closed = 0, 0, False, -2
    for i, char in enumerate(body):
        if quoted:
            if char == '"':
                quoted, closed = False, i
        elif char == '"' and (closed == i - 1 or not (body[start:i].strip(" ") if spaced else body[start:i])):
            quoted = True
        elif char == delimiter:
            if count == column:
                return start, i
            start, count, closed = i + 1, count + 1, -2
    return start, len(body)


def _label_span(text: TextTable, row: int) -> tuple[int, int]:
    return cell_span(text.rows[row], text.delimiter, text.column, spaced=text.spaced)


# --- judging --------------------------------------------------------------------------------------


def _read_trusted(path: Path, data: Dataset, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Return trusted features in the scale of the table's, and labels."""
    found = load_table(path, target=target, scaled=False)
    theirs, ours = set(found.feature_names), set(data.feature_names)
    if theirs != ours:
        lacking = sorted(ours - theirs)
        odd = f"{path} lacks {lacking[0]!r}" if lacking else f"only {path} has {sorted(theirs - ours)[0]!r}"
        raise InputError(f"--trusted must have the columns of the table, but {odd}: add or drop it.")
    names = np.array(found.class_names)[found.y]
    unknown = sorted(set(names.tolist()) - set(data.class_names))
    if unknown:
        raise InputError(
            f"--trusted must have the classes of the table, but {path} has {unknown[0]!r}: drop those rows."
        )
    order = [found.feature_names.index(name) for name in data.feature_names]
    return np.array(scale(found.x[:, order], data.feature_minimum, data.feature_maximum)), names


def _judge(sanitiser: Any, data: Dataset, *, relabel: bool) -> Judged:
    """Apply the defence."""
    enable_float64()
    x, labels = np.array(data.x), np.array(data.class_names)[data.y]
    sanitiser.fit_resample(x, labels)
    if "relabel" not in sanitiser.get_params():
        return Judged(sanitiser, labels, sanitiser.removed_indices_, {}, False)
    listed = sanitiser.relabelled_indices_ if relabel else sanitiser.removed_indices_
    agreed = dict(zip(listed.tolist(), map(str, sanitiser.agreed_[listed]), strict=True))
    return Judged(sanitiser, labels, listed, agreed, relabel)


# --- results --------------------------------------------------------------------------------------


def _write_rows(path: Path, text: TextTable, judged: Judged) -> None:
    """Write the rows that stay as they stood, but for labels that were corrected."""
    rows = list(text.rows)
    if judged.relabelled:
        spelt = {label: _cell(text, int(np.argmax(judged.labels == label))) for label in set(judged.agreed.values())}
        for i, label in judged.agreed.items():
            start, end = _label_span(text, i)
            rows[i] = rows[i][:start] + spelt[label] + rows[i][end:]
    else:
        gone = set(judged.listed.tolist())
        rows = [row for i, row in enumerate(rows) if i not in gone]
    content = "".join([text.header, *rows]).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _cell(text: TextTable, row: int) -> str:
    """Return the label of a row as it is spelt there, quotes included."""
    start, end = _label_span(text, row)
    return text.rows[row][start:end]


def _write_list(path: Path, text: TextTable, judged: Judged) -> None:
    """Write which rows were left out, or labelled anew, and why."""
    sanitiser, asks = judged.sanitiser, "relabel" in judged.sanitiser.get_params()
    columns = ["line", "action", "label", *(["neighbours_label"] if asks else []), "suspicion", "threshold", "reason"]
    action = "relabelled" if judged.relabelled else "removed"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for i, reason in zip(judged.listed.tolist(), sanitiser.reasons(), strict=True):
            numbers = repr(float(sanitiser.suspicion_[i])), repr(float(sanitiser.thresholds_[i]))
            agreed = [judged.agreed.get(i, "")] if asks else []
            sentence = f"{reason[0].upper()}{reason[1:]}."
            writer.writerow([text.lines[i], action, judged.labels[i], *agreed, *numbers, sentence])


def _print(console: Console, data: Dataset, defence: str, judged: Judged) -> None:
    """Print what was done, class by class, and what it does not mean."""
    done = "relabelled" if judged.relabelled else "removed"
    marked = np.isin(np.arange(len(judged.labels)), judged.listed)
    table = Table(
        title=f"{escape(data.name)}: rows {done} by {defence}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_footer=True,
    )
    table.add_column("class", "all", overflow="fold")
    every = np.ones(len(marked), bool)
    classes = [(str(name), judged.labels == name) for name in data.class_names]
    headings = ("rows", "kept", done, "mean suspicion,\nkept", f"mean suspicion,\n{done}")
    for heading, total in zip(headings, _counts(judged, marked, every), strict=True):
        table.add_column(heading, total, justify="right")
    for name, rows in classes:
        table.add_row(escape(name), *_counts(judged, marked, rows))
    console.print(table)
    console.print(f"Suspicion: {judged.sanitiser.measure.strip(',')}.", highlight=False)
    console.print(
        f"Nobody has judged here whether the rows {done} are poison, or what that costs the model: backgrad defend "
        "compares defences, with an attack and without."
        if marked.any()
        else f"No row was {done}, which does not show that none is poison: backgrad defend compares defences.",
        highlight=False,
    )


def _counts(judged: Judged, marked: np.ndarray, rows: np.ndarray) -> list[str]:
    """Return a line of the summary, for some of the rows."""
    kept, gone = rows & ~marked, rows & marked
    suspicion = judged.sanitiser.suspicion_
    means = [f"{suspicion[some].mean():.3g}" if some.any() else "–" for some in (kept, gone)]
    # A relabelled row is kept too.
    return [str(rows.sum()), str((rows if judged.relabelled else kept).sum()), str(gone.sum()), *means]
