"""What every learner promises: parameters, scores and a loss that can be trained and differentiated twice."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ..adjoints.check import check_agreement
from ..learners.base import LearnerLike
from ..schedules import Descent, Schedule
from ..status import Status
from ..training import train
from ..types import Params, Samples
from .base import Contract, cast, check_derivative, moved, precisions, random_rows

# The same sums in another order, or compiled in other surroundings.
_ROUND_OFF = 1e-11
# How far away the rows lie that must not count: where they would rule every sum.
_FAR = 1e3
_ABSENT = 5
#: What a loss is differentiated by, and where it is found in the rows.
_INPUTS = {"params": "", "features": "x", "labels": "y", "weights": "weight"}


class LearnerContract(Contract):
    """The suite of learners: anything with `init`, `scores` and `loss`.

    Override `learner`, and the attributes that do not fit. A learner whose loss is not a weighted mean plus a penalty
    (the sum that scikit-learn minimises, say) overrides `test_scaling_all_weights_changes_nothing`, and one that weighs
    errors very unlike `test_scores_point_where_the_loss_is_least`.

    Attributes:
        n_features: d.
        n_outputs: k, the columns of the soft labels.
        difference_step: of central differences; losses with kinks want 1e-6.
        tolerance: of first and second derivatives against differences; 1e-6 where the step is 1e-6.
        schedule: along which training must lower the loss.
    """

    n_features: int = 4
    n_outputs: int = 2
    difference_step: float = 3e-4
    tolerance: float = 1e-8
    schedule: Schedule = Descent(30, 0.1)

    def learner(self) -> Any:
        """Return the learner under test."""
        raise NotImplementedError("say what to test: def learner(self): return MyLearner(...)")

    def rows(self, n: int = 12, *, seed: int = 0) -> Samples:
        """Return n training rows: normal features, soft labels (normal responses where k = 1), uneven weights."""
        return random_rows(n, self.n_features, self.n_outputs, seed=seed)

    def params(self, learner: Any) -> Params:
        """Return parameters of no particular symmetry: initial ones, moved at random."""
        return moved(learner.init(jax.random.key(1)), seed=3)

    def test_it_has_the_three_methods_and_says_its_sizes(self):
        """It has `init`, `scores` and `loss`; the sizes that it tells are those of the rows."""
        learner = self.learner()
        assert isinstance(learner, LearnerLike)
        assert getattr(learner, "n_outputs", self.n_outputs) == self.n_outputs
        assert getattr(learner, "n_features", None) in (None, self.n_features)

    def test_initial_parameters_are_finite_and_follow_from_the_key_alone(self):
        """The same key gives the same bytes, every time and in every copy of the learner."""
        for seed in (0, 1):
            one, again = (ravel_pytree(self.learner().init(jax.random.key(seed)))[0] for _ in range(2))
            assert np.asarray(one).tobytes() == np.asarray(again).tobytes(), f"key {seed} gives different parameters"
            assert np.isfinite(one).all(), f"key {seed} gives parameters that are not finite"
            assert one.size > 0, "there is nothing to train"

    @pytest.mark.parametrize("n", [1, 2, 7])
    def test_scores_are_one_a_row_or_one_a_class(self, n):
        """Scores have shape (n,), which is for two classes or one response, or (n, k)."""
        learner = self.learner()
        scores = learner.scores(self.params(learner), self.rows(n).x)
        allowed = [(n, self.n_outputs)] + ([(n,)] if self.n_outputs <= 2 else [])
        assert scores.shape in allowed, f"scores of {n} rows have shape {scores.shape}, where {allowed} are expected"
        assert np.isfinite(scores).all()

    def test_the_score_of_a_row_depends_on_that_row_alone(self):
        """Scores of rows together are those of each by itself: absent rows could not be absent otherwise."""
        learner, x = self.learner(), np.asarray(self.rows(7).x)
        params = self.params(learner)
        alone = np.concatenate([learner.scores(params, jnp.asarray(x[i : i + 1])) for i in range(7)])
        x = jnp.asarray(x)
        np.testing.assert_allclose(learner.scores(params, x), alone, rtol=_ROUND_OFF, atol=_ROUND_OFF)

    def test_the_loss_is_a_finite_number(self):
        """The loss has no shape, and is neither NaN nor infinite."""
        learner, params, rows = self._at()
        loss = learner.loss(params, rows)
        assert jnp.shape(loss) == (), f"the loss has shape {jnp.shape(loss)}"
        assert np.isfinite(loss)

    def test_scores_point_where_the_loss_is_least(self):
        """Positive, or largest, for the class that a row's loss is least for; responses are what a loss is least at.

        Of classes, on three quarters of the rows: a loss that weighs classes may prefer another on some.
        """
        learner, params, rows = self._at()
        scores, n = np.asarray(_found(learner, params, rows).scores), len(rows.weight)
        if self.n_outputs == 1 or getattr(learner, "regression", False):
            responses = (jnp.asarray(scores.reshape(n, -1) + off) for off in (0.0, 1.0))
            own, other = (float(_found(learner, params, rows._replace(y=y)).loss) for y in responses)
            assert own < other, "the loss is smaller for responses one above the scores than for these"
            return
        losses = np.empty((n, self.n_outputs))
        for i, c in np.ndindex(losses.shape):
            only = rows._replace(y=rows.y.at[i].set(jnp.eye(self.n_outputs)[c]), weight=jnp.eye(n)[i])
            losses[i, c] = _found(learner, params, only).loss
        found = scores > 0 if scores.ndim == 1 else np.argmax(scores, axis=1)
        right = np.mean(found == np.argmin(losses, axis=1))
        assert right >= 0.75, f"scores point at the class of the least loss on {right:.0%} of the rows"

    def test_the_order_of_rows_does_not_matter(self):
        """The loss of permuted rows is the same."""
        learner, params, rows = self._at()
        order = np.random.default_rng(4).permutation(len(rows.weight))
        permuted = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)[order]), rows)
        np.testing.assert_allclose(learner.loss(params, permuted), learner.loss(params, rows), rtol=_ROUND_OFF)

    def test_scaling_all_weights_changes_nothing(self):
        """The loss is a weighted mean: weights count relative to each other."""
        learner, params, rows = self._at()
        heavy = rows._replace(weight=7.5 * rows.weight)
        np.testing.assert_allclose(learner.loss(params, heavy), learner.loss(params, rows), rtol=_ROUND_OFF)

    def test_rows_of_weight_zero_are_absent_from_the_loss(self):
        """They change neither the loss nor its gradient, and get no gradient, however far away they lie."""
        learner, params, rows = self._at()
        rest = jax.tree.map(jnp.asarray, _present(rows))
        near, far = (_found(learner, params, each) for each in self._absent(rows))
        np.testing.assert_allclose(far.loss, learner.loss(params, rest), rtol=_ROUND_OFF)
        check_agreement(far.slopes[0], near.slopes[0], error=_ROUND_OFF)
        # The weight of an absent row has a slope, that of making it present.
        check_agreement(_present(far.slopes[1]), _present(near.slopes[1]), error=_ROUND_OFF)
        for name in ("x", "y"):
            gone = np.asarray(getattr(far.slopes[1], name))[:_ABSENT]
            np.testing.assert_array_equal(gone, 0.0, err_msg=f"rows of weight 0 have a gradient in {name}")

    def test_blocks_of_rows_have_the_loss_of_all_rows_together(self):
        """A learner with `loss_over`, the loss of several blocks, takes them for one set of rows."""
        found = _found(*self._at())
        if found.in_blocks is not None:
            np.testing.assert_allclose(found.in_blocks, found.loss, rtol=_ROUND_OFF)

    @pytest.mark.parametrize("wrt", _INPUTS)
    def test_the_gradient_of_the_loss_equals_central_differences(self, wrt):
        """The loss is differentiable in all that goes in, and its gradient is right."""
        self._compare(wrt, lambda found: found.loss, lambda found: found.slopes, self.tolerance)

    @pytest.mark.parametrize("wrt", _INPUTS)
    def test_the_slope_in_the_parameters_can_be_differentiated_again(self, wrt):
        """Training follows ∇_w 𝓛, and hypergradients differentiate that: all mixed derivatives must be right too."""
        # Differences of a derivative see one more order of the loss's curvature.
        self._compare(wrt, lambda found: found.along, lambda found: found.bends, 10 * self.tolerance)

    def test_compiling_changes_no_number(self):
        """Compiled loss and scores are the uncompiled ones, to round-off."""
        learner, params, rows = self._at()
        found = _found(learner, params, rows)
        np.testing.assert_allclose(found.loss, learner.loss(params, rows), rtol=_ROUND_OFF)
        np.testing.assert_allclose(found.scores, learner.scores(params, rows.x), rtol=_ROUND_OFF, atol=_ROUND_OFF)

    def test_float32_stays_float32(self):
        """Scores, loss, gradient and training of float32 rows are float32, in 64-bit mode too."""
        learner, *arrays = self._at()

        def everything(params, rows):
            run = train(learner, rows, schedule=self.schedule, params=params)
            return {
                "scores": learner.scores(params, rows.x),
                "loss": learner.loss(params, rows),
                "gradient": jax.grad(learner.loss, argnums=(0, 1))(params, rows),
                "training": (run.params, run.loss),
            }

        # Traced and not run: compiling it once more would tell no more about types.
        found = eqx.filter_eval_shape(everything, *cast(arrays, jnp.float32))
        assert {name: precisions(tree) for name, tree in found.items()} == {name: {"float32"} for name in found}

    def test_training_lowers_the_loss(self):
        """`train` ends lower than it began, and takes the learner's own initial parameters."""
        learner, rows = self.learner(), self.rows()
        # Initial parameters alone would not do: a perceptron's loss is least where they are zero.
        run = train(learner, rows, schedule=self.schedule, params=self.params(learner))
        assert float(run.loss) < float(run.initial_loss), "training did not lower the loss"
        assert Status(int(run.status)) is Status.DONE
        run = train(learner, rows, schedule=self.schedule)
        assert jax.tree.structure(run.params) == jax.tree.structure(learner.init(jax.random.key(0)))
        np.testing.assert_allclose(learner.loss(run.params, rows), run.loss, rtol=_ROUND_OFF)

    def test_training_does_not_see_rows_of_weight_zero(self):
        """Wherever rows of weight 0 lie and whatever their labels, training ends at the same parameters."""
        learner, params, rows = self._at()
        one, two = (train(learner, each, schedule=self.schedule, params=params).params for each in self._absent(rows))
        check_agreement(one, two, error=_ROUND_OFF)

    def _at(self) -> tuple[Any, Params, Samples]:
        """Return the learner, parameters and rows."""
        learner = self.learner()
        return learner, self.params(learner), self.rows()

    def _compare(self, wrt: str, value: Callable, gradient: Callable, tolerance: float) -> None:
        """Compare the gradient with respect to one input with central differences of the value."""
        learner, params, rows = self._at()
        check_derivative(
            lambda one: value(_found(learner, *_with(wrt, one, params, rows))),
            _input(wrt, params, rows),
            _input(wrt, *gradient(_found(learner, params, rows))),
            step=self.difference_step,
            tolerance=tolerance,
        )

    def _absent(self, rows: Samples) -> tuple[Samples, Samples]:
        """Return rows of which the first few have weight 0, and the same with those far away and labelled otherwise."""
        x, y, weight = (np.array(a) for a in rows)
        weight[:_ABSENT] = 0.0
        gone = rows._replace(weight=jnp.asarray(weight))
        x[:_ABSENT] *= _FAR
        y[:_ABSENT] = y[_ABSENT : 2 * _ABSENT]
        return gone, gone._replace(x=jnp.asarray(x), y=jnp.asarray(y))


class _Found(NamedTuple):
    """The loss, its gradient, its derivative along a direction of the parameters, and the gradient of that."""

    scores: Any
    loss: Any
    slopes: tuple[Params, Samples]
    along: Any
    bends: tuple[Params, Samples]
    in_blocks: Any


@eqx.filter_jit
def _find(learner, params, rows, direction) -> _Found:
    """Compute everything that is compared, in one compilation, which equal learners share."""

    def along(params, rows):
        return jax.jvp(lambda params: learner.loss(params, rows), (params,), (direction,))[1]

    blocks = tuple(jax.tree.map(lambda a, s=s: a[s], rows) for s in (slice(0, 5), slice(5, None)))
    return _Found(
        learner.scores(params, rows.x),
        *jax.value_and_grad(learner.loss, argnums=(0, 1))(params, rows),
        *jax.value_and_grad(along, argnums=(0, 1))(params, rows),
        learner.loss_over(params, blocks) if hasattr(learner, "loss_over") else None,
    )


def _found(learner: Any, params: Params, rows: Samples) -> _Found:
    """Return what is compared, the direction being drawn at random, the same every time."""
    return _find(learner, params, rows, moved(jax.tree.map(jnp.zeros_like, params), seed=5))


def _present(rows: Samples) -> Samples:
    """Return the rows that have a weight, as NumPy arrays."""
    return jax.tree.map(lambda a: np.asarray(a)[_ABSENT:], rows)


def _input(wrt: str, params: Params, rows: Samples) -> Any:
    """Return one of the inputs."""
    return params if wrt == "params" else getattr(rows, _INPUTS[wrt])


def _with(wrt: str, value: Any, params: Params, rows: Samples) -> tuple[Params, Samples]:
    """Return parameters and rows with another value of one input."""
    return (value, rows) if wrt == "params" else (params, rows._replace(**{_INPUTS[wrt]: value}))
