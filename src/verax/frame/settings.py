"""The global settings that layers, operations and training obey, with the names and defaults Keras gives them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from verax.errors import InputError, UnknownNameError

__all__ = [
    "disable_flash_attention",
    "enable_flash_attention",
    "enable_unsafe_deserialization",
    "epsilon",
    "floatx",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_unsafe_deserialization_enabled",
    "max_epochs",
    "max_steps_per_epoch",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_max_epochs",
    "set_max_steps_per_epoch",
    "standard_data_format",
]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_FORMATS = ("channels_last", "channels_first")


def _from_environment(name: str) -> int | None:
    value = os.environ.get(name)
    return int(value) if value else None


@dataclass
class _Settings:
    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"
    flash_attention: bool | None = None
    unsafe_deserialization: bool = False
    max_epochs: int | None = None
    max_steps_per_epoch: int | None = None


_now = _Settings(
    max_epochs=_from_environment("VERAX_MAX_EPOCHS"),
    max_steps_per_epoch=_from_environment("VERAX_MAX_STEPS_PER_EPOCH"),
)


def floatx() -> str:
    """The default float dtype.

    >>> floatx()
    'float32'
    """
    return _now.floatx


def set_floatx(value: str) -> None:
    """Set the default float dtype: of layers made from now on, of random numbers, of what ``ops`` makes of integers.

    Args:
        value: ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"`` (which needs jax's 64-bit mode).

    >>> set_floatx("bfloat16"); verax.ops.zeros(2).dtype.name
    'bfloat16'
    >>> set_floatx("float32")
    """
    if value not in _FLOATS:
        raise UnknownNameError.among("default float dtype", value, _FLOATS)
    _now.floatx = value


def epsilon() -> float:
    """Keras' small constant for divisions and logarithms.

    >>> epsilon()
    1e-07
    """
    return _now.epsilon


def set_epsilon(value: float) -> None:
    """Set the small constant of operations, losses, metrics and constraints, for programs traced from now on."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InputError("set_epsilon was called.", received=repr(value), because="it is a positive number")
    _now.epsilon = float(value)


def image_data_format() -> str:
    """Where images have their channels unless a layer says otherwise.

    >>> image_data_format()
    'channels_last'
    """
    return _now.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set where images have their channels, for layers made from now on: ``channels_last`` or ``channels_first``."""
    _now.image_data_format = standard_data_format(data_format)


def standard_data_format(value: str | None) -> str:
    """A ``data_format`` checked: where the channels stand; the global setting when None.

    >>> standard_data_format(None), standard_data_format("channels_first")
    ('channels_last', 'channels_first')
    """
    value = image_data_format() if value is None else value
    if value not in _FORMATS:
        raise UnknownNameError.among("data_format", value, _FORMATS)
    return value


def enable_flash_attention() -> None:
    """Let attention take the GPU's fused kernel where it can run: what it does unless told otherwise."""
    _now.flash_attention = None


def disable_flash_attention() -> None:
    """Keep attention from the GPU's fused kernel, but where a layer asks for it with ``flash_attention=True``."""
    _now.flash_attention = False


def is_flash_attention_enabled() -> bool | None:
    """None where attention takes the fused kernel if it can; False after ``disable_flash_attention``."""
    return _now.flash_attention


def enable_unsafe_deserialization() -> None:
    """Let files run the code that is in them, in this process from now on, as ``safe_mode=False`` does for one.

    Whoever wrote a file can then do what you can. Prefer ``safe_mode=False`` where one file is loaded.
    """
    _now.unsafe_deserialization = True


def is_unsafe_deserialization_enabled() -> bool:
    """Whether ``enable_unsafe_deserialization`` was called.

    >>> is_unsafe_deserialization_enabled()
    False
    """
    return _now.unsafe_deserialization


def max_epochs() -> int | None:
    """The most epochs that ``fit`` runs; None for no limit. ``VERAX_MAX_EPOCHS`` in the environment sets it first."""
    return _now.max_epochs


def set_max_epochs(max_epochs: int | None) -> None:
    """Let ``fit`` run at most so many epochs, whatever it is asked for: to try a long program quickly."""
    _now.max_epochs = _count("max_epochs", max_epochs)


def max_steps_per_epoch() -> int | None:
    """The most batches that one pass takes; None for no limit. ``VERAX_MAX_STEPS_PER_EPOCH`` sets it first."""
    return _now.max_steps_per_epoch


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Let each pass of ``fit``, ``evaluate`` and ``predict`` take at most so many batches."""
    _now.max_steps_per_epoch = _count("max_steps_per_epoch", max_steps_per_epoch)


def _count(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(f"set_{name} was called.", received=repr(value), because="it is a positive integer or None")
    return value
