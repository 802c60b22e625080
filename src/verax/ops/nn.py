"""The functions of ``verax.ops`` that Keras has in ``keras.ops.nn``, for neural networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verax.ops.keras_names import NN
from verax.ops.lifted import look_up

__all__ = sorted(NN)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Callable[..., Any]:
    return look_up(name, "verax.ops.nn", NN)


def __dir__() -> list[str]:
    return __all__
