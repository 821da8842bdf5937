"""The runs of an audit."""

import dataclasses
from typing import Any

import numpy as np

from ..checks import check_seed, is_whole, shown
from ..defences.certified.partition import usual_partitions
from ..errors import InputError
from ..studies.plan import Run, Study
from .estimators import identify_estimator, is_path, make_estimator
from .problem import Problem
from .profiles import USUAL_SHARE, Profile, Sizes, deal, make_budgets
from .tasks import AUDIT_TASKS, ENSEMBLE

# The share of each class that defences leave out: twice the poison's, at least the usual and never all.
_REMOVE = (0.1, 0.9)
_BUDGETS_OF_A_CERTIFICATE = 200
_MOST_SPLITS = 1000


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is done: who is judged, at which budgets, on which rows.

    Args:
        problem: the rows.
        data: how runs find them again, JSON values.
        estimator: its name, path or hash.
        profile: how much is done.
        sizes: how rows are dealt out.
        budgets: numbers of points by the share of poisoned rows.
        splits: K.
        seed: of everything random.
        limit: the largest error that the user accepts; None for no gate.
        at: the share of poisoned rows at which it must hold.
        made: what tells the estimator of a factory from others that it may make under the same name; None for the rest.
    """

    problem: Problem
    data: dict[str, Any]
    estimator: str
    profile: Profile
    sizes: Sizes
    budgets: dict[float, int]
    splits: int
    seed: int
    limit: float | None
    at: float | None
    made: str | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """The estimators beside the audited one."""
        return tuple(name for name in self.profile.others if not self._is_same(name))

    @property
    def against(self) -> tuple[str, ...]:
        """Those of them that points are crafted against, and `ENSEMBLE` where one attack is on all of these."""
        known = self._known
        return (*known, ENSEMBLE) if self.profile.ensemble and len(known) > 1 else known

    @property
    def _known(self) -> tuple[str, ...]:
        return tuple(name for name in self.profile.against if not self._is_same(name))

    @property
    def share(self) -> float:
        """The share of poisoned rows at which defences and transfer are looked at."""
        if self.at is not None:
            return self.at
        return min(self.budgets, key=lambda share: abs(share - USUAL_SHARE))

    @property
    def partitions(self) -> int:
        """The number of models in the certified ensemble; 0 where there is none."""
        return usual_partitions(self.sizes.train) if self.profile.certify else 0

    def _is_same(self, name: str) -> bool:
        same = {"softmax": "logistic"}
        return same.get(self.estimator, self.estimator) == same.get(name, name)

    @property
    def settings(self) -> dict[str, Any]:
        """What all runs have in common."""
        common = {
            "data": self.data,
            "estimator": self.estimator,
            "sizes": dataclasses.asdict(self.sizes),
            "iterations": self.profile.iterations,
        }
        return common if self.made is None else {**common, "made": self.made}

    def study(self) -> Study:
        """Return all runs, split by split."""
        common = self.settings
        points = self.budgets[self.share]
        cases: list[tuple[str, dict[str, Any]]] = []
        for against in ("own", *self.against):
            # What others' points do is asked at one share; the curve is that of the estimator's own.
            shares = self.budgets if against == "own" else (self.share,)
            for share in shares:
                made = {"against": against, "points": self.budgets[share], "victims": ["own", *self.others]}
                if against == ENSEMBLE:
                    made["members"] = list(self._known)
                cases.append(("attack", {**made, "partitions": self.partitions if against == "own" else 0}))
        if self.profile.defences:
            made = {
                "defences": self.profile.defences,
                "points": points,
                "remove": float(np.clip(2 * self.share, *_REMOVE)),
            }
            cases.append(("defend", {**made, "adaptive": self.profile.adaptive}))
        if self.partitions:
            most = max(self.budgets.values())
            budgets = np.unique(np.linspace(0, most, _BUDGETS_OF_A_CERTIFICATE).round().astype(int)).tolist()
            cases.append(("certify", {"partitions": self.partitions, "budgets": budgets}))
        runs = [
            Run(AUDIT_TASKS[task].run, {**common, **made}, split, self.seed)
            for split in range(self.splits)
            for task, made in cases
        ]
        return Study("audit", tuple(runs), {"estimator": self.estimator, "profile": self.profile.name})


def make_audit(
    problem: Problem,
    data: dict[str, Any],
    estimator: str,
    *,
    profile: Profile,
    splits: int | None,
    seed: int,
    limit: float | None,
    at: float | None,
) -> Audit:
    """Return what an audit does with a problem.

    Args:
        problem: the rows.
        data: how runs find them again.
        estimator: its name, path or hash.
        profile: how much is done.
        splits: K; the profile's where None.
        seed: of everything random.
        limit: the largest error that the user accepts.
        at: the share of poisoned rows at which it must hold.

    Raises:
        InputError: a share, a number of splits or a seed that is out of range.
    """
    if splits is not None and not (is_whole(splits) and 1 <= splits <= _MOST_SPLITS):
        raise InputError(f"splits must lie in 1 to {_MOST_SPLITS}; got {shown(splits)}.")
    check_seed(seed)
    sizes = deal(profile, len(problem.y))
    return Audit(
        problem,
        data,
        estimator,
        profile,
        sizes,
        make_budgets(profile, sizes.train, at),
        profile.splits if splits is None else splits,
        seed,
        limit,
        at,
        identify_estimator(make_estimator(estimator), factory=estimator) if is_path(estimator) else None,
    )
