"""``fit``: epochs of training steps, each followed by its validation, every number a reading."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from verax.callbacks import CallbackList, History, Logs, ProgressLine
from verax.callbacks.messages import say
from verax.data import make_source, split, unpack
from verax.data.source import Source
from verax.engine.objective import Objective, Seen
from verax.engine.readings import layer_modes, readings_of
from verax.engine.step import Carry, Pass
from verax.errors import DataError, InputError
from verax.frame.frame import load_values
from verax.frame.mode import Mode, ModeMap
from verax.frame.seeds import next_key, next_seed
from verax.frame.symbolic import SymbolicTensor, observe_symbolically
from verax.frame.tree import Tree
from verax.ledger.facts import Facts, Rows
from verax.ledger.reading import Reading
from verax.ledger.record import EpochRecord
from verax.model.arguments import Arguments
from verax.model.compile import Compiled, check_resident, check_targets
from verax.model.explaining import ModelProbe
from verax.model.hold import Hold, kept_in_place
from verax.model.passes import (
    INFER,
    Chunks,
    Program,
    logs_of,
    measure,
    measuring,
    program,
    symbolic_of,
    train_rule,
)
from verax.model.replay import Epoch
from verax.model.resuming import Run
from verax.model.structure import Outputs

if TYPE_CHECKING:
    from verax.model.learner import Learner

__all__ = ["fit", "train_on_batch"]

_log = logging.getLogger("verax")

#: How many batches ``explain="epoch"`` measures each epoch.
_EPOCH_BATCHES = 32


def note(text: str) -> None:
    """Tell something a person may want to know and need not act on."""
    _log.info(text)


def flat(callbacks: Any) -> list[Any]:
    """Callbacks as a list."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def weights_fact(source: Source, sample_weight: Any, class_weight: Any) -> str:
    """How rows are weighted, in words."""
    given = sample_weight is not None or (source.spec.weight is not None and class_weight is None)
    said = ["sample weights"] * given + ["class weights"] * (class_weight is not None)
    return " and ".join(said) or "none"


def fit(model: Learner, compiled: Compiled, arguments: Arguments) -> History:
    """Train: see ``Model.fit``."""
    arguments.check()
    arguments = arguments.limited()
    train, validation = _sources(arguments)
    outputs = model.prepare(symbolic_of(train.spec.x, SymbolicTensor))
    objective = compiled.objective(model, outputs, train.spec.y)
    check_resident(objective, outputs, train)
    if validation is not None:
        model.prepare(symbolic_of(validation.spec.x, SymbolicTensor))  # refused now, not after an epoch
        val_objective = compiled.objective(model, outputs, validation.spec.y)
        check_resident(val_objective, outputs, validation)
    modes = ModeMap.of(arguments.mode, default=Mode.TRAIN)
    modes.check_paths(place.path for _, place in Tree.of(model).layers.values())
    _check_objective(model, objective, train)
    run = _Fit(model, compiled, arguments, train, validation, outputs, objective, modes)
    return run.all_epochs()


def _check_objective(model: Learner, objective: Objective, train: Source) -> None:
    """Refuse to train where there is nothing to minimize: no loss and, in a trial pass on shapes, no penalty."""
    if objective.terms or not getattr(type(model).train_step, "_is_default", False):
        return
    if any(v.regularizer is not None for v in Tree.of(model).params().values()):
        return
    if not observe_symbolically(model, symbolic_of(train.spec.x, SymbolicTensor), ModeMap(Mode.TRAIN)).penalties:
        raise InputError(
            f"{model.name}.fit was called.",
            received="no loss in compile, and no penalty in the model",
            because="there is nothing to minimize",
            do="Call model.compile(optimizer=..., loss='mse'), or add_loss in a layer.",
        )


def _sources(arguments: Arguments) -> tuple[Source, Source | None]:
    a = arguments
    train = make_source(
        a.x,
        a.y,
        a.sample_weight,
        batch_size=a.batch_size,
        class_weight=a.class_weight,
        label="training rows",
        steps=a.steps_per_epoch,
        check_finite=a.check_finite,
    )
    if a.validation_data is not None:
        if isinstance(a.validation_data, (tuple, list)):
            x, y, weight = unpack(a.validation_data, "validation_data")
        else:
            x, y, weight = a.validation_data, None, None
        own = a.validation_batch_size or (train.batch_size if train.resident else None)
        validation = make_source(
            x,
            y,
            weight,
            batch_size=own if _is_rows(x) else None,
            label="validation rows",
            check_finite=a.check_finite,
        )
        return train, validation
    if a.validation_split:
        return split(train, a.validation_split, validation_batch_size=a.validation_batch_size)
    return train, None


def _is_rows(x: Any) -> bool:
    return not (hasattr(x, "__next__") or isinstance(x, Source) or (hasattr(x, "__getitem__") and not _has_rows(x)))


def _has_rows(x: Any) -> bool:
    return hasattr(x, "shape") or isinstance(x, (list, tuple, Mapping, range))


@dataclass
class _Fit:
    """One run of ``fit``."""

    model: Learner
    compiled: Compiled
    arguments: Arguments
    train: Source
    validation: Source | None
    outputs: Outputs
    objective: Objective
    modes: ModeMap

    def __post_init__(self) -> None:
        self.probe: ModelProbe | None = None
        self.began = time.perf_counter()
        a = self.arguments
        self.history = History()
        self.progress = ProgressLine() if a.verbose else None
        mine = [self.history, *([self.progress] if self.progress else [])]
        self.callbacks = CallbackList([*flat(a.callbacks), *mine])
        self.run = Run(next_key(), next_seed(), self.callbacks, a.initial_epoch)
        self.callbacks.set_model(self.model)
        self.callbacks.set_params(
            {
                "verbose": a.verbose,
                "epochs": a.epochs,
                "steps": a.steps_per_epoch or self.train.steps,
                "chunks": True,
                "validation_freq": a.validation_freq,
            }
        )

    def all_epochs(self) -> History:
        """Run the epochs; whatever ends them, the model has the last finished step's weights."""
        self.model._model.history = self.history
        outer, self.model._model.run = self.model._model.run, self.run
        self.model.stop_training = False
        logs = Logs()
        try:
            self.callbacks.on_train_begin()
            for epoch in self._epochs():
                logs = self._epoch(epoch)
                if self.model.stop_training:
                    break
            if self.arguments.ends:
                self._explain_at_the_end()
                self._finish_averages()
            self.callbacks.on_train_end(logs)
        finally:
            self.model._model.run = outer
            if self.progress is not None:
                self.progress.close()
        return self.history

    def _epochs(self) -> range:
        """The epochs to run; a callback may have resumed an earlier fit."""
        a, point = self.arguments, self.run.point
        if point is None:
            return range(a.initial_epoch, a.epochs)
        point.settle(self.compiled, self.callbacks)
        for epoch in range(a.initial_epoch, point.epoch):
            self.train.pass_over(epoch, steps=a.steps_per_epoch)
            if self.validation is not None and self._validates(epoch):
                self.validation.pass_over(0, steps=a.validation_steps)
        return range(point.epoch, point.epoch if point.stopped else a.epochs)

    def _epoch(self, epoch: int) -> Logs:
        self.callbacks.on_epoch_begin(epoch)
        point = self.run.point
        if point is not None and point.done:  # what begins with an epoch had begun
            point.settle(self.compiled, self.callbacks)
        self.run.epoch = epoch
        record = self.run.record = EpochRecord(epoch, self.run.key, self.compiled.steps - self.run.done)
        readings = self._train(epoch, record)
        if self.validation is not None and self._validates(epoch):
            readings.update(self._validate(epoch))
            self._prepare_to_explain(epoch, record, readings)
        logs = logs_of(readings)
        self.run.epoch, self.run.done, self.run.rows, self.run.record, self.run.point = epoch + 1, 0, 0, None, None
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    # ---- training ------------------------------------------------------------------------------------------------

    def _train(self, epoch: int, record: EpochRecord) -> dict[str, Reading]:
        model, a = self.model, self.arguments
        observe = Pass(self.objective.observe, self.modes)

        def step(carry: Carry, batch: Any, key: jax.Array) -> tuple[Carry, Any]:
            return kept_in_place(model.train_step(carry, batch, key, observe, rule), carry)

        feed = self.train.feed(epoch, shuffle=a.shuffle, seed=self.run.seed, steps=a.steps_per_epoch)
        acts = self.callbacks.acts_between_batches()
        hold = Hold(model, self.compiled, uses_up=not acts)
        rule = train_rule(hold.tree, self.compiled)

        def find() -> Program:
            return program(
                model,
                "train",
                self.objective,
                self.modes,
                step,
                self.train,
                one_by_one=acts,
                donate=hold.uses_up,
                tree=hold.tree,
            )

        chunks = Chunks(
            find(),
            self.train,
            feed,
            lambda y: check_targets(self.objective, self.outputs, y),
            self.compiled.run_eagerly,
        )
        seen: Seen | None = None
        with hold:
            carry = hold.begin()
            record.carried = {path: np.array(carry.state[path]) for path in hold.tree.carried()}
            self._compile_ahead(chunks.program, carry)
            done = self.run.done
            chunks.skip(done)
            for chunk in chunks:  # a loop that is left, by an error too, closes what it runs over
                if acts:  # a callback may have set weights, frozen layers or changed the rate since the last step
                    self.callbacks.on_train_batch_begin(done, Logs())
                    hold.look()
                    chunks.program = find()
                    carry = hold.begin()
                count = len(chunk.index)
                carry, tallies = chunks.run(carry, chunk, key=self.run.key, first=self.compiled.steps, keep=hold.keep)
                self.compiled.steps += count
                record.add(tallies, chunk.rows)
                if seen is None and self.run.point is not None:
                    self.run.point.complete(record, jax.tree.structure(tallies))
                self.run.rows += chunk.index.size
                self.run.done = done + count
                if acts or seen is None:
                    seen = self.objective.what_ran(self.modes, hold.tree)
                self._tell(record, count, done, acts, seen)
                done += count
                if self.model.stop_training and acts:
                    break
        if seen is None and self.run.point is not None and done:  # resumed after its last batch, as it turns out
            _, tallies = jax.eval_shape(step, carry, self.train.spec, self.run.key)
            self.run.point.complete(record, jax.tree.structure(tallies))
            seen = self.objective.what_ran(self.modes, hold.tree) if record.tallies else None
        if seen is None:
            raise DataError(
                f"Epoch {epoch + 1} was to be trained.", received="no batch", because="the training rows are used up"
            )
        record.modes = layer_modes(seen)
        record.weights = {**carry.params, **carry.state}
        self.history.last = record
        return readings_of(self.objective, record.folded(), self._facts(seen))

    def _compile_ahead(self, made: Program, carry: Carry) -> None:
        """In another thread, compile what this epoch will need later: its short last batch, and its validation."""
        if self.compiled.run_eagerly:
            return
        a = self.arguments
        wanted = [made.foresee(self.train, carry, self.run.key, a.steps_per_epoch, shuffle=a.shuffle)]
        if self.validation is not None:
            _, other = measuring(self.model, self.compiled, self.validation, self.outputs, INFER)
            still = carry._replace(opt={})
            wanted.append(other.foresee(self.validation, still, self.run.key, a.validation_steps))
        tasks = [task for task in wanted if task is not None]

        def compile_all() -> None:
            with contextlib.suppress(Exception):  # the main thread will meet it where a person can see it
                for task in tasks:
                    task()

        if tasks:
            # Not a daemon: a process that ends waits for the compiler rather than pulling memory from under it.
            threading.Thread(target=compile_all, name="verax-compiler").start()

    def _tell(self, record: EpochRecord, count: int, done: int, acts: bool, seen: Seen) -> None:
        callbacks, objective = self.callbacks, self.objective
        if callbacks.reads_batches():
            facts = self._facts(seen)
            for i, sums in enumerate(record.after_each_step()):
                if not acts:
                    callbacks.on_train_batch_begin(done + i, Logs())
                callbacks.on_train_batch_end(done + i, logs_of(readings_of(objective, sums, facts)))
        callbacks.on_chunk_end(done + count, lambda: logs_of(readings_of(objective, record.running, self._facts(seen))))

    def _facts(self, seen: Seen) -> Facts:
        return Facts(
            params="each step's own",
            draws="as drawn" if seen.draws else "none",
            modes=layer_modes(seen),
            weights=weights_fact(self.train, self.arguments.sample_weight, self.arguments.class_weight),
            dtype=self.model.compute_dtype,
            rows=Rows("training rows", self.run.rows, self.train.rows),
        )

    def _finish_averages(self) -> None:
        # As in Keras: with use_ema the model ends with the averaged weights.
        averaged = self.compiled.optimizer.averaged(self.compiled.opt_state) if self.compiled.opt_state else None
        if averaged:
            load_values(self.model, averaged)
            self.model._model.raw = None

    # ---- explanation ---------------------------------------------------------------------------------------------

    def _prepare_to_explain(self, epoch: int, record: EpochRecord, readings: Mapping[str, Reading]) -> None:
        a = self.arguments
        if a.explain == "off" or self.validation is None:
            return
        feed = {"epoch": epoch, "shuffle": a.shuffle, "seed": self.run.seed, "steps": a.steps_per_epoch}
        self.probe = ModelProbe(
            self.model,
            self.compiled,
            self.outputs,
            Epoch(record, self.train, feed),
            self.validation,
            {name: r for name, r in readings.items() if not name.startswith("val_")},
            {name.removeprefix("val_"): r for name, r in readings.items() if name.startswith("val_")},
            self.modes,
            self.compiled.trained,
            ema=self.compiled.optimizer.averaged(self.compiled.opt_state),
        )
        self.history.explainer = self.probe.ask
        if a.explain == "epoch":
            probe = self.probe.on(batches=_EPOCH_BATCHES)
            self.history.gaps[epoch] = {name: probe.gap(name) for name in probe.start}

    def _explain_at_the_end(self) -> None:
        a = self.arguments
        if a.explain != "end" or not a.verbose or self.probe is None:
            return
        allowed = max(1.0, 0.1 * (time.perf_counter() - self.began))
        batches = self.probe.affordable(allowed)
        if batches == 0:
            total = self.probe.end["loss"].value - self.probe.start["loss"].value
            say(f"val_loss is {total:+.4f} from loss; history.gap() measures why.")
            return
        gap = self.probe.on(batches=batches).gap("loss")
        say(gap.verdict.line)

    # ---- validation ----------------------------------------------------------------------------------------------

    def _validates(self, epoch: int) -> bool:
        freq = self.arguments.validation_freq
        return epoch + 1 in freq if isinstance(freq, Collection) else (epoch + 1) % freq == 0

    def _validate(self, epoch: int) -> dict[str, Reading]:
        assert self.validation is not None
        given = self.arguments.validation_data
        weighted = isinstance(given, (tuple, list)) and len(given) == 3
        inner = [callback for callback in self.callbacks if callback is not self.history]
        return measure(
            self.model,
            self.compiled,
            self.validation,
            self.outputs,
            modes=INFER,
            key=jax.random.fold_in(self.run.key, epoch),
            params=f"the end of epoch {epoch + 1}",
            weights="sample weights" if weighted else weights_fact(self.validation, None, None),
            steps=self.arguments.validation_steps,
            prefix="val_",
            callbacks=_bare(inner, self.model, self.callbacks),
        ).readings


def _bare(callbacks: list[Any], model: Learner, of: CallbackList) -> CallbackList:
    listed = CallbackList(callbacks)
    listed.set_model(model)
    listed.params = of.params
    return listed


def train_on_batch(
    model: Learner, compiled: Compiled, x: Any, y: Any, sample_weight: Any, class_weight: Any
) -> dict[str, Reading]:
    """One step on one batch: see ``Model.train_on_batch``."""
    rows = len(jax.tree.leaves(x)[0])
    arguments = Arguments(
        x=x,
        y=y,
        batch_size=rows,
        verbose=0,
        shuffle=False,
        sample_weight=sample_weight,
        class_weight=class_weight,
        ends=False,
    )
    history = model.history
    try:
        done = fit(model, compiled, arguments)
    finally:
        model._model.history = history
    return {name: readings[0] for name, readings in done.readings.items()}
