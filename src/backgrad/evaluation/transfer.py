"""Transfer: how far points crafted against one learner harm another."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..attacks.base import AttackResult
from ..checks import check_progress, check_seed
from ..errors import InputError
from ..threat.knowledge import Member
from .plan import Plan, Rows, Table
from .poisoning import ERRORS, craft_on_split, victim_errors


@dataclasses.dataclass(frozen=True)
class TransferMatrix:
    """Errors of victims on points crafted against surrogates.

    Args:
        surrogates: the S names of what points were crafted against.
        victims: the V names of what was trained on them.
        errors: test errors, (S, V, K) over K splits.
        clean: errors without points, (V, K).
        label_flips: errors with label flips, (V, K): the first surrogate's start, which all share.
        health: verdicts on the attacks, by surrogate, K each.
    """

    surrogates: tuple[str, ...]
    victims: tuple[str, ...]
    errors: np.ndarray
    clean: np.ndarray
    label_flips: np.ndarray
    health: dict[str, list[str]]

    def mean(self) -> np.ndarray:
        """Return the means over splits, (S, V)."""
        return self.errors.mean(axis=2)


def transfer_matrix(
    plan: Plan,
    table: Table,
    splits: Sequence[Rows],
    *,
    surrogates: Mapping[str, Member],
    victims: Mapping[str, Any],
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> TransferMatrix:
    """Craft points against every surrogate, and train every victim on them.

    Args:
        plan: budget, goal, feasible set and attack; its learner and schedule, and surrogates that stand for these, are
            replaced by each surrogate's.
        table: the data set.
        splits: the rows of every split.
        surrogates: learners with their schedules, by name.
        victims: unfitted scikit-learn estimators, or learners with their schedules, by name.
        seed: of starting points and initial parameters.
        progress: called with the share of the work done, 0 … 1.

    Returns:
        Errors on the poisoned, the clean and the label-flipped training rows.

    Raises:
        InputError: no surrogate, no victim or no split, or what an attack refuses.
    """
    if not surrogates or not victims or not splits:
        raise InputError(
            f"a transfer matrix needs surrogates, victims and splits; got {len(surrogates)}, {len(victims)} and "
            f"{len(splits)}."
        )
    check_seed(seed)
    check_progress(progress)
    shape = (len(surrogates), len(victims), len(splits))
    errors, clean, flips = np.zeros(shape), np.zeros(shape[1:]), np.zeros(shape[1:])
    health: dict[str, list[str]] = {name: [] for name in surrogates}
    total, done = shape[0] * shape[2], 0
    for k, rows in enumerate(splits):
        for i, (name, member) in enumerate(surrogates.items()):
            shift = done / total
            attack: AttackResult = craft_on_split(
                plan.against(member),
                table,
                rows,
                seed=(seed, k),
                progress=lambda share, shift=shift: progress(shift + share / total),
            )
            health[name].append(attack.health.verdict)
            for j, victim in enumerate(victims.values()):
                wanted = ERRORS if i == 0 else ("poisoned_error",)
                found = victim_errors(victim, table, rows, attack, seed=(seed, k), names=wanted)
                errors[i, j, k] = found["poisoned_error"]
                if i == 0:
                    clean[j, k], flips[j, k] = found["clean_error"], found["label_flip_error"]
            done += 1
            progress(done / total)
    return TransferMatrix(tuple(surrogates), tuple(victims), errors, clean, flips, health)
