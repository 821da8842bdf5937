"""Sanitisers by name."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from backgrad.defences.base import Sanitiser
from backgrad.defences.catalogue import SANITISERS, find, load, make_sanitiser
from backgrad.errors import InputError

NAMES = (
    "sphere",
    "slab",
    "knn-distance",
    "anomaly",
    "label-sanitisation",
    "loss-trim",
    "spectral",
    "isolation-forest",
    "lof",
    "roni",
    "influence",
    "trim",
)
every_name = pytest.mark.parametrize("name", NAMES)
TRUSTED = np.eye(2), np.array([0, 1])


def test_the_names_are_these():
    assert tuple(SANITISERS) == NAMES


@every_name
def test_what_the_table_says_is_what_the_class_can(name):
    entry, kind = SANITISERS[name], load(name)
    settings = inspect.signature(kind).parameters
    assert issubclass(kind, Sanitiser)
    assert f"{kind.__module__}.{kind.__name__}" == f"backgrad.defences.{entry.home}"
    assert entry.takes_fraction == ("fraction" in settings)
    assert entry.takes_trusted == ("trusted" in settings)
    assert entry.needs_trusted == kind.needs_trusted
    assert entry.relabels == ("relabel" in settings)
    assert entry.takes_trusted or not entry.needs_trusted
    assert entry.removes.split()[0].islower()


@every_name
def test_settings_reach_those_who_have_them(name):
    entry, estimator = SANITISERS[name], GaussianNB()
    trusted = TRUSTED if entry.takes_trusted else None
    made = make_sanitiser(
        name, fraction=0.3, trusted=trusted, relabel=entry.relabels, random_state=5, estimator=estimator
    ).get_params(deep=False)
    wanted = {"fraction": 0.3, "trusted": trusted, "relabel": True, "random_state": 5, "estimator": estimator}
    shared = set(made) & set(wanted)
    assert shared or name == "label-sanitisation"
    for setting in shared:
        assert made[setting] is wanted[setting] or made[setting] == wanted[setting]


@every_name
def test_what_is_left_out_is_as_the_class_has_it(name):
    made = make_sanitiser(name, random_state=0)
    assert str(made.get_params()) == str(load(name)().get_params())


@every_name
def test_the_same_seed_leaves_out_the_same_rows(name):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = rng.normal(size=(40, 3)) + 2 * y[:, None]
    trusted = x[:20] + 0.1, y[:20]
    found = []
    for _ in range(2):
        one = make_sanitiser(name, fraction=0.2, random_state=7)
        if SANITISERS[name].needs_trusted:
            one.set_params(trusted=trusted)
        found.append(one.fit_resample(x, y)[0].tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("spere", {}, r"no defence that cleans rows is called 'spere': did you mean sphere\?"),
        ("xyz", {}, r"choose from sphere, slab, .* trim\."),
        ("sphere", {"relabel": True}, r"sphere cannot correct labels: .* or use label-sanitisation\."),
        ("lof", {"trusted": TRUSTED}, r"lof has no use for trusted rows: .* or use anomaly, roni or influence\."),
    ],
)
def test_what_cannot_be_had_is_refused(name, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        make_sanitiser(name, **settings)


def test_find_tells_without_importing():
    assert find("roni").needs_trusted
    code = """
import sys
from backgrad.defences.catalogue import SANITISERS, find
find("sphere")
heavy = {"jax", "sklearn", "numpy", "imblearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
