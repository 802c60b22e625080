"""Models as configurations, in Keras' form, and back: which layers are called on what, from inputs to outputs."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import jax

from verax.errors import GraphError
from verax.frame.graph import Graph
from verax.frame.serialized import revived, serialize_keras_object
from verax.frame.symbolic import SymbolicTensor, is_symbolic
from verax.layers import InputLayer, Layer
from verax.model import operations

if TYPE_CHECKING:
    from verax.frame.symbolic import Node

__all__ = ["functional_config", "functional_parts", "is_functional"]


def is_functional(kind: type[Any], of: type[Any]) -> bool:
    """Whether objects of a class are made of inputs and outputs, as those of its base ``of`` are."""
    return list(inspect.signature(kind.__init__).parameters) == list(inspect.signature(of.__init__).parameters)


# ---- to a configuration ----------------------------------------------------------------------------------------------


def functional_config(name: str, trainable: bool, graph: Graph) -> dict[str, Any]:
    """The configuration of a functional model."""
    keys = _Keys()
    starts = {id(t.node): t.node for t in jax.tree.leaves(graph.inputs, is_leaf=is_symbolic)}
    nodes = [*starts.values(), *graph.nodes]
    for node in sorted(nodes, key=lambda node: not isinstance(node.target, Layer)):  # layers keep their names
        keys.add(node)
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    heads: dict[str, dict[str, Any]] = {}
    for node in nodes:
        key, target = keys.of[id(node)][0], node.target
        args, kwargs = node.args, node.kwargs
        if isinstance(target, Layer):
            heads.setdefault(key, serialize_keras_object(target))
        else:
            module, kind = operations.class_of(operations.name_of(target))
            config, args, kwargs = operations.bound(target, args, kwargs)
            config = serialize_keras_object({"name": key, **config})
            heads[key] = {"module": module, "class_name": kind, "config": config, "registered_name": kind}
        if id(node) not in starts:
            args, kwargs = jax.tree.map(keys.described, (args, kwargs), is_leaf=is_symbolic)
            calls[key].append({"args": serialize_keras_object(args), "kwargs": serialize_keras_object(kwargs)})
    return {
        "name": name,
        "trainable": trainable,
        "layers": [{**head, "name": key, "inbound_nodes": calls[key]} for key, head in heads.items()],
        "input_layers": jax.tree.map(keys.place, graph.inputs, is_leaf=is_symbolic),
        "output_layers": jax.tree.map(keys.place, graph.outputs, is_leaf=is_symbolic),
    }


@dataclass
class _Keys:
    """A name of its own for everything that is called in a graph, and a number for each call."""

    of: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    _names: dict[int, str] = field(default_factory=dict[int, str])
    _calls: Counter[str] = field(default_factory=Counter[str])
    _taken: set[str] = field(default_factory=set[str])

    def add(self, node: Node) -> None:
        target: Any = node.target
        if isinstance(target, Layer):
            if id(target) not in self._names:
                self._names[id(target)] = self._unique(target.name)
            key = self._names[id(target)]
        else:
            key = self._unique(operations.name_of(target))
        self.of[id(node)] = (key, self._calls[key])
        self._calls[key] += 1

    def described(self, leaf: Any) -> Any:
        if not is_symbolic(leaf):
            return leaf
        history = [*self.of[id(leaf.node)], leaf.index]
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": leaf.shape, "dtype": leaf.dtype, "keras_history": history},
        }

    def place(self, tensor: SymbolicTensor) -> list[Any]:
        assert tensor.node is not None
        key, call = self.of[id(tensor.node)]
        # Keras counts the calls of a functional model from 1 here, and from 0 between layers.
        return [key, call + _is_functional_layer(tensor.node.target), tensor.index]

    def _unique(self, name: str) -> str:
        key, n = name, 0
        while key in self._taken:
            n += 1
            key = f"{name}_{n}"
        self._taken.add(key)
        return key


def _is_functional_layer(target: Any) -> bool:
    return getattr(target, "_is_functional", False) is True


# ---- from a configuration --------------------------------------------------------------------------------------------


def functional_parts(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The inputs and outputs of a functional model's configuration, Keras' or ours."""
    graph = _Rebuilt()
    for entry in config["layers"]:
        graph.make(entry)
    graph.call_all()
    return graph.tensors(config["input_layers"]), graph.tensors(config["output_layers"])


@dataclass
class _Rebuilt:
    """A graph on its way back from a configuration."""

    targets: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    made: dict[tuple[str, int], list[Any]] = field(default_factory=dict[tuple[str, int], list[Any]])
    waiting: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    def make(self, entry: Mapping[str, Any]) -> None:
        key = str(entry.get("name") or entry["config"]["name"])
        module = str(entry.get("module") or "")
        if module.startswith("keras.src.ops.") or module == "verax.ops":
            self.targets[key] = operations.function_of({**entry, "config": revived(entry["config"])})
        else:
            layer = revived({"module": "keras.layers", **entry})
            self.targets[key] = layer
            if isinstance(layer, InputLayer):
                self.made[key, 0] = [layer.output]
        if entry.get("inbound_nodes"):
            self.waiting[key] = list(entry["inbound_nodes"])

    def call_all(self) -> None:
        """Call what can be called, until nothing is left."""
        done: Counter[str] = Counter()
        while self.waiting:
            before = sum(done.values())
            for key in list(self.waiting):
                calls = self.waiting[key]
                while calls and self._ready(calls[0]):
                    self._call(key, done[key], calls.pop(0))
                    done[key] += 1
                if not calls:
                    del self.waiting[key]
            if self.waiting and sum(done.values()) == before:
                raise GraphError(
                    "A functional model was to be made of its configuration.",
                    received=f"calls of {sorted(self.waiting)} whose inputs nothing makes",
                    because="the graph has a loop, or a part of it is missing",
                )

    def tensors(self, places: Any) -> Any:
        if isinstance(places, Mapping):
            return {key: self.tensors(value) for key, value in cast("Mapping[str, Any]", places).items()}
        if len(places) == 3 and isinstance(places[0], str):
            key, call, index = places
            return self.made[key, call - _is_functional_layer(self.targets[key])][index]
        kind = tuple if isinstance(places, tuple) else list
        return kind(self.tensors(place) for place in places)

    def _call(self, key: str, number: int, call: Any) -> None:
        args, kwargs = self._arguments(call)
        kwargs = {k: v for k, v in kwargs.items() if v is not None}  # Keras notes ``mask=None`` and ``training=None``
        output = self.targets[key](*args, **kwargs)
        self.made[key, number] = jax.tree.leaves(output, is_leaf=is_symbolic)

    def _arguments(self, call: Any) -> tuple[list[Any], dict[str, Any]]:
        if isinstance(call, Mapping):
            call = cast("Mapping[str, Any]", call)
            return list(self._filled(call["args"])), dict(self._filled(call["kwargs"]))
        found = [self.made[str(one[0]), int(one[1])][one[2]] for one in call]  # Keras 2's form
        keywords: dict[str, Any] = call[0][3] if call and len(call[0]) > 3 else {}
        return [found[0] if len(found) == 1 else found], keywords

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value)
            if value.get("class_name") == "__keras_tensor__":
                key, call, index = value["config"]["keras_history"]
                return self.made[key, call][index]
            if "class_name" in value:
                return revived(value)
            return {key: self._filled(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self._filled(item) for item in cast("list[Any]", value)]
            return tuple(items) if isinstance(value, tuple) else items
        return value

    def _ready(self, call: Any) -> bool:
        if not isinstance(call, Mapping):
            return all((str(one[0]), int(one[1])) in self.made for one in call)
        return all(place in self.made for place in _needed(call))


def _needed(value: Any) -> list[tuple[str, int]]:
    """The calls whose outputs a call is made on."""
    if isinstance(value, Mapping):
        value = cast("Mapping[str, Any]", value)
        if value.get("class_name") == "__keras_tensor__":
            key, call, _ = value["config"]["keras_history"]
            return [(key, call)]
        return [place for one in value.values() for place in _needed(one)]
    if isinstance(value, (list, tuple)):
        return [place for one in cast("list[Any]", value) for place in _needed(one)]
    return []
