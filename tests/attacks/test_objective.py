"""What a search climbs: the objective's gradient, with the smooth zero-one loss's unit of measurement held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.adjoints.check import check_gradient
from backgrad.attacks.preparation import make_objective
from backgrad.threat.losses import margins

from . import problems


class InUnits(bg.SmoothZeroOne):
    """The smooth zero-one loss in units that are given, not those of the scores at hand."""

    unit: float = 1.0

    def __call__(self, learner, scores, y, weight):
        del learner, weight
        return jax.nn.sigmoid(-margins(scores, y) / (self.width * self.unit))


def objective(loss):
    return make_objective(
        problems.LEARNER,
        problems.train_rows("box"),
        problems.validation_rows("box"),
        schedule=problems.SCHEDULE,
        threat=bg.ThreatModel(3, goal=bg.ErrorGeneric(loss)),
        labels=jnp.eye(2)[jnp.array([0, 1, 1])],
    )


def test_a_search_climbs_the_smooth_error_in_units_of_the_margins_where_it_stands():
    points = jnp.asarray(np.random.default_rng(3).uniform(size=(3, problems.D)))
    smooth = objective(bg.SmoothZeroOne())
    x, y = smooth.split(points)
    blocks = (problems.train_rows("box"), bg.Samples(x, y, jnp.ones(3)))
    params = bg.train(problems.LEARNER, blocks, schedule=problems.SCHEDULE).params
    rows = problems.validation_rows("box")
    unit = float(jnp.mean(jnp.abs(margins(problems.LEARNER.scores(params, rows.x), rows.y))))
    held, whole = (smooth.hypergradient(points, held=choice) for choice in (True, False))
    assert float(held.value) == float(whole.value)
    in_units = objective(InUnits(unit=unit))
    assert float(in_units(points)) == pytest.approx(float(held.value), rel=1e-12)
    check_gradient(in_units, points, key=jax.random.key(0), gradient=held.gradient, tolerance=1e-6)
    check_gradient(smooth, points, key=jax.random.key(0), gradient=whole.gradient, tolerance=1e-6)
    assert np.linalg.norm(held.gradient - whole.gradient) > 0.01 * np.linalg.norm(whole.gradient)


@pytest.mark.parametrize("loss", [bg.LogLoss(), bg.LearnerLoss(), bg.SquaredLoss()], ids=str)
def test_losses_without_a_unit_have_nothing_to_hold(loss):
    assert loss.held() is loss
    assert bg.ErrorGeneric(loss).held().describe() == bg.ErrorGeneric(loss).describe()
