"""What one step of a recurrence is, and how a whole sequence is run through it: the base of the cells of Verax."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp

from verax import activations, constraints, initializers, regularizers
from verax.errors import InputError, ShapeError
from verax.frame.speed import fast_kernels
from verax.frame.variable import Variable
from verax.layers.base import Layer, along_axis, as_float, check_rate
from verax.layers.regularization import dropout
from verax.ops.contraction import product
from verax.ops.recurrent import Weights, recur
from verax.ops.stretching import stretch, widened

__all__ = ["Cell", "ForgetBias", "States", "seen", "zeros_of"]

States = tuple[jax.Array, ...]
_WEIGHTS = ("kernel", "recurrent", "bias")


class Cell(Layer):
    """What the cells of Verax share: the weights, the draws, and how a whole sequence is run through them.

    What does not depend on the state, the inputs times their kernel, is computed for all steps before the loop; weights
    and dropout masks are read before it too, so the loop's body is a function of arrays.

    Args:
        given: The subclass's arguments by name, ``locals()`` of its constructor.
    """

    gates: ClassVar[int]
    n_states: ClassVar[int] = 1

    units: int
    activation: Callable[..., Any]
    recurrent_activation: Callable[..., Any]
    use_bias: bool
    kernel_initializer: Any
    recurrent_initializer: Any
    bias_initializer: Callable[..., jax.Array]
    dropout: float
    recurrent_dropout: float
    seed: int | None
    kernel: Variable
    recurrent_kernel: Variable
    bias: Variable | None

    def __init__(self, given: Mapping[str, Any]):
        super().__init__(**given["kwargs"])
        size = "units" if "units" in given else "filters"
        self.units = given[size]
        if isinstance(self.units, bool) or not isinstance(self.units, int) or self.units < 1:
            received = f"{size}={self.units!r}"
            raise InputError(
                f"{type(self).__name__} was made.", received=received, because=f"{size} is a positive integer"
            )
        self.activation = activations.get(given["activation"]) or activations.linear
        self.recurrent_activation = activations.get(given.get("recurrent_activation")) or activations.linear
        self.use_bias = given["use_bias"]
        rooms = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
        for part, room in rooms.items():
            for weight in _WEIGHTS:
                setattr(self, f"{weight}_{part}", room.get(given[f"{weight}_{part}"]))
        self.bias_initializer = self.bias_initializer or initializers.Zeros()
        self.dropout = check_rate(given["dropout"], "dropout")
        self.recurrent_dropout = check_rate(given["recurrent_dropout"], "recurrent_dropout")
        self.seed = given["seed"]

    # ---- what Keras' recurrent layers ask of any cell --------------------------------------------------------------

    @property
    def state_size(self) -> Any:
        """The size of the state, a list of sizes where there are several."""
        return self.units if self.n_states == 1 else [self.units] * self.n_states

    @property
    def output_size(self) -> int:
        """The size of the output."""
        return self.units

    def get_initial_state(self, batch_size: int) -> list[jax.Array]:
        """Zeros for so many rows: a list of (batch, units)."""
        return zeros_of([self.units] * self.n_states, batch_size, self.compute_dtype)

    def build(self, input_shape: Any) -> None:
        """Make kernel, recurrent kernel and bias."""
        self.make((input_shape[-1],), (self.units,))

    def call(self, inputs: jax.Array, states: Any) -> tuple[jax.Array, Any]:
        """One step.

        Args:
            inputs: (batch, ...), the step's inputs.
            states: The state, or a list of them, each (batch, ...).

        Returns:
            The output, which is the first of the next states, and these, as a list where ``states`` was one.
        """
        x = as_float(self, inputs)
        several = isinstance(states, (list, tuple))
        before = cast("States", tuple(states) if several else (states,))
        last, _ = self.over(x[None], before, None, sequences=False, unroll=1)
        return last[0], list(last) if several else last[0]

    # ---- what a cell of Verax says -----------------------------------------------------------------------------------

    def make(self, inside: tuple[int | None, ...], seen: tuple[int, ...]) -> None:
        """Make the weights: ``inside`` and ``seen`` are the kernels' shapes without the last axis, the gates."""
        width = self.gates * self.units
        shapes = {"kernel": (*inside, width), "recurrent_kernel": (*seen, width), "bias": self.bias_shape()}
        first = {"kernel": self.kernel_initializer, "recurrent_kernel": self.recurrent_initializer}
        self.bias = None
        for name, shape in shapes.items():
            if name == "bias" and not self.use_bias:
                continue
            part = name.removesuffix("_kernel")
            made = self.add_weight(
                shape,
                first.get(name, self.first_bias),
                regularizer=getattr(self, f"{part}_regularizer"),
                constraint=getattr(self, f"{part}_constraint"),
                name=name,
            )
            setattr(self, name, made)

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of the bias."""
        return (self.gates * self.units,)

    def first_bias(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The bias's first value."""
        return self.bias_initializer(shape, dtype)

    def biases(self) -> tuple[jax.Array | None, jax.Array | None]:
        """What is added to the projected inputs, and to the projected state."""
        return None if self.bias is None else self.bias.value, None

    def project(self, x: jax.Array, bias: jax.Array | None) -> jax.Array:
        """All steps' inputs (time, batch, features) times their kernel, plus bias: (time, batch, gates * units)."""
        projected = product(x, self.kernel.value)
        return projected if bias is None else projected + stretch(along_axis(bias, projected.ndim, -1), projected)

    def step(
        self, projected: jax.Array, states: States, kernel: jax.Array, bias: jax.Array | None, keep: jax.Array | None
    ) -> States:
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
        self, x: jax.Array, weights: Weights, states: States, counts: jax.Array | None, *, sequences: bool
    ) -> tuple[States, jax.Array | None] | None:
        """The whole recurrence by a kernel of its own, as ``recur`` returns it; None where there is none.

        Args:
            x: (time, batch, features).
            weights: The kernels and biases.
            states, counts, sequences: As in ``over``.
        """
        return None

    def state_shape(self, x: jax.Array) -> tuple[int, ...]:
        """The shape of each state for all steps' inputs ``x``."""
        return (x.shape[1], self.units)

    def first_states(self, x: jax.Array) -> States:
        """What the sequence ``x`` begins with."""
        return tuple(self.get_initial_state(x.shape[1]))

    @property
    def features_axis(self) -> int:
        """Where the features stand in the inputs of a step."""
        return -1

    # ---- a whole sequence --------------------------------------------------------------------------------------------

    def over(
        self, x: jax.Array, states: States, counts: jax.Array | None, *, sequences: bool, unroll: int
    ) -> tuple[States, jax.Array | None]:
        """All steps.

        Args:
            x: (time, batch, ...).
            states: The first states.
            counts: (time, batch), False where a step changes nothing; None where all count.
            sequences: Whether the outputs of all steps are returned.
            unroll: How many steps stand in the body of the loop.

        Returns:
            The last states, and the outputs (time, batch, ...) or None.
        """
        shape = self.state_shape(x)
        if len(states) != self.n_states or any(tuple(s.shape) != shape for s in states):
            raise ShapeError(
                f"{type(self).__name__} {self.path!r} was given its first state.",
                received=f"arrays of shapes {[tuple(s.shape) for s in states]}",
                because=f"it needs {self.n_states} of shape {shape}",
                do="Pass what the layer returns with return_state=True, without the output.",
            )
        states = tuple(s.astype(x.dtype) for s in states)
        input_keep, state_keep = self._kept(self.dropout, x[0]), self._kept(self.recurrent_dropout, states[0])
        bias, recurrent_bias = self.biases()
        x = x if input_keep is None else x * input_keep[None]
        kernel = self.recurrent_kernel.value
        if fast_kernels() and state_keep is None and unroll == 1:
            weights = Weights(self.kernel.value, kernel, bias, recurrent_bias)
            found = self.fast(x, weights, states, counts, sequences=sequences)
            if found is not None:
                return found
        projected = self.project(x, bias)
        wide = None if recurrent_bias is None else widened(recurrent_bias)
        wide_kernel = widened(kernel)  # gradients are summed over the steps in the dtype that enters the loop

        def step(inputs: jax.Array, states: States) -> States:
            inner = None if wide is None else wide.astype(kernel.dtype)
            return self.step(inputs, states, wide_kernel.astype(kernel.dtype), inner, state_keep)

        return recur(
            step,
            projected,
            states,
            counts,
            sequences=sequences,
            unroll=unroll,
        )

    def _kept(self, rate: float, like: jax.Array) -> jax.Array | None:
        """The factors of inputs or state, one mask for all steps (Gal, 2016); None without dropout."""
        if rate == 0.0:
            return None
        ones = jnp.ones_like(like)

        return self.by_mode("dropout", train=lambda: dropout(ones, rate, self.draw_key(self.seed)), infer=lambda: ones)


def seen(state: jax.Array, keep: jax.Array | None) -> jax.Array:
    """The state as the gates see it."""
    return state if keep is None else state * keep


class ForgetBias(Cell):
    """A cell with gates i, f, c, o whose forget gate may begin open.

    Args:
        given: As in ``Cell``, with ``unit_forget_bias``.
    """

    gates = 4
    n_states = 2

    def __init__(self, given: Mapping[str, Any]):
        super().__init__(given)
        self.unit_forget_bias: bool = given["unit_forget_bias"]

    def first_bias(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The bias's first value: 1 for the forget gate, unless ``unit_forget_bias`` is off."""
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype)
        n = self.units
        return jnp.concatenate(
            [self.bias_initializer((n,), dtype), jnp.ones(n, dtype), self.bias_initializer((2 * n,), dtype)]
        )

    def gated(self, gates: Sequence[jax.Array], c: jax.Array) -> States:
        """The next h and c, from the gates before their activations."""
        i, f, g, o = gates
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        return self.recurrent_activation(o) * self.activation(c), c


def zeros_of(size: Any, batch_size: int, dtype: str) -> Any:
    """Zeros (batch, size) for each size of a nested list."""
    if isinstance(size, (list, tuple)):
        return [zeros_of(one, batch_size, dtype) for one in cast("list[Any]", size)]
    return jnp.zeros((batch_size, size), dtype)
