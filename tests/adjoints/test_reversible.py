"""Exact reversal: to the bit over long runs, in far less memory than the trajectory, and loud when it fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backgrad as bg
from backgrad.adjoints import reversible
from backgrad.adjoints.check import check_agreement
from backgrad.errors import InputError, UnsupportedError
from tests.problems import learner, mostly_slow, outer


@pytest.fixture(scope="module")
def digits():
    data = bg.load("mnist-1-7")
    rows = bg.split_rows(data.n_samples, train=60, validation=100, seed=0, split=0)
    return tuple(bg.samples(data.x[r], data.y[r], 2) for r in (rows.train, rows.validation))


@pytest.mark.parametrize(
    ("model", "schedule"),
    [
        pytest.param(bg.LogisticRegression(784), bg.Descent(2000, 0.1, 0.9), id="logistic"),
        pytest.param(bg.MLP(784), bg.Descent(2000, 0.05, 0.9), id="mlp", marks=pytest.mark.slow),
        pytest.param(bg.MLP(784), bg.Descent(2000, 0.02, 0.95, batch_size=16), id="mlp-mini-batch"),
    ],
)
def test_two_thousand_steps_are_undone_bit_for_bit(digits, model, schedule):
    train, validation = digits

    def loss(x, probe):
        trained = bg.train(model, train._replace(x=x), schedule=schedule, adjoint=bg.Reversible(), probe=probe)
        return model.loss(trained.params, validation)

    # Anything but an exact return to w_0 raises; the probe says by how far.
    slope, drift = jax.jit(jax.grad(loss, argnums=(0, 1)))(train.x, jnp.zeros(()))
    assert float(drift) == 0
    assert float(jnp.abs(slope).max()) > 0


def test_bits_per_parameter_and_step_are_far_below_the_trajectory():
    schedule = bg.Descent(2000, 0.1, 0.9)
    bits = bg.Reversible().bits_per_step(schedule)
    assert np.log2(10 / 9) <= bits < 0.2  # the information lost, and what is kept for it
    assert bits < 128 / 500  # a stored trajectory keeps 64 bits of w and 64 of v


def test_a_reversal_that_does_not_return_is_an_error(monkeypatch):
    honest = reversible._Machine.backward
    monkeypatch.setattr(
        reversible._Machine, "backward", lambda self, s, t: honest(self, s._replace(v=s.v.at[0].add(1)), t)
    )
    f, values = outer(learner("logistic"), bg.Descent(6, 0.1, 0.5), bg.Reversible(fraction_bits=43), ("features",))
    with pytest.raises(Exception, match="did not return to the initial parameters"):
        jax.block_until_ready(jax.grad(f)(values))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(-(2**55), 2**55),
    st.integers(0, 2**40),
    st.integers(1, 4095).flatmap(lambda n: st.tuples(st.just(n), st.integers(n + 1, 4096))),
)
def test_exchanging_numerator_and_denominator_undoes_a_multiplication(v, buffer, fraction):
    n, d = fraction
    v0, b0 = np.array([v]), np.array([buffer], np.uint64)
    b1, v1 = reversible._exchange(jnp.asarray(b0), jnp.asarray(v0), d, n)
    b2, v2 = reversible._exchange(b1, v1, n, d)
    assert (int(v2[0]), int(b2[0])) == (v, buffer)
    assert abs(int(v1[0]) - v * n / d) <= n + 2**-52 * abs(v)


@pytest.mark.parametrize("momentum", mostly_slow([0.1, 0.5, 0.9, 0.99, 0.995], 0.5, 0.995))
@pytest.mark.parametrize("steps", mostly_slow([1, 7, 400], 400))
def test_every_momentum_and_length_comes_back(momentum, steps):
    schedule = bg.Descent(steps, 0.01, momentum)
    model = learner("logistic")
    one, other = (
        jax.grad(outer(model, schedule, a, ("features",))[0])(outer(model, schedule, a, ("features",))[1])
        for a in (bg.Reversible(), bg.Checkpointed())
    )
    check_agreement(one, other, error=1e-4)  # γ itself is rounded to a fraction


@pytest.mark.parametrize(
    ("schedule", "cure"),
    [(bg.Descent(5, 0.1), "set momentum"), (bg.Converged(), r"Implicit\(\)"), (bg.Descent(5, 0.1, 1e-9), "too close")],
)
def test_it_refuses_what_it_cannot_undo(schedule, cure):
    f, values = outer(learner("logistic"), schedule, bg.Reversible(), ("features",))
    with pytest.raises(UnsupportedError, match=cure):
        f(values)


def test_it_refuses_a_traced_momentum_below_what_it_was_prepared_for():
    f, values = outer(learner("logistic"), bg.Descent(5, 0.1, 0.3), bg.Reversible(), ("momentum",))
    with pytest.raises(Exception, match="min_momentum"):
        jax.block_until_ready(f(values))


@pytest.mark.parametrize(("size", "fits"), [(1e5, True), (6e5, False), (-np.inf, False)])
def test_numbers_that_do_not_fit_are_told_and_not_wrapped_around(size, fits):
    model, x = bg.Ridge(1), jnp.asarray([[-1.0], [0.0], [1.0]])
    start = model.init(jax.random.key(0))._replace(bias=jnp.asarray([size]))

    def bias(x, adjoint):
        samples = bg.Samples(x, size + x, jnp.ones(3)) if np.isfinite(size) else bg.Samples(x, x, jnp.ones(3))
        run = bg.train(model, samples, schedule=bg.Descent(5, 0.1, 0.5), adjoint=adjoint, params=start)
        return run.params.bias[0], run

    (found, run), slope = jax.value_and_grad(bias, has_aux=True)(x, bg.Reversible())
    assert (bg.Status(int(run.status)) is bg.Status.DONE) == fits
    assert np.isfinite(found) == np.isfinite(slope).all() == fits
    if fits:
        assert float(found) == pytest.approx(float(bias(x, bg.Checkpointed())[0]), abs=1e-9)


@pytest.mark.parametrize("settings", [{"fraction_bits": 2}, {"max_denominator": 1}, {"min_momentum": 1.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match="got"):
        bg.Reversible(**settings)
