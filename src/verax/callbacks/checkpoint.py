"""ModelCheckpoint: keep the model or the weights of the best epoch, or of every one."""

from __future__ import annotations

import os
from pathlib import Path
from string import Formatter
from typing import Any

from verax.callbacks.base import Logs
from verax.callbacks.frequency import check_frequency
from verax.callbacks.monitor import BestCallback
from verax.errors import InputError, StateError, UnknownNameError
from verax.formats.suffixes import WEIGHTS, WHOLE

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(BestCallback):
    """Save the model or its weights every epoch, or every ``save_freq`` batches, or only when they are the best.

    Args:
        filepath: The file. ``.keras`` (or the older ``.h5``): the whole model, with the optimizer's state;
            ``.weights.h5``, ``.safetensors`` or ``.npz``: its weights. May hold fields: ``{epoch:02d}`` (from 1),
            ``{batch}`` (from 1, with an integer ``save_freq``), and any name of the logs, as ``{val_loss:.2f}``. Its
            folder is made. None keeps the weights in memory, as ``best_weights``; `restore` puts them back.
        monitor, mode: See `MonitorCallback`.
        verbose: 1 says what is saved, and why.
        save_best_only: Save only what improves on the best so far. None: False for a file, True in memory.
        save_weights_only: None: what the suffix says. True or False: a suffix of the other kind is refused.
        save_freq: ``"epoch"``, or a number of batches; ``fit`` then runs step by step.
        initial_value_threshold: The value the first save has to beat.

    Attributes:
        best, best_epoch: The best value and its epoch (from 0); both outlast the fit, as in Keras.
        best_weights: With ``filepath=None``, the arrays of ``model.get_weights()``.

    While ``monitor`` has never been logged, each epoch is saved (and a warning says so): better any weights than none.
    After that, an epoch without it is passed over.

    Raises:
        InputError: For a suffix or fields that cannot be used, when the callback is made or at its first save.

    Differs from Keras: ``save_weights_only`` may be left out (there ``.weights.h5`` then holds a whole model in an old
    form); ``.safetensors``, ``.npz``; ``filepath`` may be None; an epoch without the monitored number never replaces
    the best file (Keras saves it); see also `MonitorCallback`.

    >>> class Model:
    ...     weights = [0.0]
    ...     def get_weights(self): return list(self.weights)
    ...     def set_weights(self, weights): self.weights = weights
    >>> model, keep = Model(), ModelCheckpoint(monitor="loss")
    >>> keep.set_model(model)
    >>> for epoch, loss in enumerate([0.9, 0.5, 0.6]):
    ...     model.weights = [float(epoch)]
    ...     keep.on_epoch_end(epoch, {"loss": loss})
    >>> keep.restore(model)
    >>> model.weights, keep.best, keep.best_epoch
    ([1.0], 0.5, 1)
    """

    resumed_attributes = (*BestCallback.resumed_attributes, "best_epoch", "best_weights", "_since_save", "_last_batch")

    def __init__(
        self,
        filepath: str | os.PathLike[str] | None = None,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool | None = None,
        save_weights_only: bool | None = None,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, initial_value_threshold, verbose=verbose)
        self.filepath = None if filepath is None else _checked_path(os.fspath(filepath), save_weights_only)
        self.save_best_only = filepath is None if save_best_only is None else save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = check_frequency("ModelCheckpoint", save_freq)
        self.best_epoch: int | None = None
        self.best_weights: list[Any] | None = None
        self._epoch = 0
        self._since_save = 0
        self._last_batch: int | None = None

    def hears(self, hook: str) -> bool:
        """The batch hook is heard with an integer ``save_freq`` only, or in a subclass with one of its own."""
        if hook == "on_train_batch_end" and type(self).on_train_batch_end is ModelCheckpoint.on_train_batch_end:
            return self.save_freq != "epoch"
        return super().hears(hook)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch, for the batches in it."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save, if ``save_freq`` batches have passed since the last time."""
        if self.save_freq == "epoch":
            return
        new_epoch = self._last_batch is None or batch <= self._last_batch
        self._since_save += batch + 1 if new_epoch else batch - (self._last_batch or 0)
        self._last_batch = batch
        if self._since_save >= int(self.save_freq):
            self._since_save = 0
            self._save(self._epoch, batch, Logs.of(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save, with ``save_freq="epoch"``."""
        if self.save_freq == "epoch":
            self._save(epoch, None, Logs.of(logs))

    def restore(self, model: Any = None) -> None:
        """Put the weights kept in memory into ``model`` (by default the one they came from).

        Raises:
            StateError: If none were kept.
        """
        if self.best_weights is None:
            raise StateError(
                "ModelCheckpoint.restore puts back the weights kept in memory.",
                received="no weights" if self.filepath is None else f"filepath={self.filepath!r}",
                because="no epoch was kept so far" if self.filepath is None else "the weights are in that file",
                do="Fit first." if self.filepath is None else "Use model.load_weights(path).",
            )
        (self.model if model is None else model).set_weights(self.best_weights)

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        if self.save_best_only and not self.is_best(epoch, logs):
            return
        self.best_epoch = epoch
        if self.filepath is None:
            self.best_weights = self.model.get_weights()
            self.tell(epoch, "kept the weights in memory")
            return
        path = Path(self._path(epoch, batch, logs))
        if path.is_dir():
            raise InputError(
                "ModelCheckpoint writes one file.",
                received=f"filepath={str(path)!r}",
                because="a folder has that name",
                do="Give the name of a file.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = not path.name.endswith(WEIGHTS)
        (self.model.save if whole else self.model.save_weights)(str(path), overwrite=True)
        self.tell(epoch, f"saved the {'model' if whole else 'weights'} to {path}")

    def _path(self, epoch: int, batch: int | None, logs: Logs) -> str:
        fields: dict[str, Any] = {"epoch": epoch + 1, **logs}
        if batch is not None:
            fields.setdefault("batch", batch + 1)
        try:
            return str(self.filepath).format(**fields)
        except KeyError as error:
            raise UnknownNameError.among("field of ModelCheckpoint's filepath", error.args[0], fields) from None


def _checked_path(path: str, weights_only: bool | None) -> str:
    """The path, if its suffix and its fields can be used."""
    known = {False: WHOLE, True: WEIGHTS, None: (*WHOLE, *WEIGHTS)}[weights_only]
    if not path.endswith(known) or (weights_only is False and path.endswith(WEIGHTS)):
        asked = "filepath" if weights_only is None else f"save_weights_only={weights_only} and filepath"
        holds = {False: "a whole model", True: "weights alone", None: "a model or its weights"}[weights_only]
        raise InputError(
            f"ModelCheckpoint saves to {asked}.",
            received=f"filepath={path!r}",
            because=f"what a file holds is known by its suffix, and this one is not that of {holds}",
            do=f"End the path in {' or '.join(map(repr, known))}; filepath=None keeps the best weights in memory.",
        )
    try:
        list(Formatter().parse(path))
    except ValueError as error:
        raise InputError(
            "ModelCheckpoint fills the fields of filepath.",
            received=f"filepath={path!r}",
            because=str(error),
            do="Write fields as {epoch:02d}; write a plain brace as {{ or }}.",
        ) from None
    return path
