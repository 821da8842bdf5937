"""The suite of adjoints can fail: each of its tests refuses an adjoint that breaks the promise."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest

import backgrad as bg
from backgrad.errors import UnsupportedError
from backgrad.testing import AdjointContract
from tests.testing.support import promises, refuse


def passing(back, forward=lambda tree: tree):
    """Return the identity on parameters and probe, with other cotangents (and another value when differentiated)."""

    @jax.custom_vjp
    def through(params, probe):
        return params

    through.defvjp(lambda params, probe: (forward(params), None), lambda _, cotangent: back(cotangent))
    return through


def times(factor):
    return lambda tree: jax.tree.map(lambda a: factor * a, tree)


wrong = passing(lambda cotangent: (times(1.001)(cotangent), jnp.zeros(())))
endless = passing(lambda cotangent: (times(jnp.inf)(cotangent), jnp.zeros(())))
drifting = passing(lambda cotangent: (cotangent, jnp.ones(())))
elsewhere = passing(lambda cotangent: (cotangent, jnp.zeros(())), times(1.001))


class Wrong(bg.Checkpointed):
    """Gradients are 0.1 % too large."""

    def solve(self, problem, params):
        return wrong(super().solve(problem, params), problem.probe)


class Endless(bg.Checkpointed):
    def solve(self, problem, params):
        return endless(super().solve(problem, params), problem.probe)


class Drifting(bg.Checkpointed):
    def solve(self, problem, params):
        return drifting(super().solve(problem, params), problem.probe)


class ElsewhereWhenDifferentiated(bg.Checkpointed):
    def solve(self, problem, params):
        return elsewhere(super().solve(problem, params), problem.probe)


class Elsewhere(bg.Checkpointed):
    def solve(self, problem, params):
        return times(1 + 1e-8)(super().solve(problem, params))


class Double(bg.Checkpointed):
    def solve(self, problem, params):
        return jax.tree.map(lambda a: a.astype(jnp.float64), super().solve(problem, params))


@jax.custom_vjp
def scaled_unless_probed(params, probe):
    del probe
    return params


def _forward(params, probe):
    return jax.tree.map(lambda p: p.value, params), 1.0 if probe.perturbed else 1.001


scaled_unless_probed.defvjp(
    _forward, lambda factor, cotangent: (times(factor)(cotangent), jnp.zeros(())), symbolic_zeros=True
)


class WrongWithoutItsProbe(bg.Checkpointed):
    """Gradients are right only where the probe is differentiated too."""

    def solve(self, problem, params):
        return scaled_unless_probed(super().solve(problem, params), problem.probe)


class Agreeable(bg.Checkpointed):
    def check(self, schedule):
        del schedule


class Curt(bg.Checkpointed):
    def check(self, schedule):
        if isinstance(schedule, bg.Converged):
            raise UnsupportedError("Cannot do that.")


class NoAdjoint:
    """What an adjoint does, in a class of its own."""

    def check(self, schedule):
        del schedule


BROKEN = [
    ("test_it_is_an_adjoint", NoAdjoint()),
    ("test_it_accepts_what_it_can_and_refuses_all_else_in_a_sentence", Agreeable()),
    ("test_it_accepts_what_it_can_and_refuses_all_else_in_a_sentence", Curt()),
    ("test_it_accepts_what_it_can_and_refuses_all_else_in_a_sentence", bg.Reversible()),
    ("test_training_ends_where_the_default_adjoint_s_ends", Elsewhere()),
    ("test_going_back_does_not_change_the_way_there", ElsewhereWhenDifferentiated()),
    ("test_gradients_equal_central_differences", Wrong()),
    ("test_cotangents_are_shaped_like_what_went_in", Endless()),
    ("test_the_probe_gets_the_drift", Drifting()),
    ("test_uncompiled_gradients_of_the_features_alone_are_the_same", WrongWithoutItsProbe()),
    ("test_float32_stays_float32", Double()),
]


def suite(one):
    """Return the suite on an adjoint for descent."""

    class Suite(AdjointContract):
        accepts = tuple(kind for kind in AdjointContract.accepts if kind != "converged")
        inputs: ClassVar = {"plain": ("features",)}

        def adjoint(self):
            return one

        def learner(self):
            return bg.Adaline(4, 0.05)  # quick to compile

    return Suite()


@pytest.mark.parametrize(
    ("promise", "adjoint"), BROKEN, ids=[f"{promise[5:]}-{type(one).__name__}" for promise, one in BROKEN]
)
def test_a_broken_adjoint_is_refused(promise, adjoint):
    refuse(suite(adjoint), promise)


def test_every_promise_of_the_suite_can_be_broken():
    assert {promise for promise, _ in BROKEN} == promises(AdjointContract)
