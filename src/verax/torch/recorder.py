"""What happens in a person's loop, step by step: hooks on the model, and an ear for the functions called around it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.overrides
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from verax.torch.leaves import Constant, Parameter, Ref, leaves, writes
from verax.torch.loaders import Loaded
from verax.torch.losses import KNOWN, FunctionMode, LossMode, Seen
from verax.torch.modes import bare, flags_of, judges
from verax.torch.pending import Pending
from verax.torch.state import draws_now, others_now, preserved
from verax.torch.tape import DRAWS, Recording, Tape, signature_of
from verax.torch.terms import Node, chain_of
from verax.watch import Epoch

__all__ = ["Recorder"]

#: Calls by which a loop looks at a number.
_READ = frozenset({"item", "detach", "__float__", "tolist", "cpu", "numpy", "__format__"})
_COPIES = frozenset({"clone", "squeeze", "mean"})
_DEVICES = ("cpu", "cuda")
#: So many calls of the model may be of one training step before the first has ended.
_CALLS = 16


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
        self.left_out: dict[str, int] = {}
        self._make, self._begins = make, begins
        self._tape = Tape()
        self._mode = FunctionMode(self._called)
        self._handles: list[Any] = []
        self._paused = 0
        self._spread = False
        self._place: int | None = None
        self._placed = False
        self._asked = "training"  # the pass that was asked for the place
        self._trains_in_evaluation = False  # the loop trains a model that is in evaluation mode
        self._over = False  # an epoch is over: what trains next is of a new one
        self._others: Any = None
        self._flags: Mapping[str, bool] = {}
        self._own: dict[int, tuple[Ref, Seen, Seen]] = {}
        self._read: list[torch.Tensor] = []
        self._pending = 0  # calls of the model since a step or a measurement ended
        self._each = 0  # calls of the model in a training step; 0 until one has ended
        self._signatures: list[tuple[str, ...]] = []
        self._primary = 0
        self._loaded = Loaded()
        self._last: Pending | None = None
        self._pass_of: dict[str, int] = {}
        self._iterations = 0
        self.scale = 1.0  # what the loop multiplies its losses with where it shows them
        self.undivided = False  # whether what a loss is divided by before ``backward`` is for accumulation alone

    # ---- on and off --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen."""
        self._hook(self.model)
        self._handles.append(register_optimizer_step_pre_hook(self._steps))
        self._handles.append(register_optimizer_step_post_hook(self._stepped))
        self._mode.begin()

    def stop(self) -> None:
        """Listen no more; nothing of the loop is changed afterwards."""
        if not self._handles:
            return
        self.settle()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._stepping = self._out = False
        self._mode.end()
        self._tape.forget()

    @contextlib.contextmanager
    def deaf(self) -> Any:
        """Within it nothing is noted."""
        self._paused += 1
        out = self._step_out()
        try:
            yield
        finally:
            self._paused -= 1
            if out:
                self._mode.__enter__()

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

    def gives(self, batch: Any) -> None:
        """A data loader gave a batch."""
        if not self._paused:
            self._loaded.gave(batch)

    def _steps(self, *_: Any) -> None:
        """An optimizer begins a step, which is a hundred functions of no interest."""
        self._stepping = self._step_out() or self._stepping  # a step may be made of another class's

    def _stepped(self, *_: Any) -> None:
        if self._stepping:
            self._stepping = False
            self._mode.__enter__()

    def _enters(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self._stepped()  # a step may call the model: by its closure
        self._paused += 1
        if self._paused > 1 or not self._handles:
            return
        self._out = self._step_out()
        if self._pending and (not self._grad or self._pending >= (self._each or _CALLS)):
            self._close_measuring()
        if not self._placed:
            self._settle_last()
            self._asked = "training" if self._trains() else "validation"
            new = self._trains_anew() if self._asked == "training" else self._measures_anew()
            self._place = 0 if new else (self.training if self._asked == "training" else self.validation).place()
            self._placed, self._own = True, {}
            self._flags, self._others = flags_of(bare(self.model)), others_now()
        self._grad = torch.is_grad_enabled()
        self._call = Node(module, args, kwargs, None, "model", True, draws_now(), _autocast())

    _grad = True
    _out = False
    _stepping = False
    _call: Node | None = None

    def _step_out(self) -> bool:
        """While the model runs nothing is listened to: what it is made of and how it is compiled is its own affair."""
        if torch.overrides._get_current_function_mode() is not self._mode:
            return False
        self._mode.__exit__(None, None, None)
        return True

    def _trains(self) -> bool:
        """Whether a call of the model is likely to train: whether it did is known when ``backward`` is called."""
        return torch.is_grad_enabled() and (self.model.training or self._trains_in_evaluation)

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
        noted = self._as_it_was(name, args)
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
        self._tape.note(Node(func, noted, kwargs, made, name, False, draws, _autocast()))
        if seen is not None and (ref := self._tape.ref(made[0])) is not None:
            self._own[id(made[0])] = (ref, *seen)
        return result

    def _as_it_was(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments as they are before a call that writes over a batch: x /= 255, x[mask] = 0.

        An optimizer writes into its tensors without gradients, between a step and the next call of the model.
        """
        if not writes(name) or not args or not isinstance(args[0], torch.Tensor) or args[0].requires_grad:
            return args
        if self._last is not None and not torch.is_grad_enabled():
            return args
        if not self._tape.from_outside(args[0]):
            return args
        with self.deaf(), torch.no_grad():
            copy = self._tape.written(args[0])
        self._loaded.copied(args[0], copy)
        return (copy, *args[1:])

    def _quietly(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._paused += 1
        try:
            return func(*args, **kwargs)
        finally:
            self._paused -= 1

    def _loss_rows(self, func: Any, args: Any, kwargs: Any) -> tuple[Seen, Seen] | None:
        """A known loss row by row as the step has it: as it is, and the plain one."""
        try:
            with self.deaf(), torch.no_grad():
                mode = LossMode(rows=self._tape.rows())
                mode(func, args, kwargs)
                if mode.seen[0].smoothing:
                    mode.plain = True
                    mode(func, args, kwargs)
            return mode.seen[0], mode.seen[-1]
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
        if recording.broken and any(not step.batch.broken for step in self.training.kept):
            self.left_out[recording.broken] = self.left_out.get(recording.broken, 0) + 1
            self._forget()
            return
        recording.rows, recording.scale = self._tape.rows(recording.origin), self.scale
        recording.unseen = self._loaded.unseen(recording) if ref is not None else ""
        self._each = max(self._each, self._pending, 1)
        if ref is not None and recording.signature not in self._signatures:
            recording.primary = self._primary_of(recording)
            self._sign(recording)
        recording.primary = self._primary
        self._start_training_pass()
        place = self._place if self._placed and self._asked == "training" else self.training.place()
        recording.flags, recording.others = self._flags, self._others
        self._trains_in_evaluation = not self._flags.get("model", True)
        self._last = Pending(recording, loss, tape, self._own, place, self.undivided)
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
        own = [self.loss_fn] if isinstance(self.loss_fn, torch.nn.Module) else []
        targets = [c.tensor for c in recording.constants() if id(c.tensor) not in used and c.tensor.ndim]
        with self.deaf(), preserved(own), torch.no_grad(), contextlib.suppress(Exception):
            for output in (tensor for tensors in made for tensor in tensors):
                value = self.loss_fn(output, *targets[:1])
                for i, ref in enumerate(data):
                    if torch.equal(tape.value(Ref(origin[ref.node], ref.leaf)), value):
                        self._primary = i
                        return i
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
        tape, best, found = self._tape, (0, 0, 0), None
        for ref, tensor in tape.scalars():
            if not any(node.module for node in tape.nodes[: ref.node + 1]):
                continue
            recording = tape.record(ref)
            read = int(any(tensor is one for one in self._read))
            if recording.signature in self._signatures:  # as in training: the whole of it rather than a summand
                rank = 2, read, len(recording.signature)
            elif tape.nodes[ref.node].call in KNOWN and any(n.module for n in recording.nodes):
                rank = 1, read, 0
            else:
                continue
            if rank > best:
                best, found = rank, (ref, tensor, recording)
        if found is None:
            if not self._grad:
                self._forget()
            return
        ref, tensor, recording = found
        validation = self._validation_now()
        place = self._place if self._placed and self._asked == "validation" else validation.place()
        recording.rows = self._tape.rows(recording.origin)
        recording.unseen = self._loaded.unseen(recording)
        recording.flags, recording.others = self._flags, self._others
        step = Pending(recording, tensor, tape, self._own, place)
        self._pending, self._placed, self._place, self._read = 0, False, None, []
        tape.forget(ref.node + 1)
        step.count(validation)

    def next_epoch(self) -> None:
        """What trains next is of a new pass."""
        self._over = True

    def _trains_anew(self) -> bool:
        """Whether a step that trains now begins a pass."""
        before = self._pass_of.get("training")
        if self._over:
            return True
        if before is not None:  # validation in the middle of an epoch does not end it
            return self._by_loader() and before != self._iterations and self.training.steps > 0
        if self._by_loader():
            return False
        return self.validation.steps > 0 and self._fresh_validation

    def _by_loader(self) -> bool:
        """Whether the loader that gives batches tells the passes of training apart."""
        known = "training" in self._pass_of and self.loader is self.loaders.get("validation")
        return self.loader is not None and not known

    def _measures_anew(self) -> bool:
        """Whether what is measured now begins a pass."""
        return self.stale or (self.loader is not None and self._pass_of.get("validation") != self._iterations)

    # ---- which pass --------------------------------------------------------------------------------------------------

    def _start_training_pass(self) -> None:
        """A step trains: it belongs to the pass that is under way, or begins one."""
        new = self._trains_anew()
        if self._by_loader():
            self.loaders["training"], self._pass_of["training"] = self.loader, self._iterations
        if new:
            self.training, self.validation = self._make(), self._make()
        if self.training.steps == 0:
            self._begins("training")
        self._fresh_validation = self._over = False
        self.stale = True

    _fresh_validation = False
    stale = True

    def _validation_now(self) -> Epoch:
        """The record of the pass that measures: a new one after a step that trained, or for a new pass of a loader."""
        if self._measures_anew():
            self.validation = self._make()
            self._pass_of["validation"] = self._iterations
            if self.loader is not None and self.loader is not self.loaders.get("training"):
                self.loaders["validation"] = self.loader
            self._begins("validation")
        self.stale, self._fresh_validation = False, True
        return self.validation


def _autocast() -> dict[str, torch.dtype]:
    return {d: torch.get_autocast_dtype(d) for d in _DEVICES if torch.is_autocast_enabled(d)}
