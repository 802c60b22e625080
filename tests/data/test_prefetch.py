"""Chunks made ready in a thread: the same batches, no more of them, and nobody left behind."""

from __future__ import annotations

import contextvars
import itertools
import threading
import time
import traceback
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.data import make_source, prefetch
from verax.data.prefetch import Prefetched
from verax.errors import InputError, VeraxWarning
from verax.utils import PyDataset

NAME = "verax-feed"


def threads():
    return [t for t in threading.enumerate() if t.name == NAME]


@pytest.fixture(autouse=True)
def none_left():
    yield
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []


def batch_of(i, rows=2):
    return np.full((rows, 1), i, np.float64), np.full(rows, i)


class Counted:
    """A generator's batches, with how many were asked for."""

    def __init__(self, batches, fails=None):
        self.asked, self.threads = 0, set()
        self.batches, self.fails = batches, fails

    def __iter__(self):
        for i in range(self.batches):
            self.asked += 1
            self.threads.add(threading.get_ident())
            if i == self.fails:
                raise KeyError("no such file")
            yield batch_of(i)

    def once(self):
        yield from self


def numbers(feed, ks=(3,), room=None):
    out = []
    for k in itertools.cycle(ks):
        chunk = feed.take(k, room)
        if chunk is None:
            return out
        assert len(chunk.index) <= k
        if room is not None:
            assert len(chunk.data.y) == room * chunk.index.shape[1]
        out += np.asarray(chunk.data.y)[chunk.index][:, 0].tolist()
    return None


def until(true):
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert true()


def doubled(chunk):
    return chunk._replace(data=chunk.data._replace(y=jax.device_put(2 * chunk.data.y)))


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=14),
    ks=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    room=st.sampled_from([None, 4]),
    ahead=st.integers(0, 3),
    steps=st.one_of(st.none(), st.integers(1, 8)),
)
def test_the_batches_are_those_of_the_feed_in_their_order(sizes, ks, room, ahead, steps):
    def one():
        return make_source(batch_of(i, rows) for i, rows in enumerate(sizes))

    plain, source = one(), one()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeraxWarning)
        for epoch in range(3):
            expected = numbers(plain.feed(epoch, steps=steps), ks)
            feed = Prefetched(source.feed(epoch, steps=steps), doubled, ahead=ahead)
            assert numbers(feed, ks, room) == [2 * i for i in expected]
            assert feed.taken == len(expected)
    assert threads() == []


@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_of_a_memory_map_come_as_without(tmp_path, shuffle):
    np.save(tmp_path / "x.npy", np.arange(30.0).reshape(15, 2))
    source = make_source(np.load(tmp_path / "x.npy", mmap_mode="r"), batch_size=4)
    feed = Prefetched(source.feed(1, shuffle=shuffle, seed=5))
    for one in source.feed(1, shuffle=shuffle, seed=5):
        chunk = feed.take(1, 3)
        assert chunk.data.x.shape == (3 * one.index.shape[1], 2)
        np.testing.assert_array_equal(chunk.data.x[chunk.index], one.data.x[one.index])
        np.testing.assert_array_equal(chunk.rows, one.rows)
    assert feed.take(1) is None


def test_no_more_is_read_than_the_pass_asked_for_nor_than_may_wait():
    data = Counted(100)
    source = make_source(data.once())
    feed = Prefetched(source.feed(0, steps=7), ahead=2)
    feed.take(2)
    until(lambda: data.asked == 6)  # two taken, two chunks of two waiting
    time.sleep(0.05)
    assert data.asked == 6
    assert len(numbers(feed)) == 5
    assert data.asked == 7
    assert numbers(Prefetched(source.feed(1, steps=2))) == [7, 8]
    assert data.threads - {threading.get_ident()}


def test_without_looking_ahead_the_next_batch_is_read_when_it_is_taken_and_here():
    data = Counted(9)
    feed = Prefetched(make_source(data.once()).feed(), ahead=0)
    for taken in range(1, 4):
        feed.take(1)
        assert data.asked == taken
    assert data.threads == {threading.get_ident()}


def test_what_was_read_and_not_taken_comes_first_in_the_next_pass():
    data = Counted(20)
    source = make_source(data.once())
    feed = Prefetched(source.feed(0, steps=15), ahead=2)
    assert feed.take(3).data.y.tolist() == [0, 0, 1, 1, 2, 2]
    until(lambda: data.asked == 9)
    assert feed.take(1).data.y[:2].tolist() == [3, 3]  # the rest of a longer chunk waits
    feed.close()
    feed.close()
    assert threads() == []
    assert numbers(source.feed(1, steps=10)) == list(range(4, 14))


def test_a_closed_pass_ends_with_the_batch_that_is_being_made_and_the_next_one_waits_for_it(monkeypatch):
    monkeypatch.setattr(prefetch, "_PATIENCE", 0.01)
    go, inside = threading.Event(), threading.Event()

    def slow():
        for i in range(8):
            if i == 4:
                inside.set()
                assert go.wait(5)
            yield batch_of(i)

    source = make_source(slow())
    feed = Prefetched(source.feed(0, steps=8))
    assert feed.take(2).data.y.tolist() == [0, 0, 1, 1]
    assert inside.wait(5)
    feed.close()
    assert threads()  # the batch is still being made
    threading.Timer(0.05, go.set).start()
    assert numbers(source.feed(1, steps=6)) == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_comes_after_the_batches_before_it_with_its_own_traceback(ahead):
    feed = Prefetched(make_source(Counted(9, fails=5).once()).feed(), ahead=ahead)
    seen = []
    while len(seen) < 5:
        seen += feed.take(2).data.y[::2].tolist()
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="no such file") as caught:
        feed.take(2)
    assert "once" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert feed.take(2) is None  # a generator that raised has ended


def test_an_error_in_what_makes_a_chunk_ready_comes_in_its_turn():
    def refuse(chunk):
        if 4 in chunk.data.y:
            raise InputError("a target was to be below 4")
        return chunk

    feed = Prefetched(make_source(Counted(9).once()).feed(), refuse)
    assert [feed.take(2).data.y.max() for _ in range(2)] == [1, 3]
    with pytest.raises(InputError, match="below 4"):
        feed.take(2)


def test_a_slow_generator_is_not_waited_for_until_the_chunk_is_full(monkeypatch):
    monkeypatch.setattr(prefetch, "_SECONDS", 0.02)

    def slow():
        for i in range(6):
            time.sleep(0.015)
            yield batch_of(i)

    feed, lengths = Prefetched(make_source(slow()).feed()), []
    while (chunk := feed.take(50)) is not None:
        lengths.append(len(chunk.index))
    assert sum(lengths) == 6
    assert lengths[0] < 6


def test_context_and_warnings_of_the_data_reach_the_caller():
    setting = contextvars.ContextVar("setting", default=0)
    seen = []

    def batches():
        for i in range(4):
            seen.append(setting.get())
            if i == 3:
                warnings.warn("the last file is short", UserWarning, stacklevel=1)
            yield batch_of(i)

    source = make_source(batches())
    setting.set(5)
    with pytest.warns(UserWarning, match="the last file is short"):
        assert numbers(Prefetched(source.feed())) == [0, 1, 2, 3]
    assert seen == [0, 5, 5, 5]
    with pytest.warns(VeraxWarning, match="used up before this pass") as caught:
        assert numbers(Prefetched(source.feed(1))) == []
    assert len(caught) == 1


def test_the_end_of_a_pass_is_told_here_and_when_it_is_reached():
    class Told(PyDataset):
        ends = ()

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return batch_of(index)

        def on_epoch_end(self):
            self.ends += (threading.get_ident(),)

    for workers in (1, 3):
        data = Told(workers=workers)
        feed = Prefetched(make_source(data).feed())
        for _ in range(5):
            feed.take(1)
            assert data.ends == ()
        assert feed.take(1) is None
        assert data.ends == (threading.get_ident(),)
        given_up = Prefetched(make_source(data).feed())
        given_up.take(1)
        given_up.close()


def test_a_generator_may_use_jax_and_its_own_memory_again():
    double, x = jax.jit(lambda a: 2 * a), np.zeros((2, 1), np.float32)

    def batches():
        for i in range(7):
            x[:] = i
            yield x, np.asarray(double(jnp.asarray(x[:, 0])))

    feed = Prefetched(make_source(batches()).feed(), lambda chunk: chunk._replace(data=jax.device_put(chunk.data)))
    got = [chunk.data for chunk in iter(lambda: feed.take(3), None)]
    assert np.concatenate([d.x[::2, 0] for d in got]).tolist() == list(range(7))
    assert np.concatenate([d.y[::2] for d in got]).tolist() == [2.0 * i for i in range(7)]


def test_an_interrupt_while_batches_are_read_here_loses_none_of_them():
    class Pressed:
        at = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.at += 1
            if self.at == 4:
                raise KeyboardInterrupt
            return batch_of(self.at - 1)

    class Once:  # an iterator whose interrupt does not end it
        def __init__(self):
            self.inner = Pressed()

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.inner)

    source = make_source(Once())
    with pytest.raises(KeyboardInterrupt):
        source.feed(0, steps=5).take(5)
    assert numbers(source.feed(1, steps=3)) == [0, 1, 2]


def test_room_for_fewer_than_asked_is_refused():
    with pytest.raises(InputError, match="room=2"):
        Prefetched(make_source(Counted(3).once()).feed()).take(3, room=2)
