"""What happens in a person's loop, step by step: hooks on the model, and an ear for the functions called around it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.overrides

from verax.ledger.tally import Tally
from verax.torch.losses import KNOWN, FunctionMode, LossMode, Seen
from verax.torch.modes import bare, flags_of, judges
from verax.torch.state import draws_now, others_now
from verax.torch.tape import (
    DRAWS,
    Constant,
    Node,
    Parameter,
    Recording,
    Ref,
    Tape,
    chain_of,
    leaves,
    scale_of,
    signature_of,
)
from verax.watch import Epoch, Measured, Step

__all__ = ["Recorder"]

#: Calls by which a loop looks at a number.
_READ = frozenset({"item", "detach", "__float__", "tolist", "cpu", "numpy", "__format__"})
_COPIES = frozenset({"clone", "squeeze", "mean"})
_DEVICES = ("cpu", "cuda")


class Recorder:
    """Notes the steps of a loop: what trained, and what was measured without training.

    Args:
        model: The model; its calls are noted whole.
        loss_fn: The person's loss: a module or a function of (output, targets).
        make: Makes the record of a pass.
        begins: Is told when a pass begins: ("training" or "validation").
    """

    def __init__(self, model: torch.nn.Module, loss_fn: Any, make: Callable[[], Epoch], begins: Callable[[str], None]):
        self.model = model
        self.loss_fn = loss_fn
        self.training = make()
        self.validation = make()
        self.loader: Any = None
        self.loaders: dict[str, Any] = {}
        self.calls = 0
        self.trouble = ""
        self._make, self._begins = make, begins
        self._tape = Tape()
        self._mode = FunctionMode(self._called)
        self._handles: list[Any] = []
        self._paused = 0
        self._spread = False
        self._place: int | None = None
        self._placed = False
        self._others: Any = None
        self._flags: Mapping[str, bool] = {}
        self._own: dict[int, tuple[Ref, Seen, Seen]] = {}
        self._read: list[torch.Tensor] = []
        self._pending = 0  # calls of the model since a step or a measurement ended
        self._each = 1  # calls of the model in a training step
        self._signatures: list[tuple[str, ...]] = []
        self._primary = 0
        self._last: _Pending | None = None
        self._pass_of: dict[str, tuple[int, int]] = {}
        self._iterations = 0
        self.scale = 1.0  # what the loop multiplies its losses with where it shows them
        self.undivided = False  # whether what a loss is divided by before ``backward`` is for accumulation alone

    # ---- on and off --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen."""
        self._hook(self.model)
        self._mode.__enter__()

    def stop(self) -> None:
        """Listen no more; nothing of the loop is changed afterwards."""
        if not self._handles:
            return
        self.settle()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._step_out()
        self._tape.forget()

    @contextlib.contextmanager
    def deaf(self) -> Any:
        """Within it nothing is noted."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def _hook(self, module: torch.nn.Module) -> None:
        self._handles.append(module.register_forward_pre_hook(self._enters, with_kwargs=True, prepend=True))
        self._handles.append(module.register_forward_hook(self._leaves, with_kwargs=True, always_call=True))

    def spread(self) -> None:
        """The loop calls parts of the model: listen to these, but for losses and metrics among them."""
        if not self._spread:
            self._spread = True
            for part in list(self.model.modules())[1:]:
                if part is not self.loss_fn and not judges(part):
                    self._hook(part)

    # ---- what is heard -----------------------------------------------------------------------------------------------

    def iterates(self, loader: Any) -> None:
        """A data loader begins to give its batches."""
        if not self._paused:
            self.settle()
            self.loader = loader
            self._iterations += 1

    def _enters(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self._paused += 1
        if self._paused > 1 or not self._handles:
            return
        self._out = self._step_out()
        if self._pending and (not self._grad or self._pending >= self._each):
            self._close_measuring()
        if not self._placed:
            self._settle_last()
            train = self._trains()
            self._place = (self.training if train else self._validation_now()).place()
            self._placed, self._own = True, {}
            if self._place is not None:
                self._flags = flags_of(bare(self.model))
                self._others = others_now()
        self._grad = torch.is_grad_enabled()
        self._call = Node(module, args, kwargs, None, "model", True, draws_now(), _autocast())

    _grad = True
    _out = False
    _call: Node | None = None

    def _step_out(self) -> bool:
        """While the model runs nothing is listened to: what it is made of and how it is compiled is its own affair."""
        if torch.overrides._get_current_function_mode() is not self._mode:
            return False
        self._mode.__exit__(None, None, None)
        return True

    def _trains(self) -> bool:
        return torch.is_grad_enabled() and self.model.training

    def _leaves(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._paused -= 1
        if self._paused:
            return
        if self._out:
            self._out = False
            self._mode.__enter__()
        if self._call is None:
            return
        node, self._call = self._call, None
        if output is not None:
            node.made = list(leaves(output))
            self._tape.note(node)
            self._pending += 1

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._paused:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "backward" and args and isinstance(args[0], torch.Tensor):
            self._backward(args[0])
            return self._quietly(func, args, kwargs)
        if name in _READ and args and args[0].ndim == 0:
            self._looked(args[0])
            if name != "detach":
                return func(*args, **kwargs)
        draws = draws_now() if name in DRAWS else None
        seen = self._loss_rows(func, args, kwargs) if self._place is not None and func in KNOWN else None
        result = func(*args, **kwargs)
        if name == "__setitem__":
            made = [args[0]]
        elif isinstance(result, torch.Tensor):
            made = [result]
        elif isinstance(result, (tuple, list)):
            made = [leaf for leaf in result if isinstance(leaf, torch.Tensor)]
        else:
            return result
        if self._last is not None:
            for arg in args:
                if isinstance(arg, torch.Tensor) and arg.ndim == 0:
                    self._looked(arg)
        self._tape.note(Node(func, args, kwargs, made, name, False, draws, _autocast()))
        if seen is not None and (ref := self._tape.ref(made[0])) is not None:
            self._own[id(made[0])] = (ref, *seen)
        return result

    def _quietly(self, func: Any, args: Any, kwargs: Any) -> Any:
        with self.deaf():
            return func(*args, **kwargs)

    def _loss_rows(self, func: Any, args: Any, kwargs: Any) -> tuple[Seen, Seen] | None:
        """A known loss row by row as the step has it: as it is, and the plain one."""
        try:
            with self.deaf(), torch.no_grad():
                rows = self._tape.rows()
                modes = LossMode(rows=rows), LossMode(plain=True, rows=rows)
                for mode in modes:
                    mode(func, args, kwargs)
            return modes[0].seen[0], modes[1].seen[0]
        except (TypeError, RuntimeError, ValueError):
            return None  # the loop's own call says what is wrong with it

    def _looked(self, tensor: torch.Tensor) -> None:
        """The loop looks at a number, or at a copy of it: is it the loss of the step?"""
        while (ref := self._tape.ref(tensor)) is not None and (node := self._tape.nodes[ref.node]).name in _COPIES:
            tensor = node.args[0]
        if self._last is not None and self._last.looked(tensor):
            return
        if self._tape.ref(tensor) is not None:
            self._read.append(tensor)

    # ---- a step ends -------------------------------------------------------------------------------------------------

    def _backward(self, loss: torch.Tensor) -> None:
        if loss.numel() != 1:
            return
        self._settle_last()
        tape = self._tape
        ref = tape.ref(loss)
        if ref is None:
            self.trouble = self.trouble or "backward was called on a tensor that was made out of sight"
            recording = Recording([], Ref(0, 0), Ref(0, 0), self.trouble)
            if not self._placed:
                return
        else:
            recording = tape.record(ref)
        if ref is not None and not any(node.module for node in recording.nodes):
            if not self._spread and self._of_the_model(recording):
                self.spread()
                self._forget()
                return
            if not self._of_the_model(recording):
                self._forget()
                return  # another model's step
        recording.rows, recording.scale = self._tape.rows(recording.origin), self.scale
        self._each = max(1, sum(node.module for node in recording.nodes))
        if ref is not None and recording.signature not in self._signatures:
            recording.primary = self._primary_of(recording)
            self._sign(recording)
        recording.primary = self._primary
        self._start_training_pass()
        place = self._place if self._placed else self.training.place()
        if place is not None:
            recording.flags, recording.others = self._flags, self._others
        self._last = _Pending(recording, loss, tape, self._own, place, self.undivided)
        for tensor in self._read:
            self._last.looked(tensor)
        self._forget()

    def _of_the_model(self, recording: Recording) -> bool:
        mine = {id(p) for p in self.model.parameters()}
        return any(
            id(p.tensor) in mine for node in recording.nodes for p in leaves((node.args, node.kwargs), Parameter)
        ) or any(node.module for node in recording.nodes)

    def _primary_of(self, recording: Recording) -> int:
        """Which summand is the person's loss of the model's output and the rest of the batch."""
        data = [term.ref for term in recording.terms if term.kind == "data"]
        if self.loss_fn is None or len(data) < 2:
            return self._primary
        tape, origin = self._tape, recording.origin
        made = [node.made for node in (self._tape.nodes[i] for i in origin) if node.module and node.made]
        used = {id(c.tensor) for n in recording.nodes if n.module for c in leaves((n.args, n.kwargs), Constant)}
        targets = [c.tensor for c in recording.constants() if id(c.tensor) not in used and c.tensor.ndim]
        with self.deaf(), torch.no_grad(), contextlib.suppress(Exception):
            for output in (tensor for tensors in made for tensor in tensors):
                value = self.loss_fn(output, *targets[:1])
                for i, ref in enumerate(data):
                    if torch.equal(tape.value(Ref(origin[ref.node], ref.leaf)), value):
                        self._primary = i
        return self._primary

    def _sign(self, recording: Recording) -> None:
        main = recording.main
        if main is not None:
            nodes, _ = recording.cut(main.ref)
            self._signatures.append(signature_of(nodes))
        for ref in reversed(chain_of(recording.nodes, recording.loss)):  # what it is a multiple of, and it
            self._signatures.append(signature_of(recording.cut(ref)[0]))

    def _forget(self) -> None:
        self._tape.forget()
        self._read, self._pending, self._placed, self._place = [], 0, False, None

    def settle(self) -> None:
        """A pass may have ended: count what waits."""
        self._settle_last()
        if self._pending:
            self._close_measuring()

    def _settle_last(self) -> None:
        if self._last is not None:
            step, self._last = self._last, None
            step.count(self.training)
            self.calls += 1

    def _close_measuring(self) -> None:
        """Calls of the model ended without ``backward``: if there is a loss, it was measured."""
        tape, found, longest = self._tape, None, 0
        for ref, tensor in tape.scalars():
            if not any(node.module for node in tape.nodes[: ref.node + 1]):
                continue
            recording = tape.record(ref)
            if recording.signature in self._signatures and len(recording.signature) > longest:
                found, longest = (ref, tensor, recording), len(recording.signature)
            elif found is None and tape.nodes[ref.node].call in KNOWN and any(n.module for n in recording.nodes):
                found = ref, tensor, recording
        if found is None:
            if not self._grad:
                self._forget()
            return
        ref, tensor, recording = found
        validation = self._validation_now()
        place = self._place if self._placed else validation.place()
        recording.rows = self._tape.rows(recording.origin)
        recording.flags, recording.others = self._flags, self._others
        step = _Pending(recording, tensor, tape, {}, place)
        self._pending, self._placed, self._place, self._read = 0, False, None, []
        tape.forget(ref.node + 1)
        step.count(validation)

    def next_epoch(self) -> None:
        """What trains next is of a new pass."""
        self.training, self.validation = self._make(), self._make()
        self._pass_of, self.stale, self._fresh_validation = {}, True, False

    # ---- which pass --------------------------------------------------------------------------------------------------

    def _start_training_pass(self) -> None:
        """A step trains: it belongs to the pass that is under way, or begins one."""
        loader, iteration = self.loader, self._iterations
        before = self._pass_of.get("training")
        if loader is not None and (before is None or loader is not self.loaders.get("validation")):
            new = before is not None and before[0] != iteration and self.training.steps > 0
            self.loaders["training"] = loader
            self._pass_of["training"] = iteration, 0
        else:
            new = self.validation.steps > 0 and self._fresh_validation
        if new:
            self.training, self.validation = self._make(), self._make()
        if self.training.steps == 0 or new:
            self._begins("training")
        self._fresh_validation = False
        self.stale = True

    _fresh_validation = False
    stale = True

    def _validation_now(self) -> Epoch:
        """The record of the pass that measures: a new one after a step that trained, or for a new pass of a loader."""
        before = self._pass_of.get("validation")
        if self.stale or (self.loader is not None and before != (self._iterations, 0)):
            self.validation = self._make()
            self._pass_of["validation"] = self._iterations, 0
            if self.loader is not None and self.loader is not self.loaders.get("training"):
                self.loaders["validation"] = self.loader
        self.stale, self._fresh_validation = False, True
        return self.validation


class _Pending:
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
        if self._undivided and own is not chain[-1] and recording.divided(own):
            divided, own = own, chain[chain.index(own) + 1]
            recording.scale = 1.0
            self._looked = [own] if own in self._looked else [r for r in self._looked if r != divided]
        return next(iter(self._looked), own)

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


def _autocast() -> dict[str, torch.dtype]:
    return {d: torch.get_autocast_dtype(d) for d in _DEVICES if torch.is_autocast_enabled(d)}
