"""MonitorCallback: watch one number, know which way is better, know whether it got better."""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Collection

from verax.callbacks.base import Callback, Logs, plain_number
from verax.callbacks.messages import say
from verax.errors import InputError, UnknownNameError, VeraxWarning

__all__ = ["BestCallback", "MonitorCallback", "direction_of_name"]

_MODES = ("auto", "min", "max")
# fmt: off
_MAX = (
    "acc", "accuracy", "auc", "precision", "recall", "sensitivity", "specificity", "f1", "fbeta", "r2", "iou",
    "dice", "similarity", "correlation", "true",
)
_MIN = (
    "loss", "error", "mse", "mae", "mape", "msle", "rmse", "crossentropy", "ce", "divergence", "kld", "poisson",
    "hinge", "huber", "logcosh", "perplexity", "false",
)
# fmt: on
# Words this long also count at the end of a longer one ("BinaryAccuracy"); "acc" or "ce" would match too much.
_STEMS = 4


def direction_of_name(name: str) -> str | None:
    """``"min"`` or ``"max"``, the better way for a number of that name; None where the name does not say.

    The last word that says something decides: ``accelerometer_mse`` is an error, ``recall_at_precision`` is not.

    >>> [direction_of_name(n) for n in ("val_loss", "out_accuracy", "f1_score", "false_positives", "score")]
    ['min', 'max', 'max', 'min', None]
    """
    for word in reversed(re.split(r"[^a-z0-9]+", name.lower())):
        for words, direction in ((_MIN, "min"), (_MAX, "max")):
            known = (word, word.rstrip("0123456789"))
            if any(k in words for k in known) or any(len(w) >= _STEMS and known[1].endswith(w) for w in words):
                return direction
    return None


class MonitorCallback(Callback):
    """Base of the callbacks that watch one number of the logs.

    Args:
        monitor: A name in the logs; ``val_`` names are of the validation.
        mode: ``"min"``, ``"max"``, or ``"auto"``: the direction of the metric that made the number; where it states
            none, the one its name says (`direction_of_name`).
        baseline: The first value to be beaten; None: any number is better than none.
        min_delta: A change of no more than this is no improvement (its sign does not matter).

    Raises:
        UnknownNameError: For another mode.
        InputError: At the end of the first epoch, if ``"auto"`` finds no direction.

    A ``monitor`` that is not in the logs gets one VeraxWarning, with the nearest names there are.

    Differs from Keras: an unknown mode is an error and not a warning; a NaN is never an improvement (there, a NaN in
    the first epoch can never be beaten); numbers are compared in float64.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0.0
    ):
        if mode not in _MODES:
            raise UnknownNameError.among("mode", mode, _MODES)
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self._warned = False
        self._direction: str | None = None if mode == "auto" else mode

    def monitored(self, epoch: int, logs: Logs) -> float | None:
        """The number watched; None, with one warning a callback, if the logs do not have it."""
        value = plain_number(logs.get(self.monitor))
        if value is not None:
            if not isinstance(value, (int, float)):
                raise InputError(
                    f"{type(self).__name__} watches {self.monitor!r}.",
                    received=f"{type(value).__name__} of shape {getattr(value, 'shape', None)}",
                    because="only a single number can be better or worse than another",
                    do="Watch a name whose value is one number.",
                )
            return float(value)
        if not self._warned and not self._validates_later(epoch):
            self._warned = True
            warnings.warn(self._missing(epoch, logs), VeraxWarning, stacklevel=3)
        return None

    def improves(self, value: float, reference: float | None, logs: Logs) -> bool:
        """Whether ``value`` beats ``reference`` by more than ``min_delta``; anything but NaN beats None."""
        toward = self._toward(logs)
        if math.isnan(value):
            return False
        if reference is None or math.isnan(reference):
            return True
        if toward == "max":
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def _toward(self, logs: Logs) -> str:
        if self._direction is None:
            stated = getattr(logs.readings.get(self.monitor), "direction", None)
            self._direction = stated if stated in ("min", "max") else direction_of_name(self.monitor)
        if self._direction is None:
            raise InputError(
                f"{type(self).__name__}(mode='auto') looks for the better way of {self.monitor!r}.",
                received=f"monitor={self.monitor!r}",
                because="neither the metric nor its name says whether more is better",
                do="Pass mode='max' or mode='min'.",
            )
        return self._direction

    def _validates_later(self, epoch: int) -> bool:
        """Whether this epoch had no validation because of ``validation_freq`` (where the loop tells it)."""
        often = (self.params or {}).get("validation_freq", 1)
        if not self.monitor.startswith("val_"):
            return False
        if isinstance(often, Collection):
            return epoch + 1 not in often
        return (epoch + 1) % int(often) != 0

    def _missing(self, epoch: int, logs: Logs) -> str:
        names = list(logs)
        text = f"{type(self).__name__} watches {self.monitor!r}, and epoch {epoch + 1} logged no such number."
        near = difflib.get_close_matches(self.monitor, names, n=3, cutoff=0.6)
        if self.monitor.removeprefix("val_") in names and not any(name.startswith("val_") for name in names):
            text += " There was no validation: pass validation_data to fit."
        elif near:
            text += " Did you mean " + " or ".join(repr(name) for name in near) + "?"
        return text + f" Logged: {', '.join(names) or 'nothing'}."


class BestCallback(MonitorCallback):
    """Base of the callbacks that keep what is best.

    Args:
        monitor, mode, baseline: See `MonitorCallback`.
        verbose: 1 says what is kept, and why.
    """

    resumed_attributes = ("best", "_seen_monitor")

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, *, verbose: int = 0
    ):
        super().__init__(monitor, mode, baseline)
        self.verbose = verbose
        self._seen_monitor = False

    def is_best(self, epoch: int, logs: Logs) -> bool:
        """Whether the number watched is the best so far, which it then is; while there was never one, all is kept."""
        current = self.monitored(epoch, logs)
        if current is None:
            return not self._seen_monitor
        self._seen_monitor = True
        best = "none so far" if self.best is None else f"{self.best:.5f}"
        if not self.improves(current, self.best, logs):
            self.tell(epoch, f"{self.monitor} {current:.5f} is no better than {best}")
            return False
        self.tell(epoch, f"{self.monitor} improved from {best} to {current:.5f}")
        self.best = current
        return True

    def tell(self, epoch: int, what: str) -> None:
        """Say it, if asked to."""
        if self.verbose > 0:
            say(f"Epoch {epoch + 1}: {what}")
