"""Every PyTorch training of a program, explained, without a change to the program."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch.nn import Module
from torch.optim.optimizer import register_optimizer_step_post_hook

from verax.errors import VeraxError
from verax.ledger.chain import Gap
from verax.torch.loaders import heard
from verax.torch.watcher import Ledger, watch
from verax.watch import MEAN, Epoch
from verax.watch.printed import recognized_in

__all__ = ["Watching", "watching"]

#: With fewer steps, and no validation, the first of two models has not been trained before the second.
_FEW = 8
_MEMORY = 128 << 20  # of each of two records of two passes


class _Printed(Protocol):
    """What the program has printed since the last ``begin``."""

    @property
    def text(self) -> str: ...

    def begin(self) -> None: ...


@dataclass
class _Pair:
    """A pass that trained and the one that measured after it, with the weights that were measured."""

    training: Epoch
    validation: Epoch
    loaders: dict[str, Any]
    epochs: int
    before: dict[str, torch.Tensor]
    weights: list[tuple[Any, str, torch.Tensor]]
    text: str | None = None  # what was printed from its beginning to the next one's


class Watching:
    """What was seen of the trainings.

    Attributes:
        reports: What each gap is of (the model's class), and the gap; in order.
        troubles: Why a training that was heard is not explained, in words.
    """

    def __init__(self, printed: _Printed | None = None):
        self.reports: list[tuple[str, Gap]] = []
        self.troubles: list[str] = []
        self._printed = printed
        self._known: set[int] = set()
        self._kept: list[Module] = []  # so that an id is that of one model only
        self._beside: list[Module] = []
        self._ledger: Ledger | None = None
        self._over: list[Ledger] = []
        self._pair: _Pair | None = None
        self._loader: Any = None

    @property
    def gaps(self) -> list[Gap]:
        """The gap of each training, in order."""
        return [gap for _, gap in self.reports]

    # ---- loaders, before a model is known ----------------------------------------------------------------------------

    def iterates(self, loader: Any) -> None:
        """A data loader begins to give its batches."""
        self._loader = loader

    def deaf(self) -> contextlib.AbstractContextManager[None]:
        """Within it a batch is made."""
        return contextlib.nullcontext()

    # ---- which model -------------------------------------------------------------------------------------------------

    def calls(self, module: Module) -> None:
        """A module is about to be called by the program, and not by another module."""
        self._close_those_over()
        if id(module) in self._known or not torch.is_grad_enabled() or _fixed(module):
            return
        self._known.add(id(module))
        self._kept.append(module)
        if getattr(module, "_compiled_call_impl", None) is not None:
            self.troubles.append(f"{_name(module)}: it was compiled in place; torch.compile(model) can be listened to")
            return
        ledger = self._ledger
        if ledger is not None:
            if ledger.calls < _FEW and (self._pair is None or not self._pair.validation.steps):
                self._beside.append(module)
                return
            self._finish()
        self._pair, self._beside = None, []
        if self._printed is not None:
            self._printed.begin()
        self._ledger = watch(module, memory=_MEMORY)
        self._ledger.listeners.append(self._begins)
        if self._loader is not None:
            self._ledger.iterates(self._loader)

    def stepped(self, optimizer: Any, *_: Any) -> None:
        """An optimizer has changed weights: those of the model, or of another one."""
        ledger = self._ledger
        if ledger is None or ledger.optimizer is not None:
            return
        mine = {id(p) for p in ledger.model.parameters()}
        if any(id(p) in mine for group in optimizer.param_groups for p in group["params"]):
            ledger.optimizer = optimizer
        elif not ledger.calls:  # it was called, and is not what trains
            self._over.append(ledger)
            self._ledger = None
            self._known -= {id(module) for module in self._beside}

    def _close_those_over(self) -> None:
        """Not while an optimizer calls its hooks: a ledger has some among them."""
        while self._over:
            self._over.pop().close()

    # ---- which pass --------------------------------------------------------------------------------------------------

    def _begins(self, ledger: Ledger, which: str) -> None:
        """A pass of the model begins."""
        if which == "training":
            if self._printed is not None:
                if self._pair is not None and self._pair.text is None:
                    self._pair.text = self._printed.text
                self._printed.begin()
            return
        training, validation, loaders = ledger.passes()
        pair = self._pair
        if not training.steps:
            return  # before anything has trained
        if pair is not None and pair.training is training and pair.text is None and pair.validation.steps:
            rows_again = _same(pair.loaders.get("measured"), loaders.get("training"))
            if not rows_again:  # what is measured first after a training, and did not train, is its validation
                return
        before = pair.weights if pair is not None else []
        self._pair = _Pair(
            training, validation, loaders, ledger.epochs, dict(ledger.buffers), _copied(ledger.model, before)
        )

    # ---- a gap -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """The watched model has trained: explain its last training that was validated."""
        ledger, self._ledger = self._ledger, None
        if ledger is None:
            return
        name = _name(ledger.model)
        try:
            ledger.settle()
            if not ledger.calls and not ledger.trouble:
                return  # called with gradients on, and never trained
            self.reports.append((name, self._explained(ledger)))
        except VeraxError as error:
            self.troubles.append(f"{name}: {error.because or error}")
        except Exception as error:  # the program goes on as it would without
            self.troubles.append(f"{name}: its batches could not be measured again: {type(error).__name__}: {error}")
        finally:
            ledger.close()
            self._pair = None

    def _explained(self, ledger: Ledger) -> Gap:
        pair = self._pair
        if pair is None or not pair.validation.steps:
            return ledger.explain()
        printed = self._printed
        text = pair.text if pair.text is not None else printed.text if printed is not None else ""
        later = ledger.epochs - pair.epochs
        said = [recognized_in(text, epoch.values, epoch.rows) for epoch in (pair.training, pair.validation)]
        validation = pair.validation
        if said[1] is not None and (window := re.fullmatch(r"last (\d+) batches", said[1][1])):
            # No loop validates on more than it shows: what came first was another set of rows.
            validation, said[1] = _last(validation, int(window[1])), (said[1][0], MEAN)
        ledger.resume(pair.training, validation, pair.loaders, pair.epochs, pair.before)
        with _weights(pair.weights):
            gap = ledger.explain(train=said[0] and said[0][1], validation=said[1] and said[1][1])
        notes = [*_about(said)] if printed is not None else []
        if later:
            notes.append(f"Epoch {pair.epochs} is explained, the last one that was validated.")
        if self._beside:
            beside = ", ".join(dict.fromkeys(_name(module) for module in self._beside))
            notes.append(f"Trained beside it, and not explained: {beside}.")
        return replace(gap, notes=(*gap.notes, *notes))

    def close(self) -> None:
        """The program has ended: explain what was trained last."""
        self._close_those_over()
        self._finish()


@contextlib.contextmanager
def watching(printed: _Printed | None = None) -> Iterator[Watching]:
    """Inside, the training of PyTorch models is heard without being told of them; at the end it is explained.

    What a program calls itself (and not from within another module), with gradients on and with parameters that can be
    trained, is watched as ``watch`` does, one model after the other: a training is explained when another model begins,
    or at the end. Of a model that is measured on several sets of rows after an epoch, the first that are not the
    training rows are the validation. The weights that it measured are copied, as the program may go on to others.

    Args:
        printed: What the program prints, to find out how it averages its numbers; the mean of batches when None.
    """
    seen = Watching(printed)
    original = Module.__call__

    def call(self: Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # which is known as a compiler reads this: what it makes is as ever
            return original(self, *args, **kwargs)
        # Within an outermost call nothing is looked for.
        Module.__call__ = original
        try:
            seen.calls(self)
            return original(self, *args, **kwargs)
        finally:
            Module.__call__ = call

    handle = register_optimizer_step_post_hook(seen.stepped)
    Module.__call__ = call
    try:
        with heard(seen):
            yield seen
    finally:
        Module.__call__ = original
        handle.remove()
        seen.close()


def _last(epoch: Epoch, count: int) -> Epoch:
    """The last batches of a pass."""
    values, rows, penalties = epoch.values, epoch.rows, epoch.penalties
    kept = {step.number: step for step in epoch.sample(latest=True)}
    cut = Epoch(count, epoch.memory)
    for i in range(epoch.steps - count, epoch.steps):
        number, step = cut.steps, kept.get(i)
        place = len(cut.kept) if step is not None else None
        cut.add(replace(step or kept[max(kept)], number=number), values[i], int(rows[i]), penalties[i], place=place)
    return cut


def _fixed(module: Module) -> bool:
    """Whether a module has nothing to train."""
    return not any(p.requires_grad for p in module.parameters())


def _name(module: Module) -> str:
    """The class of a model, without what is wrapped around it."""
    while isinstance(inner := getattr(module, "_orig_mod", None) or getattr(module, "module", None), Module):
        module = inner
    return type(module).__name__


def _same(one: Any, two: Any) -> bool:
    """Whether two loaders give the same rows."""
    if one is None or two is None:
        return False
    return one is two or (getattr(one, "dataset", one) is getattr(two, "dataset", two))


def _copied(model: Module, before: list[tuple[Any, str, torch.Tensor]]) -> list[tuple[Any, str, torch.Tensor]]:
    """A copy of every weight and buffer, in the memory of the last copy."""
    old = {(id(owner), name): copy for owner, name, copy in before}
    made: list[tuple[Any, str, torch.Tensor]] = []
    with torch.no_grad():
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is None:
                        continue
                    copy = old.get((id(module), name))
                    if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
                        copy = tensor.detach().clone()
                    else:
                        copy.copy_(tensor.detach())
                    made.append((module, name, copy))
    return made


@contextlib.contextmanager
def _weights(copies: list[tuple[Any, str, torch.Tensor]]) -> Iterator[None]:
    """Within it a model has the weights of the copies; its own tensors are not written to."""
    swapped: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        for module, name, copy in copies:
            tensor = module._parameters.get(name)
            if tensor is None:
                tensor = module._buffers.get(name)
            if tensor is not None:
                swapped.append((tensor, tensor.data))
                tensor.data = copy
        yield
    finally:
        for tensor, own in reversed(swapped):
            tensor.data = own


def _about(said: list[tuple[str, str] | None]) -> Iterator[str]:
    """What the explained numbers are to those that were printed."""
    names = "loss", "val_loss"
    if all(said):
        yield "The printed numbers {} and {} are explained: {}.".format(
            *(one[0] for one in said if one), _averages(said)
        )
        return
    for name, one in zip(names, said, strict=True):
        if one is not None:
            yield f"The printed number {one[0]} is {name}, the {one[1]}."
        else:
            yield f"{name} is the mean of its batches: no number that was printed is an average of them."


def _averages(said: list[tuple[str, str] | None]) -> str:
    names = list(dict.fromkeys(one[1] for one in said if one))
    return f"each the {names[0]}" if len(names) == 1 else f"the {names[0]}, and the {names[1]}"
