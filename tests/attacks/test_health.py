"""Evidence that an attack worked: what counts as failed or suspect, and that a failed attack is no robust model."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backgrad as bg
from backgrad.attacks import health
from backgrad.attacks.base import Optimised
from backgrad.attacks.health import Evidence, judge
from backgrad.attacks.objective import Hypergradient, OuterObjective, group_members
from backgrad.errors import NotConvergedError
from tests.attacks.problems import D, P, craft, objective

GOOD = {
    "objective_start": 0.1,
    "objective_best": 0.2,
    "errors": (1e-9, 1e-8),
    "drift": 0.0,
    "feasible": True,
}
NAN, INF = math.nan, math.inf


def test_an_attack_that_raised_its_objective_on_good_gradients_worked():
    assert judge(Evidence(**GOOD)) == ("worked", "the objective rose from 0.100 to 0.200 on gradients that check out.")


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        ({"objective_start": NAN}, "not finite"),
        ({"objective_best": NAN}, "not finite"),
        ({"objective_best": INF}, "not finite"),
        ({"feasible": False}, "left the feasible set"),
        ({"objective_best": 0.1}, "never rose above its start"),
        ({"objective_best": 0.05}, "never rose above its start"),
        ({"objective_best": 0.05, "drift": 5.0, "errors": (0.5, 0.5)}, "never rose above its start"),
        ({"objective_best": 0.05, "drift": 5.0}, "the reversal drifted by 5"),
        ({"objective_best": 0.10005}, "hardly rose above its start, by 5e-05"),
    ],
)
def test_an_attack_that_optimised_nothing_failed(evidence, sentence):
    verdict, reason = judge(Evidence(**{**GOOD, **evidence}))
    assert verdict == "failed"
    assert sentence in reason


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        ({"drift": 0.2}, "drifted by 0.2"),
        ({"drift": INF}, "use an exact adjoint"),
        ({"drift": NAN}, "use an exact adjoint"),
        ({"errors": (0.02, 1e-9)}, "differs from a finite difference by 2.0%"),
        ({"errors": (1e-9, 0.02)}, "differs from a finite difference by 2.0%"),
        ({"errors": (None, 0.02)}, "differs from a finite difference by 2.0%"),
        ({"errors": (1e-9, INF)}, "differs from a finite difference"),
        ({"errors": (1e-9, NAN)}, "differs from a finite difference"),
        ({"errors": (NAN, 1e-9)}, "differs from a finite difference"),
        ({"training": bg.Status.NOT_CONVERGED}, "an implicit gradient is wrong"),
        ({"training": bg.Status.NO_FINITE_OPTIMUM}, "no unique finite optimum"),
        ({"training": bg.Status.DIVERGED}, "lower the step size"),
        ({"gain_left": 0.16}, "one more step gains 0.16"),
    ],
)
def test_an_attack_on_doubtful_gradients_is_suspect(evidence, sentence):
    verdict, reason = judge(Evidence(**{**GOOD, **evidence}))
    assert verdict == "suspect"
    assert sentence in reason


def test_gradients_that_nobody_checked_are_not_said_to_check_out():
    assert "check out" not in judge(Evidence(**{**GOOD, "errors": (None, None)}))[1]


def test_an_attack_without_a_chance_fails_and_does_not_call_the_model_robust():
    # One iterate is the start and no other.
    result = craft(bg.JointAttack(1), "box")
    np.testing.assert_array_equal(result.points, result.start)
    assert result.health.verdict == "failed"
    assert not result.health.rose
    assert "does not make the model robust" in result.health.sentence


def test_label_flips_optimise_nothing_and_say_so():
    health = craft(bg.LabelFlip(), "box").health
    assert health.verdict == "failed"
    assert "does not make the model robust" in health.sentence


def through_reversal(step_size):
    """Attack ADALINE through the paper's reversal; a step size that is an array shares one compilation."""
    schedule = bg.Descent(60, jnp.asarray(step_size))
    attack = bg.JointAttack(13, step_size=0.4)
    return craft(attack, "box", learner=bg.Adaline(D), schedule=schedule, adjoint=bg.BackGradient())


def test_training_that_diverges_makes_the_attack_fail():
    # Errors grow by more than 10⁶ a step, past what a float holds after sixty.
    result = through_reversal(1e6)
    assert not np.isfinite(result.trace).any()
    np.testing.assert_array_equal(result.points, result.start)
    assert result.health.verdict == "failed"
    assert "not finite" in result.health.sentence


def test_a_reversal_that_drifts_is_suspect_and_its_gradient_is_measured():
    # Reversing multiplies rounding by 1 + ηλ a step, which is over 2 here: sixty steps leave nothing.
    result = through_reversal(0.8)
    assert result.adjoint == "BackGradient"
    assert result.health.drift > 0.1
    assert result.health.rose
    assert result.health.verdict == "suspect"
    assert "drifted" in result.health.sentence


def test_a_short_reversal_does_not_drift_and_works():
    health = through_reversal(0.002).health
    assert 0 < health.drift < 0.1
    assert health.verdict == "worked"


class Escape(bg.LabelFlip):
    """An attack that claims points outside the feasible set."""

    def search(self, objective, feasible, start, *, seed, progress):
        return Optimised(jnp.full_like(start, 1.5), np.array([9.0]), 0.0)


class Boast(bg.LabelFlip):
    """An attack that claims success with points that do no harm: those of the other label."""

    def search(self, objective, feasible, start, *, seed, progress):
        harmless = objective.train.x[jnp.asarray([1 if y else 0 for y in np.asarray(objective.labels[:, 1])])]
        return Optimised(harmless, np.array([0.9]), 0.0)


def test_success_is_judged_again_and_not_taken_from_the_attack():
    escape, boast = craft(Escape(), "box"), craft(Boast(), "box")
    assert (escape.health.verdict, escape.health.feasible) == ("failed", False)
    assert boast.health.verdict == "failed"
    assert boast.health.objective_best == pytest.approx(objective("box", boast.points, boast.labels), rel=1e-12)
    assert boast.points.shape == (P, D)


# --- what health must catch in real attacks -------------------------------------------------------


def test_an_implicit_gradient_short_of_the_optimum_is_caught():
    # Ten short steps end far from the optimum, where the implicit gradient belongs to another function.
    learner, schedule = bg.LogisticRegression(D, 0.01), bg.Descent(10, 0.1)
    attack = bg.JointAttack(13, step_size=0.4)
    wrong = craft(attack, "box", learner=learner, schedule=schedule, adjoint=bg.Implicit(throw=False)).health
    assert wrong.training is bg.Status.NOT_CONVERGED
    assert max(wrong.gradient_error_first, wrong.gradient_error_last) > 0.1
    assert wrong.verdict in ("suspect", "failed")
    solved = bg.Descent(4000, 2.0)
    right = craft(attack, "box", learner=learner, schedule=solved, adjoint=bg.Implicit(throw=False)).health
    assert right.training is bg.Status.DONE
    assert right.verdict == "worked"


def test_an_implicit_gradient_that_raises_does_so_in_one_sentence():
    settings = {"learner": bg.LogisticRegression(D, 0.01), "schedule": bg.Descent(2, 0.1), "adjoint": bg.Implicit()}
    with pytest.raises(NotConvergedError, match=r"^Implicit: the gradient of the training loss is not small .*\.$"):
        craft(bg.JointAttack(1), "box", **settings)


def test_a_long_reversal_of_adaline_is_caught():
    result = craft(
        bg.JointAttack(13, step_size=0.4),
        "box",
        learner=bg.Adaline(D),
        schedule=bg.Descent(2000, 0.1),
        adjoint=bg.BackGradient(),
    )
    assert not result.health.drift <= 0.1
    assert result.health.verdict in ("suspect", "failed")
    assert "drifted" in result.health.sentence


@pytest.mark.parametrize(("step_size", "verdict"), [(1e-7, "failed"), (1e-3, "suspect"), (0.4, "worked")])
def test_steps_that_stall_are_caught(step_size, verdict):
    health = craft(bg.JointAttack(13, step_size=step_size), "box").health
    assert health.verdict == verdict, health.sentence


def test_a_learner_that_points_cannot_move_is_not_called_robust():
    # Steps of 1e-9 leave the network at its initial parameters, whatever it is trained on.
    model, schedule = bg.MLP(D), bg.Descent(40, 1e-9)
    health = craft(bg.JointAttack(13, step_size=0.4), "box", learner=model, schedule=schedule).health
    assert health.verdict == "failed"
    assert "does not make the model robust" in health.sentence


def objective_of(learner, schedule, train, validation, labels):
    groups, sizes = group_members((bg.Member(learner, schedule),), jnp.float64)
    adjoints, rule = (bg.Checkpointed(),), bg.FlippedLabels()
    return OuterObjective(groups, sizes, adjoints, bg.ErrorGeneric(), train, validation, labels, rule)


def problem_of(scale=1.0, constant=False):
    """Return an objective whose columns have unlike scales, and points that start as training rows."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), np.arange(60) % 2
    x[:, 0] += y
    if constant:
        x[:, 2] = 3.0
    x *= scale
    train, validation = bg.samples(x[:30], y[:30], 2), bg.samples(x[30:], y[30:], 2)
    learner = bg.Standardised(bg.LogisticRegression(4, l2=0.1))
    labels = jax.nn.one_hot((y[:4] + 1) % 2, 2)
    return objective_of(learner, bg.Descent(50, 0.5), train, validation, labels), jnp.asarray(x[:4])


@pytest.mark.parametrize("scale", [1.0, np.array([1.0, 1e-4, 1e4, 1e-2])])
@pytest.mark.parametrize("constant", [False, True])
def test_gradients_are_checked_in_units_of_the_columns(scale, constant):
    """A column in which all rows agree has no scale, until a point leaves it: a kink, and no wrong gradient."""
    objective, points = problem_of(scale, constant)
    assert health.gradient_error(objective, points, key=jax.random.key(0)) < 1e-5


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "worked"), (1.05, "suspect")])
def test_a_gradient_is_checked_with_steps_within_which_training_does_not_bend(factor, verdict, monkeypatch):
    """An objective that turns round within the first step, and a gradient of it that is right, or wrong."""
    problem, points = problem_of()
    bends = 1e6

    def evaluate(_, points):
        return 1 + jnp.sum(jnp.sin(bends * points)) / bends

    def differentiate(objective, points):
        return Hypergradient(evaluate(objective, points), factor * jnp.cos(bends * points), jnp.zeros(()))

    monkeypatch.setattr(health, "evaluate", evaluate)
    monkeypatch.setattr(health, "differentiate", differentiate)
    error = health.gradient_error(problem, points, key=jax.random.key(0))
    assert judge(Evidence(**{**GOOD, "errors": (error, 1e-9)}))[0] == verdict


@pytest.mark.parametrize("wrong", [1.02, 0.5, -1.0])
def test_a_wrong_gradient_is_wrong_at_every_step_and_beside(wrong, monkeypatch):
    objective, points = problem_of()
    right = health.differentiate

    def differentiate(objective, points):
        found = right(objective, points)
        return found._replace(gradient=wrong * found.gradient)

    monkeypatch.setattr(health, "differentiate", differentiate)
    error = health.gradient_error(objective, points, key=jax.random.key(0))
    assert error == pytest.approx(abs(1 - 1 / wrong), rel=0.1) or error == pytest.approx(abs(wrong - 1), rel=0.1)
    assert judge(Evidence(**{**GOOD, "errors": (error, 1e-9)}))[0] == "suspect"


# --- gradients of different draws -----------------------------------------------------------------


def test_cosines_are_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((4, 3, 5)) * rng.uniform(0.1, 10, (4, 3, 1))
    expected = []
    for point in range(3):
        g = gradients[:, point]
        pairs = [g[i] @ g[j] / np.linalg.norm(g[i]) / np.linalg.norm(g[j]) for i in range(4) for j in range(i)]
        expected.append(np.mean(pairs))
    np.testing.assert_allclose(health.cosines(gradients), expected, rtol=1e-12)


def test_equal_directions_have_cosine_one_and_zeros_or_infinities_none():
    same = np.ones((3, 1, 4)) * np.array([1.0, 2.0, 5.0])[:, None, None]
    np.testing.assert_allclose(health.cosines(same), 1.0)
    np.testing.assert_allclose(health.cosines(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])), 0.0, atol=1e-15)
    lost = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]], [[INF, 0.0]]])
    np.testing.assert_allclose(health.cosines(lost), 2 / (4 * 3))


def test_an_attack_that_redraws_says_how_far_its_gradients_agree():
    # Of a network, whose initial parameters matter; through wild steps gradients have less in common.
    found = {}
    for step_size in (0.1, 5.0):
        network = {"learner": bg.MLP(D, 2, (8,)), "schedule": bg.Descent(30, step_size, key=jax.random.key(7))}
        found[step_size] = craft(bg.JointAttack(4, step_size=0.2, redraw=True), "box", **network).health.agreement
    assert 0.2 < found[0.1] <= 1
    assert abs(found[5.0]) < 0.2
    assert craft(bg.JointAttack(4, step_size=0.2), "box", **network).health.agreement is None


def test_an_attack_whose_gradients_do_not_agree_is_suspect():
    evidence = {**GOOD, "agreement": 0.004, "evaluations": 150}
    verdict, reason = judge(Evidence(**evidence))
    assert verdict == "suspect"
    assert "do not agree (mean cosine 0.004)" in reason
    assert judge(Evidence(**{**evidence, "evaluations": 300}))[0] == "worked"
    assert judge(Evidence(**{**evidence, "agreement": 0.1}))[0] == "worked"
    assert judge(Evidence(**{**evidence, "agreement": -0.01, "evaluations": 9999}))[0] == "suspect"
