"""Recurrent layers: ``RNN`` over any cell, and the base of those that are named for theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp

from verax.errors import FrozenError, InputError, ShapeError
from verax.frame.current import active_frame
from verax.frame.frame import Frame
from verax.frame.policy import is_float
from verax.frame.variable import Variable
from verax.layers.base import InputSpec, Layer, layer_registry
from verax.layers.cell import Cell
from verax.layers.recurrence import listed, over_rows, run_cell
from verax.layers.stacked_cells import StackedRNNCells, as_cell, initial_state
from verax.layers.wrapper import WrapperArguments, build_inside, deserialized

__all__ = ["RNN", "CellLayer", "OfCell"]


@layer_registry.add
class RNN(Layer):
    """Runs a cell over a sequence: ``y[t], states = cell(x[t], states)``, step after step.

    (batch, time, ...) -> (batch, ...), the last output, or (batch, time, ...), all of them, with ``return_sequences``.
    With ``return_state`` a tuple of that and the last states.

    A cell is a layer, or any object, with ``call(inputs, states)``, which returns the output and the next states, and
    ``state_size``: a size, or a list with one for each state, lists in it for nested ones. It may have ``output_size``
    and ``get_initial_state(batch_size)``; without the latter a sequence begins with zeros.

    A mask (batch, time) makes masked steps change nothing: the states, and the output, stay those of the step before.

    With ``stateful`` the last states of a batch's rows are the first of the next batch's, which has as many rows. They
    are variables that are not trained, and no weights (``get_weights`` leaves them out). Training keeps them, and so
    does ``predict``. A pass that measures (``evaluate``, validation in ``fit``, a gap) begins with them, hands them on
    from batch to batch, and then leaves them as they were. ``reset_state()`` begins anew.

    Differs from Keras: with ``go_backwards`` the mask of the outputs is turned round as they are; a masked step gives
    the output of the step before also where that is not the first state, and with ``unroll``; ``zero_output_for_mask``
    works with ``unroll`` too; states of ``stateful`` layers go from batch to batch in ``fit``, ``evaluate`` and
    ``predict`` (on JAX, Keras carries them between direct calls only), and are reset to what the cell begins with.

    Args:
        cell: The cell, or a list of them, which are stacked.
        return_sequences: Whether all outputs are returned, not only the last.
        return_state: Whether the last states are returned too.
        go_backwards: Whether time runs from the last step to the first; outputs are in that order.
        stateful: Whether states go on from batch to batch. The number of rows is then fixed:
            ``Input(batch_shape=(rows, time, ...))``, or a first call on a whole batch.
        unroll: Whether the loop is unrolled: faster for few steps, and slower to compile.
        zero_output_for_mask: Whether the output of a masked step is 0.

    Raises:
        InputError: Not a cell.
        ShapeError: A first state that does not fit; an unknown or another number of rows with ``stateful``.

    >>> class Sum(verax.Layer):
    ...     state_size = 3
    ...
    ...     def call(self, inputs, states):
    ...         return inputs + states[0], [inputs + states[0]]
    >>> RNN(Sum())(jnp.ones((1, 5, 3)))
    Array([[5., 5., 5.]], dtype=float32)
    """

    supports_masking = True
    input_spec = InputSpec(min_ndim=3)
    states: list[Any] | None = None

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Unpack[WrapperArguments],
    ):
        super().__init__(**kwargs)
        self.cell: Any = as_cell(cell)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask

    @property
    def state_size(self) -> list[Any]:
        """The size of each state."""
        return listed(self.cell.state_size)

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """What a sequence begins with, for so many rows: a list of states."""
        return listed(initial_state(self.cell, batch_size, self.compute_dtype))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the cell; with ``stateful`` make the states."""
        spec = self.input_spec or InputSpec()
        axes = len(input_shape)
        if axes != (spec.ndim or max(axes, 3)):
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"an input of shape {input_shape}",
                because=f"it needs {spec.ndim or 'at least 3'} axes (batch, time, features), and this has {axes}",
                do="Add the missing axis: x[..., None] for one feature, or x[None] for a batch of one.",
            )
        rows, _, *inside = input_shape
        build_inside(self.cell, (rows, *inside))
        if self.stateful:
            self._make_states(rows)
        cell = self.cell
        while isinstance(cell, StackedRNNCells):
            cell = cell.cells[0]
        if isinstance(cell, Cell):
            axis = 1 + cell.features_axis % len((rows, *inside))
            self.input_spec = InputSpec(ndim=spec.ndim, min_ndim=3, axes={axis: input_shape[axis]})

    def call(self, sequences: jax.Array, initial_state: Any = None, mask: Any = None) -> Any:
        """Run over ``sequences`` (batch, time, ...), from ``initial_state``, a list of states (or the only one).

        Returns:
            The last output, or all of them with ``return_sequences``; with ``return_state`` a tuple of that and the
            last states. With ``go_backwards`` time is read, and outputs are ordered, from the last step to the first.
        """
        kept = self._kept(sequences.shape[0])
        first = self._first_states(sequences.shape[0], initial_state, kept)
        # Time first, before the inputs become several times as wide.
        x = jnp.swapaxes(sequences, 0, 1)
        counts = None if mask is None else jnp.swapaxes(mask.astype(bool), 0, 1)
        if self.go_backwards:
            x, counts = jnp.flip(x, 0), None if counts is None else jnp.flip(counts, 0)
        last, outputs, states = run_cell(
            self.cell, x, first, counts, sequences=self.return_sequences, unroll=self.unroll
        )
        for variable, value in zip(kept, jax.tree.leaves(states), strict=bool(kept)):
            variable.assign(value)
        output = last
        if self.return_sequences:
            output, counts = jnp.swapaxes(cast("jax.Array", outputs), 0, 1), counts if counts is None else counts.T
        elif counts is not None:
            counts = counts[-1]
        if self.zero_output_for_mask and counts is not None:
            output = jnp.where(over_rows(counts, output), output, jnp.zeros_like(output))
        return jax.tree.map(self._in_dtype, (output, *states) if self.return_state else output)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask, in the order of the outputs, where they are a sequence; None for states."""
        if isinstance(mask, list):
            mask = mask[0]
        if mask is None or not self.return_sequences:
            mask = None
        elif self.go_backwards:
            mask = jnp.flip(mask, 1)
        return [mask, *([None] * len(self.state_size))] if self.return_state else mask

    def reset_state(self) -> None:
        """Let the next batch begin with what the cell begins with."""
        kept = _variables(self.states)
        if kept:
            first = jax.tree.leaves(self.get_initial_state(kept[0].shape[0]))
            for variable, value in zip(kept, first, strict=True):
                variable.assign(value)

    reset_states = reset_state

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Callable[..., Any]] | None = None
    ) -> Any:
        """A new layer over a new cell, from a configuration of ours or of Keras."""
        inside = {"cell": deserialized(config["cell"], custom_objects)} if "cell" in config else {}
        return super().from_config({**config, **inside})

    def _make_states(self, rows: int | None) -> None:
        if rows is None:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was made with stateful=True.",
                received="an input with an unknown number of rows",
                because="it keeps a state for each row of a batch, from batch to batch",
                do="Give Input(batch_shape=(rows, time, ...)), or call the model once on a whole batch.",
            )

        def variable(first: jax.Array) -> Variable:
            made = self.add_weight(first.shape, lambda *_: first, trainable=False, name="rnn_state")
            made.carried = True
            return made

        self.states = jax.tree.map(variable, self.get_initial_state(rows))

    def _kept(self, rows: int) -> list[Variable]:
        """The states that this call reads and sets; none while shapes are found for an unknown number of rows."""
        kept = _variables(self.states)
        if not kept or rows in cast("Frame", active_frame()).unknown:
            return []
        if kept[0].shape[0] != rows:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} is stateful.",
                received=f"a batch of {rows} rows",
                because=f"it keeps the states of {kept[0].shape[0]} rows, which go on from batch to batch",
                do="Give batches of one size that divides the rows: batch_size=....",
            )
        return kept

    def _first_states(self, rows: int, given: Any, kept: list[Variable]) -> list[Any] | None:
        """What the sequence begins with; None for what the cell does."""
        if given is not None:
            return listed(given)
        if kept:
            return jax.tree.map(lambda v: v.value, self.states, is_leaf=_is_variable)
        return self.get_initial_state(rows) if type(self).get_initial_state is not RNN.get_initial_state else None

    def _in_dtype(self, x: jax.Array) -> jax.Array:
        return x.astype(self.compute_dtype) if is_float(x.dtype) else x


def _is_variable(value: Any) -> bool:
    return isinstance(value, Variable)


def _variables(states: Any) -> list[Variable]:
    return jax.tree.leaves(states, is_leaf=_is_variable)


class OfCell:
    """An attribute of a recurrent layer that is its cell's."""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type[Any] | None = None) -> Any:
        return self if layer is None else getattr(layer.cell, self.name)

    def __set__(self, layer: Any, value: Any) -> None:
        raise FrozenError(
            f"{layer.name}.{self.name} was to be changed.",
            received=repr(value),
            because="it belongs to the layer's cell, which was made with it",
            do="Make a new layer with the new value.",
        )


#: What a constructor of ``RNN`` takes; the other arguments of a layer named for its cell are the cell's.
_OWN = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")


class CellLayer(RNN):
    """The base of layers named for their cell, which take its arguments and their own.

    Args:
        make: The cell's class.
        cell_name: The cell's name, by which its weights are found.
        ndim: The rank of the input.
        given: The subclass's arguments by name, ``locals()`` of its constructor.
    """

    (use_bias, activation, recurrent_activation, dropout, recurrent_dropout, seed) = (OfCell() for _ in range(6))
    (kernel_initializer, recurrent_initializer, bias_initializer) = (OfCell() for _ in range(3))
    (kernel_regularizer, recurrent_regularizer, bias_regularizer) = (OfCell() for _ in range(3))
    (kernel_constraint, recurrent_constraint, bias_constraint) = (OfCell() for _ in range(3))

    def __init__(self, make: Callable[..., Cell], cell_name: str, ndim: int, given: Mapping[str, Any]):
        if given.get("use_cudnn", "auto") not in ("auto", False):
            raise InputError(
                f"{type(self).__name__} was made.",
                received=f"use_cudnn={given['use_cudnn']!r}",
                because="cuDNN is not used here: the recurrence is compiled by XLA, on every backend",
                do='Leave use_cudnn="auto".',
            )
        apart = {"self", "__class__", "kwargs", "use_cudnn", "activity_regularizer", *_OWN}
        arguments = {key: value for key, value in given.items() if key not in apart}
        shared = {key: given["kwargs"][key] for key in ("dtype", "trainable") if key in given["kwargs"]}
        super().__init__(
            make(**arguments, **shared, name=cell_name),
            **{key: given[key] for key in _OWN},
            activity_regularizer=given["activity_regularizer"],
            **given["kwargs"],
        )
        self.input_spec = InputSpec(ndim=ndim)
