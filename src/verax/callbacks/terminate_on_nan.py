"""TerminateOnNaN: end a fit whose loss is no longer a number."""

from __future__ import annotations

import math
from typing import Any

from verax.callbacks.base import Callback
from verax.callbacks.messages import say
from verax.errors import StateError

__all__ = ["TerminateOnNaN"]


class TerminateOnNaN(Callback):
    """Stop training at the first batch after which the loss is NaN or infinite.

    Args:
        raise_error: Raise a RuntimeError there, instead of ending the fit in order.

    Differs from Keras: it only reads the logs (``replay``), so the steps of the chunk in which the NaN appeared have
    been run when it is seen. Their weights were lost with the first one.

    >>> class Model:
    ...     stop_training = False
    >>> watch = TerminateOnNaN()
    >>> watch.set_model(Model())
    >>> watch.on_train_batch_end(7, {"loss": float("nan")})
    Batch 7: the loss is nan; training ends
    >>> watch.model.stop_training
    True
    """

    replay = True

    def __init__(self, raise_error: bool = False):
        self.raise_error = raise_error
        self._seen = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Forget the fit before."""
        self._seen = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        # The batches replayed after the first one would only repeat it.
        if self._seen or loss is None or math.isfinite(loss):
            return
        self._seen = True
        if self.raise_error:
            raise StateError(
                "TerminateOnNaN(raise_error=True) watches the loss.",
                received=f"{loss} in batch {batch}",
                do="Lower the learning rate, clip gradients, or look for NaN in the data: fit(check_finite=True).",
            )
        say(f"Batch {batch}: the loss is {loss}; training ends")
        self.model.stop_training = True
