"""Filters of images: blur, edges, and how alike two images are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError
from verax.frame.policy import is_float
from verax.ops.image_forms import as_batch, as_floats, channels_first, each_of_two, in_channels_last

__all__ = ["gaussian", "gaussian_blur", "smooth", "sobel_edges", "ssim"]

#: Longer kernels are one product with a banded matrix; shorter ones a sum of shifted images.
LONG = 16


def gaussian(size: int, sigma: jax.Array) -> jax.Array:
    """Kernels of ``size`` taps of the normal density, each of sum 1: (batch, size) for ``sigma`` (batch,)."""
    place = jnp.arange(size, dtype=sigma.dtype) - (size - 1) / 2
    density = jnp.exp(-0.5 * (place[None, :] / sigma[:, None]) ** 2)
    return density / density.sum(-1, keepdims=True)


def smooth(images: jax.Array, kernels: jax.Array, axis: int, padding: str = "same") -> jax.Array:
    """Images correlated along one axis with kernels of their own; zeros stand outside.

    Args:
        images: (batch, height, width, channels).
        kernels: (batch, size), or (1, size) for all images.
        axis: 1 for rows, 2 for columns.
        padding: ``"same"``, or ``"valid"`` for places where the kernel fits.
    """
    size, length = kernels.shape[1], images.shape[axis]
    kernels = kernels.astype(images.dtype)
    before = (size - 1) // 2 if padding == "same" else 0
    if size > LONG and padding == "same":
        at = jnp.arange(length)
        tap = at[None, :] - at[:, None] + before
        weight = jnp.where(
            (tap >= 0) & (tap < size), kernels[:, jnp.clip(tap, 0, size - 1)], jnp.zeros((), kernels.dtype)
        )
        rule = "bij,bjwc->biwc" if axis == 1 else "bij,bhjc->bhic"
        weight = jnp.broadcast_to(weight, (images.shape[0], *weight.shape[1:]))
        return jnp.einsum(rule, weight, images, precision="highest")
    if padding == "same":
        widths = [(0, 0)] * 4
        widths[axis] = (before, size - 1 - before)
        images = jnp.pad(images, widths)
    else:
        length -= size - 1
    shifted = (jax.lax.slice_in_dim(images, i, i + length, axis=axis) for i in range(size))
    return sum((kernels[:, i, None, None, None] * x for i, x in enumerate(shifted)), start=jnp.zeros((), images.dtype))


def gaussian_blur(
    images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: str | None = None
) -> jax.Array:
    """Images convolved with a normal density; zeros stand outside.

    Args:
        images: (batch, height, width, channels) or (height, width, channels), floats; channels first with
            ``data_format``.
        kernel_size: The kernel's taps along the width and along the height, as in Keras.
        sigma: Its standard deviations in pixels, along the width and along the height.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the same shape and dtype.

    Differs from Keras: ``data_format=None`` means channels last; there it is read as channels first.

    >>> blurred = gaussian_blur(jnp.ones((1, 3, 1)), (3, 1), (1e6, 1.0))
    >>> [round(v, 3) for v in blurred[0, :, 0].tolist()]
    [0.667, 1.0, 0.667]
    """
    columns, rows = each_of_two(kernel_size, "kernel_size")
    images = jnp.asarray(images)
    _floats(images, "gaussian_blur")
    sigma_x, sigma_y = jnp.asarray(sigma).astype("float32")[:, None]

    def blur(x: jax.Array) -> jax.Array:
        return smooth(smooth(x, gaussian(rows, sigma_y), 1), gaussian(columns, sigma_x), 2)

    return in_channels_last(images, data_format, "gaussian_blur", blur)


def _floats(images: jax.Array, operation: str) -> None:
    if not is_float(images.dtype):
        raise InputError(
            f"ops.image.{operation} was called.",
            received=f"images of dtype {images.dtype}",
            because="its result is no whole number",
            do='Cast them first: ops.cast(images, "float32").',
        )


def sobel_edges(images: Any, data_format: str | None = None) -> jax.Array:
    """How images change along the rows and along the columns: Sobel's 3x3 differences; zeros stand outside.

    Args:
        images: (batch, height, width, channels); channels first with ``data_format``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        The shape of ``images`` and one more axis of 2: dy, dx.

    >>> sobel_edges(jnp.arange(9.0).reshape(1, 3, 3, 1))[0, 1, 1, 0].tolist()
    [24.0, 8.0]
    """
    images = jnp.asarray(images)
    if images.ndim != 4:
        raise ShapeError(
            "ops.image.sobel_edges was called.",
            received=f"images of shape {tuple(images.shape)}",
            because="it needs a batch of images: 4 axes",
        )

    def edges(x: jax.Array) -> jax.Array:
        mean, slope = jnp.asarray([[1, 2, 1]], x.dtype), jnp.asarray([[-1, 0, 1]], x.dtype)
        return jnp.stack([smooth(smooth(x, slope, 1), mean, 2), smooth(smooth(x, mean, 1), slope, 2)], -1)

    return in_channels_last(images, data_format, "sobel_edges", edges)


def ssim(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> jax.Array:
    """The structural similarity of two images, 1 for equal ones: the mean over windows and channels of

    ``(2 m1 m2 + c1) (2 s12 + c2) / ((m1² + m2² + c1) (s1² + s2² + c2))``,

    with means m, variances s² and the covariance s12 in a window weighted by a normal density, ``c1 = (k1 max_val)²``
    and ``c2 = (k2 max_val)²``.

    Args:
        image1, image2: (batch, height, width, channels) or (height, width, channels); channels first with
            ``data_format``.
        max_val: The largest value a pixel can have less the smallest.
        filter_size, filter_sigma: The window's taps and standard deviation.
        k1, k2: See above.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        (batch,), or a scalar for one image.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment" (IEEE Trans. Image Processing, 2004).

    Differs from Keras: of integer images it is a float; there it is cut to an integer.
    """
    single = jnp.ndim(image1) == 3
    one, two = (as_floats(as_batch(image, "ssim")) for image in (image1, image2))
    if channels_first(data_format):
        one, two = jnp.moveaxis(one, 1, -1), jnp.moveaxis(two, 1, -1)
    if one.shape != two.shape or min(one.shape[1:3]) < filter_size:
        raise ShapeError(
            "ops.image.ssim was called.",
            received=f"images of shape {tuple(one.shape)} and {tuple(two.shape)} with filter_size={filter_size}",
            because="both have one shape, and the window lies inside of them",
        )
    kernel = gaussian(filter_size, jnp.asarray([filter_sigma], one.dtype))

    def mean(x: jax.Array) -> jax.Array:
        return smooth(smooth(x, kernel, 1, "valid"), kernel, 2, "valid")

    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    m1, m2 = mean(one), mean(two)
    variances = mean(one * one) - m1 * m1 + mean(two * two) - m2 * m2
    covariance = mean(one * two) - m1 * m2
    alike = (2.0 * m1 * m2 + c1) * (2.0 * covariance + c2) / ((m1 * m1 + m2 * m2 + c1) * (variances + c2))
    result = alike.mean((1, 2, 3))
    return result[0] if single else result
