"""Every adjoint keeps the contract of adjoints."""

from typing import ClassVar

import backgrad as bg
from backgrad.testing import AdjointContract
from backgrad.testing.adjoint import KINDS, MOMENTUM, ROWS, SGD
from tests.problems import learner

DESCENT = tuple(kind for kind in KINDS if kind != "converged")


class TestCheckpointed(AdjointContract):
    accepts = DESCENT
    inputs: ClassVar = {
        "momentum": MOMENTUM,
        "plain": SGD,
        "momentum mini-batches": MOMENTUM,
        "optax": (*ROWS, "params"),
        "gram": MOMENTUM,
    }

    def adjoint(self):
        return bg.Checkpointed()


class TestCheckpointedOfANetwork(AdjointContract):
    accepts = DESCENT

    def adjoint(self):
        return bg.Checkpointed()

    def learner(self):
        return learner("mlp-tanh")


class TestCheckpointedInSegments(AdjointContract):
    accepts = DESCENT
    # 20 steps are no multiple of √20, so that the last segment ends early.
    inputs: ClassVar = {"momentum": MOMENTUM, "optax": (*ROWS, "params")}

    def adjoint(self):
        return bg.Checkpointed(segments=True)


class TestBackGradient(AdjointContract):
    accepts = ("plain", "mini-batches")
    inputs: ClassVar = {"plain": SGD, "mini-batches": SGD}
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
    inputs: ClassVar = {"momentum": MOMENTUM, "momentum mini-batches": SGD}
    # The pass is a staircase of 2⁻⁵⁰ steps, on which differences over h = 1e-3 see noise; a traced momentum moves in
    # steps of 2⁻¹², so the difference must too.
    difference_step = 1e-3
    steps: ClassVar = {"momentum": 2.0**-8}
    tolerance = 1e-5

    def adjoint(self):
        return bg.Reversible(fraction_bits=50)


class Stationary(AdjointContract):
    inputs: ClassVar = {"converged": ROWS}


class TestImplicitByConjugateGradients(Stationary):
    def adjoint(self):
        return bg.Implicit("cg", solver_tolerance=1e-12)


class TestImplicitByFactorisation(Stationary):
    def adjoint(self):
        return bg.Implicit("dense")


class TestImplicitByASeries(Stationary):
    def adjoint(self):
        return bg.Implicit("neumann", max_steps=20_000, solver_tolerance=1e-12)
