"""Keras and the framework below it: found when first needed, and asked for the few things they do differently."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from verax.errors import MissingExtraError

__all__ = ["Below", "below", "copied", "require_keras", "size_of"]


def require_keras(asked: str) -> Any:
    """The module ``keras``.

    Args:
        asked: What it is needed for, in a sentence.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError.of("keras", extra="keras", asked=asked) from error
    return keras


class Below:
    """What stands below Keras: any framework, through Keras alone; each call is its own program.

    Attributes:
        name: "jax", "torch", "tensorflow", ...
        steps_seen: Whether a training step is a Python call that is given its batch.
    """

    steps_seen = False

    def __init__(self, name: str):
        self.name = name

    def copy(self, array: Any) -> Any:
        """The array as it is now."""
        return np.array(array)

    def given(self, array: Any) -> Any:
        """An array of the data as a program takes it."""
        return require_keras("Arrays are converted by it.").ops.convert_to_tensor(array)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as a program."""
        return function

    def quiet(self) -> AbstractContextManager[Any]:
        """In which nothing is kept for gradients, and no random state outside of Keras moves."""
        return contextlib.nullcontext()

    def read(self, numbers: Sequence[Any]) -> list[float]:
        """Numbers as floats: of many at once."""
        return [float(n) for n in numbers]

    def text(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function computes, as something that can be compared."""
        return None


class _Jax(Below):
    steps_seen = True

    def copy(self, array: Any) -> Any:
        import jax.numpy as jnp

        return jnp.array(array, copy=True)

    def given(self, array: Any) -> Any:
        return array

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        return jax.jit(function)

    def read(self, numbers: Sequence[Any]) -> list[float]:
        import jax

        return [float(n) for n in jax.device_get(list(numbers))]

    def text(self, function: Callable[..., Any], *args: Any) -> Any:
        import re

        import jax

        # An address of a function in it is another one at every trace.
        return re.sub(r"0x[0-9a-f]+", "", str(jax.make_jaxpr(function)(*args)))


class _Torch(Below):
    steps_seen = True

    def copy(self, array: Any) -> Any:
        return array.detach().clone()

    def quiet(self) -> AbstractContextManager[Any]:
        torch = importlib.import_module("torch")
        stack = contextlib.ExitStack()
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng())
        return stack

    def read(self, numbers: Sequence[Any]) -> list[float]:
        return [float(n.detach()) if hasattr(n, "detach") else float(n) for n in numbers]


def below() -> Below:
    """What stands below Keras now."""
    name = require_keras("A Keras model was to be explained.").backend.backend()
    return {"jax": _Jax, "torch": _Torch}.get(name, Below)(name)


def copied(batch: Any) -> Any:
    """A batch that nobody else can write to."""
    tree = require_keras("A batch was to be kept.").tree

    def one(array: Any) -> Any:
        if isinstance(array, np.ndarray):
            return array.copy()
        return array.detach().clone() if hasattr(array, "detach") else array

    return tree.map_structure(one, batch)


def size_of(batch: Any) -> int:
    """How many bytes a batch takes."""
    leaves = require_keras("A batch was to be kept.").tree.flatten(batch)
    return sum(int(getattr(leaf, "nbytes", 0) or 0) for leaf in leaves if leaf is not None)
