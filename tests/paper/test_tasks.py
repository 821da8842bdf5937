"""The tasks behind the paper's figures, at sizes of their own."""

import functools

import numpy as np
import pytest

from backgrad.datasets import load
from backgrad.paper import PAPER_TASKS
from backgrad.paper.reversal import averaged
from backgrad.paper.settings import INNER, paper_options, poison
from backgrad.studies.tasks import resolve

BUDGETS = (0, 1, 3)


def do(task, settings, split=0, seed=0):
    shares = []
    outcome = resolve(PAPER_TASKS[task].run)(settings, split, seed, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    return outcome


def small(method="paper", **changed):
    settings = poison("spambase", "logistic", method, points=3, budgets=BUDGETS, victims=("logistic", "mlp"), train=40)
    settings["options"] |= {"outer_steps": 4, "attack_steps": 20, **changed.pop("options", {})}
    return {**settings, **changed}


@functools.cache
def poisoned(method="paper"):
    return do("poison", small(method))


def test_greedy_points_are_judged_at_every_budget_against_clean_rows_and_flips():
    outcome = poisoned()
    assert outcome.arrays["points"].shape == (3, 54)
    rows = load("spambase").n_samples - 40 - 400
    for name in ("logistic", "mlp"):
        counts, flips = (outcome.arrays[f"{kind}.{name}"] for kind in ("confusion", "flips"))
        assert counts.shape == flips.shape == (3, 2, 2)
        assert (counts.sum(axis=(1, 2)) == rows).all()
        np.testing.assert_array_equal(counts[0], flips[0])  # no points, no flips
        assert (counts[-1] != flips[-1]).any()


def test_the_first_points_of_a_greedy_attack_are_the_attack_of_that_budget():
    fewer = small()
    fewer["options"] = {**fewer["options"], "points": 1}
    fewer["budgets"] = (0, 1)
    alone = do("poison", fewer)
    # To round-off: points that are yet to join are summed over, too.
    np.testing.assert_allclose(alone.arrays["points"], poisoned().arrays["points"][:1], rtol=1e-9)
    np.testing.assert_array_equal(alone.arrays["confusion.mlp"], poisoned().arrays["confusion.mlp"][:2])


def test_the_same_run_gives_the_same_bytes_and_another_split_others():
    assert do("poison", small()).digest == poisoned().digest
    assert do("poison", small(), split=1).digest != poisoned().digest


def test_flips_come_from_validation_rows_where_asked():
    from backgrad.paper.tasks import open_digits, split_of

    settings = small(baseline="validation", options={"outer_steps": 1})
    drawn = do("poison", settings)
    assert (drawn.arrays["flips.logistic"][-1] != poisoned().arrays["flips.logistic"][-1]).any()
    data = open_digits("spambase", None)
    train = data.table.x[split_of(data, settings, 0, 0).train]
    for point in drawn.arrays["start"]:  # while points start from training rows
        assert (train == point).all(axis=1).any()


def test_digits_of_some_classes_alone_get_labels_of_their_own():
    from backgrad.paper.tasks import open_digits

    whole, part = load("mnist"), open_digits("mnist", ("1", "5", "6")).dataset
    assert part.class_names == ("1", "5", "6")
    assert part.n_samples == 3004
    np.testing.assert_array_equal(np.asarray([1, 5, 6])[part.y], whole.y[np.isin(whole.y, [1, 5, 6])])


@pytest.mark.slow
def test_reversed_gradients_agree_over_short_training_and_drift_over_long():
    settings = {"dataset": "mnist-1-7", "learner": "logistic", "step_size": INNER["logistic"].step_size, "train": 100}
    settings |= {"validation": 400, "points": 5, "counts": (1, 5)}
    outcome = do("reversal", {**settings, "steps": (10, 400)})
    for (near, far), drift in zip(outcome.values["cosine"], outcome.values["drift"], strict=True):
        assert near > 0.999
        assert far < 0.99
        assert drift[0] < drift[1]
    # The first of five points, the others being there with weight 0, is a single point.
    alone = do("reversal", {**settings, "points": 1, "counts": (1,), "steps": (10, 400)})
    assert outcome.values["drift"][0] == pytest.approx(alone.values["drift"][0])
    assert outcome.values["cosine"][0] == pytest.approx(alone.values["cosine"][0])
    # ADALINE's reversal overflows, its gradient before its square does: no number then, and no crash.
    steep = {**settings, "learner": "adaline", "step_size": INNER["adaline"].step_size}
    outcome = do("reversal", {**steep, "counts": (1,), "steps": (20_000,)})
    assert outcome.values == {"cosine": ((None,),), "drift": ((None,),)}


@pytest.mark.slow
def test_costs_are_of_every_adjoint_and_densely_solved_ones_of_small_problems_alone():
    settings = {"dataset": "mnist", "learner": "softmax", "points": 1, "step_size": 0.5, "l2": 0.01, "train": 50}
    outcome = do("cost", {**settings, "validation": 50, "sides": (2, 4), "steps": (400,), "densest": 60})
    cases = outcome.values["cases"]
    assert [case["adjoint"] for case in cases].count("implicit, dense") == 1
    assert {case["parameters"] for case in cases} == {50, 170}
    assert set(outcome.timing) == {str(number) for number in range(len(cases))}
    found = {(case["adjoint"], case["parameters"]): case["cosine"] for case in cases}
    assert found["exact, stored", 170] == pytest.approx(1.0)
    assert found["implicit, dense", 50] > 0.99  # 400 steps are nearly an optimum


def test_images_are_averaged_block_by_block():
    image = np.arange(16.0).reshape(1, 16)
    np.testing.assert_allclose(averaged(image, 2), [[2.5, 4.5, 10.5, 12.5]])


def test_a_point_climbs_the_surface_that_is_drawn():
    from backgrad.paper import figure1

    settings = figure1._settings("error-generic")
    settings = {**settings, "grid": 12, "arrows": 3, "options": {**settings["options"], "attack_steps": 30}}
    arrays = do("plane", settings).arrays
    assert arrays["surface"].shape == arrays["zero_one"].shape == (12, 12)
    assert arrays["regions.clean"].shape == (24, 24)
    assert len(arrays["path"]) == len(arrays["trace"]) > 5
    assert (np.diff(arrays["trace"]) > 0).all()
    # Heights are rows and widths are columns: where the path ends, the grid says the same.
    width, height = np.round(arrays["path"][-1] * 11).astype(int)
    assert arrays["surface"][height, width] == pytest.approx(arrays["trace"][-1], abs=0.02)
    assert arrays["trace"][-1] == pytest.approx(arrays["surface"].max(), abs=0.02)
    # Arrows point uphill on the coarse grid as differences do on the fine one.
    middle = arrays["arrows"][4]
    slope = np.gradient(arrays["surface"])
    assert np.sign(middle[0]) == np.sign(slope[1][5:7, 5:7].mean())
    assert np.sign(middle[1]) == np.sign(slope[0][5:7, 5:7].mean())


def test_the_paper_s_method_is_greedy_along_its_own_reversal():
    options = paper_options("mlp", 18)
    assert (options["strategy"], options["adjoint"], options["objective"]) == (
        "greedy",
        "back-gradient",
        "learner-loss",
    )
    assert options["attack_steps"] == 200
