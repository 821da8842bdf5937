"""Clipped gradients of rows and noise on their mean, as `Descent(clip=…, noise=…)` has them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import backgrad as bg
from backgrad.adjoints.check import check_agreement, check_gradient
from backgrad.errors import InputError, UnsupportedError
from backgrad.learners.estimator import LearnerClassifier
from backgrad.learners.preprocessing import Standardised
from backgrad.learners.sklearn_like import SumOfLosses
from backgrad.training import train
from backgrad.types import Samples
from tests.problems import N, check_all, gradient, learner, rows

# Of the rows that `rows` draws, some gradients are longer than this and some are not.
CLIP = 0.8


def shapes_of(clean, at=6):
    """Return rows in two blocks."""
    return tuple(jax.tree.map(lambda a, part=part: a[part], clean) for part in (slice(0, at), slice(at, None)))


def numpy_logistic(x, y, omega, schedule, *, l2, batches=None):
    """Train logistic regression by clipped descent, row by row."""
    w, b = np.zeros(x.shape[1]), 0.0
    for t in range(schedule.steps):
        total, weight = np.zeros(x.shape[1] + 1), 0.0
        for i in range(len(x)) if batches is None else batches[t]:
            score = x[i] @ w + b
            slope = y[i].sum() / (1 + np.exp(-score)) - y[i, 1]
            row = np.append(slope * x[i], slope)
            total += omega[i] * row * min(1.0, schedule.clip / np.sqrt(np.sum(row**2)))
            weight += omega[i]
        w, b = w - schedule.step_size * (total[:-1] / weight + l2 * w), b - schedule.step_size * total[-1] / weight
    return w, b


@pytest.mark.parametrize("batch_size", [None, 5])
def test_steps_are_those_of_a_plain_loop(batch_size):
    model, clean = learner("logistic"), rows(learner("logistic"))
    schedule = bg.Descent(7, 0.3, batch_size=batch_size, clip=CLIP)
    batches = schedule.batches(N)
    w, b = numpy_logistic(*map(np.asarray, clean), schedule, l2=0.05, batches=batches)
    for blocks in (clean, shapes_of(clean)):
        found = train(model, blocks, schedule=schedule).params
        np.testing.assert_allclose(found.weight, w, rtol=1e-12)
        np.testing.assert_allclose(found.bias, b, rtol=1e-12)
    plain = train(model, clean, schedule=dataclasses.replace(schedule, clip=None)).params
    assert np.linalg.norm(plain.weight - w) > 0.01 * np.linalg.norm(w)


@pytest.mark.parametrize(("name", "batch_size"), [("logistic", 4), ("softmax", None), ("mlp-tanh", 4), ("ridge", None)])
def test_a_norm_that_nothing_reaches_changes_nothing(name, batch_size):
    model, clean = learner(name), rows(learner(name))
    schedule = bg.Descent(9, 0.1, 0.8, batch_size=batch_size)
    one, two = (train(model, shapes_of(clean), schedule=dataclasses.replace(schedule, clip=c)) for c in (1e3, None))
    check_agreement(one.params, two.params, error=1e-12)
    assert float(one.gradient_norm) == pytest.approx(float(two.gradient_norm), rel=1e-10)


def test_clipping_goes_with_an_optimiser_of_optax():
    model, clean = learner("softmax"), rows(learner("softmax"))
    ours = train(model, clean, schedule=bg.Descent(20, 0.2, 0.9, clip=CLIP)).params
    theirs = train(model, clean, schedule=bg.Descent(20, optimiser=optax.sgd(0.2, 0.9), clip=CLIP)).params
    check_agreement(ours, theirs, error=1e-12)


def test_wide_rows_are_not_sent_to_gram_space():
    rng = np.random.default_rng(0)
    clean = bg.samples(rng.normal(size=(8, 40)), rng.integers(0, 2, 8), 2)
    found = train(bg.LogisticRegression(40, 0.05), clean, schedule=bg.Descent(6, 0.2, clip=CLIP)).params
    w, _ = numpy_logistic(*map(np.asarray, clean), bg.Descent(6, 0.2, clip=CLIP), l2=0.05)
    np.testing.assert_allclose(found.weight, w, rtol=1e-12)


def test_preprocessing_is_fitted_first():
    model, clean = learner("logistic"), rows(learner("logistic"))
    mean = np.average(clean.x, axis=0, weights=clean.weight)
    scale = np.sqrt(np.average((clean.x - mean) ** 2, axis=0, weights=clean.weight))
    schedule = bg.Descent(6, 0.2, clip=CLIP)
    found = train(Standardised(model), clean, schedule=schedule).params.params
    check_agreement(found, train(model, clean._replace(x=(clean.x - mean) / scale), schedule=schedule).params)


# --- hypergradients ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "noise"), [("logistic", 0.3), pytest.param("softmax", 0.0, marks=pytest.mark.slow), ("mlp-tanh", 0.0)]
)
def test_hypergradients(name, noise):
    schedule = bg.Descent(6, 0.3, 0.6, batch_size=8, clip=CLIP, noise=noise)
    names = ["features", "labels", "weights", "l2", "step_size", "momentum", "params"]
    check_all(learner(name), schedule, None, names, directions=1)


def test_hypergradient_of_the_norm_and_the_noise():
    model, clean, validation = (f(learner("logistic")) for f in (lambda m: m, rows, lambda m: rows(m, n=9, seed=2)))

    @jax.jit
    def loss(settings):
        schedule = bg.Descent(6, 0.3, clip=settings[0], noise=settings[1])
        return model.loss(train(model, clean, schedule=schedule).params, validation)

    check_gradient(loss, jnp.array([CLIP, 0.3]), key=jax.random.key(0))


def test_a_row_that_has_no_gradient_leaves_hypergradients_finite():
    model, clean = learner("ridge", l2=0.0), rows(learner("ridge"))
    still = clean._replace(y=clean.y.at[3].set(0.0))  # at w = 0 its error is 0 exactly

    def loss(x):
        return train(model, still._replace(x=x), schedule=bg.Descent(3, 0.1, clip=CLIP)).params.weight.sum()

    assert np.isfinite(jax.grad(loss)(still.x)).all()


NAMES = ["features", "l2", "params"]


def test_exact_reversal_goes_back_through_clipped_and_noisy_steps():
    schedule = bg.Descent(10, 0.2, 0.9, clip=CLIP, noise=0.3)
    exact, reversed_ = (
        gradient(learner("logistic"), schedule, one, NAMES) for one in (bg.Checkpointed(), bg.Reversible())
    )
    check_agreement(reversed_, exact, error=1e-7)


@pytest.mark.slow
def test_back_gradients_go_back_through_clipped_and_noisy_steps():
    # A reversal whose steps are short is exact but for terms of the order of the step.
    schedule = bg.Descent(10, 1e-5, clip=CLIP, noise=0.3)
    exact, reversed_ = (
        gradient(learner("logistic"), schedule, one, NAMES) for one in (bg.Checkpointed(), bg.BackGradient())
    )
    check_agreement(reversed_, exact, error=1e-4)


# --- noise ---------------------------------------------------------------------------------------


def still_learner(d=3000):
    """Return a learner whose rows have no gradients at 0, so that a step is all noise, and such rows."""
    rng = np.random.default_rng(0)
    clean = Samples(*(jnp.asarray(a) for a in (rng.normal(size=(6, d)), np.zeros((6, 1)), rng.uniform(1, 2, 6))))
    return bg.learners.linear.Ridge(d), clean


def test_noise_has_the_standard_deviation_it_should_and_is_drawn_anew_at_every_step():
    model, clean = still_learner()
    schedule = bg.Descent(1, 0.5, clip=0.7, noise=1.3)
    first = np.asarray(train(model, clean, schedule=schedule).params.weight)[:, 0]
    expected = 0.5 * 1.3 * 0.7 / float(clean.weight.sum())
    # Of 3,000 draws, mean and deviation have standard errors of 1.8 % and 1.3 % of the deviation.
    assert abs(first.mean()) < 4 * 0.018 * expected
    assert first.std() == pytest.approx(expected, rel=4 * 0.013)
    absent = clean._replace(x=0 * clean.x)  # rows of zeros: gradients of the weights are zero wherever these are
    both = np.asarray(train(model, absent, schedule=dataclasses.replace(schedule, steps=2)).params.weight)[:, 0]
    second = both - first
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08
    assert second.std() == pytest.approx(expected, rel=4 * 0.013)


def test_noise_repeats_with_the_key_and_changes_with_it():
    model, clean = learner("logistic"), rows(learner("logistic"))
    schedule = bg.Descent(5, 0.2, clip=CLIP, noise=0.5)
    one, same, other, none = (
        np.asarray(train(model, clean, schedule=s).params.weight)
        for s in (
            schedule,
            bg.Descent(5, 0.2, clip=CLIP, noise=0.5, key=jax.random.key(0)),
            dataclasses.replace(schedule, key=jax.random.key(1)),
            dataclasses.replace(schedule, noise=0.0),
        )
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3 < np.abs(one - none).max()


def test_a_step_without_rows_gets_no_noise():
    model, clean = learner("logistic", l2=0.0), rows(learner("logistic"))
    muted = clean._replace(weight=clean.weight.at[1:].set(0.0))
    schedule = bg.Descent(1, 0.2, batch_size=1, clip=CLIP, noise=0.5)
    assert int(schedule.batches(N)[0, 0]) != 0
    assert not np.asarray(train(model, muted, schedule=schedule).params.weight).any()


# --- learners of other kinds -----------------------------------------------------------------------


class Plain:
    """A user's learner of three methods, with regularisation inside its loss."""

    def init(self, key):
        return 0.1 * jax.random.normal(key, (4,))

    def scores(self, params, x):
        return x @ params

    def loss(self, params, samples):
        errors = (self.scores(params, samples.x) - samples.y[:, 1]) ** 2
        return jnp.sum(samples.weight * errors) / jnp.sum(samples.weight) + 0.1 * params @ params


def test_a_user_s_learner_is_clipped_with_its_regularisation():
    x, y, omega = map(np.asarray, (clean := rows(learner("logistic"))))
    params = np.asarray(Plain().init(jax.random.key(0)))
    found = train(Plain(), clean, schedule=bg.Descent(3, 0.1, clip=CLIP)).params
    for _ in range(3):
        each = 2 * (x @ params - y[:, 1])[:, None] * x + 0.2 * params
        factor = np.minimum(1.0, CLIP / np.linalg.norm(each, axis=1))
        assert factor.min() < 1 == factor.max()
        params = params - 0.1 * (omega * factor) @ each / omega.sum()
    np.testing.assert_allclose(found, params, rtol=1e-12)


def test_dropout_is_drawn_for_each_row_and_repeats():
    model = bg.CNN(16, n_classes=2, channels=(2,), dense=(8,), dropout=0.5)
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(1, 16))
    twice = bg.samples(np.repeat(image, 2, axis=0), [0, 0], 2)
    once = bg.samples(image, [0], 2)
    schedule = bg.Descent(1, 0.1, clip=1e3)
    pair, again, single = (train(model, s, schedule=schedule).params for s in (twice, twice, once))
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(p)]) for p in (pair, again, single)]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert np.abs(flat[0] - flat[2]).max() > 1e-6  # with one mask for both rows their mean would be that of one


def test_the_estimator_takes_such_a_schedule():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 4)) + 2.0 * y[:, None]
    x[:6], y[:6] = 40.0, 0  # a few rows far out pull a model that listens to them
    clean = slice(6, None)
    scores = {}
    for clip in (None, 0.5):
        fitted = LearnerClassifier(bg.LogisticRegression, bg.Descent(200, 0.1, clip=clip, noise=0.0)).fit(x, y)
        scores[clip] = fitted.score(x[clean], y[clean])
    assert scores[0.5] > scores[None] + 0.2


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clip": 0.0}, "clip must be a positive finite number; got 0"),
        ({"clip": -1.0}, "clip must be a positive"),
        ({"clip": 1.0, "noise": -0.1}, "noise must be a finite number, 0 or more"),
        ({"noise": 0.5}, "clip is None: set clip"),
        ({"noise": jnp.asarray(0.5)}, "clip is None: set clip"),
        ({"clip": 1.0, "gram": True}, "set gram=False"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        bg.Descent(3, 0.1, **settings)


def test_what_cannot_be_clipped_is_refused_in_a_sentence():
    model, clean = learner("logistic"), rows(learner("logistic"))
    schedule = bg.Descent(3, 0.1, clip=1.0)
    with pytest.raises(UnsupportedError, match=r"come to rest: use Checkpointed\(\)"):
        train(model, clean, schedule=schedule, adjoint=bg.Implicit())
    with pytest.raises(UnsupportedError, match="SumOfLosses changes how rows count"):
        train(Standardised(SumOfLosses(model)), clean, schedule=schedule)
    with pytest.raises(UnsupportedError, match=r"use Reversible\(\) or Checkpointed\(\)"):
        train(model, clean, schedule=bg.Descent(3, 0.1, 0.9, clip=1.0), adjoint=bg.BackGradient())
