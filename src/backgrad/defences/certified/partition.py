r"""Deep Partition Aggregation (Levine and Feizi, ICLR 2021): models of disjoint rows vote, and votes can be counted.

Each training row goes to one of k partitions by a hash of its features. A base model is trained on every partition,
and the class of most votes is predicted, ties going to the class that sorts first. A row that is inserted or deleted
changes one partition and so one vote at most, which takes one vote from the predicted class c and gives one to
another. With n_c votes for class c, no r insertions and deletions change the prediction (their theorem 1) as long as

    r ≤ ρ(x) = ⌊(n_c − max_{c' ≠ c} (n_{c'} + [c' < c])) / 2⌋.

A row whose features are edited is one deletion and one insertion, so it counts two. The hash leaves the label out, so a
row whose label alone is changed stays in its partition and counts one. (The paper's own hash is of this kind, and its
theorem holds for any.)

What the certificate rests on, and what this module sees to:

- The partition of a row, and the training on a partition, depend on no other row. So the hash is of content and not
  of position; rows of a partition are sorted before training; every model gets the same random state, and its own
  labels and not codes that the whole data set would give them.
- A partition of one class votes for it, whatever x; one without rows casts no vote. Both can change one vote only.
- Scaling, imputing or choosing features on all rows *before* this classifier would let one row move every partition.
  Such steps belong inside `estimator`, as a pipeline.
- A class that no clean row has may be inserted. It counts as a rival without votes that wins ties, unless `classes`
  says which classes there are, and others are refused.
- Training must end the same way on the same rows: same machine, same number of threads, no random numbers but those
  of a `random_state`. Training that fails on a partition raises; that is not covered.

Each vote needs enough rows: k trades accuracy for radius, which cannot exceed k/2. Time is that of k models of n/k
rows.
"""

import hashlib
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...checks import check_count
from ...errors import InputError
from ...learners.seeding import seeded
from .common import certified_shares, encode, named_classes

_CHUNK = 1024
# Fewer rows teach a base model nothing, more leave too few votes.
_ROWS_OF_A_PARTITION = 10


def usual_partitions(n: int) -> int:
    """Return how many partitions suit n rows, where nobody says."""
    return max(n // _ROWS_OF_A_PARTITION, 2)


def takes_missing(estimator: Any) -> bool:
    """Tell whether an estimator takes NaN for a missing value, by itself or by an imputer that it begins with."""
    if isinstance(estimator, Pipeline) and isinstance(estimator.steps[0][1], SimpleImputer):
        return True
    try:
        return bool(get_tags(estimator).input_tags.allow_nan)
    except (AttributeError, TypeError):  # no scikit-learn estimator in the strict sense
        return False


def hash_rows(X: Any) -> np.ndarray:
    """Return 128 bits of each row's content, the same wherever the row stands and whatever stands beside it.

    Args:
        X: features, (n, d), dense or sparse. They are hashed as float64, −0 as 0, and all NaNs alike.

    Returns:
        BLAKE2b digests as two unsigned numbers a row, (n, 2).
    """
    digests = []
    for start in range(0, X.shape[0], _CHUNK):
        block = X[start : start + _CHUNK]
        block = block.toarray() if sparse.issparse(block) else block
        block = np.array(block, dtype="<f8") + 0.0
        block[np.isnan(block)] = np.nan
        digests += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in block]
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


class DeepPartitionAggregation(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Base classifiers of disjoint partitions vote; each prediction withstands a known number of rows.

    Args:
        estimator: the base classifier, with any preprocessing inside it; None for scikit-learn's LogisticRegression.
        n_partitions: k.
        classes: all classes there can be, two or more; None for those of the rows given to `fit`.
        random_state: what every open `random_state` of the base classifier is set to, a whole number.
        n_jobs: base models to train at once, as in joblib.

    Attributes:
        classes_: the classes, sorted, (K,).
        estimators_: the k base models; None for a partition without rows.
        partitions_: the partition of each row given to `fit`, (n,).
        n_features_in_: d.

    Raises:
        InputError: settings out of range, labels outside `classes`, or a partition too small for the base classifier.
    """

    classes_: np.ndarray
    estimators_: list[Any]
    partitions_: np.ndarray

    def __init__(
        self,
        estimator: Any = None,
        n_partitions: Any = 50,
        *,
        classes: Any = None,
        random_state: Any = 0,
        n_jobs: Any = None,
    ):
        self.estimator = estimator
        self.n_partitions = n_partitions
        self.classes = classes
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> "DeepPartitionAggregation":
        """Train a base model on every partition.

        Args:
            X: features, (n, d), numbers.
            y: labels, (n,).

        Returns:
            The fitted classifier itself.
        """
        check_count(n_partitions=self.n_partitions)
        check_count(least=0, random_state=self.random_state)
        X, y = validate_data(self, X, y, **self._reading())
        check_classification_targets(y)
        self.classes_ = np.unique(y) if self.classes is None else named_classes(self.classes)
        codes = encode(y, self.classes_)
        digests = hash_rows(X)
        self.partitions_ = (digests[:, 0] % np.uint64(self.n_partitions)).astype(int)
        # Rows that agree in all three keys are equal, so the order in which they came is gone.
        order = np.lexsort((codes, digests[:, 1], digests[:, 0]))
        members = [order[self.partitions_[order] == one] for one in range(self.n_partitions)]
        base = seeded(LogisticRegression() if self.estimator is None else self.estimator, self.random_state)
        models = Parallel(n_jobs=self.n_jobs)(delayed(_train)(base, X[rows], y[rows]) for rows in members)
        self.estimators_ = list(models)
        return self

    def votes(self, X: Any) -> np.ndarray:
        """Return the votes for each class, (n, K), in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **self._reading())
        counts, rows = np.zeros((X.shape[0], self.classes_.size), int), np.arange(X.shape[0])
        for model in self.estimators_:
            if model is not None:
                counts[rows, np.searchsorted(self.classes_, model.predict(X))] += 1
        return counts

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of most votes, of several the first, (n,)."""
        winners = self.votes(X).argmax(axis=1)
        return self.classes_[winners]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the shares of the votes that were cast, (n, K)."""
        counts = self.votes(X)
        return counts / counts.sum(axis=1, keepdims=True)

    def certified_radius(self, X: Any) -> np.ndarray:
        """Return how many rows may be inserted or deleted, in any mixture, without changing each prediction, (n,)."""
        return vote_radius(self.votes(X), new_class=self.classes is None)

    def certified_accuracy(self, X: Any, y: Any, budgets: Any) -> np.ndarray:
        """Return a lower bound on the accuracy after any attack of each budget.

        Args:
            X: features of test rows, (n, d).
            y: their labels, (n,).
            budgets: numbers of rows inserted or deleted, (b,).

        Returns:
            The share of rows that are predicted right and certified at least that far, (b,).
        """
        counts = self.votes(X)
        radii = vote_radius(counts, new_class=self.classes is None)
        return certified_shares(self.classes_[counts.argmax(axis=1)], y, radii, budgets)

    def _reading(self) -> dict[str, Any]:
        tags = get_tags(self).input_tags
        finite = "allow-nan" if tags.allow_nan else True
        return {"dtype": np.float64, "accept_sparse": "csr" if tags.sparse else False, "ensure_all_finite": finite}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        base = LogisticRegression() if self.estimator is None else self.estimator
        tags.input_tags.sparse, tags.input_tags.allow_nan = get_tags(base).input_tags.sparse, takes_missing(base)
        return tags


class OrElse(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier, or another one where the first cannot be trained on the rows, or cannot predict them then.

    Some need more rows than a partition has, such as neighbours and whatever splits its rows again. Which of the two it
    is depends on the rows alone, so that certificates hold.

    Args:
        estimator: the first.
        other: the second.

    Attributes:
        classes_: the classes of the rows, sorted, (K,).
        estimator_: the one that was trained.
        is_other_: whether it is the second.
        n_features_in_: d.
    """

    classes_: np.ndarray
    estimator_: Any
    is_other_: bool

    def __init__(self, estimator: Any, other: Any):
        self.estimator = estimator
        self.other = other

    def fit(self, X: Any, y: Any) -> "OrElse":
        """Train one of them on rows, (n, d), with labels, (n,)."""
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        first, second = (clone(one) for one in (self.estimator, self.other))
        self.estimator_, self.is_other_ = first, False
        try:
            self.estimator_.fit(X, y).predict(X)
        except Exception:  # of whatever kind the estimator's author chose
            self.estimator_, self.is_other_ = second, True
            self.estimator_.fit(X, y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return labels, (n,)."""
        check_is_fitted(self)
        return self.estimator_.predict(X)


def vote_radius(votes: np.ndarray, *, new_class: bool) -> np.ndarray:
    """Return how many votes can change, one class to another each, before the first of the largest counts is another.

    Args:
        votes: for each class, (n, K).
        new_class: whether a class without votes may appear that wins ties.

    Returns:
        ρ of each row, (n,).
    """
    rows, winner = np.arange(len(votes)), votes.argmax(axis=1)
    rivals = votes + (np.arange(votes.shape[1]) < winner[:, None])
    rivals[rows, winner] = 0
    return (votes[rows, winner] - np.maximum(rivals.max(axis=1), int(new_class))) // 2


def _train(base: Any, X: Any, y: np.ndarray) -> Any:
    """Return a model of one partition, or None for no rows."""
    if y.size == 0:
        return None
    if np.unique(y).size == 1:
        return DummyClassifier(strategy="most_frequent").fit(X, y)
    model: Any = clone(base)
    try:
        return model.fit(X, y)
    except ValueError as error:
        raise InputError(
            f"{type(base).__name__} could not be trained on a partition of {y.size} rows ({error}): use fewer "
            "partitions, or a base classifier that needs fewer rows."
        ) from error
