"""The room of the suites as its users enter it."""

import subprocess
import sys

import jax
import jax.experimental
import pytest

import backgrad.testing
from backgrad.testing.base import require_float64

SUITES = [getattr(backgrad.testing, name) for name in backgrad.testing.__all__]
METHODS = ["adjoint", "attack", "feasible", "learner", "sanitiser"]


def test_the_suites_are_these():
    names = ["Adjoint", "Attack", "FeasibleSet", "Learner", "Sanitiser"]
    assert backgrad.testing.__all__ == [f"{name}Contract" for name in names]


@pytest.mark.parametrize("suite", SUITES)
def test_pytest_collects_a_suite_only_under_a_name_of_one_s_own(suite):
    assert not suite.__name__.startswith("Test")
    assert suite.__init__ is object.__init__


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_and_promise_is_documented(suite):
    for thing in (suite, *(vars(suite)[name] for name in vars(suite) if not name.startswith("_"))):
        if callable(thing):
            assert thing.__doc__, thing


@pytest.mark.parametrize(("suite", "method"), list(zip(SUITES, METHODS, strict=True)))
def test_a_suite_that_is_not_told_what_to_test_says_so(suite, method):
    with pytest.raises(NotImplementedError, match=rf"def {method}\(self\): return My"):
        getattr(suite(), method)()


def test_without_pytest_there_is_a_sentence():
    code = "import sys; sys.modules['pytest'] = None; import backgrad.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'but pytest is not installed: run pip install "backgrad[test]".' in done.stderr


def test_in_float32_there_is_a_sentence():
    require_float64()
    switch = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64  # before JAX 0.8
    with switch(False), pytest.raises(pytest.fail.Exception, match=r"call jax\.config\.update"):
        require_float64()


def test_expensive_things_are_done_once_for_each_thing_that_is_tested():
    class Suite(backgrad.testing.LearnerContract):
        pass

    made = []

    def make():
        made.append(1)
        return len(made)

    assert [Suite().once(key, make) for key in ("a", "a", "b")] == [1, 1, 2]
    # What cannot be compared is made anew, and other classes keep their own.
    assert [Suite().once(([],), make) for _ in range(2)] == [3, 4]
    assert type("Other", (Suite,), {})().once("a", make) == 5
