"""Evidence that an attack worked as an optimiser. A failed attack says nothing about the model."""

import dataclasses
import math

import numpy as np

from ..adjoints.check import GradientError, check_gradient
from .objective import OuterObjective, differentiate, evaluate

# A gradient that is off by more steers the optimiser somewhere else; the objective is smooth, so that differences
# find far smaller errors.
_GRADIENT_LIMIT = 1e-2
_DRIFT_LIMIT = 0.1


@dataclasses.dataclass(frozen=True)
class AttackHealth:
    """What an attack's optimisation looked like.

    Args:
        objective_start: 𝒜 at the first iterate.
        objective_best: 𝒜 at the iterate that was kept.
        gradient_error_first: relative error of the hypergradient at the first iterate, against a directional central
            difference in float64; None where float64 is off or there was nothing to check.
        gradient_error_last: the same at the iterate that was kept.
        drift: the largest reversal drift seen; 0 for exact adjoints.
        share_at_bounds: the share of the points' coordinates at a bound of the feasible set.
        feasible: whether every point lies in the feasible set.
        evaluations: hypergradients computed.
        verdict: `"worked"`, `"suspect"` or `"failed"`.
        sentence: the verdict's reason.
    """

    objective_start: float
    objective_best: float
    gradient_error_first: float | None
    gradient_error_last: float | None
    drift: float
    share_at_bounds: float
    feasible: bool
    evaluations: int
    verdict: str
    sentence: str

    @property
    def rose(self) -> bool:
        """Whether the objective rose."""
        return self.objective_best > self.objective_start


def gradient_error(objective: OuterObjective, points, *, key) -> float | None:
    """Return the relative error of the hypergradient at `points`, None where it cannot be measured."""
    if np.asarray(points).dtype != np.float64 or points.size == 0:
        return None
    found = differentiate(objective, points)
    gradient = found.gradient
    # A step along which the gradient promises no more than a thousandth of the value: through a long, nearly
    # chaotic training run gradients can be so steep that a fixed step would leave the neighbourhood they describe.
    size = float(np.linalg.norm(gradient))
    step = min(1e-5, 1e-3 * abs(float(found.value)) / size) if 0 < size < math.inf else 1e-5
    try:
        check = check_gradient(
            lambda x: evaluate(objective, x),
            points,
            key=key,
            gradient=gradient,
            directions=1,
            step=step,
            tolerance=math.inf,
        )
    except GradientError:  # a gradient of zero, or not finite: nothing to compare
        return None if np.isfinite(gradient).all() else math.inf
    return check.error


def judge(
    *,
    objective_start: float,
    objective_best: float,
    errors: tuple[float | None, float | None],
    drift: float,
    feasible: bool,
) -> tuple[str, str]:
    """Return the verdict on an attack, and its reason in one sentence."""
    if not (math.isfinite(objective_start) and math.isfinite(objective_best)):
        return "failed", "the attacker's objective was not finite, so nothing was optimised."
    if not feasible:
        return "failed", "some points left the feasible set."
    if objective_best <= objective_start:
        return (
            "failed",
            "the objective never rose above its start: the attack failed, which does not make the model robust.",
        )
    if drift > _DRIFT_LIMIT:
        return (
            "suspect",
            f"the reversal drifted by {drift:.2g}, so its gradients may be wrong: use an exact adjoint.",
        )
    worst = max((e for e in errors if e is not None), default=None)
    if worst is not None and not worst <= _GRADIENT_LIMIT:
        return (
            "suspect",
            f"a hypergradient differs from a finite difference by {worst:.1%}: the optimum may be missed.",
        )
    return (
        "worked",
        f"the objective rose from {objective_start:.3f} to {objective_best:.3f} on gradients that check out.",
    )
