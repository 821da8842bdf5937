"""The benchmark of defences keeps every split that is done, and goes on from there."""

import json

import pytest
from benchmarks.defences import table

from backgrad.evaluation.defence_table import MEASURES


def _found(number: int, *names: str) -> dict:
    values = {measure: [0.1 * number + 0.01 * i] for i, measure in enumerate(MEASURES)}
    untried = {**values, "adaptive_error": [float("nan")]}
    defences = {"none": untried, **{name: untried if number == 1 and name == "y" else values for name in names}}
    return {
        "seconds": 1.0,
        "train": 150,
        "validation": 150,
        "points": 8,
        "flips": [0.1 * number],
        "defences": defences,
        "warnings": ["known to nobody"],
    }


def test_a_stopped_benchmark_goes_on_from_the_last_split(monkeypatch, tmp_path, capsys):
    asked = []

    def measure(name, learner, share, number, names):
        asked.append((name, learner, share, number, *names))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return _found(number, *names)

    monkeypatch.setattr(table, "measure", measure)
    monkeypatch.setattr(table, "DEFENCES", ("x",))
    kept, written = tmp_path / "kept.json", tmp_path / "tables.md"
    words = ["--json", str(kept), "--data", "breast-cancer", "--learners", "mlp", "--shares", "0.05"]
    monkeypatch.setattr("sys.argv", ["table", *words, "--markdown", str(written)])
    with pytest.raises(KeyboardInterrupt):
        table.main()
    assert not written.exists()
    table.main()
    assert [number for *_, number, _ in asked] == [0, 1, 2, 2]
    (found,) = json.loads(kept.read_text()).values()
    assert (found["flips"], found["seconds"], found["warnings"]) == ([0.0, 0.1, 0.2], 3.0, ["known to nobody"])
    assert found["defences"]["x"]["clean_error"] == pytest.approx([0.0, 0.1, 0.2])
    text = written.read_text()
    assert "150 training rows; 8 (5%) points; label flips alone 10.0 %." in text
    assert "| none | 10.0 | 11.0 | – |" in text
    assert "3 splits" in capsys.readouterr().out
    monkeypatch.setattr(table, "DEFENCES", ("y", "x"))  # one that was not known then
    table.main()
    assert [ask[3:] for ask in asked[4:]] == [(0, "y"), (1, "y"), (2, "y")]
    (found,) = json.loads(kept.read_text()).values()
    assert list(found["defences"]) == ["none", "y", "x"]
    assert found["defences"]["y"]["clean_error"] == found["defences"]["x"]["clean_error"]
    assert found["flips"] == [0.0, 0.1, 0.2]
    monkeypatch.setattr("sys.argv", ["table", *words, "--again", "y"])
    table.main()
    assert [ask[3:] for ask in asked[7:]] == [(1, "y")]
