r"""The implicit adjoint: differentiate the stationarity condition instead of the path that led to it.

At ∇_w 𝓛(w*, θ) = 0 the implicit function theorem gives

    θ̄ = −(∇_θ∇_w 𝓛)ᵀ u,    (∇²_w 𝓛 + δ I) u = λ,

with λ the incoming cotangent and δ an optional damping. Three solvers: `dense` factorises the Hessian (m² memory,
m³ time), `cg` needs Hessian-vector products only, `neumann` sums α Σ_j (I − α∇²𝓛)ʲ λ. All hold only where the
inner problem is solved and its Hessian regular where the outer loss looks; otherwise going back raises, and `train`
says so in its status.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from ..checks import check_count, check_kind, check_not_negative, check_positive, native
from ..errors import InputError, NotConvergedError, UnsupportedError
from ..schedules import Converged, Descent, Schedule
from ..status import Status
from ..types import Params
from .base import Adjoint, Field, Problem, steps_of, tree_norm, zeros_for

_INCONSISTENT = (
    "the linear solve failed, since the Hessian is singular in a direction that matters or max_steps is too small: "
    "set l2 above 0, set damping, or raise max_steps"
)


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Raise a `NotConvergedError` where `Implicit` raises in compiled code, whose errors are equinox's."""
    try:
        yield
    except eqx.EquinoxRuntimeError as error:
        sentences = re.findall(r"Implicit: [^\n]+", str(error))
        if not sentences:
            raise
        raise NotConvergedError(sentences[-1]) from None  # before it come lines of this module


class Implicit(Adjoint):
    """Gradients of a stationary point, from one linear solve.

    Args:
        solver: `"cg"` (for learners of any size), `"dense"` (where the Hessian is indefinite or CG needs too many
            steps) or `"neumann"`.
        damping: δ ≥ 0, added to the Hessian's diagonal. It makes singular problems solvable and their gradient biased.
        max_steps: of `cg` and `neumann`.
        solver_tolerance: relative, of `cg` and `neumann`.
        residual: ‖∇𝓛‖ above which the inner problem does not count as solved.
        throw: whether going back raises where the problem is unsolved, has no finite optimum, or where the linear
            solve fails. Without it, read the status that `train` returns.

    Raises:
        InputError: an unknown solver or a number out of its range.
        UnsupportedError: `Descent(gram=True)`, or differentiation with respect to the initial parameters, step size or
            momentum, on which a stationary point does not depend.
    """

    solver: Literal["dense", "cg", "neumann"] = eqx.field(default="cg", static=True)
    damping: float = eqx.field(default=0.0, static=True, converter=native)
    max_steps: int = eqx.field(default=1000, static=True, converter=native)
    solver_tolerance: float = eqx.field(default=1e-10, static=True, converter=native)
    residual: float = eqx.field(default=1e-5, static=True, converter=native)
    throw: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        if self.solver not in ("dense", "cg", "neumann"):
            raise InputError(f"solver must be 'dense', 'cg' or 'neumann'; got {self.solver!r}.")
        check_not_negative(damping=self.damping)
        check_count(max_steps=self.max_steps)
        check_positive(solver_tolerance=self.solver_tolerance, residual=self.residual)
        check_kind(bool, "True or False", throw=self.throw)

    def check(self, schedule: Schedule) -> None:
        """Accept every schedule but one in Gram space; whether it ended at a stationary point is judged afterwards."""
        if isinstance(schedule, Descent) and schedule.gram:
            raise UnsupportedError(
                "Implicit solves with a symmetric Hessian, and the field that Gram space follows has none: set "
                "gram=False, or use Checkpointed()."
            )

    def solve(self, problem: Problem, params: Params) -> Params:
        """Train to a stationary point, or along a `Descent` that should end near one."""
        self.check(problem.schedule)
        return _stationary((params, problem), self)

    def judge(self, schedule: Schedule, field: Field, params: Params):
        """Judge the end of training: is the problem unsolved, and has it no finite optimum?

        A small gradient alone does not make an optimum: on separable classes without L2 the gradient vanishes on
        the way to infinity. There the Newton step stays long, so it is what tells the two apart.

        Returns:
            Two boolean scalars.
        """
        gradient = field(params, None)
        # A solver keeps its tolerance, which may be looser than ours, up to a small factor.
        limit = max(self.residual, 10 * schedule.tolerance) if isinstance(schedule, Converged) else self.residual
        size = tree_norm(gradient)
        # The length of the Newton step matters to one digit. Asking for more would have CG chase the round-off that the
        # gradient has along flat directions, such as the common bias of a softmax; so would a gradient that is all
        # round-off.
        rough = dataclasses.replace(self, solver_tolerance=max(self.solver_tolerance, 1e-3))
        newton = tree_norm(rough.inverse(field, params)(gradient))
        # Round-off in w and in the scores moves the gradient by this many times its relative size.
        reach = tree_norm(jax.jvp(lambda p: field(p, None), (params,), (params,))[1])
        solved, exact = size <= limit, size <= 1e-13 * jnp.maximum(reach, 1.0)
        return ~solved, solved & ~exact & ~(newton <= 1e-3 * (1 + tree_norm(params)))

    def inverse(self, field: Field, params: Params):
        """Return the function that maps a cotangent to u, (∇²𝓛 + δ I) u = cotangent."""

        def hessian(v):
            bent = jax.jvp(lambda p: field(p, None), (params,), (v,))[1]
            return jax.tree.map(lambda h, x: h + jnp.asarray(self.damping, x.dtype) * x, bent, v)

        if self.solver == "dense":
            return _dense(hessian, params)
        return lambda cotangent: (self._neumann if self.solver == "neumann" else self._cg)(hessian, cotangent)

    def solve_back(self, schedule: Schedule, field: Field, params: Params, cotangent: Params) -> Params:
        """Return u, and raise at run time where `throw` is set and u cannot be trusted."""
        invert = self.inverse(field, params)
        u = invert(cotangent)
        if not self.throw:
            return u
        unsolved, unbounded = self.judge(schedule, field, params)
        bent = jax.jvp(lambda p: field(p, None), (params,), (u,))[1]
        miss = jax.tree.map(lambda h, x, c: h + jnp.asarray(self.damping, x.dtype) * x - c, bent, u, cotangent)
        inconsistent = ~(tree_norm(miss) <= 1e-3 * tree_norm(cotangent))
        u = eqx.error_if(u, unsolved, f"Implicit: {Status.NOT_CONVERGED.message}.")
        u = eqx.error_if(u, unbounded, f"Implicit: {Status.NO_FINITE_OPTIMUM.message}.")
        return eqx.error_if(u, inconsistent, f"Implicit: {_INCONSISTENT}.")

    def _cg(self, hessian, cotangent: Params) -> Params:
        import lineax as lx  # here, since other adjoints do without

        structure = jax.eval_shape(lambda: cotangent)
        operator = lx.FunctionLinearOperator(hessian, structure, lx.positive_semidefinite_tag)
        # lineax compares entry by entry; without an absolute part, an entry that is exactly 0 gives 0/0, which ends the
        # solve at once.
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(cotangent)]))
        # lineax takes arrays too, which its annotation does not say.
        method = lx.CG(self.solver_tolerance, self.solver_tolerance * largest, max_steps=self.max_steps)  # pyright: ignore[reportArgumentType]
        return lx.linear_solve(operator, cotangent, method, throw=False).value

    def _neumann(self, hessian, cotangent: Params) -> Params:
        """Sum the series with α = 1/λ_max, estimated by power iteration."""

        def power(v, _):
            bent = hessian(v)
            return jax.tree.map(lambda h: h / (tree_norm(bent) + 1e-30), bent), tree_norm(bent)

        # Power iteration approaches λ_max from below, hence the margin.
        scale = tree_norm(cotangent) + 1e-30
        _, sizes = jax.lax.scan(power, jax.tree.map(lambda c: c / scale, cotangent), None, length=50)
        # A cotangent of zero leads nowhere; its series is 0 at any rate.
        rate = 1 / (1.1 * jnp.where(sizes[-1] > 0, sizes[-1], 1.0))

        def more(carry):
            i, term, _ = carry
            return (i < self.max_steps) & (tree_norm(term) > self.solver_tolerance * scale)

        def add(carry):
            i, term, total = carry
            total = jax.tree.map(jnp.add, total, term)
            return i + 1, jax.tree.map(lambda x, h: x - rate * h, term, hessian(term)), total

        zero = jax.tree.map(jnp.zeros_like, cotangent)
        total = jax.lax.while_loop(more, add, (jnp.int32(0), cotangent, zero))[2]
        return jax.tree.map(lambda x: rate * x, total)


def _dense(hessian, params: Params):
    """Factorise the Hessian; flat directions, such as the common bias of a softmax, are left out.

    So u is the solution of least norm where there are many.
    """
    flat, unravel = ravel_pytree(params)
    matrix = jax.vmap(lambda row: ravel_pytree(hessian(unravel(row)))[0])(jnp.eye(flat.size, dtype=flat.dtype))
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    floor = flat.size * jnp.finfo(flat.dtype).eps * jnp.max(jnp.abs(values))
    inverse = jnp.where(jnp.abs(values) > floor, 1 / values, 0.0)
    return lambda cotangent: unravel(vectors @ (inverse * (vectors.T @ ravel_pytree(cotangent)[0])))


# Newton's method is alone with at most so many parameters; with more, L-BFGS goes first for at most so many steps.
_FEW, _FIRST = 100, 500


class _Descending(NamedTuple):
    """Where Newton's method stands, w with its loss, gradient and Hessian, how it is damped, and what it has done."""

    w: Float[Array, "m"]
    loss: Float[Array, ""]
    gradient: Float[Array, "m"]
    hessian: Float[Array, "m m"]
    damping: Float[Array, ""]
    steps: Int[Array, ""]
    last: Bool[Array, ""]


def _newton(params: Params, field: Any, schedule: Converged) -> Params:
    """Minimise a loss along Newton directions (∇²𝓛 + μ diag |∇²𝓛|) d = −∇𝓛.

    A Hessian of m parameters costs as much as m gradients. With many of them L-BFGS goes first, which is all it takes
    where features are of like scale; where they are not, it comes to a halt early, and Newton's method goes on.

    The loss decides on a step, since on rows of unlike scales the gradient's norm says little; where the loss cannot
    tell, within its round-off, the gradient does. Each step has the length 2⁻ʲ of the least loss, which is what
    piecewise losses need (Keerthi and DeCoste 2005); μ follows Levenberg and Marquardt's rule. Within the tolerance
    steps go on for as long as each takes nine tenths off the gradient, which round-off soon ends. Along directions in
    which the loss is flat, such as the common bias of a softmax, round-off over a small μ moves w, and that is taken
    back at the end.
    """
    flat, unravel = ravel_pytree(params)
    eps, basis = float(jnp.finfo(flat.dtype).eps), jnp.eye(flat.size, dtype=flat.dtype)
    lengths = 0.5 ** jnp.arange(12, dtype=flat.dtype)

    def value(w):  # labels and weights may be of another precision than features
        return field.value(unravel(w)).astype(flat.dtype)

    def slope(w):
        return ravel_pytree(field(unravel(w), None))[0]

    def bend(w):
        matrix = jax.vmap(jax.linearize(slope, w)[1])(basis)
        return (matrix + matrix.T) / 2

    def positive(scale):
        return jnp.maximum(scale, jnp.where(jnp.max(scale) > 0, eps * jnp.max(scale), 1.0))

    def settle(s: _Descending):
        scale = jnp.diag(1e5 * eps * positive(jnp.abs(jnp.diag(s.hessian))))
        factor = jnp.linalg.cholesky(s.hessian + scale)
        flatten = jax.scipy.linalg.cho_solve((factor, True), scale)  # keeps what is flat, of all else next to nothing
        w = s.w
        for _ in range(3):
            w = w - flatten @ (flatten @ (flatten @ (w - start.w)))
        # Flat at the end need not be flat all along; NaN, of a Hessian that is not positive semidefinite, fails too.
        noise = 10 * eps * jnp.linalg.norm(jnp.abs(s.hessian) @ jnp.abs(s.w))
        lower = value(w) <= s.loss + 1e3 * eps * jnp.abs(s.loss)
        level = jnp.linalg.norm(slope(w)) <= 2 * jnp.linalg.norm(s.gradient) + noise
        return jnp.where(lower & level, w, s.w)

    def more(s: _Descending):
        return (s.steps < schedule.max_steps) & (s.damping < 1e12) & ~s.last

    def step(s: _Descending):
        size, scale = jnp.linalg.norm(s.gradient), jnp.abs(jnp.diag(s.hessian))
        # Of a piecewise linear loss the curvature is 0 nearly everywhere, and g²/𝓛 has its unit.
        scale = positive(scale + s.gradient**2 / jnp.where(s.loss == 0, 1.0, jnp.abs(s.loss)))
        factor = jnp.linalg.cholesky(s.hessian + jnp.diag(s.damping * scale))
        direction = jax.scipy.linalg.cho_solve((factor, True), s.gradient)
        losses = jax.lax.map(lambda length: value(s.w - length * direction), lengths)
        # A matrix that is not positive definite gives NaN, which must lose. Of equal losses the longest step wins.
        slack = 1e3 * eps * jnp.abs(s.loss)
        best = jnp.argmax(losses <= jnp.min(jnp.where(jnp.isnan(losses), jnp.inf, losses)) + slack)
        w, loss = s.w - lengths[best] * direction, losses[best]
        gradient = slope(w)
        better = (loss < s.loss - slack) | ((loss <= s.loss + slack) & (jnp.linalg.norm(gradient) < size))
        hessian = jax.lax.cond(better, bend, lambda _: s.hessian, w)
        damping = jnp.where(better, jnp.maximum(s.damping / 100, 1e4 * eps), 10 * jnp.maximum(s.damping, 1e-6))
        w, loss, gradient = jax.tree.map(functools.partial(jnp.where, better), (w, loss, gradient), s[:3])
        last = (size <= schedule.tolerance) & ~(jnp.linalg.norm(gradient) < 0.1 * size)
        return _Descending(w, loss, gradient, hessian, damping.astype(flat.dtype), s.steps + 1, last)

    damping, steps = jnp.asarray(1e-4, flat.dtype), jnp.int32(0)
    if flat.size > _FEW:
        nearer = ravel_pytree(_lbfgs(params, field, schedule.tolerance, _FIRST))[0]
        closer = value(nearer) <= value(flat)  # not where that is NaN
        flat = _polish(jnp.where(closer, nearer, flat), slope)
    gradient = slope(flat)
    last = (flat.size > _FEW) & (jnp.linalg.norm(gradient) <= schedule.tolerance)
    hessian = jax.lax.cond(last, lambda w: jnp.zeros((w.size, w.size), w.dtype), bend, flat)
    start = _Descending(flat, value(flat), gradient, hessian, damping, steps, last)
    end = jax.lax.while_loop(more, step, start)
    return unravel(jax.lax.cond(end.steps > 0, settle, lambda s: s.w, end))


def _lbfgs(params: Params, field: Any, tolerance: float, max_steps: int) -> Params:
    """Minimise a loss by limited-memory BFGS, whether that converges or not."""
    from .lbfgs import minimise  # here, since most schedules do without

    return minimise(params, field, tolerance, max_steps)


def _polish(w: Float[Array, "m"], slope: Callable[[Any], Any]) -> Float[Array, "m"]:
    """Take what is left off a small gradient by one Newton step, found by conjugate gradients; never add to it.

    L-BFGS ends at a gradient within the tolerance, or where the loss no longer tells, which is at the root of its
    round-off. A solution that is off by that much moves by as much from one set of rows to the next, and differences of
    what depends on it drown in that.
    """
    rough = slope(w)
    step, _ = jax.scipy.sparse.linalg.cg(jax.linearize(slope, w)[1], rough, tol=1e-4, maxiter=_FIRST)
    return jnp.where(jnp.linalg.norm(slope(w - step)) < jnp.linalg.norm(rough), w - step, w)


def _find(params: Params, problem: Problem) -> Params:
    """Run the forward pass of either schedule."""
    schedule = problem.schedule
    if not isinstance(schedule, Converged):
        state = problem.descent().init(params)
        return jax.lax.scan(lambda s, t: (problem.step(s, t), None), state, steps_of(problem.descent()))[0].params
    if schedule.solver == "newton":
        return _newton(params, problem.field, schedule)
    flat, unravel = ravel_pytree(_lbfgs(params, problem.field, schedule.tolerance, schedule.max_steps))
    return unravel(_polish(flat, lambda w: ravel_pytree(problem.field(unravel(w), None))[0]))


@eqx.filter_custom_vjp
def _stationary(inputs: tuple[Params, Problem], adjoint: Implicit) -> Params:
    """Train."""
    del adjoint
    return _find(*inputs)


@_stationary.def_fwd
def _stationary_forward(perturbed, inputs, adjoint):
    del adjoint
    moved = {"initial parameters": perturbed[0], "schedule (step size or momentum)": perturbed[1].schedule}
    for name, part in moved.items():
        if any(leaf is True for leaf in jax.tree.leaves(part)):
            raise UnsupportedError(
                f"a stationary point does not depend on the {name}, so Implicit has no gradient for it: "
                "use Checkpointed()."
            )
    trained = _find(*inputs)
    return trained, trained


@_stationary.def_bwd
def _stationary_backward(trained, cotangent, perturbed, inputs, adjoint):
    params, problem = inputs
    wanted = eqx.filter(problem, perturbed[1])
    u = adjoint.solve_back(problem.schedule, problem.field, trained, zeros_for(cotangent, trained))
    pull = jax.vjp(lambda part: eqx.combine(part, problem).field(trained, None), wanted)[1]
    (total,) = pull(jax.tree.map(jnp.negative, u))
    return jax.tree.map(lambda _: None, params), total
