"""What every adjoint promises: it says what it cannot do, trains as all others do, and its gradient is right."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..adjoints.base import Adjoint
from ..adjoints.check import GradientError, check_agreement, check_gradient
from ..errors import UnsupportedError
from ..learners.linear import LogisticRegression
from ..schedules import Converged, Descent, Schedule
from ..training import default_adjoint, train
from ..types import Samples
from .base import Contract, cast, moved, precisions, random_rows

ROWS = ("features", "labels", "weights", "l2")
SGD = (*ROWS, "step_size", "params")
MOMENTUM = (*SGD, "momentum")

#: The kinds of schedules there are.
KINDS = ("plain", "momentum", "mini-batches", "momentum mini-batches", "optax", "gram", "converged")

# One object, since an optimiser is hashed by its functions.
_ADAM = optax.adam(0.05)
_SETTINGS = ("step_size", "momentum")


class _Case(NamedTuple):
    """One kind of schedule: inputs by name, and the validation loss after training with its gradient.

    `f` maps inputs to the loss and the trained parameters, compiled; `value` is the loss that comes with the gradient.
    """

    f: Callable[[dict[str, Any]], Any]
    values: dict[str, Any]
    value: Any
    slopes: dict[str, Any]


class AdjointContract(Contract):
    """The suite of adjoints.

    Override `adjoint`, and say what it can do. Gradients are those of a validation loss after training on clean rows
    and three poisoning points, with respect to whatever `inputs` names.

    Attributes:
        accepts: the kinds of schedules, of `KINDS`, that `check` accepts. It must refuse all others in a sentence that
            names another adjoint.
        inputs: for every kind whose gradients are checked, the inputs to differentiate by: `"features"`, `"labels"` and
            `"weights"` of the points, `"l2"`, `"step_size"`, `"momentum"` and `"params"`, the initial parameters.
        exact: whether gradients are those of the forward pass, so that there is no drift.
        difference_step: of central differences.
        steps: of single inputs, where another suits them.
        tolerance: the relative error of gradients that is allowed. Above 1e-3 nothing is checked.
        forward_tolerance: the relative difference allowed between its trained parameters and the default adjoint's.
    """

    accepts: tuple[str, ...] = KINDS
    inputs: ClassVar[Mapping[str, tuple[str, ...]]] = {"momentum": MOMENTUM}
    exact: bool = True
    difference_step: float = 3e-4
    steps: ClassVar[Mapping[str, float]] = {}
    tolerance: float = 1e-6
    forward_tolerance: float = 1e-10

    def adjoint(self) -> Adjoint:
        """Return the adjoint under test."""
        raise NotImplementedError("say what to test: def adjoint(self): return MyAdjoint(...)")

    def learner(self) -> Any:
        """Return the learner that is trained: one of four features, with a setting `l2` where that is an input."""
        return LogisticRegression(4, 0.05)

    def schedule(self, kind: str) -> Schedule:
        """Return the schedule of a kind; its momentum is a fraction of 2⁻⁴, which fixed point holds exactly."""
        return {
            "plain": lambda: Descent(20, 0.1),
            "momentum": lambda: Descent(20, 0.1, 0.8125),
            "mini-batches": lambda: Descent(20, 0.1, batch_size=6),
            "momentum mini-batches": lambda: Descent(20, 0.1, 0.8125, batch_size=6),
            "optax": lambda: Descent(20, optimiser=_ADAM),
            "gram": lambda: Descent(20, 0.1, gram=True),
            "converged": lambda: Converged(tolerance=1e-12),
        }[kind]()

    def test_it_is_an_adjoint(self):
        """It is an `Adjoint`, and two with the same settings are equal: they share what is compiled."""
        assert isinstance(self.adjoint(), Adjoint)
        assert eqx.tree_equal(self.adjoint(), self.adjoint())

    def test_it_accepts_what_it_can_and_refuses_all_else_in_a_sentence(self):
        """`check` tells before work starts, and whoever is refused is told what to use."""
        for kind in KINDS:
            refusal = self._refusal(kind)
            assert (refusal is None) == (kind in self.accepts), f"a schedule of kind {kind!r}: {refusal or 'accepted'}"
            if refusal is not None:
                assert refusal.endswith("."), f"not a sentence: {refusal!r}"
                assert re.search(r"\b[A-Z]\w*\(\)", refusal), f"names no adjoint that serves: {refusal!r}"

    def test_training_ends_where_the_default_adjoint_s_ends(self):
        """An adjoint changes how gradients go back, and not what is trained."""
        for kind in self.inputs:
            case, schedule, values = self._case(kind), self.schedule(kind), self._values(kind)
            default = train(
                self.learner(),
                self._blocks(values),
                schedule=schedule,
                adjoint=default_adjoint(schedule),
                params=values["params"],
            )
            with _noted(kind):
                check_agreement(case.f(case.values)[1], default.params, error=self.forward_tolerance)

    def test_going_back_does_not_change_the_way_there(self):
        """The value that comes with a gradient is the value without it."""
        for kind in self.inputs:
            case = self._case(kind)
            np.testing.assert_allclose(
                case.value, case.f(case.values)[0], rtol=self.forward_tolerance, err_msg=f"{kind}: values differ"
            )

    def test_gradients_equal_central_differences(self):
        """Of every kind of schedule and every input that it supports."""
        for kind, names in self.inputs.items():
            case = self._case(kind)
            for name in names:
                with _noted(f"{kind}, with respect to {name}"):
                    check_gradient(
                        lambda value, name=name, case=case: case.f({**case.values, name: value})[0],
                        case.values[name],
                        gradient=case.slopes[name],
                        key=jax.random.key(3),
                        step=self.steps.get(name, self.difference_step),
                        tolerance=self.tolerance,
                    )

    def test_cotangents_are_shaped_like_what_went_in(self):
        """Each has the shapes and types of its input, and is finite."""
        for kind in self.inputs:
            case = self._case(kind)
            for given, slope in zip(jax.tree.leaves(case.values), jax.tree.leaves(case.slopes), strict=True):
                assert (given.shape, given.dtype) == (slope.shape, slope.dtype), kind
                assert np.isfinite(slope).all(), kind

    def test_the_probe_gets_the_drift(self):
        """Its cotangent is 0 of an exact adjoint, and else a number that is not negative."""
        for kind in self.inputs:
            drift = float(self._case(kind).slopes["probe"])
            assert drift == 0 if self.exact else 0 <= drift < np.inf, f"{kind}: drift {drift}"

    def test_uncompiled_gradients_of_the_features_alone_are_the_same(self):
        """What is not differentiated changes nothing, and neither does compiling the whole."""
        kind = next(iter(self.inputs))
        case, objective = self._case(kind), self._objective(kind)
        alone = jax.grad(lambda x: objective({"features": x})[0])(case.values["features"])
        check_agreement(alone, case.slopes["features"], error=self.forward_tolerance)

    def test_float32_stays_float32(self):
        """Parameters and cotangents of float32 rows are float32."""
        for kind, names in self.inputs.items():
            values = {name: value for name, value in self._values(kind).items() if name in names}
            # Traced and not run: compiling it once more would tell no more about types.
            gradient = jax.grad(self._objective(kind), has_aux=True)
            slopes, trained = eqx.filter_eval_shape(gradient, cast(values, jnp.float32))
            assert precisions(trained) == {"float32"}, f"{kind}: trained parameters"
            assert precisions(slopes) == {"float32"}, f"{kind}: cotangents"

    def _refusal(self, kind: str) -> str | None:
        try:
            self.adjoint().check(self.schedule(kind))
        except UnsupportedError as error:
            return str(error)
        return None

    def _rows(self, n: int, seed: int) -> Samples:
        return random_rows(n, 4, getattr(self.learner(), "n_outputs", 2), seed=seed)

    def _values(self, kind: str) -> dict[str, Any]:
        """Return everything that training can be differentiated with respect to, by name."""
        points, schedule = self._rows(3, 1), self.schedule(kind)
        return {
            "features": points.x,
            "labels": points.y,
            "weights": points.weight,
            # Of a type that is certain: what is compiled for Python's numbers is compiled anew for arrays.
            "l2": jnp.asarray(getattr(self.learner(), "l2", 0.0), float),
            "step_size": jnp.asarray(getattr(schedule, "step_size", 0.1), float),
            "momentum": jnp.asarray(getattr(schedule, "momentum", 0.0), float),
            "params": moved(self.learner().init(jax.random.key(1)), seed=3),
            "probe": jnp.zeros(()),
        }

    def _blocks(self, values: dict[str, Any]) -> tuple[Samples, Samples]:
        return self._rows(11, 0), Samples(values["features"], values["labels"], values["weights"])

    def _objective(self, kind: str) -> Callable[[dict[str, Any]], Any]:
        """Return the validation loss after training and the trained parameters, as a function of the inputs given.

        Inputs that are not given stand still.
        """
        validation, rest = self._rows(9, 2), self._values(kind)

        def objective(given):
            learner, schedule, values = self.learner(), self.schedule(kind), {**rest, **given}
            dtype = values["features"].dtype
            if "l2" in given:
                learner = dataclasses.replace(learner, l2=values["l2"])
            run = train(
                learner,
                cast(self._blocks(values), dtype),
                schedule=dataclasses.replace(schedule, **{name: values[name] for name in _SETTINGS if name in given}),
                adjoint=self.adjoint(),
                params=values["params"],
                probe=values["probe"] if "probe" in given else None,
            )
            return learner.loss(run.params, cast(validation, dtype)), run.params

        return objective

    def _case(self, kind: str) -> _Case:
        """Return a kind's objective and its gradient, computed once."""

        def make():
            names = (*self.inputs[kind], "probe")
            values = {name: value for name, value in self._values(kind).items() if name in names}
            objective = self._objective(kind)
            (value, _), slopes = jax.jit(jax.value_and_grad(objective, has_aux=True))(values)
            return _Case(jax.jit(objective), values, value, slopes)

        return self.once((kind, self.adjoint(), self.learner(), self.schedule(kind), self.inputs[kind]), make)


@contextlib.contextmanager
def _noted(note: str):
    """Say in an error what it was about."""
    try:
        yield
    except GradientError as error:
        error.add_note(f"({note})")
        raise
