import io
from xml.etree import ElementTree

import numpy as np
import pytest

from backgrad.report import validate, write_figures
from backgrad.report.figures import draw_figures, look
from backgrad.report.schema import AuditRecord
from backgrad.report.svg import inline_svg
from backgrad.report.text import all_visible

from .samples import HOSTILE, make

EVERY = ["curve", "victims", "class_damage", "confusion_difference", "transfer", "defences", "certificates"]


def drawn(record):
    audit = AuditRecord.model_validate(all_visible(validate(record).model_dump()))
    with look():
        return draw_figures(audit)


def test_figures_are_those_that_the_record_has_something_for():
    assert list(drawn(make("normal"))) == [*EVERY, "features"]
    assert list(drawn(make("images"))) == [*EVERY, "images"]
    assert list(drawn(make("minimal"))) == ["curve"]


def test_the_curve_shows_limit_and_breaking_point():
    record = make("normal")
    ax = drawn(record)["curve"].axes[0]
    names = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert names == ["optimised rows", "label flips", "no attack", "limit (20 %)", "breaking point (3.1\xa0%)"]
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_allclose(lines["optimised rows"].get_ydata(), record["curves"][0]["poisoned"]["mean"])
    np.testing.assert_allclose(lines["breaking point (3.1\xa0%)"].get_xdata(), 0.031)
    censored = drawn(make("censored"))["curve"]
    assert not any("breaking" in text.get_text() for text in censored.legends[0].get_texts())


def test_curves_differ_without_colour():
    styles = [
        (line.get_linestyle(), line.get_marker())
        for line in drawn(make("normal"))["curve"].axes[0].get_lines()
        if line.get_label() in ("optimised rows", "label flips", "no attack")
    ]
    assert len(set(styles)) == 3


def test_bars_and_cells_are_the_record_s():
    record = make("normal")
    figures = drawn(record)
    widths = sorted(bar.get_width() for bar in figures["class_damage"].axes[0].patches)
    assert widths == pytest.approx([5, 10, 12, 20, 40, 53])
    cells = [text.get_text() for text in figures["confusion_difference"].axes[0].texts]
    assert cells == ["−41", "+41", "+35", "−35"]  # class 1, the most damaged, comes first
    shifts = [text.get_text() for text in figures["features"].axes[0].texts]
    assert shifts[:3] == ["+3", "+0.81", "−0.74"]
    texts = [text.get_text() for text in figures["transfer"].axes[0].texts]
    assert {"24.0", "±\N{THIN SPACE}3.0"} <= set(texts)


def test_beyond_the_last_certified_budget_nothing_is_certified():
    record = make("normal")
    record["certificates"]["budgets"], record["certificates"]["certified_error"] = [0, 10], [0.1, 0.3]
    line = drawn(record)["certificates"].axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 10, 26])
    np.testing.assert_allclose(line.get_ydata(), [0.1, 0.3, 1.0])


def test_measured_errors_have_the_intervals_of_their_splits():
    record = make("normal")
    for one in record["certificates"]["measured"]:
        one["splits"] = [one["error"] - 0.01, one["error"], one["error"] + 0.01]
    bars = drawn(record)["certificates"].axes[0].containers
    assert [len(one.lines[0].get_xdata()) for one in bars] == [2, 1]
    assert all(one.has_yerr for one in bars)
    record["certificates"]["measured"][0]["splits"] = None  # then means are all there is
    assert [one.has_yerr for one in drawn(record)["certificates"].axes[0].containers] == [False, True]


def test_files_are_png_and_pdf_and_the_same_every_time(tmp_path):
    record = make("hostile")
    record |= dict.fromkeys(["transfer", "defences", "certificates"])
    record["curves"] = record["curves"][:1]
    record["class_damage"] |= {"confusion_clean": None, "confusion_poisoned": None}
    first, second = (write_figures(record, tmp_path / name) for name in "ab")
    names = [file.name for file in first]
    assert names == [
        f"{name}.{form}" for name in ("curve", "class_damage", "features", "images") for form in ("png", "pdf")
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        assert one.read_bytes()[:4] in (b"\x89PNG", b"%PDF")


def test_dollar_signs_and_bad_names_do_not_reach_matplotlib_s_own_languages():
    record = make("normal")
    names = ["$\\frac{1}{0$", "_nolegend_", "\\", "^_^", "", *HOSTILE]
    record["poison"]["features"] = [
        {"name": name, "clean_mean": 0.0, "poison_mean": 1.0, "shift": 30.0 - i} for i, name in enumerate(names)
    ]
    figure = drawn(record)["features"]
    shown = [label.get_text().strip() for label in figure.axes[0].get_yticklabels()]
    assert shown[:5] == ["$\\frac{1}{0$", "_nolegend_", "\\", "^_^", "(no name)"]
    with look():
        figure.savefig(io.BytesIO(), format="pdf")


def test_names_cut_alike_stay_apart():
    record = make("normal")
    record["transfer"]["victims"] = [f"a victim with a long name, number {i}" for i in range(4)]
    assert "transfer" in drawn(record)


def test_inline_svg_keeps_no_style_metadata_or_foreign_id():
    figures = drawn(make("normal"))
    with look():
        text = inline_svg(figures["certificates"], name="certificates", label='a "label" <b>')
        other = inline_svg(figures["curve"], name="curve", label="x")
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == 'a "label" <b>'
    for element in root.iter():
        assert "style" not in element.attrib
        assert element.tag.split("}")[-1] not in ("style", "metadata", "script", "foreignObject", "a")
        assert element.get("id", "certificates-").startswith("certificates-")
    ids = {element.get("id") for element in root.iter()} - {None}
    assert ids
    assert not ids & {element.get("id") for element in ElementTree.fromstring(other).iter()}
    assert "inserted rows" in "".join(root.itertext())


@pytest.mark.parametrize("shape", [(2, 3), (2, 2, 3)])
def test_images_may_be_any_shape(shape):
    record, size = make("images"), int(np.prod(shape))
    record["poison"]["images"] = {
        "shape": list(shape),
        "before": [[0.0] * size],
        "after": [[1.0] * size],
        "labels": None,
    }
    assert "images" in drawn(record)
