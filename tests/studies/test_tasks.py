"""The task `attack`: what `backgrad attack` does on a split, as values and arrays."""

import jax
import numpy as np
import pytest

from backgrad.evaluation.poisoning import evaluate_split
from backgrad.evaluation.words import Options, make_plan, open_data
from backgrad.precision import float64
from backgrad.studies.config import make_study, parse_study
from backgrad.studies.plan import plain
from backgrad.studies.store import Store
from backgrad.studies.tasks import attack

TINY = {"name": "tiny", "datasets": "blobs2", "points": 4, "train": 20, "validation": 40, "splits": 2, "seed": 3}
TINY |= {"learners": "logistic", "steps": 30, "outer_steps": 3}


def runs(**changes):
    return make_study(parse_study({**TINY, **changes})).runs


@pytest.fixture(scope="module")
def outcome():
    run = runs()[1]
    return attack(run.settings, run.split, run.seed)


def test_it_finds_what_the_evaluation_finds(outcome):
    data = open_data("blobs2")
    rows = data.splits(train=20, validation=40, seed=3, count=2)[1]
    found_plan = make_plan(Options(learner="logistic", points=4, steps=30, outer_steps=3), data.dataset)
    wanted = evaluate_split(found_plan, data.table.x, data.table.y, rows, n_classes=2, seed=(3, 1))
    assert plain(outcome.values["errors"]) == wanted.errors
    assert outcome.values["health"]["verdict"] == wanted.attack.health.verdict
    assert outcome.values["health"]["sentence"] == wanted.attack.health.sentence
    for name, array in [("points", wanted.attack.points), ("labels", wanted.attack.labels), ("test_rows", rows.test)]:
        np.testing.assert_array_equal(outcome.arrays[name], array)
    assert outcome.timing["crafting"] > 0


def test_the_same_run_is_the_same_bit_for_bit_and_survives_the_store(outcome, tmp_path):
    run = runs()[1]
    again = attack(run.settings, run.split, run.seed)
    assert again.digest == outcome.digest
    store = Store(tmp_path).open()
    store.write(run, again)
    assert store.read(run).digest == outcome.digest
    other = runs()[0]
    assert attack(other.settings, other.split, other.seed).digest != outcome.digest


def test_an_attacker_who_does_not_know_the_rows_gets_others():
    (run,) = runs(knowledge="surrogate-data", splits=1)
    found = attack(run.settings, run.split, run.seed)
    assert found.arrays["surrogate_rows"].shape == (20,)
    assert not set(found.arrays["surrogate_rows"]) & set(found.arrays["train_rows"])


def test_classes_without_test_rows_have_no_number():
    (run,) = runs(splits=1, points=0)
    found = attack(run.settings, run.split, run.seed)
    assert found.values["health"]["verdict"] == "nothing to do"
    assert found.arrays["points"].shape == (0, 2)
    assert len(found.values["class_errors"]["clean_error"]) == 2


def test_progress_is_passed_on():
    (run,) = runs(splits=1)
    shares = []
    attack(run.settings, run.split, run.seed, shares.append)
    assert shares
    assert 0 <= min(shares) <= max(shares) <= 1


def test_float64_is_switched_on_for_a_block_of_this_thread_alone():
    import threading

    def kind():
        return jax.numpy.zeros(1).dtype

    seen = {}
    home = jax if hasattr(jax, "enable_x64") else jax.experimental
    with home.enable_x64(False):
        with float64():
            seen["inside"] = kind()
        seen["after"] = kind()
    thread = threading.Thread(target=lambda: seen.update(elsewhere=kind()))
    before = kind()
    with float64():
        thread.start()
        thread.join()
    assert (seen["inside"], seen["after"], seen["elsewhere"]) == (np.float64, np.float32, before)
