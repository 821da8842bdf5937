"""What every sanitising defence promises: it leaves rows out and changes none, says why, and misleads no attacker."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ..defences.base import Sanitiser
from ..errors import EmptyClassError, InputError
from .evasion import NAMES, ROUND_OFF, EvasionContract


class SanitiserContract(EvasionContract):
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
        assert (over[defence.removed_indices_] >= -ROUND_OFF).all(), "a row was removed that was not too suspicious"
        assert (over[defence.sample_indices_] <= ROUND_OFF).all() or self.relabels, "a row was kept that was"

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
        fit = self._fit(x, np.array(NAMES)[y])
        np.testing.assert_array_equal(fit.defence.removed_indices_, plain.defence.removed_indices_)
        np.testing.assert_array_equal(fit.y, np.array(NAMES)[plain.y], err_msg="words do not come out as they went in")

    def test_frames_stay_frames(self):
        """With their columns and types; what is in them is what arrays give."""
        pandas = pytest.importorskip("pandas")
        (x, y), plain = self.rows(), self._fitted()
        frame = pandas.DataFrame(x, columns=list("abcd"), index=np.arange(len(x)) + 7)
        fit = self._fit(frame, pandas.Series(np.array(NAMES)[y], name="kind", index=frame.index))
        assert isinstance(fit.x, pandas.DataFrame)
        assert isinstance(fit.y, pandas.Series)
        assert list(fit.x.columns) == list("abcd")
        assert fit.y.name == "kind"
        np.testing.assert_array_equal(fit.x.to_numpy(), plain.x)
        np.testing.assert_array_equal(fit.y.to_numpy(), np.array(NAMES)[plain.y])

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
                fit = self._fit(x, np.array(NAMES)[y])
            except EmptyClassError as error:
                _require_sentence(error, *NAMES)
            else:
                assert set(fit.y) == set(np.array(NAMES)[y]), "a class is lost without an error"
        if type(self.sanitiser())._fit_resample is Sanitiser._fit_resample:
            (x, y), greedy = self.rows(), self._made()
            greedy.marks = lambda suspicion, y: (y == 1, np.zeros(len(y)))
            with pytest.raises(EmptyClassError, match="ham"):
                self._fit(x, np.array(NAMES)[y], defence=greedy)

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

    # --- what the tests share ---------------------------------------------------------------------

    def _tempting(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return rows with a class that looks wrong as a whole: one row, and two, amid other classes."""
        x, y = self.rows()
        rows = np.arange(len(y))
        one, two, third = rows == 48, (rows == 48) | (rows == 49), np.where(rows == 48, 2, y)
        return [(x, one.astype(int)), (x, two.astype(int)), (x, third)]


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
