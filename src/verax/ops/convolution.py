"""Convolutions whose gradients stay fast inside a compiled loop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["convolve", "convolve_plain"]


def convolve_plain(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    dilation: Sequence[int] | None = None,
    *,
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
        groups: Channels and filters are cut into as many groups, each convolved on its own.
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_numbers(x.ndim - 2, channels_last),
        feature_group_count=groups,
    )


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    dilation: Sequence[int] | None = None,
    *,
    channels_last: bool = True,
    groups: int = 1,
) -> jax.Array:
    """The convolution of ``convolve_plain``, with gradients written as convolutions XLA has a fast kernel for.

    XLA on a CPU recognises a convolution by its axis order. The gradients autodiff writes are in another order, which
    is mended outside of loops only: inside one they fall to a naive kernel, up to 60 times slower. Here the gradients
    are transposed by hand into the order it knows:

        ∂/∂kernel = conv(x as (channels, *sizes, rows), dy as (*sizes, rows, filters)), dilated by the strides
        ∂/∂x      = conv(dy, kernel turned around, channels and filters swapped), dy dilated by the strides

    Reverse mode works to any order; forward mode (``jax.jvp``) needs ``convolve_plain``. Grouped and dilated
    convolutions, ``channels_last=False`` and other backends take the plain form, which is fast there or has no faster
    one yet.

    >>> x, k = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
    >>> convolve(x, k, (1, 1), "VALID").shape
    (1, 2, 2, 5)
    """
    undilated = dilation is None or all(d == 1 for d in dilation)
    if not (channels_last and groups == 1 and undilated and jax.default_backend() == "cpu"):
        return convolve_plain(x, kernel, strides, padding, dilation, channels_last=channels_last, groups=groups)
    window = kernel.shape[:-2]
    pads = lax.padtype_to_pads(x.shape[1:-1], window, strides, padding) if isinstance(padding, str) else padding
    return _convolve(x, kernel, tuple(strides), tuple((int(a), int(b)) for a, b in pads))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: tuple[tuple[int, int], ...]
) -> jax.Array:
    return convolve_plain(x, kernel, strides, pads)


def _forward(x: jax.Array, kernel: jax.Array, strides: Any, pads: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_plain(x, kernel, strides, pads), (x, kernel)


def _backward(strides: Any, pads: Any, kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    return (
        _to_input(dy, kernel, x.shape[1:-1], strides, pads),
        _to_kernel(x, dy, kernel.shape[:-2], strides, pads),
    )


_convolve.defvjp(_forward, _backward)


def _to_kernel(x: jax.Array, dy: jax.Array, window: tuple[int, ...], strides: Any, pads: Any) -> jax.Array:
    """Σ over rows and positions of x (shifted) times dy: (*window, channels, filters)."""
    spans = [(o - 1) * s + 1 for o, s in zip(dy.shape[1:-1], strides, strict=True)]
    after = [k - 1 + span - n - low for k, span, n, (low, _) in zip(window, spans, x.shape[1:-1], pads, strict=True)]
    turned = convolve_plain(
        jnp.swapaxes(x, 0, -1),
        jnp.moveaxis(dy, 0, -2),
        (1,) * len(window),
        [(low, high) for (low, _), high in zip(pads, after, strict=True)],
        strides,
    )
    return jnp.moveaxis(turned, 0, -2)


def _to_input(dy: jax.Array, kernel: jax.Array, sizes: tuple[int, ...], strides: Any, pads: Any) -> jax.Array:
    """Each dy spread over the window it came from: (rows, *sizes, channels)."""
    window = kernel.shape[:-2]
    spans = [(o - 1) * s + 1 for o, s in zip(dy.shape[1:-1], strides, strict=True)]
    around = [(k - 1 - low, n + low - span) for k, n, (low, _), span in zip(window, sizes, pads, spans, strict=True)]
    turned = jnp.swapaxes(jnp.flip(kernel, range(len(window))), -1, -2)
    return lax.conv_general_dilated(
        dy,
        turned,
        (1,) * len(window),
        around,
        lhs_dilation=strides,
        dimension_numbers=_numbers(len(window), channels_last=True),
    )


def _numbers(rank: int, channels_last: bool) -> tuple[str, str, str]:
    sizes = "DHW"[-rank:]
    data = f"N{sizes}C" if channels_last else f"NC{sizes}"
    return data, f"{sizes}IO", data
