import base64
import hashlib
import re
from functools import cache

import numpy as np
import pytest

from backgrad.errors import InputError
from backgrad.report import render, words, write_audit, write_report

from .samples import HOSTILE, SAMPLES, make
from .support import Page


@cache
def html(name):
    return render(make(name))


@cache
def page(name):
    return Page(html(name))


# What may stand in an attribute of a page without outside requests.
LOCAL = re.compile(r"#[a-z0-9_-]+|data:,|data:image/png;base64,[A-Za-z0-9+/=]+")
ELEMENTS = {
    *("html", "head", "meta", "link", "title", "style", "body", "a", "header", "main", "footer", "nav", "section"),
    *(
        "h1",
        "h2",
        "p",
        "div",
        "span",
        "strong",
        "bdi",
        "time",
        "dl",
        "dt",
        "dd",
        "ul",
        "ol",
        "li",
        "details",
        "summary",
    ),
    *("figure", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td", "pre", "code"),
    *("svg", "g", "defs", "path", "clippath", "rect", "use", "text", "tspan", "image", "pattern", "circle"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_pages_are_well_formed_and_ask_for_nothing(name):
    found = page(name)
    assert not found.broken
    assert not found.stack
    assert not found.comments
    assert {tag for tag, _, _ in found.elements} <= ELEMENTS
    for tag, attrs, _ in found.elements:
        assert not any(key.startswith("on") or key == "style" for key in attrs), (tag, attrs)
        for key in ("href", "src", "xlink:href", "action", "data", "srcset"):
            assert key not in attrs or LOCAL.fullmatch(attrs[key]), (tag, key, attrs[key][:60])
        for value in attrs.values():
            assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", value or "")) or (
                tag == "svg" or "aria-label" in attrs
            )
    style = "".join(found.inside["style"])
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("name", SAMPLES)
def test_ids_are_unique_and_references_lead_somewhere(name):
    ids = [attrs["id"] for _, attrs, _ in page(name).elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for _, attrs, _ in page(name).elements if attrs.get("href", "").startswith("#")}
    targets |= {
        match
        for _, attrs, _ in page(name).elements
        for match in re.findall(r"^url\(#(.*)\)$", attrs.get("clip-path") or "")
    }
    labelled = {attrs["aria-labelledby"] for _, attrs, _ in page(name).elements if "aria-labelledby" in attrs}
    assert targets | labelled <= set(ids)


@pytest.mark.parametrize("name", SAMPLES)
def test_pages_are_small(name):
    assert len(html(name).encode()) < 1_000_000


@pytest.mark.parametrize("name", SAMPLES)
def test_the_policy_allows_the_style_by_its_hash_and_nothing_else(name):
    (policy,) = (one["content"] for one in page(name).all("meta") if "http-equiv" in one)
    style = re.search(r"<style>(.*?)</style>", html(name), re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_every_section_is_there_in_order(name):
    headings = [attrs["id"] for attrs in page(name).all("h2")]
    assert headings == ["verdict", *words.SECTIONS]
    order = [tag for tag, _, _ in page(name).elements if re.fullmatch(r"h\d", tag)]
    assert order == ["h1"] + ["h2"] * len(headings)
    for key in words.SECTIONS:
        assert f"#{key}" in {attrs.get("href") for attrs in page(name).all("a")}


@pytest.mark.parametrize("name", SAMPLES)
def test_landmarks_tables_and_figures_are_accessible(name):
    found = page(name)
    assert found.all("html") == [{"lang": "en", "dir": "ltr"}]
    assert [len(found.all(tag)) for tag in ("header", "main", "nav", "footer")] == [1, 1, 1, 1]
    first = next(attrs for tag, attrs, parents in found.elements if tag == "a")
    assert first["href"] == "#main"
    tables, captions = found.all("table"), found.all("caption")
    assert len(tables) == len(captions) > 0
    assert all(attrs.get("scope") in ("row", "col") for attrs in found.all("th"))
    for attrs in found.all("svg"):
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"]) > 30
        assert "viewbox" in attrs
        assert "width" not in attrs
    scrolling = [attrs for attrs in found.all("div") if attrs.get("class") == "scroll"]
    assert len(scrolling) == len(tables)
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" for attrs in scrolling)


def test_figures_have_their_numbers_in_a_table():
    text = page("normal").text
    figures = re.findall(r"<figcaption>(.*?)</figcaption>", html("normal"))
    assert figures == [title for name, title in words.FIGURES.items() if name != "images"]
    for number in ("24.0\xa0% ± 3.0", "+41.0", "53.0\xa0%", "not tried", "−0.74", "16.1\xa0%"):
        assert number in text, number
    # The curve's table says what the record says, digit by digit.
    first = make("normal")["curves"][0]
    mean, (low, high) = first["poisoned"]["mean"][3], first["poisoned"]["interval"][3]
    assert f"{100 * mean:.1f}\xa0% ({100 * low:.1f}\xa0% to {100 * high:.1f}\xa0%)" in text


def test_hostile_texts_stay_texts():
    found = page("hostile")
    for evil in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[6], HOSTILE[8], HOSTILE[10]):
        assert evil in found.text
    assert not found.all("script")
    assert not found.all("img")
    assert "line\\nbreak\\r\\ttab\\u0000\\u001b[31m" in found.text
    assert "\\u202egnirts desrever\\u2066" in found.text
    assert "Ärger 数据 🦠 עברית العربية" in found.text
    hidden = re.findall(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe]", html("hostile")
    )
    assert not hidden
    assert "W" * 1001 not in found.text


def test_texts_of_the_record_are_isolated_from_their_surroundings():
    # A name in Hebrew must not turn round the numbers beside it.
    for tag in ("td", "li"):
        parents = [
            (name, attrs, stack) for name, attrs, stack in page("hostile").elements if stack and stack[-1] == tag
        ]
        assert parents
        assert all(name in ("bdi", "a") for name, _, _ in parents)


def test_an_attack_that_did_not_work_is_told_before_the_verdict():
    for name, told in (("failed", words.WARNINGS["failed"]), ("minimal", words.WARNINGS["nothing to do"])):
        text = page(name).text
        assert text.index(told) < text.index(make(name)["verdict"][0].replace(" %", "\xa0%"))
        assert "no evidence of robustness" in told
    for name in ("normal", "censored"):
        assert "Warning." not in page(name).text
    record = make("minimal")
    record["health"]["verdict"] = "suspect"
    assert words.WARNINGS["suspect"] in Page(render(record)).text
    assert set(words.WARNINGS) == {"suspect", "failed", "nothing to do"}


def test_a_limit_that_was_not_reached_is_a_result():
    text = page("censored").text
    assert "not reached" in text
    assert words.CENSORED in text
    assert words.CENSORED not in page("normal").text


def test_certificates_say_what_they_hold_for():
    for name in SAMPLES:
        assert "It holds for the defended model, not for the pipeline that was audited." in page(name).text


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "hostile"])
def test_nothing_is_called_compliant(name):
    assert "evidence towards" in page(name).text
    assert "complian" not in page(name).text.lower()
    assert "guarantee" not in page(name).text.lower()


def test_what_is_left_out_is_counted():
    text = page("huge").text
    for more in ("9,940 more", "140 more", "188 more", "440 more"):
        assert more in text, more
    shifted = max(make("huge")["poison"]["features"], key=lambda one: abs(one["shift"]))
    assert shifted["name"] in text


def test_one_that_is_left_out_is_counted_as_one():
    record = make("normal")
    row, warning = record["defences"]["rows"][0], "A split had no poison."
    rows, warnings = [{**row, "name": f"d{i}"} for i in range(61)], [warning] * 31
    record["defences"] |= {"rows": rows, "warnings": warnings}
    budgets = list(range(100))
    record["certificates"] |= {"budgets": budgets, "certified_error": [i / 100 for i in budgets]}
    text = render(record)
    assert "The first 60 of 61 defences; 1 more is in audit.json." in text
    assert "1 more warning is in audit.json." in text
    assert "One in 2 of 100 budgets; all are in audit.json." in text


def test_raw_rows_are_shown_only_if_the_record_has_them():
    assert "Poisoned rows</span></caption>" not in html("normal")
    assert "Poisoned rows</span></caption>" in html("hostile")


def test_the_same_record_gives_the_same_bytes(tmp_path):
    import matplotlib.pyplot as plt

    file = write_report(make("images"), tmp_path / "deeper" / "a.html")
    assert file.read_bytes() == html("images").encode()
    assert [one.name for one in file.parent.iterdir()] == ["a.html"]
    assert plt.get_fignums() == []  # no figure stays open


def test_files_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "report.html", tmp_path / "a\0b.html", tmp_path):
        with pytest.raises(InputError, match="cannot be"):
            write_report(make("minimal"), path)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_the_user_s_own_look_of_figures_does_not_matter():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": True, "figure.dpi": 17}):
        assert render(make("minimal")) == html("minimal")
    assert dict(mpl.rcParams) == before


def test_an_audit_lists_the_files_that_there_are(tmp_path):
    record = {**make("minimal"), "artifacts": []}
    assert set(write_audit(record, None, tmp_path)) == {file.name for file in tmp_path.iterdir()}
    listed = write_audit(record, {"points": np.zeros((1, 2, 3))}, tmp_path)
    assert set(listed) == {file.name for file in tmp_path.iterdir()}
    assert "points.npz" in write_audit({**record, "artifacts": listed}, None, tmp_path)
