"""What JAX compiled is kept from one command to the next."""

import os
import subprocess
import sys

import pytest

from backgrad.cli import compiled

TOLD = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of one's own, in a process that JAX was not told or imported in."""
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path / "cache")
    for name in TOLD:
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is taken back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "jax")
    return tmp_path / "cache" / "compiled"


def test_a_second_command_compiles_nothing_and_finds_the_same(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in TOLD}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    kept, points = [], []
    for number in range(2):
        out = tmp_path / str(number)
        words = ["attack", "blobs2", "--points", "2", "--splits", "1", "--steps", "5", "--outer-steps", "2"]
        command = [sys.executable, "-m", "backgrad", *words, "--train", "10", "--validation", "10", "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
        kept.append({file.name for file in (tmp_path / "backgrad" / "compiled").glob("*-cache")})
        points.append((out / "points.npz").read_bytes())
    assert len(kept[0]) > 5
    assert kept[0] == kept[1]
    assert points[0] == points[1]


def test_what_the_environment_says_of_the_cache_counts(cache, monkeypatch):
    for name, value in (("JAX_COMPILATION_CACHE_DIR", "/elsewhere"), ("JAX_ENABLE_COMPILATION_CACHE", "0")):
        with monkeypatch.context() as inner:
            inner.setenv(name, value)
            compiled.keep_compiled()
            assert os.environ[name] == value
            assert "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ
    assert not cache.exists()
    compiled.keep_compiled()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(cache)


def test_a_cache_that_cannot_be_made_is_done_without(cache):
    cache.parent.write_text("a file where the folder should be")
    compiled.keep_compiled()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_the_oldest_of_too_many_files_go(cache, monkeypatch):
    monkeypatch.setattr(compiled, "_MOST", 10)
    cache.mkdir(parents=True)
    for number in range(12):
        (cache / str(number)).touch()
        os.utime(cache / str(number), (number, number))
    compiled.keep_compiled()
    assert {file.name for file in cache.iterdir()} == {str(number) for number in range(6, 12)}
