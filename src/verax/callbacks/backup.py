"""BackupAndRestore: a fit that was interrupted goes on where its last backup was made."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from verax.callbacks.frequency import SavingCallback, check_frequency
from verax.errors import DataError, InputError, VeraxWarning
from verax.formats import npz
from verax.frame.files import written_whole

__all__ = ["BackupAndRestore"]

_FILE, _BEFORE = "training.npz", "training.before.npz"


class BackupAndRestore(SavingCallback):
    """Keep the state of a running fit in a file, so that the same program, started again, goes on from there.

    The state is all that the rest of the run depends on: weights, the optimizer's state, the learning rate, the place
    in the epoch with what was measured in it so far, the keys from which draws and the order of rows are made, the
    History with its Readings, and what callbacks count (``resumed_attributes``: patience, a best value). On the same
    data the interrupted run and its continuation end in the same bits as a run that was never interrupted, and with the
    same History. A generator is taken to begin anew, as it does in a program that is started again.

    Args:
        backup_dir: The folder of the backup; it is made. Nothing else should be kept there.
        save_freq: ``"epoch"``: after each epoch. A number: after so many batches, or at the end of the compiled chunk
            of steps in which they passed; besides after each epoch.
        double_checkpoint: Also keep the backup before the last one, and use it where the last one cannot be read.
        delete_checkpoint: Delete the backup when ``fit`` has ended in order.

    The file is written beside its place and moved there when all of it is on disk: an interruption leaves the one
    before.

    Raises:
        InputError: For an empty ``backup_dir``, or a ``save_freq`` that is neither.
        DataError: When training begins and the backup is that of another model.

    Differs from Keras: the order of rows, dropout masks, the sums of a half epoch, the History and what callbacks count
    go on, too; in Keras a resumed run draws anew, begins the epoch anew, and its History has only the rest. An epoch is
    saved when every callback's ``on_epoch_end`` has run, wherever this one stands in the list.

    >>> import tempfile
    >>> model = verax.Sequential([verax.Input((1,)), verax.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     backup = BackupAndRestore(folder, delete_checkpoint=False)
    ...     first = model.fit(np.ones((4, 1)), np.ones(4), epochs=2, callbacks=backup, verbose=0)
    ...     again = model.fit(np.ones((4, 1)), np.ones(4), epochs=3, callbacks=backup, verbose=0)
    >>> first.epoch, again.epoch
    ([0, 1], [0, 1, 2])
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        if not os.fspath(backup_dir):
            raise InputError(
                "BackupAndRestore keeps a file in backup_dir.",
                received="an empty path",
                do="Give the name of a folder.",
            )
        self.backup_dir = Path(backup_dir)
        self.save_freq = check_frequency("BackupAndRestore", save_freq)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on from the backup, if there is one."""
        super().on_train_begin(logs)
        state = self._read()
        if state is not None:
            self.model.resume_training(state)

    def passed(self, epoch: int, batches: int | None, logs: Any) -> None:
        """Save."""
        self.saved()
        state = self.model.training_state()
        path = self.backup_dir / _FILE
        if self.double_checkpoint and path.exists():
            os.replace(path, self.backup_dir / _BEFORE)
        with written_whole(path) as file:
            npz.write(file, state)

    def on_train_end(self, logs: Any = None) -> None:
        """Delete the backup: nothing is left to go on with."""
        if self.delete_checkpoint:
            for name in (_FILE, _BEFORE):
                (self.backup_dir / name).unlink(missing_ok=True)
            if self.backup_dir.is_dir() and not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()

    def _read(self) -> dict[str, Any] | None:
        """The last backup that can be read; None where there is none."""
        broken: list[str] = []
        for name in (_FILE, *([_BEFORE] if self.double_checkpoint else [])):
            path = self.backup_dir / name
            if not path.exists():
                continue
            try:
                state = npz.read(path)
            except (DataError, OSError) as error:
                broken.append(" ".join(str(error).split()))
                continue
            if "run" not in state:
                broken.append(f"{path}: it holds no state of a training")
                continue
            if broken:
                text = f"BackupAndRestore goes on from the backup before the last, which cannot be read ({broken[0]})."
                warnings.warn(text, VeraxWarning, stacklevel=2)
            return state
        if broken:
            raise DataError(
                "BackupAndRestore goes on from a backup.",
                received=broken[0],
                because="the file is not whole",
                do="Delete it to train from the beginning.",
            )
        return None
