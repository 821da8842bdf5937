"""The data sets: what they hold, how they are scaled, and how a wrong name or a damaged file is reported."""

import ast
import dataclasses
import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backgrad.datasets as room
from backgrad.datasets import Dataset, list_datasets, load, loaders, registry
from backgrad.errors import DatasetError, InputError

NAMES = (
    "spambase",
    "spambase57",
    "mnist",
    "mnist-1-7",
    "mnist-full",
    "ransomware",
    "iris",
    "wine",
    "breast-cancer",
    "digits",
    "diabetes",
    "blobs2",
    "blobs3",
)
# What data sets may use of the package: nothing that computes.
_ALLOWED = ("checks", "datasets", "errors", "folders", "plain_yaml", "spelling")
BUNDLED = [info for info in list_datasets() if info.bundled]
BUNDLED_NAMES = [info.name for info in BUNDLED]
MNIST_COUNTS = [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]


@pytest.fixture
def bundled_copy(tmp_path, monkeypatch):
    """A folder with copies of the bundled files that the loaders read instead of the package's."""
    folder = loaders._bundled_folder()
    for name in loaders._SHA256:
        (tmp_path / name).write_bytes(folder.joinpath(name).read_bytes())
    monkeypatch.setattr(loaders, "_bundled_folder", lambda: tmp_path)
    loaders.clear_cache()
    yield tmp_path
    loaders.clear_cache()


# --- the room -------------------------------------------------------------------------------------


def test_public_names():
    assert room.__all__ == [
        "Column",
        "Dataset",
        "EncodedTable",
        "Overrides",
        "RawTable",
        "Schema",
        "SplitRows",
        "Target",
        "encode",
        "infer_schema",
        "list_datasets",
        "load",
        "load_ransomware",
        "load_table",
        "parse_range",
        "read_overrides",
        "read_table",
        "split_rows",
    ]
    assert all(hasattr(room, name) for name in room.__all__)


def test_importing_and_listing_is_light():
    code = (
        "import sys; from backgrad.datasets import list_datasets; list_datasets(); "
        "heavy = {'jax', 'scipy', 'sklearn', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(Path(room.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_imports_jax_or_another_room(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            assert module.split(".")[0] != "jax"
            if module.startswith("backgrad"):
                assert module.startswith(tuple(f"backgrad.{name}" for name in _ALLOWED)), module


# --- metadata against data ------------------------------------------------------------------------


def test_the_table_holds_the_names():
    assert tuple(info.name for info in list_datasets()) == NAMES


def test_listing_reads_nothing(monkeypatch):
    def refuse(*_):
        raise AssertionError("a reader ran")

    entries = {name: dataclasses.replace(e, read=refuse) for name, e in registry._REGISTRY.items()}
    monkeypatch.setattr(registry, "_REGISTRY", entries)
    assert len(list_datasets()) == len(NAMES)


def test_entries_of_the_list_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        list_datasets()[0].name = "other"  # pyright: ignore


@pytest.mark.parametrize("info", BUNDLED, ids=lambda info: info.name)
def test_metadata_agree_with_the_data(info):
    data = load(info.name)
    assert (data.n_samples, data.n_features, data.n_classes) == (
        info.n_samples,
        info.n_features,
        info.n_classes,
    )
    for field in ("name", "description", "source", "licence", "citation", "task"):
        assert getattr(data, field) == getattr(info, field)
        assert getattr(data, field)
    assert len(set(data.feature_names)) == data.n_features
    assert all(type(name) is str for name in (*data.feature_names, *data.class_names))
    if not data.is_regression:
        assert np.array_equal(np.unique(data.y), np.arange(info.n_classes))


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_arrays(name):
    data = load(name)
    assert data.x.dtype == np.float64
    assert data.y.dtype == (np.float64 if data.is_regression else np.int64)
    assert data.x.shape == (len(data.y), len(data.feature_names))
    for array in (data.x, data.y, data.feature_minimum, data.feature_maximum):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.x = data.x  # pyright: ignore


@pytest.mark.parametrize("name", BUNDLED_NAMES)
@pytest.mark.parametrize("scaled", [True, False])
def test_loading_twice_gives_the_same_bytes(name, scaled):
    first, second = load(name, scaled=scaled), load(name, scaled=scaled)
    assert first.x.tobytes() == second.x.tobytes()
    assert first.y.tobytes() == second.y.tobytes()


# --- contents -------------------------------------------------------------------------------------


def test_spambase():
    data = load("spambase")
    assert data.x.shape == (4601, 54)
    assert np.bincount(data.y).tolist() == [2788, 1813]
    assert data.class_names == ("ham", "spam")
    assert data.feature_names[:2] == ("word_freq_make", "word_freq_address")
    assert data.feature_names[48:] == tuple(f"char_freq_{c}" for c in ";([!$#")
    assert data.is_binary
    assert np.array_equal(data.x, load("spambase57", scaled=False).x[:, :54] > 0)


def test_spambase57():
    raw, data = load("spambase57", scaled=False), load("spambase57")
    assert data.x.shape == (4601, 57)
    assert not data.is_binary
    assert not raw.is_binary
    assert data.feature_names[54:] == (
        "capital_run_length_average",
        "capital_run_length_longest",
        "capital_run_length_total",
    )
    # The first mail and the largest values, as UCI publishes them.
    assert raw.x[0, [1, 2, 51, 54, 55, 56]].tolist() == [0.64, 0.64, 0.778, 3.756, 61, 278]
    assert raw.feature_maximum[[0, 54, 55, 56]].tolist() == [4.54, 1102.5, 9989, 15841]
    assert raw.feature_minimum.tolist() == [0] * 54 + [1, 1, 1]
    assert np.array_equal(raw.y, data.y)


def test_mnist():
    data = load("mnist")
    assert data.x.shape == (10_000, 784)
    assert np.bincount(data.y).tolist() == MNIST_COUNTS
    assert data.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.class_names == tuple("0123456789")
    assert data.feature_names[29] == "pixel_1_1"
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert set(data.feature_minimum) == {0}
    assert set(data.feature_maximum) == {255}


def test_mnist_1_7_are_the_ones_and_sevens_in_order():
    digits, pair = load("mnist"), load("mnist-1-7")
    keep = np.isin(digits.y, (1, 7))
    assert pair.n_samples == MNIST_COUNTS[1] + MNIST_COUNTS[7]
    assert pair.class_names == ("1", "7")
    assert np.array_equal(pair.x, digits.x[keep])
    assert np.array_equal(np.where(pair.y == 0, 1, 7), digits.y[keep])


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer", "digits"])
def test_toy_sets_are_those_of_scikit_learn(name):
    from sklearn import datasets

    bunch = getattr(datasets, "load_" + name.replace("-", "_"))()
    data = load(name, scaled=False)
    assert np.array_equal(data.x, bunch.data)
    assert np.array_equal(data.y, bunch.target)
    assert data.class_names == tuple(str(label) for label in bunch.target_names)


def test_diabetes_is_a_regression_in_the_units_of_its_source():
    from sklearn.datasets import load_diabetes

    data, bunch = load("diabetes", scaled=False), load_diabetes(scaled=False)
    assert np.array_equal(data.x, bunch.data)
    assert np.array_equal(data.y, bunch.target)
    assert (data.task, data.n_classes, data.class_names) == ("regression", 1, ("progression",))
    assert repr(data) == "<Dataset diabetes: 442 rows, 10 features, regression of progression>"
    assert np.array_equal(load("diabetes").y, data.y)


@pytest.mark.parametrize(("name", "counts"), [("blobs2", [300, 300]), ("blobs3", [200, 200, 200])])
def test_blobs_overlap_without_hiding_their_centres(name, counts):
    data = load(name)
    assert np.bincount(data.y).tolist() == counts
    centres = np.array([data.x[data.y == label].mean(axis=0) for label in range(data.n_classes)])
    nearest = ((data.x[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert 0.02 < np.mean(nearest != data.y) < 0.2
    assert len(np.unique(data.y[:30])) == data.n_classes  # rows are shuffled


def test_bundled_spambase_equals_the_file_in_the_data_directory():
    folder = os.environ.get("BACKGRAD_DATA")
    if not folder:
        pytest.skip("BACKGRAD_DATA is not set: it names the folder with the data to compare with")
    path = Path(folder) / "spambase.csv.gz"
    if not path.exists():
        pytest.skip("the folder that BACKGRAD_DATA names has no spambase.csv.gz")
    rows = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
    table = np.array([[float(value) for value in row.split(",")] for row in rows])
    data = load("spambase57", scaled=False)
    assert np.array_equal(data.x, table[:, :57])
    assert np.array_equal(data.y, table[:, 57])


def test_bundled_mnist_equals_the_file_in_the_data_directory():
    folder = os.environ.get("BACKGRAD_DATA")
    if not folder:
        pytest.skip("BACKGRAD_DATA is not set: it names the folder with the data to compare with")
    path = Path(folder) / "mnist.npz"
    if not path.exists():
        pytest.skip("the folder that BACKGRAD_DATA names has no mnist.npz")
    with np.load(path, allow_pickle=False) as archive:
        pixels, digits = archive["x_train"][:10_000], archive["y_train"][:10_000]
    data = load("mnist", scaled=False)
    assert np.array_equal(data.x, pixels.reshape(10_000, 784))
    assert np.array_equal(data.y, digits)


# --- scaling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_scaled_features_lie_in_the_unit_interval_and_go_back(name):
    data, raw = load(name), load(name, scaled=False)
    assert data.scaled
    assert not raw.scaled
    assert data.x.min() >= 0
    assert data.x.max() <= 1
    assert np.array_equal(data.feature_minimum, raw.feature_minimum)
    assert np.array_equal(data.feature_maximum, raw.feature_maximum)
    # Two roundings (quotient and product) on values up to the width of the column.
    width = np.abs(data.feature_maximum).max() + np.abs(data.feature_minimum).max()
    np.testing.assert_allclose(data.original_units(), raw.x, rtol=0, atol=4 * np.finfo(float).eps * width)
    assert np.array_equal(raw.original_units(), raw.x)


@pytest.mark.parametrize("name", ["mnist", "mnist-1-7", "digits", "spambase"])
def test_whole_numbers_go_back_exactly(name):
    assert np.array_equal(load(name).original_units(), load(name, scaled=False).x)


@pytest.mark.parametrize("name", ["spambase57", "iris", "wine", "breast-cancer", "diabetes", "blobs2", "blobs3"])
def test_min_max_columns_touch_both_ends(name):
    data = load(name)
    assert np.all(data.x.min(axis=0) == 0)
    assert np.all(data.x.max(axis=0) == 1)


def test_original_units_may_be_written_to():
    for scaled in (True, False):
        data = load("iris", scaled=scaled)
        before = data.x.copy()
        data.original_units()[...] = -1
        assert np.array_equal(data.x, before)


def test_binary_columns_keep_their_values_and_constant_ones_become_zero():
    values = np.array([[0.0, 1.0, 3.0, 2.0], [1.0, 1.0, 3.0, 6.0]])
    minimum, maximum = loaders.observed_range(values)
    assert minimum.tolist() == [0, 0, 3, 2]
    assert maximum.tolist() == [1, 1, 3, 6]
    assert registry.scale(values, minimum, maximum).tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]


# --- a Dataset of one's own -----------------------------------------------------------------------


def _dataset(**changes) -> Dataset:
    settings = {
        "name": "mine",
        "x": np.zeros((3, 2)),
        "y": np.array([0, 1, 1]),
        "feature_names": ("a", "b"),
        "class_names": ("no", "yes"),
        "feature_minimum": np.zeros(2),
        "feature_maximum": np.ones(2),
        "description": "",
        "source": "",
        "licence": "",
        "citation": "",
    }
    return Dataset(**(settings | changes))


def test_a_dataset_copies_what_its_maker_could_still_change():
    x = np.zeros((3, 2))
    data = _dataset(x=x)
    x[0, 0] = 5
    assert data.x[0, 0] == 0
    assert data.is_binary


def test_a_dataset_prints_as_one_line():
    assert repr(_dataset()) == "<Dataset mine: 3 rows, 2 features, 2 classes (no, yes)>"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": np.zeros(3)}, r"must have the shape \(rows, features\), got \(3,\)"),
        ({"y": np.array([0, 1])}, r"y of 'mine' must have the shape \(3,\).*got \(2,\)"),
        ({"feature_minimum": np.zeros(3)}, r"feature_minimum of 'mine' must have the shape \(2,\)"),
        ({"feature_names": ("a",)}, "needs 2 feature names, one for each column, got 1"),
        ({"y": np.array([0, 1, 2])}, r"must lie in 0\.\.1.*run from 0 to 2"),
        ({"y": np.array([-1, 1, 1])}, r"must lie in 0\.\.1.*run from -1 to 1"),
        ({"task": "ranking"}, "The task of 'mine' must be 'classification' or 'regression', got 'ranking'"),
        ({"task": "regression", "y": np.array([0.5, np.inf, 1])}, "The responses of 'mine' must be finite"),
        ({"task": "regression"}, "the name of its one response as class_names, got 2 names"),
        ({"x": np.full((3, 2), np.nan)}, "must be finite, and some are NaN or infinite"),
    ],
)
def test_a_dataset_refuses_parts_that_do_not_belong_together(changes, sentence):
    with pytest.raises(DatasetError, match=sentence):
        _dataset(**changes)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("spambse", "spambase"),
        ("MNIST", "mnist"),
        ("mnist17", "mnist-1-7"),
        ("breast_cancer", "breast-cancer"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(DatasetError) as caught:
        load(wrong)
    sentence = str(caught.value)
    assert sentence == (f"Expected the name of a data set ({', '.join(NAMES)}), got {wrong!r}; did you mean {near!r}?")
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)


def test_a_name_like_none_is_answered_with_the_list():
    with pytest.raises(DatasetError, match=r"blobs3\), got 'qqq'; choose one of those\."):
        load("qqq")


@pytest.mark.parametrize(
    ("file", "names"),
    [("spambase.csv.gz", ("spambase", "spambase57")), ("mnist_first10k.npz", ("mnist", "mnist-1-7"))],
)
def test_a_damaged_file_is_refused(bundled_copy, file, names):
    content = bytearray((bundled_copy / file).read_bytes())
    for name in names:
        load(name)
    loaders.clear_cache()
    content[len(content) // 2] ^= 1
    (bundled_copy / file).write_bytes(content)
    for name in names:
        with pytest.raises(DatasetError, match=f"{file}.*SHA-256.*damaged or was changed; reinstall backgrad"):
            load(name)


def test_a_missing_file_is_refused(bundled_copy):
    (bundled_copy / "spambase.csv.gz").unlink()
    with pytest.raises(DatasetError, match=r"cannot be read \(FileNotFoundError\); reinstall backgrad"):
        load("spambase")
    assert load("mnist-1-7").n_samples == 2197


def test_every_bundled_file_has_a_checksum():
    names = {path.name for path in loaders._bundled_folder().iterdir()}
    assert names == set(loaders._SHA256)
