"""Sanitisers by name. Importing the table imports none of them, so that a command's help costs nothing."""

import importlib
import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError
from ..spelling import nearest

if TYPE_CHECKING:
    from .base import Sanitiser


class Entry(NamedTuple):
    """What is known of a sanitiser without importing it.

    Args:
        home: module and class, below `backgrad.defences`.
        removes: the rows that it leaves out, as the end of a sentence.
        takes_fraction: whether it is told how many rows to leave out.
        takes_trusted: whether it can use trusted rows.
        needs_trusted: whether it cannot do without.
        relabels: whether it can correct labels instead of leaving rows out.
    """

    home: str
    removes: str
    takes_fraction: bool = True
    takes_trusted: bool = False
    needs_trusted: bool = False
    relabels: bool = False


#: All sanitisers, by the names that `make_sanitiser` takes.
SANITISERS = MappingProxyType(
    {
        "sphere": Entry("distance.Sphere", "far from the centroid of their class"),
        "slab": Entry("distance.Slab", "far from it, along the line to that of all others"),
        "knn-distance": Entry("neighbours.KnnDistance", "far from the nearest rows of their class"),
        "anomaly": Entry(
            "neighbours.Anomaly", "farther from trusted rows of their class than these are", takes_trusted=True
        ),
        "label-sanitisation": Entry(
            "neighbours.LabelSanitisation", "among neighbours of another label", takes_fraction=False, relabels=True
        ),
        "loss-trim": Entry("loss.LossTrim", "of large loss under a classifier trained without them"),
        "spectral": Entry("spectral.SpectralSignatures", "far out where their class varies most"),
        "isolation-forest": Entry("outliers.IsolationForestSanitiser", "that few random cuts isolate in their class"),
        "lof": Entry("outliers.LofSanitiser", "in sparser places than their neighbours"),
        "roni": Entry(
            "trusted.RONI", "that worsen a classifier on trusted rows", takes_trusted=True, needs_trusted=True
        ),
        "influence": Entry(
            "trusted.Influence", "that raise the loss on trusted rows", takes_trusted=True, needs_trusted=True
        ),
        "trim": Entry("trim.Trim", "of large loss, chosen together with the fit, from random starts"),
    }
)


def find(name: str) -> Entry:
    """Return what is known of a sanitiser.

    Raises:
        InputError: no sanitiser has this name.
    """
    if name not in SANITISERS:
        near = nearest(str(name), SANITISERS)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(SANITISERS)}."
        raise InputError(f"no defence that cleans rows is called {name!r}: {hint}")
    return SANITISERS[name]


def make_sanitiser(
    name: str,
    *,
    fraction: float | None = None,
    trusted: tuple[Any, Any] | None = None,
    relabel: bool = False,
    random_state: Any = 0,
    estimator: Any = None,
    learner: Any = None,
    schedule: Any = None,
) -> "Sanitiser":
    """Make a sanitiser by its name.

    Args:
        name: one of `SANITISERS`.
        fraction: the share of rows to leave out; its own default where omitted. One that finds out by itself how many
            to leave out (`takes_fraction` is False) does not look at it.
        trusted: features (m, d) and labels (m,) of rows that nobody could poison. One that needs them can be made
            without, and given them later: `set_params(trusted=…)`.
        relabel: whether suspicious rows stay with corrected labels.
        random_state: a seed, for those that draw.
        estimator: the scikit-learn classifier to judge rows by, for those that train one; their own default where
            omitted.
        learner: the learner to judge rows by, for those that go back through its training; their own where omitted.
        schedule: how that learner is trained.

    Returns:
        The sanitiser, unfitted.

    Raises:
        InputError: an unknown name, trusted rows for a sanitiser that has no use for them, or relabelling by one that
            cannot.
    """
    entry = find(name)
    if relabel and not entry.relabels:
        raise InputError(f"{name} cannot correct labels: leave relabel out, or use {_those('relabels')}.")
    if trusted is not None and not entry.takes_trusted:
        raise InputError(f"{name} has no use for trusted rows: leave them out, or use {_those('takes_trusted')}.")
    kind = load(name)
    wanted = {
        "fraction": fraction,
        "trusted": trusted,
        "relabel": relabel or None,
        "random_state": random_state,
        "estimator": estimator,
        "learner": learner,
        "schedule": schedule,
    }
    known = inspect.signature(kind).parameters
    return kind(**{setting: value for setting, value in wanted.items() if value is not None and setting in known})


def load(name: str) -> type["Sanitiser"]:
    """Import the class of a sanitiser, by its name."""
    room, kind = find(name).home.split(".")
    return getattr(importlib.import_module(f".{room}", __package__), kind)


def _those(quality: str) -> str:
    """Return the names of the sanitisers that have a quality, in words."""
    names = [name for name, entry in SANITISERS.items() if getattr(entry, quality)]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
