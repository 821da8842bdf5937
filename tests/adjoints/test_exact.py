"""Every exact adjoint against central differences, for every learner and every input it supports."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from backgrad.adjoints.check import check_agreement, check_gradient
from backgrad.adjoints.checkpointed import Checkpointed
from backgrad.adjoints.implicit import Implicit
from backgrad.adjoints.reversible import Reversible
from backgrad.schedules import Converged, Descent
from tests.problems import LEARNERS, learner, outer

# One table of tolerances. Fourth-order differences with h = 1e-3 in float64 leave a truncation error of about h⁴.
EXACT = 1e-6
# The fixed-point pass is a staircase of 2⁻⁴⁴ steps, on which differences over h = 1e-3 see noise of about 1e-9 / h.
FIXED_POINT = 1e-5
# Differences must stay on one side of the kinks of the hinge and of relu, so they use a smaller step.
STEPS = {"svm": 1e-5, "mlp-relu": 1e-5}

INPUTS = ["features", "labels", "weights", "l2", "step_size", "params"]
GD = Descent(25, 0.2)
MOMENTUM = Descent(25, 0.1, 0.8)
SGD = Descent(25, 0.1, 0.5, batch_size=6)


def _check(name, schedule, adjoint, what, tolerance=EXACT):
    f, x = outer(learner(name), schedule, adjoint, what)
    check_gradient(f, x, key=jax.random.key(3), step=STEPS.get(name, 1e-3), tolerance=tolerance)


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("name", LEARNERS)
def test_checkpointed_equals_central_differences(name, what):
    _check(name, GD, Checkpointed(), what)


@pytest.mark.parametrize("what", ["features", "weights", "momentum", "params"])
@pytest.mark.parametrize("schedule", [MOMENTUM, SGD], ids=["momentum", "mini-batch"])
@pytest.mark.parametrize("name", ["logistic", "mlp-tanh"])
def test_checkpointed_goes_back_through_momentum_and_batches(name, schedule, what):
    _check(name, schedule, Checkpointed(), what)


@pytest.mark.parametrize("steps", [1, 2, 16, 23, 25])
def test_segments_equal_the_stored_trajectory(steps):
    gradients = []
    for adjoint in (Checkpointed(), Checkpointed(segments=True)):
        f, x = outer(learner("mlp-tanh"), Descent(steps, 0.1, 0.8), adjoint, "features")
        gradients.append(jax.grad(f)(x))
    check_agreement(*gradients, error=1e-12)


@pytest.mark.parametrize(
    "optimiser", [optax.adam(0.05), optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(optax.cosine_decay_schedule(0.3, 25)))]
)
@pytest.mark.parametrize("segments", [False, True])
def test_checkpointed_goes_back_through_optax(optimiser, segments):
    schedule = Descent(25, optimiser=optimiser)
    f, x = outer(learner("logistic"), schedule, Checkpointed(segments=segments), "features")
    check_gradient(f, x, key=jax.random.key(0), tolerance=EXACT)


@pytest.mark.parametrize("what", [*INPUTS, "momentum"])
@pytest.mark.parametrize("name", LEARNERS)
def test_reversible_equals_differences_of_its_own_forward_pass(name, what):
    if name in STEPS and what in ("features", "params"):
        tolerance = 1e-3  # h = 1e-5 keeps clear of kinks, and sees the staircase a hundred times larger
    else:
        tolerance = FIXED_POINT
    _check(name, MOMENTUM, Reversible(fraction_bits=50), what, max(tolerance, 1e-3 if name in STEPS else 0))


@pytest.mark.parametrize("name", LEARNERS)
def test_reversible_agrees_with_checkpointed(name):
    gradients = []
    for adjoint in (Reversible(), Checkpointed()):
        f, x = outer(learner(name), Descent(60, 0.1, 0.875), adjoint, "features")
        gradients.append(jax.grad(f)(x))
    check_agreement(*gradients, error=1e-7)


@pytest.mark.parametrize("solver", ["dense", "cg", "neumann"])
@pytest.mark.parametrize("what", ["features", "labels", "weights", "l2"])
def test_implicit_equals_differences_of_the_converged_solution(solver, what):
    adjoint = Implicit(solver, max_steps=20_000, solver_tolerance=1e-12)
    f, x = outer(learner("logistic"), Converged(tolerance=1e-12), adjoint, what)
    check_gradient(f, x, key=jax.random.key(0), tolerance=EXACT)


@pytest.mark.parametrize("name", ["logistic", "softmax", "ridge", "adaline", "svm"])
def test_implicit_serves_every_convex_learner(name):
    _check(name, Converged(tolerance=1e-12), Implicit(), "features")


def test_implicit_serves_a_regularised_mlp_after_lbfgs():
    f, x = outer(learner("mlp-tanh"), Converged("lbfgs", tolerance=1e-10, max_steps=5000), Implicit(), "features")
    check_gradient(f, x, key=jax.random.key(0), tolerance=1e-5)  # L-BFGS stops at a gradient of about 1e-7


@pytest.mark.parametrize("name", ["logistic", "softmax", "ridge", "adaline"])
def test_implicit_equals_checkpointed_at_convergence(name):
    long = Descent(4000, 0.5)
    f, x = outer(learner(name), long, Checkpointed(), "features")
    g, _ = outer(learner(name), Converged(tolerance=1e-12), Implicit(), "features")
    check_agreement(jax.grad(g)(x), jax.grad(f)(x), cosine=0.9999, error=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("name", ["logistic", "softmax", "adaline", "ridge", "mlp-tanh", "svm"])
def test_gram_space_equals_parameter_space(name, what, momentum):
    gradients = []
    for gram in (True, False):
        f, x = outer(learner(name), Descent(30, 0.1, momentum, gram=gram), Checkpointed(), what)
        gradients.append(jax.grad(f)(x))
    check_agreement(*gradients, error=1e-11)


@functools.cache
def _clean_gradient():
    f, x = outer(learner("logistic"), GD, Checkpointed(), "features")
    return f, x, jax.grad(f)(x)


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
