"""Adaptive pooling: windows that cover everything, against NumPy's mean and maximum of each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.ops.adaptive_pooling import adaptive_average_pool, adaptive_max_pool, window_bounds

KINDS = {"max": (adaptive_max_pool, np.max), "average": (adaptive_average_pool, np.mean)}


def by_hand(x: np.ndarray, counts: tuple[int, ...], reduce) -> np.ndarray:
    for axis, count in enumerate(counts, 1):
        n = x.shape[axis]
        windows = [slice(int(np.floor(i * n / count)), int(np.ceil((i + 1) * n / count))) for i in range(count)]
        x = np.stack([reduce(np.take(x, range(*w.indices(n)), axis), axis) for w in windows], axis)
    return x


@given(st.integers(1, 300), st.integers(1, 300))
def test_windows_cover_everything_and_are_of_two_widths(size, count):
    bounds = window_bounds(size, count)
    assert {place for begin, end in bounds for place in range(begin, end)} == set(range(size))
    narrow = -(-size // count)
    assert {end - begin for begin, end in bounds} <= {narrow, narrow + 1}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_each_window_is_what_numpy_makes_of_it(kind, data):
    rank = data.draw(st.integers(1, 3))
    sizes = tuple(data.draw(st.integers(1, 7)) for _ in range(rank))
    counts = tuple(data.draw(st.integers(1, 9)) for _ in range(rank))
    x = np.random.default_rng(0).normal(size=(2, *sizes, 3)).astype("float32")
    pool, reduce = KINDS[kind]
    expected = by_hand(x, counts, reduce)
    np.testing.assert_allclose(pool(jnp.asarray(x), counts), expected, rtol=1e-5, atol=1e-6)
    turned = pool(jnp.asarray(np.moveaxis(x, -1, 1)), counts, channels_last=False)
    np.testing.assert_allclose(np.moveaxis(turned, 1, -1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counts", [(3,), (4,), (10,), (13,)])
def test_gradients_are_those_of_the_windows(counts):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 10, 3)).astype("float32"))
    scale = jnp.asarray(np.random.default_rng(2).normal(size=(2, *counts, 3)).astype("float32"))

    def plain(x, reduce):
        return jnp.stack([reduce(x[:, a:b], axis=1) for a, b in window_bounds(10, counts[0])], 1)

    for pool, reduce in ((adaptive_max_pool, jnp.max), (adaptive_average_pool, jnp.mean)):
        ours = jax.grad(lambda x, pool=pool: (pool(x, counts) * scale).sum())(x)
        theirs = jax.grad(lambda x, reduce=reduce: (plain(x, reduce) * scale).sum())(x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_an_infinite_place_stays_in_its_windows():
    x = jnp.arange(5.0).at[0].set(jnp.inf)[None, :, None]
    assert adaptive_average_pool(x, (3,)).ravel().tolist() == [np.inf, 2.0, 3.5]
    assert adaptive_max_pool(-x, (3,)).ravel().tolist() == [-1.0, -1.0, -3.0]


def test_sums_are_float32_in_half_precision():
    x = jnp.full((1, 4097, 1), 0.1, jnp.bfloat16)
    average = adaptive_average_pool(x, (2,))
    assert average.dtype == jnp.bfloat16
    np.testing.assert_array_equal(average, jnp.full((1, 2, 1), 0.1, jnp.bfloat16))


def test_windows_are_exact_where_rounded_bounds_reach_outside():
    x = np.arange(6, dtype="float32")[None, :, None]
    with oracle() as keras:
        assert np.isnan(np.asarray(keras.layers.AdaptiveMaxPooling1D(7)(x))).any()
    assert adaptive_max_pool(jnp.asarray(x), (7,)).ravel().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0]


def test_whole_numbers_have_a_maximum():
    x = jnp.arange(5, dtype=jnp.uint8)[None, :, None]
    assert adaptive_max_pool(x, (3,)).ravel().tolist() == [1, 3, 4]
