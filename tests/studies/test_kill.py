"""A study that was killed or interrupted continues with what is missing, to the same results bit for bit."""

import collections
import json
import os
import signal
import time

import pytest

from backgrad.studies.runner import run_study
from backgrad.studies.store import Store
from tests.studies.cheap import TASKS, study
from tests.studies.drive import SIZES, SPLITS, start, walks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 and fork are POSIX's")
TOTAL = len(SIZES) * SPLITS


def digests(folder, seconds):
    return [Store(folder / "runs").read(run).digest for run in walks(folder, seconds).runs]


def undisturbed(folder):
    """Return the digests of the same walks, done in this process at one go, without pauses and log."""
    plain, store = study(sizes=SIZES, splits=SPLITS), Store(folder / "undisturbed")
    run_study(plain, store, tasks=TASKS)
    return [store.read(run).digest for run in plain.runs]


def lines(folder, word):
    found = (folder / "log").read_text().splitlines()
    return collections.Counter(line for line in found if line.startswith(word))


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out.splitlines()


def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    seconds, kills = 0.1, 10
    told = json.loads(finish(start("kill", tmp_path, seconds, kills, 1))[-1])
    assert all(one["killed"] for one in told["seen"])
    counts = [len(one["files"]) for one in told["seen"]]
    assert counts == sorted(counts)  # nothing that was finished is lost
    assert 0 < counts[-1] < TOTAL, "the kills came before or after all the work"
    assert (told["found"], told["done"]) == (counts[-1], TOTAL - counts[-1])
    final = {f.name: [f.stat().st_ino, f.stat().st_mtime_ns] for f in (tmp_path / "runs").iterdir()}
    for one in told["seen"]:  # nor written again
        assert one["files"].items() <= final.items()
    # A kill costs at most the run that was under way: it began once more, and no other did.
    began = lines(tmp_path, "began")
    assert len(began) == TOTAL
    assert began.total() <= TOTAL + kills
    # No claims and no temporary files are left.
    assert {name.rpartition(".")[2] for name in final} == {"npz"}
    assert digests(tmp_path, seconds) == undisturbed(tmp_path)


def test_two_processes_share_a_study_and_no_run_is_done_twice(tmp_path):
    seconds = 0.1
    both = [start("run", tmp_path, seconds) for _ in range(2)]
    told = [json.loads(finish(one)[-1]) for one in both]
    assert all(one["found"] + one["done"] + one["elsewhere"] == TOTAL for one in told)
    assert sum(one["done"] for one in told) == TOTAL
    assert set(lines(tmp_path, "began").values()) == {1}
    assert {file.suffix for file in (tmp_path / "runs").iterdir()} == {".npz"}
    assert digests(tmp_path, seconds) == undisturbed(tmp_path)


def test_a_process_takes_over_what_a_killed_one_was_doing(tmp_path):
    seconds = 0.15
    first = start("run", tmp_path, seconds)
    assert first.stdout.readline() == "started\n"
    wait_until(lambda: (tmp_path / "log").exists() and lines(tmp_path, "began").total() >= 3)
    second = start("run", tmp_path, seconds)  # it finds runs of the first, and must not wait for them for ever
    assert second.stdout.readline() == "started\n"
    wait_until(lambda: lines(tmp_path, "ended").total() >= 8)
    first.kill()
    first.communicate()
    told = json.loads(finish(second)[-1])
    assert told["found"] + told["done"] + told["elsewhere"] == TOTAL
    assert lines(tmp_path, "began").total() <= TOTAL + 1
    assert digests(tmp_path, seconds) == undisturbed(tmp_path)


def wait_until(holds, timeout=60):
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_keeps_what_is_finished_and_gives_its_claims_back(workers, tmp_path):
    seconds = 0.15
    process = start("run", tmp_path, seconds, workers, start_new_session=True)
    assert process.stdout.readline() == "started\n"
    wait_until(lambda: len(list((tmp_path / "runs").glob("*.npz"))) >= 4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    _, err = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert err.rstrip().endswith("KeyboardInterrupt")
    # No claim is left. A worker stopped while it wrote may leave a temporary file, which the next start removes.
    assert {file.suffix for file in (tmp_path / "runs").iterdir()} <= {".npz", ".tmp"}
    left = list((tmp_path / "runs").glob("*.npz"))
    assert 4 <= len(left) < TOTAL
    told = json.loads(finish(start("run", tmp_path, seconds, 1))[-1])
    assert told == {"found": len(left), "done": TOTAL - len(left), "elsewhere": 0}
    assert {file.suffix for file in (tmp_path / "runs").iterdir()} == {".npz"}
    assert lines(tmp_path, "began").total() <= TOTAL + workers
    assert digests(tmp_path, seconds) == undisturbed(tmp_path)


@pytest.mark.slow
def test_kills_of_a_study_with_worker_processes_change_nothing(tmp_path):
    seconds, seen = 0.4, {}
    for number in range(10):
        process = start("run", tmp_path, seconds, 2)
        assert process.stdout.readline() == "started\n"
        time.sleep(0.4 * number)
        process.kill()
        process.communicate()
        files = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "runs").glob("*.npz")}
        assert seen.items() <= files.items()
        seen = files
    told = json.loads(finish(start("run", tmp_path, seconds, 2))[-1])
    assert told == {"found": len(seen), "done": TOTAL - len(seen), "elsewhere": 0}
    assert {file.suffix for file in (tmp_path / "runs").iterdir()} == {".npz"}
    assert digests(tmp_path, seconds) == undisturbed(tmp_path)
