"""SwapEMAWeights: validate and predict with averaged weights, train with the raw ones."""

from __future__ import annotations

from typing import Any

from verax.callbacks.base import Callback

__all__ = ["SwapEMAWeights"]


class SwapEMAWeights(Callback):
    """Puts the optimizer's moving average of the weights in their place for each evaluation and prediction.

    The optimizer keeps the average (``use_ema=True``). Every reading measured meanwhile says so, and an explained gap
    has a line for it.

    Args:
        swap_on_epoch: Exchange at the end of an epoch and back at the beginning of the next, so that callbacks after
            this one (a ModelCheckpoint) see the averaged weights at the end of the epoch.

    >>> SwapEMAWeights().replay
    True
    """

    replay = True  # it has no train-batch hooks

    def __init__(self, swap_on_epoch: bool = False):
        self.swap_on_epoch = swap_on_epoch
        self._swapped = False

    def _swap(self, to: bool) -> None:
        if self._swapped is not to:
            self.model.swap_averaged_weights()
            self._swapped = to

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Train with the raw weights."""
        self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Let callbacks see the averaged weights."""
        if self.swap_on_epoch:
            self._swap(True)

    def on_train_end(self, logs: Any = None) -> None:
        """``fit`` itself ends with the averaged weights."""
        self._swapped = False

    def on_test_begin(self, logs: Any = None) -> None:
        """Measure the averaged weights."""
        self._swap(True)

    def on_test_end(self, logs: Any = None) -> None:
        """Back to the raw weights."""
        self._swap(False)

    def on_predict_begin(self, logs: Any = None) -> None:
        """Predict with the averaged weights."""
        self._swap(True)

    def on_predict_end(self, logs: Any = None) -> None:
        """Back to the raw weights."""
        self._swap(False)
