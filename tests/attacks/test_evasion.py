"""Attacks with a defence in the loop."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.adjoints.check import check_gradient
from backgrad.attacks.objective import differentiate, evaluate
from backgrad.attacks.preparation import make_objective
from backgrad.defences.base import known_evasion
from backgrad.defences.catalogue import SANITISERS, make_sanitiser
from backgrad.defences.distance import Slab, Sphere
from backgrad.defences.loss import LossTrim
from backgrad.errors import InputError
from backgrad.learners.estimator import LearnerClassifier
from backgrad.threat.evasion import Evasion
from backgrad.types import one_hot
from tests.problems import mostly_slow

from . import problems

CLEAN = problems.train_rows("box")
X, Y = np.asarray(CLEAN.x), np.argmax(np.asarray(CLEAN.y), axis=1)


def threat(evasion, p=problems.P, **settings):
    return bg.ThreatModel(p, evasion=evasion, **settings)


def objective(evasion, labels):
    return make_objective(
        problems.LEARNER,
        CLEAN,
        problems.validation_rows("box"),
        schedule=problems.SCHEDULE,
        threat=threat(evasion, len(labels)),
        labels=one_hot(labels, 2),
    )


@pytest.mark.parametrize("defence", [Sphere(fraction=0.4), Slab(fraction=0.4)])
def test_penalty_is_the_mean_excess_over_the_margin(defence):
    labels = np.array([0, 1, 1, 0])
    points = np.random.default_rng(0).uniform(size=(4, problems.D))
    known = dataclasses.replace(defence.evasion(X, Y), margin=0.1, strength=0.7)
    free, bound = (float(evaluate(objective(e, labels), jnp.asarray(points))) for e in (None, known))
    centres = np.stack([X[c == Y].mean(0) for c in (0, 1)])
    if isinstance(defence, Sphere):
        ratio = np.linalg.norm(points - centres[labels], axis=1) / np.asarray(known.radii)[labels]
    else:
        normals = centres - centres[::-1]
        along = np.sum((points - centres[labels]) * normals[labels], axis=1)
        ratio = np.abs(along) / np.asarray(known.widths)[labels]
    assert free - bound == pytest.approx(0.7 * np.maximum(ratio - 1 + 0.1, 0).mean(), rel=1e-6)


@pytest.mark.parametrize("name", ["sphere", "knn-distance", "anomaly", "label-sanitisation", "lof", "spectral"])
def test_points_of_classes_that_are_not_cleaned_are_spared(name):
    whole, part = make_sanitiser(name), make_sanitiser(name).set_params(sampling_strategy=[0])
    far, labels = 9 * np.random.default_rng(0).uniform(size=(6, problems.D)), np.array([0, 1, 1, 0, 1, 0])
    points = bg.Samples(jnp.asarray(far), one_hot(labels, 2), jnp.ones(6))
    every, some = (np.asarray(known_evasion(one, X, Y).excess(points, None, None)) for one in (whole, part))
    np.testing.assert_allclose(some, np.where(labels == 0, every, -1), rtol=1e-12)
    assert known_evasion(part, X, Y).describe()["classes"] == [0]
    none, bound = (
        float(evaluate(objective(e, np.ones(3, int)), jnp.asarray(far[:3]))) for e in (None, known_evasion(part, X, Y))
    )
    assert none == pytest.approx(bound, rel=1e-12)


def test_the_loss_let_pass_is_that_of_rows_which_may_go():
    known = known_evasion(LossTrim(fraction=0.2, sampling_strategy=[1]), X, Y)
    np.testing.assert_array_equal(known.inside.x, X[Y == 1])
    np.testing.assert_array_equal(known.inside.y, np.eye(2)[Y[Y == 1]])
    assert isinstance(known_evasion(LossTrim(fraction=0.2), X, Y), type(known.inside))


@pytest.mark.parametrize("name", mostly_slow(SANITISERS, "slab", "loss-trim", "spectral", "trim"))
def test_every_defence_that_says_how_to_evade_it_can_be_attacked_by_those_who_know(name):
    """Through a whole attack, where margin and strength are numbers of the compiled program."""
    entry = SANITISERS[name]
    defence = make_sanitiser(
        name,
        trusted=(X, Y) if entry.takes_trusted else None,
        estimator=LearnerClassifier(problems.LEARNER, problems.SCHEDULE),
    )
    evasion = defence.evasion(X, Y)
    if evasion is None:
        pytest.skip("nobody knows how to evade it")
    known = dataclasses.replace(evasion, margin=0.1, strength=0.5)
    attack = bg.JointAttack(3, step_size=0.1)
    found = problems.craft(attack, "box", threat=threat(known, feasible=problems.SETS["box"]))
    free = problems.craft(attack, "box", threat=threat(None, feasible=problems.SETS["box"]))
    assert np.isfinite(found.trace).all()
    assert (found.points != free.points).any()


@pytest.mark.parametrize("defence", [Sphere(fraction=0.4), Slab(fraction=0.4)])
def test_gradient_counts_the_penalty(defence):
    problem = objective(defence.evasion(X, Y), np.array([0, 1, 1]))
    points = jnp.asarray(np.random.default_rng(1).uniform(size=(3, problems.D)))
    gradient = differentiate(problem, points).gradient
    check_gradient(lambda x: evaluate(problem, x), points, key=jax.random.key(0), gradient=gradient, tolerance=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize("defence", [Sphere(fraction=0.4), Slab(fraction=0.4)])
def test_points_stay_where_the_defence_lets_them_pass(defence, margin):
    known = dataclasses.replace(defence.evasion(X, Y), margin=margin)
    made = problems.craft(bg.JointAttack(8), "box", threat=threat(known))
    inside = known.within(bg.Box(), one_hot(made.labels, 2)).contains(jnp.asarray(made.points))
    assert np.asarray(inside).all()
    excess = known.excess(bg.samples(made.points, made.labels, 2), problems.LEARNER, None)
    assert np.all(np.asarray(excess) <= -margin + 1e-9)
    assert made.health.feasible
    assert made.threat_model.describe()["evades"]["margin"] == margin


@pytest.mark.parametrize("defence", [Sphere(fraction=0.4), Slab(fraction=0.2)])
def test_points_that_others_label_are_not_held_to_the_regions_of_labels_they_do_not_get(defence):
    known = dataclasses.replace(defence.evasion(X, Y), strength=5.0)
    attacker = threat(known, labels=bg.AssignedLabels(lambda x: np.zeros(len(x), int)))
    validation = problems.validation_rows("box")
    attack = bg.JointAttack(40, step_size=0.3)
    found = attack.craft(problems.LEARNER, CLEAN, validation, schedule=problems.SCHEDULE, threat=attacker, seed=0)
    excess = known.excess(bg.samples(found.points, found.labels, 2), problems.LEARNER, None)
    assert float(np.max(excess)) < 0.05


def test_discrete_points_are_held_back_by_the_penalty_alone():
    known = Sphere(fraction=0.4).evasion(X, Y)
    assert known.within(bg.Binary(), one_hot(np.zeros(2, int), 2)) == bg.Binary()


@pytest.mark.parametrize(("settings", "word"), [({"margin": 1.0}, "margin"), ({"strength": 0.0}, "strength")])
def test_settings_out_of_range_are_refused(settings, word):
    with pytest.raises(InputError, match=word):
        dataclasses.replace(Sphere().evasion(X, Y), **settings)


class CountedEvasion(Evasion):
    """Counts how often its excess is traced."""

    traced: ClassVar[list[int]] = []

    def excess(self, points, learner, params):
        self.traced.append(1)
        return super().excess(points, learner, params)


def test_attackers_who_differ_in_margin_and_strength_share_one_compilation():
    attack = bg.JointAttack(iterations=1)

    def craft(evasion):
        validation = problems.validation_rows("box")
        schedule = problems.SCHEDULE
        return attack.craft(problems.LEARNER, CLEAN, validation, schedule=schedule, threat=threat(evasion), seed=0)

    craft(CountedEvasion())
    before = len(CountedEvasion.traced)
    craft(CountedEvasion(margin=0.2, strength=2.0))
    assert len(CountedEvasion.traced) == before > 0
