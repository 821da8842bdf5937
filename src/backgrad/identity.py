"""What tells settings apart, in any process: a digest of all that is in them."""

import hashlib
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .hosted import HostFeatures

# Where an object lies in memory, which its text says and which differs from process to process.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def identify(words: str, *parts: Any) -> str:
    """Return the SHA-256 of words and of settings: numbers, the bytes of arrays, functions, and objects made of them.

    Functions count by their code, defaults and what they enclose, other objects by what a pickle of them would hold,
    so that they are told apart and known again in another process. Globals that a function reads do not count.
    """
    total = hashlib.sha256(words.encode())
    for chunk in _contents(parts, ()):
        total.update(chunk)
    return total.hexdigest()


def is_key(leaf: Any) -> bool:
    """Tell a JAX key from other arrays."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(leaf: Any) -> np.ndarray:
    """Return a leaf as a NumPy array; of a JAX key, its data."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


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
        array = np.ascontiguousarray(plain(value))
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
