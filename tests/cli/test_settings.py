"""From words to objects: what the command line's defaults and options turn into."""

import dataclasses

import pytest

import backgrad as bg
from backgrad.cli.settings import Options, make_plan
from backgrad.errors import InputError

BLOBS, SPAM = bg.load("blobs2"), bg.load("spambase")
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


def test_dropout_is_what_was_asked_for():
    assert plan(dropout=0.35).attack == bg.JointAttack(dropout=0.35)
    assert plan(SPAM, dropout=0.0).attack == bg.JointAttack()
    with pytest.raises(InputError, match="belongs to --strategy joint"):
        plan(strategy="coordinate", dropout=0.35)


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
