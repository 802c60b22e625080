"""Gaps whose causes and amounts are planted, for what is made of them: verdicts, tables, pages and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, Link
from verax.ledger.facts import Facts, LayerMode, Rows
from verax.ledger.reading import Reading

TRAIN, ALL = Rows("training rows", 900, 1000), Rows("training rows", 1000, 1000)
VALIDATION = Rows("validation rows", 200, 200)

#: step -> the fact it changes: (field, before, after); for a layer's mode (effect, path, before, after).
STEPS: dict[str, tuple[str, ...]] = {
    "objective": ("objective", "label smoothing 0.1", "plain"),
    "moved": ("params", "each step's own", "the end of epoch 3"),
    "draws": ("draws", "as drawn", "fresh"),
    "view": ("view", "augmented", "plain"),
    "augmentation": ("augmentation", "flip", "train", "infer"),
    "dropout": ("dropout", "block/dropout", "train", "infer"),
    "noise": ("noise", "block/noise", "train", "infer"),
    "depth": ("stochastic_depth", "block/depth", "train", "infer"),
    "custom": ("custom:block/mine", "block/mine", "train", "infer"),
    "batch": ("batch_statistics", "conv1/bn", "train", "population"),
    "averages": ("batch_statistics", "conv1/bn", "population", "infer"),
    "weights": ("weights", "class weights", "none"),
    "average": ("average", "mean of batch means", "mean over rows"),
    "ema": ("averaged", "raw", "EMA"),
    "dtype": ("dtype", "bfloat16", "float32"),
    "skipped": ("rows", "", ""),
    "rows": ("rows", "", ""),
}
CAUSES = {
    "objective": Cause.OBJECTIVE,
    "moved": Cause.WEIGHTS_MOVED,
    "draws": Cause.FITTED_DRAWS,
    "view": Cause.AUGMENTATION,
    "augmentation": Cause.AUGMENTATION,
    "dropout": Cause.DROPOUT,
    "noise": Cause.DROPOUT,
    "depth": Cause.STOCHASTIC_DEPTH,
    "custom": Cause.CUSTOM_MODE,
    "batch": Cause.BATCH_STATISTICS,
    "averages": Cause.MOVING_AVERAGES,
    "weights": Cause.ROW_WEIGHTS,
    "average": Cause.AVERAGE,
    "ema": Cause.AVERAGED_WEIGHTS,
    "dtype": Cause.PRECISION,
    "skipped": Cause.SKIPPED_ROWS,
    "rows": Cause.ROWS,
}
LAG = {
    "averages": [
        {"path": "conv1/bn/moving_mean", "off": 0.31, "momentum": 0.99, "updates": 45, "needed": 459},
        {"path": "conv1/bn/moving_variance", "off": 0.64, "momentum": 0.99, "updates": 45, "needed": 459},
        {"path": "conv2/bn/moving_mean", "off": 0.07, "momentum": 0.9, "updates": 45, "needed": 44},
    ]
}


def planted(
    start: float,
    *steps: tuple[Any, ...],
    penalties: tuple[float, float] | None = None,
    name: str = "loss",
    direction: str | None = "min",
    detail: Mapping[str, Mapping[str, Any]] | None = None,
    paths: Mapping[str, str] | None = None,
    **gap: Any,
) -> Gap:
    """A gap from ``start`` through steps (name, change) or (name, change, stderr), in the order given.

    Penalties are taken off first and put on last. ``paths`` gives a layer another path.
    """
    named = [step[0] for step in steps]
    where = {key: (paths or {}).get(key, STEPS[key][1]) for key in named if len(STEPS[key]) == 4}
    modes: dict[tuple[str, str], str] = {}
    for key in reversed(named):
        if key in where:
            modes[_effect(key, where[key]), where[key]] = STEPS[key][2]
    facts = Facts(rows=TRAIN if "skipped" in named else ALL, params="the end of epoch 3").but(
        **{STEPS[key][0]: STEPS[key][1] for key in named if len(STEPS[key]) == 3 and STEPS[key][1]}
    )
    facts = facts.but(modes=_modes(modes), terms=("data", "penalties") if penalties else ("data",))
    readings = [Reading(name, start, math.nan, facts, direction=direction)]
    links: list[Link] = []

    def go(value: float, stderr: float, key: str = "", **changes: Any) -> None:
        before = readings[-1]
        label = f"val_{name}" if before.facts.but(**changes).rows.label == "validation rows" else name
        after = Reading(label, value, math.nan, before.facts.but(**changes), direction=direction)
        (change,) = before.facts.differences(after.facts)
        links.append(Link(Cause.of(change), change, before, after, stderr, (detail or {}).get(key, {})))
        readings.append(after)

    if penalties:
        go(start - penalties[0], 0.0, terms=("data",))
    for key, change, *error in steps:
        stderr = float(error[0]) if error else 0.0
        value = readings[-1].value + change
        if key in where:
            modes[_effect(key, where[key]), where[key]] = STEPS[key][3]
            go(value, stderr, key, modes=_modes(modes))
        elif key in ("rows", "skipped"):
            go(value, stderr, key, rows=VALIDATION if key == "rows" else ALL)
        else:
            go(value, stderr, key, **{STEPS[key][0]: STEPS[key][2]})
    if penalties:
        go(readings[-1].value + penalties[1], 0.0, terms=("data", "penalties"))
    return Gap(tuple(links), **gap)


def _effect(key: str, path: str) -> str:
    return f"custom:{path}" if key == "custom" else STEPS[key][0]


def _modes(modes: Mapping[tuple[str, str], str]) -> tuple[LayerMode, ...]:
    return tuple(sorted(LayerMode(effect, path, state) for (effect, path), state in modes.items()))


def digits() -> Gap:
    """A real one: a small network on the digits, third epoch (dropout 0.5, batch normalization, L2)."""
    return planted(
        1.3151, ("moved", -0.1513), ("draws", 0.0565, 0.0191), ("dropout", -0.2600, 0.0141), ("batch", -0.0434),
        ("averages", 0.7488), ("rows", 0.0111, 0.0305), penalties=(0.4561, 0.4349), detail={"batch": LAG},
    )  # fmt: skip


def two_outputs() -> Gap:
    """A loss of two outputs."""
    columns = {
        "digit": planted(0.5, ("moved", -0.1), ("dropout", -0.05, 0.01), ("rows", 0.2, 0.05), name="digit_loss"),
        "is_even": planted(0.3, ("moved", -0.02), ("dropout", -0.01, 0.01), ("rows", 0.05, 0.04), name="is_even_loss"),
    }
    steps = ("moved", -0.12), ("dropout", -0.06, 0.015), ("rows", 0.25, 0.07)
    return planted(0.9, *steps, penalties=(0.1, 0.09), columns=columns)


def hostile() -> Gap:
    """Names that are markup."""
    path = 'a&b/<script>alert("x")</script>/$layer_1$'
    steps = ("custom", 0.2), ("rows", 0.1, 0.2)
    return planted(1.0, *steps, name="<b>loss</b>", paths={"custom": path}, notes=("1 < 2 & 3",))
