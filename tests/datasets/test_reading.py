"""Files of every format: what is read, what is kept of many rows, and how bad ones end."""

import gzip
import io
import json
import pickle
import struct
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc
from scipy.io import arff as scipy_arff

from backgrad.datasets import RawTable, encode, infer_schema, load_table, read_table
from backgrad.datasets.delimited import sniff
from backgrad.datasets.raw import chosen_rows, keep_rows, row_keys
from backgrad.errors import DatasetError

HEADER, ROWS = ("a", "größe", "t"), (("1", "x, y", "no"), ("2.5", "", "yes"), ("-3", '5" pipe', "no"))


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def put(content, name="mine.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return put


def as_csv(rows, delimiter=",", end="\n"):
    def cell(text):
        special = any(mark in text for mark in (delimiter, '"', "\n"))
        return '"' + text.replace('"', '""') + '"' if special else text

    return "".join(delimiter.join(map(cell, row)) + end for row in rows)


def frame(n=60):
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "real": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "whole": rng.integers(0, 9, n),
            "flag": rng.random(n) < 0.5,
            "colour": pd.Categorical(rng.choice(["rot", "grün", "blau"], n)),
            "t": rng.choice(["no", "yes", "so-so"], n),
        }
    )


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_ends_of_lines(write, delimiter, end):
    raw = read_table(write(as_csv([HEADER, *ROWS], delimiter, end)))
    assert (raw.names, raw.cells, raw.delimiter) == (HEADER, ROWS, delimiter)
    assert raw.format == ("tsv" if delimiter == "\t" else "csv")
    assert raw.line_numbers.tolist() == [2, 3, 4]
    assert raw.row_numbers.tolist() == [0, 1, 2]
    assert (raw.rows_in_file, raw.n_rows, raw.sampling) == (3, 3, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_and_compression(write, encoding, packed):
    content = as_csv([HEADER, *ROWS]).encode(encoding)
    path = write(gzip.compress(content), "mine.csv.gz") if packed else write(content)
    assert read_table(path).names == HEADER
    assert read_table(path).cells == ROWS


def test_cells_and_lines_stand_as_in_the_file(write):
    raw = read_table(write('\n a , t\n\n 1 ,"two\nlines"\n\n\n-2, y \n'))
    assert raw.names == ("a", "t")
    assert raw.cells == ((" 1 ", "two\nlines"), ("-2", " y "))
    assert raw.line_numbers.tolist() == [4, 8]
    assert raw.column(1).tolist() == ["two\nlines", "y"]


def test_excels_line_of_the_separator(write):
    raw = read_table(write("sep=;\na;t\n1,5;x\n"))
    assert (raw.names, raw.cells, raw.line_numbers.tolist()) == (("a", "t"), (("1,5", "x"),), [3])


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b;c\n1,2;3\n4,5;6\n", ","),  # both split all rows alike: the first of the two
        ("a;b\n1,5;2,5\n3,5;1\n", ";"),
        ("name,notes;more;yet more\nx,1\ny,2\n", ","),
        ('"a;b;c",t\n1,2\n', ","),
        ("a b\n1\n", ","),
    ],
)
def test_the_delimiter_splits_all_rows_alike(text, delimiter):
    assert sniff(text, whole=True).delimiter == delimiter


def test_space_before_quotes(write):
    assert read_table(write('a, "b, c", t\n1, "2, 3", x\n')).cells == (("1", "2, 3", "x"),)


def test_the_bundled_way_of_reading_is_the_same_way(write):
    path = write("a;t\n1;x\n2;y\n", "mine.tsv")
    assert load_table(path, target="t", scaled=False).x.tolist() == [[1], [2]]
    assert load_table(path, target="t").name == "mine"


def test_a_wide_header(write):
    names = [f"column {j}" for j in range(10_000)]
    raw = read_table(write(as_csv([names, ["1"] * 10_000])))
    assert len(raw.names) == 10_000
    with pytest.raises(DatasetError, match=r"10,000 values like its header, and line 2 has 2") as caught:
        read_table(write(as_csv([names, ["1"] * 2])))
    assert len(str(caught.value)) < 400


# --- ARFF -----------------------------------------------------------------------------------------

ARFF = """% a comment
@RELATION weather
@attribute 'the outlook' {sunny, 'cloudy', rainy}
@attribute temperature REAL
@attribute play {yes,no}

@DATA
sunny,85.5,no
% another
cloudy,?,yes
rainy,-1e3,yes
"""


def test_arff_as_scipy_reads_it(write):
    raw = read_table(write(ARFF, "w.arff"))
    data, meta = scipy_arff.loadarff(io.StringIO(ARFF))
    assert raw.names == tuple(meta.names())
    assert raw.line_numbers.tolist() == [8, 10, 11]
    assert raw.declared == ("categorical", "", "categorical")
    for j in (0, 2):
        assert raw.column(j).tolist() == [value.decode() for value in data[raw.names[j]].tolist()]
    numbers = [float("nan") if cell == "?" else float(cell) for cell in raw.column(1)]
    np.testing.assert_array_equal(numbers, data["temperature"])
    assert read_table(write(gzip.compress(ARFF.encode()), "w.arff.gz")).cells == raw.cells


def test_arff_strings_and_quotes(write):
    lines = [
        '@attribute "it\'s" string',
        "@attribute t {a, 'b c'}",
        "@data",
        "'don\\'t, ever',a",
        "\"two words\", 'b c'",
    ]
    text = "\n".join(lines)
    raw = read_table(write(text, "s.arff"))
    assert raw.names == ("it's", "t")
    assert raw.cells == (("don't, ever", "a"), ("two words", "b c"))


# --- Parquet, Arrow, npz --------------------------------------------------------------------------


def save(form, data, tmp_path):
    path = tmp_path / f"mine.{form}"
    table = pa.Table.from_pandas(data, preserve_index=False)
    if form == "csv":
        data.to_csv(path, index=False)
    elif form == "parquet":
        data.to_parquet(path, index=False)
    elif form == "feather":
        feather.write_feather(table, path)
    else:
        with path.open("wb") as sink, ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    return path


@pytest.mark.parametrize("form", ["parquet", "feather", "arrow"])
@pytest.mark.parametrize("max_rows", [None, 25])
def test_a_frame_is_the_same_table_in_every_format(tmp_path, form, max_rows):
    tables = []
    for each in ("csv", form):
        raw = read_table(save(each, frame(), tmp_path), max_rows=max_rows, seed=5)
        tables.append((raw, encode(raw, infer_schema(raw, target="t"))))
    (text, expected), (binary, found) = tables
    assert binary.row_numbers.tolist() == text.row_numbers.tolist()
    assert binary.sampling == text.sampling
    assert found.feature_names == expected.feature_names
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-12)
    assert found.y.tolist() == expected.y.tolist()
    assert found.groups == expected.groups
    assert binary.cells is None


def test_types_of_arrow_that_are_no_numbers(tmp_path):
    table = pa.table(
        {
            "day": pa.array([0, None], pa.date32()),
            "id": pa.array([2**60 + 1, 2**60 + 2], pa.int64()),
            "price": pa.array([None, 1], pa.decimal128(5, 2)),
        }
    )
    feather.write_feather(table, tmp_path / "x.arrow")
    raw = read_table(tmp_path / "x.arrow")
    assert raw.column(0).tolist() == ["1970-01-01", ""]
    assert raw.column(1).tolist() == [str(2**60 + 1), str(2**60 + 2)]
    assert raw.column(2).tolist() == ["", "1.00"]
    feather.write_feather(pa.table({"a": [[1], [2]], "b": [b"x", b"y"], "t": [1, 2]}), tmp_path / "y.arrow")
    with pytest.raises(DatasetError, match=r"'a', 'b' hold lists, records or bytes; turn them"):
        read_table(tmp_path / "y.arrow")


def test_words_of_parquet_have_no_space_around_them(tmp_path):
    words = ["yes ", "yes", "no", "  "]
    pa.parquet.write_table(pa.table({"a": words, "t": ["x", "x ", "z", "z"]}), tmp_path / "x.parquet")
    raw = read_table(tmp_path / "x.parquet")
    assert [raw.column(j).tolist() for j in range(2)] == [["yes", "yes", "no", ""], ["x", "x", "z", "z"]]
    assert infer_schema(raw, target="t").target.class_names == ("x", "z")


def test_offsets_that_lead_out_of_an_arrow_file_are_not_followed(write):
    sink = io.BytesIO()
    feather.write_feather(pa.table({"s": ["ab", "cd"], "t": [0, 1]}), sink, compression="uncompressed")
    offsets, wrong = struct.pack("<3i", 0, 2, 4), struct.pack("<3i", 0, 2, 1 << 30)
    assert sink.getvalue().count(offsets) == 1
    with pytest.raises(DatasetError, match=r"Expected an Arrow file at .* cannot be read \(ArrowInvalid\)"):
        read_table(write(sink.getvalue().replace(offsets, wrong), "x.arrow"))


@pytest.mark.parametrize("name", ["pyarrow", "pyarrow.parquet"])
def test_parquet_without_pyarrow(tmp_path, monkeypatch, name):
    path = save("parquet", frame(), tmp_path)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DatasetError, match=r"needs the package pyarrow.*pip install 'backgrad\[tables\]', or save"):
        read_table(path)


def test_npz(tmp_path):
    x = np.arange(24.0).reshape(4, 2, 3)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["b", "a", "b", "a"]))
    raw = read_table(tmp_path / "a.npz")
    assert raw.names == ("x0", "x1", "x2", "x3", "x4", "x5", "y")
    assert "(2, 3) are read as rows of 6 features" in raw.notes[0]
    table = encode(raw, infer_schema(raw, target="y"))
    np.testing.assert_array_equal(table.x, x.reshape(4, 6))
    assert (table.y.tolist(), table.class_names) == ([1, 0, 1, 0], ("a", "b"))
    np.savez(tmp_path / "b.npz", x=x[:, 0], y=[1, 2, 1, 2], feature_names=["p", "q", "r"])
    assert read_table(tmp_path / "b.npz").names == ("p", "q", "r", "y")


# --- which rows are kept --------------------------------------------------------------------------


def mix(z):
    """SplitMix64's finaliser in whole numbers, as its paper prints it."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_the_rule_of_sampling():
    keys = [mix((mix(7) + (i + 1) * 0x9E3779B97F4A7C15) % 2**64) for i in range(1000)]
    assert row_keys(0, 1000, 7).tolist() == keys
    expected = sorted(sorted(range(1000), key=keys.__getitem__)[:40])
    assert chosen_rows(1000, 40, 7).tolist() == expected
    n, kept = keep_rows((str(i) for i in range(1000)), 40, 7)
    assert n == 1000
    assert kept == [(i, str(i)) for i in expected]
    assert chosen_rows(1000, 40, 8).tolist() != expected
    assert chosen_rows(40, 40, 7).tolist() == list(range(40))


def test_known_values_of_splitmix64():
    # The first outputs of SplitMix64 seeded with 0, whose finaliser leaves 0 as it is.
    assert row_keys(0, 3, 0).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_blocks_of_keys_join(monkeypatch):
    whole = chosen_rows(1000, 30, 2).tolist()
    monkeypatch.setattr("backgrad.datasets.raw._BLOCK", 64)
    assert chosen_rows(1000, 30, 2).tolist() == whole
    assert [i for i, _ in keep_rows(iter(range(1000)), 30, 2)[1]] == whole


def test_a_sample_is_uniform():
    hits = np.zeros(200)
    for seed in range(400):
        hits[chosen_rows(200, 50, seed)] += 1
    # Each row is kept with probability 1/4, so that 100 ± 8.7 samples of 400 hold it; five standard deviations.
    assert np.abs(hits - 100).max() < 44


def test_a_large_file_is_sampled_and_says_so(write):
    lines = ["a,t"] + [f"{i},{i % 2}" for i in range(500)]
    raw = read_table(write("\n".join(lines)), max_rows=20, seed=1)
    assert raw.row_numbers.tolist() == chosen_rows(500, 20, 1).tolist()
    assert [row[0] for row in raw.cells] == [str(i) for i in raw.row_numbers]
    assert raw.line_numbers.tolist() == (raw.row_numbers + 2).tolist()
    assert raw.rows_in_file == 500
    assert raw.sampling == (
        "Of 500 rows 20 are used, chosen at random by a fixed rule: the smallest SplitMix64 keys of "
        "row number and seed 1."
    )
    assert infer_schema(raw, target="t").notes[0] == raw.sampling
    assert repr(raw).endswith("20 of 500 rows, 2 columns>")


def test_a_row_of_another_width_is_found_outside_the_sample(write):
    lines = ["a,t"] + [f"{i},{i % 2}" for i in range(500)]
    lines[400] += ",x"
    with pytest.raises(DatasetError, match="line 401 has 3"):
        read_table(write("\n".join(lines)), max_rows=2)


# --- bad files ------------------------------------------------------------------------------------


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def parquet(table):
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue()


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


GOOD = "a,t\n1,x\n2,y\n"
PACKED = gzip.compress(GOOD.encode() * 2000, mtime=0)
OBJECTS = np.array([{"a": 1}, {"a": 2}], dtype=object)
PICKLE = pickle.dumps({"a": 1})
BAD = {
    "empty": (b"", "a.csv", "it is empty; add rows"),
    "blank lines": (b"\n\n  \n", "a.csv", "it is empty"),
    "only a mark": (b"\xef\xbb\xbf", "a.csv", "it is empty"),
    "only a header": (b"a,t\n", "a.csv", "only a header; add rows"),
    "a wide header only": (",".join(f"c{i}" for i in range(10_000)).encode(), "a.csv", "only a header"),
    "ragged": (
        b"a,t\n1,0\n1,2,0\n1\n2,1\n7,7,7\n",
        "a.csv",
        r"line 3 has 3; .* \(2 more lines are wrong, the next is 4\)",
    ),
    "latin-1": (
        "a,t\n1,é\n".encode("latin-1"),
        "a.csv",
        r"byte 0xE9 at offset 6 \(line 2\) is not UTF-8 \(to convert: iconv",
    ),
    "utf-16 without a mark": (GOOD.encode("utf-16-le"), "a.csv", "line 1 has a NUL byte; if it is UTF-16"),
    "half of utf-16": (GOOD.encode("utf-16")[:-1], "a.csv", "is not UTF-16"),
    "utf-32": (GOOD.encode("utf-32"), "a.csv", "byte 0xFF at offset 0 begins UTF-32; convert it"),
    "NUL": (b"a,t\n1,\x00\n", "a.csv", "line 2 has a NUL byte"),
    "an open quote": (b'a,t\n1,"x\n2,y\n', "a.csv", "in the row of line 2 one does not .*; close the quote"),
    "a quote within": (b'a,t\n1,"x"y"\n', "a.csv", "double quotes within values"),
    "json": (json.dumps([{"a": 1, "t": 2}]).encode(), "a.csv", "it is JSON; save it as a table"),
    "a json object": (json.dumps({"a": [1], "t": [2]}, indent=1).encode(), "a.csv", "it is JSON"),
    "json by name": (b"{}", "a.json", "ends in '.json'; save it as CSV"),
    "html": (b"<!DOCTYPE html><table></table>", "a.csv", "it is HTML or XML"),
    "a pickle": (PICKLE, "a.csv", "it is a pickle; save the table as CSV: a pickle can run code"),
    "a pickle by name": (PICKLE, "a.pkl", "a pickle can run code and is never read"),
    "excel": (zipped("xl/workbook.xml", b"<x/>"), "a.csv", "a zip archive, such as an Excel workbook; export"),
    "excel by name": (zipped("xl/workbook.xml", b"<x/>"), "a.xlsx", "export its sheet as CSV"),
    "parquet as csv": (b"PAR1\0\0PAR1", "a.csv", "it is a Parquet file; give its name the ending .parquet"),
    "npy": (b"\x93NUMPY\x01", "a.csv", "it is a NumPy array"),
    "gzip unnamed": (PACKED, "a.csv", "it is packed by gzip; give its name the ending .gz"),
    "not gzip": (GOOD.encode(), "a.csv.gz", "cannot be unpacked, or ends too early"),
    "half of gzip": (PACKED[: len(PACKED) // 2], "a.csv.gz", "cannot be unpacked, or ends too early"),
    "damaged gzip": (PACKED[:12] + b"\xff" * 20 + PACKED[32:], "a.csv.gz", "cannot be unpacked, or ends too early"),
    "parquet junk": (
        b"PAR1 junk PAR1",
        "a.parquet",
        r"Expected a Parquet file at .* \(Arrow\w+|OSError\); is it whole",
    ),
    "parquet empty": (parquet(pa.table({"a": pa.array([], pa.int64())})), "a.parquet", "it is empty; add rows"),
    "half of parquet": (parquet(pa.table({"a": [1, 2, 3]}))[:-9], "a.parquet", "cannot be read"),
    "parquet packed": (b"x", "a.parquet.gz", "Only text should be packed by gzip"),
    "arrow junk": (b"ARROW1\0\0junk", "a.arrow", "Expected an Arrow file at .* cannot be read"),
    "feather 1": (b"FEA1junk", "a.feather", "it is Feather V1; write it again"),
    "npz junk": (b"PK\x03\x04junk", "a.npz", r"Expected an npz file at .* \(BadZipFile\)"),
    "npz pickled": (npz(x=OBJECTS, y=np.array([0, 1])), "a.npz", "'x' holds pickled objects, which are never loaded"),
    "npz pickled labels": (npz(x=np.eye(2), y=OBJECTS), "a.npz", "'y' holds pickled objects"),
    "npz of others": (npz(images=np.eye(2)), "a.npz", r"Expected arrays 'x' and 'y' in .* it has 'images'"),
    "npz of shapes": (npz(x=np.eye(3), y=np.zeros(2)), "a.npz", r"they have \(3, 3\) and \(2,\); reshape them"),
    "npz complex": (npz(x=np.eye(2) * 1j, y=np.zeros(2)), "a.npz", "has the type complex128"),
    "npz of text": (zipped("x.npy", b"not an array"), "a.npz", "Expected arrays 'x' and 'y'"),
    "npz names": (npz(x=np.eye(2), y=np.zeros(2), feature_names=["a"]), "a.npz", "Expected 2 feature_names .* got 1"),
    "arff sparse": (b"@relation r\n@attribute a numeric\n@data\n{0 1}\n", "a.arff", "line 4 is sparse, in braces"),
    "arff date": (b"@relation r\n@attribute d date\n@data\n1\n", "a.arff", "'d' in line 2 is 'date'"),
    "arff relational": (b"@relation r\n@attribute d relational\n@data\n", "a.arff", "is 'relational'"),
    "arff without data": (b"@relation r\n@attribute a numeric\n", "a.arff", "Expected a line @data"),
    "arff without rows": (b"@relation r\n@attribute a numeric\n@data\n", "a.arff", "only a header"),
    "arff untyped": (b"@relation r\n@attribute abc\n@data\n1\n", "a.arff", "Expected '@attribute NAME TYPE' in line 2"),
    "arff nonsense": (b"hello\n", "a.arff", "Expected @relation, @attribute or @data in line 1"),
    "arff words": (
        b"@attribute a real\n@data\n1\nfew\n",
        "a.arff",
        "'a' .* should hold a number, and line 4 has 'few'",
    ),
    "arff unlisted": (
        b"@attribute a {x,y}\n@data\nx\nz\n",
        "a.arff",
        "one of the values that it lists, and line 4 has 'z'",
    ),
    "arff ragged": (b"@attribute a real\n@data\n1,2\n", "a.arff", "1 values, one for each attribute, and line 3 has 2"),
    "arff weights": (b"@attribute a real\n@data\n1, {5}\n", "a.arff", "weights of rows are not read: drop them"),
    "arff quotes": (b"@attribute a string\n@data\n'x\n", "a.arff", "in line 3 one does not"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_sentence(write, case):
    content, name, sentence = BAD[case]
    with pytest.raises(DatasetError, match=sentence) as caught:
        read_table(write(content, name))
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "\n" not in message
    assert len(message) < 700


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(DatasetError, match=r"Expected a Parquet file at .*no.parquet', and there is none; check"):
        read_table(tmp_path / "no.parquet")
    with pytest.raises(DatasetError, match="it is a folder; name a file in it"):
        read_table(tmp_path)
    with pytest.raises(DatasetError, match="there is none"):
        read_table("a\0b.csv")
    with pytest.raises(DatasetError, match="no regular file"):
        read_table("/dev/null")
    with pytest.raises(DatasetError, match="max_rows must be 1 or more"):
        read_table(tmp_path / "x.csv", max_rows=0)


def test_bombs_are_stopped(write):
    bomb = write(gzip.compress(b"a,t\n" + b"1,2\n" * 50_000), "bomb.csv.gz")
    with pytest.raises(DatasetError, match="should unpack to 100,000 bytes or fewer, and unpacks to more"):
        read_table(bomb, max_unpacked=100_000)
    assert read_table(bomb, max_rows=10).rows_in_file == 50_000
    heavy = npz(x=np.zeros((100, 100)), y=np.zeros(100))
    with pytest.raises(DatasetError, match="should unpack to 10,000 bytes or fewer, and unpacks to 81"):
        read_table(write(heavy, "bomb.npz"), max_unpacked=10_000)


def test_an_endless_line_is_stopped(write, monkeypatch):
    monkeypatch.setattr("backgrad.datasets.delimited.LONGEST_LINE", 1000)
    with pytest.raises(DatasetError, match="1,000 characters or fewer, and line 2 has more"):
        read_table(write("a,t\n" + "1," * 600))


def test_a_quote_that_is_never_closed_is_stopped(write, monkeypatch):
    monkeypatch.setattr("backgrad.datasets.delimited.LONGEST_LINE", 1000)
    with pytest.raises(DatasetError, match=r"row of line 3 one does not \(more than 1,000 characters in a row\)"):
        read_table(write('a,t\n1,x\n2,"' + "3,y\n" * 300))
    assert read_table(write("a,t\n" + "3,y\n" * 300)).n_rows == 300


def test_the_wrong_byte_is_found_far_into_a_file(write):
    before = "a,t\n" + "1,grün\n" * 20_000
    content = before.encode() + b"2,\xfc\n"
    with pytest.raises(DatasetError, match=rf"byte 0xFC at offset {len(before.encode()) + 2:,} \(line 20,002\)"):
        read_table(write(content))


# --- whatever bytes -------------------------------------------------------------------------------


def understand(path):
    """Go all the way; return what comes of it, a table or a sentence."""
    try:
        raw = read_table(path)
        assert isinstance(raw, RawTable)
        return encode(raw, infer_schema(raw, target=raw.names[-1]))
    except DatasetError as error:
        return str(error)


FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CSV_LIKE = st.text(st.sampled_from(list('a1,;\t|"\n\r .-?+eEinfNA_0é\ufeff\u2028\x85')), max_size=120)


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes(tmp_path, content):
    for name in ("f.csv", "f.csv.gz", "f.arff"):
        (tmp_path / name).write_bytes(content)
        understand(tmp_path / name)


@FUZZ
@given(content=CSV_LIKE)
def test_random_tables_in_text(tmp_path, content):
    for name, start in (("f.csv", ""), ("f.arff", "@attribute a real\n@attribute t {a,1}\n@data\n")):
        (tmp_path / name).write_text(start + content, encoding="utf-8", newline="")
        understand(tmp_path / name)


@FUZZ
@given(rows=st.lists(st.tuples(CSV_LIKE, CSV_LIKE), min_size=1, max_size=30), delimiter=st.sampled_from(",;\t|"))
def test_what_is_quoted_comes_back(tmp_path, rows, delimiter):
    """Every value comes back as it was, unless no delimiter can be told."""
    quote = '"'
    lines = [("p", "q"), *rows]
    text = "".join(delimiter.join(f'"{cell.replace(quote, quote * 2)}"' for cell in row) + "\n" for row in lines)
    path = tmp_path / "f.csv"
    path.write_text(text, encoding="utf-8", newline="")
    raw = read_table(path)
    assert raw.names == ("p", "q")
    assert raw.cells == tuple(rows)


@FUZZ
@given(
    place=st.floats(0, 1),
    junk=st.binary(min_size=1, max_size=8),
    form=st.sampled_from(["parquet", "arrow", "npz", "gz"]),
)
def test_damaged_binary_files(tmp_path, place, junk, form):
    good = {
        "parquet": parquet(pa.Table.from_pandas(frame(12))),
        "npz": npz(x=np.eye(4), y=np.arange(4) % 2),
        "gz": gzip.compress(GOOD.encode(), mtime=0),
    }
    if form == "arrow":
        sink = io.BytesIO()
        feather.write_feather(pa.Table.from_pandas(frame(12)), sink, compression="uncompressed")
        good["arrow"] = sink.getvalue()
    content = bytearray(good[form])
    start = int(place * len(content))
    content[start : start + len(junk)] = junk
    path = tmp_path / ("f.csv.gz" if form == "gz" else f"f.{form}")
    path.write_bytes(bytes(content))
    understand(path)
