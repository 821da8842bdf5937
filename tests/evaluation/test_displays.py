"""Displays: the pictures hold the data, say what is missing, and can be read in black and white."""

import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from backgrad.errors import InputError
from backgrad.evaluation.displays import PoisonGalleryDisplay, SecurityCurveDisplay, TransferMatrixDisplay
from backgrad.evaluation.metrics import student_interval
from backgrad.evaluation.security_curve import SecurityCurve

FRACTIONS = np.array([0.0, 0.05, 0.1, 0.15])
RNG = np.random.default_rng(0)
CURVES = {
    "poisoned": 0.1 + FRACTIONS[:, None] + RNG.uniform(0, 0.05, (4, 5)),
    "label flips": 0.1 + FRACTIONS[:, None] / 3 + RNG.uniform(0, 0.05, (4, 5)),
    "clean": np.full((4, 5), 0.1) + RNG.uniform(0, 0.05, 5),
}
MATRIX = RNG.uniform(0.05, 0.5, (2, 3, 5))
CLEAN = RNG.uniform(0.0, 0.05, (3, 5))
FLIPS = CLEAN + 0.03
BEFORE = RNG.uniform(0, 1, (4, 16))
AFTER = np.clip(BEFORE + RNG.normal(0, 0.2, (4, 16)), 0, 1)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def curve(scores=None, *, score_name="error", fractions=FRACTIONS, **others):
    return SecurityCurveDisplay(
        fractions=fractions, scores=CURVES if scores is None else scores, score_name=score_name, **others
    )


def matrix(**changes):
    return TransferMatrixDisplay(
        **{
            "matrix": MATRIX,
            "surrogates": ["LR", "MLP"],
            "victims": ["LR", "MLP", "SVM"],
            "clean": CLEAN,
            "label_flips": FLIPS,
            **changes,
        }
    )


def gallery(**changes):
    return PoisonGalleryDisplay(**{"before": BEFORE, "after": AFTER, "image_shape": (4, 4), **changes})


def written(texts):
    return [[None if text is None else text.get_text() for text in row] for row in texts]


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


# All displays


def test_displays_import_no_matplotlib():
    code = "import sys, backgrad.evaluation.displays; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("display", [curve, matrix, gallery])
def test_a_missing_matplotlib_is_said_in_a_sentence(display, monkeypatch):
    built = display()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Display\.plot needs matplotlib.*: run `pip install matplotlib`\."):
        built.plot()


@pytest.mark.parametrize("display", [curve, matrix])
def test_the_user_s_axes_are_drawn_on_and_no_others(display):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    built = display()
    assert built.plot(axes[1]) is built
    assert built.ax_ is axes[1]
    assert built.figure_ is figure
    assert not axes[0].has_data()
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(InputError, match="ax must be one matplotlib Axes; got ndarray"):
        built.plot(axes)


@pytest.mark.parametrize("display", [curve, matrix, gallery])
def test_plotting_again_makes_a_new_picture(display):
    built = display()
    first, second = built.plot().figure_, built.plot().figure_
    assert first is not second


def fits(figure):
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


@pytest.mark.parametrize(
    "build",
    [
        lambda: curve(limit=0.2, budgets=[0, 53, 111, 1764]),
        lambda: curve({f"quite a long name of curve {i}": CURVES["clean"] + 0.05 * i for i in range(8)}),
        matrix,
        lambda: matrix(victims=["logistic regression", "multilayer-perceptron", "a third, even longer name"]),
        lambda: matrix(surrogates=["one surrogate"], matrix=MATRIX[:1], clean=None, label_flips=None),
        lambda: gallery(labels=[0, 1, 0, 1], true_labels=[1, 0, 1, 0], class_names=["automobile", "ship"]),
        lambda: curve({"poisoned": np.full((4, 5), np.nan), "clean": np.where(CURVES["clean"] > 0.12, np.nan, 0.1)}),
        lambda: curve({"clean": CURVES["clean"][:1]}, fractions=[0.1]),
        lambda: matrix(matrix=np.full((2, 3), np.nan), clean=None, label_flips=None),
        lambda: gallery(image_shape=(2, 8)),
        lambda: gallery(before=np.full((1, 16), 300.0), after=np.full((1, 16), 300.0)),
        lambda: gallery(image_shape=(8, 2), before=BEFORE[:1], after=AFTER[:1]),
    ],
)
def test_pictures_render_and_nothing_is_clipped_at_the_rim(build):
    assert fits(build().plot().figure_)


def test_the_check_for_clipping_sees_clipping():
    figure = plt.figure()
    figure.text(1, 0.5, "beyond the rim", ha="center")
    assert not fits(figure)


# Security curves


def test_lines_hold_means_and_bands_hold_intervals():
    display = curve().plot()
    assert list(display.lines_) == list(display.bands_) == list(CURVES)
    for name, scores in CURVES.items():
        x, y = display.lines_[name].get_data()
        np.testing.assert_array_equal(x, FRACTIONS)
        np.testing.assert_allclose(y, scores.mean(axis=1), rtol=1e-15)
        corners = display.bands_[name].get_paths()[0].vertices
        for fraction, row in zip(FRACTIONS, scores, strict=True):
            ends = corners[corners[:, 0] == fraction, 1]
            assert (ends.min(), ends.max()) == pytest.approx(student_interval(row), rel=1e-12)


@pytest.mark.parametrize("splits", [1, 2])
def test_there_is_no_band_below_three_splits(splits):
    display = curve({name: scores[:, :splits] for name, scores in CURVES.items()}).plot()
    assert display.bands_ == {}
    assert not display.ax_.collections
    assert display.ax_.get_legend().get_title().get_text() == ("one split" if splits == 1 else "mean of 2 splits")


def test_the_legend_says_what_the_bands_are():
    assert curve().plot().ax_.get_legend().get_title().get_text() == "mean of 5 splits, 95 % interval"


def test_a_missing_split_breaks_the_line_and_is_said():
    scores = CURVES["poisoned"].copy()
    scores[1, 2] = np.nan
    display = curve({**CURVES, "poisoned": scores}).plot()
    y = display.lines_["poisoned"].get_ydata()
    assert np.isnan(y).tolist() == [False, True, False, False]
    ends = [set(path.vertices[:, 0]) for path in display.bands_["poisoned"].get_paths()]
    assert ends == [{0.0}, {0.1, 0.15}]
    assert legend(display) == ["poisoned (no result at 5 %)", "label flips", "clean"]
    # The first fraction stands alone: a band has no width there, so its interval is a bar.
    (bar,) = [one.get_segments() for one in display.ax_.collections if hasattr(one, "get_segments") and one.get_paths()]
    low, high = student_interval(scores[0])
    np.testing.assert_allclose(bar[0], [[0, low], [0, high]])


def test_curves_without_any_result_are_said():
    display = curve({"poisoned": np.full((4, 5), np.nan), "clean": CURVES["clean"]}).plot()
    assert legend(display)[0] == "poisoned (no result at 4 of 4 fractions)"


def test_one_fraction_is_a_picture_too():
    display = curve({"poisoned": CURVES["poisoned"][:1]}, fractions=[0.1]).plot()
    np.testing.assert_allclose(display.lines_["poisoned"].get_ydata(), CURVES["poisoned"][0].mean())


@pytest.mark.parametrize("n", [3, 8, 20])
def test_curves_differ_in_line_style_and_marker(n):
    names = [*CURVES, *(f"defence {i}" for i in range(n - 3))]
    lines = curve(dict.fromkeys(names, CURVES["clean"])).plot().lines_.values()
    dashes = [str(line._dash_pattern) for line in lines]
    markers = [line.get_marker() for line in lines]
    assert len(set(zip(dashes, markers, strict=True))) == n
    if n <= 8:
        assert len(set(dashes)) == len(set(markers)) == n


def test_a_curve_looks_the_same_in_every_figure():
    def look(display):
        line = display.lines_["label flips"]
        return line.get_color(), line.get_linestyle(), line.get_marker()

    assert look(curve().plot()) == look(curve({"label flips": CURVES["label flips"]}).plot())


def test_axes_are_in_percent_and_errors_start_at_nothing():
    display = curve(limit=0.2).plot()
    assert display.ax_.get_xlabel() == "poison fraction p / (n + p) in %"
    assert display.ax_.get_ylabel() == "error in %"
    assert display.ax_.get_ylim()[0] == 0
    display.figure_.canvas.draw()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True):
            assert float(label.get_text()) == pytest.approx(100 * place, abs=1e-4)
    assert legend(display)[-1] == "limit (20 %)"
    assert [line.get_ydata() for line in display.ax_.lines][-1] == [0.2, 0.2]


def test_other_scores_keep_their_unit():
    display = curve(
        {name: 10 * scores for name, scores in CURVES.items()}, score_name="mean_squared_error", limit=3
    ).plot()
    assert display.ax_.get_ylabel() == "mean squared error"
    assert legend(display)[-1] == "limit (3)"


def test_errors_of_a_regression_keep_their_unit():
    large = {name: 10 * scores for name, scores in CURVES.items()}
    assert curve(large).plot().ax_.get_ylabel() == "error"
    assert curve(percent=False).plot().ax_.get_ylabel() == "error"
    # A curve of a regression says itself that its errors are no shares.
    mse = SecurityCurve(np.array([0.0, 0.2]), np.array([0, 5]), {"error": {"poisoned": np.full((2, 3), 0.1)}}, {})
    assert SecurityCurveDisplay.from_result(mse).plot().ax_.get_ylabel() == "error"
    assert curve(score_name="f1", percent=True).plot().ax_.get_ylabel() == "f1 in %"
    display = matrix(matrix=10 * MATRIX).plot()
    assert display.text_[0, 0].get_text() == f"{10 * MATRIX[0, 0].mean():.3g}"
    assert display.text_[-1, 0].get_text() == f"{CLEAN[0].mean():.3g}"
    assert display.figure_.axes[1].get_ylabel().startswith("error, mean of 5 splits")
    assert matrix(percent=False).plot().text_[0, 0].get_text() == f"{MATRIX[0, 0].mean():.3g}"


def test_the_numbers_of_points_stand_above_their_fractions():
    assert curve().plot().budget_axis_ is None
    axis = curve(budgets=[0, 5, 11, 18]).plot().budget_axis_
    np.testing.assert_array_equal(axis.get_xticks(), FRACTIONS)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "5", "11", "18"]
    assert axis.get_xlabel() == "poisoning points p"


def test_numbers_of_points_do_not_run_into_each_other():
    fractions = [0, 0.001, 0.1, 0.15]
    axis = curve(fractions=fractions, budgets=[0, 1, 111, 176]).plot().budget_axis_
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "111", "176"]


def test_the_poisoned_come_first_and_the_clean_last():
    scores = {name: CURVES["clean"] for name in ("clean", "a defence", "label flips", "poisoned")}
    display = curve(scores).plot()
    assert legend(display) == ["poisoned", "label flips", "a defence", "clean"]
    orders = [line.get_zorder() for line in display.lines_.values()]
    assert orders == sorted(orders, reverse=True)


def test_limits_that_the_user_fixed_stay():
    _, ax = plt.subplots()
    ax.set_ylim(0.05, 0.5)
    curve().plot(ax)
    assert ax.get_ylim() == (0.05, 0.5)


def test_a_second_display_on_the_same_axes_is_seen_whole():
    first = curve().plot()
    curve({"other": CURVES["poisoned"] * 2}).plot(first.ax_)
    assert first.ax_.get_ylim()[1] > 2 * CURVES["poisoned"].mean(axis=1).max()


def test_names_choose_order_and_rename():
    assert legend(curve().plot(names=["clean", "poisoned"])) == ["clean", "poisoned"]
    display = curve().plot(names={"poisoned": "back-gradient"})
    assert legend(display) == ["back-gradient"]
    assert list(display.lines_) == ["poisoned"]
    with pytest.raises(InputError, match="names must be among poisoned, label flips, clean; got flips"):
        curve().plot(names=["flips"])
    with pytest.raises(InputError, match="not empty"):
        curve().plot(names=[])


def test_keywords_reach_lines_and_bands():
    display = curve().plot(line_kw={"lw": 3, "c": "red"}, fill_kw={"alpha": 0.5})
    for name in CURVES:
        assert display.lines_[name].get_linewidth() == 3
        assert display.lines_[name].get_color() == "red"
        np.testing.assert_allclose(display.bands_[name].get_facecolor(), [[1, 0, 0, 0.5]])
    band = curve().plot(fill_kw={"fc": "blue"}).bands_["clean"]
    np.testing.assert_allclose(band.get_facecolor()[0, :3], [0, 0, 1])


def test_a_curve_comes_from_a_result():
    result = SimpleNamespace(fractions=FRACTIONS, scores={"error": CURVES, "recall": {"clean": 1 - CURVES["clean"]}})
    np.testing.assert_array_equal(SecurityCurveDisplay.from_result(result).scores["clean"], CURVES["clean"])
    result.budgets = np.array([0, 5, 11, 18])
    display = SecurityCurveDisplay.from_result(result, "recall", limit=0.5)
    np.testing.assert_array_equal(display.budgets, result.budgets)
    assert (display.score_name, display.limit, list(display.scores)) == ("recall", 0.5, ["clean"])
    with pytest.raises(InputError, match=r"one of 'error', 'recall'; got 'f1'"):
        SecurityCurveDisplay.from_result(result, "f1")
    with pytest.raises(InputError, match="SimpleNamespace has no scores"):
        SecurityCurveDisplay.from_result(SimpleNamespace(fractions=FRACTIONS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": [0, 0.1, 0.1, 0.2]}, r"in \[0, 1\) and increase"),
        ({"fractions": [0, 5, 10, 15]}, r"in \[0, 1\)"),
        ({"fractions": [[0.1]]}, r"1 dimension\(s\)"),
        ({"fractions": "abc"}, "array of numbers"),
        ({"fractions": [0, 0.1, 0.2, np.nan]}, "1 of 4 are not"),
        ({"fractions": FRACTIONS[:3]}, r"must have shape \(3, 5\).*got \(4, 5\)"),
        ({"scores": {}}, "map curve names"),
        ({"scores": CURVES["clean"]}, "map curve names"),
        ({"scores": {"clean": CURVES["clean"][:, 0]}}, r"2 dimension\(s\).*got shape \(4,\)"),
        ({"scores": {**CURVES, "clean": CURVES["clean"][:, :2]}}, r"shape \(4, 5\), fractions × splits; got \(4, 2\)"),
        ({"scores": {"clean": np.full((4, 5), np.inf)}}, "20 of 20 are not: NaN stands for no result"),
        ({"scores": {"clean": 100 * CURVES["clean"]}, "percent": True}, "divide percentages by 100"),
        ({"limit": 20}, "limit must be shares"),
        ({"budgets": [0, 5, 11]}, "must be 4 whole numbers of points"),
        ({"budgets": [0, 5, 11, 17.5]}, "must be 4 whole numbers of points"),
        ({"limit": np.nan}, "limit must be a finite number"),
        ({"limit": "a fifth"}, "limit must be a finite number"),
    ],
)
def test_bad_curves_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        curve(**changes)


# Transfer matrices


def test_cells_hold_means_and_half_widths():
    display = matrix().plot()
    np.testing.assert_allclose(display.im_.get_array(), MATRIX.mean(axis=2))
    rows = [*MATRIX, FLIPS, CLEAN]
    assert written(display.text_) == [[f"{100 * cell.mean():.1f}" for cell in row] for row in rows]
    halves = [[50 * np.diff(student_interval(cell)).item() for cell in row] for row in rows]
    assert written(display.spread_text_) == [[f"±\N{THIN SPACE}{half:.1f}" for half in row] for row in halves]
    assert display.spread_text_[0, 0].get_fontsize() < display.text_[0, 0].get_fontsize()
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["LR", "MLP", "label flips", "clean"]
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["LR", "MLP", "SVM"]


def test_texts_stand_in_their_cells_and_controls_apart():
    display = matrix().plot()
    places = display.ax_.get_yticks()
    assert np.diff(places)[1] > 1  # the gap
    for i, row in enumerate(display.text_):
        for j, text in enumerate(row):
            assert text.get_position() == pytest.approx((j, places[i]), abs=0.2)
    # Nothing beneath the last control, nothing above the first surrogate.
    assert display.ax_.get_ylim() == pytest.approx((places[-1] + 0.5, -0.5))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 2)])
def test_there_is_no_half_width_below_three_splits(shape):
    errors = MATRIX[..., 0] if len(shape) == 2 else MATRIX[..., : shape[2]]
    display = matrix(matrix=errors, clean=None, label_flips=None).plot()
    assert display.text_.shape == (2, 3)
    assert not display.spread_text_.any()
    expected = errors if len(shape) == 2 else errors.mean(axis=2)
    np.testing.assert_allclose(display.im_.get_array(), expected)


def test_a_cell_without_a_result_says_so():
    errors = MATRIX.copy()
    errors[0, 1, 3] = np.nan
    display = matrix(matrix=errors).plot()
    assert display.text_[0, 1].get_text() == "no result"
    assert display.spread_text_[0, 1] is None
    assert display.im_.get_array().mask.tolist() == [[False, True, False], [False, False, False]]
    assert any(patch.get_hatch() for patch in display.ax_.patches)


def test_nothing_but_missing_results_is_a_picture_too():
    display = matrix(matrix=np.full((2, 3), np.nan), clean=None, label_flips=None).plot()
    assert {text.get_text() for text in display.text_.flat} == {"no result"}


@pytest.mark.parametrize("cmap", ["Greys", "cividis", "viridis_r", mpl.colormaps["magma"]])
def test_texts_contrast_with_their_cells(cmap):
    errors = np.linspace(0, 1, 60).reshape(6, 10)
    names = [str(i) for i in range(10)]
    display = TransferMatrixDisplay(matrix=errors, surrogates=names[:6], victims=names).plot(cmap=cmap)

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for error, text in zip(errors.flat, display.text_.flat, strict=True):
        light, dark = sorted(
            map(luminance, (display.im_.cmap(display.im_.norm(error)), text.get_color())), reverse=True
        )
        assert (light + 0.05) / (dark + 0.05) > 4.5  # WCAG AA for small text


def test_one_scale_serves_matrix_and_controls():
    images = matrix().plot().ax_.images
    assert len(images) == 3
    assert len({image.get_clim() for image in images}) == 1
    assert images[0].get_clim()[0] == 0
    assert images[0].get_clim()[1] > max(MATRIX.mean(axis=2).max(), FLIPS.mean(axis=1).max())


def test_format_and_colour_bar_are_the_user_s():
    display = matrix().plot(values_format=".0f", colorbar=False)
    assert display.text_[0, 0].get_text() == f"{100 * MATRIX[0, 0].mean():.0f}"
    assert display.figure_.axes == [display.ax_]
    (_, bar) = matrix().plot().figure_.axes
    assert bar.get_ylabel() == "error in %, mean of 5 splits\n± half the 95 % interval"


def test_long_names_of_victims_are_wrapped_or_turned():
    wrapped = matrix(victims=["logistic regression", "MLP", "SVM"]).plot().ax_.get_xticklabels()
    assert (wrapped[0].get_text(), wrapped[0].get_rotation()) == ("logistic\nregression", 0)
    turned = matrix(victims=["NoPlaceToBreakThisName", "MLP", "SVM"]).plot().ax_.get_xticklabels()
    assert turned[0].get_rotation() == 30


def test_a_matrix_comes_from_a_result():
    result = SimpleNamespace(
        errors=MATRIX, surrogates=("LR", "MLP"), victims=("LR", "MLP", "SVM"), clean=CLEAN, label_flips=FLIPS
    )
    display = TransferMatrixDisplay.from_result(result)
    assert written(display.plot().text_) == written(matrix().plot().text_)
    del result.clean
    with pytest.raises(InputError, match="has no clean"):
        TransferMatrixDisplay.from_result(result)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": MATRIX[:, :2]}, r"shape \(2, 3\), surrogates × victims.*got \(2, 2, 5\)"),
        ({"matrix": MATRIX[0, 0]}, r"2 or 3 dimension\(s\)"),
        ({"matrix": 100 * MATRIX, "percent": True}, "divide percentages by 100"),
        ({"clean": CLEAN[:2]}, r"clean must have shape \(3,\)"),
        ({"label_flips": FLIPS.T}, r"label_flips must have shape \(3,\)"),
        ({"surrogates": ["LR", "LR"]}, "all different"),
        ({"surrogates": []}, "at least one"),
        ({"victims": "LR"}, "list of names"),
        ({"victims": 3}, "list of names"),
    ],
)
def test_bad_matrices_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        matrix(**changes)


# Galleries


def test_images_hold_points_and_differences():
    display = gallery().plot()
    assert display.axes_.shape == (3, 4)
    scale = np.abs(AFTER - BEFORE).max()
    for i in range(4):
        shown = [axes.images[0] for axes in display.axes_[:, i]]
        for image, points in zip(shown, (BEFORE, AFTER, AFTER - BEFORE), strict=True):
            np.testing.assert_allclose(image.get_array(), points[i].reshape(4, 4))
        assert [image.get_clim() for image in shown] == [(0, 1), (0, 1), (-scale, scale)]
    assert [axes.get_ylabel() for axes in display.axes_[:, 0]] == ["initial", "poisoned", "difference"]


def test_titles_tell_labels():
    labels, true = np.array([3, 0, 1, 2]), [8, 1, 0, 3]
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]

    def title(**settings):
        return gallery(**settings).plot().axes_[0, 0].get_title()

    assert title() == ""
    assert title(labels=labels) == "labelled 3"
    assert title(true_labels=true) == "was 8"
    assert title(labels=labels, true_labels=true) == "labelled 3\n(was 8)"
    assert title(labels=labels, true_labels=true, class_names=names) == "labelled three\n(was eight)"


def test_dollar_signs_in_names_of_classes_are_no_mathematics():
    display = gallery(labels=[0, 1, 0, 1], class_names=["$5-$10", "$_$"]).plot()
    display.figure_.draw_without_rendering()
    assert display.axes_[0, 0].get_title() == "labelled $5-$10"


def test_no_more_than_max_points_are_shown_and_the_rest_is_said():
    display = gallery().plot(max_points=3)
    assert display.axes_.shape == (3, 3)
    assert display.figure_.get_supxlabel() == "the first 3 of 4 poisoning points"
    assert gallery().plot(4).figure_.get_supxlabel() == ""
    with pytest.raises(InputError, match="max_points must be a positive whole number"):
        gallery().plot(0)


def test_rows_stand_in_line():
    figure = (display := gallery().plot()).figure_
    figure.canvas.draw()
    for column in display.axes_.T:
        lefts = [axes.get_position().x0 for axes in column]
        assert lefts == pytest.approx([lefts[0]] * 3, abs=1e-6)


def test_a_colour_image_s_difference_is_the_channel_that_changed_most():
    before = np.full((1, 2, 2, 3), 0.5)
    after = before.copy()
    after[0, 0, 0] = [0.6, 0.2, 0.5]
    display = gallery(before=before.reshape(1, -1), after=after.reshape(1, -1), image_shape=(2, 2, 3)).plot()
    images = [axes.images[0].get_array() for axes in display.axes_[:, 0]]
    np.testing.assert_allclose(images[1], after[0])
    np.testing.assert_allclose(images[2], [[-0.3, 0], [0, 0]], atol=1e-15)


@pytest.mark.parametrize(("low", "high", "black", "white"), [(0, 1, 0, 1), (0, 200, 0, 255), (-1, 1, -1, 1)])
def test_black_and_white_are_the_ends_of_the_usual_ranges(low, high, black, white):
    points = np.linspace(low, high, 16)[None]
    shown = gallery(before=points, after=points).plot().axes_[0, 0].images[0].get_array()
    np.testing.assert_allclose(np.ravel(shown), (points[0] - black) / (white - black))


@pytest.mark.parametrize("value", [-2.0, 0.0, 300.0])
def test_points_that_nothing_moved_and_nothing_fills_are_a_picture_too(value):
    display = gallery(before=np.full((1, 16), value), after=np.full((1, 16), value)).plot()
    assert display.axes_[2, 0].images[0].get_clim() == (-1, 1)


def test_a_gallery_comes_from_a_result():
    result = SimpleNamespace(start=BEFORE, points=AFTER, labels=np.array([0, 1, 0, 1]))
    display = PoisonGalleryDisplay.from_result(result)
    assert display.image_shape == (4, 4)
    assert display.plot().axes_[0, 1].get_title() == "labelled 1"
    named = PoisonGalleryDisplay.from_result(result, (2, 8), class_names=["a", "b"], true_labels=[1, 0, 1, 0])
    assert named.plot().axes_[0, 0].get_title() == "labelled a\n(was b)"
    odd = SimpleNamespace(start=BEFORE[:, :15], points=AFTER[:, :15], labels=result.labels)
    with pytest.raises(InputError, match=r"image_shape must be given .* 15 features"):
        PoisonGalleryDisplay.from_result(odd)
    with pytest.raises(InputError, match="has no start, labels"):
        PoisonGalleryDisplay.from_result(SimpleNamespace(points=AFTER))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"after": AFTER[:3]}, "must have the same shape"),
        ({"before": BEFORE[:0], "after": AFTER[:0]}, "at least one entry"),
        ({"before": BEFORE * np.nan}, "64 of 64 are not"),
        ({"image_shape": (4, 5)}, r"16 entries.*got \(4, 5\)"),
        ({"image_shape": (-4, -4)}, r"got \(-4, -4\)"),
        ({"image_shape": (2, 2, 4)}, r"\(h, w, 3\)"),
        ({"image_shape": 16}, r"\(h, w\)"),
        ({"image_shape": (4.5, 4)}, r"got \(4.5, 4\)"),
        ({"labels": [0, 1]}, r"labels must have shape \(4,\)"),
        ({"true_labels": np.eye(4)}, r"true_labels must have shape \(4,\)"),
        ({"labels": [0, 1, 2, 3], "class_names": ["a", "b"]}, "labels must be whole numbers 0 to 1"),
        ({"class_names": "ab"}, "list of names"),
    ],
)
def test_bad_galleries_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        gallery(**changes)
