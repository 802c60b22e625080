"""Keras models where they are, explained: why a model's own ``fit`` shows a ``val_loss`` that is not its ``loss``.

Opening this room does not import Keras; its names do when they are used.
"""

from __future__ import annotations

from verax.keras.callback import Explain
from verax.keras.now import explain
from verax.keras.watching import Watching, watching

__all__ = ["Explain", "Watching", "explain", "watching"]
