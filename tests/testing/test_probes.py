"""check_probe passes for Verax's own models and for watched loops, and finds every fault that is planted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.ledger.test_probe import TRAIN, VALIDATION, Numbers
from tests.watch.scenarios import TRUTH, batches, dropped, epoch, normalized, plain, rows
from verax import layers
from verax.ledger import Batches, Facts, LayerMode, Part, Reading, Rows, Tally
from verax.testing import CheckError, check_probe


def numbers(kind: type[Numbers] = Numbers, **made: Any) -> Numbers:
    return kind(np.random.default_rng(0), batches=10, **made)


@pytest.mark.parametrize("name", ["loss", "mean", "above"])
@pytest.mark.parametrize("sample", [None, np.array([1, 4, 5])])
def test_a_probe_of_known_numbers_passes(name: str, sample: Any):
    gap = check_probe(numbers(counts=True, weighted=True, sample=sample), name)
    assert gap.train == numbers(counts=True, weighted=True).shown(name)[0]


def test_the_probe_of_a_model_passes():
    rng = np.random.default_rng(0)
    model = verax.Sequential([verax.Input((8,)), layers.Dense(8, kernel_regularizer="l2"), layers.Dropout(0.5)])
    model.add(layers.BatchNormalization())
    model.add(layers.Dense(1))
    model.compile("adam", "mse", metrics=["mae"])
    train, validation = rows(rng, 72), rows(rng, 40)
    history = model.fit(*train, batch_size=16, epochs=2, validation_data=validation, verbose=0)
    for name in ("loss", "mae"):
        gap = check_probe(history.explainer.__self__, name, state=model.get_weights)
        assert len(gap.links) >= 6


@pytest.mark.parametrize("average", [None, "last batch", "smoothed by 0.9", "sum of batches", "last 3 batches"])
@pytest.mark.parametrize("kept", [64, 4])
def test_the_probe_of_a_loop_passes(average: str | None, kept: int):
    rng = np.random.default_rng(0)
    loop, w = epoch(
        dropped, jnp.asarray(TRUTH), batches(rows(rng, 200)), rng, penalty=lambda w: jnp.sum(jnp.square(w)),
        on={"dropout": True}, batches=kept,
    )  # fmt: skip
    validation = batches(rows(rng, 40))
    probe = loop.probe(w, validation, loss=average, val_loss=average)
    gap = check_probe(probe, state=lambda: {"w": w, "rows": validation})
    assert (gap.sample == "") == (kept == 64)


def test_the_probe_of_a_loop_with_statistics_passes():
    rng = np.random.default_rng(0)
    on = {"statistics": None}
    right = {"mean": jnp.zeros(8), "var": jnp.ones(8)}
    loop, w = epoch(
        normalized, {"w": jnp.asarray(TRUTH)}, batches(rows(rng)), rng, on=on, keyed=False,
        moving=lambda params: params["averages"],
    )  # fmt: skip
    check_probe(loop.probe({**w, "averages": right}, batches(rows(rng))))
    once = loop.probe({**w, "averages": right}, (batch for batch in batches(rows(rng))), val_loss="last batch")
    check_probe(once)


# ---- faults ----------------------------------------------------------------------------------------------------------


class NoPair(Numbers):
    def shown(self, name: str) -> Any:
        return list(super().shown(name))


class NotFinite(Numbers):
    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        return replace(start, value=math.inf, parts={}), end


class SameFacts(Numbers):
    def shown(self, name: str) -> tuple[Reading, Reading]:
        _, end = super().shown(name)
        return end, end


class OtherLayers(Numbers):
    """The layers of the second number have other names."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        return start, replace(end, facts=end.facts.but(modes=(LayerMode("dropout", "drop_1", "train"),)))


class PartsApart(Numbers):
    """A penalty in the value and in no part."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        return replace(start, value=start.value + 0.5), end


class HiddenPenalty(Numbers):
    """A penalty that the facts do not name."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        part = Part("l2", Tally(0.5, 1.0, 0.25, 0.5, 1.0, 1.0), kind="penalty")
        return Reading.of_parts(name, [*start.parts.values(), part], start.facts), end


class NoPopulation(Numbers):
    def measure(self, facts: Facts) -> Batches:
        if any(m.state == "population" for m in facts.modes):
            raise KeyError("population")
        return super().measure(facts)


class Gone(Numbers):
    def measure(self, facts: Facts) -> Any:
        return None


class BareSums(Numbers):
    """No Batches around them."""

    def measure(self, facts: Facts) -> Any:
        return super().measure(facts).sums


class Summed(Numbers):
    """The sums of all batches together."""

    def measure(self, facts: Facts) -> Batches:
        found = super().measure(facts)
        return replace(found, sums={"loss": Tally(*(leaf.sum() for leaf in found.sums["loss"]))})


class Ragged(Numbers):
    def measure(self, facts: Facts) -> Batches:
        found = super().measure(facts)
        return replace(found, sums={**found.sums, "more": np.zeros(3)})


class MoreThanAll(Numbers):
    def measure(self, facts: Facts) -> Batches:
        return replace(super().measure(facts), of=2)


class AnotherSample(Numbers):
    """Fewer batches where more is to be computed."""

    def measure(self, facts: Facts) -> Batches:
        self.sample = np.arange(4 if facts.draws == "fresh" else 6)
        return super().measure(facts)


class Shuffled(Numbers):
    """A loader that shuffles whenever it is read; batches differ in size."""

    def measure(self, facts: Facts) -> Batches:
        found = super().measure(facts)
        n = len(found.sums["loss"].rows)
        counts = np.random.default_rng(len(self.calls)).permutation(np.arange(1.0, n + 1))
        return replace(found, sums={**found.sums, "loss": found.sums["loss"]._replace(rows=counts)})


class OwnDraws(Numbers):
    """Fresh masks from a generator that goes on."""

    def values(self, facts: Facts) -> Any:
        found = super().values(facts)
        return found + self.rng.normal(size=found.shape) * (facts.draws == "fresh")


class LooksAtTheAverage(Numbers):
    def measure(self, facts: Facts) -> Batches:
        found = super().measure(facts)
        loss = found.sums["loss"]
        return replace(found, sums={"loss": loss._replace(sum=loss.sum + ("penalties" in facts.terms))})


class OneBuffer(Numbers):
    """Fills the same arrays again."""

    def measure(self, facts: Facts) -> Batches:
        found = super().measure(facts)
        if facts.rows.label != TRAIN:
            return found
        self.buffer = getattr(self, "buffer", None) or [np.empty(self.batches) for _ in Tally._fields]
        for buffer, leaf in zip(self.buffer, found.sums["loss"], strict=True):
            buffer[:] = leaf
        return replace(found, sums={"loss": Tally(*self.buffer)})


class OtherWeights(Numbers):
    """Measures each step at the weights of now, which is not what was shown."""

    def measure(self, facts: Facts) -> Batches:
        return super().measure(facts.but(params="now"))


class StillTraining(Numbers):
    """Measures validation in training mode."""

    def measure(self, facts: Facts) -> Batches:
        found = super().measure(facts)
        loss = found.sums["loss"]
        shift = 0.3 if facts.rows.label == VALIDATION else 0.0
        return replace(found, sums={"loss": loss._replace(sum=loss.sum * (1 + shift))})


class KnownCount(Numbers):
    """Divides by the number of rows there are."""

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        n = 80.0 if facts.rows.label == TRAIN else 40.0
        return Reading(name, sums["loss"].sum / n, math.nan, facts)


class OtherFacts(Numbers):
    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        end = facts.rows.label == VALIDATION
        return super().reading(name, sums, facts if end or hasattr(self, "begun") else Facts(rows=Rows(TRAIN, 80, 80)))

    def shown(self, name: str) -> tuple[Reading, Reading]:
        self.begun = True
        try:
            return super().shown(name)
        finally:
            del self.begun


class GrowingError(Numbers):
    """An error of sums, not of means."""

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        return replace(super().reading(name, sums, facts), stderr=math.sqrt(sums["loss"].sumsq))


class EmptyBetween(Numbers):
    """A pass that measures nothing."""

    def values(self, facts: Facts) -> Any:
        between = any(m.state == "population" for m in facts.modes)
        return super().values(facts) * (math.nan if between else 1.0)


class ForgetsItself(Numbers):
    """Shows what it has measured last."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        return start, replace(end, value=end.value + 0.1 * bool(self.calls), parts={})


FAULTS = [
    (NoPair, "shown", "gives list, and no pair of readings"),
    (NotFinite, "shown", "loss is inf"),
    (SameFacts, "facts", "say that they measured the same"),
    (OtherLayers, "facts", "no way leads from what loss measured"),
    (PartsApart, "parts", "its parts add up to"),
    (HiddenPenalty, "terms", "its terms are data and has parts that are penalties"),
    (NoPopulation, "measure", "KeyError"),
    (Gone, "measure", "None for training rows at each step's own"),
    (BareSums, "measure", "measure gives dict"),
    (Summed, "batches", "numbers, not arrays"),
    (Ragged, "batches", "the sums have 3 and"),
    (MoreThanAll, "of", "10 batches were measured of a pass of 2"),
    (AnotherSample, "paired", "6 of 10 batches of the training rows were measured, and 4 of 10"),
    (Shuffled, "paired", "another order"),
    (OwnDraws, "again", "measured again, training rows at .* gives other sums"),
    (LooksAtTheAverage, "again", "where terms and average are others"),
    (OneBuffer, "kept", "were changed by later passes"),
    (OtherWeights, "number", "all batches measured as loss was give"),
    (StillTraining, "number", "all batches measured as val_loss was give"),
    (KnownCount, "mean", "with every batch twice loss is"),
    (OtherFacts, "reading", "a reading says other ones when"),
    (GrowingError, "error", "with every batch twice the error of loss grows"),
    (EmptyBetween, "chain", "has no amount"),
    (ForgetsItself, "changed", "after measuring, val_loss is"),
]


@pytest.mark.parametrize(("kind", "fault", "what"), FAULTS, ids=[kind.__name__ for kind, *_ in FAULTS])
def test_a_planted_fault_is_found(kind: type[Numbers], fault: str, what: str):
    with pytest.raises(CheckError, match=what) as caught:
        check_probe(numbers(kind))
    assert fault in caught.value.faults
    do = caught.value.faults[fault].split(". ", 1)[1]
    assert do


def test_a_model_that_is_changed_is_found():
    """Weights that are not put back; the numbers alone do not tell, for they are set anew in each pass."""
    weights = {"w": np.ones(3), "step": np.zeros(())}

    class Leaves(Numbers):
        def measure(self, facts: Facts) -> Batches:
            weights["step"] = weights["step"] + 1
            return super().measure(facts)

    check_probe(numbers(Leaves))
    with pytest.raises(CheckError, match=r"what state\(\) gives is not as before"):
        check_probe(numbers(Leaves), state=lambda: weights)


def test_a_number_that_does_not_exist_is_told():
    rng = np.random.default_rng(0)
    loop, w = epoch(plain, jnp.asarray(TRUTH), batches(rows(rng)), rng, on={}, keyed=False)
    with pytest.raises(CheckError, match="UnknownNameError"):
        check_probe(loop.probe(w, batches(rows(rng))), "accuracy")
