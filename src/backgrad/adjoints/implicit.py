r"""The implicit adjoint: differentiate the stationarity condition instead of the path that led to it.

At ∇_w 𝓛(w*, θ) = 0 the implicit function theorem gives

    θ̄ = −(∇_θ∇_w 𝓛)ᵀ u,    (∇²_w 𝓛 + δ I) u = λ,

with λ the incoming cotangent and δ an optional damping. Three solvers: `dense` factorises the Hessian (m² memory,
m³ time), `cg` needs Hessian-vector products only, `neumann` sums α Σ_j (I − α∇²𝓛)ʲ λ. All hold only where the
inner problem is solved and its Hessian regular, so `train` reports in `Status` when it is not.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax.flatten_util import ravel_pytree

from ..errors import InputError, UnsupportedError
from ..schedules import Converged, Schedule
from ..types import Params
from .base import Adjoint, Field, Problem, steps_of, tree_norm, zeros_for


class Implicit(Adjoint):
    """Gradients of a stationary point, from one linear solve.

    Args:
        solver: `"dense"`, `"cg"` or `"neumann"`.
        damping: δ ≥ 0, added to the Hessian's diagonal. It makes singular problems solvable and their gradient biased.
        max_steps: of `cg` and `neumann`.
        solver_tolerance: relative, of `cg` and `neumann`.
        residual: ‖∇𝓛‖ above which the inner problem does not count as solved.

    Raises:
        InputError: an unknown solver or a number out of its range.
        UnsupportedError: differentiation with respect to the initial parameters, step size or momentum, on which a
            stationary point does not depend.
    """

    solver: Literal["dense", "cg", "neumann"] = eqx.field(default="dense", static=True)
    damping: float = eqx.field(default=0.0, static=True)
    max_steps: int = eqx.field(default=1000, static=True)
    solver_tolerance: float = eqx.field(default=1e-10, static=True)
    residual: float = eqx.field(default=1e-5, static=True)

    def __check_init__(self):
        if self.solver not in ("dense", "cg", "neumann"):
            raise InputError(f"solver must be 'dense', 'cg' or 'neumann'; got {self.solver!r}.")
        if self.damping < 0 or self.solver_tolerance <= 0 or self.residual <= 0 or self.max_steps < 1:
            raise InputError(
                "damping must be 0 or more, and solver_tolerance, residual and max_steps positive; got "
                f"{self.damping}, {self.solver_tolerance}, {self.residual} and {self.max_steps}."
            )

    def check(self, schedule: Schedule) -> None:
        """Accept every schedule; whether it ended at a stationary point is judged afterwards."""

    def solve(self, problem: Problem, params: Params) -> Params:
        """Train to a stationary point, or along a `Descent` that should end near one."""
        return _stationary((params, problem), self)

    def assumptions(self, schedule: Schedule, field: Field, params: Params, gradient: Params):
        """Judge the end of training: is the problem unsolved, and has it no unique finite optimum?

        A small gradient alone does not make an optimum: on separable classes without L2 the gradient vanishes on
        the way to infinity. There the Newton step stays long, so it is what tells the two apart.

        Returns:
            Two boolean scalars.
        """
        limit = max(self.residual, schedule.tolerance) if isinstance(schedule, Converged) else self.residual
        # tolerance is the solver's promise for the gradient; its norm may end a little above
        norm = tree_norm(gradient)
        newton = tree_norm(self.invert(field, params, gradient))
        unbounded = ~(newton <= 1e-3 * (1 + tree_norm(params)))
        return ~(norm <= limit), unbounded & (norm <= limit)

    def invert(self, field: Field, params: Params, cotangent: Params) -> Params:
        """Return u with (∇²𝓛 + δ I) u = cotangent."""

        def hessian(v):
            bent = jax.jvp(lambda p: field(p, None), (params,), (v,))[1]
            return jax.tree.map(lambda h, x: h + jnp.asarray(self.damping, x.dtype) * x, bent, v)

        if self.solver == "neumann":
            return self._neumann(hessian, cotangent)
        if self.solver == "cg":
            operator = lx.FunctionLinearOperator(hessian, jax.eval_shape(lambda: cotangent), lx.positive_semidefinite_tag)
            method = lx.CG(rtol=self.solver_tolerance, atol=0.0, max_steps=self.max_steps)
            return lx.linear_solve(operator, cotangent, method, throw=False).value
        flat, unravel = ravel_pytree(cotangent)
        matrix = jax.vmap(lambda row: ravel_pytree(hessian(unravel(row)))[0])(jnp.eye(flat.size, dtype=flat.dtype))
        operator = lx.MatrixLinearOperator((matrix + matrix.T) / 2)
        return unravel(lx.linear_solve(operator, flat, lx.LU(), throw=False).value)

    def _neumann(self, hessian, cotangent: Params) -> Params:
        """Sum the series with α = 1/λ_max, estimated by power iteration."""

        def power(v, _):
            bent = hessian(v)
            return jax.tree.map(lambda h: h / (tree_norm(bent) + 1e-30), bent), tree_norm(bent)

        # Power iteration approaches λ_max from below, hence the margin.
        scale = tree_norm(cotangent) + 1e-30
        _, sizes = jax.lax.scan(power, jax.tree.map(lambda c: c / scale, cotangent), None, length=50)
        rate = 1 / (1.1 * sizes[-1])

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


def _find(params: Params, problem: Problem) -> Params:
    """Run the forward pass of either schedule."""
    schedule = problem.schedule
    if not isinstance(schedule, Converged):
        state = problem.descent().init(params)
        return jax.lax.scan(lambda s, t: (problem.step(s, t), None), state, steps_of(problem.descent()))[0].params
    if schedule.solver == "newton":
        method = optx.Dogleg(rtol=schedule.tolerance, atol=schedule.tolerance, norm=optx.two_norm)
        solution = optx.root_find(
            lambda p, field: field(p, None), method, params, problem.field, max_steps=schedule.max_steps, throw=False
        )
        return solution.value
    # L-BFGS stops on the change of the loss, which is of second order in the distance to the optimum.
    method = optx.LBFGS(rtol=schedule.tolerance**2, atol=schedule.tolerance**2, norm=optx.two_norm)
    solution = optx.minimise(
        lambda p, field: field.value(p), method, params, problem.field, max_steps=schedule.max_steps, throw=False
    )
    return solution.value


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
                f"a stationary point does not depend on the {name}, so Implicit has no gradient for it: use Checkpointed()."
            )
    trained = _find(*inputs)
    return trained, trained


@_stationary.def_bwd
def _stationary_backward(trained, cotangent, perturbed, inputs, adjoint):
    params, problem = inputs
    wanted = eqx.filter(problem, perturbed[1])
    u = adjoint.invert(problem.field, trained, zeros_for(cotangent, trained))
    pull = jax.vjp(lambda part: eqx.combine(part, problem).field(trained, None), wanted)[1]
    (total,) = pull(jax.tree.map(jnp.negative, u))
    return jax.tree.map(lambda _: None, params), total
