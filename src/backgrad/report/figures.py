"""Figures of an audit, legible in black and white and on a phone, drawn from its record alone.

Figures are narrow (4.6 inches), so that their text can still be read on a screen of 320 pixels. Names are cut, and of
many classes, features or learners only the most striking are drawn: the record has them all.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.displays import (
    CertificateDisplay,
    DefenceTableDisplay,
    PoisonGalleryDisplay,
    SecurityCurveDisplay,
    TransferMatrixDisplay,
)
from . import files
from .pick import most_changed_classes, most_damaged, most_shifted
from .results import Certificates, Curve, Measured, Series
from .schema import AuditRecord, validate
from .text import all_visible, fraction, labels, number

WIDTH = 4.6
MOST_IMAGES = 4
MOST_BARS = 12
MOST_CELLS = 8
MOST_VICTIMS = 6
_LOOK: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "backgrad",
    "text.parse_math": False,  # a dollar sign in a column's name is a dollar sign
    "text.usetex": False,
}
# Grey and hatch of clean, label flips, optimised: apart in a black-and-white copy.
_BARS = (("0.93", "", "no attack"), ("0.7", "////", "label flips"), ("0.25", "", "optimised rows"))


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Draw in the report's style, whatever the user's settings of matplotlib are."""
    import matplotlib as mpl
    from matplotlib import style

    with warnings.catch_warnings(), mpl.rc_context(), style.context("default"):
        warnings.filterwarnings("ignore", message="(?s).*Glyph .* missing from")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")
        warnings.filterwarnings("ignore", message=".*Matplotlib currently does not support")
        mpl.rcParams.update(_LOOK)
        yield


def draw_figures(audit: AuditRecord) -> dict[str, Any]:
    """Return the figures that the record has something for, by name. Call it, and save them, within `look`.

    Args:
        audit: the record, its texts made `visible`.
    """
    makers = {
        "curve": _curve,
        "victims": _victims,
        "class_damage": _class_damage,
        "confusion_difference": _confusion_difference,
        "transfer": _transfer,
        "defences": _defences,
        "certificates": _certificates,
        "features": _features,
        "images": _images,
    }
    found = {name: maker(audit) for name, maker in makers.items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def write_figures(record: Mapping[str, Any] | AuditRecord, folder: str | os.PathLike[str]) -> list[Path]:
    """Write every figure as PNG and as PDF.

    Args:
        record: the content of `audit.json`.
        folder: where to; created where it is missing.

    Returns:
        The files, such as `curve.png` and `curve.pdf`.

    Raises:
        InputError: not a record of an audit, or a folder that cannot be written.
    """
    audit = AuditRecord.model_validate(all_visible(validate(record).model_dump()))
    plain = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    written = []
    with look():
        for name, figure in draw_figures(audit).items():
            for form, metadata in plain.items():
                buffer = io.BytesIO()
                figure.savefig(buffer, format=form, metadata=metadata, dpi=200)
                written.append(files.write(Path(folder) / f"{name}.{form}", buffer.getvalue()))
    return written


def _axes(height: float, width: float = WIDTH) -> Any:
    """Return axes on a figure that pyplot does not know, and that nobody need close."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _array(values: Any) -> np.ndarray:
    """Return numbers as an array, with NaN for none."""
    return np.array(values, dtype=float)


def _known(series: Series) -> bool:
    return any(value is not None for at in series.splits for value in at)


def _legend_below(ax: Any, *, title: str | None = None, columns: int = 2) -> None:
    if (inside := ax.get_legend()) is not None:
        inside.remove()
    handles, names = ax.get_legend_handles_labels()
    if handles:
        place = {"loc": "outside lower center", "ncols": columns, "title": title, "frameon": False}
        ax.figure.legend(handles, names, fontsize=8, title_fontsize=8, handlelength=3, **place)


# --- error against fraction -----------------------------------------------------------------------


def _curve(audit: AuditRecord) -> Any:
    """The audited pipeline's curve, with its controls, the limit and the breaking point."""
    curve, point = audit.curves[0], audit.breaking_point
    all_series = {"poisoned": curve.poisoned, "label flips": curve.label_flips, "clean": curve.clean}
    scores = {name: _array(series.splits) for name, series in all_series.items() if _known(series)}
    if not scores:
        return None
    limit = audit.gate.limit if point is None else point.limit
    display = SecurityCurveDisplay(
        fractions=curve.fractions, scores=scores, score_name="error", limit=limit, budgets=curve.points, percent=True
    )
    named = {"poisoned": "optimised rows", "label flips": "label flips", "clean": "no attack"}
    ax = display.plot(_axes(3.9), names={name: named[name] for name in scores}).ax_
    ax.set_ylabel("error on test rows in %")
    title = ax.get_legend().get_title().get_text()
    if point is not None and point.fraction is not None:
        _mark_breaking(ax, point.fraction, point.interval)
    _legend_below(ax, title=title)
    return ax.figure


def _mark_breaking(ax: Any, at: float, ends: list[float | None] | None) -> None:
    right = ax.get_xlim()[1]
    if ends is not None and (ends[0] is not None or ends[1] is not None):
        low, high = ends[0] or 0.0, right if ends[1] is None else ends[1]
        ax.axvspan(low, high, facecolor="0.92", linewidth=0, zorder=0.5)
    ax.axvline(at, color="black", linestyle=(0, (1, 1)), linewidth=1.4, label=f"breaking point ({fraction(at)})")


def _victims(audit: AuditRecord) -> Any:
    """The poisoned curves of the first victims that share fractions and splits with the first curve."""
    first = audit.curves[0]

    def fits(curve: Curve) -> bool:
        same = len(curve.poisoned.splits[0]) == len(first.poisoned.splits[0])
        return same and curve.fractions == first.fractions and _known(curve.poisoned)

    curves = [curve for curve in audit.curves if fits(curve)][:MOST_VICTIMS]
    if len(curves) < 2:
        return None
    names = labels([f"{curve.victim}, {curve.knowledge}" for curve in curves], 34)
    scores = {name: _array(curve.poisoned.splits) for name, curve in zip(names, curves, strict=True)}
    display = SecurityCurveDisplay(fractions=first.fractions, scores=scores, score_name="error", percent=True)
    ax = display.plot(_axes(3.6 + 0.17 * len(curves)), names=names, fill_kw={"alpha": 0.08}).ax_
    ax.set_ylabel("error on test rows in %")
    _legend_below(ax, title=ax.get_legend().get_title().get_text(), columns=1)
    return ax.figure


# --- classes --------------------------------------------------------------------------------------


def _class_damage(audit: AuditRecord) -> Any:
    damage = audit.class_damage
    if damage is None:
        return None
    shown = most_damaged(damage)[:MOST_BARS]
    ax, rows, height = _axes(1.25 + 0.46 * len(shown)), np.arange(len(shown)), 0.27
    for at, (field, (colour, hatch, name)) in enumerate(zip(("clean", "label_flips", "poisoned"), _BARS, strict=True)):
        widths = np.nan_to_num(_array([getattr(one, field) for one in shown]))
        place = rows + (at - 1) * height
        ax.barh(place, 100 * widths, height, color=colour, edgecolor="black", linewidth=0.6, hatch=hatch, label=name)
    ax.set_yticks(rows, labels([one.name for one in shown], 18))
    ax.invert_yaxis()
    ax.set(xlabel="error of the class in %", xlim=(0, None))
    ax.set_title(f"{fraction(damage.fraction)} poisoned", loc="left", fontsize=8)
    _legend_below(ax, columns=3)
    return ax.figure


def _confusion_difference(audit: AuditRecord) -> Any:
    damage = audit.class_damage
    if damage is None or damage.confusion_clean is None or damage.confusion_poisoned is None:
        return None
    change = 100 * (_array(damage.confusion_poisoned) - _array(damage.confusion_clean))
    picked = most_changed_classes(damage)[:MOST_CELLS]
    change, size = change[np.ix_(picked, picked)], len(picked)
    names = labels([damage.classes[i].name for i in picked], 12)
    ax = _axes(1.1 + 0.42 * size)
    top = 1.6 * max(float(np.nanmax(np.abs(change), initial=0)), 1.0)
    ax.imshow(np.nan_to_num(np.abs(change)), cmap="Greys", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    for row, column in np.ndindex(change.shape):
        value = change[row, column]
        text = "–" if np.isnan(value) else number(float(value), "+.0f")
        ink = "white" if abs(value) > 0.6 * top else "black"
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 4 else {}
    ax.set_xticks(range(size), names, **turn)
    ax.set_yticks(range(size), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(length=0, which="both")
    ax.spines[:].set_visible(False)
    return ax.figure


# --- other learners, defences, certificates -------------------------------------------------------


def _transfer(audit: AuditRecord) -> Any:
    transfer = audit.transfer
    if transfer is None:
        return None
    rows, columns = min(len(transfer.surrogates), MOST_CELLS), min(len(transfer.victims), MOST_CELLS)
    errors = _array(transfer.errors)[:rows, :columns]
    controls = {"clean": transfer.clean, "label_flips": transfer.label_flips}
    display = TransferMatrixDisplay(
        matrix=errors,
        surrogates=labels(transfer.surrogates[:rows], 14),
        victims=labels(transfer.victims[:columns], 14),
        percent=True,
        **{name: None if values is None else _array(values)[:columns] for name, values in controls.items()},
    )
    height = 1.2 + 0.5 * (rows + sum(values is not None for values in controls.values()))
    display.plot(_axes(max(height, 2.4), max(WIDTH, 1.5 + 0.72 * columns)), colorbar=False)
    if transfer.half_intervals is not None:
        _add_half_widths(display, _array(transfer.half_intervals)[:rows, :columns])
    display.ax_.set_title(f"error in %, {fraction(transfer.fraction)} poisoned", loc="left", fontsize=8)
    return display.figure_


def _add_half_widths(display: Any, half: np.ndarray) -> None:
    """Write ± below the means, as the display itself does where it has the splits."""
    for place, width in np.ndenumerate(half):
        text = display.text_[place]
        if np.isnan(width) or text.get_text() == "no result":
            continue
        x, y = text.get_position()
        text.set_va("bottom")
        below = f"±\N{THIN SPACE}{100 * width:.1f}"
        display.ax_.text(x, y + 0.08, below, ha="center", va="top", fontsize=7, color=text.get_color())


def _defences(audit: AuditRecord) -> Any:
    if audit.defences is None:
        return None
    shown = audit.defences.rows[:MOST_BARS]
    columns = {
        kind: _array([getattr(row, f"{kind}_error") for row in shown])[:, None]
        for kind in ("clean", "oblivious", "adaptive")
    }
    display = DefenceTableDisplay(names=labels([row.name for row in shown], 20), title=None, **columns)
    ax = display.plot(_axes(1.6 + 0.46 * len(shown))).ax_
    ax.set_xlabel("error on test rows in %")
    ax.set_title(f"{fraction(audit.defences.fraction)} poisoned", loc="left", fontsize=8)
    _legend_below(ax, columns=1)
    return ax.figure


def _certificates(audit: AuditRecord) -> Any:
    found = audit.certificates
    if found is None:
        return None
    end = max([found.budgets[-1], *(one.points for one in found.measured), 1])
    # Beyond the last budget nothing is certified.
    beyond = end > found.budgets[-1]
    display = CertificateDisplay(
        budgets=[*found.budgets, *([end] if beyond else [])],
        certified_accuracy=np.append(1 - _array(found.certified_error), [0.0] if beyond else []),
        attacks=_measured(found),
        unit="inserted rows",
    )
    ax = display.plot(_axes(3.8)).ax_
    ax.set_title("", loc="left")  # the display speaks of the defended model alone
    ax.set_ylabel("error on test rows")
    _legend_below(ax, columns=1)
    return ax.figure


def _measured(found: Certificates) -> dict[str, tuple[list[int], np.ndarray]]:
    """Return measured errors by what the legend calls them: budgets (a,), and errors (a, n_splits) or (a, 1)."""
    models = {"defended": "defended model", "audited": "audited pipeline, without it"}
    grouped: dict[str, dict[int, Measured]] = {}
    for one in found.measured:
        grouped.setdefault(f"{models[one.model]} ({one.attack})", {})[one.points] = one
    names = labels(grouped, 48)
    out = {}
    for name, by_points in zip(names, grouped.values(), strict=True):
        points = sorted(by_points)
        rows = [by_points[p].splits or [] for p in points]
        same = {len(row) for row in rows}
        whole = len(same) == 1 and same != {0} and None not in [value for row in rows for value in row]
        out[name] = points, _array(rows if whole else [[by_points[p].error] for p in points])
    return out


# --- poisoned rows --------------------------------------------------------------------------------


def _features(audit: AuditRecord) -> Any:
    shown = most_shifted(audit.poison)[:MOST_BARS] if audit.poison is not None else []
    if not shown:
        return None
    shifts, rows = _array([one.shift for one in shown]), np.arange(len(shown))
    ax = _axes(0.9 + 0.26 * len(shown))
    ax.barh(rows, shifts, 0.6, color=["0.35" if shift >= 0 else "0.85" for shift in shifts], edgecolor="black", lw=0.6)
    room = 0.24 * max(float(np.ptp([*shifts, 0.0])), 1e-3)
    for row, shift in zip(rows, shifts, strict=True):
        side = 1 if shift >= 0 else -1
        text = number(float(shift), "+.2g")
        ax.text(shift + side * room / 6, row, text, va="center", ha="left" if side > 0 else "right", fontsize=8)
    ax.set_yticks(rows, labels([one.name for one in shown], 22))
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel="shift in standard deviations", xlim=(min(shifts.min(), 0) - room, max(shifts.max(), 0) + room))
    return ax.figure


def _images(audit: AuditRecord) -> Any:
    images = None if audit.poison is None else audit.poison.images
    if images is None:
        return None
    import matplotlib.pyplot as plt

    named = None if images.labels is None else labels(images.labels[:MOST_IMAGES], 10)
    display = PoisonGalleryDisplay(
        before=_array(images.before[:MOST_IMAGES]),
        after=_array(images.after[:MOST_IMAGES]),
        labels=None if named is None else list(range(len(named))),
        class_names=named,
        image_shape=tuple(images.shape),
    ).plot(max_points=MOST_IMAGES)
    plt.close(display.figure_)
    return display.figure_
