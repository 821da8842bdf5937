r"""Distance to the centroid: the sphere and the slab defence (Steinhardt, Koh, Liang 2017, section 3.2).

With μ_c the centroid of class c, a row (x, c) is as suspicious as

    sphere: ‖x − μ_c‖₂,        slab: |⟨x − μ_c, μ_c − μ_¬c⟩|,

with μ_¬c the centroid of all other rows: of two classes, that of the other. Koh, Steinhardt and Liang (2022) leave out
the same share of each class. Both cost one pass over the rows. They assume that poison lies farther out than clean
rows, in the units of the features given, so scale these first; and that it does not drag the centroids along:
`centre="median"` takes column medians, which a minority cannot move far.
"""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import InputError
from ..threat.evasion import Evasion, InSlab, InSphere
from ..threat.feasible import FeasibleSet
from ..types import Added, Params, Samples, with_added
from .base import Sanitiser, count_classes


class _FromCentre(Sanitiser):
    """What sphere and slab share: centres of classes."""

    def __init__(self, *, fraction: float = 0.1, centre: Literal["mean", "median"] = "mean", sampling_strategy="all"):
        super().__init__(fraction=fraction, sampling_strategy=sampling_strategy)
        self.centre = centre

    def check_settings(self) -> None:
        """Raise `InputError` for a share out of range, or another centre."""
        super().check_settings()
        if self.centre not in ("mean", "median"):
            raise InputError(f"centre must be 'mean' or 'median'; got {self.centre!r}.")

    def _centre(self, x: np.ndarray) -> np.ndarray:
        return np.mean(x, axis=0) if self.centre == "mean" else np.median(x, axis=0)

    def _geometry(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of every class and what leads there from the others', (k, d) each."""
        labels = range(count_classes(y))
        centres = np.stack([self._centre(x[y == label]) for label in labels])
        others = np.stack([self._centre(x[y != label]) for label in labels])
        return centres, centres - others


class Sphere(_FromCentre):
    """Leave out the rows of each class that lie farthest from its centroid.

    Args:
        fraction: the share of each class to leave out.
        centre: `"mean"`, or `"median"`, column by column.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.
    """

    measure = "distance to the centroid of its class"

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ‖x − μ_y‖ of every row."""
        return np.linalg.norm(x - self._geometry(x, y)[0][y], axis=1)

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "SphereEvasion":
        """Return the spheres that these rows would give."""
        x, y = with_added(x, y, added)
        return SphereEvasion(self._geometry(x, y)[0], self.limits(x, y))


class Slab(_FromCentre):
    """Leave out the rows of each class that lie farthest from its centroid in the direction of the others'.

    Args:
        fraction: the share of each class to leave out.
        centre: `"mean"`, or `"median"`, column by column.
        sampling_strategy: the classes to clean, `"all"` or a list.

    Attributes: those of `Sanitiser`.
    """

    measure = "distance to the centroid of its class, along the line to the others,"

    def suspicion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return |⟨x − μ_y, μ_y − μ_¬y⟩| of every row."""
        centres, normals = self._geometry(x, y)
        return np.abs(np.sum((x - centres[y]) * normals[y], axis=1))

    def evasion(self, x: np.ndarray, y: np.ndarray, added: Added | None = None) -> "SlabEvasion":
        """Return the slabs that these rows would give."""
        x, y = with_added(x, y, added)
        centres, normals = self._geometry(x, y)
        return SlabEvasion(centres, normals, self.limits(x, y))


class SphereEvasion(Evasion):
    """Stay within the spheres.

    Args:
        centres: of the classes, (k, d).
        radii: (k,).
    """

    centres: Any
    radii: Any

    def within(self, feasible: FeasibleSet, labels: Float[Array, "p k"]) -> FeasibleSet:
        """Return the part of a convex set in the sphere of each point's class."""
        if not feasible.exact:
            return feasible
        rows = jnp.argmax(labels, axis=1)
        return InSphere(feasible, jnp.asarray(self.centres)[rows], (1 - self.margin) * jnp.asarray(self.radii)[rows])

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return distance over radius, less 1."""
        del learner, params
        centres, radii = (points.y @ jnp.asarray(part, points.x.dtype) for part in (self.centres, self.radii))
        square = jnp.sum((points.x - centres) ** 2, axis=1)
        # The square root has no derivative at a centroid itself, where the distance is least.
        away = square > 0
        return jnp.where(away, jnp.sqrt(jnp.where(away, square, 1.0)), 0.0) / radii - 1

    def describe(self) -> dict[str, object]:
        """Return the radii."""
        return {**super().describe(), "radii": np.asarray(self.radii).tolist()}


class SlabEvasion(Evasion):
    """Stay within the slabs.

    Args:
        centres: of the classes, (k, d).
        normals: likewise.
        widths: (k,).
    """

    centres: Any
    normals: Any
    widths: Any

    def within(self, feasible: FeasibleSet, labels: Float[Array, "p k"]) -> FeasibleSet:
        """Return the part of a convex set in the slab of each point's class."""
        if not feasible.exact:
            return feasible
        rows = jnp.argmax(labels, axis=1)
        centres, normals, widths = (jnp.asarray(part)[rows] for part in (self.centres, self.normals, self.widths))
        return InSlab(feasible, centres, normals, (1 - self.margin) * widths)

    def excess(self, points: Samples, learner: Any, params: Params) -> Float[Array, "p"]:
        """Return distance along the normal over the width, less 1."""
        del learner, params
        parts = (self.centres, self.normals, self.widths)
        centres, normals, widths = (points.y @ jnp.asarray(part, points.x.dtype) for part in parts)
        return jnp.abs(jnp.sum((points.x - centres) * normals, axis=1)) / widths - 1

    def describe(self) -> dict[str, object]:
        """Return the widths."""
        return {**super().describe(), "widths": np.asarray(self.widths).tolist()}
