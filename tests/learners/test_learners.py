"""Learners: losses and scores against formulas in plain NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.errors import InputError
from backgrad.learners.base import LearnerLike, cross_entropy, softplus
from backgrad.learners.catalogue import LEARNER_NAMES, default_schedule, make_learner
from tests.problems import LEARNERS, D, K, learner, rows

L2 = 0.3
every_learner = pytest.mark.parametrize("name", LEARNERS)


def parameters(model):
    """Return parameters that are nowhere zero, biases included."""
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), model.init(jax.random.key(0)))


def forward(model, params, x):
    """Return the scores, in NumPy."""
    if not isinstance(model, bg.MLP):
        return x @ np.asarray(params.weight) + np.asarray(params.bias)
    activate = {"tanh": np.tanh, "relu": lambda z: z * (z > 0)}[model.activation]
    for i, layer in enumerate(params):
        x = (x if i == 0 else activate(x)) @ np.asarray(layer.weight) + np.asarray(layer.bias)
    return x


def binary_loss(model, margin):
    """Return the loss of rows of a hard label, given y·s."""
    if isinstance(model, bg.LogisticRegression):
        return np.log1p(np.exp(-margin))
    delta = model.smoothing
    return np.where(
        margin >= 1, 0, np.where(margin > 1 - delta, (1 - margin) ** 2 / (2 * delta), 1 - margin - delta / 2)
    )


def row_losses(model, scores, y):
    """Return the loss of every row with soft labels, in NumPy."""
    if isinstance(model, bg.Adaline):
        return (scores - (y[:, 1] - y[:, 0])) ** 2 / 2
    if isinstance(model, bg.Ridge):
        return ((scores - y) ** 2).sum(1) / 2
    if scores.ndim == 1:
        return y[:, 1] * binary_loss(model, scores) + y[:, 0] * binary_loss(model, -scores)
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return -(y * np.log(probabilities)).sum(1)


def weights_of(model, params):
    return [np.asarray(layer.weight) for layer in (params if isinstance(model, bg.MLP) else [params])]


@every_learner
def test_scores_and_losses_match_plain_numpy(name):
    model, samples = learner(name, l2=L2), rows(learner(name))
    params = parameters(model)
    x, y, w = (np.asarray(a) for a in samples)
    scores = forward(model, params, x)
    losses = row_losses(model, scores, y)
    penalty = L2 / 2 * sum((a**2).sum() for a in weights_of(model, params))

    @jax.jit
    def found(params, samples, scores):
        return model.scores(params, samples.x), model.row_losses(scores, samples.y), model.loss(params, samples)

    expected = scores, losses, (w * losses).sum() / w.sum() + penalty
    for one, other in zip(found(params, samples, jnp.asarray(scores)), expected, strict=True):
        # Formulas of a dozen operations each: a few units in the last place, more where logarithms cancel.
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["adaline", "mlp-tanh"])
def test_a_weight_is_as_good_as_repetition(name):
    model, samples = learner(name), rows(learner(name))
    params, times = parameters(model), np.arange(samples.weight.size) % 4
    weighted = samples._replace(weight=jnp.asarray(times, float))
    repeated = samples._replace(
        x=jnp.asarray(np.repeat(samples.x, times, 0)),
        y=jnp.asarray(np.repeat(samples.y, times, 0)),
        weight=jnp.ones(times.sum()),
    )
    # The same terms, added in another order.
    loss = jax.jit(model.loss)
    np.testing.assert_allclose(loss(params, weighted), loss(params, repeated), rtol=1e-13)


@every_learner
def test_the_bias_is_not_penalised_and_all_weights_are(name):
    model = learner(name, l2=L2)
    penalty = jax.jit(jax.grad(lambda p: jnp.asarray(model.regularisation(p))))
    params = parameters(model)
    layers, slopes = ([p] if hasattr(p, "bias") else list(p) for p in (params, penalty(params)))
    for layer, slope in zip(layers, slopes, strict=True):
        np.testing.assert_array_equal(slope.bias, 0.0)
        np.testing.assert_allclose(slope.weight, L2 * layer.weight, rtol=1e-15)


@pytest.mark.parametrize("name", ["logistic", "svm", "softmax", "mlp-tanh"])
def test_soft_labels_mix_the_losses_of_classifiers(name):
    model, samples = learner(name), rows(learner(name))
    scores, k = jnp.asarray(forward(model, parameters(model), np.asarray(samples.x))), model.n_outputs
    losses = jax.jit(model.row_losses)
    hard = [losses(scores, jnp.asarray(np.tile(np.eye(k)[c], (scores.shape[0], 1)))) for c in range(k)]
    mixed = (np.asarray(samples.y) * np.stack(hard, axis=1)).sum(1)
    # Mixtures of losses of order 1.
    np.testing.assert_allclose(losses(scores, samples.y), mixed, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["logistic", "adaline", "svm"])
def test_positive_scores_speak_for_class_one(name):
    model, y = learner(name), jnp.eye(2)
    agree = model.row_losses(jnp.asarray([-0.8, 0.8]), y)
    assert (agree < model.row_losses(jnp.asarray([0.8, -0.8]), y)).all()


@pytest.mark.parametrize("name", ["adaline", "mlp-tanh"])
def test_blocks_of_rows_have_the_loss_of_all_rows_together(name):
    model, samples = learner(name), rows(learner(name))
    params = parameters(model)
    blocks = tuple(jax.tree.map(lambda a, s=s: a[s], samples) for s in (slice(0, 3), slice(3, 14)))
    # The same terms, added in another order.
    np.testing.assert_allclose(
        jax.jit(model.loss_over)(params, blocks), jax.jit(model.loss)(params, samples), rtol=1e-13
    )


def test_the_smoothed_hinge_and_its_slope_are_continuous():
    model = bg.SmoothSVM(D, smoothing=0.4)
    loss = jax.jit(jax.vmap(jax.value_and_grad(lambda s: model.row_losses(s[None], jnp.asarray([[0.0, 1.0]]))[0])))
    for joint, value, slope in ((1.0, 0.0, 0.0), (0.6, 0.2, -1.0)):
        values, slopes = loss(jnp.asarray([joint - 1e-9, joint, joint + 1e-9]))
        # Second derivatives are 1/δ = 2.5 at most, so that 10⁻⁹ moves the slope by 2.5e-9.
        np.testing.assert_allclose(values, value, atol=2e-9)
        np.testing.assert_allclose(slopes, slope, atol=3e-9)


def test_the_log_loss_neither_overflows_nor_loses_small_losses():
    z = np.array([-1000.0, -40.0, -1.0, 0.0, 1.0, 40.0, 1000.0])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(softplus)))(jnp.asarray(z))
    np.testing.assert_allclose(values, np.logaddexp(z, 0), rtol=1e-15)
    # σ rounds to within 1 ulp of 1, and has a relative error of a few ulp for small values.
    np.testing.assert_allclose(slopes, [0, np.exp(-40.0), 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1, 1], rtol=1e-14)
    losses = cross_entropy(jnp.asarray([[1000.0, -1000.0], [-1000.0, 1000.0]]), jnp.asarray([[1.0, 0.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(losses, [0.0, 2000.0])


def test_a_perceptron_starts_from_glorot_s_uniform_distribution():
    model = bg.MLP(90, K, (90, 30))
    init = jax.jit(model.init)
    params = init(jax.random.key(3))
    widths = (90, 90, 30, K)
    for layer, inputs, outputs in zip(params, widths[:-1], widths[1:], strict=True):
        bound = np.sqrt(6 / (inputs + outputs))
        assert layer.weight.shape == (inputs, outputs)
        assert np.abs(layer.weight).max() <= bound
        # Of at least 90 uniform draws the largest lies within 10 % of the bound but with probability 0.9⁹⁰ < 10⁻⁴.
        assert np.abs(layer.weight).max() > 0.9 * bound
        np.testing.assert_array_equal(layer.bias, 0.0)
    again, other = init(jax.random.key(3)), init(jax.random.key(4))
    np.testing.assert_array_equal(params[0].weight, again[0].weight)
    assert (params[0].weight != other[0].weight).any()


@every_learner
def test_learners_are_what_train_asks_for(name):
    model = learner(name)
    assert isinstance(model, LearnerLike)
    assert model.n_outputs == rows(model).y.shape[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.l2 = 1.0


@pytest.mark.parametrize("name", LEARNER_NAMES)
def test_every_name_of_the_catalogue_makes_its_learner(name):
    kind = {
        "logistic": bg.LogisticRegression,
        "softmax": bg.SoftmaxRegression,
        "adaline": bg.Adaline,
        "svm": bg.SmoothSVM,
        "mlp": bg.MLP,
        "cnn": bg.CNN,
        "ridge": bg.Ridge,
    }[name]
    model = make_learner(name, n_features=D, n_classes=2, l2=0.25, regression=name == "ridge")
    assert type(model) is kind
    assert (model.n_features, model.n_outputs, model.strength) == (D, 2, 0.25)  # pyright: ignore[reportAttributeAccessIssue]


def test_victims_of_the_authors_learners_train_as_the_authors_trained_them():
    found = {name: default_schedule(name) for name in ("logistic", "adaline", "mlp")}
    assert {name: (s.steps, s.step_size, s.momentum) for name, s in found.items()} == {
        "logistic": (1500, 0.5, 0.0),
        "adaline": (2000, 0.01, 0.0),
        "mlp": (400, 0.1, 0.0),
    }


@pytest.mark.parametrize("name", ["logistic", "adaline", "svm"])
def test_a_binary_learner_refuses_three_classes_and_names_those_that_do_not(name):
    with pytest.raises(InputError, match=f"{name} separates two classes, but the data have 3: use softmax or mlp"):
        make_learner(name, n_features=D, n_classes=3)


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_a_multiclass_learner_takes_three_classes(name):
    assert make_learner(name, n_features=D, n_classes=3).n_outputs == 3


def test_an_unknown_learner_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"learner must be one of logistic, softmax, .*mlp, .*; got 'forest'"):
        make_learner("forest", n_features=D, n_classes=2)
