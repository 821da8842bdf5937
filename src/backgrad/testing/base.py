"""What the suites share: they insist on float64, and do expensive things once."""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ..adjoints.check import central_difference, check_gradient
from ..types import Samples


class Contract:
    """The base of all suites."""

    @pytest.fixture(autouse=True)
    def _float64(self):
        require_float64()

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` gives, made once for all tests of a class that ask under one key.

        Args:
            key: must hold what is tested, for a class may test several things by a fixture. A key that cannot be hashed
                (settings that are arrays) makes everything anew.
            make: what to do.
        """
        if "_kept" not in vars(type(self)):
            type(self)._kept = {}  # pyright: ignore[reportAttributeAccessIssue]
        kept = vars(type(self))["_kept"]
        try:
            known = key in kept
        except TypeError:
            return make()
        if not known:
            kept[key] = make()
        return kept[key]


def require_float64() -> None:
    """Fail unless JAX's numbers are float64."""
    if jnp.result_type(float) != jnp.float64:
        pytest.fail(
            "backgrad.testing compares in float64, but JAX computes in float32: "
            "call jax.config.update('jax_enable_x64', True) in your conftest.py.",
            pytrace=False,
        )


def random_rows(n: int, n_features: int, n_outputs: int, *, seed: int) -> Samples:
    """Return rows of normal features, soft labels (normal responses, where they are one column) and uneven weights."""
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, n_features))
    y = rng.dirichlet(np.ones(n_outputs), size=n) if n_outputs > 1 else rng.normal(size=(n, 1))
    return Samples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(rng.uniform(0.5, 1.5, size=n)))


def moved(params: Any, *, seed: int) -> Any:
    """Return parameters with noise on every number, so that none is zero and no gradient vanishes by symmetry."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a) + 0.3 * rng.normal(size=np.shape(a))), params)


def check_derivative(f: Callable[[Any], Any], x: Any, gradient: Any, *, step: float, tolerance: float) -> None:
    """Check a gradient of f at x against central differences, where it is zero too.

    Args:
        f: a scalar function of one tree of float64 arrays.
        x: where.
        gradient: the gradient to check.
        step: h of the difference.
        tolerance: the relative error allowed; absolute where the gradient is zero.
    """
    if any(np.any(leaf) for leaf in jax.tree.leaves(gradient)):
        check_gradient(f, x, gradient=gradient, key=jax.random.key(2), step=step, tolerance=tolerance)
        return
    numeric = central_difference(f, x, moved(gradient, seed=6), step=step)
    assert abs(numeric) <= tolerance, f"the gradient is zero, but differences along some direction say {numeric:.6g}"


def cast(tree: Any, dtype: Any) -> Any:
    """Return a tree of arrays in another precision."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)


def precisions(tree: Any) -> set[str]:
    """Return the names of the types of a tree's arrays."""
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}
