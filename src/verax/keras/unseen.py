"""Where single steps cannot be seen: what can be told all the same, and in which words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from verax.keras.explaining import OWN, Pass, gap_of
from verax.keras.frameworks import Below
from verax.keras.now import measured_pass, rows_again
from verax.keras.program import KerasProgram, Weights
from verax.keras.sources import Given
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, Link, bundle
from verax.ledger.facts import Change, Facts, LayerMode, Rows
from verax.ledger.reading import Reading

__all__ = ["unseen_gap", "why_unseen"]

_OF_ITS_OWN = "the model has a {} of its own, which cannot be run again without changing it"


def why_unseen(model: Any, below: Below) -> str:
    """Why the steps of a model cannot be measured again one by one; "" where they can."""
    for name in ("train_step", "test_step"):
        if not getattr(type(model), name).__module__.startswith("keras."):
            return _OF_ITS_OWN.format(name)
    return "" if below.steps_seen else f"Keras' {below.name} backend does not show its steps one by one"


def unseen_gap(
    model: Any,
    weights: Weights,
    logs: Mapping[str, float],
    given: tuple[Given | None, Given | None],
    sizes: tuple[int, int],
    why: str,
    whole: bool,
) -> Gap:
    """The gap of an epoch of which only the numbers were seen.

    Where the rows can be read again, they are measured at the weights of the end: what lies between the training number
    and that is one amount (the weights moved, and whatever else), and from there on causes are separated.

    Args:
        model: The model.
        weights: Of the end of the epoch.
        logs: What the epoch showed.
        given: The training and the validation rows.
        sizes: How many batches, and how many bytes of them, may be kept.
        why: Why the steps were not seen.
        whole: Whether the epoch saw every training row.
    """
    train, validation = given
    steps = getattr(type(model), "train_step").__module__.startswith("keras.")  # noqa: B009
    again = train is not None and train.again and validation is not None and validation.again
    if not steps or not again or train is None or validation is None:
        return _bundled(logs, given, why)
    batches, memory = sizes
    program = KerasProgram(model, next(iter(train.batches())), weights)
    measured = [
        measured_pass(program, train, training=True, memory=memory, chosen=batches),
        measured_pass(program, validation, training=False, memory=memory),
    ]
    program.reread = rows_again(train, validation, measured[1][0])
    weighted = ["class weights" if train.class_weight else "sample weights", "sample weights"]
    passes = [
        Pass(label, record, None, words if has else "none")
        for label, (record, has), words in zip(("training rows", "validation rows"), measured, weighted, strict=True)
    ]
    after = gap_of(program, passes[0], passes[1], ("loss", "val_loss"), "now")
    shown = logs.get("val_loss", after.validation.value)
    if not math.isclose(after.validation.value, shown, rel_tol=1e-3, abs_tol=1e-6):
        return _bundled(logs, given, f"{why}, and the validation rows do not come to the same when measured again")
    second = after.train
    draws = "none" if second.facts.draws == "none" else "as drawn"
    first = replace(second, value=float(logs.get("loss", math.nan)), facts=second.facts.but(params=OWN, draws=draws))
    first = replace(first, parts={}, tally=None)
    changes = [str(change.fact) for change in first.facts.differences(second.facts)]
    changes += [] if whole else ["rows"]
    changes += ["terms"] if "penalties" in second.facts.terms else []
    words = Change("several", "; ".join(changes), "all at once")
    cause = Cause.NOT_SEPARATED
    if len(changes) == 1:
        words = first.facts.differences(second.facts)[0]
        cause = Cause.of(words)
    link = Link(cause, words, first, second, second.stderr if _sampled(train, passes[0]) else 0.0)
    grade = "full" if len(changes) == 1 else f"not separated: {why}"
    return replace(after, links=(link, *after.links), grade=grade)


def _sampled(train: Given, passed: Pass) -> bool:
    return passed.record.steps < (train.number or 0)


def _bundled(logs: Mapping[str, float], given: tuple[Given | None, Given | None], why: str) -> Gap:
    train, validation = (None if one is None else one.rows for one in given)
    modes = (LayerMode("custom:model", "model", "train"),), (LayerMode("custom:model", "model", "infer"),)
    first = Facts(params=OWN, modes=modes[0], rows=Rows("training rows", train, train))
    second = Facts(params="now", modes=modes[1], rows=Rows("validation rows", validation, validation))
    ends = [Reading("loss", float(logs.get("loss", math.nan)), math.nan, first, direction="min")]
    ends.append(Reading("val_loss", float(logs.get("val_loss", math.nan)), math.nan, second, direction="min"))
    return bundle(ends[0], ends[1], why)
