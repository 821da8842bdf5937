r"""Multilayer perceptrons.

Layers h_1 = X W_1 + b_1, h_{l+1} = φ(h_l) W_{l+1} + b_{l+1} with an activation φ; the last h are the scores. A
classifier feeds them to a softmax, a regression takes them as the responses.
"""

import itertools
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..checks import check_count, check_not_negative, native
from ..errors import InputError
from ..types import Samples
from .base import Learner, check_scored, cross_entropy, loss_after_first_layer
from .gram import GramSpace, gram_space


class Layer(NamedTuple):
    """Weights (in, out) and bias (out,) of one layer."""

    weight: Float[Array, "i o"]
    bias: Float[Array, "o"]


class Layered(Learner):
    """What multilayer perceptrons share: the layers. Subclasses declare the settings, and add the loss.

    Weights start from Glorot and Bengio's (2010) uniform distribution, biases at zero.
    """

    n_features: eqx.AbstractVar[int]
    hidden: eqx.AbstractVar[tuple[int, ...]]
    activation: eqx.AbstractVar[Literal["tanh", "relu"]]
    l2: eqx.AbstractVar[Any]

    def __check_init__(self):
        check_count(n_features=self.n_features)
        if not isinstance(self.hidden, tuple):
            raise InputError(f"hidden must be a tuple of widths, such as (10,); got {self.hidden!r}.")
        check_count(**{f"hidden[{i}]": width for i, width in enumerate(self.hidden)})
        if self.activation not in ("tanh", "relu"):
            raise InputError(f"activation must be 'tanh' or 'relu'; got {self.activation!r}.")
        check_not_negative(l2=self.l2)

    @property
    def strength(self) -> Any:
        """λ."""
        return self.l2

    def init(self, key: PRNGKeyArray) -> tuple[Layer, ...]:
        """Draw initial parameters."""
        widths = (self.n_features, *self.hidden, self.n_outputs)
        keys = jax.random.split(key, len(widths) - 1)
        draw = jax.nn.initializers.glorot_uniform()
        return tuple(
            Layer(draw(key, shape), jnp.zeros(shape[1]))
            for key, shape in zip(keys, itertools.pairwise(widths), strict=True)
        )

    def loss_over(self, params: tuple[Layer, ...], blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together."""
        return loss_after_first_layer(self, params, blocks, params[0].weight)

    def scores(self, params: tuple[Layer, ...], x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return the last layer's outputs: the inputs of the softmax, or the responses."""
        check_scored(self, params, x)
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

    def penalised(self, params: tuple[Layer, ...]) -> Any:
        """Return the weights of all layers."""
        return [layer.weight for layer in params]


class MLP(Layered):
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

    n_features: int = eqx.field(static=True, converter=native)
    n_classes: int = eqx.field(default=2, static=True, converter=native)
    hidden: tuple[int, ...] = eqx.field(default=(10,), static=True, converter=native)
    activation: Literal["tanh", "relu"] = eqx.field(default="tanh", static=True)
    l2: Any = 0.0

    def __check_init__(self):
        check_count(n_classes=self.n_classes)

    @property
    def n_outputs(self) -> int:
        """The number k of classes."""
        return self.n_classes

    def row_losses(self, scores, y):
        """Return the cross-entropy of every row."""
        return cross_entropy(scores, y)


class RegressionMLP(Layered):
    """A multilayer perceptron for real responses: ℓ = ½ ‖s − y‖², y a row of responses.

    Weights start from Glorot and Bengio's (2010) uniform distribution, biases at zero. Responses far from 0 and 1 in
    mean and spread train slowly; `LearnerRegressor` standardises them.

    Args:
        n_features: d.
        n_responses: k.
        hidden: widths of the hidden layers.
        activation: `"tanh"` or `"relu"`.
        l2: λ, the L2 strength; a float, or a scalar array to differentiate with respect to it.
    """

    regression: ClassVar[bool] = True

    n_features: int = eqx.field(static=True, converter=native)
    n_responses: int = eqx.field(default=1, static=True, converter=native)
    hidden: tuple[int, ...] = eqx.field(default=(10,), static=True, converter=native)
    activation: Literal["tanh", "relu"] = eqx.field(default="tanh", static=True)
    l2: Any = 0.0

    def __check_init__(self):
        check_count(n_responses=self.n_responses)

    @property
    def n_outputs(self) -> int:
        """The number k of responses."""
        return self.n_responses

    def row_losses(self, scores, y):
        """Return half the squared error of every row."""
        return 0.5 * jnp.sum((scores - y) ** 2, axis=1)
