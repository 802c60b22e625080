"""Convolutions in the forms a CPU is fast at, with their gradients in such forms too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from verax.frame.speed import fast_kernels
from verax.ops.convolution_forms import MOST, Geometry, biased_output_of, input_of, output_of, pad
from verax.ops.stretching import stretch

__all__ = ["convolve", "convolve_plain", "convolve_transposed", "convolve_transposed_plain"]


def convolve_plain(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    dilation: Sequence[int] | None = None,
    *,
    bias: jax.Array | None = None,
    channels_last: bool = True,
    groups: int = 1,
) -> jax.Array:
    """The convolution in plain lax: the reference that ``convolve`` is tested against.

    Args:
        x: (rows, *sizes, channels), or (rows, channels, *sizes) with ``channels_last=False``.
        kernel: (*window, channels / groups, filters).
        strides: Steps of the window, one a size.
        padding: "SAME", "VALID", or (before, after) for each size.
        dilation: Distance between the window's elements; 1 for None.
        bias: (filters,), added to each position; None for none.
        groups: Channels and filters are cut into as many groups, each convolved on its own.
    """
    y = lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_numbers(x.ndim - 2, channels_last),
        feature_group_count=groups,
    )
    return y if bias is None else y + _each_filter(bias, y, channels_last)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    dilation: Sequence[int] | None = None,
    *,
    bias: jax.Array | None = None,
    channels_last: bool = True,
    groups: int = 1,
) -> jax.Array:
    """The convolution of ``convolve_plain``, in the form that is fastest for its shape, with gradients alike.

    XLA on a CPU knows a convolution by its axis order, and mends a foreign order outside of loops only: inside one,
    the gradients that autodiff writes fall to a naive kernel, up to 60 times slower, and grouped convolutions do so
    everywhere. So each shape takes a form of ``verax.ops.convolution_forms``; grouped convolutions are cut into
    single ones, and ``channels_last=False`` is transposed there and back.

    Reverse mode works to any order, in the same forms; forward mode (``jax.jvp``, ``jax.linearize``) needs
    ``convolve_plain``, which every convolution is with ``verax.frame.speed.use_fast_kernels(False)`` and on other
    backends. Sums are kept in float32 at least. A padding is a zero, so an infinite weight makes NaN where it meets
    one, except by oneDNN, which leaves a padding out.

    >>> x, k = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
    >>> convolve(x, k, (1, 1), "VALID").shape
    (1, 2, 2, 5)
    >>> convolve(x, jnp.ones((3, 3, 1, 2)), (2, 2), "SAME", groups=2)[0, :, :, 0]
    Array([[9., 6.],
           [6., 4.]], dtype=float32)
    """

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        how = {"bias": bias, "channels_last": channels_last, "groups": groups}
        return convolve_plain(x, kernel, strides, padding, dilation, **how)

    if not fast_kernels():
        return plain(x, kernel)
    shape = jax.eval_shape(plain, x, kernel).shape  # also raises lax's errors
    window, channels = kernel.shape[:-2], kernel.shape[-2] * groups
    alone = groups == channels
    many = groups > MOST if not alone else math.prod(window) > MOST
    if 0 in shape or 0 in x.shape or not jnp.issubdtype(x.dtype, jnp.floating) or (groups > 1 and many):
        return plain(x, kernel)
    if not channels_last:
        y = convolve(jnp.moveaxis(x, 1, -1), kernel, strides, padding, dilation, bias=bias, groups=groups)
        return jnp.moveaxis(y, -1, 1)
    apart = [1 if k == 1 else d for k, d in zip(window, dilation or (1,) * len(window), strict=True)]
    if isinstance(padding, str):
        spans = [(k - 1) * d + 1 for k, d in zip(window, apart, strict=True)]
        padding = lax.padtype_to_pads(x.shape[1:-1], spans, strides, padding)
    geometry = Geometry.of(x.shape[1:-1], window, strides, padding, apart)
    if groups == 1:
        return output_of(x, kernel, geometry) if bias is None else biased_output_of(x, kernel, bias, geometry)
    if alone:
        return _each_channel(x, kernel, bias, geometry)
    xs, kernels = jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1)
    y = jnp.concatenate([output_of(a, k, geometry) for a, k in zip(xs, kernels, strict=True)], axis=-1)
    return y if bias is None else y + _each_filter(bias, y)


def convolve_transposed_plain(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
    *,
    channels_last: bool = True,
) -> jax.Array:
    """The transpose of a convolution in plain lax: ``x`` is spread by the strides, padded, and convolved.

    Args:
        x: (rows, *sizes, channels), or (rows, channels, *sizes) with ``channels_last=False``.
        kernel: (*window, filters, channels): that of the convolution this is the transpose of.
        strides, dilation: Those of that convolution.
        padding: (before, after) of the spread input, for each size.
    """
    return lax.conv_transpose(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_numbers(x.ndim - 2, channels_last),
        transpose_kernel=True,
    )


def convolve_transposed(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
    *,
    channels_last: bool = True,
) -> jax.Array:
    """``convolve_transposed_plain`` with gradients that are fast inside a loop: see ``convolve``.

    >>> convolve_transposed(jnp.ones((1, 2, 1)), jnp.ones((2, 1, 1)), (2,), [(1, 1)])[0, :, 0]
    Array([1., 1., 1., 1.], dtype=float32)
    """

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_transposed_plain(x, kernel, strides, padding, dilation, channels_last=channels_last)

    if not fast_kernels():
        return plain(x, kernel)
    shape = jax.eval_shape(plain, x, kernel).shape
    if 0 in shape or 0 in x.shape or not jnp.issubdtype(x.dtype, jnp.floating):
        return plain(x, kernel)
    if not channels_last:
        y = convolve_transposed(jnp.moveaxis(x, 1, -1), kernel, strides, padding, dilation)
        return jnp.moveaxis(y, -1, 1)
    window = kernel.shape[:-2]
    apart = dilation or (1,) * len(window)
    spans = [(k - 1) * d for k, d in zip(window, apart, strict=True)]
    pads = [(span - a, span - b) for span, (a, b) in zip(spans, padding, strict=True)]
    return input_of(x, kernel, Geometry.of(shape[1:-1], window, strides, pads, apart))


def _each_channel(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, geometry: Geometry) -> jax.Array:
    """Each channel convolved by itself, with one or more filters."""
    several = kernel.shape[-1] // x.shape[-1]
    if several > 1:
        x = jnp.repeat(x, several, axis=-1)
    # Padded out here, one padded map serves the output and the kernel's gradient.
    x = pad(x, geometry.pads)
    none = ((0, 0),) * len(geometry.pads)
    y: Any = output_of(x, kernel, geometry._replace(sizes=x.shape[1:-1], pads=none, by_channel=True))
    return y if bias is None else y + _each_filter(bias, y)


def _each_filter(bias: jax.Array, y: jax.Array, channels_last: bool = True) -> jax.Array:
    shape = [1] * y.ndim
    shape[-1 if channels_last else 1] = -1
    return stretch(bias.reshape(shape), y)


def _numbers(rank: int, channels_last: bool) -> tuple[str, str, str]:
    sizes = "DHW"[-rank:]
    data = f"N{sizes}C" if channels_last else f"NC{sizes}"
    return data, f"{sizes}IO", data
