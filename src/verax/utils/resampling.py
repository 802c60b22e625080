"""Images in another size, on the host: each axis is a small weighted sum of what lies near, by a kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from verax.errors import InputError, ShapeError, UnknownNameError

__all__ = ["INTERPOLATIONS", "crop_to_ratio", "pad_to_ratio", "resize", "smart_resize"]

Array = np.ndarray[Any, Any]


def _triangle(x: Array) -> Array:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: Array) -> Array:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _mitchell(x: Array) -> Array:
    x = np.abs(x)
    near, far = (7 * x**3 - 12 * x**2 + 16 / 3) / 6, (-7 / 3 * x**3 + 12 * x**2 - 20 * x + 32 / 3) / 6
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(radius: int) -> Callable[[Array], Array]:
    return lambda x: np.where(np.abs(x) < radius, np.sinc(x) * np.sinc(x / radius), 0.0)


def _gaussian(x: Array) -> Array:
    return np.where(np.abs(x) < 1.5, np.exp(-2.0 * x * x), 0.0)


#: name -> (kernel, its radius)
_KERNELS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos3": (_lanczos(3), 3.0),
    "lanczos5": (_lanczos(5), 5.0),
    "gaussian": (_gaussian, 1.5),
    "mitchellcubic": (_mitchell, 2.0),
}
#: Kernels that do not pass through the old pixels: along an axis that keeps its length they smooth.
_SMOOTH = ("gaussian", "mitchellcubic")
INTERPOLATIONS = ("area", "nearest", *_KERNELS)


def resize(image: Any, size: tuple[int, int], interpolation: str = "bilinear") -> Array:
    """An image in another size, float32 (height, width, channels).

    The centre of pixel i of n lies at ``(i + 1/2) / n`` of the axis, in both sizes. A new pixel is the mean of the old
    ones, weighed by ``kernel(distance in old pixels)``; where the image ends, by those that are there. Nothing is
    smoothed before the image is made smaller, except by ``"area"``: the mean over what the new pixel covers.

    Args:
        image: (height, width, channels), or several of them along axes before.
        size: Height and width.
        interpolation: ``"bilinear"``, ``"nearest"``, ``"bicubic"`` (Keys, 1981, a = -1/2), ``"lanczos3"``,
            ``"lanczos5"``, ``"gaussian"`` (standard deviation 1/2), ``"mitchellcubic"`` (Mitchell and Netravali, 1988,
            B = C = 1/3) or ``"area"``.

    Source: the kernels are those of TensorFlow's ``image.resize`` and, where it has them, ``jax.image.resize``.

    >>> resize(np.array([[[0.0], [1.0]]]), (1, 4)).ravel().tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    if interpolation not in INTERPOLATIONS:
        raise UnknownNameError.among("interpolation", interpolation, INTERPOLATIONS)
    array = np.asarray(image, np.float32)
    if array.ndim < 3:
        because = "an image has height, width and channels"
        do = "Add the axis of channels: image[..., None]."
        raise ShapeError("An image was to be resized.", received=f"shape {array.shape}", because=because, do=do)
    if array.shape[-3:-1] == tuple(size):
        return array
    for axis, length in ((-3, size[0]), (-2, size[1])):
        if array.shape[axis] != length or interpolation in _SMOOTH:
            array = _along(array, array.ndim + axis, length, interpolation)
    return array


def _along(array: Array, axis: int, length: int, interpolation: str) -> Array:
    places, weights = _taps(array.shape[axis], length, interpolation)
    if weights is None:
        return np.take(array, places[:, 0], axis=axis)
    shape = [1] * array.ndim
    shape[axis] = length
    out = np.zeros((*array.shape[:axis], length, *array.shape[axis + 1 :]), np.float32)
    for place, weight in zip(places.T, weights.T, strict=True):
        out += np.take(array, place, axis=axis) * weight.reshape(shape)
    return out


@lru_cache(maxsize=1024)
def _taps(old: int, new: int, interpolation: str) -> tuple[Array, Array | None]:
    """Which old pixels a new one is made of, and with which weights, both (new, pixels); no weights for one pixel."""
    scale = old / new
    centre = (np.arange(new) + 0.5) * scale
    if interpolation == "nearest":
        return np.floor(centre).astype(np.int64)[:, None], None
    if interpolation == "area":
        first = np.floor(np.arange(new) * scale).astype(np.int64)
        places = first[:, None] + np.arange(int(np.ceil(scale)) + 1)
        start, stop = np.arange(new)[:, None] * scale, (np.arange(new)[:, None] + 1) * scale
        weights = np.maximum(np.minimum(stop, places + 1) - np.maximum(start, places), 0.0)
    else:
        kernel, radius = _KERNELS[interpolation]
        places = np.floor(centre - radius - 0.5).astype(np.int64)[:, None] + np.arange(int(2 * radius) + 2)
        weights = kernel(places + 0.5 - centre[:, None])
    weights = np.where((places >= 0) & (places < old), weights, 0.0)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    used = weights.any(axis=0)
    return np.clip(places, 0, old - 1)[:, used], weights[:, used]


def _ratio_box(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The height that the width would have at the ratio of ``size``, and the width the height would have."""
    height, width = shape[-3], shape[-2]
    return int(width * size[0] / size[1]), int(height * size[1] / size[0])


def crop_to_ratio(image: Array, size: tuple[int, int]) -> Array:
    """The largest part in the middle of an image (..., height, width, channels) that has the ratio of ``size``."""
    height, width = image.shape[-3:-1]
    tall, wide = _ratio_box(image.shape, size)
    tall, wide = max(min(height, tall), 1), max(min(width, wide), 1)
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[..., top : top + tall, left : left + wide, :]


def pad_to_ratio(image: Array, size: tuple[int, int]) -> Array:
    """An image (..., height, width, channels) with zeros around it, so that it has the ratio of ``size``."""
    height, width = image.shape[-3:-1]
    tall, wide = _ratio_box(image.shape, size)
    top, left = (max(height, tall) - height) // 2, (max(width, wide) - width) // 2
    return np.pad(image, [(0, 0)] * (image.ndim - 3) + [(top, top), (left, left), (0, 0)])


def smart_resize(
    x: Any, size: tuple[int, int], interpolation: str = "bilinear", data_format: str = "channels_last"
) -> Array:
    """An image in another size without distortion: the middle of it that has the ratio of ``size`` is resized.

    Args:
        x: (height, width, channels), or a batch of images; channels first where ``data_format`` says so.
        size: Height and width.
        interpolation: As in ``resize``.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns:
        A NumPy array, float32.

    Differs from Keras: integers are not rounded back, and the result is a NumPy array also for a JAX array.

    >>> smart_resize(np.ones((4, 8, 3)), (2, 2)).shape
    (2, 2, 3)
    """
    array = np.asarray(x, np.float32)
    if array.ndim not in (3, 4):
        because = "an image has three axes, a batch of images four"
        raise ShapeError("smart_resize resizes an image.", received=f"shape {array.shape}", because=because)
    if len(size) != 2:
        received = f"size={size!r}"
        raise InputError("smart_resize resizes an image.", received=received, because="a size is height and width")
    first = data_format == "channels_first"
    array = np.moveaxis(array, -3, -1) if first else array
    made = resize(crop_to_ratio(array, size), size, interpolation)
    return np.moveaxis(made, -1, -3) if first else made
