"""Images of other sizes: resized, cropped, padded, cut into patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError
from verax.frame.policy import is_float
from verax.ops.arrays import saturate_cast
from verax.ops.image_forms import channels_first, check_choice, each_of_two, in_channels_last

__all__ = [
    "crop_images",
    "extract_patches",
    "extract_patches_3d",
    "pad_images",
    "resize",
    "scale_and_translate",
    "window_of_ratio",
]

RESIZE_INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")
SCALE_METHODS = ("linear", "bilinear", "trilinear", "cubic", "bicubic", "tricubic", "lanczos3", "lanczos5")


def window_of_ratio(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The largest window in the middle of images (batch, height, width, channels) with the aspect ratio of ``size``."""
    height, width = images.shape[1:3]
    rows = max(min(height, int(width * size[0] / size[1])), 1)
    columns = max(min(width, int(height * size[1] / size[0])), 1)
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[:, top : top + rows, left : left + columns]


def _padded_to_ratio(images: jax.Array, size: tuple[int, int], fill_value: float) -> jax.Array:
    height, width = images.shape[1:3]
    rows = (max(height, int(width * size[0] / size[1])) - height) // 2
    columns = (max(width, int(height * size[1] / size[0])) - width) // 2 if rows == 0 else 0
    fill = jnp.asarray(fill_value).astype(images.dtype)
    return jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)), constant_values=fill)


def resize(
    images: Any,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> jax.Array:
    """Images resampled to another height and width; pixels are areas, and their centers are matched.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        size: The new (height, width).
        interpolation: ``"bilinear"``, ``"nearest"``, ``"bicubic"``, ``"lanczos3"`` or ``"lanczos5"``.
        antialias: Whether the kernel widens where images shrink.
        crop_to_aspect_ratio: Whether to resize the largest window in the middle that has the new aspect ratio.
        pad_to_aspect_ratio: Whether to resize the images padded on both sides to the new aspect ratio.
        fill_mode: ``"constant"``.
        fill_value: What is padded.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the new size in the same dtype; integers are rounded and kept in their range.

    >>> resize(jnp.arange(4.0).reshape(1, 4, 1), (1, 2)).ravel().tolist()
    [0.5, 2.5]
    """
    rows, columns = each_of_two(size, "size")
    check_choice("interpolation", interpolation, RESIZE_INTERPOLATIONS)
    check_choice("fill_mode", fill_mode, ("constant",))
    if rows < 1 or columns < 1:
        raise InputError("ops.image.resize was called.", received=f"size={size!r}", because="both are at least 1")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise InputError(
            "ops.image.resize was called.",
            received="crop_to_aspect_ratio=True and pad_to_aspect_ratio=True",
            because="one of them alone gives the new aspect ratio",
        )

    def resized(x: jax.Array) -> jax.Array:
        whole = not is_float(x.dtype)
        values = x.astype("float32") if whole and interpolation != "nearest" else x
        if crop_to_aspect_ratio:
            values = window_of_ratio(values, (rows, columns))
        elif pad_to_aspect_ratio:
            values = _padded_to_ratio(values, (rows, columns), fill_value)
        shape = (x.shape[0], rows, columns, x.shape[-1])
        result = jax.image.resize(values, shape, interpolation, antialias)
        if result.dtype == x.dtype:
            return result
        return saturate_cast(jnp.round(result), x.dtype)

    return in_channels_last(images, data_format, "resize", resized)


def scale_and_translate(
    images: Any,
    output_shape: Sequence[int],
    scale: Any,
    translation: Any,
    spatial_dims: Sequence[int],
    method: str,
    antialias: bool = True,
) -> jax.Array:
    """Images scaled and moved along some axes: the input's place p goes to ``p * scale + translation``.

    Args:
        images: An array of any rank.
        output_shape: The shape of the result.
        scale, translation: One number for each of ``spatial_dims``.
        spatial_dims: The axes that are scaled.
        method: ``"linear"``, ``"cubic"``, ``"lanczos3"`` or ``"lanczos5"`` (or ``"bilinear"``, ``"bicubic"``, ...).
        antialias: Whether the kernel widens where images shrink.

    Returns:
        An array of ``output_shape``; zeros stand outside.
    """
    check_choice("method", method, SCALE_METHODS)
    scale, translation = jnp.asarray(scale), jnp.asarray(translation)
    return jax.image.scale_and_translate(
        jnp.asarray(images), tuple(output_shape), tuple(spatial_dims), scale, translation, method, antialias
    )


def _borders(
    words: tuple[str, str, str], before: int | None, after: int | None, target: int | None, sign: int, size: int
) -> tuple[int, int]:
    """What is added (``sign`` 1) or cut (-1) before and after an axis of ``size``, from two of the three numbers."""
    said = dict(zip(words, (before, after, target), strict=True))
    if list(said.values()).count(None) != 1:
        raise InputError(
            f"{words[0]}, {words[1]} and {words[2]} were given.",
            received=", ".join(f"{k}={v}" for k, v in said.items()),
            because="two of them give the third",
            do="Say exactly two.",
        )
    change = sign * (target - size) if target is not None else 0
    before = change - (after or 0) if before is None else before
    after = change - before if after is None else after
    if before < 0 or after < 0 or (target or 0) < 0 or size + sign * (before + after) < 0:
        raise InputError(
            f"{words[0]}, {words[1]} and {words[2]} were given.",
            received=", ".join(f"{k}={v}" for k, v in said.items()) + f", for {size} pixels",
            because=f"then {words[0]} is {before} and {words[1]} is {after}",
        )
    return before, after


def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> jax.Array:
    """Images with zeros around them; for each axis two of padding before, padding after and the target size are said.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        top_padding, bottom_padding, target_height: Two of these three, in pixels.
        left_padding, right_padding, target_width: Two of these three.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> pad_images(jnp.ones((1, 1, 1)), 1, 0, target_height=2, target_width=2)[..., 0].tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """

    def padded(x: jax.Array) -> jax.Array:
        words = ("top_padding", "bottom_padding", "target_height")
        rows = _borders(words, top_padding, bottom_padding, target_height, 1, x.shape[1])
        words = ("left_padding", "right_padding", "target_width")
        columns = _borders(words, left_padding, right_padding, target_width, 1, x.shape[2])
        return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))

    return in_channels_last(images, data_format, "pad_images", padded)


def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> jax.Array:
    """Images with their borders cut; for each axis two of the cut before, the cut after and the target size are said.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        top_cropping, bottom_cropping, target_height: Two of these three, in pixels.
        left_cropping, right_cropping, target_width: Two of these three.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> crop_images(jnp.arange(4.0).reshape(1, 4, 1), 0, 1, 0, target_width=2).ravel().tolist()
    [1.0, 2.0]
    """

    def cropped(x: jax.Array) -> jax.Array:
        words = ("top_cropping", "bottom_cropping", "target_height")
        top, bottom = _borders(words, top_cropping, bottom_cropping, target_height, -1, x.shape[1])
        words = ("left_cropping", "right_cropping", "target_width")
        left, right = _borders(words, left_cropping, right_cropping, target_width, -1, x.shape[2])
        return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]

    return in_channels_last(images, data_format, "crop_images", cropped)


def _per_axis(value: Any, rank: int, argument: str) -> tuple[int, ...]:
    numbers = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(numbers) != rank or any(n < 1 for n in numbers):
        because = f"it is one positive integer, or {rank} of them"
        raise InputError(f"{argument} was given.", received=repr(value), because=because)
    return numbers


def _patches(x: jax.Array, size: tuple[int, ...], strides: Any, dilation_rate: Any, padding: str) -> jax.Array:
    """Patches of (batch, axes..., channels) as (batch, places..., pixels of a patch * channels)."""
    rank = len(size)
    strides = _per_axis(strides or size, rank, "strides")
    dilations = _per_axis(dilation_rate, rank, "dilation_rate")
    check_choice("padding", padding.lower(), ("valid", "same"))
    for i, (n, k, stride, dilation) in enumerate(zip(x.shape[1:-1], size, strides, dilations, strict=True)):
        reach, axis = (k - 1) * dilation + 1, 1 + 2 * i  # each axis before has become two
        if padding.lower() == "same":
            missing = max((-(-n // stride) - 1) * stride + reach - n, 0)
            widths = [(0, 0)] * x.ndim
            widths[axis] = (missing // 2, missing - missing // 2)
            x, n = jnp.pad(x, widths), n + missing
        if n < reach:
            raise ShapeError(
                "Patches were to be extracted.",
                received=f"{n} pixels along an axis, for patches that extend over {reach}",
                because="no patch fits",
            )
        at = jnp.arange(0, n - reach + 1, stride)[:, None] + dilation * jnp.arange(k)[None, :]
        x = jnp.take(x, at, axis=axis, mode="clip")
    # (batch, place, pixel, place, pixel, ..., channels)
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    x = x.transpose(order)
    return x.reshape(*x.shape[: 1 + rank], -1)


def _extract(
    images: Any, size: Any, strides: Any, dilation_rate: Any, padding: str, data_format: str | None, rank: int
) -> jax.Array:
    images = jnp.asarray(images)
    if images.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            "Patches were to be extracted.",
            received=f"an array of shape {tuple(images.shape)}",
            because=f"patches of {rank} axes need {rank + 1} axes, or {rank + 2} with a batch",
        )
    batch = images if images.ndim == rank + 2 else images[None]
    first = channels_first(data_format)
    batch = jnp.moveaxis(batch, 1, -1) if first else batch
    result = _patches(batch, _per_axis(size, rank, "size"), strides, dilation_rate, padding)
    result = jnp.moveaxis(result, -1, 1) if first else result
    return result if images.ndim == rank + 2 else result[0]


def extract_patches(
    images: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """The patches of images, each as one vector: its pixels row by row, their channels together.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        size: A patch's (height, width), or one number for both; three numbers for volumes, as in
            ``extract_patches_3d``.
        strides: From a patch to the next; ``size`` when None.
        dilation_rate: From a pixel of a patch to the next.
        padding: ``"valid"``, or ``"same"`` for zeros around.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        (batch, rows, columns, size[0] * size[1] * channels).

    >>> extract_patches(jnp.arange(8.0).reshape(2, 4, 1), 2)[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """
    rank = 2 if isinstance(size, int) else len(size)
    if rank not in (2, 3):
        because = "it is one integer, two (height, width), or three for volumes"
        raise InputError("ops.image.extract_patches was called.", received=f"size={size!r}", because=because)
    return _extract(images, size, strides, dilation_rate, padding, data_format, rank)


def extract_patches_3d(
    volumes: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """The patches of volumes, each as one vector.

    Args:
        volumes: (batch, depth, height, width, channels), or without the batch; channels first with ``data_format``.
        size: A patch's (depth, height, width), or one number.
        strides, dilation_rate, padding, data_format: As in ``extract_patches``.

    Returns:
        (batch, layers, rows, columns, pixels of a patch * channels).
    """
    return _extract(volumes, size, strides, dilation_rate, padding, data_format, 3)
