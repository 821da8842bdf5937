r"""Spectral signatures (Tran, Li, Mądry 2018, Algorithm 1).

With h_i the representations of a class's rows and μ their mean, v the top right singular vector of the matrix of rows
h_i − μ, a row is as suspicious as

    ⟨h_i − μ, v⟩²,

what it adds to the largest variance. The source takes the last hidden layer of a network trained on the poisoned rows,
and leaves out 1.5 ε of a class of which at most a share ε is poisoned: here that is `fraction`. Features themselves
serve where nothing better is at hand. It costs O(n h min(n, h)), and assumes that poison moves the mean of its class in
one direction by more than clean rows scatter along it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import eigh

from ..errors import InputError
from ..threat.evasion import Evasion
from ..types import Added, Params, Samples, with_added
from .base import Sanitiser, by_class, class_limits

# Of the power iteration; an attack needs no better direction where two are nearly as good.
_MOST_STEPS = 500


class SpectralSignatures(Sanitiser):
    """Leave out the rows of each class that lie farthest out along the direction in which it varies most.

    Args:
        fraction: the share of each class to leave out; the source's 1.5 ε.
        representation: what to look at, a function of features (n, d) that returns (n, h); features where None.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.

    Raises:
        InputError: a representation that is not finite, or not a row of numbers for each row.
    """

    measure = "squared projection on its class's top singular vector"

    def __init__(
        self,
        *,
        fraction: float = 0.15,
        representation: Callable[[Any], Any] | None = None,
        sampling_strategy: Any = "all",
    ):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.representation = representation

    def check_settings(self) -> None:
        """Check the share, and that the representation can be called."""
        super().check_settings()
        if self.representation is not None and not callable(self.representation):
            raise InputError(f"representation must be a function of features, or None; got {self.representation!r}.")

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the squared projection of every row; 0 for the only row of a class."""
        hidden = self._represent(x)

        def measure(rows: np.ndarray) -> np.ndarray:
            centre, direction = _signature(hidden[rows])
            return ((hidden[rows] - centre) @ direction) ** 2

        return by_class(y, measure)

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "SpectralEvasion | None":
        """Return the clean rows, which with points give directions and limits.

        None where the representation is not differentiable by JAX: then no attack that adapts to it is known to us.
        """
        self.check_settings()
        if not _is_differentiable(self.representation, x.shape[1]):
            return None
        everyone, labels = with_added(x, y, added)
        suspicion = self.suspicion(everyone, labels)
        class_limits(suspicion, labels)
        # How many of a class are more suspicious than the limit: it is read off again as points turn the direction.
        above = np.bincount(y[self.marks(suspicion, labels)[0][: len(y)]], minlength=int(y.max()) + 1)
        return SpectralEvasion(self._represent(x), y, above, self.representation)

    def _represent(self, x: np.ndarray) -> np.ndarray:
        """Return what is looked at, (n, h)."""
        if self.representation is None:
            return x
        hidden = np.asarray(self.representation(x), float)
        if hidden.ndim != 2 or len(hidden) != len(x) or not np.isfinite(hidden).all():
            raise InputError(
                f"representation must return finite numbers of shape ({len(x)}, h) for {len(x)} rows; got an array of "
                f"shape {hidden.shape}."
            )
        return hidden


def _signature(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre and the top right singular vector of centred rows, (h,) each.

    It is an eigenvector of the smaller of the two matrices of inner products; of rows that all agree, the vector is 0.
    """
    centre = hidden.mean(axis=0)
    moved = hidden - centre
    n, h = moved.shape
    inner = moved.T @ moved if h <= n else moved @ moved.T
    top = len(inner) - 1
    value, vector = eigh(inner, subset_by_index=(top, top))
    if not value[0] > 0:
        return centre, np.zeros(h)
    vector = vector[:, 0] if h <= n else moved.T @ vector[:, 0]
    return centre, vector / np.linalg.norm(vector)


def _is_differentiable(representation: Callable[[Any], Any] | None, d: int) -> bool:
    """Tell whether JAX can trace a representation."""
    if representation is None:
        return True
    try:
        jax.eval_shape(representation, jax.ShapeDtypeStruct((1, d), jnp.result_type(float)))
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return False
    return True


class Signature(NamedTuple):
    """What a class is judged by: its centre (h,), direction (h,), and the largest squared projection let pass ()."""

    centre: Float[Array, "k h"]
    direction: Float[Array, "k h"]
    limit: Float[Array, "k"]


class SpectralEvasion(Evasion):
    """Stay where the projection is small, on the direction that clean rows and points have together.

    Points far out turn the direction towards themselves: one that clean rows alone give would not see them. Direction,
    centre and limit (that of the clean rows along it) are found afresh for the points of the moment, and have no
    gradient: a step of the attack holds them fixed.

    Args:
        hidden: representations of known rows, (n, h).
        labels: their labels 0..k−1, (n,).
        above: how many of each class's known rows lie above the limit, (k,).
        representation: of features, differentiable by JAX; None for features themselves.
    """

    hidden: Any
    labels: Any
    above: Any
    representation: Callable[[Any], Any] | None = None

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return the squared projection over its limit, less 1, in the mean over a soft label's classes."""
        del learner, params
        return self.excess_by(self.signature(points), points)

    def excess_by(self, signature: Signature, points: Samples) -> Float[Array, "p"]:
        """Return the excess along given directions."""
        away = self._represent(points.x)[:, None, :] - signature.centre
        projections = jnp.sum(away * signature.direction, axis=2)
        return jnp.sum(points.y * (projections**2 / signature.limit - 1), axis=1)

    def signature(self, points: Samples) -> Signature:
        """Return what the classes are judged by when points are among their rows."""
        dtype, k = points.x.dtype, points.y.shape[1]
        clean, known = jnp.asarray(self.hidden, dtype), jnp.asarray(self.labels)[:, None] == jnp.arange(k)
        added = jnp.argmax(points.y, axis=1)[:, None] == jnp.arange(k)
        weight = jnp.concatenate([known.astype(dtype), added * points.weight[:, None]])
        rows = jnp.concatenate([clean, self._represent(points.x)])

        def judge(weight, known, above):
            centre = weight @ rows / jnp.maximum(jnp.sum(weight), 1)
            direction = _top_direction((rows - centre) * jnp.sqrt(weight)[:, None])
            squares = jnp.where(known, ((clean - centre) @ direction) ** 2, -jnp.inf)
            return Signature(centre, direction, jnp.sort(squares, descending=True)[above])

        found = jax.vmap(judge, in_axes=(1, 1, 0))(weight, known, jnp.asarray(self.above))
        # A class whose rows all agree lets nothing else pass, see `class_limits`.
        largest = jnp.max(found.limit)
        floor = 1e-6 * jnp.where(largest > 0, largest, 1.0)
        return jax.lax.stop_gradient(found._replace(limit=jnp.maximum(found.limit, floor)))

    def _represent(self, x: Float[Array, "p d"]) -> Float[Array, "p h"]:
        return x if self.representation is None else jnp.asarray(self.representation(x), x.dtype)

    def describe(self) -> dict[str, object]:
        """Return how many known rows lie above the limits."""
        return {**super().describe(), "above": np.asarray(self.above).tolist()}


def _top_direction(moved: Float[Array, "N h"]) -> Float[Array, "h"]:
    """Return the top right singular vector by power iteration; 0 of rows that are all 0. It has no gradient."""
    moved = jax.lax.stop_gradient(moved)
    tolerance = 10 * jnp.finfo(moved.dtype).eps

    def unit(vector):
        norm = jnp.linalg.norm(vector)
        return vector / jnp.where(norm > 0, norm, 1.0)

    def advance(state):
        step, vector, _ = state
        after = unit(moved.T @ (moved @ vector))
        return step + 1, after, jnp.linalg.norm(after - vector)

    # The longest row is a start that is not orthogonal to the direction but by chance.
    start = unit(moved[jnp.argmax(jnp.sum(moved**2, axis=1))])
    found = jax.lax.while_loop(
        lambda state: (state[0] < _MOST_STEPS) & (state[2] > tolerance), advance, (0, start, jnp.ones((), moved.dtype))
    )
    return found[1]
