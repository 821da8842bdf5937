r"""Preprocessing that is refitted on the poisoned rows, and differentiated through.

A victim that scales its features learns the scales from its training rows, so poisoning points move them too. With φ
the state of the preprocessing and g the transformation,

    φ = fit(x, y, ω),    w = train(g(φ, x), y, ω),    s(x') = s(w, g(φ, x')),

and since fit and g lie outside the inner training, every adjoint's gradient counts the refit, exactly. `train` does
all this by itself where the learner is `Preprocessed`. A row of weight 0 is absent here as everywhere.

Preprocessing composes: in `Standardised(MinMaxScaled(learner))` rows are standardised first, and what comes out is
scaled to [0, 1]. All rows are moved by every point, so gradients cost a pass over all of them.
"""

import abc
import math
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..checks import check_count, check_not_negative, is_number, native
from ..devices import join
from ..errors import InputError
from ..row_checks import check_learner
from ..types import Params, Samples
from .base import Learner


class PreprocessedParams(NamedTuple):
    """What training a `Preprocessed` learner gives: the state of the preprocessing, and the learner's parameters."""

    state: Any
    params: Params


class Scaling(NamedTuple):
    """x ↦ (x − shift) / scale, column by column."""

    shift: Float[Array, "..."]
    scale: Float[Array, "..."]


class Preprocessed(Learner):
    """A learner behind preprocessing that is fitted on its training rows. Subclasses say which.

    Args:
        learner: what is trained on the transformed rows; a `Learner`, or anything with its three methods.
    """

    learner: Any

    def __check_init__(self):
        check_learner(self.learner)

    @abc.abstractmethod
    def fit(self, blocks: tuple[Samples, ...]) -> Any:
        """Return the state of the preprocessing, fitted on the rows of all blocks together."""

    @abc.abstractmethod
    def transform(self, state: Any, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return the features as the learner sees them."""

    @abc.abstractmethod
    def identity(self) -> Any:
        """Return the state that changes nothing, as a place-holder before the first fit."""

    def fit_preprocessing(self, blocks: tuple[Samples, ...]) -> tuple[Any, tuple[Samples, ...]]:
        """Return the fitted state, and the blocks as the learner sees them; `train` looks for this method."""
        state = self.fit(blocks)
        return state, self._transformed(state, blocks)

    def inner_params(self, params: Any) -> Any:
        """Return the learner's own parameters, whether or not they come with a state."""
        return params.params if isinstance(params, PreprocessedParams) else params

    def join(self, state: Any, params: Any) -> PreprocessedParams:
        """Return the learner's parameters with the state of the preprocessing."""
        return PreprocessedParams(state, params)

    def init(self, key: PRNGKeyArray) -> PreprocessedParams:
        """Return initial parameters of the learner, beside a state that changes nothing."""
        return PreprocessedParams(self.identity(), self.learner.init(key))

    def scores(self, params: PreprocessedParams, x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """Return the learner's scores of transformed rows."""
        return self.learner.scores(params.params, self.transform(params.state, x))

    def loss(self, params: PreprocessedParams, samples: Samples) -> Float[Array, ""]:
        """Return the learner's loss of rows transformed by the state in `params`; nothing is refitted."""
        return self.learner.loss(params.params, *self._transformed(params.state, (samples,)))

    def loss_over(self, params: PreprocessedParams, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the learner's loss of several blocks together, as `loss` does of one."""
        return self.loss(params, join(blocks))

    def row_losses(self, scores: Float[Array, "..."], y: Float[Array, "n k"]) -> Float[Array, "n"]:
        """Return the learner's loss of every row, given its scores."""
        return self.learner.row_losses(scores, y)

    def penalised(self, params: PreprocessedParams) -> Any:
        """Return the parameters that the learner's L2 term counts."""
        return self.learner.penalised(params.params)

    @property
    def strength(self) -> Any:
        """The learner's λ."""
        return self.learner.strength

    @property
    def n_outputs(self) -> int:
        """The columns of the soft labels that the learner trains on."""
        return self.learner.n_outputs

    @property
    def n_features(self) -> int | None:
        """The learner's d, or None where it does not tell."""
        return getattr(self.learner, "n_features", None)

    @property
    def probabilistic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the learner's scores give probabilities."""
        return getattr(self.learner, "probabilistic", False)

    @property
    def regression(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the learner's scores are responses."""
        return getattr(self.learner, "regression", False)

    def transform_rows(self, state: Any, block: Samples) -> Samples:
        """Return training rows as the learner sees them: their features transformed, unless a subclass does more."""
        return block._replace(x=self.transform(state, block.x))

    def _transformed(self, state: Any, blocks: tuple[Samples, ...]) -> tuple[Samples, ...]:
        return tuple(self.transform_rows(state, block) for block in blocks)

    def _columns(self) -> tuple[int, ...]:
        return () if self.n_features is None else (self.n_features,)


def _mean_and_variance(rows: Samples) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    """Return weighted mean and variance (with ddof 0) of every column, the latter 0 where it is round-off alone."""
    share = (rows.weight / jnp.sum(rows.weight))[:, None]
    mean = jnp.sum(share * rows.x, axis=0)
    # A second pass takes the error of a long sum out of the mean, so that what a constant column leaves of variance is
    # a few units in the last place, in float32 too; scikit-learn, which sums in float64, allows n of them.
    mean = mean + jnp.sum(share * (rows.x - mean), axis=0)
    variance = jnp.sum(share * (rows.x - mean) ** 2, axis=0)
    return mean, jnp.where(variance <= (8 * jnp.finfo(rows.x.dtype).eps * mean) ** 2, 0.0, variance)


def _nonzero(scale: Float[Array, "d"]) -> Float[Array, "d"]:
    """Return 1 in place of scales that are round-off, as scikit-learn does."""
    return jnp.where(scale < 10 * jnp.finfo(scale.dtype).eps, 1.0, scale)


class Scaled(Preprocessed):
    """A learner behind a scaling of every column."""

    def identity(self) -> Scaling:
        """Return a shift of 0 and a scale of 1."""
        return Scaling(jnp.zeros(self._columns()), jnp.ones(self._columns()))

    def transform(self, state: Scaling, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return (x − shift) / scale."""
        return (x - state.shift) / state.scale


class Standardised(Scaled):
    """Subtract the mean and divide by the standard deviation (with ddof 0) of every column, counting weights.

    The deviation of a column that is constant up to round-off counts as 1, as in scikit-learn's StandardScaler; the
    gradient takes it for constant, though a point that leaves the constant would make it a small deviation.

    Args:
        learner: what is trained on the standardised rows.
        with_mean: whether to subtract the mean.
        with_std: whether to divide by the standard deviation.
    """

    with_mean: bool = eqx.field(default=True, static=True)
    with_std: bool = eqx.field(default=True, static=True)

    def fit(self, blocks: tuple[Samples, ...]) -> Scaling:
        """Return the mean and the standard deviation of every column."""
        mean, variance = _mean_and_variance(join(blocks))
        # The inner `where` keeps the root's infinite slope at 0 out of the gradient.
        deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
        return Scaling(
            mean if self.with_mean else jnp.zeros_like(mean), deviation if self.with_std else jnp.ones_like(mean)
        )


class MinMaxScaled(Scaled):
    """Map the least and largest value of every column to the ends of a range; a column's range of 0 counts as 1.

    Rows of weight 0 do not count; otherwise weights do not matter. The extremes have a gradient in the rows that attain
    them, in equal parts where several do.

    Args:
        learner: what is trained on the scaled rows.
        feature_range: where the columns go.

    Raises:
        InputError: a range whose end is not above its start.
    """

    feature_range: tuple[float, float] = eqx.field(default=(0.0, 1.0), static=True, converter=native)

    def __check_init__(self):
        ends = self.feature_range
        numbers = isinstance(ends, tuple) and len(ends) == 2 and all(is_number(end) for end in ends)
        if not (numbers and -math.inf < ends[0] < ends[1] < math.inf):
            raise InputError(f"feature_range must be (low, high) with low < high, both finite; got {ends!r}.")

    def fit(self, blocks: tuple[Samples, ...]) -> Scaling:
        """Return the shift and scale that take [min, max] to the feature range."""
        rows = join(blocks)
        present = rows.weight[:, None] > 0
        least = jnp.min(jnp.where(present, rows.x, jnp.inf), axis=0)
        largest = jnp.max(jnp.where(present, rows.x, -jnp.inf), axis=0)
        low, high = self.feature_range
        scale = _nonzero(largest - least) / (high - low)
        return Scaling(least - low * scale, scale)


class MaxAbsScaled(Scaled):
    """Divide every column by its largest absolute value; 0 counts as 1, and rows of weight 0 do not count."""

    def fit(self, blocks: tuple[Samples, ...]) -> Scaling:
        """Return the largest absolute value of every column."""
        rows = join(blocks)
        largest = jnp.max(jnp.where(rows.weight[:, None] > 0, jnp.abs(rows.x), 0.0), axis=0)
        return Scaling(jnp.zeros_like(largest), _nonzero(largest))


class Masked(Preprocessed):
    """A learner that sees chosen columns only; the others are multiplied by 0, so that shapes stay the same.

    The choice is made anew on the poisoned rows and carries no gradient: an attacker's gradient sees what a point
    does to the learner at the present choice, and not that a point might change it.
    """

    def identity(self) -> Float[Array, "..."]:
        """Return a mask of ones."""
        return jnp.ones(self._columns())

    def transform(self, state: Float[Array, "..."], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return the features, unselected ones as 0."""
        return x * state

    @abc.abstractmethod
    def chosen(self, rows: Samples) -> Bool[Array, "d"]:
        """Tell which columns to keep."""

    def fit(self, blocks: tuple[Samples, ...]) -> Float[Array, "d"]:
        """Return 1 for columns that are kept, and 0 for others."""
        rows = jax.lax.stop_gradient(join(blocks))
        return jnp.asarray(self.chosen(rows), rows.x.dtype)


def anova_scores(rows: Samples) -> Float[Array, "d"]:
    """Return the variance between classes over that within them: scikit-learn's f_classif up to a constant factor.

    Soft labels share a row out among classes. Constant columns come last, those that separate the classes without
    any spread first.
    """
    mass = rows.weight[:, None] * rows.y
    count = jnp.sum(mass, axis=0)[:, None]
    means = mass.T @ rows.x / jnp.where(count > 0, count, 1.0)
    mean, variance = _mean_and_variance(rows)
    between = jnp.sum(count * (means - mean) ** 2, axis=0)
    spread = jax.lax.map(lambda c: mass[:, c] @ (rows.x - means[c]) ** 2, jnp.arange(rows.y.shape[1]))
    within = jnp.sum(spread, axis=0)
    ratio = jnp.where(within > 0, between / jnp.where(within > 0, within, 1.0), jnp.inf)
    return jnp.where(variance > 0, ratio, -jnp.inf)


class Selected(Masked):
    """Keep the columns of the best scores, chosen anew on the poisoned rows. See `Masked` for the gradient.

    Args:
        learner: what is trained on the selected columns.
        n_selected: how many columns to keep; of equal scores the later column is, as in scikit-learn's SelectKBest.
        score: `"anova"` (the F statistic of f_classif) or `"variance"`.

    Raises:
        InputError: an unknown score, or n_selected that is not a positive whole number.
    """

    n_selected: int = eqx.field(static=True, converter=native)
    score: Literal["anova", "variance"] = eqx.field(default="anova", static=True)

    def __check_init__(self):
        check_count(n_selected=self.n_selected)
        if self.score not in ("anova", "variance"):
            raise InputError(f"score must be 'anova' or 'variance'; got {self.score!r}.")

    def chosen(self, rows: Samples) -> Bool[Array, "d"]:
        """Tell which columns are among the best."""
        scores = anova_scores(rows) if self.score == "anova" else _mean_and_variance(rows)[1]
        best = jnp.argsort(scores, stable=True)[-self.n_selected :]
        return jnp.zeros(scores.shape, bool).at[best].set(True)


class VarianceSelected(Masked):
    """Keep the columns whose variance passes a threshold, as scikit-learn's VarianceThreshold does.

    Args:
        learner: what is trained on the selected columns.
        threshold: columns of at most this variance are dropped; constant ones always are.
    """

    threshold: float = eqx.field(default=0.0, static=True, converter=native)

    def __check_init__(self):
        check_not_negative(threshold=self.threshold)

    def chosen(self, rows: Samples) -> Bool[Array, "d"]:
        """Tell which columns vary enough."""
        return _mean_and_variance(rows)[1] > self.threshold
