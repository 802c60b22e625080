"""Data that come in batches: sequences, which can be asked for any batch, and iterables, which hand out the next."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from verax.data.order import rows_in_order
from verax.data.recipe import Recipe
from verax.data.source import Batch, Chunk, Feed, Source, check_pass, never, span_of_pass, spec_of, warn_short
from verax.data.stack import Ready, Stack, batches_of, ready
from verax.data.values import cast, check_finite_rows, equal_rows, leaves, map_leaves, to_array
from verax.data.weights import check_weights, class_weights_of, combine, spread
from verax.errors import DataError, InputError, ShapeError

__all__ = ["IterableSource", "SequenceSource", "StreamFeed", "unpack"]

#: The most batches in a chunk that was asked for without saying how many it is to have room for.
_MOST = 64


def unpack(data: Any, name: str = "a batch") -> Batch:
    """``x``, ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)`` as a ``Batch``; a list counts as a tuple, as in Keras.

    >>> unpack((1, 2))
    Batch(x=1, y=2, weight=None)
    """
    if isinstance(data, Batch) or not isinstance(data, (tuple, list)):
        return data if isinstance(data, Batch) else Batch(data)
    if 1 <= len(data) <= 3:
        return Batch(*data)
    raise InputError(
        f"{name} is x, (x,), (x, y) or (x, y, sample_weight).",
        received=f"a {type(data).__name__} of {len(data)}",
        because="its parts could be anything",
        do="Put several inputs into a tuple of their own: ((x1, x2, ...), y).",
    )


class StreamFeed(Feed):
    """One pass over batches that ``pull_one`` hands out one by one (``None``: no more).

    Args:
        pull_one: The next batch.
        push_back: Takes back a batch that was pulled; what was pushed back last comes first.
        reading: Held while batches are pulled ahead in a thread.
        steps: How many batches are expected, ``None`` where only the end will tell.
        asked: How many were asked for: no more are pulled, and ending before warns.
        spent: There is nothing left to hand out, which warns in any case.
        close: Called once, when the end was reached.
    """

    def __init__(
        self,
        pull_one: Callable[[], Ready | None],
        push_back: Callable[[Ready], None],
        reading: AbstractContextManager[Any],
        *,
        label: str,
        steps: int | None,
        asked: int | None,
        spent: bool = False,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.steps, self.taken, self.reading = steps, 0, reading
        self._pull_one, self._push_back, self._close = pull_one, push_back, close
        self._label, self._asked, self._spent = label, asked, spent
        self._ended = self._closed = False
        self._error: Exception | None = None

    def pull(self, k: int, room: int | None = None, enough: Callable[[], bool] = never) -> Chunk | None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        k = min(k, room or _MOST)
        stack: Stack | None = None
        try:
            while not self._ended and (self._asked is None or self.taken < self._asked):
                batch = self._pull_one()
                if batch is None:
                    self._ended = True
                    break
                if stack is None:
                    stack = Stack(batch.form, room or k)
                elif batch.form is not stack.form and batch.form != stack.form:
                    self._push_back(batch)
                    break
                stack.add(batch.arrays)
                self.taken += 1
                if stack.steps == k or enough():
                    break
        except Exception as error:
            self._ended = True
            if stack is None:
                raise
            self._error = error  # the batches before it come first
        except BaseException:  # an interrupt: nothing that was pulled is lost
            if stack is not None:
                self.give_back(stack.chunk())
            raise
        return None if stack is None else stack.chunk(whole=room is not None)

    def give_back(self, chunk: Chunk) -> None:
        super().give_back(chunk)
        self._ended = False
        for batch in reversed(batches_of(chunk)):
            self._push_back(batch)

    def finish(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._close()
        if self._spent:
            warn_short(self._label, 0, None)
        elif self._asked is not None and self.taken < self._asked:
            warn_short(self._label, self.taken, self._asked)


class _Stream(Source):
    """What sequences and iterables share: a batch as it came becomes a checked ``Batch`` on the host."""

    rows = None
    batch_size = None
    resident = False

    def __init__(self, *, label: str, class_weight: dict[int, float] | None, check_finite: bool) -> None:
        self.label, self.class_weight, self.check_finite = label, class_weight, check_finite
        self._spec: Batch | None = None
        self._recipe: Recipe | None = None
        self._reading = threading.RLock()  # one thread at a time asks for batches

    @property
    def spec(self) -> Batch:
        assert self._spec is not None
        return self._spec

    def _prepare(self, raw: Any, number: int) -> Ready:
        """Batch ``number`` checked, in its final dtypes, with class weights applied."""
        made = None if self._recipe is None else self._recipe(raw)
        if made is None:
            made = ready(self._check(raw, number))
            self._recipe = None if self.class_weight is not None else Recipe.of(raw, made, self.check_finite)
        return made

    def _check(self, raw: Any, number: int) -> Batch:
        where = f"batch {number} of the {self.label}"
        given = unpack(raw, where)
        names = Batch(f"{where}: x", f"{where}: y", f"{where}: sample_weight")
        x, y, weight = (map_leaves(self._host, part, name) for part, name in zip(given, names, strict=True))
        if x is None:
            raise DataError(f"{names.x} is to hold rows.", received="None", because="it is empty", do="Yield arrays.")
        if self.check_finite:
            for part, name in ((x, names.x), (y, names.y)):
                for path, array in leaves(part, name):
                    check_finite_rows(array, path)
        weight = spread(weight, y)
        check_weights(weight, y, names.weight)
        batch = Batch(x, y, map_leaves(lambda array, name: array.astype(np.float32), weight, "weight"))
        if not equal_rows(
            (pair for part, name in zip(batch, names, strict=True) for pair in leaves(part, name)), names.x
        ):
            raise DataError(
                f"{where} is to hold rows.", received="0 rows", because="it is empty", do="Skip such a batch."
            )
        if self.class_weight is not None:
            batch = batch._replace(weight=combine(batch.weight, class_weights_of(y, self.class_weight, names.y)))
        self._check_structure(batch, where)
        return batch

    def _host(self, leaf: Any, name: str) -> np.ndarray:
        return np.asarray(cast(to_array(leaf, name), name))

    def _check_structure(self, batch: Batch, where: str) -> None:
        if self._spec is None:
            self._spec = spec_of(batch)
        ours, first = jax.tree.structure(batch), jax.tree.structure(self._spec)
        if ours != first:
            raise ShapeError(
                f"All batches of the {self.label} have one structure.",
                received=f"{ours} in {where}",
                because=f"the first batch was {first}",
                do="Yield the same inputs, targets and weights every time.",
            )


class SequenceSource(_Stream):
    """Batches that can be asked for by number, such as a ``PyDataset``: ``sequence[i]`` is batch ``i``.

    ``num_batches`` is read if there is one (``None``: endless, ``sequence[i]`` for ever higher ``i``), else ``len``. A
    pass begins with ``on_epoch_begin`` and ends with ``on_epoch_end``, where the sequence has them. With ``workers``
    above 1 that many threads fetch batches ahead, at most ``max_queue_size`` of them, in order. Where the sequence has
    a method ``shuffled(seed, round)``, it gives the sequence of a shuffled epoch; otherwise its batches are shuffled.

    >>> source = SequenceSource([(np.ones((2, 1)), np.ones(2)), (np.ones((1, 1)), np.ones(1))])
    >>> feed = source.feed()
    >>> feed.take(5).index.shape, feed.take(5).index.shape, feed.take(5)
    ((1, 2), (1, 1), None)
    """

    repeatable = True

    def __init__(
        self,
        sequence: Any,
        *,
        label: str = "rows",
        class_weight: dict[int, float] | None = None,
        check_finite: bool = False,
    ) -> None:
        super().__init__(label=label, class_weight=class_weight, check_finite=check_finite)
        self.sequence = sequence
        if self.steps == 0:
            raise DataError(
                f"The {label} come from a sequence of batches.",
                received=f"{type(sequence).__name__} of length 0",
                because="it is empty",
                do="Check its __len__.",
            )
        # Asked for here and again in the first pass: a sequence may change in on_epoch_begin, so it is not kept.
        self._prepare(sequence[0], 0)

    @property
    def steps(self) -> int | None:
        """Batches in a whole pass, ``None`` if endless. Read anew each time: a sequence may change between passes."""
        if hasattr(self.sequence, "num_batches"):
            count = self.sequence.num_batches
            return None if count is None else int(count)
        return len(self.sequence)

    @property
    def shuffles(self) -> str:  # type: ignore[override]
        return "nothing" if self.steps is None else "batches"

    def feed(
        self, epoch: int = 0, *, shuffle: bool | str = False, seed: int = 0, steps: int | None = None
    ) -> StreamFeed:
        check_pass(self.label, epoch, shuffle, seed, steps)
        _call(self.sequence, "on_epoch_begin")
        count, sequence = self.steps, self.sequence
        numbers: Iterable[int]
        if count is None:
            if steps is None:
                raise InputError(
                    f"The {self.label} come from a sequence without end.",
                    received="steps=None",
                    because="its num_batches is None, so a pass would never end",
                    do="Say how many batches make an epoch: steps_per_epoch=100.",
                )
            numbers, expected = range(epoch * steps, (epoch + 1) * steps), steps
        else:
            round_, start, stop = span_of_pass(epoch, count, steps)
            own = getattr(sequence, "shuffled", None)
            if callable(own):  # it knows its rows: they change their batches, and the order can be had again
                sequence, order = (own(seed, round_) if shuffle else sequence), np.arange(count)
            else:
                order = rows_in_order(count, 1, bool(shuffle), seed, round_)
            numbers = [int(i) for i in order[start:stop]]
            expected = stop - start
        batches = self._fetch(sequence, numbers)
        back: list[Ready] = []
        return StreamFeed(
            lambda: back.pop() if back else next(batches, None),
            back.append,
            self._reading,
            label=self.label,
            steps=expected,
            asked=steps,
            close=lambda: _call(self.sequence, "on_epoch_end"),
        )

    def _fetch(self, sequence: Any, numbers: Sequence[int]) -> Iterator[Ready]:
        def load(number: int) -> Ready:
            return self._prepare(sequence[number], number)

        workers = int(getattr(sequence, "workers", 1) or 1)
        if workers <= 1:
            yield from map(load, numbers)
            return
        ahead = max(1, int(getattr(sequence, "max_queue_size", 10)))
        with ThreadPoolExecutor(workers, thread_name_prefix="verax-data") as pool:
            waiting = deque(pool.submit(load, number) for number in numbers[:ahead])
            try:
                for number in itertools.chain(numbers[ahead:], [None] * len(waiting)):
                    batch = waiting.popleft().result()
                    if number is not None:
                        waiting.append(pool.submit(load, number))
                    yield batch
            finally:  # the pass was given up, or a batch failed
                for future in waiting:
                    future.cancel()


def _call(sequence: Any, name: str) -> None:
    hook = getattr(sequence, name, None)
    if callable(hook):
        hook()


class IterableSource(_Stream):
    """Batches that come one after the other: a generator, an iterator, or anything that can be iterated again.

    What can be iterated again (a data loader) starts anew for each pass; with ``steps``, a pass continues where the
    last one stopped, except pass 0. A generator goes on, pass after pass, until it is exhausted; a pass after that is
    empty, and warns.

    Differs from Keras: the end of an iterable that was asked for no ``steps`` is the end of the pass, without a
    warning; batches already seen are not handed out again.

    >>> source = IterableSource((np.full((2, 1), i) for i in range(3)))
    >>> [chunk.data.x.ravel().tolist() for chunk in source.feed()]
    [[0, 0], [1, 1], [2, 2]]
    """

    shuffles = "nothing"

    def __init__(
        self,
        iterable: Iterable[Any],
        *,
        label: str = "rows",
        class_weight: dict[int, float] | None = None,
        check_finite: bool = False,
    ) -> None:
        super().__init__(label=label, class_weight=class_weight, check_finite=check_finite)
        self.iterable = iterable
        self.repeatable = not hasattr(iterable, "__next__")
        self._batches = self._iterate()
        self._back: list[Ready] = []
        self._fresh = True
        first = self._pull()
        if first is None:
            raise DataError(
                f"The {label} come from {type(iterable).__name__} of batches.",
                received="no batch",
                because="it is empty" if self.repeatable else "it is empty, or was used up before",
                do="Check the files it reads, or make a new one.",
            )
        self._back.append(first)

    @property
    def steps(self) -> int | None:
        """Batches in a whole pass, where the iterable has a length."""
        try:
            return len(self.iterable) if self.repeatable else None  # type: ignore[arg-type]
        except TypeError:
            return None

    def feed(
        self, epoch: int = 0, *, shuffle: bool | str = False, seed: int = 0, steps: int | None = None
    ) -> StreamFeed:
        check_pass(self.label, epoch, shuffle, seed, steps)
        with self._reading:
            if self.repeatable and not self._fresh and (steps is None or epoch == 0 or not self._has_more()):
                self._batches, self._back = self._iterate(), []
            self._fresh = False
            spent = not self.repeatable and not self._has_more()
        return StreamFeed(
            self._pull,
            lambda batch: self._back.append(batch),
            self._reading,
            label=self.label,
            steps=self.steps if steps is None else steps,
            asked=steps,
            spent=spent,
        )

    def pass_over(self, epoch: int, *, steps: int | None = None) -> None:
        if self.repeatable and steps is None:
            return
        feed = self.feed(epoch, steps=steps)
        while feed.pull(_MOST) is not None:
            pass

    def _iterate(self) -> Iterator[Ready]:
        return (self._prepare(raw, number) for number, raw in enumerate(self.iterable))

    def _pull(self) -> Ready | None:
        return self._back.pop() if self._back else next(self._batches, None)

    def _has_more(self) -> bool:
        if not self._back:
            batch = next(self._batches, None)
            if batch is not None:
                self._back.append(batch)
        return bool(self._back)
