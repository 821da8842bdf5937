"""CSV files of one's own: what they become, and how wrong ones are reported."""

import gzip

import numpy as np
import pytest

from backgrad.datasets import load, load_table
from backgrad.errors import DatasetError

PLAIN = "a,b,flag,kind\n1,10,0,pear\n3,20,1,apple\n2,40,1,pear\n"


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def put(text, name="mine.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return put


def test_a_plain_file(write):
    path = write(PLAIN)
    data = load_table(path, target="kind")
    assert data.name == "mine"
    assert data.x.tolist() == [[0, 0, 0], [1, 1 / 3, 1], [0.5, 1, 1]]
    assert data.y.tolist() == [1, 0, 1]
    assert data.class_names == ("apple", "pear")
    assert data.feature_names == ("a", "b", "flag")
    assert data.feature_minimum.tolist() == [1, 10, 0]
    assert data.feature_maximum.tolist() == [3, 40, 1]
    assert data.source == str(path)
    raw = load_table(str(path), target="kind", scaled=False, name="other")
    assert (raw.name, raw.scaled) == ("other", False)
    assert raw.x.tolist() == [[1, 10, 0], [3, 20, 1], [2, 40, 1]]
    assert not raw.x.flags.writeable
    np.testing.assert_allclose(data.original_units(), raw.x, rtol=1e-15)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_quotes_and_spaces(write, delimiter, end):
    lines = [['"x, y"', " n ", "t"], ["1e3", " -2 ", '"b;c,d"'], [], ["2", "+.5", "a"]]
    text = "".join(delimiter.join(line) + end for line in lines)
    data = load_table(write(text), target="t", scaled=False)
    assert data.feature_names == ("x, y", "n")
    assert data.x.tolist() == [[1000, -2], [2, 0.5]]
    assert data.class_names == ("a", "b;c,d")


def test_decimal_commas_are_read_as_in_a_schema(write):
    path = write("a;b;t\n1,5;10;0,25\n-2,25;20;1\n3;30;7,5\n")
    data = load_table(path, target="t", task="regression", scaled=False)
    assert data.x.tolist() == [[1.5, 10], [-2.25, 20], [3, 30]]
    assert data.y.tolist() == [0.25, 1, 7.5]


@pytest.mark.parametrize(
    ("content", "name"),
    [(PLAIN.encode("utf-8-sig"), "mine.csv"), (gzip.compress(PLAIN.encode(), mtime=0), "mine.csv.gz")],
)
def test_byte_order_marks_and_compression(write, content, name):
    data = load_table(write(content, name), target="kind")
    assert data.name == "mine"
    assert data.feature_names == ("a", "b", "flag")


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        (["10", "9", "9.0"], ("9", "10"), [1, 0, 0]),
        (["-1", "1", "-1"], ("-1", "1"), [0, 1, 0]),
        (["0.5", "1", "2"], ("0.5", "1", "2"), [0, 1, 2]),
        (["10", "9", "x"], ("10", "9", "x"), [0, 1, 2]),
        (["none", "mild", "null"], ("mild", "none", "null"), [1, 0, 2]),
    ],
)
def test_classes_are_in_their_order(write, values, names, labels):
    data = load_table(write("x,t\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values))), target="t")
    assert data.class_names == names
    assert data.y.tolist() == labels


def test_a_regression_keeps_the_unit_of_its_response(write):
    data = load_table(write("price,x\n1.5,0\n-200,3\n7,4\n"), target="price", task="regression")
    assert data.is_regression
    assert data.y.tolist() == [1.5, -200, 7]
    assert (data.class_names, data.n_classes, data.feature_names) == (("price",), 1, ("x",))


def test_a_bundled_set_comes_back_from_a_file(write):
    iris = load("iris", scaled=False)
    lines = [",".join([*iris.feature_names, "species"])]
    lines += [",".join([*map(repr, x.tolist()), iris.class_names[y]]) for x, y in zip(iris.x, iris.y, strict=True)]
    data = load_table(write("\n".join(lines)), target="species")
    assert np.array_equal(data.x, load("iris").x)
    assert np.array_equal(data.y, iris.y)
    assert data.class_names == iris.class_names


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        ("", "t", "Expected a header line and rows in .* it is empty; add rows"),
        ("a,t\n", "t", "it is only a header; add rows"),
        (PLAIN, "knd", r"Expected target to be a column of .*, got 'knd'; did you mean 'kind'\?"),
        (PLAIN, "KIND", r"got 'KIND'; did you mean 'kind'\?"),
        (PLAIN, "zzz", "got 'zzz'; it has 'a', 'b', 'flag', 'kind'"),
        ("a,t,u\nx,0,north\ny,1,\n", "t", "Every value of .* should be there, and 1 are missing, in 'u'; fill or drop"),
        ("a,t\nNaN,0\n?,1\nnull,1\n", "t", "and 3 are missing, in 'a'"),
        ("a,t\n1,0\n2,\n", "t", "and 1 are missing, in 't'"),
        (
            "a,b,c,t\n1,x,1,0\n2,2,1_000,1\n",
            "t",
            r"should be numbers, and 'b', 'c' are not \('b' holds 'x'\); categorical columns are not supported yet",
        ),
        ("a,t\n1,0\ninf,1\n", "t", "should be finite, and 'a' hold infinity"),
        (PLAIN, "a", "'kind' are not .*'pear'"),
        ("a,t\n1,0\n2,0\n", "t", "should have at least two classes, and all rows are '0'; choose another target"),
        ("a,t,a,t\n1,0,1,0\n", "t", "a name of its own, and 'a', 't' occurs more than once"),
        (",a,t\n0,1,0\n", "t", "column 1 has none; name it, or drop it .pandas writes its index so"),
        ("t\n1\n2\n", "t", "'t' is its only column; separate"),
        ("# by x\na,t\n1,0\n", "t", "should have 1 value like its header, and line 2 has 2"),
        ("a,t\n1,0\n1,2,0\n", "t", "should have 2 values like its header, and line 3 has 3; quote"),
        (
            "a,t\n" + "".join(f"{i},{i}.5\n" for i in range(30)),
            "t",
            "30 values, some of them fractions; set task='regr",
        ),
    ],
)
def test_files_that_are_no_table_are_refused(write, text, target, sentence):
    with pytest.raises(DatasetError, match=sentence):
        load_table(write(text), target=target)


def test_a_response_that_is_no_number_is_refused(write):
    with pytest.raises(DatasetError, match=r"should hold finite numbers for a regression, and it holds 'pear'"):
        load_table(write(PLAIN), target="kind", task="regression")
    with pytest.raises(DatasetError, match="'inf'"):
        load_table(write("a,t\n1,2\n1,inf\n"), target="t", task="regression")


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(DatasetError, match=r"Expected a CSV file at .*nowhere.csv', and there is none; check the path"):
        load_table(tmp_path / "nowhere.csv", target="t")
    with pytest.raises(DatasetError, match=r"in UTF-8 at .* cannot be read \(UnicodeDecodeError\); save it as one"):
        load_table(write("a,t\n1,é\n", encoding="latin-1"), target="t")
    with pytest.raises(DatasetError, match="it is a folder"):
        load_table(tmp_path, target="t")
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        load_table(write("a,t\n", "mine.csv.gz"), target="t")


def test_an_unknown_task_is_refused(write):
    # With runtime type checks on, they speak first; their error is a TypeError.
    with pytest.raises((DatasetError, TypeError), match="task"):
        load_table(write(PLAIN), target="kind", task="ranking")  # pyright: ignore
