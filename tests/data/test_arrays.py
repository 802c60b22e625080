"""Passes over arrays: every row once, in an order that depends on seed and epoch only."""

from __future__ import annotations

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.data import ArraySource, Batch, arrays, make_source
from verax.errors import InputError, VeraxWarning


def take_all(feed, ks):
    """The rows of each step of a pass, taken in portions of ``ks`` (repeated), checked against the data they index."""
    steps = []
    for k in itertools.cycle(ks):
        chunk = feed.take(k)
        if chunk is None:
            return steps
        assert chunk.index.dtype == np.int32
        assert chunk.rows.dtype == np.int32
        assert chunk.index.shape == chunk.rows.shape
        assert 1 <= len(chunk.index) <= k
        assert np.array_equal(np.asarray(chunk.data.x)[chunk.index], chunk.rows.astype(np.float32))
        steps += chunk.rows.tolist()
    return None


def row_numbers(rows):
    return np.arange(rows, dtype=np.float64)


@pytest.mark.parametrize("limit", [1 << 30, 0], ids=["resident", "streamed"])
@given(
    rows=st.integers(1, 40),
    batch=st.integers(1, 12),
    ks=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    shuffle=st.sampled_from([False, True, "batch"]),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 5),
)
def test_a_pass_has_every_row_once_and_the_same_order_for_every_k(limit, rows, batch, ks, shuffle, seed, epoch):
    source = make_source(row_numbers(rows), batch_size=batch, resident_limit=limit)
    assert source.resident == (limit > 0)
    feed = source.feed(epoch, shuffle=shuffle, seed=seed)
    assert feed.steps == source.steps == -(-rows // batch)
    steps = take_all(feed, ks)
    assert sorted(itertools.chain(*steps)) == list(range(rows))
    assert [len(s) for s in steps] == [batch] * (rows // batch) + [rows % batch] * (rows % batch > 0)
    assert steps == take_all(source.feed(epoch, shuffle=shuffle, seed=seed), [1])
    if shuffle is False:
        assert list(itertools.chain(*steps)) == list(range(rows))
    if shuffle == "batch":  # Keras 3: a batch keeps its rows
        assert [sorted(s) for s in steps] == take_all(source.feed(), [3])


@given(
    rows=st.integers(1, 30),
    batch=st.integers(1, 7),
    steps=st.integers(1, 8),
    shuffle=st.sampled_from([False, True, "batch"]),
)
def test_passes_of_some_steps_put_together_are_whole_rounds(rows, batch, steps, shuffle):
    source = make_source(row_numbers(rows), batch_size=batch)
    passes = -(-source.steps // steps)
    for round_ in range(2):
        parts = []
        for epoch in range(round_ * passes, (round_ + 1) * passes):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VeraxWarning)
                parts += take_all(source.feed(epoch, shuffle=shuffle, seed=3, steps=steps), [2])
        assert parts == take_all(source.feed(round_, shuffle=shuffle, seed=3), [1])


@pytest.mark.parametrize(("rows", "batch", "steps"), [(10, 2, 2), (8, 2, 2), (7, 3, 2), (5, 2, 9)])
def test_steps_for_arrays_as_in_keras(rows, batch, steps):
    source = make_source(row_numbers(rows), batch_size=batch)
    with oracle():
        from keras.src.trainers.epoch_iterator import EpochIterator

        theirs = EpochIterator(row_numbers(rows), batch_size=batch, steps_per_epoch=steps)
        for epoch in range(5):
            expected = []
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                for _, _, batches in theirs:
                    expected += [x.astype(int).tolist() for x in batches]
            with warnings.catch_warnings(record=True) as ours:
                warnings.simplefilter("always")
                assert take_all(source.feed(epoch, steps=steps), [4]) == expected
            assert bool(ours) == bool(warned)


def test_batch_size_is_32_or_what_makes_the_steps():
    assert make_source(np.zeros(100)).batch_size == 32
    assert make_source(np.zeros(100), steps=7).batch_size == 15  # ceil(100 / 7), as in Keras
    assert make_source(np.zeros(100), steps=7, batch_size=4).batch_size == 4


def test_epochs_and_seeds_give_different_orders():
    source = make_source(row_numbers(50), batch_size=10)
    orders = {tuple(take_all(source.feed(e, shuffle=True, seed=s), [1])[0]) for e in range(3) for s in range(3)}
    assert len(orders) == 9


def test_shuffling_chooses_the_batches_and_leaves_each_in_ascending_order():
    batches = take_all(make_source(row_numbers(50), batch_size=12).feed(shuffle=True), [3])
    assert [len(batch) for batch in batches] == [12, 12, 12, 12, 2]
    assert all(batch == sorted(batch) for batch in batches)
    listed = [row for batch in batches for row in batch]
    assert sorted(listed) == list(range(50)) != listed
    whole = take_all(make_source(row_numbers(50), batch_size=50).feed(shuffle=True), [1])
    assert whole == [list(range(50))]


def test_resident_rows_are_put_on_the_device_once_and_are_a_copy():
    x = np.arange(6, dtype=np.float32)
    source = make_source(x, x.astype(np.uint8), batch_size=2)
    chunks = [*source.feed(), *source.feed(1)]
    assert all(chunk.data is chunks[0].data for chunk in chunks)
    assert isinstance(chunks[0].data.x, jax.Array)
    shuffled = source.feed(1, shuffle=True).take(3)
    x[:] = -1
    assert np.asarray(chunks[0].data.x).tolist() == [0, 1, 2, 3, 4, 5]
    for later in (shuffled, source.feed(2, shuffle=True).take(3)):
        assert np.asarray(later.data.x)[later.index].tolist() == later.rows.tolist()


@pytest.mark.parametrize("shuffle", [False, True, "batch"])
@pytest.mark.parametrize("small", [True, False], ids=["laid out", "gathered"])
def test_a_chunk_says_where_its_batches_begin_if_they_stand_side_by_side(monkeypatch, shuffle, small):
    if not small:
        monkeypatch.setattr(arrays, "_SMALL", 0)
    source = make_source(row_numbers(23), batch_size=4)
    assert source.stands(shuffle) == (small or not shuffle)
    feed = source.feed(1, shuffle=shuffle, seed=2)
    chunks = [*iter(lambda: feed.take(2), None)]
    assert [chunk.index.shape for chunk in chunks] == [(2, 4), (2, 4), (1, 4), (1, 3)]
    for chunk in chunks:
        assert (chunk.begins is not None) == source.stands(shuffle)
        for step, index in enumerate(chunk.index if chunk.begins is not None else ()):
            assert index.tolist() == list(range(chunk.begins[step], chunk.begins[step] + len(index)))
        part = chunk.part(slice(1, None))
        assert (part.begins is None) == (chunk.begins is None)
        assert len(part.index) == len(part.rows) == len(chunk.index) - 1


def test_the_same_rows_come_laid_out_and_gathered(monkeypatch):
    seen = []
    for small in (16 << 20, 0):
        monkeypatch.setattr(arrays, "_SMALL", small)
        source = make_source({"a": row_numbers(50), "b": row_numbers(50)[:, None] * 2}, row_numbers(50), batch_size=7)
        feeds = [source.feed(epoch, shuffle=True, seed=5) for epoch in range(3)]
        taken = [(np.asarray(leaf)[c.index], c.rows) for f in feeds for c in f for leaf in jax.tree.leaves(c.data)]
        seen.append(taken)
    for (laid, rows), (gathered, same) in zip(*seen, strict=True):
        np.testing.assert_array_equal(laid, gathered)
        np.testing.assert_array_equal(rows, same)


def test_jax_arrays_stay_where_they_are():
    x = jnp.arange(6.0)
    assert make_source(x).feed().take(1).data.x is x
    assert make_source(x, resident_limit=0).resident  # nothing would be copied


def test_memory_maps_are_streamed_and_keep_row_numbers(tmp_path):
    values = np.arange(24, dtype=np.float64).reshape(12, 2)
    np.save(tmp_path / "x.npy", values)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = make_source(x[2:], np.arange(10), batch_size=4)
    assert not source.resident
    assert source.repeatable
    assert source.spec.x == jax.ShapeDtypeStruct((4, 2), np.float32)
    seen = []
    for chunk in source.feed(shuffle=True, seed=1):
        assert chunk.data.x.dtype == np.float32
        assert isinstance(chunk.data.x, np.ndarray)
        np.testing.assert_array_equal(chunk.data.x[chunk.index], values[2:][chunk.rows])
        np.testing.assert_array_equal(chunk.data.y[chunk.index], chunk.rows)
        seen += chunk.rows.ravel().tolist()
    assert sorted(seen) == list(range(10))


def test_structures_keep_their_form():
    x = {"a": np.zeros((5, 2)), "b": [np.zeros(5, np.int64), np.zeros((5, 1), bool)]}
    source = make_source(x, (np.zeros(5), np.zeros(5)), batch_size=2)
    chunk = source.feed().take(1)
    assert jax.tree.structure(chunk.data.x) == jax.tree.structure(x)
    assert [leaf.dtype for leaf in jax.tree.leaves(chunk.data.x)] == [np.float32, np.int32, bool]
    assert isinstance(chunk.data.y, tuple)
    assert source.spec.x["a"].shape == (2, 2)
    assert make_source(np.zeros((3, 4))).spec.x.shape == (3, 4)  # fewer rows than a batch


def test_repr_says_what_it_is():
    assert repr(make_source(np.zeros(5), label="training rows")) == (
        "ArraySource(5 training rows, batches of 32, resident)"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"shuffle": "rows"}, "shuffle='rows'"), ({"steps": 0}, "steps=0"), ({"epoch": -1}, "epoch=-1")],
)
def test_a_pass_that_is_none_is_refused(arguments, named):
    source = ArraySource(Batch(np.zeros(4, np.float32)), batch_size=2)
    with pytest.raises(InputError, match=named):
        source.feed(**arguments)
    with pytest.raises(InputError, match="k=0"):
        source.feed().take(0)
