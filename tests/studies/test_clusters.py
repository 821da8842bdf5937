"""A real Dask cluster of two worker processes, on loopback."""

import collections
import contextlib
import importlib.util
import os
import signal
import threading
import time
import warnings

import pytest

from backgrad.errors import InputError
from backgrad.studies import workers
from backgrad.studies.plan import Study
from backgrad.studies.runner import run_study
from backgrad.studies.store import Store
from backgrad.studies.workers import WorkersError
from tests.studies.cheap import TASKS, study

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@contextlib.contextmanager
def two_workers(**settings):
    """Start a cluster; its workers are replaced when they die, however long that takes on a busy machine."""
    patient = {"distributed.deploy.lost-worker-timeout": "1h", **settings}
    with (
        dask.config.set(patient),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def cluster():
    with two_workers() as found:
        yield found


def scheduler(cluster):
    return cluster.scheduler_address.replace("tcp://", "dask://")


def test_two_dask_workers_find_the_same_as_this_process(cluster, tmp_path):
    here, there, told = Store(tmp_path / "here"), Store(tmp_path / "there"), []
    log = tmp_path / "log"
    walks = study(sizes=(2, 30, 400), splits=4)
    run_study(walks, here, tasks=TASKS)
    summary = run_study(walks, there, scheduler=scheduler(cluster), tasks=TASKS, progress=told.append)
    assert (summary.done, summary.failures) == (12, ())
    assert [state.done for state in told if state.finished] == list(range(1, 13))
    assert [here.read(run).digest for run in walks.runs] == [there.read(run).digest for run in walks.runs]
    assert run_study(walks, there, scheduler=scheduler(cluster), tasks=TASKS).found == 12
    # Both took part: of runs that take a while, two are under way at once.
    slow = study(sizes=(2, 3), splits=3, seconds=0.4, log=str(log))
    run_study(slow, there, scheduler=scheduler(cluster), tasks=TASKS)
    words = [line.split()[0] for line in log.read_text().splitlines()]
    assert "began began" in " ".join(words)
    assert words.count("ended") == 6


def kill_one(processes, log, store, names, killed):
    """Wait for a process that does its second run or a later one, all before it being in the store; kill -9 it then."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        begun, ended = lines_of(processes), {line.partition(" ")[2] for line in lines_of(log) if line[0] == "e"}
        for process in {line.split()[0] for line in begun}:
            *before, now = (line.partition(" ")[2] for line in begun if line.split()[0] == process)
            if before and now not in ended and all(store.file(names[name]).exists() for name in before):
                killed.append(now)
                os.kill(int(process), signal.SIGKILL)
                return
        time.sleep(0.01)


def lines_of(file):
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_dask_worker_that_is_killed_costs_only_its_run(cluster, tmp_path):
    log, processes, killed = tmp_path / "log", tmp_path / "processes", []
    store, walks = Store(tmp_path / "runs"), study(splits=4, seconds=0.8, log=str(log), processes=str(processes))
    names = {f"{run.settings['size']} {run.split}": run for run in walks.runs}
    killer = threading.Thread(target=kill_one, args=(processes, log, store, names, killed))
    killer.start()
    summary = run_study(walks, store, scheduler=scheduler(cluster), tasks=TASKS)
    killer.join()
    assert (summary.done, summary.failures) == (8, ())
    assert len(killed) == 1
    began = collections.Counter(line.partition(" ")[2] for line in lines_of(processes))
    assert began == dict.fromkeys(names, 1) | {killed[0]: 2}
    ended = [line for line in lines_of(log) if line.startswith("ended")]
    assert len(ended) == len(set(ended)) == 8
    here, plain = Store(tmp_path / "here"), study(splits=4)
    run_study(plain, here, tasks=TASKS)
    assert [here.read(run).digest for run in plain.runs] == [store.read(run).digest for run in walks.runs]


def test_failures_on_dask_are_told_as_they_are_here(cluster, tmp_path):
    summary = run_study(study(fail="bug"), Store(tmp_path / "runs"), scheduler=scheduler(cluster), tasks=TASKS)
    assert {failure.error for failure in summary.failures} == {"ZeroDivisionError: a bug"}
    assert len(summary.failures) == 4


@pytest.mark.slow
def test_a_run_that_kills_dask_workers_ends_as_a_failure(tmp_path):
    """Without our mending of joblib's backend, this waits for ever."""
    (deadly,) = study(sizes=(3,), splits=1, fail="death", seconds=0.5).runs
    mixed = Study("mixed", (deadly, *study(splits=4).runs))
    with two_workers(**{"distributed.scheduler.allowed-failures": 1}) as cluster:
        summary = run_study(mixed, Store(tmp_path / "runs"), scheduler=scheduler(cluster), tasks=TASKS)
    assert [failure.run for failure in summary.failures] == [deadly]
    assert "a worker died (KilledWorker)" in summary.failures[0].error
    assert summary.done == 8


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "scale"])
def test_a_cluster_that_ends_keeps_what_is_done(end, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE", 2.0)
    store, walks = Store(tmp_path / "runs"), study(splits=20, seconds=0.3)
    with two_workers(**{"distributed.comm.timeouts.connect": "2s"}) as cluster:

        def stop(state):
            if state.done == 4:
                cluster.close() if end == "close" else cluster.scale(0)

        with pytest.raises(WorkersError, match="is gone, or has no workers left"):
            run_study(walks, store, scheduler=scheduler(cluster), tasks=TASKS, progress=stop)
    kept = sum(store.read(run) is not None for run in walks.runs)
    assert 4 <= kept < 40
    assert {file.suffix for file in store.path.iterdir()} == {".npz"}


def test_a_scheduler_that_does_not_answer_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("backgrad.studies.workers._ANSWER", 0.5)
    store = Store(tmp_path / "runs")
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 \("):
        run_study(study(), store, scheduler="dask://127.0.0.1:9", tasks=TASKS)
    assert not store.path.exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_the_extra_its_name_is_told(tmp_path):
    with pytest.raises(InputError, match=r"pip install 'backgrad\[ray\]'"):
        run_study(study(), Store(tmp_path / "runs"), scheduler="ray://127.0.0.1:9", tasks=TASKS)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_ray_cluster_finds_the_same_as_this_process(tmp_path):
    import ray  # pyright: ignore[reportMissingImports]
    from ray.util.client.server import serve  # pyright: ignore[reportMissingImports]

    here, there, walks = Store(tmp_path / "here"), Store(tmp_path / "there"), study(splits=3)
    run_study(walks, here, tasks=TASKS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        server = serve("127.0.0.1", 10001, lambda *_, **__: ray.init(num_cpus=2, include_dashboard=False))
        try:
            assert run_study(walks, there, scheduler="ray://127.0.0.1:10001", tasks=TASKS).done == 6
        finally:
            server.stop(0)
            ray.shutdown()
    assert [here.read(run).digest for run in walks.runs] == [there.read(run).digest for run in walks.runs]
