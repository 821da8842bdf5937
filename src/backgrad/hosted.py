"""Training rows that do not fit in memory: features stay on the host, in a memory map say, and are read by the batch.

`host_rows` makes a block of them that `train` takes like `Samples`. At each step of mini-batch descent the features of
the step's rows are fetched (`jax.pure_callback`); labels and weights, which are small, are arrays as ever. Trained
parameters are those of the same rows in memory, bit for bit. Losses over all rows are summed in chunks.

Such features have no gradient. Those of other blocks beside them do, so that poisoning points can be crafted against
rows that are read from a disk.
"""

import hashlib
import mmap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .errors import InputError, UnsupportedError
from .types import Samples, one_hot

# Bytes of features that are read at once where all rows are gone through.
_CHUNK_BYTES = 2**24
# Rows that are read from a memory map before its pages are let go. They count as this process's memory, and with a row
# Linux maps up to 2 MiB beside it.
_GROUP = 64


class _Source:
    """An array on the host, compared by identity, so that compiled code may depend on it."""

    def __init__(self, array: Any, dtype: np.dtype):
        self.array, self.dtype = array, dtype
        self.shape = tuple(int(size) for size in array.shape)
        self.digest = self._inspect()

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)} of SHA-256 {self.digest}"

    def fetch(self, rows: Any) -> np.ndarray:
        """Return the features of some rows."""
        rows = np.asarray(rows)
        mapped = self._mapping()
        if mapped is None:
            return np.ascontiguousarray(self.array[rows], self.dtype)
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for first in range(0, len(rows), _GROUP):
            part = slice(first, first + _GROUP)
            found[part] = self.array[rows[part]]
            mapped.madvise(mmap.MADV_DONTNEED)
        return found

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield all rows, some at a time."""
        step = chunk_rows(self.shape[1], self.dtype)
        for first in range(0, self.shape[0], step):
            yield self.fetch(np.arange(first, min(first + step, self.shape[0])))

    def _inspect(self) -> str:
        """Return the SHA-256 of the features; raise unless all are finite."""
        total = hashlib.sha256()
        for chunk in self.chunks():
            if not np.isfinite(chunk).all():
                raise InputError("rows must be finite, but x holds NaN or infinity: drop or impute those rows.")
            total.update(chunk.data)
        return total.hexdigest()

    def _mapping(self) -> Any:
        """Return the map whose pages can be let go, None where there is none or where that would lose something."""
        mapped = getattr(self.array, "_mmap", None)
        # Pages of a private copy ("c") hold what was written to them, and nothing else does.
        if getattr(self.array, "mode", "c") == "c" or not isinstance(mapped, mmap.mmap):
            return None
        return mapped if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED") else None


class HostFeatures(eqx.Module):
    """Features that are read where they are needed, (n, d).

    Args:
        source: where from.
        anchor: a scalar that stands for all of them, so that a gradient with respect to them can be refused.
    """

    source: _Source = eqx.field(static=True)
    anchor: Float[Array, ""]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return self.source.shape

    @property
    def ndim(self) -> int:
        """2."""
        return len(self.source.shape)

    @property
    def dtype(self) -> np.dtype:
        """The type of the features that training sees."""
        return self.source.dtype

    def __len__(self) -> int:
        return self.source.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of some rows, as a NumPy array."""
        return self.source.fetch(rows)

    def take(self, rows: Int[Array, "b"]) -> Float[Array, "b d"]:
        """Return the features of some rows, within compiled code."""
        shape = jax.ShapeDtypeStruct((*rows.shape, self.shape[1]), self.dtype)
        return _anchored(jax.pure_callback(self.source.fetch, shape, rows, vmap_method="sequential"), self.anchor)


class HostRows(NamedTuple):
    """Weighted rows like `Samples`, whose features stay on the host. `host_rows` makes them.

    Args:
        x: features, (n, d).
        y: soft labels, (n, k).
        weight: how much each row counts, (n,).
    """

    x: HostFeatures
    y: Float[Array, "n k"]
    weight: Float[Array, "n"]


Block = Samples | HostRows


@jax.custom_jvp
def _anchored(x, anchor):
    del anchor
    return x


@_anchored.defjvp
def _refuse(primals, tangents):
    del primals, tangents
    raise UnsupportedError(
        "features on the host have no gradient: differentiate with respect to other blocks, or to y or weight alone, "
        "or put the rows into memory."
    )


def host_rows(x: Any, labels: Any, n_classes: int, *, weight: Any = None, dtype: Any = None) -> HostRows:
    """Build a block of rows whose features stay where they are.

    All features are read once, to check them, and to tell a search's rows from others.

    Args:
        x: features, (n, d): a `numpy.memmap`, or anything with a shape that takes an array of row numbers. It must
            not change while it is used.
        labels: integers 0..k−1, (n,).
        n_classes: k.
        weight: (n,); ones where omitted.
        dtype: what features are turned into as they are read; JAX's default float where omitted.

    Returns:
        The rows, ready for `train` with a `Descent` of mini-batches.

    Raises:
        InputError: features that are not finite, or of another shape.
    """
    dtype = np.dtype(dtype or jnp.result_type(float))
    if len(getattr(x, "shape", ())) != 2 or x.shape[0] != len(labels):
        shape = getattr(x, "shape", None)
        raise InputError(f"x must have the shape (n, d) with one row for each of {len(labels)} labels; got {shape}.")
    weight = jnp.ones(x.shape[0], dtype) if weight is None else jnp.asarray(weight, dtype)
    features = HostFeatures(_Source(x, dtype), jnp.zeros((), dtype))
    return HostRows(features, one_hot(np.asarray(labels), n_classes, dtype=dtype), weight)


def chunk_rows(columns: int, dtype: Any) -> int:
    """Return how many rows of features are read at once."""
    return max(_CHUNK_BYTES // (columns * np.dtype(dtype).itemsize), 1)


def take(block: Block, rows: Int[Array, "b"]) -> Samples:
    """Return some rows of a block, in memory."""
    x = block.x.take(rows) if isinstance(block, HostRows) else block.x[rows]
    return Samples(x, block.y[rows], block.weight[rows])


def check_host(learner: Any, blocks: tuple[Block, ...], schedule: Any) -> None:
    """Raise where training, or its loss, would need all of the rows that stay on the host at once."""
    if not any(isinstance(block, HostRows) for block in blocks):
        return
    if hasattr(learner, "fit_preprocessing"):
        raise UnsupportedError(
            f"{type(learner).__name__} is fitted on all rows at once, and some stay on the host: scale their features "
            "beforehand, and train the learner inside it."
        )
    if hasattr(learner, "learner"):
        raise UnsupportedError(
            f"{type(learner).__name__} changes how rows count in the loss of all, which is summed in parts where rows "
            "stay on the host: train the learner inside it, or put the rows into memory."
        )
    batches = getattr(schedule, "batches", lambda n: None)  # a schedule that converges has none
    if batches(sum(block.weight.shape[0] for block in blocks)) is None:
        raise UnsupportedError(
            "rows on the host are read by the batch: train by Descent with a batch_size below the number of rows."
        )


def over_all(function: Callable[[tuple[Samples, ...]], Any], blocks: tuple[Block, ...]) -> Any:
    r"""Return f of all rows; where some stay on the host, Σ_c W_c f(c) / Σ_c W_c over chunks c of them.

    W_c is the sum of a chunk's weights. A loss that is a weighted mean plus regularisation is thereby that over all
    rows, and so is its gradient.

    Args:
        function: of blocks in memory, to a pytree of arrays.
        blocks: in memory or on the host.
    """
    here = tuple(block for block in blocks if isinstance(block, Samples))
    if len(here) == len(blocks):
        return function(here)
    total = weight = None
    if here:
        weight = jnp.sum(jnp.stack([jnp.sum(block.weight) for block in here]))
        total = _scaled(function(here), weight)
    for block in blocks:
        if isinstance(block, HostRows):
            part, size = _over_chunks(function, block)
            total = part if total is None else jax.tree.map(jnp.add, total, part)
            weight = size if weight is None else weight + size
    assert weight is not None, "train refuses an empty tuple of blocks"
    return _scaled(total, jnp.where(weight > 0, 1 / jnp.where(weight > 0, weight, 1.0), 0.0))


def _over_chunks(function: Callable[[tuple[Samples, ...]], Any], block: HostRows) -> tuple[Any, Array]:
    n, size = block.x.shape[0], min(chunk_rows(block.x.shape[1], block.x.dtype), block.x.shape[0])

    def chunk(first):
        rows = first + jnp.arange(size, dtype=jnp.int32)
        part = take(block, jnp.minimum(rows, n - 1))
        part = part._replace(weight=jnp.where(rows < n, part.weight, 0.0))
        weight = jnp.sum(part.weight)
        return _scaled(function((part,)), weight), weight

    def add(carry, first):
        return jax.tree.map(jnp.add, carry, chunk(first)), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(chunk, jnp.int32(0)))
    return jax.lax.scan(add, zeros, jnp.arange(0, n, size, dtype=jnp.int32))[0]


def _scaled(tree: Any, factor: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)
