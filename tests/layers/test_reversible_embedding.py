"""Embeddings: there and back as in Keras, with masks and caps; tables that are given."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, InputError, ShapeError

RNG = np.random.default_rng(0)
IDS = np.array([[1, 4, 0], [2, 0, 0]])
HIDDEN = RNG.normal(size=(2, 3, 4)).astype("float32")


@pytest.mark.parametrize(
    "arguments",
    [{}, {"tie_weights": False}, {"logit_soft_cap": 1.5}, {"reverse_dtype": "bfloat16"}, {"dtype": "mixed_bfloat16"}],
)
def test_both_directions_are_those_of_keras(arguments):
    ours = layers.ReversibleEmbedding(5, 4, **arguments)
    with oracle() as keras:
        theirs = keras.layers.ReversibleEmbedding(5, 4, **arguments)
        theirs.build()
        ours(IDS)
        assert [w.path for w in ours.weights] == [w.path.split("/")[-1] for w in theirs.weights]
        weights = [RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
        theirs.set_weights(weights)
        hidden = HIDDEN.astype(theirs.compute_dtype)
        there, back = theirs(IDS), theirs(hidden, reverse=True)
    ours.set_weights(weights)
    close = {"rtol": 1e-5, "atol": 1e-5} if back.dtype == "float32" else {"rtol": 2e-2, "atol": 2e-2}
    for got, expected in ((ours(IDS), there), (ours(jnp.asarray(hidden), reverse=True), back)):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got.astype("float32"), expected.astype("float32"), **close)


def test_a_model_maps_back_with_the_table_it_maps_with():
    table = layers.ReversibleEmbedding(5, 4, mask_zero=True)
    ids = layers.Input((None,), dtype="int32")
    logits = table(layers.Dense(4, "tanh")(table(ids)), reverse=True)
    assert logits.shape == (None, None, 5)
    model = verax.Model(ids, logits)
    assert model.count_params() == 5 * 4 + 4 * 4 + 4
    loss = verax.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    # The mask reaches the logits: padding counts in no loss.
    whole = model.evaluate(IDS, IDS, verbose=0)
    each = [model.evaluate(row[None, :n], row[None, :n], verbose=0) for row, n in zip(IDS, (2, 1), strict=True)]
    np.testing.assert_allclose(whole, (2 * each[0] + each[1]) / 3, rtol=1e-5)
    model.fit(IDS, IDS, verbose=0)


def test_what_is_refused():
    layer = layers.ReversibleEmbedding(5, 4)
    with pytest.raises(ShapeError, match="in reverse"):
        layer(jnp.ones((2, 3)), reverse=True)
    with pytest.raises(ShapeError, match="float vectors"):
        layer(IDS, reverse=True)
    with pytest.raises(DataError, match="index 5"):
        layer(np.array([[5]]))
    with pytest.raises(InputError, match="logit_soft_cap"):
        layers.ReversibleEmbedding(5, 4, logit_soft_cap=0.0)
    with pytest.raises(InputError, match="input_dim=0"):
        layers.Embedding(0, 4)
    with pytest.raises(ShapeError, match="set_weights"):
        layers.Embedding(3, 4, weights=np.ones((4, 3)))


@pytest.mark.parametrize("listed", [False, True])
def test_an_embedding_starts_from_the_table_it_is_given(listed):
    table = RNG.normal(size=(5, 4)).astype("float32")
    layer = layers.Embedding(5, 4, weights=[table] if listed else table)
    np.testing.assert_array_equal(layer.embeddings.numpy(), table)
    np.testing.assert_array_equal(layer(IDS), table[IDS])
    assert "weights" not in layer.get_config()
    assert type(layer).from_config(layer.get_config()).input_dim == 5
