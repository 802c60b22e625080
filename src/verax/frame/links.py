"""Which prediction came from which logits.

A softmax or sigmoid notes its input beside its output while a frame is active, so that a crossentropy can be computed
from the logits themselves: a saturated loss is then the true one, with a true gradient.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import get_opaque_trace_state

from verax.frame.current import active_frame

__all__ = ["note_link"]


def note_link(output: Any, kind: str, logits: Any) -> None:
    """Note in the frame, if any, that ``output`` is ``kind`` of ``logits``: "softmax" (last axis) or "sigmoid"."""
    frame = active_frame()
    # Inside a scan or vmap begun by a layer the output is not the layer's: gates of an LSTM are no predictions.
    if frame is not None and get_opaque_trace_state(convention="verax") == frame.trace:
        frame.links[id(output)] = (output, kind, logits)
