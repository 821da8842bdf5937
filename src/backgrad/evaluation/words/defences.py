"""Defences by name: sanitisers, and robust learners in the victim's place."""

from typing import Any

from ...defences.catalogue import SANITISERS, make_sanitiser
from ...errors import InputError
from ...learners.base import Member

#: Robust learners, beside the sanitisers.
ROBUST = ("bagging", "dpa")


def make_defences(names: list[str] | None, victim: Any, *, fraction: float, train: int, seed: int) -> dict[str, Any]:
    """Return defences by name, for `backgrad.defence_table`.

    Args:
        names: of sanitisers (`backgrad.defences.catalogue`), `bagging` or `dpa`; all where None.
        victim: what robust learners are made of: a learner with its schedule, or an unfitted classifier.
        fraction: the share of rows that sanitisers leave out.
        train: the number of training rows, from which the number of partitions follows.
        seed: of what is random in a defence.

    Raises:
        InputError: an unknown name.
    """
    known = (*SANITISERS, *ROBUST)
    wanted = known if names is None else tuple(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"unknown defence {unknown[0]!r}: choose from {', '.join(known)}.")
    return {
        name: _robust(name, victim, train=train, seed=seed)
        if name in ROBUST
        else make_sanitiser(name, fraction=fraction, random_state=seed)
        for name in wanted
    }


def _robust(name: str, victim: Any, *, train: int, seed: int) -> Any:
    """Return an ensemble of the victim, or for `dpa`, which trains on a handful of rows each, of a model that can."""
    from ...learners.estimator import LearnerClassifier

    if name == "bagging":
        from ...defences.bagging import bagged

        base = LearnerClassifier(victim.learner, victim.schedule) if isinstance(victim, Member) else victim
        return bagged(base, random_state=seed)
    from sklearn.linear_model import LogisticRegression

    from ...defences.certified.partition import DeepPartitionAggregation, OrElse, usual_partitions

    usual = LogisticRegression()
    base = usual if isinstance(victim, Member) else OrElse(victim, usual)
    return DeepPartitionAggregation(base, n_partitions=usual_partitions(train), random_state=seed)
