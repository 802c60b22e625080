"""Images flipped, turned, moved, zoomed, sheared, seen from elsewhere, bent: what moves pixels moves masks, too."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Unpack

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
from verax.ops.image_forms import check_choice
from verax.ops.image_sampling import (
    FILL_MODES,
    INTERPOLATIONS,
    displacements,
    homography,
    sample,
    warp,
    warp_along_axes,
)

__all__ = [
    "Affine",
    "RandomElasticTransform",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
]


@layer_registry.add
class RandomFlip(BaseAugmentation):
    """Flips each image with probability 1/2 in training: left to right, top to bottom, or each independently.

    Args:
        mode: ``"horizontal"``, ``"vertical"`` or ``"horizontal_and_vertical"``.
        seed, data_format: As in ``BaseAugmentation``.

    Differs from Keras: both flips are drawn independently; there one draw decides both, so that an image is turned by
    180 degrees or left as it is.

    >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
    >>> RandomFlip()(x, training=False).ravel().tolist()
    [0.0, 1.0, 2.0]
    """

    MODES: ClassVar = ("horizontal", "vertical", "horizontal_and_vertical")

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.mode = check_choice("mode of RandomFlip", mode, self.MODES)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Whether each image is flipped along its rows, and along its columns: (batch, 2)."""
        possible = jnp.array([self.mode != "horizontal", self.mode != "vertical"])
        return jax.random.bernoulli(key, 0.5, (shape[0], 2)) & possible[None, :]

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Flip."""
        for axis in (1, 2):
            if self.mode != ("vertical", "horizontal")[axis == 1]:
                images = jnp.where(of_each(drawn[:, axis - 1], images), jnp.flip(images, axis), images)
        return images

    def change_masks(self, masks: jax.Array, drawn: jax.Array) -> jax.Array:
        """Flip."""
        return self.change(masks, drawn)


class Affine(BaseAugmentation):
    """A straight map of each image's places: the base of turning, moving, zooming and shearing.

    A layer draws ``[a0, a1, a2, b0, b1, b2, 0, 0]`` of ``ops.image.affine_transform`` for each image: (batch, 8).

    Args:
        fill_mode: ``"constant"``, ``"nearest"``, ``"wrap"`` or ``"reflect"``: what stands outside.
        interpolation: ``"bilinear"`` or ``"nearest"``; masks are always read at the nearest pixel.
        fill_value: For ``"constant"``.
        seed, data_format: As in ``BaseAugmentation``.
    """

    #: Whether rows stay rows: a faster way.
    along_axes: ClassVar[bool] = False

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        **kwargs: Unpack[ImageArguments],
    ):
        super().__init__(seed=seed, **kwargs)
        self.fill_mode = check_choice("fill_mode", fill_mode, [m for m in FILL_MODES if m != "mirror"])
        self.interpolation = check_choice("interpolation", interpolation, INTERPOLATIONS)
        self.fill_value = fill_value

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Read each image at its mapped places."""
        return self._read(images, drawn, self.interpolation)

    def change_masks(self, masks: jax.Array, drawn: jax.Array) -> jax.Array:
        """Read each mask at the nearest pixels of the mapped places."""
        return self._read(masks, drawn, "nearest")

    def _read(self, images: jax.Array, drawn: jax.Array, interpolation: str) -> jax.Array:
        way = warp_along_axes if self.along_axes else warp
        return way(images, drawn, interpolation, self.fill_mode, self.fill_value)


def _matrix(*entries: Any) -> jax.Array:
    count = max(jnp.size(e) for e in entries)
    return jnp.stack([jnp.broadcast_to(jnp.asarray(e, "float32"), (count,)) for e in (*entries, 0.0, 0.0)], -1)


@layer_registry.add
class RandomRotation(Affine):
    """Turns each image by an angle of its own in training, about its center.

    Args:
        factor: The angle in turns: drawn from [-factor, factor], or between two numbers; from -1 to 1. Positive is
            counter-clockwise.
        fill_mode, interpolation, seed, fill_value, data_format: As in ``Affine``.

    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> jnp.rint(RandomRotation((0.25, 0.25))(x, training=True))[0, :, :, 0].tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format=data_format, **kwargs)
        self.factor = factor
        self._factor = interval(factor, "factor", -1.0)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """A rotation about the center."""
        angle = 2 * math.pi * between(key, shape[0], self._factor)
        x, y = (shape[2] - 1) / 2, (shape[1] - 1) / 2
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return _matrix(cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos)


@layer_registry.add
class RandomTranslation(Affine):
    """Moves each image by distances of its own in training.

    Args:
        height_factor: The distance down as a part of the height: drawn from [-factor, factor], or between two numbers;
            from -1 to 1.
        width_factor: The distance to the right as a part of the width.
        fill_mode, interpolation, seed, fill_value, data_format: As in ``Affine``.

    >>> x = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> RandomTranslation(0.0, (0.25, 0.25), "constant")(x, training=True).ravel().tolist()
    [0.0, 0.0, 1.0, 2.0]
    """

    along_axes = True

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format=data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height = interval(height_factor, "height_factor", -1.0)
        self._width = interval(width_factor, "width_factor", -1.0)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """A translation."""
        one, other = jax.random.split(key)
        down = shape[1] * between(one, shape[0], self._height)
        right = shape[2] * between(other, shape[0], self._width)
        return _matrix(1.0, 0.0, -right, 0.0, 1.0, -down)


@layer_registry.add
class RandomZoom(Affine):
    """Zooms each image by factors of its own in training, about its center.

    Args:
        height_factor: How much more of the height is shown: drawn from [-factor, factor], or between two numbers; above
            -1, up to 1. 0.2 zooms out by 20%, -0.2 zooms in.
        width_factor: The same for the width; the draw for the height when None, so that the ratio is kept.
        fill_mode, interpolation, seed, fill_value, data_format: As in ``Affine``.
    """

    along_axes = True

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format=data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height = _zoom(height_factor, "height_factor")
        self._width = None if width_factor is None else _zoom(width_factor, "width_factor")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """A scaling about the center."""
        one, other = jax.random.split(key)
        rows = 1.0 + between(one, shape[0], self._height)
        columns = rows if self._width is None else 1.0 + between(other, shape[0], self._width)
        x, y = (shape[2] - 1) / 2, (shape[1] - 1) / 2
        return _matrix(columns, 0.0, x * (1.0 - columns), 0.0, rows, y * (1.0 - rows))


def _zoom(value: Any, argument: str) -> tuple[float, float]:
    low, high = interval(value, argument, -1.0)
    if low == -1.0:
        raise InputError(f"{argument} was given.", received=repr(value), because="at -1 nothing of the image is left")
    return low, high


@layer_registry.add
class RandomShear(Affine):
    """Shears each image by factors of its own in training: ``x + sx * y``, ``y + sy * x`` from the upper left corner.

    Args:
        x_factor: sx: drawn from [-factor, factor], or its size between two numbers; sizes from 0 to 1.
        y_factor: sy, likewise. Both take another sign with probability 1/2, the same for both.
        interpolation, fill_mode, fill_value, data_format, seed: As in ``Affine``.
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format=data_format, **kwargs)
        self.x_factor, self.y_factor = x_factor, y_factor
        self._x, self._y = _shear(x_factor, "x_factor"), _shear(y_factor, "y_factor")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """A shear."""
        keys = jax.random.split(key, 3)
        sign = jnp.where(jax.random.bernoulli(keys[0], 0.5, (shape[0],)), -1.0, 1.0)
        x, y = between(keys[1], shape[0], self._x), between(keys[2], shape[0], self._y)
        return _matrix(1.0, sign * x, 0.0, sign * y, 1.0, 0.0)


def _shear(value: Any, argument: str) -> tuple[float, float]:
    low, high = interval(value, argument)
    return (-high, high) if isinstance(value, (int, float)) else (low, high)


@layer_registry.add
class RandomPerspective(BaseAugmentation):
    """Shows images as from elsewhere in training: their corners move by draws of their own.

    A corner (x, y) goes to ``(x + x * u, y + y * v)``, u and v uniform from ``-scale / 2`` to ``scale / 2``.

    Args:
        factor: The probability with which an image is changed; drawn between two numbers, or from [0, factor].
        scale: From 0 to 1.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        fill_value: What stands outside.
        seed, data_format: As in ``BaseAugmentation``.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.scale = factor, scale
        self._factor = interval(factor, "factor")
        self._scale = interval(scale, "scale", single="exact")[1]
        self.interpolation = check_choice("interpolation", interpolation, INTERPOLATIONS)
        self.fill_value = fill_value

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The map that moves the corners, or the one that moves nothing."""
        one, other = jax.random.split(key)
        right, bottom = shape[2] - 1.0, shape[1] - 1.0
        corners = jnp.array([[[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]]])
        share = jax.random.uniform(one, (shape[0], 4, 2), "float32", -0.5 * self._scale, 0.5 * self._scale)
        there = corners * (1.0 + share)
        moved = homography(jnp.broadcast_to(corners, there.shape), there)
        chosen = happens(other, shape[0], self._factor)
        return jnp.where(chosen[:, None], moved, jnp.array([[1.0, 0, 0, 0, 1, 0, 0, 0]]))

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Show what stood at the corners where they went."""
        return warp(images, drawn, self.interpolation, "constant", self.fill_value)

    def change_masks(self, masks: jax.Array, drawn: jax.Array) -> jax.Array:
        """The same at the nearest pixels."""
        return warp(masks, drawn, "nearest", "constant", self.fill_value)


@layer_registry.add
class RandomElasticTransform(BaseAugmentation):
    """Bends images in training by smooth random fields, as ``ops.image.elastic_transform`` does.

    With a draw s from ``scale`` for each image: ``alpha = 0.1 s`` times the longer side, ``sigma = 0.05 s`` times the
    shorter one. Values are kept within ``value_range``.

    Args:
        factor: The probability with which an image is changed; drawn between two numbers, or from [0, factor].
        scale: Drawn between two numbers, or from [0, scale]; from 0 to 1.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        fill_mode: One of the five of ``ops.image.affine_transform``.
        fill_value: For ``"constant"``.
        value_range: The smallest and the largest value of pixels.
        seed, data_format: As in ``BaseAugmentation``.

    Differs from Keras: each image has a strength of its own (there all of a batch share one), the displacements along
    rows and columns are independent, and it runs inside of compiled programs.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.scale = factor, scale
        self._factor, self._scale = interval(factor, "factor"), interval(scale, "scale")
        self.interpolation = check_choice("interpolation", interpolation, INTERPOLATIONS)
        self.fill_mode = check_choice("fill_mode", fill_mode, FILL_MODES)
        self.fill_value = fill_value
        self.value_range = value_range
        self._limits = limits(value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """Where each pixel is read: (rows, columns), (batch, height, width) each."""
        keys = jax.random.split(key, 3)
        batch, height, width = shape[:3]
        strength = between(keys[0], batch, self._scale)
        sigma = 0.05 * min(height, width)
        reach = int(6 * sigma * self._scale[1]) // 2
        alpha = 0.1 * max(height, width) * strength
        dy, dx = displacements(keys[1], (batch, height, width), alpha, sigma * strength, reach)
        chosen = happens(keys[2], batch, self._factor).astype("float32")[:, None, None]
        rows = jnp.arange(height, dtype="float32")[None, :, None] + chosen * dy
        return rows, jnp.arange(width, dtype="float32")[None, None, :] + chosen * dx

    def change(self, images: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Read each image at its displaced places."""
        bent = sample(images, *drawn, self.interpolation, self.fill_mode, self.fill_value)
        return jnp.clip(bent, *self._limits)

    def change_masks(self, masks: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The same at the nearest pixels."""
        return sample(masks, *drawn, "nearest", self.fill_mode, self.fill_value)
