"""Dtype policies, by Keras' older names.

>>> global_policy().name
'float32'
"""

from __future__ import annotations

from verax.frame.policy import DTypePolicy, global_policy, set_global_policy
from verax.optimizers import LossScaleOptimizer

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]

Policy = DTypePolicy
dtype_policy = global_policy
set_dtype_policy = set_global_policy
