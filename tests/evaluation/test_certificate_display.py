"""The picture of a certificate."""

import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from scipy import stats

from backgrad.defences.certified import DeepPartitionAggregation, SmoothedLabelsClassifier
from backgrad.errors import InputError
from backgrad.evaluation.displays import CertificateDisplay

mpl.use("Agg")
import matplotlib.pyplot as plt

BUDGETS, ACCURACY = [0, 1, 5, 10], [0.9, 0.8, 0.5, 0.0]
ATTACKS = {"label flips": ([1, 5], [0.12, 0.2]), "joint": ([1, 5], [[0.1, 0.14, 0.15], [0.3, 0.2, 0.25]])}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def draw(**settings):
    return CertificateDisplay(budgets=BUDGETS, certified_accuracy=ACCURACY, **settings).plot()


def test_the_line_is_one_less_the_certified_accuracy_and_steps_up_before_each_budget():
    display = draw()
    assert np.allclose(display.line_.get_xydata(), np.column_stack([BUDGETS, 1 - np.array(ACCURACY)]))
    assert display.line_.get_drawstyle() == "steps-pre"


def test_the_region_above_the_line_is_shaded_and_the_one_below_is_not():
    (path,) = draw().region_.get_paths()
    # Between budgets 1 and 5 the bound is that of 5: an error of 0.5.
    inside = path.contains_points([[0.5, 0.3], [0.5, 0.15], [3, 0.6], [3, 0.4], [7, 0.99]])
    assert inside.tolist() == [True, False, True, False, False]


def test_measured_errors_are_means_with_intervals_over_splits():
    display = draw(attacks=ATTACKS)
    assert np.allclose(display.points_["label flips"].get_xydata(), [[1, 0.12], [5, 0.2]])
    assert np.allclose(display.points_["joint"].get_ydata(), [0.13, 0.25])
    half = stats.t.ppf(0.975, 2) * np.std([0.1, 0.14, 0.15], ddof=1) / np.sqrt(3)
    bars = [one for one in display.ax_.containers if one.has_yerr]
    assert len(bars) == 1
    low, high = bars[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.13 - half, 0.13 + half))


def test_attacks_differ_by_marker_and_not_by_colour_alone():
    display = draw(attacks={f"attack {i}": ([1, 5], [0.1, 0.2]) for i in range(6)})
    assert len({line.get_marker() for line in display.points_.values()}) == 6


@pytest.mark.parametrize("attacks", [None, ATTACKS])
def test_the_picture_says_what_it_is_of(attacks):
    display = draw(attacks=attacks, unit="changed labels")
    title = display.ax_.get_title(loc="left")
    assert "for the defended model, not for the pipeline without the defence" in title
    assert ("between points and line" in title) == (attacks is not None)
    assert display.ax_.get_xlabel() == "budget p: changed labels"


def test_from_result_takes_what_the_result_has():
    result = SimpleNamespace(budgets=BUDGETS, certified_accuracy=ACCURACY, attacks=ATTACKS, unit="changed labels")
    display = CertificateDisplay.from_result(result)
    assert display.unit == "changed labels"
    assert set(display.attacks) == set(ATTACKS)
    bare = CertificateDisplay.from_result(SimpleNamespace(budgets=BUDGETS, certified_accuracy=ACCURACY))
    assert (bare.attacks, bare.unit) == ({}, "inserted or deleted rows")
    with pytest.raises(InputError, match="SimpleNamespace has no certified_accuracy"):
        CertificateDisplay.from_result(SimpleNamespace(budgets=BUDGETS))


def test_from_estimator_asks_the_estimator():
    x, y = np.arange(40.0)[:, None], np.arange(40) // 20
    model = DeepPartitionAggregation(n_partitions=5).fit(x, y)
    display = CertificateDisplay.from_estimator(model, x, y, budgets=[0, 1, 2])
    assert np.array_equal(display.certified_accuracy, model.certified_accuracy(x, y, [0, 1, 2]))
    assert display.unit == "inserted or deleted rows"
    smoothed = SmoothedLabelsClassifier().fit(x, y)
    assert CertificateDisplay.from_estimator(smoothed, x, y, budgets=[0, 1]).unit == "changed labels"
    assert CertificateDisplay.from_estimator(smoothed, x, y, budgets=[0, 1], unit="labels").unit == "labels"


def test_it_draws_on_axes_that_are_given():
    _, axes = plt.subplots(1, 2)
    display = CertificateDisplay(budgets=BUDGETS, certified_accuracy=ACCURACY)
    assert display.plot(axes[1], line_kw={"color": "red"}).ax_ is axes[1]
    assert display.figure_ is axes[1].figure
    assert display.line_.get_color() == "red"
    with pytest.raises(InputError, match="ax must be one matplotlib Axes; got ndarray"):
        display.plot(axes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budgets": [0, 5, 1, 10]}, "budgets must be numbers of 0 or more that increase"),
        ({"budgets": [-1, 0, 1, 2]}, "budgets must be numbers of 0 or more that increase"),
        ({"certified_accuracy": [0.9, 0.8]}, r"certified_accuracy must have one entry a budget, \(4,\)"),
        ({"certified_accuracy": [90, 80, 50, 0]}, r"certified_accuracy must be shares in \[0, 1\]"),
        ({"certified_accuracy": [0.5, 0.6, 0.5, 0]}, "certified_accuracy must not increase"),
        ({"certified_accuracy": [0.5, np.nan, 0, 0]}, "certified_accuracy must hold finite numbers"),
        ({"certified_accuracy": [[0.9, 0.8]] * 4}, r"certified_accuracy must have 1 dimension\(s\)"),
        ({"certified_accuracy": "high"}, "certified_accuracy must be an array of numbers"),
        ({"attacks": {"joint": ([1, 2], [0.1])}}, "errors of 'joint' must have one entry a budget"),
        ({"attacks": {"joint": ([2, 1], [0.1, 0.2])}}, "budgets of 'joint' must be numbers"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(InputError, match=message):
        CertificateDisplay(**{"budgets": BUDGETS, "certified_accuracy": ACCURACY, **settings})


def test_matplotlib_is_imported_by_plot_only():
    code = "import sys, backgrad.evaluation.displays.certificate; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
