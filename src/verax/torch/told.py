"""Loops of a library that says when passes begin and end: nothing about them has to be guessed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from verax.errors import InputError
from verax.ledger.chain import Gap
from verax.torch.recorder import Recorder
from verax.torch.watcher import Ledger
from verax.watch import Epoch

__all__ = ["ToldLedger", "ToldRecorder", "asked"]


def asked(explain: str) -> str:
    """When gaps are to be explained.

    Raises:
        InputError: It is neither "epoch" nor "end".
    """
    if explain not in ("epoch", "end"):
        raise InputError(
            "When a gap is explained was to be told.",
            received=f"explain={explain!r}",
            because="no time has this name",
            do='Give explain="epoch" (after each validation), or explain="end" (once, for the last).',
        )
    return explain


class ToldRecorder(Recorder):
    """A recorder that is told when passes begin.

    Attributes:
        phase: What is under way: "training", "validation", or "either" where the model's own mode says which.
    """

    phase = "either"

    def begin(self, *passes: str, phase: str) -> None:
        """Passes begin.

        Args:
            *passes: Which: "training", "validation".
            phase: What is under way from now on.
        """
        self.settle()
        self.phase = phase
        if "training" in passes:
            self.training = self._make()
            self._begins("training")
        if "validation" in passes:
            self.validation = self._make()

    def settle(self) -> None:
        """A pass may have ended: count what waits."""
        self._settle_last()
        if self.phase == "training":
            self._forget()  # what was called in a step and led to no ``backward``
        super().settle()

    def _trains(self) -> bool:
        return self.phase == "training" or (self.phase == "either" and super()._trains())

    def _close_measuring(self) -> None:
        if self.phase != "training":
            super()._close_measuring()

    def _start_training_pass(self) -> None:
        self.stale = True

    def _validation_now(self) -> Epoch:
        self.stale = False
        return self.validation


class ToldLedger(Ledger):
    """A ledger whose passes are told by a library's callback."""

    _hears = ToldRecorder

    @property
    def recorder(self) -> ToldRecorder:
        """What hears the passes."""
        assert isinstance(self._recorder, ToldRecorder)
        return self._recorder

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Within it nothing is heard: the callback's own work."""
        with self.recorder.deaf(), torch.no_grad():
            yield

    @property
    def measured(self) -> bool:
        """Whether both passes were heard, and no step after the second."""
        recorder = self.recorder
        recorder.settle()
        return bool(recorder.training.steps and recorder.validation.steps and not recorder.stale)

    def told(self, loaders: Mapping[str, Any], train: float | str | None, validation: float | str | None) -> Gap:
        """The gap of the passes that were told.

        Args:
            loaders: "training" and "validation" -> where the rows are; None where they are not to be read again.
            train, validation: As in ``explain``.
        """
        self.recorder.loaders = {name: loader for name, loader in loaders.items() if loader is not None}
        return self.explain(train=_digits(train), validation=_digits(validation))


def _digits(said: float | str | None) -> float | str | None:
    """A number that a library summed in single precision, in as many digits as it has."""
    return float(f"{said:.5g}") if isinstance(said, float) else said
