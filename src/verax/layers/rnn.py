"""The base of recurrent layers, one scan over time for all of them, and the simple recurrence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax import activations, constraints, initializers, regularizers
from verax.errors import InputError, ShapeError
from verax.frame.speed import fast_kernels
from verax.frame.variable import Variable
from verax.layers.base import InputSpec, Layer, LayerArguments, along_axis, as_float, check_rate, layer_registry
from verax.layers.regularization import dropout
from verax.ops.contraction import product
from verax.ops.recurrent import recur

__all__ = ["SimpleRNN", "kept"]


class _Recurrent(Layer):
    """What all recurrent layers share: the weights, the draws, the mask, the direction, and the scan.

    The projection of all inputs is one matrix product before the scan; the weights and the dropout masks are read
    before it too, so the scan's body is a function of arrays.
    """

    supports_masking = True
    gates: int
    n_states: int = 1

    def __init__(
        self,
        units: int,
        activation: Any,
        recurrent_activation: Any,
        use_bias: bool,
        initializer: tuple[Any, Any, Any],
        regularizer: tuple[Any, Any, Any],
        activity_regularizer: Any,
        constraint: tuple[Any, Any, Any],
        dropout: float,
        recurrent_dropout: float,
        seed: int | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        unroll: bool,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            received = f"units={units!r}"
            raise InputError(
                f"{type(self).__name__} was made.", received=received, because="units is a positive integer"
            )
        self.units = units
        self.activation: Callable[..., Any] = activations.get(activation) or activations.linear
        self.recurrent_activation: Callable[..., Any] = activations.get(recurrent_activation) or activations.linear
        self.use_bias = use_bias
        self.kernel_initializer, self.recurrent_initializer = map(initializers.get, initializer[:2])
        self.bias_initializer: Callable[..., jax.Array] = initializers.get(initializer[2]) or initializers.Zeros()
        self.kernel_regularizer, self.recurrent_regularizer, self.bias_regularizer = map(regularizers.get, regularizer)
        self.kernel_constraint, self.recurrent_constraint, self.bias_constraint = map(constraints.get, constraint)
        self.dropout = check_rate(dropout, "dropout")
        self.recurrent_dropout = check_rate(recurrent_dropout, "recurrent_dropout")
        self.seed = seed
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.unroll = unroll
        self.input_spec = InputSpec(ndim=3)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel, recurrent kernel and bias."""
        if len(input_shape) != 3:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"an input of shape {input_shape}",
                because=f"it needs 3 axes (batch, time, features), and this has {len(input_shape)}",
                do="Add the missing axis: x[..., None] for one feature, or x[None] for a batch of one.",
            )
        features, width = input_shape[-1], self.gates * self.units
        self.kernel = self.add_weight(
            (features, width),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, width),
            self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
            name="recurrent_kernel",
        )
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self.add_weight(
                self.bias_shape(),
                self.first_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        self.input_spec = InputSpec(ndim=3, axes={2: features})

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of the bias."""
        return (self.gates * self.units,)

    def first_bias(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The bias's first value."""
        return self.bias_initializer(shape, dtype)

    def biases(self) -> tuple[jax.Array | None, jax.Array | None]:
        """What is added to the projected inputs, and to the projected state."""
        return None if self.bias is None else self.bias.value, None

    def step(
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        keep: jax.Array | None,
    ) -> tuple[jax.Array, ...]:
        """The next states, the first of which is the output.

        Args:
            projected: The step's inputs times the kernel, plus bias: (batch, gates * units).
            states: Each (batch, units).
            kernel: The recurrent kernel (units, gates * units).
            bias: The recurrent bias, where there is one.
            keep: The factors (batch, units) of the first state where the gates see it; None without dropout.
        """
        raise NotImplementedError

    def fast(
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        counts: jax.Array | None,
    ) -> tuple[tuple[jax.Array, ...], jax.Array | None] | None:
        """The whole recurrence by a kernel of its own, as ``recur`` returns it; None where there is none.

        Args:
            projected: (time, batch, gates * units).
            states, kernel, bias: As in ``step``.
            counts: (time, batch), False where a step changes nothing.
        """
        return None

    def call(
        self, sequences: jax.Array, initial_state: Sequence[jax.Array] | jax.Array | None = None, mask: Any = None
    ) -> Any:
        """Run over ``sequences`` (batch, time, features), from ``initial_state`` (zeros when None).

        Masked steps change nothing: the states, and the output, stay those of the step before.

        Returns:
            The last output (batch, units), or all outputs (batch, time, units) with ``return_sequences``; with
            ``return_state`` a list of that and the last states. With ``go_backwards`` time is read, and outputs are
            ordered, from the last step to the first.
        """
        x = as_float(self, sequences)
        states = self._first_states(x, initial_state)
        input_keep, state_keep = self._dropped(x, states[0])
        bias, recurrent_bias = self.biases()
        # Time first, before the inputs become several times as wide.
        x = jnp.swapaxes(x if input_keep is None else x * input_keep[:, None], 0, 1)
        counts = None if mask is None else jnp.swapaxes(mask.astype(bool), 0, 1)
        if self.go_backwards:
            x, counts = jnp.flip(x, 0), None if counts is None else jnp.flip(counts, 0)
        projected = product(x, self.kernel.value)
        if bias is not None:
            projected = projected + along_axis(bias, 3, -1)
        kernel = self.recurrent_kernel.value
        fast = fast_kernels() and state_keep is None and not self.unroll
        found = self.fast(projected, states, kernel, recurrent_bias, counts) if fast else None
        if found is None:
            found = recur(
                lambda inputs, states: self.step(inputs, states, kernel, recurrent_bias, state_keep),
                projected,
                states,
                counts,
                sequences=self.return_sequences,
                unroll=max(x.shape[0], 1) if self.unroll else 1,
            )
        states, outputs = found
        output = states[0] if outputs is None else jnp.swapaxes(outputs, 0, 1)
        return [output, *states] if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask, in the order of the outputs, where they are a sequence; None for states."""
        if isinstance(mask, list):
            mask = mask[0]
        if mask is None or not self.return_sequences:
            return None
        if self.go_backwards:
            mask = jnp.flip(mask, 1)
        return [mask, *([None] * self.n_states)] if self.return_state else mask

    def _first_states(self, x: jax.Array, given: Any) -> tuple[jax.Array, ...]:
        shape = (x.shape[0], self.units)
        if given is None:
            return tuple(jnp.zeros(shape, x.dtype) for _ in range(self.n_states))
        states = tuple(given) if isinstance(given, (list, tuple)) else (given,)
        if len(states) != self.n_states or any(tuple(s.shape) != shape for s in states):
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called with initial_state.",
                received=f"arrays of shapes {[tuple(s.shape) for s in states]}",
                because=f"it needs {self.n_states} of shape {shape}",
                do="Pass what the layer returns with return_state=True, without the output.",
            )
        return tuple(s.astype(x.dtype) for s in states)

    def _dropped(self, x: jax.Array, state: jax.Array) -> tuple[jax.Array | None, jax.Array | None]:
        """The factors of inputs (batch, features) and state (batch, units): one mask for all steps (Gal, 2016)."""

        def draw(rate: float, like: jax.Array) -> jax.Array | None:
            if rate == 0.0:
                return None
            ones = jnp.ones_like(like)

            def train() -> jax.Array:
                key = self.draw_key()
                return dropout(
                    ones, rate, key if self.seed is None else jax.random.fold_in(key, self.seed & 0x7FFFFFFF)
                )

            return self.by_mode("dropout", train=train, infer=lambda: ones)

        return draw(self.dropout, x[:, 0]), draw(self.recurrent_dropout, state)


def kept(state: jax.Array, keep: jax.Array | None) -> jax.Array:
    return state if keep is None else state * keep


@layer_registry.add
class SimpleRNN(_Recurrent):
    """``h = activation(x @ kernel + h @ recurrent_kernel + bias)``, step after step.

    (batch, time, features) -> (batch, units), or (batch, time, units) with ``return_sequences``. Weights: ``kernel``
    (features, units), ``recurrent_kernel`` (units, units), ``bias`` (units,).

    Args:
        units: The size of the state.
        activation, use_bias, dropout, recurrent_dropout, return_sequences, return_state, go_backwards, unroll, seed,
            kernel_initializer, ..., bias_constraint: As in ``LSTM``.
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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(
            units,
            activation,
            None,
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

    def step(
        self,
        projected: jax.Array,
        states: tuple[jax.Array, ...],
        kernel: jax.Array,
        bias: jax.Array | None,
        keep: jax.Array | None,
    ) -> tuple[jax.Array, ...]:
        """The next h."""
        return (self.activation(projected + jnp.matmul(kept(states[0], keep), kernel)),)
