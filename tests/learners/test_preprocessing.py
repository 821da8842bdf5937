"""Preprocessing: states against scikit-learn's, gradients through the refit, absent rows, equal predictions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

import backgrad as bg
from backgrad.adjoints.check import check_agreement, check_gradient
from backgrad.errors import InputError
from backgrad.evaluation.victims import predict
from backgrad.learners.preprocessing import (
    MaxAbsScaled,
    MinMaxScaled,
    PreprocessedParams,
    Selected,
    Standardised,
    VarianceSelected,
)
from backgrad.training import largest_curvature
from tests.problems import D, learner, mostly_slow, rows

# The same sums in another order.
STATE = 1e-12
# Differences of order h⁴ with h = 3e-4, as in tests/adjoints/test_exact.py.
EXACT = 1e-6

KINDS = {
    "standardised": Standardised,
    "centred": lambda inner: Standardised(inner, with_std=False),
    "scaled": lambda inner: Standardised(inner, with_mean=False),
    "min-max": MinMaxScaled,
    "min-max range": lambda inner: MinMaxScaled(inner, (-1.0, 2.0)),
    "max-abs": MaxAbsScaled,
    "selected": lambda inner: Selected(inner, 2),
    "variance": lambda inner: Selected(inner, 3, "variance"),
    "nested": lambda inner: Standardised(MinMaxScaled(Selected(MaxAbsScaled(inner), 3))),
}
MOMENTUM = bg.Descent(20, 0.1, 0.8125)


def blocks(model, n=12, seed=0):
    """Return rows with hard labels, one column constant, and their weights all 1."""
    clean = rows(model, n=n, seed=seed)
    hard = jnp.eye(model.n_outputs)[jnp.arange(n) % model.n_outputs]
    return clean._replace(x=clean.x.at[:, 2].set(0.3), y=hard, weight=jnp.ones(n))


def halves(samples, at=7):
    return tuple(jax.tree.map(lambda a, s=s: a[s], samples) for s in (slice(0, at), slice(at, None)))


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("standardised", StandardScaler()),
        ("centred", StandardScaler(with_std=False)),
        ("scaled", StandardScaler(with_mean=False)),
        ("min-max", MinMaxScaler()),
        ("min-max range", MinMaxScaler((-1, 2))),
        ("max-abs", MaxAbsScaler()),
    ],
)
def test_scales_are_scikit_learn_s(kind, theirs):
    model, samples = KINDS[kind](learner("softmax")), blocks(learner("softmax"))
    state, ours = model.fit_preprocessing(halves(samples))
    x = np.asarray(samples.x)
    np.testing.assert_allclose(np.concatenate([b.x for b in ours]), theirs.fit_transform(x), rtol=STATE, atol=STATE)
    new = np.random.default_rng(7).normal(size=(5, D))
    np.testing.assert_allclose(model.transform(state, jnp.asarray(new)), theirs.transform(new), rtol=STATE, atol=STATE)
    if kind == "standardised":
        np.testing.assert_allclose(state.shift, theirs.mean_, rtol=STATE)
        np.testing.assert_allclose(state.scale, theirs.scale_, rtol=STATE)
        assert float(state.scale[2]) == 1.0


def test_weights_count_as_scikit_learn_counts_them():
    model, samples = Standardised(learner("softmax")), rows(learner("softmax"), n=30)
    theirs = StandardScaler().fit(np.asarray(samples.x), sample_weight=np.asarray(samples.weight))
    state = model.fit((samples,))
    np.testing.assert_allclose(state.shift, theirs.mean_, rtol=STATE, atol=STATE)
    np.testing.assert_allclose(state.scale, theirs.scale_, rtol=STATE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_column_is_left_unscaled_in_either_precision(dtype):
    x = jnp.full((5000, D), 0.1, dtype).at[:, 1].set(jnp.arange(5000) % 7)
    samples = bg.samples(x, np.arange(5000) % 2, 2, dtype=dtype)
    state = Standardised(bg.LogisticRegression(D)).fit((samples,))
    np.testing.assert_array_equal(np.asarray(state.scale)[[0, 2, 3]], 1.0)
    assert float(state.scale[1]) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("k", [1, 5, 12, 30])
def test_selected_columns_are_those_of_select_k_best(k):
    x, y = load_breast_cancer(return_X_y=True)
    mask = Selected(bg.LogisticRegression(30), k).fit((bg.samples(x, y, 2),))
    np.testing.assert_array_equal(np.asarray(mask) > 0, SelectKBest(f_classif, k=k).fit(x, y).get_support())


def test_columns_that_vary_are_those_of_variance_threshold():
    x, y = load_breast_cancer(return_X_y=True)
    x[:, 4] = 0.1
    for threshold in (0.0, 0.01, 100.0):
        mask = VarianceSelected(bg.LogisticRegression(30), threshold).fit((bg.samples(x, y, 2),))
        np.testing.assert_array_equal(np.asarray(mask) > 0, VarianceThreshold(threshold).fit(x).get_support())


def test_constant_columns_are_selected_last_and_perfect_ones_first():
    x = jnp.asarray([[0.1, 0.0, 1.0, 5.0], [0.1, 0.0, 2.0, 4.0], [0.1, 1.0, 1.5, 9.0], [0.1, 1.0, 3.0, 9.5]])
    samples = bg.samples(x, [0, 0, 1, 1], 2)
    masks = [np.asarray(Selected(bg.LogisticRegression(4), k).fit((samples,))) for k in (1, 2, 3)]
    assert [m.tolist() for m in masks] == [[0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 1]]


ADJOINTS = {
    "checkpointed": (MOMENTUM, bg.Checkpointed(), 3e-4, EXACT),
    "segments": (MOMENTUM, bg.Checkpointed(segments=True), 3e-4, EXACT),
    "gram": (bg.Descent(20, 0.1, 0.5, gram=True), bg.Checkpointed(), 3e-4, EXACT),
    "mini-batches": (bg.Descent(20, 0.1, 0.5, batch_size=5), bg.Checkpointed(), 3e-4, EXACT),
    # A staircase of 2⁻⁵⁰ steps, on which differences see noise.
    "reversible": (MOMENTUM, bg.Reversible(fraction_bits=50), 1e-3, 1e-5),
    "dense": (bg.Converged(tolerance=1e-12), bg.Implicit("dense"), 3e-4, EXACT),
    "cg": (bg.Converged(tolerance=1e-12), bg.Implicit("cg"), 3e-4, EXACT),
    "neumann": (
        bg.Converged(tolerance=1e-12),
        bg.Implicit("neumann", max_steps=20_000, solver_tolerance=1e-12),
        3e-4,
        EXACT,
    ),
}


def problem(model, schedule, adjoint, *, weighted=True):
    """Return (validation loss as a function of the points, the points), some rows of which are absent."""
    clean, poison, validation = (rows(model, n=n, seed=s) for n, s in ((14, 0), (3, 1), (9, 2)))
    weight = poison.weight.at[1].set(0.0) if weighted else poison.weight

    def loss(x, y, w):
        trained = bg.train(model, (clean, poison._replace(x=x, y=y, weight=w)), schedule=schedule, adjoint=adjoint)
        return model.loss(trained.params, validation)

    return jax.jit(loss), (poison.x, poison.y, weight)


@pytest.mark.parametrize("adjoint", mostly_slow(ADJOINTS, "segments", "reversible", "cg"))
@pytest.mark.parametrize("kind", mostly_slow(["standardised", "nested"], "nested"))
def test_every_adjoint_goes_back_through_the_refit(kind, adjoint):
    schedule, how, step, tolerance = ADJOINTS[adjoint]
    f, values = problem(KINDS[kind](learner("logistic")), schedule, how)
    slopes = jax.jit(jax.grad(f, argnums=(0, 1)))(*values)
    settings = {"key": jax.random.key(3), "step": step, "tolerance": tolerance}
    check_gradient(lambda x: f(x, *values[1:]), values[0], gradient=slopes[0], **settings)
    check_gradient(lambda y: f(values[0], y, values[2]), values[1], gradient=slopes[1], **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_features_and_weights_equal_central_differences(kind):
    f, values = problem(KINDS[kind](learner("softmax")), MOMENTUM, bg.Checkpointed(), weighted=False)
    slopes = jax.jit(jax.grad(f, argnums=(0, 2)))(*values)
    settings = {"key": jax.random.key(3), "tolerance": EXACT}
    check_gradient(lambda x: f(x, *values[1:]), values[0], gradient=slopes[0], **settings)
    check_gradient(lambda w: f(*values[:2], w), values[2], gradient=slopes[1], **settings)


def test_the_refit_is_part_of_the_gradient():
    # A state held fixed gives a gradient that is plainly another: the tests above would see one.
    model = Standardised(learner("logistic"))
    clean, poison, validation = (rows(model, n=n, seed=s) for n, s in ((14, 0), (3, 1), (9, 2)))

    def fixed(x):
        state = jax.lax.stop_gradient(model.fit((clean, poison._replace(x=x))))
        inner = tuple(b._replace(x=model.transform(state, b.x)) for b in (clean, poison._replace(x=x)))
        trained = bg.train(model.learner, inner, schedule=MOMENTUM)
        return model.loss(PreprocessedParams(state, trained.params), validation)

    f, values = problem(model, MOMENTUM, bg.Checkpointed(), weighted=False)
    np.testing.assert_allclose(fixed(poison.x), f(*values), rtol=1e-12)
    full, partial = jax.grad(f)(*values), jax.grad(fixed)(poison.x)
    assert float(jnp.linalg.norm(full - partial)) > 0.1 * float(jnp.linalg.norm(full))


def test_the_reversal_of_a_short_run_agrees_with_the_exact_gradient():
    (f, values), (g, _) = (
        problem(Standardised(learner("logistic")), bg.Descent(5, 0.01), a) for a in (bg.BackGradient(), None)
    )
    # Its truncation error: of second order in step size times steps.
    check_agreement(jax.grad(f)(*values), jax.grad(g)(*values), cosine=0.9999, error=1e-2)


@pytest.mark.parametrize("kind", mostly_slow(KINDS, "standardised", "selected", "nested"))
def test_a_row_of_weight_zero_is_absent_gradient_included(kind):
    model = KINDS[kind](learner("softmax"))
    clean, poison, validation = (rows(model, n=n, seed=s) for n, s in ((14, 0), (3, 1), (9, 2)))
    # Far away, where it would rule every scale.
    far = poison._replace(x=poison.x.at[1].mul(1e3), weight=poison.weight.at[1].set(0.0))

    def loss(clean, poison):
        params = bg.train(model, (clean, poison), schedule=MOMENTUM).params
        return model.loss(params, validation)

    def without(clean, poison):
        return loss(clean, jax.tree.map(lambda a: a[jnp.asarray([0, 2])], poison))

    one, two = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(clean, far) for f in (loss, without))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-12)
    np.testing.assert_array_equal(one[1][1].x[1], 0.0)
    # The weight of the absent row has a slope, that of making it present; all others must agree.
    there = one[1][1]._replace(weight=one[1][1].weight.at[1].set(0.0))
    check_agreement((one[1][0], there), two[1], error=1e-10)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("standardised", make_pipeline(StandardScaler())),
        ("min-max", make_pipeline(MinMaxScaler())),
        ("nested", make_pipeline(StandardScaler(), MinMaxScaler(), SelectKBest(k=3), MaxAbsScaler())),
    ],
)
def test_scores_equal_those_of_a_pipeline_with_the_same_inner_fit(kind, theirs):
    model = learner("softmax")
    samples, test = rows(model, n=40)._replace(weight=jnp.ones(40)), rows(model, n=15, seed=4)
    hard = jnp.eye(model.n_outputs)[jnp.argmax(samples.y, axis=1)]
    samples = samples._replace(y=hard)
    outer = KINDS[kind](model)
    trained = bg.train(outer, halves(samples), schedule=MOMENTUM).params
    x = theirs.fit_transform(np.asarray(samples.x), np.asarray(jnp.argmax(hard, axis=1)))
    small = dataclasses.replace(model, n_features=x.shape[1])
    inner = bg.train(small, samples._replace(x=jnp.asarray(x)), schedule=MOMENTUM).params
    new = jnp.asarray(theirs.transform(np.asarray(test.x)))
    np.testing.assert_allclose(outer.scores(trained, test.x), small.scores(inner, new), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(predict(outer, trained, test.x), predict(small, inner, new))


def test_parameters_go_in_with_or_without_a_state():
    model, samples = Standardised(MinMaxScaled(learner("mlp-tanh"))), rows(learner("mlp-tanh"))
    start = learner("mlp-tanh").init(jax.random.key(9))
    whole = model.init(jax.random.key(9))
    assert isinstance(whole, PreprocessedParams)
    check_agreement(whole.params.params, start)
    one, two = (bg.train(model, samples, schedule=MOMENTUM, params=p).params for p in (start, whole))
    check_agreement(one, two)
    again = bg.train(model, samples, schedule=MOMENTUM, params=one)
    assert float(again.loss) < float(again.initial_loss)


def test_a_place_holder_state_changes_nothing():
    for kind in ("standardised", "nested"):
        model, x = KINDS[kind](learner("softmax")), rows(learner("softmax")).x
        inner = learner("softmax").init(jax.random.key(0))
        np.testing.assert_array_equal(
            model.scores(model.init(jax.random.key(0)), x), learner("softmax").scores(inner, x)
        )


def test_what_is_delegated():
    inner = learner("softmax", l2=0.25)
    model, samples = Selected(Standardised(inner), 2), rows(inner)
    assert (model.strength, model.n_outputs, model.n_features, model.probabilistic) == (0.25, 3, D, True)
    assert not Standardised(learner("adaline")).probabilistic
    params = bg.train(model, samples, schedule=MOMENTUM).params
    transformed = model.learner.transform(params.params.state, model.transform(params.state, samples.x))
    np.testing.assert_allclose(
        model.loss(params, samples), inner.loss(params.params.params, samples._replace(x=transformed)), rtol=1e-14
    )
    np.testing.assert_allclose(model.loss_over(params, halves(samples)), model.loss(params, samples), rtol=1e-13)
    np.testing.assert_array_equal(model.penalised(params), params.params.params.weight)


def test_curvature_is_that_of_the_rows_the_learner_sees():
    model, samples = Standardised(learner("logistic")), rows(learner("logistic"))
    _, (seen,) = model.fit_preprocessing((samples,))
    start = model.init(jax.random.key(0))
    far = samples._replace(x=1e3 * samples.x)
    expected = largest_curvature(model.learner, seen, params=start.params)
    np.testing.assert_allclose(largest_curvature(model, far, params=start), expected, rtol=1e-6)


class Plain:
    """A user's learner: three methods, and nothing else."""

    def init(self, key):
        del key
        return jnp.zeros(D)

    def scores(self, params, x):
        return x @ params

    def loss(self, params, samples):
        error = (self.scores(params, samples.x) - samples.y[:, 1]) ** 2
        return jnp.sum(samples.weight * error) / jnp.sum(samples.weight)


def test_learners_of_users_need_no_more_than_their_three_methods():
    model, samples = Standardised(Plain()), rows(learner("logistic"))
    trained = bg.train(model, halves(samples), schedule=MOMENTUM)
    assert float(trained.loss) < float(trained.initial_loss)
    np.testing.assert_allclose(model.loss(trained.params, samples), trained.loss, rtol=1e-12)
    assert model.n_features is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: MinMaxScaled(bg.MLP(4), (1.0, 1.0)),
        lambda: Selected(bg.MLP(4), 0),
        lambda: VarianceSelected(bg.MLP(4), -1.0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(InputError, match="got"):
        make()
