"""The certificate as a picture: the error that no attack exceeds, and errors that attacks reached."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from ...errors import InputError
from .drawing import attributes, axes_or_new, check_shares, import_pyplot, intervals, real_array

# Colours of Okabe and Ito, and markers that tell curves apart in black and white.
_MARKERS = (("#D55E00", "o"), ("#0072B2", "s"), ("#009E73", "^"), ("#CC79A7", "v"), ("#E69F00", "D"), ("#000000", "x"))
_ROWS = "inserted or deleted rows"
_SUBJECT = "for the defended model, not for the pipeline without the defence"


class CertificateDisplay:
    """Certified error (1 − certified accuracy) against the attacker's budget, with measured errors where there are any.

    The line is an upper bound on the error after *any* attack of the budget: the region above it is out of reach. A
    measured error is a lower bound on what the worst attack does. So the worst error lies between the points and the
    line, both of the defended model. Between two budgets the bound of the larger holds, hence the steps.

    Args:
        budgets: numbers of poisoned rows or labels, increasing, (b,).
        certified_accuracy: at each budget, in [0, 1], not increasing, (b,).
        attacks: from names of attacks to pairs of budgets (a,) and test errors in [0, 1], (a,) or (a, n_splits).
            Errors of 3 splits or more get Student's 95 % intervals.
        unit: what a budget counts, for the axis: "inserted or deleted rows", "changed labels".

    Attributes:
        ax_: the matplotlib axes, in shares; only the tick labels are in percent.
        figure_: their figure.
        line_: the certified error.
        region_: the region above it.
        points_: from each attack's name to its markers.

    Raises:
        InputError: arrays that do not fit each other, or numbers out of range.
    """

    ax_: Any
    figure_: Any
    line_: Any
    region_: Any
    points_: dict[str, Any]

    def __init__(
        self,
        *,
        budgets: Any,
        certified_accuracy: Any,
        attacks: Mapping[str, tuple[Any, Any]] | None = None,
        unit: str = _ROWS,
    ):
        self.budgets = _budgets("budgets", budgets)
        self.certified_accuracy = _shares("certified_accuracy", certified_accuracy, (self.budgets.size,), ndim=(1,))
        if (np.diff(self.certified_accuracy) > 0).any():
            raise InputError("certified_accuracy must not increase with the budget: sort both by budget.")
        self.attacks = {name: _attack(name, *pair) for name, pair in (attacks or {}).items()}
        self.unit = unit

    @classmethod
    def from_result(cls, result: Any, *, unit: str | None = None) -> "CertificateDisplay":
        """Build the display from a result.

        Args:
            result: anything with `budgets` and `certified_accuracy`; its `attacks` and `unit` are used if it has them.
            unit: what a budget counts, instead of the result's.

        Raises:
            InputError: the result lacks an attribute.
        """
        budgets, certified_accuracy = attributes(result, "budgets", "certified_accuracy")
        named = unit or getattr(result, "unit", None)
        return cls(
            budgets=budgets,
            certified_accuracy=certified_accuracy,
            attacks=getattr(result, "attacks", None),
            **({} if named is None else {"unit": named}),
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        budgets: Any,
        attacks: Mapping[str, tuple[Any, Any]] | None = None,
        unit: str | None = None,
    ) -> "CertificateDisplay":
        """Build the display from a fitted certified classifier and test rows.

        Args:
            estimator: anything with `certified_accuracy(X, y, budgets)`.
            X: features of test rows, (n, d).
            y: their labels, (n,).
            budgets: as for the constructor.
            attacks: likewise.
            unit: likewise; the estimator's `budget_unit` where omitted.
        """
        shares = estimator.certified_accuracy(X, y, budgets)
        counted = getattr(estimator, "budget_unit", _ROWS) if unit is None else unit
        return cls(budgets=budgets, certified_accuracy=shares, attacks=attacks, unit=counted)

    def plot(self, ax: Any = None, *, line_kw: Mapping[str, Any] | None = None) -> "CertificateDisplay":
        """Draw the bound and the measured errors.

        Args:
            ax: matplotlib axes to draw on; new ones where omitted.
            line_kw: keywords for matplotlib's `plot`, for the line.

        Returns:
            The display itself.

        Raises:
            ImportError: matplotlib is not installed.
            InputError: `ax` is not one matplotlib Axes.
        """
        new = ax is None
        self.ax_ = ax = axes_or_new(import_pyplot(type(self).__name__), ax, size=(5.8, 4.6))
        self.figure_, self.points_ = ax.figure, {}
        bound = 1 - self.certified_accuracy
        line = {"color": "black", "linewidth": 1.6, "label": "certified: no attack does worse", "zorder": 3}
        (self.line_,) = ax.plot(self.budgets, bound, drawstyle="steps-pre", **{**line, **(line_kw or {})})
        self.region_ = ax.fill_between(
            self.budgets, bound, 1.0, step="pre", facecolor="0.9", edgecolor="0.7", hatch="///", linewidth=0, zorder=1
        )
        for (name, (budgets, errors)), (colour, marker) in zip(self.attacks.items(), cycle(_MARKERS), strict=False):
            self._draw(name, budgets, errors, colour, marker)
        self._dress()
        if new:
            self.figure_.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
        else:
            ax.legend(fontsize="small")
        return self

    def _draw(self, name: str, budgets: np.ndarray, errors: np.ndarray, colour: str, marker: str) -> None:
        means, ends = errors.mean(axis=1), intervals(errors)
        spread = None if ends is None else (ends[1] - ends[0]) / 2
        # Hollow, so that markers at the same place can be told apart.
        style = {"fmt": marker, "color": colour, "markersize": 6, "markerfacecolor": "none", "capsize": 2.5}
        container = self.ax_.errorbar(
            budgets,
            means,
            yerr=spread,
            label=f"measured: {name}",
            zorder=4,
            linewidth=1.0,
            **style,
        )
        self.points_[name] = container.lines[0]

    def _dress(self) -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        ax = self.ax_
        ax.set(xlabel=f"budget p: {self.unit}", ylabel="test error of the defended model", ylim=(0, 1))
        every = np.concatenate([self.budgets, *(pair[0] for pair in self.attacks.values())])
        room = 0.02 * max(np.ptp(every), 1)
        ax.set_xlim(every.min() - room, every.max() + room)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        claim = "the worst error lies between points and line; both hold" if self.attacks else "the certificate holds"
        ax.set_title(f"{claim}\n{_SUBJECT}", fontsize="small", loc="left")


def _budgets(name: str, values: Any) -> np.ndarray:
    array = real_array(name, values, ndim=(1,))
    if array[0] < 0 or (np.diff(array) <= 0).any():
        raise InputError(f"{name} must be numbers of 0 or more that increase; got {array.tolist()}.")
    return array


def _shares(name: str, values: Any, shape: tuple[int, ...], *, ndim: tuple[int, ...] = (1, 2)) -> np.ndarray:
    array = real_array(name, values, ndim=ndim)
    if array.shape[:1] != shape:
        raise InputError(f"{name} must have one entry a budget, {shape}; got shape {array.shape}.")
    check_shares(name, array)
    return array


def _attack(name: str, budgets: Any, errors: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return budgets (a,) and errors (a, n_splits)."""
    p = _budgets(f"budgets of {name!r}", budgets)
    shares = _shares(f"errors of {name!r}", errors, (p.size,))
    return p, shares.reshape(p.size, -1)
