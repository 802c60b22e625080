"""One network here and in Keras, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

import verax
from tests.applications.side_by_side import near, undrawn
from tests.oracle import oracle

__all__ = [
    "assert_predicts_alike",
    "assert_reads_alike",
    "assert_trains_alike",
    "both",
    "compiled_fast",
    "images",
    "pair",
]


def images(count: int, side: int) -> np.ndarray:
    """Images between -1 and 1 of a few large patches.

    Noise would look alike after some layers, and batch normalization blow up what little tells images apart: rounding.
    """
    patches = np.random.default_rng(0).uniform(-1, 1, (count, 4, 4, 3))
    return np.kron(patches, np.ones((1, side // 4, side // 4, 1))).astype("float32")


@pytest.fixture(autouse=True, name="_compiled_fast")
def compiled_fast() -> Iterator[None]:
    """Programs are compiled sooner, to slower ones: each is run a few times only."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def both(make: Callable[[ModuleType], Any], gain: float = 2.0) -> tuple[Any, Any]:
    """What ``make`` makes of this library and of Keras, with the same weights; kernels multiply variances by a gain."""
    with undrawn() as keras:
        theirs = make(keras)
        theirs.set_weights(values(theirs.weights, gain))
        for layer in theirs.layers:
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # its weights take effect only then
        ours = make(verax)
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def assert_predicts_alike(ours: Any, theirs: Any, x: np.ndarray) -> None:
    """The same outputs."""
    with oracle():
        expected = theirs.predict(x, verbose=0)
    found = ours.predict(x, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-2 * np.abs(expected).max(), "the outputs do not depend on the images"
    near(found, expected)


def pair(name: str, *, gain: float = 2.0, **arguments: Any) -> tuple[Any, Any]:
    """A network of ``applications``, here and in Keras."""
    return both(lambda library: getattr(library.applications, name)(**arguments), gain)


def values(weights: Any, gain: float) -> list[np.ndarray]:
    """Values for weights, by their names: kernels of a gain, and norms that do something."""
    rng = np.random.default_rng(0)
    return [_value(rng, w.path, tuple(w.shape), gain).astype("float32") for w in weights]


def _value(rng: np.random.Generator, path: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    layer, _, name = path.rpartition("/")
    if "kernel" in name:
        inputs = np.prod(shape[:2] if "dw" in layer or "depthwise" in layer else shape[:-1])
        return rng.normal(size=shape) * np.sqrt(gain / inputs)
    if name in ("gamma", "moving_variance", "variance"):
        return rng.uniform(0.7, 1.4, shape)
    return rng.normal(size=shape) * 0.1


def assert_trains_alike(ours: Any, theirs: Any, x: np.ndarray, y: np.ndarray, learning_rate: float = 1e-4) -> None:
    """The same loss, weights and moving averages after three steps of SGD, with all dropout off on both sides.

    Here by running dropout as in inference, in Keras by rates of 0: what is drawn differs.
    """
    arguments = {"batch_size": len(x) // 3, "shuffle": False, "verbose": 0}
    before = ours.get_weights()
    with oracle() as keras:
        for layer in theirs.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        theirs.compile(keras.optimizers.SGD(learning_rate), "sparse_categorical_crossentropy")
        expected = theirs.fit(x, y, **arguments).history["loss"]
    ours.compile(verax.optimizers.SGD(learning_rate), "sparse_categorical_crossentropy")
    found = ours.fit(x, y, **arguments, mode={"dropout": "infer"}).history["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for was, now, then in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        near(now, then)
        # Rounding grows a thousandfold on its way through as many norms and back; a wrong term is more than 3%.
        rounding = 4 * np.finfo(np.float32).eps * float(np.linalg.norm(was))
        assert np.linalg.norm(now - then) <= 3e-2 * np.linalg.norm(then - was) + rounding


def assert_reads_alike(ours: Any, theirs: Any, x: np.ndarray | None = None) -> None:
    """Each library makes the other's network of its JSON; and both predict what the first one does, of ``x``."""
    with undrawn() as keras:
        there, here = keras.models.model_from_json(ours.to_json()), verax.models.model_from_json(theirs.to_json())
        for model in (there, here):
            assert [layer.name for layer in model.layers] == [layer.name for layer in ours.layers]
            model.set_weights(ours.get_weights())
        if x is not None:
            assert_predicts_alike(ours, there, x)
            assert_predicts_alike(here, there, x)
