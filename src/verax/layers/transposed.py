"""Transposed convolutions over 1, 2 and 3 axes."""

from __future__ import annotations

from typing import Any, Unpack

import jax

from verax.errors import InputError
from verax.layers.base import LayerArguments, add_part, along_axis, as_float, given, layer_registry
from verax.layers.convolutional import _Convolution
from verax.ops.convolution import convolve_transposed
from verax.ops.stretching import stretch
from verax.ops.windows import transposed_padding

__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]


class _Transposed(_Convolution):
    def __init__(self, *, output_padding: Any, **others: Any):
        super().__init__(**others)
        self.output_padding = None
        if output_padding is not None:
            pads = (output_padding,) * self.rank if isinstance(output_padding, int) else tuple(output_padding)
            if len(pads) != self.rank or any(not 0 <= p < s for p, s in zip(pads, self.strides, strict=True)):
                raise InputError(
                    f"{type(self).__name__} was made.",
                    received=f"output_padding={output_padding!r}, strides={self.strides}",
                    because="each is at least 0 and below its stride",
                )
            self.output_padding = pads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel and the bias."""
        self.kernel = add_part(self, "kernel", (*self.kernel_size, self.filters, self.channels(input_shape)))
        self.add_bias(self.filters)

    def call(self, x: jax.Array) -> jax.Array:
        """Apply the transposed convolution to ``x``."""
        further = self.output_padding or (None,) * self.rank
        x = convolve_transposed(
            as_float(self, x),
            self.kernel.value,
            self.strides,
            [
                transposed_padding(window, stride, self.padding.upper(), dilation, extra)
                for window, stride, dilation, extra in zip(
                    self.kernel_size, self.strides, self.dilation_rate, further, strict=True
                )
            ],
            self.dilation_rate,
            channels_last=self.data_format == "channels_last",
        )
        if self.shift is not None:
            x = x + stretch(along_axis(self.shift, x.ndim, self.channel_axis), x)
        return self.activated(x)


class _ConvTranspose(_Transposed):
    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        output_padding: int | tuple[int, ...] | None = None,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**given(locals()))


@layer_registry.add
class Conv1DTranspose(_ConvTranspose):
    """The transpose of a convolution over sequences: what its gradient does, used to make them longer.

    ``out[t * stride + k * dilation] += x[t] @ kernel[k].T`` over all t and k, then the edges are cut or filled up:
    (batch, steps, channels) -> (batch, new steps, filters). With ``"same"`` padding there are steps * stride new steps,
    with ``"valid"`` steps * stride + max(span - stride, 0), span = (kernel_size - 1) * dilation + 1. Weights:
    ``kernel`` (kernel_size, filters, channels), ``bias`` (filters,).

    Differs from Keras: strides and dilation may be used together.

    Args:
        filters, kernel_size, strides, data_format, dilation_rate, activation, use_bias: As in ``Conv1D``.
        padding: ``"valid"`` or ``"same"``.
        output_padding: With a number there are (steps - 1) * stride + span + output_padding new steps (``"valid"``), or
            the same with span % 2 (``"same"``); None for the sizes above.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: As in ``Dense``.

    >>> Conv1DTranspose(1, 2, strides=2, kernel_initializer="ones")(jnp.array([[[1.0], [5.0]]]))[0, :, 0].tolist()
    [1.0, 1.0, 5.0, 5.0]
    """

    rank = 1


@layer_registry.add
class Conv2DTranspose(_ConvTranspose):
    """The transpose of a convolution: what its gradient does, used to enlarge images.

    (batch, height, width, channels) -> (batch, new height, new width, filters); with ``"same"`` padding the new height
    is height * stride, with ``"valid"`` it is height * stride + max(kernel - stride, 0). Weights: ``kernel`` (kernel
    height, kernel width, filters, channels), ``bias`` (filters,).

    Differs from Keras: strides and dilation may be used together.

    Args:
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias: As in ``Conv2D``.
        output_padding: How many rows and columns are added at the end, see ``Conv1DTranspose``; None for the sizes
            above.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: As in ``Dense``.

    >>> Conv2DTranspose(4, 3, strides=2, padding="same")(jnp.ones((1, 8, 8, 3))).shape
    (1, 16, 16, 4)
    """

    rank = 2


@layer_registry.add
class Conv3DTranspose(_Transposed):
    """The transpose of a convolution over volumes: what its gradient does, used to enlarge them.

    (batch, depth, height, width, channels) -> the same axes, enlarged as in ``Conv2DTranspose``, ``filters`` channels.
    Weights: ``kernel`` (kernel depth, height, width, filters, channels), ``bias`` (filters,).

    Differs from Keras: strides and dilation may be used together.

    Args:
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias: As in ``Conv3D``.
        output_padding: How much is added at the end of each axis, see ``Conv1DTranspose``. (Here it stands after
            ``data_format``, as in Keras.)
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: As in ``Dense``.

    >>> Conv3DTranspose(2, 2, strides=2)(jnp.ones((1, 2, 3, 4, 5))).shape
    (1, 4, 6, 8, 2)
    """

    rank = 3

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        output_padding: int | tuple[int, ...] | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**given(locals()))
