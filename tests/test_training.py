"""train: its schedules, what it refuses, and how it says that training went wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import backgrad as bg
from backgrad.adjoints.check import check_agreement
from backgrad.errors import InputError, UnsupportedError
from backgrad.training import largest_curvature
from tests.problems import LEARNERS, learner, mostly_slow, rows


@pytest.mark.parametrize("name", LEARNERS)
def test_training_lowers_the_loss(name):
    trained = bg.train(learner(name), rows(learner(name), n=30), schedule=bg.Descent(200, 0.1))
    assert float(trained.loss) < float(trained.initial_loss)
    assert bg.Status(int(trained.status)) is bg.Status.DONE


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_equals_optax_sgd(momentum):
    model, clean = learner("mlp-tanh"), rows(learner("mlp-tanh"))
    ours = bg.train(model, clean, schedule=bg.Descent(40, 0.1, momentum)).params
    theirs = bg.train(model, clean, schedule=bg.Descent(40, optimiser=optax.sgd(0.1, momentum or None))).params
    check_agreement(ours, theirs, error=1e-12)


def test_blocks_of_rows_train_like_one():
    model, clean = learner("softmax"), rows(learner("softmax"), n=20)
    halves = tuple(jax.tree.map(lambda a, s=s: a[s], clean) for s in (slice(0, 7), slice(7, 20)))
    for schedule in (bg.Descent(30, 0.2), bg.Descent(30, 0.2, batch_size=6), bg.Descent(30, 0.2, gram=True)):
        one, two = (bg.train(model, b, schedule=schedule).params for b in (clean, halves))
        check_agreement(two, one, error=1e-12)


def test_a_row_of_weight_zero_is_absent():
    model, clean = learner("logistic"), rows(learner("logistic"), n=10)
    muted = clean._replace(weight=clean.weight.at[3:].set(0.0))
    short = jax.tree.map(lambda a: a[:3], clean)
    one, two = (bg.train(model, b, schedule=bg.Descent(50, 0.2)).params for b in (muted, short))
    check_agreement(one, two, error=1e-12)


def test_a_mini_batch_of_absent_rows_moves_nothing_but_by_regularisation():
    model, clean = learner("logistic"), rows(learner("logistic"), n=12)
    muted = clean._replace(weight=clean.weight.at[2:].set(0.0))
    schedule = bg.Descent(3, 0.2, batch_size=1)  # two rows of twelve are there
    batches = np.asarray(schedule.batches(12)).ravel()
    start = model.init(jax.random.key(0))
    expected = jax.tree.map(lambda a: a + 0.1, start)
    trained = bg.train(model, muted, schedule=schedule, params=expected)
    for row in batches:
        if row < 2:
            one = jax.tree.map(lambda a, row=row: a[row : row + 1], clean)
            expected = bg.train(model, one, schedule=bg.Descent(1, 0.2), params=expected).params
        else:
            weight = expected.weight * (1 - 0.2 * float(model.l2))
            expected = expected._replace(weight=weight)
    check_agreement(trained.params, expected, error=1e-12)


def test_batches_use_every_row_once_an_epoch_and_repeat_with_the_key():
    schedule = bg.Descent(10, 0.1, batch_size=4, key=jax.random.key(5))
    batches = np.asarray(schedule.batches(20))
    assert batches.shape == (10, 4)
    for epoch in (batches[:5], batches[5:]):
        assert sorted(epoch.ravel()) == list(range(20))
    np.testing.assert_array_equal(batches, schedule.batches(20))
    assert (batches != np.asarray(bg.Descent(10, 0.1, batch_size=4, key=jax.random.key(6)).batches(20))).any()


@pytest.mark.parametrize("solver", mostly_slow(["newton", "lbfgs"], "newton"))
def test_rows_of_float32_converge_where_jax_computes_in_float64(solver):
    rng = np.random.default_rng(0)
    d = 120  # with so many parameters L-BFGS goes before Newton's method
    x, labels, model = rng.normal(size=(40, d)), rng.integers(0, 2, 40), bg.LogisticRegression(d, 0.1)
    single, double = (
        bg.train(model, bg.samples(x, labels, 2, dtype=dtype), schedule=bg.Converged(solver))
        for dtype in (jnp.float32, jnp.float64)
    )
    assert single.params.weight.dtype == jnp.float32
    assert int(single.status) == bg.Status.DONE
    np.testing.assert_allclose(single.params.weight, double.params.weight, atol=1e-5)


@pytest.mark.parametrize("schedule", [bg.Converged(), bg.Converged("lbfgs"), bg.Descent(3, 0.1, 0.5)])
def test_the_type_of_the_features_is_that_of_the_parameters(schedule):
    model, clean = learner("logistic"), rows(learner("logistic"))
    mixed = clean._replace(x=clean.x.astype(jnp.float32))
    # Traced and not run: compiling it would tell no more about types.
    found = eqx.filter_eval_shape(lambda rows: bg.train(model, rows, schedule=schedule).params, mixed)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_converged_finds_the_optimum(solver):
    model, clean = learner("logistic"), rows(learner("logistic"))
    trained = bg.train(model, clean, schedule=bg.Converged(solver))
    assert float(trained.gradient_norm) < 1e-6
    long = bg.train(model, clean, schedule=bg.Descent(20_000, 0.5)).params
    check_agreement(trained.params, long, error=1e-5)


@pytest.mark.parametrize("l2", [0.0, 1e-4])
def test_newton_leaves_flat_directions_where_they_start(l2):
    """A number added to all biases of a softmax changes nothing: neither rows nor round-off may say what it is."""
    rng = np.random.default_rng(0)
    model = bg.SoftmaxRegression(4, l2=l2, n_classes=3)
    clean = bg.samples(10 * rng.random((30, 4)), rng.integers(0, 3, 30), 3)
    start = model.init(jax.random.key(0))
    moved = start._replace(bias=start.bias + 0.5)
    one, two = (bg.train(model, clean, schedule=bg.Converged(), params=p).params for p in (start, moved))
    check_agreement(two, one._replace(bias=one.bias + 0.5), error=1e-9)


@pytest.mark.parametrize("orders", mostly_slow([0, 3], 3))
def test_newton_solves_many_parameters_whatever_the_scales_of_the_columns(orders):
    """124 parameters, where L-BFGS goes first: it is all it takes on columns of like scale, and halts on others."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 30)) * 10 ** rng.uniform(-orders, orders, 30), rng.integers(0, 4, 200)
    model, clean = bg.SoftmaxRegression(30, n_classes=4, l2=1e-3), bg.samples(x, y, 4)
    found = bg.train(model, clean, schedule=bg.Converged())
    assert bg.Status(int(found.status)) is bg.Status.DONE
    assert found.gradient_norm < 1e-9
    alone = bg.train(model, clean, schedule=bg.Converged("lbfgs"))
    assert (alone.gradient_norm < 1e-8) == (orders == 0)
    assert found.loss <= alone.loss + 1e-12


def test_ridge_equals_the_normal_equations():
    model, clean = learner("ridge"), rows(learner("ridge"))
    found = bg.train(model, clean, schedule=bg.Converged()).params
    x, y, w = (np.asarray(a) for a in clean)
    design = np.column_stack([x, np.ones(len(x))])
    penalty = 0.05 * w.sum() * np.diag([1.0] * x.shape[1] + [0.0])
    expected = np.linalg.solve(design.T @ (w[:, None] * design) + penalty, design.T @ (w[:, None] * y))
    np.testing.assert_allclose(np.vstack([found.weight, found.bias]), expected, rtol=1e-6)


def test_divergence_is_a_status_and_the_curvature_says_where_it_begins():
    model, clean = learner("adaline", l2=0.0), rows(learner("adaline"))
    limit = 2 / float(largest_curvature(model, clean, params=model.init(jax.random.key(0))))
    status = [int(bg.train(model, clean, schedule=bg.Descent(3000, s * limit)).status) for s in (0.95, 1.05)]
    assert [bg.Status(s) for s in status] == [bg.Status.DONE, bg.Status.DIVERGED]


def test_a_user_s_own_learner_needs_three_methods_only():
    class Plain:
        def init(self, key):
            return jax.random.normal(key, (4,))

        def scores(self, params, x):
            return x @ params

        def loss(self, params, samples):
            errors = (self.scores(params, samples.x) - samples.y[:, 1]) ** 2
            return jnp.sum(samples.weight * errors) / jnp.sum(samples.weight)

    clean = rows(learner("logistic"))
    two = tuple(jax.tree.map(lambda a, s=s: a[s], clean) for s in (slice(0, 5), slice(5, 14)))
    slope = jax.grad(
        lambda w: bg.train(Plain(), (two[0]._replace(weight=w), two[1]), schedule=bg.Descent(9)).params.sum()
    )
    assert np.isfinite(slope(two[0].weight)).all()


GOOD = rows(learner("logistic"))
BAD_ROWS = [
    (GOOD._replace(x=GOOD.x.at[0, 0].set(jnp.nan)), "x holds NaN"),
    (GOOD._replace(weight=GOOD.weight.at[0].set(jnp.inf)), "weight holds NaN or infinity"),
    (GOOD._replace(weight=0 * GOOD.weight), "all are 0"),
    (GOOD._replace(weight=GOOD.weight.at[0].set(-0.1)), "rows must have weights of 0 or more, and some are negative"),
    (GOOD._replace(x=GOOD.x[:5]), "with one n"),
    (GOOD._replace(y=GOOD.y[:, :1]), "soft labels of 2 columns"),
    (GOOD._replace(x=GOOD.x[:, :2]), "expects 4 features"),
    ((), "at least one block"),
]


@pytest.mark.parametrize(
    ("labels", "weight", "sentence"),
    [
        ([1, 2, 1], None, "labels must be whole numbers 0 to 1; got 2: number the classes from 0"),
        ([0, -1, 1], None, "labels must be whole numbers 0 to 1; got -1"),
        (jnp.asarray([0.5, 0, 1]), None, "labels must be whole numbers 0 to 1; got 0.5"),
        ([0, 1, 1], [1.0, 1.0, -1.0], "weights of 0 or more, and some are negative"),
    ],
)
def test_rows_without_a_label_and_negative_weights_are_not_built(labels, weight, sentence):
    with pytest.raises(InputError, match=sentence):
        bg.samples(np.zeros((3, 2)), labels, 2, weight=weight)


def test_rows_are_built_of_traced_labels_and_weights():
    made = jax.jit(lambda y, w: bg.samples(jnp.zeros((2, 1)), y, 2, weight=w))(jnp.asarray([0, 1]), jnp.ones(2))
    np.testing.assert_array_equal(made.y, np.eye(2))


@pytest.mark.parametrize("place", mostly_slow([0, 1], 1))
@pytest.mark.parametrize("settings", [{}, {"batch_size": 5}, {"clip": 0.5}, {"clip": 0.5, "batch_size": 5}], ids=str)
def test_a_block_of_no_rows_changes_nothing(settings, place):
    model, schedule = learner("logistic"), bg.Descent(6, 0.3, **settings)
    clean = rows(model)
    none = jax.tree.map(lambda a: a[:0], clean)
    blocks = [clean]
    blocks.insert(place, none)
    one, other = (bg.train(model, some, schedule=schedule).params for some in (clean, tuple(blocks)))
    check_agreement(one, other, error=1e-12)


@pytest.mark.parametrize(("bad", "sentence"), BAD_ROWS)
def test_bad_rows_are_refused_in_a_sentence(bad, sentence):
    with pytest.raises(InputError, match=sentence):
        bg.train(learner("logistic"), bad, schedule=bg.Descent(2))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bg.Descent(0), "steps must be a positive whole number; got 0"),
        (lambda: bg.Descent(3, -0.1), "step_size must be a positive finite number"),
        (lambda: bg.Descent(3, 0.1, 1.0), "momentum must lie in"),
        (lambda: bg.Descent(3, 0.1, 0.5, optimiser=optax.adam(0.1)), "brings its own momentum"),
        (lambda: bg.Descent(3, batch_size=0), "batch_size"),
        (lambda: bg.Converged("simplex"), "solver"),
        (lambda: bg.Converged(tolerance=0.0), "tolerance must be"),
        (lambda: bg.Implicit("lu"), "solver"),
        (lambda: bg.LogisticRegression(0), "n_features"),
        (lambda: bg.LogisticRegression(3, -1.0), "l2 must be"),
        (lambda: bg.MLP(3, hidden=(0,)), "hidden"),
        (lambda: bg.MLP(3, activation="gelu"), "activation"),
        (lambda: bg.SmoothSVM(3, smoothing=0.0), "smoothing"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(make, sentence):
    with pytest.raises((InputError, Exception), match=sentence):
        make()


def test_gram_space_and_checkpoints_refuse_what_they_cannot_do():
    model, clean = learner("logistic"), rows(learner("logistic"))
    with pytest.raises(UnsupportedError, match="gram=False"):
        bg.train(model, clean, schedule=bg.Descent(3, batch_size=2, gram=True))
    with pytest.raises(UnsupportedError, match="raise memory_limit"):
        bg.train(model, clean, schedule=bg.Descent(100), adjoint=bg.Checkpointed(memory_limit=64))


def test_gram_space_is_chosen_where_it_pays_and_changes_nothing():
    rng = np.random.default_rng(0)
    clean = bg.samples(rng.normal(size=(10, 50)), rng.integers(0, 2, 10), 2)
    model = bg.LogisticRegression(50, 0.01)
    auto, off = (bg.train(model, clean, schedule=bg.Descent(40, gram=g)).params for g in (None, False))
    check_agreement(auto, off, error=1e-12)
    assert (np.asarray(auto.weight) != np.asarray(off.weight)).any()  # another order of summation was used


def test_learners_and_rows_that_are_none_are_refused():
    model, clean = learner("logistic"), rows(learner("logistic"))
    with pytest.raises(InputError, match=r"must be one that was made, such as LogisticRegression\(n_features\)"):
        bg.train(bg.LogisticRegression, clean, schedule=bg.Descent(2))
    whole = clean._replace(x=np.ones(clean.x.shape, int))
    with pytest.raises(InputError, match="must be real numbers; got x of int64"):
        bg.train(model, whole, schedule=bg.Descent(2))
