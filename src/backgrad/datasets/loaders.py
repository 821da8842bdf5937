"""Readers of the bundled files, checked against their SHA-256, and of scikit-learn's toy sets.

A reader returns a `Table` in the units of the source. Scaling happens once, in `registry.load`.
"""

import gzip
import hashlib
import io
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from backgrad.errors import DatasetError

_SHA256 = {
    "spambase.csv.gz": "234918337813c807fd4bd3a701f2bad352741dcdc8f4e555ff3238ed6fc91999",
    "mnist_first10k.npz": "be4dd03b036ed2166b9c95b0c004dc6984697728efacddf46fdddbd01c4b2594",
}

_SPAM_CLASSES = ("ham", "spam")
_REINSTALL = "reinstall backgrad to restore it"


class Table(NamedTuple):
    """A data set as its source has it.

    Args:
        values: any real dtype, in the units of the source, (n, d).
        labels: integers 0..k−1, or the responses of a regression, (n,).
        feature_names: d names.
        class_names: k names; of a regression, the name of its response.
        minimum: of each feature: the value that scaling maps to 0, (d,).
        maximum: of each feature: the value that scaling maps to 1, (d,).
    """

    values: np.ndarray
    labels: np.ndarray
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    minimum: np.ndarray
    maximum: np.ndarray


def observed_range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest value of each column; 0 and 1 for binary ones, which stay as they are."""
    minimum, maximum = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    binary = ((values == 0) | (values == 1)).all(axis=0)
    return np.where(binary, 0.0, minimum), np.where(binary, 1.0, maximum)


def declared_range(d: int, maximum: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the range [0, maximum] for d columns: pixels whose scale is known whatever values occur."""
    return np.zeros(d), np.full(d, float(maximum))


def pixel_names(side: int) -> tuple[str, ...]:
    """Name the pixels of a square image, row by row."""
    return tuple(f"pixel_{row}_{column}" for row in range(side) for column in range(side))


# --- bundled files --------------------------------------------------------------------------------


def _bundled_folder():
    """Say where the bundled files lie (tests point this at damaged copies)."""
    return resources.files("backgrad.datasets").joinpath("bundled")


def read_bundled(file_name: str) -> bytes:
    """Read a bundled file and check that it is the one that was released.

    Args:
        file_name: a key of the table of checksums.

    Returns:
        The content, as released.

    Raises:
        DatasetError: the file is missing or its SHA-256 is another one.
    """
    try:
        content = _bundled_folder().joinpath(file_name).read_bytes()
    except OSError as error:
        raise DatasetError(
            f"The bundled file {file_name!r} should lie inside the package and cannot be read "
            f"({type(error).__name__}); {_REINSTALL}."
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != _SHA256[file_name]:
        raise DatasetError(
            f"The bundled file {file_name!r} should have the SHA-256 {_SHA256[file_name][:12]}… and this "
            f"copy has {digest[:12]}…, so it is damaged or was changed; {_REINSTALL}."
        )
    return content


@lru_cache(maxsize=1)
def _spambase_file() -> tuple[tuple[str, ...], np.ndarray]:
    """Parse the file once: the 58 column names and the table, (4601, 58), read-only."""
    text = gzip.decompress(read_bundled("spambase.csv.gz")).decode("ascii")
    header, _, body = text.partition("\n")
    # comments=None: the name of one column holds a "#", and data must never be cut at one.
    table = np.loadtxt(io.StringIO(body), delimiter=",", comments=None)
    table.setflags(write=False)
    return tuple(header.strip().split(",")), table


@lru_cache(maxsize=1)
def _mnist_file() -> tuple[np.ndarray, np.ndarray]:
    """Parse the file once: pixels as bytes, (10000, 784), and digits, (10000,), both read-only."""
    with np.load(io.BytesIO(read_bundled("mnist_first10k.npz")), allow_pickle=False) as archive:
        pixels, digits = archive["x"].reshape(-1, 28 * 28), archive["y"].astype(np.int64)
    pixels.setflags(write=False)
    digits.setflags(write=False)
    return pixels, digits


def clear_cache() -> None:
    """Forget the parsed files, so that the next load reads and checks them again."""
    _spambase_file.cache_clear()
    _mnist_file.cache_clear()


def read_spambase() -> Table:
    """Read the 54 words and characters of Spambase as present (1) or absent (0), as in the paper."""
    names, table = _spambase_file()
    values = (table[:, :54] > 0).astype(np.float64)
    minimum, maximum = declared_range(54, 1.0)
    return Table(values, table[:, -1].astype(np.int64), names[:54], _SPAM_CLASSES, minimum, maximum)


def read_spambase57() -> Table:
    """Read all 57 features of Spambase: frequencies in per cent and lengths of runs of capitals."""
    names, table = _spambase_file()
    values = table[:, :57]
    minimum, maximum = observed_range(values)
    return Table(values, table[:, -1].astype(np.int64), names[:57], _SPAM_CLASSES, minimum, maximum)


def read_mnist() -> Table:
    """Read the first 10,000 training digits of MNIST."""
    pixels, digits = _mnist_file()
    minimum, maximum = declared_range(pixels.shape[1], 255.0)
    return Table(pixels, digits, pixel_names(28), tuple(str(d) for d in range(10)), minimum, maximum)


def read_mnist_1_7() -> Table:
    """Read the ones (class 0) and sevens (class 1) among them, in their order."""
    pixels, digits = _mnist_file()
    keep = (digits == 1) | (digits == 7)
    minimum, maximum = declared_range(pixels.shape[1], 255.0)
    return Table(pixels[keep], (digits[keep] == 7).astype(np.int64), pixel_names(28), ("1", "7"), minimum, maximum)


# --- scikit-learn ---------------------------------------------------------------------------------


def _from_sklearn(bunch, maximum: float | None = None) -> Table:
    """Turn one of scikit-learn's bunches into a table; `maximum` declares the range [0, maximum]."""
    values = np.asarray(bunch.data, np.float64)
    low, high = observed_range(values) if maximum is None else declared_range(values.shape[1], maximum)
    names = tuple(str(name) for name in bunch.feature_names)
    classes = tuple(str(name) for name in bunch.target_names)
    return Table(values, np.asarray(bunch.target, np.int64), names, classes, low, high)


def read_iris() -> Table:
    """Read scikit-learn's iris."""
    from sklearn.datasets import load_iris

    return _from_sklearn(load_iris())


def read_wine() -> Table:
    """Read scikit-learn's wine."""
    from sklearn.datasets import load_wine

    return _from_sklearn(load_wine())


def read_breast_cancer() -> Table:
    """Read scikit-learn's breast cancer (Wisconsin, diagnostic)."""
    from sklearn.datasets import load_breast_cancer

    return _from_sklearn(load_breast_cancer())


def read_digits() -> Table:
    """Read scikit-learn's digits, whose pixels count 0..16."""
    from sklearn.datasets import load_digits

    return _from_sklearn(load_digits(), maximum=16.0)


def read_diabetes() -> Table:
    """Read scikit-learn's diabetes in its own units, with the response as a real number."""
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(scaled=False)
    values = np.asarray(bunch.data, np.float64)
    minimum, maximum = observed_range(values)
    names = tuple(str(name) for name in bunch.feature_names)
    return Table(values, np.asarray(bunch.target, np.float64), names, ("progression",), minimum, maximum)
