"""Draws: their distribution, and what they depend on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verax import layers
from verax.errors import InputError
from verax.frame.frame import call, pure, values
from verax.frame.mode import Mode, ModeMap

KEY = jax.random.key(7)
X = jnp.ones((64, 100))


def drawn(layer, x=X, key=KEY, mode=Mode.TRAIN):
    return pure(layer)({}, {}, x, mode=mode, key=key)[0]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_probability_and_the_expectation(rate):
    layer = layers.Dropout(rate)
    layer(X)
    y = np.asarray(drawn(layer))
    # What is kept is divided by the probability it is kept with: 1 - rate in steps of 2^-16.
    kept = round((1 - rate) * 2**16) / 2**16
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(kept)}
    # Six standard errors of a binomial proportion.
    assert abs((y > 0).mean() - kept) < 6 * np.sqrt(rate * (1 - rate) / y.size)


def test_rates_zero_and_one():
    np.testing.assert_array_equal(layers.Dropout(0)(X, training=True), X)
    np.testing.assert_array_equal(layers.Dropout(1)(X, training=True), 0)
    gradient = jax.grad(lambda x: jnp.sum(built(layers.Dropout(1), x)(x)))(X)
    np.testing.assert_array_equal(gradient, 0)


def built(layer, x):
    layer(jnp.zeros(x.shape))
    return lambda x: drawn(layer, x)


@pytest.mark.parametrize("rate", [-0.1, 1.1, True, "half", None])
def test_rate_is_checked(rate):
    with pytest.raises(InputError, match="between 0 and 1"):
        layers.Dropout(rate)


@pytest.mark.parametrize("make", [layers.GaussianDropout, layers.AlphaDropout])
def test_rate_one_is_refused_where_the_noise_has_no_variance(make):
    with pytest.raises(InputError, match="rate=1"):
        make(1)


def test_same_key_same_mask_other_key_other_mask():
    layer = layers.Dropout(0.5)
    layer(X)
    np.testing.assert_array_equal(drawn(layer), drawn(layer))
    assert (drawn(layer) != drawn(layer, key=jax.random.key(8))).any()


def test_seed_changes_the_draws_and_they_still_follow_the_key():
    def masks(seed, key=KEY):
        layer = layers.Dropout(0.5, seed=seed)
        layer(X)
        return drawn(layer, key=key)

    np.testing.assert_array_equal(masks(3), masks(3))
    assert (masks(3) != masks(4)).any()
    assert (masks(3) != masks(None)).any()
    assert (masks(3) != masks(3, jax.random.key(8))).any()


def test_noise_shape_shares_the_mask():
    layer = layers.Dropout(0.5, noise_shape=(None, 1))
    layer(X)
    y = np.asarray(drawn(layer))
    assert (y == y[:, :1]).all()
    assert 0 < (y[:, 0] > 0).sum() < 64
    with pytest.raises(InputError, match="an entry for every axis"):
        layers.Dropout(0.5, noise_shape=(1,))(X, training=True)


@pytest.mark.parametrize(
    ("layer", "shape", "shared"),
    [
        (layers.SpatialDropout1D(0.5), (4, 5, 30), (1,)),
        (layers.SpatialDropout2D(0.5), (4, 5, 6, 30), (1, 2)),
        (layers.SpatialDropout2D(0.5, "channels_first"), (4, 30, 5, 6), (2, 3)),
        (layers.SpatialDropout3D(0.5), (4, 2, 3, 4, 30), (1, 2, 3)),
    ],
)
def test_spatial_dropout_drops_whole_channels(layer, shape, shared):
    x = jnp.ones(shape)
    layer(x)
    y = np.asarray(drawn(layer, x))
    assert (y.max(shared) == y.min(shared)).all()
    assert 0 < (y == 0).mean() < 1


@pytest.mark.parametrize(
    ("layer", "mean", "std"),
    [
        (layers.GaussianNoise(0.3), 1.0, 0.3),
        (layers.GaussianDropout(0.2), 1.0, 0.5),
    ],
)
def test_gaussian_noise_has_its_moments(layer, mean, std):
    layer(X)
    y = np.asarray(drawn(layer))
    assert abs(y.mean() - mean) < 6 * std / np.sqrt(y.size)
    assert abs(y.std() - std) < 6 * std / np.sqrt(2 * y.size)
    np.testing.assert_array_equal(drawn(layer, mode=Mode.INFER, key=None), X)


def test_alpha_dropout_keeps_mean_and_variance():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(500, 200)).astype("float32"))
    layer = layers.AlphaDropout(0.3)
    layer(x)
    y = np.asarray(drawn(layer, x))
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02


class Twice(layers.Layer):
    def __init__(self):
        super().__init__()
        self.drop = layers.Dropout(0.5)

    def call(self, x):
        return self.drop(x), self.drop(x)


class Two(layers.Layer):
    def __init__(self):
        super().__init__()
        self.first = layers.Dropout(0.5)
        self.second = layers.Dropout(0.5)
        self.noise = layers.GaussianNoise(1.0)

    def call(self, x):
        return self.first(x), self.second(x), self.noise(x)


def test_one_layer_called_twice_draws_twice():
    layer = Twice()
    layer(X)
    a, b = drawn(layer)
    assert (a != b).any()


def test_turning_one_off_leaves_the_others_alone():
    layer = Two()
    layer(X)
    first, second, noise = drawn(layer)
    assert (first != second).any()
    off = drawn(layer, mode=ModeMap(Mode.TRAIN, paths={"first": Mode.INFER}))
    np.testing.assert_array_equal(off[0], X)
    np.testing.assert_array_equal(off[1], second)
    np.testing.assert_array_equal(off[2], noise)
    off = drawn(layer, mode=ModeMap(Mode.TRAIN, effects={"dropout": Mode.INFER}))
    np.testing.assert_array_equal(off[1], X)
    np.testing.assert_array_equal(off[2], noise)


def test_traced_flags_are_the_static_modes():
    layer = Two()
    layer(X)
    by_flags = jax.jit(
        lambda dropout, noise: drawn(layer, mode=ModeMap(Mode.INFER, effects={"dropout": dropout, "noise": noise}))
    )
    for dropout in (True, False):
        for noise in (True, False):
            static = ModeMap(Mode.INFER, effects={"dropout": Mode.of(dropout), "noise": Mode.of(noise)})
            expected = drawn(layer, mode=static)
            for a, b in zip(by_flags(dropout, noise), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_what_depends_on_the_mode_is_observed():
    layer = Two()
    layer(X)
    outcome = call(layer, {}, {}, (X,), mode=Mode.TRAIN, key=KEY)
    assert {path: o.effect for path, o in outcome.observed.items()} == {
        "first": "dropout",
        "second": "dropout",
        "noise": "noise",
    }
    layer = layers.LSTM(2, dropout=0.5)
    layer(jnp.ones((1, 2, 3)))
    outcome = call(layer, *values(layer), (jnp.ones((1, 2, 3)),), mode=Mode.TRAIN, key=KEY)
    assert [o.effect for o in outcome.observed.values()] == ["dropout"]


def test_activity_regularization_is_a_penalty_per_row():
    layer = layers.ActivityRegularization(l1=0.5, l2=0.25)
    x = jnp.array([[1.0, -2.0], [3.0, 0.0]])
    layer(x)
    outcome = call(layer, {}, {}, (x,), mode=Mode.INFER)
    assert float(*outcome.penalties.values()) == pytest.approx((0.5 * 6 + 0.25 * 14) / 2)
