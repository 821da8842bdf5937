"""Searches that go on where they stopped: their state as plain arrays, and whose state it is.

An attack on a large model runs for hours. A search that is given a `Checkpoint` hands its state over now and then, as
arrays by name, and takes it back at its start. Where it is kept is the checkpoint's own affair;
`backgrad.studies.checkpoint` keeps it in a file. A search that was stopped and went on ends with the same bytes as one
that was not.

A state fits one search alone. So it carries a digest of all that the search depends on: settings, rows, labels,
start and seed. Hashing 50,000 rows of 784 features takes under a second.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..identity import is_key, plain

Arrays = Mapping[str, np.ndarray]
State = TypeVar("State")

_IDENTITY, _LEAF = "identity", "state."


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


def pack(state: Any, identity: str, **more: np.ndarray) -> dict[str, np.ndarray]:
    """Return a search's state as arrays by name.

    Args:
        state: a pytree of arrays and JAX keys.
        identity: whose state it is.
        **more: further arrays, under names of their own.
    """
    leaves = {f"{_LEAF}{number}": plain(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}
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


def _like(array: np.ndarray, leaf: Any) -> jax.Array:
    """Return an array as what it was before; raise ValueError unless it has the shape and type for it."""
    before = plain(leaf)
    if array.shape != before.shape or array.dtype != before.dtype:
        raise ValueError
    if is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    return jnp.asarray(array)
