"""A sequence run through any cell: by the cell's own loop, cell by cell through a stack, or step by step."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from verax.errors import ShapeError
from verax.frame.current import active_frame
from verax.frame.frame import Frame
from verax.frame.lift import is_built
from verax.frame.policy import is_float
from verax.frame.steps import scan_layers
from verax.layers.base import Layer, as_float
from verax.layers.cell import Cell
from verax.layers.stacked_cells import StackedRNNCells, initial_state, step_of

__all__ = ["Ran", "listed", "over_rows", "run_cell"]


class Ran(NamedTuple):
    """What a recurrence leaves behind.

    Attributes:
        last: The last output (batch, ...).
        outputs: All outputs (time, batch, ...); None where they were not asked for.
        states: The last states, in the structure of the first.
    """

    last: jax.Array
    outputs: jax.Array | None
    states: list[Any]


def run_cell(
    cell: Any, x: jax.Array, states: list[Any] | None, counts: jax.Array | None, *, sequences: bool, unroll: bool
) -> Ran:
    """Run ``cell`` over the steps of ``x``.

    Args:
        cell: Any cell.
        x: (time, batch, ...).
        states: The first states; those the cell begins with when None.
        counts: (time, batch), False where a step changes nothing; None where all count.
        sequences: Whether the outputs of all steps are wanted.
        unroll: Whether the loop is unrolled.
    """
    if isinstance(cell, Cell) and type(cell).call is Cell.call:
        with _inside(cell):
            x = _cast(as_float(cell, x), cell.compute_dtype)
            steps = max(x.shape[0], 1) if unroll else 1
            first = cell.first_states(x) if states is None else tuple(states)
            after, outputs = cell.over(x, first, counts, sequences=sequences, unroll=steps)
        return Ran(after[0], outputs, list(after))
    if type(cell).call is StackedRNNCells.call:
        return _stacked(cell, x, states, counts, sequences, unroll)
    return _stepwise(cell, x, states, counts, unroll)


def _stacked(
    stack: StackedRNNCells,
    x: jax.Array,
    states: list[Any] | None,
    counts: jax.Array | None,
    sequences: bool,
    unroll: bool,
) -> Ran:
    """Each cell over the whole sequence before the next: the same numbers as all cells step by step, in fast loops."""
    if states is not None and len(states) != len(stack.cells):
        raise ShapeError(
            f"{stack.name!r} was given its first states.",
            received=f"{len(states)} of them",
            because=f"it has {len(stack.cells)} cells, and each has a state or a list of them",
        )
    ran: Ran | None = None
    after: list[Any] = []
    for i, cell in enumerate(stack.cells):
        state = None if states is None else states[i]
        wanted = sequences or i < len(stack.cells) - 1
        ran = run_cell(cell, x, None if state is None else listed(state), counts, sequences=wanted, unroll=unroll)
        x = x if ran.outputs is None else ran.outputs
        alone = isinstance(cell.state_size, int) and not isinstance(state, (list, tuple, type(None)))
        after.append(ran.states[0] if alone else ran.states)
    return cast("Ran", ran)._replace(states=after)


def _stepwise(cell: Any, x: jax.Array, states: list[Any] | None, counts: jax.Array | None, unroll: bool) -> Ran:
    """A cell of a person's own, called once a step."""
    dtype = cell.compute_dtype if isinstance(cell, Layer) else x.dtype.name
    begins = listed(initial_state(cell, x.shape[1], dtype))
    given = begins if states is None else states
    _check_states(cell, given, begins)
    leaves, structure = jax.tree.flatten(given)
    first = [_cast(leaf, dtype) for leaf in leaves]
    step = step_of(cell)
    layers = [cell] if isinstance(cell, Layer) else []
    if not all(is_built(layer) for layer in layers):  # no layer is built inside of a scan
        step(x[0], jax.tree.unflatten(structure, first))

    def one(before: list[jax.Array], at: Any) -> tuple[list[jax.Array], jax.Array]:
        inputs, counting = at
        output, new = step(inputs, jax.tree.unflatten(structure, before))
        after = jax.tree.leaves(new)
        _check_states(cell, after, before)
        after = [a.astype(b.dtype) for a, b in zip(after, before, strict=True)]
        if counting is not None:
            after = [jnp.where(over_rows(counting, a), a, b) for a, b in zip(after, before, strict=True)]
        return after, output

    last, outputs = scan_layers(one, first, (x, counts), layers, unroll=max(x.shape[0], 1) if unroll else 1)
    if counts is not None:
        outputs = _held(outputs, counts, first[0])
    return Ran(outputs[-1], outputs, jax.tree.unflatten(structure, last))


def _held(outputs: jax.Array, counts: jax.Array, state: jax.Array) -> jax.Array:
    """At a step that does not count the output of the last one that did; before the first the state, if it is like one.

    Args:
        outputs: (time, batch, ...).
        counts: (time, batch).
        state: The first state.
    """
    numbers = jnp.arange(1, len(counts) + 1)[:, None]
    latest = jax.lax.cummax(jnp.where(counts, numbers, 0), axis=0)
    before = state if state.shape == outputs.shape[1:] else jnp.zeros(outputs.shape[1:], outputs.dtype)
    all_of_them = jnp.concatenate([before.astype(outputs.dtype)[None], outputs])
    return jnp.take_along_axis(all_of_them, latest.reshape(*latest.shape, *(1,) * (outputs.ndim - 2)), axis=0)


def _check_states(cell: Any, given: Any, wanted: Any) -> None:
    found, needed = ([tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(some)] for some in (given, wanted))
    if found != needed:
        raise ShapeError(
            f"The states of {getattr(cell, 'name', type(cell).__name__)!r} were made.",
            received=f"arrays of shapes {found}",
            because=f"they have the shapes {needed}",
            do="Let call return (output, states), and states have the sizes of state_size.",
        )


def listed(value: Any) -> list[Any]:
    """A list of states or sizes, also where there is one."""
    return list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else [value]


def over_rows(counts: jax.Array, like: jax.Array) -> jax.Array:
    """A mask of rows (and steps) with axes for all others of ``like``."""
    return counts.reshape(*counts.shape, *(1,) * (like.ndim - counts.ndim))


def _cast(x: Any, dtype: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(dtype) if is_float(x.dtype) else x


@contextmanager
def _inside(cell: Cell) -> Generator[None]:
    """As if ``cell`` was called: what it reads has its dtype, and messages name it."""
    stack = cast("Frame", active_frame()).stack
    stack.append((cell, None))
    try:
        yield
    finally:
        stack.pop()
