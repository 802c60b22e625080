"""A Keras model as a program that runs a loop's batches again: it changes nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verax.keras.frameworks import below, require_keras
from verax.keras.losses import ROWS, observe, rows_of, unpacked
from verax.keras.modes import Moded, Modes
from verax.ledger.facts import Facts
from verax.ledger.tally import Tally
from verax.watch import Measured, Step

__all__ = ["KerasProgram", "Weights"]


@dataclass(frozen=True)
class Weights:
    """A model's variables at one time, copied.

    Attributes:
        trainable, other: Values in the order of ``trainable_variables`` and ``non_trainable_variables``.
        averaged: Of the trainable ones, where validation used their average over steps; None otherwise.
        updates: How many steps the optimizer had taken.
    """

    trainable: Sequence[Any]
    other: Sequence[Any]
    averaged: Sequence[Any] | None = None
    updates: int = 0


class KerasProgram:
    """The ledger's program of a Keras model.

    Args:
        model: Built and compiled.
        batch: One batch of its data.
        weights: At which to find out what the layers do.
        reread: (label of rows) -> all their batches, or None.

    Attributes:
        modes: The layers that depend on the mode.
        kind: How a batch's number is made of its rows; known once a batch was measured.
        weights: What passes are measured at.
        forward_losses: Whether penalties come out of the pass (``add_loss``, activity regularizers).
    """

    def __init__(
        self, model: Any, batch: Any, weights: Weights, reread: Callable[[Facts], Iterable[Any] | None] = lambda _: None
    ):
        self.model = model
        self.below = below()
        self.weights = weights
        self.reread = reread
        self.kind = ROWS
        self._seeds = self._indices(v for v in model.non_trainable_variables if "seed_generator_state" in v.path)
        self._programs: dict[Any, Callable[..., Any]] = {}
        self._followed: dict[Facts, tuple[list[list[np.ndarray]], list[int]]] = {}
        x, _, _ = unpacked(batch)
        with self._untouched():
            self.modes = Modes(model, self.below, lambda training: self._forward(x, training))
            self.forward_losses = self._count_losses(x) > len(_regularized(model))
        self._norms = [m for m in self.modes if m.effect == "batch_statistics" and m.why == "asked"]

    @property
    def draws(self) -> bool:
        """Whether the model has random generators."""
        return bool(self._seeds)

    def at(self, weights: Weights) -> None:
        """Measure at other weights from now on; the compiled programs stay."""
        self.weights = weights
        self._followed.clear()

    # ---- what watch asks ---------------------------------------------------------------------------------------------

    def run(self, facts: Facts, steps: Iterable[Step], averages: Any) -> Iterator[Measured]:
        """What each batch comes to with these facts."""
        states = {(m.effect, m.path): m.state for m in facts.modes}
        trainable = self.weights.averaged if facts.averaged != "raw" else self.weights.trainable
        other = list(self.weights.other)
        for at, value in (averages or {}).items():
            other[at] = value
        found: list[list[Any]] = []
        with self._untouched():
            for step in steps:
                seeds = step.draws if facts.draws == "as drawn" and step.draws is not None else self._anew(step.number)
                found.append(self.measure(step.batch, (trainable or (), other), seeds, states, facts.weights != "none"))
            folded = [self._folded(batches) for batches in found]
        followed = [[np.asarray(a, np.float64) for a in b["followed"]] for batches in found for b in batches]
        if followed and followed[0]:
            self._followed[facts] = followed, [b["rows"] for batches in found for b in batches]
        yield from folded

    def population(self, facts: Facts, steps: Iterable[Step]) -> tuple[Any, Sequence[Mapping[str, Any]]]:
        """The mean over batches of what each moving average follows, and how far these are from it."""
        at_batch = facts.but(modes=tuple(_in_training(m) for m in facts.modes))
        if at_batch not in self._followed:
            list(self.run(at_batch, steps, None))
        values, rows = self._followed[at_batch]
        averages = {
            at: np.average([one[i] for one in values], axis=0, weights=rows).astype(np.float32)
            for i, at in enumerate(self._following())
        }
        return {at: self.below.given(value) for at, value in averages.items()}, self._lag(averages)

    def batches(self, facts: Facts) -> Iterable[Step] | None:
        """The batches of rows other than the steps'."""
        found = self.reread(facts)
        return None if found is None else (Step(i, batch) for i, batch in enumerate(found))

    # ---- how it is done ----------------------------------------------------------------------------------------------

    def measure(
        self,
        batches: Sequence[Any],
        values: tuple[Sequence[Any], Sequence[Any]],
        seeds: Sequence[Any],
        states: Mapping[tuple[str, str], str],
        weighted: bool = True,
    ) -> list[dict[str, Any]]:
        """Run the batches of one execution one after the other, as they were trained."""
        asked = {(m.effect, m.path): states.get((m.effect, m.path)) for m in self.modes if m.why == "asked"}
        asked = {key: "train" if state == "train" else "infer" for key, state in asked.items()}
        training = "train" in asked.values()
        if not training:
            asked = {}  # the pass of evaluate, as it is
        trainable, other = values
        results: list[dict[str, Any]] = []
        for batch in batches:
            x, y, weight = unpacked(batch)
            if weight is not None and not weighted:
                weight = _map(np.ones_like, weight)
            x, y, weight = (_map(self.below.given, part) for part in (x, y, weight))
            key = (tuple(sorted(asked.items())), training)
            if key not in self._programs:
                self._programs[key] = self._program(dict(asked), training)
            other = list(other)
            for at, seed in zip(self._seeds, seeds, strict=True):
                other[at] = seed
            with self.modes.switched(asked), self.below.quiet():
                out = self._programs[key](list(trainable), other, (x, y, weight))
            seeds = out.pop("seeds")
            results.append({**out, "rows": rows_of(x)})
        return results

    def _program(self, asked: Mapping[tuple[str, str], str], training: bool) -> Callable[..., Any]:
        norms = [m for m in self._norms if asked.get((m.effect, m.path)) == "train"]
        following = self._indices(v for m in norms for v in (m.layer.moving_mean, m.layer.moving_variance))

        def program(trainable: Any, other: Any, batch: Any) -> dict[str, Any]:
            out = observe(self.model, (trainable, other), batch, training)
            self.kind = out["kind"]
            return {
                "value": out["value"],
                "penalty": out["penalty"],
                "sums": out["sums"],
                "followed": [out["other"][at] for at in following],
                "seeds": [out["other"][at] for at in self._seeds],
            }

        return self.below.compiled(program)

    def _folded(self, batches: Sequence[Mapping[str, Any]]) -> Measured:
        """The batches of one execution as one: Keras adds them up by their rows."""
        rows = [b["rows"] for b in batches]
        numbers = self.below.read([n for b in batches for n in (b["value"], b["penalty"])])
        share = np.array(rows) / sum(rows)
        value, penalty = (float(np.sum(share * np.array(numbers[i::2]))) for i in (0, 1))
        penalties = {"penalties": penalty} if penalty else {}
        if any(b["sums"] is None for b in batches):
            return Measured.whole(value, sum(rows), penalties=penalties)
        each = [self.below.read(list(b["sums"])) for b in batches]
        return Measured(value, sum(rows), Tally(*(math.fsum(column) for column in zip(*each, strict=True))), penalties)

    def seeds_of(self, other: Sequence[Any]) -> list[Any]:
        """The states of the random generators among the other variables' values."""
        return [other[at] for at in self._seeds]

    def _anew(self, number: int) -> list[Any]:
        """States from which other numbers are drawn, the same for the same step."""
        made: list[Any] = []
        for i, at in enumerate(self._seeds):
            like = self.model.non_trainable_variables[at]
            seed = np.random.SeedSequence((0x5EED, i, number)).generate_state(1)[0] >> 2
            made.append(self._seed(np.array([seed, 0]), like.dtype))
        return made

    def _seed(self, values: np.ndarray, dtype: str) -> Any:
        return require_keras("Draws were to be made.").ops.convert_to_tensor(values.astype(dtype), dtype=dtype)

    def _forward(self, x: Any, training: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        x = _map(self.below.given, x)
        mode = {"training": training} if self.model._call_has_training_arg else {}

        def forward(trainable: Any, other: Any, x: Any) -> Any:
            return self.model.stateless_call(trainable, other, x, return_losses=True, **mode)

        def quiet(*args: Any) -> Any:
            with self.below.quiet():
                return forward(*args)

        other = list(self.weights.other)
        for at, seed in zip(self._seeds, self._anew(0), strict=True):
            other[at] = seed
        return quiet, (list(self.weights.trainable), other, x)

    def _count_losses(self, x: Any) -> int:
        count: list[int] = []
        function, args = self._forward(x, True)

        def counting(*args: Any) -> Any:
            out = function(*args)
            count.append(len(out[2]))
            return out

        if self.below.text(counting, *args) is None:
            counting(*args)
        return count[-1]

    def _following(self) -> list[int]:
        return self._indices(v for m in self._norms for v in (m.layer.moving_mean, m.layer.moving_variance))

    def _indices(self, variables: Iterable[Any]) -> list[int]:
        places = {id(v): i for i, v in enumerate(self.model.non_trainable_variables)}
        return [places[id(v)] for v in variables]

    def _lag(self, averages: Mapping[int, Any]) -> list[dict[str, Any]]:
        lag: list[dict[str, Any]] = []
        owners: list[Moded] = [m for m in self._norms for _ in range(2)]
        for (at, value), owner in zip(averages.items(), owners, strict=True):
            keras = require_keras("Moving averages were to be compared.")
            stored = np.asarray(keras.ops.convert_to_numpy(self.weights.other[at]))
            scale = float(np.sqrt(np.mean(np.square(value)))) or 1.0
            momentum = float(owner.layer.momentum)
            needed = math.ceil(math.log(0.01) / math.log(momentum)) if 0 < momentum < 1 else 0
            off = float(np.sqrt(np.mean(np.square(stored - value)))) / scale
            one = {"path": owner.path, "off": off, "momentum": momentum, "needed": needed}
            lag.append({**one, "updates": self.weights.updates})
        return sorted(lag, key=lambda one: -one["off"])

    @contextlib.contextmanager
    def _untouched(self) -> Iterator[None]:
        """What a pass writes beside variables is put back: modules of PyTorch inside the model."""
        if self.below.name != "torch":
            yield
            return
        saved = [(m, m.training) for m in self.model.modules()]
        known = {id(v.value) for v in self.model.variables}
        buffers = [(b, b.detach().clone()) for b in self.model.buffers() if id(b) not in known]
        try:
            yield
        finally:
            for module, training in saved:
                module.training = training
            for buffer, value in buffers:
                buffer.data.copy_(value)


def _regularized(model: Any) -> list[Any]:
    return [v for v in model.trainable_variables if getattr(v, "regularizer", None) is not None]


def _in_training(mode: Any) -> Any:
    return type(mode)(mode.effect, mode.path, "train", mode.why) if mode.state == "population" else mode


def _map(function: Callable[[Any], Any], structure: Any) -> Any:
    return require_keras("A batch was to be measured.").tree.map_structure(
        lambda leaf: None if leaf is None else function(leaf), structure, none_is_leaf=False
    )
