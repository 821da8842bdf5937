"""The convolutional network: against plain NumPy, both convolutions, differences, dropout, and on digits."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import backgrad as bg
from backgrad.adjoints.check import check_agreement, check_gradient
from backgrad.errors import InputError, UnsupportedError
from backgrad.learners import cnn
from backgrad.learners.catalogue import default_schedule, make_learner
from backgrad.learners.sklearn_like import ClassWeighted
from backgrad.training import LossField
from backgrad.types import concatenate
from tests.problems import check_all, gradient
from tests.problems import rows as problem_rows

# Sides of 6 and 7 become 3 and 4, then 2 and 2: an odd side at both levels, and one that is even at both.
SHAPE, K = (7, 6, 2), 3
TINY = bg.CNN(84, K, SHAPE, channels=(3, 4), dense=(4, 5), normalise=True)
# One convolution compiles faster, which is most of the time of these tests.
SMALL = bg.CNN(15, K, (5, 3), channels=(3,), dense=(4,), l2=0.05, normalise=True)
# For 2×2 images, the rows of tests.problems.
DROPPING = bg.CNN(4, K, channels=(3,), dense=(4,), l2=0.05, dropout=0.3)


def rows(model, n=9, seed=0, dtype=None):
    rng = np.random.default_rng([seed, n])
    y, weight = rng.dirichlet(np.ones(K), size=n), rng.uniform(0.5, 1.5, size=n)
    return bg.Samples(*(jnp.asarray(a, dtype) for a in (rng.uniform(size=(n, model.n_features)), y, weight)))


def parameters(model, seed=5):
    """Return parameters away from kinks: images that relu has let through, and no zero anywhere."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda a: jnp.asarray(0.5 * rng.normal(size=a.shape)), model.init(jax.random.key(0)))
    lifted = tuple(layer._replace(bias=1 + jnp.abs(layer.bias)) for layer in params.convolutions)
    return params._replace(convolutions=lifted)


# --- what is computed -----------------------------------------------------------------------------


def convolve(image, weight, bias):
    """Return the relu of a convolution padded with zeros, place by place; image (h, w, i)."""
    h, w, _ = image.shape
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    places = [[np.tensordot(weight, padded[r : r + 3, s : s + 3], 3) + bias for s in range(w)] for r in range(h)]
    return np.maximum(places, 0)


def pool(image):
    """Return the maxima of 2×2 windows; the last ones end with the image, as TensorFlow's 'same' padding has it."""
    h, w, _ = image.shape
    return np.array([[image[r : r + 2, s : s + 2].max((0, 1)) for s in range(0, w, 2)] for r in range(0, h, 2)])


def normalise(image):
    """Return tflearn's local response normalisation with its defaults, channel by channel."""
    out = np.empty_like(image)
    for c in range(image.shape[-1]):
        near = image[..., max(c - 5, 0) : c + 6]
        out[..., c] = image[..., c] / (1.0 + 1e-4 * (near**2).sum(-1)) ** 0.75
    return out


def forward(model, params, x):
    """Return the scores of one row, in NumPy."""
    image = np.asarray(x).reshape(model.shape)
    for weight, bias in params.convolutions:
        image = pool(convolve(image, np.asarray(weight), np.asarray(bias)))
        image = normalise(image) if model.normalise else image
    hidden = np.moveaxis(image, 2, 0).ravel()
    for i, (weight, bias) in enumerate(params.dense):
        hidden = np.asarray(weight) @ (hidden if i == 0 else np.tanh(hidden)) + np.asarray(bias)
    return hidden


@pytest.mark.parametrize("model", [TINY, dataclasses.replace(SMALL, normalise=False)], ids=["tiny", "small"])
def test_scores_and_loss_match_plain_numpy(model):
    samples, params = rows(model), parameters(model)
    expected = np.array([forward(model, params, x) for x in samples.x])
    # Sums of at most a hundred terms of order 1.
    scores, loss = jax.jit(lambda p, s: (model.scores(p, s.x), model.loss(p, s)))(params, samples)
    np.testing.assert_allclose(scores, expected, rtol=1e-11, atol=1e-12)
    losses = -(samples.y * (expected - np.log(np.exp(expected).sum(1, keepdims=True)))).sum(1)
    penalty = float(model.l2) / 2 * sum((np.asarray(weight) ** 2).sum() for weight, _ in params.convolutions)
    np.testing.assert_allclose(loss, (samples.weight * losses).sum() / samples.weight.sum() + penalty, rtol=1e-12)


def test_normalisation_matches_plain_numpy_where_it_matters():
    # Activations of order 100 make the divisor about 10; 13 channels have neighbours on both sides and on one.
    images = np.random.default_rng(0).normal(scale=100, size=(13, 2, 3, 4))
    expected = np.moveaxis(normalise(np.moveaxis(images, 0, -1)), -1, 0)
    np.testing.assert_allclose(jax.jit(cnn.normalise)(jnp.asarray(images)), expected, rtol=1e-13)


def test_a_tie_of_a_pooling_window_goes_to_the_first():
    slopes = jax.vmap(jax.grad(cnn.first_max, argnums=(0, 1)))(jnp.asarray([1.0, 2.0, 1.0]), jnp.asarray([1.0, 1.0, 2]))
    np.testing.assert_array_equal(slopes, [[1, 1, 0], [0, 0, 1]])


def test_a_blank_image_has_the_gradient_of_its_first_pixels_alone():
    # An average kernel sees a flat image: inside, all four places of a window tie, and the first one counts.
    model = bg.CNN(64, 2, channels=(1,), dense=(), convolution="im2col")
    params = model.init(jax.random.key(0))
    centre = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1.0)
    params = params._replace(convolutions=(cnn.Filters(centre, jnp.ones(1)),))
    slope = jax.jit(jax.grad(lambda x: model.scores(params, x).sum()))(jnp.zeros((1, 64))).reshape(8, 8)
    expected = np.zeros((8, 8))
    expected[::2, ::2] = np.asarray(params.dense[0].weight).sum(0).reshape(4, 4)
    np.testing.assert_allclose(slope, expected, rtol=1e-14)


def test_im2col_and_lax_agree_in_value_gradient_and_hypergradient():
    train, validation = rows(SMALL, 12), rows(SMALL, 7, seed=1)
    found = []
    for kind in ("im2col", "lax"):
        model = dataclasses.replace(SMALL, dense=(), normalise=False, convolution=kind)

        def outer(x, start, model=model):
            blocks = (train, bg.Samples(x, train.y[:3], train.weight[:3]))
            schedule = bg.Descent(6, 0.1, 0.9, batch_size=5)
            trained = bg.train(model, blocks, schedule=schedule, params=start)
            return model.loss(trained.params, validation), trained

        compiled = jax.jit(jax.value_and_grad(outer, argnums=(0, 1), has_aux=True))
        (value, trained), slopes = compiled(0.9 * train.x[:3], parameters(model))
        # The trained parameters are sums of gradients; their gradient norm is taken over all rows.
        found.append((value, trained.params, trained.gradient_norm, *slopes))
    for one, other in zip(*found, strict=True):
        check_agreement(one, other, error=1e-10)


def test_the_convolution_is_chosen_by_the_backend_when_traced():
    def convolutions(kind):
        model = dataclasses.replace(SMALL, convolution=kind)
        return str(jax.make_jaxpr(model.scores)(parameters(model), jnp.ones((2, 15)))).count("conv_general_dilated")

    assert convolutions("im2col") == 0
    assert convolutions("lax") > 0
    assert convolutions("auto") == (0 if jax.default_backend() == "cpu" else convolutions("lax"))


def test_many_rows_go_through_in_chunks_and_nothing_changes(monkeypatch):
    samples, params = rows(SMALL, 11), parameters(SMALL)

    def differentiate():
        return jax.jit(jax.value_and_grad(SMALL.loss))(params, samples)

    whole = differentiate()
    monkeypatch.setattr(cnn, "_WHOLE", 5)
    monkeypatch.setattr(cnn, "_CHUNK", 4)
    for one, other in zip(differentiate(), whole, strict=True):
        check_agreement(one, other, error=1e-12)
    assert "scan" in str(jax.make_jaxpr(SMALL.scores)(params, samples.x))


# --- gradients ------------------------------------------------------------------------------------


def test_the_gradient_of_the_loss_matches_differences():
    samples = rows(TINY)
    values = {"parameters": parameters(TINY), "images": samples.x}
    loss = jax.jit(lambda v: TINY.loss(v["parameters"], samples._replace(x=v["images"])))
    # A step of 10⁻⁶ meets no kink of relu or maximum here, and leaves round-off of 10⁻¹⁶ / 10⁻⁶.
    slope = jax.jit(jax.grad(loss))(values)
    check_gradient(loss, values, key=jax.random.key(1), gradient=slope, step=1e-6, tolerance=1e-7)
    for name, value in values.items():
        part = functools.partial(lambda v, name: loss({**values, name: v}), name=name)
        check_gradient(part, value, key=jax.random.key(2), gradient=slope[name], step=1e-6, tolerance=1e-7)


HYPER = ("features", "labels", "weights", "l2", "step_size", "momentum", "params")
BATCHES = bg.Descent(20, 0.1, 0.8, batch_size=6)


def test_the_exact_adjoint_equals_central_differences_with_dropout():
    # Step and tolerance of the learners with kinks in tests/adjoints.
    check_all(DROPPING, BATCHES, bg.Checkpointed(), ("features", "params"), step=1e-5, tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_exact_adjoint_equals_central_differences_in_all_inputs(dropout):
    model = dataclasses.replace(DROPPING, dropout=dropout, normalise=True)
    check_all(model, BATCHES, bg.Checkpointed(), HYPER, step=1e-5, tolerance=1e-6)


# --- steps with random numbers --------------------------------------------------------------------


class Jittered(bg.LogisticRegression):
    """A stochastic learner that compiles fast: noise is added to the features of each step."""

    stochastic = True

    def loss_at(self, params, blocks, key):
        rows = concatenate(blocks)
        return self.loss(params, rows._replace(x=rows.x + jax.random.normal(key, rows.x.shape, rows.x.dtype)))


def test_a_reversal_draws_the_numbers_of_a_step_again():
    exact, found = (
        gradient(Jittered(4, 0.05), BATCHES, adjoint, ("features",))
        for adjoint in (bg.Checkpointed(), bg.Reversible(fraction_bits=50))
    )
    check_agreement(found, exact, error=1e-7)  # a staircase of 2⁻⁵⁰ steps


@pytest.mark.slow
def test_segments_and_the_paper_s_reversal_draw_the_numbers_of_a_step_again():
    check_all(Jittered(4, 0.05), BATCHES, bg.Checkpointed(segments=True), HYPER, tolerance=1e-6)
    # The paper's reversal is approximate; with other numbers on the way back its cosine would be about 0.
    plain = bg.Descent(20, 0.02, batch_size=6)
    found, exact = (
        gradient(Jittered(4, 0.05), plain, a, ("features",)) for a in (bg.BackGradient(), bg.Checkpointed())
    )
    check_agreement(found, exact, cosine=0.99, error=float("inf"))


def test_random_numbers_depend_on_the_step_and_the_schedule_s_key_alone():
    model, clean = Jittered(4, 0.05), problem_rows(Jittered(4))

    def final(seed):
        return np.asarray(bg.train(model, clean, schedule=bg.Descent(5, 0.1, key=jax.random.key(seed))).params.weight)

    np.testing.assert_array_equal(final(0), final(0))
    assert (final(0) != final(1)).any()
    params = model.init(jax.random.key(0))
    field = LossField(model.loss_over, (clean,), None, model.loss_at, jax.random.key(0))
    slopes = [np.asarray(field(params, t).weight) for t in (0, 1, 0, None)]
    assert (slopes[0] != slopes[1]).any()
    np.testing.assert_array_equal(slopes[0], slopes[2])
    np.testing.assert_allclose(slopes[3], jax.grad(model.loss)(params, clean).weight, rtol=1e-14)


def test_losses_are_reported_without_random_numbers():
    model, clean = Jittered(4, 0.05), problem_rows(Jittered(4))
    trained = bg.train(model, clean, schedule=bg.Descent(5, 0.1))
    np.testing.assert_allclose(trained.loss, model.loss(trained.params, clean), rtol=1e-13)
    # The gradient of the first step is not the reported one, so that steps did descend the noisy loss.
    calm = bg.train(bg.LogisticRegression(4, 0.05), clean, schedule=bg.Descent(5, 0.1))
    assert float(trained.loss) != float(calm.loss)


def test_preprocessing_keeps_the_random_numbers_and_other_wrappers_refuse_to_lose_them():
    clean = problem_rows(Jittered(4))
    noisy, calm = (
        float(bg.train(bg.Standardised(model), clean, schedule=bg.Descent(3, 0.1)).loss)
        for model in (Jittered(4), bg.LogisticRegression(4))
    )
    assert noisy != calm
    with pytest.raises(UnsupportedError, match="ClassWeighted has no loss_at"):
        bg.train(ClassWeighted(Jittered(4)), clean, schedule=bg.Descent(3))


@pytest.mark.parametrize("wrap", [lambda model: model, bg.Standardised], ids=["bare", "scaled"])
@pytest.mark.parametrize(
    ("schedule", "adjoint"), [(bg.Converged("lbfgs"), None), (bg.Descent(3), bg.Implicit())], ids=["solver", "implicit"]
)
def test_a_stochastic_learner_has_no_stationary_point(schedule, adjoint, wrap):
    with pytest.raises(UnsupportedError, match="no stationary point: set dropout=0, or use a Descent schedule"):
        bg.train(wrap(DROPPING), rows(DROPPING), schedule=schedule, adjoint=adjoint)


def test_dropout_repeats_with_the_key_in_float32():
    samples, start = rows(DROPPING, dtype=jnp.float32), parameters(DROPPING)
    train = jax.jit(
        lambda key: bg.train(DROPPING, samples, schedule=bg.Descent(5, 0.1, 0.9, key=key), params=start).params
    )
    first, again, other = (train(jax.random.key(seed)).dense[0].weight for seed in (0, 0, 1))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_dropout_is_unbiased_and_drops_its_share():
    # With one dense layer scores are linear in what is dropped.
    params, x = parameters(DROPPING), rows(DROPPING, 5).x
    draw = jax.jit(jax.vmap(lambda key: DROPPING._scores(params, x, key)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(2), 4000)))
    plain = np.asarray(jax.jit(DROPPING.scores)(params, x))
    # Of 15 nearly normal means none lies 5 standard errors off, but with probability 10⁻⁵.
    assert (np.abs(drawn.mean(0) - plain) < 5 * drawn.std(0) / math.sqrt(4000)).all()
    # Scores equal the bias where all 4 outputs are dropped: 0.3⁴ · 20,000 = 162 times, with a deviation of 13.
    empty = (drawn == np.asarray(params.dense[-1].bias)).all(-1).sum()
    assert 97 < empty < 227


# --- settings -------------------------------------------------------------------------------------


def test_the_default_network_has_the_paper_s_size_and_a_narrow_one_a_quarter_of_the_width():
    model = bg.CNN(n_classes=3)

    def size(model):
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))

    assert size(model) == 320 + 18_496 + 401_536 + 33_024 + 771 > 450_000
    assert (model.narrow(4).channels, model.narrow(4).dense) == ((8, 16), (32, 64))
    assert size(model.narrow(4)) < size(model) / 14
    assert model.narrow(1000).channels == (1, 1)
    with pytest.raises(InputError, match="factor must be a positive whole number"):
        model.narrow(0)


def test_weights_start_from_glorot_s_uniform_distribution():
    model = bg.CNN(16, 10, channels=(8, 16), dense=(30,))
    params = model.init(jax.random.key(3))
    fans = [(9, 72), (72, 144), (16, 30), (30, 10)]
    for (weight, bias), (inputs, outputs) in zip((*params.convolutions, *params.dense), fans, strict=True):
        bound = math.sqrt(6 / (inputs + outputs))
        # Of at least 72 uniform draws the largest lies within 12 % of the bound but with probability 10⁻⁴.
        assert 0.88 * bound < np.abs(weight).max() <= bound
        np.testing.assert_array_equal(bias, 0.0)


def test_only_the_kernels_are_penalised():
    params = parameters(TINY)
    model = dataclasses.replace(TINY, l2=0.3)
    slope = jax.jit(jax.grad(lambda p: jnp.asarray(model.regularisation(p))))(params)
    for one, other in zip(slope.convolutions, params.convolutions, strict=True):
        np.testing.assert_allclose(one.weight, 0.3 * other.weight, rtol=1e-15)
        np.testing.assert_array_equal(one.bias, 0.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope.dense))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bg.CNN(54), "54 features are no square: give image_shape="),
        (lambda: bg.CNN(783, image_shape=(28, 28)), "has 784 values, but n_features is 783: make them equal"),
        (lambda: bg.CNN(784, image_shape=(784,)), "image_shape must be .height, width. or .height, width, colours."),
        (lambda: bg.CNN(784, image_shape=(28, 0)), r"image_shape\[1\] must be a positive whole number; got 0"),
        (lambda: bg.CNN(channels=(0,)), r"channels\[0\] must be a positive whole number"),
        (lambda: bg.CNN(channels=()), "channels must name one convolution at least; got none: use MLP"),
        (lambda: bg.CNN(dense=(1.5,)), "dense"),
        (lambda: bg.CNN(dropout=1.0), r"dropout must lie in \[0, 1\); got 1.0"),
        (lambda: bg.CNN(l2=-1.0), "l2 must be a finite number, 0 or more; got -1.0"),
        (lambda: bg.CNN(convolution="fft"), "convolution"),
        (lambda: make_learner("cnn", n_features=54, n_classes=2), "no square.*use another learner"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(make, sentence):
    with pytest.raises((InputError, TypeCheckError), match=sentence):
        make()


def test_a_square_grey_image_is_assumed_and_the_catalogue_makes_it():
    assert bg.CNN(64).shape == (8, 8, 1)
    assert TINY.shape == SHAPE
    model, schedule = make_learner("cnn", n_features=64, n_classes=3), default_schedule("cnn")
    assert (type(model), model.n_outputs) == (bg.CNN, 3)
    assert (schedule.steps, schedule.step_size, schedule.momentum, schedule.batch_size) == (200, 0.05, 0.9, 100)


# --- digits ---------------------------------------------------------------------------------------


def digits():
    """Return 1,000 training and 2,000 test rows of the digits 1, 5 and 6."""
    data, rng = bg.load("mnist"), np.random.default_rng(0)
    chosen = rng.permutation(np.flatnonzero(np.isin(data.y, (1, 5, 6))))[:3000]
    y = np.searchsorted([1, 5, 6], data.y[chosen])
    make = lambda part: bg.samples(data.x[chosen[part]], y[part], 3, dtype=jnp.float32)  # noqa: E731
    return make(slice(1000)), make(slice(1000, 3000))


def error_of(model, params, test):
    return float((jax.jit(model.scores)(params, test.x).argmax(1) != test.y.argmax(1)).mean())


@pytest.mark.slow
def test_a_quarter_of_the_network_learns_digits():
    model, (clean, test) = bg.CNN(n_classes=3).narrow(4), digits()
    # Compiled without the losses that nobody asks for, which takes half the time.
    train = jax.jit(lambda rows: bg.train(model, rows, schedule=default_schedule("cnn")).params)
    assert error_of(model, train(clean), test) < 0.03


@pytest.mark.slow
def test_the_paper_s_network_learns_digits():
    model, (clean, test) = bg.CNN(n_classes=3, normalise=True, dropout=0.2), digits()
    trained = bg.train(model, clean, schedule=default_schedule("cnn"))
    assert bg.Status(int(trained.status)) is bg.Status.DONE
    assert error_of(model, trained.params, test) < 0.03
