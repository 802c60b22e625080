"""OrbaxCheckpoint: the states of a running fit as Orbax checkpoints, and a fit that goes on from the last one."""

from __future__ import annotations

import os
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from verax.callbacks.base import Logs
from verax.callbacks.frequency import SavingCallback, check_frequency
from verax.callbacks.messages import say
from verax.callbacks.monitor import BestCallback
from verax.errors import DataError, InputError, VeraxWarning
from verax.formats import orbax
from verax.frame.files import written_whole
from verax.frame.tree import Tree

__all__ = ["OrbaxCheckpoint"]

#: The part of a step that Keras reads, and the part with the rest of the state.
_WEIGHTS, _REST = "pytree", "verax"
_KINDS = ("trainable_variables", "non_trainable_variables")
#: Says which fit ended in order.
_ENDED = "ended.txt"


class OrbaxCheckpoint(SavingCallback, BestCallback):
    """Save the state of a running fit as Orbax checkpoints; the same program, started again, goes on from the last one.

    The state is that of `BackupAndRestore`, with the same promise: on the same data an interrupted run and its
    continuation end in the same bits as a run that was never interrupted, and with the same History. A fit that ended
    in order is not gone on with, unless ``resume=True`` asks for it; a new one takes the place of its steps.

    Args:
        directory: The folder, with a folder for each step kept; it is made.
        monitor, mode: See `MonitorCallback`.
        verbose: 1 says what is saved, and why.
        save_best_only: Save only what improves on the best so far; an interrupted fit then goes on from the best.
        save_freq: ``"epoch"``: after each epoch, under its number (from 0). A number: after so many batches, or at the
            end of the compiled chunk of steps in which they passed, under the number of batches trained.
        initial_value_threshold: The value the first save has to beat.
        max_to_keep: How many steps to keep, the last ones; None for all.
        save_on_background: Write while training goes on. The state is copied first.
        save_weights_only: Save no more than the weights: nothing can go on from them.
        resume: Whether to go on from the last step in ``directory``. None: if its fit was interrupted. True: also if it
            ended, so that more ``epochs`` add to it. False: never.

    ``model.load_weights(directory)``, Keras' as well as ours, reads the weights of the last step.

    Raises:
        InputError: For a wrong ``save_freq`` or ``max_to_keep``; ``resume=True`` with ``save_weights_only=True``.
        MissingExtraError: At the first save, where ``orbax-checkpoint`` is not installed.
        DataError: When training begins and no step can be read, or it is that of another model.

    Differs from Keras: the callback also resumes, exactly; there, weights and optimizer alone are saved, and a program
    that is started again begins anew. While ``monitor`` has never been logged each epoch is saved. ``fit`` keeps its
    speed with an integer ``save_freq``. The optimizer's state is in a part of its own, which Keras does not read.

    >>> import tempfile
    >>> model = verax.Sequential([verax.Input((1,)), verax.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = OrbaxCheckpoint(folder, max_to_keep=2, resume=True)
    ...     first = model.fit(np.ones((4, 1)), np.ones(4), epochs=3, callbacks=keep, verbose=0)
    ...     again = model.fit(np.ones((4, 1)), np.ones(4), epochs=4, callbacks=keep, verbose=0)
    ...     keep.steps()
    [2, 3]
    >>> again.epoch, again.history["loss"][:3] == first.history["loss"]
    ([0, 1, 2, 3], True)
    """

    resumed_attributes = (*SavingCallback.resumed_attributes, *BestCallback.resumed_attributes)

    def __init__(
        self,
        directory: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        max_to_keep: int | None = 1,
        save_on_background: bool = True,
        save_weights_only: bool = False,
        resume: bool | None = None,
    ):
        super().__init__(monitor, mode, initial_value_threshold, verbose=verbose)
        if not os.fspath(directory):
            raise InputError("OrbaxCheckpoint keeps steps in directory.", received="an empty path", do="Name a folder.")
        if max_to_keep is not None and (isinstance(max_to_keep, bool) or int(max_to_keep) < 1):
            raise InputError(
                "OrbaxCheckpoint keeps the last max_to_keep steps.",
                received=f"max_to_keep={max_to_keep!r}",
                because="that is no number of steps",
                do="Pass a positive integer, or None to keep all.",
            )
        if resume and save_weights_only:
            raise InputError(
                "OrbaxCheckpoint(resume=True) goes on from a state.",
                received="save_weights_only=True",
                because="weights alone are no state to go on from",
                do="Leave one of the two out.",
            )
        self.directory = Path(directory)
        self.save_best_only = save_best_only
        self.save_freq = check_frequency("OrbaxCheckpoint", save_freq)
        self.max_to_keep = max_to_keep
        self.save_on_background = save_on_background
        self.save_weights_only = save_weights_only
        self.resume = resume
        #: Which fit it is, and whether a step of it is there.
        self._fit, self._begun = "", False

    def steps(self) -> list[int]:
        """The numbers of the steps that are kept, in order."""
        self.wait_until_finished()
        return orbax.steps(self.directory)

    def wait_until_finished(self) -> None:
        """Wait until the step that is being written is there; then those that are not to be kept are removed."""
        there = orbax.steps(self.directory)
        for step in there[: -self.max_to_keep] if self.max_to_keep is not None else []:
            orbax.remove(self.directory, step)

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on from the last step, if there is one."""
        super().on_train_begin(logs)
        self._fit, self._begun = uuid.uuid4().hex, False
        if self.resume is False or self.save_weights_only:
            return
        step, state = self._read()
        if state is None:
            return
        fit = _text(state.pop("fit"))
        ended = self.directory / _ENDED
        if not self.resume and ended.exists() and ended.read_text() == fit:
            return
        self.model.resume_training(state)
        self._fit, self._begun = fit, True
        if self.verbose > 0:
            say(f"OrbaxCheckpoint goes on from step {step} in {self.directory}")

    def due(self) -> bool:
        """Numbers are needed to find the best."""
        return self.save_best_only

    def passed(self, epoch: int, batches: int | None, logs: Any) -> None:
        """Save, if it is time and, where asked for, the best so far."""
        if batches is None and self.save_freq != "epoch" and not self.due_by_batches:
            return
        if self.save_best_only and not self.is_best(epoch, Logs.of(logs)):
            return
        self.saved()
        self._save(epoch if self.save_freq == "epoch" else self.model.steps_trained, epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Wait for the last step, and note that the fit has ended."""
        self.wait_until_finished()
        if self._begun and not self.save_weights_only:
            with written_whole(self.directory / _ENDED) as file:
                file.write(self._fit.encode())

    def _save(self, step: int, epoch: int) -> None:
        state = self.model.training_state()
        params = Tree.of(self.model).params()
        prefix = _prefix(self.model)
        weights: dict[str, np.ndarray[Any, Any]] = {}
        rest = {"fit": _bytes(self._fit), "prefix": _bytes(prefix)}
        for name, value in state.items():
            kind, _, path = name.partition("/")
            if kind == "weights" and value.size:
                weights[f"{_KINDS[path not in params]}/{prefix}{path}"] = value
            else:
                rest[name] = _bytes(str(value)) if name == "run" else value
        self.wait_until_finished()
        for each in orbax.steps(self.directory):
            if each >= step:  # of a fit that this one takes the place of, or not whole
                orbax.remove(self.directory, each)
        parts = {_WEIGHTS: weights} if self.save_weights_only else {_WEIGHTS: weights, _REST: rest}
        orbax.write(self.directory, step, parts)
        self._begun = True
        self.tell(epoch, f"{'saves' if self.save_on_background else 'saved'} step {step} to {self.directory}")
        if not self.save_on_background:
            self.wait_until_finished()

    def _read(self) -> tuple[int, dict[str, Any] | None]:
        """The last step that can be read and has a state; None where there is none."""
        broken: list[DataError] = []
        for step in reversed(orbax.steps(self.directory)):
            try:
                state = orbax.read(self.directory, step, _REST)
                weights = orbax.read(self.directory, step, _WEIGHTS)
            except DataError as error:
                broken.append(error)
                continue
            if not state:
                continue
            if broken:
                text = f"OrbaxCheckpoint goes on from step {step}: a later one cannot be read ({broken[0].received})."
                warnings.warn(text, VeraxWarning, stacklevel=2)
            prefix = _text(state.pop("prefix"))
            for path, value in weights.items():
                state[f"weights/{path.split('/', 1)[1].removeprefix(prefix)}"] = value
            return step, {**state, "run": np.array(_text(state["run"]))}
        if broken:
            raise broken[0]
        return 0, None


def _prefix(model: Any) -> str:
    """What Keras' paths of a model's variables begin with."""
    return "" if model._is_functional else f"{model.name}/"


def _bytes(text: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(text.encode(), np.uint8)


def _text(array: np.ndarray[Any, Any]) -> str:
    return array.tobytes().decode()
