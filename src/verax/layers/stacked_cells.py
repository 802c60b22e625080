"""Any cell of a recurrence: what it has to have, and cells on top of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack, cast

from verax.errors import InputError
from verax.layers.base import Layer, LayerArguments, layer_registry
from verax.layers.cell import zeros_of
from verax.layers.wrapper import build_inside, deserialized

__all__ = ["StackedRNNCells", "as_cell", "initial_state", "step_of"]


@layer_registry.add
class StackedRNNCells(Layer):
    """Cells on top of each other, as one cell: the output of each is the input of the next.

    Called on (batch, ...) and a list with the states of each cell; returns the last cell's output and the next states
    in the same form.

    Differs from Keras: the states of a single cell are a list of one, as those of several are a list of several (Keras
    unpacks it, and then cannot run the cell in an ``RNN``).

    Args:
        cells: The cells: see ``RNN``.

    Raises:
        InputError: A cell without ``call`` or ``state_size``.

    >>> cells = StackedRNNCells([verax.layers.LSTMCell(4), verax.layers.GRUCell(2)])
    >>> cells.state_size, cells.output_size
    ([[4, 4], 2], 2)
    >>> y, [[h, c], [z]] = cells(jnp.ones((2, 3)), cells.get_initial_state(2))
    >>> y.shape, c.shape, z.shape
    ((2, 2), (2, 4), (2, 2))
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.cells = [as_cell(cell) for cell in cells]

    @property
    def state_size(self) -> list[Any]:
        """The state size of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The size of the last cell's output."""
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """What each cell begins with."""
        return [initial_state(cell, batch_size, self.compute_dtype) for cell in self.cells]

    def build(self, input_shape: Any) -> None:
        """Build the cells, each for the output of the one before."""
        for cell in self.cells:
            build_inside(cell, input_shape)
            input_shape = (input_shape[0], output_size(cell))

    def call(self, inputs: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        """One step of every cell."""
        after: list[Any] = []
        for cell, state in zip(self.cells, states, strict=True):
            several = isinstance(state, (list, tuple))
            inputs, new = step_of(cell)(inputs, list(cast("Sequence[Any]", state)) if several else [state])
            alone = isinstance(new, (list, tuple)) and len(cast("Sequence[Any]", new)) == 1 and not several
            after.append(new[0] if alone else new)
        return inputs, after

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Callable[..., Any]] | None = None
    ) -> Any:
        """New cells on top of each other, from a configuration of ours or of Keras."""
        return super().from_config({**config, "cells": deserialized(config["cells"], custom_objects)})


def as_cell(value: Any) -> Any:
    """``value`` as a cell: anything with ``call`` and ``state_size``, a list of cells, or a cell's configuration.

    Raises:
        InputError: Anything else.
    """
    if isinstance(value, Mapping):
        value = layer_registry.deserialize(cast("Mapping[str, Any]", value))
    if isinstance(value, (list, tuple)):
        return StackedRNNCells(cast("list[Any]", value))
    missing = [name for name in ("call", "state_size") if name not in dir(value)]
    if missing:
        raise InputError(
            "A recurrence over a cell was made.",
            received=f"{value!r} of type {type(value).__name__}",
            because=f"a cell has call(inputs, states) and state_size, and this has no {' and no '.join(missing)}",
            do="Pass a cell (LSTMCell, or a layer of your own with both), or a list of cells.",
        )
    return value


def step_of(cell: Any) -> Callable[..., Any]:
    """What runs one step of any cell."""
    return cell if callable(cell) else cell.call


def initial_state(cell: Any, batch_size: int, dtype: str) -> Any:
    """What any cell begins with: what it says, else zeros of its state's sizes."""
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(batch_size=batch_size)
    return zeros_of(cell.state_size, batch_size, dtype)


def output_size(cell: Any) -> Any:
    """The size of a cell's output: what it says, else the first size of its state."""
    size = getattr(cell, "output_size", None)
    if size is None:
        size = cell.state_size
    return size[0] if isinstance(size, (list, tuple)) else size
