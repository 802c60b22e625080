"""What the table of names cannot say in a row: control flow, settings, messages, and where Keras is not followed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import config, layers, ops
from verax.errors import DataError, DtypeError, InputError, ShapeError, UnknownNameError
from verax.frame.graph import Graph
from verax.frame.variable import Variable

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")

FLOWS = {
    "cond": lambda o: (o.cond(True, lambda: X, lambda: Y), o.cond(X[0, 0] > 10, lambda: X, lambda: Y)),
    "switch": lambda o: [o.switch(i, [lambda a: a + 1, lambda a: a * 2], X) for i in (0, 1, 5)],
    "while_loop": lambda o: o.while_loop(lambda n, s: n < 5, lambda n, s: (n + 1, s + n), (0, 0)),
    "while_loop, one": lambda o: o.while_loop(lambda n: n < 50, lambda n: n * 2, jnp.int32(3)),
    "while_loop, limited": lambda o: o.while_loop(lambda a: True, lambda a: [a[0] * 2], [X], maximum_iterations=3),
    "while_loop, list": lambda o: o.while_loop(lambda a, n: n < 3, lambda a, n: [a + 1, n + 1], [X, 0]),
    "fori_loop": lambda o: o.fori_loop(1, 4, lambda i, s: s + i * X, jnp.zeros((3, 4))),
    "scan": lambda o: o.scan(lambda c, x: (c + x, c * x), np.ones(4, "float32"), X),
    "scan, backwards": lambda o: o.scan(lambda c, x: (c + x, c), X[0], xs=X, reverse=True, unroll=2),
    "scan, counted": lambda o: o.scan(lambda c, _: (c * 2, c), X, length=3),
    "associative_scan": lambda o: o.associative_scan(lambda a, b: a + b, X, reverse=True, axis=1),
    "map": lambda o: o.map(lambda x: x @ x, X),
    "map, structure": lambda o: o.map(lambda d: d["a"] + d["b"], {"a": X, "b": Y}),
    "vectorized_map": lambda o: o.vectorized_map(lambda x: x * x.sum(), X),
    "vectorize": lambda o: o.vectorize(lambda a, b: a @ b, signature="(n),(n)->()")(X, Y),
}


@pytest.mark.parametrize("flow", FLOWS)
def test_control_flow_as_in_keras(flow: str):
    if flow == "while_loop, limited":
        FLOWS[flow] = lambda o: o.while_loop(lambda a: True, lambda a: a * 2, jnp.asarray(X), maximum_iterations=3)
    with oracle() as keras:
        expected = FLOWS[flow](keras.ops)
    for got in (FLOWS[flow](ops), jax.jit(lambda: FLOWS[flow](ops))()):
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_control_flow_on_symbolic_tensors():
    x = layers.Input((4,))
    total = ops.scan(lambda c, row: (c + row, row * 2), jnp.zeros(4), x)
    assert [t.shape for t in total] == [(4,), (None, 4)]
    grown = ops.while_loop(lambda a, n: n < 3, lambda a, n: (a + a, n + 1), (x, 0))[0]
    each = ops.vectorized_map(lambda row: row - ops.mean(row), x)
    got = Graph.between(x, [grown, each]).run(jnp.asarray(X))
    np.testing.assert_allclose(got[0], 8 * X, rtol=1e-6)
    np.testing.assert_allclose(got[1], X - X.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_a_gradient_of_ones_own():
    @ops.custom_gradient
    def log1pexp(x):
        e = ops.exp(x)
        return ops.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))

    assert float(jax.grad(log1pexp)(jnp.float32(100.0))) == 1.0
    assert float(log1pexp(Variable(np.float32(0.0), name="v"))) == pytest.approx(np.log(2))


def test_lists_of_numbers_are_arrays():
    assert ops.sum([1, 2, 3]) == 6
    np.testing.assert_array_equal(ops.add([1, 2], [3, 4]), [4, 6])
    np.testing.assert_array_equal(ops.concatenate([[1, 2], [3]]), [1, 2, 3])
    np.testing.assert_array_equal(ops.stack([[1, 2], [3, 4]], axis=1), [[1, 3], [2, 4]])
    np.testing.assert_array_equal(ops.relu([-1.0, 2.0]), [0, 2])
    assert ops.shape([[1, 2]]) == (1, 2)
    assert ops.ndim([[1, 2]]) == 2
    assert ops.size(X) == 12


def test_sizes_of_symbolic_tensors():
    x = layers.Input((4,))
    assert ops.shape(x) == (None, 4)
    assert ops.ndim(x) == 2
    assert ops.dtype(x) == "float32"
    assert ops.size(layers.Input(batch_shape=(2, 3))) == 6
    assert Graph.between(x, ops.size(x)).run(jnp.asarray(X)) == 12
    assert not ops.is_tensor(x)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_default_float_dtype_is_obeyed(dtype: str):
    whole = np.array([1, 2, 3], "int32")
    makers = [lambda o: o.zeros(2), lambda o: o.eye(2), lambda o: o.hamming(3), lambda o: o.full((2,), 1)]
    of_integers = [ops.sqrt, ops.mean, ops.norm, ops.average, ops.softmax, ops.erf, lambda w: ops.divide(w, w)]
    with oracle() as keras:
        keras.config.set_floatx(dtype)
        assert all(make(keras.ops).dtype == dtype for make in makers)
        keras.config.set_floatx("float32")
    config.set_floatx(dtype)
    try:
        assert all(make(ops).dtype == dtype for make in makers)
        assert all(function(whole).dtype == dtype for function in of_integers)
        assert layers.Dense(2).compute_dtype == dtype
        assert Variable(np.zeros(2), name="v").dtype == dtype
    finally:
        config.set_floatx("float32")


def test_the_global_epsilon_is_obeyed():
    config.set_epsilon(0.5)
    try:
        got = ops.normalize(np.float32([0.1]))
        assert ops.binary_crossentropy([1.0], [0.0]) == pytest.approx(np.log(2))
    finally:
        config.set_epsilon(1e-7)
    np.testing.assert_allclose(got, [0.2], rtol=1e-6)


def test_the_global_image_data_format_is_obeyed():
    x = np.ones((1, 2, 6, 6), "float32")
    config.set_image_data_format("channels_first")
    try:
        assert ops.max_pool(x, 2, 2).shape == (1, 2, 3, 3)
        assert layers.Conv2D(5, 3)(x).shape == (1, 5, 4, 4)
    finally:
        config.set_image_data_format("channels_last")
    assert ops.max_pool(x, 2, 2).shape == (1, 1, 3, 6)


def test_pools_move_by_their_size_unless_told():
    # Keras' own default fails on JAX for images (3.15.1).
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    for pool in (ops.max_pool, ops.average_pool):
        np.testing.assert_array_equal(pool(x, 2), pool(x, 2, strides=2))


@pytest.mark.parametrize(("stride", "window"), [(4, None), (16, None), (16, np.ones(16)), (5, "hann"), (8, "hamming")])
@pytest.mark.parametrize("center", [True, False])
def test_istft_inverts_stft(stride: int, window, center: bool):
    x = np.random.default_rng(0).normal(size=(2, 96)).astype("float32")
    there = ops.stft(x, 16, stride, 16, window=window, center=center)
    back = ops.istft(there, 16, stride, 16, window=window, center=center)
    inner = slice(8, min(back.shape[-1], 96) - 8)
    np.testing.assert_allclose(back[:, inner], x[:, inner], atol=1e-4)


def test_the_gradient_of_a_distance_of_zero_is_zero():
    gradient = jax.grad(lambda a: ops.sum(ops.cdist(a, a)))(jnp.asarray(X))
    assert np.all(np.isfinite(gradient))


def test_scores_are_bent_by_the_soft_cap_and_fall_back_to_plain_ones():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 5, h, 8)).astype("float32") for h in (4, 2, 2))
    bias = rng.normal(size=(2, 4, 5, 5)).astype("float32")
    mask = rng.random((2, 1, 5, 5)) > 0.2
    given = {"bias": bias, "mask": mask, "is_causal": True}
    plain = ops.dot_product_attention(q, k, v, **given)
    np.testing.assert_allclose(
        ops.dot_product_attention(q, k, v, attn_logits_soft_cap=1e9, **given), plain, rtol=1e-4, atol=1e-5
    )
    scores = np.einsum("bth,bsh->bts", q[:, :, 0], k[:, :, 0]) / np.sqrt(8)
    weights = jax.nn.softmax(scores / (1 + np.abs(scores) / 2.0), axis=-1)
    expected = np.einsum("bts,bsh->bth", weights, v[:, :, 0])
    got = ops.dot_product_attention(q, k, v, attn_logits_soft_cap=2.0)
    np.testing.assert_allclose(got[:, :, 0], expected, rtol=1e-4, atol=1e-5)


def test_rows_of_bincount_are_of_one_length():
    np.testing.assert_array_equal(ops.bincount(np.array([[0, 0], [3, 1]])), [[2, 0, 0, 0], [0, 1, 0, 1]])


def brute_force(log_p, blank):
    """Probability of every labelling, by going through all ways."""
    steps, classes = log_p.shape
    found: dict[tuple[int, ...], float] = {}
    for way in np.ndindex(*(classes,) * steps):
        labels = tuple(c for i, c in enumerate(way) if c != blank and (i == 0 or way[i - 1] != c))
        found[labels] = found.get(labels, 0.0) + float(np.exp(sum(log_p[t, c] for t, c in enumerate(way))))
    return found


def test_a_wide_beam_finds_the_likeliest_labels():
    logits = np.random.default_rng(3).normal(size=(2, 5, 3)).astype("float32")
    paths, scores = ops.ctc_decode(logits, [5, 4], strategy="beam_search", beam_width=60, top_paths=3, mask_index=1)
    for row, steps in enumerate((5, 4)):
        log_p = np.asarray(jax.nn.log_softmax(logits[row, :steps]))
        best = sorted(brute_force(log_p, 1).items(), key=lambda item: -item[1])[:3]
        for i, (labels, probability) in enumerate(best):
            assert tuple(int(c) for c in paths[i, row] if c >= 0) == labels
            assert float(jnp.exp(scores[row, i])) == pytest.approx(probability, rel=1e-4)


def test_ctc_loss_is_minus_the_log_of_the_probability():
    logits = np.random.default_rng(3).normal(size=(1, 5, 3)).astype("float32")
    found = brute_force(np.asarray(jax.nn.log_softmax(logits[0])), 0)
    for labels in [(1, 2), (1, 1), (2,)]:
        loss = ops.ctc_loss(np.array([labels]), logits, np.array([len(labels)]), np.array([5]))
        assert float(loss[0]) == pytest.approx(-np.log(found[labels]), rel=1e-4)


MESSAGES = [
    (lambda: ops.fft(X), InputError, "the real and the imaginary part"),
    (lambda: ops.fft((X, Y[0])), ShapeError, "parts of shapes"),
    (lambda: ops.fft((X.astype("int32"), X.astype("int32"))), DtypeError, "int32"),
    (lambda: ops.stft(X, 2, 1, 1), InputError, "holds the whole window"),
    (lambda: ops.stft(X, 2, 1, 2, window="hat"), UnknownNameError, "hann"),
    (lambda: ops.stft(X, 2, 1, 2, window=np.ones(3)), ShapeError, r"it is \(2,\)"),
    (lambda: ops.stft(X.astype("float16"), 2, 1, 2), DtypeError, "float32 or float64"),
    (lambda: ops.istft((X[0], X[0]), 2, 1, 2), ShapeError, "pieces, bins"),
    (lambda: ops.cholesky(-np.eye(2, dtype="float32")), DataError, "not positive definite"),
    (lambda: ops.inv(X[0]), ShapeError, "rows, columns"),
    (lambda: ops.qr(X, mode="full"), UnknownNameError, "reduced"),
    (lambda: ops.conv(np.ones((1, 4, 4, 3)), np.ones((2, 2, 2, 1))), ShapeError, "no multiple"),
    (lambda: ops.conv(np.ones((1, 2, 2, 3)), np.ones((3, 3, 3, 1))), ShapeError, "does not fit"),
    (lambda: ops.conv(np.ones((1, 4)), np.ones((3, 3, 3, 1))), ShapeError, "batch axis"),
    (lambda: ops.conv(np.ones((1, 4, 4, 3)), np.ones((2, 2, 3, 1)), strides=(1, 1, 1)), InputError, "strides"),
    (lambda: ops.conv(np.ones((1, 4, 4, 3)), np.ones((2, 2, 3, 1)), padding="full"), UnknownNameError, "valid"),
    (lambda: ops.conv_transpose(np.ones((1, 4, 4, 3)), np.ones((2, 2, 3, 1))), ShapeError, "last axis"),
    (lambda: ops.depthwise_conv(np.ones((1, 4, 4, 3)), np.ones((2, 2, 2, 1))), ShapeError, "each channel"),
    (lambda: ops.fold(np.ones((1, 5, 4)), 3, 2), ShapeError, "channels"),
    (lambda: ops.one_hot([1], 2, sparse=True), InputError, "sparse"),
    (lambda: ops.convert_to_tensor([1], ragged=True), InputError, "ragged"),
    (lambda: ops.pad(X, 1, "reflect", constant_values=1), InputError, "mode='constant'"),
    (lambda: ops.scatter_update(X, [[0, 0]], [1.0], reduction="mean"), UnknownNameError, "reduction"),
    (lambda: ops.unstack(X, num=5), ShapeError, "3 slices"),
    (lambda: ops.cdist(X, Y[:, :2]), ShapeError, "same d"),
    (lambda: ops.psnr(X, Y[0], 1.0), ShapeError, "differ"),
    (lambda: ops.normalize(X, order=0), InputError, "order"),
    (lambda: ops.view_as_complex(X), ShapeError, "last axis is 2"),
    (lambda: ops.rearrange(X, "a b -> a c"), InputError, "same names"),
    (lambda: ops.rearrange(X, "a b c -> a b c"), ShapeError, "3 axes"),
    (lambda: ops.rearrange(X, "(a b) c -> a b c", a=2), ShapeError, "is not 3"),
    (lambda: ops.moments(X, [0], synchronized=True), InputError, "synchronized"),
    (lambda: ops.binary_crossentropy(X, Y[0]), ShapeError, "the same"),
    (lambda: ops.sparse_categorical_crossentropy([0], X), ShapeError, "no class axis"),
    (lambda: ops.dot_product_attention(X, X, X), ShapeError, "heads"),
    (lambda: ops.ctc_decode(X[None], [3], strategy="best"), UnknownNameError, "greedy"),
    (lambda: ops.ctc_decode(X[None], [3], "beam_search", beam_width=2, top_paths=3), InputError, "beam is wide"),
    (lambda: ops.scan(lambda c, x: (c, x), 0, X, unroll=0), InputError, "unroll"),
    (lambda: ops.cast(X, "float33"), UnknownNameError, "float32"),
]


@pytest.mark.parametrize(("call", "error", "match"), MESSAGES)
def test_a_wrong_argument_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_flash_attention_says_why_not():
    x = np.ones((1, 2, 1, 8), "float32")
    if jax.default_backend() == "cpu":
        with pytest.raises(InputError, match="this is cpu"):
            ops.dot_product_attention(x, x, x, flash_attention=True)
