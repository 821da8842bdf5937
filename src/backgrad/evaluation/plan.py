"""What is evaluated: who is attacked and how, on which rows."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..adjoints.base import Adjoint
from ..attacks.base import Attack
from ..attacks.subpopulation import SubpopulationAttack
from ..checks import check_count, check_kind, check_not_negative, shown
from ..errors import InputError
from ..learners.base import Member
from ..schedules import Converged, Descent, Schedule
from ..threat.goals import SampleTargets
from ..threat.model import ThreatModel
from ..types import Samples, samples


@dataclasses.dataclass(frozen=True)
class Rows:
    """Indices of one split's rows in the data set, (n,) each; the roles are disjoint.

    Args:
        train: the victim's training rows.
        validation: the attacker's validation rows.
        test: for the report alone.
        surrogate: the attacker's own training rows, where they do not know the victim's.
        trusted: the defender's rows that nobody could poison, where a defence needs them.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    surrogate: np.ndarray | None = None
    trusted: np.ndarray | None = None

    def __post_init__(self):
        """Keep indices as arrays, and check that no row has two roles."""
        every = []
        for name in ("train", "validation", "test", "surrogate", "trusted"):
            rows = getattr(self, name)
            if rows is None:
                continue
            found = np.asarray(rows)
            if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
                raise InputError(f"{name} must hold row numbers, (n,); got {shown(rows)}.")
            object.__setattr__(self, name, found)
            every.append(found)
        if np.unique(np.concatenate(every)).size < sum(found.size for found in every):
            raise InputError("each row must have one role: some are in two of train, validation and test, or twice.")

    def with_surrogate(self) -> "Rows":
        """Return the split with as many surrogate rows as training rows, taken from the test rows.

        Raises:
            InputError: too few test rows.
        """
        n = self.train.size
        if self.test.size <= n:
            raise InputError(
                f"surrogate data need {n} rows besides training, validation and at least one test row, but "
                f"{self.test.size} are left: use fewer training or validation rows."
            )
        return dataclasses.replace(self, surrogate=self.test[:n], test=self.test[n:])

    def with_trusted(self, count: int, *, labels: np.ndarray | None = None) -> "Rows":
        """Return the split with so many trusted rows, taken from the test rows.

        Args:
            count: of rows to take.
            labels: of all rows of the table. With them, two rows of each class are taken first, as far as there are as
                many: defences that know what a class looks like from trusted rows need those.

        Raises:
            InputError: too few test rows.
        """
        if self.test.size <= count:
            raise InputError(
                f"{count} trusted rows are asked for besides training, validation and at least one test row, but "
                f"{self.test.size} are left: use fewer of any."
            )
        taken = np.arange(self.test.size) < count
        if labels is not None:
            theirs = np.asarray(labels)[self.test]
            two = np.concatenate([np.flatnonzero(theirs == label)[:2] for label in np.unique(theirs)])[:count]
            rest = np.setdiff1d(np.arange(self.test.size), two)
            taken = np.isin(np.arange(self.test.size), [*two, *rest[: count - two.size]])
        return dataclasses.replace(self, trusted=self.test[taken], test=self.test[~taken])


@dataclasses.dataclass(frozen=True)
class Table:
    """The whole data set.

    Args:
        x: features, (n, d); of a pandas frame, and of y likewise, rows count by their place.
        y: labels 0..k−1, (n,), or the responses of a regression, (n,) or (n, k).
        n_classes: k; 0 for a regression.

    Raises:
        InputError: shapes that do not fit each other, or labels that are none of these.
    """

    x: Any
    y: Any
    n_classes: int

    def __post_init__(self):
        """Keep features and labels as arrays."""
        check_count(least=0, n_classes=self.n_classes)
        x, y = np.asarray(self.x), np.asarray(self.y)
        if x.ndim < 2 or y.ndim not in (1, 2) or len(x) != len(y):
            raise InputError(f"x must have shape (n, d), and y (n,) or (n, k), of one n; got {x.shape} and {y.shape}.")
        if self.n_classes:
            if y.ndim != 1 or not np.isin(y, np.arange(self.n_classes)).all():
                raise InputError(f"y must hold labels 0 to {self.n_classes - 1}, (n,); got {shown(np.unique(y))}.")
            y = y.astype(int, copy=False)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def samples(self, rows: np.ndarray) -> Samples:
        """Return rows as `train` takes them."""
        return as_samples(self.x[rows], self.y[rows], self.n_classes)


def train_size(splits: Sequence[Rows]) -> int:
    """Return how many training rows each split has.

    Raises:
        InputError: no split, or splits of different sizes, of which a budget would be different shares.
    """
    sizes = {rows.train.size for rows in splits}
    if not sizes:
        raise InputError("an evaluation needs at least one split; got none.")
    if len(sizes) > 1:
        raise InputError(f"an evaluation needs splits, all with as many training rows; got {sorted(sizes)}.")
    return sizes.pop()


def as_samples(x, y, n_classes: int) -> Samples:
    """Return features and labels (or, for no classes, responses) as `train` takes them."""
    if n_classes:
        return samples(x, y, n_classes)
    block = samples(x, np.zeros(len(x), int), 1)
    responses = np.asarray(y, block.x.dtype).reshape(len(x), -1)
    return block._replace(y=jax.numpy.asarray(responses))


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An estimator that nothing differentiates, and the search for points that fits it in every trial.

    Args:
        estimator: an unfitted scikit-learn classifier.
        attack: the search.
    """

    estimator: Any
    attack: SubpopulationAttack


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who is attacked, how, and with what rows.

    Args:
        learner: the victim's learner.
        schedule: how the victim is trained.
        attack: how points are crafted.
        threat: budget, goal, knowledge, feasible set and labels.
        attack_schedule: how the attacker trains its copy of the victim; as the victim where omitted.
        adjoint: how hypergradients are computed; exact for the schedule where omitted.
        start: the rows that points start from, `"train"` or `"validation"`.
        project_start: whether starting rows outside the feasible set are projected onto it, instead of refused: for
            sets that leave out part of the data on purpose, such as boxes between quantiles.
        reuse: the weight at which the attacker's training rows count among the rows they measure success on, besides
            the validation rows at weight 1. An attack has more coordinates than there are validation rows and fits
            them; more rows leave it less to fit.
        sources: whether points of an error-specific attack start from rows of the attacked classes alone, see
            `backgrad.attacks.preparation.start_points`.
        devices: over how many devices the attack spreads rows and points, or `"all"`; none of this where omitted. See
            `backgrad.devices`.
        fitted: the estimator that the learner stands for, which an attacker fits instead of following the learner's
            gradients, unless they evade a defence; None where the learner is what is attacked.
    """

    learner: Any
    schedule: Schedule
    attack: Attack
    threat: ThreatModel
    attack_schedule: Schedule | None = None
    adjoint: Adjoint | None = None
    start: str = "train"
    project_start: bool = False
    reuse: float = 0.0
    sources: bool = False
    devices: int | str | None = None
    fitted: Fitted | None = None

    def __post_init__(self):
        """Check what was given."""
        if self.start not in ("train", "validation"):
            raise InputError(f"start must be 'train' or 'validation'; got {self.start!r}.")
        check_kind(Attack, "an attack, such as JointAttack()", attack=self.attack)
        check_kind(ThreatModel, "a threat model, such as ThreatModel(budget=10)", threat=self.threat)
        check_kind((Descent, Converged), "Descent(...) or Converged(...)", schedule=self.schedule)
        check_not_negative(reuse=self.reuse)
        if self.reuse and isinstance(self.threat.goal, SampleTargets):
            raise InputError("targets of single validation rows say nothing of training rows: set reuse=0.")

    def with_budget(self, budget: int) -> "Plan":
        """Return the same plan with another number of points."""
        return dataclasses.replace(self, threat=dataclasses.replace(self.threat, budget=budget))

    def against(self, member: Member) -> "Plan":
        """Return the same plan against another learner, trained by its own schedule, which the attacker knows."""
        threat = dataclasses.replace(self.threat, knowledge=self.threat.knowledge.of_learner())
        return dataclasses.replace(
            self, learner=member.learner, schedule=member.schedule, threat=threat, attack_schedule=None, fitted=None
        )

    def inner(self, key: PRNGKeyArray) -> Schedule:
        """Return the attacker's schedule with a key of its initial parameters."""
        return dataclasses.replace(self.attack_schedule or self.schedule, key=key)


def split_key(seed: tuple[int, int]) -> PRNGKeyArray:
    """Return the key of the initial parameters of a split's victim, which an attacker of perfect knowledge shares."""
    return jax.random.fold_in(jax.random.key(seed[0]), seed[1])


def attack_seed(seed: tuple[int, int]) -> int:
    """Return one number that depends on both parts of a seed."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])
