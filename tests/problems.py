"""Small training problems that many tests share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backgrad.adjoints.check import check_gradient
from backgrad.learners.linear import Adaline, LogisticRegression, Ridge, SmoothSVM, SoftmaxRegression
from backgrad.learners.mlp import MLP
from backgrad.training import train
from backgrad.types import Samples

N, D, K = 14, 4, 3


def learner(name, l2=0.05):
    """Return a learner of each kind, for D features."""
    return {
        "logistic": lambda: LogisticRegression(D, l2),
        "softmax": lambda: SoftmaxRegression(D, l2, K),
        "ridge": lambda: Ridge(D, l2, 2),
        "adaline": lambda: Adaline(D, l2),
        "svm": lambda: SmoothSVM(D, l2, 0.7),
        "mlp-tanh": lambda: MLP(D, K, (5,), "tanh", l2),
        "mlp-relu": lambda: MLP(D, K, (6, 4), "relu", l2),
    }[name]()


def mostly_slow(names, *quick):
    """Return names as parameters of a test, of which the default suite runs a few alone."""
    return [name if name in quick else _slow(name) for name in names]


def _slow(name):
    return pytest.param(*(name if isinstance(name, tuple) else (name,)), marks=pytest.mark.slow)


LEARNERS = ["logistic", "softmax", "ridge", "adaline", "svm", "mlp-tanh", "mlp-relu"]


def rows(model, n=N, seed=0):
    """Return random rows with soft labels and uneven weights."""
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, D))
    y = rng.dirichlet(np.ones(model.n_outputs), size=n)
    return Samples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(rng.uniform(0.5, 1.5, size=n)))


def inputs(model, schedule):
    """Return everything that training can be differentiated with respect to, by name."""
    clean, poison = rows(model), rows(model, n=3, seed=1)
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda a: np.asarray(a) + 0.3 * rng.normal(size=a.shape), model.init(jax.random.key(1)))
    params = jax.tree.map(jnp.asarray, params)
    return {
        "features": poison.x,
        "labels": poison.y,
        "weights": poison.weight,
        "l2": jnp.asarray(0.05),
        "step_size": jnp.asarray(getattr(schedule, "step_size", 0.1)),
        "momentum": jnp.asarray(getattr(schedule, "momentum", 0.0)),
        "params": params,
    }, clean


def outer(model, schedule, adjoint, names):
    """Return (f, values): the validation loss after training, as a function of the inputs called `names`."""
    values, clean = inputs(model, schedule)
    validation = rows(model, n=9, seed=2)

    def objective(chosen):
        v = {**values, **chosen}
        one = dataclasses.replace(model, l2=v["l2"]) if "l2" in chosen else model
        moved = {name: v[name] for name in ("step_size", "momentum") if name in chosen}
        block = Samples(v["features"], v["labels"], v["weights"])
        trained = train(
            one,
            (clean, block),
            schedule=dataclasses.replace(schedule, **moved),
            adjoint=adjoint,
            params=v["params"],
        )
        return model.loss(trained.params, validation)

    return jax.jit(objective), {name: values[name] for name in names}


def gradient(model, schedule, adjoint, names):
    """Return the gradient of the validation loss with respect to the inputs called `names`."""
    f, values = outer(model, schedule, adjoint, names)
    return jax.grad(f)(values)


def check_all(model, schedule, adjoint, names, **settings):
    """Check the gradient with respect to each input called `names` against central differences."""
    f, values = outer(model, schedule, adjoint, names)
    slopes = jax.jit(jax.grad(f))(values)
    for name in names:
        check_gradient(
            lambda value, name=name: f({**values, name: value}),
            values[name],
            gradient=slopes[name],
            key=jax.random.key(3),
            **settings,
        )
