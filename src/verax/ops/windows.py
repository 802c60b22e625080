"""Convolution, pooling and patches, with Keras' arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError, UnknownNameError
from verax.frame.settings import standard_data_format
from verax.ops import adaptive_pooling, pooling
from verax.ops.convolution import convolve, convolve_transposed

__all__ = [
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "conv",
    "conv_transpose",
    "depth_to_space",
    "depthwise_conv",
    "fold",
    "max_pool",
    "separable_conv",
    "space_to_depth",
    "transposed_padding",
    "unfold",
]

Sizes = int | Sequence[int]


def _each(value: Sizes, rank: int, argument: str) -> tuple[int, ...]:
    numbers = (value,) * rank if isinstance(value, (int, np.integer)) else tuple(value)
    if len(numbers) != rank:
        raise InputError(f"{argument} was given.", received=repr(value), because=f"it is one number, or {rank} of them")
    return tuple(int(n) for n in numbers)


def _batch(inputs: Any, data_format: str | None, name: str) -> tuple[jax.Array, int, bool]:
    """The input, over how many axes windows move, and whether channels are last."""
    inputs = jnp.asarray(inputs)
    if not 3 <= inputs.ndim <= 5:
        raise ShapeError(
            f"ops.{name} was called.",
            received=f"an input of shape {inputs.shape}",
            because="it has a batch axis, one to three axes that windows move over, and channels",
        )
    return inputs, inputs.ndim - 2, standard_data_format(data_format) == "channels_last"


def _padding(padding: Any) -> Any:
    if not isinstance(padding, str):
        return padding
    if padding.lower() not in ("valid", "same"):
        raise UnknownNameError.among("padding", padding, ("valid", "same"))
    return padding.upper()


def _pool(
    pool: Callable[..., jax.Array],
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None,
    padding: str,
    data_format: str | None,
    name: str,
) -> jax.Array:
    inputs, rank, last = _batch(inputs, data_format, name)
    window = _each(pool_size, rank, "pool_size")
    steps = window if strides is None else _each(strides, rank, "strides")
    return pool(inputs, window, steps, _padding(padding), channels_last=last)


def max_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """The maximum of each window of (batch, *sizes, channels), moved by its size unless ``strides`` say more."""
    return _pool(pooling.max_pool, inputs, pool_size, strides, padding, data_format, "max_pool")


def average_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """The average of each window of (batch, *sizes, channels), over the places inside of the input."""
    return _pool(pooling.average_pool, inputs, pool_size, strides, padding, data_format, "average_pool")


def adaptive_average_pool(inputs: Any, output_size: Sizes, data_format: str | None = None) -> jax.Array:
    """Averages over windows laid so that the output has a given size; windows may overlap by one place.

    Args:
        inputs: (batch, *sizes, channels), or channels first.
        output_size: One number for all axes, or one each.
        data_format: Where the channels are; the global setting when None.

    >>> adaptive_average_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
    [1.0, 3.0]
    """
    inputs, rank, last = _batch(inputs, data_format, "adaptive_average_pool")
    return adaptive_pooling.adaptive_average_pool(inputs, _each(output_size, rank, "output_size"), channels_last=last)


def adaptive_max_pool(inputs: Any, output_size: Sizes, data_format: str | None = None) -> jax.Array:
    """Maxima over the windows of ``adaptive_average_pool``."""
    inputs, rank, last = _batch(inputs, data_format, "adaptive_max_pool")
    return adaptive_pooling.adaptive_max_pool(inputs, _each(output_size, rank, "output_size"), channels_last=last)


def conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> jax.Array:
    """The convolution of (batch, *sizes, channels) with (*window, channels / groups, filters).

    How many groups there are follows from the channels of input and kernel.
    """
    kernel = jnp.asarray(kernel)
    inputs, rank, last = _batch(inputs, data_format, "conv")
    channels = inputs.shape[-1 if last else 1]
    if channels % kernel.shape[-2]:
        raise ShapeError(
            "ops.conv was called.",
            received=f"{channels} channels, and a kernel of shape {kernel.shape}",
            because=f"{channels} is no multiple of {kernel.shape[-2]}",
        )
    out = convolve(
        inputs.astype(kernel.dtype),
        kernel,
        _each(strides, rank, "strides"),
        _padding(padding),
        _each(dilation_rate, rank, "dilation_rate"),
        channels_last=last,
        groups=channels // kernel.shape[-2],
    )
    if out.size == 0 and inputs.size:
        raise ShapeError(
            "ops.conv was called.",
            received=f"an input of shape {inputs.shape} and a kernel of shape {kernel.shape}",
            because="the kernel does not fit into the input",
            do="Use padding='same', or a smaller kernel.",
        )
    return out


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> jax.Array:
    """Each channel of (batch, *sizes, channels) convolved by itself with (*window, channels, multiplier)."""
    kernel = jnp.asarray(kernel)
    _, _, last = _batch(inputs, data_format, "depthwise_conv")
    if jnp.shape(inputs)[-1 if last else 1] != kernel.shape[-2]:
        raise ShapeError(
            "ops.depthwise_conv was called.",
            received=f"an input of shape {jnp.shape(inputs)} and a kernel of shape {kernel.shape}",
            because="the kernel has one filter or more for each channel",
        )
    alone = kernel.reshape(*kernel.shape[:-2], 1, kernel.shape[-2] * kernel.shape[-1])
    return conv(inputs, alone, strides, padding, data_format, dilation_rate)


def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Sizes = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> jax.Array:
    """``depthwise_conv``, then a convolution with a window of one place, (1, ..., channels · multiplier, filters)."""
    apart = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(apart, pointwise_kernel, 1, "valid", data_format, 1)


def transposed_padding(
    window: int, stride: int, padding: str, dilation: int = 1, output_padding: int | None = None
) -> tuple[int, int]:
    """How much the spread input of a transposed convolution is padded along one axis, before and after.

    By Keras' rule for the output's size: n · stride for ``"SAME"``, n · stride + max(span - stride, 0) for ``"VALID"``;
    with an ``output_padding``, (n - 1) · stride + span % 2 or span, plus that.
    """
    span = (window - 1) * dilation + 1
    same = padding == "SAME"
    if output_padding is None:
        last = stride if same else max(span, stride)
    else:
        last = (span % 2 if same else span) + output_padding
    total = last + span - 2
    front = min((total + 1) // 2, span - 1) if same else span - 1
    return front, total - front


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    output_padding: Sizes | None = None,
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> jax.Array:
    """The transpose of the convolution with (*window, filters, channels): of (batch, *sizes, channels)."""
    inputs, rank, last = _batch(inputs, data_format, "conv_transpose")
    kernel = jnp.asarray(kernel)
    if inputs.shape[-1 if last else 1] != kernel.shape[-1]:
        raise ShapeError(
            "ops.conv_transpose was called.",
            received=f"an input of shape {inputs.shape} and a kernel of shape {kernel.shape}",
            because="the kernel's last axis is the input's channels, the one before it the output's",
        )
    steps, apart = _each(strides, rank, "strides"), _each(dilation_rate, rank, "dilation_rate")
    extra = (None,) * rank if output_padding is None else _each(output_padding, rank, "output_padding")
    pads = [
        transposed_padding(k, s, _padding(padding), d, e)
        for k, s, d, e in zip(kernel.shape[:-2], steps, apart, extra, strict=True)
    ]
    return convolve_transposed(inputs.astype(kernel.dtype), kernel, steps, pads, apart, channels_last=last)


def unfold(x: Any, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> jax.Array:
    """All windows (batch, channels · window, places) of images (batch, channels, height, width)."""
    x = jnp.asarray(x)
    p = _each(padding, 2, "padding")
    x = jnp.pad(x, ((0, 0), (0, 0), (p[0], p[0]), (p[1], p[1])))
    rows, columns = _places(x.shape[2:], kernel_size, dilation, stride)
    taken = x[:, :, rows[:, None, :, None], columns[None, :, None, :]]  # (batch, channels, kh, kw, nh, nw)
    return taken.reshape(x.shape[0], math.prod(taken.shape[1:4]), math.prod(taken.shape[4:]))


def fold(
    x: Any, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> jax.Array:
    """The transpose of ``unfold``: windows (batch, channels · window, places) added where they stood."""
    x = jnp.asarray(x)
    size, p, window = (
        _each(output_size, 2, "output_size"),
        _each(padding, 2, "padding"),
        _each(kernel_size, 2, "kernel"),
    )
    padded = tuple(n + 2 * q for n, q in zip(size, p, strict=True))
    rows, columns = _places(padded, kernel_size, dilation, stride)
    counts = (rows.shape[1], columns.shape[1])
    if x.ndim != 3 or x.shape[1] % math.prod(window) or x.shape[2] != math.prod(counts):
        raise ShapeError(
            "ops.fold was called.",
            received=f"shape {x.shape}",
            because=f"it is (batch, channels * {math.prod(window)}, {math.prod(counts)})",
        )
    apart = x.reshape(x.shape[0], x.shape[1] // math.prod(window), *window, *counts)
    whole = jnp.zeros((*apart.shape[:2], *padded), x.dtype)
    whole = whole.at[:, :, rows[:, None, :, None], columns[None, :, None, :]].add(apart)
    return whole[:, :, p[0] : padded[0] - p[0], p[1] : padded[1] - p[1]]


def _places(sizes: Sequence[int], window: Sizes, dilation: Sizes, stride: Sizes) -> list[np.ndarray[Any, Any]]:
    """Along each axis, where each place of each window stands: (window, count)."""
    found: list[np.ndarray[Any, Any]] = []
    each = (_each(v, 2, name) for v, name in ((window, "kernel_size"), (dilation, "dilation"), (stride, "stride")))
    for n, k, d, s in zip(sizes, *each, strict=True):
        count = (n - d * (k - 1) - 1) // s + 1
        found.append(np.arange(k)[:, None] * d + np.arange(count)[None, :] * s)
    return found


def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> jax.Array:
    """Channels laid out as blocks of ``block_size``² places: (n, h, w, c·b²) -> (n, h·b, w·b, c)."""
    x, b = jnp.asarray(x), block_size
    if standard_data_format(data_format) == "channels_last":
        n, h, w, c = x.shape
        parts = x.reshape(n, h, w, b, b, c // b**2)
        return jnp.transpose(parts, (0, 1, 3, 2, 4, 5)).reshape(n, h * b, w * b, c // b**2)
    n, c, h, w = x.shape
    parts = x.reshape(n, c // b**2, b, b, h, w)
    return jnp.transpose(parts, (0, 1, 4, 2, 5, 3)).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> jax.Array:
    """Blocks of ``block_size``² places laid out as channels: the inverse of ``depth_to_space``."""
    x, b = jnp.asarray(x), block_size
    if standard_data_format(data_format) == "channels_last":
        n, h, w, c = x.shape
        parts = x.reshape(n, h // b, b, w // b, b, c)
        return jnp.transpose(parts, (0, 1, 3, 2, 4, 5)).reshape(n, h // b, w // b, c * b**2)
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // b, b, w // b, b)
    return jnp.transpose(parts, (0, 1, 3, 5, 2, 4)).reshape(n, c * b**2, h // b, w // b)
