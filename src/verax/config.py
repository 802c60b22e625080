"""Global settings, by Keras' names."""

from __future__ import annotations

from verax.engine.cache import compilation_cache
from verax.frame.interactive import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from verax.frame.policy import DTypePolicy, epsilon, floatx, global_policy, set_global_policy
from verax.frame.speed import fast_kernels, use_fast_kernels

__all__ = [
    "DTypePolicy",
    "compilation_cache",
    "disable_interactive_logging",
    "dtype_policy",
    "enable_interactive_logging",
    "epsilon",
    "fast_kernels",
    "floatx",
    "image_data_format",
    "is_interactive_logging_enabled",
    "set_dtype_policy",
    "use_fast_kernels",
]

dtype_policy = global_policy
set_dtype_policy = set_global_policy


def image_data_format() -> str:
    """Where images have their channels unless a layer says otherwise.

    >>> image_data_format()
    'channels_last'
    """
    return "channels_last"
