"""Recorded steps, run again: with other weights, modes, draws, precision or another form of the loss."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from verax.errors import DataError
from verax.ledger.facts import Facts
from verax.ledger.tally import Tally
from verax.torch.leaves import Constant, Parameter, Ref, leaves, mapped, writes
from verax.torch.losses import KNOWN, FunctionMode, LossMode, seen_as, weighted
from verax.torch.modes import Seer, bare, set_flags
from verax.torch.state import draw, draw_others, version_of
from verax.torch.tape import Recording
from verax.torch.terms import Node, needed_by
from verax.watch import Measured, Step

__all__ = ["Runner", "Source", "autocast_of", "dtype_of", "fitted", "handle_of", "plain_view", "run"]

_FRESH = 0x7E57
#: Functions whose arguments may be the number of rows.
_SHAPES = frozenset(
    ["view", "reshape", "expand", "repeat", "unflatten", "zeros", "ones", "full", "arange", "randn", "rand"]
)


@dataclass
class Source:
    """Batches that did not train.

    Attributes:
        steps: Gives them, anew each time.
        of: How many rows there are; None where it is not known.
    """

    steps: Callable[[], Iterable[Step]]
    of: int | None = None


def run(
    recording: Recording,
    wanted: Sequence[Ref],
    *,
    draws: int | None = None,
    autocast: Mapping[str, torch.dtype] | None = None,
    handle: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any] | None = None,
) -> list[torch.Tensor]:
    """Run the calls of a step, and give some of its tensors; without gradients, unless the loss is made of some.

    Args:
        recording: The step.
        wanted: Which tensors.
        draws: A seed for fresh draws; None for the draws of the step as it ran.
        autocast: device type -> dtype, instead of what was on as the step ran; None for that.
        handle: Is given every torch function, also those within the model, and computes it.
    """
    if recording.broken:
        raise DataError("A recorded step was to be run again.", because=recording.broken)
    needed = {place for ref in wanted for place in needed_by(recording.nodes, ref.node)}
    nodes = [node if place in needed else None for place, node in enumerate(recording.nodes)]
    given = leaves([(node.args, node.kwargs) for node in nodes if node is not None], Constant)
    if any(constant.changed for constant in given):
        raise DataError(
            "A recorded step was to be run again.",
            because="its batch was written over in place after the step",
            do="Give the loop new tensors for each batch, as a DataLoader does.",
        )
    made: list[list[torch.Tensor]] = []

    def value(leaf: Any, inplace: bool) -> Any:
        if isinstance(leaf, Ref):
            return made[leaf.node][leaf.leaf]
        if isinstance(leaf, (Constant, Parameter)):
            return leaf.tensor.clone() if inplace else leaf.tensor
        return leaf

    mode = FunctionMode(handle) if handle is not None else contextlib.nullcontext()
    # A loss may have gradients in it (a gradient penalty); they reach no parameter's own.
    inner = any(node is not None and node.call is torch.autograd.grad for node in nodes)
    with torch.set_grad_enabled(inner), mode:
        if draws is None and recording.others is not None:
            draw_others(recording.others)
        for place, node in enumerate(nodes):
            if node is None:  # as the factor of a gradient scaler
                made.append([])
                continue
            inplace = not node.module and writes(node.name)
            args, kwargs = (mapped(given, lambda leaf, i=inplace: value(leaf, i)) for given in (node.args, node.kwargs))
            if node.draws is not None:
                draw(node.draws if draws is None else draws + place)
            with _casting(node.autocast if autocast is None else autocast):
                result = bare(node.call)(*args, **kwargs)
            made.append([args[0]] if node.name == "__setitem__" else list(leaves(result)))
    return [made[ref.node][ref.leaf].detach() for ref in wanted]


@contextlib.contextmanager
def _casting(autocast: Mapping[str, torch.dtype]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if device in autocast:
                stack.enter_context(torch.autocast(device, dtype=autocast[device]))
            elif torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def plain_view(recording: Recording) -> Recording:
    """A step without what its loop draws into the model's inputs: the model is given the tensors that went into it.

    What a loop augments outside of its model, x + torch.randn_like(x) or a mixture with x[torch.randperm(n)], gives a
    tensor of the same shape as the batch's own; without one, or with several, the input stays as it is.
    """

    def plain(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        before = [recording.nodes[place] for place in needed_by(recording.nodes, leaf.node)]
        if any(node.module for node in before) or all(node.draws is None for node in before):
            return leaf
        given = {
            id(c.tensor): c
            for node in before
            for c in leaves((node.args, node.kwargs), Constant)
            if c.tensor.ndim and c.tensor.shape[0] == recording.rows
        }
        alike = [c for c in given.values() if c.tensor.is_floating_point()] or list(given.values())
        return alike[0] if len(alike) == 1 else leaf

    nodes = [
        replace(node, args=mapped(node.args, plain), kwargs=mapped(node.kwargs, plain)) if node.module else node
        for node in recording.nodes
    ]
    return recording if _refs(nodes) == _refs(recording.nodes) else replace(recording, nodes=nodes)


def _refs(nodes: Sequence[Node]) -> list[Ref]:
    return [ref for node in nodes if node.module for ref in leaves((node.args, node.kwargs), Ref)]


def fitted(template: Recording, batch: Any, number: int) -> Step:
    """A step like a recorded one on another batch: its tensors take the places of those that came from outside.

    Args:
        template: The recorded step.
        batch: What a loader gives.
        number: The step's number.

    Raises:
        DataError: The batch has no tensors for the places.
    """
    given = [torch.as_tensor(leaf) for leaf in leaves(batch, (torch.Tensor,))] or [
        torch.as_tensor(leaf) for leaf in _arrays(batch)
    ]
    if not given:
        raise DataError("Batches were to be measured.", received=type(batch).__name__, because="it holds no tensor")
    rows = int(given[0].shape[0]) if given[0].ndim else 1
    places: dict[int, torch.Tensor] = {}
    because = ""
    if template.unseen:
        because = f"the loop made {template.unseen} of its batch where it could not be heard (in numpy, say)"
    for place in template.constants():
        want = place.tensor
        if because or want.ndim == 0 or want.shape[0] != template.rows:
            continue
        alike = [g for g in given if g.ndim == want.ndim and g.dtype == want.dtype and g.shape[2:] == want.shape[2:]]
        same = [g for g in alike if g.shape[1:] == want.shape[1:]]
        # Words and times may be longer or shorter; columns may not.
        chosen = next(iter(same or [g for g in alike if want.ndim > 2 or not want.is_floating_point()]), None)
        if chosen is None:
            because = f"a step was given {_words(want)}, and there is no tensor like it left in the batch"
            continue
        given = [g for g in given if g is not chosen]
        places[id(want)] = chosen.to(want.device)
    if because or not places:
        raise DataError(
            "Batches were to be measured as the loop's steps were.",
            received=", ".join(_words(g) for g in leaves(batch)) or type(batch).__name__,
            because=because or "a step was given no batch that was seen",
            do="Give batches as the training loader does, or run the validation loop inside of the watch.",
        )

    def put(leaf: Any) -> Any:
        if isinstance(leaf, Constant) and id(leaf.tensor) in places:
            tensor = places[id(leaf.tensor)]
            return Constant(tensor, version_of(tensor))
        return leaf

    def sized(node: Node) -> Node:
        args, kwargs = mapped(node.args, put), mapped(node.kwargs, put)
        if node.name in _SHAPES and rows != template.rows:
            args, kwargs = (_numbers(given, template.rows, rows) for given in (args, kwargs))
        return replace(node, args=args, kwargs=kwargs)

    return Step(number, replace(template, nodes=[sized(node) for node in template.nodes], rows=rows, others=None))


def _arrays(batch: Any) -> Iterator[Any]:
    if hasattr(batch, "__array__"):
        yield batch
    elif isinstance(batch, Mapping):
        for inner in batch.values():
            yield from _arrays(inner)
    elif isinstance(batch, (list, tuple)):
        for inner in batch:
            yield from _arrays(inner)


def _numbers(structure: Any, old: int, new: int) -> Any:
    if isinstance(structure, (list, tuple)) and not hasattr(structure, "_fields"):
        return type(structure)(_numbers(each, old, new) for each in structure)
    if isinstance(structure, dict):
        return {key: _numbers(each, old, new) for key, each in structure.items()}
    return new if type(structure) is int and structure == old else structure


def _words(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


@dataclass
class Runner:
    """The Program of a PyTorch model: see ``verax.watch.Program``.

    Attributes:
        model: The model.
        flags: The rows' label -> ``training`` of each module in that pass.
        sources: (label, whether all rows are meant) -> batches that did not train.
        autocasts: The dtype as facts name it -> what autocast was.
        buffers: The model's buffers, and their values at the end of the epoch: what runs in training mode moves them.
        ignore: What targets are ignored where weights are left out; None to leave them as they are.
    """

    model: torch.nn.Module
    flags: Mapping[str, Mapping[str, bool]]
    sources: Mapping[tuple[str, bool], Source]
    autocasts: Mapping[str, Mapping[str, torch.dtype]]
    ignore: int | None = None
    buffers: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()

    # ---- what the probe asks -----------------------------------------------------------------------------------------

    def batches(self, facts: Facts) -> Iterable[Step] | None:
        """The batches of rows that did not train."""
        source = self.sources.get((facts.rows.label, not facts.rows.part))
        return source.steps() if source is not None else None

    def run(self, facts: Facts, steps: Iterable[Step], averages: Any) -> Iterator[Measured]:
        """What each batch comes to with these facts."""
        self._set(facts, averages)
        for step in steps:
            yield self.measured(facts, step)

    def population(self, facts: Facts, steps: Iterable[Step]) -> tuple[Any, Sequence[Mapping[str, Any]]]:
        """Mean and variance of what each batch normalization is given, averaged over batches by their rows."""
        paths = {m.path for m in facts.modes if m.effect == "batch_statistics" and m.state == "population"}
        at_batch = tuple(replace(m, state="train") if m.state == "population" else m for m in facts.modes)
        self._set(facts.but(modes=at_batch), None)
        modules = {path: _module(self.model, path) for path in paths}
        sums: dict[str, list[Any]] = {}
        weight = [1.0]

        def look(path: str) -> Callable[..., None]:
            def hook(module: Any, args: Any) -> None:
                x = args[0].detach().to(torch.float64)
                axes = [0, *range(2, x.ndim)]
                n = x.numel() / x.shape[1]
                mean, var = x.mean(axes), x.var(axes, correction=1 if n > 1 else 0)
                total = sums.setdefault(path, [0.0, 0.0, 0.0])
                for i, part in enumerate((mean, var, 1.0)):
                    total[i] = total[i] + weight[0] * part

            return hook

        handles = [module.register_forward_pre_hook(look(path)) for path, module in modules.items()]
        try:
            for step in steps:
                weight[0] = float(step.batch.rows)
                self.measured(facts.but(modes=at_batch), step)
        finally:
            for handle in handles:
                handle.remove()
        found = {path: (mean / n, var / n) for path, (mean, var, n) in sums.items()}
        return found, [self._lag(path, modules[path], *found[path]) for path in sorted(found)]

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _set(self, facts: Facts, averages: Any) -> None:
        """Put the model into the modes of the facts."""
        flags = dict(self.flags.get(facts.rows.label, {}))
        on: dict[str, bool] = {}
        for mode in facts.modes:
            on[mode.path] = on.get(mode.path, False) or mode.state == "train"
        set_flags(self.model, {**flags, **on})
        with torch.no_grad():
            for buffer, before in self.buffers:
                if buffer.shape == before.shape:
                    buffer.copy_(before)
            for path, (mean, var) in (averages or {}).items():
                module = _module(self.model, path)
                module.running_mean.copy_(mean)
                module.running_var.copy_(var)

    def _lag(self, path: str, module: Any, mean: torch.Tensor, var: torch.Tensor) -> dict[str, Any]:
        before = {id(buffer): value for buffer, value in self.buffers}
        own_mean, own_var = before[id(module.running_mean)], before[id(module.running_var)]
        off = max(_off(own_mean, mean), _off(own_var, var))
        counted = module.num_batches_tracked
        updates = int(before[id(counted)]) if counted is not None else 0
        taken = module.momentum if module.momentum is not None else 1.0 / max(updates, 1)
        needed = math.ceil(math.log(0.01) / math.log(1 - taken)) if 0 < taken < 1 else 0
        return {"path": path, "off": off, "momentum": taken, "taken": True, "updates": updates, "needed": needed}

    def measured(self, facts: Facts, step: Step) -> Measured:
        """What one batch comes to, in the modes the model is in."""
        recording = plain_view(step.batch) if facts.view == "plain" else step.batch
        plain = facts.objective == "plain"
        losses = LossMode(
            plain=plain,
            unweighted=facts.weights == "none",
            ignore=self.ignore if facts.weights == "none" else None,
            rows=recording.rows,
        )
        terms = [*recording.data, *(t for t in recording.terms if t.kind == "penalty")]
        values = run(
            recording,
            [t.ref for t in terms],
            draws=None if facts.draws == "as drawn" else _FRESH + 7919 * (step.number + 1),
            autocast=None if facts.dtype == dtype_of(self.model, recording) else self.autocasts.get(facts.dtype),
            handle=handle_of(losses),
        )
        data = [(t.coefficient, float(v)) for t, v in zip(terms, values, strict=True) if t.kind == "data"]
        penalty = math.fsum(t.coefficient * float(v) for t, v in zip(terms, values, strict=True) if t.kind == "penalty")
        main = data[0][1] if data else 0.0
        seen = seen_as(main, losses.seen)
        scale = recording.scale if recording.counted or (seen is not None and seen.summed(main)) else 1.0
        value = main * scale if plain else math.fsum(c * v for c, v in data)
        penalties = {"penalties": penalty}
        if seen is None or not data or (not plain and len(data) > 1):
            sums, weight = recording.sums, None if seen is None else seen.sums.weight
            each, weight = (value / recording.rows, None) if sums else (value, weight)
            return Measured.whole(each, recording.rows, weight, penalties)._replace(value=value)
        c, s = (scale if plain else data[0][0]), seen.sums
        if seen.summed(main) and value:  # a sum, divided by a count of the program's own
            by = s.sum / value / s.weight
            return Measured(value, recording.rows, weighted(s, by), penalties)
        sums = Tally(s.sum * c, s.weight, s.sumsq * c * c, s.cross * c, s.weightsq, s.rows)
        return Measured(value, recording.rows, sums, penalties)


def handle_of(losses: LossMode, seer: Seer | None = None) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]:
    """What is done with each torch function of a run: losses are looked at, and what depends on the mode is seen."""

    def handle(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in KNOWN:
            return losses(func, args, kwargs)
        if seer is not None:
            seer.look(getattr(func, "__name__", ""), func, args, kwargs)
        return func(*args, **kwargs)

    return handle


def dtype_of(model: torch.nn.Module, recording: Recording) -> str:
    """What a step was computed in, as facts name it."""
    cast = autocast_of(recording)
    if cast:
        return f"{str(next(iter(cast.values()))).removeprefix('torch.')} autocast"
    first = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return str(first).removeprefix("torch.")


def autocast_of(recording: Recording) -> Mapping[str, torch.dtype]:
    """What autocast was on as the model ran."""
    return next((node.autocast for node in recording.nodes if node.module), {})


def _module(model: torch.nn.Module, path: str) -> Any:
    return model if path == "model" else model.get_submodule(path)


def _off(now: torch.Tensor, population: torch.Tensor) -> float:
    scale = float(population.square().mean().sqrt()) or 1.0
    return float((now.to(torch.float64) - population).square().mean().sqrt()) / scale
