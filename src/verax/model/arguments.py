"""The arguments of ``fit``."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verax.errors import InputError, UnknownNameError, VeraxWarning
from verax.frame.interactive import is_interactive_logging_enabled
from verax.frame.settings import max_epochs, max_steps_per_epoch

__all__ = ["Arguments", "limited_steps", "verbosity"]


@dataclass(frozen=True)
class Arguments:
    """The arguments of ``fit``."""

    x: Any = None
    y: Any = None
    batch_size: int | None = None
    epochs: int = 1
    verbose: int = 1
    callbacks: Any = None
    validation_split: float = 0.0
    validation_data: Any = None
    shuffle: bool | str = True
    class_weight: Mapping[int, float] | None = None
    sample_weight: Any = None
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    validation_freq: int | list[int] = 1
    mode: Any = "train"
    explain: str = "end"
    check_finite: bool = False
    ends: bool = True  # False: more steps follow, so moving averages of weights do not replace them yet

    def check(self) -> None:
        """Refuse what no training can be done with."""
        whole = (int, np.integer)
        for name, value, least in (("epochs", self.epochs, 1), ("initial_epoch", self.initial_epoch, 0)):
            if not isinstance(value, whole) or value < least:
                raise InputError(f"fit({name}=...) counts epochs.", received=repr(value), do=f"Use an int >= {least}.")
        freq = self.validation_freq
        if any(not isinstance(n, whole) or n < 1 for n in (freq if isinstance(freq, Collection) else [freq])):
            raise InputError(
                "fit(validation_freq=...) says after which epochs to validate.",
                received=repr(freq),
                do="Use an int >= 1 (2 is every second epoch), or a list of epochs counted from 1.",
            )
        if self.explain not in ("end", "epoch", "off"):
            raise UnknownNameError.among("way to explain", self.explain, ["end", "epoch", "off"])

    def limited(self) -> Arguments:
        """These arguments, within the most epochs and steps that the global settings allow."""
        epochs = _at_most(self.epochs, max_epochs(), "epochs", "max_epochs")
        steps, validation_steps = (
            limited_steps(self.steps_per_epoch),
            limited_steps(self.validation_steps, quietly=True),
        )
        return replace(self, epochs=epochs, steps_per_epoch=steps, validation_steps=validation_steps)


def limited_steps(steps: int | None, *, quietly: bool = False) -> int | None:
    """How many batches a pass takes at most: as many as asked for, or as the global setting allows."""
    return _at_most(steps, max_steps_per_epoch(), "steps", "max_steps_per_epoch", quietly=quietly)


def _at_most(asked: Any, most: int | None, what: str, setting: str, *, quietly: bool = False) -> Any:
    if most is None or (asked is not None and asked <= most):
        return asked
    if not quietly:
        warnings.warn(f"{what} are limited to {most} by config.set_{setting}.", VeraxWarning, stacklevel=4)
    return most


def verbosity(verbose: str | int) -> int:
    """``"auto"`` -> 1, or 2 where nobody watches."""
    if verbose == "auto":
        return 1 if is_interactive_logging_enabled() else 2
    if verbose not in (0, 1, 2):
        raise InputError("verbose says how much is printed.", received=repr(verbose), do="Use 'auto', 0, 1 or 2.")
    return int(verbose)
