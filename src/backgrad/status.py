"""How training ended, as data that compiled code can return."""

import enum


class Status(enum.IntEnum):
    """How a training run ended; `message` names cause and remedy."""

    DONE = 0
    NOT_CONVERGED = 1
    NO_FINITE_OPTIMUM = 2
    DIVERGED = 3

    @property
    def message(self) -> str:
        """One sentence of cause and remedy."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.DONE: "training ended as it should",
    Status.NOT_CONVERGED: (
        "the gradient of the training loss is not small where training ended, so an implicit gradient is wrong "
        "there: train for more steps, loosen the tolerance, or use Checkpointed()"
    ),
    Status.NO_FINITE_OPTIMUM: (
        "the training loss has no unique finite optimum (separable classes without L2, or redundant features), "
        "so there is no implicit gradient: set l2 above 0, set damping, or use Checkpointed()"
    ),
    Status.DIVERGED: "the training loss is not finite or grew instead of falling: lower the step size",
}
