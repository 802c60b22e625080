"""The arguments of ``fit``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verax.errors import InputError, UnknownNameError
from verax.frame.interactive import is_interactive_logging_enabled

__all__ = ["Arguments", "verbosity"]


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


def verbosity(verbose: str | int) -> int:
    """``"auto"`` -> 1, or 2 where nobody watches."""
    if verbose == "auto":
        return 1 if is_interactive_logging_enabled() else 2
    if verbose not in (0, 1, 2):
        raise InputError("verbose says how much is printed.", received=repr(verbose), do="Use 'auto', 0, 1 or 2.")
    return int(verbose)
