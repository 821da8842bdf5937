"""Learners that are linear in their inputs."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..checks import check_count, check_not_negative, check_positive, native
from ..types import Samples
from .base import Learner, check_scored, cross_entropy, loss_after_first_layer, signed, softplus
from .gram import GramSpace, gram_space


class LinearParams(NamedTuple):
    """Weights (d,) or (d, k) and bias () or (k,) of a linear learner."""

    weight: Float[Array, "..."]
    bias: Float[Array, "..."]


class Linear(Learner):
    """A linear learner with weights that start at zero.

    Args:
        n_features: d.
        l2: λ, the L2 strength; a float, or a scalar array to differentiate with respect to it.
    """

    n_features: int = eqx.field(static=True, converter=native)
    l2: Any = 0.0

    def __check_init__(self):
        check_count(n_features=self.n_features)
        check_not_negative(l2=self.l2)

    def init(self, key: PRNGKeyArray) -> LinearParams:
        """Return zeros."""
        del key
        return LinearParams(jnp.zeros(self.n_features), jnp.zeros(()))

    def scores(self, params: LinearParams, x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return x w + b."""
        check_scored(self, params, x)
        return x @ params.weight + params.bias

    def scores_after(self, params: LinearParams, first: Float[Array, "n ..."]) -> Float[Array, "..."]:
        """Return the scores, given the rows' product with the weights."""
        return first + params.bias

    def first(self, params: LinearParams) -> Float[Array, "d ..."]:
        """Return the weights that multiply the features."""
        return params.weight

    def with_first(self, params: LinearParams, weight: Float[Array, "d ..."]) -> LinearParams:
        """Return `params` with other weights."""
        return params._replace(weight=weight)

    def gram_space(self, blocks: tuple[Samples, ...], params: LinearParams) -> GramSpace:
        """Move training to Gram space, for `Descent(gram=True)`."""
        return gram_space(self, blocks, params)

    def penalised(self, params: LinearParams) -> Any:
        """Return the weights."""
        return params.weight

    @property
    def strength(self) -> Any:
        """λ."""
        return self.l2


class BinaryLinear(Linear):
    """A linear learner of two classes, ±1 inside, with scores of shape (n,)."""

    @property
    def n_outputs(self) -> int:
        """Two classes."""
        return 2


class LogisticRegression(BinaryLinear):
    """Logistic regression: ℓ = log(1 + e^{−y s}) with y = ±1; a soft label mixes the losses of both classes."""

    probabilistic: ClassVar[bool] = True

    def row_losses(self, scores, y):
        """Return the log-loss of every row."""
        return jnp.sum(y, axis=1) * softplus(scores) - y[:, 1] * scores


class Adaline(BinaryLinear):
    """Adaptive linear neuron (Widrow and Hoff 1960): ℓ = ½ (s − y)² with y = ±1."""

    def row_losses(self, scores, y):
        """Return half the squared error of every row."""
        return 0.5 * (scores - signed(y)) ** 2


class SmoothSVM(BinaryLinear):
    """Linear support vector machine with a smoothed hinge, so that hypergradients exist.

    With the margin u = y s, the loss is 0 for u ≥ 1, (1 − u)²/(2δ) for 1 − δ < u < 1 and 1 − u − δ/2 below
    (Rennie and Srebro 2005 for δ = 1). Its second derivative jumps at u = 1 and u = 1 − δ.

    Args:
        n_features: d.
        l2: λ.
        smoothing: δ, the width of the quadratic part.
    """

    smoothing: float = eqx.field(default=0.5, static=True, converter=native)

    def __check_init__(self):
        check_positive(smoothing=self.smoothing)

    def row_losses(self, scores, y):
        """Return the smoothed hinge loss of every row."""
        return y[:, 1] * self._hinge(scores) + y[:, 0] * self._hinge(-scores)

    def _hinge(self, margin):
        gap = jnp.maximum(1.0 - margin, 0.0)
        return jnp.where(gap < self.smoothing, gap**2 / (2 * self.smoothing), gap - self.smoothing / 2)


class MatrixLinear(Linear):
    """A linear learner with k outputs and scores of shape (n, k).

    Args:
        n_features: d.
        l2: λ.
        n_classes: k.
    """

    n_classes: int = eqx.field(default=2, static=True, converter=native)

    def __check_init__(self):
        check_count(n_classes=self.n_classes)

    def loss_over(self, params: LinearParams, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together."""
        return loss_after_first_layer(self, params, blocks, params.weight)

    @property
    def n_outputs(self) -> int:
        """The number k of outputs."""
        return self.n_classes

    def init(self, key: PRNGKeyArray) -> LinearParams:
        """Return zeros."""
        del key
        return LinearParams(jnp.zeros((self.n_features, self.n_outputs)), jnp.zeros(self.n_outputs))


class SoftmaxRegression(MatrixLinear):
    """Multinomial logistic regression: ℓ = −Σ_c y_c log softmax(s)_c."""

    probabilistic: ClassVar[bool] = True

    def row_losses(self, scores, y):
        """Return the cross-entropy of every row."""
        return cross_entropy(scores, y)


class Ridge(Linear):
    """Linear least squares with L2: ℓ = ½ ‖s − y‖², y a row of real responses.

    Args:
        n_features: d.
        l2: λ.
        n_responses: k.
    """

    regression: ClassVar[bool] = True

    n_responses: int = eqx.field(default=1, static=True, converter=native)

    def __check_init__(self):
        check_count(n_responses=self.n_responses)

    def loss_over(self, params: LinearParams, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together."""
        return loss_after_first_layer(self, params, blocks, params.weight)

    @property
    def n_outputs(self) -> int:
        """The number k of responses."""
        return self.n_responses

    def init(self, key: PRNGKeyArray) -> LinearParams:
        """Return zeros."""
        del key
        return LinearParams(jnp.zeros((self.n_features, self.n_responses)), jnp.zeros(self.n_responses))

    def row_losses(self, scores, y):
        """Return half the squared error of every row."""
        return 0.5 * jnp.sum((scores - y) ** 2, axis=1)
