"""Real data to try things on: ``verax.datasets.digits.load_data()``."""

from __future__ import annotations

from verax.datasets import digits

__all__ = ["digits"]
