"""Batches from sequences, generators and iterables."""

from __future__ import annotations

import itertools
import random
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.data import make_source, unpack
from verax.errors import DataError, InputError, ShapeError, VeraxWarning
from verax.utils import PyDataset


def batch_of(i, rows=2):
    return np.full((rows, 1), i, np.float64), np.full(rows, i)


class Numbered(PyDataset):
    def __init__(self, batches=5, **kwargs):
        super().__init__(**kwargs)
        self.batches, self.calls, self.threads = batches, [], set()

    def __len__(self):
        return self.batches

    def __getitem__(self, index):
        self.threads.add(threading.get_ident())
        return batch_of(index)

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


class Endless(Numbered):
    num_batches = None


def numbers(feed, k=3):
    """Which batches a pass handed out."""
    out = []
    while (chunk := feed.take(k)) is not None:
        steps, size = chunk.index.shape
        assert steps <= k
        assert chunk.rows is None
        assert chunk.data.x.shape == (steps * size, 1)
        assert chunk.data.x.dtype == np.float32
        assert chunk.data.y.dtype == np.int32
        out += chunk.data.y[chunk.index][:, 0].tolist()
    return out


def quiet(feed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeraxWarning)
        return numbers(feed)


# ---- sequences


@given(
    batches=st.integers(1, 12),
    k=st.integers(1, 5),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 4),
    workers=st.sampled_from([1, 3]),
)
def test_a_sequence_is_shuffled_by_batch_the_same_for_every_k_and_every_number_of_workers(
    batches, k, seed, epoch, workers
):
    source = make_source(Numbered(batches, workers=workers, max_queue_size=2))
    order = numbers(source.feed(epoch, shuffle=True, seed=seed), k)
    assert sorted(order) == list(range(batches))
    again = make_source(Numbered(batches))
    assert numbers(again.feed(epoch, shuffle=True, seed=seed), 1) == order
    assert numbers(again.feed(epoch), k) == list(range(batches))


def test_a_sequence_says_what_is_known():
    source = make_source(Numbered(), label="training rows")
    assert (source.rows, source.batch_size, source.steps) == (None, None, 5)
    assert (source.repeatable, source.resident, source.shuffles) == (True, False, "batches")
    assert source.spec.x.shape == (2, 1)
    assert source.feed().steps == 5
    assert repr(source) == "SequenceSource(rows unknown, batches of their own size, streamed)"


def test_workers_fetch_in_threads_and_an_error_of_one_is_raised():
    data = Numbered(40, workers=4, max_queue_size=8)
    assert numbers(make_source(data).feed(), 4) == list(range(40))
    assert threading.get_ident() in data.threads  # the first look
    assert len(data.threads) > 1

    class Broken(Numbered):
        def __getitem__(self, index):
            if index == 3:
                raise KeyError("no such file")
            return batch_of(index)

    feed = make_source(Broken(workers=2)).feed()
    with pytest.raises(KeyError, match="no such file"):
        numbers(feed)


def test_hooks_are_called_around_each_pass():
    data = Numbered()
    source = make_source(data)
    assert data.calls == []
    for epoch in range(2):
        feed = source.feed(epoch)
        while feed.take(2) is not None:
            assert data.calls[-1] == "begin"
        assert feed.take(2) is None  # a second None changes nothing
    assert data.calls == ["begin", "end"] * 2


def test_an_endless_sequence_needs_steps_and_goes_on_with_them():
    source = make_source(Endless())
    assert source.steps is None
    assert source.shuffles == "nothing"
    with pytest.raises(InputError, match="without end"):
        source.feed()
    assert [numbers(source.feed(e, steps=3)) for e in range(2)] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("batches", "steps"), [(5, None), (5, 2), (4, 2), (3, 7)])
def test_steps_for_sequences_as_in_keras(batches, steps):
    source = make_source(Numbered(batches))
    with oracle() as keras:
        from keras.src.trainers.epoch_iterator import EpochIterator

        class Theirs(keras.utils.PyDataset):
            def __len__(self):
                return batches

            def __getitem__(self, index):
                return batch_of(index)

        theirs = EpochIterator(Theirs(), steps_per_epoch=steps)
        for epoch in range(5):
            expected = []
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                for _, _, taken in theirs:
                    expected += [int(y[0]) for _, y in taken]
            with warnings.catch_warnings(record=True) as ours:
                warnings.simplefilter("always")
                assert numbers(source.feed(epoch, steps=steps)) == expected
            assert bool(ours) == bool(warned)
        assert numbers(make_source(Theirs()).feed()) == list(range(batches))  # a real Keras dataset is a sequence too


# ---- generators and iterables


def test_steps_for_generators_as_in_keras():
    source = make_source(batch_of(i) for i in itertools.count())
    with oracle():
        from keras.src.trainers.epoch_iterator import EpochIterator

        theirs = EpochIterator((batch_of(i) for i in itertools.count()), steps_per_epoch=3)
        for epoch in range(3):
            expected = [int(y[0]) for _, _, taken in theirs for _, y in taken]
            assert numbers(source.feed(epoch, steps=3), 2) == expected == list(range(3 * epoch, 3 * epoch + 3))


def test_a_generator_that_ends_early_warns_and_one_that_is_used_up_says_so():
    source = make_source((batch_of(i) for i in range(4)), label="training rows")
    assert not source.repeatable
    assert numbers(source.feed(0, steps=3)) == [0, 1, 2]
    with pytest.warns(VeraxWarning, match="training rows ran out after 1 of the 3 batches"):
        assert numbers(source.feed(1, steps=3)) == [3]
    with pytest.warns(VeraxWarning, match="used up before this pass"):
        assert numbers(source.feed(2, steps=3)) == []
    with pytest.warns(VeraxWarning, match="used up before this pass"):
        assert numbers(source.feed(3)) == []


def test_the_end_of_a_generator_is_the_end_of_a_pass_without_steps():
    assert numbers(make_source(batch_of(i) for i in range(4)).feed()) == [0, 1, 2, 3]


class Loader:
    """Can be iterated again and again, as a data loader."""

    def __init__(self, batches, sized=True):
        self.batches = batches
        self.opened = 0
        if sized:
            self.__class__ = SizedLoader

    def __iter__(self):
        self.opened += 1
        return iter([batch_of(i) for i in range(self.batches)])


class SizedLoader(Loader):
    def __len__(self):
        return self.batches


@pytest.mark.parametrize("sized", [True, False])
def test_an_iterable_starts_anew_each_pass_or_goes_on_with_steps(sized):
    loader = Loader(4, sized)
    source = make_source(loader)
    assert source.repeatable
    assert source.steps == (4 if sized else None)
    feed = source.feed(0)
    assert feed.steps == source.steps
    assert numbers(feed) == [0, 1, 2, 3]
    assert loader.opened == 1  # the first look was not lost, nor made twice
    assert numbers(source.feed(1)) == [0, 1, 2, 3]
    assert [numbers(source.feed(e, steps=2)) for e in range(3)] == [[0, 1], [2, 3], [0, 1]]
    assert numbers(source.feed(0, steps=3)) == [0, 1, 2]  # pass 0 starts at the beginning
    assert quiet(source.feed(1, steps=3)) == [3]
    assert numbers(source.feed(2, steps=3)) == [0, 1, 2]


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=12), k=st.integers(1, 5))
def test_batches_of_other_sizes_come_in_chunks_of_their_own(sizes, k):
    source = make_source(batch_of(i, rows) for i, rows in enumerate(sizes))
    feed, seen = source.feed(), []
    while (chunk := feed.take(k)) is not None:
        steps, size = chunk.index.shape
        seen += [(int(y[0]), size) for y in chunk.data.y[chunk.index]]
        assert steps <= k
    assert seen == list(enumerate(sizes))
    assert feed.taken == len(sizes)


def test_a_batch_set_aside_for_its_size_is_not_lost_to_a_pass_of_few_steps():
    source = make_source(batch_of(i, 1 + i % 2) for i in range(6))
    assert numbers(source.feed(0, steps=3), 2) == [0, 1, 2]
    assert numbers(source.feed(1, steps=3), 2) == [3, 4, 5]


@pytest.mark.parametrize("form", [lambda x, y: x, lambda x, y: (x,), lambda x, y: (x, y), lambda x, y: [x, y]])
def test_forms_of_a_batch(form):
    data = make_source(form(np.ones((2, 3)), np.zeros(2)) for _ in range(1)).feed().take(1).data
    assert data.x.shape == (2, 3)
    assert data.weight is None


def test_unpack_is_that_of_keras():
    with oracle() as keras:
        for data in (1, (1,), (1, 2), (1, 2, 3), [1, 2], {"a": 1}):
            assert tuple(unpack(data)) == keras.utils.unpack_x_y_sample_weight(data)
    with pytest.raises(InputError, match="a tuple of 4"):
        unpack((1, 2, 3, 4), "validation_data")


def test_weights_and_class_weights_of_a_stream_multiply():
    x, y = np.zeros((3, 1)), np.array([0, 1, 2])
    source = make_source(((x, y, np.array([1.0, 2.0, 3.0])) for _ in range(2)), class_weight={1: 10.0})
    assert source.feed().take(2).data.weight.tolist() == [1.0, 20.0, 3.0] * 2
    assert make_source(((x, y) for _ in range(2)), class_weight={1: 10}).spec.weight.shape == (3,)


@pytest.mark.parametrize(
    ("batches", "error", "named"),
    [
        ([], DataError, "no batch"),
        ([(np.zeros(2), np.zeros(3))], DataError, "batch 0 of the rows: x has 2 rows, batch 0 of the rows: y has 3"),
        ([(np.zeros(3), 1)], ShapeError, "a sequence returns whole batches"),
        ([np.zeros((0, 2))], DataError, "batch 0 of the rows"),
        ([(np.zeros(2), np.zeros(2)), np.zeros(2)], ShapeError, "batch 1 of the rows"),
        ([np.array(["a"])], TypeError, "batch 0 of the rows: x"),
        ([(np.zeros(2), np.zeros(2), np.zeros((2, 3, 4)))], ShapeError, "batch 0 of the rows: sample_weight"),
        ([(1, 2, 3, 4)], InputError, "a tuple of 4"),
        ([None], DataError, "batch 0 of the rows: x"),
    ],
)
def test_bad_batches_are_named(batches, error, named):
    with pytest.raises(error, match=f"(?s){named}"):
        list(make_source(iter(batches)).feed())


def test_nan_is_found_when_asked_for():
    batches = [np.zeros((2, 2)), np.array([[0, 0], [0, np.inf]])]
    with pytest.raises(DataError, match=r"(?s)batch 1 of the rows: x.*inf in row 1, column 1"):
        list(make_source(iter(batches), check_finite=True).feed())
    assert len(list(make_source(iter(batches)).feed())) == 2


def test_an_empty_sequence_is_refused():
    with pytest.raises(DataError, match="Numbered of length 0"):
        make_source(Numbered(0))


def test_orders_do_not_touch_the_global_generators():
    def state():
        return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 (the generator in question)

    before = state()
    numbers(make_source(Numbered()).feed(shuffle=True))
    list(make_source(np.zeros(9)).feed(shuffle=True))
    assert state() == before
