"""Small training problems that many tests share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

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
    params = jax.tree.map(
        lambda a: a + 0.3 * jax.random.normal(jax.random.key(a.size), a.shape), model.init(jax.random.key(1))
    )
    return {
        "features": poison.x,
        "labels": poison.y,
        "weights": poison.weight,
        "l2": jnp.asarray(0.05),
        "step_size": jnp.asarray(getattr(schedule, "step_size", 0.1)),
        "momentum": jnp.asarray(getattr(schedule, "momentum", 0.0)),
        "params": params,
    }, clean


def outer(model, schedule, adjoint, name):
    """Return (f, x): the validation loss after training, as a function of the input called `name`."""
    values, clean = inputs(model, schedule)
    validation = rows(model, n=9, seed=2)

    def objective(value):
        v = {**values, name: value}
        one = dataclasses.replace(model, l2=v["l2"]) if name == "l2" else model
        plan = dataclasses.replace(schedule, **{name: value}) if name in ("step_size", "momentum") else schedule
        block = Samples(v["features"], v["labels"], v["weights"])
        trained = train(one, (clean, block), schedule=plan, adjoint=adjoint, params=v["params"])
        return model.loss(trained.params, validation)

    return jax.jit(objective), values[name]
