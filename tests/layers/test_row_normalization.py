"""Normalizations of a row: where they differ from Keras, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import InputError, ShapeError

RNG = np.random.default_rng(0)


def test_unit_normalization_of_zeros_has_a_gradient():
    layer = layers.UnitNormalization()
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    gradient = jax.grad(lambda x: layer(x)[:, 0].sum())(x)
    np.testing.assert_allclose(gradient, [[0.0, 0.0], [0.128, -0.096]], atol=1e-6)
    with oracle() as keras:
        theirs = keras.layers.UnitNormalization()
        assert np.isnan(jax.grad(lambda x: theirs(x).sum())(x)[0]).all()


@pytest.mark.parametrize("scale", [1e-11, 1e-13])
def test_tiny_norms_are_bounded_below_as_in_keras(scale):
    x = (scale * np.array([[3.0, 4.0]])).astype("float32")
    with oracle() as keras:
        expected = keras.layers.UnitNormalization()(x)
    np.testing.assert_allclose(layers.UnitNormalization()(x), expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [1, -2])
def test_rms_scale_varies_along_its_axis(axis):
    x = RNG.normal(size=(2, 5, 3)).astype("float32")
    layer = layers.RMSNormalization(axis)
    layer(x)
    scale = RNG.normal(size=5).astype("float32")
    layer.set_weights([scale])
    expected = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6) * scale[:, None]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_rms_normalization_passes_a_mask_on():
    ids = np.array([[1, 2, 0]])
    model = verax.Sequential([layers.Embedding(3, 4, mask_zero=True), layers.RMSNormalization(), layers.LSTM(2)])
    np.testing.assert_allclose(model.predict(ids, verbose=0), model.predict(ids[:, :2], verbose=0), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: layers.LayerNormalization(**k),
        lambda **k: layers.GroupNormalization(4, **k),
        lambda **k: layers.RMSNormalization(**k),
        lambda **k: layers.UnitNormalization(**k),
    ],
)
def test_sums_are_float32_in_half_precision(make):
    x = (3 + RNG.normal(size=(1, 4096))).astype("float32")
    half = make(dtype="mixed_float16")(x)
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(half.astype("float32"), make()(x), rtol=2e-3, atol=2e-3)


def test_group_normalization_far_from_zero_does_not_cancel():
    x = (1e4 + RNG.normal(size=(1, 64, 4))).astype("float32")
    exact = x.astype("float64").reshape(1, 64, 2, 2)
    mean, var = exact.mean((1, 3), keepdims=True), exact.var((1, 3), keepdims=True)
    expected = ((exact - mean) / np.sqrt(var + 1e-3)).reshape(x.shape)
    np.testing.assert_allclose(layers.GroupNormalization(2)(x), expected, atol=5e-3)


def test_synchronized_moments_are_those_of_the_whole_batch():
    x = RNG.normal(size=(8, 3)).astype("float32")
    together = layers.BatchNormalization(synchronized=True)(x, training=True)
    np.testing.assert_array_equal(together, layers.BatchNormalization()(x, training=True))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: layers.GroupNormalization(0), "groups=0"),
        (lambda: layers.GroupNormalization(2.0), "groups=2.0"),
        (lambda: layers.LayerNormalization(axis="last"), "axis"),
        (lambda: layers.RMSNormalization(epsilon=0.0), "epsilon"),
        (lambda: layers.UnitNormalization(axis=()), "axis"),
    ],
)
def test_wrong_arguments(make, told):
    with pytest.raises(InputError, match=told):
        make()


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (layers.GroupNormalization(3), "3 equal groups"),
        (layers.GroupNormalization(), "32 equal groups"),
        (layers.GroupNormalization(1, axis=0), "axis 0"),
        (layers.GroupNormalization(1, axis=3), "axis=3"),
        (layers.RMSNormalization((1, 5)), "axis"),
        (layers.UnitNormalization(4), "axis=4"),
    ],
)
def test_wrong_inputs(layer, told):
    with pytest.raises(ShapeError, match=told):
        layer(jnp.ones((2, 5, 4)))
    assert not layer.weights


def test_unknown_sizes_pass_through():
    x = layers.Input((None, None, 4))
    assert layers.GroupNormalization(2)(x).shape == (None, None, None, 4)
    assert layers.RMSNormalization()(x).shape == (None, None, None, 4)
    with pytest.raises(ShapeError, match="unknown size"):
        layers.GroupNormalization(2)(layers.Input((4, None)))
