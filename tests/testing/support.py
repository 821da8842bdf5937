"""What the tests of broken implementations share."""

import importlib
import inspect
import pkgutil

import pytest


def concrete(base, room):
    """Return the public classes of a room that can be made and are of a kind."""
    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{module.name}")
    found, more = set(), [base]
    while more:
        more = [kind for one in more for kind in one.__subclasses__()]
        found |= {kind for kind in more if kind.__module__.startswith(f"{room.__name__}.")}
    return {kind for kind in found if not inspect.isabstract(kind) and not kind.__name__.startswith("_")}


def promises(contract):
    """Return the names of a suite's tests."""
    return {name for name, _ in inspect.getmembers(contract, inspect.isfunction) if name.startswith("test_")}


def refuse(suite, promise, *arguments, sentence=None):
    """Demand that a suite's test fails, as a test does, and for the right reason."""
    assert promise in promises(type(suite))
    with pytest.raises(AssertionError, match=sentence):
        getattr(suite, promise)(*arguments)
