"""The suite of learners can fail: each of its tests refuses a learner that breaks the promise, and no other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

import backgrad as bg
from backgrad.learners.base import softplus
from backgrad.learners.linear import LinearParams
from backgrad.learners.preprocessing import Scaling, Standardised
from backgrad.testing import LearnerContract
from backgrad.types import concatenate
from tests.testing.support import promises, refuse

D = 4


class TwoMethods:
    def init(self, key):
        return jnp.zeros(D)

    def scores(self, params, x):
        return x @ params


class Unsteady(bg.LogisticRegression):
    def init(self, key):
        return LinearParams(jnp.asarray(np.random.default_rng().normal(size=D)), jnp.zeros(()))


class Wide(bg.LogisticRegression):
    def scores(self, params, x):
        return (x @ params.weight + params.bias)[:, None]


class Centring(bg.LogisticRegression):
    def scores(self, params, x):
        return (x - jnp.mean(x, axis=0)) @ params.weight + params.bias


class Shaped(bg.LogisticRegression):
    def loss(self, params, samples):
        return super().loss(params, samples)[None]


class Ordered(bg.LogisticRegression):
    def loss(self, params, samples):
        return super().loss(params, samples._replace(weight=samples.weight * jnp.arange(1.0, len(samples.weight) + 1)))


class Sum(bg.LogisticRegression):
    def loss(self, params, samples):
        return super().loss(params, samples) * jnp.sum(samples.weight)


class CountingAll(bg.LogisticRegression):
    """Rows of weight 0 count among the n that the sum is divided by."""

    def loss_over(self, params, blocks):
        rows = concatenate(blocks)
        return jnp.mean(rows.weight * self.row_losses(self.scores(params, rows.x), rows.y)) / jnp.max(rows.weight)


class CountingAllButInTheLoss(bg.LogisticRegression):
    """Rows of weight 0 have a gradient, though no value."""

    def loss(self, params, samples):
        ghost = 1e-6 * jnp.sum(self.row_losses(self.scores(params, samples.x), samples.y))
        return super().loss(params, samples) + ghost - jax.lax.stop_gradient(ghost)


class BlockByBlock(bg.LogisticRegression):
    def loss_over(self, params, blocks):
        return sum(super(BlockByBlock, self).loss_over(params, (block,)) for block in blocks) / len(blocks)


@jax.custom_jvp
def too_steep(z):
    return softplus(z)


@too_steep.defjvp
def _too_steep(primals, tangents):
    (z,), (dz,) = primals, tangents
    return softplus(z), 1.001 * jax.nn.sigmoid(z) * dz


@jax.custom_jvp
def bent_wrongly(z):
    return softplus(z)


@bent_wrongly.defjvp
def _bent_wrongly(primals, tangents):
    (z,), (dz,) = primals, tangents
    slope = jax.nn.sigmoid(z)
    # The slope is right, and its own slope 0.1 % too small.
    return softplus(z), (0.999 * slope + 0.001 * jax.lax.stop_gradient(slope)) * dz


class WrongGradient(bg.LogisticRegression):
    def row_losses(self, scores, y):
        return jnp.sum(y, axis=1) * too_steep(scores) - y[:, 1] * scores


class WrongCurvature(bg.LogisticRegression):
    def row_losses(self, scores, y):
        return jnp.sum(y, axis=1) * bent_wrongly(scores) - y[:, 1] * scores


class NoGradient(bg.LogisticRegression):
    def loss(self, params, samples):
        return super().loss(params, jax.lax.stop_gradient(samples))


class OtherwiseCompiled(bg.LogisticRegression):
    def loss(self, params, samples):
        return super().loss(params, samples) * (1.0 + 1e-6 * isinstance(samples.x, Tracer))


class Double(bg.LogisticRegression):
    def scores(self, params, x):
        return super().scores(params, x) * jnp.ones((), jnp.float64)


class Uphill(bg.LogisticRegression):
    """The loss is right and its gradient points the other way."""

    def loss_over(self, params, blocks):
        loss = super().loss_over(params, blocks)
        return 2 * jax.lax.stop_gradient(loss) - loss


class Upside(bg.LogisticRegression):
    """Scores are positive for the other class than the loss takes them for."""

    def scores(self, params, x):
        return -super().scores(params, x)

    def row_losses(self, scores, y):
        return super().row_losses(-scores, y)


class Probable(bg.LogisticRegression):
    """Scores are probabilities, all of them positive."""

    def scores(self, params, x):
        return jax.nn.sigmoid(super().scores(params, x))

    def row_losses(self, scores, y):
        return super().row_losses(jnp.log(scores) - jnp.log1p(-scores), y)


class CentredOnAll(Standardised):
    """Preprocessing that counts rows of weight 0."""

    def fit(self, blocks):
        x = concatenate(blocks).x
        return Scaling(jnp.mean(x, axis=0), jnp.ones(x.shape[1]))


BROKEN = [
    ("test_it_has_the_three_methods_and_says_its_sizes", (), TwoMethods()),
    ("test_it_has_the_three_methods_and_says_its_sizes", (), bg.LogisticRegression(D + 1)),
    ("test_it_has_the_three_methods_and_says_its_sizes", (), bg.SoftmaxRegression(D, n_classes=3)),
    ("test_initial_parameters_are_finite_and_follow_from_the_key_alone", (), Unsteady(D)),
    ("test_scores_are_one_a_row_or_one_a_class", (7,), Wide(D)),
    ("test_scores_are_one_a_row_or_one_a_class", (7,), bg.SoftmaxRegression(D, n_classes=3)),
    ("test_the_score_of_a_row_depends_on_that_row_alone", (), Centring(D)),
    ("test_the_loss_is_a_finite_number", (), Shaped(D)),
    ("test_the_loss_is_a_finite_number", (), bg.LogisticRegression(D, jnp.asarray(jnp.nan))),
    ("test_scores_point_where_the_loss_is_least", (), Upside(D)),
    ("test_scores_point_where_the_loss_is_least", (), Probable(D)),
    ("test_the_order_of_rows_does_not_matter", (), Ordered(D)),
    ("test_scaling_all_weights_changes_nothing", (), Sum(D)),
    ("test_rows_of_weight_zero_are_absent_from_the_loss", (), CountingAll(D)),
    ("test_rows_of_weight_zero_are_absent_from_the_loss", (), CountingAllButInTheLoss(D)),
    ("test_blocks_of_rows_have_the_loss_of_all_rows_together", (), BlockByBlock(D)),
    ("test_the_gradient_of_the_loss_equals_central_differences", ("params",), WrongGradient(D)),
    ("test_the_gradient_of_the_loss_equals_central_differences", ("features",), WrongGradient(D)),
    ("test_the_gradient_of_the_loss_equals_central_differences", ("features",), NoGradient(D)),
    ("test_the_gradient_of_the_loss_equals_central_differences", ("labels",), NoGradient(D)),
    ("test_the_gradient_of_the_loss_equals_central_differences", ("weights",), NoGradient(D)),
    ("test_the_slope_in_the_parameters_can_be_differentiated_again", ("params",), WrongCurvature(D)),
    ("test_the_slope_in_the_parameters_can_be_differentiated_again", ("features",), WrongCurvature(D)),
    ("test_compiling_changes_no_number", (), OtherwiseCompiled(D)),
    ("test_float32_stays_float32", (), Double(D)),
    ("test_training_lowers_the_loss", (), Uphill(D)),
    ("test_training_does_not_see_rows_of_weight_zero", (), CentredOnAll(bg.LogisticRegression(D))),
]


def suite(learner):
    """Return the suite on a learner."""

    class Suite(LearnerContract):
        def learner(self):
            return learner

    return Suite()


@pytest.mark.parametrize(
    ("promise", "arguments", "learner"), BROKEN, ids=[f"{b[0][5:]}-{type(b[2]).__name__}" for b in BROKEN]
)
def test_a_broken_learner_is_refused(promise, arguments, learner):
    refuse(suite(learner), promise, *arguments)


def test_every_promise_of_the_suite_can_be_broken():
    assert {promise for promise, _, _ in BROKEN} == promises(LearnerContract)


def test_a_wrong_slope_of_the_slope_alone_passes_as_a_gradient():
    # So that it is the second test, and not the first, that refuses it above.
    suite(WrongCurvature(D)).test_the_gradient_of_the_loss_equals_central_differences("params")
