"""The defence table: errors behind every defence, under attackers who know it and who do not."""

from typing import Any

import numpy as np

from ...errors import InputError
from .drawing import (
    attributes,
    axes_or_new,
    check_shares,
    import_pyplot,
    intervals,
    label_in_percent,
    name_list,
    real_array,
)

#: Kinds of errors, from top to bottom within a group of bars: colour, name in the legend.
_KINDS = {
    "clean": ("0.9", "no attack"),
    "oblivious": ("0.6", "attacker does not know the defence"),
    "adaptive": ("0.25", "attacker knows the defence"),
}


class DefenceTableDisplay:
    """Errors of a victim behind each defence, as groups of bars, with 95 % intervals over splits.

    A defence that no attacker who knows it was tried on says "not tried" in place of its third bar: what such an
    attacker could do is unknown, not nothing. One that some split has no result of says "no result" in place of a mean
    over the others, which would not be paired with those of other defences.

    Args:
        names: of the defences, (D,); the undefended victim is one of them.
        clean: errors without an attack, (D, K) over K splits.
        oblivious: errors under an attacker who does not know the defence, likewise.
        adaptive: errors under one who does, likewise; NaN where nobody tried. Of all three, NaN where the defence could
            not work.
        title: above the picture.

    Attributes:
        ax_: the matplotlib axes.
        figure_: their figure.
        bars_: the bars, by kind of error.

    Raises:
        InputError: arrays that do not fit the names, or numbers that are no shares.
    """

    ax_: Any
    figure_: Any
    bars_: dict[str, Any]

    def __init__(self, *, names, clean, oblivious, adaptive, title: str | None = None):
        self.names = name_list("names", names)
        self.errors = {"clean": clean, "oblivious": oblivious, "adaptive": adaptive}
        self.errors = {kind: real_array(kind, of, ndim=(2,), missing=True) for kind, of in self.errors.items()}
        for kind, values in self.errors.items():
            if len(values) != len(self.names) or values.shape != self.errors["clean"].shape:
                raise InputError(
                    f"{kind} must have shape (defences, splits) with {len(self.names)} defences, like the others; got "
                    f"{values.shape}."
                )
            check_shares(kind, values)
        self.title = title

    @classmethod
    def from_result(cls, result: Any, *, budget: int | None = None) -> "DefenceTableDisplay":
        """Build the display from a defence table.

        Args:
            result: anything like `backgrad.DefenceTable`.
            budget: the number of points to show; the largest where omitted.

        Raises:
            InputError: the result lacks an attribute, or the budget was not evaluated.
        """
        names, measures, budgets, fractions = attributes(result, "names", "measures", "budgets", "fractions")
        wanted = max(budgets) if budget is None else budget
        found = np.flatnonzero(np.asarray(budgets) == wanted)
        if not found.size:
            raise InputError(f"budget must be one of {list(map(int, budgets))}; got {budget}.")
        at = int(found[0])
        kinds = {kind: measures[f"{kind}_error"][:, at] for kind in _KINDS}
        return cls(names=names, **kinds, title=f"{int(wanted)} points, {fractions[at]:.1%} of the training rows")

    def plot(self, ax: Any = None) -> "DefenceTableDisplay":
        """Draw the bars.

        Args:
            ax: matplotlib axes to draw on; new ones where omitted.

        Returns:
            The display itself.

        Raises:
            ImportError: matplotlib is not installed.
            InputError: `ax` is not one matplotlib Axes.
        """
        plt = import_pyplot(type(self).__name__)
        new = ax is None
        self.ax_ = axes_or_new(plt, ax, size=(6.4, 1.6 + 0.42 * len(self.names)))
        self.figure_ = self.ax_.figure
        rows, height = np.arange(len(self.names)), 0.26
        self.bars_ = {}
        for number, (kind, values) in enumerate(self.errors.items()):
            colour, label = _KINDS[kind]
            means = values.mean(axis=1)
            where = rows + (number - 1) * height
            self.bars_[kind] = self.ax_.barh(
                where, np.nan_to_num(means), height, color=colour, edgecolor="black", lw=0.6, label=label
            )
            ends = intervals(values)
            if ends is not None:
                low, high = np.clip(ends, 0, 1)  # a mean error lies there, which Student's t does not know
                middle, half = (low + high) / 2, (high - low) / 2
                # White under black: a bar of error is seen on the darkest bar, and beside it.
                self.ax_.errorbar(middle, where, xerr=half, fmt="none", ecolor="white", lw=2.4)
                self.ax_.errorbar(middle, where, xerr=half, fmt="none", ecolor="black", lw=0.8)
            self._mark_missing(kind, where)
        self.ax_.set_yticks(rows, self.names)
        self.ax_.yaxis.set_inverted(True)
        self.ax_.set(xlabel="test error in %", xlim=(0, None), title=self.title)
        label_in_percent(self.ax_.xaxis)
        self.ax_.spines[["top", "right"]].set_visible(False)
        if new:
            handles = self.ax_.get_legend_handles_labels()
            self.figure_.legend(*handles, loc="outside lower center", fontsize="small", ncols=3)
        else:
            self.ax_.legend(fontsize="small")
        return self

    def _mark_missing(self, kind: str, where: np.ndarray) -> None:
        """Say where there is no bar, and whether that is because no attacker who knows the defence was tried."""
        rows = zip(self.names, where, self.errors[kind], self.errors["oblivious"], strict=True)
        for name, y, values, others in rows:
            if not np.isnan(values).any() or (kind, name) == ("adaptive", "none"):
                continue
            untried = kind == "adaptive" and np.isnan(values).all() and not np.isnan(others).all()
            text = "not tried" if untried else "no result"
            self.ax_.text(0.002, y, text, va="center", fontsize="x-small", style="italic")
