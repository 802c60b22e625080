"""Losses and metrics of regions, sequences, pairs and correlations in a fit: any batch size, and half precision."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers, losses, metrics

RNG = np.random.default_rng(8)
X = RNG.normal(size=(24, 6, 4)).astype("float32")
REGION = RNG.integers(0, 2, (24, 6, 1)).astype("float32")
WORDS = np.array([[1, 2], [2, 0], [1, 1]] * 8)
CLASSES = RNG.integers(0, 3, 24)


def pixels():
    return [layers.Dense(8, "tanh"), layers.Dense(1, "sigmoid")]


def scores():
    return [layers.Flatten(), layers.Dense(3, "softmax")]


def unit(x):
    return x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))


CASES = [
    ("dice", pixels, REGION, [metrics.BinaryIoU()]),
    (losses.Tversky(0.3, 0.7), pixels, REGION, [metrics.BinaryIoU([1]), "mse"]),
    (losses.Dice(axis=-1), pixels, REGION, ["binary_iou"]),
    ("categorical_generalized_cross_entropy", scores, CLASSES, [metrics.MeanIoU(3, sparse_y_pred=False)]),
    ("ctc", lambda: [layers.Dense(4)], WORDS, []),
    ("mse", lambda: [layers.Flatten(), layers.Dense(1)], X[:, 0, :1], [metrics.PearsonCorrelation()]),
    ("mse", lambda: [layers.Flatten(), layers.Dense(4)], X[:, 0], [metrics.ConcordanceCorrelation(axis=0)]),
    (losses.Circle(gamma=2.0), lambda: [layers.Flatten(), layers.Dense(4), layers.Lambda(unit)], CLASSES, []),
]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("loss", "body", "y", "measured"), CASES, ids=lambda v: v if isinstance(v, str) else None)
def test_it_trains_and_measures_the_same_for_every_batch_size(loss, body, y, measured, dtype):
    verax.config.set_dtype_policy(dtype)
    try:
        model = verax.Sequential([verax.Input((None, 4) if loss == "ctc" else (6, 4)), *body()])
    finally:
        verax.config.set_dtype_policy("float32")
    model.compile(verax.optimizers.Adam(0.02), loss, metrics=measured)
    fitted = model.fit(X, y, batch_size=10, epochs=6, verbose=0, validation_data=(X, y)).history["loss"]
    assert fitted[-1] < fitted[0]
    if isinstance(loss, losses.Circle):  # whose rows are partners in a batch
        return
    values = [model.evaluate(X, y, batch_size=size, verbose=0) for size in (24, 7)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5 if dtype == "float32" else 1e-2, atol=1e-6)


@pytest.mark.parametrize(("loss", "body", "y", "measured"), CASES[4:5] + CASES[7:], ids=["ctc", "circle"])
def test_the_first_step_is_that_of_keras(loss, body, y, measured):
    del measured
    model = verax.Sequential([verax.Input((6, 4)), *body()])
    model.compile("sgd", loss)
    ours = model.fit(X, y, batch_size=24, verbose=0).history["loss"][0]
    restored = verax.Sequential([verax.Input((6, 4)), *body()])
    restored.compile("sgd", loss)
    restored.set_weights(model.get_weights())
    with oracle() as keras:
        theirs = keras.losses.CTC() if loss == "ctc" else keras.losses.Circle(gamma=2.0)
        after = float(theirs(y, restored.predict(X, verbose=0)))
    assert restored.evaluate(X, y, batch_size=24, verbose=0) == pytest.approx(after, rel=1e-4)
    assert after < ours
