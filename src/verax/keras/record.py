"""The recording of a Keras model's own steps: each is looked at as it passes, and runs as it would alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from verax.keras.frameworks import Below, copied, require_keras, size_of
from verax.keras.losses import keeps_compute_loss, rows_of, unpacked
from verax.keras.program import KerasProgram
from verax.watch import Epoch, Step

__all__ = ["Recorder", "RunningEpoch", "averaged_of", "penalty_program", "watch_next"]


class RunningEpoch(Epoch):
    """An epoch whose program shows, after each batch, the mean of the batches so far by their rows."""

    @property
    def values(self) -> np.ndarray:
        """(batches,) the losses of the batches themselves: what each adds to the running sum, per row."""
        totals = super().values * np.cumsum(self.rows)
        return np.diff(totals, prepend=0.0) / self.rows


def watch_next(model: Any, name: str, seen: Callable[..., Any]) -> None:
    """The next call of a model's function goes through ``seen(function, *args)``; the one after it does not.

    So nothing is left on the model when a loop is interrupted between two steps.
    """
    function = getattr(model, name)
    function = getattr(function, "watched", function)

    def watching(*args: Any) -> Any:
        vars(model)[name] = function
        return seen(function, *args)

    vars(watching)["watched"] = function
    vars(model)[name] = watching


def unwatch(model: Any, name: str) -> None:
    """Whatever waits for the next call of a model's function waits no more."""
    function = getattr(model, name, None)
    if hasattr(function, "watched"):
        vars(model)[name] = getattr(function, "watched")  # noqa: B009 - an attribute of a function


def penalty_program(model: Any, below: Below) -> Callable[[Sequence[Any]], Any] | None:
    """(values of the trainable variables) -> the penalties on them; None where there are none."""
    penalized = [(i, v) for i, v in enumerate(model.trainable_variables) if getattr(v, "regularizer", None) is not None]
    if not penalized or not keeps_compute_loss(model):
        return None
    ops = require_keras("Penalties were to be measured.").ops

    def program(values: Sequence[Any]) -> Any:
        return sum((ops.sum(ops.cast(v.regularizer(values[i]), "float32")) for i, v in penalized), 0.0)

    return below.compiled(program)


class Recorder:
    """Records the steps of one pass.

    Args:
        program: () -> the model's program, made when the first batch is there.
        penalty: What ``penalty_program`` made.
        training: Whether the steps train.
        epoch: Where they are kept.
    """

    def __init__(
        self,
        model: Any,
        below: Below,
        program: Callable[[Any, tuple[Any, Any]], KerasProgram],
        penalty: Callable[..., Any] | None,
        training: bool,
        epoch: RunningEpoch,
    ):
        self.model = model
        self.below = below
        self.epoch = epoch
        self.training = training
        self.weighted = False
        self.told = True
        self._program = program
        self._penalty = penalty
        self._constant: Any = None

    def jax_step(self, function: Callable[..., Any], state: Any, iterator: Iterator[Any]) -> Any:
        """A step of the JAX trainer: (state, iterator) -> (logs, state)."""
        batches: list[Any] = []
        for batch in iterator:
            batches.append(batch)
            if len(batches) >= self.model.steps_per_execution:
                break
        if not batches:
            return function(state, iter(()))
        keep = self._before(batches, (state[0], state[1]))
        logs, state = function(state, iter(batches))
        keep(logs)
        return logs, state

    def torch_step(self, function: Callable[..., Any], batches: Any) -> Any:
        """A step of the PyTorch trainer: (batches) -> logs."""
        trainable = [v.value for v in self.model.trainable_variables]
        keep = self._before(list(batches), (trainable, [v.value for v in self.model.non_trainable_variables]))
        logs = function(batches)
        keep(logs)
        return logs

    def _before(self, batches: list[Any], values: tuple[Any, Any]) -> Callable[[Mapping[str, Any]], None]:
        """Take what the step will have changed; what is returned takes the rest."""
        program = self._program(batches[0], values)
        epoch = self.epoch
        number, place = epoch.steps, epoch.place()
        rows = [rows_of(unpacked(batch)[0]) for batch in batches]
        self.weighted = self.weighted or unpacked(batches[0])[2] is not None
        draws = [self.below.copy(seed) for seed in program.seeds_of(values[1])] if place is not None else None
        penalty = self._penalties(program, batches, values, rows)
        step = Step(number, None)
        if place is not None:
            kept = [copied(batch) for batch in batches]
            step = Step(number, kept, draws if self.training else None, size=size_of(kept))

        def keep(logs: Mapping[str, Any]) -> None:
            self.told = self.told and "loss" in logs
            epoch.add(step, logs.get("loss", float("nan")), sum(rows), penalty, place=place)

        return keep

    def _penalties(self, program: KerasProgram, batches: list[Any], values: Any, rows: list[int]) -> Any:
        """The penalties in the step's loss, at its own weights and draws."""
        if program.forward_losses and keeps_compute_loss(self.model):
            states = {(m.effect, m.path): m.state for m in program.modes.facts("train" if self.training else "infer")}
            found = program.measure(batches, values, program.seeds_of(values[1]), states)
            return sum(n * one["penalty"] for n, one in zip(rows, found, strict=True)) / sum(rows)
        if self._penalty is None:
            return 0.0
        with self.below.quiet():
            if self.training:
                return self._penalty(list(values[0]))
            if self._constant is None:
                self._constant = self._penalty(list(values[0]))
        return self._constant


def averaged_of(model: Any, callbacks: Sequence[Any]) -> dict[int, Any]:
    """id of a trainable variable -> its raw value, where a callback has put the average in its place."""
    if not any(getattr(callback, "_ema_weights_in_model", False) for callback in callbacks):
        return {}
    outer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    raw: dict[int, Any] = {}
    for optimizer in getattr(outer, "optimizers", [outer]):
        averages = getattr(optimizer, "_model_variables_moving_average", ())
        for variable, other in zip(optimizer._trainable_variables, averages, strict=False):
            raw[id(variable)] = other.value
    return raw
