"""Deep Partition Aggregation: the certificate against brute force, and scikit-learn's own checks."""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from backgrad.defences.certified import DeepPartitionAggregation
from backgrad.defences.certified import partition as module
from backgrad.defences.certified.partition import OrElse, hash_rows, vote_radius
from backgrad.errors import InputError


class Nearest(ClassifierMixin, BaseEstimator):
    """The label of the nearest row, a hundred times faster than scikit-learn's on a handful of rows."""

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return self

    def predict(self, X):
        return self.y_[((X[:, None] - self.X_) ** 2).sum(axis=2).argmin(axis=1)]


NEAREST = Nearest()


# Three partitions, so that the small problems of these checks leave each model enough rows.
@parametrize_with_checks([DeepPartitionAggregation(RidgeClassifier(), 3)])
def test_scikit_learn_accepts(estimator, check):
    check(estimator)


def problem(n=12, pool=5, seed=0, n_classes=3):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n + pool, 2)), rng.integers(0, n_classes, size=n + pool)
    x += 1.2 * np.stack([np.cos(2.1 * y), np.sin(2.1 * y)], axis=1)
    y[n:] = rng.integers(0, n_classes, size=pool)
    return (x[:n], y[:n]), (x[n:], y[n:]), rng.normal(scale=1.5, size=(60, 2))


def edits(clean, pool, size):
    """Yield every training set that deleting and inserting `size` rows makes, but not the empty one."""
    (x, y), (more, labels) = clean, pool
    for chosen in itertools.combinations(range(len(y) + len(labels)), size):
        out = [i for i in chosen if i < len(y)]
        new = [i - len(y) for i in chosen if i >= len(y)]
        if len(out) < len(y) or new:
            yield (
                np.concatenate([np.delete(x, out, axis=0), more[new]]),
                np.concatenate([np.delete(y, out), labels[new]]),
            )


def violations(make, clean, pool, queries, most=2):
    """Return how often a prediction changed within its radius, and whether one changed just beyond."""
    model = make().fit(*clean)
    before, radius = model.predict(queries), model.certified_radius(queries)
    within, beyond = 0, False
    for size in range(1, most + 1):
        for x, y in edits(clean, pool, size):
            changed = make().fit(x, y).predict(queries) != before
            within += int((changed & (size <= radius)).sum())
            beyond |= bool((changed & (size == radius + 1)).any())
    return within, beyond


def make(n_partitions=5, **settings):
    return DeepPartitionAggregation(NEAREST, n_partitions, **settings)


@pytest.mark.parametrize(("seed", "n_classes"), [(0, 3), (1, 2)])
def test_no_insertion_or_deletion_within_the_radius_changes_a_prediction_and_one_beyond_does(seed, n_classes):
    clean, pool, queries = problem(seed=seed, n_classes=n_classes)
    radius = make().fit(*clean).certified_radius(queries)
    assert {0, 1} <= set(radius.tolist())
    assert violations(make, clean, pool, queries) == (0, True)


def test_a_class_that_no_clean_row_has_is_a_rival_that_wins_ties():
    x, pool = np.arange(4.0)[:, None], np.arange(10.0, 22.0)[:, None]
    where = hash_rows(x)[:, 0] % np.uint64(4)
    rows = np.array([np.flatnonzero(where == one)[0] for one in np.unique(where)])
    clean = x[rows], np.full(len(rows), 7)
    queries = np.full((1, 1), 20.0)
    inserted = pool, np.full(len(pool), 3)  # 3 sorts before 7
    for k in (2, 4):
        model = make(k).fit(*clean)
        (radius,) = model.certified_radius(queries)
        assert radius == (model.votes(queries).sum() - 1) // 2
        assert violations(lambda k=k: make(k), clean, inserted, queries, most=2)[0] == 0


def test_named_classes_give_the_radius_back_that_the_unknown_class_costs():
    x, y = np.arange(60.0)[:, None], np.arange(60) // 30
    query = np.full((1, 1), 45.0)
    unknown, named = make(4).fit(x, y), make(4, classes=[0, 1]).fit(x, y)
    assert unknown.votes(query).tolist() == [[0, 4]]
    # With two classes the rival that wins ties is there already: 4 − (0 + 1) either way.
    assert unknown.certified_radius(query) == named.certified_radius(query) == [1]
    low = np.full((1, 1), 10.0)
    assert (unknown.certified_radius(low).tolist(), named.certified_radius(low).tolist()) == ([1], [2])


def by_position(X):
    """Hash rows by where they stand, as a broken defence might."""
    return np.stack([np.arange(X.shape[0], dtype=np.uint64)] * 2, axis=1)


def test_the_brute_force_catches_a_hash_of_positions(monkeypatch):
    monkeypatch.setattr(module, "hash_rows", by_position)
    assert violations(make, *problem(seed=1, n_classes=2), most=1)[0] > 0


def test_the_brute_force_catches_a_radius_that_forgets_how_ties_are_broken(monkeypatch):
    def forgetful(votes, *, new_class):
        del new_class
        ranked = np.sort(votes, axis=1)
        return (ranked[:, -1] - ranked[:, -2]) // 2

    monkeypatch.setattr(module, "vote_radius", forgetful)
    assert violations(lambda: make(4), *problem(seed=4, n_classes=2), most=1)[0] > 0


def test_the_brute_force_catches_scaling_by_all_rows():
    class Scaled(DeepPartitionAggregation):
        def fit(self, X, y):
            self.scaler_ = StandardScaler().fit(X)
            return super().fit(self.scaler_.transform(X), y)

        def votes(self, X):
            return super().votes(self.scaler_.transform(X))

    clean, (more, labels), queries = problem(seed=1, n_classes=2)
    pool = more * [50, 1], labels
    assert violations(lambda: Scaled(NEAREST, 5), clean, pool, queries, most=1)[0] > 0
    inside = make_pipeline(StandardScaler(), NEAREST)
    assert violations(lambda: DeepPartitionAggregation(inside, 5), clean, pool, queries, most=1)[0] == 0


@pytest.mark.parametrize(
    ("votes", "new_class", "radius"),
    [
        ([5, 3, 1], False, 1),  # after 1: 4 to 4, and the first wins
        ([3, 5, 1], False, 0),  # after 1: 4 to 4, and the first wins, which is another
        ([0, 9], False, 4),
        ([9, 0], False, 4),
        ([8, 0], False, 4),
        ([8, 0], True, 3),
        ([0, 0, 1], False, 0),
        ([2, 2], False, 0),
        ([7], True, 3),
    ],
)
def test_known_radii(votes, new_class, radius):
    assert vote_radius(np.array([votes]), new_class=new_class).tolist() == [radius]


@pytest.mark.parametrize("votes", list(itertools.product(range(5), repeat=3))[1:])
def test_the_radius_is_the_largest_number_of_moved_votes_that_is_safe(votes):
    winner, safe = int(np.argmax(votes)), 0
    while True:
        moved = [np.array(votes) for _ in range(3)]
        for rival, counts in enumerate(moved):
            counts[rival] += safe + 1
            counts[winner] -= safe + 1
        # More moves than the winner has votes cannot be; then one of the rivals has won long before.
        if any(int(np.argmax(counts)) != winner for rival, counts in enumerate(moved) if rival != winner):
            break
        safe += 1
    assert vote_radius(np.array([votes]), new_class=False).tolist() == [safe]


@pytest.mark.parametrize("base", [DecisionTreeClassifier(max_features=1), LogisticRegression()])
def test_the_order_of_rows_does_not_matter_to_the_last_bit(base):
    x, y = make_classification(80, 5, random_state=0)
    x = np.concatenate([x, x[:6]])  # the same features with both labels
    y = np.concatenate([y, 1 - y[:6]])
    model, shuffle = DeepPartitionAggregation(base, 6).fit(x, y), np.random.default_rng(1).permutation(len(y))
    other = DeepPartitionAggregation(base, 6).fit(x[shuffle], y[shuffle])
    assert np.array_equal(model.votes(x), other.votes(x))
    assert np.array_equal(model.partitions_[shuffle], other.partitions_)
    if isinstance(base, LogisticRegression):
        pairs = zip(model.estimators_, other.estimators_, strict=True)
        assert all(np.array_equal(a.coef_, b.coef_) for a, b in pairs)


def test_a_changed_label_stays_in_its_partition():
    (x, y), _, _ = problem()
    assert np.array_equal(make().fit(x, y).partitions_, make().fit(x, 2 - y).partitions_)


def test_the_hash_is_of_content_alone():
    x = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [np.nan, 2.0], [np.float64("-nan"), 2.0]])
    digests = hash_rows(x)
    assert np.array_equal(digests[0], digests[1])
    assert np.array_equal(digests[3], digests[4])
    assert len(np.unique(digests, axis=0)) == 3
    assert np.array_equal(hash_rows(x[2:3])[0], digests[2])
    assert np.array_equal(hash_rows(sparse.csr_matrix(x[:3])), digests[:3])
    assert np.array_equal(hash_rows(x.astype(np.float32)), digests)
    many = hash_rows(np.random.default_rng(0).normal(size=(4000, 2)))[:, 0] % np.uint64(10)
    assert np.bincount(many.astype(int)).min() > 300


def test_an_imputer_inside_leaves_an_inserted_row_one_vote():
    (x, y), _, test = problem(n=120, pool=0)
    holes = np.random.default_rng(1)
    x[holes.random(x.shape) < 0.5], test[holes.random(test.shape) < 0.5] = np.nan, np.nan
    base = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), LogisticRegression())
    model = DeepPartitionAggregation(base, 10, classes=range(3))
    before = model.fit(x, y).votes(test)
    for r in (1, 3):
        after = model.fit(np.vstack([x, [[50.0 + i, -50.0] for i in range(r)]]), np.append(y, [0] * r)).votes(test)
        assert 0 < np.abs(after - before).sum(axis=1).max() <= 2 * r


def test_partitions_without_rows_cast_no_vote_and_those_of_one_class_vote_for_it():
    x, y = np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 1])
    model = DeepPartitionAggregation(LogisticRegression(), 40).fit(x, y)
    filled = np.unique(model.partitions_)
    assert [i for i, one in enumerate(model.estimators_) if one is not None] == filled.tolist()
    counts = model.votes(np.array([[0.0], [99.0]]))
    assert counts.sum(axis=1).tolist() == [len(filled)] * 2
    if len(filled) == 6:
        assert counts.tolist() == [[3, 3]] * 2
    assert np.allclose(model.predict_proba(x).sum(axis=1), 1)


def test_certified_accuracy_counts_rows_that_are_right_and_certified_far_enough():
    x, y = make_classification(200, 5, random_state=0)
    model = DeepPartitionAggregation(LogisticRegression(), 15).fit(x[:150], y[:150])
    test, labels = x[150:], y[150:]
    shares = model.certified_accuracy(test, labels, range(9))
    right, radius = model.predict(test) == labels, model.certified_radius(test)
    assert shares.tolist() == [np.sum(right & (radius >= p)) / 50 for p in range(9)]
    assert shares[0] == model.score(test, labels)
    assert (np.diff(shares) <= 0).all()
    assert shares[8] == 0  # 15 votes cannot be certified beyond 7


@pytest.mark.skipif(
    not get_tags(LogisticRegression()).input_tags.sparse,
    reason="this scikit-learn does not say that its classifiers take sparse rows",
)
def test_sparse_rows_and_other_labels_give_the_same_votes():
    x, y = make_classification(90, 5, random_state=0)
    names = np.array(["no", "yes"])[y]
    model = DeepPartitionAggregation(n_partitions=5).fit(sparse.csr_matrix(x), names)
    assert np.array_equal(
        model.votes(sparse.csr_matrix(x)), DeepPartitionAggregation(n_partitions=5).fit(x, y).votes(x)
    )
    assert set(model.predict(x)) == {"no", "yes"}


def test_open_random_states_are_set_and_others_kept():
    x, y = make_classification(60, 4, random_state=0)
    for given, expected in ((None, 3), (8, 8)):
        base = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=given))
        model = DeepPartitionAggregation(base, 2, random_state=3).fit(x, y)
        assert [one[-1].random_state for one in model.estimators_] == [expected] * 2
        assert base[-1].random_state == given


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_partitions": 0}, "n_partitions must be a positive whole number; got 0"),
        ({"n_partitions": 2.5}, "n_partitions must be a positive whole number"),
        ({"random_state": None}, "random_state must be a whole number"),
        ({"classes": [0]}, "at least two classes"),
        ({"classes": "01"}, "classes must be a list of labels"),
        ({"classes": [0, 1]}, r"named classes alone, \[0, 1\]; got \[2\] too"),
    ],
)
def test_bad_settings(settings, message):
    (x, y), _, _ = problem()
    with pytest.raises(InputError, match=message):
        DeepPartitionAggregation(NEAREST).set_params(**settings).fit(x, y)


@pytest.mark.parametrize("budgets", [[-1], [0.5], 3, [], [[1]]])
def test_bad_budgets(budgets):
    (x, y), _, _ = problem()
    with pytest.raises(InputError, match="budgets must be a list of whole numbers, 0 or more"):
        make().fit(x, y).certified_accuracy(x, y, budgets)


def test_labels_that_do_not_go_with_the_rows_are_refused():
    (x, y), _, _ = problem()
    with pytest.raises(InputError, match="y must hold one label a row"):
        make().fit(x, y).certified_accuracy(x, y[:3], [1])


def test_another_classifier_stands_where_the_first_has_too_few_rows_and_the_certificate_holds():
    (x, y), (more, labels), test = problem(n=60, pool=4)
    model = DeepPartitionAggregation(OrElse(KNeighborsClassifier(7), NEAREST), 9)
    before, radius = model.fit(x, y).predict(test), model.certified_radius(test)
    kinds = [one.is_other_ for one in model.estimators_ if isinstance(one, OrElse)]
    assert set(kinds) == {True, False}
    for r in range(1, 5):
        after = model.fit(np.vstack([x, more[:r]]), np.append(y, labels[:r])).predict(test)
        assert np.array_equal(after[radius >= r], before[radius >= r])


def test_a_partition_too_small_for_the_base_classifier_is_named():
    class Greedy(LogisticRegression):
        def fit(self, X, y):
            if len(y) < 9:
                raise ValueError("needs 9 rows")
            return super().fit(X, y)

    x, y = make_classification(40, 4, random_state=0)
    with pytest.raises(InputError, match=r"Greedy could not be trained on a partition of \d rows \(needs 9 rows\)"):
        DeepPartitionAggregation(Greedy(), 10).fit(x, y)
