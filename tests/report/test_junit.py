from xml.etree import ElementTree

import pytest

from backgrad.report import junit_xml, words, write_junit

from .samples import HOSTILE, make


def case(record):
    root = ElementTree.fromstring(junit_xml(record))
    (found,) = root.iter("testcase")
    return root, found, [child.tag for child in found]


@pytest.mark.parametrize(
    ("verdict", "code", "tag"),
    [("passed", 0, None), ("broken", 1, "failure"), ("inconclusive", 3, "error"), ("not asked", 0, "skipped")],
)
def test_a_build_is_red_exactly_where_the_exit_code_is_not_0(verdict, code, tag):
    record = make("normal")
    record["gate"] |= {"verdict": verdict, "exit_code": code}
    root, found, tags = case(record)
    assert tags == [*([tag] if tag else []), "system-out"]
    for element in (root, root.find("testsuite")):
        totals = [element.get(key) for key in ("tests", "failures", "errors", "skipped")]
        assert totals == ["1", *(str(int(tag == one)) for one in ("failure", "error", "skipped"))]
    assert bool(code) == (tag in ("failure", "error"))
    assert found.get("name") == "error at most 20\xa0% with 5\xa0% of the training rows poisoned"
    if tag:
        assert make("normal")["verdict"][0] in found.find(tag).get("message")


def test_facts_are_properties():
    root, _, _ = case(make("normal"))
    facts = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert facts["error"] == "24.1\xa0% (21.2\xa0% to 27.0\xa0%)"
    assert facts["attack health"] == "worked"
    assert facts["exit code"] == "1"


def test_hostile_texts_are_escaped_and_control_characters_gone():
    record = make("hostile")
    record["gate"]["rules"] = HOSTILE
    _, found, _ = case(record)
    text = found.find("failure").text
    assert "<script>alert(1)</script>" in text
    assert "tab\\u0000\\u001b[31m" in text
    assert "]]><!-- -- --><![CDATA[" in text
    assert not any(ord(character) < 32 and character != "\n" for character in junit_xml(record))


def test_an_attack_that_failed_is_told():
    _, found, tags = case(make("failed"))
    assert tags == ["error", "system-out"]
    assert words.WARNINGS["failed"] in found.find("system-out").text
    _, found, _ = case(make("minimal"))
    assert found.get("name") == "no limit was set"


def test_files_are_the_same_every_time(tmp_path):
    first, second = (write_junit(make("hostile"), tmp_path / name).read_bytes() for name in "ab")
    assert first == second
    assert first.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites')
