"""Lightning: a callback that explains, at the end of an epoch, why the validation loss is not the training loss."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from torch.utils.data import DataLoader

from verax.errors import InputError
from verax.ledger.chain import Gap
from verax.torch.told import ToldLedger, asked, digits

__all__ = ["LightningExplain"]

#: What people call the two numbers, where they do not say.
_USUAL = (
    ("train_loss_epoch", "train_loss", "train/loss_epoch", "train/loss", "loss_epoch", "loss"),
    ("val_loss", "val/loss", "valid_loss", "valid/loss", "validation_loss", "val_loss_epoch", "val/loss_epoch"),
)


def _base() -> Any:
    """The Callback of the Lightning that the person imported: it has two names."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in names:
        if name in sys.modules:
            return sys.modules[name].Callback
    for name in names[:-1]:
        try:
            return importlib.import_module(name).Callback
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    return importlib.import_module(names[-1]).Callback


class LightningExplain(_base()):
    """Explain why the validation loss is not the training loss, epoch by epoch; training is as without it.

        explain = verax.torch.LightningExplain()
        trainer = lightning.Trainer(callbacks=[explain])
        trainer.fit(model, train_loader, val_loader)      # prints one line an epoch
        print(explain.gap)                                # the last epoch's gap in full

    The training number is the mean over the epoch of the loss that ``training_step`` logs (or returns), the validation
    number that of ``validation_step``; how they were averaged is recognised from what Lightning logged.

    Attributes:
        gaps: The gaps, in order.
        gap: The last of them; None before there is one.

    Args:
        explain: "epoch": at the end of each epoch that had a validation. "end": once, for the last epoch.
        train: The name under which the training number is logged; None to look for a usual one.
        validation: The same for the validation number.
        loss_fn: As in ``watch``.
        print: What prints the line; None for silence.
        batches, memory: As in ``watch``.

    Raises:
        InputError: ``explain`` is another word; or a named number was not logged.
    """

    def __init__(
        self, explain: str = "epoch", *, train: str | None = None, validation: str | None = None, loss_fn: Any = None,
        print: Any = print, batches: int = 64, memory: int = 256 << 20,
    ):  # fmt: skip
        super().__init__()
        self.explain = asked(explain)
        self.names = (train, validation)
        self.gaps: list[Gap] = []
        self._loss_fn, self._print = loss_fn, print
        self._kept = {"batches": batches, "memory": memory}
        self._ledger: ToldLedger | None = None

    @property
    def gap(self) -> Gap | None:
        """The last gap."""
        return self.gaps[-1] if self.gaps else None

    # ---- what Lightning tells ----------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins; the sanity check is over."""
        self._close()
        optimizers = trainer.optimizers
        optimizer = optimizers[0] if len(optimizers) == 1 else None
        self._ledger = ToldLedger(pl_module, self._loss_fn, optimizer, **self._kept)
        self._ledger.recorder.undivided = pl_module.automatic_optimization
        self._ledger.recorder.spread()  # a training_step may call parts of the module

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins."""
        if self._ledger is not None:
            self._ledger.recorder.begin("training", "validation", phase="training")
            self._ledger.epochs = trainer.current_epoch + 1

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """A validation begins, at the end of an epoch or in the middle of it."""
        if self._ledger is not None and not trainer.sanity_checking:
            self._ledger.recorder.begin("validation", phase="validation")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """A validation is over; the epoch goes on."""
        if self._ledger is not None and not trainer.sanity_checking:
            self._ledger.recorder.begin(phase="training")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch is over, and its validation."""
        if self._ledger is not None and self.explain == "epoch" and self._ledger.recorder.validation.steps:
            self._tell(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Training is over."""
        ledger = self._ledger
        try:
            if ledger is not None and self.explain == "end" and ledger.recorder.training.steps:
                heard, loader = ledger.recorder.validation.steps, _loaders(trainer)["validation"]
                if heard or loader is not None:
                    self._tell(trainer)
        finally:
            self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Training was interrupted."""
        self._close()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """All is over."""
        self._close()

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _tell(self, trainer: Any) -> None:
        ledger = self._ledger
        assert ledger is not None
        with ledger.quiet():
            logged = dict(trainer.callback_metrics)
            said = [_said(logged, name, usual) for name, usual in zip(self.names, _USUAL, strict=True)]
            if not ledger.measured:
                said[1] = None  # what was logged is of other weights
            gap = ledger.told(_loaders(trainer), *said)
        self.gaps.append(gap)
        if self._print is not None and trainer.is_global_zero:
            self._print(gap.verdict.line)


def _said(logged: dict[str, Any], name: str | None, usual: tuple[str, ...]) -> float | None:
    """A number that Lightning logged."""
    if name is not None and name not in logged:
        raise InputError(
            "A logged number was to be explained.",
            received=repr(name),
            because=f"no number has this name; logged are {', '.join(sorted(logged)) or 'none'}",
            do="Log it: self.log(name, loss, on_epoch=True).",
        )
    found = name if name is not None else next((each for each in usual if each in logged), None)
    return None if found is None else digits(float(logged[found]))


def _loaders(trainer: Any) -> dict[str, Any]:
    """The loaders whose rows can be read again, where there is one for a pass and the pass runs all of it."""
    train, validation = trainer.train_dataloader, trainer.val_dataloaders
    batches = trainer.num_val_batches
    if isinstance(validation, (list, tuple)):
        validation = validation[0] if len(validation) == 1 else None
    whole = isinstance(validation, DataLoader) and len(batches) == 1 and batches[0] == _length(validation)
    return {
        "training": train if isinstance(train, DataLoader) else None,
        "validation": validation if whole else None,
    }


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None
