"""Every learner keeps the contract of learners."""

import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad import learners
from backgrad.learners.mlp import RegressionMLP
from backgrad.learners.preprocessing import MaxAbsScaled, MinMaxScaled, Selected, Standardised, VarianceSelected
from backgrad.learners.sklearn_like import ClassWeighted, Intercept, OneVsRest, SklearnMLP, SumOfLosses, Wrapped
from backgrad.testing import LearnerContract
from tests.testing.support import concrete

D, L2 = 4, 0.05


class Plain:
    """A user's learner: three methods, and nothing else."""

    def init(self, key):
        del key
        return jnp.zeros(D)

    def scores(self, params, x):
        return x @ params

    def loss(self, params, samples):
        error = (self.scores(params, samples.x) - (samples.y[:, 1] - samples.y[:, 0])) ** 2
        return jnp.sum(samples.weight * error) / jnp.sum(samples.weight)


# One object, since plain objects are compiled one by one.
PLAIN = Plain()
SOFTMAX, LOGISTIC = bg.SoftmaxRegression(D, L2, 3), bg.LogisticRegression(D, L2)

SMOOTH = {
    "logistic": (2, LOGISTIC),
    "adaline": (2, bg.Adaline(D, L2)),
    "softmax": (3, SOFTMAX),
    "ridge": (2, bg.Ridge(D, L2, 2)),
    "mlp": (3, bg.MLP(D, 3, (5,), "tanh", L2)),
    "regression-mlp": (1, RegressionMLP(D, 1, (5,), "tanh", L2)),
    "balanced-machines": (3, ClassWeighted(OneVsRest(D, L2, 3, "log"), positives=True)),
    "nested": (3, Standardised(MinMaxScaled(Selected(MaxAbsScaled(VarianceSelected(SOFTMAX, 0.1)), 3)))),
    "three-methods": (2, PLAIN),
}
# Losses or slopes with kinks, which differences should not straddle.
KINKED = {
    "svm": (2, bg.SmoothSVM(D, L2, 0.7)),
    "cnn": (3, bg.CNN(D, 3, channels=(3,), dense=(5, 4), l2=L2)),
    "sklearn-mlp-relu": (2, SklearnMLP(D, 2, (5,), l2=L2)),
    "one-vs-rest-squared-hinge": (3, OneVsRest(D, L2, 3)),
}
SUMS = {
    "balanced-sum": (2, ClassWeighted(SumOfLosses(Intercept(LOGISTIC, 0.5)))),
}
# The same classes with other settings or by themselves, for before a release.
MORE_SUMS = {
    "sum": (3, SumOfLosses(SOFTMAX)),
}
MORE = {
    "sklearn-mlp-logistic": (3, SklearnMLP(D, 3, (5,), l2=L2, nonlinearity="logistic")),
    "no-intercept": (2, Intercept(LOGISTIC)),
    "class-weights": (3, ClassWeighted(SOFTMAX, (1.0, 2.0, 0.5))),
    "standardised-three-methods": (2, Standardised(PLAIN)),
    "variance-selected": (2, VarianceSelected(LOGISTIC, 0.8)),
    "one-vs-rest-log": (3, OneVsRest(D, L2, 3, "log", positive_weight=jnp.asarray([1.0, 1.2, 0.9]))),
    "one-vs-rest-squared": (2, OneVsRest(D, L2, 2, "squared")),
    "sklearn-mlp-identity": (3, SklearnMLP(D, 3, (5,), l2=L2, nonlinearity="identity")),
    "sklearn-mlp-tanh": (2, SklearnMLP(D, 2, (5,), l2=L2, nonlinearity="tanh")),
    "penalised-intercept": (2, Intercept(LOGISTIC, 0.5)),
    "balanced": (3, ClassWeighted(SOFTMAX)),
    "centred": (2, Standardised(LOGISTIC, with_std=False)),
    "scaled": (2, Standardised(LOGISTIC, with_mean=False)),
    "min-max": (2, MinMaxScaled(LOGISTIC, (-1.0, 2.0))),
    "max-abs": (2, MaxAbsScaled(LOGISTIC)),
    "selected": (3, Selected(SOFTMAX, 2, "variance")),
}
MORE_KINKED = {
    "mlp-relu": (3, bg.MLP(D, 3, (5, 4), "relu", L2)),
    "one-vs-rest-hinge": (2, OneVsRest(D, L2, 2, "hinge", smoothing=0.3)),
    "one-vs-rest-perceptron": (2, OneVsRest(D, L2, 2, "perceptron")),
    "regression-mlp-relu": (2, RegressionMLP(D, 2, (5,), "relu", L2)),
    "one-vs-rest-modified-huber": (3, OneVsRest(D, L2, 3, "modified_huber")),
}


class Chosen(LearnerContract):
    """The suite on every learner of a table: name → (k, learner)."""

    @pytest.fixture(autouse=True)
    def _choose(self, case):
        self.n_outputs, self.one = case

    # The error of smooth losses is h⁴ times a fifth derivative, with h = 3e-4.
    tolerance = 1e-9

    def learner(self):
        return self.one


def each(table):
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


@each(SMOOTH)
class TestSmoothLearners(Chosen):
    pass


@each(KINKED)
class TestLearnersWithKinks(Chosen):
    difference_step = 1e-6
    tolerance = 1e-7  # what the round-off of 10⁻¹⁶ / 10⁻⁶ leaves


@pytest.mark.slow
@each(MORE)
class TestMoreSmoothLearners(Chosen):
    pass


@pytest.mark.slow
@each(MORE_KINKED)
class TestMoreLearnersWithKinks(Chosen):
    difference_step = 1e-6
    tolerance = 1e-7  # what the round-off of 10⁻¹⁶ / 10⁻⁶ leaves


@each(SUMS)
class TestSumsOfLosses(Chosen):
    def test_scaling_all_weights_changes_nothing(self):
        # The penalty alone shrinks, as if λ were divided by the factor: (loss − mean) · factor stays.
        learner, params, rows = self.learner(), self.params(self.learner()), self.rows()
        light, heavy, heavier = (
            float(learner.loss(params, rows._replace(weight=factor * rows.weight))) for factor in (1.0, 4.0, 16.0)
        )
        mean = (4.0 * heavy - light) / 3.0
        np.testing.assert_allclose(heavier - mean, (light - mean) / 16.0, rtol=1e-9)
        assert light > heavy > heavier > mean


@pytest.mark.slow
@each(MORE_SUMS)
class TestMoreSumsOfLosses(Chosen):
    test_scaling_all_weights_changes_nothing = TestSumsOfLosses.test_scaling_all_weights_changes_nothing


def test_every_learner_is_in_the_tables():
    tested = [one for table in (SMOOTH, KINKED, SUMS) for _, one in table.values()]
    for one in tested:
        tested += [one.learner] if hasattr(one, "learner") else []  # grows as it goes, to the innermost
    # What wrappers share can be made, but wraps nothing.
    assert concrete(learners.base.Learner, learners) - {Wrapped} <= {type(one) for one in tested}
