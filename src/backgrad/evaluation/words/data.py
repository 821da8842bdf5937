"""Data sets by name, or a table of the user's own."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from ...datasets import Dataset, list_datasets, load, read_table, split_rows
from ...datasets.registry import is_known, unknown
from ...datasets.table import table_from
from ...errors import InputError
from ..plan import Rows, Table

#: What to do with real responses where only classes will do.
CLASSES_ALONE = "take another, or cut its range into classes"


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set as it is evaluated.

    Args:
        dataset: the rows, with names and provenance.
        table: its features, and its labels or its responses; the latter scaled to [0, 1] by their range over all
            rows, so that step sizes do not hang on their unit.
        n_test: how many of the last rows are the source's own test rows.
    """

    dataset: Dataset
    table: Table
    n_test: int = 0

    @property
    def response_range(self) -> tuple[float, float] | None:
        """The least and greatest response, which became 0 and 1; None for classes."""
        return _range(self.dataset) if self.dataset.is_regression else None

    def splits(
        self, *, train: int, validation: int, seed: int, count: int, surrogate: bool = False, official: bool = False
    ) -> list[Rows]:
        """Return the rows of every split.

        Args:
            train: training rows.
            validation: the attacker's validation rows.
            seed: of the run.
            count: K, the number of splits.
            surrogate: whether to set as many rows as for training aside for an attacker who does not know those.
            official: whether to test on the source's own test rows, and on all of them, instead of on what is left.

        Raises:
            InputError: a number that is not positive, too few rows, or a source without test rows.
        """
        if official:
            self._check_official(surrogate)
        if count < 1:
            raise InputError(f"--splits must be 1 or more; got {count}.")
        labels = None if self.dataset.is_regression else self.dataset.y
        size = self.dataset.n_samples
        found = (
            split_rows(
                size,
                train=train,
                validation=validation,
                seed=seed,
                split=k,
                labels=labels,
                last=self.n_test if official else 0,
            )
            for k in range(count)
        )
        rows = [Rows(r.train, r.validation, r.test) for r in found]
        return [r.with_surrogate() for r in rows] if surrogate else rows

    def _check_official(self, surrogate: bool) -> None:
        if self.n_test == 0:
            raise InputError(
                f"--official-test needs data with test rows of their own; {self.dataset.name} has none: leave it out."
            )
        if surrogate:
            raise InputError(
                "--official-test leaves no rows for an attacker with surrogate data, whose rows come from those to "
                "test on: use another --knowledge, or leave it out."
            )


def open_data(
    name: str,
    *,
    target: str | None = None,
    task: str | None = None,
    download: bool = False,
    only_classes: str | None = None,
) -> Data:
    """Load a data set by its name, or a CSV file by its path.

    Args:
        name: one that `backgrad datasets` lists, or the path of a CSV file.
        target: the column of a CSV file that holds labels or responses.
        task: `"classification"` or `"regression"`, for a CSV file.
        download: whether a data set that does not come with the installation may be fetched.
        only_classes: why responses will not do, such as "backgrad clean judges labels"; None where they do.

    Raises:
        InputError: no such data set or file, a target that is missing or out of place, or responses that will not do.
    """
    if not is_known(name):
        if not _is_path(name):
            raise unknown(name, also="the path of a CSV file")
        if target is None:
            raise InputError(f"{name} is a table: name the column of its labels or responses with --target.")
        otherwise = "choose another target, or --task classification"
        if task != "regression":
            otherwise = "set --task regression for real responses" if only_classes is None else CLASSES_ALONE
        raw = read_table(name, max_rows=None)
        return _as_data(table_from(raw, target=target, task=task or "classification", otherwise=otherwise))  # pyright: ignore[reportArgumentType]
    if target is not None or task is not None:
        option = "--target" if target is not None else "--task"
        raise InputError(f"{option} belongs to a CSV file; the data set {name!r} brings its own.")
    data = _as_data(load(name, download=download))
    if only_classes is not None and data.dataset.is_regression:
        raise InputError(f"{only_classes}, and {name} has responses: name a table of classes.")
    n_test = next(info.n_test for info in list_datasets() if info.name == name)
    return dataclasses.replace(data, n_test=n_test)


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith((".csv", ".csv.gz", ".tsv")) or Path(name).is_file()


def _as_data(dataset: Dataset) -> Data:
    if not dataset.is_regression:
        return Data(dataset, Table(dataset.x, dataset.y, dataset.n_classes))
    low, high = _range(dataset)
    responses = (dataset.y - low) / (high - low) if high > low else np.zeros_like(dataset.y)
    return Data(dataset, Table(dataset.x, responses, 0))


def _range(dataset: Dataset) -> tuple[float, float]:
    return float(dataset.y.min()), float(dataset.y.max())
