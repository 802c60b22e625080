"""History: every number of a fit, as floats and as Readings."""

from __future__ import annotations

from typing import Any

from verax.callbacks.base import Callback, Logs, plain_number
from verax.ledger.record import EpochRecord

__all__ = ["History"]


class History(Callback):
    """Keeps the numbers of each epoch; ``fit`` adds one and returns it.

    Attributes:
        history: name -> list of floats, one an epoch in which the name was logged.
        readings: name -> list of Readings, one an epoch; only names that were measured.
        when: name -> list of epochs, parallel to ``history[name]``: with ``validation_freq=2`` the second ``val_loss``
            is not the one of the second epoch.
        epoch: The epochs that ended, counted from 0.
        params: ``{"verbose", "epochs", "steps"}``.
        last: The steps of the last epoch (tallies, keys, rows, end weights), so that they can be measured again.

    A fit that is interrupted leaves the epochs that ended before.

    Differs from Keras: used in a second fit, ``epoch`` goes on as ``history`` does; the two stay parallel.

    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.5, "val_loss": 0.7})
    >>> history.on_epoch_end(1, {"loss": 0.25, "val_loss": 0.6})
    >>> history.history["val_loss"]
    [0.7, 0.6]
    >>> history
    <History of 2 epochs: loss 0.5000 -> 0.2500, val_loss 0.7000 -> 0.6000>
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.readings: dict[str, list[Any]] = {}
        self.when: dict[str, list[int]] = {}
        self.epoch: list[int] = []
        self.last: EpochRecord | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Append the numbers of the epoch."""
        logs = Logs.of(logs)
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(plain_number(value))
            self.when.setdefault(name, []).append(epoch)
        for name, reading in logs.readings.items():
            self.readings.setdefault(name, []).append(reading)

    def __repr__(self) -> str:
        n = len(self.epoch)
        if not n:
            return "<History of no epoch>"
        runs = ", ".join(_run(name, values) for name, values in self.history.items())
        return f"<History of {n} epoch{'s' if n > 1 else ''}: {runs}>"


def _run(name: str, values: list[float]) -> str:
    ends = values if len(values) == 1 else [values[0], values[-1]]
    return f"{name} " + " -> ".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in ends)
