"""A model over a source: its programs, and the passes that measure and predict with them."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.callbacks import CallbackList, Logs
from verax.data.source import Feed, Source
from verax.engine.loop import CAPACITY, Pace, make_loop, run_chunk
from verax.engine.objective import Objective, Seen
from verax.engine.readings import layer_modes, readings_of
from verax.engine.step import Carry, Constrained, Pass, measure_step
from verax.errors import DataError
from verax.frame.frame import values
from verax.frame.mode import Mode, ModeMap
from verax.frame.tree import Tree
from verax.ledger.facts import Facts, Rows
from verax.ledger.reading import Reading
from verax.ledger.record import EpochRecord
from verax.model.compile import Compiled, Outputs, check_targets

if TYPE_CHECKING:
    from verax.model.model import Model

__all__ = ["Chunks", "Measured", "measure", "predict", "program", "train_rule"]

#: A stream's chunk holds at most this many bytes.
_STREAM_BYTES = 64 << 20


def program(model: Model, kind: str, objective: Objective | None, modes: ModeMap, step: Callable[..., Any]) -> Any:
    """The compiled loop for ``step``: one for each kind, objective, mode map and set of trainable layers."""
    flags = tuple(layer.trainable for layer, _ in Tree.of(model).layers.values())
    key = (kind, id(objective), modes.key(), flags)
    programs = model.programs
    if key not in programs:
        programs[key] = make_loop(step)
    return programs[key]


def train_rule(model: Model, compiled: Compiled) -> Constrained:
    """The optimizer, followed by the constraints of the parameters."""
    found = {path: v.constraint for path, v in Tree.of(model).params().items() if v.constraint is not None}
    return Constrained(compiled.optimizer, found)


@dataclass
class Chunks:
    """The chunks of one pass, cut so that the host keeps up and a person does not wait.

    Attributes:
        source: The source.
        feed: One pass over it.
        one_by_one: Whether to run step by step, because a callback acts between batches.
        check: Called on the targets of every chunk of a stream before it runs.
    """

    source: Source
    feed: Feed
    one_by_one: bool = False
    check: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        limit = CAPACITY
        if not self.source.resident:
            row = sum(
                leaf.nbytes if hasattr(leaf, "nbytes") else leaf.size * leaf.dtype.itemsize
                for leaf in jax.tree.leaves(self.source.spec)
            )
            limit = max(1, min(64, _STREAM_BYTES // max(row, 1)))
        self.pace = Pace(1 if self.one_by_one else limit, settle=not self.source.resident)

    def __iter__(self) -> Iterator[tuple[Any, np.ndarray[Any, Any], Any, int]]:
        """(data, index, row identities, capacity) of each chunk."""
        while (chunk := self.feed.take(self.pace.steps)) is not None:
            data, index = chunk.data, np.asarray(chunk.index, np.int32)
            if self.source.resident:
                capacity = 1 if self.one_by_one else _bucket(self.feed.steps)
            else:
                capacity = self.pace.steps
                if self.check is not None:
                    self.check(data.y)
                data = jax.tree.map(functools.partial(_padded, rows=capacity * index.shape[1]), data)
            yield data, index, chunk.rows, max(capacity, len(index))

    def run(
        self, loop: Any, carry: Any, chunk: tuple[Any, ...], *, key: Any, first: int, eager: bool
    ) -> tuple[Any, Any]:
        """Run one chunk and learn how long it took."""
        data, index, _, capacity = chunk
        began = time.perf_counter()
        with jax.disable_jit() if eager else contextlib.nullcontext():
            carry, tallies = run_chunk(loop, carry, data, index, key=key, first=first, capacity=capacity)
        self.pace.took(len(index), time.perf_counter() - began)
        return carry, tallies


def _bucket(steps: int | None) -> int:
    """A power of two that holds the steps: few lengths, few programs."""
    wanted = CAPACITY if steps is None else min(steps, CAPACITY)
    return 1 << max(0, (wanted - 1).bit_length())


def _padded(array: Any, rows: int) -> Any:
    missing = rows - array.shape[0]
    if missing <= 0:
        return array
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


@dataclass
class Measured:
    """What a measuring pass found.

    Attributes:
        readings: name -> Reading.
        seen: What the layers did.
    """

    readings: dict[str, Reading]
    seen: Seen


def measure(
    model: Model,
    compiled: Compiled,
    source: Source,
    outputs: Outputs,
    *,
    modes: ModeMap,
    key: Any,
    params: str = "now",
    weights: str = "none",
    steps: int | None = None,
    prefix: str = "",
    callbacks: CallbackList | None = None,
) -> Measured:
    """Measure losses and metrics over a source; nothing is updated.

    Args:
        model, compiled, source, outputs: What to measure.
        modes: The mode of every layer.
        key: From which draws are made, where a layer draws.
        params: Whose weights these are, for the facts.
        weights: How rows are weighted, for the facts.
        steps: At most this many batches.
        prefix: ``"val_"`` for validation.
        callbacks: Hear the test hooks.
    """
    objective = compiled.objective(model, outputs, source.spec.y)
    if source.resident:
        check_targets(objective, outputs, source.arrays.y)  # pyright: ignore[reportAttributeAccessIssue]
    # The objective is captured, not looked up: a program belongs to the objective it was traced with.
    observe = Pass(objective.observe, modes)
    loop = program(
        model, "measure", objective, modes, lambda carry, batch, key: measure_step(observe, carry, batch, key=key)
    )
    carry = Carry.begin(*values(model), {})
    chunks = Chunks(source, source.feed(0, steps=steps), check=lambda y: check_targets(objective, outputs, y))
    record = EpochRecord(0, key, 0)
    callbacks = callbacks or CallbackList()
    callbacks.on_test_begin()
    done = rows = 0
    for chunk in chunks:
        carry, tallies = chunks.run(loop, carry, chunk, key=key, first=done, eager=compiled.run_eagerly)
        record.tallies.append(tallies)
        count = len(chunk[1])
        if callbacks.reads_test_batches():
            for i in range(count):
                callbacks.on_test_batch_begin(done + i, Logs())
                callbacks.on_test_batch_end(done + i, Logs())
        done += count
        rows += chunk[1].size
        if len(callbacks):
            facts = Facts(rows=Rows(source.label, rows, source.rows))
            running = readings_of(objective, record.folded(), facts, prefix)
            callbacks.on_chunk_end(done, logs_of(running))
    if not record.tallies:
        raise DataError(f"The {source.label} were to be measured.", received="no batch", because="the data are used up")
    seen = objective.seen[modes.key()]
    facts = Facts(
        params=params,
        draws="fresh" if seen.draws else "none",
        modes=layer_modes(seen),
        weights=weights,
        rows=Rows(source.label, rows, source.rows),
        dtype=model.compute_dtype,
    )
    readings = readings_of(objective, record.folded(), facts, prefix)
    callbacks.on_test_end(logs_of(readings))
    return Measured(readings, seen)


def logs_of(readings: dict[str, Reading]) -> Logs:
    """Readings as the logs callbacks receive."""
    return Logs({name: reading.value for name, reading in readings.items()}, readings)


def predict(
    model: Model, source: Source, *, modes: ModeMap, key: Any, steps: int | None = None, callbacks: CallbackList
) -> Any:
    """The model's outputs for every row, as NumPy arrays in the structure the model returns."""
    run = model.forward(modes)
    loop = program(model, "predict", None, modes, lambda carry, batch, key: (carry, run(*carry, batch.x, key)))
    chunks = Chunks(source, source.feed(0, steps=steps))
    # Outputs wait on the device until a chunk ends: keep a chunk's outputs within bounds.
    size = sum(s.size * s.dtype.itemsize for s in jax.tree.leaves(_output_spec(model, source, run)))
    chunks.pace.limit = max(1, min(chunks.pace.limit, _STREAM_BYTES // max(size, 1)))
    callbacks.on_predict_begin()
    parts: list[Any] = []
    done = 0
    carry = values(model)
    for data, index, rows, capacity in chunks:
        chunk = (data, index, rows, min(capacity, max(_bucket(chunks.pace.limit), len(index))))
        carry, outputs = chunks.run(loop, carry, chunk, key=key, first=done, eager=False)
        parts.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), outputs))
        if callbacks.reads_predict_batches():
            for i in range(len(index)):
                callbacks.on_predict_batch_begin(done + i)
                callbacks.on_predict_batch_end(done + i)
        done += len(index)
        callbacks.on_chunk_end(done, Logs())
    callbacks.on_predict_end()
    if not parts:
        raise DataError("Rows were to be predicted.", received="no batch", because="the data are used up")
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _output_spec(model: Model, source: Source, run: Callable[..., Any]) -> Any:
    return jax.eval_shape(run, *values(model), source.spec.x, jax.random.key(0))


def symbolic_of(spec: Any, make: Callable[[tuple[int | None, ...], str], Any]) -> Any:
    """A structure of specs as symbolic tensors with an unknown number of rows."""
    return jax.tree.map(lambda s: make((None, *s.shape[1:]), jnp.dtype(s.dtype).name), spec)


INFER = ModeMap(Mode.INFER)
