"""Convolutions over 1, 2 and 3 axes, and the base of all kinds of convolution."""

from __future__ import annotations

from typing import Any, Unpack

import jax

from verax import activations
from verax.errors import InputError, ShapeError, UnknownNameError
from verax.layers.base import (
    InputSpec,
    Layer,
    LayerArguments,
    add_part,
    as_float,
    each_axis,
    given,
    image_format,
    keep_parts,
    layer_registry,
)
from verax.ops.convolution import convolve

__all__ = ["Conv1D", "Conv2D", "Conv3D"]

_AXES = "DHW"


class _Convolution(Layer):
    """What all convolutions share: their arguments, their bias and activation, and the checks."""

    rank: int
    #: What ``padding`` may be.
    paddings: tuple[str, ...] = ("valid", "same")
    filters: int
    groups: int
    depth_multiplier: int

    def __init__(
        self,
        *,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        **others: Any,
    ):
        left = keep_parts(self, others)
        counts = {name: left.pop(name) for name in ("filters", "groups", "depth_multiplier") if name in left}
        super().__init__(**left)
        for name, count in counts.items():
            setattr(self, name, each_axis(count, 1, name)[0])
        self.kernel_size = each_axis(kernel_size, self.rank, "kernel_size")
        self.strides = each_axis(strides, self.rank, "strides")
        self.dilation_rate = each_axis(dilation_rate, self.rank, "dilation_rate")
        if not isinstance(padding, str) or padding.lower() not in self.paddings:
            raise UnknownNameError.among("padding", padding, self.paddings)
        self.padding = padding.lower()
        self.data_format = image_format(data_format)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.input_spec = InputSpec(ndim=self.rank + 2)

    @property
    def channel_axis(self) -> int:
        """Where the channels stand."""
        return 1 if self.data_format == "channels_first" else self.rank + 1

    def channels(self, input_shape: tuple[int | None, ...], groups: int = 1) -> int:
        """The number of input channels, checked; the input's rank is checked by the base after ``build``."""
        asked = f"{type(self).__name__} {self.name!r} was called."
        if len(input_shape) != self.rank + 2:
            layout = ", ".join(("batch", *(f"axis {a}" for a in _AXES[3 - self.rank :].lower()), "channels"))
            raise ShapeError(
                asked,
                received=f"an input of shape {input_shape}",
                because=f"it needs {self.rank + 2} axes ({layout}), and this has {len(input_shape)}",
                do="Add the missing axis: x[..., None] for one channel, or x[None] for a batch of one."
                if len(input_shape) == self.rank + 1
                else "Reshape the input, or use a layer for inputs of this rank.",
            )
        found = input_shape[self.channel_axis]
        if found is None:
            raise ShapeError(
                asked,
                received=f"an input of shape {input_shape}",
                because="the shape of a weight would depend on an unknown size, the number of channels",
                do="Give the Input that size, or set data_format.",
            )
        if found % groups:
            raise ShapeError(
                asked,
                received=f"an input of {found} channels",
                because=f"its {groups} groups need a multiple of {groups}",
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={self.channel_axis: found})
        return found

    def add_bias(self, size: int) -> None:
        """Make the bias, where there is one."""
        self.bias = add_part(self, "bias", (size,)) if self.use_bias else None

    @property
    def shift(self) -> jax.Array | None:
        """The bias, where there is one."""
        return None if self.bias is None else self.bias.value

    def convolve(self, x: jax.Array, kernel: jax.Array, groups: int, bias: jax.Array | None = None) -> jax.Array:
        """The convolution (a correlation, as everywhere in deep learning), and a bias for each filter."""
        padding: Any = self.padding.upper()
        if self.padding == "causal":
            padding = [(self.dilation_rate[0] * (self.kernel_size[0] - 1), 0)]
        elif self.padding == "valid":
            self._check_room(x)
        return convolve(
            x,
            kernel,
            self.strides,
            padding,
            self.dilation_rate,
            bias=bias,
            channels_last=self.data_format == "channels_last",
            groups=groups,
        )

    def activated(self, x: jax.Array) -> jax.Array:
        """The activation of an output."""
        return x if self.activation is None else self.activation(x)

    def _check_room(self, x: jax.Array) -> None:
        sizes = [n for axis, n in enumerate(x.shape) if axis not in (0, self.channel_axis)]
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        if any(n < span for n, span in zip(sizes, spans, strict=True)):
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"an input of shape {tuple(x.shape)}",
                because=f"a kernel that spans {tuple(spans)} does not fit into {tuple(sizes)}",
                do="Use padding='same', a smaller kernel, or fewer poolings before it.",
            )


class _Conv(_Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
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
        if self.filters % self.groups:
            raise InputError(
                f"{type(self).__name__} was made.",
                received=f"filters={filters!r}, groups={groups!r}",
                because="each group makes an equal number of filters",
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel and the bias."""
        channels = self.channels(input_shape, self.groups)
        self.kernel = add_part(self, "kernel", (*self.kernel_size, channels // self.groups, self.filters))
        self.add_bias(self.filters)

    def call(self, x: jax.Array) -> jax.Array:
        """Convolve ``x`` (batch, *space, channels); the result has ``filters`` channels."""
        return self.activated(self.convolve(as_float(self, x), self.kernel.value, self.groups, self.shift))


@layer_registry.add
class Conv1D(_Conv):
    """A convolution over one axis: (batch, steps, channels) -> (batch, new steps, filters).

    ``out[t] = activation(sum_k x[t * stride + k * dilation] @ kernel[k] + bias)``. Weights: ``kernel`` (kernel_size,
    channels / groups, filters), ``bias`` (filters,).

    Args:
        filters: The number of output channels.
        kernel_size, strides, dilation_rate: A positive integer each.
        padding: ``"valid"``: none. ``"same"``: zeros, evenly, so that stride 1 keeps the number of steps. ``"causal"``:
            zeros before the first step only, so that no output sees a later step.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``: (batch, channels, steps).
        groups: The channels are split into so many groups, each convolved by itself.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: As in ``Dense``.

    Raises:
        ShapeError: When the rank is wrong or the kernel is larger than the input.
    """

    rank = 1
    paddings = ("valid", "same", "causal")


@layer_registry.add
class Conv2D(_Conv):
    """A convolution over images: (batch, height, width, channels) -> (batch, new height, new width, filters).

    ``out[i, j] = activation(sum_{k,l} x[i*s + k*d, j*s + l*d] @ kernel[k, l] + bias)``. Weights: ``kernel`` (kernel
    height, kernel width, channels / groups, filters), ``bias`` (filters,). Integer images are cast to the
    compute dtype.

    Differs from Keras: strides and dilation may be used together.

    Args:
        filters: The number of output channels.
        kernel_size, strides, dilation_rate: A positive integer, or one for each axis.
        padding: ``"valid"``: none. ``"same"``: zeros, evenly, so that stride 1 keeps height and width.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``: (batch, channels, height, width).
        groups: The channels are split into so many groups, each convolved by itself.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: As in ``Dense``.

    Raises:
        ShapeError: When the rank is wrong or the kernel is larger than the input.

    >>> import jax.numpy as jnp
    >>> Conv2D(4, 3)(jnp.ones((1, 8, 8, 3))).shape
    (1, 6, 6, 4)
    """

    rank = 2


@layer_registry.add
class Conv3D(_Conv):
    """A convolution over volumes: (batch, depth, height, width, channels) -> the same axes, ``filters`` channels.

    Weights: ``kernel`` (kernel depth, height, width, channels / groups, filters), ``bias`` (filters,).

    Args:
        filters: The number of output channels.
        kernel_size, strides, dilation_rate: A positive integer, or one for each axis.
        padding: ``"valid"`` or ``"same"``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        groups: The channels are split into so many groups, each convolved by itself.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: As in ``Dense``.
    """

    rank = 3
