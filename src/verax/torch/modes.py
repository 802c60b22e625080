"""What the modules of a model do in training and in evaluation: seen in a run, not assumed from their names."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from verax.ledger.facts import LayerMode
from verax.torch.tape import DRAWS

__all__ = ["Found", "Layers", "Seer", "Stack", "bare", "flags_of", "judges", "layer_modes", "set_flags"]

_DROPOUT = frozenset(
    [
        "dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "feature_dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "dropout_",
    ]
)


@dataclass(frozen=True)
class Found:
    """What a module was seen to do.

    Attributes:
        effect: As in LayerMode.
        path: The module.
        training: Whether it did what it does in training.
    """

    effect: str
    path: str
    training: bool


class Stack:
    """Which module is running: hooks on all of them, for as long as a run is looked at."""

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.paths = {id(m): name for name, m in model.named_modules()}
        self.running: list[torch.nn.Module] = []

    @property
    def module(self) -> torch.nn.Module:
        """The innermost module that is running; the model where none is."""
        return self.running[-1] if self.running else self.model

    @property
    def path(self) -> str:
        """Its path; that of the model is "model"."""
        return self.paths.get(id(self.module), "") or "model"

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Within it, know which module is running."""
        handles: list[Any] = []

        def enter(module: torch.nn.Module, args: Any) -> None:
            self.running.append(module)

        def leave(module: torch.nn.Module, args: Any, output: Any) -> None:
            if self.running and self.running[-1] is module:
                self.running.pop()

        try:
            for module in self.model.modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                handles.append(module.register_forward_pre_hook(enter, prepend=True))
                handles.append(module.register_forward_hook(leave, always_call=True))
            yield
        finally:
            self.running.clear()
            for handle in handles:
                handle.remove()


@dataclass
class Seer:
    """Looks at the functions a run calls, and notes what depends on the mode.

    Attributes:
        stack: Which module is running.
        found: What was seen, in order.
        drawing: The modules that drew at random in another way: path -> functions.
    """

    stack: Stack
    found: list[Found] = field(default_factory=list[Found])
    drawing: dict[str, set[str]] = field(default_factory=dict[str, "set[str]"])

    def look(self, name: str, call: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note a call, before it runs; what runs outside of the model is no module's doing."""
        if not self.stack.running:
            return
        path = self.stack.path
        if name in _DROPOUT:
            p, training = _argument(call, args, kwargs, "p", 0.5), _argument(call, args, kwargs, "training", True)
            if p:
                self.found.append(Found("dropout", path, bool(training)))
        elif name == "scaled_dot_product_attention":
            if _argument(call, args, kwargs, "dropout_p", 0.0):
                self.found.append(Found("dropout", path, True))
        elif name == "multi_head_attention_forward":
            if _argument(call, args, kwargs, "dropout_p", 0.0):
                self.found.append(Found("dropout", path, bool(_argument(call, args, kwargs, "training", True))))
        elif name == "batch_norm":
            self.found.append(Found("batch_statistics", path, bool(_argument(call, args, kwargs, "training", False))))
        elif name == "instance_norm":
            if _argument(call, args, kwargs, "running_mean", None) is not None:
                self.found.append(
                    Found("batch_statistics", path, bool(_argument(call, args, kwargs, "use_input_stats", True)))
                )
        elif name == "rrelu":
            self.found.append(Found("noise", path, bool(_argument(call, args, kwargs, "training", False))))
        elif name in DRAWS and self.stack.running:
            self.drawing.setdefault(path, set()).add(name)


def _argument(call: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str, default: Any) -> Any:
    """One argument of a functional call, however it was given."""
    if name in kwargs:
        return kwargs[name]
    place = _places(call).get(name)
    return args[place] if place is not None and place < len(args) else default


@functools.cache
def _places(call: Any) -> dict[str, int]:
    code = getattr(call, "__code__", None)
    names: Sequence[str] = code.co_varnames[: code.co_argcount] if code is not None else ()
    if not names and getattr(call, "__name__", "") == "scaled_dot_product_attention":
        names = ("query", "key", "value", "attn_mask", "dropout_p")
    if not names and getattr(call, "__name__", "") in ("dropout", "feature_dropout", "alpha_dropout"):
        names = ("input", "p", "training")  # those of torch, not of torch.nn.functional
    if not names and getattr(call, "__name__", "") == "batch_norm":
        names = ("input", "weight", "bias", "running_mean", "running_var", "training")
    return {name: i for i, name in enumerate(names)}


class Layers:
    """The modules of a model that do one thing in training and another in evaluation.

    Attributes:
        model: The model.
        effects: (effect, path) of every one that was found.
    """

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.modules = {name or "model": m for name, m in model.named_modules()}
        self.effects: set[tuple[str, str]] = set()

    def see(self, run: Callable[[Seer], Any]) -> list[Found]:
        """What the modules do with the flags as they are: ``run`` calls the model, and looks with a Seer."""
        stack = Stack(self.model)
        seer = Seer(stack)
        with stack.following():
            run(seer)
        found = list(seer.found)
        found += [Found("dropout", path, m.training) for path, m in self.modules.items() if _drops_between_layers(m)]
        named = {one.path for one in found}
        for path in seer.drawing:
            module = self.modules.get(path)
            if module is not None and path not in named:
                found.append(Found(_effect(module, path), path, True))
        return list(dict.fromkeys(found))

    def candidates(self) -> list[str]:
        """Modules of a person's own whose code reads ``training``: what they do with it has to be tried."""
        return [path for path, m in self.modules.items() if _reads_training(type(m))]


def _drops_between_layers(module: torch.nn.Module) -> bool:
    """Recurrent layers drop between their stacked layers inside of one function."""
    return isinstance(module, torch.nn.RNNBase) and module.dropout > 0 and module.num_layers > 1


def _effect(module: torch.nn.Module, path: str) -> str:
    """What a module that draws at random is, by its name."""
    name = type(module).__name__.lower()
    if "droppath" in name or "stochasticdepth" in name or "layerdrop" in name:
        return "stochastic_depth"
    if "drop" in name:
        return "dropout"
    if "noise" in name:
        return "noise"
    if "augment" in name or name.startswith("random") or ".transforms" in type(module).__module__:
        return "augmentation"
    return f"custom:{path}"


@functools.cache
def _reads_training(kind: type[torch.nn.Module]) -> bool:
    for base in kind.__mro__:
        if base is torch.nn.Module or base.__module__.startswith("torch.nn."):
            return False
        for value in vars(base).values():
            code = getattr(value, "__code__", None)
            if code is not None and _names(code):
                return True
    return False


def _names(code: types.CodeType) -> bool:
    return "training" in code.co_names or any(_names(c) for c in code.co_consts if isinstance(c, types.CodeType))


def bare(module: Any) -> Any:
    """A model without what wraps it: compilation, and what would speak to other processes or devices."""
    wrappers = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    while True:
        inner = module.module if isinstance(module, wrappers) else getattr(module, "_orig_mod", None)
        if not isinstance(inner, torch.nn.Module):
            return module
        module = inner


def judges(part: torch.nn.Module) -> bool:
    """Whether a module measures what the model gives: a loss or a metric."""
    kind = type(part)
    return (
        isinstance(part, torch.nn.modules.loss._Loss)
        or kind.__module__.startswith("torchmetrics")
        or any(base.__module__.startswith("torchmetrics") for base in kind.__mro__)
        or ("loss" in kind.__name__.lower() and not any(True for _ in part.parameters()))
    )


# ---- flags -----------------------------------------------------------------------------------------------------------


def flags_of(model: torch.nn.Module) -> dict[str, bool]:
    """path -> ``training`` of every module; the path of the model itself is "model"."""
    return {name or "model": m.training for name, m in model.named_modules()}


def set_flags(model: torch.nn.Module, flags: Mapping[str, bool]) -> None:
    """Set ``training`` of single modules, not of what is in them."""
    for name, module in model.named_modules():
        if (flag := flags.get(name or "model")) is not None:
            module.training = flag


def layer_modes(
    found: Sequence[Found], flags: Mapping[str, bool], every: set[tuple[str, str]]
) -> tuple[LayerMode, ...]:
    """What was seen, as facts; of an effect that was not seen, that it is off."""
    training: dict[tuple[str, str], bool] = dict.fromkeys(every, False)
    for one in found:
        training[one.effect, one.path] = training.get((one.effect, one.path), False) or one.training
    modes: list[LayerMode] = []
    for (effect, path), on in training.items():
        flag, root = flags.get(path, False), flags.get("model", False)
        why = "asked" if on == root else "forced" if on != flag else "set"
        modes.append(LayerMode(effect, path, "train" if on else "infer", why))
    return tuple(sorted(modes))


def custom_of(path: str, training: bool) -> Found:
    """A module of a person's own."""
    return Found(f"custom:{path}", path, training)
