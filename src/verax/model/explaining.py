"""A trained model's answer to the ledger: its passes measured again, with one fact or another changed."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.data.source import Batch, Source
from verax.engine.loop import run_chunk
from verax.engine.readings import readings_of
from verax.errors import DataError
from verax.frame.mode import Mode, ModeMap
from verax.frame.seeds import path_hash
from verax.ledger.chain import Gap
from verax.ledger.facts import Facts
from verax.ledger.probe import Batches, explain_gap
from verax.ledger.reading import Reading
from verax.ledger.record import EpochRecord
from verax.model.compile import Compiled
from verax.model.passes import program
from verax.model.population import averages_of, population
from verax.model.structure import Outputs

if TYPE_CHECKING:
    from verax.model.model import Model

__all__ = ["ModelProbe"]


@dataclass
class ModelProbe:
    """What is needed to measure an epoch's batches again: the ledger's Probe for a Verax model.

    Attributes:
        model, compiled, outputs: The model.
        train, validation: The rows of the two readings.
        start, end: name -> the shown readings (without ``val_``).
        record: The steps of the epoch.
        modes: The mode map the epoch was trained in.
        batches: How many of the epoch's batches to measure; None for all.
        ema: path -> averaged weight, where the validation used averaged weights.
    """

    model: Model
    compiled: Compiled
    outputs: Outputs
    train: Source
    validation: Source
    start: Mapping[str, Reading]
    end: Mapping[str, Reading]
    record: EpochRecord
    modes: ModeMap
    batches: int | None = None
    ema: Mapping[str, Any] | None = None
    measured: dict[Facts, Batches] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.objective = self.compiled.objective(self.model, self.outputs, self.train.spec.y)
        shapes = [index.shape for index in self.record.rows if index is not None]
        self.total = self.record.steps
        self.size = max((shape[1] for shape in shapes), default=0)
        self._population: dict[str, Any] | None = None
        self._chosen: list[int] = []

    def gap(self, name: str) -> Gap:
        """The gap of a number by its name, with a column for each output of a loss."""
        gap = explain_gap(self, name)
        columns = {}
        if name == "loss" and len(self.objective.terms) > 1:
            columns = {term.name: explain_gap(self, f"{term.name}_loss") for term in self.objective.terms}
        return replace(gap, columns=columns, notes=tuple(self._notes()))

    # ---- what the ledger asks --------------------------------------------------------------------------------------

    def shown(self, name: str) -> tuple[Reading, Reading]:
        """The two readings, as shown."""
        return self.start[name], self.end[name]

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        """The number made of folded sums."""
        return readings_of(self.objective, sums, facts)[name]

    def measure(self, facts: Facts) -> Batches:
        """The sums of a pass with these facts, batch by batch."""
        key = facts.but(weights="none" if facts.weights == "none" else "as trained")
        if key not in self.measured:
            began = time.perf_counter()
            self.measured[key] = self._measure(facts)
            self.seconds += time.perf_counter() - began
        return self.measured[key]

    # ---- how it is measured ----------------------------------------------------------------------------------------

    def _measure(self, facts: Facts) -> Batches:
        if facts.rows.label == self.end["loss"].facts.rows.label:
            return self._pass(facts, self.validation, *_all_batches(self.validation))
        if facts.rows != self.start["loss"].facts.rows:
            return self._pass(facts, self.train, *_all_batches(self.train))
        chosen = self._sample()
        if facts.params == "each step's own":
            return Batches(_steps_at(self.record.tallies, chosen), self.total)
        index = _rows_at(self.record.rows, chosen)
        return self._pass(facts, self.train, index, np.asarray(chosen) + self.record.first_step)

    def _sample(self) -> list[int]:
        """Which of the epoch's steps are measured: all, or whole full batches drawn without replacement."""
        if not self._chosen:
            steps = list(range(self.total))
            if self.batches is not None and self.batches < self.total:
                full = [i for i, n in enumerate(_sizes(self.record.rows)) if n == self.size]
                rng = np.random.default_rng(self.record.first_step)
                steps = sorted(rng.choice(full, size=min(self.batches, len(full)), replace=False).tolist())
            self._chosen = steps
        return self._chosen

    def _pass(self, facts: Facts, source: Source, index: list[np.ndarray[Any, Any]], numbers: Any) -> Batches:
        effects = sorted({m.effect for m in (*self._both("start"), *self._both("end"))})
        on = {e: any(m.state == "train" for m in facts.modes if m.effect == e) for e in effects}
        weights = dict(self.record.weights or {})
        detail: dict[str, Any] = {}
        if any(m.state == "population" for m in facts.modes):
            detail = self._lag(weights)
            weights.update(self._statistics())
        if facts.averaged != "raw" and self.ema is not None:
            weights.update(self.ema)
        params = {path: weights[path] for path in self._trained()}
        state = {path: value for path, value in weights.items() if path not in params}
        flags = {effect: jnp.asarray(value) for effect, value in on.items()}
        carry = (params, state, flags, jnp.asarray(facts.weights != "none"))
        fresh = facts.draws != "as drawn"
        key = jax.random.fold_in(self.record.key, path_hash("fresh draws")) if fresh else self.record.key
        observe = self.objective.observe
        paths = dict(self.modes.paths)

        def step(carry: Any, batch: Any, key: jax.Array) -> tuple[Any, Any]:
            params, state, flags, weighted = carry
            weight = jax.tree.map(lambda w: jnp.where(weighted, w, jnp.ones_like(w)), batch.weight)
            modes = ModeMap(Mode.TRAIN, effects=flags, paths=paths)
            _, (_, tallies) = observe(params, state, (batch.x, batch.y, weight), mode=modes, key=key)
            return carry, tallies

        like = ModeMap(Mode.TRAIN, effects=flags, paths=paths)
        made = program(self.model, "probe", self.objective, like, step, source)
        parts: list[Any] = []
        for rows, first in zip(index, numbers, strict=True):
            parts.append((rows, int(first)))
        return Batches(
            _run(made.loop, carry, source, parts, key), self.total if source is self.train else len(index), detail
        )

    def _both(self, end: str) -> Any:
        return (self.start if end == "start" else self.end)["loss"].facts.modes

    def _trained(self) -> frozenset[str]:
        return self.compiled.trained

    def _statistics(self) -> dict[str, Any]:
        if self._population is None:
            weights = dict(self.record.weights or {})
            params = {path: weights[path] for path in self._trained()}
            state = {path: value for path, value in weights.items() if path not in params}
            self._population = population(self.model, self.train, params, state, steps=self.batches)
        return self._population

    def _lag(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """How far each moving average is from the population's, and how many updates it would have needed."""
        found = self._statistics()
        momenta = averages_of(self.model)
        layers: list[dict[str, Any]] = []
        for path, value in found.items():
            stored = np.asarray(weights[path], np.float64)
            scale = float(np.sqrt(np.mean(np.square(value)))) or 1.0
            momentum = momenta[path]
            layers.append(
                {
                    "path": path,
                    "off": float(np.sqrt(np.mean(np.square(stored - value)))) / scale,
                    "momentum": momentum,
                    "updates": self.compiled.steps,
                    "needed": math.ceil(math.log(0.01) / math.log(momentum)) if 0 < momentum < 1 else 0,
                }
            )
        return {"averages": sorted(layers, key=lambda one: -one["off"])}

    def _notes(self) -> list[str]:
        forced = sorted({m.path for m in self.end["loss"].facts.modes if m.why == "forced" and m.state == "train"})
        return [
            f"{path} runs in training mode in validation too: a call says training=True, against the pass."
            for path in forced
        ]


def _run(loop: Any, carry: Any, source: Source, parts: list[tuple[np.ndarray[Any, Any], int]], key: Any) -> Any:
    """Run batches one by one size: their tallies stacked in the order given."""
    found: list[Any] = [None] * len(parts)
    by_size: dict[int, list[int]] = {}
    for i, (rows, _) in enumerate(parts):
        by_size.setdefault(len(rows), []).append(i)
    for positions in by_size.values():
        rows = np.stack([parts[i][0] for i in positions])
        numbers = np.asarray([parts[i][1] for i in positions], np.int32)
        data, index = _data(source, rows)
        for at in range(0, len(positions), 256):
            some = slice(at, at + 256)
            capacity = 1 << max(0, (min(len(positions), 256) - 1).bit_length())
            carry, tallies = run_chunk(loop, carry, data, index[some], key=key, first=numbers[some], capacity=capacity)
            for j, i in enumerate(positions[some]):
                found[i] = jax.tree.map(functools.partial(_nth, n=j), tallies)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def _nth(leaf: Any, n: int) -> Any:
    return leaf[n]


def _data(source: Source, rows: np.ndarray[Any, Any]) -> tuple[Batch, np.ndarray[Any, Any]]:
    """The data a pass gathers from, and the index into it."""
    if source.resident:
        return source.data, rows  # pyright: ignore[reportAttributeAccessIssue]
    gathered = source.gather(rows.reshape(-1))  # pyright: ignore[reportAttributeAccessIssue]
    return gathered, np.arange(rows.size).reshape(rows.shape)


def _all_batches(source: Source) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    if source.rows is None or source.batch_size is None:
        raise DataError("Rows were to be measured again.", because="their source knows no rows")
    cuts = list(range(source.batch_size, source.rows, source.batch_size))
    index = np.split(np.arange(source.rows), cuts)
    return index, np.arange(len(index))


def _sizes(rows: list[Any]) -> list[int]:
    return [chunk.shape[1] for chunk in rows for _ in range(len(chunk))]


def _rows_at(rows: list[Any], steps: list[int]) -> list[np.ndarray[Any, Any]]:
    listed = [batch for chunk in rows for batch in chunk]
    return [listed[i] for i in steps]


def _steps_at(tallies: list[Any], steps: list[int]) -> Any:
    wanted = np.asarray(steps)
    return jax.tree.map(lambda *chunks: np.concatenate(chunks)[wanted], *tallies)
