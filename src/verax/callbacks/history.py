"""History: every number of a fit, as floats and as Readings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from verax.callbacks.base import Callback, Logs, plain_number
from verax.callbacks.curves import draw
from verax.errors import StateError
from verax.ledger.chain import Gap
from verax.ledger.kept import packed, unpacked
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
        gaps: epoch -> name -> Gap, of the epochs already explained.
        explainer: (name, rows, reverse) -> Gap of the last epoch that was validated.
        params: ``{"verbose", "epochs", "steps"}``.
        last: The steps of the last epoch (tallies, keys, rows, end weights), so that they can be measured again.

    A fit that is interrupted leaves the epochs that ended before. One that is resumed (`BackupAndRestore`) has them,
    too, with their Readings and what was explained of them.

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
        self.gaps: dict[int, dict[str, Gap]] = {}
        self.explainer: Callable[[str, int | None, bool], Gap] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Append the numbers of the epoch."""
        logs = Logs.of(logs)
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(plain_number(value))
            self.when.setdefault(name, []).append(epoch)
        for name, reading in logs.readings.items():
            self.readings.setdefault(name, []).append(reading)

    def get_state(self) -> dict[str, Any]:
        """All the epochs, with their Readings."""
        return {
            "history": self.history,
            "when": self.when,
            "epoch": self.epoch,
            "measured": packed([self.readings, [[epoch, gaps] for epoch, gaps in self.gaps.items()]]),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Have the epochs of the fit that is resumed."""
        self.history, self.when, self.epoch = state["history"], state["when"], state["epoch"]
        self.readings, gaps = unpacked(state["measured"])
        self.gaps = dict(gaps)

    def gap(self, metric: str = "loss", epoch: int = -1, *, rows: int | None = None, reverse: bool = False) -> Gap:
        """Why the validation number differs from the training number of an epoch, cause by cause.

        Args:
            metric: "loss", an output's loss or a metric, by its training name.
            epoch: Which of the epochs in ``.epoch``, as a list is indexed. Those before the last validated one are
                known when the fit was told ``explain="epoch"``: only that one's steps are kept.
            rows: How many training rows to measure for the causes between; all when None.
            reverse: Switch layers from training to inference in the reverse order. The amounts are those of a path:
                where another order gives other amounts, two causes act together.

        Raises:
            StateError: The epoch was not validated, or its steps are gone.
            UnknownNameError: No number of that name was measured on both.
        """
        asked = f"The gap of {metric!r} was to be explained."
        if not self.epoch:
            raise StateError(asked, because="no epoch has ended", do="Fit first.")
        number = self.epoch[epoch]
        known = {} if reverse or rows is not None else self.gaps.get(number, {})
        if metric in known:
            return known[metric]
        validated = self.when.get("val_loss", [])
        received = f"epoch {number + 1}"
        if number not in validated:
            do = f"Ask for epoch={self.epoch.index(validated[-1])}." if validated else "Pass validation_data to fit."
            raise StateError(asked, received=received, because="it has no validation numbers", do=do)
        if self.explainer is None:
            because = "its steps are gone: fit(explain='off') keeps none, nor does a fit that was resumed after it"
            raise StateError(asked, received=received, because=because, do="Leave explain out, or use 'epoch'.")
        if number != validated[-1]:
            because = "only the last validated epoch's steps are kept"
            raise StateError(asked, received=received, because=because, do="Use fit(explain='epoch').")
        found = self.explainer(metric, rows, reverse)
        if rows is None and not reverse:
            self.gaps.setdefault(number, {})[metric] = found
        return found

    def plot(self, metric: str = "loss", ax: Any = None) -> Any:
        """Draw a number's curves: as shown, its validation, and the training rows measured as validation is.

        The third curve is the honest one to hold against validation: same weights, same mode, other rows. It has a
        point for each epoch explained: all of them after ``fit(explain="epoch")``, else the last, which is measured now
        if it can be.

        Args:
            metric: "loss", an output's loss or a metric, by its training name.
            ax: Matplotlib axes to draw on; new ones, on a figure of their own, when None.

        Returns:
            The axes; ``.figure.savefig("curves.png")`` writes them.
        """
        last = self.epoch[-1] if self.epoch else None
        measurable = self.explainer is not None and last in self.when.get(f"val_{metric}", [])
        if measurable and metric not in self.gaps.get(last or 0, {}):
            self.gap(metric)
        return draw(self, metric, ax)

    def __repr__(self) -> str:
        n = len(self.epoch)
        if not n:
            return "<History of no epoch>"
        runs = ", ".join(_run(name, values) for name, values in self.history.items())
        return f"<History of {n} epoch{'s' if n > 1 else ''}: {runs}>"


def _run(name: str, values: list[float]) -> str:
    ends = values if len(values) == 1 else [values[0], values[-1]]
    return f"{name} " + " -> ".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in ends)
