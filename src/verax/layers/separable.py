"""Convolutions of each channel by itself: depthwise, and separable (depthwise, then across the channels)."""

from __future__ import annotations

from typing import Any, Unpack

import jax

from verax.layers.base import LayerArguments, add_part, as_float, given, layer_registry
from verax.layers.convolutional import _Convolution
from verax.ops.convolution import convolve

__all__ = ["DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"]


class _ByChannel(_Convolution):
    def by_channel(self, x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        """Each channel of ``x`` convolved with its own ``depth_multiplier`` kernels, and a bias for each of them."""
        channels = x.shape[self.channel_axis]
        kernel = kernel.reshape(*self.kernel_size, 1, channels * self.depth_multiplier)
        return self.convolve(as_float(self, x), kernel, channels, bias)


class _DepthwiseConv(_ByChannel):
    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**given(locals()))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel and the bias."""
        channels = self.channels(input_shape)
        self.kernel = add_part(self, "kernel", (*self.kernel_size, channels, self.depth_multiplier), of="depthwise")
        self.add_bias(channels * self.depth_multiplier)

    def call(self, x: jax.Array) -> jax.Array:
        """Convolve each channel of ``x``."""
        return self.activated(self.by_channel(x, self.kernel.value, self.shift))


@layer_registry.add
class DepthwiseConv1D(_DepthwiseConv):
    """A convolution of each channel of sequences by itself, with ``depth_multiplier`` kernels for each.

    ``out[t, c * m + j] = activation(sum_k x[t * stride + k * dilation, c] kernel[k, c, j] + bias[c * m + j])``.
    (batch, steps, channels) -> (batch, new steps, channels * depth_multiplier). Weights: ``kernel`` (kernel_size,
    channels, depth_multiplier), ``bias`` (channels * depth_multiplier,).

    Args:
        kernel_size, strides, data_format, dilation_rate, activation, use_bias: As in ``Conv1D``.
        padding: ``"valid"`` or ``"same"``.
        depth_multiplier: The number m of outputs for each channel.
        depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer,
            depthwise_constraint, bias_constraint: As for any weight.

    >>> DepthwiseConv1D(2, depthwise_initializer="ones")(jnp.array([[[1.0, 10.0], [2.0, 20.0]]])).tolist()
    [[[3.0, 30.0]]]
    """

    rank = 1


@layer_registry.add
class DepthwiseConv2D(_DepthwiseConv):
    """A convolution of each channel by itself, with ``depth_multiplier`` kernels for each.

    (batch, height, width, channels) -> (batch, new height, new width, channels * depth_multiplier). Weights:
    ``kernel`` (kernel height, kernel width, channels, depth_multiplier), ``bias`` (channels * depth_multiplier,).

    Args:
        kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias: As in ``Conv2D``.
        depth_multiplier: The number of outputs for each channel.
        depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer,
            depthwise_constraint, bias_constraint: As for any weight.

    >>> DepthwiseConv2D(3, depth_multiplier=2)(jnp.ones((1, 8, 8, 3))).shape
    (1, 6, 6, 6)
    """

    rank = 2


class _SeparableConv(_ByChannel):
    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**given(locals()))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the two kernels and the bias."""
        channels, several = self.channels(input_shape), self.depth_multiplier
        shape = (*self.kernel_size, channels, several)
        self.depthwise_kernel = add_part(self, "depthwise_kernel", shape, of="depthwise")
        shape = (*(1,) * self.rank, channels * several, self.filters)
        self.pointwise_kernel = add_part(self, "pointwise_kernel", shape, of="pointwise")
        self.add_bias(self.filters)

    def call(self, x: jax.Array) -> jax.Array:
        """Convolve each channel of ``x``, then mix the channels at each place."""
        x = self.by_channel(x, self.depthwise_kernel.value)
        kernel, last = self.pointwise_kernel.value, self.data_format == "channels_last"
        return self.activated(convolve(x, kernel, (1,) * self.rank, "VALID", bias=self.shift, channels_last=last))


@layer_registry.add
class SeparableConv1D(_SeparableConv):
    """A depthwise convolution over sequences, then a map of the channels at each step (Chollet, 2017).

    ``out = activation(depthwise(x) @ pointwise_kernel + bias)``: (batch, steps, channels) -> (batch, new steps,
    filters). Weights: ``depthwise_kernel`` (kernel_size, channels, depth_multiplier), ``pointwise_kernel`` (1, channels
    * depth_multiplier, filters), ``bias`` (filters,).

    Args:
        filters: The number of output channels.
        kernel_size, strides, data_format, dilation_rate, activation, use_bias: As in ``Conv1D``.
        padding: ``"valid"`` or ``"same"``.
        depth_multiplier: The number of depthwise outputs for each channel.
        depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer, pointwise_regularizer,
            bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint, bias_constraint: As for
            any weight.

    >>> SeparableConv1D(5, 3)(jnp.ones((1, 8, 4))).shape
    (1, 6, 5)
    """

    rank = 1


@layer_registry.add
class SeparableConv2D(_SeparableConv):
    """A depthwise convolution over images, then a map of the channels at each place (Chollet, 2017).

    ``out = activation(depthwise(x) @ pointwise_kernel + bias)``: (batch, height, width, channels) -> (batch, new
    height, new width, filters). Weights: ``depthwise_kernel`` (kernel height, kernel width, channels,
    depth_multiplier), ``pointwise_kernel`` (1, 1, channels * depth_multiplier, filters), ``bias`` (filters,).

    Args:
        filters: The number of output channels.
        kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias: As in ``Conv2D``.
        depth_multiplier: The number of depthwise outputs for each channel.
        depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer, pointwise_regularizer,
            bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint, bias_constraint: As for
            any weight.

    >>> SeparableConv2D(5, 3, padding="same")(jnp.ones((1, 8, 8, 4))).shape
    (1, 8, 8, 5)
    """

    rank = 2
