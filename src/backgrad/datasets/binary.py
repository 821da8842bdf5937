"""Tables in binary formats: Parquet and Arrow (by pyarrow, an extra), and NumPy's npz, never with pickles.

Parquet and Arrow are read batch by batch and only the kept rows stay. Numbers become float64; where whole numbers are
too large for that, and in all columns that are not numbers (dates, decimals, words), values become texts.
"""

import importlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backgrad.datasets.delimited import said_plainly
from backgrad.datasets.raw import RawTable, chosen_rows, listed, sampling_sentence, shown
from backgrad.errors import DatasetError

# Rows of a grid smaller than this are no images, and pixels end at this value.
_SMALLEST_IMAGE, _WHITE = 4, 255
# Values of a batch: what is in memory beside the kept rows.
_BATCH = 1 << 22


def _pyarrow(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DatasetError(
            f"Reading {what} needs the package pyarrow, and it is not installed; install it with pip install "
            "'backgrad[tables]', or save the table as CSV."
        ) from error


def _damaged(file: Path, what: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"Expected {what} at {shown(file)}, and it cannot be read ({type(error).__name__}); is it whole, and does "
        "its name end as it should?"
    )


def _texts(values: list[object]) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = ["" if value is None else str(value).strip() for value in values]
    return column


# --- Parquet and Arrow ----------------------------------------------------------------------------

_Batches = Callable[[], Iterator[Any]]


def _open_parquet(file: Path) -> tuple[Any, int, _Batches]:
    parquet = _pyarrow("pyarrow.parquet", "Parquet")
    table = parquet.ParquetFile(file)
    size = max(1, _BATCH // max(1, table.metadata.num_columns))
    return table.schema_arrow, table.metadata.num_rows, lambda: table.iter_batches(batch_size=size)


def _open_arrow(file: Path) -> tuple[Any, int, _Batches]:
    """Open the file format (also called Feather) or the stream format, whose rows are counted by going through it."""
    ipc = _pyarrow("pyarrow.ipc", "Arrow")
    with file.open("rb") as stream:
        magic = stream.read(6)
    if magic[:4] == b"FEA1":
        raise DatasetError(
            f"Expected Arrow or Feather V2 at {shown(file)}, and it is Feather V1; write it again with a newer "
            "pyarrow or pandas."
        )
    if magic == b"ARROW1":

        def batches() -> Iterator[Any]:
            with ipc.open_file(str(file)) as reader:
                yield from (reader.get_batch(i) for i in range(reader.num_record_batches))

        with ipc.open_file(str(file)) as reader:
            schema = reader.schema
    else:

        def batches() -> Iterator[Any]:
            with file.open("rb") as stream, ipc.open_stream(stream) as reader:
                yield from reader

        with file.open("rb") as stream, ipc.open_stream(stream) as reader:
            schema = reader.schema
    return schema, sum(batch.num_rows for batch in batches()), batches


def _check_types(file: Path, schema: Any) -> None:
    types = importlib.import_module("pyarrow.types")
    wrong = [field.name for field in schema if types.is_nested(field.type) or _is_bytes(types, field.type)]
    if wrong:
        raise DatasetError(
            f"Columns of {shown(file)} should hold numbers, words or dates, and {listed(wrong)} hold lists, "
            "records or bytes; turn them into columns of their own, or drop them."
        )


def _is_bytes(types: Any, kind: Any) -> bool:
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def _take(batches: Iterator[Any], rows: np.ndarray) -> list[Any]:
    """Return the parts of the batches that hold those rows."""
    kept, start = [], 0
    for batch in batches:
        batch.validate(full=True)  # Arrow trusts the offsets in a file: wrong ones would be read from anywhere
        stop = start + batch.num_rows
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        if len(inside):
            kept.append(batch if len(inside) == batch.num_rows else batch.take(_indices(inside - start)))
        start = stop
    return kept


def _indices(rows: np.ndarray) -> Any:
    return importlib.import_module("pyarrow").array(rows)


def _column(column: Any) -> np.ndarray:
    arrow = importlib.import_module("pyarrow")
    types = arrow.types
    if types.is_integer(column.type) or types.is_floating(column.type):
        try:
            return np.array(column.cast(arrow.float64()).to_numpy(), np.float64)
        except arrow.ArrowInvalid:
            pass  # whole numbers beyond 2⁵³, which are often identifiers: all their digits count
    return _texts(column.to_pylist())


def _read_columnar(file: Path, form: str, max_rows: int | None, seed: int) -> RawTable:
    what = "a Parquet file" if form == "parquet" else "an Arrow file"
    _pyarrow("pyarrow", "Parquet" if form == "parquet" else "Arrow")
    try:
        with said_plainly(file, what):
            schema, n, batches = (_open_parquet if form == "parquet" else _open_arrow)(file)
        _check_types(file, schema)
        rows = chosen_rows(n, max_rows, seed)
        table = importlib.import_module("pyarrow").Table.from_batches(_take(batches(), rows), schema)
        arrays = tuple(_column(column) for column in table.columns)
        if any(len(array) != len(rows) for array in arrays):
            raise ValueError("columns of another length than the file says")
    except DatasetError:
        raise
    except Exception as error:  # a damaged file makes pyarrow raise almost anything
        raise _damaged(file, what, error) from error
    if not n or not arrays:
        raise DatasetError(f"Expected columns and rows in {shown(file)}, and it is empty; add rows.")
    types = importlib.import_module("pyarrow.types")
    return RawTable(
        source=str(file),
        format=form,
        names=tuple(str(field.name).strip() for field in schema),
        rows_in_file=n,
        row_numbers=rows,
        arrays=arrays,
        declared=tuple("categorical" if types.is_dictionary(field.type) else "" for field in schema),
        sampling=sampling_sentence(len(rows), n, seed),
    )


def read_parquet(file: Path, max_rows: int | None, seed: int, max_unpacked: int) -> RawTable:
    """Read Parquet; see `backgrad.datasets.read_table`."""
    del max_unpacked  # batches bound it
    return _read_columnar(file, "parquet", max_rows, seed)


def read_arrow(file: Path, max_rows: int | None, seed: int, max_unpacked: int) -> RawTable:
    """Read Arrow's file format, which is also Feather's, or its stream format."""
    del max_unpacked
    return _read_columnar(file, "arrow", max_rows, seed)


# --- npz ------------------------------------------------------------------------------------------


def _arrays(file: Path, max_unpacked: int) -> dict[str, np.ndarray]:
    """Return the arrays `x`, `y` and, where it is there, `feature_names`."""
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > max_unpacked:
        raise DatasetError(
            f"{shown(file)} should unpack to {max_unpacked:,} bytes or fewer, and unpacks to {size:,}; save fewer "
            "rows, or in Python allow more with max_unpacked."
        )
    with np.load(file, allow_pickle=False) as archive:
        missing = [name for name in ("x", "y") if name not in archive.files]
        if missing:
            raise DatasetError(
                f"Expected arrays 'x' and 'y' in {shown(file)}, and it has {listed(archive.files) or 'none'}; save "
                "it with numpy.savez(path, x=features, y=labels)."
            )
        return {name: _load(file, archive, name) for name in ("x", "y", "feature_names") if name in archive.files}


def _load(file: Path, archive: Any, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise DatasetError(
            f"Arrays of {shown(file)} should hold numbers or words, and {name!r} holds pickled objects, which are "
            "never loaded, as they can run code; save it with a plain dtype."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in ("U" if name == "feature_names" else "buifU"):
        raise DatasetError(
            f"The array {name!r} of {shown(file)} should hold numbers or words, and has the type "
            f"{getattr(array, 'dtype', 'bytes')}; convert it with astype."
        )
    return array


def _as_column(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "bU":
        return _texts(array.astype(str).tolist())
    if array.dtype.kind in "ui" and array.size and np.abs(array.astype(np.float64)).max() > 2.0**53:
        return _texts(array.tolist())
    return np.array(array, np.float64)


def _image_shape(x: np.ndarray) -> tuple[int, ...] | None:
    """Return height and width, and 3 for colours, of rows that look like images: values of one scale, in a grid."""
    shape = x.shape[1:-1] if x.ndim == 4 and x.shape[3] == 1 else x.shape[1:]
    is_grid = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if not is_grid or min(shape[:2]) < _SMALLEST_IMAGE or x.dtype.kind not in "uif":
        return None
    return shape if x.min() >= 0 and x.max() <= _WHITE else None  # NaN is neither


def read_npz(file: Path, max_rows: int | None, seed: int, max_unpacked: int) -> RawTable:
    """Read features `x`, (n, d) or (n, height, width, …), and labels `y`, (n,); their columns are x0, x1, … and y."""
    try:
        with said_plainly(file, "an npz file"):
            arrays = _arrays(file, max_unpacked)
    except DatasetError:
        raise
    except Exception as error:  # a damaged archive makes zipfile and NumPy raise almost anything
        raise _damaged(file, "an npz file", error) from error
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != x.shape[:1] or not x.size:
        raise DatasetError(
            f"Expected x of the shape (rows, features) and y of the shape (rows,) in {shown(file)}, and they have "
            f"{x.shape} and {y.shape}; reshape them."
        )
    image = _image_shape(x)
    said = "" if image is None else ", the pixels of an image each"
    notes = (f"Rows of the shape {x.shape[1:]} are read as rows of {x[0].size:,} features{said}.",)
    rows = chosen_rows(len(x), max_rows, seed)
    flat = x.reshape(len(x), -1)[rows]
    names = tuple(map(str, arrays.get("feature_names", np.array([f"x{j}" for j in range(flat.shape[1])]))))
    if len(names) != flat.shape[1]:
        raise DatasetError(
            f"Expected {flat.shape[1]} feature_names in {shown(file)}, one for each column of x, and got "
            f"{len(names)}; give one for each."
        )
    return RawTable(
        source=os.fspath(file),
        format="npz",
        names=(*(name.strip() for name in names), "y"),
        rows_in_file=len(x),
        row_numbers=rows,
        arrays=(*map(_as_column, flat.T), _as_column(y[rows])),
        sampling=sampling_sentence(len(rows), len(x), seed),
        notes=() if x.ndim == 2 else notes,
        image_shape=image,
    )
