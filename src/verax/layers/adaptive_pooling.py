"""Pooling to a given size, from one base."""

from __future__ import annotations

from typing import Unpack

import jax

from verax.layers.base import (
    InputSpec,
    Layer,
    LayerArguments,
    as_float,
    each_axis,
    image_format,
    layer_registry,
)
from verax.ops.adaptive_pooling import adaptive_average_pool, adaptive_max_pool

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
]


class _AdaptivePooling(Layer):
    rank: int

    def __init__(
        self, output_size: int | tuple[int, ...], data_format: str | None = None, **kwargs: Unpack[LayerArguments]
    ):
        super().__init__(**kwargs)
        self.output_size = each_axis(output_size, self.rank, "output_size")
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)


class _AdaptiveAveragePooling(_AdaptivePooling):
    def call(self, x: jax.Array) -> jax.Array:
        """The average of each window of ``x``."""
        last = self.data_format == "channels_last"
        return adaptive_average_pool(as_float(self, x), self.output_size, channels_last=last)


class _AdaptiveMaxPooling(_AdaptivePooling):
    def call(self, x: jax.Array) -> jax.Array:
        """The maximum of each window of ``x``."""
        return adaptive_max_pool(x, self.output_size, channels_last=self.data_format == "channels_last")


@layer_registry.add
class AdaptiveAveragePooling1D(_AdaptiveAveragePooling):
    """The average of each of ``output_size`` windows of sequences (batch, steps, channels).

    Window i of m over n places is [floor(i n / m), ceil((i + 1) n / m)): the windows cover everything, and the output
    has the same size for every input.

    Differs from Keras: the bounds are exact (there rounding can put one outside: NaN in the last of 7 windows over 6).

    Args:
        output_size: The number of windows: a positive integer.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> AdaptiveAveragePooling1D(3)(jnp.arange(5.0)[None, :, None]).ravel().tolist()
    [0.5, 2.0, 3.5]
    """

    rank = 1


@layer_registry.add
class AdaptiveAveragePooling2D(_AdaptiveAveragePooling):
    """The average of each of ``output_size`` windows along each axis of images (batch, height, width, channels).

    Window i of m over n places is [floor(i n / m), ceil((i + 1) n / m)): the windows cover everything, and the output
    has the same size for every input.

    Differs from Keras: the bounds are exact (there rounding can put one outside: NaN in the last of 7 windows over 6).

    Args:
        output_size: The number of windows: a positive integer, or one for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 2


@layer_registry.add
class AdaptiveAveragePooling3D(_AdaptiveAveragePooling):
    """The average of each of ``output_size`` windows along each axis of volumes (batch, d, h, w, channels).

    Window i of m over n places is [floor(i n / m), ceil((i + 1) n / m)): the windows cover everything, and the output
    has the same size for every input.

    Differs from Keras: the bounds are exact (there rounding can put one outside: NaN in the last of 7 windows over 6).

    Args:
        output_size: The number of windows: a positive integer, or one for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3


@layer_registry.add
class AdaptiveMaxPooling1D(_AdaptiveMaxPooling):
    """The maximum of each of ``output_size`` windows of sequences (batch, steps, channels).

    Window i of m over n places is [floor(i n / m), ceil((i + 1) n / m)): the windows cover everything, and the output
    has the same size for every input.

    Differs from Keras: the bounds are exact (there rounding can put one outside: NaN in the last of 7 windows over 6).

    Args:
        output_size: The number of windows: a positive integer.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> AdaptiveMaxPooling1D(3)(jnp.arange(5.0)[None, :, None]).ravel().tolist()
    [1.0, 3.0, 4.0]
    """

    rank = 1


@layer_registry.add
class AdaptiveMaxPooling2D(_AdaptiveMaxPooling):
    """The maximum of each of ``output_size`` windows along each axis of images (batch, height, width, channels).

    Window i of m over n places is [floor(i n / m), ceil((i + 1) n / m)): the windows cover everything, and the output
    has the same size for every input.

    Differs from Keras: the bounds are exact (there rounding can put one outside: NaN in the last of 7 windows over 6).

    Args:
        output_size: The number of windows: a positive integer, or one for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 2


@layer_registry.add
class AdaptiveMaxPooling3D(_AdaptiveMaxPooling):
    """The maximum of each of ``output_size`` windows along each axis of volumes (batch, d, h, w, channels).

    Window i of m over n places is [floor(i n / m), ceil((i + 1) n / m)): the windows cover everything, and the output
    has the same size for every input.

    Differs from Keras: the bounds are exact (there rounding can put one outside: NaN in the last of 7 windows over 6).

    Args:
        output_size: The number of windows: a positive integer, or one for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3
