"""The calls in a functional model's configuration, as Keras 1, 2 and the ``.h5`` files of Keras 3 have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, cast

__all__ = ["MODELS", "Calls"]

#: The classes of models.
MODELS = ("Functional", "Sequential", "Model")
_RECURRENT = ("SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional")


class Calls:
    """The calls of a functional model: which layer's which call is meant where."""

    def __init__(self, config: Mapping[str, Any]):
        entries = {self.key(entry): entry for entry in config["layers"]}
        self.known = entries
        self.functional = {
            key
            for key, one in entries.items()
            if isinstance(one["config"], Mapping) and "input_layers" in one["config"]
        }
        used: dict[str, set[int]] = defaultdict(set)
        for entry in entries.values():
            for node in entry.get("inbound_nodes") or []:
                for key, call, _ in self._met(node):
                    used[key].add(call)
        ends = [place for field in ("input_layers", "output_layers") for place in self._met(config[field])]
        count = {key: len(entry.get("inbound_nodes") or []) for key, entry in entries.items()}
        models = {key for key in entries if entries[key]["class_name"] in MODELS or key in self.functional}
        of_ends: dict[str, set[int]] = defaultdict(set)
        for key, call, _ in ends:
            of_ends[key].add(call)
        lists = any(isinstance(node, list) for entry in entries.values() for node in entry.get("inbound_nodes") or [])
        # The calls of a model inside are counted from 1 where the model's own making counts: Keras 2, which kept calls
        # as lists, did so everywhere, Keras 3 does where a model ends.
        self.shift = {
            key
            for key in models
            if count[key] in used[key] or (lists and used[key] and 0 not in used[key] | of_ends[key])
        }
        self.end_shift = {
            key
            for key in models
            if count[key] in of_ends[key] or (0 not in of_ends[key] and (key in self.shift or key in self.functional))
        }

    @staticmethod
    def key(entry: Mapping[str, Any]) -> str:
        """What a layer is called in the graph."""
        return str(entry.get("name") or entry["config"]["name"])

    def places(self, value: Any) -> Any:
        """Inputs or outputs, a single one not in a list."""
        if self._is_place(value):
            key, call, index = value[:3]
            call -= key in self.end_shift
            return [key, call + (key in self.functional), index]
        if isinstance(value, Mapping):
            return {name: self.places(one) for name, one in cast("dict[str, Any]", value).items()}
        found = [self.places(one) for one in value]
        return found[0] if len(found) == 1 else found

    def modern(self, node: Any, kind: str) -> dict[str, Any]:
        """A call: ``{"args": ..., "kwargs": ...}``."""
        if isinstance(node, Mapping):
            return cast("dict[str, Any]", self._tensors(node))
        if self._is_place(node):
            node = [node]
        given = [self._tensor(one) for one in node]
        keywords: dict[str, Any] = {}
        for one in node:
            keywords.update(self._keywords(one[3]) if len(one) > 3 else {})
        if kind in _RECURRENT and len(given) > 1:
            return {"args": given[:1], "kwargs": {"initial_state": given[1:], **keywords}}
        return {"args": [given[0] if len(given) == 1 else given], "kwargs": keywords}

    def _keywords(self, value: Any) -> Any:
        """Arguments, in which a tensor is ``[layer, call, index]``."""
        if self._is_place(value):
            return self._tensor(value)
        if isinstance(value, Mapping):
            return {key: self._keywords(one) for key, one in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [self._keywords(one) for one in cast("list[Any]", value)]
        return value

    def _tensors(self, value: Any) -> Any:
        """The arguments of a call in today's form, its calls of models counted from 0."""
        if isinstance(value, list):
            return [self._tensors(one) for one in cast("list[Any]", value)]
        if isinstance(value, Mapping):
            value = cast("dict[str, Any]", value)
            if value.get("class_name") == "__keras_tensor__":
                return self._tensor(value["config"]["keras_history"])
            if value.get("class_name") == "__tuple__":
                return tuple(self._tensors(one) for one in value["items"])
            return {key: self._tensors(one) for key, one in value.items()}
        return value

    def _tensor(self, place: Any) -> dict[str, Any]:
        key, call, index = str(place[0]), int(place[1]), int(place[2])
        if key not in self.known:
            raise KeyError(key)
        return {"class_name": "__keras_tensor__", "config": {"keras_history": [key, call - (key in self.shift), index]}}

    def _is_place(self, value: Any) -> bool:
        if not isinstance(value, (list, tuple)):
            return False
        some = cast("list[Any]", value)
        return len(some) in (3, 4) and isinstance(some[0], str) and all(type(n) is int for n in some[1:3])

    def _met(self, value: Any) -> Iterator[tuple[str, int, int]]:
        if self._is_place(value):
            yield value[0], value[1], value[2]
            yield from self._met(value[3]) if len(value) > 3 else ()
        elif isinstance(value, Mapping):
            for one in cast("dict[str, Any]", value).values():
                yield from self._met(one)
        elif isinstance(value, (list, tuple)):
            for one in cast("list[Any]", value):
                yield from self._met(one)
