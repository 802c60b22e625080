"""Global settings, by Keras' names."""

from __future__ import annotations

from verax.frame.policy import DTypePolicy, epsilon, floatx, global_policy, set_global_policy

__all__ = ["DTypePolicy", "dtype_policy", "epsilon", "floatx", "image_data_format", "set_dtype_policy"]

dtype_policy = global_policy
set_dtype_policy = set_global_policy


def image_data_format() -> str:
    """Where images have their channels unless a layer says otherwise.

    >>> image_data_format()
    'channels_last'
    """
    return "channels_last"
