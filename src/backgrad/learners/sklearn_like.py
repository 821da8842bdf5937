r"""What scikit-learn's classifiers minimise, where it is not what this library's learners do.

scikit-learn adds losses up, may weigh classes, may penalise the intercept or leave it out, and separates k classes by k
binary machines:

    Σ_i ω_i Σ_c κ_ic φ(t_ic s_ic) + λ/2 (‖w‖² + (b/σ)²),    t_ic = ±1, κ_ic the weights of classes.

`OneVsRest` brings the losses φ; `SumOfLosses`, `Intercept` and `ClassWeighted` are put around any linear learner.
"""

import dataclasses
import functools
import itertools
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..checks import check_count, check_not_negative, check_positive, native
from ..errors import InputError
from ..types import Params, Samples
from .base import Learner, softplus
from .linear import Linear, LinearParams
from .mlp import MLP, Layer
from .preprocessing import Preprocessed


def _hinge(margin: Float[Array, "..."], smoothing: float) -> Float[Array, "..."]:
    """Return the hinge, its corner a parabola over a width of 2δ, which is δ/4 too high in the middle."""
    gap = 1.0 - margin
    return jnp.where(jnp.abs(gap) < smoothing, (gap + smoothing) ** 2 / (4 * smoothing), jnp.maximum(gap, 0.0))


def _squared_hinge(margin, smoothing: float):
    del smoothing
    return jnp.maximum(1.0 - margin, 0.0) ** 2


def _modified_huber(margin, smoothing: float):
    del smoothing
    return jnp.where(margin >= -1.0, jnp.maximum(1.0 - margin, 0.0) ** 2, -4.0 * margin)


def _perceptron(margin, smoothing: float):
    del smoothing
    # A margin of 0 is an error, so the slope there is −1; at w = 0 nothing would ever move otherwise.
    return jnp.where(margin <= 0, -margin, 0.0)


def _log(margin, smoothing: float):
    del smoothing
    return softplus(-margin)


def _squared(margin, smoothing: float):
    del smoothing
    return 0.5 * (1.0 - margin) ** 2


_LOSSES = {
    "hinge": _hinge,
    "squared_hinge": _squared_hinge,
    "modified_huber": _modified_huber,
    "perceptron": _perceptron,
    "log": _log,
    "squared": _squared,
}


class OneVsRest(Linear):
    """A linear machine for every class against the others, or one machine for two classes.

    ℓ = Σ_c [κ_c y_c φ(s_c) + (1 − y_c) φ(−s_c)], and for two classes κ_1 y_1 φ(s) + κ_0 y_0 φ(−s).

    Args:
        n_features: d.
        l2: λ.
        n_classes: k; scores are (n,) for two classes and (n, k) for more.
        margin_loss: φ, of the margin u: `"hinge"` (max(0, 1 − u), its corner rounded), `"squared_hinge"` (its square),
            `"modified_huber"` (the same down to u = −1, and −4u below), `"perceptron"` (max(0, −u), which is least at
            w = 0 and so for `Descent` alone), `"log"` (log(1 + e^−u)) or `"squared"` (½ (1 − u)²).
        smoothing: δ, half the width over which the hinge's corner is a parabola, so that hypergradients exist.
        positive_weight: κ, (k,), what liblinear and scikit-learn's SGD weigh classes by; 1 where omitted.
    """

    n_classes: int = eqx.field(default=2, static=True, converter=native)
    margin_loss: str = eqx.field(default="squared_hinge", static=True)
    smoothing: float = eqx.field(default=0.05, static=True, converter=native)
    positive_weight: Any = None

    def __check_init__(self):
        check_count(n_classes=self.n_classes, least=2)
        check_positive(smoothing=self.smoothing)
        if self.margin_loss not in _LOSSES:
            raise InputError(f"margin_loss must be one of {', '.join(_LOSSES)}; got {self.margin_loss!r}.")

    @property
    def n_outputs(self) -> int:
        """The number k of classes."""
        return self.n_classes

    def init(self, key: PRNGKeyArray) -> LinearParams:
        """Return zeros."""
        del key
        shape = () if self.n_classes == 2 else (self.n_classes,)
        return LinearParams(jnp.zeros((self.n_features, *shape)), jnp.zeros(shape))

    def row_losses(self, scores, y):
        """Return the loss of every row, summed over its machines.

        Labels of 2k columns say what a row counts in each machine as its class, and then as another.
        """
        loss = functools.partial(_LOSSES[self.margin_loss], smoothing=self.smoothing)
        if y.shape[1] == 2 * self.n_classes:
            own, others = jnp.split(y, 2, axis=1)
        else:
            own = y if self.positive_weight is None else y * jnp.asarray(self.positive_weight, y.dtype)
            others = jnp.sum(y, axis=1, keepdims=True) - y
        if scores.ndim == 1:
            return own[:, 1] * loss(scores) + own[:, 0] * loss(-scores)
        return jnp.sum(own * loss(scores) + others * loss(-scores), axis=1)


class Wrapped(Learner):
    """A learner whose training loss is changed, and whose scores are not. Subclasses say how.

    Args:
        learner: the learner inside.
    """

    learner: Any

    def init(self, key: PRNGKeyArray) -> Params:
        """Return initial parameters."""
        return self.learner.init(key)

    def scores(self, params: Params, x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return the learner's scores."""
        return self.learner.scores(params, x)

    def row_losses(self, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return the learner's loss of every row."""
        return self.learner.row_losses(scores, y)

    def penalised(self, params: Params) -> Any:
        """Return the parameters that the L2 term counts."""
        return self.learner.penalised(params)

    @property
    def strength(self) -> Any:
        """The learner's λ."""
        return self.learner.strength

    @property
    def n_outputs(self) -> int:
        """The columns of the soft labels."""
        return self.learner.n_outputs

    @property
    def n_features(self) -> int:
        """The learner's d."""
        return self.learner.n_features

    @property
    def probabilistic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the learner's scores give probabilities."""
        return self.learner.probabilistic

    @property
    def regression(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the learner's scores are responses."""
        return getattr(self.learner, "regression", False)


def _with_settings(learner: Any, **settings: Any) -> Any:
    """Return a learner with other settings of the learner inside all wrappers."""
    if isinstance(learner, Wrapped):
        return dataclasses.replace(learner, learner=_with_settings(learner.learner, **settings))
    return dataclasses.replace(learner, **settings)


def _total_weight(blocks: tuple[Samples, ...]) -> Float[Array, ""]:
    return jnp.sum(jnp.stack([jnp.sum(block.weight) for block in blocks]))


class SumOfLosses(Wrapped):
    """Count λ against the sum of the losses and not their mean: 𝓛 = (Σ_i ω_i ℓ_i + λ/2 ‖w‖²) / Σ_i ω_i.

    With scikit-learn's C, λ = 1/C: then rows that are added weaken the regularisation, as they do there.

    Args:
        learner: a learner with a setting `l2`, or such a one in other wrappers.
    """

    def loss_over(self, params: Params, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together."""
        strength = jnp.asarray(self.strength) / _total_weight(blocks)
        return _with_settings(self.learner, l2=strength).loss_over(params, blocks)


class Intercept(Wrapped):
    """Leave the intercept of a linear learner out, or penalise it: λ/2 (‖w‖² + (b/σ)²).

    Args:
        learner: a linear learner, perhaps in other wrappers.
        scaling: σ, scikit-learn's intercept_scaling; None for no intercept. An intercept that is free needs no wrapper.
    """

    scaling: float | None = eqx.field(default=None, static=True, converter=native)

    def __check_init__(self):
        if self.scaling is not None:
            check_positive(scaling=self.scaling)

    def scores(self, params: LinearParams, x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return the learner's scores, with the intercept that is allowed."""
        return self.learner.scores(self._allowed(params), x)

    def loss_over(self, params: LinearParams, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together."""
        loss = self.learner.loss_over(self._allowed(params), blocks)
        if self.scaling is None:
            return loss
        return loss + 0.5 * jnp.asarray(self.strength) * jnp.sum((params.bias / self.scaling) ** 2)

    def penalised(self, params: LinearParams) -> Any:
        """Return the weights, and the scaled intercept where there is one."""
        own = self.learner.penalised(params)
        return own if self.scaling is None else [own, params.bias / self.scaling]

    def _allowed(self, params: LinearParams) -> LinearParams:
        return params._replace(bias=jnp.zeros_like(params.bias)) if self.scaling is None else params


class ClassWeighted(Wrapped):
    """Weigh rows by their classes: ω_i becomes ω_i Σ_c κ_c y_ic, soft labels mixing the weights of classes.

    Args:
        learner: the learner.
        weights: κ, one number a class, or `"balanced"`: κ_c = n / (k n_c), with n_c the weight of class c among the
            rows, the poisoning points included; a class without rows does not count in k.
        positives: whether κ_c weighs the losses of class c, of several classes in its own machine alone, as in the
            `OneVsRest` of liblinear and of scikit-learn's SGD; rows count as they did among the Σ_i ω_i of the mean.

    Raises:
        InputError: weights that are negative or not one a class.
    """

    weights: tuple[float, ...] | Literal["balanced"] = eqx.field(default="balanced", static=True)
    positives: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        if self.weights == "balanced":
            return
        if isinstance(self.weights, str) or len(self.weights) != self.n_outputs:
            raise InputError(f"weights must be 'balanced' or {self.n_outputs} numbers; got {self.weights!r}.")
        check_not_negative(**{f"weights[{c}]": weight for c, weight in enumerate(self.weights)})

    def class_weights(self, blocks: tuple[Samples, ...]) -> Float[Array, "k"]:
        """Return κ."""
        if self.weights != "balanced":
            return jnp.asarray(self.weights, blocks[0].x.dtype)
        count = jnp.sum(jnp.stack([block.weight @ block.y for block in blocks]), axis=0)
        present = count > 0
        share = jnp.sum(count) / jnp.sum(present)
        return jnp.where(present, share / jnp.where(present, count, 1.0), 0.0)

    def loss_over(self, params: Params, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together."""
        weights = self.class_weights(blocks)
        if self.positives:
            return _with_settings(self.learner, positive_weight=weights).loss_over(params, blocks)
        weighted = tuple(block._replace(weight=block.weight * (block.y @ weights)) for block in blocks)
        return self.learner.loss_over(params, weighted)


class _RowSteps(Preprocessed):
    """What `row_steps` returns; the state of its preprocessing is κ."""

    weights: Any = eqx.field(default=None, static=True)

    def identity(self) -> Float[Array, "k"]:
        """Return weights of 1."""
        return jnp.ones(self.n_outputs)

    def fit(self, blocks: tuple[Samples, ...]) -> Float[Array, "k"]:
        """Return the weights of the classes."""
        if self.weights is None:
            return jnp.ones(self.n_outputs, blocks[0].x.dtype)
        return ClassWeighted(self.learner, self.weights).class_weights(blocks)

    def transform(self, state: Float[Array, "k"], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return the features as they are."""
        del state
        return x

    def transform_rows(self, state: Float[Array, "k"], block: Samples) -> Samples:
        """Return rows of weight 1 whose labels hold all weights, since losses are linear in labels."""
        counts = block.weight[:, None] * block.y
        own = counts * state
        if self.n_outputs > 2:
            own = jnp.concatenate([own, jnp.sum(counts, axis=1, keepdims=True) - counts], axis=1)
        return block._replace(y=own, weight=jnp.ones_like(block.weight))


def row_steps(learner: Any, weights: tuple[float, ...] | Literal["balanced"] | None = None) -> Preprocessed:
    """Count rows as the steps of scikit-learn's SGD do: 𝓛 = Σ_i ω_i ℓ_i / n + λ/2 ‖w‖², with the weights κ of classes.

    A step goes by the weights of its own rows and not by their share among them, which of one row would be 1 whatever
    its weight; and weights that are `"balanced"` count all rows, whichever a step has.

    Args:
        learner: a `OneVsRest`, perhaps in other wrappers.
        weights: κ as in `ClassWeighted`, those of class c counting in its own machine alone where there are several.
    """
    return _RowSteps(learner, weights)


class SklearnMLP(MLP):
    """A multilayer perceptron as scikit-learn's MLPClassifier begins it: biases are drawn like weights.

    Args:
        n_features: d.
        n_classes: k; scores are (n,) for two classes and (n, k) for more.
        hidden: widths of the hidden layers.
        l2: λ.
        nonlinearity: `"relu"`, `"tanh"`, `"logistic"` or `"identity"`, used in place of `activation`.
    """

    nonlinearity: Literal["relu", "tanh", "logistic", "identity"] = eqx.field(default="relu", static=True)

    def __check_init__(self):
        if self.nonlinearity not in _ACTIVATIONS:
            raise InputError(f"nonlinearity must be one of {', '.join(_ACTIVATIONS)}; got {self.nonlinearity!r}.")

    def init(self, key: PRNGKeyArray) -> tuple[Layer, ...]:
        """Draw weights and biases from ±√(6 / (in + out)), or ±√(2 / (in + out)) for the logistic function."""
        widths = (self.n_features, *self.hidden, 1 if self.n_classes == 2 else self.n_classes)
        layers = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            bound = ((2 if self.nonlinearity == "logistic" else 6) / (fan_in + fan_out)) ** 0.5
            own, other = jax.random.split(jax.random.fold_in(key, i))
            draw = functools.partial(jax.random.uniform, minval=-bound, maxval=bound)
            layers.append(Layer(draw(own, (fan_in, fan_out)), draw(other, (fan_out,))))
        return tuple(layers)

    def scores_after(self, params: tuple[Layer, ...], first: Float[Array, "n h"]) -> Float[Array, "..."]:
        """Return the scores, given the rows' product with the first layer's weights."""
        hidden = first + params[0].bias
        for layer in params[1:]:
            hidden = _ACTIVATIONS[self.nonlinearity](hidden) @ layer.weight + layer.bias
        return hidden[:, 0] if self.n_classes == 2 else hidden

    def row_losses(self, scores, y):
        """Return the log-loss of every row."""
        if scores.ndim == 1:
            return jnp.sum(y, axis=1) * softplus(scores) - y[:, 1] * scores
        return super().row_losses(scores, y)


_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "logistic": jax.nn.sigmoid, "identity": lambda z: z}
