"""Spectral normalization: singular values as NumPy finds them, training as in Keras, inference as in training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import InputError, ShapeError
from verax.frame.frame import pure, values

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype("float32")


def spectral_norm(kernel) -> float:
    return float(np.linalg.svd(np.asarray(kernel, "float64").reshape(-1, kernel.shape[-1]))[1][0])


@pytest.mark.parametrize("iterations", [1, 3])
def test_training_gives_the_outputs_gradients_and_vector_of_keras(iterations):
    ours = layers.SpectralNormalization(layers.Dense(3, name="dense"), iterations)
    ours(layers.Input((4,)))
    with oracle() as keras:
        theirs = keras.layers.SpectralNormalization(keras.layers.Dense(3), iterations)
        theirs(X)
        assert [w.shape for w in theirs.weights] == [w.shape for w in ours.weights]
        weights = [RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
        trainable = [w for w, v in zip(weights, theirs.weights, strict=True) if v.trainable]
        others = [w for w, v in zip(weights, theirs.weights, strict=True) if not v.trainable]

        def objective(trainable):
            output, state = theirs.stateless_call(trainable, others, X, training=True)
            return jnp.sum(jnp.sin(output)), (output, state)

        (_, (expected, state)), gradient = jax.value_and_grad(objective, has_aux=True)(
            [jnp.asarray(w) for w in trainable]
        )
    ours.set_weights(weights)
    params, kept = values(ours)

    def of_ours(params):
        output, state = pure(ours)(params, kept, X, mode=verax.Mode.TRAIN)
        return jnp.sum(jnp.sin(output)), (output, state)

    (_, (got, after)), slope = jax.value_and_grad(of_ours, has_aux=True)(params)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(after["vector_u"], state[0], rtol=1e-5, atol=1e-6)
    for a, b in zip([slope[v.path] for v in ours.trainable_weights], gradient, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: layers.Dense(3, use_bias=False), X),
        (lambda: layers.Conv2D(3, 2, use_bias=False), RNG.normal(size=(1, 5, 5, 2)).astype("float32")),
        (lambda: layers.Embedding(5, 3), np.array([[0, 4, 2]])),
    ],
)
def test_the_power_method_finds_the_largest_singular_value(make, x):
    inner = make()
    layer = layers.SpectralNormalization(inner, power_iterations=5)
    for _ in range(40):
        trained = layer(x, training=True)
    kernel = layer.kernel.numpy()
    plain = make()
    plain(x)
    plain.set_weights([kernel / spectral_norm(kernel)])
    np.testing.assert_allclose(trained, plain(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-4, atol=1e-5)  # inference too
    assert layer(x).dtype == jnp.float32
    np.testing.assert_array_equal(inner.weights[0].numpy(), kernel)


def test_inference_computes_with_the_divided_kernel_where_keras_loses_it():
    y = np.zeros((6, 3), "float32")
    with oracle() as keras:
        theirs = keras.layers.SpectralNormalization(keras.layers.Dense(3, use_bias=False))
        model = keras.Sequential([keras.Input((4,)), theirs])
        model.compile("sgd", "mse")
        model.fit(X, y, epochs=3, verbose=0)
        kernel = np.asarray(theirs.layer.kernel)
        np.testing.assert_allclose(model.predict(X, verbose=0), X @ kernel, rtol=1e-5, atol=1e-5)
    ours = layers.SpectralNormalization(layers.Dense(3, use_bias=False))
    model = verax.Sequential([layers.Input((4,)), ours])
    model.compile("sgd", "mse")
    model.fit(X, y, epochs=60, verbose=0)
    kernel = ours.kernel.numpy()
    np.testing.assert_allclose(model.predict(X, verbose=0), X @ kernel / spectral_norm(kernel), rtol=1e-3, atol=1e-4)


def test_a_kernel_of_zeros_stays_and_the_vector_waits():
    layer = layers.SpectralNormalization(layers.Dense(3, kernel_initializer="zeros"))
    layer(X)
    before = layer.vector_u.numpy()
    assert not np.asarray(layer(X, training=True)).any()
    np.testing.assert_array_equal(layer.vector_u.numpy(), before)


def test_the_norm_is_float32_in_half_precision():
    layer = layers.SpectralNormalization(layers.Dense(3, dtype="mixed_bfloat16"), dtype="mixed_bfloat16")
    assert layer(X, training=True).dtype == jnp.bfloat16
    assert {w.dtype for w in layer.weights} == {"float32"}


def test_a_mask_passes_through_the_layer_inside():
    ids = np.array([[1, 2, 0]])
    embedding = layers.SpectralNormalization(layers.Embedding(3, 4, mask_zero=True))
    model = verax.Sequential([embedding, layers.LSTM(2)])
    np.testing.assert_allclose(model.predict(ids, verbose=0), model.predict(ids[:, :2], verbose=0), rtol=1e-6)


def test_configuration_holds_the_layer_inside():
    layer = layers.SpectralNormalization(layers.Conv2D(3, 2, name="inner"), 2, name="outer")
    with oracle() as keras:
        said = keras.layers.SpectralNormalization(keras.layers.Conv2D(3, 2, name="inner"), 2, name="outer").get_config()
        keras.layers.SpectralNormalization.from_config(layer.get_config())
    for config in (layer.get_config(), said):
        again = layers.SpectralNormalization.from_config(config)
        assert (again.name, again.power_iterations, again.layer.name) == ("outer", 2, "inner")
        assert again.layer is not layer.layer
        assert again(jnp.ones((1, 4, 4, 2))).shape == (1, 3, 3, 3)


def test_what_is_refused():
    with pytest.raises(InputError, match="Pass a layer"):
        layers.SpectralNormalization("dense")
    with pytest.raises(InputError, match="power_iterations=0"):
        layers.SpectralNormalization(layers.Dense(3), 0)
    with pytest.raises(InputError, match="neither kernel nor embeddings"):
        layers.SpectralNormalization(layers.ReLU())(X)


def test_a_refused_input_leaves_no_layer_half_built():
    layer = layers.SpectralNormalization(layers.Conv2D(3, 9))
    with pytest.raises(ShapeError, match="does not fit"):
        layer(jnp.ones((1, 4, 4, 2)))
    assert not layer.built
    assert not layer.layer.built
    assert not layer.layer.weights


def test_a_wrapper_of_ones_own():
    class Residual(layers.Wrapper):
        def call(self, x):
            return x + self.layer(x)

    layer = Residual(layers.Dense(4, kernel_initializer="zeros"))
    np.testing.assert_array_equal(layer(X), X)
    assert [w.path for w in layer.weights] == ["layer/kernel", "layer/bias"]
