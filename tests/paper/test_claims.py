"""The rules by which the paper's claims hold, on outcomes whose truth is known."""

import numpy as np
import pytest

from backgrad.errors import InputError
from backgrad.evaluation.confusion import class_errors, errors, shares
from backgrad.paper import EXPERIMENTS, Results, Scale, claims, make_scale, make_study
from backgrad.studies.plan import Outcome
from backgrad.studies.store import Store

# Test rows of each class in made-up outcomes.
ROWS = 10_000


def counts(wrong, k=2):
    """Return confusion counts with these shares of wrong rows in every class, spread over the next class."""
    wrong = np.broadcast_to(wrong, (k,))
    found = np.zeros((k, k), np.int64)
    for c in range(k):
        found[c, (c + 1) % k] = round(ROWS * wrong[c])
        found[c, c] = ROWS - found[c, (c + 1) % k]
    return found


def wobble(split):
    """Return a small difference between splits, of mean zero over three or five."""
    return 0.002 * ((split % 3) - 1)


def binary_outcome(run, damage):
    settings, found = run.settings, {}
    for victim in settings["victims"]:
        for kind in ("confusion", "flips"):
            rise = damage(settings, victim) if kind == "confusion" else 0.02
            last = max(settings["budgets"])
            rows = [counts(0.1 + wobble(run.split) + rise * budget / last) for budget in settings["budgets"]]
            found[f"{kind}.{victim}"] = np.stack(rows)
    return Outcome({}, found)


def made(tmp_path, names, outcome, *, quick=True):
    """Return results of a study whose outcomes are made up."""
    study, store = make_study(names, Scale(quick)), Store(tmp_path / "runs").open()
    for run in study.runs:
        store.write(run, outcome(run))
    return Results(study.runs, store)


def paper_like(settings, victim):
    """Return the damage at the largest budget as the paper has it."""
    own = {"logistic": 0.25, "adaline": 0.25, "mlp": 0.2}[victim]
    if settings["method"] == "best":
        return 0.3
    if settings["method"] == "transfer":
        return 0.35
    surrogate = settings["learner"]
    if surrogate == victim:
        return own
    if victim == "mlp":
        return 0.08
    return 0.03 if surrogate == "mlp" else own


def test_what_the_paper_reports_holds_where_it_is_found(tmp_path):
    results = made(tmp_path, ["figure2"], lambda run: binary_outcome(run, paper_like))
    found = claims(results, quick=True)
    assert [claim.holds for claim in found] == [True] * 10
    first = found[0]
    assert first.claim.startswith("Spambase, LR")
    assert first.paper_method.startswith("32.5 % [")  # 10 + 25 · 18/20
    assert first.best_attack is not None
    assert first.best_attack.startswith("40.0 % [")
    to_mlp, from_mlp = str(found[7].best_attack), str(found[8].best_attack)
    # Linear learners have attacks of their own for other learners' victims, the MLP has not.
    assert "Spambase LR → MLP 45.0 % [" in to_mlp
    assert "Spambase ADALINE → MLP 45.0 % [" in to_mlp
    assert "Spambase MLP → LR 40.0 % [" in from_mlp


def test_claims_fail_one_by_one_where_their_part_of_the_outcome_does(tmp_path):
    cases = {
        "weak": (lambda s, v: 0.05, {0, 1, 2, 3, 4, 5, 7, 8}),
        "flips as strong": (lambda s, v: 0.02, {0, 1, 2, 3, 4, 5, 7, 8, 9}),
        "one way": (lambda s, v: paper_like(s, v) if s["learner"] == v else 0.0, {6, 7}),
    }
    for name, (damage, failing) in cases.items():
        results = made(tmp_path / name, ["figure2"], lambda run, damage=damage: binary_outcome(run, damage))
        held = [claim.holds for claim in claims(results, quick=True)]
        assert {number for number, holds in enumerate(held) if not holds} == failing, name


def digits_outcome(run, generic, eights, threes, five):
    settings = run.settings
    base = np.full(10, 0.12 + wobble(run.split))
    rows, flips = [], []
    for budget in settings["budgets"]:
        share = budget / max(settings["budgets"])
        wrong = base + (generic * share if settings["options"]["goal"] == "error-generic" else 0)
        wrong[5] += five * share
        found = counts(wrong, 10)
        if settings["options"]["goal"] == "8:3":
            found[8] = 0
            found[8, 3] = round(ROWS * (0.2 + eights * share))
            found[8, 8] = ROWS - found[8, 3]
            found[3] = 0
            found[3, 4] = round(ROWS * (0.12 + threes * share))
            found[3, 3] = ROWS - found[3, 4]
        rows.append(found)
        flips.append(counts(base + 0.02 * share, 10))
    return Outcome({}, {"confusion.softmax": np.stack(rows), "flips.softmax": np.stack(flips)})


@pytest.mark.parametrize(
    ("truth", "holds"),
    [
        ((0.1, 0.3, 0.02, 0.1), [True, True, True, True, True, True]),
        ((0.05, 0.2, 0.02, 0.1), [False, True, True, False, True, True]),
        ((0.1, 0.3, 0.2, -0.05), [True, True, False, True, True, False]),
        ((0.0, 0.3, -0.01, 0.0), [False, False, True, True, True, False]),
    ],
)
def test_claims_about_digits(tmp_path, truth, holds):
    generic, eights, threes, five = truth
    results = made(tmp_path, ["figure4"], lambda run: digits_outcome(run, generic, eights, threes, five))
    found = [claim.holds for claim in claims(results, quick=True)]
    if truth[3] == 0.0:  # all digits alike: either answer would be one
        found[2] = True
    assert found == holds


def network_outcome(run, rises):
    """Make up errors with the rises of (method, crafted against, victim) in points of percent over clean ones."""
    settings, found = run.settings, {}
    for victim, clean in (("cnn", 0.01), ("softmax", 0.02)):
        rise = rises.get((settings["method"], settings["learner"], victim), 0.0)
        # Halves of a wobble of its own, or paired differences would have no width.
        own = wobble(run.split + len(settings["method"])) / 4
        many = settings["victims"] if victim == "cnn" else 1
        found[f"confusion.{victim}"] = np.stack([counts(clean + rise + own, 3)] * many)
    start = np.ones((10, 4))
    far = 0.1 if settings["learner"] == "cnn" else 0.6
    return Outcome({"classes": ("1", "5", "6")}, {**found, "start": start, "points": start * (1 + far)})


def test_a_null_effect_is_an_interval_with_zero_and_quick_runs_cannot_tell(tmp_path):
    rises = {("paper", "softmax", "softmax"): 0.02, ("best", "cnn", "cnn"): 0.01}
    names = ["figure5"]
    results = made(tmp_path / "null", names, lambda run: network_outcome(run, rises), quick=False)
    found = claims(results, quick=False)
    assert [claim.holds for claim in found] == [True] * 5
    assert "30 points" in str(found[0].best_attack)
    # All networks of a split err alike here, so that one of them shows what all of them show.
    told = found[0].paper_method.split("; ")
    alone = told[2].removeprefix("of one network a split, as in the paper, ")
    assert told[1].startswith(f"difference {alone}, ")
    strong = {
        **rises,
        ("paper", "cnn", "cnn"): 0.01,
        ("paper", "softmax", "cnn"): 0.01,
        ("paper", "cnn", "softmax"): 0.02,
    }
    results = made(tmp_path / "effect", names, lambda run: network_outcome(run, strong), quick=False)
    assert [claim.holds for claim in claims(results, quick=False)] == [False, True, False, False, True]
    results = made(tmp_path / "quick", names, lambda run: network_outcome(run, strong), quick=True)
    assert [claim.holds for claim in claims(results, quick=True)] == [None, True, None, None, None]


def reversal_outcome(run, dense):
    if run.task.endswith(":cost"):
        ways = ("exact, stored", "back-gradient", "implicit, conjugate gradients", "implicit, dense")
        seconds = (0.1, 0.12, 0.2, dense)
        cases = [{"parameters": 500, "steps": 60, "adjoint": way, "cosine": 0.99} for way in ways]
        return Outcome({"cases": cases}, {}, {str(i): value for i, value in enumerate(seconds)})
    lost = [None if steps == 400 else 1 - steps / 1000 for steps in run.settings["steps"]]
    drift = [None if value is None else 1 - value for value in lost]
    return Outcome({"cosine": [lost] * len(run.settings["counts"]), "drift": [drift] * len(run.settings["counts"])})


@pytest.mark.parametrize(("dense", "holds"), [(0.5, True), (0.01, False)])
def test_cost_is_compared_where_the_dense_system_is_largest(tmp_path, dense, holds):
    results = made(tmp_path, ["figure7"], lambda run: reversal_outcome(run, dense))
    (claim,) = claims(results, quick=True)
    assert claim.holds is holds
    assert "dense" in claim.paper_method


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("figure2", lambda run: binary_outcome(run, paper_like)),
        ("figure3", lambda run: binary_outcome(run, paper_like)),
        ("figure4", lambda run: digits_outcome(run, 0.1, 0.3, 0.02, 0.1)),
        ("figure7", lambda run: reversal_outcome(run, 0.5)),
    ],
)
def test_figures_are_drawn_with_names_on_their_axes_and_rows_of_plain_numbers(tmp_path, name, outcome):
    import json

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    experiment, results = EXPERIMENTS[name], made(tmp_path, [name], outcome)
    figure = experiment.draw(results)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    legends = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    assert legends
    assert any("(%)" in ax.get_ylabel() or "cosine" in ax.get_ylabel() for ax in figure.axes)
    plt.close(figure)
    rows = experiment.rows(results)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_galleries_show_the_points_of_each_learner(tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def outcome(run):
        found = network_outcome(run, {})
        images = np.linspace(0, 1, 784)[None].repeat(10, axis=0)
        return Outcome(
            found.values, {**found.arrays, "start": images, "points": images[:, ::-1], "labels": np.arange(10) % 3}
        )

    results = made(tmp_path, ["figure5", "figure6"], outcome)
    for name in ("figure5", "figure6"):
        figure = EXPERIMENTS[name].draw(results)
        assert len(figure.axes) >= 30
        plt.close(figure)
    rows = EXPERIMENTS["figure5"].rows(results)
    assert {(row["method"], row["crafted_against"]) for row in rows} >= {("clean", None), ("paper", "cnn")}


def test_shared_runs_are_there_once_and_names_are_checked():
    both = make_study(["figure2", "figure3"], Scale(quick=True))
    assert len(both.runs) == len(make_study(["figure3"], Scale(quick=True)).runs) == 3 * 2 * (3 * 2 + 2)
    assert [run.split for run in both.runs] == sorted(run.split for run in both.runs)
    with pytest.raises(InputError, match=r"figure1, .* or all; got figure9"):
        make_study(["figure9"], Scale())
    with pytest.raises(InputError, match="got none"):
        make_study([], Scale())


def test_quick_runs_and_those_without_the_full_mnist_use_the_bundled_digits(monkeypatch, tmp_path):
    assert make_scale(quick=True).digits == "mnist"
    monkeypatch.setenv("BACKGRAD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert make_scale(quick=False).digits == "mnist"


def test_a_missing_run_is_an_error(tmp_path):
    study = make_study(["figure1"], Scale(quick=True))
    with pytest.raises(InputError, match="is missing"):
        Results(study.runs, Store(tmp_path))


def test_counts_become_shares():
    found = np.asarray([[8, 2], [3, 7]])
    assert errors(found) == pytest.approx(0.25)
    np.testing.assert_allclose(class_errors(found), [0.2, 0.3])
    np.testing.assert_allclose(shares(found), [[0.8, 0.2], [0.3, 0.7]])
