"""Batches made ready while the device computes: one thread reads, checks, stacks and puts chunks on the device."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable

from verax.data.source import Chunk, Feed, check_chunk

__all__ = ["Prefetched"]

#: A chunk that is waited for is handed out after so many seconds, with the batches it has by then.
_SECONDS = 0.1
#: How long ``close`` waits for a batch that is being made, so that an interrupt answers.
_PATIENCE = 1.0


class Prefetched:
    """A pass whose chunks are made ready in a thread, ``ahead`` of them at most, by ``prepare(chunk) -> chunk``.

    The batches, their order and their bits are those of the feed; where a chunk ends may differ. In memory are at most
    ``ahead`` chunks that wait, one that is being made (it takes the place of a waiting one), and those the consumer
    holds.

    * The thread asks the feed for no batch beyond the end of the pass. It begins with the first ``take`` and ends with
      the pass, with an error, or with ``close``. Only this thread reads the data meanwhile: a generator runs in one
      thread at a time, though its first batch may have been read in another one. What belongs to a thread (an sqlite
      connection) must be told that others may use it.
    * It runs in a copy of the caller's context, so the data see its context variables.
    * An error in the data, or in ``prepare``, is raised by ``take`` with its own traceback, after all chunks before it.
    * What the end of a pass brings with it (``on_epoch_end``, warnings) happens in ``take``.
    * ``close`` hands what was not taken back to the feed: the next pass over the source begins with it. A generator
      itself has by then been asked for at most ``ahead`` chunks more than were taken, and stands at a ``yield``. If a
      batch takes longer than a second to make, ``close`` does not wait for it: the thread ends, and hands back, when it
      comes, and the next pass waits for that.

    Args:
        feed: The pass.
        prepare: What is done with each chunk; as it is if ``None``.
        ahead: 0 to read when asked, in the caller's thread: where what is done between two batches may change the
            second one, and to step through data with a debugger.

    >>> from verax.data import make_source
    >>> feed = Prefetched(make_source(np.full((2, 1), i) for i in range(3)).feed())
    >>> feed.take(2).data.x.ravel().tolist(), feed.take(2).data.x.ravel().tolist(), feed.take(2)
    ([0, 0, 1, 1], [2, 2], None)
    """

    def __init__(self, feed: Feed, prepare: Callable[[Chunk], Chunk] | None = None, *, ahead: int = 2) -> None:
        self.feed, self.taken = feed, 0
        self._prepare = prepare or (lambda chunk: chunk)
        self._ahead = ahead
        self._line: deque[tuple[Chunk, Chunk]] = deque()  # (made ready, as it came)
        self._changed = threading.Condition()
        self._asked: tuple[int, int | None] = (1, None)
        self._thread: threading.Thread | None = None
        self._waited_for = self._over = self._closed = False
        self._error: BaseException | None = None

    @property
    def steps(self) -> int | None:
        """How many batches this pass has, or ``None`` where only its end will tell."""
        return self.feed.steps

    def take(self, k: int, room: int | None = None) -> Chunk | None:
        """The next chunk, of at most ``k`` batches; see :meth:`verax.data.Feed.take`."""
        check_chunk(k, room)
        made = self._next(k, room) if self._ahead and not self._closed else self._now(k, room)
        if made is None:
            self.feed.finish()
        else:
            self.taken += len(made.index)
        return made

    def close(self) -> None:
        """End the thread, and hand back to the feed what was not taken. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._thread is None or self._over:
                self._hand_back()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _now(self, k: int, room: int | None) -> Chunk | None:
        chunk = self.feed.pull(k, room)
        return None if chunk is None else self._prepare(chunk)

    def _next(self, k: int, room: int | None) -> Chunk | None:
        with self._changed:
            self._asked = k, room
            if self._thread is None:
                run = contextvars.copy_context().run
                self._thread = threading.Thread(target=run, args=(self._work,), name="verax-feed", daemon=True)
                self._thread.start()
            self._waited_for = True
            try:
                while not self._line and not self._over:
                    self._changed.wait()
            finally:
                self._waited_for = False
            if self._line:
                return self._first(k)
        self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return None

    def _first(self, k: int) -> Chunk:
        """The first chunk in line; where it was made for a larger ``k``, its first ``k`` batches."""
        made, raw = self._line.popleft()
        if len(made.index) > k:
            self._line.appendleft((made.part(slice(k, None)), raw.part(slice(k, None))))
            return made.part(slice(k))
        self._changed.notify_all()
        return made

    def _work(self) -> None:
        try:
            while self._one_more():
                pass
        except BaseException as error:  # it belongs to whoever takes the next chunk
            self._error = error
        with self._changed:
            self._over = True
            if self._closed:
                self._hand_back()
            self._changed.notify_all()

    def _one_more(self) -> bool:
        """Make a chunk ready as soon as there is place for it; whether there may be another."""
        with self._changed:
            while len(self._line) >= self._ahead and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            k, room = self._asked
        began = time.perf_counter()

        def enough() -> bool:
            waited_for = self._waited_for and not self._line
            return self._closed or (waited_for and time.perf_counter() - began > _SECONDS)

        with self.feed.reading:
            chunk = self.feed.pull(k, room, enough)
            if chunk is None:
                return False
            if self._closed:
                with self._changed:
                    self._line.append((chunk, chunk))
                    self._hand_back()
                return False
        made = self._prepare(chunk)
        with self._changed:
            self._line.append((made, chunk))
            self._changed.notify_all()
        return True

    def _hand_back(self) -> None:
        while self._line:
            self.feed.give_back(self._line.pop()[1])
