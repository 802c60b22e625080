"""What a watched loop's two passes were, as facts: read off the recorded steps, and seen in runs of one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from verax.ledger.facts import Facts, LayerMode, Rows
from verax.torch.losses import LossMode, Seen, seen_as
from verax.torch.modes import Found, Layers, Seer, layer_modes, set_flags
from verax.torch.replay import autocast_of, dtype_of, handle_of, plain_view, run
from verax.torch.tape import Recording
from verax.watch import Step

__all__ = ["Findings", "Side", "find"]

_SEED = 0x5EE


@dataclass
class Side:
    """One of the two passes.

    Attributes:
        recording: One of its steps.
        flags: ``training`` of each module in it.
        modes: What each mode-dependent module does in it.
        loss: PyTorch's own loss in it; None where the loss is a person's own.
        draws: Whether anything is drawn at random in it.
        objective: In words, how the number differs from the plain loss.
        weights: In words, what its loss weighs rows by.
        dtype: What it is computed in.
        penalties: Whether penalties are in its number.
        view: "augmented" where the loop itself draws something into the model's inputs.
        counted: Whether its loss is a sum, divided by a count of the model's own.
    """

    recording: Recording
    flags: Mapping[str, bool]
    modes: tuple[LayerMode, ...] = ()
    loss: Seen | None = None
    draws: bool = False
    objective: str = "plain"
    weights: str = "none"
    dtype: str = "float32"
    penalties: bool = False
    view: str = "plain"
    counted: bool = False

    @property
    def scale(self) -> float:
        """What makes it a plain loss again where it is divided by a count of the batches of a whole step."""
        return self.recording.scale if self.counted or self.recording.counted else 1.0

    def facts(self, params: str, draws: str, average: str, rows: Rows) -> Facts:
        """What its number measured."""
        return Facts(
            terms=("data", "penalties") if self.penalties else ("data",),
            objective=self.objective,
            params=params,
            draws=draws if self.draws else "none",
            view=self.view,
            modes=self.modes,
            weights=self.weights,
            average=average,
            dtype=self.dtype,
            rows=rows,
        )


@dataclass
class Findings:
    """Both passes.

    Attributes:
        training, validation: The passes.
        autocasts: dtype as facts name it -> what autocast was.
        ignore: The target to ignore where weights are left out, if the passes ignore different ones.
    """

    training: Side
    validation: Side
    autocasts: dict[str, Mapping[str, torch.dtype]] = field(default_factory=dict)
    ignore: int | None = None


def find(
    model: torch.nn.Module, training: Step, validation: Step, flags: tuple[Mapping[str, bool], Mapping[str, bool]]
) -> Findings:
    """What the passes of two recorded steps were, with the flags that their modules had."""
    layers = Layers(model)
    sides = [Side(step.batch, own) for step, own in zip((training, validation), flags, strict=True)]
    seen: list[list[Found]] = []
    for side in sides:
        set_flags(model, side.flags)
        losses: list[Seen] = []

        def look(seer: Seer, side: Side = side, losses: list[Seen] = losses) -> None:
            mode = LossMode(rows=side.recording.rows)
            shown = _value(side.recording, mode, seer)
            losses += _main(side, mode, shown)

        seen.append(layers.see(look))
        side.loss = losses[0] if losses else None
    custom = _custom(model, layers, sides[0], {f.path for found in seen for f in found})
    every = {(f.effect, f.path) for found in seen for f in found} | {(f"custom:{path}", path) for path in custom}
    for side, found in zip(sides, seen, strict=True):
        found = [*found, *(Found(f"custom:{path}", path, side.flags.get(path, False)) for path in custom)]
        side.modes = layer_modes(found, side.flags, every)
        side.view = "plain" if plain_view(side.recording) is side.recording else "augmented"
        drawn = any(m.state == "train" and m.effect != "batch_statistics" for m in side.modes)
        side.draws = drawn or side.view == "augmented"
        side.objective = _objective(side)
        side.weights = side.loss.weighted or "none" if side.loss is not None else "none"
        side.penalties = any(t.kind == "penalty" for t in side.recording.terms)
        side.dtype = dtype_of(model, side.recording)
    _agreed(*sides)
    findings = Findings(sides[0], sides[1])
    for side in sides:
        findings.autocasts[side.dtype] = autocast_of(side.recording)
    _weighted(findings)
    _ignored(findings)
    return findings


def _value(recording: Recording, mode: LossMode, seer: Seer | None) -> float:
    (value,) = run(recording, [recording.shown], draws=_SEED, handle=handle_of(mode, seer))
    return float(value)


def _main(side: Side, mode: LossMode, shown: float) -> list[Seen]:
    """The known loss that is the shown number's first summand: where there are several, the one of its value."""
    main = side.recording.main
    if main is None:
        return []
    (value,) = run(side.recording, [main.ref], draws=_SEED)
    side.counted = any(s.summed(float(value)) for s in mode.seen[:1])
    if len(side.recording.data) == 1 and len(mode.seen) == 1:
        return mode.seen
    found = seen_as(float(value), mode.seen)
    return [found] if found is not None else []


def _custom(model: torch.nn.Module, layers: Layers, side: Side, known: set[str]) -> list[str]:
    """Modules of a person's own that read ``training`` and come to another loss by it."""
    found: list[str] = []
    for path in layers.candidates():
        if path in known:
            continue
        values: list[float] = []
        for flag in (True, False):
            set_flags(model, {**dict.fromkeys(side.flags, False), path: flag})
            values.append(_value(side.recording, LossMode(rows=side.recording.rows), None))
        if values[0] != values[1] and not all(map(math.isnan, values)):
            found.append(path)
    return found


def _objective(side: Side) -> str:
    words: list[str] = []
    if side.loss is not None and side.loss.smoothing:
        words.append(f"label smoothing {side.loss.smoothing:g}")
    data = side.recording.data
    if len(data) > 1:
        times = ", ".join(f"{t.coefficient / side.scale:g}" for t in data[1:])
        words.append(f"{len(data) - 1} more term{'s' if len(data) > 2 else ''} (times {times})")
    if data and (c := data[0].coefficient / side.scale) != 1.0 and c:
        by = 1.0 / c
        words.append(f"divided by {by:g}" if by > 1 and math.isclose(by, round(by), rel_tol=1e-6) else f"times {c:g}")
    return ", ".join(words) or "plain"


def _agreed(training: Side, validation: Side) -> None:
    """What is on in both passes is on for one reason: that of the second."""
    whys = {(m.effect, m.path, m.state): m.why for m in validation.modes}
    training.modes = tuple(replace(m, why=whys.get((m.effect, m.path, m.state), m.why)) for m in training.modes)


def _weighted(findings: Findings) -> None:
    """Weights that are given to both losses, but are not the same ones."""
    sides = {"training": findings.training, "validation": findings.validation}
    one, two = (side.loss.weights if side.loss is not None else () for side in sides.values())
    if one and two and (len(one) != len(two) or not all(map(torch.equal, one, two))):
        for name, side in sides.items():
            side.weights += f" of the {name} loss"


def _ignored(findings: Findings) -> None:
    """Targets that one pass ignores and the other counts are weights of rows."""
    one, two = findings.training.loss, findings.validation.loss
    if one is None or two is None or one.ignores == two.ignores or one.ignored is two.ignored is None:
        return
    findings.ignore = -100
    for side, seen in ((findings.training, one), (findings.validation, two)):
        if seen.ignored is not None:
            words = f"target {seen.ignored} is left out"
            side.weights = words if side.weights == "none" else f"{side.weights}, {words}"
