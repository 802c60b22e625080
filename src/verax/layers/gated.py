"""The recurrent layers everyone uses: SimpleRNN, LSTM and GRU."""

from __future__ import annotations

from typing import Any, Unpack

from verax.layers.base import LayerArguments, layer_registry
from verax.layers.cells import GRUCell, LSTMCell, SimpleRNNCell
from verax.layers.rnn import CellLayer, OfCell

__all__ = ["GRU", "LSTM", "SimpleRNN"]


@layer_registry.add
class SimpleRNN(CellLayer):
    """``h = activation(x @ kernel + h @ recurrent_kernel + bias)``, step after step.

    (batch, time, features) -> (batch, units), or (batch, time, units) with ``return_sequences``. Weights: ``kernel``
    (features, units), ``recurrent_kernel`` (units, units), ``bias`` (units,). Masks, states and their resets: see
    ``RNN``.

    Args:
        units: The size of the state.
        activation, use_bias, dropout, recurrent_dropout, return_sequences, return_state, go_backwards, stateful,
            unroll, seed, zero_output_for_mask, kernel_initializer, ..., bias_constraint: As in ``LSTM``.
    """

    units = OfCell()

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        zero_output_for_mask: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(SimpleRNNCell, "simple_rnn_cell", 3, locals())


@layer_registry.add
class LSTM(CellLayer):
    """Long short-term memory (Hochreiter, Schmidhuber, 1997).

    With gates i, f, c, o side by side in the kernels, s the recurrent activation and a the activation::

        i, f, o = s(x @ W_i + h @ U_i + b_i), s(... f), s(... o)
        c = f * c + i * a(x @ W_c + h @ U_c + b_c)
        h = o * a(c)

    (batch, time, features) -> (batch, units), or (batch, time, units) with ``return_sequences``. Weights: ``kernel``
    (features, 4 * units), ``recurrent_kernel`` (units, 4 * units), ``bias`` (4 * units,). A mask (batch, time) makes
    masked steps change nothing. ``call`` takes ``initial_state``, a list [h, c] of (batch, units). Masks, ``stateful``
    and its resets: see ``RNN``.

    Differs from Keras: as ``RNN`` does; and dropout draws one mask for all gates. ``use_cudnn=True`` is refused.

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
        return_state: Whether the last states h, c are returned too.
        go_backwards: Whether time runs from the last step to the first.
        stateful: Whether states go on from batch to batch.
        unroll: Whether the scan is unrolled: faster for few steps, and slower to compile.
        use_cudnn: "auto" or False: the recurrence is compiled by XLA, on every backend.
        zero_output_for_mask: Whether the output of a masked step is 0.

    >>> LSTM(4)(jnp.ones((2, 3, 5))).shape
    (2, 4)
    """

    units, unit_forget_bias = OfCell(), OfCell()

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
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: str | bool = "auto",
        zero_output_for_mask: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(LSTMCell, "lstm_cell", 3, locals())


@layer_registry.add
class GRU(CellLayer):
    """The gated recurrent unit (Cho et al., 2014).

    With gates z, r, h side by side in the kernels, s the recurrent activation and a the activation::

        z, r = s(x @ W_z + h @ U_z + b_z), s(x @ W_r + h @ U_r + b_r)
        n = a(x @ W_h + b_h + r * (h @ U_h + b'_h))      with reset_after
        n = a(x @ W_h + b_h + (r * h) @ U_h)             without
        h = z * h + (1 - z) * n

    (batch, time, features) -> (batch, units), or (batch, time, units) with ``return_sequences``. Weights: ``kernel``
    (features, 3 * units), ``recurrent_kernel`` (units, 3 * units), ``bias`` (2, 3 * units): one for the inputs and one
    for the state; (3 * units,) without ``reset_after``. Masks, states and their resets: see ``RNN``.

    Args:
        units: The size of the state.
        reset_after: Whether the reset gate acts after the matrix product.
        activation, recurrent_activation, use_bias, dropout, recurrent_dropout, seed, return_sequences, return_state,
            go_backwards, stateful, unroll, use_cudnn, zero_output_for_mask, kernel_initializer, ..., bias_constraint:
            As in ``LSTM``.
    """

    units, reset_after = OfCell(), OfCell()

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
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: str | bool = "auto",
        zero_output_for_mask: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(GRUCell, "gru_cell", 3, locals())
