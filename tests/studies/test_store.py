"""Results are there whole or not at all, and damaged ones are as good as missing."""

import os
import time
import zipfile

import numpy as np
import pytest

from backgrad.errors import InputError
from backgrad.studies import claims
from backgrad.studies.plan import Outcome
from backgrad.studies.store import Store
from tests.studies.cheap import study

RUN, OTHER = study(splits=1).runs
DEAD = 2**22 + 5  # above the largest process number


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "deep" / "runs").open()


@pytest.fixture
def outcome():
    arrays = {
        "x": np.random.default_rng(0).normal(size=(5, 3)),
        "names": np.array(["a", "bc"]),
        "none": np.zeros((0, 2)),
    }
    return Outcome({"error": 0.1, "list": [1, None, "ä"], "flag": True}, arrays, {"total": 1.5})


def test_what_is_written_is_read_bit_for_bit(store, outcome):
    assert store.read(RUN) is None
    store.write(RUN, outcome)
    found = store.read(RUN)
    assert found.digest == outcome.digest
    assert found.values == outcome.values
    assert found.timing == {"total": 1.5}
    for name, array in outcome.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [file.name for file in store.path.iterdir()] == [f"{RUN.identity}.npz"]


def test_the_same_outcome_is_the_same_bytes_but_for_the_seconds(store, outcome):
    store.write(RUN, outcome)
    first = store.file(RUN).read_bytes()
    store.write(RUN, outcome)
    assert store.file(RUN).read_bytes() == first
    with zipfile.ZipFile(store.file(RUN)) as archive:
        before = {name: archive.read(name) for name in archive.namelist()}
    store.write(RUN, Outcome(outcome.values, outcome.arrays, {"total": 9.0}))
    with zipfile.ZipFile(store.file(RUN)) as archive:
        after = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name in before if before[name] != after[name]] == ["timing.npy"]


def test_no_pickle_is_needed_to_read_a_file(store, outcome):
    store.write(RUN, outcome)
    with np.load(store.file(RUN), allow_pickle=False) as archive:
        assert set(archive.files) == {"record", "timing", "array.x", "array.names", "array.none"}
        for name in archive.files:
            assert not archive[name].dtype.hasobject


def test_every_damage_counts_as_missing(store, outcome):
    store.write(RUN, outcome)
    whole = store.file(RUN).read_bytes()
    damaged = [whole[:n] for n in range(0, len(whole), 97)]
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=60):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
    found = []
    for content in damaged:
        store.file(RUN).write_bytes(content)
        found.append(store.read(RUN))
    assert sum(one is None for one in found) > 0.6 * len(found)
    # A flipped bit in what no reader looks at (a date in the archive, say) does no harm; in anything else it shows.
    assert {one.digest for one in found if one is not None} <= {outcome.digest}


def test_the_file_of_another_run_counts_as_missing(store, outcome):
    store.write(RUN, outcome)
    os.replace(store.file(RUN), store.file(OTHER))
    assert store.read(OTHER) is None


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(store, outcome, monkeypatch):
    store.write(RUN, outcome)
    before = store.file(RUN).read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backgrad.studies.store.os.fsync", fail)
    with pytest.raises(InputError, match=r"No space left.*free some room"):
        store.write(RUN, Outcome({"other": 1}))
    assert store.file(RUN).read_bytes() == before
    assert [file.name for file in store.path.iterdir()] == [f"{RUN.identity}.npz"]


def test_readers_see_one_of_two_versions_while_it_is_written(store, outcome):
    """A reader in another process would see what this one sees: rename is atomic for all of them."""
    import threading

    other, stop = Outcome({"other": list(range(2000))}), threading.Event()
    store.write(RUN, outcome)

    def write():
        while not stop.is_set():
            store.write(RUN, other)
            store.write(RUN, outcome)

    writer = threading.Thread(target=write)
    writer.start()
    digests = [getattr(store.read(RUN), "digest", None) for _ in range(300)]
    stop.set()
    writer.join()
    assert set(digests) <= {outcome.digest, other.digest}


def test_opening_removes_what_dead_processes_left(store, outcome):
    store.write(RUN, outcome)
    life = "0" * 32
    torn = store.path / f"{RUN.identity}.{claims.host()}-{DEAD}-{life}.tmp"
    elsewhere = store.path / f"{RUN.identity}.00000000-1-{life}.tmp"
    old = store.path / f"{OTHER.identity}.00000000-2-{life}.tmp"
    mine = store.path / f"{RUN.identity}.{claims.host()}-{os.getpid()}-{life}.tmp"
    theirs = store.path / "notes.tmp"
    for file in (torn, elsewhere, old, mine, theirs):
        file.write_bytes(b"half a fi")
    os.utime(old, (time.time() - 7200,) * 2)
    finished = store.path / f"{RUN.identity}.claim0"
    finished.write_text(f'{{"host": "{claims.host()}", "pid": {DEAD}, "life": "x"}}')
    store.open()
    assert {f.name for f in store.path.iterdir()} == {store.file(RUN).name, elsewhere.name, mine.name, theirs.name}


def test_a_folder_that_cannot_be_written_is_an_error_of_input(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        store = Store(path)
        assert store.read(RUN) is None
        with pytest.raises(InputError, match="must be one that can be written"):
            store.open()


def test_a_result_that_cannot_be_opened_is_not_taken_for_missing(store, outcome):
    store.file(RUN).mkdir()
    with pytest.raises(InputError, match="must be readable"):
        store.read(RUN)
