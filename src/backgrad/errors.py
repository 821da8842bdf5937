"""What can go wrong, as a tree. Every message says what was expected, what came, and what to do.

```
BackgradError
├── InputError (ValueError)       the data or a setting cannot be used as given
│   ├── DatasetError              an unknown or damaged data set
│   ├── EmptyClassError           a defence would leave out every row of a class
│   ├── TrustedRowsError          a defence needs more trusted rows, or other ones
│   └── UnsupportedError          a combination that an adjoint or a learner cannot honour
└── NumericalError                the computation ran and its result cannot be trusted
    ├── DivergenceError           training blew up: the step size is too large
    ├── NotConvergedError         the inner problem is not solved, or has no finite optimum
    └── ReversalError             an exact reversal did not come back to where it started
```

Errors of use are raised before work starts wherever they can be. Numerical failures inside compiled code
are data first (see `backgrad.Status`); they become exceptions at the edge, where Python can raise.
"""


class BackgradError(Exception):
    """The base of everything that backgrad raises on purpose."""


class InputError(BackgradError, ValueError):
    """The data or a setting cannot be used as given."""


class DatasetError(InputError):
    """A data set is unknown, or its file is damaged."""


class EmptyClassError(InputError):
    """A defence would leave out every row of a class, so that no model of all classes could be trained."""


class TrustedRowsError(InputError):
    """A defence needs more trusted rows of some class than there are."""


class UnsupportedError(InputError):
    """The combination asked for cannot be honoured; the message names one that can."""


class NumericalError(BackgradError):
    """The computation ran, and its result cannot be trusted."""


class DivergenceError(NumericalError):
    """Training blew up."""


class NotConvergedError(NumericalError):
    """The inner problem is not solved, or has no finite optimum."""


class ReversalError(NumericalError):
    """An exact reversal did not come back to where it started."""
