"""Boxes of images erased, and images mixed with each other: the labels of what is mixed are mixed, too."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.layers.augmentation.base import BaseAugmentation, between, happens, interval, limits, of_each
from verax.layers.base import LayerArguments, layer_registry

__all__ = ["CutMix", "MixUp", "RandomErasing"]


def _boxes(key: jax.Array, shape: tuple[int, ...], rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Boxes at places of their own, (batch, height, width, 1) booleans: their sides are parts of the image's."""

    def inside(key: jax.Array, part: jax.Array, size: int) -> jax.Array:
        length = part * size
        start = jax.random.uniform(key, part.shape) * (size - length)
        place = jnp.arange(size, dtype="float32")[None, :]
        return (place >= start[:, None]) & (place < (start + length)[:, None])

    one, other = jax.random.split(key)
    return (inside(one, rows, shape[1])[:, :, None] & inside(other, columns, shape[2])[:, None, :])[..., None]


@layer_registry.add
class RandomErasing(BaseAugmentation):
    """Erases a box of each image in training: fills it with noise or with a value.

    The box's sides are the square roots of two draws from ``scale``, as parts of the height and of the width; its place
    is uniform.

    Args:
        factor: The probability with which an image is changed; drawn between two numbers, or from [0, factor].
        scale: Drawn between two numbers, or from [0, scale]; from 0 to 1.
        fill_value: A number, or one for each channel; None for normal noise times the largest value.
        value_range: (low, high), within which what fills is kept.
        seed, data_format: As in ``BaseAugmentation``.

    Source: Zhong, Zheng, Kang, Li, Yang, "Random erasing data augmentation" (AAAI 2020).
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.scale, self.fill_value, self.value_range = factor, scale, fill_value, value_range
        self._factor, self._scale = interval(factor, "factor"), interval(scale, "scale")
        self._limits = limits(value_range)
        if fill_value is not None and (np.ndim(fill_value) > 1 or np.asarray(fill_value).dtype.kind not in "fiu"):
            because = "it is a number, one number for each channel, or None for noise"
            raise InputError("RandomErasing was made.", received=f"fill_value={fill_value!r}", because=because)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """What is erased (batch, height, width, 1), and what fills it."""
        keys = jax.random.split(key, 5)
        rows, columns = (jnp.sqrt(between(k, shape[0], self._scale)) for k in keys[:2])
        erased = _boxes(keys[2], shape, rows, columns) & happens(keys[3], shape[0], self._factor)[:, None, None, None]
        if self.fill_value is None:
            fill = jax.random.normal(keys[4], shape) * self._limits[1]
        else:
            fill = jnp.asarray(self.fill_value, "float32").reshape(1, 1, 1, -1)
            if fill.shape[-1] not in (1, shape[-1]):
                raise ShapeError(
                    f"RandomErasing {self.name!r} was called.",
                    received=f"{fill.shape[-1]} fill values for {shape[-1]} channels",
                    because="it is one number, or one for each channel",
                )
        return erased, jnp.clip(fill, *self._limits)

    def change(self, images: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Erase."""
        erased, fill = drawn
        return jnp.where(erased, fill.astype(images.dtype), images)


def _mixed_labels(labels: jax.Array, weight: jax.Array, order: jax.Array) -> jax.Array:
    weight = weight.reshape(-1, *[1] * (labels.ndim - 1)).astype(labels.dtype)
    return weight * labels + (1.0 - weight) * labels[order]


@layer_registry.add
class MixUp(BaseAugmentation):
    """Mixes each image with another one of the batch in training: ``w x + (1 - w) x'``, and the labels in the same way.

    w is drawn from the Beta distribution with both parameters ``alpha``; the others are a permutation of the batch.
    It is called on a dictionary, before ``fit`` or in a model of several inputs, with labels as probabilities (one-hot,
    or 0 and 1): ``MixUp()({"images": x, "labels": y})``. Called on images alone, it mixes them and not their labels.

    Args:
        alpha: Above 0: small is little mixing.
        data_format, seed: As in ``BaseAugmentation``.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: beyond empirical risk minimization" (ICLR 2018).

    Differs from Keras: labels may have any rank, and come out as floats in both modes.
    """

    mixes_labels = True

    def __init__(
        self,
        alpha: float = 0.2,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        if not isinstance(alpha, (int, float)) or alpha <= 0:
            raise InputError("MixUp was made.", received=f"alpha={alpha!r}", because="it is a number above 0")
        self.alpha = alpha

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """The weights, and whom each is mixed with: (batch,) each."""
        one, other = jax.random.split(key)
        weight = jax.random.beta(one, self.alpha, self.alpha, (shape[0],), "float32")
        return weight, jax.random.permutation(other, shape[0])

    def change(self, images: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Mix images."""
        weight, order = drawn
        weight = of_each(weight, images)
        return weight * images + (1.0 - weight) * images[order]

    def change_masks(self, masks: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Mix masks, as the probabilities they are."""
        return self.change(masks if jnp.issubdtype(masks.dtype, jnp.floating) else masks.astype("float32"), drawn)

    def change_labels(self, labels: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Mix labels."""
        return _mixed_labels(labels, *drawn)


@layer_registry.add
class CutMix(BaseAugmentation):
    """Pastes a box of another image of the batch into each in training, and mixes the labels by area.

    With w from the Beta distribution, both parameters drawn from ``factor``, the box's sides are ``sqrt(1 - w)`` of the
    image's, its place is uniform. It is called as ``MixUp`` is.

    Args:
        factor: Drawn between two numbers, or from [0, factor]; from 0 to 1.
        seed, data_format: As in ``BaseAugmentation``.

    Source: Yun, Han, Oh, Chun, Choe, Yoo, "CutMix" (ICCV 2019).

    Differs from Keras: labels are weighted by the pixels that were pasted (there by the box's area before it falls on
    pixels), may have any rank, and come out as floats in both modes.
    """

    mixes_labels = True

    def __init__(
        self,
        factor: Any = 1.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor
        self._factor = interval(factor, "factor")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """What is pasted (batch, height, width, 1), and from whom (batch,)."""
        keys = jax.random.split(key, 4)
        alpha = between(keys[0], 1, self._factor)[0] + 1e-6
        side = jnp.sqrt(1.0 - jax.random.beta(keys[1], alpha, alpha, (shape[0],), "float32"))
        return _boxes(keys[2], shape, side, side), jax.random.permutation(keys[3], shape[0])

    def change(self, images: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Paste."""
        box, order = drawn
        return jnp.where(box, images[order], images)

    def change_masks(self, masks: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Paste."""
        return self.change(masks, drawn)

    def change_labels(self, labels: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Mix labels by the pixels of each."""
        box, order = drawn
        return _mixed_labels(labels, 1.0 - box.mean((1, 2, 3), dtype="float32"), order)
