"""Pooling: the fast forms give the values and gradients of the plain ones, ties and NaN included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import kernels
from tests.oracle import oracle
from verax.ops.pooling import average_pool, average_pool_plain, max_pool, max_pool_plain

#: sizes, window, strides, padding
GRID = [
    ((7,), (3,), (1,), "SAME"),
    ((7, 5), (2, 2), (2, 2), "VALID"),
    ((7, 5), (2, 3), (2, 3), "SAME"),
    ((7, 8), (3, 3), (2, 2), "SAME"),
    ((9, 8), (2, 1), (3, 2), "VALID"),
    ((6, 7), (3, 3), (2, 2), ((1, 0), (2, 1))),
    ((4, 5, 3), (2, 3, 2), (2, 1, 2), "SAME"),
]
#: The grid, channels last; the two forms of the gradient, channels first.
CASES = [*((case, True) for case in GRID), (GRID[2], False), (GRID[3], False)]


def rows(shape, dtype, *, extreme):
    """Four rows: distinct numbers, ties, scattered NaN and infinities, and -inf almost everywhere."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, *shape))
    x[1] = rng.integers(0, 2, size=shape)
    if extreme:
        x[2] = np.where(rng.random(shape) < 0.15, np.nan, rng.choice([-np.inf, 0.0, np.inf, 1.0, 3e38], size=shape))
        x[3] = np.where(rng.random(shape) < 0.9, -np.inf, 1.0)
    return jnp.asarray(x, dtype)


def compared(fast, plain, todo=CASES, dtype="float32", *, extreme):
    """For each case: what, value and gradient of the fast form, value and gradient of the plain one; one program."""

    def value_and_gradient(pool, case, last, x, dy):
        y, back = jax.vjp(lambda x: pool(x, *case[1:], channels_last=last), x)
        return y, *back(dy.ravel()[: y.size].reshape(y.shape))

    def run(given):
        return [
            value_and_gradient(fast, *case, x, dy) + value_and_gradient(plain, *case, x, dy)
            for case, (x, dy) in zip(todo, given, strict=True)
        ]

    given = []
    for (sizes, *_), last in todo:
        x = rows((*sizes, 3) if last else (3, *sizes), dtype, extreme=extreme)
        # Whole numbers add up exactly in any order.
        given.append((x, jnp.asarray(np.random.default_rng(1).integers(-3, 4, size=x.shape), dtype)))
    found = jax.tree.map(lambda a: np.asarray(a, "float32"), jax.jit(run)(given))
    return [(str(case), *arrays) for case, arrays in zip(todo, found, strict=True)]


@pytest.mark.parametrize(("dtype", "todo"), [("float32", CASES), ("bfloat16", CASES[3:4])], ids=["float32", "bfloat16"])
@kernels(True)
def test_maximum_and_its_gradient_are_those_of_xla_bit_for_bit(dtype, todo):
    for what, y, dx, expected_y, expected_dx in compared(max_pool, max_pool_plain, todo, dtype, extreme=True):
        np.testing.assert_array_equal(y, expected_y, what)
        np.testing.assert_array_equal(dx, expected_dx, what)


@kernels(True)
def test_average_and_its_gradient():
    for what, y, dx, expected_y, expected_dx in compared(average_pool, average_pool_plain, CASES[1::2], extreme=False):
        np.testing.assert_allclose(y, expected_y, rtol=1e-6, atol=1e-6, err_msg=what)
        np.testing.assert_allclose(dx, expected_dx, rtol=1e-5, atol=1e-6, err_msg=what)


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("size", [8, 12])  # of 12 x 12 places even the fast form is the plain one
@pytest.mark.parametrize(("dtype", "eps"), [("bfloat16", 2**-8), ("float16", 2**-11)], ids=["bfloat16", "float16"])
def test_averages_under_half_precision_are_sums_in_float32(dtype, eps, size, fast):
    x = jnp.asarray(100 + np.random.default_rng(2).normal(size=(2, size, size, 3)), dtype)
    exact = np.asarray(x, "float64").mean((1, 2), keepdims=True)
    with kernels(fast):
        y, back = jax.vjp(lambda x: average_pool(x, (size, size), (size, size), "VALID"), x)
        (dx,) = back(jnp.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, "float64"), exact, rtol=eps)
    np.testing.assert_allclose(np.asarray(dx, "float64"), size**-2, rtol=eps)


@kernels(True)
def test_extreme_values_reach_the_averages_they_reach_in_the_plain_form():
    x = rows((6, 6, 3), "float32", extreme=True)[2:]
    found, expected = (pool(x, (3, 3), (2, 2), "SAME") for pool in (average_pool, average_pool_plain))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


def test_integers_pool_too():
    x = jnp.asarray(np.random.default_rng(3).integers(-9, 9, size=(2, 5, 7, 3)), "int32")
    y = max_pool(x, (3, 3), (2, 2), "SAME")
    assert y.dtype == jnp.int32
    np.testing.assert_array_equal(y, max_pool_plain(x, (3, 3), (2, 2), "SAME"))


def test_first_maximum_of_a_window_gets_the_gradient():
    x = jnp.array([[1.0, 4.0, 4.0, 0.0]])[..., None]
    found = jax.grad(lambda x: jnp.sum(max_pool(x, (4,), (4,), "VALID")))(x)
    assert found.ravel().tolist() == [0.0, 1.0, 0.0, 0.0]


def test_gradients_of_gradients():
    x = jnp.asarray(np.random.default_rng(4).normal(size=(2, 7, 7, 2)), "float32")

    def curvature(pool):
        def slope(x):
            return jnp.sum(jax.grad(lambda x: jnp.sum(pool(x, (3, 3), (2, 2), "SAME") ** 3))(x) ** 2)

        return jax.jit(jax.grad(slope))(x)

    np.testing.assert_allclose(curvature(average_pool), curvature(average_pool_plain), rtol=1e-5, atol=1e-5)

    def by_place(x):
        # autodiff of the plain maximum stops at the first order; picking by the index of the maximum does not
        patches = jnp.stack([x[:, i : i + 6 : 2, j : j + 6 : 2] for i in (0, 1) for j in (0, 1)], -1)
        return jnp.take_along_axis(patches, jnp.argmax(patches, -1, keepdims=True), -1)[..., 0]

    def curvature_of_maximum(pool):
        def slope(x):
            return jnp.sum(jax.grad(lambda x: jnp.sum(pool(x) ** 3))(x) ** 2)

        return jax.jit(jax.grad(slope))(x)

    found = curvature_of_maximum(lambda x: max_pool(x, (2, 2), (2, 2), "VALID"))
    np.testing.assert_allclose(found, curvature_of_maximum(by_place), rtol=1e-5, atol=1e-5)


def test_large_windows_and_the_switch_take_the_plain_form():
    x = jnp.asarray(np.random.default_rng(5).normal(size=(1, 20, 20, 1)), "float32")

    def primitives(pool, *arguments):
        return str(jax.make_jaxpr(lambda x: pool(x, *arguments, "VALID"))(x))

    for pool in (max_pool, average_pool):
        assert "reduce_window" in primitives(pool, (9, 9), (1, 1))
        with kernels(True):
            assert "reduce_window" not in primitives(pool, (3, 3), (1, 1))
        with kernels(False):
            assert "reduce_window" in primitives(pool, (3, 3), (1, 1))


def test_ties_go_where_keras_sends_them():
    x = jnp.asarray(np.random.default_rng(6).integers(0, 3, size=(2, 7, 7, 2)), "float32")
    with oracle() as keras:
        expected = jax.jit(jax.grad(lambda x: jnp.sum(keras.ops.max_pool(x, 3, 2, "same") ** 2)))(x)
    found = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, (3, 3), (2, 2), "SAME") ** 2)))(x)
    np.testing.assert_array_equal(found, expected)
