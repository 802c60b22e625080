"""What every kind of data becomes: a ``Source``, whose passes are ``Feed``s, which hand out ``Chunk``s of batches.

    anything --make_source--> Source --feed(epoch)--> Feed --take(k)--> Chunk

One pass is one epoch. A chunk is what the compiled loop runs in one go: rows, and for every step which of those rows it
takes.

The order of a pass depends on ``(seed, round)`` and on nothing else (:func:`verax.data.order.rows_in_order`), and the
round only on the epoch (:func:`span_of_pass`). So it is the same however many batches are taken at a time, and a run
resumes from one integer.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np

from verax.errors import InputError, VeraxWarning

__all__ = ["Batch", "Chunk", "Feed", "Source", "span_of_pass"]


class Batch(NamedTuple):
    """Rows: inputs, targets and sample weights, each an array or a structure of arrays whose first axis is rows.

    ``y`` and ``weight`` are ``None`` where there are none.

    >>> Batch(np.zeros((2, 3), "float32")).y is None
    True
    """

    x: Any
    y: Any = None
    weight: Any = None


class Chunk(NamedTuple):
    """Some batches of one size, for one run of the compiled loop.

    Attributes:
        data: Rows. Of a resident source: all its rows, on the device, or on the host in the order of the round; the
            same arrays in every chunk of a pass. Of a stream: just the rows of these batches, on the host, stacked to
            ``(steps * batch, ...)``; where room was asked for, ``(room * batch, ...)``, of which the first
            ``steps * batch`` are set.
        index: int32 ``(steps, batch)``: which rows of ``data`` each step takes.
        rows: int32 (int64 where the numbers need it) ``(steps, batch)``: which rows of the source these are, or
            ``None`` where the source knows no rows.
        begins: int32 ``(steps,)``: where the rows of each step begin in ``data``, if they stand side by side there;
            ``None`` if they do not.
    """

    data: Batch
    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    rows: np.ndarray | None
    begins: np.ndarray | None = None

    @classmethod
    def side_by_side(cls, data: Batch, steps: int, size: int, rows: np.ndarray | None, *, at: int = 0) -> Chunk:
        """A chunk whose batches of ``size`` rows stand one after the other in ``data``, from row ``at`` on."""
        index = np.arange(at, at + steps * size, dtype=np.int32).reshape(steps, size)
        return cls(data, index, rows, index[:, 0])

    def part(self, steps: slice) -> Chunk:
        """Some of the steps."""
        rows, begins = (None if array is None else array[steps] for array in (self.rows, self.begins))
        return Chunk(self.data, self.index[steps], rows, begins)


def never() -> bool:
    """No batch was enough."""
    return False


class Feed(ABC):
    """One pass over a source.

    Attributes:
        steps: How many batches this pass has, or ``None`` where only its end will tell.
        taken: How many batches were taken so far.
        reading: Held while batches are pulled ahead in a thread: what else reads the same data waits.
    """

    steps: int | None
    taken: int
    reading: AbstractContextManager[Any] = nullcontext()

    def take(self, k: int, room: int | None = None) -> Chunk | None:
        """The next batches, at most ``k`` and all of one size, or ``None`` at the end of the pass.

        A short last batch is a chunk of its own. Take until ``None`` comes: that ends the pass, which is when a
        sequence's ``on_epoch_end`` is called and when a pass that fell short of the ``steps`` asked for warns. An error
        in the data is raised after all batches before it were taken.

        Args:
            k: How many batches at most, from 1.
            room: How many batches a stream's chunk has room for, at least ``k``: chunks of different lengths then have
                one shape. ``None``: just for those it has.
        """
        check_chunk(k, room)
        chunk = self.pull(k, room)
        if chunk is None:
            self.finish()
        return chunk

    @abstractmethod
    def pull(self, k: int, room: int | None = None, enough: Callable[[], bool] = never) -> Chunk | None:
        """:meth:`take` without what the end of a pass brings with it.

        ``enough`` is asked after each batch of a stream; once it says so, the chunk ends there.
        """

    def finish(self) -> None:  # noqa: B027 (most feeds have nothing to do)
        """What the end of a pass brings with it, once."""

    def give_back(self, chunk: Chunk) -> None:
        """Take back the batches of a chunk pulled last, so that they are the next to come."""
        self.taken -= len(chunk.index)

    def __iter__(self):
        """The batches one by one, as chunks of one step."""
        return iter(lambda: self.take(1), None)


class Source(ABC):
    """Rows that can be passed over in batches.

    Attributes:
        rows: Number of rows, or ``None`` where unknown.
        batch_size: Rows in a full batch, or ``None`` where the data decides.
        steps: Batches in a whole pass, or ``None`` where unknown or endless.
        repeatable: Whether another pass can start from the beginning. A generator's cannot.
        resident: Whether all rows are held on the device.
        shuffles: What ``shuffle=True`` shuffles: ``"rows"``, ``"batches"``, or ``"nothing"`` (the data has
            its own order).
        label: What the rows are called in messages: ``"training rows"``.
        spec: A ``Batch`` of ``jax.ShapeDtypeStruct``: a full batch; of a stream, its first batch.
    """

    rows: int | None
    batch_size: int | None
    repeatable: bool
    resident: bool
    shuffles: str
    label: str

    @property
    @abstractmethod
    def steps(self) -> int | None: ...

    @property
    @abstractmethod
    def spec(self) -> Batch: ...

    @abstractmethod
    def feed(self, epoch: int = 0, *, shuffle: bool | str = False, seed: int = 0, steps: int | None = None) -> Feed:
        """One pass.

        Args:
            epoch: Which pass, from 0. Pass 0 starts at the beginning wherever the data allows it.
            shuffle: ``True``: all rows in a new order each pass. ``"batch"``: each batch keeps its rows and only
                their order changes, as in Keras 3. Data that come in batches (sequences) are shuffled by batch for
                either; an iterable keeps its own order (see ``shuffles``).
            seed: With the epoch, what the order depends on.
            steps: At most this many batches; the next pass continues where this one stopped, and one that reaches the
                end of the data ends there, with a ``VeraxWarning`` if short; the pass after that begins anew. This is
                Keras' rule for ``steps_per_epoch``.
        """

    def pass_over(self, epoch: int, *, steps: int | None = None) -> None:  # noqa: B027 (most sources have nothing to do)
        """Leave out a pass, so that the next one begins where it would after it.

        Where ``epoch`` alone says where a pass begins, there is nothing to do.
        """

    def __repr__(self) -> str:
        rows = "rows unknown" if self.rows is None else f"{self.rows} {self.label}"
        batches = "batches of their own size" if self.batch_size is None else f"batches of {self.batch_size}"
        return f"{type(self).__name__}({rows}, {batches}, {'resident' if self.resident else 'streamed'})"


def span_of_pass(epoch: int, batches: int, steps: int | None) -> tuple[int, int, int]:
    """Where pass ``epoch`` lies: ``(round, first batch, batch to stop before)``.

    A round is one time through the data. Without ``steps`` a pass is a round. With ``steps`` a round of ``batches``
    batches is cut into passes of ``steps``, the last one shorter where it does not divide.

    >>> [span_of_pass(epoch, 5, 2) for epoch in range(4)]
    [(0, 0, 2), (0, 2, 4), (0, 4, 5), (1, 0, 2)]
    >>> span_of_pass(3, 5, None)
    (3, 0, 5)
    """
    if steps is None:
        return epoch, 0, batches
    passes = -(-batches // steps)
    start = (epoch % passes) * steps
    return epoch // passes, start, min(start + steps, batches)


def check_pass(label: str, epoch: int, shuffle: bool | str, seed: int, steps: int | None) -> None:
    """Refuse the arguments of ``feed`` that name no pass."""
    if shuffle not in (True, False, "batch"):
        raise InputError(
            f"A pass over {label} is shuffled or not.",
            received=f"shuffle={shuffle!r}",
            because="shuffle is True, False or 'batch'",
            do="Pass shuffle=True for a new order of the rows each epoch.",
        )
    if steps is not None:
        check_count("steps", steps)
    for name, value in (("epoch", epoch), ("seed", seed)):
        if value < 0:
            raise InputError(
                f"A pass over {label} is found by its epoch and seed.",
                received=f"{name}={value}",
                because="both count from 0",
                do=f"Pass {name} >= 0.",
            )


def check_count(name: str, value: object) -> int:
    """``value`` as an int >= 1, or an error that names the argument."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1:
        return int(value)
    raise InputError(
        f"{name} is a number of {'rows' if 'size' in name else 'batches'}.",
        received=f"{name}={value!r}",
        because="it must be a whole number, at least 1",
        do=f"Pass {name}=32, or leave it out.",
    )


def check_chunk(k: int, room: int | None = None) -> None:
    """Refuse to take no batches, which would look like the end of a pass, or more than there is room for."""
    if k < 1:
        raise InputError("take(k) hands out batches.", received=f"k={k}", because="k counts from 1", do="Pass k >= 1.")
    if room is not None and room < k:
        raise InputError(
            "take(k, room) hands out batches in room for so many.",
            received=f"k={k}, room={room}",
            because="k batches might not fit",
            do="Pass room >= k.",
        )


def warn_short(label: str, taken: int, asked: int | None) -> None:
    """Say that a pass ended before the steps asked for, or (``asked`` is ``None``) had nothing left to begin with."""
    if asked is None:
        text = f"The {label} come from a generator that was used up before this pass, which is empty. "
    else:
        text = f"The {label} ran out after {taken} of the {asked} batches asked for: this pass ends here. "
    warnings.warn(text + "Ask for fewer steps, or give data that lasts.", VeraxWarning, stacklevel=5)


def spec_of(batch: Batch) -> Batch:
    """The shapes and dtypes of ``batch``."""
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), batch)
