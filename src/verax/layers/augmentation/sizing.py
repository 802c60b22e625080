"""Images of one size: resized, or cropped in the middle or at random."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax.errors import InputError
from verax.layers.augmentation.base import BaseAugmentation, ImageArguments
from verax.layers.base import LayerArguments, each_axis, layer_registry
from verax.ops.image_forms import check_choice
from verax.ops.image_sizes import RESIZE_INTERPOLATIONS, resize, window_of_ratio

__all__ = ["CenterCrop", "RandomCrop", "Resizing"]


class _OfSize(BaseAugmentation):
    """What makes images of a size."""

    def __init__(self, height: int, width: int, seed: int | None = None, **kwargs: Unpack[ImageArguments]):
        super().__init__(seed=seed, **kwargs)
        self.height, self.width = height, width
        self._size = each_axis((height, width), 2, "(height, width)")

    def _fitted(self, images: jax.Array, interpolation: str = "bilinear") -> jax.Array:
        """The middle of images that are large enough; else the largest window of the aspect ratio, resized."""
        top, left = (n - m for n, m in zip(images.shape[1:3], self._size, strict=True))
        if top >= 0 and left >= 0:
            return images[:, top // 2 : top // 2 + self.height, left // 2 : left // 2 + self.width]
        return resize(window_of_ratio(images, (self.height, self.width)), self._size, interpolation)


@layer_registry.add
class Resizing(_OfSize):
    """Resizes images to a height and a width, in both modes, as ``ops.image.resize`` does.

    Integers stay integers of their dtype.

    Args:
        height, width: The new size.
        interpolation: ``"bilinear"``, ``"nearest"``, ``"bicubic"``, ``"lanczos3"`` or ``"lanczos5"``; masks are always
            read at the nearest pixel.
        crop_to_aspect_ratio, pad_to_aspect_ratio, fill_mode, fill_value, antialias: As in ``ops.image.resize``.
        data_format: As in ``BaseAugmentation``.

    >>> Resizing(1, 2)(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [0.5, 2.5]
    """

    always = True

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(height, width, data_format=data_format, **kwargs)
        self.interpolation = check_choice("interpolation", interpolation, RESIZE_INTERPOLATIONS)
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise InputError(
                "Resizing was made.",
                received="crop_to_aspect_ratio=True and pad_to_aspect_ratio=True",
                because="one of them alone gives the new aspect ratio",
            )
        self.fill_mode = check_choice("fill_mode", fill_mode, ("constant",))
        self.fill_value, self.antialias = fill_value, antialias

    def cast(self, images: jax.Array) -> jax.Array:
        """Floats in the dtype the layer computes in; integers as they are."""
        return images if jnp.issubdtype(images.dtype, jnp.integer) else super().cast(images)

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """Resize."""
        return self._resized(images, self.interpolation)

    def change_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        """Resize by the nearest pixel."""
        return self._resized(masks, "nearest")

    def _resized(self, images: jax.Array, interpolation: str) -> jax.Array:
        return resize(
            images,
            self._size,
            interpolation,
            self.antialias,
            self.crop_to_aspect_ratio,
            self.pad_to_aspect_ratio,
            self.fill_mode,
            self.fill_value,
        )


@layer_registry.add
class CenterCrop(_OfSize):
    """Takes the middle of images, in both modes.

    Of images that are smaller, the largest window of the new aspect ratio is resized.

    Args:
        height, width: The new size.
        data_format: As in ``BaseAugmentation``.

    Differs from Keras: masks of smaller images are read at the nearest pixel, not interpolated.

    >>> CenterCrop(1, 2)(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [1.0, 2.0]
    """

    always = True

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(height, width, data_format=data_format, **kwargs)

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """Take the middle."""
        return self._fitted(images)

    def change_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        """Take the middle."""
        return self._fitted(masks, "nearest")


@layer_registry.add
class RandomCrop(_OfSize):
    """Takes a part of each image at a place of its own in training, and the middle in inference.

    Of images that are smaller, the largest window of the new aspect ratio is resized, in both modes.

    Args:
        height, width: The new size.
        seed, data_format: As in ``BaseAugmentation``.

    Differs from Keras: each image has a place of its own (there a batch shares one); in inference the middle is taken,
    as its documentation says (there images stay as they are, and have another size than in training); an image as
    high as the crop and wider is cropped at random, too; windows of smaller images keep their aspect ratio.
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(height, width, seed, data_format=data_format, **kwargs)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The upper left corner of each image's part: (batch, 2)."""
        room = jnp.array([[max(shape[1] - self.height, 0), max(shape[2] - self.width, 0)]], "int32")
        return jax.random.randint(key, (shape[0], 2), 0, room + 1)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Take the parts."""
        return self._parts(images, drawn, "bilinear")

    def change_masks(self, masks: jax.Array, drawn: jax.Array) -> jax.Array:
        """Take the parts."""
        return self._parts(masks, drawn, "nearest")

    def _parts(self, images: jax.Array, drawn: jax.Array, interpolation: str) -> jax.Array:
        if images.shape[1] < self.height or images.shape[2] < self.width:
            return self._fitted(images, interpolation)
        size = (self.height, self.width, images.shape[-1])
        take = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], jnp.zeros_like(at[0])), size))
        return take(images, drawn)

    def plain(self, images: jax.Array, *, masks: bool = False) -> jax.Array:
        """The middle."""
        return self._fitted(images, "nearest" if masks else "bilinear")
