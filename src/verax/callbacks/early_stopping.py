"""EarlyStopping: end a fit that no longer improves."""

from __future__ import annotations

from typing import Any

from verax.callbacks.base import Logs
from verax.callbacks.messages import say
from verax.callbacks.monitor import MonitorCallback

__all__ = ["EarlyStopping"]


class EarlyStopping(MonitorCallback):
    """Stop when the number watched has not improved for ``patience`` epochs.

    Args:
        monitor, mode, min_delta: See `MonitorCallback`.
        patience: Epochs without improvement after which training stops. The very first epoch never stops it.
        verbose: 1 says when it stops and what it restores.
        baseline: Waiting starts anew only at epochs that beat this value as well as the best so far.
        restore_best_weights: At the end of training, put back the weights of the best epoch (whatever ``baseline``).
        start_from_epoch: Epochs before this one (from 0) are not looked at.

    Attributes:
        best, best_epoch, best_weights: The best value, its epoch (from 0), and, if asked for, its weights.
        stopped_epoch: The epoch that stopped the training; 0 if none did.

    Source: the rule is that of Keras 3's callback of the same name. Differs from Keras: see `MonitorCallback`.

    >>> class Model:
    ...     stop_training = False
    >>> stopping = EarlyStopping(monitor="loss", patience=2)
    >>> stopping.set_model(Model())
    >>> stopping.on_train_begin()
    >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.7]):
    ...     stopping.on_epoch_end(epoch, {"loss": loss})
    >>> stopping.model.stop_training, stopping.stopped_epoch, stopping.best
    (True, 3, 0.5)
    """

    resumed_attributes = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Forget the fit before, so that one object serves many."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compare, count, and stop if the patience is at its end."""
        logs = Logs.of(logs)
        current = self.monitored(epoch, logs)
        if current is None or epoch < self.start_from_epoch:
            return
        better = self.improves(current, self.best, logs)
        if better or (self.restore_best_weights and self.best_weights is None):
            self._keep(epoch)
        self.wait += 1
        if better:
            self.best = current
            if self.baseline is None or self.improves(current, self.baseline, logs):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        """Put back the best weights, if asked for."""
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose > 0:
                say(f"Restoring the weights of the best epoch: {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)
