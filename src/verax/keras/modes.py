"""Which layers of a Keras model do something else in training: found by running it both ways, not by a list."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verax.keras.frameworks import Below, require_keras
from verax.ledger.facts import LayerMode

__all__ = ["Moded", "Modes"]

#: Names in Keras of layers that are switched by the mode, by effect. Their subclasses go with them.
_KNOWN = {
    "batch_statistics": r"BatchNormalization",
    "noise": r"GaussianNoise",
    "dropout": r".*Dropout.*|Attention|AdditiveAttention|(LSTM|GRU|SimpleRNN)(Cell)?|ConvLSTM\dD",
    "augmentation": r"Random.*|AugMix|CutMix|MixUp|Pipeline",
}

#: What the name of a layer of one's own says about it.
_NAMED = (
    ("stochastic_depth", re.compile(r"stochastic_?depth|drop_?(path|connect|block)", re.IGNORECASE)),
    ("dropout", re.compile(r"dropout", re.IGNORECASE)),
    ("noise", re.compile(r"noise", re.IGNORECASE)),
    ("augmentation", re.compile(r"augment|^random|mix_?up|cut_?mix|cut_?out", re.IGNORECASE)),
)

_ABSENT = object()


@dataclass
class Moded:
    """A layer that depends on the mode.

    Attributes:
        layer: The layer.
        effect: What depends on it, as the ledger names it.
        path: Where the layer is.
        train, infer: What it is told at each of its calls, in the two modes.
        why: "asked", or why it does the same in both: "forced" or "frozen".
        state: In which state it then is.
    """

    layer: Any
    effect: str
    path: str
    train: tuple[Any, ...]
    infer: tuple[Any, ...]
    why: str = "asked"
    state: str = ""

    def told(self, state: str) -> tuple[Any, ...]:
        """What the layer is to be told in a state."""
        return self.train if state == "train" else self.infer


class Modes:
    """The layers of a model that depend on the mode.

    Args:
        model: The model.
        below: The framework.
        forward: (training) -> a function of nothing that runs the model on a batch in that mode, and its arguments.
    """

    def __init__(self, model: Any, below: Below, forward: Callable[[bool], tuple[Callable[..., Any], tuple[Any, ...]]]):
        self._below = below
        self._forward = forward
        self.layers: list[Moded] = []
        told = {training: _told(model, below, *forward(training)) for training in (True, False)}
        paths: set[str] = set()
        for layer in model._flatten_layers(include_self=True):
            train, infer = (tuple(told[t].get(id(layer), (layer, []))[1]) for t in (True, False))
            if not train and not infer:
                continue
            path = str(getattr(layer, "path", "") or layer.name).removeprefix(f"{model.name}/")
            path = _fresh(path, paths)
            one = Moded(layer, _effect(layer, path), path, train, infer or train)
            frozen = one.effect == "batch_statistics" and not layer.trainable
            if frozen or train == infer:
                if not one.effect.startswith("custom:") and (one.effect == "batch_statistics" or any(train)):
                    state = "infer" if frozen or not any(train) else "train"
                    why = "frozen" if frozen else "forced"
                    self.layers.append(Moded(layer, one.effect, path, train, infer, why, state))
                continue
            self.layers.append(one)
        self._drop_those_without_effect()

    def _drop_those_without_effect(self) -> None:
        """Keep the layers that make a difference: a block that only hands its argument on makes none."""
        asked = [one for one in self.layers if one.why == "asked"]
        forced = [one for one in self.layers if one.why == "forced" and one.effect != "batch_statistics"]
        everything = self._computed({})
        known: dict[str, list[Moded]] = {}
        for one in asked:
            known.setdefault(one.effect, []).append(one)
        custom = [one for one in asked if one.effect.startswith("custom:")]
        if custom and _same(self._computed({id(one.layer): "infer" for one in custom}), everything):
            known = {effect: group for effect, group in known.items() if not effect.startswith("custom:")}
        kept = [
            one
            for group in known.values()
            if not _same(self._computed({id(one.layer): "infer" for one in group}), everything)
            for one in group
        ]
        wanted = {id(one) for one in (*kept, *forced)}
        wanted |= {id(one) for one in self.layers if one.effect == "batch_statistics" and one.why != "asked"}
        self.layers = [one for one in self.layers if id(one) in wanted]

    def _computed(self, states: Mapping[int, str]) -> Any:
        function, args = self._forward(True)
        by_layer = {(one.effect, one.path): states.get(id(one.layer), "train") for one in self.layers}
        with self.switched(by_layer):
            text = self._below.text(function, *args)
            return self._values(function(*args)) if text is None else text

    def _values(self, out: Any) -> list[np.ndarray]:
        keras = require_keras("A model was to be run.")
        leaves = [leaf for leaf in keras.tree.flatten(out) if leaf is not None]
        return [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in leaves]

    @property
    def draws(self) -> bool:
        """Whether a layer that may draw is in training mode in training."""
        return any(one.effect != "batch_statistics" and (one.why == "asked" or one.state == "train") for one in self)

    def __iter__(self) -> Iterator[Moded]:
        return iter(self.layers)

    def facts(self, state: str) -> tuple[LayerMode, ...]:
        """What every layer does where the pass asks for a state."""
        return tuple(sorted(LayerMode(m.effect, m.path, m.state or state, m.why) for m in self.layers))

    @contextlib.contextmanager
    def switched(self, states: Mapping[tuple[str, str], str]) -> Iterator[None]:
        """Inside, every layer is told what these states say, whatever its callers say; afterwards as before.

        Batch normalization in training mode writes its batch's own statistics inside, undamped.
        """
        calls: dict[Any, Callable[..., Any]] = {}
        attributes: list[tuple[Any, str, Any]] = []
        for one in self.layers:
            state = states.get((one.effect, one.path))
            if one.why != "asked" or state is None:
                continue
            calls[one.layer] = _telling(one.layer.call, one.told(state))
            if one.effect == "batch_statistics" and state == "train":
                attributes.append((one.layer, "momentum", 0.0))
        with overridden("call", calls.items()), contextlib.ExitStack() as stack:
            for layer, name, value in attributes:
                stack.enter_context(overridden(name, [(layer, value)]))
            yield


@contextlib.contextmanager
def overridden(name: str, values: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Attributes of single objects for a while, past whatever watches attributes; afterwards as they were."""
    saved: list[tuple[dict[str, Any], Any]] = []
    try:
        for thing, value in values:
            saved.append((vars(thing), vars(thing).get(name, _ABSENT)))
            vars(thing)[name] = value
        yield
    finally:
        for attributes, value in reversed(saved):
            if value is _ABSENT:
                attributes.pop(name, None)
            else:
                attributes[name] = value


def _telling(call: Callable[..., Any], told: tuple[Any, ...]) -> Callable[..., Any]:
    count = iter(range(len(told) - 1))

    def telling(*args: Any, **kwargs: Any) -> Any:
        value = told[next(count, len(told) - 1)]
        if value is not None:
            kwargs["training"] = value
        return call(*args, **kwargs)

    return telling


def _told(
    model: Any, below: Below, function: Callable[..., Any], args: tuple[Any, ...]
) -> dict[int, tuple[Any, list[Any]]]:
    """id of a layer -> the layer, and what it is told at each of its calls as the function runs."""
    told: dict[int, tuple[Any, list[Any]]] = {}

    def spying(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **kwargs: Any) -> Any:
            told.setdefault(id(layer), (layer, []))[1].append(kwargs.get("training"))
            return call(*args, **kwargs)

        return spy

    listening = [x for x in model._flatten_layers(include_self=True) if getattr(x, "_call_has_training_arg", False)]
    with overridden("call", [(layer, spying(layer, layer.call)) for layer in listening]):
        if below.text(function, *args) is None:
            function(*args)
    return told


def _effect(layer: Any, path: str) -> str:
    layers = require_keras("A layer was to be recognized.").layers
    for kind in type(layer).__mro__:
        if getattr(layers, kind.__name__, None) is not kind and not kind.__name__.endswith("Cell"):
            continue
        for effect, pattern in _KNOWN.items():
            if re.fullmatch(pattern, kind.__name__) and kind.__module__.startswith("keras."):
                renorm = effect == "batch_statistics" and getattr(layer, "renorm", False)
                return f"custom:{path}" if renorm else effect
    named = (effect for effect, pattern in _NAMED if pattern.search(type(layer).__name__))
    return next(named, f"custom:{path}")


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, str):
        return one == two
    return len(one) == len(two) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, two, strict=True))


def _fresh(path: str, used: set[str]) -> str:
    name, n = path, 1
    while name in used:
        n += 1
        name = f"{path} ({n})"
    used.add(name)
    return name
