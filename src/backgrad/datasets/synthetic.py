"""Two-dimensional Gaussian blobs from a fixed seed: easy to plot, and overlapping, so no learner is perfect.

Row i of class c is μ_c + ε_i with ε_i ~ N(0, I). Two classes at distance δ overlap by Φ(−δ/2) each.
"""

import numpy as np

from backgrad.datasets.loaders import Table, observed_range

_SEED = 20170815
_ROWS = 600

# Two centres at distance 2.83: the best classifier errs on 7.9 % of the rows.
_TWO_CENTRES = ((-1.0, -1.0), (1.0, 1.0))
# A triangle with sides of about 3.
_THREE_CENTRES = ((0.0, 1.7), (-1.5, -0.9), (1.5, -0.9))


def _blobs(centres, class_names: tuple[str, ...]) -> Table:
    """Draw as many rows around every centre, in shuffled order."""
    rng = np.random.default_rng([_SEED, len(centres)])
    labels = rng.permutation(np.repeat(np.arange(len(centres)), _ROWS // len(centres)))
    values = np.asarray(centres)[labels] + rng.standard_normal((_ROWS, 2))
    minimum, maximum = observed_range(values)
    return Table(values, labels, ("horizontal", "vertical"), class_names, minimum, maximum)


def read_blobs2() -> Table:
    """Generate 600 rows around two centres."""
    return _blobs(_TWO_CENTRES, ("lower left", "upper right"))


def read_blobs3() -> Table:
    """Generate 600 rows around three centres."""
    return _blobs(_THREE_CENTRES, ("top", "lower left", "lower right"))
