"""Dtype policies, by Keras' older names.

>>> global_policy().name
'float32'
"""

from __future__ import annotations

from verax.frame.policy import DTypePolicy as Policy
from verax.frame.policy import global_policy, set_global_policy

__all__ = ["Policy", "global_policy", "set_global_policy"]
