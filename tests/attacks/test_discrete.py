"""The joint attack on discrete sets: what it promises on each of them, and the rule by which logits move."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from tests.attacks.problems import LEARNER, SCHEDULE, D, P, objective, train_rows, validation_rows

RNG = np.random.default_rng(8)
ATTACK = bg.JointAttack(12, step_size=0.5, discrete_step_size=0.4)
BITS = RNG.integers(0, 2, (P, D)).astype(float)
CATEGORIES = np.concatenate([np.eye(2)[[0, 1, 0, 1]], np.eye(4)[[3, 0, 2, 1]]], axis=1)
LABELS = np.arange(P) % 2


def follow(points):
    """Return points whose last column is one where the first two are."""
    return points.at[:, 5].set(points[:, 0] * points[:, 1])


def half_box():
    """Return three binary columns, and three in a box."""
    return bg.Columns([((0, 2, 4), bg.Binary()), ((1, 3, 5), bg.Box())])


SETS = {
    "binary": (bg.Binary(), BITS),
    "integer": (bg.Integer(0, 3), 3 * BITS),
    "one-hot": (bg.OneHot((2, 4)), CATEGORIES),
    "columns": (half_box(), BITS),
    "columns of both discrete kinds": (bg.Columns([((0, 1), bg.Integer(0, 2)), ((2, 3, 4, 5), bg.Binary())]), BITS),
    "immutable": (bg.Immutable(bg.Binary(), (0, 3)), BITS),
    "linked": (bg.Linked(bg.Binary(), follow), np.asarray(follow(jnp.asarray(BITS)))),
}


def craft(kind, **threat):
    feasible, start = SETS[kind]
    model = bg.ThreatModel(P, feasible=feasible, **threat)
    return ATTACK.craft(
        LEARNER,
        train_rows("binary"),
        validation_rows("binary"),
        schedule=SCHEDULE,
        threat=model,
        seed=3,
        start=(start, LABELS),
    )


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(kind, bg.FlippedLabels()) for kind in SETS] + [("columns of both discrete kinds", bg.ChosenLabels())],
)
def test_on_every_discrete_set_points_are_feasible_and_the_best_that_were_measured(kind, labels):
    result = craft(kind, labels=labels)
    feasible = SETS[kind][0].around(jnp.asarray(result.start))
    assert np.asarray(feasible.contains(jnp.asarray(result.points))).all()
    assert len(result.trace) == result.health.evaluations == ATTACK.iterations
    assert result.trace[0] == pytest.approx(result.health.objective_start, rel=1e-9)
    assert result.health.objective_best == pytest.approx(result.trace.max(), rel=1e-9)
    assert objective("binary", result.points, result.labels) == pytest.approx(result.trace.max(), rel=1e-9)
    assert result.health.rose
    assert (result.points != result.start).any()
    if isinstance(labels, bg.FlippedLabels):
        np.testing.assert_array_equal(result.labels, LABELS)


def walk(feasible, gradients, attack=ATTACK):
    """Return where latents go along gradients."""
    rule, latent = attack.optimiser(feasible, D), jnp.zeros((P, D))
    state, path = rule.init(latent), []
    for gradient in gradients:
        move, state = rule.update(jnp.asarray(gradient), state, latent)
        latent = latent + jnp.asarray(move)
        path.append(np.asarray(latent))
    return np.stack(path)


GRADIENTS = RNG.normal(size=(6, P, D))
RULES = {"binary": bg.Binary(), "one-hot": bg.OneHot((2, 4)), "columns": half_box()}


@pytest.mark.parametrize("kind", RULES)
def test_logits_move_along_directions_whatever_a_gradient_s_length(kind):
    lengths = 10.0 ** RNG.uniform(-9, 9, size=(6, 1, 1))
    plain, scaled = (walk(RULES[kind], g) for g in (GRADIENTS, lengths * GRADIENTS))
    np.testing.assert_allclose(scaled, plain, rtol=1e-6, atol=1e-9)
    assert (plain[-1] != 0).all()


def test_points_share_one_length_so_that_those_that_matter_more_are_heard_longer():
    # Point 0 pulls one way once, a thousand times as strongly as ever after; alone, it would forget that at once.
    pull = np.ones((3, P, D))
    pull[1:, 0] = -1e-3
    path = walk(bg.Binary(), pull)
    assert (np.diff(path[:, 0], axis=0) > 0).all()
    alone = np.sign(pull)
    assert (np.diff(walk(bg.Binary(), alone)[:, 0], axis=0)[-1] < 0).all()


def test_no_gradient_is_no_move():
    np.testing.assert_array_equal(walk(bg.Binary(), np.zeros((2, P, D))), 0.0)


def test_box_columns_beside_logits_keep_their_own_rule():
    alone = walk(bg.Box(), np.where(RULES["columns"].logits(D), 0.0, GRADIENTS))
    beside = walk(RULES["columns"], GRADIENTS)
    box = ~RULES["columns"].logits(D)
    np.testing.assert_allclose(beside[:, :, box], alone[:, :, box], rtol=1e-12)


def test_a_gradient_that_is_not_finite_leaves_the_search_alive():
    class Blinking(bg.JointAttack):
        """Its third gradient is broken."""

        def measure(self, objective, feasible, state):
            points, value, gradient, drift = super().measure(objective, feasible, state)
            return points, value, jnp.where(state.step == 2, jnp.inf * gradient, gradient), drift

    attack = Blinking(**{field.name: getattr(ATTACK, field.name) for field in dataclasses.fields(ATTACK)})
    threat = bg.ThreatModel(P, feasible=bg.Binary())
    rows = train_rows("binary"), validation_rows("binary")
    result = attack.craft(LEARNER, *rows, schedule=SCHEDULE, threat=threat, seed=3, start=(BITS, LABELS))
    assert np.isfinite(result.trace).all()
    assert result.health.rose
