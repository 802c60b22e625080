"""Sequences of unequal length, by Keras' module name."""

from __future__ import annotations

from verax.utils.arrays import pad_sequences

__all__ = ["pad_sequences"]
