"""From words to objects: what the command line's defaults and options turn into."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

import backgrad as bg
from backgrad.errors import InputError
from backgrad.evaluation.words import Options, make_plan, make_victims, open_data
from backgrad.evaluation.words.feasible import make_feasible, parse_columns

BLOBS, SPAM, DIGITS = bg.load("blobs2"), bg.load("spambase"), bg.load("digits")
PLAIN = Options(
    learner="logistic",
    points=5,
    strategy="joint",
    objective="zero-one",
    feasible="box",
    adjoint="checkpointed",
    step_size=None,
    steps=None,
    momentum=None,
    l2=None,
    attack_step_size=None,
    attack_steps=None,
    outer_step_size=None,
    outer_steps=None,
    dropout=None,
    epsilon=None,
    start="train",
)


def plan(data=BLOBS, **asked):
    return make_plan(dataclasses.replace(PLAIN, **asked), data)


def test_what_is_left_open_is_what_the_command_line_says_it_is():
    assert make_plan(Options(points=5), BLOBS) == plan()


def test_defaults_are_the_authors_victim_and_the_joint_attack_of_exact_gradients():
    made = plan()
    assert made.learner == bg.LogisticRegression(2)
    assert made.schedule == bg.Descent(1500, 0.5)
    assert made.attack == bg.JointAttack()
    assert made.threat == bg.ThreatModel(5)
    assert made.adjoint == bg.Checkpointed()
    assert (made.attack_schedule, made.start) == (None, "train")


@pytest.mark.parametrize(
    ("objective", "loss"),
    [("zero-one", bg.SmoothZeroOne()), ("log-loss", bg.LogLoss()), ("learner-loss", bg.LearnerLoss())],
)
def test_objectives_are_outer_losses(objective, loss):
    assert plan(objective=objective).threat.goal == bg.ErrorGeneric(loss)


@pytest.mark.parametrize(
    ("strategy", "attack"),
    [
        ("joint", bg.JointAttack(7, step_size=0.3)),
        ("greedy", bg.GreedyAttack(7, step_size=0.3)),
        ("coordinate", bg.CoordinateAttack(7, step_size=0.3)),
    ],
)
def test_strategies_are_attacks_and_take_steps_and_their_size(strategy, attack):
    assert plan(strategy=strategy, outer_steps=7, outer_step_size=0.3).attack == attack


def test_the_step_size_on_a_binary_set_is_that_of_its_free_variables():
    made = plan(SPAM, feasible="binary", outer_step_size=0.3, learner="adaline")
    assert made.attack == bg.JointAttack(discrete_step_size=0.3)
    assert made.threat.feasible == bg.Binary()
    greedy = plan(SPAM, feasible="binary", outer_step_size=3.0, strategy="greedy")
    assert greedy.attack == bg.GreedyAttack(step_size=3.0)


def test_epsilon_is_the_stopping_rule_of_pointwise_attacks_alone():
    assert plan(strategy="greedy", epsilon=0.5).attack == bg.GreedyAttack(epsilon=0.5)
    with pytest.raises(InputError, match="joint has none"):
        plan(epsilon=0.5)


def test_a_rehearsal_is_what_was_asked_for():
    assert plan(rehearsal=9).attack == bg.JointAttack(rehearsal=9)
    with pytest.raises(InputError, match="--rehearsal belongs to --strategy joint"):
        plan(strategy="greedy", rehearsal=9)


def test_other_draws_at_each_step_are_what_was_asked_for():
    assert plan(redraw=True).attack == bg.JointAttack(redraw=True)
    with pytest.raises(InputError, match="--redraw belongs to --strategy joint"):
        plan(strategy="coordinate", redraw=True)


def test_a_search_over_subpopulations_chooses_labels_and_judges_by_the_error_itself():
    made = plan(strategy="subpopulation", outer_steps=9, redraw=True)
    assert made.attack == bg.SubpopulationAttack(9, redraw=True)
    assert made.threat.labels == bg.ChosenLabels()
    assert made.threat.goal == bg.ErrorGeneric(bg.SmoothZeroOne(0.01))
    assert made.reuse == 0.0
    # It follows no gradients, and so trains the network as its victim is trained.
    assert make_plan(Options(learner="cnn", strategy="subpopulation"), DIGITS).attack_schedule is None
    assert make_plan(Options(learner="cnn"), DIGITS).attack_schedule is not None
    for name, value in (("outer_step_size", 0.3), ("epsilon", 0.1), ("dropout", 0.1), ("rehearsal", 3)):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} belongs to .*; subpopulation has none"):
            plan(strategy="subpopulation", **{name: value})
    with pytest.raises(InputError, match="chooses labels: leave --labels flipped out"):
        plan(strategy="subpopulation", labels="flipped")
    with pytest.raises(InputError, match="--strategy subpopulation needs classes"):
        plan(bg.load("diabetes"), learner=None, objective=None, strategy="subpopulation")


def test_batches_are_what_was_asked_for():
    assert plan(batch_size=7, momentum=0.5).schedule == bg.Descent(1500, 0.25, 0.5, batch_size=7)
    assert make_plan(Options(learner="cnn"), DIGITS).schedule.batch_size == 100
    assert make_plan(Options(learner="cnn", batch_size=30), DIGITS).schedule.batch_size == 30
    # Batches are of descent: whoever asks for them has no victim trained to convergence.
    assert isinstance(plan(adjoint="implicit", batch_size=7).schedule, bg.Descent)
    with pytest.raises(InputError, match="batch_size must be a positive whole number; got 0"):
        plan(batch_size=0)


def test_official_test_rows_are_the_last_ones_all_of_them_and_none_else():
    data = dataclasses.replace(open_data("blobs2"), n_test=100)
    settings = {"train": 300, "validation": 200, "seed": 1, "count": 2}
    first, second = data.splits(**settings, official=True)
    for rows in (first, second):
        np.testing.assert_array_equal(rows.test, np.arange(500, 600))
        np.testing.assert_array_equal(np.sort(np.concatenate([rows.train, rows.validation])), np.arange(500))
    assert (first.train != second.train).any()
    with pytest.raises(InputError, match="blobs2 has none"):
        open_data("blobs2").splits(**settings, official=True)
    with pytest.raises(InputError, match="no rows for an attacker with surrogate data"):
        data.splits(**settings, official=True, surrogate=True)


def test_dropout_is_what_was_asked_for():
    assert plan(dropout=0.35).attack == bg.JointAttack(dropout=0.35)
    assert plan(SPAM, dropout=0.0).attack == bg.JointAttack()
    with pytest.raises(InputError, match="belongs to --strategy joint"):
        plan(strategy="coordinate", dropout=0.35)


def test_joint_attacks_reuse_training_rows_and_the_paper_s_do_not():
    assert (plan().reuse, plan(strategy="greedy").reuse) == (1.0, 0.0)
    assert (plan(reuse=0.0).reuse, plan(strategy="coordinate", reuse=2.0).reuse) == (0.0, 2.0)
    with pytest.raises(InputError, match="reuse"):
        plan(reuse=-1.0)


def test_joint_attacks_on_some_classes_start_from_these_unless_others_are_held():
    iris = bg.load("iris")
    goal = {"goal": "setosa:virginica", "learner": "softmax"}
    assert plan(iris, **goal).sources
    assert not plan(iris, **goal, hold_others=True).sources
    assert not plan(iris, **goal, strategy="greedy").sources
    assert not plan().sources


def test_adjoints_come_with_schedules_that_they_can_go_back_through():
    reversible, implicit = plan(adjoint="reversible"), plan(adjoint="implicit")
    assert reversible.schedule == bg.Descent(1500, 0.05, 0.9)
    assert isinstance(implicit.schedule, bg.Converged)
    assert implicit.learner == bg.LogisticRegression(2, 0.01)
    for made in (reversible, implicit, plan(adjoint="back-gradient")):
        assert made.adjoint is not None
        made.adjoint.check(made.schedule)  # raises where it cannot


def test_numbers_asked_for_are_taken_as_they_are():
    made = plan(adjoint="implicit", steps=9, step_size=0.2, momentum=0.3, l2=0.5, start="validation")
    assert made.schedule == bg.Descent(9, 0.2, 0.3)
    assert made.learner == bg.LogisticRegression(2, 0.5)
    assert made.start == "validation"


def test_the_attacker_s_schedule_is_the_victim_s_but_for_what_was_asked():
    assert plan(attack_steps=100, momentum=0.5).attack_schedule == bg.Descent(100, 0.25, 0.5)
    assert plan(attack_step_size=0.1).attack_schedule == bg.Descent(1500, 0.1)


# --- knowledge, labels, responses ------------------------------------------------------------------


def test_knowledge_in_words():
    assert plan(knowledge="perfect").threat.knowledge == bg.PerfectKnowledge()
    assert plan(knowledge="surrogate-data").threat.knowledge == bg.SurrogateData()
    others = plan(knowledge="surrogate-learner").threat.knowledge
    assert [type(m.learner) for m in others.ensemble] == [
        bg.SoftmaxRegression,
        bg.Adaline,
        bg.SmoothSVM,
        bg.MLP,
    ]
    named = plan(knowledge="surrogate-learner", surrogates="mlp, adaline").threat.knowledge
    assert [type(m.learner) for m in named.ensemble] == [bg.MLP, bg.Adaline]


def test_an_unknown_schedule_is_guessed_at_around_the_usual_one():
    made = plan(knowledge="unknown-schedule", learner="logistic")
    assert (made.attack.iterations, plan().attack.iterations) == (600, 150)
    assert (made.attack.hold_unit, plan().attack.hold_unit) == (False, True)
    assert plan(knowledge="unknown-schedule", outer_steps=4).attack.iterations == 4
    members = made.threat.knowledge.ensemble
    guesses = [(m.schedule.step_size, m.schedule.steps, m.learner.l2) for m in members]
    assert guesses == [(0.5, 1500, 0.0), (0.1, 100, 0.0), (0.2, 750, 0.1), (0.5, 750, 0.001)]
    assert len({str(m.schedule.key) for m in members}) == 4
    with pytest.raises(InputError, match="set --steps too"):
        plan(knowledge="unknown-schedule", adjoint="implicit")


def test_an_attack_on_the_network_looks_at_rows_near_its_boundaries():
    made = plan(bg.load("mnist"), learner="cnn")
    assert made.threat.goal == bg.ErrorGeneric(bg.SmoothZeroOne(0.15))
    assert not made.attack.hold_unit
    # It trains with smaller steps than the victim, unless told otherwise.
    assert (made.schedule.step_size, made.attack_schedule.step_size) == (0.05, 0.01)
    told = plan(bg.load("mnist"), learner="cnn", attack_steps=7, attack_step_size=0.02).attack_schedule
    assert (told.steps, told.step_size, told.momentum, told.batch_size) == (7, 0.02, 0.9, 100)
    assert plan(bg.load("mnist"), learner="cnn", step_size=0.02).attack_schedule.step_size == 0.004
    assert plan(bg.load("mnist"), learner="softmax").attack_schedule is None
    assert plan(bg.load("mnist"), learner="softmax").threat.goal == bg.ErrorGeneric(bg.SmoothZeroOne())


def test_labels_and_responses_in_words():
    assert plan(labels="chosen").threat.labels == bg.ChosenLabels()
    houses = plan(bg.load("diabetes"), learner=None, objective=None)
    assert houses.learner == bg.Ridge(10)
    assert houses.threat.labels == bg.ChosenResponses()
    assert houses.threat.goal == bg.ErrorGeneric(bg.SquaredLoss())


# --- data -----------------------------------------------------------------------------------------


def test_responses_are_scaled_by_their_range():
    data = open_data("diabetes")
    assert data.table.n_classes == 0
    assert (data.table.y.min(), data.table.y.max()) == (0.0, 1.0)
    np.testing.assert_allclose(np.corrcoef(data.table.y, data.dataset.y)[0, 1], 1)


def test_a_table_of_one_s_own_is_read_with_its_target(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b,y\n1,2,no\n3,5,yes\n2,2,no\n", encoding="utf-8")
    data = open_data(str(path), target="y")
    assert data.dataset.class_names == ("no", "yes")
    assert data.table.y.tolist() == [0, 1, 0]


# --- feasible sets --------------------------------------------------------------------------------

CANCER, IRIS = bg.load("breast-cancer"), bg.load("iris")


def test_columns_are_names_numbers_and_ranges():
    assert parse_columns("1, 2-3", IRIS) == (1, 2, 3)
    assert parse_columns(IRIS.feature_names[2], IRIS) == (2,)
    for text in ("4", "3-1", "nothing", "", "1-9"):
        with pytest.raises(InputError, match="has no column"):
            parse_columns(text, IRIS)


def test_feasible_sets_in_words():
    assert make_feasible("box", IRIS) == bg.Box()
    assert make_feasible("binary", SPAM) == bg.Binary()
    quantiles = make_feasible("box:0.1..0.9", IRIS)
    np.testing.assert_allclose(quantiles.lower, np.quantile(IRIS.x, 0.1, axis=0))
    fixed = make_feasible("box+fixed:0,3+linf:0.2", IRIS)
    assert isinstance(fixed, bg.Ball)
    assert (fixed.radius, fixed.norm, fixed.base.columns) == (0.2, "linf", (0, 3))
    mixed = make_feasible("box+0-9=binary", SPAM)
    assert [columns for columns, _ in mixed.parts] == [tuple(range(10)), tuple(range(10, 54))]


def test_every_row_lies_in_the_set_that_is_made_of_its_columns():
    mail = bg.load("spambase57")
    for data, text in ((mail, "auto"), (mail, "box+55-56=integer"), (SPAM, "auto"), (bg.load("digits"), "integer")):
        feasible = make_feasible(text, data)
        assert np.asarray(feasible.contains(jnp.asarray(data.x[:500]))).all(), text
    kinds = {part["set"] for part in make_feasible("auto", mail).describe()["parts"]}
    assert kinds == {"rescaled", "box"}
    digits = make_feasible("integer", bg.load("digits"))
    points = np.asarray(digits.project(jnp.asarray(np.random.default_rng(0).uniform(-0.2, 1.2, (5, 64)))))
    levels = bg.load("digits").original_units()
    assert set(np.unique(np.round(points * 16, 9))) <= set(np.unique(levels))


@pytest.mark.parametrize("largest", [1e3, 1e8, 1e12])
def test_whole_numbers_of_any_size_are_seen_as_such(largest):
    low, high = np.array([3.0, 3.0]), np.array([largest + 7, largest + 7])
    values = np.random.default_rng(0).integers(3, int(largest) + 7, (200, 1)) + np.array([[0.0, 0.25]])
    data = dataclasses.replace(
        bg.load("blobs2"),
        x=(values - low) / (high - low),
        y=np.arange(200) % 2,
        feature_minimum=low,
        feature_maximum=high,
    )
    make_feasible("box+0=integer", data)
    with pytest.raises(InputError, match="integer needs whole numbers"):
        make_feasible("integer", data)
    kinds = {part["set"]: part["columns"] for part in make_feasible("auto", data).describe()["parts"]}
    assert kinds == {"rescaled": "0", "box": "1"}


def test_columns_of_a_set_may_be_named_in_any_order():
    for one, other in (("box+3,0-2=box:0.1..0.9", "box:0.1..0.9"), ("box+2,0=box:0.1..0.9", "box+0,2=box:0.1..0.9")):
        assert make_feasible(one, IRIS).describe() == make_feasible(other, IRIS).describe()
    with pytest.raises(InputError, match="two sets: give it one"):
        make_feasible("box+3=box:0.1..0.9+3=box", IRIS)


def test_a_set_that_the_data_do_not_lie_in_is_refused():
    with pytest.raises(InputError, match="integer needs whole numbers, but those of breast-cancer are not"):
        make_feasible("integer", CANCER)
    with pytest.raises(InputError, match="onehot needs one 1 in each row"):
        make_feasible("onehot", SPAM)


# --- victims --------------------------------------------------------------------------------------


def test_victims_are_learners_or_scikit_learn_s():
    victims = make_victims("mlp,RandomForestClassifier", BLOBS)
    assert victims["mlp"] == bg.Member(bg.MLP(2), bg.Descent(400, 0.1))
    assert isinstance(victims["RandomForestClassifier"], RandomForestClassifier)
    assert make_victims(None, BLOBS) == {}


def test_victims_take_a_schedule_and_an_l2_strength():
    (victim,) = make_victims("logistic:0.1x100:l2=0.01", BLOBS).values()
    assert victim == bg.Member(bg.LogisticRegression(2, 0.01), bg.Descent(100, 0.1))
    for text in ("logistic:fast", "logistic:0.1xmany", "logistic:l2=much", "logistic:100"):
        with pytest.raises(InputError, match="a learner's settings are"):
            make_victims(text, BLOBS)
