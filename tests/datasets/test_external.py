"""Data sets that do not travel with the package: where they are looked for, how they get there, what they hold."""

import os
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from backgrad.datasets import external, list_datasets, load, load_ransomware, ransomware
from backgrad.errors import DatasetError, InputError

FOLDER = os.environ.get("BACKGRAD_DATA")


def needs(file_name):
    """Skip where the folder that BACKGRAD_DATA names has no such file."""
    there = FOLDER is not None and (Path(FOLDER) / file_name).is_file()
    return pytest.mark.skipif(not there, reason=f"BACKGRAD_DATA names no folder with {file_name}")


needs_mnist, needs_ransomware = needs(external.MNIST_FILE), needs(ransomware.PACKED_FILE)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no folder named by BACKGRAD_DATA."""
    monkeypatch.delenv(external.VARIABLE, raising=False)
    monkeypatch.setattr(external, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def openml(monkeypatch):
    """What OpenML would answer, as a namespace that tests fill; and how often it was asked."""
    answer = types.SimpleNamespace(data=np.zeros((0, 784)), target=np.array([], object), error=None, asked=0)

    def fetch(name, *, version, as_frame, cache, parser):
        assert (name, version, as_frame, cache) == ("mnist_784", 1, False, False)
        assert parser in ("pandas", "liac-arff")
        answer.asked += 1
        if answer.error:
            raise answer.error
        return answer

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    return answer


# --- where ----------------------------------------------------------------------------------------


def test_the_named_folder_comes_before_the_cache(cache, tmp_path, monkeypatch):
    assert external.find("file") is None
    cache.mkdir()
    (cache / "file").touch()
    assert external.find("file") == cache / "file"
    monkeypatch.setenv(external.VARIABLE, str(tmp_path))
    assert external.find("file") == cache / "file"
    (tmp_path / "file").touch()
    assert external.find("file") == tmp_path / "file"


def test_the_list_says_what_is_there_and_where_to_get_the_rest():
    obtain = {info.name: info.obtain for info in list_datasets() if not info.bundled}
    assert set(obtain) == {"mnist-full", "ransomware"}
    assert "load('mnist-full', download=True) fetches it from OpenML" in obtain["mnist-full"]
    assert "Get RansomwareData.zip and VariableNames.txt from https://github.com/rissg" in obtain["ransomware"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "mnist-full",
            r"mnist\.npz should lie in .*not set.*; load\('mnist-full', download=True\), or the option --download",
        ),
        (
            "ransomware",
            r"RansomwareData\.zip should lie in .*; get RansomwareData\.zip and VariableNames\.txt from http",
        ),
    ],
)
@pytest.mark.usefixtures("cache")
def test_what_is_not_there_is_never_fetched_unasked(name, sentence, openml):
    with pytest.raises(DatasetError, match=sentence):
        load(name)
    assert openml.asked == 0


def test_download_changes_nothing_for_what_is_there():
    assert np.array_equal(load("iris", download=True).x, load("iris").x)


# --- MNIST ----------------------------------------------------------------------------------------


@needs_mnist
def test_mnist_full():
    data = load("mnist-full")
    (info,) = (one for one in list_datasets() if one.name == "mnist-full")
    assert (data.n_samples, data.n_features, data.n_classes) == (info.n_samples, info.n_features, info.n_classes)
    assert (data.x.min(), data.x.max()) == (0, 1)
    first = load("mnist")
    assert np.array_equal(data.x[:10_000], first.x)
    assert np.array_equal(data.y[:10_000], first.y)
    assert data.feature_names == first.feature_names
    assert info.n_test == 10_000
    # Labels of the first official test digits.
    assert data.y[60_000:60_010].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@needs_mnist
def test_mnist_full_is_fetched_once_and_stored_whole(cache, openml):
    assert FOLDER is not None
    with np.load(Path(FOLDER) / external.MNIST_FILE) as archive:
        pixels = np.concatenate([archive["x_train"], archive["x_test"]]).reshape(-1, 784)
        digits = np.concatenate([archive["y_train"], archive["y_test"]])
    openml.data, openml.target = pixels.astype(np.int64), digits.astype(str).astype(object)
    data = load("mnist-full", scaled=False, download=True)
    assert np.array_equal(data.x, pixels)
    assert [path.name for path in cache.iterdir()] == [external.MNIST_FILE]
    load("mnist-full", scaled=False, download=True)
    assert openml.asked == 1


def test_a_download_that_is_something_else_is_refused_and_not_stored(cache, openml):
    openml.data, openml.target = np.zeros((3, 784)), np.array(["1", "2", "3"], object)
    with pytest.raises(DatasetError, match=r"that OpenML sent should hold .* SHA-256 .* damaged or another one; try"):
        load("mnist-full", download=True)
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_download_that_fails_says_so(openml):
    openml.error = TimeoutError("no answer")
    with pytest.raises(DatasetError, match=r"OpenML, which failed \(TimeoutError: no answer\); try again when"):
        load("mnist-full", download=True)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(cache, content):
    cache.mkdir()
    (cache / external.MNIST_FILE).write_bytes(content)
    with pytest.raises(DatasetError, match=r"should hold the arrays x_train, .* cannot be read .*; replace it"):
        load("mnist-full")


def test_another_file_is_refused(cache):
    digits = {
        f"{k}_{role}": np.zeros((2, 28, 28)[: 3 if k == "x" else 1], np.uint8)
        for k in "xy"
        for role in ("train", "test")
    }
    external.store_arrays(cache / external.MNIST_FILE, **digits)
    with pytest.raises(DatasetError, match=r"mnist\.npz' should hold .* SHA-256 .*; delete it and load\('mnist-full'"):
        load("mnist-full")


def test_storing_leaves_nothing_half_written(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DatasetError, match=r"should be stored in .* cannot be written to \(OSError\); free or unlock"):
        external.store_arrays(tmp_path / "folder" / "file.npz", x=np.zeros(1))
    assert [*(tmp_path / "folder").iterdir()] == []


# --- ransomware -----------------------------------------------------------------------------------


@needs_ransomware
def test_ransomware():
    data = load("ransomware")
    (info,) = (one for one in list_datasets() if one.name == "ransomware")
    assert (data.n_samples, data.n_features, data.n_classes) == (info.n_samples, info.n_features, info.n_classes)
    assert np.bincount(data.y).tolist() == [593, 342]
    assert data.class_names == ("benign", "ransomware")
    assert data.is_binary
    assert len(np.unique(data.x, axis=0)) == data.n_samples
    assert len(set(data.feature_names)) == 400
    assert data.feature_names[0] == "API:NtOpenFile"
    assert np.array_equal(data.x, load("ransomware", scaled=False).x)
    assert data.x.tobytes() == load_ransomware().x.tobytes()


@needs_ransomware
def test_ransomware_of_the_paper_has_530_rows():
    data = load_ransomware(unique=False)
    assert np.bincount(data.y).tolist() == [942, 530]
    assert "repeated rows are kept" in data.description
    every = load_ransomware(unique=False, left_out=())
    assert np.bincount(every.y).tolist() == [942, 582]
    assert "all families;" in every.description


@needs_ransomware
def test_features_are_those_of_highest_mutual_information():
    from scipy.sparse import csr_matrix
    from sklearn.feature_selection import mutual_info_classif

    programs, names = ransomware._read()
    programs = ransomware._distinct(programs.take(np.flatnonzero(~np.isin(programs.families, [3, 10]))))
    assert np.bincount(programs.labels).tolist() == [929, 444]
    ours = ransomware.mutual_information(programs)
    assert ours.shape == (30_967,)
    ones = (np.ones(len(programs.indices)), programs.indices, programs.indptr)
    table = csr_matrix(ones, shape=(len(programs.labels), 30_967))
    some = np.r_[:200, 20_000:20_200]
    theirs = mutual_info_classif(table[:, some], programs.labels, discrete_features=True)
    # Sums of four terms of order 1.
    np.testing.assert_allclose(ours[some], theirs, rtol=0, atol=1e-14)
    chosen = [names.index(name) for name in load_ransomware(n_features=50).feature_names]
    assert sorted(chosen) == chosen
    assert ours[chosen].min() >= np.sort(ours)[-50] - 1e-12


@needs_ransomware
def test_fewer_features_have_fewer_distinct_rows_and_the_labels_of_most():
    programs = ransomware.Programs(
        np.array([5, 5, 5, 7, 7], np.int32),
        np.array([0, 1, 2, 3, 4, 5, 5], np.int32),
        np.array([1, 0, 0, 0, 1, 1], np.uint8),
        np.zeros(6, np.uint8),
    )
    distinct = ransomware._distinct(programs)
    assert [distinct.row(i).tolist() for i in range(3)] == [[5], [7], []]
    assert distinct.labels.tolist() == [0, 1, 1]
    assert load_ransomware(n_features=10).n_samples < load_ransomware(n_features=400).n_samples


@needs_ransomware
@pytest.mark.parametrize("n_features", [0, 30_968])
def test_a_number_of_features_out_of_range(n_features):
    with pytest.raises(InputError, match=f"n_features must be a whole number from 1 to 30967; got {n_features}"):
        load_ransomware(n_features=n_features)


@needs_ransomware
@pytest.mark.parametrize("name", ["WannaCry", "Goodware"])
def test_families_that_cannot_be_left_out(name):
    with pytest.raises(InputError, match=f"left_out must name families of ransomware .*; got '{name}'"):
        load_ransomware(left_out=(name,))


@pytest.mark.usefixtures("cache")
def test_ransomware_is_not_downloaded():
    with pytest.raises(
        DatasetError, match=r"is not downloaded for you, since .* no licence; get Ransom.*/rissgrouphub"
    ):
        load("ransomware", download=True)


def write_as_published(folder, change=lambda line: line):
    """Write the publisher's two files, as their documentation and their readers describe them."""
    assert FOLDER is not None
    with np.load(Path(FOLDER) / ransomware.PACKED_FILE) as archive:
        indices, indptr, ids = archive["indices"], archive["indptr"], archive["id"]
        labels, families = archive["y"], archive["family"]
        names = archive["feature_names_utf8"].tobytes().decode().split("\n")
    lines = []
    for i in np.random.default_rng(0).permutation(len(ids)):
        symbols = np.frombuffer(b"0," * 30_967, np.uint8).copy()
        symbols[2 * indices[indptr[i] : indptr[i + 1]].astype(int)] = ord("1")
        lines.append(change(f"{ids[i]},{labels[i]},{families[i]},{symbols.tobytes().decode()[:-1]}"))
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / ransomware.ZIP_FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("RansomwareData.csv", "\n".join(lines) + "\n")
    header = ["ID", "Label (1 Ransomware / 0 Goodware)", "Ransomware Family"]
    text = "".join(f"{k};{name}\n" for k, name in enumerate([*header, *names], 1))
    (folder / ransomware.NAMES_FILE).write_text(text, encoding="utf-8", newline="")


@needs_ransomware
def test_the_publisher_s_files_give_the_same_rows(cache, monkeypatch):
    write_as_published(cache)
    data = load("ransomware", download=True)
    monkeypatch.setenv(external.VARIABLE, str(FOLDER))
    expected = load("ransomware")
    assert np.array_equal(data.x, expected.x)
    assert np.array_equal(data.y, expected.y)
    assert data.feature_names == expected.feature_names


@needs_ransomware
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda line: line.replace(",", ";"), r"and VariableNames.txt beside it should be those of .* \(ValueError: "),
        (lambda line: line + ",1", "a row should hold 30967 zeros and ones after the first three columns"),
        (lambda line: line[:-1] + "0" if line.startswith("10001") else line[:-1] + "1", "programs of the SHA-256"),
    ],
)
def test_files_that_are_others_are_refused(cache, change, sentence):
    write_as_published(cache, change)
    with pytest.raises(DatasetError, match=sentence):
        load("ransomware")


def test_a_zip_without_names_is_refused(cache):
    cache.mkdir()
    (cache / ransomware.ZIP_FILE).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"cannot be read \(FileNotFoundError.*; get both anew"):
        load("ransomware")
