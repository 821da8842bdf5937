"""Evidence that an attack worked as an optimiser. A failed attack says nothing about the model."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..adjoints.check import GradientError, check_gradient
from ..devices import on_host
from ..status import Status
from ..threat.feasible import FeasibleSet
from .objective import OuterObjective, differentiate, evaluate

# A gradient that is off by more steers the optimiser somewhere else; the objective is smooth, so that differences
# find far smaller errors.
_GRADIENT_LIMIT = 1e-2
_DRIFT_LIMIT = 0.1
# How far beside points a gradient is looked at again, in standard deviations.
_BESIDE = 1e-3
# Where a difference disagrees, it is taken again with a step so many times smaller: training may bend within the first
# one, and differences of ever smaller steps come to a right gradient, and to no wrong one.
_SHRINKING = (1, 10, 100)
# Rounding moves an objective by far less, and a reader of percentages sees no more.
_LEAST_RISE = 1e-3
# Lengths of the single steps that look for what is left to gain, and its share of all that was gained above which an
# attack counts as stalled.
_PROBES = (0.1, 0.5)
_STALL_LIMIT = 1.0
# Initialisations between which gradients are compared.
_DRAWS = 4


@dataclasses.dataclass(frozen=True)
class AttackHealth:
    """What an attack's optimisation looked like.

    Args:
        objective_start: 𝒜 at the first iterate.
        objective_best: 𝒜 at the iterate that was kept.
        gradient_error_first: relative error of the hypergradient at the first iterate, against a directional central
            difference in float64; None where float64 is off, where there was nothing to check, or for a search that
            follows no gradients.
        gradient_error_last: the same at the iterate that was kept.
        drift: the largest reversal drift seen; 0 for exact adjoints.
        training: how training on the kept points ended, the worst of an ensemble.
        gain_left: how much 𝒜 still rises by the best of a few single steps from the kept iterate; 0 for a search that
            follows no gradients.
        share_at_bounds: the share of the points' coordinates at a bound of the feasible set.
        feasible: whether every point lies in the feasible set.
        evaluations: hypergradients computed, or, by a search that follows none, values of 𝒜.
        agreement: of an attack that draws initial parameters anew at each step, the mean cosine between hypergradients
            of the same point through different draws, at the start; None for other attacks.
        verdict: `"worked"`, `"suspect"`, `"failed"`, or `"nothing to do"` without points.
        sentence: the verdict's reason.
    """

    objective_start: float
    objective_best: float
    gradient_error_first: float | None
    gradient_error_last: float | None
    drift: float
    training: Status
    gain_left: float
    share_at_bounds: float
    feasible: bool
    evaluations: int
    agreement: float | None
    verdict: str
    sentence: str

    @property
    def rose(self) -> bool:
        """Whether the objective rose."""
        return self.objective_best > self.objective_start


def gradient_error(objective: OuterObjective, points, *, key) -> float | None:
    """Return the relative error of the hypergradient at `points`, None where it cannot be measured.

    Points start as training rows, and there a victim that scales its features may have kinks: two rows share a column's
    extreme. So a gradient that looks wrong is looked at again a little beside; a wrong one is wrong there, too.
    """
    spread = _spreads(objective, points)
    error = _error_at(objective, points, spread, key)
    if error is None or error <= _GRADIENT_LIMIT:
        return error
    noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), points.shape, points.dtype))
    beside = _error_at(objective, points + _BESIDE * spread * noise, spread, key)
    return error if beside is None else beside


def _spreads(objective: OuterObjective, points) -> np.ndarray:
    """Return the standard deviation of every column that moves, over training rows and points.

    Steps of a difference are measured in these: columns may be of thousands and of thousandths. A column in which all
    rows agree has none, and is left alone; it gets another scale from a victim as soon as a point moves along it.
    """
    points, rows = np.asarray(points), objective.train.x
    spread = np.ones(points.shape[1], points.dtype)
    if isinstance(rows, jax.Array | np.ndarray) and rows.ndim == 2:  # neither images nor rows that stay on the host
        d = rows.shape[1]
        found = np.concatenate([on_host(rows), points[:, :d]]).std(axis=0)
        spread[:d] = found if found.any() else 1.0
    return spread


def _error_at(objective: OuterObjective, points, spread: np.ndarray, key) -> float | None:
    if np.asarray(points).dtype != np.float64 or points.size == 0:
        return None
    found = differentiate(objective, points)
    gradient = spread * np.asarray(found.gradient)
    # A step along which the gradient promises no more than a thousandth of the value: through a long, nearly
    # chaotic training run gradients can be so steep that a fixed step would leave the neighbourhood they describe.
    with np.errstate(over="ignore"):  # a reversal that ran away; infinity is what it should be then
        size = float(np.linalg.norm(gradient))
    step = min(1e-5, 1e-3 * abs(float(found.value)) / size) if 0 < size < math.inf else 1e-5
    least = math.inf
    for smaller in _SHRINKING:
        try:
            check = check_gradient(
                lambda moved: evaluate(objective, points + spread * moved),
                jnp.zeros(points.shape, points.dtype),
                key=key,
                gradient=jnp.asarray(gradient),
                directions=1,
                step=step / smaller,
                tolerance=math.inf,
            )
        except GradientError:  # a gradient of zero, or not finite: nothing to compare
            return None if np.isfinite(gradient).all() else math.inf
        least = float(np.fmin(least, check.error))
        if least <= _GRADIENT_LIMIT:
            break
    return least


def gain_left(objective: OuterObjective, feasible: FeasibleSet, points: jax.Array) -> float:
    """Return how much 𝒜 rises by the best of a few single steps from `points`; 0 where none raises it.

    An attack that is done has little left to gain. One whose steps were too short, or too few, still has.
    """
    found = differentiate(objective, points)
    if not bool(jnp.isfinite(found.gradient).all()):
        return 0.0
    values = [float(evaluate(objective, probe)) for probe in _probes(feasible, points, found.gradient)]
    return max([value - float(found.value) for value in values if math.isfinite(value)] + [0.0])


def cosines(gradients: np.ndarray) -> np.ndarray:
    """Return the mean cosine between a point's gradients over all pairs of draws, (p,).

    Args:
        gradients: (draws, p, d); those that are zero or not finite count as orthogonal to all others.
    """
    finite = np.where(np.isfinite(gradients), gradients, 0.0)
    length = np.linalg.norm(finite, axis=-1, keepdims=True)
    unit = np.divide(finite, length, out=np.zeros_like(finite), where=length > 0)
    # The squared length of a sum of unit vectors counts every pair twice, and each with itself.
    draws, own = len(unit), np.sum(unit**2, axis=(0, 2))
    return (np.sum(np.sum(unit, axis=0) ** 2, axis=-1) - own) / (draws * (draws - 1))


def agreement(objective: OuterObjective, points: jax.Array, key, draws: int = _DRAWS) -> np.ndarray:
    """Return how far hypergradients through different initial parameters and batches agree, a mean cosine by point."""
    keys = jax.random.split(key, draws)
    return cosines(np.stack([np.asarray(differentiate(objective.redrawn(one), points).gradient) for one in keys]))


@eqx.filter_jit
def _probes(feasible: FeasibleSet, points: jax.Array, gradient: jax.Array) -> tuple[jax.Array, ...]:
    """Return where single steps of several lengths lead."""
    return tuple(feasible.ascend(points, gradient, length) for length in _PROBES)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a verdict is based on; the names are those of `AttackHealth`."""

    objective_start: float
    objective_best: float
    errors: tuple[float | None, float | None]
    drift: float
    feasible: bool
    training: Status = Status.DONE
    gain_left: float = 0.0
    agreement: float | None = None
    share_at_bounds: float = 0.0
    evaluations: int = 0
    climbs: bool = True

    @property
    def gain(self) -> float:
        """How much the objective rose."""
        return self.objective_best - self.objective_start

    @property
    def wandered(self) -> bool:
        """Whether steps on gradients of different draws went further at random than where these agree.

        Of N unit steps with a mean cosine of ρ between them, N √ρ lie along what they have in common, and √N across.
        """
        return self.agreement is not None and self.evaluations * self.agreement < 1

    @property
    def drifted(self) -> str:
        """The reversal's fault, in a clause, or nothing; a drift of NaN is one."""
        if self.drift <= _DRIFT_LIMIT:
            return ""
        return f"the reversal drifted by {self.drift:.2g}, so its gradients may be wrong: use an exact adjoint"


def conclude(evidence: Evidence) -> AttackHealth:
    """Return the evidence with its verdict."""
    verdict, sentence = judge(evidence)
    return AttackHealth(
        evidence.objective_start,
        evidence.objective_best,
        *evidence.errors,
        evidence.drift,
        evidence.training,
        evidence.gain_left,
        evidence.share_at_bounds,
        evidence.feasible,
        evidence.evaluations,
        evidence.agreement,
        verdict,
        sentence,
    )


def judge(evidence: Evidence) -> tuple[str, str]:
    """Return the verdict on an attack, and its reason in one sentence."""
    failure = _failure(evidence)
    if failure:
        return "failed", f"{failure}{f'; {evidence.drifted}' if evidence.drifted else ''}."
    doubt = _doubt(evidence)
    if doubt:
        return "suspect", f"{doubt}."
    start, best = evidence.objective_start, evidence.objective_best
    rose = f"the objective rose from {start:.3f} to {best:.3f}"
    if not evidence.climbs:
        return "worked", f"{rose}, without gradients: other points may do more."
    checked = any(error is not None for error in evidence.errors)
    kind = "that check out" if checked else "that nobody checked, for want of float64"
    return "worked", f"{rose} on gradients {kind}."


def _failure(evidence: Evidence) -> str:
    """Say why nothing was optimised, or nothing."""
    start, best = evidence.objective_start, evidence.objective_best
    if not (math.isfinite(start) and math.isfinite(best)):
        return "the attacker's objective was not finite, so nothing was optimised"
    if not evidence.feasible:
        return "some points left the feasible set"
    if best <= start:
        return "the objective never rose above its start: the attack failed, which does not make the model robust"
    if evidence.gain <= _LEAST_RISE * max(abs(start), _LEAST_RISE):
        return (
            f"the objective hardly rose above its start, by {evidence.gain:.1g}: the attack moved nothing, which does "
            "not make the model robust"
        )
    return ""


def _doubt(evidence: Evidence) -> str:
    """Say why a sharper attack may do more, or nothing."""
    if evidence.drifted:
        return evidence.drifted
    if evidence.training is not Status.DONE:
        return evidence.training.message
    worst = float(np.max([e for e in evidence.errors if e is not None], initial=0.0))  # NaN if one of them is
    if not worst <= _GRADIENT_LIMIT:
        return f"a hypergradient differs from a finite difference by {worst:.1%}: the optimum may be missed"
    if evidence.wandered:
        return (
            f"hypergradients through different initial parameters do not agree (mean cosine {evidence.agreement:.3f}), "
            "so the attack went at random: let it train by smaller steps, or take more steps"
        )
    if evidence.gain_left > _STALL_LIMIT * evidence.gain:
        return (
            f"one more step gains {evidence.gain_left:.2g}, and all steps together gained {evidence.gain:.2g}: the "
            "attack stalled, so take longer steps, or more of them"
        )
    return ""
