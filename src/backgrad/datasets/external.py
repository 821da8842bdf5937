"""Data sets that do not travel with the package: where their files are looked for, and how one gets there.

A file is looked for in the folder that the environment variable `BACKGRAD_DATA` names, then in the user's cache.
Nothing is fetched unless `load(name, download=True)` asks for it. What is read is compared with the SHA-256 of its
content, so that a file from elsewhere, stored or compressed in another way, is as good, and a damaged one is refused.
"""

import hashlib
import io
import os
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from backgrad.datasets.loaders import Table, declared_range, pixel_names
from backgrad.errors import DatasetError
from backgrad.folders import cache_folder, write_whole

VARIABLE = "BACKGRAD_DATA"
MNIST_FILE = "mnist.npz"

# Of the pixels, uint8 (70000, 784), followed by the digits, uint8 (70000,): 60,000 to train on, then 10,000 to test.
_MNIST_SHA256 = "c2069063c1105f2bf96266aef1ff68c6e13bdda7a54e37bf19c16f1db24efc83"


# --- where ----------------------------------------------------------------------------------------


def find(file_name: str) -> Path | None:
    """Return where a file lies, in the folder that `BACKGRAD_DATA` names or in the cache; None where in neither."""
    named = os.environ.get(VARIABLE)
    folders = [Path(named).expanduser()] if named else []
    for folder in (*folders, cache_folder()):
        if (folder / file_name).is_file():
            return folder / file_name
    return None


def places() -> str:
    """Name the folders that `find` looks into, for an error message."""
    named = os.environ.get(VARIABLE)
    asked = f"{VARIABLE} ({named})" if named else f"{VARIABLE} (an environment variable, which is not set)"
    return f"the folder named by {asked} or {cache_folder()}"


# --- what -----------------------------------------------------------------------------------------


def digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the bytes of some arrays, one after the other, in row-major order."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def read_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Read arrays from an npz file.

    Args:
        path: of the file.
        names: of the arrays.

    Returns:
        The arrays, in the order of their names.

    Raises:
        DatasetError: the file cannot be read, is no such file, or has no such arrays.
    """
    try:
        # Opened here, because NumPy leaves the file of a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    # zipfile and zlib raise errors of their own on a damaged archive, which NumPy passes on.
    except Exception as error:
        raise DatasetError(
            f"The file {str(path)!r} should hold the arrays {', '.join(names)} and cannot be read "
            f"({type(error).__name__}); replace it by an undamaged copy."
        ) from error


def store_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays into an npz file that is either there as a whole or not at all.

    Args:
        path: of the file; its folder is made where it does not exist.
        arrays: by name.

    Raises:
        DatasetError: the folder cannot be written to.
    """
    buffer = io.BytesIO()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise DatasetError(
            f"The download should be stored in {str(path.parent)!r}, which cannot be written to "
            f"({type(error).__name__}); free or unlock it, or put {path.name} into a folder named by {VARIABLE}."
        ) from error


# --- MNIST, complete ------------------------------------------------------------------------------


def read_mnist_full() -> Table:
    """Read all 70,000 digits of MNIST, those to train on first, from `mnist.npz`."""
    path = find(MNIST_FILE)
    if path is None:
        raise DatasetError(
            f"The data set 'mnist-full' does not travel with backgrad, and {MNIST_FILE} should lie in {places()}, "
            "which it does not; load('mnist-full', download=True), or the option --download, fetches it from OpenML."
        )
    x_train, y_train, x_test, y_test = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    pixels = np.concatenate([x_train, x_test]).reshape(-1, 28 * 28)
    digits = np.concatenate([y_train, y_test])
    remedy = "delete it and load('mnist-full', download=True), or give --download"
    _check_mnist(pixels, digits, f"The file {str(path)!r}", remedy)
    minimum, maximum = declared_range(pixels.shape[1], 255.0)
    return Table(pixels, digits.astype(np.int64), pixel_names(28), tuple(str(d) for d in range(10)), minimum, maximum)


def fetch_mnist_full() -> None:
    """Fetch MNIST from OpenML into the cache, unless it is there or in the folder that `BACKGRAD_DATA` names.

    Raises:
        DatasetError: OpenML does not answer, sends something else, or the cache cannot be written to.
    """
    if find(MNIST_FILE) is not None:
        return
    from sklearn.datasets import fetch_openml

    # pandas parses ten times faster, where it is installed.
    parser = "pandas" if util.find_spec("pandas") else "liac-arff"
    try:
        bunch: Any = fetch_openml("mnist_784", version=1, as_frame=False, cache=False, parser=parser)
        pixels = np.asarray(bunch.data).astype(np.uint8)
        digits = np.array([int(label) for label in bunch.target], np.uint8)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(
            f"The data set 'mnist_784' should come from OpenML, which failed ({type(error).__name__}: {error}); try "
            f"again when https://www.openml.org answers, or put {MNIST_FILE} into a folder named by {VARIABLE}."
        ) from error
    _check_mnist(pixels, digits, "The data set 'mnist_784' that OpenML sent", "try again later")
    store_arrays(
        cache_folder() / MNIST_FILE,
        x_train=pixels[:60_000].reshape(-1, 28, 28),
        y_train=digits[:60_000],
        x_test=pixels[60_000:].reshape(-1, 28, 28),
        y_test=digits[60_000:],
    )


def _check_mnist(pixels: np.ndarray, digits: np.ndarray, what: str, remedy: str) -> None:
    """Raise unless these are the pixels and digits of MNIST, in their official order."""
    found = digest(pixels, digits)
    if found != _MNIST_SHA256:
        raise DatasetError(
            f"{what} should hold pixels and digits of the SHA-256 {_MNIST_SHA256[:12]}…, and it has {found[:12]}…, "
            f"so it is damaged or another one; {remedy}."
        )
