"""What is missing is done, what is there is not, and failures stop nobody else."""

import contextlib
import dataclasses
import time

import pytest

from backgrad.errors import InputError
from backgrad.studies import runner, workers
from backgrad.studies.plan import Run, Study
from backgrad.studies.runner import check_study, run_study
from backgrad.studies.store import Store
from backgrad.studies.tasks import resolve
from backgrad.studies.workers import Finished, WorkersError, perform
from tests.studies.cheap import TASKS, WALK, study


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def mixed(*fails):
    """Return walks of which some fail: in what way, or None, one a run."""
    settings = [{"size": size} if fail is None else {"size": size, "fail": fail} for size, fail in enumerate(fails, 1)]
    return Study("mixed", tuple(Run(WALK, one, 0, 7) for one in settings))


def test_a_study_is_done_once(store, tmp_path):
    walks = study(log=str(tmp_path / "log"))
    first = run_study(walks, store, tasks=TASKS)
    assert (first.total, first.found, first.done, first.failures) == (4, 0, 4, ())
    files = {file.name: file.stat().st_mtime_ns for file in store.path.iterdir()}
    assert set(files) == {f"{run.identity}.npz" for run in walks.runs}
    second = run_study(walks, store, tasks=TASKS)
    assert (second.total, second.found, second.done) == (4, 4, 0)
    assert {file.name: file.stat().st_mtime_ns for file in store.path.iterdir()} == files
    more = study(splits=3, log=str(tmp_path / "log"))
    assert run_study(more, store, tasks=TASKS).done == 2
    assert len((tmp_path / "log").read_text().splitlines()) == 2 * 6


def test_worker_processes_find_the_same_as_this_one(store, tmp_path):
    walks, other = study(sizes=(3, 50), splits=2), Store(tmp_path / "other")
    run_study(walks, store, tasks=TASKS)
    assert run_study(walks, other, workers=2, tasks=TASKS).done == 4
    assert [store.read(run).digest for run in walks.runs] == [other.read(run).digest for run in walks.runs]
    assert {file.suffix for file in other.path.iterdir()} == {".npz"}


@pytest.mark.parametrize("count", [1, 2])
def test_failures_are_told_and_stop_nobody(count, store):
    walks, told = mixed(None, "input", "bug", None), []
    summary = run_study(walks, store, workers=count, tasks=TASKS, progress=told.append)
    assert summary.done == 2
    failures = {failure.run.settings["fail"]: failure for failure in summary.failures}
    assert failures["input"].error == "this run was asked to fail."
    assert failures["input"].details is None
    assert failures["bug"].error == "ZeroDivisionError: a bug"
    assert failures["bug"].details.rstrip().endswith("ZeroDivisionError: a bug")
    assert [state.error for state in told if state.error] == [failure.error for failure in summary.failures]
    assert (told[-1].done, told[-1].failed, told[-1].share) == (2, 2, 1.0)
    assert [store.read(run) is not None for run in walks.runs] == [True, False, False, True]
    assert run_study(walks, store, tasks=TASKS).found == 2  # failed runs are tried again


def test_a_damaged_result_is_done_again_and_said_once(store):
    walks = study()
    run_study(walks, store, tasks=TASKS)
    before = store.read(walks.runs[1]).digest
    store.file(walks.runs[1]).write_bytes(b"PK\x03\x04 half a file")
    summary = run_study(walks, store, tasks=TASKS)
    assert (summary.found, summary.done, summary.damaged) == (3, 1, (walks.runs[1],))
    assert store.read(walks.runs[1]).digest == before
    assert run_study(walks, store, tasks=TASKS).damaged == ()


def test_progress_goes_up_to_one_and_tells_the_time_left(store, monkeypatch):
    now = [100.0]

    def tick():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(runner.time, "monotonic", tick)
    told = []
    run_study(study(splits=4), store, tasks=TASKS, progress=told.append)
    shares = [state.share for state in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert told[0].seconds_left is None
    assert told[-1].seconds_left == 0.0
    ended = [state for state in told if state.finished is not None]
    assert [state.done for state in ended] == list(range(1, 9))
    # Every look at the clock is a second, so all runs take as long, and estimates are nearly right from the first on.
    per_run = (now[0] - 100.0) / 8
    for state in ended[1:-1]:
        assert state.seconds_left == pytest.approx(per_run * (8 - state.done), rel=0.3)


def test_the_time_left_rests_on_recent_runs(store, monkeypatch):
    told, now = [], [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    session = runner._Session(study(sizes=tuple(range(1, 101)), splits=1), store.open(), told.append)
    for number, run in enumerate(list(session.missing.values())[:30]):
        now[0] += 100.0 if number == 0 else 1.0  # the first waits for compilation
        session._take(perform(run, workers.task_version(run.task)))
    assert told[-1].seconds_left == pytest.approx(70.0)


def test_a_run_that_another_process_has_is_waited_for(store, monkeypatch):
    walks, told = study(), []
    other = store.open().claim(walks.runs[0])

    def sleep(seconds):
        del seconds
        store.write(walks.runs[0], perform(walks.runs[0], workers.task_version(WALK)).outcome)
        other.release()

    monkeypatch.setattr(runner.time, "sleep", lambda s: sleep(s) if s == runner._POLL else None)
    summary = run_study(walks, store, tasks=TASKS, progress=told.append)
    assert (summary.done, summary.elsewhere) == (3, 1)
    assert [state.waiting for state in told if state.waiting] == [1]


def test_workers_that_die_are_replaced_while_others_get_on(store, monkeypatch):
    walks, rounds = study(splits=3), []

    def dying(count, scheduler, progress, keep):
        del count, scheduler, progress, keep

        def each(runs):
            rounds.append(0)
            for number, run in enumerate(runs):
                if number == 2:
                    raise WorkersError("a worker died.")
                yield perform(run, workers.task_version(run.task))

        return contextlib.nullcontext(each)

    monkeypatch.setattr(runner, "open_workers", dying)
    summary = run_study(walks, store, tasks=TASKS)
    assert (summary.done, summary.failures, len(rounds)) == (6, (), 4)
    assert {file.suffix for file in store.path.iterdir()} == {".npz"}


def test_processes_of_this_machine_put_outcomes_into_the_store_before_they_are_asked_for(store):
    walks = study(splits=2)
    store.open()
    with workers.open_workers(2, None, lambda run, share: None, store.write) as perform_all:
        ended = perform_all(walks.runs)
        first = next(ended)
        assert first.kept
        deadline = time.monotonic() + 60
        while store.count() < 2:  # the second was never asked for, as when Ctrl-C comes now
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ended.close()


def test_an_outcome_that_cannot_be_kept_is_no_failure_of_its_run():
    def full(run, outcome):
        raise OSError(28, "No space left on device")

    run = study().runs[0]
    with pytest.raises(OSError, match="No space"):
        perform(run, workers.task_version(run.task), keep=full)


def test_a_run_that_kills_its_worker_ends_as_a_failure(store):
    walks = mixed(None, "death")
    summary = run_study(walks, store, workers=2, tasks=TASKS)
    assert [failure.run for failure in summary.failures] == [walks.runs[1]]
    assert "a worker died (TerminatedWorkerError)" in summary.failures[0].error
    assert store.read(walks.runs[0]) is not None
    assert {file.suffix for file in store.path.iterdir()} == {".npz"}


def test_a_worker_of_another_version_does_nothing(store):
    found = perform(study().runs[0], "0.0.1+of-the-scheduler")
    assert isinstance(found, Finished)
    assert found.outcome is None
    assert "the study was started by 0.0.1+of-the-scheduler" in found.error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers must be a positive whole number; got 0"),
        ({"scheduler": "spark://host:1"}, "must be dask://HOST:PORT or ray://HOST:PORT; got 'spark://host:1'"),
        ({"scheduler": "dask://"}, "must be dask://HOST:PORT"),
        ({"scheduler": "host:8786"}, "must be dask://HOST:PORT"),
        ({"scheduler": "dask://host:1", "workers": 2}, "brings its own workers"),
        ({"tasks": {}}, "tasks must be of the table"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(changes, message, store):
    with pytest.raises(InputError, match=message):
        run_study(study(), store, **{"tasks": TASKS, **changes})
    assert not store.path.exists()


def test_a_task_s_own_check_comes_first(store):
    with pytest.raises(InputError, match="size must be positive; got 0"):
        run_study(study(sizes=(3, 0)), store, tasks=TASKS)
    with pytest.raises(InputError, match="size must be positive"):
        check_study(study(sizes=(0,)), tasks=TASKS)
    assert not store.path.exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "must be a path such as package.module:function"),
        ("os:system('x')", "must be a path"),
        ("tests.studies.cheap:nothing", "has none of that name"),
        ("tests.studies.cheap:WALK", "has none of that name"),
    ],
)
def test_a_task_is_a_function_in_a_module_and_nothing_else(path, message):
    broken = {"broken": dataclasses.replace(TASKS["walk"], run=path)}
    with pytest.raises(InputError, match=message):
        check_study(_study_of(path), tasks=broken)


def _study_of(path):
    """Return a study whose task got past the hashing of its module, which comes first."""
    run = Run(WALK, {"size": 1}, 0, 0)
    made = Study("broken", (run,))
    object.__setattr__(run, "task", path)
    return made


def test_a_missing_module_is_told():
    with pytest.raises(InputError, match="cannot be imported"):
        resolve("no_such_module_of_ours:run")
