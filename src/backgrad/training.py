"""Training as a differentiable function.

`train` maps a learner, rows and a schedule to trained parameters. `jax.grad` of anything computed from the result
works with respect to the arrays that went in: features, soft labels and weights of the rows, the learner's L2
strength, the schedule's step size and momentum, the initial parameters. The adjoint says how.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .adjoints.base import Adjoint, Field, Problem, tree_add, tree_norm
from .adjoints.checkpointed import Checkpointed
from .adjoints.implicit import Implicit
from .checks import check_kind
from .devices import along_rows, join
from .errors import InputError, UnsupportedError
from .hosted import Block, check_host, over_all, take
from .row_checks import check_learner, check_samples
from .schedules import Converged, Descent, Schedule, initial_key
from .status import Status
from .types import Params, Samples


class LossField(Field):
    """The gradient of a loss over blocks of rows, all of them or a mini-batch a step.

    Args:
        loss: (params, blocks) → scalar.
        blocks: the training rows. Cotangents are computed for those blocks alone that need them.
        batches: (T, b), the rows of each step in the order of the concatenated blocks; all rows where None.
        noisy_loss: (params, blocks, key) → scalar, what a stochastic learner's steps descend instead of `loss`.
        key: folded with t, the key of step t. So a step that is run again, as adjoints do, draws the same numbers.
    """

    loss: Callable[..., Any]
    blocks: tuple[Block, ...]
    batches: Int[Array, "T b"] | None
    noisy_loss: Callable[..., Any] | None = None
    key: PRNGKeyArray | None = None

    def __call__(self, params: Params, t: Any) -> Params:
        """Return the gradient at `params` on the rows of step t."""
        if t is None:
            return over_all(lambda part: jax.grad(self.loss)(params, part), self.blocks)
        rows = self.blocks if self.batches is None else (self._take(self.batches[t]),)
        if self.noisy_loss is None or self.key is None:
            return jax.grad(self.loss)(params, rows)
        return jax.grad(self.noisy_loss)(params, rows, jax.random.fold_in(self.key, t))

    def value(self, params: Params) -> Float[Array, ""]:
        """Return the loss over all rows."""
        return over_all(lambda part: self.loss(params, part), self.blocks)

    def _take(self, rows: Int[Array, "b"]) -> Samples:
        """Gather rows from the blocks, without concatenating them at every step."""
        start, parts = 0, None
        for block in self.blocks:
            size = block.weight.shape[0]
            if size == 0:
                continue  # there is nothing to gather from
            local = jnp.clip(rows - start, 0, size - 1)
            picked = take(block, local)
            if parts is None:
                parts = picked
            else:
                here = rows >= start
                parts = jax.tree.map(
                    lambda new, old, here=here: jnp.where(here.reshape(-1, *[1] * (new.ndim - 1)), new, old),
                    picked,
                    parts,
                )
            start += size
        assert parts is not None, "train refuses an empty tuple of blocks"
        return along_rows(parts)


class ClippedField(LossField):
    r"""The mean of clipped gradients of rows, with noise, plus that of the regularisation; see `backgrad.schedules`.

    A row's loss l_i is what the learner's `row_losses` gives of its scores. Of a learner without them it is `loss` of
    that row alone, at weight 1: regularisation is then part of it, and clipped with it. One that draws random numbers
    (`loss_at`) draws others for every row, from keys that the step's key and the row's place in the step give.

    The gradients of a block's rows are formed at once, in memory of b·m. Over all rows, where t is None, the field is
    the plain gradient.

    Args:
        learner: the learner whose rows are clipped.
        schedule: holds C and σ.
    """

    learner: Any = None
    schedule: Any = None

    def __call__(self, params: Params, t: Any) -> Params:
        """Return the clipped gradient at `params` on the rows of step t."""
        if t is None:
            return super().__call__(params, t)
        blocks = self.blocks if self.batches is None else (self._take(self.batches[t]),)
        total = jax.tree.map(jnp.zeros_like, params)
        start = 0
        for block in blocks:
            total = tree_add(total, self._sum(params, block, t, start))
            start += block.weight.shape[0]
        weight = jnp.sum(jnp.stack([jnp.sum(block.weight) for block in blocks]))
        if self.schedule.has_noise:
            total = tree_add(total, self._noise(params, t))
        # A step whose rows are all absent learns nothing from them, and gets no noise either.
        share = jnp.where(weight > 0, 1.0 / jnp.where(weight > 0, weight, 1.0), 0.0)
        mean = jax.tree.map(lambda leaf: share.astype(leaf.dtype) * leaf, total)
        if not hasattr(self.learner, "row_losses"):
            return mean
        return tree_add(mean, jax.grad(lambda p: jnp.asarray(self.learner.regularisation(p), weight.dtype))(params))

    def _sum(self, params: Params, block: Any, t: Any, start: int) -> Params:
        """Return Σ_i ω_i ∇l_i min(1, C/‖∇l_i‖) over the rows of a block, the first of which is row `start` of all."""
        rows = jnp.arange(block.weight.shape[0], dtype=jnp.int32) + start
        gradients = jax.vmap(jax.grad(self._row_loss), (None, 0, 0, None, 0))(params, block.x, block.y, t, rows)
        squares = [jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(gradients)]
        square, limit = jnp.sum(jnp.stack(squares), axis=0), jnp.square(jnp.asarray(self.schedule.clip, block.x.dtype))
        long = square > limit
        # The inner `where` keeps the root's infinite slope at 0 out of the gradient.
        factor = jnp.where(long, jnp.sqrt(limit / jnp.where(long, square, limit)), 1.0)
        return jax.tree.map(lambda leaf: jnp.tensordot(block.weight * factor, leaf, axes=1), gradients)

    def _row_loss(self, params: Params, x: Float[Array, "..."], y: Float[Array, "k"], t: Any, row: Any):
        """Return l_i."""
        block = Samples(x[None], y[None], jnp.ones(1, x.dtype))
        if self.noisy_loss is not None and self.key is not None:
            key = jax.random.fold_in(jax.random.fold_in(self.key, t), row)
            loss = self.noisy_loss(params, (block,), key)
            return loss - self.learner.regularisation(params) if hasattr(self.learner, "row_losses") else loss
        if hasattr(self.learner, "row_losses"):
            return jnp.sum(self.learner.row_losses(self.learner.scores(params, block.x), block.y))
        return self.learner.loss(params, block)

    def _noise(self, params: Params, t: Any) -> Params:
        """Return σ C ξ of step t."""
        leaves, structure = jax.tree.flatten(params)
        key = jax.random.fold_in(jax.random.fold_in(initial_key(self.schedule), 3), t)  # 1 and 2 are taken
        size = jnp.asarray(self.schedule.noise * self.schedule.clip)
        draws = [
            size.astype(leaf.dtype) * jax.random.normal(one, leaf.shape, leaf.dtype)
            for one, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, draws)


class _Concatenated(eqx.Module):
    """The loss of a learner that takes one block of rows, over several."""

    loss: Callable[..., Any]

    def __call__(self, params: Params, blocks: tuple[Samples, ...]):
        return self.loss(params, join(blocks))


class Trained(NamedTuple):
    """What `train` returns.

    Args:
        params: the trained parameters; the only part that carries gradients.
        initial_loss: the training loss before the first step.
        loss: the training loss at `params`.
        gradient_norm: ‖∇𝓛‖ at `params`, over all rows.
        status: a `Status` as an integer array, so that compiled code can return it.
    """

    params: Params
    initial_loss: Float[Array, ""]
    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    status: Int[Array, ""]


def train(
    learner: Any,
    samples: Block | tuple[Block, ...],
    *,
    schedule: Schedule,
    adjoint: Adjoint | None = None,
    params: Params | None = None,
    probe: Float[Array, ""] | None = None,
) -> Trained:
    """Train a learner on rows; differentiable in everything that is an array.

    Args:
        learner: a `Learner`, or anything with its `init`, `scores` and `loss`. Preprocessing (`fit_preprocessing`, see
            `backgrad.learners.preprocessing`) is fitted on all rows, and its state returned with the parameters.
            One whose `stochastic` is true (such as a `CNN` with dropout) descends `loss_at(params, blocks, key)`, with
            a key of each step that depends on the schedule's key alone; losses are reported without that noise.
            A schedule that clips needs each row's own loss, see `ClippedField`; preprocessing is not clipped.
        samples: the training rows, in memory or on the host (`backgrad.hosted`), or several blocks of them. Blocks are
            one training set; cotangents are computed for those alone that are differentiated, which is what makes an
            attack on 20 of 1,000 rows cheap.
        schedule: `Descent` or `Converged`.
        adjoint: how gradients go back; `Checkpointed()` for `Descent`, `Implicit()` for `Converged` where omitted.
        params: initial parameters; drawn from the schedule's key where omitted.
        probe: a scalar 0 whose cotangent is the reversal drift of `BackGradient`, and 0 for exact adjoints.

    Returns:
        The trained parameters, and how training ended.

    Raises:
        InputError: rows that are not finite, shapes that do not fit each other or the learner, or arguments of another
            kind.
        UnsupportedError: an adjoint that cannot go back through the schedule, or rows on the host needed all at once.
    """
    blocks: tuple[Any, ...] = tuple(samples) if type(samples) in (tuple, list) else (samples,)
    check_learner(learner)
    check_samples(learner, blocks)
    adjoint = choose_adjoint(schedule, adjoint)
    check_host(learner, blocks, schedule)
    if _is_stochastic(learner) and (isinstance(schedule, Converged) or isinstance(adjoint, Implicit)):
        raise UnsupportedError(
            f"{type(learner).__name__} draws random numbers at each training step, so that training has no stationary "
            "point: set dropout=0, or use a Descent schedule with Checkpointed()."
        )
    if isinstance(schedule, Descent) and schedule.clip is not None:
        _check_clipping(learner, adjoint)
    dtype = blocks[0].x.dtype
    if params is None:
        params = learner.init(initial_key(schedule))
    else:
        _check_params(learner, params, schedule)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    probe = jnp.zeros((), dtype) if probe is None else probe
    return _train(learner, blocks, schedule, adjoint, params, probe)


@eqx.filter_jit
def _train(learner, blocks, schedule, adjoint, params, probe) -> Trained:
    # Rows that a caller's program holds as constants, weights of one among them, would be folded into training by XLA,
    # which takes it up to half a minute and saves nothing.
    blocks = jax.tree.map(lambda leaf: jax.lax.optimization_barrier(leaf) if eqx.is_array(leaf) else leaf, blocks)
    if hasattr(learner, "fit_preprocessing"):
        # Ordinary differentiable code outside the inner training, so that every adjoint's gradient counts the refit.
        state, blocks = learner.fit_preprocessing(blocks)
        inner = _train(learner.learner, blocks, schedule, adjoint, learner.inner_params(params), probe)
        return inner._replace(params=learner.join(state, inner.params))
    batches = schedule.batches(sum(b.weight.shape[0] for b in blocks)) if isinstance(schedule, Descent) else None
    if batches is None:
        blocks = along_rows(blocks)  # for mini-batches, blocks that are everywhere are at hand where they are
    noise = _noisy_loss(learner)
    key = None if noise is None else jax.random.fold_in(initial_key(schedule), 2)  # 1 is that of the batches
    plain = field = LossField(_loss_over(learner), blocks, batches, noise, key)
    if isinstance(schedule, Descent) and schedule.clip is not None:
        field = ClippedField(plain.loss, blocks, batches, noise, key, learner, schedule)
    if isinstance(schedule, Descent) and (schedule.gram or _gram_pays(learner, blocks, schedule, adjoint)):
        space = _gram_space(learner, blocks, schedule, params)
        problem = Problem(space.field, schedule, probe)
        trained = space.lift(adjoint.solve(problem, space.params))
    else:
        trained = adjoint.solve(Problem(field, schedule, probe), params)
    still = jax.lax.stop_gradient
    plain = jax.tree.map(lambda a: still(a) if eqx.is_array(a) else a, plain)
    initial_loss, loss = plain.value(still(params)), plain.value(still(trained))
    ended = _status(schedule, adjoint, plain, still(trained), (initial_loss, loss))
    return Trained(trained, initial_loss, loss, tree_norm(plain(still(trained), None)), ended)


def _status(schedule, adjoint, field, params, losses) -> Int[Array, ""]:
    """Judge the end of a run: losses first, then what an implicit gradient assumes."""
    initial_loss, loss = losses
    # A loss that is exactly 0 at the start, such as the perceptron's at w = 0, is no scale to compare with.
    grew = (initial_loss != 0) & (loss > 2 * jnp.abs(initial_loss) + 1e-6)
    if isinstance(schedule, Descent) and schedule.clip is not None:
        # Clipped steps cannot run away, and the rows that they make little of may end with losses of any size.
        grew = jnp.zeros_like(grew)
    diverged = ~jnp.isfinite(loss) | grew
    status = jnp.where(diverged, Status.DIVERGED, Status.DONE)
    if isinstance(adjoint, Implicit):
        unsolved, unbounded = adjoint.judge(schedule, field, params)
        status = jnp.where(unsolved & ~diverged, Status.NOT_CONVERGED, status)
        status = jnp.where(unbounded & ~diverged, Status.NO_FINITE_OPTIMUM, status)
    return status


def largest_curvature(learner: Any, samples: Samples, *, params: Params, iterations: int = 50) -> Float[Array, ""]:
    """Return λ_max of the training loss's Hessian at `params`, by power iteration.

    Gradient descent is stable near there for step sizes below 2/λ_max, with momentum γ below 2(1 + γ)/λ_max.

    Args:
        learner: the learner.
        samples: the training rows.
        params: where.
        iterations: of the power method.
    """
    while hasattr(learner, "fit_preprocessing"):
        params = learner.inner_params(params)
        _, (samples,) = learner.fit_preprocessing((samples,))
        learner = learner.learner
    field = LossField(_loss_over(learner), (samples,), None)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, samples.x.dtype), params)

    def power(v, _):
        bent = jax.jvp(lambda p: field(p, None), (params,), (v,))[1]
        size = tree_norm(bent)
        return jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1.0), bent), size

    flat, unravel = ravel_pytree(params)
    start = unravel(jax.random.normal(jax.random.key(0), flat.shape, flat.dtype) / jnp.sqrt(flat.size))
    return jax.lax.scan(power, start, None, length=iterations)[1][-1]


def default_adjoint(schedule: Schedule) -> Adjoint:
    """Return the exact adjoint that serves a schedule."""
    return Implicit() if isinstance(schedule, Converged) else Checkpointed()


def choose_adjoint(schedule: Any, adjoint: Any) -> Adjoint:
    """Return an adjoint, or the exact one in place of None; raise unless it goes back through the schedule."""
    check_kind((Descent, Converged), "Descent(...) or Converged(...)", schedule=schedule)
    adjoint = default_adjoint(schedule) if adjoint is None else adjoint
    check_kind(Adjoint, "Checkpointed(), BackGradient(), Reversible(), Implicit() or None", adjoint=adjoint)
    adjoint.check(schedule)
    return adjoint


def _check_params(learner: Any, params: Any, schedule: Schedule) -> None:
    """Raise unless initial parameters have the shapes of those that the learner draws."""
    while hasattr(learner, "fit_preprocessing"):
        learner, params = learner.learner, learner.inner_params(params)
    expected = jax.eval_shape(lambda: learner.init(initial_key(schedule)))
    wanted, got = (jax.tree.map(np.shape, tree) for tree in (expected, params))
    if jax.tree.structure(expected) != jax.tree.structure(params) or wanted != got:
        raise InputError(
            f"params must have the shapes of those that {type(learner).__name__}.init draws, {wanted}; got {got}: take "
            "those of train(...).params, or leave params out."
        )


def _loss_over(learner) -> Callable[..., Any]:
    over = getattr(learner, "loss_over", None)
    return _Concatenated(learner.loss) if over is None else over


def _is_stochastic(learner) -> bool:
    """Tell whether a learner, or the one inside its wrappers, draws random numbers at each training step."""
    inner = getattr(learner, "learner", None)
    return bool(getattr(learner, "stochastic", False)) or (inner is not None and _is_stochastic(inner))


def _noisy_loss(learner) -> Callable[..., Any] | None:
    if not _is_stochastic(learner):
        return None
    if not hasattr(learner, "loss_at"):
        raise UnsupportedError(
            f"{type(learner).__name__} has no loss_at, and would train without the random numbers that its learner "
            "draws at each step: set dropout=0, or train that learner by itself."
        )
    return learner.loss_at


def _check_clipping(learner, adjoint: Adjoint) -> None:
    """Raise unless an adjoint and a learner can do with the clipped gradients of single rows."""
    if isinstance(adjoint, Implicit):
        raise UnsupportedError(
            "Implicit differentiates ∇𝓛 = 0, which is not where clipped gradients come to rest: use Checkpointed()."
        )
    while hasattr(learner, "fit_preprocessing"):
        learner = learner.learner
    if hasattr(learner, "learner") and hasattr(learner, "row_losses"):
        raise UnsupportedError(
            f"{type(learner).__name__} changes how rows count in the loss of all, so that clip finds no loss of one "
            "row: train the learner inside it, or set clip=None."
        )


def _gram_pays(learner, blocks, schedule: Descent, adjoint: Adjoint) -> bool:
    """Decide for Gram space where the caller left it open: with many more features than rows, and an exact adjoint."""
    if schedule.gram is not None or not hasattr(learner, "gram_space") or not isinstance(adjoint, Checkpointed):
        return False
    if schedule.clip is not None:
        return False
    n = sum(block.weight.shape[0] for block in blocks)
    full_batch = schedule.optimiser is None and (schedule.batch_size is None or schedule.batch_size >= n)
    return full_batch and 2 * n < blocks[0].x.shape[1]


def _gram_space(learner, blocks, schedule: Descent, params):
    if not hasattr(learner, "gram_space"):
        raise UnsupportedError(
            f"gram=True needs a learner that is linear in its inputs; {type(learner).__name__} is not: set gram=False."
        )
    if schedule.optimiser is not None or schedule.batches(sum(b.weight.shape[0] for b in blocks)) is not None:
        raise UnsupportedError("gram=True needs full-batch descent without an optax optimiser: set gram=False.")
    return learner.gram_space(blocks, params)
