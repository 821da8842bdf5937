"""Poisoning points that are images, before and after optimisation."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...checks import check_count
from ...errors import InputError
from .drawing import attributes, import_pyplot, name_list, real_array

_ROWS = ("initial", "poisoned", "difference")


class PoisonGalleryDisplay:
    """One column a poisoning point: the image that it started from, the image that it became, and the difference.

    Of a colour image, the difference shows at each pixel the channel that changed most.

    Args:
        before: the points before optimisation, (p, d).
        after: the points after it, (p, d).
        labels: the labels that they carry, (p,).
        class_names: what labels 0..k−1 are called; the labels themselves where omitted.
        true_labels: the labels of the rows that they started from, (p,).
        image_shape: (h, w) or, for colour, (h, w, 3), with d entries.

    Attributes:
        figure_: the matplotlib figure.
        axes_: its axes, (3, columns).

    Raises:
        InputError: arrays that do not fit each other.
    """

    figure_: Any
    axes_: np.ndarray

    def __init__(self, *, before, after, labels=None, class_names=None, true_labels=None, image_shape):
        self.before = real_array("before", before, ndim=(2,))
        self.after = real_array("after", after, ndim=(2,))
        if self.before.shape != self.after.shape:
            raise InputError(
                f"before and after must have the same shape, points × features; got {self.before.shape} and "
                f"{self.after.shape}."
            )
        self.image_shape = _check_shape(image_shape, self.before.shape[1])
        self.class_names = None if class_names is None else name_list("class_names", class_names)
        self.labels = _check_labels("labels", labels, len(self.before), self.class_names)
        self.true_labels = _check_labels("true_labels", true_labels, len(self.before), self.class_names)

    @classmethod
    def from_result(
        cls, attack_result: Any, image_shape: Sequence[int] | None = None, *, class_names=None, true_labels=None
    ) -> "PoisonGalleryDisplay":
        """Build the display from an attack's result.

        Args:
            attack_result: anything with `start` (p, d), `points` (p, d) and `labels` (p,), such as an `AttackResult`.
            image_shape: (h, w) or (h, w, 3); a grey square where omitted.
            class_names: what labels are called.
            true_labels: the labels of the rows that the points started from, (p,).

        Raises:
            InputError: the result lacks an attribute, or its points are not square images and no shape is given.
        """
        before, after, labels = attributes(attack_result, "start", "points", "labels")
        if image_shape is None:
            width = real_array("start", before, ndim=(2,)).shape[1]
            side = math.isqrt(width)
            if side**2 != width:
                raise InputError(
                    f"image_shape must be given where points are not square grey images; they have {width} features."
                )
            image_shape = (side, side)
        return cls(
            before=before,
            after=after,
            labels=labels,
            class_names=class_names,
            true_labels=true_labels,
            image_shape=image_shape,
        )

    def plot(self, max_points: int = 10) -> "PoisonGalleryDisplay":
        """Draw the first points on a new figure.

        Args:
            max_points: how many at most.

        Returns:
            The display itself.

        Raises:
            ImportError: matplotlib is not installed.
            InputError: `max_points` is not a positive whole number.
        """
        check_count(max_points=max_points)
        plt = import_pyplot(type(self).__name__)
        shown, total = min(max_points, len(self.before)), len(self.before)
        titles = [self._title(i) for i in range(shown)]
        self.figure_, self.axes_ = self._grid(plt, titles)
        before, after = (points[:shown].reshape(shown, *self.image_shape) for points in (self.before, self.after))
        change = _largest_channel(after - before)
        scale, (low, high) = float(np.abs(change).max()) or 1.0, self._range()
        last: Any = None
        for column, title in enumerate(titles):
            for row, images in enumerate((before, after)):
                # Colour images must lie in [0, 1]; grey ones are brought there by the same rule.
                image = (images[column] - low) / (high - low)
                self.axes_[row, column].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            self.axes_[0, column].set_title(title, fontsize="small", parse_math=False)  # a name may hold dollar signs
            last = self.axes_[2, column].imshow(
                change[column], cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest"
            )
        for axes, name in zip(self.axes_[:, 0], _ROWS, strict=True):
            axes.set_ylabel(name)
        # An inset, because a colour bar that takes its room from one row puts the rows out of line.
        bar = self.figure_.colorbar(last, cax=self.axes_[2, -1].inset_axes((1.06, 0, 0.07, 1)))
        bar.set_ticks(
            [-scale, 0, scale], labels=[f"\N{MINUS SIGN}{scale:.2g}", "0", f"{scale:.2g}"], fontsize="x-small"
        )
        if shown < total:
            self.figure_.supxlabel(f"the first {shown} of {total} poisoning points", fontsize="small")
        return self

    def _grid(self, plt: Any, titles: list[str]) -> tuple[Any, np.ndarray]:
        """Return a figure with three rows of bare axes, wide enough for the titles."""
        longest = max(len(line) for title in titles for line in title.split("\n"))
        height, width = self.image_shape[:2]
        column = max(0.95, 0.075 * longest, 0.95 * min(width / height, 3))
        row = 0.95 * max(1.0, min(height / width, 3))
        size = (0.9 + column * len(titles), 0.6 + row * len(_ROWS))
        figure, axes = plt.subplots(len(_ROWS), len(titles), figsize=size, squeeze=False, layout="constrained")
        for one in axes.flat:
            one.set(xticks=[], yticks=[])
            one.spines[:].set(linewidth=0.5, color="0.5")
        return figure, axes

    def _title(self, i: int) -> str:
        """Return one point's labels in words."""
        given, true = (None if labels is None else self._name(labels[i]) for labels in (self.labels, self.true_labels))
        if given is None:
            return "" if true is None else f"was {true}"
        return f"labelled {given}" if true is None else f"labelled {given}\n(was {true})"

    def _name(self, label) -> str:
        return str(label) if self.class_names is None else self.class_names[int(label)]

    def _range(self) -> tuple[float, float]:
        """Return the values of black and white: [0, 1] or [0, 255] where all points fit, else their own extremes."""
        low = float(min(self.before.min(), self.after.min()))
        high = float(max(self.before.max(), self.after.max()))
        if low >= 0 and high <= 255:
            return 0.0, 1.0 if high <= 1 else 255.0
        return low, high if high > low else low + 1


def _largest_channel(change: np.ndarray) -> np.ndarray:
    """Return the change of grey images, or of a colour image's channel that changed most, (p, h, w)."""
    if change.ndim == 3:
        return change
    channel = np.abs(change).argmax(axis=-1)
    return np.take_along_axis(change, channel[..., None], axis=-1)[..., 0]


def _check_shape(shape, width: int) -> tuple[int, ...]:
    try:
        sides = tuple(operator.index(side) for side in shape)
    except TypeError:
        sides = ()
    grey_or_colour = len(sides) == 2 or (len(sides) == 3 and sides[2] == 3)
    if not grey_or_colour or min(sides) < 1 or math.prod(sides) != width:
        raise InputError(
            f"image_shape must be (h, w) or (h, w, 3) with {width} entries, the features of a point; got {shape}: give "
            "the shape that the images had before they were rows."
        )
    return sides


def _check_labels(argument: str, labels, points: int, class_names: list[str] | None) -> np.ndarray | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (points,):
        raise InputError(f"{argument} must have shape {(points,)}, one a point; got {labels.shape}.")
    if class_names is not None and not set(labels.tolist()) <= set(range(len(class_names))):
        raise InputError(
            f"{argument} must be whole numbers 0 to {len(class_names) - 1}, one a class name; got {np.unique(labels)}."
        )
    return labels
