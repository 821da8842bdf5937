r"""What the attacker wants: goals, and the outer losses they are measured in.

The outer objective 𝒜 is maximised by the attacker and computed on untainted validation rows. Error-generic
attacks (Muñoz-González et al. 2017, equation 3) raise the loss of the validation rows under their true labels.

Outer losses see decision scores alone, so that every learner can be attacked with every one of them; binary
scores (n,) count as the log-odds of class 1.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import InputError
from ..types import Params, Samples


def margins(scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
    """Return by how much the true class outscores the best other one; an error is a negative margin.

    Args:
        scores: (n,) of a binary learner, or (n, k).
        y: labels as one-hot rows, (n, k).
    """
    if scores.ndim == 1:
        return (y[:, 1] - y[:, 0]) * scores
    others = jnp.where(y > 0.5, -jnp.inf, scores)
    return jnp.sum(y * scores, axis=1) - jnp.max(others, axis=1)


class OuterLoss(eqx.Module):
    """A loss per validation row, as a function of the model's scores."""

    @abc.abstractmethod
    def __call__(self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return the loss of every row."""


class LogLoss(OuterLoss):
    """Cross-entropy of the scores: unbounded, so it may spend the budget on rows that are wrong already."""

    def __call__(self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return the cross-entropy of every row."""
        del learner
        logits = jnp.stack([jnp.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores
        return jax.nn.logsumexp(logits, axis=1) - jnp.sum(y * logits, axis=1)


class LearnerLoss(OuterLoss):
    """The learner's own loss without regularisation: the paper's L, squared for ADALINE."""

    def __call__(self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return the learner's loss of every row."""
        if not hasattr(learner, "row_losses"):
            raise InputError(f"{type(learner).__name__} has no row_losses: use LogLoss() or SmoothZeroOne().")
        return learner.row_losses(scores, y)


class SmoothZeroOne(OuterLoss):
    """A sigmoid of the negative margin: close to the zero-one error, and bounded like it.

    With u_i the margins, the loss is σ(−u_i / (width · mean_j |u_j|)). Dividing by the mean margin makes it
    indifferent to the scale of the scores, so that one width serves every learner and moment of training.

    Args:
        width: of the sigmoid, in mean margins; the zero-one error is the limit at 0.
    """

    width: float = eqx.field(default=0.5, static=True)

    def __check_init__(self):
        if not 0 < self.width < float("inf"):
            raise InputError(f"width must be a positive number; got {self.width}.")

    def __call__(self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return the smooth error of every row."""
        del learner
        gap = margins(scores, y)
        # Where all scores are equal the mean margin is 0; any positive scale gives the right limit, ½.
        scale = jnp.mean(jnp.abs(gap))
        return jax.nn.sigmoid(-gap / (self.width * jnp.where(scale > 0, scale, 1.0)))


class ErrorGeneric(eqx.Module):
    """Raise the error on the validation rows, no matter which wrong class they get.

    Args:
        outer_loss: what is averaged over the validation rows and maximised.
    """

    outer_loss: OuterLoss = SmoothZeroOne()

    def value(self, learner: Any, params: Params, validation: Samples) -> Float[Array, ""]:
        """Return 𝒜, the weighted mean outer loss of the model on validation rows."""
        scores = learner.scores(params, validation.x)
        losses = self.outer_loss(learner, scores, validation.y)
        return jnp.sum(validation.weight * losses) / jnp.sum(validation.weight)

    def describe(self) -> dict[str, Any]:
        """Return the goal in words and settings, for results."""
        return {
            "violation": "availability",
            "error_specificity": "generic",
            "outer_loss": type(self.outer_loss).__name__,
            **{name: value for name, value in vars(self.outer_loss).items() if isinstance(value, float)},
        }
