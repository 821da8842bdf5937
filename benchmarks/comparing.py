"""What sections share: precisions, rows that divide their time by ours, and the check that both sides agree."""

import jax.numpy as jnp
import numpy as np

from .table import Row
from .timing import Timing

TYPES = {"f64": jnp.float64, "f32": jnp.float32}


def agreement(a: np.ndarray, b: np.ndarray, *, what: str, least: float) -> float:
    """Return the cosine of two gradients; raise unless it is high, since times of different things mean nothing."""
    cosine = float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
    if not cosine >= least:
        raise RuntimeError(f"{what} disagree: their cosine is {cosine:.6f}, where at least {least} is expected.")
    return cosine


def faster(label: str, mine: Timing, other: Timing, goal: float | None = None, note: str = "") -> Row:
    """Return a row that says how many times faster ours is."""
    return Row(label, mine, other, other.median / mine.median, goal, note=note)
