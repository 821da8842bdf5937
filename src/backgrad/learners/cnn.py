r"""Convolutional networks for images, after the paper's (tflearn's example for MNIST).

Each convolution is followed by max-pooling and, where asked for, local response normalisation,

    z = relu(max_{2×2}(K ∗ h) + b),    h' = z / (1 + α Σ_{|j−i| ≤ 5} z_j²)^¾,    α = 10⁻⁴,

the sum running over neighbouring channels. Dense layers h' = tanh(h W + b) follow, and a softmax. Relu and maximum
are exchanged, which changes nothing and costs a quarter.

Arrays inside have the axes (channel, height, width, row), so that shifts, pooling and the transposes of all of these
move long contiguous runs. A convolution is computed at the four places of the pooling windows separately: from 2×2
parity planes of its input, no strided access is left, and patches stay small enough for a cache.
"""

import dataclasses
import itertools
import math
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..checks import check_count, check_not_negative, check_share, native
from ..devices import join, shares
from ..errors import InputError
from ..types import Samples, concatenate
from .base import Learner, cross_entropy, per_weight

# tflearn's defaults for local response normalisation; its β = ¾ is written out in `normalise`.
_RADIUS, _ALPHA = 5, 1e-4
# More rows than _WHOLE go through the network in chunks, or patches would take gigabytes.
_WHOLE, _CHUNK = 512, 256


class Filters(NamedTuple):
    """Weights (out, 3, 3, in) of a convolution or (out, in) of a dense layer, and bias (out,).

    Outputs come first, so that no product needs a transpose: XLA's CPU backend would fold it into a slower one.
    """

    weight: Float[Array, "o ..."]
    bias: Float[Array, "o"]


class CNNParams(NamedTuple):
    """Parameters of a CNN. The first dense layer takes the last image in the order channel, height, width."""

    convolutions: tuple[Filters, ...]
    dense: tuple[Filters, ...]


class CNN(Learner):
    """A convolutional network with softmax output and cross-entropy.

    The paper's network is tflearn's example with its 450,000 parameters: `CNN(normalise=True, dropout=0.2)`. Both are
    off by default: at tflearn's settings normalisation divides by little more than 1 and costs a seventh of the
    time, and dropout makes each step's gradient noisy. Weights start from Glorot and Bengio's (2010) uniform
    distribution, biases at zero (tflearn draws dense weights from a normal distribution of width 0.02).

    Args:
        n_features: d, the pixels of an image times its colours.
        n_classes: k.
        image_shape: (height, width), or (height, width, colours) with the colour of a pixel as the last, fastest
            index; a square grey image where omitted.
        channels: of the 3×3 convolutions, each padded to keep the image's size and followed by 2×2 max-pooling,
            which halves it, rounding up.
        dense: widths of the dense layers before the softmax.
        l2: λ, the L2 strength on the kernels of the convolutions alone, as in tflearn's example; a float, or a scalar
            array to differentiate with respect to it.
        normalise: whether local response normalisation follows each pooling.
        dropout: the share of a dense layer's outputs that is set to 0 at each training step, while the others grow by
            1 / (1 − dropout). Scores and reported losses are without it, and so is everything else but the steps.
        convolution: `"im2col"` (a matrix product of patches), `"lax"` (XLA's convolution), or `"auto"`, which takes
            im2col on a CPU and lax elsewhere, whatever runs when JAX traces.

    Raises:
        InputError: a number out of its range, or an image shape that does not fit the features.
    """

    probabilistic: ClassVar[bool] = True

    n_features: int = eqx.field(default=784, static=True, converter=native)
    n_classes: int = eqx.field(default=10, static=True, converter=native)
    image_shape: tuple[int, ...] | None = eqx.field(default=None, static=True, converter=native)
    channels: tuple[int, ...] = eqx.field(default=(32, 64), static=True, converter=native)
    dense: tuple[int, ...] = eqx.field(default=(128, 256), static=True, converter=native)
    l2: Any = 0.001
    normalise: bool = eqx.field(default=False, static=True)
    dropout: float = eqx.field(default=0.0, static=True, converter=native)
    convolution: Literal["auto", "im2col", "lax"] = eqx.field(default="auto", static=True)

    def __check_init__(self):
        check_count(n_features=self.n_features, n_classes=self.n_classes)
        for name, example in (("channels", (32, 64)), ("dense", (128, 256))):
            widths = getattr(self, name)
            if not isinstance(widths, tuple):
                raise InputError(f"{name} must be a tuple of widths, such as {example}; got {widths!r}.")
            check_count(**{f"{name}[{i}]": width for i, width in enumerate(widths)})
        if not self.channels:
            raise InputError("channels must name one convolution at least; got none: use MLP for dense layers alone.")
        check_not_negative(l2=self.l2)
        check_share(dropout=self.dropout)
        if self.convolution not in ("auto", "im2col", "lax"):
            raise InputError(f"convolution must be 'auto', 'im2col' or 'lax'; got {self.convolution!r}.")
        _check_shape(self.n_features, self.image_shape)

    @property
    def n_outputs(self) -> int:
        """The number k of classes."""
        return self.n_classes

    @property
    def strength(self) -> Any:
        """λ."""
        return self.l2

    @property
    def stochastic(self) -> bool:
        """Whether training steps draw random numbers, which `train` then hands to `loss_at`."""
        return self.dropout > 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and colours of the images."""
        if self.image_shape is None:
            side = math.isqrt(self.n_features)
            return side, side, 1
        height, width, *colours = self.image_shape
        return height, width, colours[0] if colours else 1

    def narrow(self, factor: int) -> "CNN":
        """Return this network with all hidden widths divided by `factor`: a surrogate that trains faster."""
        check_count(factor=factor)
        channels, dense = (tuple(max(width // factor, 1) for width in w) for w in (self.channels, self.dense))
        return dataclasses.replace(self, channels=channels, dense=dense)

    def init(self, key: PRNGKeyArray) -> CNNParams:
        """Draw initial parameters."""
        height, width, colours = self.shape
        for _ in self.channels:
            height, width = -(-height // 2), -(-width // 2)
        channels = (colours, *self.channels)
        widths = (height * width * channels[-1], *self.dense, self.n_classes)
        draw = jax.nn.initializers.glorot_uniform(in_axis=-1, out_axis=0)
        keys = iter(jax.random.split(key, len(channels) + len(widths) - 2))
        return CNNParams(
            tuple(Filters(draw(next(keys), (o, 3, 3, i)), jnp.zeros(o)) for i, o in itertools.pairwise(channels)),
            tuple(Filters(draw(next(keys), (o, i)), jnp.zeros(o)) for i, o in itertools.pairwise(widths)),
        )

    def scores(self, params: CNNParams, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """Return the inputs of the softmax, without dropout."""
        return self._scores(params, x, None)

    def loss_over(self, params: CNNParams, blocks: tuple[Samples, ...]) -> Float[Array, ""]:
        """Return the loss of all rows of several blocks together, without dropout."""
        return self._loss(params, join(blocks), None)

    def loss_at(self, params: CNNParams, blocks: tuple[Samples, ...], key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the loss of a training step, with dropout drawn from the step's key."""
        return self._loss(params, concatenate(blocks), key)

    def row_losses(self, scores, y):
        """Return the cross-entropy of every row."""
        return cross_entropy(scores, y)

    def penalised(self, params: CNNParams) -> Any:
        """Return the kernels of the convolutions."""
        return [convolution.weight for convolution in params.convolutions]

    def _loss(self, params: CNNParams, rows: Samples, key: PRNGKeyArray | None) -> Float[Array, ""]:
        losses = self.row_losses(self._scores(params, rows.x, key), rows.y)
        mean = per_weight(jnp.sum(rows.weight * losses), jnp.sum(rows.weight))
        return mean + self.regularisation(params)

    def _scores(self, params: CNNParams, x: Float[Array, "n d"], key: PRNGKeyArray | None) -> Float[Array, "n k"]:
        """Return the scores, in chunks of rows where there are many; gradients run a chunk again."""
        n = x.shape[0]
        # On several devices a chunk holds rows of each. What dropout draws follows from the place of a row in a chunk.
        parts = shares() if key is None else 1
        if n <= _WHOLE * parts:
            return self._network(params, x, key)
        own = -(-n // parts)
        count = -(-own // _CHUNK)
        rows = jnp.pad(x, ((0, own * parts - n), (0, 0))).reshape(parts, own, -1)
        chunks = jnp.pad(rows, ((0, 0), (0, count * _CHUNK - own), (0, 0))).reshape(parts, count, _CHUNK, -1)
        chunks = jnp.moveaxis(chunks, 1, 0).reshape(count, parts * _CHUNK, -1)
        keys = None if key is None else jax.random.split(key, count)
        run = jax.checkpoint(lambda part: self._network(params, *part))
        scores = jax.lax.map(run, (chunks, keys)).reshape(count, parts, _CHUNK, -1)
        return jnp.moveaxis(scores, 0, 1).reshape(parts, count * _CHUNK, -1)[:, :own].reshape(own * parts, -1)[:n]

    def _network(self, params: CNNParams, x: Float[Array, "n d"], key: PRNGKeyArray | None) -> Float[Array, "n k"]:
        hidden = jnp.moveaxis(x.T.reshape(*self.shape, -1), 2, 0)
        for convolution in params.convolutions:
            hidden = jax.nn.relu(self._pooled(hidden, convolution.weight) + convolution.bias[:, None, None, None])
            hidden = normalise(hidden) if self.normalise else hidden
        hidden = hidden.reshape(-1, x.shape[0])
        for i, layer in enumerate(params.dense[:-1]):
            hidden = jnp.tanh(layer.weight @ hidden + layer.bias[:, None])
            if key is not None:
                kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - self.dropout, hidden.shape)
                hidden = jnp.where(kept, hidden / (1 - self.dropout), 0)
        return (params.dense[-1].weight @ hidden + params.dense[-1].bias[:, None]).T

    def _pooled(self, images: Float[Array, "i h w n"], kernel: Float[Array, "o 3 3 i"]) -> Float[Array, "o _h _w n"]:
        """Convolve with zero padding, and return the maxima of the 2×2 windows."""
        im2col = self.convolution == "im2col" or (self.convolution == "auto" and jax.default_backend() == "cpu")
        height, width = images.shape[1:3]
        # Where a side is odd, windows reach one place beyond it, which the convolution is computed at and must not win.
        padding = ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0))
        places = (_by_patches if im2col else _by_lax)(jnp.pad(images, padding), kernel)
        upper, lower = (first_max(left, _without_end(right, 2, width)) for left, right in places)
        # Held by a barrier: XLA would compute what follows anew for each of the slices that the next patches take.
        return jax.lax.optimization_barrier(first_max(upper, _without_end(lower, 1, height)))


def _check_shape(n_features: int, image_shape: tuple[int, ...] | None) -> None:
    """Raise unless images of this shape have so many features."""
    if image_shape is None:
        if math.isqrt(n_features) ** 2 != n_features:
            raise InputError(
                f"CNN takes rows for square grey images, but {n_features} features are no square: give image_shape="
                "(height, width) or (height, width, colours), or use another learner where rows are no images."
            )
        return
    if not isinstance(image_shape, tuple) or len(image_shape) not in (2, 3):
        raise InputError(f"image_shape must be (height, width) or (height, width, colours); got {image_shape!r}.")
    check_count(**{f"image_shape[{i}]": size for i, size in enumerate(image_shape)})
    if math.prod(image_shape) != n_features:
        raise InputError(
            f"image_shape {image_shape} has {math.prod(image_shape)} values, but n_features is {n_features}: "
            "make them equal."
        )


def first_max(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the larger of two numbers; where they are equal the derivative is that of the first, as in TensorFlow."""
    return jnp.where(a >= b, a, b)


def normalise(images: Float[Array, "c h w n"]) -> Float[Array, "c h w n"]:
    """Return the local response normalisation z / (1 + α Σ_{|j−i| ≤ 5} z_j²)^¾, with tflearn's α = 10⁻⁴.

    Sums over neighbouring channels are a product with a band matrix; u^−¾ is made of two roots, which processors
    compute faster than a power.
    """
    channel = np.arange(images.shape[0])
    near = jnp.asarray(np.abs(channel[:, None] - channel) <= _RADIUS, images.dtype)
    sums = jax.lax.optimization_barrier(_mix(near, images * images))
    root = jax.lax.rsqrt(1 + _ALPHA * sums)
    return images * root * jnp.sqrt(root)


def _mix(matrix: Float[Array, "o i"], images: Float[Array, "i h w n"]) -> Float[Array, "o h w n"]:
    """Return linear combinations of channels."""
    # In two dimensions XLA takes operands as they lie; in more it would transpose images on the way back. Where rows
    # are spread over devices, though, an axis that they share with places would have each device gather all rows.
    if shares() > 1:
        return jnp.tensordot(matrix, images, axes=1)
    return (matrix @ images.reshape(len(images), -1)).reshape(-1, *images.shape[1:])


def _without_end(images: Float[Array, "c h w n"], axis: int, size: int) -> Float[Array, "c h w n"]:
    """Return the places at odd heights or widths, those beyond an odd side replaced by −∞."""
    if size % 2 == 0:
        return images
    inside = jax.lax.slice_in_dim(images, 0, images.shape[axis] - 1, axis=axis)
    return jnp.pad(inside, [(0, int(i == axis)) for i in range(4)], constant_values=-jnp.inf)


def _by_patches(padded: Float[Array, "i h w n"], kernel: Float[Array, "o 3 3 i"]) -> list[list[Array]]:
    """Convolve at the four places [r][s] of the pooling windows, as products of kernels and patches."""
    i, h, w, _ = padded.shape
    planes = [[padded[:, r::2, s::2] for s in range(2)] for r in range(2)]
    matrix, high, wide = kernel.reshape(-1, 9 * i), h // 2 - 1, w // 2 - 1

    def patch(row: int, column: int):
        plane = planes[row % 2][column % 2]
        return plane[:, row // 2 : row // 2 + high, column // 2 : column // 2 + wide]

    def place(r: int, s: int):
        patches = jnp.concatenate([patch(r + a, s + b) for a in range(3) for b in range(3)])
        return _mix(matrix, patches)

    return [[place(r, s) for s in range(2)] for r in range(2)]


def _by_lax(padded: Float[Array, "i h w n"], kernel: Float[Array, "o 3 3 i"]) -> list[list[Array]]:
    """Convolve at the four places [r][s] of the pooling windows, by XLA's convolution."""
    numbers = ("CHWN", "OHWI", "CHWN")
    full = jax.lax.conv_general_dilated(padded, kernel, (1, 1), "VALID", dimension_numbers=numbers)
    o, h, w, n = full.shape
    places = full.reshape(o, h // 2, 2, w // 2, 2, n)
    return [[places[:, :, r, :, s] for s in range(2)] for r in range(2)]
