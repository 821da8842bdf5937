"""Contract suites: what every learner, adjoint, feasible set, attack and defence promises, as tests for yours.

A suite is a class that you inherit from in a test module, under a name that starts with Test. Say what is to be
tested, and pytest collects the suite's tests:

    from backgrad.testing import LearnerContract

    class TestMyLearner(LearnerContract):
        n_features, n_outputs = 4, 2

        def learner(self):
            return MyLearner(4)

The attributes and methods that a suite's docstring names can be overridden, and so can single tests, where yours keeps
a promise in another way. The library's own tests run these suites on everything the library has.

The suites need pytest (`pip install "backgrad[test]"`) and float64: call `jax.config.update("jax_enable_x64", True)`
in your conftest.py, since differences in float32 cannot tell a right gradient from one that is wrong by 0.1 %.
"""

try:
    import pytest
except ImportError as error:
    raise ImportError(
        'backgrad.testing holds pytest suites, but pytest is not installed: run pip install "backgrad[test]".'
    ) from error

# Before the suites are imported, so that their assertions show the values that failed.
_ROOMS = ("adjoint", "attack", "base", "defence", "evasion", "feasible", "learner")
pytest.register_assert_rewrite(*(f"{__name__}.{room}" for room in _ROOMS))

from .adjoint import AdjointContract  # noqa: E402
from .attack import AttackContract  # noqa: E402
from .defence import SanitiserContract  # noqa: E402
from .feasible import FeasibleSetContract  # noqa: E402
from .learner import LearnerContract  # noqa: E402

__all__ = ["AdjointContract", "AttackContract", "FeasibleSetContract", "LearnerContract", "SanitiserContract"]
