"""The Trainer of transformers: a callback that explains, after an evaluation, why eval_loss is not loss."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from verax.ledger.chain import Gap
from verax.torch.told import ToldLedger, asked, digits
from verax.watch import BY_ROWS, Epoch
from verax.watch.averages import number

__all__ = ["TrainerExplain"]


class TrainerExplain(TrainerCallback):
    """Explain why ``eval_loss`` is not ``loss``, evaluation by evaluation; training is as without it.

        explain = verax.torch.TrainerExplain()
        trainer = transformers.Trainer(model, args, ..., callbacks=[explain])
        trainer.train()                  # prints one line an evaluation
        print(explain.gap)               # the last one in full

    The training number is the last ``loss`` that the Trainer logged: the mean over the steps since the log before
    (``logging_steps``). Where none was logged yet it is the mean over the steps so far.

    Attributes:
        gaps: The gaps, in order.
        gap: The last of them; None before there is one.

    Args:
        explain: "epoch": at each evaluation. "end": once, for the last.
        train: The name of the training number in the logs.
        validation: The name of the validation number in the metrics: "eval_loss", or "eval_<name>_loss" where there
            are several datasets; the others are then not explained.
        print: What prints the line; None for silence.
        batches, memory: As in ``watch``.

    Raises:
        InputError: ``explain`` is another word.
    """

    def __init__(
        self, explain: str = "epoch", *, train: str = "loss", validation: str = "eval_loss", print: Any = print,
        batches: int = 64, memory: int = 256 << 20,
    ):  # fmt: skip
        self.explain = asked(explain)
        self.names = (train, validation)
        self.gaps: list[Gap] = []
        self._print = print
        self._kept = {"batches": batches, "memory": memory // 2}  # of two windows, where evaluations come between logs
        self._ledger: ToldLedger | None = None
        self._each = 1
        self._logged: float | None = None
        self._window: tuple[Epoch, float] | None = None  # what the last log was of, where steps have trained since
        self._last: tuple[float | None, Any, int] | None = None  # an evaluation that is still to be explained

    @property
    def gap(self) -> Gap | None:
        """The last gap."""
        return self.gaps[-1] if self.gaps else None

    def close(self) -> None:
        """Listen no more. The Trainer's end does this; after an exception the model's next call does."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger.recorder.over = None
            self._ledger = None
        self._logged, self._window, self._last = None, None, None

    # ---- what the Trainer tells --------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Training begins."""
        self.close()
        if args.torch_compile:
            self._say(
                state, "torch_compile=True: the loss is computed inside of a compiled model, and is not explained."
            )
            return
        optimizer = kwargs.get("optimizer")
        ledger = ToldLedger(kwargs["model"], None, getattr(optimizer, "optimizer", optimizer), **self._kept)
        ledger.names = self.names
        self._each = int(args.gradient_accumulation_steps)
        recorder = ledger.recorder
        recorder.undivided = True
        recorder.over, recorder.leave = _ended(), self.close
        recorder.begin("training", "validation", phase="either")
        self._ledger = ledger

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step of one batch or of several begins."""
        if self._ledger is None:
            return
        recorder = self._ledger.recorder
        begins = ["validation"]
        if self._logged is not None:
            recorder.settle()
            self._window, self._logged = (recorder.training, self._logged), None
            begins.append("training")
        recorder.begin(*begins, phase="training")
        recorder.scale = float(_batches(args, state, kwargs.get("train_dataloader")))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step has ended: an evaluation may follow."""
        if self._ledger is not None:
            self._ledger.recorder.begin(phase="either")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """A mean over the last steps was logged: what trains next is of the next."""
        if self._ledger is not None and logs and self.names[0] in logs:
            self._logged = float(logs[self.names[0]])

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """An evaluation is over."""
        if self._ledger is None:
            return
        try:
            said = (metrics or {}).get(self.names[1])
            if said is not None and self._ledger.measured:
                self._last = float(said), kwargs.get("eval_dataloader"), state.global_step
                if self.explain == "epoch" or state.global_step >= state.max_steps:
                    self._tell(state, self._last)
        finally:
            if self.explain == "epoch" or self._last is None:
                self._ledger.recorder.begin("validation", phase="either")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Training is over."""
        try:
            if self._ledger is not None and self.explain == "end" and self._last is not None:
                loader, step = self._last[1:]
                if args.load_best_model_at_end:  # the weights are other ones now: what was measured is not theirs
                    self._ledger.recorder.begin("validation", phase="either")
                    self._tell(state, (None, loader, step))
                elif self._ledger.measured:
                    self._tell(state, self._last)
        finally:
            self.close()

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _tell(self, state: Any, evaluation: tuple[float | None, Any, int]) -> None:
        ledger, self._last = self._ledger, None
        assert ledger is not None
        recorder = ledger.recorder
        recorder.settle()
        eval_loss, loader, step = evaluation
        under_way, logged = recorder.training, self._logged
        if logged is None and self._window is not None:
            recorder.training, logged = self._window
        ledger.at = f"step {step}"
        try:
            with ledger.quiet():
                train = None if logged is None else _known(logged, recorder.training, self._each)
                validation = BY_ROWS if eval_loss is None else digits(eval_loss)
                loaders = {"validation": loader if _length(loader) == recorder.validation.steps else None}
                if eval_loss is None:
                    loaders["validation"] = loader
                gap = ledger.told(loaders, train, validation)
        finally:
            recorder.training = under_way
        self.gaps.append(gap)
        self._say(state, gap.verdict.line)

    def _say(self, state: Any, line: str) -> None:
        if self._print is not None and state.is_world_process_zero:
            self._print(line)


def _known(logged: float, window: Epoch, each: int) -> float | str:
    """The number that was logged, or how it was averaged: steps count alike, and the last may have fewer batches."""
    steps = f"mean of steps of {each} batches"
    if each > 1 and math.isclose(number(steps, window.values, window.rows), logged, rel_tol=1e-4):
        return steps
    return digits(logged)


def _batches(args: Any, state: Any, loader: Any) -> int:
    """How many batches the step that begins has: the last of an epoch may have fewer."""
    each, length = int(args.gradient_accumulation_steps), _length(loader)
    if each == 1 or length is None:
        return each
    steps = math.ceil(length / each)
    return length - each * (steps - 1) if state.global_step % steps == steps - 1 else each


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _ended() -> Callable[[], bool] | None:
    """Tells whether the call of ``Trainer.train`` that is under way has ended: no callback hears of an exception."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (frame.f_code.co_name, frame.f_globals.get("__name__")) != (
        "train", "transformers.trainer",
    ):  # fmt: skip
        frame = frame.f_back
    if frame is None:
        return None
    train = frame

    def ended() -> bool:
        here: FrameType | None = sys._getframe()
        while here is not None and here is not train:
            here = here.f_back
        return here is None

    return ended
