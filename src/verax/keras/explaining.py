"""From what was recorded of an epoch to its gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from verax.keras.losses import MASKED, keeps_compute_loss
from verax.keras.program import KerasProgram
from verax.ledger.chain import Gap
from verax.ledger.facts import Facts, Rows
from verax.ledger.path import PLAIN_AVERAGE
from verax.ledger.tally import Tally, fold
from verax.watch import BY_ROWS, End, Epoch, LoopProbe, Measured

__all__ = ["ADVICE", "OWN", "Pass", "end_of", "facts_of", "gap_of", "notes_of", "summed"]

OWN = "each step's own"

#: What a user of Keras does about a cause.
ADVICE = {
    "MOVING_AVERAGES": "give BatchNormalization a smaller momentum, or train for more steps before you judge",
    "BATCH_STATISTICS": "larger batches, or a normalization that does not mix rows (LayerNormalization)",
    "PENALTIES": "compare the losses without them: give the plain loss to compile as a metric",
    "NOT_SEPARATED": "fit on arrays or a keras.utils.PyDataset, on the JAX or the PyTorch backend",
    "AVERAGED_WEIGHTS": "nothing is wrong; to compare, evaluate on the training rows with the averaged weights too",
}


@dataclass(frozen=True)
class Pass:
    """One of the two passes, as it ran.

    Attributes:
        label: What its rows are.
        record: Its batches.
        of: How many rows there are.
        weights: How rows were weighted.
    """

    label: str
    record: Epoch
    of: int | None
    weights: str

    @property
    def rows(self) -> Rows:
        """Which rows."""
        count = int(self.record.rows.sum())
        return Rows(self.label, count, max(self.of or 0, count))


def facts_of(program: KerasProgram, passed: Pass, *, training: bool, params: str, draws: str = "fresh") -> Facts:
    """What a pass measured."""
    model = program.model
    modes = program.modes.facts("train" if training else "infer")
    drawn = any(m.state == "train" and m.effect != "batch_statistics" for m in modes) and program.draws
    penalized = keeps_compute_loss(model) and (program.forward_losses or bool(np.any(passed.record.penalties)))
    return Facts(
        terms=("data", "penalties") if penalized else ("data",),
        params=params,
        draws=draws if drawn else "none",
        modes=modes,
        weights=passed.weights,
        average=BY_ROWS if program.kind == MASKED else PLAIN_AVERAGE,
        dtype=str(model.compute_dtype),
        rows=passed.rows,
    )


def end_of(name: str, facts: Facts, record: Epoch, measured: Sequence[Measured]) -> End:
    """One of the two numbers; how sure it is comes from the rows that were measured again."""
    end = End(name, facts, record.values, record.rows, record.penalties)
    if not facts.even or not measured:
        return end
    data = end.reading().data
    return replace(end, sums=summed(measured, record.rows, data))


def summed(measured: Sequence[Measured], rows: np.ndarray, mean: float) -> Tally:
    """Sums over all rows (of each batch so many), estimated from some, whose mean is a known one."""
    found: Tally = fold([one.sums for one in measured])
    scale = float(rows.sum()) / max(1, sum(one.rows for one in measured))
    s, u, ss, su, uu, n = (scale * float(field) for field in found)
    d = mean - (s / u if u else math.nan)
    return Tally(s + d * u, u, ss + 2 * d * su + d * d * uu, su + d * uu, uu, n)


def gap_of(program: KerasProgram, train: Pass, validation: Pass, names: tuple[str, str], params: str) -> Gap:
    """The gap between the number of the steps and that of the validation rows.

    Args:
        program: At the weights of the end of the epoch.
        train, validation: The passes.
        names: Of the two numbers.
        params: Whose weights the second one has.
    """
    raw = facts_of(program, validation, training=False, params=params)
    after = raw.but(averaged="EMA") if program.weights.averaged is not None else raw
    again = list(program.run(after.but(terms=("data",), average=""), validation.record.sample(), None))
    own = params if params == "now" else OWN
    draws = "fresh" if params == "now" else "as drawn"
    before = facts_of(program, train, training=True, params=own, draws=draws)
    terms = before.terms if len(before.terms) >= len(after.terms) else after.terms
    average = BY_ROWS if program.kind == MASKED else PLAIN_AVERAGE
    before, after = before.but(terms=terms, average=average), after.but(terms=terms, average=average)
    end = end_of(names[1], after, validation.record, again)
    start = End(names[0], before, train.record.values, train.record.rows, train.record.penalties)
    probe = LoopProbe(program, train.record, start, end, ADVICE)
    if before.even:
        found = probe.measure(before.but(terms=("data",), average="", clipped=0))
        if found is not None:
            sums = summed(_each(found.sums["rows"], train.record), start.rows, start.reading().data)
            probe.start = replace(start, sums=sums)
    return probe.gap(notes_of(program))


def _each(sums: Tally, record: Epoch) -> list[Measured]:
    """The sampled steps' sums, a step at a time."""
    rows = [int(record.rows[step.number]) for step in record.sample()]
    return [Measured(0.0, n, Tally(*(field[i] for field in sums))) for i, n in enumerate(rows)]


def notes_of(program: KerasProgram) -> list[str]:
    """Sentences about what is unusual."""
    model = program.model
    notes = [
        f"{m.path} runs in training mode in validation too: a call in its model says training=True."
        for m in program.modes
        if m.why == "forced" and m.state == "train"
    ]
    penalized = any(getattr(v, "regularizer", None) is not None for v in model.trainable_variables)
    if model.steps_per_execution > 1 and (penalized or program.forward_losses):
        notes.append(
            f"steps_per_execution={model.steps_per_execution}: penalties are those at the first of each "
            f"{model.steps_per_execution} steps."
        )
    if not keeps_compute_loss(model):
        notes.append("The model has a compute_loss of its own: penalties it adds are in the loss, not apart.")
    return notes
