"""The order of a pass: which rows share a batch, found from a seed and the number of the round alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Order", "Orders", "rows_in_order"]

#: From so many rows on an order takes longer to make than to hand over to a thread.
_MANY = 1_000
#: Up to so many rows an order is made ahead though it may not be wanted, and takes twice the memory while it is made.
_QUICK = 1 << 20

Lay = Callable[[np.ndarray], Any]


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
    kind = np.int32 if rows <= 1 << 31 else np.int64
    if not shuffle:
        return np.arange(rows, dtype=kind)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(round_,))))
    full = rows // batch * batch
    if shuffle == "batch":
        order = np.arange(rows, dtype=kind)
        within = generator.permuted(order[:full].reshape(-1, batch), axis=1).reshape(-1)
        return np.concatenate([within, generator.permutation(order[full:])])
    # NumPy shuffles machine words twice as fast as what is narrower, until they have left its caches, and to the same
    # order; 32-bit numbers are sorted a vector at a time.
    order = np.arange(rows, dtype=np.intp if rows <= _QUICK else kind)
    generator.shuffle(order)
    order = order.astype(kind, copy=False)
    order[:full].reshape(-1, batch).sort(axis=1)
    order[full:].sort()
    return order


class Order(NamedTuple):
    """The order of a round.

    Attributes:
        rows: :func:`rows_in_order`, read-only.
        laid: What ``lay`` made of it; ``None`` for a round that is not shuffled.
    """

    rows: np.ndarray
    laid: Any = None


@dataclass
class Orders:
    """The orders of one source: the last one is kept, and the next one is made while its round runs.

    A source that was asked for two rounds, one after the other, will be asked for a third, and one of few rows for a
    second: that is made in a thread, which shuffles without holding the interpreter. At most two orders are held, 4
    bytes a row each, and what is made of them.

    Attributes:
        rows: Rows of the source.
        batch: Rows of a batch.

    >>> orders = Orders(4, 2)
    >>> [orders.of(True, 3, r).rows.tolist() == rows_in_order(4, 2, True, 3, r).tolist() for r in range(4)]
    [True, True, True, True]
    """

    rows: int
    batch: int
    _held: tuple[tuple[object, ...], Order] | None = field(default=None, repr=False)
    _ahead: tuple[tuple[object, ...], Future[Order]] | None = field(default=None, repr=False)

    def of(self, shuffle: bool | str, seed: int, round_: int, lay: Lay = lambda rows: None) -> Order:
        """The order of a round; ``lay`` makes of it what else a shuffled round needs, in the same thread."""
        key = (shuffle, seed, round_ if shuffle else 0)
        if self._held is not None and self._held[0] == key:
            return self._held[1]
        ahead = self._ahead
        follows = self._held is not None and self._held[0] == (shuffle, seed, round_ - 1)
        self._held = self._ahead = None
        # Where memory ended in the thread, the try here succeeds or says so.
        if ahead is not None and ahead[0] == key and not isinstance(ahead[1].exception(), MemoryError):
            order = ahead[1].result()
        else:
            order = self._make(lay, *key)
        self._held = (key, order)
        if shuffle and self.rows >= _MANY and (follows or self.rows <= _QUICK):
            following = (shuffle, seed, round_ + 1)
            with contextlib.suppress(RuntimeError):  # a process that ends takes no more work for its threads
                self._ahead = (following, _worker().submit(self._make, lay, *following))
        return order

    def _make(self, lay: Lay, shuffle: bool | str, seed: int, round_: int) -> Order:
        rows = rows_in_order(self.rows, self.batch, shuffle, seed, round_)
        rows.flags.writeable = False
        return Order(rows, lay(rows) if shuffle else None)


@cache
def _worker() -> ThreadPoolExecutor:
    """The thread that makes orders ahead: one for the process, since to begin one takes 0.2 ms."""
    return ThreadPoolExecutor(1, thread_name_prefix="verax-order")
