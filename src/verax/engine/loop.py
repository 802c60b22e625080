"""Many steps in one compiled program: the same one for an epoch, a chunk or a single step."""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from verax.engine.compiler import Programs
from verax.frame.placement import spread

__all__ = ["Left", "Pace", "Runs", "make_loop", "run_chunk", "run_eagerly"]

#: The most steps one run of the loop can take; its tally buffers and index table have this length.
CAPACITY = 1024

#: A step's arrays of at most so many numbers stand side by side in one row, each step a row.
_SMALL = 1024

Step = Callable[[Any, Any, jax.Array], tuple[Any, Any]]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["begins"], meta_fields=["size"])
@dataclass(frozen=True)
class Runs:
    """Batches whose rows stand side by side in the data: a slice takes a quarter of a gather's time.

    Attributes:
        begins: int32 (steps,), the first row of each.
        size: Their rows.
    """

    begins: Any
    size: int


@functools.partial(jax.tree_util.register_dataclass, data_fields=["rows", "large"], meta_fields=["form"])
@dataclass(frozen=True)
class Left:
    """What each step left behind.

    A program of many small outputs spends its time on handing them over: sums of float32 are packed into one.

    Attributes:
        rows: float32 (capacity, numbers), the small arrays.
        large: The others, each (capacity, *shape).
        form: Their structure, and of each the shape if it is small, else None.
    """

    rows: jax.Array
    large: tuple[jax.Array, ...]
    form: tuple[Any, tuple[tuple[int, ...] | None, ...]]

    @classmethod
    def empty(cls, like: Any, capacity: int) -> Left:
        """Room for ``capacity`` steps that leave arrays of these shapes."""
        leaves, structure = jax.tree.flatten(like)
        shapes = tuple(a.shape if a.dtype == jnp.float32 and a.size <= _SMALL else None for a in leaves)
        large = [jnp.zeros((capacity, *a.shape), a.dtype) for a, s in zip(leaves, shapes, strict=True) if s is None]
        width = sum(math.prod(shape) for shape in shapes if shape is not None)
        return cls(jnp.zeros((capacity, width), jnp.float32), tuple(large), (structure, shapes))

    def put(self, step: jax.Array, arrays: Any) -> Left:
        """With what a step leaves."""
        both = list(zip(jax.tree.leaves(arrays), self.form[1], strict=True))
        row = [jnp.ravel(a) for a, shape in both if shape is not None]
        rows = lax.dynamic_update_index_in_dim(self.rows, jnp.concatenate(row), step, 0) if row else self.rows
        rest = [a for a, shape in both if shape is None]
        large = [lax.dynamic_update_index_in_dim(b, a, step, 0) for b, a in zip(self.large, rest, strict=True)]
        return Left(rows, tuple(large), self.form)

    def fetch(self, steps: int) -> Any:
        """What the first ``steps`` steps left, as NumPy arrays with a leading step axis."""
        structure, shapes = self.form
        rows, large = np.asarray(self.rows)[:steps], iter(self.large)
        found: list[np.ndarray[Any, Any]] = []
        at = 0
        for shape in shapes:
            if shape is None:
                found.append(np.asarray(next(large))[:steps])
                continue
            size = math.prod(shape)
            found.append(rows[:, at : at + size].reshape(steps, *shape))
            at += size
        return jax.tree.unflatten(structure, found)


def make_loop(step: Step, *, donate: bool = False) -> Programs:
    """Make ``step(carry, batch, key) -> (carry, tallies)`` a compiled loop over batches.

    The loop's trip count is an argument, so one program serves every chunk size, and the parameters are the same bit
    for bit however an epoch is cut. A step takes its rows by index, or where they stand side by side (``Runs``), and
    draws from ``fold_in(key, step number)``.

    Args:
        step: What is repeated.
        donate: Whether the carry's memory is used for the next one; see ``Programs``.
    """

    once = jax.jit(step, inline=True)  # traced for what it leaves behind, it is not traced again for the loop

    def loop(
        carry: Any, data: Any, index: jax.Array | Runs, count: jax.Array, key: jax.Array, numbers: jax.Array
    ) -> tuple[Any, Left]:
        def batch_at(i: Any) -> Any:
            if isinstance(index, Runs):
                begin = lax.dynamic_index_in_dim(index.begins, i, keepdims=False)
                sliced = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, begin, index.size), data)
                # Made once, as a gathered batch is: XLA might slice again wherever a step reads it.
                return spread(lax.optimization_barrier(sliced))
            rows = lax.dynamic_index_in_dim(index, i, keepdims=False)
            return spread(jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data))

        def body(i: jax.Array, both: tuple[Any, Left]) -> tuple[Any, Left]:
            carry, left = both
            number = lax.dynamic_index_in_dim(numbers, i, keepdims=False)
            carry, tallies = once(carry, batch_at(i), jax.random.fold_in(key, number))
            return carry, left.put(i, tallies)

        _, like = jax.eval_shape(lambda: once(carry, batch_at(0), key))
        return lax.fori_loop(0, count, body, (carry, Left.empty(like, numbers.shape[0])))

    return Programs(loop, donate=donate)


def run_chunk(
    loop: Programs,
    carry: Any,
    data: Any,
    index: np.ndarray[Any, Any],
    *,
    key: Any,
    first: Any,
    capacity: int,
    begins: np.ndarray[Any, Any] | None = None,
    keep: Callable[[Any], None] | None = None,
    pace: Pace | None = None,
) -> tuple[Any, Any]:
    """Run the loop over the batches ``index`` (steps, batch) names, and bring the tallies of each step to the host.

    Args:
        loop, carry, data: What runs, on what.
        index: (steps, batch), which rows of ``data`` each step takes.
        key: The run's key.
        first: The number of the first step, or the number of each step.
        capacity: How many steps the program was made for.
        begins: (steps,), where the rows of each step begin, if they stand side by side.
        keep: Receives the new carry. Where the loop uses up the old one, no Ctrl-C comes between: it is raised when the
            new one is kept.
        pace: Learns how long the steps took.

    Returns:
        The carry after the last step (on the device), and the tallies as NumPy arrays with a leading step axis.
    """
    steps = len(index)
    numbers = np.zeros(capacity, np.int32)
    numbers[:steps] = first + np.arange(steps) if np.ndim(first) == 0 else first
    taken = _filled(index, capacity) if begins is None else Runs(_filled(begins, capacity), index.shape[1])
    arguments = (carry, data, taken, np.int32(steps), key, numbers)
    run = loop.prepare(*arguments)
    began = time.perf_counter()
    with uninterrupted() if loop.donate else contextlib.nullcontext():
        carry, left = run(*arguments)
        found = left.fetch(steps)
        if keep is not None:
            keep(carry)
    if pace is not None:
        pace.took(steps, time.perf_counter() - began)
    return carry, found


def _filled(rows: np.ndarray[Any, Any], capacity: int) -> np.ndarray[Any, Any]:
    if len(rows) == capacity and rows.dtype == np.int32:
        return rows
    filled = np.zeros((capacity, *rows.shape[1:]), np.int32)
    filled[: len(rows)] = rows
    return filled


@contextlib.contextmanager
def uninterrupted() -> Generator[None]:
    """Hold Ctrl-C back until the block has ended, where this thread is the one that receives it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, stack: pressed.append((number, stack)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            before(*pressed[-1])


def run_eagerly(
    step: Step, carry: Any, data: Any, index: np.ndarray[Any, Any], *, key: Any, first: int
) -> tuple[Any, Any]:
    """``run_chunk`` without compiling anything: each step runs as Python, so that a person can print and stop in it."""
    left: list[Any] = []
    with jax.disable_jit():
        for i, rows in enumerate(index):
            batch = jax.tree.map(functools.partial(jnp.take, indices=rows, axis=0), data)
            carry, tallies = step(carry, batch, jax.random.fold_in(key, first + i))
            left.append(jax.tree.map(np.asarray, tallies))
    return carry, jax.tree.map(lambda *leaves: np.stack(leaves), *left)


class Pace:
    """How many steps to run before looking up: enough that the host costs nothing, few enough that a person can wait.

    Args:
        limit: The most steps at a time.
        seconds: How long a chunk should take; progress and Ctrl-C are as live as that.
    """

    def __init__(self, limit: int, *, seconds: float = 0.15):
        self.limit = max(1, limit)
        self.seconds = seconds
        self.steps = 1
        self.each = 0.0  # seconds of a step, as last seen

    def took(self, steps: int, seconds: float) -> None:
        """Learn from a chunk: how long it ran, without what it took to compile."""
        self.each = seconds / steps
        wanted = math.floor(self.seconds * steps / max(seconds, 1e-6))
        self.steps = max(1, min(wanted, 16 * steps, self.limit))
