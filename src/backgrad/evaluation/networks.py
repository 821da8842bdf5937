"""How the convolutional network is attacked, in words and in the paper's figures alike.

Two things make the network unlike the other learners. It errs on one row in a hundred, so a few points can only move
what lies near its boundaries; a smooth zero-one loss of the usual width, 0.5, sees mostly the other rows, and with its
unit held little but the scale of all scores. And at the victim's own step size its training is chaotic: hypergradients
of the same points through two initialisations have nothing in common (a mean cosine of 0.00), so that climbing them is
a random walk. Through training with a fifth of the step size they agree (0.11), and what they find harms the victim.
`python -m benchmarks.agreement` prints such cosines.
"""

import dataclasses

from ..schedules import Descent

LOSS_WIDTH = 0.15
_SMALLER = 5


def smoother(schedule: Descent) -> Descent:
    """Return the training through which an attacker of a network differentiates in place of the victim's.

    Args:
        schedule: the victim's.
    """
    step_size = float(f"{float(schedule.step_size) / _SMALLER:.12g}")
    return dataclasses.replace(schedule, step_size=step_size)
