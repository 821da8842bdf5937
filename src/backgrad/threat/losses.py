r"""Outer losses: what a goal averages over validation rows.

They see decision scores alone, so that every learner can be attacked with every one of them; binary scores (n,) count
as the log-odds of class 1.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..checks import check_positive, native
from ..errors import InputError


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
    def __call__(
        self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"], weight: Float[Array, "n"]
    ) -> Float[Array, "n"]:
        """Return the loss of every row; `weight` is how much each counts, where a loss looks at all rows together."""

    def held(self) -> "OuterLoss":
        """Return the loss whose gradient a search climbs: of the same value, with units of measurement held."""
        return self


class LogLoss(OuterLoss):
    """Cross-entropy of the scores: unbounded, so it may spend the budget on rows that are wrong already."""

    def __call__(
        self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"], weight: Float[Array, "n"]
    ) -> Float[Array, "n"]:
        """Return the cross-entropy of every row."""
        del learner, weight
        logits = jnp.stack([jnp.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores
        return jax.nn.logsumexp(logits, axis=1) - jnp.sum(y * logits, axis=1)


class LearnerLoss(OuterLoss):
    """The learner's own loss without regularisation: the paper's L, squared for ADALINE."""

    def __call__(
        self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"], weight: Float[Array, "n"]
    ) -> Float[Array, "n"]:
        """Return the learner's loss of every row."""
        del weight
        if not hasattr(learner, "row_losses"):
            raise InputError(f"{type(learner).__name__} has no row_losses: use LogLoss() or SmoothZeroOne().")
        return learner.row_losses(scores, y)


class SmoothZeroOne(OuterLoss):
    """A sigmoid of the negative margin: close to the zero-one error, and bounded like it.

    With u_i the margins, the loss is σ(−u_i / (width · mean_j |u_j|)). Dividing by the mean margin makes it
    indifferent to the scale of the scores, so that one width serves every learner and moment of training.

    The mean margin is a unit, and nothing that harms anybody when it grows: a few rows with huge margins would bring
    all others to ½, right ones and wrong ones. So a search climbs the gradient with the unit held. Against logistic
    regression on 1,000 standardised e-mails with binary features, 53 points that also moved the unit reached a smooth
    error of 0.28, but a test error of 11.3 %; with the unit held they reach 0.25 and 16.5 %.

    Args:
        width: of the sigmoid, in mean margins; the zero-one error is the limit at 0.
        hold: whether the mean margin counts as a constant in gradients.
    """

    width: float = eqx.field(default=0.5, static=True, converter=native)
    hold: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_positive(width=self.width)

    def held(self) -> "SmoothZeroOne":
        """Return the same loss with the mean margin as a constant."""
        return SmoothZeroOne(self.width, hold=True)

    def __call__(
        self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"], weight: Float[Array, "n"]
    ) -> Float[Array, "n"]:
        """Return the smooth error of every row."""
        del learner
        gap = margins(scores, y)
        # Where all scores are equal the mean margin is 0; any positive scale gives the right limit, ½.
        scale = jnp.sum(weight * jnp.abs(gap)) / jnp.sum(weight)
        if self.hold:
            scale = jax.lax.stop_gradient(scale)
        return jax.nn.sigmoid(-gap / (self.width * jnp.where(scale > 0, scale, 1.0)))


class SquaredLoss(OuterLoss):
    """Half the squared error of the scores: against ±1 for binary scores, one-hot rows for k classes, or responses."""

    def __call__(
        self, learner: Any, scores: Float[Array, "..."], y: Float[Array, "n k"], weight: Float[Array, "n"]
    ) -> Float[Array, "n"]:
        """Return half the squared error of every row."""
        del learner, weight
        if scores.ndim == 1:
            return 0.5 * (scores - (y[:, 1] - y[:, 0])) ** 2
        return 0.5 * jnp.sum((scores - y) ** 2, axis=1)
