"""Configurations as Keras 1, 2 and the ``.h5`` files of Keras 3 have them, in the form of today's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from verax.errors import DataError, InputError
from verax.frame.custom_objects import find_custom, get_registered_object, register_keras_serializable
from verax.frame.serialized import revived
from verax.model import operations
from verax.model.legacy_calls import MODELS, Calls

__all__ = ["compile_arguments", "hard_sigmoid", "modern_model"]

#: Classes by their older names.
_RENAMED = {
    "Model": "Functional",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "CuDNNLSTM": "LSTM",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "DenseV2": "Dense",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "AtrousConvolution2D": "Conv2D",
}
#: Arguments by their older names, of any class, and of one.
_ARGUMENTS = {"lr": "learning_rate"}
_OF_CLASS = {
    "InputLayer": {"input_dtype": "dtype"},
    "LeakyReLU": {"alpha": "negative_slope"},
    "Dropout": {"p": "rate"},
    "SpatialDropout1D": {"p": "rate"},
    "SpatialDropout2D": {"p": "rate"},
    "GaussianNoise": {"sigma": "stddev"},
    "GaussianDropout": {"p": "rate"},
    "Dense": {"output_dim": "units", "init": "kernel_initializer", "bias": "use_bias"},
    "Conv2D": {
        "nb_filter": "filters", "subsample": "strides", "border_mode": "padding", "init": "kernel_initializer",
        "bias": "use_bias", "atrous_rate": "dilation_rate",
    },
    "MaxPooling2D": {"border_mode": "padding"},
    "AveragePooling2D": {"border_mode": "padding"},
    "Embedding": {"init": "embeddings_initializer"},
}  # fmt: skip
#: Arguments that are gone, with the values under which they asked for nothing; None: whatever they say.
_GONE: dict[str, tuple[Any, ...] | None] = {
    "implementation": None,
    "consume_less": None,
    "input_dtype": None,
    "input_dim": None,
    "input_length": None,
    "fused": None,
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": None,
    "time_major": (False,),
    "W_regularizer": (None,),
    "b_regularizer": (None,),
    "W_constraint": (None,),
    "b_constraint": (None,),
    "jit_compile": None,
    "is_legacy_optimizer": None,
}
#: Arguments that a class has not, though its base wrote them.
_APART = {
    "InputLayer": {"trainable"},
    "Embedding": {"dropout"},
    "SpatialDropout1D": {"noise_shape"},
    "SpatialDropout2D": {"noise_shape"},
    "SpatialDropout3D": {"noise_shape"},
}
_BY_CHANNEL = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
_BY_CHANNEL_GONE = ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint", "filters")


@register_keras_serializable("keras2")
def hard_sigmoid(x: jax.Array) -> jax.Array:
    """The ``hard_sigmoid`` of Keras 1 and 2: ``clip(0.2 x + 0.5, 0, 1)``. Keras 3's has another slope."""
    return jnp.clip(x * 0.2 + 0.5, 0.0, 1.0)


def modern_model(config: Mapping[str, Any], version: str, name: str, *, safe_mode: bool = True) -> dict[str, Any]:
    """The description of a model, of any age, as ``deserialize_keras_object`` reads it.

    Args:
        config: ``{"class_name": ..., "config": ...}``.
        version: The version of Keras that wrote it.
        name: What messages call the file.
        safe_mode: Whether a ``Lambda`` of bytecode is refused.

    Raises:
        DataError: It is no such description.
        InputError: A ``Lambda`` of bytecode.
    """
    try:
        return _Modern(version, safe_mode).described(config)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(
            f"{name} was to be read.",
            received=f"a configuration without what each has: {type(error).__name__}: {error}",
            because="it is no whole configuration of a model",
            do="Build the model in code, and load its weights with load_weights.",
        ) from error


class _Modern:
    def __init__(self, version: str, safe_mode: bool = True):
        self.safe_mode = safe_mode
        self.old = version.split(".")[0] in ("1", "2")

    def described(self, entry: Mapping[str, Any], module: str = "keras.layers") -> dict[str, Any]:
        """A description of a layer, a model, or a part of one."""
        kind, config = str(entry["class_name"]), entry["config"]
        if ">" in kind and get_registered_object(kind) is None:
            kind = kind.rpartition(">")[2]
        own = find_custom({**entry, "class_name": kind}) is not None
        further = {key: value for key, value in entry.items() if key not in ("class_name", "config", "inbound_nodes")}
        if not own:
            kind = _RENAMED.get(kind, kind)
        if isinstance(config, list):  # a Sequential of Keras 1 and 2
            config = {"layers": config}
        if kind == "Lambda" and not own:
            return {**further, **_function_of(config, self.safe_mode)}
        if isinstance(config, Mapping) and "layers" in config and "input_layers" in config:
            return {"module": "keras.models", **further, "class_name": kind, "config": self.functional(config)}
        if kind == "Sequential" or (isinstance(config, Mapping) and "layers" in config and kind in MODELS):
            return {"module": "keras.models", **further, "class_name": "Sequential", "config": self.sequential(config)}
        operation = operations.module_of(kind)
        if operation and not own and module == "keras.layers" and not {"trainable", "dtype"} & set(config):
            return {"module": operation, **further, "class_name": kind, "config": config}
        config = {key: self.part(value) for key, value in cast("dict[str, Any]", config).items()}
        if not own:
            config = self.arguments(kind, config)
        return {"module": module, **further, "class_name": kind, "config": config}

    def part(self, value: Any) -> Any:
        """A value of a configuration, with what it describes in today's form."""
        if isinstance(value, list):
            return [self.part(one) for one in cast("list[Any]", value)]
        if not isinstance(value, Mapping):
            return value
        value = cast("dict[str, Any]", value)
        kind = value.get("class_name")
        if kind == "__tuple__":
            return tuple(self.part(one) for one in value["items"])
        if kind == "TensorShape":
            return tuple(value["items"])
        if kind in ("Policy", "PolicyV1", "DTypePolicy"):
            return value["config"]["name"]
        if kind is None or "config" not in value:
            return {key: self.part(one) for key, one in value.items()}
        if str(kind).startswith("__") or kind == "function":
            return value
        if "module" in value and not str(value["module"]).startswith("keras.layers"):
            return {**value, "config": self.part(value["config"])}
        made = self.described(value, "")
        if not made["module"]:
            made.pop("module")
        return made

    def arguments(self, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        """The arguments of one of Keras' own classes."""
        if not self.old:
            return config
        renamed = {**_ARGUMENTS, **_OF_CLASS.get(kind, {})}
        found = {renamed.get(key, key): value for key, value in config.items()}
        if kind == "Conv2D" and "nb_row" in found:
            found["kernel_size"] = (found.pop("nb_row"), found.pop("nb_col"))
        if found.get("dim_ordering", "tf") != "tf":
            raise InputError(
                f"{kind} {found.get('name')!r} was to be made.",
                received=f"dim_ordering={found['dim_ordering']!r}",
                because="kernels of Theano are kept in another order, and turned around",
                do="Convert the model with the Keras that made it.",
            )
        found.pop("dim_ordering", None)
        shape = found.pop("batch_input_shape", None)
        if shape is not None:
            key = "batch_shape" if kind == "InputLayer" else "input_shape"
            found[key] = tuple(shape) if kind == "InputLayer" else tuple(shape[1:])
        axis = found.get("axis")
        if kind == "BatchNormalization" and isinstance(axis, (list, tuple)) and len(cast("list[Any]", axis)) == 1:
            found["axis"] = axis[0]
        apart = {*_APART.get(kind, ()), *(_BY_CHANNEL_GONE if kind in _BY_CHANNEL else ())}
        if kind in _BY_CHANNEL and kind.startswith("Separable"):
            apart.discard("filters")
        if kind.endswith("Transpose") and found.get("groups") == 1:
            apart.add("groups")
        for key, nothing in _GONE.items():
            if key not in found or (kind, key) == ("Embedding", "input_dim"):
                continue
            if nothing is not None and found[key] not in nothing:
                raise InputError(
                    f"{kind} {found.get('name')!r} was to be made.",
                    received=f"{key}={found[key]!r}",
                    because="there is no such argument any more",
                    do="Build the model in code, and load its weights with load_weights.",
                )
            apart.add(key)
        if kind == "BatchNormalization" and found.get("mode") == 0:
            apart.add("mode")
        if kind == "VarianceScaling" and found.get("distribution") == "normal":
            found["distribution"] = "truncated_normal"
        if kind in _INITIALIZERS:
            apart.add("dtype")
        kept = {key: value for key, value in found.items() if key not in apart}
        return {key: _HARD if _activates(key) and value == "hard_sigmoid" else value for key, value in kept.items()}

    def sequential(self, config: Mapping[str, Any]) -> dict[str, Any]:
        layers = [self.described(entry) for entry in config["layers"]]
        first = layers[0]["config"] if layers else {}
        raw = config["layers"][0]["config"] if layers else {}
        shape = raw.get("batch_input_shape") if isinstance(raw, Mapping) else None
        if shape is not None and layers[0]["class_name"] != "InputLayer":
            first.pop("input_shape", None)
            dtype = "int32" if layers[0]["class_name"] == "Embedding" else None
            start = {"batch_shape": tuple(self.part(shape)), "dtype": dtype}
            layers.insert(0, {"module": "keras.layers", "class_name": "InputLayer", "config": start})
        kept = {key: config[key] for key in ("name", "trainable", "build_input_shape") if key in config}
        return {**kept, "layers": layers}

    def functional(self, config: Mapping[str, Any]) -> dict[str, Any]:
        calls = Calls(config)
        layers: list[dict[str, Any]] = []
        for entry in config["layers"]:
            key = calls.key(entry)
            made = self.described(entry)
            made["inbound_nodes"] = [
                calls.modern(node, made["class_name"]) for node in entry.get("inbound_nodes") or []
            ]
            layers.append({**made, "name": key})
        kept = {key: config[key] for key in ("name", "trainable") if config.get(key) is not None}
        return {
            **kept,
            "layers": layers,
            "input_layers": calls.places(config["input_layers"]),
            "output_layers": calls.places(config["output_layers"]),
        }


def _function_of(config: Mapping[str, Any], safe_mode: bool) -> dict[str, Any]:
    """A ``Lambda`` whose function the program has, by its own name or by that of the layer."""
    name, function = str(config.get("name")), config.get("function")
    code: Any = None
    if isinstance(function, Mapping):
        function = cast("dict[str, Any]", function)
        code, function = (
            (function, None) if function.get("class_name") == "__lambda__" else (None, function.get("config"))
        )
    elif isinstance(function, list):
        code = {"class_name": "__lambda__", "config": dict(zip(("code", "defaults", "closure"), function, strict=True))}
    known = next((one for one in (function, name) if isinstance(one, str) and find_custom(one) is not None), None)
    kept = {key: config[key] for key in ("name", "trainable", "arguments") if config.get(key) is not None}
    if known is None and (safe_mode or code is None):
        called = function if isinstance(function, str) else name
        raise InputError(
            f"The Lambda layer {name!r} was to be made.",
            received=f"a function {function!r}" if isinstance(function, str) else "a function as bytecode of Python",
            because="what a file says is never run",
            do=f"Pass the function: custom_objects={{{called!r}: function}}.",
        )
    found = revived(code) if known is None else find_custom(known)
    return {"module": "keras.layers", "class_name": "Lambda", "config": {**kept, "function": found}}


def _activates(key: str) -> bool:
    return key == "activation" or key.endswith("_activation")


_HARD = {
    "module": "builtins", "class_name": "function", "config": "keras2>hard_sigmoid", "registered_name": "function"
}  # fmt: skip
# fmt: off
_INITIALIZERS = frozenset((
    "Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal",
    "Identity", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform",
))
# fmt: on


# ---- how it was compiled ---------------------------------------------------------------------------------------------


def compile_arguments(config: Mapping[str, Any], version: str, name: str) -> dict[str, Any]:
    """The arguments of ``compile`` of a ``training_config``, as descriptions in today's form."""
    modern = _Modern(version)
    try:
        optimizer = modern.described(config["optimizer_config"], "keras.optimizers")
        optimizer["config"] = _optimizer(optimizer["config"])
        return {
            "optimizer": optimizer,
            "loss": _named(config.get("loss"), _loss),
            "metrics": _named(config.get("metrics"), _metric),
            "weighted_metrics": _named(config.get("weighted_metrics"), _metric),
            "loss_weights": modern.part(config.get("loss_weights")),
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(
            f"{name} was to be read.",
            received=f"a training_config without what each has: {type(error).__name__}: {error}",
            because="it does not say how the model was compiled",
            do="Load it with compile=False, and compile it.",
        ) from error


def _optimizer(config: dict[str, Any]) -> dict[str, Any]:
    decay = config.pop("decay", None)
    if decay:  # of Keras 2: rate / (1 + decay * steps)
        rate = config["learning_rate"]
        schedule = {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
        config["learning_rate"] = {
            "module": "keras.optimizers.schedules", "class_name": "InverseTimeDecay", "config": schedule
        }  # fmt: skip
    return config


def _named(value: Any, one: Callable[[dict[str, Any]], Any]) -> Any:
    if isinstance(value, Mapping):
        value = cast("dict[str, Any]", value)
        if "class_name" in value:
            return one(value)
        return {key: _named(item, one) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, one) for item in cast("list[Any]", value)]
    return (find_custom(value) if isinstance(value, str) else None) or value


def _loss(entry: dict[str, Any]) -> Any:
    config = dict(entry["config"]) if isinstance(entry["config"], Mapping) else entry["config"]
    if isinstance(config, dict) and config.get("reduction") in ("auto", None):
        config.pop("reduction", None)
    if entry["class_name"] == "LossFunctionWrapper" and isinstance(config, dict):
        return str(config.get("fn") or config["name"])
    return {"module": "keras.losses", **entry, "config": config}


def _metric(entry: dict[str, Any]) -> Any:
    config = entry["config"]
    if entry["class_name"] in ("MeanMetricWrapper", "SumOverBatchSizeMetricWrapper"):
        function = config.get("fn")
        function = function.get("config") if isinstance(function, Mapping) else function
        return str(function or config["name"])
    return {"module": "keras.metrics", **entry}
