"""Arrays as a source: held on the device where they fit, gathered on the host chunk by chunk where they do not.

A batch that lies side by side is sliced, and one that does not is gathered, which takes XLA on a CPU a third of a small
model's step. So there a small source lays its rows out in the order of a pass, while the pass before it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import numpy as np

from verax.data.order import Orders
from verax.data.source import Batch, Chunk, Feed, Source, check_pass, never, span_of_pass, warn_short
from verax.data.stack import room_for
from verax.data.values import cast, leaves, map_leaves, rows_of, target_dtype
from verax.data.weights import class_weights_of, combine
from verax.frame.placement import places

__all__ = ["ArrayFeed", "ArraySource"]

#: Rows of at most so many bytes are laid out for a pass: up to three times they are in memory then.
_SMALL = 16 << 20


class ArraySource(Source):
    """Rows of arrays, with their numbers known.

    Args:
        arrays: Arrays of one number of rows; for a resident source in their final dtypes.
        batch_size: Rows in a full batch.
        label: What the rows are called.
        resident: Whether to hold all rows on the device. They are put there at the first pass, once.
        class_weight: Weight of each class, multiplied into the sample weights; see :func:`verax.data.class_weights_of`.

    >>> source = ArraySource(Batch(np.arange(10, dtype="float32").reshape(5, 2)), batch_size=2)
    >>> feed = source.feed()
    >>> feed.take(8).index.tolist(), feed.take(8).index.tolist(), feed.take(8)
    ([[0, 1], [2, 3]], [[4]], None)
    """

    repeatable = True
    shuffles = "rows"

    def __init__(
        self,
        arrays: Batch,
        *,
        batch_size: int,
        label: str = "rows",
        resident: bool = True,
        class_weight: dict[int, float] | None = None,
    ) -> None:
        self.rows: int = rows_of(arrays.x)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.batch_size: int = batch_size  # pyright: ignore[reportIncompatibleVariableOverride]
        self.label, self.resident = label, resident
        self.class_weight = class_weight
        self.plain = arrays  # as given: validation split off these rows is not weighed by class
        if class_weight is not None:
            arrays = arrays._replace(weight=combine(arrays.weight, class_weights_of(arrays.y, class_weight)))
        self.arrays = arrays
        self.orders = Orders(self.rows, batch_size)

    @property
    def steps(self) -> int:
        """Batches in a whole pass, the short last one included."""
        return -(-self.rows // self.batch_size)

    @cached_property
    def spec(self) -> Batch:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows = min(self.batch_size, self.rows)

        def one(array: Any, name: str) -> jax.ShapeDtypeStruct:
            dtype = np.float32 if name.startswith("weight") else target_dtype(array.dtype, name)
            return jax.ShapeDtypeStruct((rows, *array.shape[1:]), dtype)

        return _map_batch(one, self.arrays)

    @cached_property
    def data(self) -> Batch:
        """All rows on the device (resident sources)."""
        put: dict[int, jax.Array] = {}  # an array that is there twice is put once
        return jax.tree.map(lambda array: put.setdefault(id(array), jax.device_put(array)), self.kept)

    @cached_property
    def kept(self) -> Batch:
        """All rows, copied: the caller may write into the arrays later (resident sources)."""
        copies: dict[int, np.ndarray] = {}  # an array that is there twice (one weight, several outputs) is copied once

        def one(array: Any, name: str) -> Any:
            if isinstance(array, jax.Array):
                return array
            if id(array) not in copies:
                copies[id(array)] = room_for(array.shape, array.dtype)
                copies[id(array)][...] = array
            return copies[id(array)]

        return _map_batch(one, self.arrays)

    def stands(self, shuffle: bool | str) -> bool:
        """Whether the rows of each batch of a pass stand side by side in the chunks' data, rather than anywhere."""
        return not self.resident or not shuffle or self._lays_out

    @property
    def _lays_out(self) -> bool:
        return self.resident and self._small and places() is None and jax.default_backend() == "cpu"

    @cached_property
    def _small(self) -> bool:
        return sum(array.nbytes for part in self.arrays for _, array in leaves(part, "x")) <= _SMALL

    def _laid_out(self, order: np.ndarray) -> Batch | None:
        """The rows in an order, on the host; None where they are to be gathered."""
        if not self._lays_out:
            return None

        def one(array: Any) -> np.ndarray:
            made = room_for((len(order), *array.shape[1:]), array.dtype)
            return np.take(np.asarray(array), order, axis=0, out=made, mode="clip")

        return jax.tree.map(one, self.kept)

    def gather(self, rows: np.ndarray) -> Batch:
        """Some rows on the host, in their final dtypes; ``rows`` whole numbers ``(n,)``."""
        return self.gather_batches(rows.reshape(1, -1))[0]

    def gather_batches(self, rows: np.ndarray, room: int = 1, enough: Callable[[], bool] = never) -> tuple[Batch, int]:
        """Batches of rows on the host, in room for ``room`` of them, and how many there are until it was ``enough``.

        ``rows`` are whole numbers ``(batches, n)``. Memory maps are read a batch at a time, forward.
        """
        size = rows.shape[1]
        pairs: list[tuple[Any, np.ndarray, str]] = []

        def one(array: Any, name: str) -> np.ndarray:
            dtype = np.dtype(np.float32) if name.startswith("weight") else target_dtype(array.dtype, name)
            made = room_for((room * size, *array.shape[1:]), dtype)
            pairs.append((np.asarray(array), made, name))  # as plain arrays: a memmap's own indexing is slow
            return made

        data, done = _map_batch(one, self.arrays), 0
        for batch in rows:
            for array, made, name in pairs:
                _gather_into(made[done * size : (done + 1) * size], array, batch, name)
            done += 1
            if enough():
                break
        return data, done

    def feed(
        self, epoch: int = 0, *, shuffle: bool | str = False, seed: int = 0, steps: int | None = None
    ) -> ArrayFeed:
        check_pass(self.label, epoch, shuffle, seed, steps)
        round_, start, stop = span_of_pass(epoch, self.steps, steps)
        order, laid = self.orders.of(shuffle, seed, round_, self._laid_out)
        if self.resident and not shuffle:
            laid = self.data  # as they come
        return ArrayFeed(self, order, laid, start, stop, asked=steps)

    def part(
        self, start: int, stop: int, *, label: str, batch_size: int | None = None, plain: bool = False
    ) -> ArraySource:
        """The rows from ``start`` to before ``stop`` as a source, without class weights if ``plain``."""
        return ArraySource(
            _map_batch(lambda array, name: array[start:stop], self.plain),
            batch_size=batch_size or self.batch_size,
            label=label,
            resident=self.resident,
            class_weight=None if plain else self.class_weight,
        )


class ArrayFeed(Feed):
    """One pass over an :class:`ArraySource`: batches ``start`` to before ``stop`` of the rows in ``order``.

    ``laid`` are all rows in that order, where they are at hand so.
    """

    def __init__(
        self, source: ArraySource, order: np.ndarray, laid: Batch | None, start: int, stop: int, asked: int | None
    ) -> None:
        self.source, self.order, self.laid = source, order, laid
        self.steps: int = stop - start  # pyright: ignore[reportIncompatibleVariableOverride]
        self.taken = 0
        self._start, self._asked = start, asked

    def pull(self, k: int, room: int | None = None, enough: Callable[[], bool] = never) -> Chunk | None:
        if self.taken == self.steps:
            return None
        source, size = self.source, self.source.batch_size
        at = self._start + self.taken
        full = min(at - self.taken + self.steps, source.rows // size) - at  # full batches left in this pass
        if full > 0:
            count = min(k, full)
            rows = self.order[at * size : (at + count) * size].reshape(count, size)
        else:
            rows = self.order[at * size :].reshape(1, -1)
        if self.laid is not None:
            chunk = Chunk.side_by_side(self.laid, *rows.shape, rows, at=at * size)
        elif source.resident:
            chunk = Chunk(source.data, rows, rows)  # int32: no device holds 2^31 rows
        else:
            data, count = source.gather_batches(rows, room or len(rows), enough)
            if room is None and count < len(rows):
                data = jax.tree.map(lambda array: array[: count * rows.shape[1]], data)
            chunk = Chunk.side_by_side(data, count, rows.shape[1], rows[:count])
        self.taken += len(chunk.index)
        return chunk

    def finish(self) -> None:
        if self._asked is not None and self.taken < self._asked:
            warn_short(self.source.label, self.taken, self._asked)
            self._asked = None


def _gather_into(made: np.ndarray, array: np.ndarray, rows: np.ndarray, name: str) -> None:
    """``made[...] = array[rows]``, in the dtype of ``made``."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        found = array[first : last + 1]
    elif array.dtype == made.dtype:
        np.take(array, rows, axis=0, out=made, mode="clip")  # with mode="raise" it would go through a buffer
        return
    else:
        found = np.take(array, rows, axis=0)
    made[...] = found.astype(np.float32) if name.startswith("weight") else cast(found, name)


def _map_batch(do: Any, batch: Batch) -> Batch:
    return Batch(*(map_leaves(do, part, name) for part, name in zip(batch, Batch._fields, strict=True)))


def bytes_on_host(arrays: Batch) -> int:
    """Bytes that would be copied to the device: of the arrays not there yet, in their final dtypes."""
    total = 0
    for part, name in zip(arrays, Batch._fields, strict=True):
        for path, array in leaves(part, name):
            if not isinstance(array, jax.Array):
                total += int(np.prod(array.shape, dtype=np.int64)) * target_dtype(array.dtype, path).itemsize
    return total
