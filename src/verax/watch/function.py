"""A loss that is a pure function, as a program that can be run again: of plain JAX, flax, equinox or numpy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from verax.errors import DataError, InputError
from verax.ledger.facts import Facts, LayerMode
from verax.ledger.tally import Tally
from verax.watch.epoch import Measured, Step
from verax.watch.values import another_key, each, leaves, number_of, rows_of

__all__ = ["FunctionProgram", "LossFunction", "Losses", "penalties_of", "steps_of"]

#: Arguments that a loss may take by these names, each an effect of the mode.
_EFFECTS = ("augmentation", "dropout", "noise", "stochastic_depth")
#: An argument that switches all of them at once.
_ALL = ("training", "train")
_FUNCTION = "the loss function"
_REDUCTIONS = ("mean", "mean over rows", "sum")
#: Fresh draws on validation rows are made from numbers after this one.
_ELSEWHERE = 1 << 30


class Losses(NamedTuple):
    """What a loss function may return instead of the losses alone.

    Attributes:
        losses: (rows, ...) of every row; or () their mean, where they cannot be told apart.
        weights: What each is multiplied with; None for 1.
        statistics: The statistics of this batch by which a normalization went: dicts, lists or tuples of arrays.
    """

    losses: Any
    weights: Any = None
    statistics: Any = None


@dataclass
class LossFunction:
    """A person's loss function, and which facts its arguments change.

    Attributes:
        function: loss(params, batch, ...) -> losses, (losses, weights) or Losses.
        effects: Argument -> the effect it switches; found from the names when None.
        moving: params -> the moving averages in them, in the structure of ``Losses.statistics``.
        reduction: How the losses of a batch become its number.
    """

    function: Callable[..., Any]
    effects: Mapping[str, str] | None = None
    moving: Callable[[Any], Any] | None = None
    reduction: str = "mean"
    arguments: tuple[str, ...] = field(init=False)
    switches: dict[str, tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        if self.reduction not in _REDUCTIONS:
            raise InputError(
                "How a batch's losses become one number was to be told.",
                received=f"reduction={self.reduction!r}",
                do=f"Give one of {', '.join(map(repr, _REDUCTIONS))}.",
            )
        parameters = inspect.signature(self.function).parameters.values()
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self.arguments = tuple(p.name for p in parameters if p.kind in named)[2:]
        effects = self.effects
        if effects is None:
            effects = {n: _FUNCTION if n in _ALL else n for n in self.arguments if n in (*_EFFECTS, *_ALL)}
        self.switches = {n: (e, n) if e in _EFFECTS else (f"custom:{e}", e) for n, e in effects.items()}
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
        missing = [name for name in self.switches if name not in self.arguments and not open_ended]
        known = {"key", "statistics", *self.switches}
        needed = [p.name for p in list(parameters)[2:] if p.default is p.empty and p.kind in named]
        unknown = [name for name in needed if name not in known]
        if missing or unknown or (self.normalizes and self.moving is None):
            raise self._refused(missing, unknown)

    def _refused(self, missing: Sequence[str], unknown: Sequence[str]) -> InputError:
        asked = "A loss function was to be run again, a fact changed at a time."
        if missing:
            return InputError(
                asked,
                received=f"effects for {missing[0]!r}",
                because=f"the function has no argument of that name, but {', '.join(self.arguments) or 'none'}",
                do="Name the arguments that switch something on in training.",
            )
        if unknown:
            return InputError(
                asked,
                received=f"a function that needs {unknown[0]!r}",
                because=f"what to give there is not known; known are key, statistics, {', '.join(_EFFECTS + _ALL)}",
                do=f"If it is true in training and false in validation, say what it switches: "
                f"effects={{{unknown[0]!r}: 'dropout'}}. Bind any other argument with functools.partial.",
            )
        return InputError(
            asked,
            received="a function that takes statistics, and moving=None",
            because="it is not known where the parameters have the moving averages",
            do="Give moving=lambda params: ..., in the structure of the statistics that the function returns.",
        )

    @property
    def normalizes(self) -> bool:
        """Whether normalization by batch statistics can be told apart."""
        return "statistics" in self.arguments

    @property
    def keyed(self) -> bool:
        """Whether it takes a key."""
        return "key" in self.arguments

    def modes(self, on: Iterable[str] | None = None) -> tuple[LayerMode, ...]:
        """What the pass asks of each effect: training mode for those named, or for all when None."""
        places = dict(self.switches)
        if self.normalizes:
            places["statistics"] = ("batch_statistics", "statistics")
        wanted = set(places) if on is None else set(on)
        for name in wanted - set(places):
            raise InputError(
                "Arguments that were on in validation were to be told.",
                received=repr(name),
                do=f"Name some of {', '.join(map(repr, places)) or 'none: the function has no such argument'}.",
            )
        return tuple(
            sorted(LayerMode(*place, "train" if name in wanted else "infer") for name, place in places.items())
        )

    def draws(self, modes: Iterable[LayerMode]) -> bool:
        """Whether a pass in these modes draws anything: what takes a key, and has no effect to switch, always does."""
        return self.keyed and (
            not self.switches or any(m.state == "train" for m in modes if m.effect != "batch_statistics")
        )

    def __call__(self, params: Any, batch: Any, modes: Iterable[LayerMode], key: Any, averages: Any) -> Losses:
        """The losses of a batch.

        Args:
            params, batch, key: For the function.
            modes: What each effect does.
            averages: The population's statistics, for a normalization that is to use them.
        """
        states = {(m.effect, m.path): m.state for m in modes}
        given: dict[str, Any] = {name: states.get(place) == "train" for name, place in self.switches.items()}
        if self.normalizes:
            state = states.get(("batch_statistics", "statistics"), "infer")
            moving = self.moving(params) if self.moving is not None and state == "infer" else None
            given["statistics"] = averages if state == "population" else moving
        if self.keyed:
            given["key"] = key
        found = self.function(params, batch, **given)
        if isinstance(found, Losses):
            return found
        if isinstance(found, tuple):
            losses, *weights = found
            return Losses(losses, *weights[:1])
        return Losses(found)

    def measured(self, found: Losses, rows: int | None, weighted: bool) -> Measured:
        """What a batch came to.

        Args:
            found: Its losses.
            rows: How many rows it has, where the losses do not tell.
            weighted: Whether its weights count.
        """
        losses = np.asarray(found.losses, np.float64)
        if losses.ndim == 0:
            return Measured.whole(float(losses), rows or 1)
        weights = np.ones_like(losses)
        if weighted and found.weights is not None:
            weights = np.asarray(found.weights, np.float64)
            if weights.shape != losses.shape[: weights.ndim]:
                raise DataError(
                    "The losses of a batch were to be weighted.",
                    received=f"losses of shape {losses.shape} and weights of shape {weights.shape}",
                    because="a pair that the loss function returns is its losses and their weights",
                    do="Return weights of the losses' shape, or the losses alone.",
                )
            weights = np.broadcast_to(
                weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim)), losses.shape
            )
        counted = weights if self.reduction == "mean" else np.ones_like(losses)
        sums = Tally.of(losses, weights, denominators=counted)
        value = float(sums.sum) if self.reduction == "sum" else sums.mean
        return Measured(value, len(losses), Tally(*(float(one) for one in sums)))


@dataclass
class FunctionProgram:
    """The Program of a pure loss function: see ``verax.watch.Program``.

    Attributes:
        loss: The function.
        params: The weights of now.
        averaged: Those averaged over steps, where validation used them.
        penalty: params -> what is added to the loss that no row brings: a number, or name -> number.
        weighted: What ``facts.weights`` says where the function's weights count.
        validation, every: The validation batches; all training batches, where the epoch saw only some.
        key: A key of the loop; fresh ones are made of it.
        fresh: number -> a key, of the loop's own making.
        momentum: The share that a moving average keeps at an update, if known.
        updates: How often it was updated.
    """

    loss: LossFunction
    params: Any
    averaged: Any = None
    penalty: Callable[[Any], Any] | None = None
    weighted: str = "row weights"
    validation: Iterable[Any] = ()
    every: Iterable[Any] | None = None
    key: Any = None
    fresh: Callable[[int], Any] | None = None
    momentum: float | None = None
    updates: int = 0

    def run(self, facts: Facts, steps: Iterable[Step], averages: Any) -> Iterator[Measured]:
        """What each batch comes to."""
        penalties = self.penalties(facts)
        for step in steps:
            found = self._losses(facts, step, averages)
            one = self.loss.measured(found, step.rows, facts.weights != "none")
            yield one._replace(penalties=penalties)

    def _losses(self, facts: Facts, step: Step, averages: Any) -> Losses:
        key = step.draws if facts.draws == "as drawn" else self._key(facts, step.number)
        return self.loss(self._params(facts), step.batch, facts.modes, key, averages)

    def _params(self, facts: Facts) -> Any:
        return self.params if facts.averaged == "raw" else self.averaged

    def _key(self, facts: Facts, number: int) -> Any:
        number += 0 if facts.rows.label == "training rows" else _ELSEWHERE
        return self.fresh(number) if self.fresh is not None else another_key(self.key, number)

    def penalties(self, facts: Facts) -> dict[str, float]:
        """The penalties at these weights, by name."""
        return penalties_of(self.penalty, self._params(facts))

    def population(self, facts: Facts, steps: Iterable[Step]) -> tuple[Any, Sequence[Mapping[str, Any]]]:
        """The mean over batches of what the moving averages follow, and how far these are from it."""
        modes = tuple(
            LayerMode(m.effect, m.path, "train", m.why) if m.state == "population" else m for m in facts.modes
        )
        seen: list[Any] = []
        rows: list[int] = []
        for step in steps:
            found = self._losses(facts.but(modes=modes), step, None)
            if found.statistics is None:
                raise DataError(
                    "The statistics of a batch were to be read from what the loss function returns.",
                    received="none",
                    do="Return verax.watch.Losses(losses, statistics=...) when it is given statistics=None.",
                )
            seen.append(found.statistics)
            rows.append(self.loss.measured(found, step.rows, False).rows)
        averages = each(seen, lambda values: _mean(values, rows))
        moving = self.loss.moving(self._params(facts)) if self.loss.moving is not None else averages
        return averages, self._lag(averages, moving)

    def _lag(self, averages: Any, moving: Any) -> list[dict[str, Any]]:
        lags: dict[str, dict[str, Any]] = {}
        for (path, value), (_, now) in zip(leaves(averages), leaves(moving), strict=True):
            size = math.sqrt(float(np.mean(np.square(value)))) or 1.0
            off = math.sqrt(float(np.mean(np.square(np.asarray(now, np.float64) - value)))) / size
            layer = path.rpartition("/")[0] or path
            if off < lags.get(layer, {"off": 0.0})["off"]:
                continue
            one = {"path": layer, "off": off, "updates": self.updates}
            if self.momentum is not None and 0 < self.momentum < 1:
                one |= {"momentum": self.momentum, "needed": math.ceil(math.log(0.01) / math.log(self.momentum))}
            lags[layer] = one
        return sorted(lags.values(), key=lambda one: -one["off"])

    def batches(self, facts: Facts) -> Iterable[Step] | None:
        """The validation batches, or all training batches; None where they were read and cannot be read again."""
        source = self.every if facts.rows.label == "training rows" else self.validation
        return None if source is None or iter(source) is source else steps_of(source)


def steps_of(batches: Iterable[Any]) -> Iterator[Step]:
    """Batches as steps, in order."""
    return (Step(number, batch, rows=rows_of(batch)) for number, batch in enumerate(batches))


def penalties_of(penalty: Callable[[Any], Any] | None, params: Any) -> dict[str, float]:
    """What is added to the loss that no row brings, by name."""
    if penalty is None:
        return {}
    found = penalty(params)
    named = found if isinstance(found, Mapping) else {"penalties": found}
    return {str(name): number_of(value, f"The penalty {name}") for name, value in named.items()}


def _mean(values: Sequence[Any], rows: Sequence[int]) -> Any:
    """The mean over batches by their rows, in the dtype of the first."""
    arrays = [np.asarray(value) for value in values]
    mean = np.average([array.astype(np.float64) for array in arrays], axis=0, weights=rows)
    return np.asarray(mean).astype(arrays[0].dtype if arrays[0].dtype.kind == "f" else np.float32)
