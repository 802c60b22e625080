"""to_categorical, normalize and pad_sequences, with Keras as the oracle."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import utils
from verax.errors import DataError, InputError, ShapeError


@pytest.mark.parametrize(
    ("x", "classes"),
    [([0, 2, 1], None), ([[0], [1]], 3), (np.array([[0, 1], [2, 0]]), None), (np.array([1.0, 0.0]), None), ([], 3)],
)
def test_to_categorical_as_in_keras(x, classes):
    with oracle() as keras:
        expected = keras.utils.to_categorical(x, classes)
    ours = utils.to_categorical(x, classes)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(utils.to_categorical(jnp.asarray(x), classes), expected)


@pytest.mark.parametrize(
    ("x", "classes", "error", "named"),
    [
        ([0, -1], None, DataError, "-1 in row 1"),
        ([0, 3], 3, DataError, "3 in row 1"),
        ([0.5], None, DataError, "0.5 in row 0"),
        ([np.nan], 2, DataError, "nan in row 0"),
        ([[0, 1], [1, 9]], 3, DataError, "9 in row 1"),
        ([], None, DataError, "no rows"),
        (["a"], None, DataError, "dtype <U1"),
        ([0], 0, InputError, "num_classes=0"),
    ],
)
def test_to_categorical_refuses(x, classes, error, named):
    with pytest.raises(error, match=named):
        utils.to_categorical(x, classes)


@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_normalize_as_in_keras(order):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    x[1] = 0
    with oracle() as keras:
        expected = keras.utils.normalize(x, axis=-1, order=order)
    np.testing.assert_allclose(utils.normalize(x, -1, order), expected, rtol=1e-6)
    np.testing.assert_allclose(utils.normalize(jnp.asarray(x), -1, order), expected, rtol=1e-6)
    assert isinstance(utils.normalize(jnp.asarray(x)), jnp.ndarray)


def test_normalize_columns():
    assert utils.normalize(np.array([[3, 0], [4, 2]]), axis=0).tolist() == [[0.6, 0.0], [0.8, 1.0]]


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2, 5])
@pytest.mark.parametrize("sequences", [[[1], [2, 3], [], [4, 5, 6]], [[[1.0, 2]], [[3, 4], [5, 6], [7, 8]]]])
def test_pad_sequences_as_in_keras(sequences, maxlen, truncating, padding):
    arguments = {"maxlen": maxlen, "truncating": truncating, "padding": padding, "value": -1, "dtype": "float32"}
    with oracle() as keras:
        expected = keras.utils.pad_sequences(sequences, **arguments)
    ours = utils.pad_sequences(sequences, **arguments)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"sequences": [1, 2]}, ShapeError, "item 0"),
        ({"sequences": [[[1, 2]], [[1]]]}, ShapeError, "item 1"),
        ({"sequences": [[1]], "padding": "left"}, InputError, "padding='left'"),
    ],
)
def test_pad_sequences_refuses(arguments, error, named):
    with pytest.raises(error, match=named):
        utils.pad_sequences(**arguments)


def test_set_random_seed_is_the_one_of_the_frame():
    from verax.frame import seeds

    assert utils.set_random_seed is seeds.set_random_seed
