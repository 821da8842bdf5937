"""Every feasible set keeps the contract of feasible sets, alone and composed."""

import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad import threat
from backgrad.testing import FeasibleSetContract
from backgrad.threat.compose import Rescaled
from backgrad.threat.evasion import InSlab, InSphere
from tests.testing.support import concrete

D = 6
START = np.array([[0.0, 1.0, 0.0, 1.0, 0.0, 0.25], [1.0, 0.0, 0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.0, 0.75]])


def mean(points):
    """Let the last column be the mean of the two before it."""
    return points.at[:, 5].set((points[:, 3] + points[:, 4]) / 2)


def ratio(points):
    """Let the last column be the first's share of the first two."""
    return points.at[:, 5].set(points[:, 0] / (points[:, 0] + points[:, 1] + 0.1))


MIXED = bg.Columns(
    [
        ((0, 1, 2), bg.OneHot((3,))),
        ((5,), bg.Box()),
        ((3, 4), bg.Columns([((1,), bg.Binary()), ((0,), bg.Integer(0, 3))])),
    ]
)
SETS = {
    # Bounds that no float32 holds, a column that is fixed, and one that is free.
    "box": bg.Box(
        jnp.asarray([-1.0, 0.1, 0.3, -0.7, -jnp.inf, -1.0]), jnp.asarray([1.1, 2.0, 0.7, 0.9, jnp.inf, -1.0])
    ),
    "integer": bg.Integer(-2, 5),
    "binary": bg.Binary(),
    "one-hot": bg.OneHot((3, 1, 2)),
    "image": bg.Image(shape=(2, 3)),
    "columns": MIXED,
    "immutable": bg.Immutable(MIXED, (0, 1, 2, 5)).around(jnp.asarray(START)),
    "l2 ball": bg.Ball(bg.Box(), 0.3).around(jnp.asarray(START)),
    "rescaled": Rescaled(bg.Integer(0, 9), 0.3, jnp.asarray([0.1, 7.0, 3.0, 1.0, 0.9, 255.0])),
    "linked by a ratio": bg.Linked(bg.Box(), ratio),
}


# The same classes with other settings, for before a release.
MORE = {
    "linf ball": bg.Ball(bg.Box(), 0.1, "linf").around(jnp.asarray(START)),
    "linked": bg.Linked(bg.Box(), mean),
    "unit box": bg.Box(),
    "learnt box": bg.Box.from_data(np.random.default_rng(0).normal(size=(50, D)), quantiles=(0.05, 0.95)),
    "immutable without a start": bg.Immutable(MIXED, (0, 1, 2, 5)),
    "ball without a start": bg.Ball(bg.Box(), 0.3),
    "rescaled ball": Rescaled(bg.Ball(bg.Box(), 0.3).around(jnp.asarray(START)), 0.1, 3.0),
}
CASES = [pytest.param(one, id=name) for name, one in SETS.items()]
CASES += [pytest.param(one, id=name, marks=pytest.mark.slow) for name, one in MORE.items()]


@pytest.mark.parametrize("feasible_set", CASES)
class TestFeasibleSets(FeasibleSetContract):
    n_features = D

    @pytest.fixture(autouse=True)
    def _choose(self, feasible_set):
        self.one = feasible_set

    def feasible(self):
        return self.one


def test_every_set_is_in_the_table():
    # Regions that defences let pass are tried in tests/threat/test_evasion.py.
    assert concrete(bg.FeasibleSet, threat) - {InSphere, InSlab} <= {type(one) for one in SETS.values()}
