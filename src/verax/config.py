"""Global settings, by Keras' names."""

from __future__ import annotations

import jax

from verax.errors import InputError
from verax.frame.cache import compilation_cache
from verax.frame.interactive import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from verax.frame.policy import DTypePolicy, global_policy, set_global_policy
from verax.frame.settings import (
    disable_flash_attention,
    enable_flash_attention,
    enable_unsafe_deserialization,
    epsilon,
    floatx,
    image_data_format,
    is_flash_attention_enabled,
    max_epochs,
    max_steps_per_epoch,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    set_max_epochs,
    set_max_steps_per_epoch,
)
from verax.frame.speed import fast_kernels, use_fast_kernels

__all__ = [
    "DTypePolicy",
    "backend",
    "compilation_cache",
    "disable_flash_attention",
    "disable_interactive_logging",
    "disable_traceback_filtering",
    "dtype_policy",
    "enable_flash_attention",
    "enable_interactive_logging",
    "enable_traceback_filtering",
    "enable_unsafe_deserialization",
    "epsilon",
    "fast_kernels",
    "floatx",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_interactive_logging_enabled",
    "is_nnx_enabled",
    "is_traceback_filtering_enabled",
    "max_epochs",
    "max_steps_per_epoch",
    "set_backend",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_max_epochs",
    "set_max_steps_per_epoch",
    "use_fast_kernels",
]

dtype_policy = global_policy
set_dtype_policy = set_global_policy


def backend() -> str:
    """What computes.

    >>> backend()
    'jax'
    """
    return "jax"


def set_backend(backend: str) -> None:
    """Accept ``"jax"``, as programs for Keras say it; there is no other."""
    if backend != "jax":
        raise InputError(
            "set_backend was called.", received=repr(backend), because="Verax computes with jax", do="Use 'jax'."
        )


def is_nnx_enabled() -> bool:
    """Whether layers are modules of flax.nnx: False.

    >>> is_nnx_enabled()
    False
    """
    return False


def enable_traceback_filtering() -> None:
    """Leave the frames inside jax out of tracebacks: jax's setting ``jax_traceback_filtering``."""
    jax.config.update("jax_traceback_filtering", "auto")


def disable_traceback_filtering() -> None:
    """Show every frame in tracebacks."""
    jax.config.update("jax_traceback_filtering", "off")


def is_traceback_filtering_enabled() -> bool:
    """Whether tracebacks leave out the frames inside jax."""
    return str(jax.config._read("jax_traceback_filtering")) != "off"
