"""What every feasible set promises: whatever it projects, draws and steps to is in it, and it knows what is."""

import functools
import itertools
import json
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..adjoints.check import check_gradient
from ..threat.feasible import FeasibleSet
from .base import Contract

# Norms and rules round a few times, on coordinates of order 1 to 10.
_ROUND_OFF = 1e-12
# What a set may be off by and still call a point its own: rules and changes of units are computed anew.
_SLACK = 1e-8
_LENGTHS = (0.05, 1.8)


class _Draw(NamedTuple):
    """Random points, gradients and temperatures, and the points' projections; (cases, p, d) or (cases,)."""

    points: Any
    slopes: Any
    temperatures: Any
    inside: Any


class FeasibleSetContract(Contract):
    """The suite of feasible sets.

    Override `feasible`, and the sizes that do not fit. A set that depends on where points start comes back from its own
    `around`: `return MySet().around(jnp.asarray(start))`, with a start of n_points rows. Sets must be traceable by JAX,
    as attacks run them inside compiled loops.

    Attributes:
        n_features: d.
        n_points: p.
        reach: random points have coordinates between −reach and reach.
        cases: how many random sets of points are tried.
    """

    n_features: int = 6
    n_points: int = 3
    reach: float = 10.0
    cases: int = 200

    def feasible(self) -> FeasibleSet:
        """Return the set under test."""
        raise NotImplementedError("say what to test: def feasible(self): return MySet(...)")

    def test_projected_points_are_feasible(self):
        """All of them, compiled and not."""
        draw, feasible = self._draw(), self.feasible()
        self._require(draw.inside, "project leaves the set")
        uncompiled = feasible.contains(feasible.project(jnp.asarray(draw.points[0])))
        assert np.all(uncompiled), "uncompiled, project leaves the set"

    def test_projecting_again_changes_nothing(self):
        """Up to round-off."""
        inside = self._draw().inside
        np.testing.assert_allclose(self._map(_project, inside), inside, rtol=_ROUND_OFF, atol=_ROUND_OFF)

    def test_it_contains_only_what_its_projection_leaves_alone(self):
        """A point that projection moves was not feasible, far away or a hair beside a feasible one."""
        draw = self._draw()
        noise = np.random.default_rng(2).normal(size=draw.points.shape)
        for points in (draw.points, draw.inside + 1e-4 * noise, draw.inside + 1.0 * noise):
            claimed, projected = self._map(_contains, points), self._map(_project, points)
            moved = np.any(np.abs(projected - points) > _SLACK * (1 + np.abs(points)), axis=-1)
            assert not np.any(claimed & moved), "a point that projection moves is said to be feasible"

    def test_it_judges_each_point_by_itself_and_contains_no_nan(self):
        """A coordinate that is NaN makes its own point infeasible, and no other."""
        where = np.indices((self.n_points, self.n_features)).reshape(2, -1)
        for start in range(0, where.shape[1], self.cases):
            row, column = where[:, start : start + self.cases]
            spoilt = np.stack([self._draw().inside[0]] * self.cases)
            spoilt[np.arange(len(row)), row, column] = np.nan
            claimed = self._map(_contains, spoilt)[: len(row)]
            assert claimed.shape == (len(row), self.n_points), "contains must give one truth a point"
            np.testing.assert_array_equal(claimed, np.arange(self.n_points) != row[:, None])

    def test_steps_uphill_stay_feasible(self):
        """Whatever the gradient and the length."""
        draw = self._draw()
        for length, ascend in _ASCEND.items():
            self._require(self._map(ascend, draw.inside, draw.slopes), f"a step of length {length} leaves the set")

    def test_a_gradient_of_zero_leaves_points_where_they_are(self):
        """Up to round-off."""
        inside = self._draw().inside
        still = self._map(_ASCEND[_LENGTHS[0]], inside, np.zeros_like(inside))
        np.testing.assert_allclose(still, inside, rtol=_ROUND_OFF, atol=_ROUND_OFF)

    def test_free_variables_stand_for_the_points_they_were_made_of(self):
        """Relaxed at any temperature they project to the points, and come closer to them as it falls."""
        inside, gaps = self._draw().inside, []
        for temperature in (1.0, 0.3, 0.02):
            soft, hard = self._map(_recover, inside, np.full(self.cases, temperature))
            np.testing.assert_allclose(hard, inside, rtol=_ROUND_OFF, atol=_ROUND_OFF)
            gaps.append(np.max(np.abs(soft - inside), axis=-1))
        for warm, cool in itertools.pairwise(gaps):
            assert (cool <= warm + _ROUND_OFF).all(), "relaxed points go away from the set as the temperature falls"
        assert np.max(gaps[-1]) < 1e-6, "cold points have not reached the set"

    def test_relaxed_points_project_into_the_set(self):
        """After a step too. They are finite, and those of an exact set are feasible up to round-off."""
        draw = self._draw()
        _, _, soft, hard = self._map(_settle, draw.inside, draw.slopes, draw.temperatures)
        assert np.isfinite(soft).all(), "relax gives points that are not finite"
        self._require(hard, "relaxed points project to points outside the set")
        if self.feasible().exact:
            np.testing.assert_allclose(soft, hard, rtol=1e-9, atol=1e-9)

    def test_settling_again_changes_nothing(self):
        """Free variables that were brought back stay where they are."""
        draw = self._draw()
        settled, again, _, _ = self._map(_settle, draw.inside, draw.slopes, draw.temperatures)
        np.testing.assert_allclose(again, settled, rtol=1e-9, atol=1e-9)

    def test_the_relaxation_is_differentiable(self):
        """Its gradient equals central differences, away from the edges of jumps."""
        feasible, rng = self.feasible(), np.random.default_rng(3)
        points = self._draw().inside[0]
        offset, scale = (jnp.asarray(rng.uniform(low, high, points.shape)) for low, high in ((0.1, 0.4), (0.5, 2.0)))
        latent = feasible.latent(jnp.asarray(points)) + offset

        def value(latent):
            return jnp.sum(jnp.sin(scale * feasible.relax(latent, jnp.asarray(0.7))))

        both = jax.jit(jax.value_and_grad(value))
        settings = {"key": jax.random.key(0), "step": 1e-5, "tolerance": 1e-6}
        check_gradient(lambda latent: both(latent)[0], latent, gradient=both(latent)[1], **settings)

    def test_draws_are_feasible_and_follow_from_the_key(self):
        """They have the shape asked for, are the same for the same key, and differ for others."""
        feasible, shape = self.feasible(), (self.n_points, self.n_features)
        draws = [feasible.sample(jax.random.key(seed), *shape) for seed in (0, 1, 2, 0)]
        assert {draw.shape for draw in draws} == {shape}
        for draw in draws:
            assert np.all(feasible.contains(draw)), "sample leaves the set"
        np.testing.assert_array_equal(draws[0], draws[-1])
        assert any((draw != draws[0]).any() for draw in draws[1:]), "all draws are the same"

    def test_it_holds_the_points_that_it_is_put_around(self):
        """`around` gives a set again, which contains the start and projects it to itself."""
        start = jnp.asarray(self._draw().inside[0])
        moved = self.feasible().around(start)
        assert isinstance(moved, FeasibleSet)
        assert np.all(moved.contains(start)), "the start is outside"
        np.testing.assert_allclose(moved.project(start), start, rtol=_ROUND_OFF, atol=_ROUND_OFF)

    def test_it_describes_itself_in_plain_json(self):
        """With its name under `set`, and neither NaN nor infinity."""
        described = self.feasible().describe()
        assert json.loads(json.dumps(described, allow_nan=False)) == described, "not what JSON gives back"
        assert described["set"]
        assert isinstance(described["set"], str)

    def test_it_says_which_columns_are_logits_and_whether_it_is_exact(self):
        """One truth a column, and one for the set."""
        mask = self.feasible().logits(self.n_features)
        assert isinstance(mask, np.ndarray)
        assert (mask.shape, mask.dtype) == ((self.n_features,), np.dtype(bool))
        assert self.feasible().exact in (True, False)

    def test_the_share_at_bounds_is_a_share(self):
        """Between 0 and 1."""
        for points in self._draw().inside[:10]:
            share = self.feasible().share_at_bounds(jnp.asarray(points))
            assert jnp.shape(share) == (), "share_at_bounds must give one number for all points"
            assert 0 <= float(share) <= 1

    def test_float32_stays_float32(self):
        """What comes back has the type of what went in, and float32 points are feasible as float32 points."""
        draw = self._draw()
        points, slopes, temperature = (jnp.asarray(a, jnp.float32) for a in draw[:3])
        inside = self._map(_project, points)
        stepped = self._map(_ASCEND[_LENGTHS[0]], inside, slopes)
        self._require(inside, "project of float32 points leaves the set")
        self._require(stepped, "ascend of float32 points leaves the set")
        # Traced and not run: compiling it once more would tell no more about types.
        settled = eqx.filter_eval_shape(_settle, self.feasible(), points[0], slopes[0], temperature[0])
        assert {str(a.dtype) for a in (inside, stepped, *settled)} == {"float32"}

    def _map(self, function: Any, *arrays: Any) -> Any:
        """Return `function(set, *parts)` of every case, compiled, as NumPy arrays."""
        found = _compiled(function, self.feasible(), tuple(jnp.asarray(a) for a in arrays))
        return jax.tree.map(np.asarray, found)

    def _require(self, points: Any, sentence: str) -> None:
        """Raise unless all points are feasible; compiled apart from what made them, as callers ask."""
        outside = ~self._map(_contains, points)
        assert not outside.any(), f"{sentence}, in {outside.sum()} of {outside.size} points: {points[outside][:1]}"

    def _draw(self) -> _Draw:
        """Return random points and gradients, the same every time."""
        rng = np.random.default_rng(0)
        shape = self.cases, self.n_points, self.n_features
        points, slopes = (rng.uniform(-self.reach, self.reach, shape) for _ in range(2))
        # Gradients of all sizes, and some that are zero in places.
        slopes = slopes * 10.0 ** rng.uniform(-3, 2, (self.cases, 1, 1)) * (rng.uniform(size=shape) < 0.8)
        # Ties, zeros, and points that lie exactly on the bounds of many a set.
        tied = np.arange(self.cases) % 3 == 0
        points[tied], slopes[tied] = np.round(points[tied] / 2) / 2, np.round(slopes[tied])
        return _Draw(points, slopes, rng.uniform(0.03, 2.0, self.cases), self._map(_project, points))


@eqx.filter_jit
def _compiled(function, feasible, arrays):
    return jax.lax.map(lambda parts: function(feasible, *parts), arrays)


def _project(feasible, points):
    return feasible.project(points)


def _contains(feasible, points):
    return feasible.contains(points)


def _ascend(feasible, points, slope, *, length):
    return feasible.ascend(points, slope, length)


# One object a length, since what is compiled is found by the function.
_ASCEND = {length: functools.partial(_ascend, length=length) for length in _LENGTHS}


def _recover(feasible, points, temperature):
    """Return relaxed points as they are and projected."""
    soft = feasible.relax(feasible.latent(points), temperature)
    return soft, feasible.project(soft)


def _settle(feasible, points, slope, temperature):
    """Return free variables after a step, settled once and twice, and relaxed points as they are and projected."""
    settled = feasible.settle(feasible.latent(points) + 0.1 * slope)
    soft = feasible.relax(settled, temperature)
    return settled, feasible.settle(settled), soft, feasible.project(soft)
