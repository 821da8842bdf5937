r"""Rows that harm a model on trusted rows: reject on negative impact, and influence.

With T the trusted rows, L_T(θ) their mean loss, and θ(ω) the model trained on rows of weights ω, a row is as suspicious
as its weight raises L_T:

    RONI:       mean over base sets B ⊂ T of  L_{T∖B}(θ(B + row i)) − L_{T∖B}(θ(B))      (Nelson et al. 2008)
    RONI, fast: mean over base sets of        ∂ L_{T∖B}(θ(B, ω)) / ∂ω_i  at ω = 0
    Influence:  ∂ L_T(θ(ω)) / ∂ω_i  at the weights of all rows, 1

`backgrad.defences.harm` computes the derivatives, of all rows at the cost of one training and one way back. RONI by
retraining costs one training a row and trial. It judges rows one by one, against few rows: points that do harm only
together look harmless to it. Influence sees a row amid all others, poison among them, and to first order alone.

Everything here is worth what the trusted rows are worth. They must look like the rows that the model will see.
"""

import abc
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from ..checks import check_count, is_number
from ..errors import InputError, TrustedRowsError, UnsupportedError
from ..learners.base import Member
from ..learners.estimator import build_learner
from ..learners.fitting import check_schedule, check_size
from ..learners.seeding import seeded
from ..learners.surrogate import surrogate_for
from ..schedules import Descent
from ..threads import one_thread
from .base import Sanitiser, most_suspicious, read_trusted
from .harm import labelled, weight_effects
from .loss import fitted, log_losses

# --- trusted rows ---------------------------------------------------------------------------------


class Trusted(NamedTuple):
    """Rows that are believed.

    Args:
        x: features, (t, d).
        y: labels 0..k−1, (t,).
        believed: which of the rows given they are, (n,): none where they came separately.
    """

    x: np.ndarray
    y: np.ndarray
    believed: np.ndarray


class TrustingSanitiser(Sanitiser):
    """What RONI and Influence share: trusted rows, and the harm that is done to them."""

    needs_trusted = True

    trusted_indices_: np.ndarray

    def __init__(self, *, fraction, trusted, only_harmful, random_state, sampling_strategy):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.trusted = trusted
        self.only_harmful = only_harmful
        self.random_state = random_state

    @abc.abstractmethod
    def _judge(
        self, x: np.ndarray, y: np.ndarray, trusted: Trusted, free: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return suspicion, marks and thresholds of every row, (n,) each, of which those that are not free stay."""

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the harm that each row does; the labels of trusted rows are 0..k−1 too."""
        trusted = self._believe(x, y, np.arange(int(y.max()) + 1))
        return self._judge(x, y, trusted, ~trusted.believed)[0]

    def _fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, np.ndarray]:
        x, classes, codes = self._read(X, y, **params)
        trusted = self._believe(x, codes, classes)
        self.trusted_indices_ = np.flatnonzero(trusted.believed)
        free = ~trusted.believed & np.isin(y, list(self.sampling_strategy_))
        self.suspicion_, removed, self.thresholds_ = self._judge(x, codes, trusted, free)
        return self._without(X, y, removed, classes)

    def _believe(self, x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> Trusted:
        """Return the trusted rows."""
        if self.trusted is None:
            raise InputError(
                f"{type(self).__name__} measures harm on rows that are known to be clean, and has none: give "
                "trusted=(X, y), or on the command line --trusted FILE."
            )
        if is_number(self.trusted):
            return self._draw(x, y, classes.size)
        if not isinstance(self.trusted, tuple | list) or len(self.trusted) != 2:
            raise InputError(f"trusted must be (X, y), or a share of the rows given; got {self.trusted!r:.80}.")
        features, labels = self.trusted
        known, codes = read_trusted(features, labels, classes=classes, width=x.shape[1])
        return Trusted(known, codes, np.zeros(len(x), bool))

    def _draw(self, x: np.ndarray, y: np.ndarray, k: int) -> Trusted:
        """Believe a share of each class, and one row of it at least."""
        if not 0 < self.trusted < 1:
            raise InputError(f"trusted, as a share of the rows, must lie between 0 and 1; got {self.trusted}.")
        rng, believed = np.random.default_rng(self.random_state), np.zeros(len(y), bool)
        for label in range(k):
            rows = np.flatnonzero(y == label)
            believed[rng.permutation(rows)[: int(np.ceil(self.trusted * rows.size - 1e-9))]] = True
        return Trusted(x[believed], y[believed], believed)

    def _worst(
        self, effects: np.ndarray, y: np.ndarray, free: np.ndarray, gone: np.ndarray, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mark rows until the share of each class is gone, most harmful first, and return what is let pass, (n,)."""
        ranked = np.where(gone, np.inf, np.where(free, effects, -np.inf))
        marked = gone | (most_suspicious(ranked, y, share)[0] & free)
        if self.only_harmful:
            marked &= gone | (effects > 0)
        passed = free & ~marked
        limits = np.full(len(y), np.inf)
        for label in np.unique(y):
            largest = np.max(effects[passed & (y == label)], initial=-np.inf)
            # Where none is let pass that might have gone, the least harmful that went is the limit.
            went = np.min(effects[free & ~gone & (y == label)], initial=np.inf)
            limit = largest if np.isfinite(largest) else went
            limits[free & (y == label)] = max(limit, 0.0) if self.only_harmful else limit
        return marked, limits


# --- RONI -----------------------------------------------------------------------------------------

# The share of its length below which what sticks out of a span is round-off.
_SPANNED = 1e-9


class RONI(TrustingSanitiser):
    """Reject on negative impact: leave out rows that make a model worse when it learns from them (Nelson et al. 2008).

    Base sets are drawn from the trusted rows; the other trusted rows tell how well a model does. The impact of a row is
    by how much a model of base set and row does worse than one of the base set alone, averaged over trials. Of the
    source are the sizes (20 rows, 5 trials) and the error as a measure; that moves in steps, so that the default is the
    log-loss.

    There is no `evasion`: what misleads a model about test rows misleads it about trusted ones, and no attack is known
    to us that tells them apart. Rows that do harm only in company pass; an attacker need not be told.

    Args:
        fraction: the largest share of each class to leave out.
        trusted: `(X, y)`, rows that nobody could poison, in the columns and classes of the rows; or a share in (0, 1)
            of the rows given, drawn at random from each class, believed and never left out: weaker, as poison may be
            among them.
        estimator: any scikit-learn classifier with `predict_proba` or `decision_function` (with `impact="error"`, any
            classifier); `LogisticRegression` where omitted. It is given labels 0..k−1.
        trials: base sets.
        base_size: rows of a base set, at least one of each class; half of the trusted rows where these are fewer than
            twice as many.
        impact: `"loss"`, the mean log-loss, or `"error"`, the share of wrong labels.
        fast: whether retraining is replaced by its first order, for the learner that stands for the estimator (see
            `backgrad.surrogate_for`). Costs one training a trial, and is the less exact the smaller base sets are; off,
            as the source retrains. Only with `impact="loss"`.
        only_harmful: whether rows of no or good impact stay even if the share is not reached.
        random_state: a seed for base sets, for a share that is believed, and for a classifier that leaves its own open.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`, and
        suspicion_: the impact; 0 of rows that are not measured, since they stay in any case.
        thresholds_: infinite for these.
        trusted_indices_: rows given that were believed.

    Raises:
        InputError: no trusted rows or too few, or settings out of range.
        UnsupportedError: `fast` for an estimator that is trained on mini-batches.
    """

    measure = "impact on trusted rows"
    trains_often = True

    def __init__(
        self,
        *,
        fraction: float = 0.1,
        trusted: Any = None,
        estimator: Any = None,
        trials: int = 5,
        base_size: int = 20,
        impact: str = "loss",
        fast: bool = False,
        only_harmful: bool = True,
        random_state: Any = 0,
        sampling_strategy: Any = "all",
    ):
        super().__init__(
            fraction=fraction,
            trusted=trusted,
            only_harmful=only_harmful,
            random_state=random_state,
            sampling_strategy=sampling_strategy,
        )
        self.estimator = estimator
        self.trials = trials
        self.base_size = base_size
        self.impact = impact
        self.fast = fast

    def check_settings(self) -> None:
        """Check the share, the numbers, and what the impact is measured by."""
        super().check_settings()
        check_count(trials=self.trials, base_size=self.base_size)
        if self.impact not in ("loss", "error"):
            raise InputError(f"impact must be 'loss' or 'error'; got {self.impact!r}.")
        if self.fast and self.impact == "error":
            raise InputError("fast=True follows slopes, and the error has none: set impact='loss', or fast=False.")

    def _judge(self, x, y, trusted: Trusted, free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.random_state)
        plain = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        estimator = seeded(plain, int(rng.integers(2**31)))
        bases = self._bases(trusted.y, int(y.max()) + 1, rng)
        effects = np.zeros(len(y))
        measured = self._slopes if self.fast else self._retrained
        effects[free] = measured(estimator, x[free], y[free], trusted, bases) if free.any() else 0.0
        marked, limits = self._worst(effects, y, free, np.zeros(len(y), bool), self.fraction)
        return effects, marked, limits

    def _bases(self, labels: np.ndarray, k: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw base sets, (t,) truth values each, with a row of every class."""
        counts = np.bincount(labels, minlength=k)
        size = max(k, min(self.base_size, len(labels) // 2))
        if counts.min() < 1 or size >= len(labels):
            raise TrustedRowsError(
                f"RONI needs trusted rows of every class, and more than the {size} of a base set; got "
                f"{len(labels)}, by class {counts.tolist()}: give more."
            )
        bases = []
        for _ in range(self.trials):
            order = rng.permutation(len(labels))
            first = order[np.unique(labels[order], return_index=True)[1]]
            chosen = np.concatenate([first, order[~np.isin(order, first)]])[:size]
            bases.append(np.isin(np.arange(len(labels)), chosen))
        return bases

    def _retrained(self, estimator, x, y, trusted: Trusted, bases) -> np.ndarray:
        """Train on each base set with each row."""
        # So little work is not worth handing out: on a busy machine threads that wait for each other take most of it.
        with one_thread:
            return np.mean([self._impacts(estimator, x, y, trusted, base) for base in bases], axis=0)

    def _impacts(self, estimator, x, y, trusted: Trusted, base: np.ndarray) -> np.ndarray:
        """Return by how much worse a model does that learns each row besides one base set."""
        labels, truth = trusted.y[base], trusted.y[~base]
        before = self._harm(fitted(estimator, trusted.x[base], labels), trusted.x[~base], truth)
        # Ridge penalties do not mind how features are turned; of an estimator that was given, who knows.
        view = turned if self.estimator is None else unturned
        after = [
            self._harm(fitted(estimator, features, np.append(labels, label)), held, truth)
            for (features, held), label in zip(view(trusted.x[base], x, trusted.x[~base]), y, strict=True)
        ]
        return np.array(after) - before

    def _harm(self, model: Any, x: np.ndarray, y: np.ndarray) -> float:
        if self.impact == "error":
            return float(np.mean(np.asarray(model.predict(x)) != y))
        return float(np.mean(log_losses(model, x, y)))

    def _slopes(self, estimator, x, y, trusted: Trusted, bases) -> np.ndarray:
        """Differentiate in the weights of rows that are absent from each base set."""
        k, size = int(trusted.y.max()) + 1, int(bases[0].sum())
        members = surrogate_for(estimator, n_features=x.shape[1], n_classes=k, n_samples=size).members
        if any(isinstance(one.schedule, Descent) and one.schedule.batch_size for one in members):
            raise UnsupportedError(
                f"fast=True needs training on all rows at once, but {type(estimator).__name__} takes some a step: set "
                "fast=False, or use LogisticRegression."
            )
        both, labels = np.vstack([trusted.x, x]), np.concatenate([trusted.y, y])
        effects = np.zeros(len(y))
        for base in bases:
            rows = labelled(both, labels, k, np.concatenate([base, np.zeros(len(y))]))
            held = labelled(trusted.x, trusted.y, k, 1.0 - base)
            effects += sum(weight_effects(member, rows, held)[len(base) :] for member in members) / len(members)
        return effects / len(bases)


def unturned(base: np.ndarray, x: np.ndarray, held: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield of every row the base set with it, (b + 1, d), and the rows held out, (h, d), in their own features."""
    for row in x:
        yield np.vstack([base, row]), held


def turned(base: np.ndarray, x: np.ndarray, held: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the same in b + 1 features, where these are fewer: orthonormal directions that base set and row span.

    A linear model with a ridge penalty has no weight in others: of rows held out, the part in these counts.
    """
    if base.shape[1] <= len(base) + 1:
        yield from unturned(base, x, held)
        return
    directions = np.linalg.qr(base.T)[0]
    inside, outside = x @ directions, held @ directions
    rest = x - inside @ directions.T
    sizes = np.linalg.norm(rest, axis=1)
    # A row within the span of the base set adds no direction.
    rest /= np.where(sizes > _SPANNED * np.linalg.norm(x, axis=1), sizes, np.inf)[:, None]
    along, corner = held @ rest.T, np.hstack([base @ directions, np.zeros((len(base), 1))])
    for row, size, last in zip(inside, sizes, along.T, strict=True):
        yield np.vstack([corner, np.append(row, size)]), np.column_stack([outside, last])


# --- influence ------------------------------------------------------------------------------------


class Influence(TrustingSanitiser):
    """Leave out rows whose weight raises the loss on trusted rows, most harmful first.

    The model is trained on all rows given. To first order, without row i the loss on trusted rows would be lower by its
    suspicion. With `rounds`, a part of the share is left out each time and the model trained again without it, so that
    what poison hides comes to light.

    There is no `evasion`: a point that does no harm to trusted rows does none to test rows of their distribution, and
    no attack is known to us that tells them apart.

    Args:
        fraction: the largest share of each class to leave out.
        trusted: `(X, y)`, rows that nobody could poison, in the columns and classes of the rows; or a share in (0, 1)
            of the rows given, drawn at random from each class, believed and never left out: weaker, as poison may be
            among them.
        learner: a learner, or a class or factory of one, that is trained as `schedule` says; where omitted, logistic or
            softmax regression as scikit-learn's `LogisticRegression` has it by default, with λ = 1/n.
        schedule: how it is trained; where omitted, to convergence without a learner, and by
            `backgrad.learners.fitting.DEFAULT_SCHEDULE` with one. Of a `Descent`, gradients are those of its steps.
        rounds: trainings, after each of which an equal part of the share is left out.
        only_harmful: whether rows of no or good influence stay even if the share is not reached.
        random_state: a seed for a share that is believed.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`, and
        suspicion_: the slope of the trusted loss in the row's weight, in the last round in which the row counted.
        thresholds_: likewise; infinite for rows that stay in any case.
        trusted_indices_: rows given that were believed.

    Raises:
        InputError: no trusted rows, or settings out of range.
        DivergenceError: training diverged.
        NotConvergedError: training found no stationary point to differentiate at.
    """

    measure = "slope of the loss on trusted rows in its weight"

    def __init__(
        self,
        *,
        fraction: float = 0.1,
        trusted: Any = None,
        learner: Any = None,
        schedule: Any = None,
        rounds: int = 1,
        only_harmful: bool = True,
        random_state: Any = 0,
        sampling_strategy: Any = "all",
    ):
        super().__init__(
            fraction=fraction,
            trusted=trusted,
            only_harmful=only_harmful,
            random_state=random_state,
            sampling_strategy=sampling_strategy,
        )
        self.learner = learner
        self.schedule = schedule
        self.rounds = rounds

    def check_settings(self) -> None:
        """Check the share, the rounds and the schedule."""
        super().check_settings()
        check_count(rounds=self.rounds)
        check_schedule(self.schedule)

    def _judge(self, x, y, trusted: Trusted, free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        k = int(y.max()) + 1
        member, known = self._member(x.shape[1], k, len(y)), labelled(trusted.x, trusted.y, k)
        gone, suspicion, limits = np.zeros(len(y), bool), np.zeros(len(y)), np.full(len(y), np.inf)
        for step in range(1, self.rounds + 1):
            # Rows that are gone keep their place with weight 0, so that one compilation serves all rounds.
            effects = weight_effects(member, labelled(x, y, k, 1.0 - gone), known)
            marked, passed = self._worst(effects, y, free, gone, self.fraction * step / self.rounds)
            suspicion, limits = np.where(gone, suspicion, effects), np.where(gone, limits, passed)
            gone = marked
        return suspicion, gone, limits

    def _member(self, d: int, k: int, n: int) -> Member:
        """Return the learner and its schedule."""
        if self.learner is None:
            default = LogisticRegression()
            (member,) = surrogate_for(default, n_features=d, n_classes=k, n_samples=n).members
            return member if self.schedule is None else member._replace(schedule=self.schedule)
        learner = build_learner(self.learner, n_features=d, n_classes=k)
        check_size(learner, "n_features", d, "features")
        check_size(learner, "n_outputs", k, "classes")
        return Member(learner, check_schedule(self.schedule))
