"""Attention: masks in every combination, what is refused, draws, and what travels on."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import layers
from verax.errors import InputError, ShapeError, UnknownNameError
from verax.frame.frame import call, pure, values
from verax.frame.mode import Mode

B, T, S, HEADS = 2, 4, 3, 2
RNG = np.random.default_rng(0)
QUERY, VALUE = (RNG.normal(size=(B, n, 5)).astype("float32") for n in (T, S))
MASKS = {
    "query_mask": np.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool),
    "value_mask": np.array([[1, 1, 0], [1, 1, 1]], bool),
    "key_mask": np.array([[1, 0, 1], [1, 1, 1]], bool),
    "attention_mask": RNG.random((B, T, S)) < 0.7,
}
IDS = np.array([[1, 2, 0, 0], [3, 4, 2, 1]], "int32")


def by_hand(layer, masks, causal, window=None):
    """The definition, one query of one head at a time, in float64."""
    w = {v.path: np.asarray(v.numpy(), "float64") for v in layer.weights}
    q, k, v = (
        np.einsum("btf,fnh->btnh", x.astype("float64"), w[f"{name}/kernel"]) + w[f"{name}/bias"]
        for x, name in ((QUERY, "query"), (VALUE, "key"), (VALUE, "value"))
    )
    given = np.asarray(masks.get("attention_mask", True))
    given = np.broadcast_to(given[:, None] if given.ndim == 3 else given, (B, HEADS, T, S))
    scores = np.zeros((B, HEADS, T, S))
    mixed = np.zeros((B, T, HEADS, v.shape[-1]))
    for b, n, t in itertools.product(range(B), range(HEADS), range(T)):
        may = [
            s
            for s in range(S)
            if (not causal or s <= t)
            and (window is None or abs(s - t) < window)
            and ("query_mask" not in masks or masks["query_mask"][b, t])
            and ("value_mask" not in masks or masks["value_mask"][b, s])
            and ("key_mask" not in masks or masks["key_mask"][b, s])
            and given[b, n, t, s]
        ]
        if may:
            fits = np.exp([q[b, t, n] @ k[b, s, n] / np.sqrt(q.shape[-1]) for s in may])
            scores[b, n, t, may] = fits / fits.sum()
        mixed[b, t, n] = scores[b, n, t] @ v[b, :, n]
    return np.einsum("btnh,nhf->btf", mixed, w["attention_output/kernel"]) + w["attention_output/bias"], scores


def test_masks_act_together_in_every_combination():
    made = {w: layers.MultiHeadAttention(HEADS, 3, sliding_window=w, bias_initializer="ones") for w in (None, 2)}
    names = list(MASKS)
    chosen = [dict.fromkeys(c) for n in range(5) for c in itertools.combinations(names, n)]
    cases = [({k: MASKS[k] for k in c}, causal, None) for c in chosen for causal in (False, True)]
    cases += [({}, True, 2), (MASKS, True, 2), ({}, False, 2)]
    # A mask for each head, and one for all rows.
    cases.append(({**MASKS, "attention_mask": RNG.random((B, HEADS, T, S)) < 0.6}, True, None))
    cases.append(({"attention_mask": np.tri(T, S, 1, bool)}, False, None))
    for layer in made.values():
        layer(QUERY, VALUE)

    @jax.jit
    def run():
        return [
            made[window](
                jnp.asarray(QUERY), jnp.asarray(VALUE), **masks, use_causal_mask=causal, return_attention_scores=scores
            )
            for masks, causal, window in cases
            for scores in (False, True)
        ]

    got = run()
    for i, (masks, causal, window) in enumerate(cases):
        expected, weights = by_hand(made[window], masks, causal, window)
        for output in (got[2 * i], got[2 * i + 1][0]):
            np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5, err_msg=f"{sorted(masks)} {causal}")
        np.testing.assert_allclose(got[2 * i + 1][1], weights, rtol=1e-4, atol=1e-6)


def test_an_embedding_masks_attention_as_in_keras():
    def model(m, inputs):
        table = m.Embedding(5, 6, mask_zero=True)
        x = table(inputs)
        y = m.Add()([x, m.MultiHeadAttention(2, 3)(x, x)])
        y = m.Add()([y, m.GroupQueryAttention(3, 2, 1)(y, y, use_causal_mask=True)])
        y = m.Add()([y, m.Attention(use_scale=True)([y, y], use_causal_mask=True)])
        return m.GlobalAveragePooling1D()(y)

    with oracle() as keras:
        ids = keras.Input((4,), dtype="int32")
        theirs = keras.Model(ids, model(keras.layers, ids))
        weights = [0.7 * RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
        theirs.set_weights(weights)
        expected = np.asarray(theirs(IDS))

    class Ours(layers.Layer):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(5, 6, mask_zero=True)
            self.one, self.two = layers.MultiHeadAttention(2, 3), layers.GroupQueryAttention(3, 2, 1)
            self.three, self.pool = layers.Attention(use_scale=True), layers.GlobalAveragePooling1D()
            self.adds = [layers.Add(), layers.Add(), layers.Add()]

        def call(self, ids):
            x = self.table(ids)
            y = self.adds[0]([x, self.one(x, x)])
            y = self.adds[1]([y, self.two(y, y, use_causal_mask=True)])
            y = self.adds[2]([y, self.three([y, y], use_causal_mask=True)])
            return self.pool(y)

    ours = Ours()
    ours(IDS)
    ours.set_weights(weights)
    np.testing.assert_allclose(ours(IDS), expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_of_one_head_and_the_mask_of_the_output():
    class Masked(layers.Layer):
        def __init__(self, attention):
            super().__init__()
            self.query, self.value, self.attention = layers.Masking(), layers.Masking(), attention

        def call(self, query, value):
            one, two = self.query(query), self.value(value)
            if isinstance(self.attention, layers.MultiHeadAttention):
                return self.attention(one, two)
            return self.attention([one, two], return_attention_scores=True)

    query, value = QUERY * MASKS["query_mask"][..., None], VALUE * MASKS["value_mask"][..., None]
    for made in (layers.Attention(), layers.AdditiveAttention(), layers.MultiHeadAttention(2, 3)):
        layer = Masked(made)
        layer(query, value)
        outcome = call(layer, *values(layer), (jnp.asarray(query), jnp.asarray(value)), mode=Mode.INFER)
        np.testing.assert_array_equal(outcome.masks[0], MASKS["query_mask"])
        if isinstance(made, layers.MultiHeadAttention):
            continue
        output, weights = outcome.output
        np.testing.assert_array_equal(np.asarray(output)[~MASKS["query_mask"]], 0.0)
        np.testing.assert_array_equal(np.asarray(weights)[0, :, 2], 0.0)
        np.testing.assert_allclose(np.sum(weights, axis=-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("kind", ["MultiHeadAttention", "Attention"])
def test_dropout_acts_on_the_weights_in_training_only(kind):
    many = kind == "MultiHeadAttention"
    layer = layers.MultiHeadAttention(2, 3, dropout=0.5) if many else layers.Attention(dropout=0.5)
    again = type(layer)(**{**layer.get_config(), "seed": 3})
    inputs = (jnp.asarray(QUERY), jnp.asarray(VALUE)) if many else ([jnp.asarray(QUERY), jnp.asarray(VALUE)],)
    for one in (layer, again):
        one(*inputs)
    again.set_weights(layer.get_weights())

    @jax.jit
    def run(key):
        def train(one, key):
            return pure(one)(*values(one), *inputs, mode=Mode.TRAIN, key=key)[0]

        infer = pure(layer)(*values(layer), *inputs, mode=Mode.INFER)[0]
        keys = jax.random.split(key, 2000)
        mean = jnp.mean(jax.lax.map(lambda k: train(layer, k), keys, batch_size=500), axis=0)
        return infer, train(layer, key), train(layer, key), train(again, key), mean

    infer, one, same, other, mean = run(jax.random.key(0))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - infer).max() > 0.05
    assert np.abs(one - other).max() > 0.05
    np.testing.assert_allclose(mean, infer, atol=0.3)
    observed = call(layer, *values(layer), inputs, mode=Mode.TRAIN, key=jax.random.key(0)).observed
    assert {o.effect for o in observed.values()} == {"dropout"}


def test_scores_and_symbolic_shapes():
    x = layers.Input((T, 5))
    layer = layers.MultiHeadAttention(2, 3, output_shape=7)
    output, scores = layer(x, x, return_attention_scores=True)
    assert (output.shape, scores.shape) == ((None, T, 7), (None, 2, T, T))
    assert layer.compute_output_shape((None, T, 5), (None, T, 5)) == (None, T, 7)
    assert layers.MultiHeadAttention(2, 3).compute_output_shape((None, T, 5), (None, S, 4)) == (None, T, 5)


def test_half_precision_takes_its_softmax_in_float32():
    layer = layers.MultiHeadAttention(2, 8, dtype="mixed_bfloat16")
    exact = layers.MultiHeadAttention(2, 8)
    for one in (layer, exact):
        one(QUERY, VALUE)
    exact.set_weights(layer.get_weights())
    assert layer(QUERY, VALUE).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(layer(QUERY, VALUE), "float32"), exact(QUERY, VALUE), atol=0.05)


def test_initial_kernels_count_the_axes_of_the_equation():
    layer = layers.EinsumDense("abc,cde->abde", (None, 20, 30))
    layer(np.zeros((1, 2, 50), "float32"))
    limit = np.sqrt(6 / (50 + 600))
    assert 0.97 * limit < np.abs(layer.kernel.numpy()).max() <= limit


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: layers.MultiHeadAttention(0, 3), InputError, "num_heads=0"),
        (lambda: layers.MultiHeadAttention(2, 3, sliding_window=0), InputError, "sliding_window=0"),
        (lambda: layers.MultiHeadAttention(2, 3, dropout=0.1, flash_attention=True), InputError, "never holds"),
        (lambda: layers.GroupQueryAttention(3, 4, 3), InputError, "divisor"),
        (lambda: layers.Attention(score_mode="sum"), UnknownNameError, "score_mode"),
        (lambda: layers.Attention()(QUERY), InputError, r"layer\(\[query, value\]\)"),
        (lambda: layers.MultiHeadAttention(2, 3)(QUERY, VALUE, QUERY), ShapeError, "the same steps"),
        (lambda: layers.MultiHeadAttention(2, 3)(QUERY[0], QUERY[0]), ShapeError, "the same steps"),
        (
            lambda: layers.MultiHeadAttention(2, 3, flash_attention=True)(QUERY, VALUE),
            InputError,
            "flash_attention=None",
        ),
        (
            lambda: layers.MultiHeadAttention(2, 3, flash_attention=True)(QUERY, VALUE, return_attention_scores=True),
            InputError,
            "never holds",
        ),
        (lambda: layers.EinsumDense("ab->ac", 3)(QUERY), InputError, "none of"),
        (lambda: layers.EinsumDense("abc,cd->abe", (4, 3))(QUERY), InputError, "gives"),
        (lambda: layers.EinsumDense("abc,cd->abd", 3)(QUERY), ShapeError, "3 axes after"),
        (lambda: layers.EinsumDense("abc,cd->abd", (3, 3))(QUERY), ShapeError, "'b'"),
    ],
)
def test_what_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()
