"""Images with other tones: fewer bits, solarized, stretched and equalized histograms, sharper or blurred."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax.errors import InputError
from verax.layers.augmentation.base import (
    BaseAugmentation,
    ImageArguments,
    between,
    happens,
    interval,
    limits,
    of_each,
)
from verax.layers.base import LayerArguments, layer_registry
from verax.ops.image_filters import gaussian, smooth

__all__ = [
    "AutoContrast",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Equalization",
    "RandomGaussianBlur",
    "RandomPosterization",
    "RandomSharpness",
    "Solarization",
]


class _Toned(BaseAugmentation):
    """A change that knows the range of values, and may do its maths from 0 to 255."""

    def __init__(
        self,
        value_range: Any,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range = value_range
        self._limits = limits(value_range)

    def to_bytes(self, images: jax.Array) -> jax.Array:
        """Values from 0 to 255."""
        low, high = self._limits
        return images if self._limits == (0, 255) else (images - low) / (high - low) * 255.0

    def from_bytes(self, images: jax.Array) -> jax.Array:
        """Values in the layer's range."""
        low, high = self._limits
        return images if self._limits == (0, 255) else images / 255.0 * (high - low) + low


@layer_registry.add
class RandomPosterization(_Toned):
    """Keeps the first bits of each value in training, as if it was a byte.

    Args:
        factor: How many of the 8 bits: that many, or an integer drawn from ``factor[0]`` to ``factor[1]``; 1 to 8.
        value_range: The smallest and the largest value of pixels.
        data_format, seed: As in ``BaseAugmentation``.

    Differs from Keras: one number is the number of bits, as its documentation says, not a draw from 1 to
    ``factor - 1``; of two, both can be drawn.

    >>> RandomPosterization(1)(jnp.array([[[100.0, 200.0]]]), training=True).ravel().tolist()
    [0.0, 128.0]
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = factor
        low, high = interval(factor, "factor", 1, 8, single="exact")
        self._bits = int(low), int(high)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The bits that are kept."""
        low, high = self._bits
        return jax.random.randint(key, (shape[0],), low, high + 1)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Keep them."""
        shift = (8 - drawn).astype("uint8").reshape(-1, 1, 1, 1)
        values = jnp.clip(self.to_bytes(images), 0, 255).astype("uint8")
        values = jax.lax.shift_right_logical(values, jnp.broadcast_to(shift, values.shape))
        values = jax.lax.shift_left(values, jnp.broadcast_to(shift, values.shape))
        return self.from_bytes(values.astype(images.dtype))


@layer_registry.add
class Solarization(_Toned):
    """Adds to each value, and inverts the values above a threshold, in training.

    With values from 0 to 255: ``y = clip(x + 255 a)``; ``y`` where ``y < 255 t``, else ``255 - y``.

    Args:
        addition_factor: a: drawn from [0, a], or between two numbers; from 0 to 1.
        threshold_factor: t, likewise; 0 inverts everything.
        value_range: The smallest and the largest value of pixels.
        seed, data_format: As in ``BaseAugmentation``.

    Differs from Keras: the smaller of two numbers counts in the same unit as the larger; there it is taken as a number
    of 255.

    >>> Solarization(threshold_factor=(0.5, 0.5))(jnp.array([[[100.0, 200.0]]]), training=True).ravel().tolist()
    [100.0, 55.0]
    """

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        **kwargs: Unpack[ImageArguments],
    ):
        super().__init__(value_range, seed, **kwargs)
        self.addition_factor, self.threshold_factor = addition_factor, threshold_factor
        self._addition = interval(addition_factor, "addition_factor")
        self._threshold = interval(threshold_factor, "threshold_factor")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """What is added, and the threshold, from 0 to 255."""
        one, other = jax.random.split(key)
        return 255.0 * between(one, shape[0], self._addition), 255.0 * between(other, shape[0], self._threshold)

    def change(self, images: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Add, and invert above the threshold."""
        addition, threshold = (of_each(d, images) for d in drawn)
        values = jnp.clip(self.to_bytes(images) + addition, 0.0, 255.0)
        return self.from_bytes(jnp.where(values < threshold, values, 255.0 - values))


@layer_registry.add
class AutoContrast(_Toned):
    """Stretches each channel of each image over the whole range, in both modes: ``(x - min) / (max - min)``.

    A channel of one value stays as it is. It draws nothing.

    Args:
        value_range: The smallest and the largest value of pixels.
        data_format: As in ``BaseAugmentation``.

    >>> AutoContrast()(jnp.array([[[100.0], [110.0], [120.0]]])).ravel().tolist()
    [0.0, 127.5, 255.0]
    """

    always = True

    def __init__(self, value_range: Any = (0, 255), **kwargs: Unpack[ImageArguments]):
        super().__init__(value_range, **kwargs)

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """Stretch."""
        values = self.to_bytes(images)
        low, high = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
        flat = high == low
        scale = 255.0 / jnp.where(flat, jnp.ones_like(high), high - low)
        stretched = jnp.clip(values * scale - low * scale, 0.0, 255.0)
        return jnp.where(flat, images, self.from_bytes(stretched))


def _counts(values: jax.Array, bins: int) -> jax.Array:
    """How often each of 0 .. bins - 1 stands in each row of integers: (rows, n) -> (rows, bins)."""
    rows = jnp.arange(values.shape[0], dtype="int32")[:, None]
    flat = (rows * bins + values).ravel()
    return jnp.zeros(values.shape[0] * bins, "int32").at[flat].add(1, mode="promise_in_bounds").reshape(-1, bins)


@layer_registry.add
class Equalization(_Toned):
    """Makes the values of each channel of each image as evenly distributed as they can be, in both modes.

    With the counts ``c(v)`` of values up to v, from 0 to 255: ``round(255 (c(v) - c_min) / (n - c_min))``.

    Args:
        value_range: The smallest and the largest value of pixels.
        bins: Into how many steps values are counted.
        data_format: As in ``BaseAugmentation``.

    Differs from Keras: it is active in inference, as its documentation says; each image has a histogram of its own
    (there all images of a batch share one).

    >>> Equalization()(jnp.array([[[3.0], [4.0], [5.0]]])).ravel().tolist()
    [0.0, 128.0, 255.0]
    """

    always = True

    def __init__(
        self,
        value_range: Any = (0, 255),
        bins: int = 256,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, data_format=data_format, **kwargs)
        if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
            raise InputError("Equalization was made.", received=f"bins={bins!r}", because="it is an integer above 1")
        self.bins = bins

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """Look up what each value becomes."""
        batch, height, width, channels = images.shape
        values = self.to_bytes(images.astype("float32"))
        rows = jnp.moveaxis(values, -1, 1).reshape(batch * channels, height * width)
        steps = jnp.clip(rows * (self.bins - 1) / 255.0, 0, self.bins - 1).astype("int32")
        counts = _counts(steps, self.bins)
        total = jnp.cumsum(counts, -1)
        first = jnp.min(jnp.where(total > 0, total, height * width), -1, keepdims=True)
        left = jnp.maximum(height * width - first, 1).astype("float32")
        table = jnp.clip(jnp.round((total - first).astype("float32") * 255.0 / left), 0, 255)
        one_value = jnp.sum(counts > 0, -1, keepdims=True) <= 1
        equal = jnp.where(one_value, rows, jnp.take_along_axis(table, steps, -1, mode="promise_in_bounds"))
        equal = jnp.moveaxis(equal.reshape(batch, channels, height, width), 1, -1)
        return self.from_bytes(equal).astype(images.dtype)


@layer_registry.add
class ContrastLimitedAdaptiveHistogramEqualization(_Toned):
    """Equalizes each tile of each image by itself, with steepness limited, and blends between tiles, in both modes.

    Each channel is cut into tiles. A tile's histogram is cut at ``clip_limit`` times its mean, and what was cut is
    spread over all values; a pixel is looked up in the tables of the four tiles around it, and the results are
    interpolated.

    Args:
        value_range: The smallest and the largest value of pixels.
        clip_limit: Where histograms are cut, in their mean; 0 for no limit.
        tile_grid_size: How many tiles there are along the height and the width.
        data_format: As in ``BaseAugmentation``.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization" (Graphics Gems IV, 1994).
    """

    always = True

    def __init__(
        self,
        value_range: Any = (0, 255),
        clip_limit: float = 4.0,
        tile_grid_size: Any = (8, 8),
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, data_format=data_format, **kwargs)
        self.clip_limit, self.tile_grid_size = clip_limit, tile_grid_size
        self._grid = int(tile_grid_size[0]), int(tile_grid_size[1])

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """Look up each value in the tables of the tiles around it."""
        batch, height, width, channels = images.shape
        rows, columns = self._grid
        tile = -(-height // rows), -(-width // columns)
        values = self.to_bytes(images.astype("float32"))
        missing = (0, rows * tile[0] - height), (0, columns * tile[1] - width)
        padded = jnp.pad(values, ((0, 0), *missing, (0, 0)), mode="symmetric")
        pixels = jnp.clip(padded.astype("int32"), 0, 255)
        tiles = pixels.reshape(batch, rows, tile[0], columns, tile[1], channels).transpose(0, 1, 3, 5, 2, 4)
        tables = self._tables(tiles.reshape(-1, tile[0] * tile[1]))
        tables = tables.reshape(batch, rows, columns, channels, 256)
        blended = self._blend(tables, pixels, tile)[:, :height, :width]
        return self.from_bytes(blended).astype(images.dtype)

    def _tables(self, tiles: jax.Array) -> jax.Array:
        size = tiles.shape[1]
        counts = _counts(tiles, 256).astype("float32")
        if self.clip_limit > 0:
            kept = jnp.minimum(counts, self.clip_limit * size / 256.0)
            counts = kept + (counts - kept).sum(-1, keepdims=True) / 256.0
        total = jnp.cumsum(counts, -1)
        first = total[:, :1]
        left = size - first
        return jnp.clip((total - first) * 255.0 / jnp.where(left == 0, jnp.ones_like(left), left), 0, 255)

    def _blend(self, tables: jax.Array, pixels: jax.Array, tile: tuple[int, int]) -> jax.Array:
        batch, height, width, channels = pixels.shape
        image = jnp.arange(batch)[:, None, None, None]
        channel = jnp.arange(channels)[None, None, None, :]

        def around(size: int, length: int, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
            place = (jnp.arange(length, dtype="float32") - size / 2.0) / size
            low = jnp.floor(place)
            index = low.astype("int32")
            return jnp.clip(index, 0, count - 1), jnp.clip(index + 1, 0, count - 1), place - low

        top, bottom, down = around(tile[0], height, self._grid[0])
        left, right, across = around(tile[1], width, self._grid[1])

        def looked_up(row: jax.Array, column: jax.Array) -> jax.Array:
            return tables[image, row[None, :, None, None], column[None, None, :, None], channel, pixels]

        across = across[None, None, :, None]
        above = looked_up(top, left) * (1.0 - across) + looked_up(top, right) * across
        below = looked_up(bottom, left) * (1.0 - across) + looked_up(bottom, right) * across
        down = down[None, :, None, None]
        return above * (1.0 - down) + below * down


@layer_registry.add
class RandomSharpness(_Toned):
    """Sharpens or smooths each image in training: ``clip(x + (1 - 2 f) * (smooth(x) - x))``.

    ``smooth`` is the 3x3 mean with weight 5 in the middle and 1 around, over 13; zeros stand outside.

    Args:
        factor: f: drawn from [0, factor], or between two numbers; 0 is smooth, 0.5 nothing, 1 sharp.
        value_range: (low, high), within which values are kept.
        data_format, seed: As in ``BaseAugmentation``.
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = factor
        self._factor = interval(factor, "factor")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The factor."""
        return between(key, shape[0], self._factor)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Move away from the smoothed image, or towards it."""
        ones = jnp.ones((1, 3), images.dtype)
        around = smooth(smooth(images, ones, 1), ones, 2)
        mean = (around + 4.0 * images) / 13.0
        weight = of_each(1.0 - 2.0 * drawn, images)
        return jnp.clip(images + weight * (mean - images), *self._limits)


@layer_registry.add
class RandomGaussianBlur(_Toned):
    """Blurs images in training with a normal density, of a width of each image's own.

    Args:
        factor: The probability with which an image is changed; drawn between two numbers, or from [0, factor].
        kernel_size: The kernel's taps, an odd number, or two: along the width and along the height.
        sigma: Its standard deviation in pixels, drawn for each axis from [0, sigma], or between two numbers.
        value_range: (low, high), within which values are kept.
        data_format, seed: As in ``BaseAugmentation``.

    Differs from Keras: each image has a sigma of its own, as its documentation says; there a batch shares one.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor, self.kernel_size, self.sigma = factor, kernel_size, sigma
        sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
        if len(sizes) != 2 or any(not isinstance(n, int) or n < 1 or n % 2 == 0 for n in sizes):
            because = "it is one odd integer, or two of them"
            raise InputError("kernel_size was given.", received=repr(kernel_size), because=because)
        self._sizes = sizes[0], sizes[1]
        self._factor, self._sigma = interval(factor, "factor"), interval(sigma, "sigma", 0.0, float("inf"))

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
        """Which images are blurred, and how much along the width and the height."""
        keys = jax.random.split(key, 3)
        widths = (between(k, shape[0], self._sigma) + 1e-6 for k in keys[1:])
        return happens(keys[0], shape[0], self._factor), *widths

    def change(self, images: jax.Array, drawn: tuple[jax.Array, ...]) -> jax.Array:
        """Blur them."""
        chosen, across, down = drawn
        blurred = smooth(images, gaussian(self._sizes[1], down), 1)
        blurred = smooth(blurred, gaussian(self._sizes[0], across), 2)
        return jnp.clip(jnp.where(of_each(chosen, images), blurred, images), *self._limits)
