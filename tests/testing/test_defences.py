"""Every sanitiser keeps the contract of sanitisers."""

from typing import NamedTuple

import pytest
from sklearn.naive_bayes import GaussianNB

from backgrad import defences
from backgrad.defences.base import Sanitiser
from backgrad.defences.catalogue import SANITISERS, load, make_sanitiser
from backgrad.defences.distance import Sphere
from backgrad.defences.neighbours import LabelSanitisation
from backgrad.testing import SanitiserContract
from tests.testing.support import concrete


class Case(NamedTuple):
    """A sanitiser and what the suite must know of it."""

    one: Sanitiser
    order_matters: bool = False
    evasion_tells: bool = False
    whole_slopes: bool = True


# Whose excess says of a clean row what the defence says of it.
TELLING = ("sphere", "slab")
# Who draw rows or features by number.
DRAWING = ("isolation-forest", "roni", "trim")
# Fewer trials do for promises.
QUICK = {"trials": 1, "n_init": 2, "n_estimators": 20}


def quick(name):
    """Return a sanitiser that is soon done; RONI trains as many classifiers as there are rows."""
    one = make_sanitiser(name, fraction=0.2, estimator=GaussianNB() if name == "roni" else None)
    return one.set_params(**{setting: value for setting, value in QUICK.items() if setting in one.get_params()})


CASES = {name: Case(quick(name), name in DRAWING, name in TELLING, name != "spectral") for name in SANITISERS}
CASES["sphere, medians"] = Case(Sphere(fraction=0.2, centre="median"), evasion_tells=True)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
class TestSanitisers(SanitiserContract):
    @pytest.fixture(autouse=True)
    def _choose(self, case):
        self.case, self.order_matters, self.evasion_tells = case, case.order_matters, case.evasion_tells
        self.whole_slopes = case.whole_slopes

    def sanitiser(self):
        return self.case.one


class TestRelabelling(SanitiserContract):
    relabels, evasion_tells = True, False

    def sanitiser(self):
        return LabelSanitisation(relabel=True)


def test_every_sanitiser_is_in_the_table():
    assert concrete(Sanitiser, defences) <= {load(name) for name in SANITISERS}
