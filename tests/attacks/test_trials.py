"""What trials tell: which guesses are alike, and what is expected of them."""

import math

import numpy as np
import pytest

from backgrad.attacks import trials
from backgrad.attacks.trials import Copies, Trials

# Ten rows of each class.
CLASSES = np.arange(100) // 10


def copies(rows, label=1):
    """Return copies of rows, all with one label."""
    return Copies(np.array(rows), np.full(len(rows), label))


def known(guesses, records, *, lucky=True):
    """Return trials of guesses, whose records are (guess, draw, value)."""
    found = Trials(CLASSES, 10, lucky=lucky)
    for guess in guesses:
        found.take(guess)
    for record in records:
        found.record(*record)
    return found


def test_guesses_are_alike_where_they_say_the_same_of_the_same_rows():
    found = known([copies([0, 1, 2, 3]), copies([0, 0, 1, 1])], [])
    new = [copies([3, 2, 1, 0]), copies([0, 1, 2, 3], 2), copies([2, 3, 4, 5]), copies([7] * 4), copies([17] * 4)]
    # Of classes, of rows, and of rows with labels.
    half = math.sqrt(0.5)
    cosines = [[(1, 1, 1), (1, half, half)], [(1, 1, 0), (1, half, 0)], [(1, 0.5, 0.5), (1, 0, 0)]]
    cosines += [[(1, 0, 0), (1, 0, 0)], [(0, 0, 0), (0, 0, 0)]]
    np.testing.assert_allclose(found.likeness(new), np.mean(cosines, axis=2), atol=1e-12)


def test_a_guess_is_taken_in_once():
    found = Trials(CLASSES, 10, lucky=True)
    numbers = [found.take(copies(rows, label)) for rows, label in [([0, 1], 1), ([0, 1], 2), ([1, 0], 1), ([0, 0], 1)]]
    assert numbers == [0, 1, 0, 2]
    assert len(found.guesses) == 3


def test_values_are_those_of_a_guess_by_draw():
    found = known([copies([0]), copies([1])], [(0, 3, 0.5), (1, 3, 0.25), (0, 4, 0.75)])
    assert found.values(0) == {3: 0.5, 4: 0.75}
    assert found.values(1) == {3: 0.25}


def test_what_is_expected_is_the_conditional_distribution_of_a_gaussian(monkeypatch):
    monkeypatch.setattr(trials, "_SHARES", [(0.5, 0.3)])
    rng = np.random.default_rng(0)
    guesses = [copies(rng.integers(0, 12, 6), int(rng.integers(1, 3))) for _ in range(6)]
    records = [(i % 4, (3 * i) % 5, float(rng.normal(2, 1))) for i in range(9)]
    found = known(guesses[:4], records)
    of, draws, y = (np.array(column) for column in zip(*records, strict=True))
    alike = known(guesses, []).likeness(guesses)
    # The covariance of the nine values and the six guesses' own parts, in units of the variance; a flat constant.
    own = np.concatenate([of, np.arange(6)])
    joint = 0.5 * alike[np.ix_(own, own)]
    same = draws[:, None] == draws
    joint[:9, :9] += 0.3 * same + 0.2 * (0.9 * same * alike[np.ix_(of, of)] + 0.1 * np.eye(9))
    weights = np.linalg.inv(joint[:9, :9])
    usual = weights.sum(0) @ y / weights.sum()
    scale = (y - usual) @ weights @ (y - usual) / 9
    mean = usual + joint[9:, :9] @ weights @ (y - usual)
    spread = np.sqrt(scale * np.diag(joint[9:, 9:] - joint[9:, :9] @ weights @ joint[:9, 9:]))
    got = found.expected(guesses)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(got.deviation, spread, rtol=1e-9)
    np.testing.assert_allclose(found.expected().mean, mean[:4], rtol=1e-9)
    assert found.expected().best() == np.argsort(-mean[:4]).tolist()
    assert found.expected().best(2) == found.expected().best()[:2]


def test_without_luck_a_guess_keeps_its_value_and_others_go_by_those_like_it():
    found = known([copies([0, 1]), copies([40, 41])], [(0, 0, 1.0), (1, 0, 3.0)], lucky=False)
    got = found.expected([copies([0, 1]), copies([40, 41]), copies([41, 42]), copies([80, 81])])
    np.testing.assert_allclose(got.mean, [1, 3, 2 + 2 / 3, 2], atol=1e-4)
    np.testing.assert_allclose(got.deviation[:2], 0, atol=1e-2)
    assert got.deviation[2] < got.deviation[3]


def test_draws_that_all_do_well_under_are_known_for_it():
    rng = np.random.default_rng(1)
    guesses = [copies([i]) for i in range(40)]
    # Even guesses are better by .2, and even draws by .3: guess 0 met the bad draws alone, guess 1 the good ones.
    met = [(i, int(rng.integers(8))) for i in range(2, 40)] + [(0, d) for d in (1, 3, 5)] + [(1, d) for d in (0, 2, 4)]
    records = [(i, d, 0.2 * (i % 2 == 0) + 0.3 * (d % 2 == 0) + 0.02 * float(rng.normal())) for i, d in met]
    found = known(guesses, records)
    assert np.mean(list(found.values(0).values())) < np.mean(list(found.values(1).values()))
    mean = found.expected().mean
    assert mean[0] > mean[1]


def test_the_same_luck_of_many_that_are_alike_counts_once():
    rng = np.random.default_rng(3)
    # Ten variations of one guess met one draw; another guess, a bit worse on average, met ten.
    family = [copies([*range(19), 20 + i]) for i in range(10)]
    others = [copies(rng.integers(40, 100, 20).tolist()) for _ in range(20)]
    records = [(i, 0, 1.0) for i in range(10)] + [(10, d, 0.9 + 0.4 * (-1) ** d) for d in range(10)]
    records += [(11 + i, i % 10, float(rng.normal(0, 0.5))) for i in range(19)]
    got = known([*family, *others], records).expected()
    assert got.mean[:10].max() < got.mean[10]
    assert got.deviation[:10].min() > got.deviation[10]


def test_the_more_there_is_of_luck_the_less_is_expected_of_a_single_good_value():
    rng = np.random.default_rng(2)
    guesses = [copies([i, i + 1, i + 2]) for i in range(0, 60, 3)]
    quality = rng.normal(size=20)
    twice = [(i, d) for d in (0, 1) for i in range(20)]
    sure = known(guesses, [(i, d, quality[i]) for i, d in twice]).expected().mean
    lucky = known(guesses, [(i, d, float(rng.normal())) for i, d in twice]).expected().mean
    assert np.std(sure) > 0.8
    assert np.std(lucky) < 0.5


def test_values_that_are_not_finite_are_as_bad_as_the_worst():
    guesses = [copies([i]) for i in range(3)]
    got = [known(guesses, [(0, 0, 1.0), (1, 0, 0.5), (2, 0, v)], lucky=False).expected() for v in (-math.inf, 0.5)]
    np.testing.assert_array_equal(got[0].mean, got[1].mean)


@pytest.mark.parametrize("value", [0.25, -math.inf])
def test_where_all_values_are_the_same_so_is_what_is_expected(value):
    found = known([copies([0]), copies([1])], [(0, 0, value), (1, 0, value)])
    got = found.expected([copies([1]), copies([2])])
    assert got.mean.tolist() == [value] * 2
    assert got.deviation.tolist() == [0, 0]
