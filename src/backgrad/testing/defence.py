"""What every sanitising defence promises: it leaves rows out and changes none, says why, and misleads no attacker."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone

from ..defences.base import Sanitiser
from ..errors import EmptyClassError, InputError
from ..learners.linear import LogisticRegression, SoftmaxRegression
from ..threat.evasion import Evasion
from ..threat.feasible import Binary, Box, FeasibleSet
from ..types import Samples, one_hot, samples
from .base import Contract, check_derivative, moved

_NAMES = ("eggs", "ham", "spam")
# Distances to rows and planes are sums of a few squares.
_ROUND_OFF = 1e-9


class _Fit(NamedTuple):
    """A fitted defence, and the rows that it let pass."""

    defence: Any
    x: Any
    y: Any


class SanitiserContract(Contract):
    """The suite of defences that clean training rows.

    Override `sanitiser`. One that believes trusted rows (`needs_trusted`) has a setting `trusted`, which the suite sets
    to features and labels of its own.

    Attributes:
        relabels: whether it keeps all rows and corrects labels, those of `relabelled_indices_` to `relabelled_`.
        order_matters: whether the order of rows changes what is left out: where rows are drawn at random by number.
        whole_slopes: whether slopes of the excess are its whole derivative; not where some of it is held fixed.
        evasion_tells: whether the excess of a clean row is above 0 just where the defence leaves it out; not where it
            depends on a learner, or where a row counts among its own neighbours.
        difference_step: of central differences of the excess.
        tolerance: of its slopes against these.
    """

    relabels: bool = False
    order_matters: bool = False
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

    def test_it_is_a_sanitiser_that_can_be_cloned(self):
        """Settings go into its constructor and come out again, as scikit-learn has it, and fitting leaves them."""
        one, copy = self.sanitiser(), self._made()
        assert isinstance(one, Sanitiser)
        assert str(copy.get_params()) == str(one.get_params())
        fitted: Any = self._fit(*self.rows()).defence
        for name, value in one.get_params(deep=False).items():
            same = str(getattr(fitted, name)) == str(value) or (one.needs_trusted and name == "trusted")
            assert same, f"fitting changed the setting {name!r}"
        assert one.measure != Sanitiser.measure, "say what suspicion measures"

    def test_what_stays_are_the_rows_given_in_their_order(self):
        """No row is changed or made up; only labels are, where it relabels, and then all rows stay."""
        (x, y), fit = self.rows(), self._fitted()
        assert (len(fit.x), len(fit.y)) == (len(fit.defence.sample_indices_),) * 2
        np.testing.assert_array_equal(fit.x, x[fit.defence.sample_indices_], err_msg="rows were changed")
        assert fit.x.dtype == x.dtype
        if not self.relabels:
            np.testing.assert_array_equal(fit.y, y[fit.defence.sample_indices_], err_msg="labels were changed")
            assert len(fit.y) < len(y), "no row was left out: override rows, so that some are"
        else:
            assert len(fit.y) == len(y), "rows were left out, not labelled anew"
            changed = fit.defence.relabelled_indices_
            assert len(changed) > 0, "no label was corrected: override rows, so that some are"
            np.testing.assert_array_equal(changed, np.flatnonzero(fit.y != y), err_msg="others were corrected")
            np.testing.assert_array_equal(fit.y[changed], fit.defence.relabelled_)

    def test_kept_and_removed_rows_are_all_rows(self):
        """Each row is kept or removed, and both lists ascend."""
        n, defence = len(self.rows()[0]), self._fitted().defence
        both = defence.sample_indices_, defence.removed_indices_
        for indices in both:
            assert np.issubdtype(np.asarray(indices).dtype, np.integer)
            assert (np.diff(indices) > 0).all(), "indices must ascend"
        every = np.sort(np.concatenate(both))
        np.testing.assert_array_equal(every, np.arange(n), err_msg="a row is in neither list or in both")

    def test_removed_rows_are_the_suspicious_ones(self):
        """Every row has a finite suspicion and a threshold: what is removed lies not below it, what is kept not above.

        Of rows as suspicious as the threshold some may go.
        """
        n, defence = len(self.rows()[0]), self._fitted().defence
        assert defence.suspicion_.shape == defence.thresholds_.shape == (n,)
        assert np.isfinite(defence.suspicion_).all(), "suspicion is not finite"
        assert not np.isnan(defence.thresholds_).any(), "thresholds are NaN"
        over = defence.suspicion_ - defence.thresholds_
        assert (over[defence.removed_indices_] >= -_ROUND_OFF).all(), "a row was removed that was not too suspicious"
        assert (over[defence.sample_indices_] <= _ROUND_OFF).all() or self.relabels, "a row was kept that was"

    def test_the_same_rows_give_the_same_result(self):
        """Every time, from one object and from its clones."""
        one, defence = self._fitted(), self._made()
        for again in (self._fit(*self.rows(), defence=defence), self._fit(*self.rows(), defence=defence)):
            assert again.x.tobytes() == one.x.tobytes(), "two runs on the same rows differ"
            assert again.y.tobytes() == one.y.tobytes(), "two runs on the same rows differ"
            np.testing.assert_array_equal(again.defence.suspicion_, one.defence.suspicion_)

    def test_the_order_of_rows_does_not_matter(self):
        """Rows in another order are the same rows, but for ties."""
        if self.order_matters:
            return
        (x, y), one = self.rows(), self._fitted()
        order = np.random.default_rng(4).permutation(len(y))
        other = self._fit(x[order], y[order])
        removed = np.sort(order[other.defence.removed_indices_])
        np.testing.assert_array_equal(removed, one.defence.removed_indices_, err_msg="the order of rows matters")
        suspicion = np.empty(len(y))
        suspicion[order] = other.defence.suspicion_
        np.testing.assert_allclose(suspicion, one.defence.suspicion_, rtol=1e-4, atol=1e-6)

    def test_labels_may_be_words(self):
        """They are told apart, come out as they went in, and nothing else depends on them."""
        (x, y), plain = self.rows(), self._fitted()
        fit = self._fit(x, np.array(_NAMES)[y])
        np.testing.assert_array_equal(fit.defence.removed_indices_, plain.defence.removed_indices_)
        np.testing.assert_array_equal(fit.y, np.array(_NAMES)[plain.y], err_msg="words do not come out as they went in")

    def test_frames_stay_frames(self):
        """With their columns and types; what is in them is what arrays give."""
        pandas = pytest.importorskip("pandas")
        (x, y), plain = self.rows(), self._fitted()
        frame = pandas.DataFrame(x, columns=list("abcd"), index=np.arange(len(x)) + 7)
        fit = self._fit(frame, pandas.Series(np.array(_NAMES)[y], name="kind", index=frame.index))
        assert isinstance(fit.x, pandas.DataFrame)
        assert isinstance(fit.y, pandas.Series)
        assert list(fit.x.columns) == list("abcd")
        assert fit.y.name == "kind"
        np.testing.assert_array_equal(fit.x.to_numpy(), plain.x)
        np.testing.assert_array_equal(fit.y.to_numpy(), np.array(_NAMES)[plain.y])

    def test_three_classes_are_cleaned(self):
        """Rows of all three are left."""
        (x, y), fit = self.rows(3), self._fitted(3)
        np.testing.assert_array_equal(fit.x, x[fit.defence.sample_indices_])
        assert set(np.unique(fit.y)) == {0, 1, 2}, "a class is lost"
        assert len(fit.y) < len(y) or (self.relabels and (fit.y != y).any()), "nothing was cleaned"

    def test_a_class_is_never_lost_without_an_error(self):
        """Where all rows of a class would go, `EmptyClassError` says so and names it; no result comes back."""
        for x, y in self._tempting():
            try:
                fit = self._fit(x, np.array(_NAMES)[y])
            except EmptyClassError as error:
                _require_sentence(error, *_NAMES)
            else:
                assert set(fit.y) == set(np.array(_NAMES)[y]), "a class is lost without an error"
        if type(self.sanitiser())._fit_resample is Sanitiser._fit_resample:
            (x, y), greedy = self.rows(), self._made()
            greedy.marks = lambda suspicion, y: (y == 1, np.zeros(len(y)))
            with pytest.raises(EmptyClassError, match="ham"):
                self._fit(x, np.array(_NAMES)[y], defence=greedy)

    def test_only_the_classes_named_are_cleaned(self):
        """`sampling_strategy` lists them."""
        x, y = self.rows(3)
        try:
            fit = self._fit(x, y, defence=self._made().set_params(sampling_strategy=[1]))
        except EmptyClassError:  # all that it leaves out may be of that class
            return
        changed = np.flatnonzero(fit.y != y) if self.relabels else fit.defence.removed_indices_
        assert set(y[changed].tolist()) <= {1}, "a class was cleaned that sampling_strategy does not name"

    def test_bad_rows_are_refused(self):
        """Rows of one class, with NaN or infinity, in other shapes than (n, d) and (n,), and none at all."""
        x, y = self.rows()
        hole, endless = np.array(x), np.array(x)
        hole[3, 1], endless[3, 1] = np.nan, np.inf
        bad = {
            "rows of one class": (x, np.zeros_like(y)),
            "NaN among the features": (hole, y),
            "infinity among the features": (endless, y),
            "fewer labels than rows": (x, y[:-1]),
            "features of one dimension": (x[:, 0], y),
            "labels of two columns": (x, np.column_stack([y, y])),
            "responses for labels": (x, x[:, 0]),
            "no rows": (x[:0], y[:0]),
        }
        for what, (features, labels) in bad.items():
            with _refused(what):
                self._fit(features, labels)
        if self.sanitiser().needs_trusted:
            with _refused("no trusted rows"):
                self._made().set_params(trusted=None).fit_resample(x, y)

    def test_shares_out_of_range_are_refused(self):
        """A fraction below 0, of 1 and more, and NaN, in a sentence that names it."""
        (x, y), settings = self.rows(), self.sanitiser().get_params()
        for fraction in (-0.1, 1.0, 1.5, float("nan")) if "fraction" in settings else ():
            with pytest.raises(InputError, match="fraction") as caught:
                self._fit(x, y, defence=self._made().set_params(fraction=fraction))
            _require_sentence(caught.value)

    def test_what_goes_in_is_not_changed(self):
        """Rows, labels and trusted rows stay as they are, and may be read-only."""
        x, y = self.rows()
        trusted = self.trusted_rows()
        before = [np.array(part) for part in (x, y, *trusted)]
        self._fit(x, y, trusted=trusted)
        names = "rows", "labels", "trusted rows", "trusted labels"
        for name, one, two in zip(names, before, (x, y, *trusted), strict=True):
            np.testing.assert_array_equal(one, two, err_msg=f"the defence changed the {name}")
        for part in (x, y, *trusted):
            part.setflags(write=False)
        locked = self._fit(x, y, trusted=trusted)
        np.testing.assert_array_equal(locked.defence.sample_indices_, self._fitted().defence.sample_indices_)

    def test_reasons_are_one_sentence_a_removed_row(self):
        """Or a relabelled one; in the order of the rows, of one line, with the numbers."""
        defence = self._fitted().defence
        reasons = defence.reasons()
        rows = defence.relabelled_indices_ if self.relabels else defence.removed_indices_
        assert len(reasons) == len(rows) > 0, f"there are {len(reasons)} reasons for {len(rows)} rows"
        for reason in reasons:
            assert isinstance(reason, str)
            assert reason == " ".join(reason.split()), f"not one line: {reason!r}"
            assert len(reason.split()) >= 4, f"not a sentence: {reason!r}"
            assert any(letter.isdigit() for letter in reason), f"no number: {reason!r}"

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
            clear = np.abs(over) > _ROUND_OFF
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
            np.testing.assert_allclose(within.project(found), found, rtol=0, atol=_ROUND_OFF)
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

    def _fit(self, x: Any, y: Any, *, defence: Any = None, trusted: tuple[Any, Any] | None = None) -> _Fit:
        """Fit a defence on rows; trusted rows have labels of the same kind."""
        defence = self._made() if defence is None else defence
        if defence.needs_trusted:
            kinds = np.unique(np.asarray(y))
            features, codes = self.trusted_rows(3 if kinds.size == 3 else 2)
            labels = codes if kinds.dtype.kind in "iufb" else np.array(_NAMES)[codes]
            defence.set_params(trusted=(features, labels) if trusted is None else trusted)
        return _Fit(defence, *defence.fit_resample(x, y))

    def _fitted(self, n_classes: int = 2) -> _Fit:
        """Return the defence fitted on the suite's rows, once."""
        one = self.sanitiser()
        return self.once((n_classes, type(one), str(one.get_params())), lambda: self._fit(*self.rows(n_classes)))

    def _tempting(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return rows with a class that looks wrong as a whole: one row, and two, amid other classes."""
        x, y = self.rows()
        rows = np.arange(len(y))
        one, two, third = rows == 48, (rows == 48) | (rows == 49), np.where(rows == 48, 2, y)
        return [(x, one.astype(int)), (x, two.astype(int)), (x, third)]

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


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    """Demand that a block raises a `ValueError` in a sentence."""
    try:
        yield
    except ValueError as error:
        _require_sentence(error)
    else:
        pytest.fail(f"{what} went through", pytrace=False)


def _require_sentence(error: Exception, *words: str) -> None:
    """Demand that an error says more than a word or two, and one of some words, where there are any."""
    text = str(error)
    assert len(text.split()) >= 4, f"not a sentence: {error!r}"
    assert not words or any(word in text for word in words), f"none of {words} is named: {text}"
