"""What a study consists of: runs, each known by the hash of all that its outcome depends on.

    identity = SHA-256 of the canonical JSON of (task, settings, split, seed, code version)
    code version = version of the package + SHA-256 of its sources

A run of a changed setting, or of changed code, is another run; one that is in the store is never redone.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..errors import InputError

PACKAGE = __name__.partition(".")[0]
_ARRAYS = ("jax", "jaxlib", "equinox", "lineax", "optax", "optimistix")
_PACKAGES = (*_ARRAYS, "numpy", "scipy", "scikit-learn", "imbalanced-learn")


class Frozen(Mapping[str, Any]):
    """A mapping of JSON values that cannot be changed; lists in it are tuples.

    Args:
        values: strings, whole and finite numbers, booleans, None, and lists and mappings of these.

    Raises:
        InputError: a value that JSON does not have.
    """

    def __init__(self, values: Mapping[str, Any]):
        """Freeze a copy."""
        self._values = {key: _freeze(value, key) for key, value in values.items()}
        for key in self._values:
            if not isinstance(key, str):
                raise InputError(f"settings must have names that are strings; got {key!r}.")

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(canonical(self))

    def __repr__(self) -> str:
        return f"Frozen({self._values!r})"


def _freeze(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return Frozen(value)
    if isinstance(value, list | tuple):
        return tuple(_freeze(item, where) for item in value)
    raise InputError(f"the setting {where!r} must be a JSON value, of finite numbers; got {value!r}.")


def plain(value: Any) -> Any:
    """Return a value with ordinary dictionaries and lists in place of frozen ones."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, ASCII alone, finite numbers."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # installed without its metadata
            found[name] = "unknown"
    return found


@functools.cache
def code_version() -> str:
    """Return the version of the package, and the first 16 digits of the SHA-256 of its sources."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(str(spec.origin)).parent if spec else Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).as_posix()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return f"{__version__}+{digest.hexdigest()[:16]}"


@functools.cache
def task_version(task: str) -> str:
    """Return the code version that a task's outcome depends on: of a task of one's own, with that of its module."""
    module = task.partition(":")[0]
    if module.partition(".")[0] == PACKAGE:
        return code_version()
    try:
        spec = importlib.util.find_spec(module)
        source = Path(str(spec.origin)).read_bytes() if spec else None
    except (ImportError, OSError, ValueError):
        source = None
    if source is None:
        raise InputError(f"the task {task!r} must be a function in a module that can be imported; there is none.")
    return f"{code_version()}+{hashlib.sha256(source).hexdigest()[:16]}"


@dataclasses.dataclass(frozen=True)
class Run:
    """One unit of work, independent of all others.

    Args:
        task: the function that does it, as `package.module:function`.
        settings: JSON values that the function understands.
        split: the number of the repetition.
        seed: of everything random.
    """

    task: str
    settings: Mapping[str, Any]
    split: int
    seed: int

    def __post_init__(self):
        """Freeze the settings, and check the numbers."""
        object.__setattr__(self, "settings", Frozen(self.settings))
        for name in ("split", "seed"):
            try:
                number = operator.index(getattr(self, name))
            except TypeError:
                number = -1
            if number < 0:
                raise InputError(f"{name} must be a whole number, 0 or more; got {getattr(self, name)!r}.")
            object.__setattr__(self, name, number)

    @functools.cached_property
    def identity(self) -> str:
        """The hash of all that the outcome depends on, 64 hexadecimal digits."""
        facts = [self.task, self.settings, self.split, self.seed, task_version(self.task)]
        return hashlib.sha256(canonical(facts).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Study:
    """A list of runs.

    Args:
        name: for people.
        runs: in the order in which they are started.
        source: what the runs were made of, as JSON values: the content of the study's file.
    """

    name: str
    runs: tuple[Run, ...]
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Check that there are runs, and that no two are the same."""
        object.__setattr__(self, "runs", tuple(self.runs))
        object.__setattr__(self, "source", Frozen(self.source))
        if not self.runs:
            raise InputError(f"the study {self.name!r} has no runs: give it one at least.")
        if len({run.identity for run in self.runs}) < len(self.runs):
            raise InputError(f"the study {self.name!r} has a run twice: each may be there once.")


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a run found. The same run has the same values and arrays, bit for bit; times are left out of that.

    Args:
        values: JSON values.
        arrays: arrays of numbers or strings, by name.
        timing: seconds, by name.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    timing: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Freeze the values, and refuse arrays of Python objects, which no file may hold."""
        object.__setattr__(self, "values", Frozen(self.values))
        arrays = {name: np.asarray(array) for name, array in self.arrays.items()}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise InputError(f"the array {name!r} must hold numbers or strings; got Python objects.")
        object.__setattr__(self, "arrays", arrays)

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of values and arrays, without times: equal digests mean equal outcomes, bit for bit."""
        digest = hashlib.sha256(canonical(self.values).encode())
        for name, array in sorted(self.arrays.items()):
            digest.update(canonical([name, array.dtype.str, array.shape]).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def varying(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the part of each of several settings that is not the same in all; nested names are joined by dots."""
    flat = [dict(_leaves(one)) for one in settings]
    names = list(dict.fromkeys(name for one in flat for name in one))
    differ = [name for name in names if len({canonical(one.get(name)) for one in flat}) > 1]
    return [{name: plain(one.get(name)) for name in differ} for one in flat]


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
