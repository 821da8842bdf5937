"""The suite of sanitisers can fail: each of its tests refuses a defence that breaks the promise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backgrad.defences.distance import Sphere, SphereEvasion
from backgrad.defences.neighbours import KnnDistance, LabelSanitisation
from backgrad.testing import SanitiserContract
from backgrad.threat.feasible import Box
from backgrad.types import with_added
from tests.testing.support import promises, refuse


class Changed(Sphere):
    """A sphere that keeps a fifth less, and does something to what comes out."""

    def __init__(self, *, fraction=0.2, centre="mean", sampling_strategy="all"):
        super().__init__(fraction=fraction, centre=centre, sampling_strategy=sampling_strategy)

    def fit_resample(self, X, y, **params):
        return self.change(*super().fit_resample(X, y, **params))

    def change(self, x, y):
        return x, y


class Settling(Changed):
    """Overwrites a setting."""

    def change(self, x, y):
        self.fraction = 0.1
        return x, y


class Nameless(Changed):
    measure = "suspicion"


class Clipping(Changed):
    def change(self, x, y):
        return x * (1 - 1e-12), y


class Shuffling(Changed):
    def change(self, x, y):
        return x[::-1], y[::-1]


class Correcting(Changed):
    def change(self, x, y):
        return x, np.where(np.arange(len(y)) == 0, 1 - y, y)


class Idle(Changed):
    def __init__(self, *, fraction=0.0, centre="mean", sampling_strategy="all"):
        super().__init__(fraction=fraction, centre=centre, sampling_strategy=sampling_strategy)


class Forgetting(Changed):
    """Some rows are neither kept nor removed."""

    def change(self, x, y):
        self.removed_indices_ = self.removed_indices_[1:]
        return x, y


class Descending(Changed):
    def change(self, x, y):
        self.removed_indices_ = self.removed_indices_[::-1]
        return x, y


class Unjust(Changed):
    """Leaves out the least suspicious rows."""

    def marks(self, suspicion, y):
        return super().marks(-suspicion, y)[0], super().marks(suspicion, y)[1]


class Endless(Changed):
    def suspicion(self, x, y):
        found = super().suspicion(x, y)
        found[0] = np.inf
        return found


class Unsteady(Changed):
    def suspicion(self, x, y):
        return super().suspicion(x, y) + 0.1 * np.random.default_rng().uniform(size=len(y))


class Remembering(Changed):
    """Takes the rows of earlier calls into account."""

    def suspicion(self, x, y):
        self.calls_ = getattr(self, "calls_", 0) + 1
        return super().suspicion(x, y) * self.calls_


class Numbering(Changed):
    """Suspects the first rows."""

    def suspicion(self, x, y):
        return super().suspicion(x, y) + np.linspace(1, 0, len(y))


class Encoding(Changed):
    """Gives numbers for words."""

    def change(self, x, y):
        return x, np.unique(y, return_inverse=True)[1]


class Arrays(Changed):
    def change(self, x, y):
        return np.asarray(x), np.asarray(y)


class Binary(Changed):
    """Takes all classes but the first for one, and leaves all of the last out."""

    def marks(self, suspicion, y):
        marked, limits = super().marks(suspicion, y)
        return (marked, limits) if y.max() == 1 else (marked | (y == 2), limits)

    def _without(self, X, y, removed, classes):
        return super()._without(X, y, removed, classes[:2])


class Emptying(Changed):
    """Says nothing of a class that it loses."""

    def marks(self, suspicion, y):
        marked, limits = super().marks(suspicion, y)
        return marked | (np.bincount(y)[y] < 3), limits

    def _without(self, X, y, removed, classes):
        return super()._without(X, y, removed, classes[:0])


class Zealous(Changed):
    """Cleans all classes, whatever it is told."""

    def _fit_resample(self, X, y, **params):
        self.sampling_strategy_ = dict.fromkeys(np.unique(y), 0)
        return super()._fit_resample(X, y, **params)


class TakingAnything(Changed):
    def fit_resample(self, X, y, **params):
        y = np.asarray(y)
        if y.ndim == 1 and len(X) == len(y) > 0 and np.ndim(X) == 2:
            X = np.nan_to_num(X, posinf=1.0)
        return super().fit_resample(X, y, **params)


class Curt(Changed):
    def fit_resample(self, X, y, **params):
        try:
            return super().fit_resample(X, y, **params)
        except ValueError:
            raise ValueError("bad input") from None


class Unbounded(Changed):
    def check_settings(self):
        pass


class Vandal(Changed):
    """Scales the rows that it is given, in place."""

    def fit_resample(self, X, y, **params):
        if isinstance(X, np.ndarray) and X.flags.writeable:
            X *= 0.5
        return super().fit_resample(X, y, **params)


class Writing(Changed):
    """Needs rows that it can write to."""

    def fit_resample(self, X, y, **params):
        X += 0.0
        return super().fit_resample(X, y, **params)


class Silent(Changed):
    def reasons(self):
        return []


class Monosyllabic(Changed):
    def reasons(self):
        return ["far" for _ in self.removed_indices_]


class Talkative(Changed):
    def reasons(self):
        return [f"{reason}\nbeware" for reason in super().reasons()]


class Evading(Changed):
    """A sphere whose evasion is of another kind."""

    kind = SphereEvasion

    def evasion(self, x, y, added=None):
        known = super().evasion(x, y, added)
        return self.kind(known.centres, known.radii)


class Crowding(KnnDistance):
    """Points are rows to stay with wherever they are."""

    def evasion(self, x, y, added=None):
        return super().evasion(*with_added(x, y, added))


class DividingByZero(SphereEvasion):
    """The distance over itself: nothing at a centroid."""

    def excess(self, points, learner, params):
        centres = points.y @ jnp.asarray(self.centres)
        return jnp.linalg.norm(points.x - centres, axis=1) - 0.5


class Column(SphereEvasion):
    def excess(self, points, learner, params):
        return super().excess(points, learner, params)[:, None]


@jax.custom_jvp
def tilted(x):
    return x


tilted.defjvp(lambda primals, tangents: (primals[0], 1.001 * tangents[0]))


class WrongSlope(SphereEvasion):
    """A gradient that is 0.1 % too large."""

    def excess(self, points, learner, params):
        return tilted(super().excess(points, learner, params))


class Lenient(SphereEvasion):
    """Lets more pass than the defence does."""

    def excess(self, points, learner, params):
        return super().excess(points, learner, params) - 0.2


class Wide(SphereEvasion):
    """A set that is wider than what is let pass."""

    def within(self, feasible, labels):
        return dataclasses.replace(super().within(feasible, labels), radii=10 * jnp.ones(len(labels)))


class MarginBlind(SphereEvasion):
    def within(self, feasible, labels):
        return dataclasses.replace(self, margin=0.0, strength=1.0)._within(feasible, labels)

    def _within(self, feasible, labels):
        return SphereEvasion.within(self, feasible, labels)


class OutOfTheBox(SphereEvasion):
    def within(self, feasible, labels):
        return super().within(Box(-9.0, 9.0), labels)


class Unspeakable(SphereEvasion):
    def describe(self):
        return {**super().describe(), "radii": (1.0, 2.0)}


def evading(kind):
    """Return a defence with that evasion."""
    return type(f"Evading{kind.__name__}", (Evading,), {"kind": kind})()


BROKEN = [
    ("test_it_is_a_sanitiser_that_can_be_cloned", Settling(), "changed the setting 'fraction'"),
    ("test_it_is_a_sanitiser_that_can_be_cloned", Nameless(), "say what suspicion measures"),
    ("test_what_stays_are_the_rows_given_in_their_order", Clipping(), "rows were changed"),
    ("test_what_stays_are_the_rows_given_in_their_order", Shuffling(), "rows were changed"),
    ("test_what_stays_are_the_rows_given_in_their_order", Correcting(), "labels were changed"),
    ("test_what_stays_are_the_rows_given_in_their_order", Idle(), "no row was left out"),
    ("test_kept_and_removed_rows_are_all_rows", Forgetting(), None),
    ("test_kept_and_removed_rows_are_all_rows", Descending(), "must ascend"),
    ("test_removed_rows_are_the_suspicious_ones", Unjust(), "not too suspicious"),
    ("test_removed_rows_are_the_suspicious_ones", Endless(), "not finite"),
    ("test_the_same_rows_give_the_same_result", Unsteady(), None),
    ("test_the_same_rows_give_the_same_result", Remembering(), None),
    ("test_the_order_of_rows_does_not_matter", Numbering(), "the order of rows matters"),
    ("test_labels_may_be_words", Encoding(), "do not come out as they went in"),
    ("test_frames_stay_frames", Arrays(), None),
    ("test_three_classes_are_cleaned", Binary(), "a class is lost"),
    ("test_a_class_is_never_lost_without_an_error", Emptying(), "a class is lost without an error"),
    ("test_only_the_classes_named_are_cleaned", Zealous(), "does not name"),
    ("test_bad_rows_are_refused", Curt(), "not a sentence"),
    ("test_what_goes_in_is_not_changed", Vandal(), "changed the rows"),
    ("test_reasons_are_one_sentence_a_removed_row", Silent(), "0 reasons"),
    ("test_reasons_are_one_sentence_a_removed_row", Monosyllabic(), "not a sentence"),
    ("test_reasons_are_one_sentence_a_removed_row", Talkative(), "not one line"),
    ("test_the_excess_is_finite_and_its_slopes_are_right", evading(DividingByZero), "a slope in x is not finite"),
    ("test_the_excess_is_finite_and_its_slopes_are_right", evading(Column), "has shape"),
    ("test_the_excess_of_clean_rows_says_what_the_defence_says", evading(Lenient), "different stories"),
    ("test_sets_within_what_is_let_pass_keep_to_it", evading(Wide), "have an excess of"),
    ("test_sets_within_what_is_let_pass_keep_to_it", evading(MarginBlind), "have an excess of"),
    ("test_sets_within_what_is_let_pass_keep_to_it", evading(OutOfTheBox), "leaves the box"),
    ("test_points_there_already_set_limits_and_are_no_company", Crowding(), "with points the shapes are"),
    ("test_an_evasion_describes_itself_in_plain_json", evading(Unspeakable), "not what JSON gives back"),
]
# Those that fail otherwise than by an assertion of the suite.
RAISING = [
    ("test_bad_rows_are_refused", TakingAnything(), pytest.fail.Exception, "NaN among the features went through"),
    ("test_shares_out_of_range_are_refused", Unbounded(), pytest.fail.Exception, "DID NOT RAISE"),
    ("test_what_goes_in_is_not_changed", Writing(), ValueError, "read-only"),
    (
        "test_the_excess_is_finite_and_its_slopes_are_right",
        evading(WrongSlope),
        Exception,
        "gradient",
    ),
]
IDS = [f"{promise[5:]}-{type(one).__name__}" for promise, one, *_ in BROKEN]


def suite(one, **settings):
    """Return the suite on a sanitiser."""

    class Suite(SanitiserContract):
        def sanitiser(self):
            return one

    return type("Own", (Suite,), settings)()


def arguments(promise):
    """Return what a parametrised test is called with."""
    return (2,) if promise in NEED_CLASSES else ()


NEED_CLASSES = ("test_the_excess_is_finite_and_its_slopes_are_right", "test_sets_within_what_is_let_pass_keep_to_it")


@pytest.mark.parametrize(("promise", "one", "sentence"), BROKEN, ids=IDS)
def test_a_broken_sanitiser_is_refused(promise, one, sentence):
    refuse(suite(one), promise, *arguments(promise), sentence=sentence)


@pytest.mark.parametrize(("promise", "one", "error", "sentence"), RAISING)
def test_a_broken_sanitiser_does_not_go_through(promise, one, error, sentence):
    with pytest.raises(error, match=sentence):
        getattr(suite(one), promise)(*arguments(promise))


class LeavingOut(LabelSanitisation):
    """Claims to relabel, and leaves rows out."""


class Mislabelling(LabelSanitisation):
    """Gives back other labels than it says."""

    def _fit_resample(self, X, y, **params):
        kept, labels = super()._fit_resample(X, y, **params)
        labels[0] = 1 - labels[0]
        return kept, labels


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (LeavingOut(), "rows were left out"),
        (Mislabelling(relabel=True), "others were corrected"),
        (LabelSanitisation(relabel=True, eta=1.0, k=40), "no label was corrected"),
    ],
)
def test_a_sanitiser_that_relabels_wrongly_is_refused(one, sentence):
    promise = "test_what_stays_are_the_rows_given_in_their_order"
    refuse(suite(one, relabels=True), promise, sentence=sentence)


def test_every_promise_of_the_suite_can_be_broken():
    assert {promise for promise, *_ in (*BROKEN, *RAISING)} == promises(SanitiserContract)
