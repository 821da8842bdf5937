"""What attackers keep to who know a defence: regions inside a convex set, and the price of being suspicious."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from backgrad.errors import InputError
from backgrad.testing import FeasibleSetContract
from backgrad.threat.compose import Ball, Immutable
from backgrad.threat.evasion import Evasion, InSlab, InSphere
from backgrad.threat.feasible import Box
from backgrad.types import samples

SHAPE = P, D = 3, 6
START = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.7, SHAPE))
CENTRES = jnp.asarray(np.random.default_rng(1).uniform(0.2, 0.8, SHAPE))
NORMALS = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))
RADII, WIDTHS = jnp.asarray([0.6, 0.5, 0.7]), jnp.asarray([0.1, 0.02, 0.5])
# A box that the last column's centre lies outside of.
NARROW = Box(jnp.asarray([0.0, 0.0, 0.1, 0.0, -jnp.inf, 0.9]), jnp.asarray([1.0, 0.6, 1.0, 0.9, jnp.inf, 1.0]))
BASES = {
    "box": Box(),
    "narrow box": NARROW,
    "all space": Box(-jnp.inf, jnp.inf),
    "ball": Ball(Box(), 0.25).around(START),
    "immutable": Immutable(Box(), (1, 4)).around(START),
}
CLOSED = {
    **{f"sphere in {name}": InSphere(base, CENTRES, RADII) for name, base in BASES.items()},
    **{f"slab in {name}": InSlab(base, CENTRES, NORMALS, WIDTHS) for name, base in BASES.items()},
}
# Immutable columns and balls leave little; these regions are laid so that both sets meet.
CLOSED["slab in ball"] = InSlab(BASES["ball"], START, NORMALS, WIDTHS)
CLOSED["slab in immutable"] = InSlab(BASES["immutable"], START, NORMALS, WIDTHS)
EDGES = {
    "a sphere that is a point": InSphere(Box(), CENTRES, jnp.zeros(P)),
    "a slab that is a plane": InSlab(Box(), CENTRES, NORMALS, jnp.zeros(P)),
    "a slab without a direction": InSlab(Box(), CENTRES, jnp.zeros(SHAPE), WIDTHS),
    "a sphere around the box": InSphere(Box(), CENTRES, jnp.full(P, 10.0)),
}

settings.register_profile("evasion", deadline=None, max_examples=15, derandomize=True)
quick = settings(settings.get_profile("evasion"))
every_set = pytest.mark.parametrize("feasible", [*CLOSED.values(), *EDGES.values()], ids=[*CLOSED, *EDGES])
anywhere = arrays(np.float64, SHAPE, elements=st.floats(-3, 3, allow_subnormal=False))


@eqx.filter_jit
def project(feasible, points):
    return feasible.project(points)


def slack(feasible, points):
    """Return how far points lie inside their regions, by plain NumPy."""
    move = np.asarray(points) - np.asarray(feasible.centres)
    if isinstance(feasible, InSphere):
        return np.asarray(feasible.radii) - np.linalg.norm(move, axis=1)
    return np.asarray(feasible.widths) - np.abs(np.sum(move * np.asarray(feasible.normals), axis=1))


def pulled(feasible, points):
    """Return points pulled straight to a centre that the base holds, until they are inside."""
    near, centres = np.asarray(feasible.base.project(jnp.asarray(points))), np.asarray(feasible.centres)
    limit = np.asarray(feasible.radii if isinstance(feasible, InSphere) else feasible.widths)
    share = limit / np.maximum(limit - slack(feasible, near), limit)
    return centres + share[:, None] * (near - centres)


@every_set
@quick
@given(points=anywhere)
def test_a_projection_is_contained_and_projecting_again_changes_nothing(feasible, points):
    once = project(feasible, jnp.asarray(points))
    assert feasible.contains(once).all()
    assert feasible.base.contains(once).all()
    assert (slack(feasible, once) >= -1e-12).all()
    np.testing.assert_allclose(project(feasible, once), once, rtol=0, atol=1e-12)


@every_set
@quick
@given(points=anywhere, others=anywhere)
def test_a_projection_is_the_nearest_point(feasible, points, others):
    points = jnp.asarray(points)
    once, elsewhere = project(feasible, points), project(feasible, jnp.asarray(others))
    # Of a convex set, x* is the nearest point to x where ⟨x − x*, z − x*⟩ ≤ 0 for every z of the set.
    angle = np.sum((points - once) * (elsewhere - once), axis=1)
    if isinstance(feasible.base, Ball):  # whose own projection is not the nearest point of box and ball
        return
    assert (angle <= 1e-9).all()


@pytest.mark.parametrize("kind", ["sphere in box", "slab in box", "sphere in all space", "slab in all space"])
@quick
@given(points=anywhere)
def test_a_projection_is_never_farther_than_a_plain_pull(kind, points):
    feasible = CLOSED[kind]
    once, plain = np.asarray(project(feasible, jnp.asarray(points))), pulled(feasible, points)
    assert (slack(feasible, plain) >= -1e-12).all()
    assert (np.linalg.norm(once - points, axis=1) <= np.linalg.norm(plain - points, axis=1) + 1e-9).all()


@pytest.mark.parametrize("kind", ["sphere in narrow box", "slab in narrow box"])
def test_a_projection_is_what_a_solver_finds(kind):
    feasible = CLOSED[kind]
    points = np.random.default_rng(5).uniform(-1, 2, SHAPE)
    found = project(feasible, jnp.asarray(points))
    for j in range(P):

        def inside(x, j=j):
            return slack(feasible, np.tile(x, (P, 1)))[j]

        best = minimize(
            lambda x, j=j: np.sum((x - points[j]) ** 2),
            np.asarray(feasible.base.project(CENTRES))[j],
            jac=lambda x, j=j: 2 * (x - points[j]),
            bounds=list(zip(NARROW.lower, NARROW.upper, strict=True)),
            constraints={"type": "ineq", "fun": inside},
            method="SLSQP",
            options={"ftol": 1e-10},
        )
        assert best.success
        np.testing.assert_allclose(found[j], best.x, atol=1e-5)


def test_known_projections():
    sphere = InSphere(Box(), jnp.zeros((1, 2)), jnp.asarray([0.5]))
    np.testing.assert_allclose(sphere.project(jnp.asarray([[3.0, 4.0]])), [[0.3, 0.4]], atol=1e-15)
    slab = InSlab(Box(-9.0, 9.0), jnp.zeros((1, 2)), jnp.asarray([[2.0, 0.0]]), jnp.asarray([1.0]))
    np.testing.assert_allclose(slab.project(jnp.asarray([[3.0, 4.0]])), [[0.5, 4.0]], atol=1e-15)
    # The base is in the way: the plane x + y = 1 is met where x is at its bound.
    slab = InSlab(Box(0.0, 1.0), jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.asarray([1.0]))
    np.testing.assert_allclose(slab.project(jnp.asarray([[1.0, -7.0]])), [[1.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(slab.project(jnp.asarray([[5.0, 0.5]])), [[1.0, 0.0]], atol=1e-15)


@every_set
@quick
@given(points=anywhere)
def test_contains_tells_what_is_inside(feasible, points):
    near = feasible.base.project(jnp.asarray(points))
    room = slack(feasible, near)
    certain = np.abs(room) > 1e-9
    np.testing.assert_array_equal(np.asarray(feasible.contains(near))[certain], (room > 0)[certain])


def test_points_outside_the_base_are_not_contained():
    for kind in ("sphere in box", "slab in box"):
        outside = CENTRES.at[1].set(jnp.asarray([0.5, 0.5, 0.5, 0.5, 0.5, 1.0 + 1e-12]))
        feasible = dataclasses.replace(CLOSED[kind], centres=outside)
        np.testing.assert_array_equal(feasible.contains(outside), [True, False, True])


def test_where_base_and_region_do_not_meet_nothing_is_contained():
    apart = InSphere(Box(), jnp.full((1, 2), 3.0), jnp.asarray([0.5]))
    nearest = apart.project(jnp.asarray([[0.2, 0.2]]))
    np.testing.assert_allclose(nearest, [[1.0, 1.0]])
    assert not apart.contains(nearest).any()


def test_points_stay_inside_whatever_start_they_are_put_around():
    ball = InSphere(Ball(Box(), 0.1), CENTRES, RADII)
    start = ball.project(jnp.asarray(np.random.default_rng(3).uniform(size=SHAPE)))
    placed = ball.around(start)
    np.testing.assert_allclose(placed.project(start), start, atol=1e-12)
    moved = placed.ascend(start, NORMALS, 1.0)
    assert placed.contains(moved).all()
    assert (np.linalg.norm(moved - start, axis=1) <= 0.1).all()
    assert (np.linalg.norm(moved - start, axis=1) > 0.01).all()
    fixed = InSlab(Immutable(Box(), (0, 2)), CENTRES, NORMALS, WIDTHS)
    start = fixed.project(START)
    moved = fixed.around(start).ascend(start, NORMALS, 1.0)
    np.testing.assert_array_equal(moved[:, jnp.asarray([0, 2])], start[:, jnp.asarray([0, 2])])
    assert fixed.contains(moved).all()


def test_no_points_are_described_and_projected():
    for feasible in (
        InSphere(Box(), jnp.zeros((0, D)), jnp.zeros(0)),
        InSlab(Box(), jnp.zeros((0, D)), jnp.zeros((0, D)), jnp.zeros(0)),
    ):
        assert feasible.project(jnp.zeros((0, D))).shape == (0, D)
        assert [] in feasible.describe().values()


def test_descriptions():
    assert CLOSED["sphere in box"].describe() == {"set": "sphere", "radii": [0.5, 0.7], "within": Box().describe()}
    assert CLOSED["slab in box"].describe() == {"set": "slab", "widths": [0.02, 0.5], "within": Box().describe()}


@pytest.mark.parametrize(
    "one",
    [CLOSED["sphere in ball"], CLOSED["slab in narrow box"]],
    ids=["sphere in ball", "slab in narrow box"],
)
class TestRegions(FeasibleSetContract):
    n_features, n_points, cases = D, P, 30

    @pytest.fixture(autouse=True)
    def _choose(self, one):
        self.one = one

    def feasible(self):
        return self.one


class Overdone(Evasion):
    """Half a unit of the first feature too much."""

    def excess(self, points, learner, params):
        return points.x[:, 0] - 0.5


def test_the_penalty_is_the_mean_of_what_is_too_much():
    points = samples([[0.0], [0.7], [1.1]], [0, 1, 0], 2)
    assert float(Overdone().penalty(points, None, None)) == pytest.approx((0.2 + 0.6) / 3)
    assert float(Overdone(strength=3.0).penalty(points, None, None)) == pytest.approx(0.8)
    # A margin makes what just passes cost.
    assert float(Overdone(margin=0.1).penalty(points, None, None)) == pytest.approx((0.3 + 0.7) / 3)
    # Absent points cost nothing, and no points cost nothing.
    absent = points._replace(weight=jnp.asarray([1.0, 1.0, 0.0]))
    assert float(Overdone().penalty(absent, None, None)) == pytest.approx(0.1)
    assert float(Overdone().penalty(points._replace(weight=jnp.zeros(3)), None, None)) == 0


def test_the_penalty_pulls_points_back():
    points = samples([[0.0], [0.7], [1.1]], [0, 1, 0], 2)
    slope = jax.grad(lambda x: Overdone(strength=3.0).penalty(points._replace(x=x), None, None))(points.x)
    np.testing.assert_allclose(slope, [[0.0], [1.0], [1.0]])


def test_an_evasion_of_nothing_lets_everything_pass():
    points = samples(np.eye(2), [0, 1], 2)
    assert Evasion().within(Box(), points.y) == Box()
    np.testing.assert_array_equal(Evasion().excess(points, None, None), [0, 0])
    assert float(Evasion().penalty(points, None, None)) == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"margin": 1.0}, r"margin must lie in \[0, 1\)"),
        ({"margin": -0.1}, "margin must lie in"),
        ({"strength": 0.0}, "strength must be a positive finite number"),
        ({"strength": float("nan")}, "strength must be a positive finite number"),
    ],
)
def test_margins_and_strengths_out_of_range_are_refused(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        Evasion(**wrong)
