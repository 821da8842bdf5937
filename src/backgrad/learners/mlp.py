"""Multilayer perceptrons."""

import itertools
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..errors import InputError
from ..types import Samples
from .base import Learner, cross_entropy
from .gram import GramSpace, gram_space
from .linear import check_counts, check_strength


class Layer(NamedTuple):
    """Weights (in, out) and bias (out,) of one layer."""

    weight: Float[Array, "i o"]
    bias: Float[Array, "o"]


class MLP(Learner):
    """A multilayer perceptron with softmax output and cross-entropy.

    Weights start from Glorot and Bengio's (2010) uniform distribution, biases at zero.

    Args:
        n_features: d.
        n_classes: k.
        hidden: widths of the hidden layers.
        activation: `"tanh"` or `"relu"`.
        l2: λ, the L2 strength; a float, or a scalar array to differentiate with respect to it.
    """

    probabilistic: ClassVar[bool] = True

    n_features: int = eqx.field(static=True)
    n_classes: int = eqx.field(default=2, static=True)
    hidden: tuple[int, ...] = eqx.field(default=(10,), static=True)
    activation: Literal["tanh", "relu"] = eqx.field(default="tanh", static=True)
    l2: Any = 0.0

    def __check_init__(self):
        check_counts(n_features=self.n_features, n_classes=self.n_classes)
        if not isinstance(self.hidden, tuple):
            raise InputError(f"hidden must be a tuple of widths, such as (10,); got {self.hidden!r}.")
        check_counts(**{f"hidden[{i}]": width for i, width in enumerate(self.hidden)})
        if self.activation not in ("tanh", "relu"):
            raise InputError(f"activation must be 'tanh' or 'relu'; got {self.activation!r}.")
        check_strength(self.l2)

    @property
    def n_outputs(self) -> int:
        """The number k of classes."""
        return self.n_classes

    @property
    def strength(self) -> Any:
        """λ."""
        return self.l2

    def init(self, key: PRNGKeyArray) -> tuple[Layer, ...]:
        """Draw initial parameters."""
        widths = (self.n_features, *self.hidden, self.n_classes)
        keys = jax.random.split(key, len(widths) - 1)
        draw = jax.nn.initializers.glorot_uniform()
        return tuple(
            Layer(draw(key, shape), jnp.zeros(shape[1]))
            for key, shape in zip(keys, itertools.pairwise(widths), strict=True)
        )

    def scores(self, params: tuple[Layer, ...], x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """Return the inputs of the softmax."""
        return self.scores_after(params, x @ params[0].weight)

    def scores_after(self, params: tuple[Layer, ...], first: Float[Array, "n h"]) -> Float[Array, "n k"]:
        """Return the scores, given the rows' product with the first layer's weights."""
        activate = jnp.tanh if self.activation == "tanh" else jax.nn.relu
        hidden = first + params[0].bias
        for layer in params[1:]:
            hidden = activate(hidden) @ layer.weight + layer.bias
        return hidden

    def first(self, params: tuple[Layer, ...]) -> Float[Array, "d h"]:
        """Return the weights that multiply the features."""
        return params[0].weight

    def with_first(self, params: tuple[Layer, ...], weight: Float[Array, "d h"]) -> tuple[Layer, ...]:
        """Return `params` with other weights in the first layer."""
        return (Layer(weight, params[0].bias), *params[1:])

    def gram_space(self, blocks: tuple[Samples, ...], params: tuple[Layer, ...]) -> GramSpace:
        """Move training to Gram space, for `Descent(gram=True)`."""
        return gram_space(self, blocks, params)

    def row_losses(self, scores, y):
        """Return the cross-entropy of every row."""
        return cross_entropy(scores, y)

    def penalised(self, params: tuple[Layer, ...]) -> Any:
        """Return the weights of all layers."""
        return [layer.weight for layer in params]
