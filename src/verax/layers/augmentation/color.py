"""Images with other colors, each pixel by itself: brightness, contrast, hue, saturation, gray, inverted."""

from __future__ import annotations

from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp

from verax.errors import ShapeError
from verax.layers.augmentation.base import (
    BaseAugmentation,
    ImageArguments,
    between,
    happens,
    interval,
    limits,
    of_each,
    ready,
)
from verax.layers.base import LayerArguments, layer_registry
from verax.ops.image_color import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv

__all__ = [
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomSaturation",
]


@layer_registry.add
class RandomBrightness(BaseAugmentation):
    """Adds to each image a number of its own in training: ``clip(x + f * (high - low), low, high)``.

    Args:
        factor: f: drawn from [-factor, factor], or between two numbers; from -1 to 1.
        value_range: (low, high), the smallest and the largest value of pixels.
        seed, data_format: As in ``BaseAugmentation``.

    >>> RandomBrightness((0.5, 0.5), (0, 1))(jnp.array([[[0.25, 0.75]]]), training=True).ravel().tolist()
    [0.75, 1.0]
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Unpack[ImageArguments]
    ):
        super().__init__(seed=seed, **kwargs)
        self.factor, self.value_range = factor, value_range
        self._factor, self._limits = interval(factor, "factor", -1.0), limits(value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """What is added."""
        low, high = self._limits
        return (high - low) * between(key, shape[0], self._factor)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Add it."""
        return jnp.clip(images + of_each(drawn, images), *self._limits)


@layer_registry.add
class RandomContrast(BaseAugmentation):
    """Spreads each channel about its mean by a factor of each image's own in training: ``clip((x - m) * c + m)``.

    Args:
        factor: c is drawn from ``1 - factor`` to ``1 + factor``, or from ``1 - factor[0]`` to ``1 + factor[1]``; from 0
            to 1.
        value_range: (low, high), within which values are kept.
        seed, data_format: As in ``BaseAugmentation``.

    Differs from Keras: one number stands for both sides, as its documentation says; there it is ``(0, factor)``, so
    that contrast only grows. Two numbers stay in their order; there they are sorted.
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Unpack[ImageArguments]
    ):
        super().__init__(seed=seed, **kwargs)
        self.factor, self.value_range = factor, value_range
        low, high = interval(factor, "factor", single="exact")
        if isinstance(factor, (list, tuple)):
            low, high = cast("tuple[float, float]", tuple(cast("Any", factor)))
        self._factor, self._limits = (1.0 - low, 1.0 + high), limits(value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The factor."""
        return between(key, shape[0], self._factor)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Spread each channel about its mean."""
        mean = images.mean((1, 2), keepdims=True)
        return jnp.clip((images - mean) * of_each(drawn, images) + mean, *self._limits)


class _InUnits(BaseAugmentation):
    """What is done to values between 0 and 1."""

    def __init__(
        self,
        value_range: Any,
        seed: int | None,
        data_format: str | None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range = value_range
        self._limits = limits(value_range)

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        low, high = self._limits
        if images.shape[-1] != 3:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"images of {images.shape[-1]} channels",
                because="it needs 3: red, green, blue",
                do="Say data_format where the channels stand before height and width.",
            )
        return self._change_units((images - low) / (high - low), drawn) * (high - low) + low

    def _change_units(self, images: jax.Array, drawn: Any) -> jax.Array:
        raise AttributeError("a class of units says _change_units")


@layer_registry.add
class RandomHue(_InUnits):
    """Turns the circle of colors for each image by a draw of its own in training.

    Args:
        factor: How far, in half turns: its size is drawn from [0, factor], or between two numbers, its sign by a coin;
            from 0 to 1.
        value_range: The smallest and the largest value of pixels.
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
        """The turn, in turns."""
        one, other = jax.random.split(key)
        sign = jnp.where(jax.random.bernoulli(one, 0.5, (shape[0],)), 0.5, -0.5)
        return sign * between(other, shape[0], self._factor)

    def _change_units(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        turn = of_each(drawn, images) * jnp.array([1, 0, 0], images.dtype).reshape(1, 1, 1, 3)
        return jnp.clip(hsv_to_rgb(rgb_to_hsv(images) + turn), 0.0, 1.0)


@layer_registry.add
class RandomSaturation(_InUnits):
    """Multiplies the saturation of each image in training: 0 is gray, 1 nothing: ``clip(s * f / (1 - f))``.

    Args:
        factor: f: drawn from [0, factor], or between two numbers; from 0 (gray) over 0.5 (nothing) to 1.
        value_range: The smallest and the largest value of pixels.
        data_format, seed: As in ``BaseAugmentation``.

    Differs from Keras: one number stands for [0, factor], as its documentation says, not for [-factor, factor]; the
    saturation is kept at most 1 (there at most the largest value of pixels, so that others become negative).
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
        share = between(key, shape[0], self._factor)
        return share / (1.0 - share + 1e-7)

    def _change_units(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        hue, saturation, value = jnp.split(rgb_to_hsv(images), 3, axis=-1)
        saturation = jnp.clip(saturation * of_each(drawn, images), 0.0, 1.0)
        return hsv_to_rgb(jnp.concatenate([hue, saturation, value], -1))


@layer_registry.add
class RandomColorJitter(BaseAugmentation):
    """Brightness, contrast, saturation and hue of each image, one after the other, in training.

    Args:
        value_range: The smallest and the largest value of pixels.
        brightness_factor, contrast_factor, saturation_factor, hue_factor: The ``factor`` of ``RandomBrightness``,
            ``RandomContrast``, ``RandomSaturation`` and ``RandomHue``; None to leave one out.
        seed, data_format: As in ``BaseAugmentation``.
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        brightness_factor: Any = None,
        contrast_factor: Any = None,
        saturation_factor: Any = None,
        hue_factor: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range = value_range
        self.brightness_factor, self.contrast_factor = brightness_factor, contrast_factor
        self.saturation_factor, self.hue_factor = saturation_factor, hue_factor
        kinds: list[tuple[Any, Any, str]] = [
            (RandomBrightness, brightness_factor, "brightness"),
            (RandomContrast, contrast_factor, "contrast"),
            (RandomSaturation, saturation_factor, "saturation"),
            (RandomHue, hue_factor, "hue"),
        ]
        self.steps: list[BaseAugmentation] = [
            ready(kind(factor, value_range, name=name)) for kind, factor, name in kinds if factor is not None
        ]

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> list[Any]:
        """The draws of each step."""
        keys = jax.random.split(key, 4)
        return [step.draw(keys[i], shape) for i, step in enumerate(self.steps)]

    def change(self, images: jax.Array, drawn: list[Any]) -> jax.Array:
        """Step after step."""
        for step, one in zip(self.steps, drawn, strict=True):
            images = step.change(images, one)
        return images


@layer_registry.add
class RandomColorDegeneration(BaseAugmentation):
    """Takes color from each image in training: ``clip(x + f * (gray(x) - x))``.

    Args:
        factor: f: drawn from [0, factor], or between two numbers; from 0 (nothing) to 1 (gray).
        value_range: (low, high), within which values are kept.
        data_format, seed: As in ``BaseAugmentation``.

    Differs from Keras: one number stands for [0, factor], as its documentation says, not for [-factor, factor].
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.value_range = factor, value_range
        self._factor, self._limits = interval(factor, "factor"), limits(value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The factor."""
        return between(key, shape[0], self._factor)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Blend with gray."""
        gray = rgb_to_grayscale(images)
        return jnp.clip(images + of_each(drawn, images) * (gray - images), *self._limits)


@layer_registry.add
class RandomGrayscale(BaseAugmentation):
    """Makes images gray in training, of as many channels as before.

    Args:
        factor: The probability with which an image is changed, from 0 to 1.
        data_format, seed: As in ``BaseAugmentation``.
    """

    def __init__(
        self,
        factor: float = 0.5,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor
        self._factor = interval(factor, "factor", single="exact")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Which images are made gray."""
        return happens(key, shape[0], self._factor)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Make them gray."""
        return jnp.where(of_each(drawn, images), rgb_to_grayscale(images), images)


@layer_registry.add
class RandomInvert(BaseAugmentation):
    """Inverts images in training: ``low + high - x``.

    Args:
        factor: The probability with which an image is changed; drawn between two numbers, or from [0, factor].
        value_range: (low, high), the smallest and the largest value of pixels.
        seed, data_format: As in ``BaseAugmentation``.

    Differs from Keras: ``low`` is added, which there is left out: with (-1, 1), values left the range.

    >>> RandomInvert((1.0, 1.0), (-1, 1))(jnp.array([[[0.25, -1.0]]]), training=True).ravel().tolist()
    [-0.25, 1.0]
    """

    def __init__(
        self,
        factor: Any = 1.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.value_range = factor, value_range
        self._factor, self._limits = interval(factor, "factor"), limits(value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Which images are inverted."""
        return happens(key, shape[0], self._factor)

    def change(self, images: jax.Array, drawn: jax.Array) -> jax.Array:
        """Invert them."""
        return jnp.where(of_each(drawn, images), sum(self._limits) - images, images)
