"""Batches stacked to chunks: written once, into memory that a device on the host can read where it lies."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from verax.data.source import Batch, Chunk

__all__ = ["Form", "Ready", "Stack", "ready", "room_for"]

#: Where XLA wants an array to begin; one that begins elsewhere is copied.
_ALIGNMENT = 64


class Form(NamedTuple):
    """What batches must have in common to share a chunk: the structure, and (shape, dtype) of each array."""

    structure: Any
    arrays: tuple[tuple[tuple[int, ...], np.dtype], ...]


class Ready(NamedTuple):
    """A batch that was checked: its arrays on the host, in their final dtypes, and their form."""

    arrays: list[np.ndarray]
    form: Form


def ready(batch: Batch) -> Ready:
    """``batch`` with its form."""
    arrays, structure = jax.tree.flatten(batch)
    return Ready(arrays, Form(structure, tuple((a.shape, a.dtype) for a in arrays)))


def room_for(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array to be written, aligned so that a device whose memory is the host's need not copy it.

    >>> room_for((3, 2), np.float32).shape, room_for((3, 2), np.float32).ctypes.data % 64
    ((3, 2), 0)
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class Stack:
    """A chunk in the making: room for so many batches of one form, each copied in as it comes.

    A batch is copied when it is added, so its maker may use the memory again for the next one. The room is never used
    for a second chunk: a device may still be reading it.

    >>> stack = Stack(ready(Batch(np.ones((2, 1)))).form, 3)
    >>> stack.add([np.full((2, 1), 5.0)])
    >>> chunk = stack.chunk()
    >>> chunk.index.tolist(), chunk.data.x.shape, chunk.data.x[:2].tolist()
    ([[0, 1]], (6, 1), [[5.0], [5.0]])
    """

    def __init__(self, form: Form, room: int) -> None:
        self.form, self.steps = form, 0
        self.size = form.arrays[0][0][0]
        self._arrays = [room_for((room * self.size, *shape[1:]), dtype) for shape, dtype in form.arrays]

    def add(self, arrays: list[np.ndarray]) -> None:
        """Copy in one more batch of the form."""
        at, size = self.steps * self.size, self.size
        for room, array in zip(self._arrays, arrays, strict=True):
            room[at : at + size] = array
        self.steps += 1

    def chunk(self, *, whole: bool = True) -> Chunk:
        """The batches added; without the room left over unless ``whole``."""
        arrays = self._arrays if whole else [room[: self.steps * self.size] for room in self._arrays]
        data = jax.tree.unflatten(self.form.structure, arrays)
        return Chunk.side_by_side(data, self.steps, self.size, None)


def batches_of(chunk: Chunk) -> list[Ready]:
    """The batches of a chunk, one by one."""
    return [ready(jax.tree.map(lambda array, rows=rows: array[rows], chunk.data)) for rows in chunk.index]
