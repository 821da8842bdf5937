"""What runs of an audit do, called as a study calls them."""

import gc
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from backgrad.auditing import audit as auditing
from backgrad.auditing.context import describe_estimator
from backgrad.auditing.estimators import identify_estimator, make_audited, make_estimator
from backgrad.auditing.plan import make_audit
from backgrad.auditing.problem import from_arrays
from backgrad.auditing.profiles import PROFILES
from backgrad.auditing.tables import file_settings, read_file
from backgrad.auditing.tasks import ENSEMBLE, HELD, attack, certify, open_split
from backgrad.defences.certified import DeepPartitionAggregation
from backgrad.errors import InputError
from backgrad.identity import identify

RNG = np.random.default_rng(1)
N = 60
Y = np.array([0] * 40 + [1] * 12 + [2] * 8)
SIZES = {"train": 30, "validation": 12, "trusted": 6, "test": 100}


@pytest.fixture(scope="module")
def problem():
    found = from_arrays(RNG.normal(size=(N, 3)) + Y[:, None], Y, feature_names=("a", "b", "c"))
    HELD[found.sha256] = found
    yield found
    del HELD[found.sha256]


def settings(problem, **given):
    data = {"kind": "held", "sha256": problem.sha256}
    common = {"data": data, "estimator": "logistic", "sizes": SIZES, "iterations": 2, "partitions": 0}
    return {**common, "victims": ["own"], "points": 3, **given}


def test_a_thorough_audit_also_attacks_all_surrogates_at_once(problem):
    audits = {
        name: make_audit(problem, {}, "forest", profile=one, splits=2, seed=0, limit=None, at=None)
        for name, one in PROFILES.items()
    }
    assert audits["standard"].against == ("logistic", "mlp")
    assert audits["thorough"].against == ("logistic", "mlp", "svm", ENSEMBLE)
    runs = [run for run in audits["thorough"].study().runs if run.settings.get("against") == ENSEMBLE]
    assert len(runs) == 2
    assert all(list(run.settings["members"]) == ["logistic", "mlp", "svm"] for run in runs)


@pytest.mark.parametrize(("at", "share"), [(0.04, 0.1), (0.2, 0.4), (0.5, 0.9)])
def test_defences_leave_out_twice_the_poison_and_never_all_rows(problem, at, share):
    made = make_audit(problem, {}, "logistic", profile=PROFILES["quick"], splits=1, seed=0, limit=0.3, at=at)
    found = [run.settings["remove"] for run in made.study().runs if "remove" in run.settings]
    assert found == [share]


@pytest.mark.slow
def test_points_against_several_surrogates_are_others_than_against_one(problem):
    found = {
        against: attack(settings(problem, against=against, members=["logistic", "svm"]), 0, 0).arrays
        for against in ("logistic", "svm", ENSEMBLE)
    }
    starts = [one["start"] for one in found.values()]
    np.testing.assert_array_equal(starts[0], starts[2])
    for one in ("logistic", "svm"):
        assert np.abs(found[ENSEMBLE]["points"] - found[one]["points"]).max() > 1e-6
    assert found[ENSEMBLE]["confusion.own.poisoned"].sum() == N - 30 - 12 - 6


def test_points_against_an_estimator_without_a_gradient_are_found_by_fitting_it(problem):
    spec = "held:tree"
    HELD["tree"] = tree = DecisionTreeClassifier(min_samples_leaf=4, random_state=0)
    found = attack(settings(problem, estimator=spec, against="own", iterations=40, points=6), 0, 0)
    assert found.values["health"]["evaluations"] == 16 + 1  # no random state is open: one draw, and the start
    rows = open_split(settings(problem), 0, 0)[1]
    train = problem.x[rows.train]
    same = (found.arrays["points"][:, None] == train[None]).all(2)
    assert (same.sum(1) == 1).all()
    assert (problem.y[rows.train][same.argmax(1)] != found.arrays["labels"]).all()
    made = make_audit(problem, {}, spec, profile=PROFILES["quick"], splits=2, seed=0, limit=None, at=None)
    described = describe_estimator(made)
    del HELD["tree"], tree
    assert described["surrogate"] == "none"
    assert described["sentence"].startswith(
        "the estimator is not differentiable, so points are searched for by fitting"
    )


@pytest.mark.slow
def test_others_are_attacked_by_their_own_gradients_whatever_is_audited(problem):
    HELD["tree"] = tree = DecisionTreeClassifier(random_state=0)
    points = attack(settings(problem, estimator="held:tree", against="logistic", points=6), 0, 0).arrays["points"]
    del HELD["tree"], tree
    train = problem.x[open_split(settings(problem), 0, 0)[1].train]
    assert not (points[:, None] == train[None]).all(2).any()


def test_trusted_rows_hold_two_of_every_class(problem):
    for split in range(8):
        _, rows, _ = open_split(settings(problem), split, 0)
        assert rows.trusted.size == 6
        left = np.bincount(Y[np.concatenate([rows.trusted, rows.test])], minlength=3)
        np.testing.assert_array_less(np.minimum(left, 2) - 1, np.bincount(Y[rows.trusted], minlength=3))
        assert np.intersect1d(rows.trusted, rows.test).size == 0


def test_a_certificate_holds_where_few_rows_move_the_median_that_gaps_are_filled_with():
    # Of the known values half are 1 and half −1, and four more rows decide which of them the median is.
    rng, y = np.random.default_rng(1), np.repeat([1, 0], [110, 290])
    known = np.repeat([1.0, -1.0, np.nan], [110, 116, 174]) + 0.05 * rng.normal(size=400)
    gaps = from_arrays(np.stack([rng.normal(size=400), known], axis=1), y, feature_names=("a", "b"))
    HELD[gaps.sha256] = gaps
    sizes = {"train": 200, "validation": 100, "trusted": 20, "test": 80}
    run = settings(gaps, sizes=sizes, partitions=20, budgets=list(range(10)))
    certified, rows = certify(run, 2, 0).arrays["certified_error"], open_split(run, 2, 0)[1]
    base = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), make_estimator("logistic"))
    model = DeepPartitionAggregation(base, n_partitions=20)
    for r in range(10):
        x = np.vstack([gaps.x[rows.train], np.stack([rng.normal(size=r), np.full(r, 1.2)], axis=1)])
        model.fit(x, np.append(y[rows.train], np.ones(r, int)))
        error = 1 - model.score(gaps.x[rows.test], y[rows.test])
        assert error <= certified[r] + 1e-12
        assert r > 0 or error == pytest.approx(certified[r])


@pytest.mark.parametrize(
    ("estimator", "some"),
    [(CalibratedClassifierCV(LogisticRegression()), True), (KNeighborsClassifier(15), True), (SVC(), False)],
)
def test_an_estimator_that_needs_more_rows_than_a_part_has_is_certified_beside_others(estimator, some):
    y = np.arange(300) % 2
    rows = from_arrays(RNG.normal(size=(300, 3)) + y[:, None], y, feature_names=("a", "b", "c"))
    HELD[rows.sha256], HELD["needy"] = rows, estimator
    sizes = {"train": 150, "validation": 75, "trusted": 10, "test": 65}
    run = settings(rows, estimator="held:needy", sizes=sizes, partitions=15, budgets=list(range(8)))
    found = certify(run, 0, 0)
    del HELD["needy"]
    assert (found.values["others"] > 0) == some
    assert found.arrays["certified_error"][0] < 0.4
    assert (np.diff(found.arrays["certified_error"]) >= 0).all()


def of_labels(labels):
    """Return a problem of two classes that overlap."""
    y = np.arange(N) % 2
    return from_arrays(RNG.normal(size=(N, 2)) + y[:, None], np.array(labels)[y], feature_names=("a", "b"))


@pytest.mark.parametrize(
    ("labels", "heavy"), [((1, 2), 1), (("no", "yes"), "no"), ((False, True), False), ((1, 2), "1")]
)
@pytest.mark.parametrize(
    "wrap",
    [lambda one: one, lambda one: make_pipeline(StandardScaler(), one), BaggingClassifier],
    ids=["alone", "pipeline", "bagged"],
)
def test_class_weights_are_those_of_the_classes_they_name(labels, heavy, wrap):
    problem, given = of_labels(labels), wrap(LogisticRegression(class_weight={heavy: 50}))
    audited = make_audited("own", given, problem, train=30)
    same = make_audited("own", wrap(LogisticRegression(class_weight={0: 50})), of_labels((0, 1)), train=30)
    assert repr(audited.victim) == repr(same.victim)
    assert repr(audited.surrogate.members) == repr(same.surrogate.members)
    name = next(name for name in given.get_params() if name.endswith("class_weight"))
    assert given.get_params()[name] == {heavy: 50}


def test_class_weights_name_the_classes_of_a_file(tmp_path):
    rows = "\n".join(f"{i % 7},{i % 11},{3 + i % 2}" for i in range(N))
    (tmp_path / "mine.csv").write_text("a,b,y\n" + rows, encoding="utf-8")
    problem = read_file(file_settings(tmp_path / "mine.csv", target="y"))
    found = make_audited("own", LogisticRegression(class_weight={4: 9, "3": 2}), problem, train=30)
    assert found.victim.class_weight == {1: 9, 0: 2}


def test_class_weights_of_no_class_are_refused():
    with pytest.raises(InputError, match=r"class_weight must name classes of .* \(1, 2\); got 0"):
        make_audited("own", LogisticRegression(class_weight={0: 50}), of_labels((1, 2)), train=30)


def test_data_of_other_classes_are_other_data():
    x = RNG.normal(size=(N, 2))
    first, second = (
        from_arrays(x, names[np.arange(N) % 2], feature_names=("a", "b"))
        for names in (np.array([1, 2]), np.array([2, 3]))
    )
    assert first.sha256 != second.sha256


def test_an_estimator_that_cannot_be_fitted_is_refused_before_any_run(problem):
    class Broken(LogisticRegression):
        def fit(self, X, y):
            raise RuntimeError("out of order")

    with pytest.raises(InputError, match="must fit arrays of the 3 features and predict; it raised RuntimeError"):
        auditing.audit(Broken(), problem.x, problem.y, profile="quick", splits=1)


def weighted(last):
    return LogisticRegression(class_weight={**dict.fromkeys(range(40), 1), 20: last})


def with_metric(last):
    return KNeighborsClassifier(metric="mahalanobis", metric_params={"VI": np.diag([*np.ones(49), last, *np.ones(50)])})


def folds(last):
    return CalibratedClassifierCV(cv=PredefinedSplit([0, 1] * 30 + [last]))


def listed(last):
    return LogisticRegression(class_weight={"a": [*range(1500), last]})


def kept(last):
    return LogisticRegression(class_weight={"a": np.array([None, last]), "b": {last}, "c": sparse.csr_array([[last]])})


@pytest.mark.parametrize("make", [weighted, with_metric, folds, listed, kept])
def test_estimators_are_told_apart_by_all_that_is_in_them(make):
    assert identify("", make(2)) == identify("", make(2)) != identify("", make(3))
    assert (
        identify("", make_pipeline(make(2)))
        == identify("", make_pipeline(make(2)))
        != identify("", make_pipeline(make(3)))
    )


def times(factor):
    return lambda x: factor * x


def test_functions_in_estimators_are_told_apart_by_what_they_do():
    functions = (np.log1p, np.sqrt, weighted, *map(times, range(3)))
    found = [identify("", FunctionTransformer(one)) for one in functions]
    assert len(set(found)) == len(functions)
    assert found[-1] == identify("", FunctionTransformer(times(2)))
    assert identify("", folds(1)) != identify("", CalibratedClassifierCV(cv=StratifiedKFold(3)))


def test_a_factory_that_makes_another_estimator_asks_for_other_runs(problem, monkeypatch):
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    found = []
    for strength in (1.0, 1.0, 2.0):
        module.make = lambda strength=strength: LogisticRegression(C=strength)
        made = make_audit(problem, {}, "mine:make", profile=PROFILES["quick"], splits=1, seed=0, limit=None, at=None)
        found.append({run.settings["made"] for run in made.study().runs})
    assert found[0] == found[1]
    assert not found[0] & found[2]


@pytest.mark.parametrize(
    ("imputer", "exact"),
    [
        (SimpleImputer(strategy="median"), True),
        ("passthrough", True),  # medians are put in front of it
        (SimpleImputer(), False),
        (SimpleImputer(strategy="constant", fill_value=-9), False),
        (SimpleImputer(strategy="median", add_indicator=True), False),
    ],
)
def test_no_gradient_is_called_exact_where_the_pipeline_fills_gaps_otherwise(imputer, exact):
    x = RNG.normal(size=(N, 3))
    for gaps in (0, 5):
        x[:gaps, 0] = np.nan
        problem = from_arrays(x, np.arange(N) % 2, feature_names=("a", "b", "c"))
        found = make_audited("own", make_pipeline(imputer, LogisticRegression()), problem, train=30).surrogate
        assert found.exact == (exact or not gaps)
        assert ("gaps, which the pipeline fills otherwise, are filled with medians." in found.sentence) != found.exact


CLIPPED = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

class Clip(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.clip(-1, {most})

def make():
    return make_pipeline(Clip(), LogisticRegression())
"""


@pytest.mark.parametrize("in_a_file", [True, False])
def test_a_factory_whose_code_was_changed_asks_for_other_runs(problem, monkeypatch, tmp_path, in_a_file):
    found = []
    for most in (1, 1, 2):
        module = ModuleType("mine")
        monkeypatch.setitem(sys.modules, "mine", module)
        if in_a_file:
            module.__file__ = str(tmp_path / "mine.py")
            (tmp_path / "mine.py").write_text(CLIPPED.format(most=most), encoding="utf-8")
        exec(CLIPPED.format(most=most), vars(module))
        made = make_audit(problem, {}, "mine:make", profile=PROFILES["quick"], splits=1, seed=0, limit=None, at=None)
        found.append((made.made, identify_estimator(module.make())))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] != found[2][1]


def test_an_audit_that_ended_holds_nothing_and_has_runs_of_its_own_estimator(monkeypatch):
    seen = []

    def run_study(study, *_, **__):
        seen.append((study.runs[0].settings["estimator"], len(HELD)))
        return SimpleNamespace(failures=[SimpleNamespace(error="stopped")])

    monkeypatch.setattr(auditing, "run_study", run_study)
    before = len(HELD)
    for last in (2, 3):
        with pytest.raises(InputError, match="stopped"):
            auditing.audit(with_metric(last), RNG.normal(size=(N, 100)), np.arange(N) % 2)
    gc.collect()
    assert [held for _, held in seen] == [before + 2] * 2
    assert seen[0] != seen[1]
    assert len(HELD) == before
