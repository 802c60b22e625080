"""What a model's configuration says, read as plain data: its layers, how it was compiled, and what in it is code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

__all__ = ["code_in", "compiled", "essentials", "layers_of", "model_of", "words"]

#: What a reader wants to know of a layer first; of others all that is short is shown.
_FIRST = (
    "batch_shape", "batch_input_shape", "input_dim", "output_dim", "units", "filters", "num_heads", "key_dim",
    "kernel_size", "pool_size", "strides", "padding", "dilation_rate", "groups", "depth_multiplier", "size", "height",
    "width", "target_shape", "axis", "rate", "scale", "offset", "mean", "variance", "activation",
    "recurrent_activation", "return_sequences", "return_state", "bidirectional", "merge_mode", "stateful", "mask_zero",
    "use_bias", "data_format", "output_mode", "max_tokens", "num_tokens", "output_sequence_length", "standardize",
    "split",
)  # fmt: skip
#: Values that say nothing, because they are what everyone has.
_USUAL: dict[str, tuple[Any, ...]] = {
    "strides": ([1, 1], [1], [1, 1, 1], 1),
    "padding": ("valid",),
    "dilation_rate": ([1, 1], [1], [1, 1, 1], 1),
    "groups": (1,),
    "depth_multiplier": (1,),
    "scale": (True,),
    "offset": (0, 0.0),
    "axis": (-1, [-1]),
    "activation": ("linear", None),
    "return_sequences": (False,),
    "return_state": (False,),
    "stateful": (False,),
    "mask_zero": (False,),
    "use_bias": (True,),
    "data_format": ("channels_last", None),
    "recurrent_activation": ("sigmoid",),
}
#: Names that need no word before them.
_BARE = {"activation", "batch_shape", "batch_input_shape", "padding"}
#: Classes whose ``vocabulary`` may be the name of a file.
_READERS = ("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization")
_DEEPEST = 64
Config = Mapping[str, Any]


def model_of(config: Any) -> dict[str, Any] | None:
    """The name and class of the model a configuration describes."""
    if not isinstance(config, Mapping):
        return None
    inner = _inner(cast("Config", config))
    return {"name": str(inner.get("name", "")), "class": str(cast("Config", config).get("class_name", ""))}


def layers_of(config: Any) -> list[dict[str, Any]]:
    """The layers directly in a model's configuration: name, class, what they are made with, whether trained."""
    if not isinstance(config, Mapping):
        return []
    inner: Any = _inner(cast("Config", config))
    listed = inner.get("layers") if isinstance(inner, Mapping) else inner
    found: list[dict[str, Any]] = []
    for each in cast("list[Any]", listed) if isinstance(listed, list) else []:
        if not isinstance(each, Mapping):
            continue
        layer = cast("Config", each)
        own = _inner(layer)
        found.append(
            {
                "name": str(own.get("name") or layer.get("name") or ""),
                "class": str(layer.get("class_name", "")),
                "config": essentials(own),
                "trainable": own.get("trainable") is not False,
            }
        )
    return found


def essentials(config: Config) -> dict[str, Any]:
    """The arguments that tell a layer from another of its class.

    >>> essentials({"name": "d", "units": 10, "activation": "relu", "use_bias": True, "bias_initializer": {}})
    {'units': 10, 'activation': 'relu'}
    """
    found: dict[str, Any] = {}
    for key in _FIRST:
        if key in config and config[key] is not None and config[key] not in _USUAL.get(key, ()):
            value = config[key]
            if isinstance(value, Mapping):
                value = cast("Config", value).get("class_name") or cast("Config", value).get("config")
            if isinstance(value, (str, int, float, bool)) or (isinstance(value, list) and len(cast("Any", value)) <= 8):
                found[key] = value
    inside = config.get("layer") or config.get("cell")
    if isinstance(inside, Mapping):
        held = cast("Config", inside)
        found["around"] = str(held.get("class_name", ""))
        found.update({k: v for k, v in essentials(_inner(held)).items() if k not in found})
    nested = config.get("layers")
    if isinstance(nested, list):
        found["layers"] = len(cast("list[Any]", nested))
    return found


def words(found: Config) -> str:
    """What a layer is made with, in words.

    >>> words({"filters": 8, "kernel_size": [3, 3], "activation": "relu"})
    'filters 8, kernel_size 3x3, relu'
    """
    return ", ".join(_said(key, value) for key, value in found.items())


def compiled(config: Any) -> dict[str, Any] | None:
    """How a model was compiled: optimizer, learning rate, loss, metrics."""
    if not isinstance(config, Mapping) or not config:
        return None
    made = cast("Config", config)
    optimizer = made.get("optimizer", made.get("optimizer_config"))
    found: dict[str, Any] = {"optimizer": _named(optimizer)}
    if isinstance(optimizer, Mapping):
        rate = _inner(cast("Config", optimizer)).get("learning_rate")
        found["learning_rate"] = _named(rate) if isinstance(rate, Mapping) else rate
    for key in ("loss", "loss_weights", "metrics", "weighted_metrics"):
        if made.get(key) not in (None, [], {}):
            found[key] = _named(made[key])
    return found


def code_in(config: Any) -> Iterator[tuple[str, str, str]]:
    """(kind, name, why) of what in a configuration is code, or needs some: kind is "unsafe" or "notice"."""
    waiting: list[tuple[Any, str, int]] = [(config, "", 0)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        value, layer, depth = waiting.pop()
        if depth > _DEEPEST:
            yield "unsafe", layer, f"its configuration is nested deeper than {_DEEPEST} times"
            continue
        if isinstance(value, Mapping):
            node = cast("Config", value)
            if "class_name" in node:
                layer = str(_inner(node).get("name") or layer)
                for kind, name, why in _node(node, layer):
                    if (kind, name) not in seen:
                        seen.add((kind, name))
                        yield kind, name, why
            waiting.extend((item, layer, depth + 1) for item in reversed(list(node.values())))
        elif isinstance(value, list):
            waiting.extend((item, layer, depth + 1) for item in reversed(cast("list[Any]", value)))


def _node(node: Config, layer: str) -> Iterator[tuple[str, str, str]]:
    name, module, registered = (node.get(key) for key in ("class_name", "module", "registered_name"))
    own = _inner(node)
    brought = isinstance(module, str) and module.startswith(("keras", "verax", "builtins"))
    if name == "__lambda__" or own.get("function_type") == "lambda":
        yield "unsafe", layer, "holds the bytecode of a Python function, a lambda, which whoever loads it would run"
        return
    if name in _READERS and isinstance(own.get("vocabulary"), str):
        yield "unsafe", layer, f"reads the file {own['vocabulary']!r} for its vocabulary"
    if name == "Lambda" and isinstance(own.get("function"), str):
        yield "notice", layer, f"is a Lambda of the function {own['function']!r}: give it in custom_objects"
    if name == "function" and module == "builtins":
        yield "notice", str(node.get("config")), "is a person's own function: give it in custom_objects"
    elif isinstance(registered, str) and registered and not brought:
        yield "notice", registered, "is a person's own class: register it, or give it in custom_objects"
    elif isinstance(module, str) and not brought:
        yield "notice", f"{module}.{name}", "is a person's own class: give it in custom_objects"
    elif module is None and isinstance(name, str) and ">" in name:
        yield "notice", name, "is a person's own class: register it, or give it in custom_objects"


def _inner(node: Config) -> Config:
    inner = node.get("config")
    return cast("Config", inner) if isinstance(inner, Mapping) else {}


def _said(key: str, value: Any) -> str:
    text = str(value)
    if key in ("batch_shape", "batch_input_shape") and isinstance(value, list):
        text = "(" + ", ".join(map(str, cast("list[Any]", value))) + ")"
    elif isinstance(value, list):
        text = "x".join(map(str, cast("list[Any]", value)))
    elif isinstance(value, float):
        text = f"{value:.6g}"
    if value is True:
        return key
    return text if key in _BARE else f"{key} {text}"


def _named(value: Any) -> Any:
    """A part of a configuration by its name."""
    if isinstance(value, Mapping):
        node = cast("Config", value)
        if "class_name" in node:
            config = node.get("config")
            return config if isinstance(config, str) else node["class_name"]
        return {str(key): _named(item) for key, item in node.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_named(item) for item in cast("Sequence[Any]", value)]
    return value
