"""What a training pass leaves behind so that it can be measured again: tallies, keys and rows of every step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from verax.ledger.facts import LayerMode
from verax.ledger.tally import fold, same_tuple

__all__ = ["EpochRecord"]


@dataclass
class EpochRecord:
    """The steps of one epoch.

    A step's draws come from the key ``fold_in(key, step number)`` and its batch from ``rows``, so a measurement can use
    the same draws on the same batches, with one thing changed.

    Attributes:
        epoch: Which epoch, from 0.
        key: The run's key, as the framework keeps it.
        first_step: The number of the epoch's first step.
        rows: For each chunk of steps an int array (steps, batch): which rows of the source each step took; None where
            the source has no row identity.
        tallies: For each chunk a structure of sums whose leaves have a leading step axis.
        modes: What each mode-dependent layer did.
        weights: path -> value of the model at the end of the epoch, parameters and state; immutable.
        carried: path -> value, at the beginning, of what is handed on from batch to batch: states of stateful layers.
    """

    epoch: int
    key: Any
    first_step: int
    rows: list[np.ndarray[Any, Any] | None] = field(default_factory=list["np.ndarray[Any, Any] | None"])
    tallies: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    modes: tuple[LayerMode, ...] = ()
    weights: Mapping[str, Any] | None = None
    carried: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _running: Any = field(default=None, repr=False)
    _shown: int = field(default=0, repr=False)

    def add(self, tallies: Mapping[str, Any], rows: np.ndarray[Any, Any] | None) -> None:
        """Keep the next chunk of steps."""
        self.tallies.append(tallies)
        self.rows.append(rows)

    @property
    def running(self) -> dict[str, Any]:
        """The sums so far, for a number that is shown while the epoch runs: folded when it is asked for."""
        for chunk in self.tallies[self._shown :]:
            sums = _fold_steps([chunk])
            self._running = sums if self._running is None else fold([self._running, sums])
        self._shown = len(self.tallies)
        return self._running

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return sum(_steps(chunk) for chunk in self.tallies)

    def folded(self) -> dict[str, Any]:
        """The epoch's sums, in float64: the same number however the epoch was cut into chunks."""
        return _fold_steps(self.tallies)

    def after_each_step(self) -> Iterator[dict[str, Any]]:
        """The sums after each step of the last chunk, for callbacks that hear every batch."""
        before = _fold_steps(self.tallies[:-1]) if len(self.tallies) > 1 else None
        last = self.tallies[-1]
        for step in range(_steps(last)):
            upto = _fold_steps([_first(last, step + 1)])
            yield upto if before is None else fold([before, upto])


def _steps(structure: Any) -> int:
    """The length of the step axis: that of the first leaf."""
    if isinstance(structure, (Mapping, tuple)):
        inner = cast("Mapping[Any, Any] | tuple[Any, ...]", structure)
        items = list(inner.values()) if isinstance(inner, Mapping) else list(inner)
        return max((_steps(item) for item in items), default=0)
    return len(structure)


def _first(structure: Any, steps: int) -> Any:
    """The first steps of a chunk."""
    if isinstance(structure, Mapping):
        return {key: _first(value, steps) for key, value in cast("Mapping[Any, Any]", structure).items()}
    if isinstance(structure, tuple):
        return same_tuple(structure, [_first(value, steps) for value in cast("tuple[Any, ...]", structure)])
    return structure[:steps]


def _fold_steps(chunks: Sequence[Any]) -> Any:
    first = chunks[0]
    if isinstance(first, Mapping):
        keyed = cast("Sequence[Mapping[Any, Any]]", chunks)
        return {key: _fold_steps([chunk[key] for chunk in keyed]) for key in keyed[0]}
    if isinstance(first, tuple):
        columns = zip(*cast("Sequence[tuple[Any, ...]]", chunks), strict=True)
        return same_tuple(first, [_fold_steps(list(column)) for column in columns])
    steps = np.concatenate([np.asarray(chunk, dtype=np.float64) for chunk in chunks])
    return math.fsum(steps.tolist()) if steps.ndim == 1 else steps.sum(axis=0)
