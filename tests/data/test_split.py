"""Rows held out for validation, with Keras as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.data import make_source, split
from verax.errors import DataError, InputError


@given(rows=st.integers(1, 60), fraction=st.floats(0.01, 0.99))
def test_the_rows_are_those_of_keras(rows, fraction):
    x, y = np.arange(rows), np.arange(rows)[:, None] * 2
    with oracle():
        from keras.src.trainers.data_adapters.array_slicing import train_validation_split

        try:
            expected = train_validation_split((x, y, None), fraction)
        except ValueError:
            expected = None
    source = make_source(x, y, batch_size=4)
    if expected is None:
        for data in ((x, y, None), source):
            with pytest.raises(DataError, match="part would be empty"):
                split(data, fraction)
        return
    for part, theirs, source_part in zip(split((x, y, None), fraction), expected, split(source, fraction), strict=True):
        assert part[2] is None
        for array, their in zip(part[:2], theirs[:2], strict=True):
            np.testing.assert_array_equal(array, np.asarray(their[:]) if not hasattr(their, "array") else their.array)
        numbers = np.concatenate([chunk.rows.ravel() for chunk in source_part.feed()])
        np.testing.assert_array_equal(numbers + part[0][0], part[0])  # each part counts its own rows
        chunk = source_part.feed().take(1)
        np.testing.assert_array_equal(np.asarray(chunk.data.y)[chunk.index[0], 0], 2 * part[0][chunk.rows[0]])


def test_class_weights_stay_with_training_and_sample_weights_go_along():
    source = make_source(np.zeros(4), np.ones(4, int), [1, 2, 3, 4], class_weight={1: 10}, label="training rows")
    training, validation = split(source, 0.5, validation_batch_size=1)
    assert np.asarray(training.feed().take(1).data.weight).tolist() == [10, 20]
    assert np.asarray(validation.feed().take(1).data.weight).tolist() == [3, 4]
    assert (training.batch_size, validation.batch_size) == (32, 1)
    assert (training.label, validation.label) == ("training rows", "validation rows")


def test_a_split_memory_map_is_still_streamed(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0))
    source = make_source(np.load(tmp_path / "x.npy", mmap_mode="r"), batch_size=3)
    for part in split(source, 0.3):
        assert not part.resident
        for chunk in part.feed(shuffle=True):
            np.testing.assert_array_equal(chunk.data.x[chunk.index], chunk.rows + part.plain.x[0])


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, True])
def test_fractions_outside_are_refused(fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        split(np.zeros(10), fraction)


@pytest.mark.parametrize("wrap", [lambda g: g, lambda g: (g, None), make_source])
def test_a_generator_is_refused(wrap):
    with pytest.raises(InputError, match="Pass validation_data"):
        split(wrap(np.zeros(2) for _ in range(3)), 0.5)
