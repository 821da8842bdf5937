"""Single operations, for pytest-benchmark to follow from version to version.

pytest benchmarks --benchmark-only --benchmark-autosave
pytest benchmarks --benchmark-only --benchmark-compare
"""

import jax.numpy as jnp
import pytest

import backgrad as bg

from . import ours
from .problem import cases

pytest.importorskip("pytest_benchmark", reason="pip install -e '.[bench]'")

ADJOINTS = {
    "stored": bg.Checkpointed(segments=False),
    "segments": bg.Checkpointed(segments=True),
    "BackGradient": bg.BackGradient(),
}
LEARNERS = ("LR", "MLP", "softmax", "CNN")


def _timed(benchmark, call):
    call()  # compiles
    benchmark(call)


@pytest.mark.parametrize("name", LEARNERS)
def test_training(benchmark, name):
    case = cases()[name]
    _timed(benchmark, ours.training(case, case.setting, jnp.float32))


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("name", LEARNERS)
def test_hypergradient(benchmark, name, adjoint):
    case = cases()[name]
    _timed(benchmark, ours.hypergradient(case, case.setting, jnp.float32, ADJOINTS[adjoint]))


def test_hypergradient_in_gram_space(benchmark):
    case = ours.with_schedule(cases()["LR"], gram=True)
    _timed(benchmark, ours.hypergradient(case, case.setting, jnp.float32, bg.Checkpointed()))


def test_compilation_of_a_hypergradient(benchmark):
    case = cases()["LR"]
    call = ours.hypergradient(case, case.setting, jnp.float32, bg.Checkpointed())
    benchmark.pedantic(lambda: call.function.lower(*call.arguments).compile(), rounds=3)
