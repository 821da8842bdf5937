"""`backgrad attack --estimate`: what is said, and that nothing is written."""

import re

import pytest

from backgrad.cli.run_estimate import size
from tests.cli.support import TINY, run


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Take every time once."""
    monkeypatch.setattr("backgrad.attacks.cost._ENOUGH", 0.0)


def test_an_estimate_is_printed_in_80_columns_and_nothing_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("backgrad.cli.run.evaluate_split", None)  # whoever calls it fails
    options = ["--fractions", "0.1", "--feasible", "box:0.05..0.95", "--splits", "3"]
    tiny = [word for word in TINY if word not in ("--points", "4")]
    code, out, err = run(capsys, "attack", "blobs2", *tiny, *options, "--estimate")
    assert (code, err) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "blobs2: LogisticRegression, 3 splits, 2 points" in out
    # Three iterations on three splits.
    assert re.search(r"attack .* 9 hypergradients of ", out)
    for part in ("start-up", "compilation", "checks", "victims", "About ", "Memory: ", "Nothing was written."):
        assert part in out
    shares = [int(share) for share in re.findall(r"(\d+)%", out)]
    assert 97 <= sum(shares) <= 103


def test_a_search_without_hypergradients_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(
        capsys, "attack", "blobs2", *TINY, "--points", "1", "--strategy", "subpopulation", "--estimate"
    )
    assert (code, err) == (0, "")
    assert "1 split, 1 point" in out
    assert "1 points" not in out
    assert re.search(r"attack .* trials of points, without hypergradients", out)
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize(
    "options",
    [
        ["--step-size", "1e6", "--learner", "adaline", "--points", "2"],
        ["--points", "21"],
        ["--points", "2", "--fractions", "0.1"],
        ["--knowledge", "surrogate-data", "--train", "560"],
    ],
    ids=["divergence", "too many points", "two budgets", "too few rows"],
)
def test_bad_input_is_refused_as_without_estimate(options, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = [
        run(capsys, "attack", "blobs2", "--train", "20", "--validation", "30", *options, *more)
        for more in ([], ["--estimate"])
    ]
    assert said[0] == said[1]
    assert said[0][0] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "words"), [(1500, "2 kB"), (2_000_000, "2.0 MB"), (700_000_000, "0.7 GB")])
def test_sizes_are_spelt_in_a_unit_that_suits_them(count, words):
    assert size(count) == words
