"""Batch normalization: the fast forms give the values and gradients of the plain ones, of any order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import kernels
from verax.ops.batch_norm import moments, moments_plain, normalize, normalize_plain

FAST, PLAIN = (moments, normalize), (moments_plain, normalize_plain)


@pytest.fixture(autouse=True)
def fast():
    with kernels(True):
        yield


def standardized(forms, x, gamma, beta, axis, epsilon=1e-3):
    """Batch normalization's output and moments."""
    observe, scale = forms
    mean, variance = observe(x, axis)
    return scale(x, mean, jax.lax.rsqrt(variance + epsilon) * gamma, beta, axis), mean, variance


def given(shape, axis, mean=0.0, dtype="float32"):
    rng = np.random.default_rng(0)
    channels = shape[axis]
    spread = np.expand_dims(rng.uniform(0.1, 3.0, channels), [i for i in range(len(shape)) if i != axis % len(shape)])
    x = mean + spread * rng.normal(size=shape)
    vectors = rng.uniform(0.5, 2.0, (4, channels))
    return [jnp.asarray(a, dtype) for a in (x, vectors[0], vectors[1], rng.normal(size=shape), vectors[2], vectors[3])]


@pytest.mark.parametrize("offset", [True, False], ids=["offset", "no offset"])
def test_values_and_gradients_are_those_of_the_plain_forms(offset):
    todo = [((16, 5), -1), ((4, 6, 3), 1), ((3, 5, 4, 6), -1), ((3, 6, 5, 4), 1), ((1, 3), -1)]

    def run(forms, arrays):
        found = []
        for (_, axis), (x, gamma, beta, dy, dmean, dvariance) in zip(todo, arrays, strict=True):

            def f(x, gamma, beta, axis=axis):
                return standardized(forms, x, gamma, beta if offset else None, axis)

            out, back = jax.vjp(f, x, gamma, beta)
            # The moments have gradients of their own: a penalty may stand on them.
            found.append((out, back((dy, dmean, dvariance))))
        return found

    arrays = [given(*case) for case in todo]
    fast, plain = (jax.jit(lambda a, forms=forms: run(forms, a))(arrays) for forms in (FAST, PLAIN))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), fast, plain)


@pytest.mark.parametrize("mean", [1e4, -3e4])
def test_digits_survive_a_mean_far_from_zero(mean):
    x, gamma, beta, dy, *_ = given((64, 8, 8, 2), -1, mean)
    _, back, (_, variance) = jax.vjp(
        lambda x, gamma, beta: (lambda y, *m: (y, m))(*standardized(FAST, x, gamma, beta, -1)),
        x, gamma, beta, has_aux=True,
    )  # fmt: skip
    exact, dy64, gamma64 = (np.asarray(a, "float64") for a in (x, dy, gamma))
    off = exact - exact.mean((0, 1, 2))
    inverse = 1 / np.sqrt(off.var((0, 1, 2)) + 1e-3)
    hat = off * inverse
    np.testing.assert_allclose(variance, off.var((0, 1, 2)), rtol=1e-4)
    dx = gamma64 * inverse * (dy64 - dy64.mean((0, 1, 2)) - hat * (dy64 * hat).mean((0, 1, 2)))
    found_dx, found_dgamma, found_dbeta = back(dy)
    # What is left is float32's rounding of the mean itself.
    np.testing.assert_allclose(found_dx, dx, atol=2e-4 * np.abs(dx).max())
    np.testing.assert_allclose(found_dgamma, (dy64 * hat).sum((0, 1, 2)), atol=1e-3 * np.abs(hat * dy64).sum() ** 0.5)
    np.testing.assert_allclose(found_dbeta, dy64.sum((0, 1, 2)), rtol=1e-5, atol=1e-3)


def test_gradients_of_gradients():
    x, gamma, beta, dy, *_ = given((5, 4, 3), -1)

    def curvature(forms):
        def slope(x, gamma, beta):
            def f(*a):
                y, mean, variance = standardized(forms, *a, -1)
                return jnp.sum(jnp.tanh(y) * dy) + jnp.sum(mean * variance)

            return sum(jnp.sum(jnp.sin(g)) for g in jax.grad(f, (0, 1, 2))(x, gamma, beta))

        return jax.jit(jax.grad(slope, (0, 1, 2)))(x, gamma, beta)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), curvature(FAST), curvature(PLAIN))


def test_nan_and_infinity_reach_what_they_reach_in_the_plain_forms():
    x = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")
    x[0, 0], x[1, 1], x[2, 2] = np.nan, np.inf, 1e30
    ones, zeros = jnp.ones(4), jnp.zeros(4)

    def all_of(forms):
        out, back = jax.vjp(lambda x: standardized(forms, x, ones, zeros, -1), jnp.asarray(x))
        return [np.isfinite(a) for a in (*out, *back((jnp.ones((6, 4)), ones, ones)))]

    for a, b in zip(all_of(FAST), all_of(PLAIN), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_sum_for_the_mean_and_one_for_the_scale():
    x, gamma, beta, dy, *_ = given((6, 3), -1)

    def backward(forms):
        _, back = jax.vjp(lambda *a: standardized(forms, *a, -1)[0], x, gamma, beta)
        return str(jax.make_jaxpr(back)(dy)).count("reduce_sum")

    assert backward(FAST) < backward(PLAIN)


def test_gradients_keep_each_dtype_where_vectors_are_wider():
    x, wide = jnp.arange(6, dtype="bfloat16").reshape(2, 3), jnp.full(3, 2.0)
    with jax.numpy_dtype_promotion("standard"):
        found = jax.grad(lambda *a: jnp.sum(normalize(*a) ** 2), (0, 1, 2))(x, wide, wide)
        expected = jax.grad(lambda *a: jnp.sum(normalize_plain(*a) ** 2), (0, 1, 2))(x, wide, wide)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a, "float32"), np.asarray(b, "float32"))
