"""How much an audit does: quick, standard, thorough."""

import dataclasses
from collections.abc import Mapping

from ..checks import is_number, shown
from ..errors import InputError
from ..evaluation.security_curve import budget_of

#: Where a poisoned share is looked at that nobody asked about.
USUAL_SHARE = 0.05
_QUICK_DEFENCES = ("sphere", "slab", "knn-distance", "label-sanitisation", "loss-trim")
_DEFENCES = (
    "sphere",
    "slab",
    "knn-distance",
    "anomaly",
    "label-sanitisation",
    "loss-trim",
    "spectral",
    "isolation-forest",
    "lof",
    "influence",
    "trim",
    "bagging",
    "dpa",
)


@dataclasses.dataclass(frozen=True)
class Profile:
    """How much an audit does.

    Args:
        name: of the profile.
        splits: K, unless the user asks for another number.
        fractions: shares of poisoned rows; the share of the gate is added.
        most_rows: training rows at most; of larger tables, a random sample is taken.
        others: estimators beside the audited one that are judged.
        against: of them, those that points are crafted against, too.
        iterations: steps of an attack.
        defences: those that are compared.
        adaptive: whether attackers know them.
        certify: whether an ensemble with a certificate is trained and attacked.
        ensemble: whether points are also crafted against all of `against` at once, by an attacker who does not know
            what is trained.
    """

    name: str
    splits: int
    fractions: tuple[float, ...]
    most_rows: int
    others: tuple[str, ...]
    against: tuple[str, ...]
    iterations: int
    defences: tuple[str, ...]
    adaptive: bool
    certify: bool = True
    ensemble: bool = False


PROFILES: Mapping[str, Profile] = {
    one.name: one
    for one in (
        Profile("quick", 3, (0.05, 0.2), 1000, ("logistic",), (), 150, _QUICK_DEFENCES, adaptive=False),
        Profile(
            "standard",
            5,
            (0.01, 0.02, 0.05, 0.1, 0.2),
            2000,
            ("logistic", "mlp", "forest"),
            ("logistic", "mlp"),
            150,
            _DEFENCES,
            adaptive=False,
        ),
        Profile(
            "thorough",
            10,
            (0.01, 0.02, 0.05, 0.1, 0.2),
            5000,
            ("logistic", "mlp", "svm", "forest"),
            ("logistic", "mlp", "svm"),
            300,
            (*_DEFENCES, "roni"),
            adaptive=True,
            ensemble=True,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How rows are dealt out on every split.

    Args:
        train: training rows.
        validation: the attacker's.
        trusted: the defender's.
        test: for the report.
    """

    train: int
    validation: int
    trusted: int
    test: int


def deal(profile: Profile, rows: int) -> Sizes:
    """Deal rows out: half trains, a quarter is the attacker's; of the rest, a fifth is trusted, and all else tests."""
    train = min(rows // 2, profile.most_rows)
    validation = min(rows // 4, max(profile.most_rows, 200))
    rest = rows - train - validation
    trusted = max(min(rest // 5, 200), 1)
    return Sizes(train, validation, trusted, min(rest - trusted, 10_000))


def make_budgets(profile: Profile, train: int, at: float | None) -> dict[float, int]:
    """Return the numbers of points by the share of poisoned rows that is asked for, without the empty one.

    Raises:
        InputError: a share outside (0, 0.5], or one of less than a point.
    """
    if at is not None and not (is_number(at) and 0 < at <= 0.5):
        raise InputError(f"--at must lie in (0, 0.5]; got {shown(at)}.")
    extra: tuple[float, ...] = () if at is None else (at,)
    shares = sorted({*profile.fractions, *extra})
    found = {share: budget_of(share, train) for share in shares}
    if at is not None and found[at] < 1:
        raise InputError(
            f"--at {at:g} is less than one of {train} training rows: ask for {1 / (train + 1):.2g} or more."
        )
    # Shares that come to the same number of points are one: the least, or that of the gate.
    shares_by_points: dict[int, float] = {}
    for share, points in found.items():
        shares_by_points.setdefault(points, share)
    if at is not None:
        shares_by_points[found[at]] = at
    return {share: points for points, share in shares_by_points.items() if points > 0}
