"""Searches that go on where they stopped: their state as plain arrays, and whose state it is.

An attack on a large model runs for hours. A search that is given a `Checkpoint` hands its state over now and then, as
arrays by name, and takes it back at its start. Where it is kept is the checkpoint's own affair;
`backgrad.studies.checkpoint` keeps it in a file. A search that was stopped and went on ends with the same bytes as one
that was not.

A state fits one search alone. So it carries a digest of all that the search depends on: settings, rows, labels,
start and seed. Hashing 50,000 rows of 784 features takes under a second.
"""

import hashlib
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..hosted import HostFeatures

Arrays = Mapping[str, np.ndarray]
State = TypeVar("State")

_IDENTITY, _LEAF = "identity", "state."
# Where an object lies in memory, which its text says and which differs from process to process.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@runtime_checkable
class Checkpoint(Protocol):
    """Where the state of a search is kept."""

    def load(self) -> Arrays | None:
        """Return what was saved last, None where nothing was."""
        ...

    def save(self, arrays: Arrays) -> None:
        """Keep arrays in place of those saved before."""
        ...


class Memory:
    """A checkpoint in memory: of a search that is stopped and goes on within one process."""

    def __init__(self):
        self._arrays: Arrays | None = None

    def load(self) -> Arrays | None:
        """Return what was saved last, None where nothing was."""
        return self._arrays

    def save(self, arrays: Arrays) -> None:
        """Keep a copy of the arrays."""
        self._arrays = {name: np.array(array) for name, array in arrays.items()}


def identify(words: str, *parts: Any) -> str:
    """Return the SHA-256 of words and of what a search depends on: settings, the bytes of arrays, and functions.

    Functions count by their code, defaults and what they enclose, other objects by what a pickle of them would hold,
    so that they are told apart and known again in another process. Globals that a function reads do not count.
    """
    total = hashlib.sha256(words.encode())
    for chunk in _contents(parts, ()):
        total.update(chunk)
    return total.hexdigest()


def pack(state: Any, identity: str, **more: np.ndarray) -> dict[str, np.ndarray]:
    """Return a search's state as arrays by name.

    Args:
        state: a pytree of arrays and JAX keys.
        identity: whose state it is.
        **more: further arrays, under names of their own.
    """
    leaves = {f"{_LEAF}{number}": _plain(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}
    return {_IDENTITY: np.frombuffer(bytes.fromhex(identity), np.uint8), **leaves, **more}


def belongs(arrays: Arrays, identity: str) -> bool:
    """Tell whether arrays are the state of this search."""
    return _IDENTITY in arrays and np.asarray(arrays[_IDENTITY]).tobytes().hex() == identity


def unpack(arrays: Arrays, like: State) -> State:
    """Return the state that `pack` made arrays of.

    Args:
        arrays: by name.
        like: a state of the same search.

    Raises:
        InputError: arrays are missing, or of other shapes.
    """
    leaves, structure = jax.tree.flatten(like)
    try:
        return structure.unflatten([_like(arrays[f"{_LEAF}{i}"], leaf) for i, leaf in enumerate(leaves)])
    except (KeyError, ValueError):
        raise InputError(
            "the checkpoint lacks a part of this search's state, or was written by another version: remove it."
        ) from None


def refuse_foreign() -> InputError:
    """Return the error of a checkpoint that holds the state of another search."""
    return InputError(
        "the checkpoint holds the state of another search, of other settings, rows, seed or start: remove it, or name "
        "another."
    )


def _contents(value: Any, above: tuple[Any, ...]) -> Iterator[bytes | memoryview]:
    """Yield the content of a value, without addresses.

    Args:
        value: of any type.
        above: the values that this one is part of, so that one which holds itself comes to an end.
    """
    if value is None or isinstance(value, int | float | complex | str | bytes):
        yield f"{type(value).__qualname__} {value!r};".encode()
        return
    if any(value is one for one in above):
        yield b"itself"
        return
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = np.ascontiguousarray(_plain(value))
        if array.dtype != object:
            yield f"{array.dtype}{array.shape}".encode()
            yield array.reshape(-1).view(np.uint8).data
            return
    parts = _parts(value)
    yield f"{type(value).__qualname__} of {len(parts)}: ".encode()
    for part in parts:
        yield from _contents(part, (*above, value))


def _parts(value: Any) -> list[Any]:
    """Return what a value consists of: of an object, what a pickle would hold, or its text where there is none."""
    for kind, parts in _PARTS:
        if isinstance(value, kind):
            return parts(value)
    if callable(getattr(value, "__wrapped__", None)):  # a compiled function
        return [value.__wrapped__]
    try:
        made = value.__reduce_ex__(2)
    except Exception:  # of whatever kind the object's author chose
        made = repr(value)
    return [_ADDRESS.sub("", made)] if isinstance(made, str) else list(made)


def _enclosed(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing yet
        return []


_OF_FUNCTION = ("__qualname__", "__code__", "__defaults__", "__kwdefaults__", "__closure__")
# What tells values of a type apart. Modules, line numbers and the names of a function's own variables do not.
_PARTS: tuple[tuple[Any, Callable[[Any], list[Any]]], ...] = (
    (type, lambda one: [one.__qualname__]),
    (types.ModuleType, lambda one: [one.__name__]),
    (types.FunctionType, lambda one: [getattr(one, name) for name in _OF_FUNCTION]),
    (types.CodeType, lambda one: [one.co_flags, one.co_code, one.co_names, one.co_consts]),
    (types.CellType, _enclosed),
    (types.MethodType, lambda one: [one.__func__, one.__self__]),
    (HostFeatures, lambda one: [str(one.source)]),  # which tells the digest of all features
    (np.ndarray, lambda one: [one.shape, one.ravel().tolist()]),
    (dict, lambda one: list(one.items())),
    (tuple | list, list),
    (set | frozenset, lambda one: sorted(identify("", item) for item in one)),
)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    """Return a leaf as a NumPy array; of a JAX key, its data."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _like(array: np.ndarray, leaf: Any) -> jax.Array:
    """Return an array as what it was before; raise ValueError unless it has the shape and type for it."""
    plain = _plain(leaf)
    if array.shape != plain.shape or array.dtype != plain.dtype:
        raise ValueError
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    return jnp.asarray(array)
