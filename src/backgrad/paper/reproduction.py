"""All experiments by name, and the study of those that are asked for."""

from collections.abc import Mapping, Sequence

from ..datasets import load
from ..datasets.dataset import DatasetError
from ..errors import InputError
from ..studies.plan import Study
from . import figure1, figure2, figure4, figure5, figure7
from .experiment import Experiment, Scale

EXPERIMENTS: Mapping[str, Experiment] = {
    one.name: one
    for one in (
        figure1.FIGURE,
        figure2.FIGURE2,
        figure2.FIGURE3,
        figure4.FIGURE,
        figure5.FIGURE5,
        figure5.FIGURE6,
        figure7.FIGURE,
    )
}


def make_scale(names: Sequence[str] = tuple(EXPERIMENTS), *, quick: bool, download: bool = False) -> Scale:
    """Return how much is done: with the full MNIST where it is at hand and time allows, else with the bundled digits.

    Args:
        names: of the figures; most do without the full MNIST, which takes a while to read.
        quick: whether to do little.
        download: whether the full MNIST may be fetched.
    """
    if quick or not {"figure5", "figure6"} & set(names):
        return Scale(quick)
    try:
        load("mnist-full", download=download)
    except DatasetError:
        return Scale()
    return Scale(digits="mnist-full")


def make_study(names: Sequence[str], scale: Scale) -> Study:
    """Return the study of some figures; runs that several of them need are there once.

    Raises:
        InputError: a name that no figure has.
    """
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown or not names:
        got = ", ".join(unknown) or "none"
        raise InputError(f"figures must be of {', '.join(EXPERIMENTS)}, or all; got {got}.")
    chosen = [one for name, one in EXPERIMENTS.items() if name in names]
    runs = {run.identity: run for one in chosen for run in one.runs(scale)}
    # Split by split, so that what an unfinished study has is of everything.
    ordered = sorted(runs.values(), key=lambda run: run.split)
    return Study("paper", tuple(ordered), {"figures": [one.name for one in chosen], "quick": scale.quick})
