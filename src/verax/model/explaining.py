"""A trained model's answer to the ledger: its passes measured again, with one fact or another changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.data import make_source, unpack
from verax.data.source import Source
from verax.engine.readings import readings_of
from verax.engine.step import handed_on
from verax.errors import InputError, StateError, UnknownNameError
from verax.frame.mode import Mode, ModeMap
from verax.frame.seeds import next_key, path_hash
from verax.frame.symbolic import SymbolicTensor
from verax.frame.tree import Tree
from verax.ledger.chain import Gap, bundle
from verax.ledger.facts import Facts
from verax.ledger.probe import Batches, explain_gap
from verax.ledger.reading import Reading
from verax.model.compile import Compiled, check_resident
from verax.model.passes import INFER, measure, program, symbolic_of
from verax.model.population import averages_of
from verax.model.replay import Epoch, Replay, read_once
from verax.model.structure import Outputs

if TYPE_CHECKING:
    from verax.model.measurable import Measurable

__all__ = ["ModelProbe", "explain_now"]

#: A sample of fewer batches has no standard error worth the name.
_LEAST = 4
#: Population statistics are of at least so many batches, where there are as many: made of the few batches that are
#: then measured with them, they would fit these too well.
_STATISTICS = 256


@dataclass
class ModelProbe:
    """What is needed to measure an epoch's batches again: the ledger's Probe for a Verax model.

    Attributes:
        model, compiled, outputs: The model.
        epoch: The steps of the first reading: trained, or measured in training mode.
        validation: The rows of the second reading.
        start, end: name -> the shown readings (without ``val_``).
        modes: The mode map the steps ran in.
        trained: The paths of the trained parameters.
        batches: How many of the epoch's batches to measure; None for all.
        ema: path -> averaged weight, where the second reading used averaged weights.
    """

    model: Measurable
    compiled: Compiled
    outputs: Outputs
    epoch: Epoch
    validation: Source
    start: Mapping[str, Reading]
    end: Mapping[str, Reading]
    modes: ModeMap
    trained: frozenset[str]
    batches: int | None = None
    ema: Mapping[str, Any] | None = None
    measured: dict[Facts, tuple[Batches, dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.objective = self.compiled.objective(self.model, self.outputs, self.epoch.source.spec.y)
        self._flags = self._trainable()
        self._replays: dict[str, Replay] = {}
        self._carried = tuple(Tree.of(self.model).carried())

    def on(self, *, batches: int | None) -> ModelProbe:
        """The same on another number of batches."""
        return replace(self, batches=batches, measured={})

    def ask(self, name: str, rows: int | None = None, reverse: bool = False) -> Gap:
        """The gap of a number, measured on about so many training rows; None for all."""
        batches = batches_of(rows, self.epoch.source.batch_size)
        return (self if batches == self.batches else self.on(batches=batches)).gap(name, reverse=reverse)

    def affordable(self, seconds: float) -> int | None:
        """How many batches can be measured in so many seconds, compiling included; None for all, 0 for too few.

        The program is that which validated with a second branch for each effect: it was seen to compile in about twice
        the time and to run in less than three times.
        """
        if self.epoch.once:
            return None
        if self._carried:  # batches that begin where the last one ended are measured all, or not at all
            return 0
        seen = {key[0]: made for key, made in self.model.programs.items() if key[1] == id(self.objective)}
        compiling = 2.0 * seen["measure"].loop.seconds if "measure" in seen else math.inf
        step = 3.0 * seen["measure"].pace.each if "measure" in seen else math.inf
        effects = {m.effect for m in self.start["loss"].facts.modes}
        passes = 3 + len(effects)
        steps = self.epoch.record.steps
        statistics = min(steps, _STATISTICS) if "batch_statistics" in effects else 0
        affordable = math.floor(((seconds - compiling) / max(step, 1e-9) - statistics) / passes)
        sizes = self.epoch.sizes()
        full = sum(n == max(sizes) for n in sizes) if sizes else steps
        if affordable < min(full, _LEAST):
            return 0
        # A short last batch has a program of its own: measuring it too would compile a second time.
        return None if full == steps and affordable >= steps else min(affordable, full)

    def gap(self, name: str, *, reverse: bool = False) -> Gap:
        """The gap of a number by its name; for a loss of several outputs with a column for each."""
        if name not in self.start or name not in self.end:
            raise UnknownNameError.among("number with a training and a validation reading", name, self.start)
        if self._trainable() != self._flags:
            raise StateError(
                f"The gap of {name!r} was to be explained.",
                because="layers were frozen or unfrozen since, so the model is not the one that was trained",
                do="Set trainable as it was, or ask before changing it.",
            )
        if self.epoch.once:
            return bundle(self.start[name], self.end[name], self.epoch.once)
        gap = explain_gap(self, name, reverse=reverse)
        columns: dict[str, Gap] = {}
        if name == "loss" and len(self.objective.terms) > 1:
            columns = {
                term.name: explain_gap(self, f"{term.name}_loss", reverse=reverse) for term in self.objective.terms
            }
        return replace(gap, columns=columns, notes=tuple(self._notes()))

    # ---- what the ledger asks --------------------------------------------------------------------------------------

    def shown(self, name: str) -> tuple[Reading, Reading]:
        """The two readings, as shown."""
        return self.start[name], self.end[name]

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        """The number made of folded sums."""
        return readings_of(self.objective, sums, facts)[name]

    def measure(self, facts: Facts) -> Batches | None:
        """The sums of a pass with these facts, batch by batch; None where its rows cannot be read again."""
        if facts.rows.label == self.validation.label and read_once(self.validation):
            return None
        return self._measured(facts)[0]

    # ---- how it is measured ----------------------------------------------------------------------------------------

    def _measured(self, facts: Facts) -> tuple[Batches, dict[str, Any]]:
        # Whatever is called sample weights or class weights, a batch carries one array of weights.
        key = facts.but(weights="none" if facts.weights == "none" else "as given")
        if key not in self.measured:
            start = self.start["loss"].facts
            if facts.rows == start.rows and facts.params == "each step's own":
                chosen = self._choose(self.batches)
                self.measured[key] = Batches(self.epoch.tallies(chosen), self.epoch.record.steps), {}
            elif facts.rows == start.rows:
                self.measured[key] = self._pass(facts, "epoch", self.epoch.record.steps)
            else:
                which = "validation" if facts.rows.label == self.validation.label else "all training rows"
                self.measured[key] = self._pass(facts, which, 0)
        return self.measured[key]

    def _choose(self, batches: int | None) -> list[int]:
        """So many of the epoch's steps: all, or whole full batches drawn without replacement."""
        steps = list(range(self.epoch.record.steps))
        if batches is None or batches >= len(steps) or self._carried:
            return steps
        sizes = self.epoch.sizes() or [0] * len(steps)
        full = [i for i in steps if sizes[i] == max(sizes)]
        rng = np.random.default_rng(self.epoch.record.first_step)
        return sorted(rng.choice(full, size=min(batches, len(full)), replace=False).tolist())

    def _replay(self, which: str) -> Replay:
        if which not in self._replays:
            if which in ("epoch", "statistics"):
                batches = self.batches if which == "epoch" or self.batches is None else max(_STATISTICS, self.batches)
                self._replays[which] = self.epoch.replay(self._choose(batches))
            else:
                rows = self.end["loss"].facts.rows.count if which == "validation" else None
                self._replays[which] = Replay.whole(self._source(which), rows)
        return self._replays[which]

    def _pass(self, facts: Facts, which: str, of: int) -> tuple[Batches, dict[str, Any]]:
        weights, detail = dict(self.epoch.record.weights or {}), {}
        if any(m.state == "population" for m in facts.modes):
            averages = self._population(facts)
            detail = {"averages": self._lag(averages, weights)}
            weights.update(averages)
        if facts.averaged != "raw":
            weights.update(self.ema or {})
        params = {path: weights[path] for path in self.trained}
        state = {path: value for path, value in weights.items() if path not in params}
        if which != "validation":
            state.update(self.epoch.record.carried)
        flags = self._traced(facts)
        key = self.epoch.record.key
        if facts.draws != "as drawn" and self._trains():  # without training no step has fitted its draws: keep them
            key = jax.random.fold_in(key, path_hash("fresh draws"))
        made = program(self.model, "probe", self.objective, _modes(flags), self._step, self._source(which))
        carry = (params, state, flags, jnp.asarray(facts.weights != "none"))
        replay = self._replay(which)
        left = replay.run(made.loop, carry, key)
        return Batches(left["sums"], of or len(replay.numbers), detail), left["followed"]

    def _source(self, which: str) -> Source:
        return self.validation if which == "validation" else self.epoch.source

    def _traced(self, facts: Facts) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """effect -> whether it is in training mode; the same by layer, where the fit asked for modes by layer."""
        layers = sorted({(m.effect, m.path) for end in (self.start, self.end) for m in end["loss"].facts.modes})
        on = {(m.effect, m.path) for m in facts.modes if m.state == "train"}
        effects = {effect: jnp.asarray(any(effect == e for e, _ in on)) for effect, _ in layers}
        return effects, {path: jnp.asarray((effect, path) in on) for effect, path in layers if self.modes.paths}

    def _step(self, carry: Any, batch: Any, key: jax.Array) -> tuple[Any, Any]:
        """One batch in a mode of traced flags: one compiled program serves every link."""
        params, state, flags, weighted = carry
        modes = _modes(flags)
        weight = jax.tree.map(lambda w: jnp.where(weighted, w, jnp.ones_like(w)), batch.weight)
        followed: dict[str, jax.Array] = {}
        observe = self.objective.observe
        _, (after, tallies) = observe(params, state, (batch.x, batch.y, weight), mode=modes, key=key, followed=followed)
        state = handed_on(state, after, self._carried)
        return (params, state, flags, weighted), {"sums": tallies, "followed": followed}

    def _population(self, facts: Facts) -> dict[str, np.ndarray[Any, Any]]:
        """path of each moving average -> its population value: the mean over batches of what it follows."""
        at_batch = tuple(replace(m, state="train") if m.state == "population" else m for m in facts.modes)
        sampled = self.batches is not None and self.batches < self.epoch.record.steps
        which = "statistics" if sampled else "epoch"
        at = facts.but(modes=at_batch)
        _, followed = self._pass(at, which, 0) if sampled else self._measured(at)
        rows = np.empty(len(self._replay(which).numbers))
        for _, index, where in self._replay(which).groups:
            rows[where] = index.shape[1]
        return {
            path: np.average(np.asarray(values, np.float64), axis=0, weights=rows).astype(np.float32)
            for path, values in followed.items()
        }

    def _lag(self, averages: Mapping[str, Any], weights: Mapping[str, Any]) -> list[dict[str, Any]]:
        """How far each moving average is from the population's, and how many updates it would have needed."""
        momenta = averages_of(self.model)
        record = self.epoch.record
        layers: list[dict[str, Any]] = []
        for path, value in averages.items():
            scale = float(np.sqrt(np.mean(np.square(value)))) or 1.0
            momentum = momenta[path]
            layers.append(
                {
                    "path": path,
                    "off": float(np.sqrt(np.mean(np.square(np.asarray(weights[path]) - value)))) / scale,
                    "momentum": momentum,
                    "updates": record.first_step + record.steps if self._trains() else self.compiled.steps,
                    "needed": math.ceil(math.log(0.01) / math.log(momentum)) if 0 < momentum < 1 else 0,
                }
            )
        return sorted(layers, key=lambda one: -one["off"])

    def _trains(self) -> bool:
        return self.start["loss"].facts.params == "each step's own"

    def _trainable(self) -> tuple[bool, ...]:
        return tuple(layer.trainable for layer, _ in Tree.of(self.model).layers.values())

    def _notes(self) -> list[str]:
        forced = sorted({m.path for m in self.end["loss"].facts.modes if m.why == "forced" and m.state == "train"})
        return [
            f"{path} runs in training mode in validation too: a call in its model says training=True."
            for path in forced
        ]


def explain_now(
    model: Measurable,
    compiled: Compiled,
    train: Source,
    validation_data: Any,
    *,
    metric: str,
    modes: ModeMap,
    weights: tuple[bool, bool],
    rows: int | None,
) -> Gap:
    """The gap of a number at the weights of now: see ``Measurable.explain``."""
    outputs = model.prepare(symbolic_of(train.spec.x, SymbolicTensor))
    modes.check_paths(place.path for _, place in Tree.of(model).layers.values())
    x, y, weight = unpack(validation_data, "validation_data")
    validation = make_source(x, y, weight, batch_size=train.batch_size, label="validation rows")
    for source in (train, validation):
        check_resident(compiled.objective(model, outputs, source.spec.y), outputs, source)
    said = ["sample weights"] * weights[0] + ["class weights"] * weights[1]
    key = next_key("measuring")
    first = measure(model, compiled, train, outputs, modes=modes, key=key, weights=" and ".join(said) or "none")
    second = measure(
        model,
        compiled,
        validation,
        outputs,
        modes=INFER,
        key=key,
        weights="none" if weight is None else "sample weights",
        prefix="val_",
    )
    end = {name.removeprefix("val_"): reading for name, reading in second.readings.items()}
    probe = ModelProbe(
        model,
        compiled,
        outputs,
        Epoch(first.record, train, {"epoch": 0}),
        validation,
        first.readings,
        end,
        modes,
        frozenset(Tree.of(model).params()),
    )
    return probe.ask(metric, rows)


def _modes(flags: tuple[dict[str, jax.Array], dict[str, jax.Array]]) -> ModeMap:
    return ModeMap(Mode.TRAIN, *flags)


def batches_of(rows: int | None, batch: int | None) -> int | None:
    """How many batches hold so many rows; at least two, for a standard error."""
    if rows is None:
        return None
    if not isinstance(rows, int) or rows < 1:
        raise InputError("gap(rows=...) says how many training rows to measure.", received=repr(rows), do="Use an int.")
    return max(2, -(-rows // (batch or 32)))
