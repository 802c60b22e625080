"""The same network from real Keras and from Verax, with the same weights, run and trained side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax.initializers import random

__all__ = ["images", "near", "predictions", "trained", "undrawn", "weights_for"]

RNG = np.random.default_rng


@contextlib.contextmanager
def undrawn() -> Iterator[Any]:
    """Keras; while it is open, weights start at zero here and there, because they are set afterwards."""
    with oracle() as keras, pytest.MonkeyPatch.context() as patch:
        from keras.src.initializers import random_initializers

        def zeros(self: Any, shape: Any, dtype: Any = None) -> Any:
            return jnp.zeros(shape, dtype or "float32")

        for kind in vars(random_initializers).values():
            if isinstance(kind, type) and kind.__module__ == random_initializers.__name__:
                patch.setattr(kind, "__call__", zeros)
        patch.setattr(random, "drawn", lambda sample, shape: jnp.zeros(shape, "float32"))
        yield keras


def weights_for(model: Any) -> list[np.ndarray]:
    """Numbers for the weights of a model of Keras, under which its activations neither grow nor vanish."""
    rng, found = RNG(0), []
    for weight in model.weights:
        values = rng.random(tuple(weight.shape), "float32")
        if weight.path.endswith(("gamma", "moving_variance")):
            found.append(values + 0.5)
        elif len(weight.shape) == 1:
            found.append((values - 0.5) * 0.2)
        else:
            fan_in = np.prod(weight.shape[:-1])
            found.append((values - 0.5) * np.sqrt(12 / fan_in, dtype="float32"))
    return found


def images(rows: int, height: int, width: int) -> np.ndarray:
    """Noise."""
    return RNG(1).normal(size=(rows, height, width, 3)).astype("float32")


def near(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal within a tolerance relative to the scale of what is expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def predictions(keras: Any, theirs: Any, ours: Any, x: np.ndarray) -> None:
    """The same weights give the same predictions."""
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    weights = weights_for(theirs)
    theirs.set_weights(weights)
    ours.set_weights(weights)
    expected = theirs.predict(x, verbose=0)
    near(ours.predict(x, verbose=0), expected)
    assert np.ptp(expected, axis=0).max() > 1e-3 * np.abs(expected).max()  # rows tell apart what is in them


def trained(keras: Any, theirs: Any, ours: Any, x: np.ndarray, y: np.ndarray, rate: float) -> None:
    """Three steps of SGD give the same losses, and the same changes of every weight and every moving average."""
    before = theirs.get_weights()
    losses = []
    for model, library in ((theirs, keras), (ours, verax)):
        model.compile(optimizer=library.optimizers.SGD(rate), loss="sparse_categorical_crossentropy")
        losses.append([float(model.train_on_batch(x, y)) for _ in range(3)])
    near(losses[1], losses[0])
    for weight, old, found, expected in zip(
        theirs.weights, before, ours.get_weights(), theirs.get_weights(), strict=True
    ):
        change = np.abs(expected - old).max()
        # A bias before a batch normalization has no gradient but what rounding leaves.
        least = np.abs(expected).max() * 1e-5
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=max(1e-3 * change, least), err_msg=f"{weight.path}, changed by {change}"
        )
