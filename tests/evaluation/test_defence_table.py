"""The defence table, against victims defended by hand."""

import dataclasses

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import backgrad as bg
from backgrad.defences.base import Sanitiser
from backgrad.defences.distance import Slab, Sphere
from backgrad.defences.loss import LossTrim
from backgrad.errors import InputError, NumericalError, TrustedRowsError
from backgrad.evaluation.defence_table import MEASURES, _Judge, _nearer, defence_table
from backgrad.evaluation.displays.defence_table import DefenceTableDisplay
from backgrad.evaluation.plan import Fitted
from backgrad.evaluation.poisoning import craft_on_split, evaluate_split
from backgrad.learners.base import Member

DATA = bg.load("blobs2")
TABLE = bg.Table(DATA.x, DATA.y, 2)
P, SPLITS = 4, 2
PLAN = bg.Plan(
    learner=bg.LogisticRegression(2),
    schedule=bg.Descent(60, 2.0),
    attack=bg.JointAttack(10, step_size=0.3),
    threat=bg.ThreatModel(P),
)


class Nothing(Sanitiser):
    """Removes nothing, and says nothing to attackers."""

    def suspicion(self, x, y):
        return np.zeros(len(x))

    def marks(self, suspicion, y):
        return suspicion > 0, suspicion


class Fence(Nothing):
    """Removes rows at the edge of the box, and does not say so to attackers."""

    def suspicion(self, x, y):
        return np.abs(x - 0.5).max(axis=1)

    def marks(self, suspicion, y):
        return suspicion > 0.4, np.full(len(y), 0.4)


class LosesAClass(Nothing):
    """Removes all rows of class 1."""

    def marks(self, suspicion, y):
        return y == 1, suspicion


class Believer(Nothing):
    """Removes what none of its trusted rows is like, here nothing, and remembers them."""

    needs_trusted = True
    seen = []  # noqa: RUF012

    def __init__(self, *, trusted=None, sampling_strategy="all"):
        super().__init__(sampling_strategy=sampling_strategy)
        self.trusted = trusted

    def suspicion(self, x, y):
        self.seen.append(self.trusted)
        return np.zeros(len(x))


def splits(trusted=None):
    found = []
    for k in range(SPLITS):
        rows = bg.split_rows(600, train=20, validation=40, seed=0, split=k, labels=DATA.y)
        found.append(bg.Rows(rows.train, rows.validation, rows.test))
    return found if trusted is None else [rows.with_trusted(trusted) for rows in found]


def measure(defences, *, plan=PLAN, rows=None, **settings):
    rows = splits() if rows is None else rows
    return defence_table(plan, TABLE, rows, defences=defences, budgets=[P], seed=0, **settings)


@pytest.fixture(scope="module")
def found():
    robust = Member(bg.LogisticRegression(2, l2=1.0), bg.Descent(60, 0.5))
    return measure(
        {
            "sphere": Sphere(fraction=0.2),
            "slab": Slab(fraction=0.2),
            "nothing": Nothing(),
            "fence": Fence(),
            "l2": robust,
            "bayes": GaussianNB(),
        }
    )


def test_undefended_row_is_that_of_a_plain_evaluation(found):
    for k, rows in enumerate(splits()):
        outcome = evaluate_split(PLAN, DATA.x, DATA.y, rows, n_classes=2, seed=(0, k))
        for measure_name, error in {"clean_error": "clean_error", "oblivious_error": "poisoned_error"}.items():
            assert found.of(measure_name, "none")[0, k] == pytest.approx(outcome.errors[error], abs=1e-12)
        assert found.label_flips[0, k] == pytest.approx(outcome.errors["label_flip_error"], abs=1e-12)


def test_a_defence_that_removes_nothing_changes_nothing(found):
    for name in ("clean_error", "oblivious_error", "poison_removed", "clean_removed"):
        np.testing.assert_array_equal(found.of(name, "nothing"), found.of(name, "none"))
    assert np.all(found.of("clean_removed", "nothing") == 0)


def test_a_sanitised_victim_is_one_trained_on_the_rows_that_stay(found):
    for k, rows in enumerate(splits()):
        attack = craft_on_split(PLAN, TABLE, rows, seed=(0, k))
        x = np.concatenate([DATA.x[rows.train], attack.points])
        y = np.concatenate([DATA.y[rows.train], attack.labels])
        sphere = Sphere(fraction=0.2)
        kept_x, kept_y = sphere.fit_resample(x, y)
        w, b = np.zeros(2), 0.0
        for _ in range(60):
            pull = 1 / (1 + np.exp(-(kept_x @ w + b))) - kept_y
            w, b = w - 2.0 * kept_x.T @ pull / len(kept_y), b - 2.0 * pull.mean()
        wrong = np.mean((DATA.x[rows.test] @ w + b > 0) != DATA.y[rows.test])
        assert found.of("oblivious_error", "sphere")[0, k] == pytest.approx(wrong, abs=1.5 / len(rows.test))
        points = sphere.removed_indices_ >= len(rows.train)
        assert found.of("poison_removed", "sphere")[0, k] == points.sum() / P
        assert found.of("clean_removed", "sphere")[0, k] == pytest.approx((~points).sum() / len(rows.train))


def test_attackers_who_know_a_defence_keep_clear_of_it(found):
    for name in ("sphere", "slab"):
        known, unknown = (found.of(kind, name) for kind in ("adaptive_poison_removed", "poison_removed"))
        assert known.mean() < unknown.mean()
        assert found.of("adaptive_error", name).mean() > found.of("oblivious_error", name).mean()


def test_attackers_who_know_of_no_way_around_a_sanitiser_stay_near_the_rows_they_start_from(found):
    known, unknown = (found.of(kind, "fence") for kind in ("adaptive_poison_removed", "poison_removed"))
    assert known.mean() < unknown.mean()
    assert found.of("adaptive_error", "fence").mean() > found.of("oblivious_error", "fence").mean()
    # Nearness costs harm where nobody looks, and the attacker notices.
    assert found.of("adaptive_error", "nothing").mean() >= found.of("oblivious_error", "nothing").mean()


@pytest.mark.parametrize("view", [None, (np.array([0.3, -2.0]), np.array([0.01, 50.0]))])
def test_nearness_is_measured_as_the_defence_does(view):
    rows = splits()[0]
    judge = _Judge(PLAN, TABLE, rows, (0, 0), None, view)
    attack = craft_on_split(PLAN, TABLE, rows, seed=(0, 0))

    def moved(found):
        return np.linalg.norm(judge.seen(found.points) - judge.seen(found.start), axis=1)

    plans = list(_nearer(judge, attack))
    assert len(plans) == 2
    for plan, share in zip(plans, (0.5, 0.25), strict=True):
        near = craft_on_split(plan, TABLE, rows, seed=(0, 0))
        assert moved(near).max() == pytest.approx(share * np.median(moved(attack)), rel=1e-6)


def test_points_of_a_discrete_set_have_no_smaller_steps_to_take():
    plan = dataclasses.replace(PLAN, threat=dataclasses.replace(PLAN.threat, feasible=bg.Binary()), project_start=True)
    rows = splits()[0]
    attack = craft_on_split(plan, TABLE, rows, seed=(0, 0))
    assert list(_nearer(_Judge(plan, TABLE, rows, (0, 0)), attack)) == []


@pytest.mark.parametrize(("defence", "crafts"), [(Sphere(), 1 + 4), (LossTrim(), 1 + 2)])
def test_points_are_crafted_again_only_where_they_change_what_is_let_pass(monkeypatch, defence, crafts):
    made = []

    def counted(*args, **settings):
        made.append(args)
        return craft_on_split(*args, **settings)

    monkeypatch.setattr("backgrad.evaluation.defence_table.craft_on_split", counted)
    measure({"one": defence}, rows=splits()[:1])
    assert len(made) == crafts


def test_robust_learners_are_attacked_as_what_they_are(found):
    # Knowing λ = 1 and the schedule, the attacker does more harm than by points made for another learner.
    assert np.isfinite(found.of("adaptive_error", "l2")).all()
    assert found.of("adaptive_error", "l2").mean() >= found.of("oblivious_error", "l2").mean()
    assert np.isnan(found.of("poison_removed", "l2")).all()


def test_what_no_adaptive_attack_was_tried_on_gets_a_warning(found):
    (warning,) = found.warnings
    assert warning.startswith("bayes: judged only against an attacker who does not know the defence.")
    assert np.isnan(found.of("adaptive_error", "bayes")).all()
    (oblivious,) = measure({"sphere": Sphere()}, adaptive=False).warnings
    assert oblivious.startswith("sphere: judged only")


def test_a_lost_class_is_told_and_spoils_nothing_else():
    table = measure({"loses": LosesAClass(), "sphere": Sphere()}, adaptive=False)
    assert np.isnan(table.of("oblivious_error", "loses")).all()
    assert np.isfinite(table.of("oblivious_error", "sphere")).all()
    assert sum("every row of class 1" in warning for warning in table.warnings) == SPLITS


class Fails(Nothing):
    """Cannot work on these rows."""

    def suspicion(self, x, y):
        raise NumericalError("a loss is no finite number: scale the features.")


def test_a_defence_that_cannot_work_is_left_out_with_a_sentence():
    found = measure({"fails": Fails(), "nothing": Nothing()}, adaptive=False, first_split=7)
    assert np.isnan(found.of("oblivious_error", "fails")).all()
    assert not np.isnan(found.of("oblivious_error", "nothing")).any()
    assert "fails at 4 points, split 8: a loss is no finite number: scale the features." in found.warnings


def test_a_defence_that_cannot_work_under_those_who_know_it_keeps_what_was_measured_before():
    class Tires(Nothing):
        """Works on clean rows and under the oblivious attack, and no more."""

        applied = []  # noqa: RUF012

        def suspicion(self, x, y):
            self.applied.append(len(x))
            if len(self.applied) > 2:
                raise NumericalError("a loss is no finite number: scale the features.")
            return np.zeros(len(x))

    table = measure({"tires": Tires(), "fails": Fails()}, rows=splits()[:1])
    for name in ("clean_error", "oblivious_error", "poison_removed", "clean_removed"):
        np.testing.assert_array_equal(table.of(name, "tires"), table.of(name, "none"))
    assert np.isnan(table.of("adaptive_error", "tires")).all()
    first, second, third = table.warnings
    assert (first[:5], second[:5]) == ("tires", "fails")
    # What never worked was not judged against anybody.
    assert third.startswith("tires: judged only")


def test_a_defence_whose_trusted_rows_do_not_suffice_is_left_out_of_that_split_with_a_sentence():
    class Doubter(Believer):
        """Needs more of them."""

        def suspicion(self, x, y):
            del x, y
            raise TrustedRowsError("trusted rows must be more: give more.")

    found = measure({"doubter": Doubter(), "nothing": Nothing()}, rows=splits(trusted=3), adaptive=False)
    assert np.isnan(found.of("oblivious_error", "doubter")).all()
    assert np.isfinite(found.of("oblivious_error", "nothing")).all()
    assert sum("trusted rows must be more" in warning for warning in found.warnings) == SPLITS


def test_trusted_rows_reach_the_defences_that_need_them():
    Believer.seen.clear()
    rows = splits(trusted=30)
    measure({"believer": Believer()}, rows=rows, adaptive=False)
    np.testing.assert_array_equal(Believer.seen[0][0], DATA.x[rows[0].trusted])
    assert not set(rows[0].trusted) & set(np.concatenate([rows[0].train, rows[0].validation, rows[0].test]))
    with pytest.raises(InputError, match="Believer needs trusted rows"):
        measure({"believer": Believer()}, adaptive=False)
    with pytest.raises(InputError, match="trusted rows are asked for"):
        splits(trusted=600)


def test_progress_rises_to_one():
    told = []
    measure({"sphere": Sphere()}, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"defences": {}}, "needs defences, splits and budgets"),
        ({"budgets": [0]}, "budgets of 1 point or more"),
        ({"defences": {"none": Sphere()}}, "undefended row"),
        ({"table": dataclasses.replace(TABLE, n_classes=0)}, "evaluated on classes"),
    ],
)
def test_bad_input_is_one_sentence(settings, words):
    settings = {"table": TABLE, "defences": {"sphere": Sphere()}, "budgets": [P], **settings}
    with pytest.raises(InputError, match=words):
        defence_table(PLAN, settings.pop("table"), splits(), seed=0, **settings)


def test_display_shows_every_defence_and_what_was_not_tried(found):
    import matplotlib as mpl

    mpl.use("Agg")
    display = DefenceTableDisplay.from_result(found).plot()
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == list(found.names)
    means = [bar.get_width() for bar in display.bars_["oblivious"]]
    np.testing.assert_allclose(means, found.measures["oblivious_error"][:, 0].mean(axis=1))
    assert sum(text.get_text() == "not tried" for text in display.ax_.texts) == 1
    with pytest.raises(InputError, match="budget must be one of"):
        DefenceTableDisplay.from_result(found, budget=7)
    with pytest.raises(InputError, match="must have shape"):
        DefenceTableDisplay(names=["a"], clean=[[0.1]], oblivious=[[0.1, 0.2]], adaptive=[[0.1]])
    mpl.pyplot.close("all")


def test_display_has_no_mean_over_some_splits_alone_and_no_error_beyond_all_rows():
    import matplotlib as mpl

    mpl.use("Agg")
    lost, never = [0.1, 0.8, np.nan], [np.nan] * 3
    errors = {"clean": [[0.1, 0.1, 0.2], lost, never], "oblivious": [[0.1, 0.9, 1.0], [0.2] * 3, never]}
    display = DefenceTableDisplay(names=["none", "half", "lost"], **errors, adaptive=[never, lost, never]).plot()
    for kind, widths in {"clean": [0.4 / 3, 0, 0], "oblivious": [2 / 3, 0.2, 0], "adaptive": [0, 0, 0]}.items():
        np.testing.assert_allclose([bar.get_width() for bar in display.bars_[kind]], widths)
    assert [text.get_text() for text in display.ax_.texts] == ["no result"] * 5
    assert display.ax_.get_xlim()[1] < 1.1
    with pytest.raises(InputError, match="clean must be an array of numbers"):
        DefenceTableDisplay(names=["a"], clean=[["x"]], oblivious=[[0.1]], adaptive=[[0.1]])
    mpl.pyplot.close("all")


def test_display_on_axes_of_the_user_leaves_the_rest_of_their_figure_alone(found):
    import matplotlib as mpl

    mpl.use("Agg")
    figure, axes = mpl.pyplot.subplots(1, 2)
    for ax in (*axes, axes[0]):
        DefenceTableDisplay.from_result(found).plot(ax)
    assert figure.legends == []
    for ax in axes:
        bottom, top = ax.get_ylim()
        assert bottom > top  # the first defence is the uppermost, however often it is drawn
        assert len(ax.get_legend().get_texts()) >= 3
    mpl.pyplot.close("all")


def test_measures_are_complete(found):
    assert set(found.measures) == set(MEASURES)
    assert all(values.shape == (len(found.names), 1, SPLITS) for values in found.measures.values())
    assert found.fractions[0] == P / (20 + P)


class Watcher(Nothing):
    """Removes rows of class 1 that lie further left than any clean one, and says nothing to attackers."""

    applied = []  # noqa: RUF012

    def suspicion(self, x, y):
        self.applied.append(len(x))
        return np.where(y == 1, -x[:, 0], -np.inf)

    def marks(self, suspicion, y):
        return suspicion > self.limit, np.full(len(y), self.limit)


def test_who_attacks_an_estimator_without_gradient_applies_the_defence_in_every_trial():
    rows = splits()[:1]
    attack = bg.SubpopulationAttack(12)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    plan = dataclasses.replace(PLAN, fitted=Fitted(tree, attack))
    clean = DATA.x[rows[0].train][DATA.y[rows[0].train] == 1]
    Watcher.limit, Watcher.applied = -clean[:, 0].min(), []
    table = measure({"watcher": Watcher(), "loses": LosesAClass()}, plan=plan, rows=rows, victim=tree)
    assert Watcher.applied.count(20 + P) >= attack.evaluations
    # Nobody but the search knew what this defence lets pass.
    assert table.of("adaptive_error", "watcher")[0, 0] >= table.of("oblivious_error", "watcher")[0, 0]
    assert not any("judged only" in warning and "watcher" in warning for warning in table.warnings)
    # What leaves a class without rows is no success: no points are kept for it, and the table says so.
    assert np.isnan(table.of("adaptive_error", "loses")).all()


def test_a_defence_that_trains_often_is_evaded_by_gradients():
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    plan = dataclasses.replace(PLAN, fitted=Fitted(tree, bg.SubpopulationAttack(4)))
    watcher = type("Slow", (Watcher,), {"trains_often": True, "limit": 1e9, "applied": []})
    table = measure({"slow": watcher()}, plan=plan, rows=splits()[:1], victim=tree)
    assert len(watcher.applied) < 8
    assert np.isnan(table.of("adaptive_error", "slow")).all()
    assert any(warning.startswith("slow: judged only") for warning in table.warnings)
