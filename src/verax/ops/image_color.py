"""Images in other colors: gray, and hue, saturation and value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import DtypeError, ShapeError
from verax.frame.policy import is_float
from verax.ops.image_forms import as_floats, in_channels_last

__all__ = ["hsv_to_rgb", "rgb_to_grayscale", "rgb_to_hsv"]

#: How bright red, green and blue look: the luma of ITU-R BT.601, to four digits.
LUMA = (0.2989, 0.5870, 0.1140)


def _check_channels(images: jax.Array, operation: str, allowed: tuple[int, ...]) -> None:
    if images.shape[-1] not in allowed:
        raise ShapeError(
            f"ops.image.{operation} was called.",
            received=f"images of {images.shape[-1]} channels",
            because=f"it needs {' or '.join(map(str, allowed))} of them: red, green, blue",
            do="Say data_format where the channels stand before height and width.",
        )


def rgb_to_grayscale(images: Any, data_format: str | None = None) -> jax.Array:
    """Color images as gray ones of one channel: ``0.2989 R + 0.5870 G + 0.1140 B``.

    Args:
        images: (batch, height, width, 3) or (height, width, 3); channels first with ``data_format``. Images of one
            channel are returned as they are.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of one channel, in the same dtype; integers are cut, not rounded, as in Keras.

    >>> rgb_to_grayscale(jnp.ones((1, 1, 3))).ravel().round(4).tolist()
    [0.9998999834060669]
    """

    def gray(x: jax.Array) -> jax.Array:
        _check_channels(x, "rgb_to_grayscale", (1, 3))
        if x.shape[-1] == 1:
            return x
        floats = as_floats(x)
        return jnp.sum(floats * jnp.asarray(LUMA, floats.dtype).reshape(1, 1, 1, 3), -1, keepdims=True).astype(x.dtype)

    return in_channels_last(images, data_format, "rgb_to_grayscale", gray)


def _of_planes(
    images: Any, data_format: str | None, operation: str, function: Callable[..., tuple[jax.Array, ...]]
) -> jax.Array:
    def planes(x: jax.Array) -> jax.Array:
        _check_channels(x, operation, (3,))
        if not is_float(x.dtype):
            raise DtypeError(
                f"ops.image.{operation} was called.",
                received=f"images of dtype {x.dtype}",
                because="hue and saturation lie between 0 and 1",
                do='Cast them first: ops.cast(images, "float32") / 255.',
            )
        return jnp.stack(function(x[..., 0], x[..., 1], x[..., 2]), -1)

    return in_channels_last(images, data_format, operation, planes)


def rgb_to_hsv(images: Any, data_format: str | None = None) -> jax.Array:
    """Red, green, blue as hue, saturation, value.

    With the largest channel V, the smallest m, ``d = V - m``: ``S = d / V`` and, in sixths of the circle of colors,
    ``H = (G - B) / d`` where red is largest, ``2 + (B - R) / d`` where green is, ``4 + (R - G) / d`` where blue is,
    as a number from 0 to 1. H and S are 0 where they are not defined.

    Args:
        images: (batch, height, width, 3) or (height, width, 3), floats; channels first with ``data_format``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the same shape and dtype.

    Source: Smith, "Color gamut transform pairs" (SIGGRAPH 1978).

    >>> rgb_to_hsv(jnp.array([[[0.0, 0.5, 0.5]]])).ravel().tolist()
    [0.5, 1.0, 0.5]
    """

    def convert(*rgb: jax.Array) -> tuple[jax.Array, ...]:
        tiny = jnp.finfo(rgb[0].dtype).eps
        red, green, blue = (jnp.where(jnp.abs(c) < tiny, jnp.zeros_like(c), c) for c in rgb)
        value = jnp.maximum(jnp.maximum(red, green), blue)
        spread = value - jnp.minimum(jnp.minimum(red, green), blue)
        one, zero = jnp.ones_like(value), jnp.zeros_like(value)
        saturation = jnp.where(value > 0, spread / jnp.where(value > 0, value, one), zero)
        sixth = 1.0 / (6.0 * jnp.where(spread > 0, spread, one))
        hue = jnp.where(value == green, sixth * (blue - red) + 2.0 / 6.0, sixth * (red - green) + 4.0 / 6.0)
        hue = jnp.where(value == red, sixth * (green - blue), hue)
        hue = jnp.where(spread > 0, hue, zero)
        return jnp.where(hue < 0, hue + 1.0, hue), saturation, value

    return _of_planes(images, data_format, "rgb_to_hsv", convert)


def hsv_to_rgb(images: Any, data_format: str | None = None) -> jax.Array:
    """Hue, saturation, value as red, green, blue: the inverse of ``rgb_to_hsv``.

    ``value * (1 - saturation + saturation * f(hue))``, f a trapezoid around the circle of colors for each channel.

    Args:
        images: (batch, height, width, 3) or (height, width, 3), floats; channels first with ``data_format``. Hues
            outside of 0 to 1 go round the circle.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the same shape and dtype.

    >>> hsv_to_rgb(jnp.array([[[0.5, 1.0, 0.5]]])).ravel().tolist()
    [0.0, 0.5, 0.5]
    """

    def convert(hue: jax.Array, saturation: jax.Array, value: jax.Array) -> tuple[jax.Array, ...]:
        turn = jnp.mod(hue, 1.0) * 6.0
        shares = (
            jnp.clip(jnp.abs(turn - 3.0) - 1.0, 0.0, 1.0),
            jnp.clip(2.0 - jnp.abs(turn - 2.0), 0.0, 1.0),
            jnp.clip(2.0 - jnp.abs(turn - 4.0), 0.0, 1.0),
        )
        return tuple(value * (1.0 - saturation + saturation * share) for share in shares)

    return _of_planes(images, data_format, "hsv_to_rgb", convert)
