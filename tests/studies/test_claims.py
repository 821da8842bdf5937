"""Of any number of processes, one gets a run."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backgrad.studies import claims
from backgrad.studies.claims import Heart, claim, is_held

NAME = "f" * 64


def leave(folder, *, number=0, host=None, pid=None, life="another", age=0.0, text=None):
    """Leave a claim as another process would."""
    file = folder / f"{NAME}.claim{number}"
    owner = {"host": host or claims.host(), "pid": pid if pid is not None else os.getppid(), "life": life}
    file.write_text(json.dumps(owner) if text is None else text)
    os.utime(file, (time.time() - age,) * 2)
    return file


@pytest.fixture
def dead():
    """The number of a process that has just ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_claim_is_for_one_and_until_it_is_released(tmp_path):
    held = claim(tmp_path, NAME)
    assert held is not None
    assert claim(tmp_path, NAME) is None
    assert is_held(tmp_path, NAME)
    assert claim(tmp_path, "0" * 64) is not None
    held.release()
    assert not is_held(tmp_path, NAME)
    again = claim(tmp_path, NAME)
    assert again is not None


def test_of_many_at_once_one_gets_it(tmp_path):
    start = threading.Barrier(16)

    def attempt(_):
        start.wait()
        return claim(tmp_path, NAME)

    with ThreadPoolExecutor(16) as pool:
        assert sum(found is not None for found in pool.map(attempt, range(16))) == 1


def test_of_many_that_find_a_stale_one_one_takes_over(tmp_path, dead):
    for number in range(3):
        leave(tmp_path, number=number, pid=dead)
    start = threading.Barrier(16)

    def attempt(_):
        start.wait()
        return claim(tmp_path, NAME)

    with ThreadPoolExecutor(16) as pool:
        found = [one for one in pool.map(attempt, range(16)) if one is not None]
    assert len(found) == 1
    assert found[0].files[-1].name == f"{NAME}.claim3"
    found[0].release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("left", "free"),
    [
        ({}, False),  # a live process of this machine, just now
        ({"age": claims.STALE - 20}, False),
        ({"age": claims.STALE + 20}, True),  # its number is another process's by now
        ({"host": "00000000", "pid": 1}, False),  # another machine
        ({"host": "00000000", "pid": 1, "age": claims.STALE + 20}, True),
        ({"pid": "me"}, True),  # this process's number, of an earlier life
        ({"pid": "me", "life": "mine"}, False),
        ({"pid": "dead"}, True),
        ({"text": ""}, False),  # its process may be about to write
        ({"text": "", "age": 20.0}, True),  # it was killed before it did
        ({"text": "[1]", "age": 20.0}, True),
        ({"text": "\x00\xff", "age": 20.0}, True),
    ],
)
def test_a_stale_claim_is_told_from_a_live_one(left, free, tmp_path, dead):
    numbers, lives = {"me": os.getpid(), "dead": dead}, {"mine": claims._LIFE}
    left = {**left, "pid": numbers.get(left.get("pid"), left.get("pid")), "life": lives.get(left.get("life"), "x")}
    leave(tmp_path, **left)
    assert is_held(tmp_path, NAME) is not free
    assert (claim(tmp_path, NAME) is not None) is free


@pytest.mark.skipif(os.name != "posix", reason="zombies are POSIX's")
def test_a_zombie_is_gone():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        deadline = time.monotonic() + 20
        while not claims.is_gone(process.pid) and time.monotonic() < deadline:  # nobody has waited for it yet
            time.sleep(0.01)
        assert claims.is_gone(process.pid) or not os.path.exists("/proc")
    assert claims.is_gone(process.pid)
    assert not claims.is_gone(os.getpid())
    assert not claims.is_gone(1)


def test_the_heart_touches_claims_and_releases_those_that_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with Heart() as heart:
        kept, dropped = claim(tmp_path, NAME), claim(tmp_path, "0" * 64)
        heart.keep("kept", kept)
        heart.keep("dropped", dropped)
        old = time.time() - 1000
        os.utime(kept.files[-1], (old, old))
        deadline = time.monotonic() + 20
        while kept.files[-1].stat().st_mtime < old + 500 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert kept.files[-1].stat().st_mtime > old + 500
        heart.drop("dropped")
        assert not dropped.files[-1].exists()
        kept.touch()
    assert list(tmp_path.iterdir()) == []
