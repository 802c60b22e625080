"""``watch``: a person's own loop in PyTorch, and why the second of its two numbers is not the first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from verax.errors import ChainError, InputError, StateError
from verax.ledger.chain import Gap, bundle
from verax.ledger.facts import Rows
from verax.ledger.path import PLAIN_AVERAGE
from verax.torch.findings import Findings, Side, find
from verax.torch.loaders import generators_of, heard, part_of, read_again, rows_of, whole
from verax.torch.modes import bare, flags_of
from verax.torch.notes import ADVICE, notes_of
from verax.torch.recorder import Recorder
from verax.torch.replay import Runner, Source, fitted
from verax.torch.state import eagerly, preserved
from verax.torch.tape import Recording
from verax.watch import BY_ROWS, MEAN, PER_ROW, End, Epoch, LoopProbe, Measured, Step, chosen_average
from verax.watch.averages import check

__all__ = ["Ledger", "watch"]


def watch(
    model: torch.nn.Module, loss_fn: Any = None, optimizer: Any = None, *, batches: int = 64, memory: int = 256 << 20
) -> Ledger:
    """Listen to a training loop from here on; the loop stays as it is, and so does every number it makes.

        with verax.torch.watch(model, loss_fn, optimizer) as ledger:
            for epoch in range(3):
                ...                       # the loop as it was
        print(ledger.explain(val_loader))

    What is kept: of every batch 24 bytes; a uniform sample of batches (their inputs and targets as the loop had them,
    with the states of the random generators), never more than ``batches`` of them nor than ``memory`` bytes; and the
    latest batches, eight at most, in a quarter of that memory. ``ledger.kept`` says how much it is.

    Args:
        model: The model that trains.
        loss_fn: The loss, as the loop calls it on the model's output and the targets: a module or a function. It says
            which summand is the loss where there are several; None for the first that the model's output is in.
        optimizer: Its weight decay is told, which is in no number that a loop shows; None for no word about it.
        batches: How many batches of a pass are kept at most.
        memory: How many bytes they may take.
    """
    return Ledger(model, loss_fn, optimizer, batches=batches, memory=memory)


class Ledger:
    """What a watched loop did, and why its numbers differ: made by ``watch``.

    Attributes:
        gaps: The gaps that were asked for, in order.
        epochs: How many passes have trained.
        listeners: Are told (this, "training" or "validation") when a pass begins.
        buffers: The moving averages as the last pass that trained began.
        names: What the two numbers are called.
        at: Whose weights the model has at the end of a pass, in words; "" for those of the end of the epoch.
    """

    names: tuple[str, str] = ("loss", "val_loss")
    at = ""
    _hears: type[Recorder] = Recorder

    def __init__(self, model: torch.nn.Module, loss_fn: Any, optimizer: Any, *, batches: int, memory: int):
        if not isinstance(model, torch.nn.Module):
            raise InputError(
                "A PyTorch model was to be watched.",
                received=type(model).__name__,
                because="it is no torch.nn.Module",
                do="Give the module that the loop calls.",
            )
        self.model, self.loss_fn, self.optimizer = bare(model), loss_fn, optimizer
        self.gaps: list[Gap] = []
        self.epochs = 0
        self.listeners: list[Callable[[Ledger, str], None]] = []
        self.buffers: dict[str, torch.Tensor] = {}
        self._recorder = self._hears(model, loss_fn, lambda: Epoch(batches, memory, _read), self._begins)
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(heard(self._recorder))
        self._recorder.start()
        self._stack.callback(self._recorder.stop)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more. What was heard can still be explained."""
        self._stack.close()

    @property
    def kept(self) -> int:
        """Bytes of batches that are kept now."""
        return self._recorder.training.size + self._recorder.validation.size

    @property
    def calls(self) -> int:
        """How many steps have trained."""
        return self._recorder.calls

    @property
    def trouble(self) -> str:
        """What kept a step from being heard, in words; "" for nothing."""
        return self._recorder.trouble

    def iterates(self, loader: Any) -> None:
        """A data loader gives its batches since before the watch began."""
        self._recorder.iterates(loader)

    def settle(self) -> None:
        """Count the step that is under way: it has ended."""
        self._recorder.settle()

    def passes(self) -> tuple[Epoch, Epoch, dict[str, Any]]:
        """The pass that trained last, the one that measures now, and their loaders ("measured": the one that runs)."""
        recorder = self._recorder
        return recorder.training, recorder.validation, {**recorder.loaders, "measured": recorder.loader}

    def resume(
        self, training: Epoch, validation: Epoch, loaders: Mapping[str, Any], epochs: int, buffers: Mapping[str, Any]
    ) -> None:
        """Go back to two earlier passes, for ``explain``: what ``passes`` gave, and ``epochs`` and ``buffers`` then."""
        recorder = self._recorder
        recorder.settle()
        recorder.training, recorder.validation, recorder.stale = training, validation, False
        recorder.loaders = {name: loader for name, loader in loaders.items() if name != "measured"}
        self.epochs, self.buffers = epochs, dict(buffers)

    def _begins(self, which: str) -> None:
        if which == "training":
            self._trains()
        for listener in self.listeners:
            listener(self, which)

    def _trains(self) -> None:
        self.epochs += 1
        self.buffers = {
            f"{path}.{name}": buffer.detach().clone()
            for path, module in self.model.named_modules()
            if isinstance(module, torch.nn.modules.batchnorm._NormBase)
            for name, buffer in module.named_buffers(recurse=False)
            if buffer.is_floating_point()
        }

    def epoch(self, train_loader: Any = None, val_loader: Any = None, **explain: Any) -> Gap:
        """An epoch is over: its gap, which is also kept in ``gaps``; what trains next is of a new epoch.

        Args:
            train_loader: What the epoch trained on, where it is no DataLoader whose passes can be heard.
            val_loader: As in ``explain``.
            **explain: As in ``explain``.
        """
        gap = self.explain(val_loader, train_loader=train_loader, **explain)
        self._recorder.next_epoch()
        return gap

    def explain(
        self,
        val_loader: Any = None,
        *,
        train: float | str | None = None,
        validation: float | str | None = None,
        train_loader: Any = None,
    ) -> Gap:
        """Why the validation number is not the training number, cause by cause, for the last epoch.

        Args:
            val_loader: Batches as the training loader gives them: a DataLoader, a list of batches, or tensors, which
                are cut into batches. None where the loop ran its validation inside of the watch; what is given is
                measured now, in evaluation mode, unless it is the loader that was heard.
            train: The training number as the loop printed it, or how it was averaged: "mean of batches" (when None),
                "mean of batches by their rows", "last batch", "last 50 batches", "smoothed by 0.98", "sum of batches",
                "sum of batches over their rows" (when None and the loss is a sum over rows).
            validation: The same for the validation number.
            train_loader: What the epoch trained on, for how many rows it has.

        Raises:
            StateError: No step was heard, or no validation.
            DataError: The validation batches are not like the loop's.
        """
        recorder = self._recorder
        recorder.settle()
        with recorder.deaf():
            self._check()
            loaders = {**recorder.loaders}
            if train_loader is not None:
                loaders["training"] = train_loader
            if val_loader is not None:
                loaders["validation"] = val_loader
            generators = [g for loader in loaders.values() for g in generators_of(loader)]
            with preserved([self.model], generators), eagerly():
                gap = self._explain(loaders, val_loader, train, validation)
        self.gaps.append(gap)
        return gap

    def _check(self) -> None:
        recorder = self._recorder
        if not recorder.training.steps:
            raise StateError(
                "The gap of a watched loop was to be explained.",
                because=recorder.trouble or "no step of the model was heard: no backward after a call of it",
                do="Begin the watch before the loop, with the model that the loop calls.",
            )

    def _explain(
        self, loaders: Mapping[str, Any], given: Any, train: float | str | None, validation: float | str | None
    ) -> Gap:
        recorder = self._recorder
        training = recorder.training
        heard_validation = recorder.validation if recorder.validation.steps and not recorder.stale else None
        like = recorder.validation.kept[0].batch if recorder.validation.steps else _plain_part(training.kept[-1].batch)
        if given is not None and given is not recorder.loaders.get("validation"):
            heard_validation = None  # other rows than those that the loop measured
        for said in (train, validation):
            if isinstance(said, str):
                check(said)
        step = max(reversed(training.kept), key=lambda s: s.batch.scale)
        source = self._validation(loaders.get("validation"), given, heard_validation, like)
        first = next(iter(source.steps()))
        buffers = [(buffer, buffer.detach().clone()) for buffer in self.model.buffers()]
        off = dict.fromkeys(flags_of(self.model), False)
        val_flags = heard_validation.kept[0].batch.flags if heard_validation is not None else off
        with preserved([self.model]):  # batch normalizations in training mode count what they are looked at with
            found = find(self.model, step, first, (step.batch.flags, val_flags))
        sources = {("validation rows", True): source, **self._wholes(loaders, step.batch, first.batch)}
        if part_of(loaders.get("validation")):
            sources["validation rows", False] = source
        flags = {"training rows": step.batch.flags, "validation rows": val_flags}
        runner = Runner(self.model, flags, sources, found.autocasts, found.ignore, buffers)
        start, told = self._start(found, training, loaders, train, ("training rows", True) in sources)
        end, also = self._end(found, runner, source, heard_validation, loaders, validation)
        _name(training, start.facts.objective, found.training)
        probe = LoopProbe(runner, training, start, end, ADVICE)
        try:
            gap = probe.gap()
        except ChainError as error:
            why = "; ".join(words for words in (error.received, error.because) if words)
            gap = replace(bundle(start.reading(), end.reading(), why), advice=ADVICE)
        notes = [*told, *also, *notes_of(self.model, self.optimizer, found, probe, gap, self.buffers)]
        for why, times in recorder.left_out.items():
            notes.append(f"{times:,} calls of backward are in no number here: {why}.")
        if recorder.stale and recorder.validation.steps:
            notes.append(f"Steps trained after the last validation that was heard: {self.names[1]} is measured anew.")
        return replace(gap, notes=(*gap.notes, *notes))

    def _start(
        self, found: Findings, training: Epoch, loaders: Mapping[str, Any], said: float | str | None, readable: bool
    ) -> tuple[End, list[str]]:
        """The training number."""
        values, rows, penalties = training.values, training.rows, training.penalties
        average, told = chosen_average(said, values, rows, "training number", _usual(found.training))
        own = [m for step in training.sample() for m in step.own.values()]
        average = _even(average, rows, found.training, own)
        loader = loaders.get("training")
        count = int(rows.sum())
        of = rows_of(loader) if readable else None
        which = Rows("training rows", count, of if of is not None and of > count else count)
        facts = found.training.facts("each step's own", "as drawn", average, which)
        return End(self.names[0], facts, values, rows, penalties), [told] if told else []

    def _end(
        self, found: Findings, runner: Runner, source: Source, heard_validation: Epoch | None,
        loaders: Mapping[str, Any], said: float | str | None,
    ) -> tuple[End, list[str]]:  # fmt: skip
        """The validation number: as it was heard, or measured now, every row alike."""
        side, params = found.validation, self.at or f"the end of epoch {self.epochs}"
        part = part_of(loaders.get("validation"))
        shares = None
        if heard_validation is not None:
            values, rows = heard_validation.values, heard_validation.rows
            penalties = heard_validation.penalties
            measured = [m for step in heard_validation.sample() for m in step.own.values()]
        else:
            facts = side.facts(params, "fresh", PLAIN_AVERAGE, Rows("validation rows", part=part))
            measured = list(runner.run(facts, source.steps(), None))
            penalties = np.array([sum(m.penalties.values()) for m in measured])
            rows = np.array([m.rows for m in measured])
            if said is None:  # nobody has made a number of them: every row alike
                values = np.array([m.sums.mean for m in measured]) + penalties
                shares = np.array([m.sums.weight for m in measured])
            else:
                values = np.array([m.value for m in measured]) + penalties
        average, told = chosen_average(said, values, rows, "validation number", _usual(side))
        average = _even(average, rows, side, measured) if shares is None else PLAIN_AVERAGE
        count = int(rows.sum())
        which = Rows("validation rows", count, rows_of(loaders["validation"]) if part else count, part)
        facts = side.facts(params, "fresh", average, which)
        rows = rows if shares is None else shares
        return End(self.names[1], facts, values, rows, penalties), [told] if told else []

    # ---- where rows come from ----------------------------------------------------------------------------------------

    def _validation(self, loader: Any, given: Any, heard_validation: Epoch | None, like: Recording) -> Source:
        """The validation batches, to be read as often as is asked."""
        heard_now = heard_validation
        if heard_now is not None and (len(heard_now.kept) == heard_now.steps or loader is None):
            return Source(heard_now.sample)
        if loader is None:
            raise StateError(
                "The gap of a watched loop was to be explained.",
                because="no validation was heard",
                do="Run the validation loop inside of the watch, or give its loader: ledger.explain(val_loader).",
            )
        if given is not None and not hasattr(given, "__next__"):
            loader = _as_batches(given, like.rows)
        return Source(lambda: (fitted(like, batch, i) for i, batch in enumerate(read_again(loader))))

    def _wholes(
        self, loaders: Mapping[str, Any], training: Recording, validation: Recording
    ) -> dict[tuple[str, bool], Source]:
        """All rows of each dataset, once each, where these can be read."""
        found: dict[tuple[str, bool], Source] = {}
        for name, like in (("training", _plain_part(training)), ("validation", validation)):
            loader = loaders.get(name)
            if isinstance(loader, torch.utils.data.DataLoader) and rows_of(loader) is not None:
                if name == "validation" and not part_of(loader):
                    continue
                found[f"{name} rows", True] = Source(_reader(loader, like))
        return found


def _reader(loader: Any, like: Recording) -> Callable[[], Iterator[Step]]:
    return lambda: (fitted(like, batch, i) for i, batch in enumerate(whole(loader)))


def _read(numbers: Sequence[Any]) -> Sequence[float]:
    """Numbers that may be on a device, in one transfer."""
    tensors = [n if isinstance(n, torch.Tensor) else torch.tensor(float(n)) for n in numbers]
    return torch.stack([t.detach().to("cpu", torch.float64).reshape(()) for t in tensors]).tolist()


def _plain_part(recording: Recording) -> Recording:
    """A training step as a validation would be: its first summand alone."""
    main = recording.main
    if main is None or recording.broken:
        return recording
    nodes, ref = recording.cut(main.ref)
    for node in nodes:
        if node.module and "num_items_in_batch" in node.kwargs:  # those of a training step
            node.kwargs = {name: value for name, value in node.kwargs.items() if name != "num_items_in_batch"}
    return replace(recording, nodes=nodes, loss=ref, shown=ref, primary=0, scale=1.0)


def _usual(side: Side) -> str:
    """How people average: sums over a batch's rows are added up, and divided by all rows."""
    return PER_ROW if side.recording.sums else MEAN


def _even(average: str, rows: np.ndarray, side: Side, measured: Sequence[Measured]) -> str:
    """The plain average, where batches are so alike that every row has one share in what is an average of batches.

    Args:
        average: The average by its name.
        rows: Rows in each batch.
        side: The pass.
        measured: Some of its batches; what counts in a loss is to be as much for each row.
    """
    alike = average == BY_ROWS or (average == MEAN and rows.min() == rows.max())
    each = np.array([m.sums.weight / m.rows for m in measured])
    known = len(each) > 0 and float(np.ptp(each)) == 0.0 if side.loss is not None else True
    return PLAIN_AVERAGE if alike and known and not side.recording.sums else average


def _as_batches(given: Any, rows: int) -> Any:
    """Arrays of rows cut into batches; what gives batches as it is."""
    if isinstance(given, torch.Tensor):
        given = (given,)
    if isinstance(given, tuple) and given and all(hasattr(g, "shape") and len(g.shape) for g in given):
        n = len(given[0])
        return [tuple(g[i : i + rows] for g in given) for i in range(0, n, rows)]
    return given


def _name(training: Epoch, objective: str, side: Side) -> None:
    """Give what the steps measured as they ran the names that the facts use."""
    data = side.recording.data
    scaled = objective != "plain" and len(data) == 1 and not (side.loss is not None and side.loss.smoothing)
    for step in {id(s): s for s in training.sample(latest=True)}.values():
        own = step.own
        step.own = {objective: own["trained"]} if "trained" in own else {}
        if objective != "plain" and "plain" in own:
            step.own["plain"] = own["plain"]
        elif scaled:
            value = float(training.values[step.number]) - float(training.penalties[step.number])
            value *= side.scale / data[0].coefficient
            step.own["plain"] = Measured.whole(value, step.batch.rows)
