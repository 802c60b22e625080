"""The chain of a probe whose every number is known: it adds up, and its errors are what they are said to be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verax.errors import ChainError
from verax.ledger import Batches, Cause, Facts, Gap, LayerMode, Part, Reading, Rows, Tally, explain, explain_gap

TRIALS = 200
TRAIN, VALIDATION = "training rows", "validation rows"


def modes(dropout: str = "infer", norm: str = "infer") -> tuple[LayerMode, ...]:
    return (LayerMode("batch_statistics", "norm", norm), LayerMode("dropout", "drop", dropout))


@dataclass
class Numbers:
    """A probe over plain arrays: a row's value is a sum of effects that the facts switch on.

    Attributes:
        rng: Where rows and draws come from.
        batches, size: How many batches of how many rows an epoch has.
        sample: Which of them are measured; all when None.
        spread: How much each effect differs from row to row.
        weighted: Whether training rows have weights.
        penalty: What is added at both ends (twice as much at the start).
        counts: Whether counts are kept, for the metric "above".
    """

    rng: np.random.Generator
    batches: int = 40
    size: int = 8
    sample: np.ndarray[Any, Any] | None = None
    spread: float = 0.5
    weighted: bool = False
    penalty: float = 0.0
    counts: bool = False
    calls: list[Facts] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = self.batches, self.size
        self.base = self.rng.normal(1.0, 1.0, shape)
        self.effects = {
            name: amount + self.spread * self.rng.normal(size=shape)
            for name, amount in (("moved", 0.7), ("dropout", 0.5), ("norm", 0.2), ("lag", -0.3))
        }
        self.masks = {d: self.rng.normal(size=shape) * self.spread for d in ("as drawn", "fresh")}
        self.weight = self.rng.uniform(0.0, 4.0, shape) if self.weighted else np.ones(shape)
        self.other = self.rng.normal(1.4, 1.0, (5, self.size))

    def values(self, facts: Facts) -> np.ndarray[Any, Any]:
        """(batches, rows)"""
        if facts.rows.label == VALIDATION:
            return self.other
        states = {m.effect: m.state for m in facts.modes}
        out = self.base + self.effects["moved"] * (facts.params == "each step's own")
        if states["dropout"] == "train":
            out = out + self.effects["dropout"] + self.masks[facts.draws]
        out = out + self.effects["norm"] * (states["batch_statistics"] == "train")
        return out + self.effects["lag"] * (states["batch_statistics"] == "infer")

    def sums(self, facts: Facts) -> dict[str, Any]:
        values = self.values(facts)
        weight = self.weight if facts.weights != "none" and facts.rows.label == TRAIN else np.ones_like(values)
        counts = {"histogram": np.stack([_counts(v) for v in values])} if self.counts else {}
        return {"loss": _by_batch(values * weight), "penalty": _by_batch(np.full_like(values, self.penalty)), **counts}

    # ---- what the ledger asks ----

    def shown(self, name: str) -> tuple[Reading, Reading]:
        terms = ("data", "penalties") if self.penalty and name == "loss" else ("data",)
        start = Facts(
            terms=terms,
            params="each step's own",
            draws="as drawn",
            modes=modes("train", "train"),
            weights="sample weights" if self.weighted else "none",
            rows=Rows(TRAIN, self.batches * self.size, self.batches * self.size),
        )
        end = Facts(terms=terms, params="the end of epoch 1", modes=modes(), rows=Rows(VALIDATION, 40, 40))
        first = self.reading(name, _folded(self.sums(start)), start)
        last = self.reading(name, _folded(self.sums(end)), end)
        if self.penalty and name == "loss":
            parts = {n: replace(p, coefficient=2.0) if p.kind == "penalty" else p for n, p in first.parts.items()}
            first = Reading.of_parts(name, list(parts.values()), start)
        return first, replace(last, name=f"val_{name}")

    def measure(self, facts: Facts) -> Batches:
        self.calls.append(facts)
        sums = self.sums(facts)
        if facts.rows.label == TRAIN and self.sample is not None:
            sums = _map(lambda leaf: leaf[self.sample], sums)
        return Batches(sums, self.batches if facts.rows.label == TRAIN else 5)

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        if name == "above":  # a metric of counts, which is no mean: P(value > a row of another batch), as AUC is
            return Reading(name, _area(sums["histogram"]), math.nan, facts)
        if name == "mean":
            return Reading.of_tally(name, sums["loss"], facts)
        parts = [Part("out", sums["loss"])]
        if self.penalty:
            parts.append(Part("kernel", sums["penalty"], kind="penalty"))
        return Reading.of_parts(name, parts, facts)


def _by_batch(values: np.ndarray[Any, Any]) -> Tally:
    """What Tally.of gives for each batch, (batches, rows) -> leaves (batches,)."""
    total, ones = values.sum(axis=1), np.full(len(values), float(values.shape[1]))
    return Tally(total, ones, (values**2).sum(axis=1), total, ones, ones)


def _counts(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.histogram(np.clip(values, -4.9, 4.9), np.linspace(-5, 5, 21))[0].astype(float)


def _area(counts: np.ndarray[Any, Any]) -> float:
    """P(a > b) + P(a = b) / 2 for a the even and b the odd bins: nonlinear in the counts, and no mean."""
    a, b = counts[0::2], counts[1::2]
    below = np.cumsum(b) - b
    return float(np.sum(a * (below + b / 2)) / max(a.sum() * b.sum(), 1.0))


def _map(function: Callable[[Any], Any], sums: dict[str, Any]) -> dict[str, Any]:
    return {k: Tally(*map(function, v)) if isinstance(v, Tally) else function(v) for k, v in sums.items()}


def _folded(sums: dict[str, Any]) -> dict[str, Any]:
    return _map(lambda leaf: leaf.sum(axis=0) if leaf.ndim > 1 else float(leaf.sum()), sums)


def amount(gap: Gap, cause: Cause) -> float:
    return gap.by_cause()[cause]


# ---- it adds up ------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.integers(0, 2**16),
    st.sampled_from(["loss", "mean", "above"]),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
    st.integers(2, 40),
)
def test_a_chain_adds_up_whatever_is_sampled(seed: int, name: str, weighted: bool, penalty: float, n: int):
    rng = np.random.default_rng(seed)
    probe = Numbers(
        rng, weighted=weighted, penalty=penalty, counts=name == "above", sample=np.sort(rng.permutation(40)[:n])
    )
    gap = explain_gap(probe, name)
    scale = max(abs(gap.train.value), abs(gap.validation.value))
    assert abs(gap.residual) <= 1e-6 * scale
    assert (gap.train, gap.validation) == probe.shown(name)
    assert (gap.sample == "") == (n == 40)
    for link in gap.links:
        assert len(link.before.facts.differences(link.after.facts)) == 1
    for one, two in itertools.pairwise(gap.links):
        assert one.after is two.before


def test_every_amount_of_a_full_chain_is_the_planted_one():
    probe = Numbers(np.random.default_rng(0), weighted=True, penalty=0.3)
    gap = explain_gap(probe, "loss")
    effects = {name: values.mean() for name, values in probe.effects.items()}
    w = probe.weight
    assert list(gap.by_cause()) == [
        Cause.PENALTIES, Cause.WEIGHTS_MOVED, Cause.FITTED_DRAWS, Cause.DROPOUT, Cause.BATCH_STATISTICS,
        Cause.MOVING_AVERAGES, Cause.ROW_WEIGHTS, Cause.ROWS,
    ]  # fmt: skip
    assert amount(gap, Cause.PENALTIES) == pytest.approx(0.3 - 0.6)
    assert amount(gap, Cause.WEIGHTS_MOVED) == pytest.approx(-(w * probe.effects["moved"]).mean())
    assert amount(gap, Cause.FITTED_DRAWS) == pytest.approx(
        (w * (probe.masks["fresh"] - probe.masks["as drawn"])).mean()
    )
    assert amount(gap, Cause.DROPOUT) == pytest.approx(-(w * (probe.effects["dropout"] + probe.masks["fresh"])).mean())
    assert amount(gap, Cause.BATCH_STATISTICS) == pytest.approx(-(w * probe.effects["norm"]).mean())
    assert amount(gap, Cause.MOVING_AVERAGES) == pytest.approx((w * probe.effects["lag"]).mean())
    after = probe.base + probe.effects["lag"]
    assert amount(gap, Cause.ROW_WEIGHTS) == pytest.approx((after - w * after).mean())
    assert amount(gap, Cause.ROWS) == pytest.approx(probe.other.mean() - after.mean())
    assert effects["moved"] == pytest.approx(0.7, abs=0.2)


def test_only_what_is_needed_is_measured():
    probe = Numbers(np.random.default_rng(0), penalty=0.3)
    explain_gap(probe, "loss")
    assert all(facts.rows.label == TRAIN for facts in probe.calls)  # validation was measured when it was shown
    assert len(set(probe.calls)) == len(probe.calls) == 6


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_the_row_links_error_is_that_of_two_independent_samples():
    probe = Numbers(np.random.default_rng(1))
    rows = explain_gap(probe, "loss").links[-1]
    one = (probe.base + probe.effects["lag"]).ravel()
    closed = math.hypot(one.std(ddof=1) / math.sqrt(one.size), probe.other.std(ddof=1) / math.sqrt(probe.other.size))
    assert rows.cause is Cause.ROWS
    assert rows.stderr == pytest.approx(closed, rel=1e-9)


def test_a_full_chain_without_draws_has_no_error():
    gap = explain_gap(Numbers(np.random.default_rng(2)), "loss")
    random = {link.cause: link.stderr for link in gap.links}
    for cause in (Cause.WEIGHTS_MOVED, Cause.BATCH_STATISTICS, Cause.MOVING_AVERAGES):
        assert random[cause] == 0.0
    assert random[Cause.FITTED_DRAWS] > 0
    assert random[Cause.DROPOUT] > 0


def test_a_fresh_draws_error_is_that_of_the_batches():
    probe = Numbers(np.random.default_rng(3), batches=30)
    link = next(one for one in explain_gap(probe, "loss").links if one.cause is Cause.FITTED_DRAWS)
    each = (probe.masks["fresh"] - probe.masks["as drawn"]).mean(axis=1)
    assert link.stderr == pytest.approx(each.std(ddof=1) / math.sqrt(30), rel=1e-9)


def test_the_error_of_a_sample_is_that_of_drawing_without_replacement():
    probe = Numbers(np.random.default_rng(4), sample=np.arange(0, 40, 2))
    link = next(one for one in explain_gap(probe, "loss").links if one.cause is Cause.WEIGHTS_MOVED)
    each = probe.effects["moved"][::2].mean(axis=1)
    assert link.stderr == pytest.approx(each.std(ddof=1) / math.sqrt(20) * math.sqrt(1 - 20 / 40), rel=1e-9)


def test_the_error_of_weighted_rows_is_that_of_their_products():
    probe = Numbers(np.random.default_rng(5), weighted=True, sample=np.arange(30))
    link = next(one for one in explain_gap(probe, "loss").links if one.cause is Cause.ROW_WEIGHTS)
    after = probe.base + probe.effects["lag"]
    each = (after - probe.weight * after)[:30].mean(axis=1)
    assert link.change == pytest.approx(each.mean())
    assert link.stderr == pytest.approx(each.std(ddof=1) / math.sqrt(30) * math.sqrt(1 - 30 / 40), rel=1e-9)


def _covered(cause: Cause, name: str, **made: Any) -> float:
    """How often the interval of a sample of 20 of 60 batches holds what all 60 give."""
    hits = 0
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        probe = Numbers(rng, batches=60, counts=name == "above", **made)
        full = amount(explain_gap(probe, name), cause)
        probe.sample = np.sort(rng.permutation(60)[:20])
        link = next(one for one in explain_gap(probe, name).links if one.cause is cause)
        low, high = link.interval
        hits += low <= full <= high
    return hits / TRIALS


@pytest.mark.parametrize(
    ("cause", "name", "weighted"),
    [
        (Cause.WEIGHTS_MOVED, "loss", False),
        (Cause.ROW_WEIGHTS, "loss", True),
        (Cause.MOVING_AVERAGES, "mean", False),
        (Cause.WEIGHTS_MOVED, "above", False),
    ],
    ids=["loss", "weighted loss", "mean metric", "metric of counts"],
)
def test_a_samples_interval_covers_the_full_chain_at_its_rate(cause: Cause, name: str, weighted: bool):
    # 95 % by the normal quantile; with 20 batches Student's is 93.5 %. Binomial error of 200 trials: 1.5 points.
    assert 0.89 <= _covered(cause, name, weighted=weighted) <= 0.985


def test_an_interval_of_fresh_draws_covers_what_was_planted():
    hits = 0
    for seed in range(TRIALS):
        probe = Numbers(np.random.default_rng(seed))
        link = next(one for one in explain_gap(probe, "loss").links if one.cause is Cause.FITTED_DRAWS)
        hits += link.interval[0] <= 0.0 <= link.interval[1]  # fresh and drawn masks are of one distribution
    assert 0.89 <= hits / TRIALS <= 0.985


def test_the_row_links_interval_covers_what_was_planted():
    hits = 0
    for seed in range(TRIALS):
        probe = Numbers(np.random.default_rng(seed))
        rows = explain_gap(probe, "loss").links[-1]
        hits += rows.interval[0] <= 1.4 - (1.0 - 0.3) <= rows.interval[1]
    assert 0.89 <= hits / TRIALS <= 0.985


def test_a_single_batch_has_no_error_that_is_known():
    probe = Numbers(np.random.default_rng(6), sample=np.array([3]))
    assert math.isnan(explain_gap(probe, "loss").links[0].stderr)


# ---- averages of some batches ----------------------------------------------------------------------------------------


class LastBatch(Numbers):
    """Both numbers are of their last batch alone; the sample has the last batch in it."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = (r.facts.but(average="last batch") for r in super().shown(name))
        first = self.reading(name, _folded(self.sums(start)), start)
        return first, replace(self.reading(name, _folded(self.sums(end)), end), name=f"val_{name}")

    def sums(self, facts: Facts) -> dict[str, Any]:
        found = super().sums(facts)
        alone = np.zeros(len(found["loss"].sum))
        alone[-1] = 1.0
        return {**found, "last": Tally(*(leaf * alone for leaf in found["loss"]))}

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        which = "last" if facts.average == "last batch" else "loss"
        return Reading.of_parts(name, [Part("out", sums[which])], facts)


def test_an_uneven_average_is_one_net_amount():
    probe = LastBatch(np.random.default_rng(0))
    gap = explain_gap(probe, "loss")
    after = probe.base + probe.effects["lag"]
    net = (after.mean() - after[-1].mean()) + (probe.other[-1].mean() - probe.other.mean())
    assert amount(gap, Cause.AVERAGE) == pytest.approx(net)
    assert amount(gap, Cause.WEIGHTS_MOVED) == pytest.approx(-probe.effects["moved"][-1].mean())
    assert amount(gap, Cause.ROWS) == pytest.approx(probe.other.mean() - after.mean())
    assert abs(gap.residual) < 1e-9
    assert "averaging, net" in str(gap)


def test_errors_of_a_number_that_stands_on_one_batch():
    """Without that batch there is no number: the others tell that it has no noise, but not what its draws are worth."""
    sample = np.array([*range(0, 39, 3), 39])
    gap = explain_gap(LastBatch(np.random.default_rng(0), sample=sample), "loss")
    errors = {link.cause: link.stderr for link in gap.links[:-1]}
    assert errors[Cause.WEIGHTS_MOVED] < 1e-12
    assert math.isnan(errors[Cause.FITTED_DRAWS])
    assert math.isnan(errors[Cause.DROPOUT])
    assert errors[Cause.MOVING_AVERAGES] < 1e-12
    assert errors[Cause.AVERAGE] > 0
    assert "No standard error is known" in str(gap)


def test_the_row_links_error_knows_that_the_average_was_sampled():
    sample = np.array([*range(0, 39, 3), 39])
    probe = LastBatch(np.random.default_rng(0), sample=sample)
    gap = explain_gap(probe, "loss")
    rows = next(link for link in gap.links if link.cause is Cause.ROWS)
    each = (probe.base + probe.effects["lag"])[sample[:-1]].mean(axis=1)
    of_batches = each.std(ddof=1) / math.sqrt(len(sample)) * math.sqrt(1 - len(sample) / 40)
    plain = explain_gap(LastBatch(np.random.default_rng(0)), "loss")
    whole = next(link for link in plain.links if link.cause is Cause.ROWS)
    assert rows.stderr == pytest.approx(math.hypot(whole.stderr, of_batches), rel=0.1)


class Share(Numbers):
    """The second number is of the first half of the validation rows, as one of two processes has them."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        facts = end.facts.but(rows=Rows(VALIDATION, 16, 40, "the share of rank 0 of 2"))
        return start, replace(self.reading(name, _folded(self.sums(facts)), facts), name=f"val_{name}")

    def sums(self, facts: Facts) -> dict[str, Any]:
        found = super().sums(facts)
        return _map(lambda leaf: leaf[:2], found) if facts.rows.part else found


def test_a_share_of_the_rows_is_an_amount_of_its_own():
    probe = Share(np.random.default_rng(0))
    gap = explain_gap(probe, "loss")
    whole, part = gap.links[-2:]
    after = probe.base + probe.effects["lag"]
    assert (whole.cause, part.cause) == (Cause.ROWS, Cause.SKIPPED_ROWS)
    assert whole.change == pytest.approx(probe.other.mean() - after.mean())
    assert part.change == pytest.approx(probe.other[:2].mean() - probe.other.mean())
    values = probe.other[:2].ravel()
    assert part.stderr == pytest.approx(values.std(ddof=1) / 4 * math.sqrt(1 - 16 / 40))
    assert "16 validation rows of 40, the share of rank 0 of 2" in str(gap.validation)


def test_advice_is_in_a_frameworks_own_words():
    gap = explain_gap(Numbers(np.random.default_rng(0)), "loss")
    own = replace(gap, advice={"WEIGHTS_MOVED": "compute it again"})
    assert any("compute it again" in line for line in own.verdict.advice)
    assert "compute it again" in str(own)
    assert "model.evaluate" in str(gap)
    assert [a for a in gap.verdict.advice if "weights moved" not in a] == [
        a for a in own.verdict.advice if "weights moved" not in a
    ]


# ---- what cannot be measured -----------------------------------------------------------------------------------------


class Once(Numbers):
    """Its validation rows have weights, and cannot be read again."""

    def shown(self, name: str) -> tuple[Reading, Reading]:
        start, end = super().shown(name)
        return start, replace(end, facts=end.facts.but(weights="sample weights"))

    def measure(self, facts: Facts) -> Batches | None:  # type: ignore[override]
        return None if facts.rows.label == VALIDATION else super().measure(facts)


def test_what_cannot_be_read_again_is_one_link_that_says_so():
    gap = explain_gap(Once(np.random.default_rng(7)), "loss")
    assert abs(gap.residual) <= 1e-6
    assert [link.cause for link in gap.links][-2:] == [Cause.MOVING_AVERAGES, Cause.NOT_SEPARATED]
    assert gap.links[-1].fact.before == "weights; rows"
    assert "validation rows can be read only once" in gap.grade


def test_two_readings_of_the_same_facts_are_no_gap():
    class Same(Numbers):
        def shown(self, name: str) -> tuple[Reading, Reading]:
            _, end = super().shown(name)
            return end, end

    with pytest.raises(ChainError, match="same facts"):
        explain_gap(Same(np.random.default_rng(8)), "loss")


# ---- one name for both -----------------------------------------------------------------------------------------------


def test_explain_takes_a_probe_or_readings():
    probe = Numbers(np.random.default_rng(9))
    assert explain(probe, metric="mean").train.name == "mean"
    on, off = Facts(weights="none"), Facts(weights="sample weights")
    one, two = Reading("loss", 1.0, 0.1, on), Reading("loss", 2.0, 0.1, off)
    assert explain(one, two).by_cause() == explain([one, two]).by_cause() == {Cause.ROW_WEIGHTS: 1.0}
    with pytest.raises(ChainError, match="exactly one fact"):
        explain(one, replace(two, facts=off.but(dtype="bfloat16")))
