"""What a file holds, its suffix says: one table for all that write files and all that read them."""

from __future__ import annotations

__all__ = ["WEIGHTS", "WHOLE"]

#: Whole models.
WHOLE = (".keras",)
#: Weights alone.
WEIGHTS = (".weights.h5", ".npz")
