"""What every attack promises: its budget to the point, feasible points, no loss, and evidence that can be checked."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ..attacks.base import Attack, AttackResult
from ..attacks.health import AttackHealth
from ..learners.linear import LogisticRegression
from ..schedules import Descent, Schedule
from ..status import Status
from ..threat.feasible import Box, FeasibleSet
from ..threat.labels import FlippedLabels, LabelRule
from ..threat.model import ThreatModel
from ..training import default_adjoint, train
from ..types import Samples, samples
from .base import Contract

_SEED = 3


class AttackContract(Contract):
    """The suite of attacks.

    Override `attack`, and the problem where its own is not for it: two classes of points in the unit cube of four
    features. Settings that end soon make for fast tests; the suite runs an attack six times.

    Attributes:
        budget: p, the points that attacks may add.
        optimises: whether the objective must rise; of a control, such as label flips, it need not.
        retraining_tolerance: the relative difference allowed between the objective that is claimed and that of
            training from scratch, which is compiled in other surroundings. Long training amplifies round-off.
    """

    budget: int = 3
    optimises: bool = True
    retraining_tolerance: float = 1e-9

    def attack(self) -> Attack:
        """Return the attack under test."""
        raise NotImplementedError("say what to test: def attack(self): return MyAttack(...)")

    def learner(self) -> Any:
        """Return the learner that is attacked."""
        return LogisticRegression(4)

    def schedule(self) -> Schedule:
        """Return how the learner is trained."""
        return Descent(40, 0.5)

    def feasible(self) -> FeasibleSet:
        """Return where points may live; it must hold the training rows."""
        return Box()

    def labels(self) -> LabelRule:
        """Return who labels the points."""
        return FlippedLabels()

    def train_rows(self) -> Samples:
        """Return the clean training rows, of hard labels, no two rows alike."""
        return _overlapping_classes(20, seed=0)

    def validation_rows(self) -> Samples:
        """Return the attacker's validation rows."""
        return _overlapping_classes(30, seed=1)

    def test_the_budget_is_exact(self):
        """As many points and labels as the threat model says, of the rows' types."""
        result, rows = self._result(), self.train_rows()
        shape = (self.budget, rows.x.shape[1])
        assert result.points.shape == shape, f"{len(result.points)} points, where the budget is {self.budget}"
        assert result.start.shape == shape
        assert result.labels.shape == result.start_labels.shape == (self.budget,)
        assert result.points.dtype == result.start.dtype == rows.x.dtype
        assert np.issubdtype(result.labels.dtype, np.integer)
        assert set(result.labels.tolist()) <= set(range(rows.y.shape[1]))

    def test_a_budget_of_no_points_changes_nothing(self):
        """There are no points, and the objective is that of the clean rows."""
        result, shape = self._craft(budget=0), (0, self.train_rows().x.shape[1])
        assert result.points.shape == result.start.shape == shape
        assert result.labels.shape == result.trace.shape == (0,)
        clean = pytest.approx(self._objective(result.points, result.labels), rel=self.retraining_tolerance, abs=0)
        assert result.health.objective_start == result.health.objective_best == clean
        assert not result.health.rose
        assert result.health.evaluations == 0

    def test_points_are_exactly_feasible(self):
        """Every point lies in the set around its start, without a tolerance; so does every start."""
        result = self._result()
        around = self.feasible().around(jnp.asarray(result.start))
        for points in (result.points, result.start):
            inside = np.asarray(around.contains(jnp.asarray(points)))
            assert inside.all(), f"{(~inside).sum()} of {self.budget} points are not feasible"
        assert result.health.feasible

    def test_it_is_never_worse_than_its_start_and_claims_what_training_gives(self):
        """The objective does not fall, and it is what anyone gets who trains from scratch on clean rows and points."""
        result = self._result()
        claims = result.health.objective_start, result.health.objective_best
        assert claims[1] >= claims[0], "the points are worse than their start"
        found = self._objective(result.start, result.start_labels), self._objective(result.points, result.labels)
        close = pytest.approx(claims, rel=self.retraining_tolerance, abs=0)
        assert found == close, "training from scratch gives another objective"

    def test_an_attack_that_optimises_raises_the_objective(self):
        """Not by round-off, on gradients that check out; a control that does not optimise leaves this promise out."""
        result = self._result()
        moved = (result.points != result.start).any() or (result.labels != result.start_labels).any()
        if self.optimises:
            assert moved, "no point moved"
            assert result.health.objective_best > result.health.objective_start + 1e-6, "the objective did not rise"
            assert result.health.verdict == "worked", result.health.sentence
        else:
            assert result.health.rose <= moved, "the objective rose, but nothing moved"

    def test_the_same_seed_gives_the_same_bytes(self):
        """Two runs do not differ in a bit."""
        one, again = self._result(), self._craft()
        for field in ("points", "labels", "start", "start_labels", "trace"):
            same = getattr(one, field).tobytes() == getattr(again, field).tobytes()
            assert same, f"two runs with one seed differ in their {field}"
        assert one.health == again.health

    def test_another_seed_gives_other_points(self):
        """The seed decides where points start, and so where they end."""
        one, other = self._result(), self._craft(seed=_SEED + 1)
        assert (one.start != other.start).any(), "two seeds start at the same points"
        assert (one.points != other.points).any(), "two seeds end at the same points"

    def test_clean_rows_and_given_starts_come_out_untouched(self):
        """Nothing that goes in is changed, and a start of one's own is kept, with its labels."""
        train_rows, validation = self.train_rows(), self.validation_rows()
        start = np.array(train_rows.x)[-self.budget :], np.arange(self.budget) % train_rows.y.shape[1]
        before = jax.tree.map(np.array, (train_rows, validation, start))
        result = self._craft(rows=(train_rows, validation), start=start)
        after = train_rows, validation, start
        for name, one, two in zip(("training rows", "validation rows", "start"), before, after, strict=True):
            for a, b in zip(one, two, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"the attack changed the {name}")
        np.testing.assert_array_equal(result.start, before[2][0])
        np.testing.assert_array_equal(result.start_labels, before[2][1])
        if self.labels() == FlippedLabels():
            np.testing.assert_array_equal(result.labels, before[2][1], err_msg="labels moved, which are to be kept")

    def test_progress_grows_and_ends_at_one(self):
        """It is told as shares of the work, at least once."""
        shares = self.once(self._key("progress"), self._told)
        assert shares, "no progress was told"
        assert shares == sorted(shares), "progress fell"
        assert min(shares) > 0
        assert shares[-1] == 1, f"progress ended at {shares[-1]}"

    def test_results_say_who_attacked_and_how(self):
        """Threat model, seed, and the names of attack and adjoint; and they are frozen."""
        result, attack = self._result(), self.attack()
        assert isinstance(attack, Attack)
        assert isinstance(attack.name, str)
        assert result.attack == attack.name != "attack", "it needs a name of its own"
        assert result.adjoint == type(default_adjoint(self.schedule())).__name__
        assert result.seed == _SEED
        assert result.threat_model.describe() == self._threat(self.budget).describe()
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.points = result.start  # pyright: ignore[reportAttributeAccessIssue]

    def test_health_holds_evidence(self):
        """Gradient errors, drift, bounds, and a verdict in a sentence that agrees with the numbers."""
        result = self._result()
        health = result.health
        assert isinstance(health, AttackHealth)
        assert health.drift == 0, "the default adjoint is exact"
        assert health.evaluations == len(result.trace)
        assert np.isfinite(result.trace).all()
        for error in (health.gradient_error_first, health.gradient_error_last):
            if not self.attack().climbs:
                assert error is None, "a search without gradients has no error in them"
                continue
            assert error is not None, "in float64, gradients can be measured"
            # Differences of step 1e-5 or less leave round-off of 1e-16 / 1e-5 relative to slopes of order 0.01.
            assert 0 <= error < 1e-4, f"the hypergradient is wrong by {error:.2g}"
        if self.labels() == FlippedLabels():  # labels that move count, too
            share = float(self.feasible().around(jnp.asarray(result.start)).share_at_bounds(jnp.asarray(result.points)))
            assert health.share_at_bounds == pytest.approx(share, rel=1e-6)  # may be computed in float32
        assert health.sentence.endswith(".")
        assert health.training is Status.DONE, health.training.message
        assert health.gain_left >= 0
        if not health.rose:
            assert health.verdict == "failed", "what did not rise did not work"

    def _threat(self, budget: int) -> ThreatModel:
        return ThreatModel(budget, feasible=self.feasible(), labels=self.labels())

    def _craft(self, *, seed: int = _SEED, budget: int | None = None, rows=None, **settings) -> AttackResult:
        train_rows, validation = (self.train_rows(), self.validation_rows()) if rows is None else rows
        return self.attack().craft(
            self.learner(),
            train_rows,
            validation,
            schedule=self.schedule(),
            threat=self._threat(self.budget if budget is None else budget),
            seed=seed,
            **settings,
        )

    def _result(self) -> AttackResult:
        """Return the attack's result, crafted once."""
        return self.once(self._key("result"), self._craft)

    def _key(self, what: str) -> tuple[Any, ...]:
        """Return all that a result depends on, in a form that can be compared."""
        rows = b"".join(np.asarray(a).tobytes() for a in (*self.train_rows(), *self.validation_rows()))
        threat = str(self._threat(self.budget).describe())
        return what, self.attack(), self.learner(), self.schedule(), threat, rows

    def _told(self) -> list[float]:
        shares: list[float] = []
        self._craft(progress=shares.append)
        return shares

    def _objective(self, points: Any, labels: Any) -> float:
        """Return the goal's value by training from scratch, as a user would."""
        rows, learner = self.train_rows(), self.learner()
        block = (samples(points, labels, rows.y.shape[1], dtype=rows.x.dtype),) if len(points) else ()
        run = train(learner, (rows, *block), schedule=self.schedule())
        return float(self._threat(0).goal.value(learner, run.params, self.validation_rows()))


def _overlapping_classes(n: int, *, seed: int) -> Samples:
    """Return rows of two classes in the unit cube of four features, which a line separates but for a few."""
    rng = np.random.default_rng([seed, n])
    labels = np.arange(n) % 2
    x = 0.5 + 0.15 * (2 * labels[:, None] - 1) + 0.2 * rng.normal(size=(n, 4))
    return samples(np.clip(x, 0.01, 0.99), labels, 2)
