"""Ways to search a discrete set: which one does most harm to test rows, at the same number of hypergradients.

`python -m benchmarks.discrete` attacks Spambase and Ransomware, whose features are all 0 or 1, with 20 points on 100
training rows and 400 validation rows, as `backgrad attack --feasible binary` does, and prints the victims' mean test
error over splits with its 95 % interval. Contenders start from the same points, pay for the same number of
hypergradients and are judged by the library's own evaluation; what a way did not earn its place for lives here.
"""

import argparse
import dataclasses
import os
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import backgrad as bg
from backgrad.attacks.base import Optimised
from backgrad.attacks.objective import evaluate
from backgrad.evaluation.metrics import student_interval
from backgrad.evaluation.plan import Plan, Rows
from backgrad.evaluation.poisoning import SplitOutcome, evaluate_split
from backgrad.learners.catalogue import default_schedule, make_learner
from backgrad.threat.feasible import unit

_DATASETS, _LEARNERS = ("spambase", "ransomware"), ("logistic", "adaline", "mlp")
# The defaults of the command line, which takes 0.2 for logistic regression alone.
_DROPOUT = {"logistic": 0.2}
_BASE = "annealed"


def _normalise(gradient: Any, _: Any) -> jax.Array:
    return unit(gradient)


def _bound(move: Any, latent: Any) -> jax.Array:
    """Keep latents near 0: those that ran away could not come back within the budget."""
    return jnp.clip(latent + move, -1.5, 1.5) - latent


class Annealed(bg.JointAttack):
    """The library's way."""

    title: ClassVar[str] = _BASE


class Unnormalised(bg.JointAttack):
    """The same, but Adam sees gradients as they are: one explosion outweighs its memory of all others."""

    title: ClassVar[str] = "annealed, raw gradients"

    def optimiser(self, feasible, columns):
        return optax.chain(optax.scale(-1.0), optax.adam(self.discrete_step_size, eps=1e-12))


class Sampled(bg.JointAttack):
    """Annealed, with logistic noise on the logits: the binary concrete (Gumbel-softmax) relaxation of random bits."""

    title: ClassVar[str] = "annealed, sampled"

    def measure(self, objective, feasible, state):
        """Take the gradient at a random draw, and judge the most probable points."""
        temperature = self.temperature(state)
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 1)
        noise = temperature * jax.random.logistic(key, state.latent.shape, state.latent.dtype)
        drawn, pull = jax.vjp(lambda latent: feasible.relax(latent + noise, temperature), state.latent)
        found = objective.hypergradient(drawn, climb=self.climb(objective.validation, state))
        points = feasible.project(feasible.relax(state.latent, temperature))
        return points, objective(points), pull(found.gradient)[0], found.drift


class OnTheSet(bg.JointAttack):
    """Gradients are taken at the projected points themselves, so that no further training judges them."""

    def measure(self, objective, feasible, state):
        """Measure at feasible points; latents are +1 for ones and −1 for zeros, so a half is 0."""
        points = feasible.project((state.latent + 1) / 2)
        found = objective.hypergradient(points, climb=self.climb(objective.validation, state))
        return points, found.value, found.gradient, found.drift


class StraightThrough(OnTheSet):
    """Adam moves the latents by the gradient at the projected points, as if projecting were the identity."""

    title: ClassVar[str] = "straight-through, Adam"
    discrete_step_size: float = eqx.field(default=0.1, static=True)

    def optimiser(self, feasible, columns):
        adam = optax.adam(optax.cosine_decay_schedule(self.discrete_step_size, self.iterations), eps=1e-12)
        return optax.chain(optax.stateless(_normalise), optax.scale(-1.0), adam, optax.stateless(_bound))


class StraightThroughMomentum(OnTheSet):
    """The same with averaged normalised gradients, whose large coordinates move first; Adam moves all alike."""

    title: ClassVar[str] = "straight-through, momentum"

    def optimiser(self, feasible, columns):
        return optax.chain(
            optax.stateless(_normalise),
            optax.ema(0.9),
            optax.scale_by_schedule(optax.cosine_decay_schedule(self.step_size, self.iterations)),
            optax.stateless(_bound),
        )


class _Flipping(OnTheSet):
    """Coordinates whose averaged gradient promises most flip, over all points together."""

    # Flips of the first and the last iteration, and how much of the average a new gradient replaces.
    _flips: ClassVar[tuple[float, float]] = (60.0, 1.0)
    _memory: ClassVar[float] = 0.9

    def optimiser(self, feasible, columns):
        first, last = self._flips

        def init(params: Any):
            return jnp.zeros_like(params), jnp.int32(0)

        def update(updates: Any, state: Any, params: Any = None):
            mean = self._memory * state[0] + (1 - self._memory) * unit(updates)
            count = first * (last / first) ** (state[1] / max(self.iterations - 1, 1))
            return jnp.where(best_flips(mean, params, count), -2 * params, 0.0), (mean, state[1] + 1)

        return optax.GradientTransformation(init, update)


class Flips(_Flipping):
    """Sixty flips in the first iteration, one in the last; gains and losses alike are taken, the best is kept."""

    title: ClassVar[str] = "flips, averaged gradient"


class AcceptedFlips(_Flipping):
    """Flips from the best points so far: twice as many after a gain, half as many after a loss."""

    title: ClassVar[str] = "flips, accepted if better"

    def search(self, objective, feasible, start, *, seed, progress):
        """Climb from the start."""
        return climb_by_flips(self, objective, start, seed=seed, count=64, progress=progress)


class Polished(bg.JointAttack):
    """Annealed for three quarters of the budget; then the best points' bits are flipped, and kept if better."""

    title: ClassVar[str] = "annealed, then flips"

    def search(self, objective, feasible, start, *, seed, progress):
        """Anneal, then climb."""
        last = self.iterations // 4
        annealed = bg.JointAttack(self.iterations - last, dropout=self.dropout)
        found = annealed.search(objective, feasible, start, seed=seed, progress=lambda share: progress(0.75 * share))
        flips = AcceptedFlips(last, dropout=self.dropout)
        then = climb_by_flips(flips, objective, found.points, seed=seed, count=8, progress=progress)
        return Optimised(then.points, np.concatenate([found.trace, then.trace]), max(found.drift, then.drift))


class RoundedBox(bg.JointAttack):
    """The attack on the unit cube, rounded at its end; the start, where rounding loses more than was won."""

    title: ClassVar[str] = "box, rounded at the end"

    def search(self, objective, feasible, start, *, seed, progress):
        """Climb in the box, then project."""
        plain = bg.JointAttack(self.iterations, dropout=self.dropout)
        found = plain.search(objective, bg.Box(), start, seed=seed, progress=progress)
        rounded = feasible.project(found.points)
        better = bool(evaluate(objective, rounded) > evaluate(objective, start))
        return dataclasses.replace(found, points=rounded if better else start)


CONTENDERS = (
    Annealed,
    Unnormalised,
    Sampled,
    Polished,
    Flips,
    AcceptedFlips,
    StraightThroughMomentum,
    StraightThrough,
    RoundedBox,
)


def best_flips(gradient, latent, count):
    """Mark the `count` coordinates of all points together whose flip promises the largest gains, where above 0."""
    gain = (-gradient * latent).ravel()
    rank = jnp.zeros(gain.size, jnp.int32).at[jnp.argsort(-gain)].set(jnp.arange(gain.size, dtype=jnp.int32))
    return ((rank < count) & (gain > 0)).reshape(latent.shape)


def climb_by_flips(attack, objective, start, *, seed, count, progress) -> Optimised:
    """Flip the most promising bits, keep what is better, and change their number with success.

    Bits that failed alone are left alone until something else succeeds.
    """
    latent, key = 2 * start - 1, jax.random.fold_in(jax.random.key(seed), 3)
    tried, best, gradient, number = jnp.zeros(start.shape, bool), latent, jnp.zeros_like(start), 0
    best_value, trace, drift = -np.inf, [], 0.0
    for i in range(attack.iterations):
        value, slope, drifted = _at(attack, objective, latent, key, jnp.int32(i))
        trace.append(float(value))
        drift = max(drift, float(drifted))
        if trace[-1] > best_value:
            best_value, best, gradient = trace[-1], latent, slope
            tried, number = jnp.zeros_like(tried), count if i == 0 else 2 * number
        else:
            tried = tried | (latent != best) if number == 1 else tried
            number = max(number // 2, 1)
        latent = _flip(gradient, best, tried, jnp.float32(number))
        progress((i + 1) / attack.iterations)
    return Optimised((best + 1) / 2, np.asarray(trace), drift)


@eqx.filter_jit
def _at(attack, objective, latent, key, step):
    """Return value, gradient and drift at the points that latents stand for."""
    rows = attack.climb(objective.validation, _Step(key, step))
    found = objective.hypergradient((latent + 1) / 2, climb=rows)
    return found.value, jnp.where(jnp.isfinite(found.gradient), found.gradient, 0.0), found.drift


@eqx.filter_jit
def _flip(gradient, latent, tried, count):
    return jnp.where(best_flips(jnp.where(tried, 0.0, gradient), latent, count), -latent, latent)


class _Step(eqx.Module):
    """What `JointAttack.climb` reads of a search's state."""

    key: Any
    step: Any


def judge(contender, dataset: str, learner: str, rows: list[Rows], *, iterations: int, seed: int) -> list[SplitOutcome]:
    """Attack every split."""
    data = bg.load(dataset)
    plan = Plan(
        learner=make_learner(learner, n_features=data.n_features, n_classes=data.n_classes),
        schedule=default_schedule(learner),
        attack=contender(iterations, dropout=_DROPOUT.get(learner, 0.0)),
        threat=bg.ThreatModel(20, feasible=bg.Binary()),
        reuse=1.0,
    )
    return [
        evaluate_split(plan, data.x, data.y, split, n_classes=data.n_classes, seed=(seed, k))
        for k, split in enumerate(rows)
    ]


def draw(dataset: str, *, splits: int, seed: int) -> list[Rows]:
    """Draw the splits that the command line draws."""
    data = bg.load(dataset)
    drawn = [
        bg.split_rows(data.n_samples, train=100, validation=400, seed=seed, split=k, labels=data.y)
        for k in range(splits)
    ]
    return [Rows(rows.train, rows.validation, rows.test) for rows in drawn]


def _interval(values: np.ndarray, *, sign: str = "") -> str:
    """Return a mean with half its interval's width."""
    ends = student_interval(values)
    return f"{values.mean():{sign}5.1f}" + ("" if ends is None else f" ± {(ends[1] - ends[0]) / 2:4.1f}")


def compare(dataset: str, learner: str, contenders, *, splits: int, iterations: int, seed: int) -> None:
    """Print one table; differences are paired by split."""
    rows, base = draw(dataset, splits=splits, seed=seed), None
    print(f"\n{dataset}, {learner}: test error in % over {splits} splits, {iterations} hypergradients")
    print(f"{'':<28}{'error':>12}{'vs annealed':>15}{'objective':>11}{'below flips in':>16}{'seconds':>9}", flush=True)
    for contender in contenders:
        outcomes = judge(contender, dataset, learner, rows, iterations=iterations, seed=seed)
        errors, flips = (
            100 * np.array([o.errors[name] for o in outcomes]) for name in ("poisoned_error", "label_flip_error")
        )
        if base is None:
            print(f"{'label flips':<28}{_interval(flips):>12}", flush=True)
            base = errors
        value = np.mean([o.attack.health.objective_best for o in outcomes])
        # The median leaves out the first split, which compiles.
        seconds = np.median([o.seconds for o in outcomes])
        against = f"{_interval(errors - base, sign='+')}" if contender is not contenders[0] else ""
        print(
            f"{contender.title:<28}{_interval(errors):>12}{against:>15}{value:>11.3f}"
            f"{int((errors < flips).sum()):>16}{seconds:>9.1f}",
            flush=True,
        )


def main() -> None:
    """Compare the contenders on every data set and learner."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discrete", description=__doc__)
    names = {contender.title: contender for contender in CONTENDERS}
    parser.add_argument("--splits", type=int, default=10, help="random splits (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the splits (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=150, help="hypergradients (default: %(default)s)")
    parser.add_argument("--datasets", nargs="+", choices=_DATASETS, default=_DATASETS)
    parser.add_argument("--learners", nargs="+", choices=_LEARNERS, default=_LEARNERS)
    parser.add_argument("--contenders", nargs="+", choices=names, default=list(names), metavar="NAME")
    asked = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    chosen = [names[name] for name in dict.fromkeys((_BASE, *asked.contenders))]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, jax {jax.__version__}, float64")
    for dataset in asked.datasets:
        for learner in asked.learners:
            compare(dataset, learner, chosen, splits=asked.splits, iterations=asked.iterations, seed=asked.seed)


if __name__ == "__main__":
    main()
