"""Loops of a library that says when passes begin and end: nothing about them has to be guessed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from verax.errors import InputError
from verax.ledger.chain import Gap
from verax.torch.recorder import Recorder
from verax.torch.watcher import Ledger
from verax.watch import Epoch

__all__ = ["ToldLedger", "ToldRecorder", "asked", "digits"]


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
    #: Whether the loop has ended without a word, as an exception ends it; and what is to be done then.
    over: Callable[[], bool] | None = None
    leave: Callable[[], None] | None = None
    _redirected: list[bool]
    _inside = False

    def start(self) -> None:
        """Begin to listen."""
        self._redirected = []
        super().start()

    def begin(self, *passes: str, phase: str) -> None:
        """Passes begin.

        Args:
            *passes: Which: "training", "validation".
            phase: What is under way from now on.
        """
        self.settle()
        self._forget()
        self.phase, self._redirected, self._inside = phase, [], False
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

    def _enters(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        # Lightning runs a whole training_step inside of a call of the module, so that what wraps it is run as well.
        if self.over is not None and self.leave is not None and self.over():
            self.leave()
        redirected = getattr(vars(module).get("forward"), "__name__", "") == "wrapped_forward"
        self._redirected.append(redirected)
        if not redirected:
            super()._enters(module, args, kwargs)

    def _leaves(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not (self._redirected.pop() if self._redirected else False):
            super()._leaves(module, args, kwargs, output)

    def _steps(self, *of: Any) -> None:
        self._inside = True
        super()._steps(*of)

    def _stepped(self, *of: Any) -> None:
        if of:  # it has ended; without them its closure has called the model
            self._inside = False
        super()._stepped(*of)

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._inside and not torch.is_grad_enabled():  # after its closure an optimizer goes on with its own
            return func(*args, **kwargs)
        if not self._paused and self.over is not None and self.over():
            return func(*args, **kwargs)
        return super()._called(func, args, kwargs)

    def iterates(self, loader: Any) -> None:
        """A data loader begins to give its batches."""
        if self.over is not None and self.leave is not None and self.over():
            self.leave()
        else:
            super().iterates(loader)

    def _trains(self) -> bool:
        return self.phase == "training" or (self.phase == "either" and super()._trains())

    def _close_measuring(self) -> None:
        if self.phase != "training":
            super()._close_measuring()

    def _trains_anew(self) -> bool:
        return False

    def _measures_anew(self) -> bool:
        return False

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
        return self.explain(train=train, validation=validation)


def digits(number: float) -> float:
    """A number that a library summed in single precision, in as many digits as it has.

    >>> digits(0.123456789)
    0.12346
    """
    return float(f"{number:.5g}")
