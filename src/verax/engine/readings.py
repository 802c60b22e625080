"""From folded sums to readings: every number that reaches a person passes here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verax.engine.objective import Objective, Seen
from verax.frame.mode import Mode
from verax.ledger.facts import Facts, LayerMode
from verax.ledger.reading import Part, Reading
from verax.ledger.tally import Tally

__all__ = ["layer_modes", "readings_of"]


def layer_modes(seen: Seen) -> tuple[LayerMode, ...]:
    """What the layers were observed to do, as facts."""
    return tuple(
        sorted(
            LayerMode(o.effect, path, "train" if o.mode is Mode.TRAIN else "infer", o.why)
            for path, o in seen.modes.items()
        )
    )


def readings_of(
    objective: Objective, sums: Mapping[str, Mapping[str, Any]], facts: Facts, prefix: str = ""
) -> dict[str, Reading]:
    """name -> Reading: the loss, each output's loss where there are several, each metric.

    Args:
        objective: Whose terms and meters the sums belong to.
        sums: Folded tallies of one or more batches.
        facts: What was measured; ``terms``, ``average`` and ``weights`` are set here, for each number its own.
        prefix: ``"val_"`` for validation.
    """
    parts = [
        Part(t.name, sums["loss"][t.name], t.coefficient, "data", "sum" if t.reduction == "sum" else "mean")
        for t in objective.terms
    ]
    penalties = [Part(path, tally, 1.0, "penalty") for path, tally in sums["penalty"].items()]
    terms = ("data",) * bool(parts) + ("penalties",) * bool(penalties)
    clipped = int(sum(float(count) for count in sums["clipped"].values()))
    kinds = {t.reduction for t in objective.terms}
    average = {"mean": "mean over rows", "sum": "sum over rows", "weighted_mean": "weighted mean over rows"}
    how = average[kinds.pop()] if len(kinds) == 1 else "mean over rows"
    loss_facts = facts.but(terms=terms, average=how, clipped=clipped)
    out = {f"{prefix}loss": Reading.of_parts(f"{prefix}loss", [*parts, *penalties], loss_facts)}
    if len(parts) > 1:
        for part in parts:
            name = f"{prefix}{part.name}_loss"
            alone = Part(part.name, part.tally, 1.0, "data", part.average)
            out[name] = Reading.of_parts(name, [alone], facts.but(terms=("data",), average=how, clipped=clipped))
    for meter in objective.meters:
        name = f"{prefix}{meter.name}"
        weighted = meter.weighted and facts.weights != "none"
        metric_facts = facts.but(
            terms=("metric",),
            average="weighted mean over rows" if weighted else "mean over rows",
            weights=facts.weights if meter.weighted else "none",
        )
        metric = sums["metric"][meter.name]
        value = meter.finish(metric)
        if isinstance(metric, Tally):
            stderr = metric.stderr if metric.mean == float(value) else float("nan")
            out[name] = Reading(name, float(value), stderr, metric_facts, tally=metric, direction=meter.direction)
        else:
            facts_of = metric_facts.but(average="counts over all rows")
            out[name] = Reading(name, float(value), float("nan"), facts_of, direction=meter.direction)
    return out
