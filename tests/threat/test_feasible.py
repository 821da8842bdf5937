"""Feasible sets: projections, steps and relaxations that never leave them."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backgrad.errors import InputError
from backgrad.threat.discrete import Binary
from backgrad.threat.feasible import Box

# One shape for all examples, so that JAX compiles each operation once.
SHAPE = P, D = 3, 5
LOWER, UPPER = np.array([-1.0, 0.0, 0.25, 0.5, -2.0]), np.array([1.0, 0.5, 0.75, 0.625, -1.5])
BOXES = {"unit": Box(), "floats": Box(-0.5, 0.25), "a feature": Box(LOWER, UPPER)}
SETS = {**BOXES, "binary": Binary()}

settings.register_profile("threat", deadline=None, max_examples=25, derandomize=True)
quick = settings(settings.get_profile("threat"))
every_set = pytest.mark.parametrize("feasible", SETS.values(), ids=SETS.keys())
every_box = pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
# No subnormal numbers: XLA flushes them to zero.
anywhere = arrays(np.float64, SHAPE, elements=st.floats(-3, 3, allow_subnormal=False))
slopes = arrays(np.float64, SHAPE, elements=st.floats(-1e3, 1e3, allow_subnormal=False))
binary_points = arrays(np.float64, SHAPE, elements=st.sampled_from([0.0, 1.0]))
lengths = st.floats(0.05, 3.0)


@every_set
@quick
@given(points=anywhere)
def test_a_projection_is_feasible_and_projecting_again_changes_nothing(feasible, points):
    once = feasible.project(jnp.asarray(points))
    assert feasible.contains(once).all()
    np.testing.assert_array_equal(feasible.project(once), once)


@every_box
@quick
@given(points=anywhere)
def test_a_box_projects_to_the_nearest_point(box, points):
    lower, upper = np.broadcast_to(box.lower, D), np.broadcast_to(box.upper, D)
    nearest = np.where(points < lower, lower, np.where(points > upper, upper, points))
    np.testing.assert_array_equal(box.project(jnp.asarray(points)), nearest)


@quick
@given(points=anywhere)
def test_binary_projects_to_the_nearest_point(points):
    projected = np.asarray(Binary().project(jnp.asarray(points)))
    np.testing.assert_array_equal(np.abs(points - projected), np.minimum(np.abs(points), np.abs(points - 1)))


@every_box
def test_a_box_contains_its_bounds_and_nothing_beyond_them(box):
    lower, upper = (np.broadcast_to(np.asarray(b, float), D) for b in (box.lower, box.upper))
    assert box.contains(jnp.asarray(np.stack([lower, upper, (lower + upper) / 2]))).all()
    for j in range(D):
        outside = np.stack([lower, upper, (lower + upper) / 2])
        outside[0, j], outside[1, j], outside[2, j] = np.nextafter(lower[j], -9), np.nextafter(upper[j], 9), np.nan
        # Just below zero lies a subnormal number, which XLA takes for zero.
        outside[0, j] = min(outside[0, j], lower[j] - 1e-300)
        assert not box.contains(jnp.asarray(outside)).any()


def test_binary_contains_zeros_and_ones_and_nothing_else():
    points = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, np.nextafter(1, 0)], [1e-300, 1.0], [np.nan, 0.0], [2.0, 0.0]])
    np.testing.assert_array_equal(Binary().contains(jnp.asarray(points)), [True, True, False, False, False, False])


@every_set
@quick
@given(seed=st.integers(0, 2**32 - 1))
def test_samples_are_feasible_and_depend_on_the_key_alone(feasible, seed):
    points = feasible.sample(jax.random.key(seed), 8, D)
    assert points.shape == (8, D)
    assert feasible.contains(points).all()
    np.testing.assert_array_equal(points, feasible.sample(jax.random.key(seed), 8, D))
    assert (points != feasible.sample(jax.random.key(seed + 1), 8, D)).any()


@every_set
def test_samples_are_uniform(feasible):
    points = np.asarray(feasible.sample(jax.random.key(0), 4000, D))
    lower, upper = (0.0, 1.0) if isinstance(feasible, Binary) else (feasible.lower, feasible.upper)
    width = np.subtract(upper, lower)
    # The standard error of the mean is at most width / (2 √4000) = 0.008 width: five of them.
    np.testing.assert_array_less(np.abs(points.mean(0) - np.add(lower, upper) / 2), 0.04 * width * np.ones(D))
    # A variance of 1/12 or 1/4 of the squared width tells uniform from constant or clipped samples.
    spread = 1 / 4 if isinstance(feasible, Binary) else 1 / 12
    np.testing.assert_allclose(points.var(0) / width**2, spread, rtol=0.1)


@every_set
@quick
@given(points=anywhere, slope=slopes, length=lengths)
def test_a_step_uphill_stays_feasible_and_never_goes_downhill(feasible, points, slope, length):
    start = feasible.project(jnp.asarray(points))
    end = feasible.ascend(start, jnp.asarray(slope), length)
    assert feasible.contains(end).all()
    assert ((np.asarray(end) - np.asarray(start)) * slope >= 0).all()


@every_set
@quick
@given(points=anywhere, length=lengths)
def test_a_gradient_of_zero_leaves_points_alone(feasible, points, length):
    start = feasible.project(jnp.asarray(points))
    np.testing.assert_array_equal(feasible.ascend(start, jnp.zeros(SHAPE), length), start)


@every_box
@quick
@given(points=anywhere, direction=slopes.filter(lambda g: (np.abs(g).max(1) > 1e-3).all()), length=lengths)
def test_a_step_in_a_box_has_the_length_asked_for_in_sides_before_it_is_clipped(box, points, direction, length):
    start = np.asarray(box.project(jnp.asarray(points)))
    side = np.asarray(box.upper) - np.asarray(box.lower)
    uphill = direction * side
    moved = start + length * side * uphill / np.sqrt((uphill**2).sum(1, keepdims=True))
    expected = np.minimum(np.maximum(moved, box.lower), box.upper)
    found = box.ascend(jnp.asarray(start), jnp.asarray(direction), length)
    # Coordinates are of order 1, and a norm of 5 terms rounds a few times.
    np.testing.assert_allclose(found, expected, atol=1e-14)


@quick
@given(
    points=binary_points,
    order=st.permutations(range(P * D)),
    signs=arrays(np.float64, SHAPE, elements=st.sampled_from([-1.0, 1.0])),
    length=lengths,
)
def test_a_binary_step_flips_exactly_the_coordinates_of_the_largest_positive_gain(points, order, signs, length):
    slope = signs * (1.0 + np.reshape(order, SHAPE))  # no ties
    count = max(1, round(length**2))
    expected = points.copy()
    for row, uphill in zip(expected, slope, strict=True):
        gains = [g if v == 0 else -g for v, g in zip(row, uphill, strict=True)]
        for j in sorted(range(D), key=lambda j, gains=gains: -gains[j])[:count]:
            if gains[j] > 0:
                row[j] = 1 - row[j]
    np.testing.assert_array_equal(Binary().ascend(jnp.asarray(points), jnp.asarray(slope), length), expected)


@pytest.mark.parametrize(("length", "count"), [(1.0, 1), (math.sqrt(3), 3), (0.1, 1)])
def test_a_binary_step_flips_no_more_than_its_length_squared_even_where_gains_tie(length, count):
    end = Binary().ascend(jnp.zeros(SHAPE), jnp.ones(SHAPE), length)
    np.testing.assert_array_equal(np.asarray(end).sum(1), count)


@quick
@given(points=binary_points, first=st.floats(0.05, 2.0), factor=st.floats(0.1, 0.9))
def test_a_relaxed_binary_point_rounds_to_itself_and_hardens_as_the_temperature_falls(points, first, factor):
    binary = Binary()
    latent = binary.latent(jnp.asarray(points))
    warm, cool = (np.asarray(binary.relax(latent, jnp.asarray(t))) for t in (first, first * factor))
    for soft in (warm, cool):
        assert ((soft > 0) & (soft <= 1)).all()
        np.testing.assert_array_equal(binary.project(jnp.asarray(soft)), points)
    # One way only where both temperatures are so low that the sigmoid is 0 or 1 to the last digit.
    assert (np.abs(cool - points) <= np.abs(warm - points)).all()
    np.testing.assert_allclose(binary.relax(latent, jnp.asarray(0.01)), points, atol=1e-40 + 2**-53)


def test_the_share_at_bounds_counts_coordinates_of_each_feature_s_own_bounds():
    points = np.tile((LOWER + UPPER) / 2, (P, 1))
    assert float(BOXES["a feature"].share_at_bounds(jnp.asarray(points))) == 0
    points[0], points[1, :3] = LOWER, UPPER[:3]
    # Eight of fifteen; the share may be computed in float32.
    assert float(BOXES["a feature"].share_at_bounds(jnp.asarray(points))) == pytest.approx(8 / 15, rel=1e-6)
    assert float(Binary().share_at_bounds(jnp.zeros(SHAPE))) == 1


def test_sets_describe_themselves_in_plain_json():
    assert json.loads(json.dumps(Box().describe(), allow_nan=False)) == {"set": "box", "lower": 0.0, "upper": 1.0}
    described = json.loads(json.dumps(BOXES["a feature"].describe(), allow_nan=False))
    assert described == {"set": "box", "lower": LOWER.tolist(), "upper": UPPER.tolist()}
    assert json.loads(json.dumps(Binary().describe(), allow_nan=False)) == {"set": "binary"}


@pytest.mark.parametrize(
    ("lower", "upper"), [(1.0, 0.0), (float("nan"), 1.0), (np.zeros(3), np.array([1.0, -0.1, 1.0]))]
)
def test_bounds_the_wrong_way_round_are_refused_in_a_sentence(lower, upper):
    with pytest.raises(InputError, match="no lower bound may be above its upper bound; got"):
        Box(lower, upper)
