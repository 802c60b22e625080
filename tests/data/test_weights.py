"""Class weights and sample weights, with Keras as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.data import class_weights_of, make_source
from verax.errors import DataError, InputError, ShapeError


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    weights=st.dictionaries(st.integers(0, 4), st.floats(0, 10)),
    form=st.sampled_from(["flat", "column", "float", "one-hot", "soft"]),
)
def test_class_weights_as_in_keras(labels, weights, form):
    y = np.array(labels)
    y = {
        "flat": y,
        "column": y[:, None],
        "float": y.astype(np.float64),
        "one-hot": np.eye(5, dtype=int)[y],
        "soft": 0.9 * np.eye(5)[y] + 0.02,
    }[form]
    with oracle():
        from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

        expected = class_weight_to_sample_weights(y, weights)
    np.testing.assert_array_equal(class_weights_of(y, weights), expected)
    source = make_source(np.zeros(len(labels)), y, class_weight=weights, batch_size=64)
    np.testing.assert_array_equal(np.asarray(source.feed().take(1).data.weight), expected)


def test_class_weights_multiply_sample_weights():
    source = make_source(np.zeros(3), np.array([0, 1, 1]), [1.0, 2.0, 0.0], class_weight={1: 3})
    assert np.asarray(source.feed().take(1).data.weight).tolist() == [1.0, 6.0, 0.0]
    tokens = make_source(np.zeros(2), np.array([0, 1]), np.ones((2, 1)), class_weight={1: 3})
    assert np.asarray(tokens.feed().take(1).data.weight).tolist() == [[1.0], [3.0]]


def test_one_weight_array_serves_every_output():
    y = {"a": np.zeros(3), "b": np.zeros((3, 2))}
    data = make_source(np.zeros(3), y, np.array([1, 2, 3])).feed().take(1).data
    assert set(data.weight) == {"a", "b"}
    assert data.weight["a"] is data.weight["b"]
    assert data.weight["a"].dtype == np.float32


def test_weights_in_the_structure_of_the_outputs_may_leave_some_out():
    y = [np.zeros(3), np.zeros(3)]
    data = make_source(np.zeros(3), y, [np.ones(3), None]).feed().take(1).data
    assert data.weight[1] is None


@pytest.mark.parametrize("weight", [[np.ones(3)], {"a": np.ones(3)}, (np.ones(3),) * 3])
def test_weights_of_another_structure_are_refused(weight):
    with pytest.raises(InputError, match="structures differ"):
        make_source(np.zeros(3), [np.zeros(3), np.zeros(3)], weight)


def test_token_weights_for_one_of_several_outputs_must_be_its_own():
    y = {"a": np.zeros((3, 4)), "b": np.zeros(3)}
    with pytest.raises(ShapeError, match="one number a row"):
        make_source(np.zeros(3), y, np.ones((3, 4)))
    make_source(np.zeros(3), y, {"a": np.ones((3, 4)), "b": None})
    with pytest.raises(ShapeError, match=r"sample_weight\['b'\]"):
        make_source(np.zeros(3), y, {"a": None, "b": np.ones((3, 4))})


@pytest.mark.parametrize(
    ("y", "class_weight", "error", "named"),
    [
        (None, {0: 1}, InputError, "there are no targets"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, {0: 1}, InputError, "several outputs"),
        (np.array([0, 0.5, 1]), {0: 1}, DataError, "y = 0.5 in row 1"),
        (np.array([0, np.nan, 1]), {0: 1}, DataError, "nan in row 1"),
        (np.array([[0, 3], [1, 2], [0, 0]]), {0: 1}, ShapeError, r"shape \(3, 2\)"),
        (np.zeros((3, 2, 2)), {0: 1}, ShapeError, r"shape \(3, 2, 2\)"),
        (np.zeros(3), {"cat": 1}, InputError, "'cat'"),
        (np.zeros(3), {0: np.nan}, InputError, "nan"),
        (np.zeros(3), {0: -1}, InputError, "-1"),
        (np.zeros(3), {0: "x"}, InputError, "'x'"),
        (np.zeros(3), [1, 2], InputError, "not a dict"),
    ],
)
def test_class_weights_refused(y, class_weight, error, named):
    with pytest.raises(error, match=f"(?s){named}"):
        make_source(np.zeros(3), y, class_weight=class_weight)
