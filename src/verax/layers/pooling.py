"""Pooling over windows and over whole axes, from one base each."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax.errors import ShapeError, UnknownNameError
from verax.layers.base import (
    InputSpec,
    Layer,
    LayerArguments,
    as_float,
    each_axis,
    image_format,
    layer_registry,
)
from verax.ops.pooling import average_pool, max_pool

__all__ = [
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
]


class _Pooling(Layer):
    """A window that moves over the axes between batch and channels."""

    rank: int

    def __init__(
        self,
        pool_size: int | tuple[int, ...] = 2,
        strides: int | tuple[int, ...] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        self.pool_size = each_axis(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else each_axis(strides, self.rank, "strides")
        if not isinstance(padding, str) or padding.lower() not in ("valid", "same"):
            raise UnknownNameError.among("padding", padding, ("valid", "same"))
        self.padding = padding.lower()
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def arguments_for(self, x: jax.Array) -> dict[str, Any]:
        """How windows move over ``x``, for the operations of ``verax.ops.pooling``."""
        last = self.data_format == "channels_last"
        sizes = x.shape[1:-1] if last else x.shape[2:]
        if self.padding == "valid" and any(n < p for n, p in zip(sizes, self.pool_size, strict=True)):
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"an input of shape {tuple(x.shape)}",
                because=f"a window of {self.pool_size} does not fit into {tuple(sizes)}",
                do="Use padding='same', a smaller window, or fewer poolings before it.",
            )
        return {
            "window": self.pool_size,
            "strides": self.strides,
            "padding": self.padding.upper(),
            "channels_last": last,
        }


class _MaxPooling(_Pooling):
    def call(self, x: jax.Array) -> jax.Array:
        """The maximum of each window of ``x``."""
        return max_pool(x, **self.arguments_for(x))


class _AveragePooling(_Pooling):
    def call(self, x: jax.Array) -> jax.Array:
        """The average of each window of ``x``."""
        x = as_float(self, x)
        return average_pool(x, **self.arguments_for(x))


@layer_registry.add
class MaxPooling1D(_MaxPooling):
    """The maximum of each window of sequences (batch, steps, channels).

    Args:
        pool_size: The window: a positive integer, or one for each axis.
        strides: By how much it moves; ``pool_size`` when None.
        padding: ``"valid"``: whole windows only. ``"same"``: ``ceil(size / stride)`` windows; what lies outside of the
            input does not count.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 1


@layer_registry.add
class MaxPooling2D(_MaxPooling):
    """The maximum of each window of images (batch, height, width, channels).

    Args:
        pool_size: The window: a positive integer, or one for each axis.
        strides: By how much it moves; ``pool_size`` when None.
        padding: ``"valid"``: whole windows only. ``"same"``: ``ceil(size / stride)`` windows; what lies outside of the
            input does not count.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> MaxPooling2D()(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """

    rank = 2


@layer_registry.add
class MaxPooling3D(_MaxPooling):
    """The maximum of each window of volumes (batch, depth, height, width, channels).

    Args:
        pool_size: The window: a positive integer, or one for each axis.
        strides: By how much it moves; ``pool_size`` when None.
        padding: ``"valid"``: whole windows only. ``"same"``: ``ceil(size / stride)`` windows; what lies outside of the
            input does not count.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3


@layer_registry.add
class AveragePooling1D(_AveragePooling):
    """The average of each window of sequences (batch, steps, channels).

    Args:
        pool_size: The window: a positive integer, or one for each axis.
        strides: By how much it moves; ``pool_size`` when None.
        padding: ``"valid"``: whole windows only. ``"same"``: ``ceil(size / stride)`` windows; what lies outside of the
            input does not count.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 1


@layer_registry.add
class AveragePooling2D(_AveragePooling):
    """The average of each window of images (batch, height, width, channels).

    Args:
        pool_size: The window: a positive integer, or one for each axis.
        strides: By how much it moves; ``pool_size`` when None.
        padding: ``"valid"``: whole windows only. ``"same"``: ``ceil(size / stride)`` windows; what lies outside of the
            input does not count.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> AveragePooling2D()(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    rank = 2


@layer_registry.add
class AveragePooling3D(_AveragePooling):
    """The average of each window of volumes (batch, depth, height, width, channels).

    Args:
        pool_size: The window: a positive integer, or one for each axis.
        strides: By how much it moves; ``pool_size`` when None.
        padding: ``"valid"``: whole windows only. ``"same"``: ``ceil(size / stride)`` windows; what lies outside of the
            input does not count.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3


class _GlobalPooling(Layer):
    rank: int

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.data_format = image_format(data_format)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=self.rank + 2)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that are pooled away."""
        begin = 2 if self.data_format == "channels_first" else 1
        return tuple(range(begin, begin + self.rank))


class _GlobalMaxPooling(_GlobalPooling):
    def call(self, x: jax.Array) -> jax.Array:
        """The maximum over all places of each channel of ``x``."""
        return jnp.max(x, self.axes, keepdims=self.keepdims)


class _GlobalAveragePooling(_GlobalPooling):
    def call(self, x: jax.Array) -> jax.Array:
        """The average over all places of each channel of ``x``."""
        return jnp.mean(as_float(self, x), self.axes, keepdims=self.keepdims)


@layer_registry.add
class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The maximum of each channel over all steps: (batch, steps, channels) -> (batch, channels).

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: Whether the pooled axes stay, of size 1.
    """

    rank = 1


@layer_registry.add
class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The maximum of each channel over height and width: (batch, height, width, channels) -> (batch, channels).

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: Whether the pooled axes stay, of size 1.
    """

    rank = 2


@layer_registry.add
class GlobalMaxPooling3D(_GlobalMaxPooling):
    """The maximum of each channel over depth, height and width: (batch, d, h, w, channels) -> (batch, channels).

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: Whether the pooled axes stay, of size 1.
    """

    rank = 3


@layer_registry.add
class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The average of each channel over all steps: (batch, steps, channels) -> (batch, channels).

    With a mask (batch, steps) the average is over the steps that count: ``sum(mask * x) / sum(mask)``.

    Differs from Keras: a row without a step that counts gives 0 (there NaN).

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: Whether the pooled axes stay, of size 1.
    """

    rank = 1
    supports_masking = True

    def call(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The average over the steps of ``x``, or over those the mask keeps."""
        x = as_float(self, x)
        if mask is None:
            return jnp.mean(x, self.axes, keepdims=self.keepdims)
        keep = mask.astype(bool)[:, None] if self.data_format == "channels_first" else mask.astype(bool)[..., None]
        total = jnp.sum(jnp.where(keep, x, jnp.zeros_like(x)), self.axes, keepdims=self.keepdims)
        return total / jnp.maximum(jnp.sum(keep.astype(x.dtype), self.axes, keepdims=self.keepdims), 1.0)

    def compute_mask(self, inputs: jax.Array, mask: Any = None) -> None:
        """None: the steps are gone."""


@layer_registry.add
class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The average of each channel over height and width: (batch, height, width, channels) -> (batch, channels).

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: Whether the pooled axes stay, of size 1.
    """

    rank = 2


@layer_registry.add
class GlobalAveragePooling3D(_GlobalAveragePooling):
    """The average of each channel over depth, height and width: (batch, d, h, w, channels) -> (batch, channels).

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: Whether the pooled axes stay, of size 1.
    """

    rank = 3
