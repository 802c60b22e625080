"""The batches of an epoch, again: from rows that are at hand, or from a source that can be run through once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from verax.data.source import Batch, Source
from verax.engine.loop import run_chunk
from verax.errors import DataError
from verax.ledger.record import EpochRecord

__all__ = ["Epoch", "Replay"]

#: At most this many batches run at a time.
_CHUNK = 256


@dataclass
class Replay:
    """Batches that can be measured as often as one likes.

    Attributes:
        groups: For each batch size (data, index (batches, size) into the data, positions among all batches).
        numbers: The step number of each batch: draws are made from it.
    """

    groups: list[tuple[Any, np.ndarray[Any, Any], list[int]]]
    numbers: np.ndarray[Any, Any]

    @classmethod
    def of_rows(cls, source: Source, batches: Sequence[np.ndarray[Any, Any]], numbers: Sequence[int]) -> Replay:
        """Batches of given rows of a source that knows its rows."""
        groups: list[tuple[Any, np.ndarray[Any, Any], list[int]]] = []
        for size in sorted({len(batch) for batch in batches}, reverse=True):
            positions = [i for i, batch in enumerate(batches) if len(batch) == size]
            rows = np.stack([batches[i] for i in positions])
            if source.resident:
                data, index = source.data, rows  # pyright: ignore[reportAttributeAccessIssue]
            else:
                data = source.gather(rows.reshape(-1))  # pyright: ignore[reportAttributeAccessIssue]
                index = np.arange(rows.size).reshape(rows.shape)
            groups.append((data, index.astype(np.int32), positions))
        return cls(groups, np.asarray(numbers, np.int32))

    @classmethod
    def of_pass(cls, feed: Any, chosen: Sequence[int], numbers: Sequence[int]) -> Replay:
        """Chosen batches of a pass over a source that can be run through again."""
        wanted, kept = set(chosen), list[Batch]()
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
        sizes = [len(jax.tree.leaves(batch.x)[0]) for batch in kept]
        groups: list[tuple[Any, np.ndarray[Any, Any], list[int]]] = []
        for size in sorted(set(sizes), reverse=True):
            positions = [i for i, n in enumerate(sizes) if n == size]
            data = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[kept[i] for i in positions])
            index = np.arange(size * len(positions), dtype=np.int32).reshape(-1, size)
            groups.append((data, index, positions))
        return cls(groups, np.asarray(numbers, np.int32))

    @classmethod
    def whole(cls, source: Source) -> Replay:
        """All rows of a source, in order."""
        if source.rows is None or source.batch_size is None or not hasattr(source, "data"):
            listed = list(range(source.steps)) if source.steps is not None else []
            if not source.repeatable or not listed:
                raise DataError(f"The {source.label} were to be measured again.", because="they can be read only once")
            return cls.of_pass(source.feed(0), listed, listed)
        cuts = list(range(source.batch_size, source.rows, source.batch_size))
        batches = np.split(np.arange(source.rows), cuts)
        return cls.of_rows(source, batches, range(len(batches)))

    def run(self, loop: Any, carry: Any, key: Any) -> Any:
        """What the loop's step leaves behind on every batch, stacked in the batches' order."""
        found: list[Any] = [None] * len(self.numbers)
        for data, index, positions in self.groups:
            capacity = 1 << max(0, (min(len(positions), _CHUNK) - 1).bit_length())
            for at in range(0, len(positions), _CHUNK):
                some = positions[at : at + _CHUNK]
                carry, left = run_chunk(
                    loop,
                    carry,
                    data,
                    index[at : at + _CHUNK],
                    key=key,
                    first=self.numbers[some],
                    capacity=capacity,
                )
                leaves, treedef = jax.tree.flatten(left)
                for j, i in enumerate(some):
                    found[i] = jax.tree.unflatten(treedef, [leaf[j] for leaf in leaves])
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


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

    @property
    def replayable(self) -> bool:
        """Whether the same batches can be had again."""
        return self.source.repeatable

    def sizes(self) -> list[int]:
        """Rows in each batch, where the record knows rows; empty otherwise."""
        return [chunk.shape[1] for chunk in self.record.rows if chunk is not None for _ in range(len(chunk))]

    def replay(self, chosen: Sequence[int]) -> Replay:
        """Chosen steps of the epoch."""
        numbers = [self.record.first_step + i for i in chosen]
        if all(chunk is not None for chunk in self.record.rows):
            listed = [batch for chunk in self.record.rows if chunk is not None for batch in chunk]
            return Replay.of_rows(self.source, [listed[i] for i in chosen], numbers)
        return Replay.of_pass(self.source.feed(**self.feed), chosen, numbers)

    def tallies(self, chosen: Sequence[int]) -> Any:
        """The recorded sums of chosen steps."""
        wanted = np.asarray(chosen)
        return jax.tree.map(lambda *chunks: np.concatenate(chunks)[wanted], *self.record.tallies)
