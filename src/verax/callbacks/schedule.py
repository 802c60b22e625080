"""Learning rates that follow a function of the epoch, or the number being watched."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from verax.callbacks.base import Callback, Logs, plain_number
from verax.callbacks.messages import say
from verax.callbacks.monitor import MonitorCallback
from verax.errors import InputError

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of every epoch.

    Args:
        schedule: ``schedule(epoch, learning_rate) -> float``, or ``schedule(epoch) -> float``; epochs count from 0.
        verbose: 1 says each rate.

    The rate is added to the logs as ``learning_rate``. Changing it compiles nothing anew.

    Raises:
        InputError: If the schedule returns no finite number, or takes neither one nor two arguments.

    Differs from Keras: which of the two forms ``schedule`` has is read from its signature, so that a TypeError inside
    it is not hidden; any real number is taken, an int too.

    >>> class Optimizer:
    ...     learning_rate = 0.5
    >>> class Model:
    ...     optimizer = Optimizer()
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    >>> halve.set_model(Model())
    >>> for epoch in range(3):
    ...     halve.on_epoch_begin(epoch)
    >>> halve.model.optimizer.learning_rate
    0.125
    """

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0):
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Ask the schedule, and set the rate."""
        optimizer = self.model.optimizer
        asked = (epoch, float(optimizer.learning_rate)) if self._takes_rate else (epoch,)
        answer = plain_number(self.schedule(*asked))
        if isinstance(answer, bool) or not isinstance(answer, (int, float)) or not math.isfinite(answer):
            raise InputError(
                "LearningRateScheduler asks schedule for a learning rate.",
                received=f"{answer!r} from schedule{asked}",
                because="that is not a finite number",
                do="Return a float.",
            )
        optimizer.learning_rate = float(answer)
        if self.verbose > 0:
            say(f"Epoch {epoch + 1}: LearningRateScheduler set the learning rate to {float(answer):g}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the rate of the epoch."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two(schedule: Callable[..., Any]) -> bool:
    """Whether ``schedule`` takes (epoch, learning_rate), and not the epoch alone."""
    if not callable(schedule):
        raise InputError("LearningRateScheduler takes a function.", received=repr(schedule), do="Pass schedule=f.")
    try:
        signature = inspect.signature(schedule)
    except ValueError:  # some functions written in C have none
        return True
    for count in (2, 1):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count == 2
    raise InputError(
        "LearningRateScheduler calls schedule(epoch, learning_rate) or schedule(epoch).",
        received=f"schedule{signature}",
        because="it can be called neither way",
        do="Give it one or two positional arguments.",
    )


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by ``factor`` when the number watched has not improved for ``patience`` epochs.

    Args:
        monitor, mode, min_delta: See `MonitorCallback`.
        factor: Below 1; new rate = max(rate · factor, min_lr).
        patience: Epochs without improvement before a reduction.
        verbose: 1 says each reduction.
        cooldown: Epochs after a reduction in which nothing is counted.
        min_lr: The rate never goes below this.

    The rate of the epoch is added to the logs as ``learning_rate``.

    Source: the rule is that of Keras 3's callback of the same name. Differs from Keras: see `MonitorCallback`.
    """

    resumed_attributes = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        if not 0.0 <= factor < 1.0:
            raise InputError(
                "ReduceLROnPlateau multiplies the learning rate by factor.",
                received=f"factor={factor!r}",
                because="only a factor from 0 to below 1 reduces it",
                do="Pass, for example, factor=0.1.",
            )
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def in_cooldown(self) -> bool:
        """Whether the last reduction is so recent that nothing is counted."""
        return self.cooldown_counter > 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Forget the fit before."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the rate; compare, count, and reduce."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs = Logs.of(logs)
        current = self.monitored(epoch, logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best, logs):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def _reduce(self, epoch: int) -> bool:
        optimizer = self.model.optimizer
        old = float(optimizer.learning_rate)
        new = max(old * self.factor, self.min_lr)
        # The optimizer may keep its rate in float32, in which min_lr itself can come back a little larger.
        if not np.float32(new) < np.float32(old):
            return False
        optimizer.learning_rate = new
        if self.verbose > 0:
            say(f"Epoch {epoch + 1}: ReduceLROnPlateau reduced the learning rate from {old:g} to {new:g}")
        return True
