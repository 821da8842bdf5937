"""The suite of attacks can fail: each of its tests refuses an attack that breaks the promise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.attacks.base import Optimised
from backgrad.attacks.objective import evaluate
from backgrad.testing import AttackContract
from tests.testing.support import promises, refuse


class Changed(bg.LabelFlip):
    """Label flips whose result is changed afterwards."""

    def craft(self, *args, **settings):
        result = super().craft(*args, **settings)
        return dataclasses.replace(result, **self.change(result))

    def change(self, result):
        return {}


class Generous(Changed):
    """One point more than was paid for."""

    def change(self, result):
        return {
            name: np.concatenate([getattr(result, name)] * 2)[: len(result.points) + 1]
            for name in ("points", "labels", "start", "start_labels")
        }


class AlwaysOne(Changed):
    """A point even where the budget is none."""

    def change(self, result):
        return {} if len(result.points) else {"points": np.full((1, 4), 0.5), "labels": np.zeros(1, int)}


class Boasting(Changed):
    def change(self, result):
        best = result.health.objective_best + 1e-3
        return {"health": dataclasses.replace(result.health, objective_best=best)}


class OtherSeed(Changed):
    def change(self, result):
        return {"seed": 0}


class OtherThreat(Changed):
    def change(self, result):
        return {"threat_model": bg.ThreatModel(1)}


class Untraced(Changed):
    def change(self, result):
        return {"trace": np.full(3, np.nan)}


class Boundless(bg.LabelFlip):
    """A step beyond the bounds."""

    def search(self, objective, feasible, start, *, seed, progress):
        return Optimised(start.at[0, 0].set(1 + 1e-9), np.zeros(0), 0.0)


class Backwards(bg.LabelFlip):
    """Of several draws the worst."""

    def search(self, objective, feasible, start, *, seed, progress):
        draws = [feasible.sample(jax.random.key(seed), *start.shape) for seed in range(5)]
        return Optimised(min((start, *draws), key=lambda points: float(evaluate(objective, points))), np.zeros(0), 0.0)


class Unsteady(bg.LabelFlip):
    def search(self, objective, feasible, start, *, seed, progress):
        return Optimised(jnp.asarray(np.random.default_rng().uniform(size=start.shape)), np.zeros(0), 0.0)


class OneSeed(bg.LabelFlip):
    def craft(self, *args, seed, **settings):
        return super().craft(*args, seed=0, **settings)


class Vandal(bg.LabelFlip):
    """Writes to the start that it is given."""

    def craft(self, *args, start=None, **settings):
        result = super().craft(*args, start=start, **settings)
        if start is not None:
            start[0][0] = 0.0
        return result


class OwnStart(bg.LabelFlip):
    """Starts where it likes."""

    def craft(self, *args, start=None, **settings):
        return super().craft(*args, **settings)


class Silent(bg.LabelFlip):
    def search(self, objective, feasible, start, *, seed, progress):
        return Optimised(start, np.zeros(0), 0.0)


class Relapsing(bg.LabelFlip):
    def search(self, objective, feasible, start, *, seed, progress):
        for share in (0.5, 0.2, 1.0):
            progress(share)
        return Optimised(start, np.zeros(0), 0.0)


class Unfinished(bg.LabelFlip):
    def search(self, objective, feasible, start, *, seed, progress):
        progress(0.5)
        return Optimised(start, np.zeros(0), 0.0)


class Nameless(bg.LabelFlip):
    name = "attack"


BROKEN = [
    ("test_the_budget_is_exact", Generous(), "4 points"),
    ("test_a_budget_of_no_points_changes_nothing", AlwaysOne(), None),
    ("test_points_are_exactly_feasible", Boundless(), "not feasible"),
    ("test_it_is_never_worse_than_its_start_and_claims_what_training_gives", Backwards(), "worse than their start"),
    ("test_it_is_never_worse_than_its_start_and_claims_what_training_gives", Boasting(), "from scratch"),
    ("test_an_attack_that_optimises_raises_the_objective", bg.LabelFlip(), "no point moved"),
    ("test_an_attack_that_optimises_raises_the_objective", Backwards(), "did not rise"),
    ("test_the_same_seed_gives_the_same_bytes", Unsteady(), "differ in their points"),
    ("test_another_seed_gives_other_points", OneSeed(), "same points"),
    ("test_clean_rows_and_given_starts_come_out_untouched", Vandal(), "changed the start"),
    ("test_clean_rows_and_given_starts_come_out_untouched", OwnStart(), None),
    ("test_progress_grows_and_ends_at_one", Silent(), "no progress"),
    ("test_progress_grows_and_ends_at_one", Relapsing(), "progress fell"),
    ("test_progress_grows_and_ends_at_one", Unfinished(), "ended at 0.5"),
    ("test_results_say_who_attacked_and_how", Nameless(), "name of its own"),
    ("test_results_say_who_attacked_and_how", OtherSeed(), None),
    ("test_results_say_who_attacked_and_how", OtherThreat(), None),
    ("test_health_holds_evidence", Untraced(), None),
]


def suite(one):
    """Return the suite on an attack."""

    class Suite(AttackContract):
        def attack(self):
            return one

    return Suite()


@pytest.mark.parametrize(
    ("promise", "attack", "sentence"), BROKEN, ids=[f"{promise[5:]}-{type(one).__name__}" for promise, one, _ in BROKEN]
)
def test_a_broken_attack_is_refused(promise, attack, sentence):
    refuse(suite(attack), promise, sentence=sentence)


def test_every_promise_of_the_suite_can_be_broken():
    assert {promise for promise, _, _ in BROKEN} == promises(AttackContract)
