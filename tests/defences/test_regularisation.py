"""An L2 strength chosen under attack."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.adjoints.check import check_gradient
from backgrad.defences import regularisation
from backgrad.defences.regularisation import TrustedLoss, choose_l2, slope, with_l2
from backgrad.errors import DivergenceError, InputError
from backgrad.learners.base import Member
from backgrad.learners.preprocessing import Standardised
from backgrad.threat.feasible import Box

D = 6
SCHEDULE = bg.Descent(60, 0.5)
THREAT = bg.ThreatModel(6, feasible=Box(0.0, 1.0))
QUICK = bg.JointAttack(iterations=4, step_size=0.5)


def blobs(n, seed):
    """Return rows of two overlapping classes in the unit box, one feature of which tells."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = 0.5 + 0.15 * rng.normal(size=(n, D))
    x[:, 0] += 0.3 * y - 0.15
    return bg.samples(np.clip(x, 0, 1), y, 2)


@functools.cache
def chosen(rounds=8):
    """Return what is chosen for one set of rows."""
    return choose_l2(
        bg.LogisticRegression(D),
        blobs(40, 0),
        blobs(60, 1),
        schedule=SCHEDULE,
        threat=THREAT,
        attack=QUICK,
        rounds=rounds,
    )


@pytest.mark.parametrize(
    ("learner", "schedule"),
    [
        (bg.LogisticRegression(D), bg.Descent(30, 0.4, 0.5)),
        pytest.param(Standardised(bg.MLP(D, 2, (3,))), bg.Descent(30, 0.2), marks=pytest.mark.slow),
        pytest.param(bg.LogisticRegression(D), bg.Converged(), marks=pytest.mark.slow),
    ],
)
def test_hypergradient_in_the_log_of_the_strength(learner, schedule):
    objective = TrustedLoss(Member(learner, schedule), blobs(30, 1), bg.LogLoss())
    blocks = blobs(20, 0), blobs(4, 2)
    (_, _), gradient = slope(objective, jnp.asarray(np.log(0.05)), blocks)
    value = jax.jit(lambda log_l2: objective(log_l2, blocks)[0])
    check_gradient(value, jnp.asarray(np.log(0.05)), gradient=gradient, key=jax.random.key(0), directions=1)


def test_the_loss_is_that_of_a_model_trained_at_that_strength():
    learner, train, trusted = bg.SoftmaxRegression(D, 0.7, 2), blobs(20, 0), blobs(30, 1)
    value, _ = TrustedLoss(Member(learner, SCHEDULE), trusted, bg.LearnerLoss())(jnp.asarray(np.log(0.02)), (train,))
    params = bg.train(dataclasses.replace(learner, l2=0.02), train, schedule=SCHEDULE).params
    logits = np.asarray(trusted.x @ params.weight + params.bias)
    right = logits[np.arange(30), np.arange(30) % 2]
    assert float(value) == pytest.approx(np.mean(np.log(np.exp(logits).sum(axis=1)) - right), rel=1e-12)


def test_an_attack_asks_for_more_regularisation():
    found = chosen()
    assert found.l2 > found.clean_l2
    assert found.learner.l2 == found.l2
    np.testing.assert_allclose(found.l2, np.exp(np.mean(np.log(found.l2_trace[5:]))), rtol=1e-12)
    assert found.l2_trace.shape == (9,)
    assert found.clean_trace.shape == (25,)
    assert found.l2_trace[0] == found.clean_trace[0] == pytest.approx(0.01)
    assert found.points.shape == (6, D)
    assert found.diverged == 0


def test_a_turn_of_the_defender_lowers_the_loss_and_is_at_rest_in_the_end():
    found = chosen()
    assert found.settled_losses[0] < found.attacked_losses[0]
    moves = np.abs(np.diff(np.log(found.l2_trace)))
    assert moves[-1] < 0.1 < moves[0]


def test_without_points_the_descent_ends_where_the_loss_is_least():
    found = chosen()
    objective = TrustedLoss(Member(bg.LogisticRegression(D), SCHEDULE), blobs(60, 1), bg.LearnerLoss())
    losses = [
        float(slope(objective, jnp.asarray(np.log(l2)), (blobs(40, 0),))[0][0]) for l2 in np.geomspace(1e-4, 1, 9)
    ]
    mine = float(slope(objective, jnp.asarray(np.log(found.clean_l2)), (blobs(40, 0),))[0][0])
    assert mine <= min(losses) + 1e-3


def test_equal_seeds_give_equal_strengths():
    one, two = (chosen.__wrapped__(rounds=2) for _ in range(2))
    assert one.l2 == two.l2
    np.testing.assert_array_equal(one.points, two.points)


def test_the_strength_is_put_where_the_learner_is():
    wrapped = Standardised(Standardised(bg.MLP(D, 2, (3,), l2=0.5)))
    assert with_l2(wrapped, 0.2).learner.learner.l2 == 0.2
    assert wrapped.learner.learner.l2 == 0.5


def test_a_strength_at_the_end_of_the_range_is_where_the_search_starts():
    for own, begin in ((1e-4, 1e-4), (1.0, 1.0), (1e-3, 1e-3), (5.0, 1e-2)):
        found, _ = regularisation._start(bg.LogisticRegression(2, own), (1e-4, 1.0), jnp.float64)
        assert float(jnp.exp(found)) == pytest.approx(begin)


class Bare:
    """A learner without a strength."""

    def init(self, key):
        return jnp.zeros(D)

    def scores(self, params, x):
        return x @ params

    def loss(self, params, samples):
        return jnp.mean((self.scores(params, samples.x) - samples.y[:, 1]) ** 2)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"rounds": 0}, InputError, "rounds must be a positive whole number; got 0"),
        ({"steps": 0}, InputError, "steps must be"),
        ({"step_size": 0.0}, InputError, "step_size must be"),
        ({"l2_range": (0.1, 0.1)}, InputError, "least < largest"),
        ({"l2_range": (0.0, 0.1)}, InputError, "least_l2 must be a positive"),
        ({"threat": bg.ThreatModel(0)}, InputError, "the budget is 0"),
        ({"learner": Bare()}, InputError, "a setting l2, which Bare has not"),
        ({"schedule": bg.Descent(60, 60.0)}, DivergenceError, "lower the step size"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(settings, error, sentence):
    given = {"learner": bg.LogisticRegression(D), "schedule": SCHEDULE, "threat": THREAT, "attack": QUICK, **settings}
    with pytest.raises(error, match=sentence):
        choose_l2(given.pop("learner"), blobs(20, 0), blobs(20, 1), **given)
