"""The fast core of attention and the fast gelu against their plain forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import kernels
from verax import activations
from verax.ops.attention import attend, attend_plain, both, distances

SHAPES = [(2, 4, 3, 2, 5, 5), (1, 1, 1, 1, 1, 1), (3, 5, 7, 4, 2, 6), (2, 9, 9, 1, 8, 3)]


def inputs(shape, scale=1.0, dtype="float32", seed=0):
    batch, queries, keys, heads, size, value_size = shape
    rng = np.random.default_rng(seed)
    sizes = ((queries, size), (keys, size), (keys, value_size))
    return [jnp.asarray(scale * rng.normal(size=(batch, n, heads, m)), dtype) for n, m in sizes]


def masks(shape):
    batch, queries, keys, heads, *_ = shape
    rng = np.random.default_rng(1)
    some = rng.random((batch, heads, queries, keys)) < 0.6
    return {
        "none": None,
        "some": jnp.asarray(some),
        "a query with no key": jnp.asarray(some).at[0, 0, 0].set(False),
        "of keys": jnp.asarray(rng.random((batch, 1, 1, keys)) < 0.6),
        "nothing": jnp.zeros((1, 1, 1, 1), bool),
    }


def both_ways(function, arrays, like):
    """The value and the gradients by all arrays of a sum with other weights everywhere."""

    def objective(*arrays):
        value = function(*arrays)
        return jnp.sum(value.astype("float32") * like), value

    (_, value), gradients = jax.value_and_grad(objective, tuple(range(len(arrays))), has_aux=True)(*arrays)
    return value, *gradients


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", masks(SHAPES[0]))
@kernels(True)
def test_core_of_attention(shape, causal, mask):
    batch, queries, keys, heads, _, value_size = shape
    keep = masks(shape)[mask]
    joint = both(keep, distances(queries, keys) >= 0) if causal else keep
    like = np.random.default_rng(2).normal(size=(batch, queries, heads, value_size)).astype("float32")
    fast = both_ways(lambda q, k, v: attend(q, k, v, keep, scale=0.7, causal=causal), inputs(shape), like)
    plain = both_ways(lambda q, k, v: attend_plain(q, k, v, joint, 0.7), inputs(shape), like)
    for a, b in zip(fast, plain, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("scale", [1e-20, 30.0, 1e4, 1e18])
def test_core_of_attention_at_extremes(scale):
    arrays = inputs(SHAPES[0], scale)
    arrays[2] = arrays[2] / scale
    like = np.ones((2, 4, 2, 5), "float32")
    fast = attend(*arrays, scale=0.7)
    np.testing.assert_allclose(fast, attend_plain(*arrays, None, 0.7), rtol=1e-4, atol=1e-6)
    for a in both_ways(lambda *x: attend(*x, scale=0.7), arrays, like):
        assert np.isfinite(a).all()


def test_core_of_attention_keeps_nan_to_the_queries_that_see_it():
    query, key, value = inputs(SHAPES[0])
    key = key.at[0, 1, 0].set(jnp.nan)
    out, plain = attend(query, key, value, scale=1.0), attend_plain(query, key, value, None, 1.0)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(plain))
    assert np.isnan(out[0, :, 0]).all()
    keep = jnp.ones((2, 1, 1, 3), bool).at[0, 0, 0, 1].set(False)
    assert np.isfinite(attend(query, key, value, keep, scale=1.0)).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_core_of_attention_in_half_precision(dtype):
    arrays = inputs(SHAPES[3], dtype=dtype)
    like = np.random.default_rng(2).normal(size=(2, 9, 1, 3)).astype("float32")
    wide = both_ways(lambda *x: attend_plain(*x, None, 0.5), [a.astype("float32") for a in arrays], like)
    eps = float(jnp.finfo(dtype).eps)
    for a, b in zip(both_ways(lambda *x: attend(*x, scale=0.5), arrays, like), wide, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype("float32"), b, rtol=8 * eps, atol=8 * eps)


X = np.concatenate([np.linspace(-12, 12, 2001), [0.0, -0.0, 1e-30, -1e-30, 1e10, -1e10, np.inf, np.nan]])


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gelu(dtype, fast):
    x = jnp.asarray(X[np.abs(X) < 60000] if dtype == "float16" else X, dtype)

    def of(gelu, x):
        return gelu(x), jax.grad(lambda x: jnp.sum(gelu(x).astype("float32")))(x)

    with kernels(fast):
        found = of(activations.gelu, x)
    expected = of(lambda x: jax.nn.gelu(x, approximate=False), x.astype("float32"))
    # erf(x) is near -1 for x far below 0, so that 1 + erf(x) is exact to float32's 1e-7 and no further.
    eps = float(jnp.finfo(dtype).eps)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype("float32"), b.astype(dtype).astype("float32"), rtol=4 * eps, atol=1e-6)
