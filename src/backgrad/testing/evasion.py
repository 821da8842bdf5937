"""What a sanitising defence promises those who attack it knowing it, and the rows that suites try defences on."""

import dataclasses
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone

from ..learners.linear import LogisticRegression, SoftmaxRegression
from ..threat.discrete import Binary
from ..threat.evasion import Evasion
from ..threat.feasible import Box, FeasibleSet
from ..types import Samples, one_hot, samples
from .base import Contract, check_derivative, moved

#: Labels that are words.
NAMES = ("eggs", "ham", "spam")
#: Distances to rows and planes are sums of a few squares.
ROUND_OFF = 1e-9


class Fit(NamedTuple):
    """A fitted defence, and the rows that it let pass."""

    defence: Any
    x: Any
    y: Any


class EvasionContract(Contract):
    """The part of `SanitiserContract` that is about `evasion`; its docstring explains the attributes."""

    evasion_tells: bool = True
    whole_slopes: bool = True
    difference_step: float = 1e-6
    tolerance: float = 1e-5

    def sanitiser(self) -> Any:
        """Return the defence under test, unfitted."""
        raise NotImplementedError("say what to test: def sanitiser(self): return MySanitiser(...)")

    def rows(self, n_classes: int = 2, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return features in the unit cube (60, 4) and labels 0..k−1; the last twelve lie where another class does."""
        rng = np.random.default_rng([seed, n_classes])
        y = np.arange(60) % n_classes
        home = np.where(np.arange(60) < 48, y, (y + 1) % n_classes)
        x = 0.3 + 0.4 * np.eye(n_classes, 4)[home] + 0.08 * rng.normal(size=(60, 4))
        return np.clip(x, 0, 1), y

    def trusted_rows(self, n_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Return features (48, 4) and labels of rows that nobody has poisoned."""
        x, y = self.rows(n_classes, seed=1)
        return x[:48], y[:48]

    def learner(self, n_classes: int) -> Any:
        """Return the learner whose parameters an attacker's excess may depend on."""
        return LogisticRegression(4) if n_classes == 2 else SoftmaxRegression(4, n_classes=n_classes)

    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_the_excess_is_finite_and_its_slopes_are_right(self, n_classes):
        """On clean rows, between them, at a class's mean and far away; slopes equal central differences."""
        evasion, learner, params = self._attacker(n_classes)
        if evasion is None:
            return
        rng, points = np.random.default_rng(5), self._points(n_classes)
        weights = jnp.asarray(rng.normal(size=len(points.x)))

        @jax.jit
        def find(points):
            """Return the penalty, the excess, and slopes of its weighted sum: all in one compilation."""
            slopes = jax.grad(lambda points: jnp.sum(weights * evasion.excess(points, learner, params)))(points)
            return evasion.penalty(points, learner, params), evasion.excess(points, learner, params), slopes

        penalty, excess, slopes = find(points)
        assert excess.shape == (len(points.x),), f"the excess of {len(points.x)} points has shape {excess.shape}"
        assert np.isfinite(excess).all(), "the excess is not finite"
        assert np.isfinite(penalty), "the penalty is not finite"
        for name in ("x", "y"):
            assert np.isfinite(getattr(slopes, name)).all(), f"a slope in {name} is not finite"
        if not self.whole_slopes:
            return
        # Away from clean rows and centroids, where nearest rows and signs change.
        apart = points._replace(x=jnp.asarray(rng.uniform(0.1, 0.9, points.x.shape)))
        check_derivative(
            lambda x: jnp.sum(weights * find(apart._replace(x=x))[1]),
            apart.x,
            find(apart)[2].x,
            step=self.difference_step,
            tolerance=self.tolerance,
        )

    def test_the_excess_of_clean_rows_says_what_the_defence_says(self):
        """Above 0 where the defence leaves a row out, and not where it keeps it, but for the threshold itself."""
        for n_classes in (2, 3):
            evasion, learner, params = self._attacker(n_classes)
            if evasion is None or not self.evasion_tells:
                return
            x, y = self.rows(n_classes)
            defence = self._fitted(n_classes).defence
            excess = np.asarray(evasion.excess(samples(x, y, n_classes), learner, params))
            over = defence.suspicion_ - defence.thresholds_
            clear = np.abs(over) > ROUND_OFF
            agree = ((excess > 0) == (over > 0))[clear]
            assert agree.all(), "excess and suspicion tell different stories"

    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_sets_within_what_is_let_pass_keep_to_it(self, n_classes):
        """Projections are in the set and in the box, stay there, and have no excess; a margin draws it tighter."""
        evasion, learner, params = self._attacker(n_classes)
        if evasion is None:
            return
        assert isinstance(evasion, Evasion)
        far = self._points(n_classes)._replace(x=jnp.asarray(np.random.default_rng(6).uniform(-2, 3, (13, 4))))
        box, hard = Box(0.25, 0.75), one_hot(jnp.argmax(far.y, axis=1), n_classes)
        for margin in (0.0, 0.3):
            within = dataclasses.replace(evasion, margin=margin).within(box, hard)
            assert isinstance(within, FeasibleSet)
            found = within.project(far.x)
            assert np.all(within.contains(found)), "project leaves the set"
            assert np.all(box.contains(found)), "project leaves the box"
            np.testing.assert_allclose(within.project(found), found, rtol=0, atol=ROUND_OFF)
            draws = within.sample(jax.random.key(0), *far.x.shape)
            assert np.all(within.contains(draws)), "sample leaves the set"
            if type(within) is not Box:
                excess = np.asarray(evasion.excess(far._replace(x=found, y=hard), learner, params))
                assert excess.max() <= -margin + 1e-6, f"points within have an excess of {excess.max():.3g}"
        bits = evasion.within(Binary(), hard).project(far.x)
        assert np.all(Binary().contains(bits)), "points of a discrete set are no longer in it"

    def test_points_there_already_set_limits_and_are_no_company(self):
        """An evasion that knows where points are has the numbers and shapes of one that does not, and is finite."""
        without, learner, params = self._attacker(2)
        if without is None:
            return
        (x, y), points = self.rows(2), self._points(2)
        added = np.asarray(points.x), np.argmax(np.asarray(points.y), axis=1)
        known = self._knowing(2).evasion(x, y, added)
        shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(one)] for one in (without, known)]
        assert shapes[0] == shapes[1], f"with points the shapes are {shapes[1]}, without {shapes[0]}"
        assert np.isfinite(known.excess(points, learner, params)).all(), "the excess is not finite"

    def test_an_evasion_describes_itself_in_plain_json(self):
        """With the defence's name, and neither NaN nor infinity."""
        evasion = self._attacker(2)[0]
        if evasion is None:
            return
        described = evasion.describe()
        assert json.loads(json.dumps(described, allow_nan=False)) == described, "not what JSON gives back"
        assert described["defence"]

    # --- what the tests share ---------------------------------------------------------------------

    def _made(self) -> Any:
        """Return a fresh defence."""
        return clone(self.sanitiser())

    def _fit(self, x: Any, y: Any, *, defence: Any = None, trusted: tuple[Any, Any] | None = None) -> Fit:
        """Fit a defence on rows; trusted rows have labels of the same kind."""
        defence = self._made() if defence is None else defence
        if defence.needs_trusted:
            kinds = np.unique(np.asarray(y))
            features, codes = self.trusted_rows(3 if kinds.size == 3 else 2)
            labels = codes if kinds.dtype.kind in "iufb" else np.array(NAMES)[codes]
            defence.set_params(trusted=(features, labels) if trusted is None else trusted)
        return Fit(defence, *defence.fit_resample(x, y))

    def _fitted(self, n_classes: int = 2) -> Fit:
        """Return the defence fitted on the suite's rows, once."""
        one = self.sanitiser()
        return self.once((n_classes, type(one), str(one.get_params())), lambda: self._fit(*self.rows(n_classes)))

    def _attacker(self, n_classes: int) -> tuple[Any, Any, Any]:
        """Return what an attacker keeps to who knows the defence and the clean rows, and their learner."""
        learner = self.learner(n_classes)
        found = self._knowing(n_classes).evasion(*self.rows(n_classes))
        return found, learner, moved(learner.init(jax.random.key(1)), seed=3)

    def _knowing(self, n_classes: int) -> Any:
        """Return a fresh defence, with trusted rows where it needs some."""
        defence = self._made()
        if defence.needs_trusted:
            defence.set_params(trusted=self.trusted_rows(n_classes))
        return defence

    def _points(self, n_classes: int) -> Samples:
        """Return points on clean rows, at means of classes, between rows and far away, with soft labels."""
        x, y = self.rows(n_classes)
        means = np.stack([x[y == label].mean(axis=0) for label in range(n_classes)])[:2]
        points = np.concatenate([x[:4], means, (x[:4] + x[4:8]) / 2, 5 * x[:3]])
        hard = samples(points, np.arange(len(points)) % n_classes, n_classes)
        soft = 0.9 * hard.y[8:] + 0.1 / n_classes
        return hard._replace(y=jnp.concatenate([hard.y[:8], soft]))
