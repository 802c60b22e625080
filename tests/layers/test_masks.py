"""Masks: who makes them, who uses them, and how they travel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.layers.cases import QUICK
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, ShapeError
from verax.frame.frame import call, pure, values
from verax.frame.graph import Graph
from verax.frame.mode import Mode

IDS = np.array([[1, 2, 0, 0], [3, 4, 2, 1], [0, 2, 0, 1]], "int32")


class Chain(layers.Layer):
    """Layers one after another."""

    def __init__(self, *parts, **kwargs):
        super().__init__(**kwargs)
        self.parts = parts

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def same_weights(ours, theirs, rng):
    weights = [0.7 * rng.normal(size=w.shape).astype("float32") for w in theirs.weights]
    with oracle():
        theirs.set_weights(weights)
    ours.set_weights(weights)


RECURRENT = [
    (kind, options)
    for kind in ("LSTM", "GRU", "SimpleRNN")
    for options in ({}, {"return_sequences": True}, {"go_backwards": True})
    if kind == "LSTM" or not options
]


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_embedding_masks_a_recurrent_layer_as_in_keras(kind, options):
    options = {**options, **QUICK}
    ours = Chain(layers.Embedding(5, 3, mask_zero=True), getattr(layers, kind)(4, **options))
    ours(IDS)
    with oracle() as keras:
        theirs = keras.Sequential(
            [keras.layers.Embedding(5, 3, mask_zero=True), getattr(keras.layers, kind)(4, **options)]
        )
        theirs(IDS)
        same_weights(ours, theirs, np.random.default_rng(0))
        expected = theirs(IDS)
    np.testing.assert_allclose(ours(IDS), expected, rtol=1e-5, atol=1e-6)


def test_masked_steps_change_nothing():
    layer = Chain(layers.Embedding(5, 3, mask_zero=True), layers.LSTM(4, return_state=True))
    layer(IDS)
    padded = layer(np.array([[1, 2, 3, 0, 0, 0]]))
    for a, b in zip(padded, layer(np.array([[1, 2, 3]])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    for unroll in (False, True):
        lstm = layers.LSTM(4, unroll=unroll)
        x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
        first = [jnp.ones((2, 4)), jnp.zeros((2, 4))]
        np.testing.assert_array_equal(lstm(x, initial_state=first, mask=np.zeros((2, 5), bool)), first[0])


def test_masking_layer():
    x = np.array([[[1.0, 2.0], [9.0, 9.0], [9.0, 0.0]]], "float32")
    layer = Chain(layers.Masking(9.0), layers.Dropout(0.5), layers.Dense(2), layers.GlobalAveragePooling1D())
    layer(x)
    outcome = call(layer.parts[0], {}, {}, (jnp.asarray(x),), mode=Mode.INFER)
    np.testing.assert_array_equal(outcome.masks[0], [[True, False, True]])
    np.testing.assert_array_equal(outcome.output, [[[1, 2], [0, 0], [9, 0]]])
    dense = layer.parts[2]
    expected = np.mean(x[:, [0, 2]] @ dense.kernel.numpy(), axis=1)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)


def test_pooling_of_a_row_without_a_step_that_counts_is_zero():
    layer = layers.GlobalAveragePooling1D()
    np.testing.assert_array_equal(layer(np.ones((1, 3, 2)), mask=np.zeros((1, 3), bool)), 0)
    keep = np.array([[True, True, False]])
    np.testing.assert_allclose(layer(np.arange(6.0).reshape(1, 3, 2), mask=keep), [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Add(), [[True, True, False]]),
        (layers.Concatenate(axis=1), [[True, False, False, False, True, False]]),
        (layers.Concatenate(), [[True, True, False]]),
    ],
)
def test_merged_masks(layer, expected):
    class Merge(layers.Layer):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.merge = layers.Masking(), layers.Masking(), layer

        def call(self, x, y):
            return self.merge([self.a(x), self.b(y)])

    x = jnp.array([[[1.0], [0.0], [0.0]]])
    y = jnp.array([[[0.0], [1.0], [0.0]]])
    model = Merge()
    model(x, y)
    np.testing.assert_array_equal(call(model, {}, {}, (x, y), mode=Mode.INFER).masks[0], expected)


def test_multiply_counts_masked_places_as_one():
    with oracle() as keras:
        x, y = keras.Input((3, 1)), keras.Input((3, 1))
        model = keras.Model([x, y], keras.layers.Multiply()([keras.layers.Masking()(x), keras.layers.Masking()(y)]))
        a, b = np.array([[[2.0], [0.0], [0.0]]], "float32"), np.array([[[0.0], [3.0], [0.0]]], "float32")
        expected = model([a, b])
    x, y = layers.Input((3, 1)), layers.Input((3, 1))
    out = layers.multiply([layers.Masking()(x), layers.Masking()(y)])
    ours = Functional(Graph.between([x, y], out))
    np.testing.assert_array_equal(ours([a, b]), expected)


class Functional(layers.Layer):
    def __init__(self, graph):
        super().__init__()
        self.graph, self.inner = graph, graph.layers

    def call(self, inputs):
        return self.graph.run(inputs)


def test_a_mask_survives_a_change_of_precision():
    layer = Chain(layers.Embedding(5, 3, mask_zero=True), Chain(layers.GlobalAveragePooling1D(), dtype="bfloat16"))
    layer(IDS)
    table = layer.parts[0].embeddings.numpy()
    expected = np.stack([table[row[row > 0]].mean(0) for row in IDS])
    np.testing.assert_allclose(np.asarray(layer(IDS), "float32"), expected, atol=1e-3)


def test_outputs_of_layers_inside_keep_their_mask():
    # A layer that says nothing of masks, around one that does.
    layer = Chain(layers.Embedding(5, 3, mask_zero=True), Chain(layers.LSTM(4, return_sequences=True)))
    layer(IDS)
    outcome = call(layer, *values(layer), (jnp.asarray(IDS),), mode=Mode.INFER)
    np.testing.assert_array_equal(outcome.masks[0], IDS != 0)


def test_a_layer_that_consumes_a_mask_does_not_pass_it_on():
    layer = Chain(layers.Embedding(5, 3, mask_zero=True), layers.Flatten())
    layer(IDS)
    assert call(layer, *values(layer), (jnp.asarray(IDS),), mode=Mode.INFER).masks == [None]
    states = Chain(layers.Embedding(5, 3, mask_zero=True), layers.LSTM(2, return_sequences=True, return_state=True))
    states(IDS)
    masks = call(states, *values(states), (jnp.asarray(IDS),), mode=Mode.INFER).masks
    assert [m is not None for m in masks] == [True, False, False]


def test_backward_outputs_have_their_mask_turned_round():
    layer = Chain(layers.Embedding(5, 3, mask_zero=True), layers.SimpleRNN(2, return_sequences=True, go_backwards=True))
    layer(IDS)
    outcome = call(layer, *values(layer), (jnp.asarray(IDS),), mode=Mode.INFER)
    np.testing.assert_array_equal(outcome.masks[0], (IDS != 0)[:, ::-1])


def test_initial_state_continues_a_sequence():
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    lstm = layers.LSTM(4, return_state=True)
    whole = lstm(x)
    _, *states = lstm(x[:, :2])
    for a, b in zip(lstm(x[:, 2:], initial_state=states), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="needs 2 of shape"):
        lstm(x, initial_state=states[:1])


def test_lstm_dropout_drops_the_same_features_at_every_step():
    lstm = layers.LSTM(1, dropout=0.5, kernel_initializer="ones", recurrent_initializer="zeros", activation="linear",
                       recurrent_activation="linear", unit_forget_bias=False, return_sequences=True)  # fmt: skip
    x = jnp.ones((50, 3, 1))
    lstm(x)
    y = np.asarray(pure(lstm)(*values(lstm), x, mode=Mode.TRAIN, key=jax.random.key(0))[0])
    # One input feature, kept and doubled or dropped: a row is all zeros or has none.
    assert set((y[:, :, 0] != 0).sum(axis=1)) == {0, 3}


def test_softmax_with_masks():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    mask = np.random.default_rng(1).random((2, 3, 4)) < 0.5
    mask[0, 0] = False
    with oracle() as keras:
        expected = keras.layers.Softmax()(x, mask=mask)
    np.testing.assert_allclose(layers.Softmax()(x, mask=mask), expected, rtol=1e-6)
    np.testing.assert_array_equal(layers.Softmax()(x, mask=mask[:, :, 0]), layers.Softmax()(x))
    with pytest.raises(ShapeError, match="Add the missing axis"):
        layers.Softmax()(x, mask=np.ones((5,), bool))


def test_an_index_out_of_range_is_refused_or_seen():
    layer = layers.Embedding(5, 3)
    layer(IDS)
    with pytest.raises(DataError, match="index 5"):
        layer(np.array([[1, 5]]))
    with pytest.raises(DataError, match="index -1"):
        layer(np.array([[1, -1]]))
    params, state = values(layer)
    run = jax.jit(lambda ids: pure(layer)(params, state, ids, mode=Mode.INFER)[0])
    y = run(jnp.array([[1, 5, -1]]))
    assert np.isnan(y[0, 1:]).all()
    assert np.isfinite(y[0, 0]).all()


def test_indices_given_as_floats_are_not_rounded_in_half_precision():
    layer = layers.Embedding(1000, 2, dtype="mixed_bfloat16")
    ids = np.array([[999.0, 257.0]], "float32")
    assert layer(ids).dtype == jnp.bfloat16
    np.testing.assert_array_equal(layer(ids), layer(ids.astype("int32")))


def test_lambda_sees_and_makes_masks():
    seen = []

    def function(x, factor, mask=None):
        seen.append(mask)
        return x * factor

    layer = Chain(layers.Masking(), layers.Lambda(function, mask=lambda x, mask: ~mask, arguments={"factor": 2.0}))
    x = jnp.array([[[1.0], [0.0]]])
    np.testing.assert_array_equal(layer(x), 2 * x)
    np.testing.assert_array_equal(seen[0], [[True, False]])
    np.testing.assert_array_equal(call(layer, {}, {}, (x,), mode=Mode.INFER).masks[0], [[False, True]])
