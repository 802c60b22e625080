"""The order of a pass: which rows share a batch, found from a seed and the number of the round alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Orders", "rows_in_order"]

#: From so many rows on an order takes longer to make than a thread takes to start.
_MANY = 10_000


def rows_in_order(rows: int, batch: int, shuffle: bool | str, seed: int, round_: int) -> np.ndarray:
    """The rows 0..rows-1 in the order of one round: int32 ``(rows,)``, int64 from 2^31 rows on.

    The generator is PCG64 seeded with ``SeedSequence(seed, spawn_key=(round,))``; the rows are shuffled by Fisher and
    Yates' method, so that every division into batches is equally likely. Shuffling decides which rows share a batch;
    within a batch they stand in ascending order, which changes nothing but rounding: memory is read forward, and a
    batch that holds all rows sums to the same bits in every epoch and in every measurement.

    >>> rows_in_order(5, 2, False, 0, 0).tolist()
    [0, 1, 2, 3, 4]
    >>> sorted(rows_in_order(5, 2, "batch", 7, 0)[:2].tolist())   # the first batch keeps its rows
    [0, 1]
    """
    # Half the bytes are half the cache misses of a shuffle, and 32-bit numbers are sorted a vector at a time.
    order = np.arange(rows, dtype=np.int32 if rows <= 1 << 31 else np.int64)
    if not shuffle:
        return order
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(round_,))))
    full = rows // batch * batch
    if shuffle == "batch":
        within = generator.permuted(order[:full].reshape(-1, batch), axis=1).reshape(-1)
        return np.concatenate([within, generator.permutation(order[full:])])
    generator.shuffle(order)
    order[:full].reshape(-1, batch).sort(axis=1)
    order[full:].sort()
    return order


@dataclass
class Orders:
    """The orders of one source: the last one is kept, and the next one is made while its round runs.

    A source that was asked for two rounds, one after the other, will be asked for a third: that one is made in a
    thread, which shuffles without holding the interpreter and ends when it is done. At most two orders are held, 4
    bytes a row each.

    >>> orders = Orders(4, 2)
    >>> [orders.of(True, 3, r).tolist() == rows_in_order(4, 2, True, 3, r).tolist() for r in range(4)]
    [True, True, True, True]
    """

    rows: int
    batch: int
    _held: tuple[tuple[object, ...], np.ndarray] | None = field(default=None, repr=False)
    _ahead: _Ahead | None = field(default=None, repr=False)

    def of(self, shuffle: bool | str, seed: int, round_: int) -> np.ndarray:
        """:func:`rows_in_order`, read-only."""
        key = (shuffle, seed, round_ if shuffle else 0)
        if self._held is not None and self._held[0] == key:
            return self._held[1]
        order = self._ahead.result() if self._ahead is not None and self._ahead.key == key else None
        follows = self._held is not None and self._held[0] == (shuffle, seed, round_ - 1)
        if order is None:
            order = rows_in_order(self.rows, self.batch, *key)
            order.flags.writeable = False
        self._held, self._ahead = (key, order), None
        if shuffle and follows and self.rows >= _MANY:
            self._ahead = _Ahead(self.rows, self.batch, (shuffle, seed, round_ + 1))
        return order


class _Ahead:
    """An order that is being made."""

    def __init__(self, rows: int, batch: int, key: tuple[bool | str, int, int]) -> None:
        self.key = key
        self._made: list[np.ndarray] = []
        # The thread knows the list and not this object, which may be forgotten before the thread is done.
        self._thread = threading.Thread(
            target=_make, args=(self._made, rows, batch, key), name="verax-order", daemon=True
        )
        self._thread.start()

    def result(self) -> np.ndarray | None:
        """The order; ``None`` where it could not be made (the caller's own try will say why)."""
        self._thread.join()
        return self._made[0] if self._made else None


def _make(made: list[np.ndarray], rows: int, batch: int, key: tuple[bool | str, int, int]) -> None:
    try:
        order = rows_in_order(rows, batch, *key)
    except MemoryError:
        return
    order.flags.writeable = False
    made.append(order)
