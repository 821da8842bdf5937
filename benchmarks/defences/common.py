"""What the repetitions of the sources' figures share: how results are written, drawn, and asked for."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np

from backgrad.evaluation.displays import SecurityCurveDisplay
from backgrad.evaluation.metrics import student_interval


def picture_folder(doc: str | None) -> Path | None:
    """Read the command line of a module that only knows `--pictures`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_pictures(parser)
    return parser.parse_args().pictures


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Let a command line ask for pictures."""
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures; none where omitted")


def cell(values) -> str:
    """Return a mean and half the width of its interval, both in per cent."""
    low, high = student_interval(values) or (np.nan, np.nan)
    return f"{100 * np.mean(values):5.1f} ±{50 * (high - low):4.1f}"


def show(title: str, columns, rows: Mapping[str, list]) -> None:
    """Print a table of lists of numbers."""
    print(title)
    print(f"{'':<26}" + "".join(f"{name:>15}" for name in columns))
    for name, values in rows.items():
        print(f"{name:<26}" + "".join(f"{cell(one):>15}" for one in values))


def save_curves(
    path: Path | None, panels: Mapping[str, Mapping[str, Mapping[float, list]]], *, score: str, x: str | None = None
) -> None:
    """Draw scores against shares of poison, panel beside panel, and write the numbers as JSON; nothing without a path.

    Args:
        path: of the picture.
        panels: title → curve → share → one score a split.
        score: what the scores are.
        x: what the shares are of, where not of poisoning points.
    """
    if path is None:
        return
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(panels, indent=1, default=np.ndarray.tolist))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(2.6 + 3.6 * len(panels), 3.6), layout="constrained", sharey=True, squeeze=False
    )
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        shares = list(next(iter(curves.values())))
        scores = {name: [by_share[share] for share in shares] for name, by_share in curves.items()}
        SecurityCurveDisplay(fractions=shares, scores=scores, score_name=score).plot(ax=ax)
        ax.set_title(title)
        if x is not None:
            ax.set_xlabel(f"{x} in %")
        ax.label_outer()
    # The curves are the same everywhere: one legend, beside them, hides none.
    legends = [ax.get_legend() for ax in axes[0]]
    handles, words = legends[0].legend_handles, [text.get_text() for text in legends[0].get_texts()]
    figure.legend(handles, words, title=legends[0].get_title().get_text(), loc="outside right center", frameon=False)
    for legend in legends:
        legend.remove()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"picture: {path}")
