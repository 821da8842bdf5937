r"""Training in Gram space: descent for learners that are linear in their inputs, at n² a step instead of n·d.

Let the first layer act on rows only through U = X W. Every gradient with respect to W has the form Xᵀ G + λ W, so
descent never leaves

    W_t = c_t W_0 + Xᵀ A_t,    U_t = c_t X W_0 + K A_t,    K = X Xᵀ,

and a descent step on W is, exactly, the same step on (A, c) along (G + λ A, λ c). Only K, X W_0 and the final
lift touch the d features. It pays where n < d, and momentum works unchanged, being linear too.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..adjoints.base import Field
from ..types import Params, Samples
from .base import per_weight


class GramParams(NamedTuple):
    """Coefficients A (one array a block) and c of the first layer's weights, and all other parameters."""

    coefficients: tuple[Float[Array, "_ ..."], ...]
    shrinkage: Float[Array, ""]
    rest: Params


class GramField(Field):
    """The gradient of the training loss in Gram space.

    Args:
        learner: a learner with `scores_after`, `row_losses` and `regularisation`.
        kernel: the blocks X_i X_jᵀ of K for i ≤ j, row by row.
        start: X_i W_0 of every block.
        labels: y of every block.
        weights: ω of every block.
    """

    learner: Any
    kernel: tuple[tuple[Float[Array, "_ _"], ...], ...]  # blocks differ in n, so their shapes stay anonymous
    start: tuple[Float[Array, "_ ..."], ...]
    labels: tuple[Float[Array, "_ k"], ...]
    weights: tuple[Float[Array, "_"], ...]

    def __call__(self, params: GramParams, t: Any) -> GramParams:
        """Return the direction of a step in (A, c) and the other parameters."""
        del t
        first = tuple(self._first(params, i) for i in range(len(self.start)))
        pull, rest = jax.grad(self._loss, argnums=(0, 1))(first, params.rest)
        strength = self.learner.strength
        if isinstance(strength, int | float) and strength == 0:
            return GramParams(pull, jnp.zeros_like(params.shrinkage), rest)
        strength = jnp.asarray(strength, params.shrinkage.dtype)
        pull = jax.tree.map(lambda g, a: g + strength * a, pull, params.coefficients)
        return GramParams(pull, strength * params.shrinkage, rest)

    def _first(self, params: GramParams, i: int):
        """Return U of block i."""
        total = params.shrinkage * self.start[i]
        for j, coefficients in enumerate(params.coefficients):
            block = self.kernel[i][j - i] if j >= i else self.kernel[j][i - j].T
            total = total + block @ coefficients
        return total

    def _loss(self, first, rest):
        """Return the training loss as a function of U and the other parameters, without W's own penalty."""
        total, weight = 0.0, 0.0
        for u, y, w in zip(first, self.labels, self.weights, strict=True):
            total += jnp.sum(w * self.learner.row_losses(self.learner.scores_after(rest, u), y))
            weight += jnp.sum(w)
        return per_weight(total, weight) + self.learner.regularisation(rest)


class GramSpace(eqx.Module):
    """A training run moved to Gram space: its field, its initial parameters, and the way back."""

    field: GramField
    params: GramParams
    x: tuple[Float[Array, "_ d"], ...]
    first: Float[Array, "d ..."]

    def lift(self, params: GramParams) -> Params:
        """Return the learner's own parameters."""
        weight = params.shrinkage * self.first
        for x, coefficients in zip(self.x, params.coefficients, strict=True):
            weight = weight + x.T @ coefficients
        return self.field.learner.with_first(params.rest, weight)


def gram_space(learner: Any, blocks: tuple[Samples, ...], params: Params) -> GramSpace:
    """Move the training of `learner` on `blocks` from `params` to Gram space.

    Args:
        learner: a learner with `first` (the first layer's weights), `with_first` and `scores_after`.
        blocks: the training rows.
        params: the initial parameters.

    Returns:
        What `train` needs to descend there and come back.
    """
    weight = learner.first(params)
    # The first layer's weights live in (A, c); a zero-size stand-in keeps the tree's shape without any cost.
    rest = learner.with_first(params, jnp.zeros((0, *weight.shape[1:]), weight.dtype))
    kernel = tuple(tuple(a.x @ b.x.T for b in blocks[i:]) for i, a in enumerate(blocks))
    start = tuple(block.x @ weight for block in blocks)
    coefficients = tuple(jnp.zeros((b.x.shape[0], *weight.shape[1:]), weight.dtype) for b in blocks)
    field = GramField(learner, kernel, start, tuple(b.y for b in blocks), tuple(b.weight for b in blocks))
    return GramSpace(
        field, GramParams(coefficients, jnp.ones((), weight.dtype), rest), tuple(b.x for b in blocks), weight
    )
