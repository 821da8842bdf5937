r"""TRIM: fit a model and, at the same time, choose the rows it is fitted on (Jagielski et al. 2018).

Of N rows a share q is assumed to be poison. TRIM looks for parameters and rows together,

    min_{θ, I} Σ_{i∈I} ℓ_i(θ) (+ the estimator's regularisation)    with |I| = N − ⌈q N⌉,

by their algorithm: from a random I, fit θ on I, take for I the rows of least loss under θ, and so on until I stays the
same. Neither half can raise the sum, so it ends, in a local minimum: hence `n_init` random starts, of which the end of
least Σ_{i∈I} ℓ_i counts. The losses are squared errors (theirs) or log-losses (the counterpart for classifiers).

`TrimRegressor` and `TrimClassifier` are the algorithm as scikit-learn estimators; `Trim` is a sampler that keeps the
rows which the classifier keeps. `backgrad.defences.loss.LossTrim` runs the same alternation once, from all rows. Time:
`n_init` · `n_iter_` fits.

A random start of N − ⌈q N⌉ rows, the source's, holds its share of the poison, and where that is large and placed with
care, most starts end with it. Of few rows (`start_size`, one more than features), as in least trimmed squares
(Rousseeuw and Van Driessen 2006), some of many starts hold none: see `benchmarks/defences/trim.py`.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..checks import check_count, check_random, check_share
from ..errors import InputError
from ..learners.seeding import seeded
from .base import require_all_classes
from .loss import Rows, Trimmed, Trimming, alternate, fitted, labelled_rows


def best_of_starts(
    rows: Rows,
    y: np.ndarray,
    *,
    fraction: float,
    max_iter: int,
    n_init: int,
    start_size: int | None,
    rng: np.random.Generator,
) -> Trimmed:
    """Alternate from several random starts, and return the end of the least trimmed loss.

    Args:
        rows: what there is.
        y: labels of which each start holds a row, (n,); all alike for a regression.
        fraction: the share of the free rows to leave out.
        max_iter: the most fits from one start.
        n_init: starts.
        start_size: how many of the free rows a start holds, at least one of each class; as many as are kept where None.
        rng: draws them.

    Returns:
        The best end. Where every start loses a class, the first end, which is not usable.
    """
    free = int(rows.free.sum())
    left_out = int(np.ceil(fraction * free - 1e-9)) if start_size is None else free - start_size
    ends = []
    for _ in range(n_init):
        start = _random_start(rows.free, y, left_out, rng)
        ends.append(alternate(rows, start, fraction=fraction, max_iter=max_iter))
    return min(ends, key=lambda end: end.objective)


def _check_starts(n_init: int, start_size: int | None) -> None:
    check_count(n_init=n_init)
    if start_size is not None:
        check_count(start_size=start_size)


def _random_start(free: np.ndarray, y: np.ndarray, left_out: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the rows to start from, (n,): all that must stay, one of each class, and others up to their number."""
    order = rng.permutation(len(y))
    first = np.zeros(len(y), bool)
    first[order[np.unique(y[order], return_index=True)[1]]] = True
    candidates = order[free[order] & ~first[order]]
    start = np.ones(len(y), bool)
    start[candidates[: max(left_out, 0)]] = False
    return start


# --- scikit-learn estimators ----------------------------------------------------------------------


def _delegates(name: str):
    """Return a check that the estimator inside has a method; the default ones are looked at too."""

    def check(self) -> bool:
        getattr(getattr(self, "estimator_", self._estimator()), name)
        return True

    return check


class _TrimEstimator(MetaEstimatorMixin, BaseEstimator):
    """What classifier and regressor share."""

    estimator_: Any
    kept_indices_: np.ndarray
    n_iter_: int
    trimmed_loss_: float
    n_features_in_: int

    def __init__(
        self,
        estimator: Any = None,
        *,
        fraction: Any = 0.1,
        max_iter: Any = 100,
        n_init: Any = 20,
        start_size: Any = None,
        random_state: Any = 0,
    ):
        # scikit-learn wants settings taken as they come, and looked at when they are used.
        self.estimator = estimator
        self.fraction = fraction
        self.max_iter = max_iter
        self.n_init = n_init
        self.start_size = start_size
        self.random_state = random_state

    def _estimator(self) -> Any:
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """Return what the estimator predicts for rows, (n, d)."""
        return self._delegate("predict", X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._estimator())
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.target_tags.multi_output = tags.target_tags.multi_output or inner.target_tags.multi_output
        return tags

    def _delegate(self, name: str, X: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.estimator_, name)(validate_data(self, X, reset=False, accept_sparse="csr"))

    def _seeded(self) -> tuple[Any, np.random.Generator]:
        check_share(fraction=self.fraction)
        check_count(max_iter=self.max_iter)
        _check_starts(self.n_init, self.start_size)
        check_random(self.random_state)
        rng = np.random.default_rng(self.random_state)
        return seeded(self._estimator(), int(rng.integers(2**31))), rng

    def _fit(self, rows: Rows, y: np.ndarray, rng: np.random.Generator) -> Trimmed:
        """Run TRIM and note where it ended."""
        settings = {name: getattr(self, name) for name in ("fraction", "max_iter", "n_init", "start_size")}
        best = best_of_starts(rows, y, rng=rng, **settings)
        self.estimator_, self.n_iter_ = best.estimator, best.n_iter
        self.kept_indices_ = np.flatnonzero(best.trained_on)
        self.trimmed_loss_ = float(best.losses[best.trained_on].sum())
        return best

    def _warn(self, best: Trimmed) -> None:
        if not best.settled:
            warnings.warn(
                f"the rows that {type(self).__name__} keeps still changed after {best.n_iter} fits: raise max_iter.",
                ConvergenceWarning,
                stacklevel=3,
            )


class TrimRegressor(RegressorMixin, _TrimEstimator):
    """A regressor fitted on the rows of least squared error, chosen together with the fit.

    Args:
        estimator: any scikit-learn regressor; `Ridge` where omitted. Its regularisation, if any, counts in its fits and
            not in the choice among starts.
        fraction: the share of the rows that is assumed to be poison, in [0, 1); ⌈fraction · N⌉ rows are left out.
        max_iter: the most fits from one start.
        n_init: random starts.
        start_size: how many rows a start holds; where omitted, as many as are kept, as in the source.
        random_state: their seed, and that of an estimator which leaves its own open.

    Attributes:
        estimator_: fitted on the rows kept.
        kept_indices_: of the rows that it was fitted on, ascending.
        n_iter_: fits from the best start.
        trimmed_loss_: the sum of squared errors of the rows kept.
        n_features_in_: d.
    """

    def _estimator(self) -> Any:
        return Ridge() if self.estimator is None else self.estimator

    def fit(self, X: Any, y: Any) -> "TrimRegressor":
        """Fit on rows with responses.

        Args:
            X: features, (n, d).
            y: responses, (n,) or (n, k).

        Returns:
            The fitted estimator itself.

        Raises:
            InputError: settings out of range.
        """
        several = get_tags(self).target_tags.multi_output
        X, y = validate_data(self, X, y, accept_sparse="csr", multi_output=several, y_numeric=True)
        estimator, rng = self._seeded()
        rows = Rows(
            lambda kept: fitted(estimator, X[kept], y[kept]),
            lambda model: ((np.reshape(model.predict(X), (len(y), -1)) - y.reshape(len(y), -1)) ** 2).sum(axis=1),
            lambda kept: bool(kept.any()),
            np.ones(len(y), bool),
        )
        self._warn(self._fit(rows, np.zeros(len(y), int), rng))
        return self


class TrimClassifier(ClassifierMixin, _TrimEstimator):
    """A classifier fitted on the rows of least log-loss, chosen together with the fit, over all classes together.

    Args:
        estimator: any scikit-learn classifier with `predict_proba` or `decision_function`; `LogisticRegression` where
            omitted. Its regularisation, if any, counts in its fits and not in the choice among starts.
        fraction: the share of the rows that is assumed to be poison, in [0, 1); ⌈fraction · N⌉ rows are left out.
        max_iter: the most fits from one start.
        n_init: random starts, each with at least one row of every class.
        start_size: how many rows a start holds; where omitted, as many as are kept, as in the source.
        random_state: their seed, and that of an estimator which leaves its own open.

    Attributes:
        estimator_: fitted on the rows kept.
        kept_indices_: of the rows that it was fitted on, ascending.
        n_iter_: fits from the best start.
        trimmed_loss_: the sum of the losses of the rows kept.
        classes_: the classes, (k,), sorted.
        n_features_in_: d.

    `predict_proba` and `decision_function` exist where the estimator has them.
    """

    classes_: np.ndarray

    def _estimator(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator

    def fit(self, X: Any, y: Any) -> "TrimClassifier":
        """Fit on labelled rows.

        Args:
            X: features, (n, d).
            y: class labels, (n,).

        Returns:
            The fitted estimator itself.

        Raises:
            InputError: settings out of range, fewer than two classes, or an estimator that gives no losses.
            EmptyClassError: from every start a class would lose all its rows.
        """
        X, y = validate_data(self, X, y, accept_sparse="csr")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if self.classes_.size < 2:
            raise InputError(f"a classifier needs rows of at least two classes; got one class, {self.classes_[0]}.")
        estimator, rng = self._seeded()
        rows = labelled_rows(estimator, X, codes, labels=y, free=np.ones(len(y), bool))
        best = self._fit(rows, codes, rng)
        require_all_classes(y[best.kept], self.classes_)
        self._warn(best)
        return self

    @available_if(_delegates("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class, (n, k)."""
        return self._delegate("predict_proba", X)

    @available_if(_delegates("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the estimator's scores, (n,) or (n, k)."""
        return self._delegate("decision_function", X)


# --- the sampler ----------------------------------------------------------------------------------


class Trim(Trimming):
    """Keep the rows that TRIM keeps: the alternation of `LossTrim`, from random starts, of which the best end counts.

    Args:
        fraction: the share of all rows (of the classes to clean) to leave out, not of each class.
        estimator: as in `TrimClassifier`.
        max_iter: the most fits from one start.
        n_init: random starts.
        start_size: how many rows a start holds; where omitted, as many as are kept, as in the source.
        random_state: their seed, and that of an estimator which leaves its own open.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`, and
        n_iter_: fits from the best start.
        settled_: whether the rows kept no longer changed there.

    Raises:
        InputError: settings out of range, or a classifier that gives no losses.
        EmptyClassError: from every start a class would lose all its rows.
    """

    trains_often = True

    def __init__(
        self,
        *,
        fraction: float = 0.1,
        estimator: Any = None,
        max_iter: int = 100,
        n_init: int = 20,
        start_size: int | None = None,
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
        self.n_init = n_init
        self.start_size = start_size

    def check_settings(self) -> None:
        """Check the share and the numbers of rounds and starts."""
        super().check_settings()
        _check_starts(self.n_init, self.start_size)

    def _trim(self, rows: Rows, y: np.ndarray, rng: np.random.Generator) -> Trimmed:
        settings = {name: getattr(self, name) for name in ("fraction", "max_iter", "n_init", "start_size")}
        return best_of_starts(rows, y, rng=rng, **settings)
