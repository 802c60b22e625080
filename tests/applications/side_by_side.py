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

__all__ = ["images", "near", "predictions", "same_weights", "trained", "undrawn", "weights_for"]

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
    normalized = any(weight.path.endswith("gamma") for weight in model.weights)
    variance = 1.0 if normalized else 2.0  # a ReLU halves it
    for weight in model.weights:
        values = rng.random(tuple(weight.shape), "float32")
        if weight.path.endswith(("gamma", "moving_variance")):
            found.append(values + 0.5)
        elif len(weight.shape) == 1:
            found.append((values - 0.5) * 0.2)
        else:
            fan_in = np.prod(weight.shape[: 2 if "depthwise" in weight.path else -1])
            found.append((values - 0.5) * np.sqrt(12 * variance / fan_in, dtype="float32"))
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


def _place(weight: Any) -> list[str]:
    """The layer and the name of a weight, without the scopes of Keras' NASNet; its LayerScale leaves gamma unnamed."""
    layer, name = weight.path.split("/")[-2:]
    return [layer, "gamma" if name.startswith("variable") else name]


def same_weights(theirs: Any, ours: Any) -> None:
    """Give both models the same weights, in an order that is the same."""
    assert [_place(w) for w in ours.weights] == [_place(w) for w in theirs.weights]
    weights = weights_for(theirs)
    theirs.set_weights(weights)
    ours.set_weights(weights)


def predictions(theirs: Any, ours: Any, x: np.ndarray) -> None:
    """The same weights give the same predictions."""
    same_weights(theirs, ours)
    expected = theirs.predict(x, verbose=0)
    near(ours.predict(x, verbose=0), expected)
    assert np.ptp(expected, axis=0).max() > 1e-3 * np.abs(expected).max()  # rows tell apart what is in them


def trained(keras: Any, theirs: Any, ours: Any, x: np.ndarray, y: np.ndarray, loss: str) -> None:
    """A step of SGD changes every weight as in Keras; three steps give the same losses and moving averages.

    After more steps a rounding decides here and there which side of a ReLU a number is on, and weights differ by more
    than roundings; in double precision both sides were seen to be equally near.
    """
    same_weights(theirs, ours)
    before = theirs.get_weights()
    for model, library in ((theirs, keras), (ours, verax)):
        model.compile(optimizer=library.optimizers.SGD(1e-3), loss=loss)
    losses = [(float(ours.train_on_batch(x, y)), float(theirs.train_on_batch(x, y)))]
    for weight, old, found, expected in zip(
        theirs.weights, before, ours.get_weights(), theirs.get_weights(), strict=True
    ):
        change = np.linalg.norm(expected - old)
        # A weight is rounded as it is changed; a bias before a batch normalization has a gradient of roundings alone.
        least = np.linalg.norm(expected) * 1e-6
        error = np.linalg.norm(found - expected)
        assert error <= max(1e-4 * change, least), f"{weight.path}: {error}, where it was changed by {change}"
    losses += [(float(ours.train_on_batch(x, y)), float(theirs.train_on_batch(x, y))) for _ in range(2)]
    near(*zip(*losses, strict=True))
    assert losses[2] < losses[0]
    for weight, found, expected in zip(theirs.weights, ours.get_weights(), theirs.get_weights(), strict=True):
        if "moving" in weight.path:
            near(found, expected)
