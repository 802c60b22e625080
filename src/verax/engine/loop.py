"""Many steps in one compiled program: the same one for an epoch, a chunk or a single step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Pace", "make_loop", "run_chunk", "run_eagerly"]

#: The most steps one run of the loop can take; its tally buffers and index table have this length.
CAPACITY = 1024

Step = Callable[[Any, Any, jax.Array], tuple[Any, Any]]


def make_loop(step: Step) -> Callable[..., tuple[Any, Any]]:
    """Compile ``step(carry, batch, key) -> (carry, tallies)`` into a loop over batches.

    The loop's trip count is an argument, so one program serves every chunk size, and the parameters are the same bit
    for bit however an epoch is cut. A step gathers its rows by index and draws from ``fold_in(key, step number)``.
    """

    def loop(
        carry: Any, data: Any, index: jax.Array, count: jax.Array, key: jax.Array, numbers: jax.Array
    ) -> tuple[Any, Any]:
        def batch_at(i: Any) -> Any:
            rows = index[i]
            return jax.tree.map(lambda a: jnp.take(a, rows, axis=0, mode="clip"), data)

        _, like = jax.eval_shape(lambda: step(carry, batch_at(0), key))
        buffers = jax.tree.map(lambda s: jnp.zeros((index.shape[0], *s.shape), s.dtype), like)

        def body(i: jax.Array, both: tuple[Any, Any]) -> tuple[Any, Any]:
            carry, buffers = both
            carry, tallies = step(carry, batch_at(i), jax.random.fold_in(key, numbers[i]))
            return carry, jax.tree.map(lambda b, t: b.at[i].set(t), buffers, tallies)

        return jax.lax.fori_loop(0, count, body, (carry, buffers))

    return jax.jit(loop)


def run_chunk(
    loop: Callable[..., tuple[Any, Any]],
    carry: Any,
    data: Any,
    index: np.ndarray[Any, Any],
    *,
    key: Any,
    first: Any,
    capacity: int,
) -> tuple[Any, Any]:
    """Run the loop over the batches ``index`` (steps, batch) names, and bring the tallies of each step to the host.

    Args:
        loop, carry, data: What runs, on what.
        index: (steps, batch), which rows of ``data`` each step takes.
        key: The run's key.
        first: The number of the first step, or the number of each step.
        capacity: How many steps the program was made for.

    Returns:
        The carry after the last step (on the device), and the tallies as NumPy arrays with a leading step axis.
    """
    steps = len(index)
    numbers = np.zeros(capacity, np.int32)
    numbers[:steps] = first + np.arange(steps) if np.ndim(first) == 0 else first
    padded = np.zeros((capacity, index.shape[1]), np.int32)
    padded[:steps] = index
    carry, buffers = loop(carry, data, padded, np.int32(steps), key, numbers)
    return carry, jax.tree.map(lambda b: np.asarray(b)[:steps], buffers)


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
        settle: Whether to choose one length and keep it: a stream's chunks are padded to it, so each length compiles.
    """

    def __init__(self, limit: int, *, seconds: float = 0.15, settle: bool = False):
        self.limit = max(1, limit)
        self.seconds = seconds
        self.settle = settle
        self.steps = 1
        self.first = 0.0  # seconds of the first chunk: compiling and one step
        self.each = 0.0  # seconds of a step, as last seen
        self._seen = 0

    def took(self, steps: int, seconds: float) -> None:
        """Learn from a chunk; the first one is not counted, it compiles."""
        self._seen += 1
        if self._seen == 1:
            self.first = seconds
            self.steps = 1 if self.settle else min(8, self.limit)
            return
        self.each = seconds / steps
        if self.settle and self._seen > 2:
            return
        wanted = math.floor(self.seconds * steps / max(seconds, 1e-6))
        if self.settle:
            wanted = 2 ** max(0, math.floor(math.log2(max(wanted, 1))))
            self.steps = max(1, min(wanted, self.limit))
        else:
            self.steps = max(1, min(wanted, 16 * steps, self.limit))
