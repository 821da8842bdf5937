"""Files of one's own as tables: CSV, TSV, ARFF, Parquet, Arrow and npz.

```python
raw = read_table("customers.csv")
schema = infer_schema(raw, target="churned", immutable=("age",))
table = encode(raw, schema)
```

What a file is, its ending says. Text is UTF-8, or UTF-16 with its mark; `.gz` after the ending of a text format is
unpacked. Nothing in a file is ever executed, and reading takes memory for the kept rows only: of text about 60 bytes
for each value, of other formats 8.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from backgrad.checks import check_kind
from backgrad.datasets.arff import read_arff
from backgrad.datasets.binary import read_arrow, read_npz, read_parquet
from backgrad.datasets.delimited import check_is_file, read_delimited
from backgrad.datasets.raw import RawTable, shown
from backgrad.errors import DatasetError

MAX_ROWS = 100_000
MAX_UNPACKED = 2 * 1024**3

_Reader = Callable[[Path, int | None, int, int], RawTable]
_READERS: dict[str, tuple[_Reader, str]] = {
    ".arff": (read_arff, "an ARFF file"),
    ".parquet": (read_parquet, "a Parquet file"),
    ".pq": (read_parquet, "a Parquet file"),
    ".arrow": (read_arrow, "an Arrow file"),
    ".feather": (read_arrow, "an Arrow file"),
    ".ipc": (read_arrow, "an Arrow file"),
    ".npz": (read_npz, "an npz file"),
}
_TEXT = {"", ".csv", ".tsv", ".tab", ".txt", ".data", ".dat", ".psv", ".test", ".train"}
_REFUSED = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".pt", ".pth"), "a pickle can run code and is never read"),
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "export its sheet as CSV"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "save it as CSV, one row a line"),
    ".npy": "save x and y with numpy.savez",
}


def table_name(file: Path) -> str:
    """Return the name of a file without the endings that this module knows."""
    name = re.sub(r"\.gz$", "", file.name, flags=re.IGNORECASE)
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in _TEXT | _READERS.keys() else name


def read_table(
    path: str | os.PathLike[str],
    *,
    max_rows: int | None = MAX_ROWS,
    seed: int = 0,
    max_unpacked: int = MAX_UNPACKED,
) -> RawTable:
    """Read a table as it stands: what its columns mean, `infer_schema` says.

    Args:
        path: of the file. CSV has a header line, values separated by comma, semicolon, tab or pipe (whichever splits
            the first rows best), and double quotes around values that hold them. ARFF is dense; npz holds `x` and `y`.
        max_rows: how many rows to keep; of more, a uniform sample by a fixed rule (`backgrad.datasets.raw`), and
            `RawTable.sampling` says so. None keeps all.
        seed: of that rule.
        max_unpacked: how many bytes gzip or npz may unpack to.

    Returns:
        Its rows, in the order of the file.

    Raises:
        DatasetError: a file that is missing, empty, damaged, too large when unpacked, of another format or encoding,
            with rows of another width than the header; or pyarrow, which Parquet and Arrow need, is not installed.
    """
    check_kind((str, os.PathLike), "the path of a file", path=path)
    if max_rows is not None and max_rows < 1:
        raise DatasetError(f"max_rows must be 1 or more, or None for all rows, got {max_rows}; give a number of rows.")
    file = Path(path)
    ending = file.suffix.lower()
    is_packed = ending == ".gz"
    if is_packed:
        ending = Path(file.stem).suffix.lower()
    if ending in _REFUSED:
        raise DatasetError(
            f"Expected a table as CSV, TSV, ARFF, Parquet, Arrow or npz, and {shown(file)} ends in {ending!r}; "
            f"{_REFUSED[ending]}."
        )
    reader, what = _READERS.get(ending, (read_delimited, "a CSV file in UTF-8"))
    if is_packed and reader not in (read_delimited, read_arff):
        raise DatasetError(
            f"Only text should be packed by gzip, and {shown(file)} is {what}, which packs itself; unpack it first."
        )
    check_is_file(file, what)
    return reader(file, max_rows, seed, max_unpacked)
