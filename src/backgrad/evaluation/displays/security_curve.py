"""The security evaluation curve: a score against the poison fraction p / (n + p), with controls and intervals."""

import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from ...checks import is_number
from ...errors import InputError
from .drawing import (
    are_shares,
    attributes,
    axes_or_new,
    check_shares,
    import_pyplot,
    in_percent,
    intervals,
    label_in_percent,
    real_array,
)

# Colour (Okabe and Ito's, told apart by the colour-blind), line style, marker. The usual curves look the same in every
# figure; line styles and markers are all different, so that a black-and-white copy can be read.
_STYLES = {
    "poisoned": ("#D55E00", "solid", "o"),
    "label flips": ("#0072B2", "dashed", "s"),
    "random points": ("#009E73", "dashdot", "^"),
    "clean": ("#444444", "dotted", "D"),
}
_OTHERS = (
    ("#CC79A7", (0, (8, 2)), "v"),
    ("#56B4E9", (0, (3, 1, 1, 1, 1, 1)), "P"),
    ("#E69F00", (0, (1, 3)), "X"),
    ("#000000", (0, (8, 2, 1, 2, 1, 2)), "*"),
)
_SHARE_WORDS = {"error", "accuracy", "rate", "recall", "precision"}
_NO_SHARE_WORDS = {"squared", "absolute", "max"}


def names_a_share(score_name: str) -> bool:
    """Tell names of scores that are shares: "test error" or "error of class 2", but not "mean squared error"."""
    words = set(re.findall("[a-z]+", score_name.lower()))
    return bool(words & _SHARE_WORDS) and not words & _NO_SHARE_WORDS


class SecurityCurveDisplay:
    """Means of a score over splits against the poison fraction, with Student's 95 % confidence bands.

    A NaN stands for a split without a result. The mean over the others would no longer be paired with the other curves,
    so the line breaks there and the legend says where.

    Args:
        fractions: poison fractions p / (n + p) in [0, 1), increasing, (n_fractions,).
        scores: the curves: from names such as "poisoned", "label flips" and "clean" to arrays (n_fractions, n_splits).
        score_name: what the scores are.
        budgets: the numbers p of points behind the fractions, (n_fractions,); printed above them where given.
        percent: whether the scores are shares, shown in percent. Where omitted, they are if all lie in [0, 1] and
            the name has the word error, accuracy, rate, recall or precision, but not squared, absolute or max.
        limit: the score that the user tolerates, in the unit of the scores; drawn as a horizontal line.

    Attributes:
        ax_: the matplotlib axes, in fractions and scores as given: only the tick labels are in percent.
        figure_: their figure.
        lines_: from each curve's name to its line.
        bands_: from each curve's name to its band; empty for fewer than 3 splits.
        budget_axis_: the axis above, with the numbers p; None where they were not given.

    Raises:
        InputError: arrays that do not fit each other, or numbers out of range.
    """

    ax_: Any
    figure_: Any
    lines_: dict[str, Any]
    bands_: dict[str, Any]
    budget_axis_: Any

    def __init__(self, *, fractions, scores, score_name: str, limit=None, budgets=None, percent: bool | None = None):
        self.fractions = _check_fractions(fractions)
        self.scores = _check_scores(scores, len(self.fractions))
        self.score_name = score_name
        if percent is None:
            percent = names_a_share(score_name) and all(are_shares(curve) for curve in self.scores.values())
        elif percent:
            for name, curve in self.scores.items():
                check_shares(f"scores[{name!r}], to be shown in percent,", curve)
        self.percent = percent
        self.limit = _check_limit(limit, percent)
        self.budgets = None if budgets is None else _check_budgets(budgets, len(self.fractions))

    @classmethod
    def from_result(
        cls, result: Any, score_name: str = "error", *, limit=None, percent: bool | None = None
    ) -> "SecurityCurveDisplay":
        """Build the display from a security curve.

        Args:
            result: anything with `fractions` (n_fractions,) and `scores`, from score names to curves; its `budgets`
                are printed too, if it has them.
            score_name: which of its scores.
            limit: the score that the user tolerates.
            percent: whether the scores are shares, as for the constructor. Where omitted, an "error" of a result that
                says so (`shares`) is none.

        Raises:
            InputError: the result lacks an attribute or this score.
        """
        fractions, scores = attributes(result, "fractions", "scores")
        if score_name not in scores:
            raise InputError(f"score_name must be one of {', '.join(map(repr, scores))}; got {score_name!r}.")
        if percent is None and score_name == "error" and not getattr(result, "shares", True):
            percent = False
        return cls(
            fractions=fractions,
            scores=scores[score_name],
            score_name=score_name,
            limit=limit,
            budgets=getattr(result, "budgets", None),
            percent=percent,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        names: Mapping[str, str] | Sequence[str] | None = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_kw: Mapping[str, Any] | None = None,
    ) -> "SecurityCurveDisplay":
        """Draw the curves.

        Args:
            ax: matplotlib axes to draw on; new ones where omitted.
            names: which curves, in the legend's order: a sequence of their names, or a mapping from these to what the
                legend calls them. All where omitted, the poisoned first and the clean last.
            line_kw: keywords for matplotlib's `plot`, for all lines.
            fill_kw: keywords for matplotlib's `fill_between`, for all bands.

        Returns:
            The display itself.

        Raises:
            ImportError: matplotlib is not installed.
            InputError: an unknown curve, or `ax` is not one matplotlib Axes.
        """
        shown = self._shown(names)
        plt = import_pyplot(type(self).__name__)
        new = ax is None
        ax = axes_or_new(plt, ax, size=(5.6 + 1.8 * (len(shown) > 5), 3.8))
        self.ax_, self.figure_, self.lines_, self.bands_ = ax, ax.figure, {}, {}
        styles = _styles(list(self.scores))
        for order, (name, label) in enumerate(shown.items()):
            self._draw(name, label, styles[name], 3 - 0.5 * order / len(shown), line_kw, fill_kw)
        if self.limit is not None:
            text = f"limit ({in_percent(self.limit)} %)" if self.percent else f"limit ({self.limit:g})"
            ax.axhline(self.limit, color="black", linewidth=0.8, label=text, zorder=1.5)
        self._dress()
        self.budget_axis_ = self._budget_axis()
        self._legend(outside=new and len(shown) > 5)
        if new:
            ax.spines[["top", "right"]].set_visible(False)
        return self

    def _shown(self, names) -> dict[str, str]:
        """Return the legend's text by curve."""
        if names is None:
            rank = {name: i for i, name in enumerate(("poisoned", "label flips", "random points", None, "clean"))}
            names = sorted(self.scores, key=lambda name: rank.get(name, rank[None]))
        if isinstance(names, str) or not isinstance(names, Mapping | Sequence) or not names:
            raise InputError(f"names must be a sequence or a mapping of curves, not empty; got {names!r}.")
        shown = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
        unknown = [name for name in shown if name not in self.scores]
        if unknown:
            raise InputError(
                f"names must be among {', '.join(map(str, self.scores))}; got {', '.join(map(str, unknown))}."
            )
        return shown

    def _draw(self, name: str, label: str, style, order: float, line_kw, fill_kw) -> None:
        """Draw one curve and its band; `order` is how far to the front, from 2.5 to 3."""
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.collections import PolyCollection
        from matplotlib.lines import Line2D

        colour, dashes, marker = style
        means = self.scores[name].mean(axis=1)
        line = {
            "color": colour,
            "linestyle": dashes,
            "linewidth": 1.6,
            "marker": marker,
            "markersize": 5.5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
            "label": label + self._gaps(means),
            "zorder": order,
            **normalize_kwargs(line_kw or {}, Line2D),
        }
        (self.lines_[name],) = self.ax_.plot(self.fractions, means, **line)
        ends = intervals(self.scores[name])
        if ends is None:
            return
        own = {"color": self.lines_[name].get_color(), "alpha": 0.18, "linewidth": 0, "zorder": order - 1}
        given = normalize_kwargs(fill_kw or {}, PolyCollection)
        if {"facecolor", "edgecolor"} & set(given):  # matplotlib lets `color` win over both
            own["facecolor"] = own.pop("color")
        self.bands_[name] = self.ax_.fill_between(self.fractions, *ends, where=~np.isnan(means), **{**own, **given})
        alone = _alone(means)
        self.ax_.vlines(
            self.fractions[alone], ends[0][alone], ends[1][alone], color=self.lines_[name].get_color(), zorder=order - 1
        )

    def _gaps(self, means: np.ndarray) -> str:
        """Say at which fractions there is no result."""
        gaps = self.fractions[np.isnan(means)]
        if len(gaps) > 2:
            return f" (no result at {len(gaps)} of {len(means)} fractions)"
        return f" (no result at {' and '.join(f'{100 * gap:.3g}' for gap in gaps)} %)" if len(gaps) else ""

    def _dress(self) -> None:
        """Set labels and limits, save limits that the user fixed."""
        ax = self.ax_
        label_in_percent(ax.xaxis)
        ax.set_xlabel("poison fraction p / (n + p) in %")
        words = self.score_name.replace("_", " ")
        ax.set_ylabel(f"{words} in %" if self.percent else words)
        if self.percent:
            label_in_percent(ax.yaxis)
            if ax.get_autoscaley_on():
                low, high = ax.get_ylim()
                low = 0 if "error" in self.score_name.lower() else max(low, 0)
                # auto=True: another display on these axes may still widen them.
                ax.set_ylim(low, max(min(high, 1.02), 0.01), auto=True)

    def _budget_axis(self) -> Any:
        """Print the numbers of points above their fractions, save where they would run into each other."""
        if self.budgets is None:
            return None
        low, high = self.ax_.get_xlim()
        inches = self.ax_.get_window_extent().width / self.ax_.figure.dpi
        places: list[int] = []
        for i, fraction in enumerate(self.fractions):
            # A digit is about 0.075 inch wide; two halves of a label and a space must fit between two ticks.
            digits = len(str(self.budgets[i])) / 2 + (len(str(self.budgets[places[-1]])) / 2 if places else 0) + 0.5
            if not places or (fraction - self.fractions[places[-1]]) / (high - low) * inches >= 0.075 * digits:
                places.append(i)
        axis = self.ax_.secondary_xaxis("top")
        axis.set_xticks(self.fractions[places], [str(self.budgets[i]) for i in places], fontsize="small")
        axis.set_xlabel("poisoning points p", fontsize="small")
        axis.spines["top"].set_visible(False)
        return axis

    def _legend(self, *, outside: bool) -> None:
        """Draw the legend, outside the axes where it would hide curves."""
        splits = next(iter(self.scores.values())).shape[1]
        interval = ", 95 % interval" if self.bands_ else ""
        title = f"mean of {splits} splits{interval}" if splits > 1 else "one split"
        place = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if outside else {"loc": "best"}
        self.ax_.legend(title=title, fontsize="small", title_fontsize="small", handlelength=3.5, frameon=False, **place)


def _styles(names: list[str]) -> dict[str, tuple]:
    """Return each curve's colour, line style and marker, all different while there are enough.

    Beyond the eight designed styles, line styles and markers are combined anew.
    """
    unnamed = [name for name in names if name not in _STYLES]
    spare = [
        *_OTHERS,
        *(style for name, style in _STYLES.items() if name not in names),
        *((*one[:2], another[2]) for one, another in permutations(_OTHERS, 2)),
    ]
    extra = {name: spare[i % len(spare)] for i, name in enumerate(unnamed)}
    return {name: _STYLES.get(name) or extra[name] for name in names}


def _alone(means: np.ndarray) -> np.ndarray:
    """Tell the fractions with no neighbour that has a result: a band there would have no width."""
    known = np.concatenate([[False], ~np.isnan(means), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


def _check_fractions(fractions) -> np.ndarray:
    fractions = real_array("fractions", fractions, ndim=(1,))
    if fractions[0] < 0 or fractions[-1] >= 1 or (np.diff(fractions) <= 0).any():
        raise InputError(
            f"fractions must lie in [0, 1) and increase; got {np.array2string(fractions, threshold=10)}: give "
            "p / (n + p), each once and in order."
        )
    return fractions


def _check_scores(scores, n_fractions: int) -> dict[str, np.ndarray]:
    if not isinstance(scores, Mapping) or not scores:
        raise InputError(f"scores must map curve names to arrays (n_fractions, n_splits); got {type(scores).__name__}.")
    arrays = {name: real_array(f"scores[{name!r}]", curve, ndim=(2,), missing=True) for name, curve in scores.items()}
    splits = next(iter(arrays.values())).shape[1]
    for name, curve in arrays.items():
        if curve.shape != (n_fractions, splits):
            raise InputError(
                f"scores[{name!r}] must have shape {(n_fractions, splits)}, fractions × splits; got {curve.shape}: "
                "judge all curves at the same fractions and on the same splits."
            )
    return arrays


def _check_budgets(budgets, n_fractions: int) -> np.ndarray:
    counts = real_array("budgets", budgets, ndim=(1,))
    if counts.shape != (n_fractions,) or (counts != np.round(counts)).any() or (counts < 0).any():
        raise InputError(
            f"budgets must be {n_fractions} whole numbers of points, one a fraction; got "
            f"{np.array2string(counts, threshold=10)}."
        )
    return counts.astype(int)


def _check_limit(limit, share: bool):
    if limit is None:
        return None
    limit = limit.item() if isinstance(limit, np.generic) else limit
    if not is_number(limit) or not np.isfinite(limit):
        raise InputError(f"limit must be a finite number; got {limit!r}.")
    if share:
        check_shares("limit", np.asarray(limit))
    return limit
