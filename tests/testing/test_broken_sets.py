"""The suite of feasible sets can fail: each of its tests refuses a set that breaks the promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.testing import FeasibleSetContract
from tests.testing.support import promises, refuse


class Loose(bg.Box):
    """Projects a hair outside."""

    def project(self, points):
        return super().project(points) * (1 + 1e-9)


class Creeping(bg.Box):
    """Projects inside, and further inside the next time."""

    def project(self, points):
        return 0.5 + 0.9 * (super().project(points) - 0.5)


class Tolerant(bg.Box):
    def contains(self, points):
        return jnp.all((points >= -1e-3) & (points <= 1 + 1e-3), axis=1)


class TakingNaN(bg.Box):
    def contains(self, points):
        return ~jnp.any((points < 0) | (points > 1), axis=1)


class JudgingAll(bg.Box):
    def contains(self, points):
        return jnp.broadcast_to(jnp.all(super().contains(points)), (len(points),))


class SteppingOut(bg.Box):
    def ascend(self, points, gradient, length):
        return points + length * gradient


class Restless(bg.Box):
    def ascend(self, points, gradient, length):
        return self.project(super().ascend(points, gradient, length) + 1e-6)


class Forgetful(bg.Box):
    """Its free variables stand for other points."""

    def latent(self, points):
        return 0.5 * points


class NeverCold(bg.Binary):
    def relax(self, latent, temperature):
        return super().relax(latent, jnp.maximum(temperature, 0.3))


class Infinite(bg.Box):
    def relax(self, latent, temperature):
        return latent / jnp.where(temperature < 1, 0.0, 1.0)


class NotSoExact(bg.Binary):
    @property
    def exact(self):
        return True


class Sliding(bg.Box):
    def settle(self, latent):
        return 0.5 * super().settle(latent)


@jax.custom_jvp
def doubled(x):
    return x


doubled.defjvp(lambda primals, tangents: (primals[0], 1.001 * tangents[0]))


class WrongSlope(bg.Box):
    """The relaxation's gradient is 0.1 % too large."""

    def relax(self, latent, temperature):
        return doubled(super().relax(latent, temperature))


class DrawingOutside(bg.Box):
    def sample(self, key, n, d):
        return 1 + super().sample(key, n, d)


class DrawingTheSame(bg.Box):
    def sample(self, key, n, d):
        return super().sample(jax.random.key(0), n, d)


class Drawing(bg.Box):
    """Draws what it likes, whatever the key."""

    def sample(self, key, n, d):
        return jnp.asarray(np.random.default_rng().uniform(size=(n, d)))


class Misplaced(bg.Box):
    def around(self, start):
        return bg.Ball(bg.Box(), 0.1).around(self.project(start + 0.5))


class Unspeakable(bg.Box):
    def describe(self):
        return {"set": "box", "upper": float("inf")}


class Tupled(bg.Box):
    def describe(self):
        return {"set": "box", "bounds": (0, 1)}


class OneTruth(bg.Box):
    def logits(self, d):
        return np.zeros(1, bool)


class Percent(bg.Box):
    def share_at_bounds(self, points):
        return 100 * super().share_at_bounds(points) + 2


class Double(bg.Box):
    def project(self, points):
        return super().project(points) * jnp.ones((), jnp.float64)


BROKEN = [
    ("test_projected_points_are_feasible", Loose()),
    ("test_projecting_again_changes_nothing", Creeping()),
    ("test_it_contains_only_what_its_projection_leaves_alone", Tolerant()),
    ("test_it_contains_only_what_its_projection_leaves_alone", Creeping()),
    ("test_it_judges_each_point_by_itself_and_contains_no_nan", TakingNaN()),
    ("test_it_judges_each_point_by_itself_and_contains_no_nan", JudgingAll()),
    ("test_steps_uphill_stay_feasible", SteppingOut()),
    ("test_a_gradient_of_zero_leaves_points_where_they_are", Restless()),
    ("test_free_variables_stand_for_the_points_they_were_made_of", Forgetful()),
    ("test_free_variables_stand_for_the_points_they_were_made_of", NeverCold()),
    ("test_relaxed_points_project_into_the_set", Infinite()),
    ("test_relaxed_points_project_into_the_set", NotSoExact()),
    ("test_settling_again_changes_nothing", Sliding()),
    ("test_the_relaxation_is_differentiable", WrongSlope()),
    ("test_draws_are_feasible_and_follow_from_the_key", DrawingOutside()),
    ("test_draws_are_feasible_and_follow_from_the_key", DrawingTheSame()),
    ("test_draws_are_feasible_and_follow_from_the_key", Drawing()),
    ("test_it_holds_the_points_that_it_is_put_around", Misplaced()),
    ("test_it_describes_itself_in_plain_json", Tupled()),
    ("test_it_says_which_columns_are_logits_and_whether_it_is_exact", OneTruth()),
    ("test_the_share_at_bounds_is_a_share", Percent()),
    ("test_float32_stays_float32", Double()),
]


def suite(one):
    """Return the suite on a set; few cases will do."""

    class Suite(FeasibleSetContract):
        n_features, n_points, cases = 3, 2, 40

        def feasible(self):
            return one

    return Suite()


@pytest.mark.parametrize(
    ("promise", "feasible"), BROKEN, ids=[f"{promise[5:]}-{type(one).__name__}" for promise, one in BROKEN]
)
def test_a_broken_set_is_refused(promise, feasible):
    refuse(suite(feasible), promise)


def test_infinity_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        suite(Unspeakable()).test_it_describes_itself_in_plain_json()


def test_every_promise_of_the_suite_can_be_broken():
    assert {promise for promise, _ in BROKEN} == promises(FeasibleSetContract)
