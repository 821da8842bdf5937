"""`backgrad clean`: rows come out as they stood, and every one that does not is accounted for."""

import csv
import gzip
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backgrad.cli.run_clean import cell_span
from backgrad.datasets import load, load_table, read_table
from backgrad.defences.catalogue import SANITISERS
from backgrad.defences.distance import Sphere
from backgrad.defences.neighbours import LabelSanitisation
from tests.cli.support import run
from tests.problems import mostly_slow

# Odd spellings of numbers, which must come out as they went in.
SPELLINGS = ("{:.3f}", "{:+.4e}", "0{:.2f}", "{:g}")
LABELS = {"ham": '"häm, 1st"', "spam": "Späm"}
NAMES = {"ham": "häm, 1st", "spam": "Späm"}


def numbers(n=40, seed=0):
    """Return two classes in the plane, of which the last four rows lie where the other class does."""
    rng = np.random.default_rng(seed)
    labels = np.array(["ham", "spam"])[np.arange(n) % 2]
    home = np.where((labels == "spam") ^ (np.arange(n) >= n - 4), 18.0, 12.0)
    return (rng.normal(size=(n, 2)) + home[:, None]) * [1, 10], labels


def lines(*, delimiter=",", end="\n", labels=LABELS, seed=0, n=40):
    """Return a table as text, line by line, with the label in the middle."""
    x, kinds = numbers(n, seed)
    found = [f"größe{delimiter}kind{delimiter}width{end}"]
    for i, ((a, b), kind) in enumerate(zip(x, kinds, strict=True)):
        form = SPELLINGS[i % 4]
        found.append(delimiter.join([form.format(a), labels[str(kind)], f'"{b:.3f}"']) + end)
    return found


def write(path, content):
    """Write lines as bytes, packed where the name says so."""
    raw = "".join(content).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def listed(path):
    """Return the rows of a list of removed rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def clean(capsys, tmp_path, *arguments, table="mails.csv", content=None, out="clean.csv"):
    """Write a table and clean it; return what was printed, the kept text and the list."""
    source = write(tmp_path / table, lines() if content is None else content)
    before = source.read_bytes()
    code, printed, err = run(capsys, "clean", source, "--target", "kind", *arguments, "--out", tmp_path / out)
    assert (code, err) == (0, "")
    assert source.read_bytes() == before
    raw = (tmp_path / out).read_bytes()
    raw = gzip.decompress(raw) if out.endswith(".gz") else raw
    return printed, raw.decode(), listed(tmp_path / f"{out.split('.')[0]}.removed.csv")


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        ("mails.csv", {}),
        ("mails.csv.gz", {}),
        ("mails.csv", {"delimiter": ";", "end": "\r\n"}),
        ("mails.tsv", {"delimiter": "\t", "labels": {"ham": '"a ""ham"""', "spam": '"spam\nand eggs"'}}),
    ],
    ids=["comma", "gz", "semicolon", "quotes and line ends"],
)
def test_rows_that_stay_are_written_as_they_stood(table, settings, capsys, tmp_path):
    content = lines(**settings)
    _, text, removed = clean(capsys, tmp_path, "--defence", "sphere", table=table, content=content)
    # Line numbers are those of a text editor: a quoted line end counts.
    starts = np.cumsum([1, *(line.count("\n") for line in content)])
    gone = [int(np.flatnonzero(starts == int(row["line"]))[0]) for row in removed]
    assert len(gone) == 4  # a tenth of either class
    assert text == "".join(line for i, line in enumerate(content) if i not in gone)


def test_marks_blank_lines_and_a_missing_last_line_end(capsys, tmp_path):
    content = ["\ufeff" + lines()[0], *lines()[1:3], "\n", *lines()[3:-1], lines()[-1].rstrip("\n")]
    _, text, removed = clean(capsys, tmp_path, "--defence", "sphere", content=content)
    gone = {int(row["line"]) - 1 for row in removed}
    assert text == "".join(line for i, line in enumerate(content) if i not in gone and line != "\n")
    assert text.startswith("\ufeffgröße")


@pytest.mark.parametrize(("before", "space"), [(["sep=;\n", "\n"], ""), ([], "  ")], ids=["announced", "space"])
def test_an_announced_delimiter_and_space_before_quotes(before, space, capsys, tmp_path):
    labels = {"ham": '"häm"";1st"', "spam": '"Späm"'}
    table = [line.split(";", 1) for line in lines(delimiter=";", labels=labels)]
    content = [*before, *(f"{first};{space}{rest}" for first, rest in table)]
    arguments = ["--defence", "label-sanitisation", "--relabel"]
    _, text, removed = clean(capsys, tmp_path, *arguments, content=content)
    expected = list(content)
    for row in removed:
        i = int(row["line"]) - 1
        new = "spam" if row["neighbours_label"] == "Späm" else "ham"
        old = "ham" if new == "spam" else "spam"
        old, new = (f";{space}{labels[kind]};" for kind in (old, new))
        expected[i] = expected[i].replace(old, new)
    assert len(removed) >= 4
    assert text == "".join(expected)


@pytest.mark.parametrize("out", ["clean.csv", "clean.csv.gz", "clean"])
def test_what_is_left_out_is_what_the_defence_leaves_out(out, capsys, tmp_path):
    printed, text, removed = clean(
        capsys, tmp_path, "--defence", "sphere", "--fraction", "0.2", content=lines(), out=out
    )
    data = load_table(tmp_path / "mails.csv", target="kind")
    assert data.x.min() == 0
    assert data.x.max() == 1
    defence = Sphere(fraction=0.2)
    defence.fit_resample(np.array(data.x), np.array(data.y))
    assert [int(row["line"]) for row in removed] == (defence.removed_indices_ + 2).tolist()
    for row, i, reason in zip(removed, defence.removed_indices_, defence.reasons(), strict=True):
        assert row["action"] == "removed"
        assert row["label"] == data.class_names[data.y[i]]
        assert float(row["suspicion"]) == pytest.approx(defence.suspicion_[i], rel=1e-12)
        assert float(row["threshold"]) == pytest.approx(defence.thresholds_[i], rel=1e-12)
        assert row["reason"] == f"{reason[0].upper()}{reason[1:]}."
    assert text.count("\n") == 1 + 40 - len(removed)
    assert f"Written: {tmp_path / out} and {tmp_path / 'clean.removed.csv'}" in printed


def test_the_summary_counts_by_class_and_fits_the_terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printed, *_ = clean(capsys, tmp_path, "--defence", "sphere", "--fraction", "0.2")
    data = load_table(tmp_path / "mails.csv", target="kind")
    defence = Sphere(fraction=0.2)
    defence.fit_resample(np.array(data.x), np.array(data.y))
    for label, name in enumerate(data.class_names):
        mine = np.flatnonzero(data.y == label)
        gone = np.intersect1d(mine, defence.removed_indices_)
        means = [defence.suspicion_[rows].mean() for rows in (np.setdiff1d(mine, gone), gone)]
        (line,) = [line for line in printed.splitlines() if line.strip().startswith(name)]
        assert line.split()[-5:] == ["20", "16", "4", *(f"{mean:.3g}" for mean in means)]
    words = " ".join(printed.split())
    assert "all 40 32 8" in words
    assert "Suspicion: distance to the centroid of its class." in words
    assert "Nobody has judged here whether the rows removed are poison" in words
    assert "backgrad defend compares defences" in words
    assert max(len(line.rstrip()) for line in printed.splitlines() if not line.startswith("Written")) <= 80


def test_labels_are_corrected_where_they_stand(capsys, tmp_path):
    content = lines()
    printed, text, removed = clean(capsys, tmp_path, "--defence", "label-sanitisation", "--relabel", content=content)
    data = load_table(tmp_path / "mails.csv", target="kind")
    _, labels = LabelSanitisation(relabel=True).fit_resample(np.array(data.x), np.array(data.y))
    changed = np.flatnonzero(labels != data.y)
    assert {36, 37, 38, 39} <= set(changed)  # the planted ones
    assert [int(row["line"]) for row in removed] == (changed + 2).tolist()
    spelt = {name: LABELS[kind] for kind, name in NAMES.items()}
    expected = list(content)
    for i, row in zip(changed, removed, strict=True):
        new, old = data.class_names[labels[i]], data.class_names[data.y[i]]
        assert (row["action"], row["label"], row["neighbours_label"]) == ("relabelled", old, new)
        assert f"nearest rows have the label {new}." in row["reason"]
        expected[i + 1] = expected[i + 1].replace(spelt[old], spelt[new])
    assert text == "".join(expected)
    assert "whether the rows relabelled are poison" in " ".join(printed.split())
    again = load_table(tmp_path / "clean.csv", target="kind")
    np.testing.assert_array_equal(again.y, labels)
    np.testing.assert_array_equal(again.x, data.x)


def test_label_sanitisation_says_what_neighbours_agree_on_where_it_leaves_rows_out(capsys, tmp_path):
    content = lines()
    _, text, removed = clean(capsys, tmp_path, "--defence", "label-sanitisation", content=content)
    gone = [int(row["line"]) - 1 for row in removed]
    assert {37, 38, 39, 40} <= set(gone)
    assert text == "".join(line for i, line in enumerate(content) if i not in gone)
    for row in removed:
        assert row["action"] == "removed"
        assert {row["label"], row["neighbours_label"]} == set(NAMES.values())


@pytest.mark.parametrize("defence", ["roni", "influence", "anomaly"])
def test_trusted_rows_are_read_in_the_table_s_units(defence, capsys, tmp_path):
    # In another order, of the columns too.
    x, kinds = numbers(36, seed=1)
    rows = [f"{b:.4f};{a:.4f};{NAMES[str(kind)]}\n" for (a, b), kind in zip(x[:32], kinds[:32], strict=True)]
    trusted = write(tmp_path / "trusted.csv", ["width;größe;kind\n", *rows[::-1]])
    _, _, removed = clean(capsys, tmp_path, "--defence", defence, "--fraction", "0.2", "--trusted", trusted)
    # Planted rows lie where the other class lives: had units or columns been mixed up, others would go.
    assert {38, 39, 40, 41} <= {int(row["line"]) for row in removed} or defence == "roni"
    assert {int(row["line"]) for row in removed} & {38, 39, 40, 41}


def test_a_data_set_of_ours_is_written_in_its_own_units(capsys, tmp_path):
    arguments = ["--defence", "slab", "--fraction", "0.1", "--out", tmp_path / "deep" / "iris.csv"]
    code, _, err = run(capsys, "clean", "iris", *arguments)
    assert (code, err) == (0, "")
    whole, kept = load("iris", scaled=False), load_table(tmp_path / "deep" / "iris.csv", target="label", scaled=False)
    gone = [int(row["line"]) - 2 for row in listed(tmp_path / "deep" / "iris.removed.csv")]
    assert len(gone) == 15
    np.testing.assert_array_equal(kept.x, np.delete(whole.x, gone, axis=0))
    np.testing.assert_array_equal(kept.y, np.delete(whole.y, gone))
    assert kept.class_names == whole.class_names
    assert kept.feature_names == whole.feature_names


@pytest.mark.parametrize(
    "defence",
    mostly_slow(
        [name for name in SANITISERS if name != "label-sanitisation"],
        "slab",
        "isolation-forest",
        "roni",
        "influence",
        "trim",
    ),
)
def test_the_same_seed_gives_the_same_bytes(defence, capsys, tmp_path):
    trusted = write(tmp_path / "trusted.csv", lines(seed=1)[:37])
    extra = ["--trusted", trusted] if SANITISERS[defence].needs_trusted else []
    results = []
    for _ in range(2):
        clean(capsys, tmp_path, "--defence", defence, *extra, "--seed", "3", out="a.csv.gz")
        results.append([(tmp_path / name).read_bytes() for name in ("a.csv.gz", "a.removed.csv")])
    assert results[0] == results[1]


def test_nothing_to_leave_out_is_said(capsys, tmp_path):
    printed, text, removed = clean(capsys, tmp_path, "--defence", "sphere", "--fraction", "0")
    assert text == "".join(lines())
    assert removed == []
    assert "No row was removed, which does not show that none is poison" in " ".join(printed.split())


def test_class_names_in_brackets_are_no_markup(capsys, tmp_path):
    content = lines(labels={"ham": "[red]", "spam": "[/bold]"})
    printed, *_ = clean(capsys, tmp_path, "--defence", "sphere", content=content)
    assert "[red]" in printed
    assert "[/bold]" in printed


OUT = ["--out", "clean.csv"]
SPHERE = ["--defence", "sphere", *OUT]
BAD = {
    "no defence": (["mails.csv", "--target", "kind", *OUT], "Missing option '--defence'"),
    "no out": (["mails.csv", "--target", "kind", "--defence", "sphere"], "Missing option '--out'"),
    "unknown defence": (["mails.csv", "--target", "kind", "--defence", "spere", *OUT], "did you mean sphere?"),
    "a defence like none": (["mails.csv", "--target", "kind", "--defence", "xyz", *OUT], "choose from sphere, slab"),
    "no target": (["mails.csv", *SPHERE], "name the column of its labels or responses with --target"),
    "another target": (["mails.csv", "--target", "sort", *SPHERE], "Expected target to be a column"),
    "no such table": (["males.csv", "--target", "kind", *SPHERE], "there is none; check the path"),
    "no such data set": (["iri", *SPHERE], "got 'iri'; did you mean 'iris'?"),
    "a regression": (["diabetes", *SPHERE], "judges labels, and diabetes has responses"),
    "a target of ours": (["iris", "--target", "kind", *SPHERE], "--target belongs to a CSV file"),
    "a share of all": (["mails.csv", "--target", "kind", "--fraction", "1", *SPHERE], "fraction must lie in [0, 1)"),
    "a share of nothing": (["mails.csv", "--target", "kind", "--fraction", "nan", *SPHERE], "fraction must lie in"),
    "a share that is not asked for": (
        ["mails.csv", "--target", "kind", "--fraction", "0.1", "--defence", "label-sanitisation", *OUT],
        "--fraction does not belong to label-sanitisation",
    ),
    "relabelling by none that can": (
        ["mails.csv", "--target", "kind", "--relabel", *SPHERE],
        "--relabel belongs to --defence label-sanitisation: sphere leaves rows out",
    ),
    "roni without trusted rows": (
        ["mails.csv", "--target", "kind", "--defence", "roni", *OUT],
        "roni believes trusted rows: name a file of them with --trusted",
    ),
    "influence without trusted rows": (
        ["mails.csv", "--target", "kind", "--defence", "influence", *OUT],
        "influence believes trusted rows",
    ),
    "trusted rows for none": (
        ["mails.csv", "--target", "kind", "--trusted", "good.csv", *SPHERE],
        "--trusted does not belong to sphere",
    ),
    "no such trusted file": (
        ["mails.csv", "--target", "kind", "--defence", "roni", "--trusted", "nowhere.csv", *OUT],
        "Expected a CSV file at 'nowhere.csv'",
    ),
    "trusted rows that lack a column": (
        ["mails.csv", "--target", "kind", "--defence", "roni", "--trusted", "narrow.csv", *OUT],
        "narrow.csv lacks 'width'",
    ),
    "trusted rows of another column": (
        ["mails.csv", "--target", "kind", "--defence", "roni", "--trusted", "wide.csv", *OUT],
        "only wide.csv has 'depth'",
    ),
    "trusted rows of another class": (
        ["mails.csv", "--target", "kind", "--defence", "roni", "--trusted", "eggs.csv", *OUT],
        "eggs.csv has 'eggs'",
    ),
    "a negative seed": (["mails.csv", "--target", "kind", "--seed", "-1", *SPHERE], "seed must be a whole number"),
    "a seed past what NumPy takes": (
        ["mails.csv", "--target", "kind", "--seed", str(2**32), *SPHERE],
        "seed must be a whole number from 0 to 2**32 - 1",
    ),
    "a table in UTF-16": (["wide16.csv", "--target", "kind", *SPHERE], "takes UTF-8; wide16.csv is not"),
    "a table that is no text": (["rows.npz", "--target", "y", *SPHERE], "takes a CSV file; rows.npz is npz"),
    "words among the features": (["words.csv", "--target", "kind", *SPHERE], "should be numbers"),
    "a gap": (["gap.csv", "--target", "kind", *SPHERE], "1 are missing"),
    "a class that would be lost": (
        ["lone.csv", "--target", "kind", "--defence", "label-sanitisation", *OUT],
        "every row of class eggs",
    ),
    "an out that is the table": (
        ["mails.csv", "--target", "kind", "--defence", "sphere", "--out", "mails.csv"],
        "--out would overwrite the table, mails.csv",
    ),
    "an out that is the trusted file": (
        ["mails.csv", "--target", "kind", "--defence", "roni", "--trusted", "good.csv", "--out", "good.csv"],
        "--out would overwrite the trusted rows, good.csv",
    ),
    "an out that is a folder": (
        ["mails.csv", "--target", "kind", "--defence", "sphere", "--out", "folder"],
        "--out must name a file, such as folder/clean.csv: folder is a folder",
    ),
    "a list that is a folder": (
        ["mails.csv", "--target", "kind", "--defence", "sphere", "--out", "taken.csv"],
        "taken.removed.csv is a folder",
    ),
    "an out below a file": (
        ["mails.csv", "--target", "kind", "--defence", "sphere", "--out", "mails.csv/clean.csv"],
        "--out must lie in a folder that can be written, but mails.csv is not",
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Lay out tables of every kind, and go there."""
    monkeypatch.chdir(tmp_path)
    plain = lines()
    write(tmp_path / "mails.csv", plain)
    write(tmp_path / "good.csv", lines(seed=1))
    write(tmp_path / "narrow.csv", [",".join(line.split(",")[:-1]) + "\n" for line in plain])
    write(tmp_path / "wide.csv", [line.replace("\n", f",{'depth' if i == 0 else 1}\n") for i, line in enumerate(plain)])
    write(tmp_path / "eggs.csv", lines(labels={**LABELS, "ham": "eggs"}))
    write(tmp_path / "words.csv", ["a,kind\n", "one,ham\n", "two,spam\n"])
    write(tmp_path / "gap.csv", ["a,b,kind\n", "1,,ham\n", "2,3,spam\n"])
    write(tmp_path / "lone.csv", [*plain, "2.1,eggs,2.2\n"])
    (tmp_path / "wide16.csv").write_text("".join(plain), encoding="utf-16")
    np.savez(tmp_path / "rows.npz", x=np.eye(4), y=np.array([0, 1, 0, 1]))
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.removed.csv").mkdir()
    return tmp_path


def everything(folder):
    """Return the content of all files."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_answered_in_one_line_and_leaves_nothing_behind(arguments, sentence, capsys, folder):
    before = everything(folder)
    code, out, err = run(capsys, "clean", *arguments)
    assert code == 2
    assert sentence in err
    assert err.startswith("backgrad: ")
    assert err.count("\n") == 1
    assert out == ""
    assert everything(folder) == before


def test_an_out_that_cannot_be_written_is_found_before_the_work(capsys, folder, monkeypatch):
    monkeypatch.setattr("backgrad.cli.run_clean._judge", lambda *_, **__: pytest.fail("work began"))
    code, _, err = run(
        capsys, "clean", "mails.csv", "--target", "kind", "--defence", "sphere", "--out", "mails.csv/x/clean.csv"
    )
    assert code == 2
    assert "--out must lie in a folder that can be written" in err


def failing(error):
    """Return a stand-in that raises."""

    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("where", ["_judge", "_write_rows", "_write_list"])
@pytest.mark.parametrize(("error", "expected"), [(KeyboardInterrupt(), 130), (MemoryError(), 4)])
def test_both_files_appear_or_none(where, error, expected, capsys, folder, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder / "folder"))
    (folder / "clean.csv").write_text("earlier")
    before = everything(folder)
    monkeypatch.setattr(f"backgrad.cli.run_clean.{where}", failing(error))
    for out in ("clean.csv", "new/clean.csv"):
        code, printed, _ = run(capsys, "clean", "mails.csv", "--target", "kind", "--defence", "sphere", "--out", out)
        assert (code, printed) == (expected, "")
        for log in (folder / "folder").iterdir():
            log.unlink()
        assert everything(folder) == before


def test_a_table_that_changes_meanwhile_is_no_table(capsys, folder, monkeypatch):
    def grown(path, **options):
        found = read_table(path, **options)
        write(folder / "mails.csv", lines(n=50))
        return found

    monkeypatch.setattr("backgrad.cli.run_clean.read_table", grown)
    code, _, err = run(capsys, "clean", "mails.csv", "--target", "kind", *SPHERE)
    assert code == 2
    assert "was changed while it was read" in err


cells = st.text(st.sampled_from(['"', ",", "a", " ", "\n", "ä"]), max_size=6)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(row=st.lists(cells, min_size=2, max_size=4), raw=st.text(st.sampled_from(['"', ",", "a"]), max_size=9))
def test_cells_are_found_where_the_csv_module_finds_them(row, raw):
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(row)
    for line in (text.getvalue(), f"{raw}\r\n"):
        parsed = next(csv.reader(io.StringIO(line, newline="")), [])
        if not parsed or parsed[-1].endswith("\r\n") or line.count('"') % 2:  # a quote that is never closed
            continue
        for column, cell in enumerate(parsed):
            start, end = cell_span(line, ",", column)
            assert next(csv.reader(io.StringIO(line[start:end], newline="")), [""]) == ([cell] if cell else [""])


def test_the_help_teaches_and_imports_nothing_heavy():
    code = """
import sys
from backgrad.cli import main
try:
    main(["clean", "--help"])
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {"jax", "sklearn", "scipy", "pandas", "imblearn", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    for name, entry in SANITISERS.items():
        assert f"{name}: rows {entry.removes}" in words
    assert "roni: rows that worsen a classifier on trusted rows (needs --trusted)" in words
    assert "Example: backgrad clean spambase --defence sphere" in words
    assert max(map(len, done.stdout.splitlines())) <= 80
