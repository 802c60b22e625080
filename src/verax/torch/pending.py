"""A step between its ``backward`` and what the loop says of its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from verax.ledger.tally import Tally
from verax.torch.leaves import Ref
from verax.torch.losses import Seen
from verax.torch.tape import Recording, Tape
from verax.torch.terms import chain_of, scale_of
from verax.watch import Epoch, Measured, Step

__all__ = ["Pending"]


class Pending:
    """A step whose loss the loop may still look at: the loss, what it is a multiple of, or one of its summands."""

    def __init__(
        self,
        recording: Recording,
        loss: torch.Tensor,
        tape: Tape,
        own: Mapping[int, tuple[Ref, Seen, Seen]],
        place: int | None,
        undivided: bool = False,
    ):
        self.recording, self.place, self._undivided = recording, place, undivided
        self._looked: list[Ref] = []
        self._tensors: dict[Ref, torch.Tensor] = {recording.loss: loss}
        if recording.nodes:
            refs = [*chain_of(recording.nodes, recording.loss), *(t.ref for t in recording.terms)]
            self._tensors |= {r: tape.value(Ref(recording.origin[r.node], r.leaf)) for r in refs}
        places = {old: new for new, old in enumerate(recording.origin)}
        self._own = {Ref(places[r.node], r.leaf): (one, plain) for r, one, plain in own.values() if r.node in places}

    def looked(self, tensor: torch.Tensor) -> bool:
        """The loop looks at a number: whether it is one of the step's."""
        ref = next((r for r, t in self._tensors.items() if t is tensor), None)
        self._looked += [ref] if ref is not None else []
        return ref is not None

    def _shown(self) -> Ref:
        """What the loop looked at first; where it looked at nothing the loss, without a gradient scaler's factor."""
        recording = self.recording
        chain = chain_of(recording.nodes, recording.loss) if recording.nodes else [recording.loss]
        own = next((r for r in chain if not recording.nodes or not scale_of(recording.nodes, r)), chain[-1])
        shed: list[Ref] = []
        while self._undivided and own is not chain[-1] and recording.divided(own):
            shed.append(own)
            if recording.nodes[own.node].args[1] != 1:
                recording.scale = 1.0
            own = chain[chain.index(own) + 1]
        return own if own in self._looked else next((r for r in self._looked if r not in shed), own)

    def count(self, epoch: Epoch) -> None:
        """Add the step to its pass."""
        recording = self.recording
        recording.shown = shown = self._shown()
        step = Step(epoch.steps, recording)
        penalty: Any = 0.0
        if recording.nodes:
            terms = recording.terms
            penalty = sum(t.coefficient * self._tensors[t.ref].detach() for t in terms if t.kind == "penalty")
            if self.place is not None:
                rows = (recording.rows,)
                step.size = sum(c.tensor.nbytes for c in recording.constants() if c.tensor.shape[:1] == rows)
                step.own = self._measured(penalty)
        value = self._tensors[shown].detach()
        epoch.add(step, value * recording.scale if recording.scale != 1 else value, recording.rows, penalty,
                  place=self.place)  # fmt: skip

    def _measured(self, penalty: Any) -> dict[str, Measured]:
        """What the step's known loss came to, row by row: "trained" and "plain"."""
        data = self.recording.data
        if not data or data[0].ref not in self._own:
            return {}
        seen, plain = self._own[data[0].ref]
        rows, penalties = self.recording.rows, {"penalties": float(penalty)}
        found = {"plain": Measured(plain.value, rows, plain.sums, penalties)}
        if len(data) == 1:
            c, s = data[0].coefficient, seen.sums
            sums = Tally(s.sum * c, s.weight, s.sumsq * c * c, s.cross * c, s.weightsq, s.rows)
            found["trained"] = Measured(c * seen.value, rows, sums, penalties)
        return found
