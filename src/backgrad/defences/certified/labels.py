r"""A ridge classifier whose predictions provably withstand changed labels.

Ridge on indicators of classes is linear in the training labels. With the features centred, X̄ = X − 1 x̄ᵀ,

    f_c(x) = Σ_i α_i(x) [y_i = c],    α(x) = 1/n + X̄ (X̄ᵀX̄ + λI)⁻¹ (x − x̄),

and α knows nothing of the labels. Rosenfeld, Winston, Ravikumar and Kolter (ICML 2020) smooth this classifier: every
label is changed at random with probability q, and the class predicted most often wins. `smoothing.py` derives their
bound and certificate. Both are deterministic; nothing is sampled.

For this to hold, λ must not depend on the labels: a λ chosen by cross-validation would let labels move α. Here it is
`l2` times the trace of X̄ᵀX̄, and `l2` is for the user to fix without looking at labels that may be poisoned.
So must be all preprocessing, which may use the features as it likes: they are not attacked. Supervised feature
selection breaks the certificate.

Two predictions could be meant. `predict` returns the class of the largest score, which is also that of the largest mean
score under noise, whatever q. The smoothed classifier's class is the same wherever the bound proves it, and else need
not be. `certified_flips` holds for both: it is the smaller of the smoothed classifier's certificate and of
`exact_flips`.

**`exact_flips` needs no smoothing.** As f is linear in the labels, each change of a label lowers f_c − f_{c'} by an
amount that depends on that row alone; sorting these gives the exact number of changes that `predict` withstands, and
the changes that do it. It is never below `certified_flips`, so for ridge it is the better certificate; `bound="exact"`
makes it the one that counts. The smoothed ones are here for comparison with the source.

The classes are taken to be known: labels change within `classes`. The features are taken to be clean, and no row is
inserted or deleted. Time is O(n d²) to fit and O(m n K) to certify m rows.
"""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...checks import check_count, check_positive
from ...errors import InputError
from .common import certified_shares, encode, named_classes
from .smoothing import flip_thresholds, log_failure

_BOUNDS = ("neyman-pearson", "kullback-leibler", "exact")
_CHUNK_ENTRIES = 2_000_000
_TIE = 1e-10


class SmoothedLabelsClassifier(ClassifierMixin, BaseEstimator):
    """Ridge on indicators of classes, with a certificate against changed labels.

    Args:
        q: probability that the smoothing changes a label, in (0, (K − 1)/K). The nearer to its end, the farther a
            certificate can reach and the fewer rows have any.
        l2: λ as a share of the trace of X̄ᵀX̄. More of it lowers the largest α_i, so that no label counts for much.
        bound: what `certified_flips` returns: `"neyman-pearson"`, the most that smoothing can certify;
            `"kullback-leibler"`, the paper's certificate; or `"exact"`, that of `predict` without smoothing.
        classes: all classes there can be, two or more; None for those of the rows given to `fit`.

    Attributes:
        classes_: the classes, sorted, (K,).
        influence_: X̄ (X̄ᵀX̄ + λI)⁻¹, (n, d).
        centre_: x̄, (d,).
        labels_: training labels as positions in `classes_`, (n,).
        n_features_in_: d.

    Raises:
        InputError: settings out of range, fewer than two classes, or labels outside `classes`.
    """

    classes_: np.ndarray
    influence_: np.ndarray
    centre_: np.ndarray
    labels_: np.ndarray
    #: What the budgets of its certificate count.
    budget_unit = "changed labels"

    def __init__(self, q: Any = 0.1, l2: Any = 0.01, *, bound: Any = "neyman-pearson", classes: Any = None):
        self.q = q
        self.l2 = l2
        self.bound = bound
        self.classes = classes

    def fit(self, X: Any, y: Any) -> "SmoothedLabelsClassifier":
        """Solve for what each training label contributes to a score.

        Args:
            X: features, (n, d).
            y: labels, (n,).

        Returns:
            The fitted classifier itself.
        """
        check_positive(l2=self.l2)
        if self.bound not in _BOUNDS:
            raise InputError(f"bound must be one of {', '.join(map(repr, _BOUNDS))}; got {self.bound!r}.")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_ = np.unique(y) if self.classes is None else named_classes(self.classes)
        k = self.classes_.size
        if k < 2:
            raise InputError(
                f"a classifier needs rows of at least 2 classes; all are of one class, {self.classes_[0]}."
            )
        if not 0 < self.q < (k - 1) / k:
            raise InputError(f"q must lie between 0 and {(k - 1) / k:.3g} for {k} classes; got {self.q}.")
        self.labels_ = encode(y, self.classes_)
        self.centre_ = X.mean(axis=0)
        self.influence_ = _influence(X - self.centre_, self.l2)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return f_1 − f_0 of two classes, (n,), or the scores f_c of more, (n, K)."""
        scores = self._scores(self._centred(X))
        return scores[:, 1] - scores[:, 0] if self.classes_.size == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the largest score, (n,)."""
        winners = self._scores(self._centred(X)).argmax(axis=1)
        return self.classes_[winners]

    def probability_bound(self, X: Any) -> np.ndarray:
        """Return a lower bound on the probability that noisy labels give each prediction, (n,)."""
        return -np.expm1(self._in_chunks(self._log_failure, X))

    def certified_flips(self, X: Any) -> np.ndarray:
        """Return how many changed labels provably leave each prediction as it is, with smoothing and without, (n,).

        It is −1 where not even the smoothed classifier's prediction for the labels as they are is proved. With
        `bound="exact"` it says nothing of the smoothed classifier.
        """
        if self.bound == "exact":
            return self.exact_flips(X)
        failure = self._in_chunks(self._log_failure, X)
        thresholds = flip_thresholds(
            self.labels_.size,
            q=self.q,
            n_classes=self.classes_.size,
            bound=self.bound,
            least=float(failure.min()),
        )
        smoothed = np.sum(failure[:, None] < thresholds, axis=1) - 1
        return np.minimum(smoothed, self.exact_flips(X))

    def exact_flips(self, X: Any) -> np.ndarray:
        """Return the largest number of changed labels that never changes what `predict` returns, (n,).

        It is −1 where two scores tie to within rounding.
        """
        return self._in_chunks(self._exact, X).astype(int)

    def worst_flips(self, X: Any, budget: int) -> np.ndarray:
        """Return the training labels, as positions in `classes_`, after the changes that hurt one prediction most.

        Args:
            X: features of one row, (1, d).
            budget: how many labels change at most.

        Returns:
            New labels, (n,).

        Raises:
            InputError: more rows than one, or a budget that is not a whole number, 0 or more.
        """
        check_count(least=0, budget=budget)
        if len(X) != 1:
            raise InputError(f"labels are changed against one prediction: X must have one row; got {len(X)}.")
        alpha, winners = self._influences(self._centred(X))
        scores = self._scores(self._centred(X))[0]
        damage = self._damage(alpha, int(winners[0]))[:, 0]
        gap = scores[winners[0]] - scores - np.sort(damage, axis=1)[:, ::-1][:, :budget].sum(axis=1)
        gap[winners[0]] = np.inf
        rival = int(gap.argmin())
        rows = np.argsort(-damage[rival], kind="stable")[:budget]
        rows = rows[damage[rival, rows] > 0]
        changed = self.labels_.copy()
        changed[rows] = np.where(alpha[0, rows] > 0, rival, winners[0])
        return changed

    def certified_accuracy(self, X: Any, y: Any, budgets: Any) -> np.ndarray:
        """Return a lower bound on the accuracy after any attack of each budget.

        Args:
            X: features of test rows, (n, d).
            y: their labels, (n,).
            budgets: numbers of changed labels, (b,).

        Returns:
            The share of rows that are predicted right and certified at least that far, (b,).
        """
        return certified_shares(self.predict(X), y, self.certified_flips(X), budgets)

    def _centred(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) - self.centre_

    def _scores(self, centred: np.ndarray) -> np.ndarray:
        hot = self.labels_[:, None] == np.arange(self.classes_.size)
        return hot.mean(axis=0) + centred @ (self.influence_.T @ hot)

    def _influences(self, centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return α of every row, (m, n), and the class predicted, 0..K−1, (m,)."""
        alpha = 1 / self.labels_.size + centred @ self.influence_.T
        return alpha, self._scores(centred).argmax(axis=1)

    def _in_chunks(self, function: Any, X: Any) -> np.ndarray:
        centred = self._centred(X)
        size = max(_CHUNK_ENTRIES // self.labels_.size, 1)
        return np.concatenate([function(centred[i : i + size]) for i in range(0, len(centred), size)])

    def _log_failure(self, centred: np.ndarray) -> np.ndarray:
        alpha, winners = self._influences(centred)
        return log_failure(alpha, self.labels_, winners, q=self.q, n_classes=self.classes_.size)

    def _damage(self, alpha: np.ndarray, winner: int) -> np.ndarray:
        """Return by how much f_winner − f_rival falls at most when one label changes, (K, m, n)."""
        k = self.classes_.size
        now = np.stack([(self.labels_ == winner) * 1.0 - (self.labels_ == rival) for rival in range(k)])
        # A positive α hurts most as the rival's, a negative one as the winner's.
        return np.where(alpha > 0, alpha * (now[:, None] + 1), -alpha * (1 - now[:, None]))

    def _exact(self, centred: np.ndarray) -> np.ndarray:
        alpha, winners = self._influences(centred)
        scores, found = self._scores(centred), np.full(len(alpha), self.labels_.size)
        for winner in np.unique(winners):
            rows = np.flatnonzero(winners == winner)
            for rival, damage in enumerate(self._damage(alpha[rows], int(winner))):
                if rival == winner:
                    continue
                lost = np.cumsum(-np.sort(-damage, axis=1), axis=1)
                margin = scores[rows, winner] - scores[rows, rival] - _TIE
                safe = np.sum(lost < margin[:, None], axis=1) - (margin <= 0)
                found[rows] = np.minimum(found[rows], safe)
        return found


def _influence(X: np.ndarray, l2: float) -> np.ndarray:
    """Return X̄ (X̄ᵀX̄ + λI)⁻¹, by way of the smaller of the two Gram matrices, (n, d)."""
    n, d = X.shape
    strength = l2 * float(np.sum(X**2))
    if strength == 0:
        return np.zeros_like(X)
    if d <= n:
        return np.linalg.solve(X.T @ X + strength * np.eye(d), X.T).T
    return np.linalg.solve(X @ X.T + strength * np.eye(n), X)
