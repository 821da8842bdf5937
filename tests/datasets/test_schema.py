"""What columns are, what is wrong with tables, and what they become as numbers."""

import gzip
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backgrad.datasets import (
    Overrides,
    RawTable,
    encode,
    infer_schema,
    parse_range,
    read_overrides,
    read_table,
)
from backgrad.errors import DatasetError, InputError


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def put(content, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def table(columns, n=None):
    """Return a raw table of texts."""
    names, cells = tuple(columns), tuple(zip(*columns.values(), strict=True))
    cells = tuple(tuple(map(str, row)) for row in cells)
    assert n is None or len(cells) == n
    numbers = np.arange(len(cells))
    return RawTable("mem.csv", "csv", names, len(cells), numbers, cells, numbers + 2, ",")


N = 100
LABELS = ["no", "yes"] * (N // 2)
REAL = [f"{i * 0.37 % 7:.2f}" for i in range(N)]


def understand(values, *, name="v", labels=LABELS, **settings):
    """Return the one column beside a good one and the target."""
    schema = infer_schema(table({"good": REAL, name: values, "t": labels}), target="t", **settings)
    return schema.columns[1], schema


# --- kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name", "kind", "used", "sentence"),
    [
        ([f"{i}.5" for i in range(N)], "v", "numeric", True, "numbers from 0.5 to 99.5"),
        (["1e3", "-2"] * 49 + ["+.5", "1"], "v", "numeric", True, "numbers from -2 to 1000"),
        ([i % 7 for i in range(N)], "v", "integer", True, "whole numbers from 0 to 6"),
        ([i % 2 for i in range(N)], "v", "binary", True, "two values: 0 is read as 0 and 1 as 1"),
        (["2", "1.0", "1", "2.00"] * 25, "v", "binary", True, "1 is read as 0 and 2 as 1"),
        (["m", "f"] * 49 + ["f", "m"], "v", "binary", True, "'f' is read as 0 and 'm' as 1"),
        (["red", "grün", "NA", "blue"] * 25, "v", "categorical", True, "'blue', 'grün', 'red'; 25 missing are a cat"),
        (["x", ""] * 50, "v", "categorical", True, "either 'x' or missing; 50 missing are a category of their own"),
        (["1", "1.0", ""] * 33 + [""], "v", "categorical", True, "either '1' or missing"),
        (["7"] * N, "v", "constant", False, "holds '7' in every row: set aside"),
        (["1", "1.0"] * 50, "v", "constant", False, "holds '1' in every row"),
        (["", "?", "NaN", "null", "None", "#N/A", "<NA>", "n/a", "nil", "na"] * 10, "v", "constant", False, "no value"),
        (range(7, 7 + N), "v", "identifier", False, "its own whole number"),
        ([*range(N)][::-1], "v", "identifier", False, "its own whole number"),
        ([i * i for i in range(N)], "user_id", "identifier", False, "its own whole number"),
        ([i * i for i in range(N)], "PassengerId", "identifier", False, "its own whole number"),
        ([i * i for i in range(N)], "__index_level_0__", "identifier", False, "its own whole number"),
        ([i * i for i in range(N)], "valid", "integer", True, "whole numbers from 0 to 9801"),
        ([i * i for i in range(N)], "humid", "integer", True, "whole numbers"),
        ([f"A-{i:x}" for i in range(N)], "v", "identifier", False, "its own value"),
        ([2**60 + i for i in range(N)], "v", "identifier", False, "its own long number"),
        ([2**53 + i % 2 for i in range(N)], "v", "binary", True, "'9007199254740993' as 1"),
        ([2**60 + i % 3 for i in range(N)], "v", "categorical", True, "3 categories: '1152921504606846976', "),
        ([2**60 + i % 60 for i in range(N)], "v", "text", False, "60 different texts in 100 rows"),
        ([f"Mr {i} of town" for i in range(N)], "v", "text", False, "100 different texts in 100 rows: set aside"),
        ([f"city{i % 60}" for i in range(N)], "v", "text", False, "60 different texts in 100 rows"),
        ([f"2024-01-{i % 28 + 1:02}" for i in range(N)], "v", "categorical", True, "28 categories"),
        ([f"{1900 + i}-01-02" for i in range(N)], "v", "text", False, "100 different dates"),
        (["word " * 20, "word " * 21, "w " * 30] * 33 + ["w"], "v", "text", False, "4 different texts"),
        ([f"{i}.5" for i in range(95)] + ["oops"] * 5, "v", "numeric", True, "5 cells are words ('oops') and count"),
        ([f"{i}.5" for i in range(95)] + ["-"] * 5, "v", "numeric", True, "from 0.5 to 94.5; 5 missing, to be imputed"),
        (["1", "2", "3", "many"] * 25, "v", "categorical", True, "4 categories: '1', '2', '3', 'many'"),
        (["1_000", "2"] * 50, "v", "binary", True, "'1_000'"),
    ],
)
def test_kinds(values, name, kind, used, sentence):
    column, schema = understand(values, name=name)
    assert (column.kind, column.used) == (kind, used), column
    assert sentence in column.sentence
    assert schema.problems == ()


@pytest.mark.parametrize(
    ("kind", "values", "result"),
    [
        ("categorical", [i % 3 for i in range(N)], ("categorical", ("0", "1", "2"))),
        ("integer", [i % 2 for i in range(N)], ("integer", ())),
        ("numeric", range(N), ("numeric", ())),
        ("identifier", [i % 7 for i in range(N)], ("identifier", ())),
        (
            "categorical",
            [f"city{i % 60}" for i in range(N)],
            ("categorical", tuple(sorted(f"city{i}" for i in range(60)))),
        ),
    ],
)
def test_kinds_as_asked(kind, values, result):
    column, schema = understand(values, kinds={"v": kind})
    assert (column.kind, column.categories) == result
    assert "as asked" in column.sentence
    assert schema.problems == ()


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("numeric", ["a", "b"] * 50, "it holds no number"),
        ("integer", REAL[::-1], "it holds fractions"),
        ("binary", [i % 3 for i in range(N)], "it holds 3 values"),
        ("categorical", [""] * N, "it holds no value"),
    ],
)
def test_kinds_that_do_not_fit(kind, values, sentence):
    _, schema = understand(values, kinds={"v": kind})
    assert schema.problems == (f"Column 'v' should be {kind}, as asked, and {sentence}; leave its kind open.",)


def test_left_out_as_asked():
    column, schema = understand(REAL[::-1], kinds={"v": "ignore"})
    assert not column.used
    assert "left out, as asked" in column.sentence
    assert encode(table({"good": REAL, "v": REAL[::-1], "t": LABELS}), schema).feature_names == ("good",)


def test_decimal_commas(write):
    lines = ["a;b;t"] + [f"{i},5;{i + 1},{i:03};{'xy'[i % 2]}" for i in range(30)]
    raw = read_table(write("\n".join(lines)))
    first, second = infer_schema(raw, target="t").columns
    assert (first.kind, first.low, first.high) == ("numeric", 0.5, 29.5)
    assert first.sentence.endswith("decimal commas are read as points")
    assert (second.kind, second.low, second.high) == ("numeric", 1.0, 30.029)  # like the other column's


@pytest.mark.parametrize(
    ("odd", "number", "said"),
    [
        ("-", np.nan, "decimal commas are read as points; 1 missing"),
        ("n.k.", np.nan, "1 cell is a word ('n.k.') and counts as missing; decimal commas are read as points"),
        ("4,1326e-05", 4.1326e-05, "decimal commas are read as points"),
        ("-2,5E3", -2500.0, "numbers from -2500 to"),
    ],
)
def test_decimal_commas_beside_dashes_words_and_exponents(odd, number, said, write):
    lines = ["a;b;t", f"{odd};0,5;x"] + [f"{i},{i % 9 + 1};{i % 5},5;{'xy'[i % 2]}" for i in range(99)]
    raw = read_table(write("\n".join(lines)))
    schema = infer_schema(raw, target="t")
    column = schema.columns[0]
    assert (column.kind, column.used) == ("numeric", True)
    assert said in column.sentence
    np.testing.assert_array_equal(encode(raw, schema).x[:2, 0], [number, 0.1])


def test_words_among_which_a_comma_stands_are_categories(write):
    lines = ["a;b;t"] + [f"{['low', 'high', '1,5'][i % 3]};{i % 7};{'xy'[i % 2]}" for i in range(30)]
    column = infer_schema(read_table(write("\n".join(lines))), target="t").columns[0]
    assert (column.kind, column.sentence) == ("categorical", "3 categories: '1,5', 'high', 'low'")


@pytest.mark.parametrize("settling", ["0,512", "-0,105", ",250", "1234,567"])
def test_three_decimals_are_decimals_where_some_cannot_be_thousands(settling, write):
    lines = ["weight;len;t", f"{settling};4,606;x"] + [f"0,{100 + i};{3 + i},606;{'xy'[i % 2]}" for i in range(29)]
    raw = read_table(write("\n".join(lines)))
    schema = infer_schema(raw, target="t")
    first, second = schema.columns
    assert (first.kind, second.kind, second.low, second.high) == ("numeric", "numeric", 3.606, 31.606)
    assert encode(raw, schema).x[0].tolist() == [float(settling.replace(",", ".")), 4.606]


def test_three_decimals_that_may_be_thousands_are_no_numbers(write):
    lines = ["len;t"] + [f"{i + 1},{i:03};{'xy'[i % 2]}" for i in range(30)]
    assert infer_schema(read_table(write("\n".join(lines))), target="t").columns[0].kind == "identifier"


@pytest.mark.parametrize("odd", ["1.234.567", "n.k.", "."])
def test_points_stand_between_thousands_where_commas_are_decimal(odd, write):
    lines = ["sum;count;t", f"1.910,89;{odd};x"] + [f"{i},50;{'2.' * (i > 0)}{i:03};{'xy'[i % 2]}" for i in range(99)]
    raw = read_table(write("\n".join(lines)))
    schema = infer_schema(raw, target="t")
    assert "decimal commas are read as points; points between thousands are left out" in schema.columns[0].sentence
    assert "points between thousands are left out" in schema.columns[1].sentence
    first, *_, last = encode(raw, schema).x.tolist()
    np.testing.assert_array_equal(first, [1910.89, 1234567 if odd[0] == "1" else np.nan])
    assert last == [98.5, 2098]


def test_points_are_decimal_where_some_cannot_stand_between_thousands(write):
    lines = ["sum;len;t"] + [f"{i},50;{i % 3}.{i:03};{'xy'[i % 2]}" for i in range(30)]
    column = infer_schema(read_table(write("\n".join(lines))), target="t").columns[1]
    assert (column.kind, column.high) == ("numeric", 2.029)


def test_long_numbers_of_a_target_are_classes_of_their_own(write):
    lines = ["a;t"] + [f"{i % 7};{2**60 + i % 2}" for i in range(30)]
    raw = read_table(write("\n".join(lines)))
    schema = infer_schema(raw, target="t")
    assert schema.target.class_names == (str(2**60), str(2**60 + 1))
    assert encode(raw, schema).y[:3].tolist() == [0, 1, 0]


def test_copies_and_leaks():
    labels = [str(i % 3) for i in range(N)]
    columns = {
        "a": REAL,
        "again": [f"{float(v):.4f}" for v in REAL],
        "told": [f"{int(v)}.0" for v in labels],
        "coded": ["pqr"[int(v)] for v in labels],
        "tens": [str(10 * int(v) + 3) for v in labels],
        "near": ["pqr"[(int(v) + (i == 50)) % 3] for i, v in enumerate(labels)],
        "t": labels,
    }
    schema = infer_schema(table(columns), target="t")
    assert [column.name for column in schema.columns if column.used] == ["a", "coded", "tens", "near"]
    assert schema.columns[1].sentence.startswith("copies 'a'")
    assert schema.columns[2].sentence.startswith("equals the target")
    told = [note for note in schema.notes if "tells the class of every row" in note]
    assert len(told) == 2
    assert "'coded'" in told[0]
    assert "'tens'" in told[1]
    kept = infer_schema(table(columns), target="t", kinds={"again": "numeric"})
    assert kept.columns[1].used


# --- ranges ---------------------------------------------------------------------------------------


def test_ranges_come_from_the_data_or_from_the_caller():
    values = [i % 11 + 0.5 for i in range(N)]
    column, _ = understand(values)
    assert (column.low, column.high) == (0.5, 10.5)
    column, _ = understand(values, quantiles=(0.1, 0.8))
    assert (column.low, column.high) == tuple(np.quantile(values, [0.1, 0.8]))
    column, schema = understand(values, ranges={"v": (-1, 9)})
    assert (column.low, column.high) == (-1, 9)
    assert "feasible from -1 to 9, as asked" in column.sentence
    outside = sum(value > 9 for value in values)
    assert f"{outside} rows lie outside the range -1 to 9 asked for column 'v'." in schema.notes
    column, _ = understand([i % 11 for i in range(N)], quantiles=(0.05, 0.93))
    assert (column.low, column.high) == (0, 10)  # whole, rounded outwards


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"ranges": {"v": (3, 1)}},
            "The range of 'v' should be two finite numbers, the lower first, and is 3 to 1; cor",
        ),
        ({"ranges": {"v": (0, float("nan"))}}, "should be two finite numbers"),
        ({"ranges": {"v": (0, float("inf"))}}, "should be two finite numbers"),
        ({"ranges": {"v": (0.5, 3)}}, "should have whole numbers as its ends, like the column, and has 0.5 and 3"),
        ({"ranges": {"V": (0, 1)}}, "Expected columns in ranges, got 'V'; did you mean 'v'?"),
        ({"ranges": {"t": (0, 1)}}, "The target 't' should not be in ranges, and is; leave it out."),
        (
            {"ranges": {"v": (0, 1)}, "kinds": {"v": "categorical"}},
            "Only numeric and integer columns should have a range",
        ),
        ({"immutable": ("goood",)}, "Expected columns in immutable, got 'goood'; did you mean 'good'?"),
        ({"kinds": {"v": "numerical"}}, "Expected a kind for column 'v', got 'numerical'; did you mean 'numeric' or"),
    ],
)
def test_settings_that_do_not_fit(settings, problem):
    _, schema = understand([i % 7 for i in range(N)], **settings)
    assert len(schema.problems) == 1
    assert problem in schema.problems[0]


@pytest.mark.parametrize("settings", [{"quantiles": (0.5, 0.5)}, {"most_categories": 1}, {"hash_columns": 1}])
def test_rules_out_of_range(settings):
    with pytest.raises(DatasetError, match="must"):
        understand(REAL, **settings)


# --- problems -------------------------------------------------------------------------------------


def test_all_problems_are_said_at_once():
    columns = {"a": REAL, "b": ["1e400", *REAL[1:]], "c": ["inf", *REAL[1:]], "t": LABELS}
    raw = table(columns)
    raw = RawTable(raw.source, "csv", ("a", "b", "a", "t"), N, raw.row_numbers, raw.cells, raw.line_numbers, ",")
    schema = infer_schema(raw, target="T", immutable=["zz"], kinds={"a": "nmeric"})
    beginnings = [
        "Every column should have a name of its own, and 'a' occurs more than once",
        "Expected the target to be a column, got 'T'; did you mean 't'?",
        "Expected columns in immutable, got 'zz'; it has 'a', 'b'",
        "Expected a kind for column 'a', got 'nmeric'; did you mean 'numeric'?",
        "Numbers of column 'b' should lie within ±1e+150, so that their squares are finite, and 1 do not, such as "
        "'1e400' in line 2",
        "Numbers of column 'a' should lie within ±1e+150, so that their squares are finite, and 1 do not, such as "
        "'inf'",
    ]
    assert len(schema.problems) == len(beginnings)
    for problem, beginning in zip(schema.problems, beginnings, strict=True):
        assert problem.startswith(beginning)
    with pytest.raises(
        DatasetError, match=r"^The table 'mem.csv' has 6 problems: \(1\) Every .*; \(6\) Numbers"
    ) as caught:
        encode(raw, schema)
    assert all(beginning in str(caught.value) for beginning in beginnings)


def rows(header, *lines, times=1):
    return "\n".join([header, *(line for _ in range(times) for line in lines)]) + "\n"


TWO = ("1,x", "2,y", "3,x")
BAD_TABLES = {
    "no target": (rows("a,target", *TWO), "target", "'trget'|", None),
    "one class": (rows("a,t", "1,x", "2,x"), "t", "should have at least two classes, and all rows are 'x'", None),
    "one class but for gaps": (rows("a,t", "1,x", "2,"), "t", "all rows are 'x'", None),
    "no label": (rows("a,t", "1,", "2,?", "3,NaN"), "t", "all are missing; choose another target", None),
    "one column": (rows("t", "x", "y"), "t", "'t' is the only column; separate", None),
    "another delimiter": (rows("a:t", "1:x", "2:y"), "a:t", "is the only column", None),
    "no value": (rows("a,t", ",x", "NaN,y", "?,x"), "t", "all are set aside, such as 'a': holds no value", None),
    "constants": (rows("a,b,t", "1,q,x", "1,q,y"), "t", "such as 'a': holds '1' in every row", None),
    "identifiers": (rows("id,t", *(f"{i},{'xy'[i % 2]}" for i in range(9))), "t", "such as 'id': every row", None),
    "the target twice": (rows("a,a2,t", "0,0,0", "1,1,1"), "t", "such as 'a': equals the target", None),
    "duplicated header": (rows("a,a,t", "1,2,x", "2,1,y"), "t", "'a' occurs more than once", None),
    "duplicated target": (rows("a,t,t", "1,x,x", "2,y,y"), "t", "'t' occurs more than once", None),
    "infinity": (rows("a,t", "inf,x", "2,y", "3,x"), "t", "such as 'inf' in line 2; correct them", None),
    "minus infinity": (rows("a,t", "-Infinity,x", "2,y", "3,x"), "t", "such as '-Infinity'", None),
    "huge": (rows("a,t", "1,x", "2,y", "1e400,x"), "t", "such as '1e400' in line 4", None),
    "squares too large": (rows("a,t", "1,x", "2,y", "-1e200,x"), "t", "such as '-1e200'", None),
    "binary and huge": (rows("a,t", "1,x", "1e300,y"), "t", "such as '1e300'", None),
    "labels without end": (rows("a,t", "1,1", "2,inf", "2.5,1"), "t", "and holds infinity; correct", None),
    "real labels": (rows("a,t", *(f"{i % 5},{i}.5" for i in range(30))), "t", "30 values, some of them frac", None),
    "labels of rows": (rows("a,t", *(f"{i % 5},n{i}" for i in range(30))), "t", "30 different values in 30 rows", None),
    "too many categories": (
        rows("a,t", *(f"w{i % 1500},{i % 2}" for i in range(3000))),
        "t",
        "1,000 categories or fewer",
        {"a": "categorical"},
    ),
    "nothing left": (rows("a,t", "1,x", "2,y", "3,x"), "t", "left out, as asked", {"a": "ignore"}),
    "packed": (gzip.compress(rows("a,t", "1,x", "2,x").encode()), "t", "at least two classes", None),
    "a very long name": (rows("a" * 100_000 + ",t", "inf,x", "2,y", "3,x"), "t", "Numbers of column 'aaa", None),
    "a hostile name": (rows("<script>\x1b[31m,t", "inf,x", "2,y", "3,x"), "t", r"'<script>\\x1b\[31m'", None),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_end_in_one_sentence(write, case):
    content, target, sentence, kinds = BAD_TABLES[case]
    target = "trget" if case == "no target" else target
    raw = read_table(write(content, "mine.csv.gz" if isinstance(content, bytes) else "mine.csv"))
    with pytest.raises(DatasetError, match=sentence) as caught:
        encode(raw, infer_schema(raw, target=target, kinds=kinds or {}))
    message = str(caught.value)
    assert message.startswith("The table '")
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 900


def test_a_target_that_is_nearly_there():
    raw = table({"Churned": LABELS, "age": REAL})
    assert infer_schema(raw, target="churned").problems[0].endswith("got 'churned'; did you mean 'Churned'?")
    assert infer_schema(raw, target="zzzz").problems[0].endswith("it has 'Churned', 'age'.")


def test_a_table_too_large_to_encode(monkeypatch):
    monkeypatch.setattr("backgrad.datasets.schema.LARGEST_TABLE", N * 2 * 8 - 1)
    _, schema = understand(REAL[::-1])
    assert "100 rows of 2 features take" in schema.problems[0]


# --- notes ----------------------------------------------------------------------------------------


def test_notes_of_headers_classes_and_rows(write):
    labels = ["a"] * 90 + ["b"] * 4 + [""] * 6
    schema = infer_schema(table({"": range(N), "v": REAL, "t": labels}), target="t")
    assert schema.problems == ()
    assert schema.columns[0].name == "column 1"
    assert schema.columns[0].kind == "identifier"
    assert schema.target.class_rows == (90, 4)
    assert schema.target.missing == 6
    assert schema.notes == (
        "The header names no column 1: called so here.",
        "6 rows without a value of the target 't' are dropped.",
        "Classes are imbalanced: 'b' has 4 of 94 rows.",
    )
    raw = read_table(write("1,0\n2,1\n3,0\n4,1\n"))
    assert any("has no header line" in note for note in infer_schema(raw, target="0").notes)


def test_the_description_of_a_column_is_plain_data():
    column, _ = understand(["red", "blue", "", "green"] * 25, immutable=("v",))
    assert column.describe() == {
        "name": "v",
        "kind": "categorical",
        "used": True,
        "note": "3 categories: 'blue', 'green', 'red'; immutable, as asked; 25 missing are a category of their own",
        "missing": 25,
        "low": None,
        "high": None,
        "categories": 3,
        "immutable": True,
    }


# --- the encoded table ----------------------------------------------------------------------------


def messy():
    """Missing values, categories, mixed types, Unicode, copies and three imbalanced classes."""
    draw = random.Random(0)
    header = ["id", "Größe", "colour", "sex", "mixed", "age", "copy", "const", "blank", "note", "日本", "target"]
    lines = []
    for i in range(300):
        age = draw.randint(18, 90)
        lines.append(
            [
                str(1000 + i),
                "" if i % 17 == 0 else f"{draw.gauss(170, 10):.2f}",
                ["red", "grün", "NA", "blue"][draw.randrange(4)],
                draw.choice("mf"),
                "oops" if i % 50 == 0 else f"{draw.random():.4f}",
                str(age),
                f"{age}.0",
                "7",
                "",
                f'"a, long ""text"" of {i} words"',
                draw.choice("語文"),
                "" if i == 3 else "rare" if i % 30 == 0 else "some" if i % 5 == 0 else "most",
            ]
        )
    return "\n".join(",".join(row) for row in [header, *lines]), lines


def test_a_messy_table(write):
    text, lines = messy()
    raw = read_table(write(text))
    schema = infer_schema(raw, target="target", immutable=("colour", "age"), ranges={"Größe": (100, 250)})
    assert schema.problems == ()
    first = ["identifier", "numeric", "categorical", "binary", "numeric", "integer", "integer"]
    assert [column.kind for column in schema.columns] == [*first, "constant", "constant", "text", "binary"]
    assert [column.name for column in schema.columns if not column.used] == ["id", "copy", "const", "blank", "note"]
    found = encode(raw, schema)
    names = (
        "Größe",
        "colour=blue",
        "colour=grün",
        "colour=red",
        "colour=(missing)",
        "sex=m",
        "mixed",
        "age",
        "日本=語",
    )
    assert found.feature_names == names
    assert found.columns == ("Größe", "colour", "colour", "colour", "colour", "sex", "mixed", "age", "日本")
    assert (found.numeric, found.integer, found.binary) == ((0, 6), (7,), (5, 8))
    assert (found.groups, found.immutable) == (((1, 2, 3, 4),), (1, 2, 3, 4, 7))
    kept = [row for row in lines if row[-1]]
    assert found.row_numbers.tolist() == [i for i in range(300) if i != 3]
    assert [found.class_names[label] for label in found.y] == [row[-1] for row in kept]
    colours = {"blue": 0, "grün": 1, "red": 2, "NA": 3}
    for x, row in zip(found.x, kept, strict=True):
        expected = np.zeros(9)
        expected[0] = float(row[1] or "nan")
        expected[1 + colours[row[2]]] = 1
        expected[5] = row[3] == "m"
        expected[6] = np.nan if row[4] == "oops" else float(row[4])
        expected[7] = int(row[5])
        expected[8] = row[10] == "語"
        np.testing.assert_array_equal(x, expected)
    ages = [int(row[5]) for row in kept]
    assert (found.lower[[0, 1, 7]].tolist(), found.upper[[0, 1, 7]].tolist()) == (
        [100, 0, min(ages)],
        [250, 1, max(ages)],
    )
    assert not found.x.flags.writeable
    assert repr(found) == "<EncodedTable: 299 rows, 9 features, 3 classes>"
    assert infer_schema(raw, target="target", immutable=("age", "colour"), ranges={"Größe": (100, 250)}) == schema


def test_texts_are_hashed_if_asked():
    words = ["alpha beta beta", "beta", "", "gamma alpha"] * 25
    raw = table({"v": words, "t": LABELS})
    schema = infer_schema(raw, target="t", kinds={"v": "hash"}, hash_columns=16, immutable=["v"])
    found = encode(raw, schema)
    assert found.x.shape == (N, 16)
    assert found.feature_names[:2] == ("v#0", "v#1")
    assert found.x.sum(axis=1).tolist() == [3, 1, 0, 2] * 25  # as many as there are words, no signs
    beta = found.x[1]
    np.testing.assert_array_equal(found.x[0] - 2 * beta >= 0, np.ones(16, bool))
    assert found.integer == found.immutable == tuple(range(16))
    np.testing.assert_array_equal(found.upper, found.x.max(axis=0))


def test_names_of_features_differ():
    raw = table({"c=a": REAL, "c": ["a", "b", "(missing)", ""] * 25, "t": LABELS})
    names = encode(raw, infer_schema(raw, target="t")).feature_names
    assert names == ("c=a", "c=(missing)", "c=a (2)", "c=b", "c=(missing) (2)")


def test_binary_values_that_are_missing_stay_missing():
    raw = table({"v": ["1", "0", "", "1"] * 25, "t": LABELS})
    found = encode(raw, infer_schema(raw, target="t"))
    np.testing.assert_array_equal(found.x[:4, 0], [1, 0, np.nan, 1])
    assert found.binary == (0,)


def test_another_table_of_the_same_columns():
    colours = ["red", "green", "blue", "red"] * 25
    schema = infer_schema(table({"c": colours, "t": LABELS}), target="t")
    found = encode(table({"c": ["red", "blue"], "t": ["yes", "yes"]}), schema)
    assert found.x.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.y.tolist() == [1, 1]
    with pytest.raises(DatasetError, match="Column 'c' should hold the values that its schema knows, and holds 'pink'"):
        encode(table({"c": ["red", "pink"], "t": ["yes", "no"]}), schema)
    with pytest.raises(DatasetError, match=r"Column 't' .* holds 'maybe' besides"):
        encode(table({"c": ["red", "red"], "t": ["maybe", "no"]}), schema)
    with pytest.raises(DatasetError, match="should have no missing values, as its schema says"):
        encode(table({"c": ["red", ""], "t": ["yes", "no"]}), schema)
    with pytest.raises(DatasetError, match="Expected a table of 2 columns"):
        encode(table({"c": ["red"], "d": ["x"], "t": ["no"]}), schema)


CELL = st.sampled_from(["", "NA", "0", "1", "2", "1.5", "x", "y", "-", "1e3", "inf", "1,5", "null", "1e160", "z z"])


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), n=st.integers(1, 45), delimiter=st.sampled_from(",;"))
def test_whatever_is_encoded_keeps_what_it_promises(data, n, delimiter):
    columns = {name: data.draw(st.lists(CELL, min_size=n, max_size=n)) for name in ("p", "q", "t")}
    raw = table(columns)
    raw = RawTable("m", "csv", raw.names, n, raw.row_numbers, raw.cells, raw.line_numbers, delimiter)
    schema = infer_schema(raw, target="t", most_categories=3)
    if schema.problems:
        with pytest.raises(DatasetError):
            encode(raw, schema)
        return
    found = encode(raw, schema)
    assert found.x.shape == (len(found.y), schema.width)
    assert not np.isinf(found.x).any()
    assert sorted(np.unique(found.y)) == list(range(len(found.class_names)))
    for group in found.groups:
        assert (found.x[:, group].sum(axis=1) == 1).all()
    places = [*found.numeric, *found.integer, *found.binary, *(j for group in found.groups for j in group)]
    assert sorted(places) == list(range(schema.width))
    assert not np.isnan(found.x[:, [j for group in found.groups for j in group]]).any()
    known = ~np.isnan(found.x)
    assert (known.any(axis=0)).all()
    assert ((found.x >= found.lower) & (found.x <= found.upper))[known].all()
    assert sum(schema.target.class_rows) == len(found.y) == n - schema.target.missing


# --- what a person says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("age=18:90", ("age", (18.0, 90.0))),
        ("a=b:c=-1e3:0.5", ("a=b:c", (-1000.0, 0.5))),
    ],
)
def test_ranges_in_words(text, result):
    assert parse_range(text) == result


@pytest.mark.parametrize("text", ["age", "age=18", "=1:2", "age=a:b", "age=1:2:3", "18:90", ""])
def test_ranges_in_wrong_words(text):
    with pytest.raises(DatasetError, match=r"Expected a range such as 'age=18:90', got .*; write COLUMN=LOW:HIGH"):
        parse_range(text)


def test_overrides_from_a_file(write):
    path = write("immutable: [age, größe]\nranges: {income: [0, 1e6]}\nkinds: {notes: hash}\n", "o.yaml")
    found = read_overrides(path)
    assert found == Overrides(("age", "größe"), {"income": (0.0, 1e6)}, {"notes": "hash"})
    more = found.and_then(Overrides(("sex", "age"), {"income": (1, 2), "x": (0, 1)}))
    assert more == Overrides(("age", "größe", "sex"), {"income": (1, 2), "x": (0, 1)}, {"notes": "hash"})
    assert read_overrides(write("", "e.yaml")) == Overrides()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("imutable: [a]\n", "'imutable' is no key; did you mean 'immutable'"),
        ("ranges: {a: [0]}\nkinds: [x]\n", r"has 2 problems: \(1\) ranges.a.*; \(2\) kinds: expected a dictionary"),
        ("ranges: {a: [low, 1]}\n", "ranges.a.0: expected a number, .*got 'low'"),
        ("kinds: {a: numeral}\n", "kinds.a: expected a kind, got 'numeral'; did you mean 'numeric'"),
        ("kinds: {a: hash, a: binary}\n", "has the key 'a' twice, in lines 1 and 1"),
        ("- a\n", "Expected keys and values"),
        ("a: [\n", r"is not YAML: .* \(line 2, column 1\)"),
        ("!!python/object/apply:os.system [ls]\n", "is not YAML"),
        (b"immutable: [\xff]\n", "must be text in UTF-8"),
        ("a: " + "[" * 5000, "nested more than 20 deep"),
        ("#" * 300_000, "256 KiB or less"),
    ],
)
def test_overrides_that_are_wrong(write, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_overrides(write(text, "o.yaml"))


def test_overrides_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\): check its name"):
        read_overrides(tmp_path / "no.yaml")
