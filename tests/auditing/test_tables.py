"""Tables of one's own as problems."""

import numpy as np
import pytest

from backgrad.auditing.tables import file_settings, read_file

RNG = np.random.default_rng(0)
Y = np.arange(60) % 2


def read(path, **arrays):
    np.savez(path, y=Y, **arrays)
    return read_file(file_settings(path, target="y"))


@pytest.mark.parametrize(("scale", "kind"), [(1.0, "box"), (255, "integer")])
def test_images_keep_their_shape_and_every_pixel(tmp_path, scale, kind):
    x = RNG.uniform(size=(60, 5, 6))
    x[:, 0] = 0  # a border that is always black
    x[:, 4] = x[:, 3]
    x = x * scale if kind == "box" else np.round(x * scale).astype(np.uint8)
    problem = read(tmp_path / "images.npz", x=x)
    assert problem.image_shape == (5, 6)
    np.testing.assert_array_equal(problem.x, x.reshape(60, 30))
    described = problem.feasible.describe()
    assert described["set"] == kind
    assert np.unique(described["lower"]).tolist() == [0]
    assert np.unique(described["upper"]).tolist() == [scale]
    assert any("the pixels of an image each" in note for note in problem.notes)


def test_colours_are_images_too_and_other_grids_are_not(tmp_path):
    x = RNG.uniform(size=(60, 4, 4, 3))
    assert read(tmp_path / "colours.npz", x=x).image_shape == (4, 4, 3)
    assert read(tmp_path / "grey.npz", x=x[..., :1]).image_shape == (4, 4)
    assert read(tmp_path / "signed.npz", x=x[..., 0] - 0.5).image_shape is None
    assert read(tmp_path / "thin.npz", x=x[:, :2, :, 0]).image_shape is None
    assert read(tmp_path / "flat.npz", x=x.reshape(60, 48)).image_shape is None
