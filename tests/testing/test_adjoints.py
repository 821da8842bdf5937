"""Every adjoint keeps the contract of adjoints."""

from typing import ClassVar

import pytest

import backgrad as bg
from backgrad import adjoints
from backgrad.testing import AdjointContract
from backgrad.testing.adjoint import KINDS, MOMENTUM, ROWS, SGD
from tests.problems import learner
from tests.testing.support import concrete

DESCENT = tuple(kind for kind in KINDS if kind != "converged")


class TestCheckpointed(AdjointContract):
    accepts = DESCENT
    inputs: ClassVar = {"momentum mini-batches": MOMENTUM, "optax": (*ROWS, "params"), "gram": MOMENTUM}

    def adjoint(self):
        return bg.Checkpointed()


class TestCheckpointedInSegments(AdjointContract):
    accepts = DESCENT
    # 20 steps are no multiple of √20, so that the last segment ends early.
    inputs: ClassVar = {"optax": (*ROWS, "params")}

    def adjoint(self):
        return bg.Checkpointed(segments=True)


class TestBackGradient(AdjointContract):
    accepts = ("plain", "mini-batches")
    inputs: ClassVar = {"mini-batches": SGD}
    exact = False
    # The reversal's truncation error is of the order of the steps times their size, 10⁻⁴.
    tolerance = 5e-4

    def adjoint(self):
        return bg.BackGradient()

    def schedule(self, kind):
        if kind in self.accepts:
            return bg.Descent(10, 1e-5, batch_size=6 if kind == "mini-batches" else None)
        return super().schedule(kind)


class TestReversible(AdjointContract):
    accepts = ("momentum", "momentum mini-batches")
    inputs: ClassVar = {"momentum mini-batches": MOMENTUM}
    # The pass is a staircase of 2⁻⁵⁰ steps, on which differences over h = 1e-3 see noise; a traced momentum moves in
    # steps of 2⁻¹², so the difference must too.
    difference_step = 1e-3
    steps: ClassVar = {"momentum": 2.0**-8}
    tolerance = 1e-5

    def adjoint(self):
        return bg.Reversible(fraction_bits=50)


class TestImplicit(AdjointContract):
    accepts = tuple(kind for kind in KINDS if kind != "gram")
    inputs: ClassVar = {"converged": ROWS}

    def adjoint(self):
        return bg.Implicit(solver_tolerance=1e-12)


@pytest.mark.slow
class TestCheckpointedOfANetwork(TestCheckpointed):
    inputs: ClassVar = {"plain": SGD, "momentum": MOMENTUM}

    def learner(self):
        return learner("mlp-tanh")


@pytest.mark.slow
class TestReversibleOnAllRows(TestReversible):
    inputs: ClassVar = {"momentum": MOMENTUM}


@pytest.mark.slow
class TestBackGradientOnAllRows(TestBackGradient):
    inputs: ClassVar = {"plain": SGD}


@pytest.mark.slow
class TestImplicitByFactorisation(TestImplicit):
    def adjoint(self):
        return bg.Implicit("dense")


@pytest.mark.slow
class TestImplicitByASeries(TestImplicit):
    def adjoint(self):
        return bg.Implicit("neumann", max_steps=20_000, solver_tolerance=1e-12)


def test_every_adjoint_has_a_class_here():
    tested = {type(case().adjoint()) for case in (TestCheckpointed, TestBackGradient, TestReversible, TestImplicit)}
    assert concrete(bg.Adjoint, adjoints) == tested
