"""The batches of an epoch, again: from rows that are at hand, or from a source that can be run through once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from verax.data import ArraySource, IterableSource, SequenceSource
from verax.data.source import Batch, Source
from verax.engine.loop import run_chunk
from verax.errors import DataError
from verax.ledger.record import EpochRecord

__all__ = ["Epoch", "Replay", "read_once"]

#: At most this many batches run at a time.
_CHUNK = 256


@dataclass
class Replay:
    """Batches that can be measured as often as one likes.

    Attributes:
        groups: For each batch size (data, index (batches, size) into the data, positions among all batches). Where the
            data are None, the source is asked for the rows of a few batches at a time.
        numbers: The step number of each batch: draws are made from it.
        source: Where rows come from that are not at hand.
    """

    groups: list[tuple[Any, np.ndarray[Any, Any], list[int]]]
    numbers: np.ndarray[Any, Any]
    source: ArraySource | None = None

    @classmethod
    def of_rows(cls, source: ArraySource, batches: Sequence[np.ndarray[Any, Any]], numbers: Sequence[int]) -> Replay:
        """Batches of given rows of a source that knows its rows."""
        groups: list[tuple[Any, np.ndarray[Any, Any], list[int]]] = []
        for size in sorted({len(batch) for batch in batches}, reverse=True):
            positions = [i for i, batch in enumerate(batches) if len(batch) == size]
            rows = np.stack([batches[i] for i in positions])
            groups.append((source.data if source.resident else None, rows, positions))
        return cls(groups, np.asarray(numbers, np.int32), source)

    @classmethod
    def of_pass(cls, feed: Any, chosen: Sequence[int], numbers: Sequence[int]) -> Replay:
        """Chosen batches of a pass over a source that can be run through again."""
        wanted, kept = set(chosen), list[Any]()
        for i, chunk in enumerate(feed):
            if i in wanted:
                kept.append(jax.tree.map(np.asarray, chunk.data))
            if len(kept) == len(wanted):
                break
        if len(kept) < len(wanted):
            raise DataError(
                "An epoch was to be measured again.",
                received=f"{len(kept)} of {len(wanted)} batches",
                because="the source did not give the same batches a second time",
            )
        return cls._of_batches(kept, numbers)

    @classmethod
    def _of_batches(cls, kept: Sequence[Batch], numbers: Sequence[int]) -> Replay:
        sizes = [_rows(batch) for batch in kept]
        groups: list[tuple[Any, np.ndarray[Any, Any], list[int]]] = []
        for size in sorted(set(sizes), reverse=True):
            positions = [i for i, n in enumerate(sizes) if n == size]
            data = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[kept[i] for i in positions])
            index = np.arange(size * len(positions), dtype=np.int32).reshape(-1, size)
            groups.append((data, index, positions))
        return cls(groups, np.asarray(numbers, np.int32))

    @classmethod
    def whole(cls, source: Source, rows: int | None = None) -> Replay:
        """The first rows of a source, in order; all when None."""
        if isinstance(source, ArraySource):
            rows = source.rows if rows is None else min(rows, source.rows)
            batches = np.split(np.arange(rows), range(source.batch_size, rows, source.batch_size))
            return cls.of_rows(source, batches, range(len(batches)))
        kept: list[Any] = []
        # A source without end has to be told one; no more batches are asked for than are needed.
        for chunk in source.feed(0, steps=rows if source.steps is None else None):
            kept.append(jax.tree.map(np.asarray, chunk.data))
            if rows is not None and sum(_rows(batch) for batch in kept) >= rows:
                break
        return cls._of_batches(kept, range(len(kept)))

    def run(self, loop: Any, carry: Any, key: Any) -> Any:
        """What the loop's step leaves behind on every batch, stacked in the batches' order."""
        found: list[Any] = [None] * len(self.numbers)
        for data, index, positions in self.groups:
            capacity = 1 << max(0, (min(len(positions), _CHUNK) - 1).bit_length())
            for at in range(0, len(positions), _CHUNK):
                some = positions[at : at + _CHUNK]
                here, rows = data, index[at : at + _CHUNK]
                if here is None:
                    here, rows = self._gather(rows, capacity * rows.shape[1])
                carry, left = run_chunk(
                    loop, carry, here, rows.astype(np.int32), key=key, first=self.numbers[some], capacity=capacity
                )
                leaves, treedef = jax.tree.flatten(left)
                for j, i in enumerate(some):
                    found[i] = jax.tree.unflatten(treedef, [leaf[j] for leaf in leaves])
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    def _gather(self, rows: np.ndarray[Any, Any], room: int) -> tuple[Batch, np.ndarray[Any, Any]]:
        """Rows on the host, in as much room as the largest chunk takes: one shape, one program."""
        assert self.source is not None
        found = self.source.gather(rows.reshape(-1))

        def padded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.concatenate([array, np.zeros((room - rows.size, *array.shape[1:]), array.dtype)])

        return jax.tree.map(padded, found), np.arange(rows.size).reshape(rows.shape)


@dataclass
class Epoch:
    """An epoch that was trained: its record, its source, and how the source was run through.

    Attributes:
        record: The steps.
        source: The training rows.
        feed: The arguments of the pass.
    """

    record: EpochRecord
    source: Source
    feed: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def once(self) -> str:
        """Why the same batches cannot be had again, in words; "" where they can."""
        return read_once(self.source, self.feed.get("steps") is not None)

    def sizes(self) -> list[int]:
        """Rows in each batch, where the record knows rows; empty otherwise."""
        return [chunk.shape[1] for chunk in self.record.rows if chunk is not None for _ in range(len(chunk))]

    def replay(self, chosen: Sequence[int]) -> Replay:
        """Chosen steps of the epoch."""
        numbers = [self.record.first_step + i for i in chosen]
        if all(chunk is not None for chunk in self.record.rows):
            listed = [batch for chunk in self.record.rows if chunk is not None for batch in chunk]
            assert isinstance(self.source, ArraySource)
            return Replay.of_rows(self.source, [listed[i] for i in chosen], numbers)
        return Replay.of_pass(self.source.feed(**self.feed), chosen, numbers)

    def tallies(self, chosen: Sequence[int]) -> Any:
        """The recorded sums of chosen steps."""
        wanted = np.asarray(chosen)
        return jax.tree.map(lambda *chunks: np.concatenate(chunks)[wanted], *self.record.tallies)


def read_once(source: Source, part: bool = False) -> str:
    """Why the batches of a pass over a source cannot be had again, in words; "" where they can.

    A pass is measured again only where it is sure to bring the same batches: a sequence that is told of the end of an
    epoch may shuffle, and what makes its batches at random makes others the second time.

    Args:
        source: The source.
        part: Whether the pass was a part of the source, of a number of steps that was asked for.
    """
    label = source.label
    if isinstance(source, ArraySource):
        return ""
    if not source.repeatable:
        return f"the {label} come from a generator, which cannot be read again"
    if isinstance(source, IterableSource) and part:
        return f"the {label} come from an iterable, in which an epoch of so many steps goes on where the last one ended"
    if isinstance(source, SequenceSource) and (hook := _hook(source.sequence)):
        return f"the {label} come from a sequence with {hook}, which may change its batches between epochs"
    if not _same_twice(source):
        return f"the {label} are others each time they are read"
    return ""


def _hook(sequence: Any) -> str:
    """The method by which a sequence of batches hears of epochs, unless it is the one that does nothing."""
    for name in ("on_epoch_begin", "on_epoch_end"):
        hook = getattr(sequence, name, None)
        if callable(hook) and getattr(hook, "__qualname__", "") != f"PyDataset.{name}":
            return name
    return ""


def _same_twice(source: Source) -> bool:
    """Whether the first batch is the same when it is asked for again."""
    steps = 1 if source.steps is None else None
    one, two = (jax.tree.leaves(next(iter(source.feed(0, steps=steps))).data) for _ in range(2))
    return len(one) == len(two) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, two, strict=True))


def _rows(batch: Batch) -> int:
    return len(jax.tree.leaves(batch.x)[0])
