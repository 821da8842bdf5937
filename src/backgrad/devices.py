"""Rows on several devices: the sums over rows that training is made of, shared out among them.

Rows lie on a mesh of one axis. Each device holds n/D of the n rows, and a copy of everything else: parameters, and the
poisoning points while a search moves them. XLA's partitioner does the rest. A gradient of the training loss is then one
of n/D rows on every device, followed by a sum over devices of as many numbers as there are parameters.

An array on a mesh has the same number of rows on every device, so that rows are stored with up to D − 1 empty ones at
the end, which compiled code cuts off before anything counts rows: batches, statistics and goals see n rows, in order.

Results are those of one device to round-off, since sums are taken in another order. Devices of several hosts are a mesh
like any other once `jax.distributed.initialize` has been called by each of them.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .errors import InputError
from .types import Samples, concatenate

_AXIS = "rows"
_Block = TypeVar("_Block")


class SpreadRows(eqx.Module):
    """Rows on a mesh. Its `x`, `y` and `weight` are those of the n rows, as `Samples` has them.

    Args:
        padded: the rows, then empty ones of weight 0 up to a multiple of the devices.
        n: the number of rows.
    """

    padded: Samples
    n: int = eqx.field(static=True)

    @property
    def rows(self) -> Samples:
        """The n rows, on the devices where they are."""
        return along_rows(Samples(*(part[: self.n] for part in self.padded)))

    @property
    def x(self) -> Any:
        """Features, (n, d)."""
        return self.rows.x

    @property
    def y(self) -> Any:
        """Soft labels, (n, k)."""
        return self.rows.y

    @property
    def weight(self) -> Any:
        """Weights, (n,)."""
        return self.rows.weight


def row_mesh(devices: int | str | Mesh | None) -> Mesh | None:
    """Return the mesh that rows are spread over, or None where that is not asked for.

    Args:
        devices: how many devices, `"all"`, a mesh of one axis from an earlier call, or None.

    Raises:
        InputError: something else, or more devices than there are.
    """
    if devices is None or isinstance(devices, Mesh):
        return devices
    there = jax.devices()
    if devices == "all":
        devices = len(there)
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise InputError(f"devices must be a positive whole number or 'all'; got {devices!r}.")
    if devices > len(there):
        cure = "ask for as many at most"
        if there[0].platform == "cpu":
            cure += f", or start with XLA_FLAGS=--xla_force_host_platform_device_count={devices} for parts of one CPU"
        raise InputError(f"{devices} devices are asked for, but JAX sees {len(there)} ({there[0].platform}): {cure}.")
    if jax.process_count() > 1 and devices < len(there):
        raise InputError(
            f"{devices} of {len(there)} devices are asked for, but all hosts must take part: ask for 'all'."
        )
    return Mesh(np.asarray(there[:devices]), (_AXIS,), axis_types=(AxisType.Auto,))


def spread_rows(samples: Samples | SpreadRows, mesh: Mesh) -> SpreadRows:
    """Put rows on a mesh, each device an equal part of them. Every host must be given all rows.

    Args:
        samples: the rows; those that are there already, as `rows_from_hosts` puts them, stay where they are.
        mesh: from `row_mesh`.
    """
    if isinstance(samples, SpreadRows):
        return samples
    n = samples.weight.shape[0]
    if not samples.x.is_fully_addressable:
        return SpreadRows(samples, n)
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))

    def put(part: Any) -> jax.Array:
        host = np.asarray(part)
        host = np.pad(host, [(0, -n % mesh.size), *[(0, 0)] * (host.ndim - 1)])
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return SpreadRows(Samples(*map(put, samples)), n)


def rows_from_hosts(samples: Samples, mesh: Mesh) -> Samples:
    """Join the rows that several hosts hold, each its own part, into one set that no host holds.

    Args:
        samples: this host's rows; their number must be the same on all hosts, and a multiple of its devices.
        mesh: of the devices of all hosts.

    Returns:
        The rows of all hosts, in the order of hosts.

    Raises:
        InputError: rows that cannot be shared out evenly.
    """
    n, here = samples.weight.shape[0], mesh.local_mesh.size
    if n % here:
        raise InputError(
            f"a host must hand over a multiple of its {here} devices, and as many rows as the others; got {n} rows: "
            f"leave out {n % here}, or add {-n % here} of weight 0."
        )
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
    return Samples(*(jax.make_array_from_process_local_data(sharding, np.asarray(part)) for part in samples))


def rows_of(block: _Block | SpreadRows) -> _Block | Samples:
    """Return rows that are spread as `Samples`, and others as they are."""
    return block.rows if isinstance(block, SpreadRows) else block


def holds(test: Callable[[Any, Any], Any], array: Any) -> bool:
    """Tell whether something holds of an array, which is only copied where it lies in this process's memory.

    Args:
        test: of `numpy` or `jax.numpy`, and the array.
        array: not a traced one.
    """
    places = array.devices() if isinstance(array, jax.Array) else set()
    if len(places) <= 1 and {place.platform for place in places} <= {"cpu"}:
        return bool(test(np, np.asarray(array)))
    with jax.ensure_compile_time_eval():
        return bool(test(jnp, array))


def on_host(array: Any) -> np.ndarray:
    """Return an array's values here, those that other hosts hold too."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        from jax.experimental.multihost_utils import process_allgather

        return np.asarray(process_allgather(array, tiled=True))
    return np.asarray(array)


@contextlib.contextmanager
def spreading(mesh: Mesh | None) -> Iterator[None]:
    """Have code that is traced in this block lay rows along a mesh; without one, change nothing."""
    if mesh is None:
        yield
        return
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        yield


def shares() -> int:
    """Return over how many devices the code that is being traced spreads rows; 1 where it does not."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[_AXIS] if _AXIS in mesh.axis_names else 1


def along_rows(tree: Any) -> Any:
    """Lay the first axis of a tree's arrays along the mesh in use; it need not divide, and too few rows stay whole."""
    return _constrain(tree, PartitionSpec(_AXIS))


def everywhere(tree: Any) -> Any:
    """Have every device of the mesh in use hold all of a tree's arrays."""
    return _constrain(tree, PartitionSpec())


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Copy a tree's arrays to every device of a mesh, where there is one.

    What a loop hands from one compiled call to the next must lie the same way before the first call as after it, or the
    call would be compiled twice: this is for before, and `everywhere` for after.
    """
    if mesh is None:
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(_copier(mesh)(arrays), rest)


@functools.cache
def _copier(mesh: Mesh) -> Callable[[Any], Any]:
    """Return what copies arrays to all devices; compiled code alone can do so with devices of other hosts."""
    return jax.jit(lambda leaves: leaves, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _constrain(tree: Any, spec: PartitionSpec) -> Any:
    mesh = jax.sharding.get_abstract_mesh()
    if _AXIS not in mesh.axis_names:
        return tree
    sharding = NamedSharding(mesh, spec)

    def constrain(leaf: Any) -> Any:
        few = spec and leaf.shape[0] < mesh.size
        return leaf if few or not eqx.is_array(leaf) else jax.lax.with_sharding_constraint(leaf, sharding)

    return jax.tree.map(constrain, tree)


def join(blocks: tuple[Samples, ...]) -> Samples:
    """Return the rows of several blocks as one, for sums and extremes of rows that count their weights.

    On one device these are the blocks one after another. On several, each device puts its parts one after another, so
    that no row moves; the order is another then, and a few empty rows of weight 0 may lie between.
    """
    parts = shares()
    if parts == 1 or len(blocks) == 1:
        return concatenate(blocks)

    def split(part: Any) -> Any:
        padded = jnp.pad(part, [(0, -part.shape[0] % parts), *[(0, 0)] * (part.ndim - 1)])
        return along_rows(padded.reshape(parts, -1, *part.shape[1:]))

    pieces = (jnp.concatenate([split(part) for part in column], axis=1) for column in zip(*blocks, strict=True))
    return along_rows(Samples(*(piece.reshape(-1, *piece.shape[2:]) for piece in pieces)))
