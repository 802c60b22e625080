"""Real Keras, on its JAX backend, as the oracle."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import jax

os.environ["KERAS_BACKEND"] = "jax"


@contextmanager
def oracle() -> Iterator[ModuleType]:
    """Keras, with JAX's promotion rules as Keras needs them and its warnings its own affair.

    >>> with oracle() as keras:
    ...     expected = keras.losses.mean_squared_error([[0.0]], [[2.0]])
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        yield keras
