"""How the agreement of gradients is measured."""

import numpy as np
from benchmarks.agreement import cosines


def test_cosines_are_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((4, 3, 5)) * rng.uniform(0.1, 10, (4, 3, 1))
    expected = []
    for point in range(3):
        g = gradients[:, point]
        pairs = [g[i] @ g[j] / np.linalg.norm(g[i]) / np.linalg.norm(g[j]) for i in range(4) for j in range(i)]
        expected.append(np.mean(pairs))
    np.testing.assert_allclose(cosines(gradients), expected, rtol=1e-12)


def test_equal_directions_have_cosine_one_and_zeros_none():
    same = np.ones((3, 1, 4)) * np.array([1.0, 2.0, 5.0])[:, None, None]
    np.testing.assert_allclose(cosines(same), 1.0)
    np.testing.assert_allclose(cosines(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])), 0.0, atol=1e-15)
