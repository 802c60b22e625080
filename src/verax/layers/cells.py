"""One step of a recurrence: the cells of SimpleRNN, LSTM and GRU."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax import activations
from verax.layers.base import LayerArguments, along_axis, layer_registry
from verax.layers.cell import Cell, ForgetBias, States, seen
from verax.ops.recurrent import Weights, gru, lstm
from verax.ops.stretching import stretch

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell"]


@layer_registry.add
class SimpleRNNCell(Cell):
    """One step of ``SimpleRNN``: ``h = activation(x @ kernel + h @ recurrent_kernel + bias)``.

    Called on (batch, features) and the state (batch, units), or a list of it; returns the output and the next state, in
    the same form. Weights: ``kernel`` (features, units), ``recurrent_kernel`` (units, units), ``bias`` (units,).

    Args:
        units, activation, ..., seed: As in ``SimpleRNN``.

    >>> y, [h] = SimpleRNNCell(4)(jnp.ones((2, 3)), [jnp.zeros((2, 4))])
    >>> y.shape, h.shape
    ((2, 4), (2, 4))
    """

    gates = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(locals())

    def step(
        self, projected: jax.Array, states: States, kernel: jax.Array, bias: jax.Array | None, keep: jax.Array | None
    ) -> States:
        """The next h."""
        return (self.activation(projected + jnp.matmul(seen(states[0], keep), kernel)),)


@layer_registry.add
class LSTMCell(ForgetBias):
    """One step of ``LSTM``.

    Called on (batch, features) and the states [h, c], each (batch, units); returns the output h and [h, c]. Weights:
    ``kernel`` (features, 4 * units), ``recurrent_kernel`` (units, 4 * units), ``bias`` (4 * units,).

    Args:
        units, activation, ..., seed: As in ``LSTM``.

    >>> cell = LSTMCell(4)
    >>> y, [h, c] = cell(jnp.ones((2, 3)), cell.get_initial_state(2))
    >>> y.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(
        self,
        units: int,
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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(locals())

    def fast(
        self, x: jax.Array, weights: Weights, states: States, counts: jax.Array | None, *, sequences: bool
    ) -> tuple[States, jax.Array | None] | None:
        """The recurrence with tanh and sigmoid."""
        if self.activation is not activations.tanh or self.recurrent_activation is not activations.sigmoid:
            return None
        return lstm(x, weights, (states[0], states[1]), counts, sequences=sequences)

    def step(
        self, projected: jax.Array, states: States, kernel: jax.Array, bias: jax.Array | None, keep: jax.Array | None
    ) -> States:
        """The next h and c."""
        h, c = states
        return self.gated(jnp.split(projected + jnp.matmul(seen(h, keep), kernel), 4, axis=-1), c)


@layer_registry.add
class GRUCell(Cell):
    """One step of ``GRU``.

    Called on (batch, features) and the state (batch, units), or a list of it; returns the output and the next state, in
    the same form. Weights: ``kernel`` (features, 3 * units), ``recurrent_kernel`` (units, 3 * units), ``bias``
    (2, 3 * units), or (3 * units,) without ``reset_after``.

    Args:
        units, activation, ..., seed: As in ``GRU``.

    >>> y, h = GRUCell(4)(jnp.ones((2, 3)), jnp.zeros((2, 4)))
    >>> y.shape, h.shape
    ((2, 4), (2, 4))
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(locals())
        self.reset_after = reset_after

    def bias_shape(self) -> tuple[int, ...]:
        """One bias for the inputs and one for the state, with ``reset_after``."""
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def biases(self) -> tuple[jax.Array | None, jax.Array | None]:
        """The bias of the inputs and that of the state."""
        if self.bias is None:
            return None, None
        bias = self.bias.value
        return (bias[0], bias[1]) if self.reset_after else (bias, None)

    def fast(
        self, x: jax.Array, weights: Weights, states: States, counts: jax.Array | None, *, sequences: bool
    ) -> tuple[States, jax.Array | None] | None:
        """The recurrence with tanh and sigmoid where the reset gate acts after the product."""
        standard = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        if not (standard and self.reset_after):
            return None
        return gru(x, weights, (states[0],), counts, sequences=sequences)

    def step(
        self, projected: jax.Array, states: States, kernel: jax.Array, bias: jax.Array | None, keep: jax.Array | None
    ) -> States:
        """The next h."""
        (h,) = states
        known = seen(h, keep)
        n = 2 * self.units
        x_gates, x_new = projected[:, :n], projected[:, n:]
        if self.reset_after:
            inner = jnp.matmul(known, kernel)
            if bias is not None:
                inner = inner + stretch(along_axis(bias, 2, -1), inner)
            z, r = jnp.split(self.recurrent_activation(x_gates + inner[:, :n]), 2, axis=-1)
            new = self.activation(x_new + r * inner[:, n:])
        else:
            z, r = jnp.split(self.recurrent_activation(x_gates + jnp.matmul(known, kernel[:, :n])), 2, axis=-1)
            new = self.activation(x_new + jnp.matmul(r * known, kernel[:, n:]))
        return (z * h + (1.0 - z) * new,)
