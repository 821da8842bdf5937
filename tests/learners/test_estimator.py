"""A learner as a scikit-learn classifier: scikit-learn's own checks, and what they do not cover."""

import functools
import os
import pickle
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from backgrad.errors import DivergenceError, InputError, UnsupportedError
from backgrad.learners.estimator import LearnerClassifier, expected_failed_checks
from backgrad.learners.linear import Adaline, LogisticRegression, Ridge, SmoothSVM, SoftmaxRegression
from backgrad.learners.mlp import MLP
from backgrad.learners.preprocessing import Standardised
from backgrad.schedules import Converged, Descent
from backgrad.status import Status
from backgrad.training import train
from backgrad.types import samples

TANH = functools.partial(MLP, hidden=(5,))
RELU = functools.partial(MLP, hidden=(5,), activation="relu")
SLOW_DESCENT = Descent(1500, 1e-4, 0.9)
MINI_BATCHES = Descent(300, 0.05, 0.5, batch_size=8)
FAR = {"check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in"}
WEIGHTS = {"check_sample_weight_equivalence_on_dense_data"}
PICKLES = {"check_estimators_pickle", "check_estimators_overwrite_params"}


def l2(learner, strength=0.01, **settings):
    return functools.partial(learner, l2=strength, **settings)


def rows(n_classes=3, n=60, seed=0):
    x, y = make_classification(
        n, 4, n_informative=3, n_redundant=0, n_classes=n_classes, n_clusters_per_class=1, random_state=seed
    )
    return StandardScaler().fit_transform(x), y


def run_checks(estimator):
    """Run scikit-learn's checks; return the names of those that failed as declared."""
    results = check_estimator(
        estimator,
        expected_failed_checks=expected_failed_checks(estimator),
        on_skip=None,  # pyright: ignore[reportArgumentType]
    )
    return {result["check_name"] for result in results if result["status"] == "xfail"}


@pytest.mark.parametrize(
    ("learner", "schedule", "failures"),
    [
        pytest.param(LogisticRegression, None, set(), id="logistic"),
        pytest.param(SoftmaxRegression, SLOW_DESCENT, set(), id="softmax-descent", marks=pytest.mark.slow),
    ],
)
def test_scikit_learn_accepts(learner, schedule, failures):
    assert run_checks(LearnerClassifier(learner, schedule)) == failures


def test_declared_failures_of_mini_batches_are_failures():
    estimator = LearnerClassifier(LogisticRegression, MINI_BATCHES)
    found = set()
    for one, check in estimator_checks_generator(estimator):
        if (name := check.func.__name__) in expected_failed_checks(estimator):
            with pytest.raises((AssertionError, DivergenceError), match=r"not equivalent|training diverged"):
                check(one)
            found.add(name)
    assert found == FAR | WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "schedule", "failures"),
    [
        pytest.param(LogisticRegression, MINI_BATCHES, FAR | WEIGHTS, id="logistic-mini-batches"),
        pytest.param(SoftmaxRegression, None, set(), id="softmax"),
        pytest.param(Adaline, None, set(), id="adaline"),
        pytest.param(SmoothSVM, None, set(), id="svm"),
        pytest.param(TANH, None, set(), id="mlp-tanh"),
        pytest.param(RELU, None, set(), id="mlp-relu"),
        pytest.param(LogisticRegression, SLOW_DESCENT, set(), id="logistic-descent"),
        pytest.param(TANH, Descent(500, 0.1, 0.5), set(), id="mlp-tanh-descent"),
        pytest.param(Adaline, SLOW_DESCENT, set(), id="adaline-descent"),
        pytest.param(SmoothSVM, SLOW_DESCENT, set(), id="svm-descent"),
        pytest.param(RELU, Descent(1000, 0.003, 0.9), set(), id="mlp-relu-descent"),
        pytest.param(l2(LogisticRegression), Converged(), set(), id="logistic-converged"),
        pytest.param(l2(SoftmaxRegression), Converged(), set(), id="softmax-converged"),
        pytest.param(l2(Adaline), Converged(), set(), id="adaline-converged"),
        pytest.param(l2(LogisticRegression), Converged("lbfgs"), set(), id="logistic-lbfgs"),
        pytest.param(Adaline, Descent(500, 0.1, 0.5), FAR, id="adaline-fast-descent"),
        pytest.param(RELU, Descent(500, 1e-4, 0.9), {"check_classifiers_train"}, id="mlp-relu-too-short"),
        pytest.param(LogisticRegression, Descent(300, optimiser=optax.adam(0.05)), PICKLES, id="logistic-optax"),
    ],
)
def test_scikit_learn_accepts_every_learner_and_schedule(learner, schedule, failures):
    assert run_checks(LearnerClassifier(learner, schedule)) == failures


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("learner", [LogisticRegression, l2(SmoothSVM)])
def test_scikit_learn_accepts_training_that_warns(learner):
    assert run_checks(LearnerClassifier(learner, Converged())) == set()


def test_every_declared_failure_has_a_reason():
    mini = expected_failed_checks(LearnerClassifier(LogisticRegression, MINI_BATCHES))
    assert set(mini) == FAR | WEIGHTS
    assert all(len(reason) > 40 for reason in mini.values())
    for quiet in (LearnerClassifier(), LearnerClassifier(TANH, Converged()), LearnerClassifier(Adaline, SLOW_DESCENT)):
        assert expected_failed_checks(quiet) == {}
    function = LearnerClassifier(lambda n_features: LogisticRegression(n_features, 0.1))
    assert set(expected_failed_checks(function)) == PICKLES
    with pytest.raises(InputError, match=r"rows of many shapes.*LearnerClassifier\(MLP\)"):
        expected_failed_checks(LearnerClassifier(MLP(4)))


@pytest.mark.parametrize("learner", [LogisticRegression, SoftmaxRegression, Adaline, SmoothSVM, TANH, RELU])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_learner_learns_and_predicts_in_shape(learner, n_classes):
    x, y = rows(n_classes)
    estimator = LearnerClassifier(learner, Descent(200, 0.1, 0.5)).fit(x, y)
    assert estimator.score(x, y) > 0.8
    decision = estimator.decision_function(x)
    assert decision.shape == ((60,) if n_classes == 2 else (60, 3))
    assert decision.dtype == np.float64
    assert decision.flags.writeable
    assert (estimator.n_iter_, estimator.n_features_in_, estimator.trained_status_) == (200, 4, Status.DONE)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(estimator.params_))
    if learner in (Adaline, SmoothSVM):
        assert not hasattr(estimator, "predict_proba")
        with pytest.raises(AttributeError, match="predict_proba"):
            estimator.predict_proba(x)
        return
    probabilities = estimator.predict_proba(x)
    assert probabilities.shape == (60, n_classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), estimator.predict(x))


@pytest.mark.parametrize(
    ("recipe", "before", "after"),
    [
        (Standardised(SmoothSVM(4)), False, False),
        (Standardised(LogisticRegression(4)), True, True),
        (functools.partial(Standardised, SmoothSVM(4)), False, False),
        (functools.partial(Standardised, LogisticRegression(4)), False, True),
    ],
    ids=["svm", "logistic", "svm's class", "logistic's class"],
)
def test_a_wrapper_has_probabilities_where_the_learner_inside_has(recipe, before, after):
    estimator = LearnerClassifier(recipe, Descent(5, 0.1))
    assert hasattr(estimator, "predict_proba") == before
    assert hasattr(estimator.fit(*rows(2)), "predict_proba") == after


def test_parameters_are_those_that_train_finds():
    x, y = rows(2)
    weight = np.linspace(0.5, 2, 60)
    schedule = Descent(50, 0.1, 0.5)
    estimator = LearnerClassifier(TANH, schedule).fit(x, y, sample_weight=weight)
    trained = train(TANH(n_features=4), samples(x, y, 2, weight=weight), schedule=schedule)
    jax.tree.map(np.testing.assert_array_equal, estimator.params_, jax.tree.map(np.asarray, trained.params))


def test_one_vs_rest_is_one_binary_problem_a_class():
    x, y = rows(3)
    estimator = LearnerClassifier(l2(LogisticRegression), Converged()).fit(x, y)
    assert estimator.params_.weight.shape == (3, 4)
    decision = estimator.decision_function(x)
    for c in range(3):
        alone = clone(estimator).fit(x, y == c)
        np.testing.assert_allclose(decision[:, c], alone.decision_function(x), rtol=1e-9)
    odds = 1 / (1 + np.exp(-decision))
    np.testing.assert_allclose(estimator.predict_proba(x), odds / odds.sum(axis=1, keepdims=True))


def test_probabilities_survive_extreme_scores():
    x, y = rows(3)
    estimator = LearnerClassifier(LogisticRegression, Descent(5, 0.1)).fit(x, y)
    estimator.params_ = estimator.params_._replace(bias=np.array([-2000.0, -3000.0, -2500.0]))
    np.testing.assert_allclose(estimator.predict_proba(x), np.eye(3)[[0] * 60], atol=1e-100)


@pytest.mark.parametrize("weighted", [False, True])
def test_converged_agrees_with_scikit_learn(weighted):
    x, y = rows(2)
    strength, weight = 0.03, np.linspace(0.2, 3, 60) if weighted else np.ones(60)
    ours = LearnerClassifier(l2(LogisticRegression, strength), Converged()).fit(x, y, sample_weight=weight)
    theirs = SklearnLogisticRegression(C=1 / (weight.sum() * strength), tol=1e-10, max_iter=1000)
    theirs.fit(x, y, sample_weight=weight)
    # scikit-learn's L-BFGS stops short of its own tolerance, at about 1e-7.
    np.testing.assert_allclose(ours.params_.weight, theirs.coef_[0], rtol=1e-5)
    np.testing.assert_allclose(ours.params_.bias, theirs.intercept_[0], rtol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-5)
    assert ours.n_iter_ is None
    assert ours.trained_status_ is Status.DONE


def test_converged_softmax_agrees_with_scikit_learn():
    x, y = rows(3)
    ours = LearnerClassifier(l2(SoftmaxRegression, 0.03), Converged()).fit(x, y)
    theirs = SklearnLogisticRegression(C=1 / (60 * 0.03), tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(ours.params_.weight.T, theirs.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-4)


@pytest.mark.parametrize("learner", [LogisticRegression, TANH])
def test_frames_and_string_labels(learner):
    x, y = rows(3)
    names = np.array(["pear", "apple", "mango"])
    frame, labels = pd.DataFrame(x, columns=list("abcd")), pd.Series(names[y])
    estimator = LearnerClassifier(learner, Descent(100, 0.1, 0.5)).fit(frame, labels)
    assert estimator.classes_.tolist() == ["apple", "mango", "pear"]
    assert estimator.feature_names_in_.tolist() == list("abcd")
    assert estimator.score(frame, labels) > 0.8
    plain = clone(estimator).fit(x, np.array([2, 0, 1])[y])
    np.testing.assert_array_equal(estimator.classes_[plain.predict(x)], estimator.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame[list("dcba")])


def test_positive_scores_mean_the_second_class():
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    estimator = LearnerClassifier().fit(x, ["no", "no", "yes", "yes"])
    assert (estimator.decision_function(x) > 0).tolist() == [False, False, True, True]
    assert estimator.predict(x).tolist() == ["no", "no", "yes", "yes"]
    assert estimator.predict_proba(x)[-1, 1] > 0.9


def test_rows_of_weight_zero_are_absent():
    x, y = rows(3)
    weight = np.where(y == 2, 0.0, 1.0)
    for schedule in (Descent(50, 0.1), Descent(50, 0.1, batch_size=2)):
        weighted = LearnerClassifier(LogisticRegression, schedule).fit(x, y, sample_weight=weight)
        removed = LearnerClassifier(LogisticRegression, schedule).fit(x[y < 2], y[y < 2])
        assert weighted.classes_.tolist() == [0, 1]
        np.testing.assert_allclose(weighted.decision_function(x), removed.decision_function(x), rtol=1e-9)


def test_a_learner_comes_as_class_partial_function_or_finished():
    x, y = rows(3)
    recipes = (
        SoftmaxRegression,
        functools.partial(SoftmaxRegression, n_classes=3),
        functools.partial(SoftmaxRegression, 4),
        lambda n_features, n_classes: SoftmaxRegression(n_features, n_classes=n_classes),
        SoftmaxRegression(4, n_classes=3),
    )
    first, *others = (LearnerClassifier(recipe, Descent(20, 0.1)).fit(x, y).predict_proba(x) for recipe in recipes)
    for other in others:
        np.testing.assert_array_equal(first, other)


class Plain:
    """A learner of one's own: three methods, no base class, nothing known of its shape."""

    def init(self, key):
        return jnp.zeros(4)

    def scores(self, params, x):
        return x @ params

    def loss(self, params, samples):
        margin = (samples.y[:, 1] - samples.y[:, 0]) * self.scores(params, samples.x)
        return jnp.sum(samples.weight * jnp.logaddexp(0, -margin)) / jnp.sum(samples.weight)


class PlainProbabilistic(Plain):
    probabilistic = True


def test_a_learner_of_ones_own():
    x, y = rows(3)
    estimator = LearnerClassifier(Plain, Descent(100, 0.1)).fit(x, y)
    assert estimator.score(x, y) > 0.7
    assert not hasattr(estimator, "predict_proba")
    assert hasattr(LearnerClassifier(PlainProbabilistic), "predict_proba")
    assert LearnerClassifier(PlainProbabilistic(), Descent(5, 0.1)).fit(x, y).predict_proba(x).shape == (60, 3)


def test_probabilities_are_offered_where_scores_are_log_odds():
    for learner in (LogisticRegression, l2(SoftmaxRegression), TANH, MLP(4)):
        assert hasattr(LearnerClassifier(learner), "predict_proba")
    x, y = rows(2)
    function = LearnerClassifier(lambda n_features: LogisticRegression(n_features, 0.1), Descent(5, 0.1))
    assert not hasattr(function, "predict_proba")
    assert hasattr(function.fit(x, y), "predict_proba")
    with pytest.raises(AttributeError) as error:
        LearnerClassifier(Adaline).predict_proba(x)
    assert "Adaline are not known to be log-odds" in str(error.value.__cause__)


@pytest.mark.parametrize(
    ("learner", "schedule", "error", "message"),
    [
        (Ridge, None, UnsupportedError, "Ridge is a regressor.*use Adaline"),
        ("logistic", None, InputError, "must be a learner class, a factory .* or a finished learner; got 'logistic'"),
        (lambda: 3, None, InputError, "must return an object with init, scores and loss; it returned 3"),
        (MLP(5, 3), None, InputError, "MLP was made for 5 features, but the rows have 4: pass the class MLP"),
        (MLP(4, 2), None, InputError, "MLP was made for 2 classes, but the rows have 3"),
        (functools.partial(MLP, n_classes=5), None, InputError, "made for 5 classes, but the rows have 3"),
        (LogisticRegression, 100, InputError, r"must be Descent\(...\), Converged\(...\) or None .* got 100"),
    ],
)
def test_refusals_say_what_to_do(learner, schedule, error, message):
    with pytest.raises(error, match=message):
        LearnerClassifier(learner, schedule).fit(*rows(3))


def test_training_needs_two_classes():
    x, y = rows(2)
    with pytest.raises(InputError, match=r"at least 2 classes .* got 1 class\(es\): \[0\]"):
        LearnerClassifier().fit(x, y, sample_weight=y == 0)
    with pytest.raises(ValueError, match="Negative values"):
        LearnerClassifier().fit(x, y, sample_weight=-np.ones(60))
    with pytest.raises(NotFittedError):
        LearnerClassifier().predict(x)


def test_divergence_raises():
    x, y = rows(2)
    with pytest.raises(DivergenceError, match=r"its loss went from 0.5 to .* Scale the features .* lower"):
        LearnerClassifier(Adaline, Descent(50, 0.1)).fit(100 * x, y)


def test_training_that_does_not_end_at_an_optimum_warns():
    x, y = rows(3)
    with pytest.warns(ConvergenceWarning, match="norm of the gradient .* raise the schedule's max_steps"):
        estimator = LearnerClassifier(l2(LogisticRegression), Converged(max_steps=1)).fit(x, y)
    assert estimator.trained_status_ is Status.NOT_CONVERGED
    with pytest.warns(ConvergenceWarning, match="no unique finite optimum .* set l2 above 0"):
        estimator.set_params(learner=LogisticRegression, schedule=Converged()).fit(np.array([[0.0], [1.0]]), [0, 1])
    assert estimator.trained_status_ is Status.NO_FINITE_OPTIMUM


def test_parameters_are_stored_untouched_and_cloned():
    learner, schedule = l2(MLP, hidden=(3,)), Descent(20, 0.1, key=jax.random.key(7))
    estimator = LearnerClassifier(learner, schedule)
    assert estimator.get_params() == {"learner": learner, "schedule": schedule}
    assert estimator.learner is learner
    assert re.match(r"LearnerClassifier\(learner=functools.partial\(<class .*MLP'>", repr(estimator))
    assert repr(LearnerClassifier()) == "LearnerClassifier()"
    x, y = rows(2)
    copy = clone(estimator.fit(x, y))
    assert not hasattr(copy, "params_")
    np.testing.assert_array_equal(copy.fit(x, y).decision_function(x), estimator.decision_function(x))
    other = clone(estimator).set_params(schedule=Descent(20, 0.1, key=jax.random.key(8)))
    assert not np.allclose(other.fit(x, y).decision_function(x), estimator.decision_function(x))
    thawed = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(thawed.decision_function(x), estimator.decision_function(x))


def test_grid_search_over_learners_and_schedules():
    x, y = rows(3)
    grid = {"learner": [l2(LogisticRegression, 100.0), l2(LogisticRegression, 0.01)], "schedule": [Descent(50, 0.01)]}
    search = GridSearchCV(LearnerClassifier(), grid, cv=3, error_score="raise").fit(x, y)
    assert search.best_params_["learner"].keywords == {"l2": 0.01}
    assert search.predict_proba(x).shape == (60, 3)
    pipeline = make_pipeline(StandardScaler(), LearnerClassifier())
    schedules = [Descent(1, 1e-6), Descent(50, 0.1)]
    grid = {"learnerclassifier__schedule": schedules}
    search = GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss", error_score="raise").fit(x, y)
    assert search.best_params_ == {"learnerclassifier__schedule": schedules[1]}


def test_training_compiles_once_for_a_shape():
    traced = []

    class Counting(LogisticRegression):
        def row_losses(self, scores, y):
            traced.append(scores.shape)
            return super().row_losses(scores, y)

    x, y = rows(3)
    recipe = functools.partial(Counting, l2=0.01)
    LearnerClassifier(recipe).fit(x, y)
    first = len(traced)
    assert first > 0
    LearnerClassifier(clone(recipe, safe=False)).fit(x + 1, y)
    assert len(traced) == first


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from sklearn.datasets import make_classification
from backgrad.learners.estimator import LearnerClassifier
from backgrad.learners.linear import LogisticRegression
from backgrad.schedules import Descent
x, y = make_classification(60, 4, random_state=0)
estimator = LearnerClassifier(lambda n_features: LogisticRegression(n_features, 0.01), Descent(100, 0.1))
estimator.fit(x, y)
assert estimator.params_.weight.dtype == estimator.decision_function(x).dtype == np.float64
assert not jax.config.jax_enable_x64 and jnp.zeros(1).dtype == np.float32
print(*estimator.params_.weight)
"""


def test_training_is_float64_and_leaves_the_global_flag_alone():
    environment = {**os.environ, "JAX_ENABLE_X64": "0"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    x, y = make_classification(60, 4, random_state=0)
    here = LearnerClassifier(l2(LogisticRegression), Descent(100, 0.1)).fit(x, y)
    np.testing.assert_allclose([float(value) for value in done.stdout.split()], here.params_.weight, rtol=1e-9)
