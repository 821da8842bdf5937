r"""A NumPy port of the authors' logistic-regression attack, written from its description.

The hypergradient of one poisoning point (Muñoz-González et al. 2017, Algorithm 3, as their code runs it): T steps of
gradient descent, then T − 1 back, with Hessian-vector products as differences of gradients, ε = 1e-8,

    x̄ ← x̄ − η [∇_x𝓛(w + ε w̄) − ∇_x𝓛(w)] / ε,    w̄ ← w̄ − η [∇_w𝓛(w + ε w̄) − ∇_w𝓛(w)] / ε,    w ← w + η ∇_w𝓛(w).

Both differences share their gradients, and ∇_w𝓛(w) also serves the reversal: two gradients a step, the cheapest way
to run it. Everything is vectorised, in float64. The greedy loop around it optimises one point after another.
"""

from typing import NamedTuple

import numpy as np

from .problem import Rows, Setting

EPSILON = 1e-8


class Weights(NamedTuple):
    """Weights (d,) and bias of logistic regression, or a cotangent of them."""

    weight: np.ndarray
    bias: float

    def moved(self, length: float, along: "Weights") -> "Weights":
        """Return w + length · along."""
        return Weights(self.weight + length * along.weight, self.bias + length * along.bias)


class Outcome(NamedTuple):
    """The validation log-loss after training, and its gradient with respect to the points' features."""

    value: float
    gradient: np.ndarray


class Attacked(NamedTuple):
    """The greedy attack's points, the objective with all of them in place, and the hypergradients it computed."""

    points: Rows
    objective: float
    evaluations: int


def _pull(w: Weights, x: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return ∂ mean log-loss / ∂ scores; sign is ±1."""
    return -sign / (1.0 + np.exp(sign * (x @ w.weight + w.bias))) / len(sign)


def _gradient(w: Weights, x: np.ndarray, sign: np.ndarray, points: int) -> tuple[Weights, np.ndarray]:
    """Return the gradient by the weights, and by the features of the last `points` rows."""
    pull = _pull(w, x, sign)
    return Weights(pull @ x, pull.sum()), np.outer(pull[-points:], w.weight)


def _descent_gradient(w: Weights, x: np.ndarray, sign: np.ndarray) -> Weights:
    pull = _pull(w, x, sign)
    return Weights(pull @ x, pull.sum())


def hypergradient(clean: Rows, points: Rows, validation: Rows, *, steps: int = 100, step_size: float = 0.1) -> Outcome:
    """Return the validation log-loss after training on clean rows and points, and its gradient by the points.

    Args:
        clean: rows that do not move; the points already placed are among them.
        points: the points to differentiate by: one in the authors' greedy loop.
        validation: the attacker's validation rows.
        steps: T.
        step_size: η.
    """
    x, sign = np.concatenate([clean.x, points.x]), np.concatenate([2.0 * clean.y - 1, 2.0 * points.y - 1])
    p = len(points.y)
    w = Weights(np.zeros(x.shape[1]), 0.0)
    for _ in range(steps):
        w = w.moved(-step_size, _descent_gradient(w, x, sign))
    outer_sign = 2.0 * validation.y - 1
    value = float(np.mean(np.logaddexp(0.0, -outer_sign * (validation.x @ w.weight + w.bias))))
    back = _descent_gradient(w, validation.x, outer_sign)
    total = np.zeros((p, x.shape[1]))
    for _ in range(steps - 1):
        here, here_x = _gradient(w, x, sign, p)
        there, there_x = _gradient(w.moved(EPSILON, back), x, sign, p)
        total -= step_size / EPSILON * (there_x - here_x)
        back = back.moved(-step_size / EPSILON, there.moved(-1.0, here))
        w = w.moved(step_size, here)
    return Outcome(value, total)


def greedy(
    setting: Setting,
    *,
    steps: int = 100,
    step_size: float = 0.1,
    outer_steps: int = 300,
    length: float = 1.0,
    least_gain: float = 1e-5,
) -> Attacked:
    """Optimise the setting's points one after another within [0, 1], each kept at its best.

    Args:
        setting: rows, and the points' start.
        steps: T.
        step_size: η.
        outer_steps: the most ascent steps of a point.
        length: of a step along the normalised gradient.
        least_gain: a point stops when a step gains less.
    """
    placed, value, evaluations = setting.train, -np.inf, 0
    for j in range(len(setting.points.y)):
        point = best = setting.points.take([j])
        found = hypergradient(placed, point, setting.validation, steps=steps, step_size=step_size)
        value, evaluations = found.value, evaluations + 1
        for _ in range(outer_steps):
            moved = point.x + length * found.gradient / np.linalg.norm(found.gradient)
            point = Rows(np.clip(moved, 0.0, 1.0), point.y)
            found = hypergradient(placed, point, setting.validation, steps=steps, step_size=step_size)
            evaluations += 1
            gain = found.value - value
            if gain > 0:
                best, value = point, found.value
            if gain < least_gain:
                break
        placed = placed.join(best)
    points = Rows(placed.x[len(setting.train.y) :], placed.y[len(setting.train.y) :])
    return Attacked(points, value, evaluations)
