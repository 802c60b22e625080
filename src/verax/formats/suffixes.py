"""What a file holds, its suffix says: one table for all that write files and all that read them."""

from __future__ import annotations

__all__ = ["INDEX", "WEIGHTS", "WHOLE"]

#: Whole models.
WHOLE = (".keras", ".h5")
#: Weights alone; to be looked at first, since ``.weights.h5`` ends in ``.h5``.
WEIGHTS = (".weights.h5", ".safetensors", ".npz")
#: Weights in several files: what each of them holds.
INDEX = ".safetensors.index.json"
