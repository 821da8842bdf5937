r"""How much arithmetic a step is, and what share of this machine's rate of matrix products we reach.

Only matrix products are counted, at 2 operations a multiplication and addition. A layer of a network is a product of
f operations forward, and with back-propagation one more for its weights and one for its inputs, which the first layer
does not need. Going back through that gradient differentiates each of these bilinear products by both its factors:

    a step:         f_1 · 2 + Σ_{l>1} f_l · 3,
    back a step:    f_1 · (2 + 2 q) + Σ_{l>1} f_l · 6,      + f_1 + Σ_{l>1} f_l · 2 where products are recomputed,

with q the share of rows whose features are asked for: p / (n + p) where points are a block of their own, 1 where
mini-batches mix them with clean rows.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import backgrad as bg
from backgrad.training import LossField

from . import ours
from .comparing import TYPES
from .options import Options
from .problem import Case, cases
from .table import Grid, Section
from .timing import alternate

_LEARNERS = ("LR", "MLP", "softmax", "CNN")
_LARGE = 1024
# A loop of products of the step's own size, since one alone is shorter than the call that starts it.
_REPEATS = 100


class Count(NamedTuple):
    """Floating-point operations in matrix products: a step, a step back, and what a step back recomputes."""

    step: float
    back: float
    again: float


def layers(case: Case, rows: int) -> list[float]:
    """Return f of every layer, for so many rows."""
    learner = case.learner
    if isinstance(learner, bg.CNN):
        height, width, channels = learner.shape
        found = []
        for out in learner.channels:
            found.append(2.0 * rows * height * width * 9 * channels * out)
            height, width, channels = -(-height // 2), -(-width // 2), out
        widths = (height * width * channels, *learner.dense, learner.n_classes)
    else:
        found, hidden = [], getattr(learner, "hidden", ())
        outputs = 1 if isinstance(learner, bg.LogisticRegression) else learner.n_outputs
        widths = (learner.n_features, *hidden, outputs)
    return found + [2.0 * rows * a * b for a, b in itertools.pairwise(widths)]


def count(case: Case) -> Count:
    """Count a step and a step back, from the formula of this module."""
    setting = case.setting
    p = len(setting.points.y)
    n = len(setting.train.y) + p
    batch = case.schedule.batch_size
    moving = p / n if batch is None else 1.0
    first, *rest = layers(case, batch or n)
    return Count(2 * first + 3 * sum(rest), (2 + 2 * moving) * first + 6 * sum(rest), first + 2 * sum(rest))


def compiled_operations(case: Case) -> tuple[float | None, float | None]:
    """Return what XLA counts in a gradient, and in going back through it with its products recomputed."""
    setting, learner, dtype = case.setting, case.learner, jnp.float32
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), learner.init(jax.random.key(0)))
    train, points = setting.train.samples(dtype), setting.points.samples(dtype)
    batches = case.schedule.batches(len(train.y) + len(points.y))

    def gradient(params, x):
        return LossField(learner.loss_over, (train, points._replace(x=x)), batches)(params, jnp.int32(0))

    def back(params, x, cotangent):
        return jax.vjp(gradient, params, x)[1](cotangent)

    return _counted(gradient, params, points.x), _counted(back, params, points.x, params)


def _counted(function, *arguments) -> float | None:
    found = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return None if not found or "flops" not in found else float(found["flops"])


def _own_size(case: Case) -> tuple[int, int, int]:
    """Return (rows, inner, outputs) of the largest product of a step."""
    setting = case.setting
    rows = case.schedule.batch_size or len(setting.train.y) + len(setting.points.y)
    learner = case.learner
    if isinstance(learner, bg.CNN):
        height, width, _ = learner.shape
        # The second convolution, at one of the four places of the pooling windows.
        places = rows * (height // 4) * (width // 4)
        return learner.channels[1], 9 * learner.channels[0], places
    widths = (learner.n_features, *getattr(learner, "hidden", ()), learner.n_outputs)
    return rows, learner.n_features, 1 if isinstance(learner, bg.LogisticRegression) else widths[1]


def _product(dtype) -> ours.Call:
    square = jnp.ones((_LARGE, _LARGE), dtype)
    return ours.Call(jax.jit(jnp.matmul), (square, square))


def _own_products(case: Case, dtype) -> ours.Call:
    """Return a loop of products of the step's own size, each waiting for the one before."""
    rows, inner, outputs = _own_size(case)

    # The smaller factor changes from product to product, by next to nothing.
    left = rows <= outputs

    def run(small, large):
        def step(small, _):
            product = jax.lax.optimization_barrier(small @ large if left else large @ small)
            return small + 1e-30 * product[0, 0], None

        return jax.lax.scan(step, small, None, length=_REPEATS)[0]

    factors = jnp.ones((rows, inner), dtype), jnp.ones((inner, outputs), dtype)
    return ours.Call(jax.jit(run), factors if left else factors[::-1])


def arithmetic_section(options: Options) -> Section:
    """Report operations a step, rates reached, and their shares of the rates of products alone."""
    rows, values = [], {}
    for name in _LEARNERS:
        case = cases(full=options.full)[name]
        counted, xla = count(case), compiled_operations(case)
        for kind in TYPES if name != "CNN" else ("f32",):
            found = _rates(case, counted, kind, options.seconds)
            values[f"{name} {kind}"] = {**counted._asdict(), "xla_step": xla[0], "xla_back": xla[1], **found}
            rows.append(_cells(f"{name} {kind}", counted, xla, found))
    heads = ("", "step", "XLA", "back", "XLA", "large", "own", "training", "of own", "gradient", "of own")
    facts = (
        "step, back: millions of operations in matrix products of a step and of going back through it, its products",
        "recomputed; beside each, what XLA counts in the compiled functions, elementwise operations included.",
        f"Rates in GFLOP/s: large is a product of two {_LARGE} × {_LARGE} matrices, own one of the size of the step's",
        "largest; training and gradient are reached over the whole of either, the trajectory stored.",
    )
    title = "5. Arithmetic: operations a step, and the rates reached"
    return Section("arithmetic", title, ("", ""), (), facts, Grid(heads, tuple(rows)), {"arithmetic": values})


def _rates(case: Case, counted: Count, kind: str, seconds: float) -> dict[str, Any]:
    """Return operations a second: of products alone, of training, and of a hypergradient."""
    dtype, setting, steps = TYPES[kind], case.setting, case.schedule.steps
    contestants = {
        "large": _product(dtype),
        "own": _own_products(case, dtype),
        "training": ours.training(case, setting, dtype),
        "gradient": ours.hypergradient(case, setting, dtype, bg.Checkpointed(segments=False)),
    }
    times = alternate(contestants, seconds=seconds)
    rows, inner, outputs = _own_size(case)
    operations = {
        "large": 2.0 * _LARGE**3,
        "own": 2.0 * rows * inner * outputs * _REPEATS,
        "training": counted.step * steps,
        # Products are kept, so that they count once.
        "gradient": (counted.step + counted.back) * steps,
    }
    return {name: operations[name] / times[name].median for name in contestants}


def _cells(name: str, counted: Count, xla: tuple[float | None, float | None], found: dict[str, Any]) -> tuple[str, ...]:
    def millions(value: float | None) -> str:
        return "–" if value is None else f"{value / 1e6:.2f}"

    rates = {key: f"{value / 1e9:.1f}" for key, value in found.items()}
    shares = {key: f"{found[key] / found['own']:.0%}" for key in ("training", "gradient")}
    return (
        name,
        millions(counted.step),
        millions(xla[0]),
        millions(counted.back + counted.again),
        millions(xla[1]),
        rates["large"],
        rates["own"],
        rates["training"],
        shares["training"],
        rates["gradient"],
        shares["gradient"],
    )
