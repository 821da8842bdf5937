"""Every exact adjoint against central differences, for every learner.

What `backgrad.testing.AdjointContract` checks on one learner is not repeated here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from backgrad.adjoints.check import check_agreement, check_gradient
from backgrad.adjoints.checkpointed import Checkpointed
from backgrad.adjoints.implicit import Implicit
from backgrad.adjoints.reversible import Reversible
from backgrad.errors import UnsupportedError
from backgrad.learners.linear import LogisticRegression
from backgrad.schedules import Converged, Descent
from backgrad.training import train
from backgrad.types import samples
from tests.problems import LEARNERS, N, check_all, gradient, learner, mostly_slow, outer, rows

# One table of tolerances. Fourth-order differences with h = 3e-4 in float64 err by h⁴ times a fifth derivative,
# which is large with respect to the step size: 1e-8 relative, and less elsewhere.
EXACT = 1e-6
# The fixed-point pass is a staircase of 2⁻⁴⁴ steps, on which differences over h = 1e-3 see noise of about 1e-9 / h.
FIXED_POINT = 1e-5
# Differences must stay on one side of the kinks of the hinge and of relu, so they use a smaller step.
STEPS = {"svm": 1e-5, "mlp-relu": 1e-5}

ROWS = ("features", "labels", "weights", "l2")
ALL = (*ROWS, "step_size", "momentum", "params")
MOMENTUM = Descent(25, 0.1, 0.8125)
SGD = Descent(25, 0.1, 0.5, batch_size=6)


@pytest.mark.parametrize("name", LEARNERS)
def test_checkpointed_equals_central_differences(name):
    check_all(learner(name), MOMENTUM, Checkpointed(), ALL, step=STEPS.get(name, 3e-4), tolerance=EXACT)


@pytest.mark.parametrize("name", ["logistic", "mlp-tanh"])
def test_checkpointed_goes_back_through_plain_descent(name):
    check_all(learner(name), Descent(25, 0.2), Checkpointed(), (*ROWS, "step_size", "params"), tolerance=EXACT)


def test_checkpointed_goes_back_through_mini_batches_of_a_network():
    check_all(learner("mlp-tanh"), SGD, Checkpointed(), ALL, tolerance=EXACT)


@pytest.mark.parametrize("steps", mostly_slow([1, 2, 16, 23], 1, 23))
def test_segments_equal_the_stored_trajectory(steps):
    schedule = Descent(steps, 0.1, 0.8)
    one, other = (
        gradient(learner("mlp-tanh"), schedule, adjoint, ("features", "params"))
        for adjoint in (Checkpointed(), Checkpointed(segments=True))
    )
    check_agreement(one, other, error=1e-12)


@pytest.mark.parametrize(("n_features", "kept"), [(200, True), (4, False)])
def test_products_are_kept_where_their_sums_are_long_and_the_limit_has_room(n_features, kept):
    rng = np.random.default_rng(0)
    block = samples(rng.random((N, n_features)), rng.integers(0, 2, N), 2)
    model, steps, words = LogisticRegression(n_features), 400, 8
    descent = Descent(steps, 0.1, gram=False)
    whole = steps * words * (n_features + 1)
    memory, found = {}, {}
    for limit in (whole, 2**30):

        def loss(x, limit=limit):
            own = block._replace(x=x)
            trained = train(model, (own,), schedule=descent, adjoint=Checkpointed(memory_limit=limit))
            return model.loss(trained.params, block)

        compiled = jax.jit(jax.grad(loss)).lower(block.x).compile()
        memory[limit], found[limit] = compiled.memory_analysis().temp_size_in_bytes, compiled(block.x)
    check_agreement(found[whole], found[2**30], error=1e-12)
    scores = steps * words * N if kept else 0
    assert 0.9 * scores <= memory[2**30] - memory[whole] <= 1.5 * scores


CLIPPED = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(optax.cosine_decay_schedule(0.3, 25)))


@pytest.mark.parametrize("segments", [False, True])
def test_checkpointed_goes_back_through_chains_of_optax(segments):
    schedule = Descent(25, optimiser=CLIPPED)
    check_all(learner("logistic"), schedule, Checkpointed(segments=segments), ROWS, tolerance=EXACT)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("optimiser", [optax.adam(0.05), optax.adamw(0.05, b2=0.5)], ids=["adam", "fast"])
def test_weights_without_any_gradient_leave_those_of_adam_theirs(optimiser, dtype):
    rng = np.random.default_rng(0)
    x, model, schedule = rng.random((N, 2)), LogisticRegression(3), Descent(150, optimiser=optimiser)
    block = samples(np.column_stack([x, np.zeros(N)]), rng.integers(0, 2, N), 2, dtype=dtype)

    def loss(x):
        trained = train(model, (block._replace(x=jnp.column_stack([x, jnp.zeros_like(x[:, :1])])),), schedule=schedule)
        return jnp.sum(jnp.tanh(model.scores(trained.params, block.x)))

    compiled = jax.jit(loss)
    if dtype == jnp.float64:
        check_gradient(compiled, jnp.asarray(x), key=jax.random.key(0), step=1e-4, tolerance=EXACT)
    assert np.isfinite(jax.grad(compiled)(jnp.asarray(x, dtype))).all()


@pytest.mark.parametrize("name", mostly_slow(LEARNERS, "logistic", "mlp-tanh"))
def test_reversible_equals_differences_of_its_own_forward_pass(name):
    # h = 1e-5 keeps clear of kinks, and sees the staircase a hundred times larger.
    step, tolerance = (1e-5, 1e-3) if name in STEPS else (1e-3, FIXED_POINT)
    names = (*ROWS, "step_size", "params")
    check_all(learner(name), MOMENTUM, Reversible(fraction_bits=50), names, step=step, tolerance=tolerance)


@pytest.mark.parametrize(
    ("momentum", "adjoint"),
    [(0.8, Reversible(fraction_bits=50, max_denominator=4)), (jnp.asarray(0.9), Reversible(fraction_bits=50))],
    ids=["coarse", "traced"],
)
def test_reversible_goes_back_with_the_momentum_that_it_went_forward_with(momentum, adjoint):
    schedule = Descent(25, 0.1, momentum)
    check_all(learner("logistic"), schedule, adjoint, (*ROWS, "step_size", "params"), step=1e-3, tolerance=FIXED_POINT)


@pytest.mark.parametrize("name", ["logistic", "mlp-tanh"])
def test_reversible_goes_back_to_the_momentum(name):
    # A traced momentum moves in steps of 2⁻¹², so the difference must too.
    check_all(learner(name), MOMENTUM, Reversible(), ("momentum",), step=2.0**-8, tolerance=FIXED_POINT)


@pytest.mark.parametrize("name", mostly_slow(LEARNERS, "softmax", "mlp-relu"))
def test_reversible_agrees_with_checkpointed(name):
    schedule = Descent(60, 0.1, 0.875)
    one, other = (gradient(learner(name), schedule, a, ("features",)) for a in (Reversible(), Checkpointed()))
    check_agreement(one, other, error=1e-7)


@pytest.mark.parametrize("solver", ["dense", "neumann"])
def test_implicit_equals_differences_of_the_converged_solution(solver):
    adjoint = Implicit(solver, max_steps=20_000, solver_tolerance=1e-12)
    check_all(learner("logistic"), Converged(tolerance=1e-12), adjoint, ROWS, tolerance=EXACT)


@pytest.mark.parametrize("name", mostly_slow(["softmax", "ridge", "adaline", "svm"], "svm"))
def test_implicit_serves_every_convex_learner(name):
    step = STEPS.get(name, 3e-4)
    check_all(learner(name), Converged(tolerance=1e-12), Implicit(), ROWS, step=step, tolerance=EXACT)


@pytest.mark.slow
def test_implicit_serves_a_regularised_mlp():
    # L-BFGS ends at a gradient of 1e-8, a noise that differences would see: Newton steps polish its minimum.
    model = learner("mlp-tanh")
    clean, validation = rows(model), rows(model, n=9, seed=2)
    near = train(model, clean, schedule=Converged("lbfgs", max_steps=5000)).params

    def loss(x):
        trained = train(model, clean._replace(x=x), schedule=Converged(tolerance=1e-13), params=near)
        return model.loss(trained.params, validation)

    check_gradient(jax.jit(loss), clean.x, key=jax.random.key(0), tolerance=EXACT)


@pytest.mark.parametrize("name", mostly_slow(["logistic", "softmax", "ridge", "adaline"], "logistic"))
def test_implicit_equals_checkpointed_at_convergence(name):
    one = gradient(learner(name), Converged(tolerance=1e-12), Implicit(), ROWS)
    other = gradient(learner(name), Descent(4000, 0.5), Checkpointed(), ROWS)
    check_agreement(one, other, cosine=0.9999, error=1e-6)


@pytest.mark.parametrize(
    "name", mostly_slow(["logistic", "softmax", "adaline", "ridge", "mlp-tanh", "svm"], "logistic", "mlp-tanh")
)
def test_gram_space_equals_parameter_space(name):
    one, other = (
        gradient(learner(name), Descent(30, 0.1, 0.7, gram=gram), Checkpointed(), ALL) for gram in (True, False)
    )
    check_agreement(one, other, error=1e-11)


def test_gram_space_without_momentum_or_regularisation():
    model = learner("mlp-tanh", l2=0.0)
    one, other = (
        gradient(model, Descent(30, 0.1, gram=gram), Checkpointed(), ("features", "weights", "params"))
        for gram in (True, False)
    )
    check_agreement(one, other, error=1e-11)


def test_conjugate_gradients_go_on_where_entries_of_the_cotangent_are_zero():
    # lineax compares entry by entry, and 0/0 once ended the solve at its first step.
    model = learner("logistic")
    samples = rows(model)

    def first_weight(x, adjoint):
        trained = train(model, samples._replace(x=x), schedule=Converged(tolerance=1e-12), adjoint=adjoint)
        return trained.params.weight[0]

    one, other = (jax.grad(first_weight)(samples.x, Implicit(solver)) for solver in ("cg", "dense"))
    check_agreement(one, other, error=1e-8)


@pytest.mark.parametrize("solver", ["cg", "dense", "neumann"])
def test_a_cotangent_of_zero_gives_a_gradient_of_zero(solver):
    model = learner("logistic")
    clean = rows(model)

    def nothing(x):
        trained = train(model, clean._replace(x=x), schedule=Converged(tolerance=1e-12), adjoint=Implicit(solver))
        return 0.0 * jnp.sum(trained.params.weight)

    np.testing.assert_array_equal(jax.grad(nothing)(clean.x), 0.0)


def test_implicit_refuses_gram_space_whose_field_has_no_symmetric_jacobian():
    f, values = outer(learner("logistic"), Descent(2000, 0.5, gram=True), Implicit(), ("features",))
    with pytest.raises(UnsupportedError, match=r"set gram=False, or use Checkpointed\(\)"):
        f(values)


@functools.cache
def _clean_gradient():
    f, x = outer(learner("logistic"), Descent(25, 0.2), Checkpointed(), ("features",))
    x = x["features"]
    return (lambda v: f({"features": v})), x, jax.grad(lambda v: f({"features": v}))(x)


@pytest.mark.parametrize("wrong", ["scale", "one coordinate", "random"])
def test_the_difference_checker_refuses_gradients_wrong_by_a_thousandth(wrong):
    f, x, gradient = _clean_gradient()
    check_gradient(f, x, gradient=gradient, key=jax.random.key(0))
    size = jnp.linalg.norm(gradient)
    noise = jax.random.normal(jax.random.key(1), gradient.shape)
    bad = {
        "scale": gradient * 1.001,
        "one coordinate": gradient.at[0, 0].add(1e-3 * size),
        "random": gradient + 1e-3 * size * noise / jnp.linalg.norm(noise),
    }[wrong]
    with pytest.raises(AssertionError, match="relative error"):
        check_gradient(f, x, gradient=bad, key=jax.random.key(0))


def test_the_agreement_checker_refuses_gradients_wrong_by_a_thousandth():
    gradient = _clean_gradient()[2]
    check_agreement(gradient, gradient)
    with pytest.raises(AssertionError, match="relative difference"):
        check_agreement(gradient * 1.001, gradient)
    with pytest.raises(AssertionError, match="cosine"):
        check_agreement(gradient.at[0, 0].add(1e-3 * jnp.linalg.norm(gradient)), gradient, error=float("inf"))


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_the_checkers_refuse_gradients_that_say_nothing(bad):
    f, x, gradient = _clean_gradient()
    with pytest.raises(AssertionError, match="nothing to compare"):
        check_gradient(f, x, gradient=gradient * bad, key=jax.random.key(0))
    with pytest.raises(AssertionError, match="cosine"):
        check_agreement(gradient * bad, gradient)
