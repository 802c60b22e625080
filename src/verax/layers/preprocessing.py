"""Preprocessing inside a model."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from verax.layers.base import Layer, LayerArguments, layer_registry

__all__ = ["Rescaling"]


@layer_registry.add
class Rescaling(Layer):
    """``x * scale + offset`` in the compute dtype: ``Rescaling(1 / 255)`` maps uint8 images to [0, 1].

    Args:
        scale: A number, or one for each channel (the last axis).
        offset: A number, or one for each channel.

    >>> Rescaling(1 / 127.5, offset=-1)(np.uint8([0, 255])).tolist()
    [-1.0, 1.0]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset

    def call(self, x: jax.Array) -> jax.Array:
        """Rescale ``x``."""
        x = x.astype(self.compute_dtype)
        return x * self._placed(self.scale, x) + self._placed(self.offset, x)

    @staticmethod
    def _placed(value: Any, x: jax.Array) -> jax.Array:
        array = jnp.asarray(np.asarray(value, np.float32), x.dtype)
        return array.reshape((1,) * (x.ndim - array.ndim) + array.shape) if array.ndim else array
