"""Curves, breaking points and transfer matrices, against errors computed by hand."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import backgrad as bg
from backgrad.errors import InputError
from backgrad.evaluation import security_curve as security_curve_module
from backgrad.evaluation.metrics import balanced_error, class_errors, confusion, squared_error, student_interval
from backgrad.evaluation.plan import Fitted, Plan, Rows, Table
from backgrad.evaluation.poisoning import craft_on_split
from backgrad.evaluation.security_curve import SecurityCurve, breaking_point, budget_of, security_curve
from backgrad.evaluation.transfer import transfer_matrix
from backgrad.evaluation.victims import fit_victim, predict

DATA = bg.load("blobs2")
TABLE = Table(DATA.x, DATA.y, 2)
N = 20
PLAN = Plan(
    bg.LogisticRegression(2),
    bg.Descent(40, 0.5),
    bg.JointAttack(5, step_size=0.5),
    bg.ThreatModel(4, goal=bg.ErrorGeneric()),
)
VICTIM = LogisticRegression()


def splits(count):
    found = [bg.split_rows(DATA.n_samples, train=N, validation=40, seed=0, split=k) for k in range(count)]
    return [Rows(r.train, r.validation, r.test) for r in found]


def test_a_fraction_is_of_all_training_rows_and_p_the_nearest_whole_number():
    assert [budget_of(f, 100) for f in (0.0, 0.01, 0.15, 0.5)] == [0, 1, 18, 100]
    for n in (1, 20, 2000):
        points = np.arange(4 * n)
        for fraction in np.linspace(0, 0.7, 701):
            gaps = np.abs(points / (n + points) - fraction)
            assert gaps[budget_of(float(fraction), n)] == gaps.min()
    with pytest.raises(InputError, match=r"must lie in \[0, 1\); got 1"):
        budget_of(1.0, 100)


def test_a_curve_holds_clean_flips_and_points_at_every_budget():
    shares = []
    curve = security_curve(
        PLAN,
        TABLE,
        splits(2),
        victim=VICTIM,
        fractions=(0.2, 0.0),
        scorers={"accuracy": "accuracy"},
        seed=0,
        progress=shares.append,
    )
    assert curve.budgets.tolist() == [0, 5]
    np.testing.assert_allclose(curve.fractions, [0, 0.2])
    error, accuracy = curve.scores["error"], curve.scores["accuracy"]
    for name in ("clean", "label flips", "poisoned"):
        assert error[name].shape == (2, 2)
        np.testing.assert_allclose(accuracy[name], 1 - error[name], atol=1e-12)
    np.testing.assert_array_equal(error["clean"][0], error["clean"][1])
    np.testing.assert_array_equal(error["poisoned"][0], error["clean"][0])
    rows = splits(1)[0]
    attack = craft_on_split(PLAN.with_budget(5), TABLE, rows, seed=(0, 0))
    model = LogisticRegression().fit(
        np.concatenate([DATA.x[rows.train], attack.points]), np.concatenate([DATA.y[rows.train], attack.labels])
    )
    wrong = model.predict(DATA.x[rows.test]) != DATA.y[rows.test]
    assert error["poisoned"][1, 0] == wrong.mean()
    of_classes = [curve.scores[f"error of class {c}"]["poisoned"][1, 0] for c in (0, 1)]
    assert curve.scores["balanced error"]["poisoned"][1, 0] == pytest.approx(np.mean(of_classes))
    assert set(curve.health) == {5}
    assert curve.mean().shape == (2,)
    assert curve.interval() == [None, None]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_clean_victim_of_a_split_is_fitted_once():
    fits = []

    class Counted(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            fits.append(len(y))
            return super().fit(X, y, sample_weight)

    settings = {"fractions": (0.1, 0.2), "scorers": {"accuracy": "accuracy"}, "seed": 0}
    security_curve(PLAN, TABLE, splits(2), victim=Counted(), **settings)
    assert sorted(fits) == [N] * 2 + [N + 2] * 4 + [N + 5] * 4


@pytest.mark.parametrize(("classes", "ends"), [(True, (0, 1)), (False, (0, None))], ids=["classes", "responses"])
def test_intervals_of_errors_are_cut_and_those_of_other_scores_are_not(classes, ends):
    values = {"poisoned": np.array([[0.0, 0.2, 0.9]])}
    scores = {name: values for name in ("error", "r2", *(["balanced error", "error of class 0"] if classes else []))}
    curve = SecurityCurve(np.array([0.1]), np.array([2]), scores, {})
    low, high = student_interval([0.0, 0.2, 0.9])
    assert low < 0
    assert high > 1
    assert curve.interval("r2") == [(low, high)]
    for name in scores.keys() - {"r2"}:
        assert curve.interval(name) == [(ends[0], ends[1] or high)]


def test_a_breaking_point_is_where_bisection_first_finds_the_limit_passed():
    found = breaking_point(PLAN, TABLE, splits(2), victim=VICTIM, limit=0.15, at_most=0.3, seed=0)
    means = {budget: errors.mean() for budget, errors in found.evaluated.items()}
    assert not found.censored
    assert means[found.budget] > 0.15
    below = [budget for budget in means if budget < found.budget]
    assert found.budget - 1 in below  # its neighbour was looked at, and held
    assert all(means[budget] <= 0.15 for budget in below)
    assert found.fraction == found.budget / (N + found.budget)


def test_a_limit_that_holds_is_a_result_too():
    found = breaking_point(PLAN, TABLE, splits(1), victim=VICTIM, limit=0.99, at_most=0.1, seed=0)
    assert found.censored
    assert found.fraction is None
    assert set(found.evaluated) == {0, 2}


def test_a_clean_model_past_the_limit_breaks_at_nothing():
    assert breaking_point(PLAN, TABLE, splits(1), victim=VICTIM, limit=0.0, seed=0).budget == 0


def test_an_error_that_is_not_a_number_keeps_to_no_limit(monkeypatch):
    monkeypatch.setattr(security_curve_module, "error_of", lambda *_: float("nan"))
    found = breaking_point(PLAN, TABLE, splits(1), victim=VICTIM, limit=0.5, at_most=0.1, seed=0)
    assert not found.censored
    assert found.budget == 0


def test_a_breaking_point_needs_a_limit_and_a_curve_a_fraction():
    with pytest.raises(InputError, match="limit must be a finite number; got nan"):
        breaking_point(PLAN, TABLE, splits(1), victim=VICTIM, limit=float("nan"), seed=0)
    with pytest.raises(InputError, match="at least one fraction"):
        security_curve(PLAN, TABLE, splits(1), victim=VICTIM, fractions=(), seed=0)


def test_a_breaking_point_needs_a_split():
    with pytest.raises(InputError, match="at least one split; got none"):
        breaking_point(PLAN, TABLE, [], victim=VICTIM, limit=0.2, seed=0)


@pytest.mark.parametrize(("criterion", "sentence"), [("median", "'mean' or 'upper'"), ("upper", "3 splits at least")])
def test_criteria_that_cannot_be_are_refused(criterion, sentence):
    with pytest.raises(InputError, match=sentence):
        breaking_point(PLAN, TABLE, splits(2), victim=VICTIM, limit=0.2, criterion=criterion, seed=0)


def test_a_transfer_matrix_trains_every_victim_on_every_surrogate_s_points():
    surrogates = {
        "logistic": bg.Member(bg.LogisticRegression(2), bg.Descent(40, 0.5)),
        "adaline": bg.Member(bg.Adaline(2), bg.Descent(40, 0.1)),
    }
    victims = {"lr": LogisticRegression(), "knn": KNeighborsClassifier(3)}
    found = transfer_matrix(PLAN, TABLE, splits(2), surrogates=surrogates, victims=victims, seed=0)
    assert found.errors.shape == (2, 2, 2)
    assert found.clean.shape == found.label_flips.shape == (2, 2)
    own = craft_on_split(PLAN, TABLE, splits(1)[0], seed=(0, 0))
    rows = splits(1)[0]
    model = KNeighborsClassifier(3).fit(
        np.concatenate([DATA.x[rows.train], own.points]), np.concatenate([DATA.y[rows.train], own.labels])
    )
    assert found.errors[0, 1, 0] == np.mean(model.predict(DATA.x[rows.test]) != DATA.y[rows.test])
    assert (found.errors[0] != found.errors[1]).any()
    with pytest.raises(InputError, match="needs surrogates, victims and splits; got 2, 0 and 2"):
        transfer_matrix(PLAN, TABLE, splits(2), surrogates=surrogates, victims={}, seed=0)


@pytest.mark.parametrize("rows", [True, False])
def test_surrogates_of_a_plan_do_not_stand_for_the_learner_that_it_is_turned_against(rows):
    own, other = bg.Member(bg.Adaline(2), bg.Descent(9, 0.1)), bg.Member(bg.SmoothSVM(2, 0.1), bg.Descent(40, 0.1))
    threat = dataclasses.replace(PLAN.threat, knowledge=bg.Surrogates((own,), knows_rows=rows))
    knowledge = dataclasses.replace(PLAN, threat=threat).against(other).threat.knowledge
    assert knowledge.members(*other) == (other,)
    assert knowledge.knows_rows is rows


def test_each_surrogate_is_trained_by_its_own_schedule():
    surrogates = {"adaline": bg.Member(bg.Adaline(2), bg.Descent(40, 0.1))}
    plain, other = (
        transfer_matrix(
            dataclasses.replace(PLAN, attack_schedule=schedule),
            TABLE,
            splits(1),
            surrogates=surrogates,
            victims={"lr": LogisticRegression()},
            seed=0,
        )
        for schedule in (None, bg.Descent(3, 0.9))
    )
    np.testing.assert_array_equal(plain.errors, other.errors)


def test_an_estimator_without_a_gradient_is_fitted_in_its_surrogate_s_place():
    fitted = Fitted(KNeighborsClassifier(3), bg.SubpopulationAttack(12, redraw=True))
    plan, rows = dataclasses.replace(PLAN, fitted=fitted, reuse=1.0), splits(1)[0]
    attack = craft_on_split(plan, TABLE, rows, seed=(0, 0))
    assert attack.attack == "subpopulation"
    x, y = (np.concatenate([old[rows.train], new]) for old, new in ((DATA.x, attack.points), (DATA.y, attack.labels)))
    judged = KNeighborsClassifier(3).fit(x, y).predict(DATA.x[rows.validation])
    assert attack.health.objective_best == np.mean(judged != DATA.y[rows.validation])
    described = attack.threat_model.describe()
    assert "optimised" in described["capability"]
    assert described["knowledge"] == PLAN.threat.knowledge.describe()
    # Flips are those that every other attack starts from; another learner is attacked by its own gradients.
    np.testing.assert_array_equal(attack.start, craft_on_split(PLAN, TABLE, rows, seed=(0, 0)).start)
    assert plan.against(bg.Member(PLAN.learner, PLAN.schedule)) == dataclasses.replace(PLAN, reuse=1.0)


def test_a_curve_of_an_estimator_without_a_gradient_begins_without_points():
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    plan = dataclasses.replace(PLAN, fitted=Fitted(tree, bg.SubpopulationAttack(2)))
    curve = security_curve(plan, TABLE, splits(1), victim=tree, fractions=(0.0, 0.1), seed=0)
    error = curve.scores["error"]
    np.testing.assert_array_equal(error["poisoned"][0], error["clean"][0])
    assert set(curve.health) == {2}
    assert breaking_point(plan, TABLE, splits(1), victim=tree, limit=0.99, at_most=0.1, seed=0).censored


def test_an_attacker_with_surrogate_data_never_sees_the_training_rows():
    rows = splits(1)[0].with_surrogate()
    threat = dataclasses.replace(PLAN.threat, knowledge=bg.SurrogateData())
    plan = dataclasses.replace(PLAN, threat=threat)
    assert rows.surrogate is not None
    assert not set(rows.surrogate) & {*rows.train, *rows.validation, *rows.test}
    attack = craft_on_split(plan, TABLE, rows, seed=(0, 0))
    blind = TABLE.x.copy()
    blind[rows.train] = 0.5
    again = craft_on_split(plan, Table(blind, TABLE.y, 2), rows, seed=(0, 0))
    np.testing.assert_array_equal(attack.points, again.points)
    fitted = Fitted(DecisionTreeClassifier(max_depth=2, random_state=0), bg.SubpopulationAttack(2))
    copies = craft_on_split(dataclasses.replace(plan, fitted=fitted), TABLE, rows, seed=(0, 0))
    assert (copies.points[:, None] == TABLE.x[rows.surrogate]).all(2).any(1).all()
    assert copies.threat_model.knowledge == bg.SurrogateData()
    with pytest.raises(InputError, match=r"Rows.with_surrogate"):
        craft_on_split(plan, TABLE, splits(1)[0], seed=(0, 0))


def test_errors_by_class_count_each_class_alike():
    labels, predictions = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 1, 0])
    np.testing.assert_allclose(class_errors(predictions, labels, 4), [2 / 3, 0, 1, np.nan])
    assert balanced_error(predictions, labels, 4) == pytest.approx(5 / 9)
    np.testing.assert_allclose(confusion(predictions, labels, 3), [[1 / 3, 2 / 3, 0], [0, 1, 0], [1, 0, 0]])
    assert squared_error(np.array([1.0, 2.0]), np.array([[0.0], [4.0]])) == 2.5


def test_rows_of_a_frame_count_by_their_place():
    order = np.random.default_rng(0).permutation(len(DATA.y))
    frame = pd.DataFrame(DATA.x, index=order).assign(y=DATA.y)
    shuffled = Table(frame[[0, 1]], frame["y"].astype(float), 2)
    one, other = (
        security_curve(PLAN, table, splits(1), victim=VICTIM, fractions=(0.2,), seed=0) for table in (TABLE, shuffled)
    )
    np.testing.assert_array_equal(one.scores["error"]["poisoned"], other.scores["error"]["poisoned"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Table(DATA.x, DATA.y + 1, 2), r"y must hold labels 0 to 1, \(n,\); got array\(\[1, 2\]\)"),
        (lambda: Table(DATA.x, DATA.y[:9], 2), "of one n"),
        (lambda: Table(DATA.x, np.array(["a", "b"])[DATA.y], 2), "y must hold labels 0 to 1"),
        (lambda: Rows(np.arange(5), np.arange(5, 9), np.arange(4, 12)), "each row must have one role"),
        (lambda: Rows(np.array([1, 1]), np.arange(5, 9), np.arange(10, 12)), "or twice"),
        (lambda: Rows(np.array([0.5]), np.array([2]), np.array([3])), "train must hold row numbers"),
        (
            lambda: dataclasses.replace(PLAN, reuse=1.0, threat=bg.ThreatModel(2, goal=bg.SampleTargets(np.ones(40)))),
            "set reuse=0",
        ),
    ],
)
def test_tables_and_splits_that_make_no_sense_are_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_splits_of_different_sizes_have_no_curve():
    first, second = splits(2)
    uneven = [first, dataclasses.replace(second, train=second.train[:10])]
    with pytest.raises(InputError, match=r"all with as many training rows; got \[10, 20\]"):
        security_curve(PLAN, TABLE, uneven, victim=VICTIM, seed=0)
    with pytest.raises(InputError, match="as many training rows"):
        breaking_point(PLAN, TABLE, uneven, victim=VICTIM, limit=0.3, seed=0)


@pytest.mark.parametrize("name", ["error", "balanced error", "error of class 0"])
def test_a_scorer_takes_no_name_that_is_taken(name):
    with pytest.raises(InputError, match="is the name of a score that every curve has"):
        security_curve(PLAN, TABLE, splits(1), victim=VICTIM, scorers={name: "accuracy"}, seed=0)


def test_a_limit_of_classes_is_a_share():
    with pytest.raises(InputError, match=r"limit must lie in \[0, 1\); got 20.0"):
        breaking_point(PLAN, TABLE, splits(1), victim=VICTIM, limit=20.0, seed=0)


class OneColumn(bg.LogisticRegression):
    """Its scores have a column of their own."""

    def scores(self, params, x):
        return super().scores(params, x)[:, None]


def test_a_learner_whose_scores_are_one_column_is_refused():
    plan = dataclasses.replace(PLAN, learner=OneColumn(2))
    with pytest.raises(InputError, match=r"OneColumn.scores must return \(n, 2\), or \(n,\), .* got \(n, 1\)"):
        craft_on_split(plan, TABLE, splits(1)[0], seed=(0, 0))
    with pytest.raises(InputError, match=r"OneColumn.scores must return \(n,\) for two classes, or \(n, k\)"):
        predict(OneColumn(2), bg.LogisticRegression(2).init(jax.random.key(0)), jax.numpy.zeros((3, 2)))


@pytest.mark.parametrize(("victim", "n_classes", "wanted"), [(Ridge(), 2, "classifiers"), (VICTIM, 0, "regressors")])
def test_victims_that_predict_something_else_than_the_table_holds_are_refused(victim, n_classes, wanted):
    table, rows = Table(DATA.x, DATA.y if n_classes else DATA.x[:, 0], n_classes), splits(1)[0]
    with pytest.raises(InputError, match=f"victims must be {wanted}, since the table holds"):
        fit_victim(victim, table, rows, None, seed=(0, 0))
