"""Who labels the poisoning points, and how."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import is_number, shown
from ..errors import InputError
from .discrete import OneHot
from .feasible import Box, FeasibleSet


class LabelRule(abc.ABC):
    """How the points' labels come about."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Return the rule in a clause of a sentence."""

    def feasible(self, n_outputs: int) -> FeasibleSet | None:
        """Return where labels may live as k further columns of the points, or None where they do not move."""
        del n_outputs
        return None

    def assign(self, points: Float[Array, "p d"], n_outputs: int) -> Float[Array, "p k"] | None:
        """Return the soft labels that points get, or None where they do not follow from the features."""
        del points, n_outputs
        return None

    def check(self, points: np.ndarray, n_outputs: int) -> None:
        """Raise `InputError` unless the rule has labels for points like these, (p, d); most have for any."""
        del points, n_outputs


@dataclasses.dataclass(frozen=True)
class FlippedLabels(LabelRule):
    """Labels are chosen once, wrong, and kept (the paper's)."""

    def describe(self) -> str:
        """Return the rule in a clause of a sentence."""
        return "labels are chosen once and kept"


@dataclasses.dataclass(frozen=True)
class ChosenLabels(LabelRule):
    """The attacker chooses labels together with features, by the same hypergradient."""

    def describe(self) -> str:
        """Return the rule in a clause of a sentence."""
        return "labels are optimised with the features"

    def feasible(self, n_outputs: int) -> FeasibleSet:
        """Return one class of all."""
        return OneHot((n_outputs,))


@dataclasses.dataclass(frozen=True)
class ChosenResponses(LabelRule):
    """The attacker chooses the responses of a regression, within a range.

    Args:
        lower: the least response.
        upper: the greatest.
    """

    lower: float = 0.0
    upper: float = 1.0

    def __post_init__(self):
        """Check the range."""
        numbers = is_number(self.lower) and is_number(self.upper)
        if not numbers or not -np.inf < self.lower < self.upper < np.inf:
            raise InputError(f"responses need a finite range; got {shown(self.lower)} to {shown(self.upper)}.")

    def describe(self) -> str:
        """Return the rule in a clause of a sentence."""
        return f"responses are optimised with the features, between {self.lower:g} and {self.upper:g}"

    def feasible(self, n_outputs: int) -> FeasibleSet:
        """Return the range."""
        del n_outputs
        return Box(self.lower, self.upper)


@dataclasses.dataclass(frozen=True)
class AssignedLabels(LabelRule):
    """The attacker does not control labels: somebody else labels whatever features they see.

    Args:
        function: features (p, d), a NumPy array, → labels 0..k−1, (p,). It is called with every iterate; gradients do
            not flow through it.

    Raises:
        InputError: where it labels points, labels that are none of these.
    """

    function: Callable[[np.ndarray], Any]

    def describe(self) -> str:
        """Return the rule in a clause of a sentence."""
        return "labels are assigned by a function the attacker does not control"

    def assign(self, points: Float[Array, "p d"], n_outputs: int) -> Float[Array, "p k"]:
        """Ask the function for labels."""
        shape = jax.ShapeDtypeStruct((points.shape[0],), jnp.int32)

        def ask(x):
            return self._labels(np.asarray(x), n_outputs)

        labels = jax.pure_callback(ask, shape, jax.lax.stop_gradient(points), vmap_method="sequential")
        return jnp.asarray(labels[:, None] == jnp.arange(n_outputs), points.dtype)

    def check(self, points: np.ndarray, n_outputs: int) -> None:
        """Ask the function for the labels of these points, and raise `InputError` where they are none."""
        self._labels(points, n_outputs)

    def _labels(self, x: np.ndarray, k: int) -> np.ndarray:
        found = np.asarray(self.function(x))
        if found.shape != (len(x),) or not np.isin(found, np.arange(k)).all():
            raise InputError(
                f"the function that assigns labels must return one of 0 to {k - 1} for each of {len(x)} points; got "
                f"{shown(found)}."
            )
        return found.astype(np.int32)
