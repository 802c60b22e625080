"""A model over a source: its programs, and the passes that measure and predict with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.callbacks import CallbackList, Logs
from verax.data import ArraySource
from verax.data.prefetch import Prefetched
from verax.data.source import Chunk, Feed, Source
from verax.engine.compiler import Programs
from verax.engine.loop import CAPACITY, Pace, Runs, make_loop, run_chunk, run_eagerly
from verax.engine.objective import Objective
from verax.engine.readings import layer_modes, readings_of
from verax.engine.step import Carry, Constrained, Pass, handed_on, measure_step
from verax.errors import DataError
from verax.frame.frame import load_values, values
from verax.frame.mode import Mode, ModeMap
from verax.frame.placement import places, put
from verax.frame.speed import fast_kernels
from verax.frame.tree import Tree
from verax.ledger.facts import Facts, Rows
from verax.ledger.reading import Reading
from verax.ledger.record import EpochRecord
from verax.model.compile import Compiled, check_targets
from verax.model.structure import Outputs

if TYPE_CHECKING:
    from verax.model.measurable import Measurable

__all__ = ["Chunks", "Measured", "measure", "measuring", "predict", "program", "train_rule"]

#: A chunk carries at most this many bytes to or from the device.
_CHUNK_BYTES = 64 << 20
#: A stream's chunk has at most this many steps.
_STREAM_STEPS = 64
#: So many chunks of a stream are made ready while another one runs.
_AHEAD = 2


@dataclass
class Program:
    """A compiled loop, and the pace it has been seen to keep.

    Attributes:
        step: (carry, batch, key) -> (carry, what the step leaves behind).
        loop: What ``make_loop`` made of it.
        pace: How many steps it takes at a time.
        one_by_one: Whether a callback acts between batches: then no batch is read before the last one was trained.
        foreseen: The passes it was compiled for ahead of time.
    """

    step: Callable[..., tuple[Any, Any]]
    loop: Programs
    pace: Pace
    one_by_one: bool = False
    foreseen: set[Any] = field(default_factory=set[Any])

    def capacity(self, steps: int | None) -> int:
        """How many steps of resident rows a run has room for, in a pass of so many."""
        # XLA simplifies a loop it knows to take one step, and then rounds differently: no loop is made for one.
        return max(min(_bucket(steps), _bucket(self.pace.limit)), 2)

    def foresee(
        self, source: Source, carry: Any, key: Any, steps: int | None = None, *, shuffle: bool | str = False
    ) -> Callable[[], None] | None:
        """What compiles the program for every size of batch that a pass will bring, to be done while other work runs.

        None where that was done before, or where only the data will tell (streams).
        """
        asked = (source.rows, source.batch_size, steps, shuffle)
        if not (isinstance(source, ArraySource) and source.resident) or asked in self.foreseen or places() is not None:
            return None
        self.foreseen.add(asked)
        specs, data = (jax.tree.map(_spec, arrays) for arrays in (carry, source.kept))
        rows, size, whole = source.rows, source.batch_size, source.steps
        capacity = self.capacity(whole if steps is None else min(steps, whole))
        sizes = [size] * (rows >= size) + [rows % size] * (rows % size > 0 and (steps is None or steps >= whole))

        def compile_all() -> None:
            for each in sizes:
                numbers = jax.ShapeDtypeStruct((capacity,), np.int32)
                anywhere = jax.ShapeDtypeStruct((capacity, each), np.int32)
                taken = Runs(numbers, each) if source.stands(shuffle) else anywhere
                self.loop.prepare(specs, data, taken, np.int32(0), key, numbers)

        return compile_all


def program(
    model: Measurable,
    kind: str,
    objective: Objective | None,
    modes: ModeMap,
    step: Callable[..., Any],
    source: Source,
    *,
    one_by_one: bool = False,
    donate: bool = False,
    chunk_bytes: Callable[[], int] = int,
    tree: Tree | None = None,
) -> Program:
    """The program for ``step``: one for each kind, objective, mode map, set of trainable layers and way of feeding.

    Args:
        model, kind, objective, modes: What the program is for.
        step: (carry, batch, key) -> (carry, what the step leaves behind).
        source: Where its batches come from.
        one_by_one: Whether it takes one step at a time, because a callback acts between batches.
        donate: Whether a chunk uses up the carry it is given.
        tree: The model's, where it was walked just now.
        chunk_bytes: () -> how many bytes a step leaves behind on the device, which bounds a chunk's steps.
    """
    flags = (tree or Tree.of(model)).flags()
    key = (kind, id(objective), modes.key(), flags, source.resident, one_by_one, donate, fast_kernels(), places())
    if key not in model.programs:
        limit = CAPACITY if source.resident else _STREAM_STEPS
        bytes_ = chunk_bytes() + (0 if source.resident else _bytes(source.spec))
        if bytes_:
            limit = max(1, min(limit, _CHUNK_BYTES // bytes_))
        pace = Pace(1 if one_by_one else limit)
        model.programs[key] = Program(step, make_loop(step, donate=donate), pace, one_by_one)
    return model.programs[key]


def train_rule(tree: Tree, compiled: Compiled) -> Constrained:
    """The optimizer, followed by the constraints of the parameters."""
    found = {path: v.constraint for path, v in tree.params().items() if v.constraint is not None}
    return Constrained(compiled.optimizer, found)


@dataclass
class Chunks:
    """The chunks of one pass, cut so that the host keeps up and a person does not wait.

    Attributes:
        program: What runs them.
        source: The source.
        feed: One pass over it.
        check: Called on the targets of every chunk of a stream before it runs.
        eager: Whether to run steps without compiling them.
    """

    program: Program
    source: Source
    feed: Feed
    check: Callable[[Any], None] | None = None
    eager: bool = False

    def __iter__(self) -> Iterator[Chunk]:
        """Each chunk; to be closed, or run through to its end."""
        pace = self.program.pace
        if self.source.resident:
            room, feed = None, Prefetched(self.feed, self._everywhere, ahead=0)
        else:
            # All chunks of a stream have room for as many steps as the longest may have: one shape, one program.
            room = pace.limit
            feed = Prefetched(self.feed, self._ready, ahead=0 if self.eager or self.program.one_by_one else _AHEAD)
        try:
            while (chunk := feed.take(pace.steps, room)) is not None:
                yield chunk
        finally:
            feed.close()

    def skip(self, batches: int) -> None:
        """Pass over the first batches."""
        while batches > 0 and (chunk := self.feed.pull(batches if self.source.resident else 1)) is not None:
            batches -= len(chunk.index)

    def _ready(self, chunk: Chunk) -> Chunk:
        """A stream's chunk, checked and on the device."""
        if self.check is not None:
            self.check(jax.tree.map(lambda array: array[: chunk.index.size], chunk.data.y))
        return chunk if self.eager else chunk._replace(data=jax.device_put(chunk.data))

    def _everywhere(self, chunk: Chunk) -> Chunk:
        """A resident source's chunk, on every device of the distribution."""
        return chunk._replace(data=_everywhere(self.source, chunk.data))

    def run(
        self,
        carry: Any,
        chunk: Chunk,
        *,
        key: Any,
        first: int,
        keep: Callable[[Any], None] = lambda carry: None,
    ) -> tuple[Any, Any]:
        """Run one chunk, hand the carry it ends with to ``keep``, and let the pace learn how long it took."""
        data, index, made = chunk.data, chunk.index, self.program
        if self.eager:
            carry, left = run_eagerly(made.step, carry, data, index, key=key, first=first)
            keep(carry)
            return carry, left
        short = self.source.resident and index.shape[1] != self.source.batch_size  # no measure of how long a step takes
        capacity = made.capacity(self.feed.steps) if self.source.resident else made.pace.limit
        return run_chunk(
            made.loop,
            carry,
            data,
            index,
            key=key,
            first=first,
            capacity=max(capacity, len(index), 2),
            begins=chunk.begins,
            keep=keep,
            pace=None if short else made.pace,
        )


def _placed(model: Measurable) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's values, on the devices of the distribution."""
    params, state = values(model)
    shapes = {path: value.shape for path, value in (*params.items(), *state.items())}
    return put((params, state), shapes)


def _everywhere(source: Source, data: Any) -> Any:
    """A source's rows on every device of the distribution, brought there once."""
    here = places()
    if here is None:
        return data
    found = getattr(source, "_everywhere", None)
    if found is None or found[0] is not here:
        found = (here, put(data, {}))
        source._everywhere = found  # pyright: ignore[reportAttributeAccessIssue]
    return found[1]


def _spec(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=getattr(array, "weak_type", False))


def _bucket(steps: int | None) -> int:
    """A power of two that holds the steps: few lengths, few programs."""
    wanted = CAPACITY if steps is None else min(steps, CAPACITY)
    return 1 << max(0, (wanted - 1).bit_length())


@dataclass
class Measured:
    """What a measuring pass found.

    Attributes:
        readings: name -> Reading.
        record: The batches, so that they can be measured again.
    """

    readings: dict[str, Reading]
    record: EpochRecord


def measuring(
    model: Measurable, compiled: Compiled, source: Source, outputs: Outputs, modes: ModeMap
) -> tuple[Objective, Program]:
    """What measures a source in a mode."""
    objective = compiled.objective(model, outputs, source.spec.y)
    # The objective is captured, not looked up: a program belongs to the objective it was traced with.
    observe = Pass(objective.observe, modes)
    carried = tuple(Tree.of(model).carried())

    def step(carry: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        return measure_step(observe, carry, batch, key=key, carried=carried)

    return objective, program(model, "measure", objective, modes, step, source)


def measure(
    model: Measurable,
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

    States of stateful layers begin as the model has them, go from batch to batch, and are then forgotten.

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
    objective, made = measuring(model, compiled, source, outputs, modes)
    callbacks = callbacks or CallbackList()
    callbacks.on_test_begin()  # may exchange the weights for averaged ones
    first = carry = Carry.begin(*_placed(model), {})
    feed = source.feed(0, steps=steps)
    chunks = Chunks(made, source, feed, lambda y: check_targets(objective, outputs, y), compiled.run_eagerly)
    record = EpochRecord(0, key, 0)
    done = rows = 0
    for chunk in chunks:
        carry, tallies = chunks.run(carry, chunk, key=key, first=done)
        record.add(tallies, chunk.rows)
        count = len(chunk.index)
        rows += chunk.index.size
        facts = Facts(rows=Rows(source.label, rows, source.rows))
        if callbacks.reads_test_batches():
            for i, sums in enumerate(record.after_each_step()):
                callbacks.on_test_batch_begin(done + i, Logs())
                callbacks.on_test_batch_end(done + i, logs_of(readings_of(objective, sums, facts, prefix)))
        done += count
        callbacks.on_chunk_end(done, lambda facts=facts: logs_of(readings_of(objective, record.running, facts, prefix)))
    if not record.tallies:
        raise DataError(f"The {source.label} were to be measured.", received="no batch", because="the data are used up")
    seen = objective.what_ran(modes)
    facts = Facts(
        params=params,
        draws="fresh" if seen.draws else "none",
        modes=layer_modes(seen),
        weights=weights,
        averaged="raw" if model._model.raw is None else "EMA",
        rows=Rows(source.label, rows, source.rows),
        dtype=model.compute_dtype,
    )
    readings = readings_of(objective, record.folded(), facts, prefix)
    callbacks.on_test_end(logs_of(readings))
    record.modes = facts.modes
    record.weights = {**first.params, **first.state}
    record.carried = {path: first.state[path] for path in Tree.of(model).carried()}
    return Measured(readings, record)


def logs_of(readings: dict[str, Reading]) -> Logs:
    """Readings as the logs callbacks receive."""
    return Logs({name: reading.value for name, reading in readings.items()}, readings)


def predict(
    model: Measurable,
    source: Source,
    *,
    modes: ModeMap,
    key: Any,
    steps: int | None = None,
    callbacks: CallbackList,
    eager: bool = False,
) -> Any:
    """The model's outputs for every row, as NumPy arrays in the structure the model returns.

    States of stateful layers go from batch to batch, and stay as the last one left them: the next call goes on.
    """
    run = model.forward(modes)
    carried = tuple(Tree.of(model).carried())

    def step(carry: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        params, state = carry
        output, after = run(params, state, batch.x, key)
        return (params, handed_on(state, after, carried)), output

    made = program(
        model,
        "predict",
        None,
        modes,
        step,
        source,
        chunk_bytes=lambda: _bytes(jax.eval_shape(run, *values(model), source.spec.x, key)[0]),
    )
    chunks = Chunks(made, source, source.feed(0, steps=steps), eager=eager)
    callbacks.on_predict_begin()
    parts: list[Any] = []
    done = 0
    carry = _placed(model)
    for chunk in chunks:
        index = chunk.index
        carry, outputs = chunks.run(carry, chunk, key=key, first=done)
        parts.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), outputs))
        if callbacks.reads_predict_batches():
            for i in range(len(index)):
                callbacks.on_predict_batch_begin(done + i)
                callbacks.on_predict_batch_end(done + i, Logs({"outputs": jax.tree.map(lambda a, i=i: a[i], outputs)}))
        done += len(index)
        callbacks.on_chunk_end(done, Logs)
    load_values(model, {path: carry[1][path] for path in carried})
    callbacks.on_predict_end()
    if not parts:
        raise DataError("Rows were to be predicted.", received="no batch", because="the data are used up")
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _bytes(specs: Any) -> int:
    return sum(s.size * s.dtype.itemsize for s in jax.tree.leaves(specs))


def symbolic_of(spec: Any, make: Callable[[tuple[int | None, ...], str], Any]) -> Any:
    """A structure of specs as symbolic tensors with an unknown number of rows."""
    return jax.tree.map(lambda s: make((None, *s.shape[1:]), jnp.dtype(s.dtype).name), spec)


INFER = ModeMap(Mode.INFER)
