"""Recurrent layers with gates: LSTM and GRU."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax import activations
from verax.layers.base import LayerArguments, along_axis, layer_registry
from verax.layers.rnn import _Recurrent, kept
from verax.ops.recurrent import gru, lstm

__all__ = ["GRU", "LSTM"]


@layer_registry.add
class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter, Schmidhuber, 1997).

    With gates i, f, c, o side by side in the kernels, s the recurrent activation and a the activation::

        i, f, o = s(x @ W_i + h @ U_i + b_i), s(... f), s(... o)
        c = f * c + i * a(x @ W_c + h @ U_c + b_c)
        h = o * a(c)

    (batch, time, features) -> (batch, units), or (batch, time, units) with ``return_sequences``. Weights: ``kernel``
    (features, 4 * units), ``recurrent_kernel`` (units, 4 * units), ``bias`` (4 * units,). A mask (batch, time) makes
    masked steps change nothing. ``call`` takes ``initial_state``, a list [h, c] of (batch, units).

    Differs from Keras: with ``go_backwards`` the mask of the outputs is turned round as they are; ``unroll`` gives what
    the scan gives also where a mask begins with absent steps. ``stateful`` and ``use_cudnn`` do not exist: pass
    ``initial_state``.

    Args:
        units: The size of the state.
        activation, recurrent_activation: Names or functions.
        use_bias: Whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: Where the weights start.
        unit_forget_bias: Whether the bias of the forget gate starts at 1.
        kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint: As for any weight.
        dropout: The rate at which input features are dropped in training, the same ones at every step.
        recurrent_dropout: The rate at which elements of the state h are, where the gates see it.
        seed: Another seed gives other masks for the same key.
        return_sequences: Whether all outputs are returned, not only the last.
        return_state: Whether the last states [h, c] are returned too.
        go_backwards: Whether time runs from the last step to the first.
        unroll: Whether the scan is unrolled: faster for few steps, and slower to compile.

    >>> LSTM(4)(jnp.ones((2, 3, 5))).shape
    (2, 4)
    """

    gates = 4
    n_states = 2

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
        unroll: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(
            units,
            activation,
            recurrent_activation,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            activity_regularizer,
            (kernel_constraint, recurrent_constraint, bias_constraint),
            dropout,
            recurrent_dropout,
            seed,
            return_sequences,
            return_state,
            go_backwards,
            unroll,
            **kwargs,
        )
        self.unit_forget_bias = unit_forget_bias

    def first_bias(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The bias's first value: 1 for the forget gate, unless ``unit_forget_bias`` is off."""
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype)
        n = self.units
        return jnp.concatenate(
            [self.bias_initializer((n,), dtype), jnp.ones(n, dtype), self.bias_initializer((2 * n,), dtype)]
        )

    def fast(
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        counts: jax.Array | None,
    ) -> tuple[tuple[jax.Array, ...], jax.Array | None] | None:
        """The recurrence with tanh and sigmoid."""
        if self.activation is not activations.tanh or self.recurrent_activation is not activations.sigmoid:
            return None
        return lstm(projected, kernel, (states[0], states[1]), counts, sequences=self.return_sequences)

    def step(
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        keep: jax.Array | None,
    ) -> tuple[jax.Array, ...]:
        """The next h and c."""
        h, c = states
        i, f, g, o = jnp.split(projected + jnp.matmul(kept(h, keep), kernel), 4, axis=-1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        return self.recurrent_activation(o) * self.activation(c), c


@layer_registry.add
class GRU(_Recurrent):
    """The gated recurrent unit (Cho et al., 2014).

    With gates z, r, h side by side in the kernels, s the recurrent activation and a the activation::

        z, r = s(x @ W_z + h @ U_z + b_z), s(x @ W_r + h @ U_r + b_r)
        n = a(x @ W_h + b_h + r * (h @ U_h + b'_h))      with reset_after
        n = a(x @ W_h + b_h + (r * h) @ U_h)             without
        h = z * h + (1 - z) * n

    (batch, time, features) -> (batch, units), or (batch, time, units) with ``return_sequences``. Weights: ``kernel``
    (features, 3 * units), ``recurrent_kernel`` (units, 3 * units), ``bias`` (2, 3 * units): one for the inputs and one
    for the state; (3 * units,) without ``reset_after``.

    Args:
        units: The size of the state.
        reset_after: Whether the reset gate acts after the matrix product.
        activation, recurrent_activation, use_bias, dropout, recurrent_dropout, seed, return_sequences, return_state,
            go_backwards, unroll, kernel_initializer, ..., bias_constraint: As in ``LSTM``.
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
        unroll: bool = False,
        reset_after: bool = True,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(
            units,
            activation,
            recurrent_activation,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            activity_regularizer,
            (kernel_constraint, recurrent_constraint, bias_constraint),
            dropout,
            recurrent_dropout,
            seed,
            return_sequences,
            return_state,
            go_backwards,
            unroll,
            **kwargs,
        )
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
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        counts: jax.Array | None,
    ) -> tuple[tuple[jax.Array, ...], jax.Array | None] | None:
        """The recurrence with tanh and sigmoid where the reset gate acts after the product."""
        standard = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        if not (standard and self.reset_after):
            return None
        return gru(projected, kernel, bias, (states[0],), counts, sequences=self.return_sequences)

    def step(
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        keep: jax.Array | None,
    ) -> tuple[jax.Array, ...]:
        """The next h."""
        (h,) = states
        seen = kept(h, keep)
        n = 2 * self.units
        x_gates, x_new = projected[:, :n], projected[:, n:]
        if self.reset_after:
            inner = jnp.matmul(seen, kernel)
            if bias is not None:
                inner = inner + along_axis(bias, 2, -1)
            z, r = jnp.split(self.recurrent_activation(x_gates + inner[:, :n]), 2, axis=-1)
            new = self.activation(x_new + r * inner[:, n:])
        else:
            z, r = jnp.split(self.recurrent_activation(x_gates + jnp.matmul(seen, kernel[:, :n])), 2, axis=-1)
            new = self.activation(x_new + jnp.matmul(r * seen, kernel[:, n:]))
        return (z * h + (1.0 - z) * new,)
