"""What only users of PyTorch meet, in sentences; and what they do about each cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from verax.ledger.causes import Cause
from verax.ledger.chain import Gap
from verax.ledger.reading import format_number
from verax.ledger.tally import Tally
from verax.torch.findings import Findings
from verax.watch import LAST, MEAN, PER_ROW, LoopProbe

__all__ = ["ADVICE", "notes_of"]

_EVALUATE = "nothing is wrong; to compare, run the training rows through the validation loop, after model.eval()"

ADVICE: Mapping[str, str] = {
    Cause.PENALTIES.name: "compare the losses without them: print the penalty beside the loss, not in it",
    Cause.OBJECTIVE.name: "print the plain loss as well, before it is scaled, smoothed or added to",
    Cause.WEIGHTS_MOVED.name: "nothing is wrong; for the number at the end of the epoch, run the training rows through "
    "the validation loop",
    Cause.AUGMENTATION.name: "nothing is wrong; to compare, run the plain training rows through the validation loop",
    Cause.DROPOUT.name: _EVALUATE,
    Cause.STOCHASTIC_DEPTH.name: _EVALUATE,
    Cause.CUSTOM_MODE.name: "read the module's forward: what does it do with self.training?",
    Cause.BATCH_STATISTICS.name: "larger batches, or a normalization that does not mix rows (LayerNorm, GroupNorm)",
    Cause.MOVING_AVERAGES.name: "torch.optim.swa_utils.update_bn(train_loader, model) sets them to the present "
    "weights; or train with a larger momentum",
    Cause.ROW_WEIGHTS.name: "measure both with the same loss: the same weight, pos_weight and ignore_index",
    Cause.AVERAGE.name: "add up loss.item() * len(x) and divide by the number of rows (with class weights or "
    "ignore_index: by what the loss divides by), in both loops",
    Cause.SKIPPED_ROWS.name: "let the epoch see every row: drop_last=False, and no break",
    Cause.PRECISION.name: "to compare, measure both under the same autocast",
}


def notes_of(
    model: torch.nn.Module,
    optimizer: Any,
    found: Findings,
    probe: LoopProbe,
    gap: Gap,
    before: Mapping[str, torch.Tensor],
) -> list[str]:
    """Sentences about what is unusual in a loop and does not stand in its gap, or not by its name."""
    return [
        *_without_eval(model, found, probe),
        *_left_on(model, found),
        *_moving(model, found, before),
        *_averages(found, probe, gap),
        *_decay(optimizer),
    ]


def _without_eval(model: torch.nn.Module, found: Findings, probe: LoopProbe) -> list[str]:
    """Validation in training mode, and what it would be without."""
    side = found.validation
    on = [m for m in side.modes if m.state == "train" and m.why != "forced"]
    if not on:
        return []
    facts = probe.end.facts
    infer = tuple(
        type(m)(m.effect, m.path, "infer" if m.state == "train" and m.why != "forced" else m.state) for m in side.modes
    )
    batches = probe.measure(facts.but(modes=infer, draws="none", params="now", terms=("data",)))
    then = ""
    if batches is not None:
        value = Tally(*(float(sum(column)) for column in batches.sums["rows"])).mean
        then = f" In evaluation mode it is {format_number(value)}, not {format_number(probe.end.reading().value)}."
    if side.flags.get("model"):
        return [f"Validation ran in training mode: model.eval() was not called before it.{then}"]
    paths = _named(model, sorted({m.path for m in on}))
    return [f"{paths} stayed in training mode in validation, although model.eval() was called.{then}"]


def _named(model: torch.nn.Module, paths: Sequence[str]) -> str:
    """Modules, as a sentence calls them."""
    modules = dict(model.named_modules())
    kinds = [f"{path} ({type(modules.get(path, model)).__name__})" for path in paths[:3]]
    return f"Module{'s' if len(paths) > 1 else ''} {', '.join(kinds)}{', ...' if len(paths) > 3 else ''}"


def _left_on(model: torch.nn.Module, found: Findings) -> list[str]:
    """Functional dropout that asks nobody for the mode."""
    forced = sorted({m.path for m in found.validation.modes if m.why == "forced" and m.state == "train"})
    drops = {m.path for m in found.validation.modes if m.effect == "dropout"}
    return [
        f"{_named(model, [path])} drops in evaluation mode too: its forward calls dropout without "
        "training=self.training."
        if path in drops
        else f"{_named(model, [path])} does in evaluation mode what it does in training: its forward does not ask "
        "self.training."
        for path in forced
    ]


def _moving(model: torch.nn.Module, found: Findings, before: Mapping[str, torch.Tensor]) -> list[str]:
    """Batch normalization whose weights are frozen and whose averages move all the same."""
    moved: list[str] = []
    for path, module in model.named_modules():
        frozen = list(module.parameters(recurse=False))
        if not frozen or any(p.requires_grad for p in frozen) or not found.training.flags.get(path or "model"):
            continue
        for name, buffer in module.named_buffers(recurse=False):
            old = before.get(f"{path}.{name}")
            if old is not None and not torch.equal(old, buffer):
                moved.append(path)
                break
    if not moved:
        return []
    return [
        f"{_named(model, moved)}: its weights are frozen (requires_grad=False), but its running mean and variance "
        "moved in this epoch: a batch normalization in training mode updates them. Call eval() on it after model.train()."
    ]


def _averages(found: Findings, probe: LoopProbe, gap: Gap) -> list[str]:
    """How the loop's own averages weigh rows."""
    said: list[str] = []
    for end, sums in ((probe.start, found.training.recording.sums), (probe.end, found.validation.recording.sums)):
        rows, average = end.rows, end.facts.average
        if sums and average != PER_ROW:
            said.append(f"The loss of a batch is a sum over its rows in the {end.name}: it grows with the batch size.")
        if average == LAST and len(rows) > 1:
            said.append(f"The {end.name} is that of the last batch alone: {int(rows[-1])} of {int(rows.sum()):,} rows.")
        uneven = any(link.cause is Cause.AVERAGE and link.change for link in gap.links)
        if average == MEAN and len(rows) > 1 and rows.min() < rows.max() and uneven and not sums:
            times = rows.max() / rows.min()
            said.append(
                f"The {end.name} is a mean of batch means: a row of the batch of {int(rows.min())} counts {times:.3g} "
                f"times as much as one of the others."
            )
    return said


def _decay(optimizer: Any) -> list[str]:
    """Weight decay, which acts on the weights and is in no number."""
    if optimizer is None:
        return []
    amount, rates = 0.0, set[float]()
    decoupled = type(optimizer).__name__ in ("AdamW", "NAdamW", "RAdamW") or any(
        group.get("decoupled_weight_decay") for group in optimizer.param_groups
    )
    for group in optimizer.param_groups:
        decay = float(group.get("weight_decay") or 0.0)
        if decay:
            rates.add(decay)
            amount += 0.5 * decay * sum(float(p.detach().double().square().sum()) for p in group["params"])
    if not rates:
        return []
    rate = ", ".join(f"{r:g}" for r in sorted(rates))
    if decoupled:
        return [f"Weight decay ({rate}) shrinks the weights at each step; it is no loss, and in neither number."]
    return [
        f"Weight decay ({rate}) acts on the gradients and is in neither number; as a penalty it would be "
        f"{format_number(amount)}."
    ]
