"""Goals: outer losses against independent formulas, and their gradients against differences."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

import backgrad as bg
from backgrad.adjoints.check import check_gradient
from backgrad.errors import InputError
from backgrad.threat.losses import margins
from tests.problems import learner, rows

RNG = np.random.default_rng(7)
N, K = 12, 4
# The mean absolute margin has a kink where a margin is 0, so binary scores keep away from it.
BINARY_SCORES = RNG.choice([-1.0, 1.0], N) * RNG.uniform(0.1, 2.0, N)
SCORES = RNG.normal(size=(N, K))
BINARY_LABELS, LABELS = RNG.integers(0, 2, N), RNG.integers(0, K, N)
# Scores, labels and number of classes of a binary and of a multiclass learner.
CASES = {"binary": (BINARY_SCORES, BINARY_LABELS, 2), "multiclass": (SCORES, LABELS, K)}
both = pytest.mark.parametrize(("scores", "labels", "k"), CASES.values(), ids=CASES.keys())
ANY = object()  # outer losses that see scores alone must not look at the learner


def one_hot(labels, k):
    return jnp.asarray(np.eye(k)[labels])


def each(loss, learner, scores, y):
    """Return the loss of every row, where all weigh the same."""
    return loss(learner, scores, y, jnp.ones(len(scores)))


def predictions(scores):
    return (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)


def test_a_margin_of_a_binary_learner_is_its_signed_score():
    found = margins(jnp.asarray(BINARY_SCORES), one_hot(BINARY_LABELS, 2))
    np.testing.assert_array_equal(found, np.where(BINARY_LABELS == 1, BINARY_SCORES, -BINARY_SCORES))


def test_a_margin_of_several_classes_is_the_lead_over_the_best_other():
    expected = [s[c] - max(np.delete(s, c)) for s, c in zip(SCORES, LABELS, strict=True)]
    found = margins(jnp.asarray(SCORES), one_hot(LABELS, K))
    np.testing.assert_allclose(found, expected, rtol=1e-15)  # a sum with zeros, and one subtraction


@both
def test_an_error_is_a_negative_margin(scores, labels, k):
    found = np.asarray(margins(jnp.asarray(scores), one_hot(labels, k)))
    np.testing.assert_array_equal(found < 0, predictions(scores) != labels)


def test_two_columns_of_scores_have_the_margins_of_their_difference():
    two = jnp.stack([jnp.zeros(N), jnp.asarray(BINARY_SCORES)], axis=1)
    y = one_hot(BINARY_LABELS, 2)
    np.testing.assert_array_equal(margins(two, y), margins(jnp.asarray(BINARY_SCORES), y))


@both
def test_the_log_loss_is_scikit_learn_s(scores, labels, k):
    logits = np.column_stack([np.zeros(N), scores]) if scores.ndim == 1 else scores
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = each(bg.LogLoss(), ANY, jnp.asarray(scores), one_hot(labels, k))
    assert float(found.mean()) == pytest.approx(log_loss(labels, probabilities, labels=np.arange(k)), rel=1e-12, abs=0)


def test_the_log_loss_of_a_hopeless_row_is_its_margin_and_not_infinite():
    found = each(bg.LogLoss(), ANY, jnp.asarray([-1e4, 1e4]), one_hot([1, 1], 2))
    np.testing.assert_array_equal(found, [1e4, 0.0])


@both
@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e8])
def test_the_smooth_zero_one_loss_is_indifferent_to_the_scale_of_the_scores(scores, labels, k, factor):
    loss, y = bg.SmoothZeroOne(), one_hot(labels, k)
    one, other = each(loss, ANY, jnp.asarray(scores), y), each(loss, ANY, jnp.asarray(factor * scores), y)
    np.testing.assert_allclose(one, other, rtol=1e-13)  # rounding of the scaled scores


@both
def test_the_smooth_zero_one_loss_tends_to_the_zero_one_error(scores, labels, k):
    wrong = predictions(scores) != labels
    assert 0 < wrong.sum() < N
    gaps = [
        np.abs(np.asarray(each(bg.SmoothZeroOne(width), ANY, jnp.asarray(scores), one_hot(labels, k))) - wrong).max()
        for width in (0.5, 0.1, 0.02, 1e-5)
    ]
    assert sorted(gaps, reverse=True) == gaps
    assert gaps[0] > 0.05
    assert gaps[-1] < 1e-12  # the least margin is over 10⁻³ mean margins, which is over 100 widths


@both
def test_the_smooth_zero_one_loss_is_the_sigmoid_of_the_relative_margin(scores, labels, k):
    y = one_hot(labels, k)
    u = np.asarray(margins(jnp.asarray(scores), y))
    expected = 1 / (1 + np.exp(u / (0.3 * np.abs(u).mean())))
    np.testing.assert_allclose(each(bg.SmoothZeroOne(0.3), ANY, jnp.asarray(scores), y), expected, rtol=1e-12)


def test_the_smooth_zero_one_loss_is_a_half_where_the_model_knows_nothing():
    y = one_hot(BINARY_LABELS, 2)
    value, slope = jax.jit(jax.value_and_grad(lambda s: each(bg.SmoothZeroOne(), ANY, s, y).mean()))(jnp.zeros(N))
    assert float(value) == 0.5
    assert np.isfinite(slope).all()


@both
@pytest.mark.parametrize("loss", [bg.LogLoss(), bg.SmoothZeroOne(), bg.SmoothZeroOne(0.1)], ids=str)
def test_gradients_of_outer_losses_match_differences(scores, labels, k, loss):
    def mean(s):
        return each(loss, ANY, s, one_hot(labels, k)).mean()

    mean = jax.jit(mean)
    # Smooth away from ties of the scores; a step of 10⁻³ is a hundredth of the least width, to the fourth power.
    slope = jax.jit(jax.grad(mean))(jnp.asarray(scores))
    check_gradient(mean, jnp.asarray(scores), key=jax.random.key(0), gradient=slope, tolerance=1e-6)


def test_the_learner_s_loss_of_adaline_is_half_the_squared_error():
    y = np.where(BINARY_LABELS == 1, 1.0, -1.0)
    found = each(bg.LearnerLoss(), bg.Adaline(3), jnp.asarray(BINARY_SCORES), one_hot(BINARY_LABELS, 2))
    np.testing.assert_allclose(found, (BINARY_SCORES - y) ** 2 / 2, rtol=1e-15)


@pytest.mark.parametrize("name", ["softmax", "adaline"])
def test_the_learner_s_loss_leaves_its_regularisation_out(name):
    model = learner(name, l2=3.0)
    validation, goal = rows(model), bg.ErrorGeneric(bg.LearnerLoss())
    params = jax.tree.map(lambda a: jnp.asarray(np.full(a.shape, 0.3)), model.init(jax.random.key(0)))
    bare = dataclasses.replace(model, l2=0.0)
    losses = (lambda p, v: goal.value(model, p, v)), bare.loss, model.loss
    found, plain, penalised = (float(jax.jit(f)(params, validation)) for f in losses)
    assert found == pytest.approx(plain, rel=1e-14, abs=0)
    assert penalised > found + 0.1


def test_the_learner_s_loss_needs_a_learner_that_has_one():
    class Foreign:
        pass

    with pytest.raises(InputError, match=r"Foreign has no row_losses: use LogLoss\(\) or SmoothZeroOne\(\)"):
        each(bg.LearnerLoss(), Foreign(), jnp.asarray(BINARY_SCORES), one_hot(BINARY_LABELS, 2))


class Scores:
    """A model whose features are its scores."""

    def scores(self, params, x):
        del params
        return x[:, 0]


def validation(scores, labels, weight=None):
    return bg.samples(np.asarray(scores)[:, None], labels, 2, weight=weight)


def test_a_goal_is_the_weighted_mean_of_its_outer_loss():
    weight = RNG.uniform(0.5, 2.0, N)
    expected = np.average(np.logaddexp(0, np.where(BINARY_LABELS == 1, -1, 1) * BINARY_SCORES), weights=weight)
    found = bg.ErrorGeneric(bg.LogLoss()).value(Scores(), None, validation(BINARY_SCORES, BINARY_LABELS, weight))
    assert float(found) == pytest.approx(expected, rel=1e-13, abs=0)


@pytest.mark.parametrize(
    "loss",
    [bg.LogLoss(), bg.SmoothZeroOne()],
    ids=str,
)
def test_a_validation_row_of_weight_zero_is_absent(loss):
    goal = bg.ErrorGeneric(loss)
    kept = goal.value(Scores(), None, validation(BINARY_SCORES, BINARY_LABELS))
    scores, labels = np.append(BINARY_SCORES, [50.0, -70.0]), np.append(BINARY_LABELS, [0, 1])
    muted = goal.value(Scores(), None, validation(scores, labels, np.append(np.ones(N), [0.0, 0.0])))
    assert float(muted) == pytest.approx(float(kept), rel=1e-13, abs=0)


@pytest.mark.parametrize("loss", [bg.SquaredLoss(), bg.LogLoss(), bg.SmoothZeroOne()], ids=str)
@pytest.mark.parametrize("k", [1, 3])
def test_scores_of_one_number_a_row_are_those_of_two_classes_alone(loss, k):
    rows = bg.Samples(jnp.ones((N, 1)), jnp.ones((N, k)), jnp.ones(N))
    with pytest.raises(InputError, match=rf"Scores.scores must return \(n, {k}\) for rows .* got \(n,\)"):
        bg.ErrorGeneric(loss).value(Scores(), None, rows)


def test_goals_describe_themselves_in_plain_json():
    described = json.loads(json.dumps(bg.ErrorGeneric(bg.SmoothZeroOne(0.25)).describe(), allow_nan=False))
    assert described == {
        "violation": "availability",
        "error_specificity": "generic",
        "attack_specificity": "indiscriminate",
        "outer_loss": "SmoothZeroOne",
        "width": 0.25,
    }
    assert bg.ErrorGeneric(bg.LogLoss()).describe()["outer_loss"] == "LogLoss"
    assert bg.ErrorGeneric().describe()["outer_loss"] == "SmoothZeroOne"


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_no_width_is_refused_in_a_sentence(width):
    with pytest.raises(InputError, match="width must be a positive finite number; got"):
        bg.SmoothZeroOne(width)
