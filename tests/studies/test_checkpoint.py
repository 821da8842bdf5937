"""Checkpoints in files."""

import numpy as np
import pytest

from backgrad import folders
from backgrad.errors import InputError
from backgrad.studies.checkpoint import CheckpointFile

STATE = {"identity": np.arange(4, dtype=np.uint8), "state.0": np.eye(2, dtype=np.float32), "trace": np.zeros((2, 0))}


def test_what_was_saved_last_is_loaded(tmp_path):
    file = CheckpointFile(tmp_path / "new" / "state.npz")
    assert file.load() is None
    file.save({"trace": np.zeros(1)})
    file.save(STATE)
    found = file.load()
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert [path.name for path in file.path.parent.iterdir()] == ["state.npz"]


def test_who_dies_while_writing_leaves_the_state_before(tmp_path, monkeypatch):
    file = CheckpointFile(tmp_path / "state.npz")
    file.save(STATE)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders.os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        file.save({"trace": np.ones(1)})
    assert list(file.load()) == list(STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"pickled?"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"must be an npz file, but .* is none or damaged: remove it"):
        CheckpointFile(path).load()


def test_places_that_hold_no_file_are_refused(tmp_path):
    (tmp_path / "state.npz").mkdir()
    with pytest.raises(InputError, match="must be a file that can be read"):
        CheckpointFile(tmp_path / "state.npz").load()
    (tmp_path / "plain").touch()
    with pytest.raises(InputError, match="must be a file that can be written"):
        CheckpointFile(tmp_path / "plain" / "state.npz").save(STATE)
