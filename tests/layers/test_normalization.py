"""Batch normalization: its moving averages, its masks, and numbers far from 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import layers
from verax.errors import InputError, ShapeError
from verax.frame.frame import call, pure, values
from verax.frame.mode import Mode, ModeMap, Observation


def test_moving_averages_after_three_steps_are_those_of_keras():
    rng = np.random.default_rng(0)
    batches = [rng.normal(2.0, 3.0, size=(7, 5, 4)).astype("float32") for _ in range(3)]
    ours = layers.BatchNormalization(momentum=0.8)
    with oracle() as keras:
        theirs = keras.layers.BatchNormalization(momentum=0.8)
        for x in batches:
            expected = theirs(x, training=True)
        infer = theirs(x)
        moving = [np.asarray(v) for v in theirs.non_trainable_variables]
    for x in batches:
        got = ours(x, training=True)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.non_trainable_variables, moving, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(ours(x), infer, rtol=1e-4, atol=1e-5)


def test_mask_leaves_places_out_as_in_keras():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 6, 4)).astype("float32")
    mask = rng.random((3, 6)) < 0.6
    ours = layers.BatchNormalization()
    with oracle() as keras:
        theirs = keras.layers.BatchNormalization()
        expected = theirs(x, training=True, mask=mask)
        moving = [np.asarray(v) for v in theirs.non_trainable_variables]
    np.testing.assert_allclose(ours(x, training=True, mask=mask), expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.non_trainable_variables, moving, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="without its last axis"):
        layers.BatchNormalization()(jnp.ones((2, 3, 4)), training=True, mask=jnp.ones((2,), bool))


def test_frozen_layer_runs_on_its_moving_averages_in_both_modes():
    x = np.random.default_rng(2).normal(3.0, 2.0, size=(8, 4)).astype("float32")
    layer = layers.BatchNormalization()
    infer = layer(x)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), infer)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(4))
    assert values(layer)[0] == {}
    outcome = call(layer, *values(layer), (jnp.asarray(x),), mode=Mode.TRAIN)
    assert outcome.observed == {layer.name: Observation("batch_statistics", Mode.INFER, "frozen")}


@pytest.mark.parametrize("mean", [1e2, 1e4, -3e4])
@pytest.mark.parametrize("make", [layers.BatchNormalization, layers.LayerNormalization])
def test_variance_does_not_cancel_far_from_zero(make, mean):
    shape = (512, 1) if make is layers.BatchNormalization else (1, 512)
    x = (mean + np.random.default_rng(3).normal(size=shape)).astype("float32")
    exact = x.astype("float64")
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-3)
    # What is left is float32's rounding of the mean itself.
    np.testing.assert_allclose(make()(x, training=True), expected, atol=1e-5 + 3e-7 * abs(mean))


def test_statistics_are_float32_in_half_precision():
    x = (100 + np.random.default_rng(4).normal(size=(4096, 1))).astype("float32")
    layer = layers.BatchNormalization(momentum=0.0, dtype="mixed_bfloat16")
    assert layer(x, training=True).dtype == jnp.bfloat16
    rounded = np.asarray(jnp.asarray(x).astype("bfloat16").astype("float32"), "float64")
    np.testing.assert_allclose(layer.moving_mean.numpy(), rounded.mean(), rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), rounded.var(), rtol=1e-4)


def test_a_traced_flag_selects_moments_and_their_update():
    x = jnp.asarray(np.random.default_rng(5).normal(3.0, 2.0, size=(8, 4)).astype("float32"))
    layer = layers.BatchNormalization()
    layer(x)
    params, state = values(layer)

    @jax.jit
    def by_flag(flag):
        return pure(layer)(params, state, x, mode=ModeMap(Mode.TRAIN, effects={"batch_statistics": flag}))

    for training in (True, False):
        expected = pure(layer)(params, state, x, mode=Mode.of(training))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), by_flag(training), expected)


@pytest.mark.parametrize(
    ("arguments", "told"), [({"momentum": 1.5}, "momentum"), ({"epsilon": 0.0}, "epsilon"), ({"axis": 5}, "axis=5")]
)
def test_bad_arguments(arguments, told):
    with pytest.raises(InputError, match=told):
        layers.BatchNormalization(**arguments)(jnp.ones((2, 3)))
