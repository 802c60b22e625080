"""Recurrences of images: ConvLSTM over 1, 2 and 3 axes."""

from __future__ import annotations

from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError, UnknownNameError
from verax.layers.base import LayerArguments, along_axis, each_axis, image_format, layer_registry
from verax.layers.cell import ForgetBias, States, seen
from verax.layers.rnn import CellLayer, OfCell
from verax.ops.convolution import convolve
from verax.ops.stretching import stretch

__all__ = ["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"]


class ConvLSTMCell(ForgetBias):
    """One step of ``ConvLSTM1D``, ``ConvLSTM2D`` or ``ConvLSTM3D``.

    Args:
        rank: The number of the images' axes.
        kwargs: The arguments of those layers that are about a step.
    """

    def __init__(self, rank: int, **kwargs: Any):
        given = {key: kwargs.pop(key) for key in list(kwargs) if key not in LayerArguments.__annotations__}
        super().__init__({**given, "kwargs": kwargs})
        self.rank = rank
        self.filters = self.units
        self.kernel_size = each_axis(given["kernel_size"], rank, "kernel_size")
        self.strides = each_axis(given["strides"], rank, "strides")
        self.dilation_rate = each_axis(given["dilation_rate"], rank, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise InputError(
                "A ConvLSTM was made.",
                received=f"strides={self.strides} and dilation_rate={self.dilation_rate}",
                because="one of them is 1",
            )
        padding = given["padding"]
        self.padding: str = padding.lower() if isinstance(padding, str) else padding
        if self.padding not in ("valid", "same"):
            raise UnknownNameError.among("padding", padding, ["valid", "same"])
        self.data_format = image_format(given["data_format"])

    @property
    def features_axis(self) -> int:
        """Where the channels stand in the inputs of a step."""
        return 1 if self.data_format == "channels_first" else self.rank + 1

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel, recurrent kernel and bias."""
        self.sizes = tuple(n for axis, n in enumerate(input_shape) if axis not in (0, self.features_axis))
        self.make((*self.kernel_size, input_shape[self.features_axis]), (*self.kernel_size, self.units))

    def get_initial_state(self, batch_size: int) -> list[jax.Array]:
        """Zeros for so many rows: two of the shape of an output, for images of the size the cell was built for."""
        if None in self.sizes:
            raise ShapeError(
                f"The first state of {self.name!r} was asked for.",
                received=f"images of the sizes {self.sizes}",
                because="a state has the size of an output",
                do="Give the Input those sizes, or pass initial_state.",
            )
        sizes = cast("tuple[int, ...]", self.sizes)
        image = [batch_size, *sizes]
        image.insert(self.features_axis, self.kernel.shape[-2])
        x = jax.ShapeDtypeStruct((1, *image), self.compute_dtype)
        shape = self._shape_for(x)
        return [jnp.zeros(shape, self.compute_dtype) for _ in range(self.n_states)]

    def first_states(self, x: jax.Array) -> States:
        """Zeros, for images of any size."""
        return tuple(jnp.zeros(self.state_shape(x), x.dtype) for _ in range(self.n_states))

    def state_shape(self, x: jax.Array) -> tuple[int, ...]:
        """The shape of an output."""
        return self._shape_for(jax.ShapeDtypeStruct(x.shape, x.dtype))

    def _shape_for(self, x: jax.ShapeDtypeStruct) -> tuple[int, ...]:
        kernel = jax.ShapeDtypeStruct((*self.kernel.shape[:-1], self.units), x.dtype)
        one = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
        return jax.eval_shape(self._inputs_convolved, one, kernel).shape

    def project(self, x: jax.Array, bias: jax.Array | None) -> jax.Array:
        """The images of all steps, convolved as one batch, plus bias."""
        flat = self._inputs_convolved(x.reshape(-1, *x.shape[2:]), self.kernel.value)
        if bias is not None:
            flat = flat + stretch(along_axis(bias, flat.ndim, self.features_axis), flat)
        return flat.reshape(*x.shape[:2], *flat.shape[1:])

    def step(
        self, projected: jax.Array, states: States, kernel: jax.Array, bias: jax.Array | None, keep: jax.Array | None
    ) -> States:
        """The next h and c."""
        h, c = states
        last = self.data_format == "channels_last"
        inner = convolve(seen(h, keep), kernel, (1,) * self.rank, "SAME", channels_last=last)
        return self.gated(jnp.split(projected + inner, 4, axis=self.features_axis), c)

    def _inputs_convolved(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.padding == "valid":
            sizes = [n for axis, n in enumerate(x.shape) if axis not in (0, self.features_axis)]
            spans = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
            if any(n < span for n, span in zip(sizes, spans, strict=True)):
                raise ShapeError(
                    f"ConvLSTM {self.path!r} was called.",
                    received=f"images of the sizes {tuple(sizes)}",
                    because=f"a window of {tuple(spans)} does not fit into them",
                    do='Use padding="same", or a smaller kernel_size.',
                )
        last = self.data_format == "channels_last"
        return convolve(x, kernel, self.strides, self.padding.upper(), self.dilation_rate, channels_last=last)


class _ConvLSTM(CellLayer):
    """What the three share: their arguments."""

    rank: int
    filters, kernel_size, strides, padding = (OfCell() for _ in range(4))
    data_format, dilation_rate, unit_forget_bias = (OfCell() for _ in range(3))

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(ConvLSTMCell, "conv_lstm_cell", self.rank + 3, {**locals(), "rank": self.rank})


@layer_registry.add
class ConvLSTM1D(_ConvLSTM):
    """``ConvLSTM2D`` over one axis: (batch, time, length, channels) -> (batch, length', filters).

    >>> ConvLSTM1D(4, 3)(jnp.ones((2, 5, 8, 3))).shape
    (2, 6, 4)
    """

    rank = 1


@layer_registry.add
class ConvLSTM2D(_ConvLSTM):
    """An LSTM over images whose products are convolutions (Shi et al., 2015, https://arxiv.org/abs/1506.04214).

    With gates i, f, c, o side by side in the kernels' last axis, * a convolution and . the product of elements::

        i, f, o = s(x * W_i + h * U_i + b_i), s(... f), s(... o)
        c = f . c + i . a(x * W_c + h * U_c + b_c)
        h = o . a(c)

    Inputs are convolved with ``strides``, ``padding`` and ``dilation_rate``; the state, which has the size of that
    result, with strides 1 and padding "same". All steps' inputs are convolved at once, before the loop.

    (batch, time, height, width, channels) -> (batch, height', width', filters), or (batch, time, height', width',
    filters) with ``return_sequences``; channels first with ``data_format="channels_first"``. Weights: ``kernel``
    (*kernel_size, channels, 4 * filters), ``recurrent_kernel`` (*kernel_size, filters, 4 * filters), ``bias``
    (4 * filters,). Masks, states and their resets: see ``RNN``.

    Differs from Keras: dropout draws one mask for all gates.

    Args:
        filters: The channels of the state.
        kernel_size, strides, dilation_rate: A number, or one for each axis of an image.
        padding: "valid" or "same".
        data_format: "channels_last" (None) or "channels_first".
        activation, recurrent_activation, use_bias, unit_forget_bias, dropout, recurrent_dropout, seed,
            return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask, kernel_initializer,
            ..., bias_constraint: As in ``LSTM``.

    Raises:
        InputError: Sizes that are no positive integers; strides and dilation at once.
        ShapeError: A window that does not fit.

    >>> ConvLSTM2D(4, 3, padding="same", return_sequences=True)(jnp.ones((2, 5, 8, 8, 3))).shape
    (2, 5, 8, 8, 4)
    """

    rank = 2


@layer_registry.add
class ConvLSTM3D(_ConvLSTM):
    """``ConvLSTM2D`` over volumes: (batch, time, depth, height, width, channels) -> (batch, ..., filters).

    >>> ConvLSTM3D(2, 2)(jnp.ones((1, 2, 3, 4, 5, 1))).shape
    (1, 2, 3, 4, 2)
    """

    rank = 3
