"""Text files as streams, and CSV in its dialects.

A file is read line by line, so that memory goes to the kept rows only, and everything that a stranger's file could do
is bounded: what gzip unpacks to, the length of a line, and (by the csv module) of a value.
"""

import codecs
import csv
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from backgrad.datasets.raw import RawTable, keep_rows, sampling_sentence, shown
from backgrad.errors import DatasetError
from backgrad.spelling import things

DELIMITERS = ",;\t|"
LONGEST_LINE = 1 << 24
_HEAD = 1 << 16
_SNIFFED_ROWS = 20
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_THINGS = (
    (rb"PAR1", "a Parquet file", "give its name the ending .parquet"),
    (rb"ARROW1|FEA1", "an Arrow file", "give its name the ending .arrow"),
    (rb"\x93NUMPY", "a NumPy array", "save x and y with numpy.savez"),
    (rb"PK\x03\x04", "a zip archive, such as an Excel workbook", "export its table as CSV"),
    (rb"\xd0\xcf\x11\xe0", "an old Excel workbook", "export its table as CSV"),
    (rb"\x1f\x8b", "packed by gzip", "give its name the ending .gz"),
    (rb"BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd", "packed", "unpack it, or pack it by gzip"),
    (rb"\x80[\x02-\x05].", "a pickle", "save the table as CSV: a pickle can run code, and is never read"),
    (rb"SQLite format", "an SQLite database", "export one table as CSV"),
    (rb"%PDF", "a PDF", "save its table as CSV"),
    (rb'\s*(\{\s*["}]|\[\s*[{\["])', "JSON", "save it as a table with a header line, one row a line"),
    (rb"\s*<(!doctype|html|\?xml)", "HTML or XML", "save its table as CSV"),
)


class _Bounded(io.RawIOBase):
    """What gzip unpacks, up to a number of bytes."""

    def __init__(self, source: gzip.GzipFile, most: int, file: Path):
        self._source, self._left, self._most, self._file = source, most, most, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer, /) -> int:
        view = memoryview(buffer)
        chunk = self._source.read1(len(view))
        self._left -= len(chunk)
        if self._left < 0:
            raise DatasetError(
                f"{shown(self._file)} should unpack to {self._most:,} bytes or fewer, and unpacks to more: it was "
                "stopped there; unpack it first if you trust it, or in Python allow more with max_unpacked."
            )
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._source.close()
        super().close()


def _open(file: Path, max_unpacked: int) -> io.BufferedReader:
    if file.suffix.lower() != ".gz":
        return file.open("rb")
    return io.BufferedReader(_Bounded(gzip.open(file), max_unpacked, file))


@contextmanager
def said_plainly(file: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong in reading a file into a `DatasetError`.

    Args:
        file: what is read.
        what: it should be, with an article, such as "a CSV file in UTF-8".
    """
    try:
        yield
    except FileNotFoundError as error:
        what = what.removesuffix(" in UTF-8")
        raise DatasetError(f"Expected {what} at {shown(file)}, and there is none; check the path.") from error
    except IsADirectoryError as error:
        raise DatasetError(f"Expected {what} at {shown(file)}, and it is a folder; name a file in it.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(
            f"Expected {what} at {shown(file)}, and it cannot be unpacked, or ends too early; save it again."
        ) from error
    except OSError as error:
        raise DatasetError(
            f"Expected {what} at {shown(file)}, and it cannot be read ({error.strerror or type(error).__name__}); "
            "check the file."
        ) from error


def check_is_file(file: Path, what: str) -> None:
    """Raise where a path leads to something that cannot be read twice, such as a pipe."""
    with said_plainly(file, what):
        try:
            mode = os.stat(file).st_mode
        except ValueError as error:  # a NUL in the path
            raise FileNotFoundError from error
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
    if not stat.S_ISREG(mode):
        raise DatasetError(f"Expected {what} at {shown(file)}, and it is no regular file; save the table as one.")


# --- text -----------------------------------------------------------------------------------------


def read_head(file: Path, max_unpacked: int) -> bytes:
    """Return the first 64 KiB, unpacked; raise where they are plainly something other than text."""
    with _open(file, max_unpacked) as stream:
        head = stream.read(_HEAD)
    for pattern, what, advice in _OTHER_THINGS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            raise DatasetError(f"Expected a table in text at {shown(file)}, and it is {what}; {advice}.")
    return head


def encoding_of(head: bytes, file: Path) -> str:
    """Return the encoding that the first bytes announce, UTF-8 where they announce none."""
    found = next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8-sig")
    if found == "utf-32":
        raise DatasetError(
            f"Expected text in UTF-8 at {shown(file)}, and byte 0x{head[0]:02X} at offset 0 begins UTF-32; convert "
            "it: iconv -f UTF-32 -t UTF-8 OLD > NEW."
        )
    return found


def _wrong_byte(file: Path, max_unpacked: int, encoding: str) -> str:
    """Say which byte is not of that encoding; goes through the file once more."""
    decoder, offset, line = codecs.getincrementaldecoder(encoding)(), 0, 1
    with _open(file, max_unpacked) as stream:
        while True:
            chunk = stream.read(_HEAD)
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                # The decoder counts from the bytes that it had kept back.
                before = error.object[: error.start].decode(encoding.removesuffix("-sig"), errors="replace")
                place = f"offset {offset - pending + error.start:,} (line {line + before.count(chr(10)):,})"
                return f"byte 0x{error.object[error.start]:02X} at {place}"
            if not chunk:
                return "its end"
            offset += len(chunk)


@contextmanager
def text_lines(file: Path, what: str, max_unpacked: int, encoding: str) -> Iterator[Iterator[str]]:
    """Open a text file and give its lines, with their ends as they stood."""
    with said_plainly(file, what):
        try:
            with io.TextIOWrapper(_open(file, max_unpacked), encoding=encoding, newline="") as stream:
                yield _lines(stream, file)
        except UnicodeDecodeError as error:
            expected = "UTF-16" if encoding == "utf-16" else "UTF-8"
            raise DatasetError(
                f"Expected {what} at {shown(file)}, and it cannot be read (UnicodeDecodeError); save it as one: "
                f"{_wrong_byte(file, max_unpacked, encoding)} is not {expected} (to convert: iconv -f WINDOWS-1252 "
                "-t UTF-8 OLD > NEW, with its own encoding for WINDOWS-1252)."
            ) from error


def _lines(stream: io.TextIOWrapper, file: Path) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DatasetError(
                f"Lines of {shown(file)} should have {LONGEST_LINE:,} characters or fewer, and line {number:,} has "
                "more; is it a table in text?"
            )
        if "\0" in line:
            raise DatasetError(
                f"Expected text at {shown(file)}, and line {number:,} has a NUL byte; if it is UTF-16, save it as "
                "UTF-8, and otherwise it is no text."
            )
        yield line


# --- CSV ------------------------------------------------------------------------------------------


class Dialect(NamedTuple):
    """How values are separated: by what, whether space follows it before quotes, and whether line 1 only says so."""

    delimiter: str
    skip_space: bool = False
    announced: bool = False


def sniff(sample: str, *, whole: bool, prefer: str = ",") -> Dialect:
    """Return the dialect that splits the first rows into the most columns, of those that split them all alike.

    Args:
        sample: the beginning of the text.
        whole: whether it is all of it.
        prefer: the delimiter to take where several would do.
    """
    announced = re.match(r"\s*sep=([,;\t|])\s*?[\r\n]", sample)
    if announced:
        return Dialect(announced[1], announced=True)

    def rank(mark: str) -> tuple[bool, int, bool]:
        widths = _widths(sample, mark, whole)
        width = widths[0] if widths else 0
        return width > 1 and len(set(widths)) == 1, width, mark == prefer

    mark = max(DELIMITERS, key=rank)
    return Dialect(mark, skip_space=re.search(rf'{re.escape(mark)} +"(?!")', sample) is not None)


def _widths(sample: str, mark: str, whole: bool) -> list[int]:
    widths = []
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=mark):
            if not _is_blank(row):
                widths.append(len(row))
            if len(widths) > _SNIFFED_ROWS:
                break
    except csv.Error:
        pass  # what came before it is told apart as well as it can be
    return widths if whole or len(widths) < 2 else widths[:-1]


def _is_blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


class Records:
    """The rows of a CSV text with the lines that they begin in; those of another width than the header are counted."""

    def __init__(self, lines: Iterator[str], dialect: Dialect, file: Path):
        self._reader = csv.reader(
            self._counted(lines), delimiter=dialect.delimiter, skipinitialspace=dialect.skip_space, strict=True
        )
        self._file, self._delimiter = file, dialect.delimiter
        self._ragged: list[tuple[int, int]] = []
        self._length = 0
        found = (row for _, row in self._numbered())
        if dialect.announced:
            next(found, None)
        self.header = tuple(name.strip() for name in next(found, ()))

    def _counted(self, lines: Iterator[str]) -> Iterator[str]:
        """Pass lines on; raise where a quote is not closed for so long that the row would fill the memory."""
        for line in lines:
            self._length += len(line)
            if self._length > LONGEST_LINE:
                raise csv.Error(f"more than {LONGEST_LINE:,} characters in a row")
            yield line

    def _numbered(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            begins, self._length = self._reader.line_num + 1, 0
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                raise DatasetError(
                    f"Quoted values of {shown(self._file)} should end with a quote and a delimiter, and in the row "
                    f"of line {begins:,} one does not ({error}); close the quote, and double quotes within values."
                ) from error
            if row is None:
                return
            if not _is_blank(row):
                yield begins, row

    def __iter__(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield line and values of each row; raise at the end where any was of another width."""
        for begins, row in self._numbered():
            if len(row) == len(self.header):
                yield begins, tuple(row)
            else:
                self._ragged.append((begins, len(row)))
        if self._ragged:
            (line, width), *others = self._ragged
            more = f" ({len(others):,} more lines are wrong, the next is {others[0][0]:,})" if others else ""
            raise DatasetError(
                f"Every row of {shown(self._file)} should have {things(len(self.header), 'value')} like its header, "
                f"and line {line} has {width}; quote values that hold the delimiter {self._delimiter!r}{more}."
            )


def refuse_nothing(file: Path, rows: int, *, header: bool) -> None:
    """Raise where a file has no rows."""
    if not header or not rows:
        what = "only a header" if header else "empty"
        raise DatasetError(f"Expected a header line and rows in {shown(file)}, and it is {what}; add rows.")


def read_delimited(file: Path, max_rows: int | None, seed: int, max_unpacked: int) -> RawTable:
    """Read CSV or TSV, perhaps packed by gzip; see `backgrad.datasets.read_table`."""
    what = "a CSV file in UTF-8"
    with said_plainly(file, what):
        head = read_head(file, max_unpacked)
    encoding = encoding_of(head, file)
    is_tabbed = re.search(r"\.(tsv|tab)(\.gz)?$", file.name, re.IGNORECASE) is not None
    sample = head.decode(encoding, errors="replace")
    dialect = sniff(sample, whole=len(head) < _HEAD, prefer="\t" if is_tabbed else ",")
    with text_lines(file, what, max_unpacked, encoding) as lines:
        records = Records(lines, dialect, file)
        n, kept = keep_rows(records, max_rows, seed)
    refuse_nothing(file, n, header=bool(records.header))
    rows = cast(list[tuple[int, tuple[int, tuple[str, ...]]]], kept)
    return RawTable(
        source=str(file),
        format="tsv" if dialect.delimiter == "\t" else "csv",
        names=records.header,
        rows_in_file=n,
        row_numbers=np.array([number for number, _ in rows], np.int64),
        cells=tuple(cells for _, (_, cells) in rows),
        line_numbers=np.array([line for _, (line, _) in rows], np.int64),
        delimiter=dialect.delimiter,
        sampling=sampling_sentence(len(rows), n, seed),
    )
