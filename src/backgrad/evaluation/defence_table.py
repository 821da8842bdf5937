"""What defences help, what they cost, and whether they still help against an attacker who knows them.

On every split, points are crafted against the victim as it is (the *oblivious* attack). Every defence is then applied
to the clean rows, to see what it costs, and to clean rows and points. Where it says what an attacker who knows it would
keep to, points are crafted again with that in the loop (the *adaptive* attack), several times over: with a margin and
without, against what the defence makes of the clean rows and of the poisoned ones. Where a sanitiser says nothing of
the kind, points are crafted again that stay near the training rows they start from. Where the victim has no gradient,
the attacker applies the defence and fits the victim in every trial of a search instead. Of these, of the oblivious
points and of the label flips they start from, the attacker takes those that do most harm on the validation rows to the
victim behind the real defence. The test rows are used once, for the table.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from sklearn.base import clone

from ..attacks.base import AttackResult
from ..checks import check_progress, check_seed
from ..defences.base import Sanitiser, known_evasion
from ..errors import EmptyClassError, InputError, NumericalError, TrustedRowsError
from ..learners.base import Member
from ..threads import one_thread
from ..threat.compose import Ball, Rescaled
from ..threat.evasion import Evasion, Viewed
from .defended import Defended
from .metrics import error_rate
from .plan import Plan, Rows, Table, as_samples, split_key, train_size
from .poisoning import craft_on_split
from .victims import fit_victim, train_and_predict, with_points

#: What is measured of every defence.
MEASURES = (
    "clean_error",
    "oblivious_error",
    "adaptive_error",
    "poison_removed",
    "adaptive_poison_removed",
    "clean_removed",
    "seconds",
)
#: The row of the table without a defence.
UNDEFENDED = "none"
#: Shift and scale of every column.
View = tuple[np.ndarray, np.ndarray]
# By how much an adaptive attacker stays clear of what a defence lets pass.
_MARGINS = (0.0, 0.2)
# How far points go who must not stand out, in shares of the way that they go where nobody looks.
_NEARER = (0.5, 0.25)


@dataclasses.dataclass(frozen=True)
class DefenceTable:
    """Defences side by side, over B budgets and K splits.

    Args:
        names: of the D defences, `"none"` first.
        budgets: numbers of poisoning points, (B,).
        fractions: p / (n + p) of each, (B,).
        measures: by the names in `MEASURES`, (D, B, K) each; NaN where a measure does not apply, such as rows removed
            by a robust learner, or the error under an adaptive attack that nobody knows. Errors are shares of the
            test rows, `seconds` those that one application of the defence (and, of a robust learner, its training)
            takes.
        label_flips: errors of the undefended victim on as many label flips, (B, K).
        health: verdicts on the oblivious attacks by budget, K each.
        warnings: what a reader must know before believing the table, a sentence each.
    """

    names: tuple[str, ...]
    budgets: np.ndarray
    fractions: np.ndarray
    measures: dict[str, np.ndarray]
    label_flips: np.ndarray
    health: dict[int, list[str]]
    warnings: tuple[str, ...]

    def of(self, measure: str, name: str) -> np.ndarray:
        """Return a measure of one defence, (B, K)."""
        return self.measures[measure][self.names.index(name)]


@dataclasses.dataclass(frozen=True)
class _Judge:
    """A split's defended victims.

    Args:
        plan: who is attacked.
        table: the data set.
        rows: the split.
        seed: the run's seed and the split's number.
        victim: what is trained behind sanitisers, in place of the plan's learner; None for that.
        view: shift and scale of the features as defences see them.
    """

    plan: Plan
    table: Table
    rows: Rows
    seed: tuple[int, int]
    victim: Any = None
    view: View | None = None

    def judge(self, defence: Any, added: tuple[np.ndarray, np.ndarray]) -> "_Verdict":
        """Train the victim behind a defence on clean rows and points; return what comes of it."""
        begin = time.perf_counter()
        if defence is None or isinstance(defence, Sanitiser):
            keep = np.ones(len(self.rows.train) + len(added[0]), bool)
            if defence is not None:
                keep = self._keep(defence, added)
            seconds = time.perf_counter() - begin
            return _Verdict(*self._errors(self._train(keep, added)), keep, seconds)
        fitted = fit_victim(defence, self.table, self.rows, added, seed=self.seed)
        predictions = fitted.predict(self.table.x[np.concatenate([self.rows.validation, self.rows.test])])
        return _Verdict(*self._errors(predictions), None, time.perf_counter() - begin)

    def apply(self, defence: Sanitiser, added: tuple[np.ndarray, np.ndarray]) -> Sanitiser:
        """Return a copy of a sanitiser, fitted on clean rows and points."""
        x, y = with_points(self.table, self.rows, added)
        fresh = self.prepare(defence)
        fresh.fit_resample(self.seen(x), y)
        return fresh

    def seen(self, x: np.ndarray) -> np.ndarray:
        """Return features as defences see them."""
        return x if self.view is None else (x - self.view[0]) / self.view[1]

    def prepare(self, defence: Sanitiser) -> Sanitiser:
        """Return an unfitted copy, with this split's trusted rows where it can use some."""
        fresh: Any = clone(defence)
        trusted = self.rows.trusted
        if fresh.needs_trusted and trusted is None:
            raise InputError(f"{type(fresh).__name__} needs trusted rows: give Rows.with_trusted(count).")
        if trusted is not None and "trusted" in fresh.get_params():
            fresh.set_params(trusted=(self.seen(self.table.x[trusted]), self.table.y[trusted]))
        return fresh

    def _keep(self, defence: Sanitiser, added: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        keep = np.zeros(len(self.rows.train) + len(added[0]), bool)
        keep[self.apply(defence, added).sample_indices_] = True
        return keep

    def _train(self, keep: np.ndarray, added: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Train on the rows kept; those left out stay with weight 0, so that one compilation serves all."""
        n, k = len(self.rows.train), self.table.n_classes
        x = self.table.x[np.concatenate([self.rows.validation, self.rows.test])]
        if self.victim is not None:
            rows = dataclasses.replace(self.rows, train=self.rows.train[keep[:n]])
            kept = added[0][keep[n:]], added[1][keep[n:]]
            return fit_victim(self.victim, self.table, rows, kept, seed=self.seed).predict(x)
        clean, points = self.table.samples(self.rows.train), as_samples(*added, k)
        weight = keep.astype(clean.weight.dtype)
        blocks = (clean._replace(weight=weight[:n]), points._replace(weight=weight[n:]))
        schedule = dataclasses.replace(self.plan.schedule, key=split_key(self.seed))
        if getattr(schedule, "batch_size", None) is not None:  # batches are drawn from all rows, present or not
            every, y = with_points(self.table, self.rows, added)
            blocks = (as_samples(every[keep], y[keep], k),)
        return train_and_predict(self.plan.learner, blocks, schedule, x)[0]

    def _errors(self, predictions: np.ndarray) -> tuple[float, float]:
        count = len(self.rows.validation)
        validation, test = predictions[:count], predictions[count:]
        y = self.table.y
        return error_rate(validation, y[self.rows.validation]), error_rate(test, y[self.rows.test])


@dataclasses.dataclass(frozen=True)
class _Verdict:
    """What came of one victim: errors, which of its rows were kept (None of a robust learner), seconds."""

    validation: float
    test: float
    keep: np.ndarray | None
    seconds: float

    def removed(self, n: int) -> tuple[float, float]:
        """Return the shares of clean rows and of points that were left out."""
        if self.keep is None:
            return np.nan, np.nan
        points = self.keep[n:]
        return float(np.mean(~self.keep[:n])), float(np.mean(~points)) if points.size else np.nan


@one_thread  # fits of a few hundred rows wait for threads longer than they calculate
def defence_table(
    plan: Plan,
    table: Table,
    splits: Sequence[Rows],
    *,
    defences: Mapping[str, Any],
    budgets: Sequence[int],
    seed: int,
    victim: Any = None,
    view: View | None = None,
    adaptive: bool = True,
    first_split: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> DefenceTable:
    """Attack a victim behind every defence, by attackers who know it and who do not.

    Args:
        plan: the victim, and how it is attacked; its budget is replaced.
        table: the data set, of classes.
        splits: the rows of every split; with trusted rows where a defence needs some.
        defences: by name: `Sanitiser`s in front of the plan's victim, or robust learners in its place (an unfitted
            scikit-learn classifier, or a `Member`, which an adaptive attacker attacks as such).
        budgets: numbers of points.
        seed: of starting points and initial parameters.
        victim: an unfitted estimator that is trained behind sanitisers, in place of the plan's learner, which then
            stands for it in the attack alone.
        view: shift and scale, (d,) each, of the features as defences see them, (x − shift) / scale: distances need
            columns of like units, which a victim may bring about itself.
        adaptive: whether to attack with each defence in the loop, too.
        first_split: the number of the first split, from which random numbers and warnings follow.
        progress: called with the share of the work done, 0 … 1.

    Returns:
        All measures, with the undefended victim in the first row.

    Raises:
        InputError: a regression, no defence, no split or no budget, a budget of 0, or what an attack refuses.
    """
    if not table.n_classes:
        raise InputError("defences are evaluated on classes; for a regression see backgrad.TrimRegressor.")
    if not defences or not splits or not budgets or min(budgets) < 1:
        raise InputError(
            f"a defence table needs defences, splits and budgets of 1 point or more; got {len(defences)} defences, "
            f"{len(splits)} splits and budgets {list(budgets)}."
        )
    n = train_size(splits)
    check_seed(seed)
    check_progress(progress)
    if UNDEFENDED in defences:
        raise InputError(f"{UNDEFENDED!r} is the name of the undefended row: call the defence something else.")
    everyone = {UNDEFENDED: None, **defences}
    shape = (len(everyone), len(budgets), len(splits))
    measures = {name: np.full(shape, np.nan) for name in MEASURES}
    flips, health = np.zeros(shape[1:]), {int(budget): [] for budget in budgets}
    warnings: dict[str, None] = {}
    steps = _Steps(progress, len(budgets) * len(splits) * (1 + (len(defences) if adaptive else 0)))
    for k, rows in enumerate(splits):
        number = first_split + k
        judge = _Judge(plan, table, rows, (seed, number), victim, view)
        for b, budget in enumerate(budgets):
            judge = dataclasses.replace(judge, plan=plan.with_budget(int(budget)))
            attack = craft_on_split(judge.plan, table, rows, seed=(seed, number), progress=steps.one())
            health[int(budget)].append(attack.health.verdict)
            flips[b, k] = judge.judge(None, (attack.start, attack.start_labels)).test
            for i, (name, defence) in enumerate(everyone.items()):
                try:
                    told = steps if adaptive and defence is not None else None
                    for measure, value in _measure(judge, defence, attack, told):
                        measures[measure][i, b, k] = value
                except (EmptyClassError, TrustedRowsError, NumericalError) as error:
                    if defence is None:  # the victim failed, not a defence of it
                        raise
                    warnings[f"{name} at {budget} points, split {number + 1}: {error}"] = None
    warnings |= _unknown(everyone, measures)
    counts = np.asarray(budgets, int)
    return DefenceTable(tuple(everyone), counts, counts / (n + counts), measures, flips, health, tuple(warnings))


def _measure(judge: _Judge, defence: Any, attack: AttackResult, steps: "_Steps | None") -> Iterator[tuple[str, float]]:
    """Yield the measures of one defence, under one budget on one split, as soon as they are taken.

    Adaptive ones come last, where there are steps left: a defence that cannot work under these worked before.
    """
    n = len(judge.rows.train)
    nothing = attack.points[:0], attack.labels[:0]
    clean = judge.judge(defence, nothing)
    oblivious = judge.judge(defence, (attack.points, attack.labels))
    clean_removed, poison_removed = oblivious.removed(n)
    yield from {
        "clean_error": clean.test,
        "oblivious_error": oblivious.test,
        "clean_removed": clean_removed,
        "poison_removed": poison_removed,
        "seconds": oblivious.seconds,
    }.items()
    crafted = [] if steps is None else list(_adaptive(judge, defence, attack, steps.one()))
    if crafted:
        candidates = [judge.judge(defence, added) for added in (*crafted, (attack.start, attack.start_labels))]
        best = max((*candidates, oblivious), key=lambda verdict: verdict.validation)
        yield from {"adaptive_error": best.test, "adaptive_poison_removed": best.removed(n)[1]}.items()


def _adaptive(
    judge: _Judge, defence: Any, attack: AttackResult, progress: Callable[[float], None]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield points of attackers who know the defence; none where nobody knows how to attack it."""
    plan, rows, y = judge.plan, judge.rows, judge.table.y

    def craft(plan: Plan, progress: Callable[[float], None]) -> tuple[np.ndarray, np.ndarray]:
        made = craft_on_split(plan, judge.table, rows, seed=judge.seed, progress=progress)
        return made.points, made.labels

    if isinstance(defence, Member):
        yield craft(plan.against(defence), progress)
        return
    if plan.fitted is not None and isinstance(defence, Sanitiser) and not defence.trains_often:
        known = Defended(judge.prepare(defence), plan.fitted.estimator, judge.view)
        yield craft(dataclasses.replace(plan, fitted=dataclasses.replace(plan.fitted, estimator=known)), progress)
        return
    fresh: Any = judge.prepare(defence) if isinstance(defence, Sanitiser) else defence
    clean = judge.seen(judge.table.x[rows.train]), y[rows.train]
    first = known_evasion(fresh, *clean)
    if first is None:
        plans = list(_nearer(judge, attack)) if isinstance(defence, Sanitiser) else []
        steps = _Steps(progress, len(plans))
        for near in plans:
            yield craft(near, steps.one())
        progress(1.0)
        return

    def evading(evasion: Evasion, margin: float) -> Plan:
        seen = evasion if judge.view is None else Viewed(evasion, *judge.view)
        threat = dataclasses.replace(plan.threat, evasion=dataclasses.replace(seen, margin=margin))
        return dataclasses.replace(plan, threat=threat)

    steps = _Steps(progress, 2 * len(_MARGINS))
    for margin in _MARGINS:
        points, labels = craft(evading(first, margin), steps.one())
        yield points, labels
        again = steps.one()
        # What the defence makes of the rows as they are now, points included.
        second = known_evasion(fresh, *clean, (judge.seen(points), labels))
        if second is not None and not eqx.tree_equal(second, first):
            yield craft(evading(second, margin), again)
    progress(1.0)


def _nearer(judge: _Judge, attack: AttackResult) -> Iterator[Plan]:
    """Yield plans of an attacker who knows that rows are judged, by a rule that has no gradient.

    Such a rule believes rows among others more than rows far from them. So points stay within a ball around the
    training rows that they start from, as the defence measures distances.
    """
    plan, base = judge.plan, judge.plan.threat.feasible
    moved = np.linalg.norm(judge.seen(attack.points) - judge.seen(attack.start), axis=1)
    if plan.fitted is not None or not (base.exact and np.median(moved) > 0):
        return  # points that were chosen among rows, or from a discrete set
    for share in _NEARER:
        radius = share * float(np.median(moved))
        near = Ball(base, radius)
        if judge.view is not None:
            shift, scale = judge.view
            near = Rescaled(Ball(Rescaled(base, shift, scale), radius), -shift / scale, 1 / scale)
        yield dataclasses.replace(plan, threat=dataclasses.replace(plan.threat, feasible=near))


def _unknown(everyone: Mapping[str, Any], measures: Mapping[str, np.ndarray]) -> dict[str, None]:
    """Return a warning for every defence that was judged, and that no attacker who knows it was tried on."""

    def nowhere(kind: str, row: int) -> bool:
        return bool(np.isnan(measures[kind][row]).all())

    untried = [i for i in range(len(everyone)) if nowhere("adaptive_error", i) and not nowhere("oblivious_error", i)]
    names = [name for i, name in enumerate(everyone) if i in untried and name != UNDEFENDED]
    if not names:
        return {}
    return {
        f"{', '.join(names)}: judged only against an attacker who does not know the defence. One who does may do "
        "more harm; do not read these errors as what such a defence withstands.": None
    }


class _Steps:
    """Progress over equal steps, each with a share of its own."""

    def __init__(self, progress: Callable[[float], None], count: int):
        self._progress, self._count, self._done = progress, count, 0

    def one(self) -> Callable[[float], None]:
        """Begin the next step; return what tells the share of it done."""
        first = self._done
        self._done += 1

        def tell(share: float) -> None:
            self._progress(min((first + share) / self._count, 1.0))

        return tell
