"""When a callback saves: after each epoch, or after so many batches."""

from __future__ import annotations

from typing import Any

from verax.callbacks.base import Callback
from verax.errors import InputError

__all__ = ["SavingCallback", "check_frequency"]


def check_frequency(who: str, save_freq: str | int) -> str | int:
    """``save_freq``, if it is one."""
    if save_freq != "epoch" and (isinstance(save_freq, (str, bool)) or int(save_freq) < 1):
        raise InputError(
            f"{who} saves every save_freq batches, or every epoch.",
            received=f"save_freq={save_freq!r}",
            because="that is neither a number of batches nor 'epoch'",
            do="Pass save_freq='epoch' or a positive integer.",
        )
    return save_freq


class SavingCallback(Callback):
    """Base of what saves the state of a running fit, in places from which the fit can go on exactly.

    A subclass sets ``save_freq``, and defines ``passed``.
    """

    replay = True  # it has no train-batch hooks
    resumed_attributes = ("_since", "_last")

    save_freq: str | int = "epoch"
    _since = 0
    _last = 0
    _epoch = 0
    _testing = False

    def passed(self, epoch: int, batches: int | None, logs: Any) -> None:
        """Called where the state may be saved: after so many ``batches`` of an epoch, if ``save_freq`` asks for it, and
        after each epoch, with None."""
        raise NotImplementedError

    @property
    def due_by_batches(self) -> bool:
        """Whether ``save_freq`` batches have passed since ``saved``."""
        return self.save_freq != "epoch" and self._since >= int(self.save_freq)

    def saved(self) -> None:
        """Count anew; to be called before the state is taken, of which the count is a part."""
        self._since = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Count anew."""
        self._since = self._last = 0
        self._testing = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count the batches of this epoch."""
        self._epoch, self._last = epoch, 0

    def on_chunk_end(self, done: int, logs: Any = None) -> None:
        """Count; after the last batch wait for the end of the epoch, which has all its numbers."""
        if self._testing:
            return
        self._since += done - self._last
        self._last = done
        if self.due_by_batches and done != (self.params or {}).get("steps"):
            self.passed(self._epoch, done, logs)

    def due(self) -> bool:
        """Whether ``on_chunk_end`` needs numbers: no."""
        return False

    def on_test_begin(self, logs: Any = None) -> None:
        """Chunks that are measured are not counted."""
        self._testing = True

    def on_test_end(self, logs: Any = None) -> None:
        """Chunks are trained again."""
        self._testing = False

    def on_epoch_settled(self, epoch: int, logs: Any = None) -> None:
        """After all that an epoch brings."""
        self.passed(epoch, None, logs)
