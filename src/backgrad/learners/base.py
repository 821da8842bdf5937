r"""What a learner is: parameters, scores and a loss.

A learner's training loss on rows (x_i, y_i) of weight ω_i is

    𝓛(w) = Σ_i ω_i ℓ(y_i, s(w, x_i)) / Σ_i ω_i + λ/2 ‖w‖²      (biases unpenalised).

Anything with `init(key)`, `scores(params, x)` and `loss(params, samples)` is a learner: `train` asks for no
more. `Learner` adds what its subclasses share.
"""

import abc
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..checks import shown
from ..devices import shares
from ..errors import InputError
from ..schedules import Schedule
from ..spelling import things
from ..types import Params, Samples


@runtime_checkable
class LearnerLike(Protocol):
    """The three methods by which users bring a model of their own (an `equinox.Module`, best)."""

    def init(self, key: PRNGKeyArray) -> Params:
        """Return initial parameters."""
        ...

    def scores(self, params: Params, x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return decision scores: (n,) of a binary learner, positive for class 1, or (n, k)."""
        ...

    def loss(self, params: Params, samples: Samples) -> Float[Array, ""]:
        """Return the weighted mean loss plus regularisation."""
        ...


class Member(NamedTuple):
    """A learner and how it is trained: a victim, a surrogate, or one of an ensemble of them."""

    learner: Any
    schedule: Schedule


class Learner(eqx.Module):
    """Settings of a learner; `row_losses` and `penalised` are all that a subclass adds to init and scores."""

    #: Whether scores are log-odds (n,), or the inputs of a softmax (n, k), so that they give probabilities.
    probabilistic: ClassVar[bool] = False
    #: Whether scores are the responses of a regression, and rows carry responses instead of labels.
    regression: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def n_outputs(self) -> int:
        """The columns of the soft labels this learner trains on."""

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> Params:
        """Return initial parameters."""

    @abc.abstractmethod
    def scores(self, params: Params, x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return decision scores: (n,) of a binary learner, positive for class 1, or (n, k)."""

    @abc.abstractmethod
    def row_losses(self, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return ℓ of every row."""

    @abc.abstractmethod
    def penalised(self, params: Params) -> Any:
        """Return the parameters that the L2 term counts: all but the biases."""

    @property
    @abc.abstractmethod
    def strength(self) -> Any:
        """λ, the L2 strength."""

    def loss(self, params: Params, samples: Samples) -> Float[Array, ""]:
        """Return the weighted mean loss plus regularisation."""
        return self.loss_over(params, (samples,))

    def loss_over(self, params: Params, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together, without copying them into one."""
        total, weight = 0.0, 0.0
        for block in blocks:
            total += jnp.sum(block.weight * self.row_losses(self.scores(params, block.x), block.y))
            weight += jnp.sum(block.weight)
        return per_weight(total, weight) + self.regularisation(params)

    def regularisation(self, params: Params) -> Any:
        """Return λ/2 ‖w‖²."""
        if isinstance(self.strength, int | float) and self.strength == 0:
            return 0.0  # nothing to compute, nor to differentiate
        squares = [jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(self.penalised(params))]
        return 0.5 * jnp.asarray(self.strength, squares[0].dtype) * sum(squares)


def check_scored(learner: Any, params: Params, x: Any) -> None:
    """Raise unless rows have a learner's features, and parameters as many first weights and last biases as it has.

    Shapes alone are looked at. Of two classes there may be one score or two.
    """
    kind, d, k = type(learner).__name__, learner.n_features, learner.n_outputs
    if np.ndim(x) != 2 or np.shape(x)[1] != d:
        raise InputError(f"this {kind} scores x of shape (n, {d}); got {np.shape(x)}.")
    try:
        rows, biases = np.shape(learner.first(params))[0], np.shape(jax.tree.leaves(params)[-1])
    except (AttributeError, IndexError, KeyError, TypeError):
        rows = biases = None
    if rows != d or biases not in {(k,), *([(), (1,)] if k == 2 else [])}:
        wanted = f"{d} features" if rows != d else things(k, "output")
        raise InputError(
            f"params must be those of {kind} for {wanted}, as train(...).params and init are; got {shown(params)}."
        )


def loss_after_first_layer(
    learner: Any, params: Params, blocks: tuple[Samples, ...], weight: Float[Array, "d h"]
) -> Float[Array, ""]:
    """Return `Learner.loss_over` of a learner whose scores depend on rows through X W alone, W a matrix.

    (X W)ᵀ = Wᵀ Xᵀ is formed for each block, joined, and held by barriers: without them XLA's CPU backend folds the
    transposes into Xᵀ G for the gradient, which is 3 to 5 times slower there than Gᵀ X.
    """
    if shares() > 1:  # joined, they would have to move from device to device
        return Learner.loss_over(learner, params, blocks)
    transposed = jax.lax.optimization_barrier(weight.T)
    parts = [jax.lax.dot_general(transposed, block.x, (((1,), (1,)), ((), ()))) for block in blocks]
    first = jax.lax.optimization_barrier(jnp.concatenate(parts, axis=1)).T
    y, omega = (jnp.concatenate([getattr(block, name) for block in blocks]) for name in ("y", "weight"))
    losses = learner.row_losses(learner.scores_after(params, first), y)
    return per_weight(jnp.sum(omega * losses), jnp.sum(omega)) + learner.regularisation(params)


def per_weight(total: Any, weight: Any) -> Float[Array, ""]:
    """Return a weighted mean from its two sums, and 0 of rows that are all absent, as a mini-batch's may be."""
    return jnp.asarray(total / jnp.where(weight > 0, weight, 1.0))


@jax.custom_jvp
def softplus(z):
    """Return log(1 + eᶻ), with a derivative that costs one sigmoid."""
    return jnp.logaddexp(z, 0.0)


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    (z,), (dz,) = primals, tangents
    return softplus(z), jax.nn.sigmoid(z) * dz


def signed(y: Float[Array, "n 2"]) -> Float[Array, "n"]:
    """Return labels as −1 … +1 from soft labels of two classes."""
    return y[:, 1] - y[:, 0]


def cross_entropy(scores: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, "n"]:
    """Return −Σ_c y_c log softmax(s)_c of every row."""
    return jnp.sum(y, axis=1) * jax.nn.logsumexp(scores, axis=1) - jnp.sum(y * scores, axis=1)
