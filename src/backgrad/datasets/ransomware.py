r"""Ransomware against harmless programs: what 1,524 of them did in a sandbox (Sgandurra et al. 2016).

The paper took 530 ransomware, 549 harmless programs and the 400 features of highest mutual information with the label,

    I(x_j; y) = Σ_{a,b ∈ {0,1}} p(x_j = a, y = b) log [p(x_j = a, y = b) / (p(x_j = a) p(y = b))],

and names neither programs nor features. Without the families CryptoWall and TeslaCrypt 530 ransomware are left, the
only combination of up to four families that leaves as many; harmless programs are kept all.

The table is sparse (201,688 ones in 1,524 × 30,967 places) and stays so until its features are chosen.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backgrad.datasets import external
from backgrad.datasets.loaders import Table, declared_range
from backgrad.errors import DatasetError, InputError

REPOSITORY = "https://github.com/rissgrouphub/ransomwaredataset2016"
PACKED_FILE = "ransomware2016_full.npz"
ZIP_FILE, NAMES_FILE = "RansomwareData.zip", "VariableNames.txt"
FAMILIES = (
    "Goodware", "Critroni", "CryptLocker", "CryptoWall", "KOLLAH", "Kovter", "Locker", "MATSNU", "PGPCODER", "Reveton",
    "TeslaCrypt", "Trojan-Ransom",
)  # fmt: skip
LEFT_OUT = ("CryptoWall", "TeslaCrypt")
_FEATURES = 30_967

# Of indices (int32), indptr (int32), labels (uint8) and families (uint8), rows in the order of the publisher's numbers.
_SHA256 = "066c162a96c46c1e712c5c6f3db7f681724e6e2a5df0bcd84a93710d8a2086f0"

_OBTAIN = (
    f"get {ZIP_FILE} and {NAMES_FILE} from {REPOSITORY} and put both into a folder named by the environment variable "
    f"{external.VARIABLE}"
)


class Programs(NamedTuple):
    """The sparse table: row i has ones in columns `indices[indptr[i]:indptr[i + 1]]`, ascending.

    Args:
        indices: int32, one for each 1 of the table.
        indptr: int32, (n + 1,).
        labels: 1 for ransomware, uint8, (n,).
        families: indices into `FAMILIES`, uint8, (n,).
    """

    indices: np.ndarray
    indptr: np.ndarray
    labels: np.ndarray
    families: np.ndarray

    def row(self, i: int | np.integer) -> np.ndarray:
        """Return the columns of the ones of a row."""
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def take(self, rows: np.ndarray) -> "Programs":
        """Return some rows, in the order given."""
        parts = [self.row(i) for i in rows]
        indptr = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int32)
        return Programs(np.concatenate(parts), indptr, self.labels[rows], self.families[rows])

    def columns(self, chosen: np.ndarray) -> "Programs":
        """Return all rows with the columns `chosen` (ascending) alone, numbered anew."""
        place = np.full(_FEATURES, -1, np.int32)
        place[chosen] = np.arange(len(chosen), dtype=np.int32)
        moved = place[self.indices]
        ends = np.cumsum([0, *(moved >= 0)], dtype=np.int32)
        return Programs(moved[moved >= 0], ends[self.indptr], self.labels, self.families)


def refuse_download() -> None:
    """Raise unless the files are there already: they are not fetched, since their publisher states no licence.

    Raises:
        DatasetError: they are not there.
    """
    if external.find(PACKED_FILE) is None and external.find(ZIP_FILE) is None:
        raise DatasetError(
            f"The data set 'ransomware' is not downloaded for you, since its publisher states no licence; {_OBTAIN}."
        )


def read_ransomware(*, n_features: int = 400, unique: bool = True, left_out: tuple[str, ...] = LEFT_OUT) -> Table:
    """Read the programs as rows of binary features.

    1. Families `left_out` are dropped.
    2. Features are those of highest mutual information with the label over all distinct rows, test rows included, as
       in the paper (which counted repeated rows too); of two that tie, the earlier. They keep their order.
    3. With `unique`, one row is kept for each vector of these features, with the label that most of its programs have.

    Args:
        n_features: d, how many features to choose.
        unique: whether rows are distinct. Repeated rows would put training rows into the test set.
        left_out: families, of the names in `FAMILIES`; none of them `"Goodware"`.

    Returns:
        The table; labels 0 (benign) and 1 (ransomware).

    Raises:
        DatasetError: the files are missing or damaged.
        InputError: a number of features out of range, or an unknown family.
    """
    if not isinstance(n_features, int) or isinstance(n_features, bool) or not 1 <= n_features <= _FEATURES:
        raise InputError(f"n_features must be a whole number from 1 to {_FEATURES}; got {n_features!r}.")
    unknown = [name for name in left_out if name not in FAMILIES[1:]]
    if unknown:
        raise InputError(f"left_out must name families of ransomware ({', '.join(FAMILIES[1:])}); got {unknown[0]!r}.")
    programs, names = _read()
    kept = ~np.isin(programs.families, [FAMILIES.index(name) for name in left_out])
    programs = programs.take(np.flatnonzero(kept))
    chosen = _choose(_distinct(programs), n_features)
    programs = programs.columns(chosen)
    if unique:
        programs = _distinct(programs)
    values = np.zeros((len(programs.labels), n_features))
    rows = np.repeat(np.arange(len(values)), np.diff(programs.indptr))
    values[rows, programs.indices] = 1.0
    values.setflags(write=False)
    minimum, maximum = declared_range(n_features, 1.0)
    feature_names = tuple(names[j] for j in chosen)
    return Table(values, programs.labels.astype(np.int64), feature_names, ("benign", "ransomware"), minimum, maximum)


def _distinct(programs: Programs) -> Programs:
    """Return the first row of each vector, with the label that most of its rows have; a tie is ransomware."""
    groups: dict[bytes, list[int]] = {}
    for i in range(len(programs.labels)):
        groups.setdefault(programs.row(i).tobytes(), []).append(i)
    majority = [2 * programs.labels[rows].sum() >= len(rows) for rows in groups.values()]
    firsts = programs.take(np.array([rows[0] for rows in groups.values()]))
    return firsts._replace(labels=np.array(majority, np.uint8))


def mutual_information(programs: Programs) -> np.ndarray:
    """Return I(x_j; y) of every feature with the label, in nats, (30967,), from counts of ones alone."""
    n, positive = len(programs.labels), int(programs.labels.sum())
    owners = np.repeat(programs.labels, np.diff(programs.indptr))
    ones = np.bincount(programs.indices, minlength=_FEATURES).astype(float)
    both = np.bincount(programs.indices[owners == 1], minlength=_FEATURES).astype(float)
    total = np.zeros(_FEATURES)
    for joint, feature, label in (
        (both, ones, positive),
        (ones - both, ones, n - positive),
        (positive - both, n - ones, positive),
        (n - positive - ones + both, n - ones, n - positive),
    ):
        # 0 log 0 = 0: the logarithm's argument is replaced where the count is 0.
        ratio = np.where(joint > 0, joint * n / np.maximum(feature * label, 1.0), 1.0)
        total += joint / n * np.log(ratio)
    return total


def _choose(programs: Programs, n_features: int) -> np.ndarray:
    """Return the columns of highest mutual information, ascending."""
    # Rounded, so that ties do not hang on the last digit of a logarithm.
    best = np.argsort(-np.round(mutual_information(programs), 12), kind="stable")[:n_features]
    return np.sort(best)


# --- files ----------------------------------------------------------------------------------------


def _read() -> tuple[Programs, list[str]]:
    """Return the whole table and the names of its columns, from the packed file or the publisher's own."""
    packed, published = external.find(PACKED_FILE), external.find(ZIP_FILE)
    path = packed or published
    if path is None:
        raise DatasetError(
            f"The data set 'ransomware' does not travel with backgrad, and {ZIP_FILE} should lie in "
            f"{external.places()}, which it does not; {_OBTAIN}."
        )
    programs, names = _read_packed(path) if path is packed else _read_published(path)
    found = external.digest(*programs)
    if found != _SHA256 or len(names) != _FEATURES:
        raise DatasetError(
            f"The file {str(path)!r} should hold the programs of the SHA-256 {_SHA256[:12]}… with {_FEATURES} names, "
            f"and it has {found[:12]}… with {len(names)}, so it is damaged or another one; {_OBTAIN}."
        )
    return programs, names


def _read_packed(path: Path) -> tuple[Programs, list[str]]:
    """Read the sparse table from an npz file."""
    indices, indptr, labels, families, names = external.read_arrays(
        path, ("indices", "indptr", "y", "family", "feature_names_utf8")
    )
    table = Programs(
        indices.astype(np.int32), indptr.astype(np.int32), labels.astype(np.uint8), families.astype(np.uint8)
    )
    return table, names.tobytes().decode("utf-8").split("\n")


def _read_published(path: Path) -> tuple[Programs, list[str]]:
    """Read the publisher's files: a zip of one CSV file (number, label, family, features) and the names beside it."""
    beside = path.with_name(NAMES_FILE)
    try:
        # Names hold what the programs asked for, which is not always text.
        lines = beside.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
        with zipfile.ZipFile(path) as archive:
            (member,) = (name for name in archive.namelist() if name.lower().endswith(".csv"))
            with archive.open(member) as file:
                rows = sorted(_parse(line) for line in file if line.strip())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"The files {str(path)!r} and {NAMES_FILE} beside it should be those of {REPOSITORY} and cannot be read "
            f"({type(error).__name__}: {error}); get both anew."
        ) from error
    indptr = np.cumsum([0, *(len(ones) for *_, ones in rows)], dtype=np.int32)
    indices = np.array([j for *_, ones in rows for j in ones], np.int32)
    labels, families = (np.array([row[k] for row in rows], np.uint8) for k in (1, 2))
    return Programs(indices, indptr, labels, families), [line.partition(";")[2] for line in lines[3:]]


def _parse(line: bytes) -> tuple[int, int, int, list[int]]:
    """Return number, label, family and the columns of the ones of a line such as `10001,1,2,0,1,0`."""
    number, label, family, rest = line.strip().split(b",", 3)
    symbols = np.frombuffer(rest, np.uint8)
    bits = symbols[::2] - ord("0")
    if len(symbols) != 2 * _FEATURES - 1 or (bits > 1).any():
        raise ValueError(f"a row should hold {_FEATURES} zeros and ones after the first three columns")
    return int(number), int(label), int(family), np.flatnonzero(bits).tolist()
