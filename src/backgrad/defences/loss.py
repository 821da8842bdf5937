r"""Rows of large loss: a classifier is trained on the rows kept, and the rows that it fits worst are left out.

With ℓ_i(θ) the loss of row i under parameters θ, and q the share to leave out, `LossTrim` alternates

    θ ← the classifier trained on K,        K ← the n − ⌈q n⌉ rows of least ℓ_i(θ),

from K = all rows until K no longer changes. The first round alone (`max_iter=1`) is the loss defence of Koh,
Steinhardt and Liang (2022), who leave out a share of each class; here, as in Jagielski et al. (2018), one threshold
holds for all rows, since poison need not keep to the proportions of the classes. Started from all rows, the iteration
is that of Shen and Sanghavi (2019). `backgrad.defences.trim` starts from random subsets instead, as Jagielski et al.
do, and keeps the best end: it costs `n_init` times as much, and depends less on a first fit that poison has bent.

A round costs one training and one prediction of all rows. Where training minimises the sum of the losses, the sum over
K falls in every round, so that the iteration ends. The defence assumes that a model of mostly clean rows fits poison
badly; poison of small loss passes, and so do mislabelled rows that a flexible model learns by heart.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from ..checks import check_count, check_share
from ..errors import InputError, NumericalError
from ..learners.seeding import seeded
from ..threat.evasion import Evasion
from ..types import Added, Params, Samples
from .base import Sanitiser, cleaned_classes, most_suspicious

# --- alternating between a fit and a choice of rows -----------------------------------------------


class Rows(NamedTuple):
    """What there is to train on, and what training may leave out.

    Args:
        fit: the rows kept, (n,) truth values → a fitted estimator.
        losses: an estimator → the loss of every row, (n,).
        usable: tells whether rows kept are enough to train on.
        free: which rows may be left out, (n,).
    """

    fit: Callable[[np.ndarray], Any]
    losses: Callable[[Any], np.ndarray]
    usable: Callable[[np.ndarray], bool]
    free: np.ndarray


class Trimmed(NamedTuple):
    """Where the alternation ended.

    Args:
        estimator: the last one that was fitted.
        trained_on: the rows that it was fitted on, (n,).
        losses: of all rows under it, (n,).
        kept: the rows of least loss, (n,); `trained_on` where the alternation settled.
        n_iter: how many estimators were fitted.
        settled: whether the rows kept no longer changed.
        usable: whether an estimator can be trained on the rows kept.
    """

    estimator: Any
    trained_on: np.ndarray
    losses: np.ndarray
    kept: np.ndarray
    n_iter: int
    settled: bool
    usable: bool

    @property
    def objective(self) -> float:
        """The sum of the losses of the rows kept, infinite where they cannot be trained on."""
        return float(self.losses[self.kept].sum()) if self.usable else np.inf


def largest_losses(losses: np.ndarray, free: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Mark the share of the free rows of largest loss, whatever their class.

    Args:
        losses: of all rows, (n,).
        free: which rows may be left out, (n,).
        fraction: the share of them that is.

    Returns:
        The marks, (n,), and the largest loss that is let pass, (n,): infinite where a row cannot be left out.
    """
    marked, limits = np.zeros(len(losses), bool), np.full(len(losses), np.inf)
    marked[free], limits[free] = most_suspicious(losses[free], np.zeros(int(free.sum())), fraction)
    return marked, limits


def alternate(rows: Rows, kept: np.ndarray, *, fraction: float, max_iter: int) -> Trimmed:
    """Fit on the rows kept and keep the rows of least loss, until they are the same or `max_iter` fits were made.

    Args:
        rows: what there is.
        kept: the rows to start from, (n,).
        fraction: the share of the free rows to leave out.
        max_iter: the most fits.

    Raises:
        NumericalError: a loss that is no finite number.
    """
    step, settled, usable = 0, False, True
    estimator, trained_on, losses = None, kept, np.zeros(len(kept))
    while step < max_iter and usable and not settled:
        step += 1
        estimator, trained_on = rows.fit(kept), kept
        losses = np.asarray(rows.losses(estimator), float)
        if not np.isfinite(losses).all():
            raise NumericalError(
                f"{type(estimator).__name__} gave a row a loss that is no finite number: scale the features, or use "
                "another estimator."
            )
        kept = ~largest_losses(losses, rows.free, fraction)[0]
        settled, usable = bool((kept == trained_on).all()), rows.usable(kept)
    return Trimmed(estimator, trained_on, losses, kept, step, settled, usable)


# --- classifiers ----------------------------------------------------------------------------------


def fitted(estimator: Any, x: Any, y: np.ndarray) -> Any:
    """Return a copy of an estimator, fitted on rows."""
    copy: Any = clone(estimator)
    return copy.fit(x, y)


def log_losses(estimator: Any, x: Any, y: np.ndarray) -> np.ndarray:
    """Return −log P(y_i | x_i) of every row under a fitted classifier.

    Without `predict_proba`, scores count as log-odds: log Σ_c exp(s_c − s_y), and of two classes log(1 + e^{∓s}), a
    smooth hinge of the margin.

    Args:
        estimator: a classifier fitted on rows of all classes.
        x: features, (n, d).
        y: labels 0..k−1 in the order of the estimator's classes, (n,).

    Raises:
        InputError: a classifier with neither method, or with another number of scores than classes.
    """
    rows = np.arange(len(y))
    if hasattr(estimator, "predict_proba"):
        share = np.asarray(estimator.predict_proba(x), float)[rows, y]
        return -np.log(np.maximum(share, np.finfo(float).tiny))
    if not hasattr(estimator, "decision_function"):
        raise InputError(
            f"estimator must have predict_proba or decision_function, from which losses follow; "
            f"{type(estimator).__name__} has neither: wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    scores = np.asarray(estimator.decision_function(x), float)
    scores = np.column_stack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else scores
    k, settings = len(estimator.classes_), estimator.get_params() if hasattr(estimator, "get_params") else {}
    # Of three classes there are three pairs.
    pairs = k == 3 and any(isinstance(value, str) and value == "ovo" for value in settings.values())
    if scores.shape[1] != k or pairs:
        raise InputError(
            f"decision_function must give one score a class; {type(estimator).__name__} gives {scores.shape[1]} for "
            f"{'pairs of ' if pairs else ''}{k} classes: set decision_function_shape='ovr', or probability=True."
        )
    return logsumexp(scores, axis=1) - scores[rows, y]


def labelled_rows(estimator: Any, x: Any, y: np.ndarray, *, labels: Any, free: np.ndarray) -> Rows:
    """Return rows with labels, for `alternate`.

    Args:
        estimator: an unfitted classifier.
        x: features, (n, d).
        y: labels 0..k−1, (n,), each of which occurs.
        labels: what the classifier is given in their place, (n,).
        free: which rows may be left out, (n,).
    """
    k, labels = int(y.max()) + 1, np.asarray(labels)
    return Rows(
        lambda kept: fitted(estimator, x[kept], labels[kept]),
        lambda model: log_losses(model, x, y),
        lambda kept: np.unique(y[kept]).size == k,
        free,
    )


# --- the defence ----------------------------------------------------------------------------------


class Trimming(Sanitiser):
    """What `LossTrim` and `Trim` share: rows are left out by their loss, over all classes together."""

    measure = "loss under a classifier of the rows kept"

    n_iter_: int
    settled_: bool

    def __init__(self, *, fraction, estimator, max_iter, random_state, sampling_strategy):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.estimator = estimator
        self.max_iter = max_iter
        self.random_state = random_state

    @abc.abstractmethod
    def _trim(self, rows: Rows, y: np.ndarray, rng: np.random.Generator) -> Trimmed:
        """Choose the rows to keep."""

    def check_settings(self) -> None:
        """Check the share and the number of rounds."""
        super().check_settings()
        check_count(max_iter=self.max_iter)

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the loss of every row under the last classifier."""
        return self._trimmed(x, y, np.ones(len(y), bool)).losses

    def marks(self, suspicion: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mark the share of all rows of largest loss."""
        return largest_losses(suspicion, np.ones(len(y), bool), self.fraction)

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "LossEvasion":
        """Return the loss that these clean rows would let pass, under the attacker's model."""
        del added  # it is the model of the moment that tells the losses
        self.check_settings()
        free = cleaned_classes(self, y)[y]
        return LossEvasion(x[free], np.eye(max(int(y.max()) + 1, 2))[y[free]], self.fraction)

    def _trimmed(self, x: np.ndarray, y: np.ndarray, free: np.ndarray) -> Trimmed:
        rng = np.random.default_rng(self.random_state)
        estimator = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        return self._trim(labelled_rows(seeded(estimator, int(rng.integers(2**31))), x, y, labels=y, free=free), y, rng)

    def _fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, np.ndarray]:
        x, classes, codes = self._read(X, y, **params)
        free = np.isin(y, list(self.sampling_strategy_))
        trimmed = self._trimmed(x, codes, free)
        self.suspicion_, self.n_iter_, self.settled_ = trimmed.losses, trimmed.n_iter, trimmed.settled
        removed, self.thresholds_ = largest_losses(trimmed.losses, free, self.fraction)
        return self._without(X, y, removed, classes)


class LossTrim(Trimming):
    """Leave out the rows that a classifier of the other rows fits worst, beginning with a fit on all rows.

    Args:
        fraction: the share of all rows (of the classes to clean) to leave out; unlike that of other defences it is not
            a share of each class.
        estimator: any scikit-learn classifier with `predict_proba` or `decision_function`; `LogisticRegression` where
            omitted. It is given labels 0..k−1. Put a `StandardScaler` in front of one that minds the scale of features.
        max_iter: the most trainings; 1 for the loss defence of Koh, Steinhardt and Liang.
        random_state: a seed for a classifier that leaves its own open.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`, and
        n_iter_: how many classifiers were trained.
        settled_: whether the rows kept no longer changed.

    Raises:
        InputError: settings out of range, or a classifier that gives no losses.
        EmptyClassError: a class would lose all its rows.
    """

    def __init__(
        self,
        *,
        fraction: float = 0.1,
        estimator: Any = None,
        max_iter: int = 20,
        random_state: Any = 0,
        sampling_strategy: Any = "all",
    ):
        super().__init__(
            fraction=fraction,
            estimator=estimator,
            max_iter=max_iter,
            random_state=random_state,
            sampling_strategy=sampling_strategy,
        )

    def _trim(self, rows: Rows, y: np.ndarray, rng: np.random.Generator) -> Trimmed:
        del rng
        return alternate(rows, np.ones(len(y), bool), fraction=self.fraction, max_iter=self.max_iter)


class LossEvasion(Evasion):
    r"""Stay at losses that clean rows have too.

    With ℓ the learner's loss under its present parameters, and L the largest loss among the clean rows when the share
    `fraction` of largest loss is left out, the excess of a point is ℓ / L − 1. It is differentiable wherever ℓ is and
    no two clean rows tie for L. The defence itself trains without the rows it leaves out, and counts the points among
    all rows, which makes its limit a little lower: a margin allows for that.

    Args:
        x: features of the clean rows that may be left out, (n, d).
        y: their soft labels (or responses), (n, k).
        fraction: the share of rows that the defence leaves out.
    """

    x: Any
    y: Any
    fraction: float

    def __check_init__(self):
        check_share(fraction=self.fraction)

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return the loss over the largest one let pass, less 1."""
        x, y = (jnp.asarray(part, points.x.dtype) for part in (self.x, self.y))
        clean = jnp.sort(learner.row_losses(learner.scores(params, x), y))
        removed = min(int(np.ceil(self.fraction * len(self.x) - 1e-9)), len(self.x) - 1)
        # Of a hinge most clean rows may have no loss at all, so that any loss is too much.
        limit = jnp.maximum(clean[len(self.x) - 1 - removed], jnp.finfo(clean.dtype).eps)
        return learner.row_losses(learner.scores(params, points.x), points.y) / limit - 1

    def describe(self) -> dict[str, object]:
        """Return the share that is left out."""
        return {**super().describe(), "fraction": self.fraction}
