"""The transfer matrix: what points crafted against one learner do to another."""

import textwrap
from typing import Any

import numpy as np

from ...errors import InputError
from .drawing import (
    are_shares,
    attributes,
    axes_or_new,
    check_shares,
    import_pyplot,
    intervals,
    label_in_percent,
    name_list,
    real_array,
)

_GAP = 0.3  # between the matrix and the rows of controls, in rows


class TransferMatrixDisplay:
    """Errors of victims (columns) on points crafted against surrogates (rows), as an annotated heat map.

    Given one number a split, the picture shows means and, in smaller type, half the width of Student's 95 % interval
    (for 3 splits or more). A cell with a NaN among its splits has no mean and is hatched.

    Args:
        matrix: errors, (n_surrogates, n_victims) or (n_surrogates, n_victims, n_splits).
        surrogates: names of the learners that points were crafted against, (n_surrogates,).
        victims: names of the learners that were trained on them, (n_victims,).
        clean: the victims' errors without poisoning points, (n_victims,) or (n_victims, n_splits).
        label_flips: their errors with as many label flips, shaped as `clean`.
        percent: whether the errors are shares, shown in percent; where omitted, they are if all lie in [0, 1].

    Attributes:
        ax_: the matplotlib axes.
        figure_: their figure.
        im_: the matrix's image; the controls are another with the same colours.
        text_: the means' texts, (n_surrogates + n_controls, n_victims), from top to bottom: surrogates, label flips,
            clean.
        spread_text_: the half-widths' texts, shaped as `text_`; None where there is none.

    Raises:
        InputError: arrays and names that do not fit each other, or numbers out of range.
    """

    ax_: Any
    figure_: Any
    im_: Any
    text_: np.ndarray
    spread_text_: np.ndarray

    def __init__(self, *, matrix, surrogates, victims, clean=None, label_flips=None, percent: bool | None = None):
        self.surrogates, self.victims = _names("surrogates", surrogates), _names("victims", victims)
        self.matrix = _errors("matrix", matrix, (len(self.surrogates), len(self.victims)))
        self.clean = None if clean is None else _errors("clean", clean, (len(self.victims),))
        self.label_flips = None if label_flips is None else _errors("label_flips", label_flips, (len(self.victims),))
        given = {"matrix": self.matrix, "clean": self.clean, "label_flips": self.label_flips}
        errors = {name: values for name, values in given.items() if values is not None}
        self.percent = all(map(are_shares, errors.values())) if percent is None else percent
        for name, values in errors.items() if self.percent else ():
            check_shares(f"{name}, to be shown in percent,", values)

    @classmethod
    def from_result(cls, result: Any, *, percent: bool | None = None) -> "TransferMatrixDisplay":
        """Build the display from a transfer matrix.

        Args:
            result: anything with `errors` (n_surrogates, n_victims, n_splits), `surrogates`, `victims`, and `clean` and
                `label_flips` (n_victims, n_splits).
            percent: whether the errors are shares, as for the constructor. Those of a regression are none.

        Raises:
            InputError: the result lacks an attribute.
        """
        names = ("errors", "surrogates", "victims", "clean", "label_flips")
        matrix, surrogates, victims, clean, flips = attributes(result, *names)
        return cls(
            matrix=matrix, surrogates=surrogates, victims=victims, clean=clean, label_flips=flips, percent=percent
        )

    def plot(
        self, ax: Any = None, *, cmap: Any = "Greys", values_format: str | None = None, colorbar: bool = True
    ) -> "TransferMatrixDisplay":
        """Draw the matrix.

        Args:
            ax: matplotlib axes to draw on; new ones where omitted.
            cmap: a matplotlib colour map. Choose one whose lightness is monotone, so that a black-and-white copy can be
                read. Its start stands for no error.
            values_format: of the numbers as shown; where omitted, ".1f" in percent and ".3g" otherwise.
            colorbar: whether to draw the colour bar.

        Returns:
            The display itself.

        Raises:
            ImportError: matplotlib is not installed.
            InputError: `ax` is not one matplotlib Axes.
        """
        plt = import_pyplot(type(self).__name__)
        blocks = self._blocks()
        n_rows = sum(len(block) for _, block, _ in blocks)
        # No lower than the colour bar's label is long.
        size = (1.9 + 0.95 * len(self.victims) + 0.9 * colorbar, max(3.2, 1.1 + 0.62 * (n_rows + _GAP)))
        self.ax_ = axes_or_new(plt, ax, size=size)
        self.figure_ = self.ax_.figure
        form = values_format or (".1f" if self.percent else ".3g")
        images = self._images(blocks, plt.get_cmap(cmap))
        self.im_ = images[0]
        cells = [self._annotate(image, top, block, form) for image, (top, block, _) in zip(images, blocks, strict=True)]
        self.text_, self.spread_text_ = (np.concatenate(parts) for parts in zip(*cells, strict=True))
        self._dress(blocks)
        if colorbar:
            bar = self.figure_.colorbar(self.im_, ax=self.ax_)
            bar.outline.set_visible(False)
            if self.percent:
                label_in_percent(bar.ax.yaxis)
            bar.set_label(self._legend(), fontsize="small")
        return self

    def _blocks(self) -> list[tuple[float, np.ndarray, list[str]]]:
        """Return the matrix and the controls: the upper edge, the errors, the names of the rows."""
        blocks = [(-0.5, self.matrix, self.surrogates)]
        controls = {"label flips": self.label_flips, "clean": self.clean}
        given = {name: errors for name, errors in controls.items() if errors is not None}
        # One row a block: the two controls may have different numbers of splits.
        for i, (name, errors) in enumerate(given.items()):
            blocks.append((len(self.surrogates) - 0.5 + _GAP + i, errors[None], [name]))
        return blocks

    def _images(self, blocks, cmap) -> list[Any]:
        """Draw the blocks' colours, on one scale from 0."""
        means = [_means(block, rows=2) for _, block, _ in blocks]
        known = np.concatenate([mean.ravel() for mean in means])
        known = known[~np.isnan(known)]
        # The darkest cell stays short of the map's end: figures on black are hard to print.
        top = 1.15 * known.max() if known.size and known.max() > 0 else 1.0
        bottom = min(0.0, *known) if known.size else 0.0
        width = len(self.victims)
        return [
            self.ax_.imshow(
                mean,
                cmap=cmap,
                vmin=bottom,
                vmax=top,
                interpolation="nearest",
                aspect="auto",
                extent=(-0.5, width - 0.5, edge + len(mean), edge),
            )
            for mean, (edge, _, _) in zip(means, blocks, strict=True)
        ]

    def _annotate(self, image, edge: float, block: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
        """Write means and half-widths into a block; return their texts."""
        from matplotlib.patches import Rectangle

        means, unit = _means(block, rows=2), 100 if self.percent else 1
        ends = intervals(block) if block.ndim == 3 else None
        texts, spreads = np.full(means.shape, None), np.full(means.shape, None)
        for i, j in np.ndindex(means.shape):
            y = edge + 0.5 + i
            frame = Rectangle((j - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="0.45", linewidth=0.5, clip_on=False)
            self.ax_.add_patch(frame)
            if np.isnan(means[i, j]):
                self.ax_.add_patch(Rectangle((j - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="0.75", hatch="///", lw=0))
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                texts[i, j] = self.ax_.text(j, y, "no result", ha="center", va="center", fontsize="small", bbox=box)
                continue
            look = {"ha": "center", "color": _ink(image.cmap(image.norm(means[i, j])))}
            spread = ends is not None
            number = format(unit * means[i, j], form)
            texts[i, j] = self.ax_.text(j, y + 0.04 * spread, number, va="bottom" if spread else "center", **look)
            if ends is not None:
                half = unit * (ends[1][i, j] - ends[0][i, j]) / 2
                below = f"±\N{THIN SPACE}{format(half, form)}"
                spreads[i, j] = self.ax_.text(j, y + 0.1, below, va="top", fontsize="x-small", **look)
        return texts, spreads

    def _dress(self, blocks) -> None:
        """Set names and limits."""
        ax = self.ax_
        centres = [edge + 0.5 + i for edge, _, names in blocks for i in range(len(names))]
        bottom = centres[-1] + 0.5
        ax.set(xlim=(-0.5, len(self.victims) - 0.5), ylim=(bottom, -0.5))
        ax.set_yticks(centres, [name for _, _, names in blocks for name in names])
        wrapped = [textwrap.fill(name, 12, break_long_words=False) for name in self.victims]
        crowded = max(len(line) for name in wrapped for line in name.split("\n")) > 12
        turn = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        ax.set_xticks(range(len(self.victims)), self.victims if crowded else wrapped, **turn)
        ax.set_xlabel("victim")
        # At the top, beside the matrix: the controls were crafted against nobody.
        ax.set_ylabel("points crafted against", loc="top")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)

    def _legend(self) -> str:
        """Say what the numbers are."""
        error = "error in %" if self.percent else "error"
        if self.matrix.ndim == 2:
            return error
        splits = self.matrix.shape[2]
        if splits == 1:
            return f"{error}, one split"
        return f"{error}, mean of {splits} splits" + ("\n± half the 95 % interval" if splits > 2 else "")


def _means(errors: np.ndarray, *, rows: int) -> np.ndarray:
    """Return the means over splits, where there are splits beyond the first `rows` axes."""
    return errors.mean(axis=-1) if errors.ndim > rows else errors


def _ink(colour) -> str:
    """Return black or white, whichever contrasts more with a colour (WCAG's relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def _names(argument: str, names) -> list[str]:
    names = name_list(argument, names)
    if not names or len(set(names)) < len(names):
        raise InputError(f"{argument} must be names, at least one and all different; got {names}.")
    return names


def _errors(argument: str, values, shape: tuple[int, ...]) -> np.ndarray:
    errors = real_array(argument, values, ndim=(len(shape), len(shape) + 1), missing=True)
    if errors.shape[: len(shape)] != shape:
        axes = "surrogates × victims" if len(shape) == 2 else "victims"
        raise InputError(
            f"{argument} must have shape {shape}, {axes} by their names, or one more axis for splits; got "
            f"{errors.shape}."
        )
    return errors
