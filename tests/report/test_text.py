import doctest

import pytest

from backgrad import spelling
from backgrad.report import text


def test_examples():
    assert doctest.testmod(text).failed == 0
    assert doctest.testmod(text).attempted >= 3


def test_examples_of_spelling():
    assert doctest.testmod(spelling).failed == 0
    assert doctest.testmod(spelling).attempted == 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0.0, "0 s"), (0.0994, "99 ms"), (0.0997, "0.1 s"), (9.94, "9.9 s"), (9.96, "10 s"), (119.4, "119 s")),
        *((119.6, "2 min"), (5400.0, "90 min"), (7180.0, "2 h 0 min")),
    ],
)
def test_times_take_the_unit_that_suits_them(value, shown):
    assert spelling.spell_seconds(value) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("a\x00b", "a\\u0000b"),
        ("\u202eabc", "\\u202eabc"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("👩\u200d🔬 می\u200cخواهم", "👩\u200d🔬 می\u200cخواهم"),
        ("a\u2028b", "a\\u2028b"),
        ("e" + "\u0301" * 50, "e" + "\u0301" * 4),
    ],
)
def test_hidden_characters_are_seen(given, shown):
    assert text.visible(given) == shown


def test_long_texts_are_cut_once():
    assert text.visible("x" * 5000) == "x" * 999 + "…"
    assert text.visible("\x00" * 5000, longest=12) == "\\u0000\\u000…"
    assert text.all_visible({"a\n": [1, None, {"b": "c\t"}]}) == {"a\\n": [1, None, {"b": "c\\t"}]}


def test_numbers():
    assert text.signed(-0.04, "+.1f") == "0.0"
    assert text.signed(-1.25, "+.2f") == "−1.25"
    assert text.between([0.02, None], text.fraction) == "2\xa0% to beyond the budget"
    assert text.between([None, 0.02], text.fraction) == "up to 2\xa0%"
    assert text.between(None) == text.between([None, None]) == "–"
    assert text.estimate(None, [0.1, 0.2]) == "–"
    assert text.estimate(0.15, [0.1, 0.2]) == "15.0\xa0% (10.0\xa0% to 20.0\xa0%)"


def test_labels_are_short_and_all_different():
    found = text.labels(["a" * 30, "a" * 40, "", "_x", "b"], 10)
    assert len(set(found)) == 5
    assert max(map(len, found)) <= 11
    assert found[2:] == ["(no name)", "\xa0_x", "b"]
