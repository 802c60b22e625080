"""ExportArchive: functions of layers and models, collected as endpoints and written into one file."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

import jax
import numpy as np

from verax._version import __version__
from verax.errors import FrameError, InputError, StateError, UnknownNameError
from verax.export import package
from verax.export.programs import PLATFORMS, Program, check_platforms, check_serializer, programs_of
from verax.export.signature import Leaf, signature_of
from verax.export.structure import Description, described, filled, flat, leaves_of, shown
from verax.frame.frame import call
from verax.frame.mode import Mode
from verax.frame.symbolic import is_symbolic
from verax.frame.tree import Tree
from verax.frame.variable import Variable
from verax.layers import Layer

__all__ = ["ExportArchive", "Served", "check_options"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: Layers that make of raw numbers what a network wants: whoever serves the model must not do it again.
_PREPARING = {"CategoryEncoding", "CenterCrop", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup",
              "Normalization", "Rescaling", "Resizing", "STFTSpectrogram", "MelSpectrogram"}  # fmt: skip


class Served(Layer):
    """A function of layers as a layer that holds them, so that their values are arguments and no constants."""

    autocast = False

    def __init__(self, function: Callable[..., Any], resources: list[Layer]):
        super().__init__(name="served")
        self._function = function
        self._resources = tuple(resources)
        self.built = True

    def call(self, *args: Any) -> Any:
        """The function's result."""
        return self._function(*args)

    def children(self) -> Iterator[tuple[str, str, Any]]:
        """What was tracked; the names of a single one's weights need no prefix."""
        for i, resource in enumerate(self._resources):
            yield "" if len(self._resources) == 1 else resource.name, str(i), resource


@dataclass
class _Endpoint:
    """One function, traced."""

    arguments: Description
    result: Description
    programs: list[Program]
    variables: list[Variable]
    draws: list[str]


class ExportArchive:
    """Several functions of layers and models in one file; ``model.export`` writes such a file with one, ``serve``.

    Args:
        format: ``"stablehlo"``.

    >>> import tempfile, os
    >>> model = verax.Sequential([verax.Input((4,)), verax.layers.Dense(3), verax.layers.Softmax()])
    >>> archive = ExportArchive()
    >>> archive.track(model)
    >>> spec = [verax.InputSpec("float32", (None, 4))]
    >>> _ = archive.add_endpoint("probabilities", model, spec)
    >>> _ = archive.add_endpoint("best", lambda x: jnp.argmax(model(x), axis=-1), spec)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.verax")
    >>> archive.write_out(path, verbose=False)
    >>> verax.load_exported(path).endpoints["best"](np.ones((2, 4))).shape
    (2,)

    Differs from Keras: the format is ``"stablehlo"``, a file that ``verax.load_exported`` reads, and no TensorFlow
    SavedModel; functions are traced by JAX. States that change in inference (stateful recurrence, counters of seeds)
    begin each call as they were when the file was written.
    """

    def __init__(self, format: str = "stablehlo"):
        if format != "stablehlo":
            raise UnknownNameError.among("format of an ExportArchive", format, ["stablehlo"])
        self._tracked: list[Layer] = []
        self._endpoints: dict[str, _Endpoint] = {}
        self._collections: dict[str, list[Variable]] = {}

    # ---- what is in it -------------------------------------------------------------------------------------------

    @property
    def variables(self) -> list[Variable]:
        """The variables of what is tracked."""
        return [v for v, _ in self._tree().variables.values()]

    @property
    def trainable_variables(self) -> list[Variable]:
        """Those that are trained."""
        return list(self._tree().params().values())

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The others."""
        return list(self._tree().state().values())

    def track(self, resource: Layer) -> None:
        """Keep the weights of a layer or model, so that endpoints may use it."""
        if not getattr(type(resource), "_is_verax_layer", False):
            received = f"a {type(resource).__name__}"
            raise InputError("ExportArchive.track was called.", received=received, because="layers are tracked")
        if all(known is not resource for known in self._tracked):
            self._tracked.append(resource)

    def add_endpoint(
        self, name: str, fn: Callable[..., Any], input_signature: Any = None, **kwargs: Any
    ) -> Callable[..., Any]:
        """Add a function of arrays; it is traced now, in inference mode.

        Args:
            name: A word, by which it is asked for.
            fn: A tracked layer or model, or a function that uses some; a layer that is given here is tracked.
            input_signature: A list of what describes each argument: an ``InputSpec``, a symbolic tensor, an array, or
                lists and dicts of those. A model that was built knows its own.
            kwargs: ``platforms``, some of "cpu", "cuda", "rocm", "tpu"; the first, second and last when not given.

        Returns:
            ``fn``.

        Raises:
            InputError: The function uses a layer that is not tracked, calls back to Python, or needs to know a size
                that is left open.
            DtypeError: An input is text.
        """
        self._add(name, fn, input_signature, check_options(kwargs, ("platforms",), "stablehlo"))
        return fn

    def track_and_add_endpoint(
        self, name: str, resource: Layer, input_signature: Any = None, **kwargs: Any
    ) -> Callable[..., Any]:
        """``track``, and ``add_endpoint`` for the layer's own call."""
        self.track(resource)
        return self.add_endpoint(name, resource, input_signature, **kwargs)

    def add_variable_collection(self, name: str, variables: Iterable[Variable]) -> None:
        """Keep variables under a name: ``load_exported(path).collections[name]`` lists their values."""
        found = list(variables)
        if not all(isinstance(v, Variable) for v in found):
            raise InputError(
                f"The variable collection {name!r} was added.",
                received=", ".join(sorted({type(v).__name__ for v in found})),
                because="it is made of variables",
            )
        self._collections[_checked_name(name, self._collections)] = found

    def write_out(self, filepath: str | os.PathLike[str], options: None = None, verbose: bool = True) -> None:
        """Write the file, with the weights as they are now.

        Args:
            filepath: Where; what is there is replaced when the new file is whole.
            options: None. (TensorFlow's options have no meaning here.)
            verbose: Whether to print what was written.
        """
        if options is not None:
            because = "they are TensorFlow's, for a SavedModel"
            raise InputError("ExportArchive.write_out was called.", received=f"options={options!r}", because=because)
        if not self._endpoints:
            raise StateError("ExportArchive.write_out was called.", because="it has no endpoint", do="Add one.")
        names = {id(v): place.path for v, place in self._tree().variables.values()}
        weights = {names[id(v)]: np.asarray(v.value) for e in self._endpoints.values() for v in e.variables}
        collections: dict[str, list[str]] = {}
        for collection, variables in self._collections.items():
            collections[collection] = []
            for i, variable in enumerate(variables):
                path = names.setdefault(id(variable), f"collections/{collection}/{i}")
                weights.setdefault(path, np.asarray(variable.value))
                collections[collection].append(path)
        members: dict[str, bytes] = {package.WEIGHTS: package.packed(weights)}
        endpoints: dict[str, Any] = {}
        for name, endpoint in self._endpoints.items():
            listed: list[dict[str, Any]] = []
            for program in endpoint.programs:
                member = f"programs/{name}.{program.kernels}.jax_export"
                members[member] = program.data
                listed.append({"file": member, "platforms": list(program.platforms), "kernels": program.kernels})
            endpoints[name] = {
                "arguments": endpoint.arguments,
                "result": endpoint.result,
                "weights": [names[id(v)] for v in endpoint.variables],
                "programs": listed,
                "draws": endpoint.draws,
            }
        description = {
            **_writer(),
            "endpoints": endpoints,
            "weights": {k: {"shape": list(a.shape), "dtype": a.dtype.name} for k, a in weights.items()},
            "collections": collections,
            "models": [_outline(layer) for layer in self._tracked],
        }
        size = package.write(filepath, description, members)
        if verbose:
            print(f"Exported to {str(filepath)!r}, {size:,} bytes. verax.load_exported reads it.")
            for name, e in self._endpoints.items():
                platforms = ", ".join(dict.fromkeys(p for program in e.programs for p in program.platforms))
                print(f"  {name}: {shown(e.arguments)[1:-1]} -> {shown(e.result)}, for {platforms}")

    # ---- how -----------------------------------------------------------------------------------------------------

    def _tree(self) -> Tree:
        return Tree.of(Served(lambda: None, self._tracked))

    def _add(
        self,
        name: str,
        fn: Callable[..., Any],
        signature: Any,
        options: dict[str, Any],
        names: tuple[str, ...] | None = None,
    ) -> None:
        asked = f"The endpoint {name!r} was to be exported."
        _checked_name(name, self._endpoints)
        check_serializer(asked)
        owner = fn if isinstance(fn, Layer) else getattr(fn, "__self__", None)
        if isinstance(owner, Layer):
            self.track(owner)
        arguments = _arguments(owner if isinstance(owner, Layer) else None, signature, asked)
        served = Served(fn, self._tracked)
        platforms = check_platforms(options.get("platforms", PLATFORMS))
        leaves = [Leaf(d["name"], tuple(d["shape"]), d["dtype"]) for d in leaves_of(arguments)]
        variables = [v for v, _ in Tree.of(served).variables.values()]
        seen: dict[str, Any] = {}
        run = traced(served, arguments, seen)
        try:
            programs = programs_of(run, [v.value for v in variables], leaves, platforms, asked)
        except FrameError as error:
            if "no layer of the model holds it" not in str(error):
                raise
            do = "Call archive.track(layer) for every layer that the function uses."
            raise InputError(asked, received=error.asked, because="the layer is not tracked", do=do) from error
        first = programs[0]
        for description, open_ in zip(leaves_of(arguments), first.open_sizes, strict=True):
            description["open"] = {str(axis): bounds for axis, bounds in open_.items()}
        outputs = leaves_of(seen["result"])
        if names is not None and len(names) == len(outputs):
            for description, said in zip(outputs, names, strict=True):
                description["name"] = said
        for description, (shape, dtype), rows in zip(outputs, first.outputs, first.rows, strict=True):
            description.update(shape=shape, dtype=dtype, rows=rows)
        self._endpoints[name] = _Endpoint(arguments, seen["result"], programs, variables, seen["draws"])


def traced(served: Layer, arguments: Description, seen: dict[str, Any]) -> Callable[[list[Any], list[Any], Any], Any]:
    """(weights, inputs, seed) -> the outputs' leaves; what comes out and what drew is noted in ``seen``."""
    paths = [place.path for _, place in Tree.of(served).variables.values()]

    def run(weights: list[Any], inputs: list[Any], seed: Any) -> list[Any]:
        args = filled(arguments, iter(inputs))
        values = dict(zip(paths, weights, strict=True))
        outcome = call(served, values, {}, tuple(args), mode=Mode.INFER, key=jax.random.key(seed))

        def leaf(value: Any, path: str) -> Description | None:
            return {"name": path} if hasattr(value, "shape") and hasattr(value, "dtype") else None

        seen["result"] = described(outcome.output, leaf)
        seen["draws"] = sorted(outcome.draws)
        return flat(seen["result"], outcome.output)

    return run


def check_options(given: dict[str, Any], known: tuple[str, ...], form: str) -> dict[str, Any]:
    """The further arguments of an export, checked: none is ignored."""
    for name in given:
        if name not in known:
            raise UnknownNameError.among(f"option of the format {form!r}", name, known)
    return given


def _arguments(owner: Layer | None, signature: Any, asked: str) -> Description:
    if signature is None:
        inputs = getattr(owner, "input", None)
        if inputs is None:
            raise InputError(
                asked,
                received="no input_signature",
                because="the shapes of its inputs are unknown",
                do="Pass input_signature=[verax.InputSpec('float32', (None, 8))], one for each argument.",
            )
        signature = [inputs]
    if not isinstance(signature, (list, tuple)) or is_symbolic(signature):
        signature = [signature]
    return signature_of(list(cast("Iterable[Any]", signature)), asked)


def _checked_name(name: str, taken: Iterable[str]) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in taken:
        because = "that name is taken" if name in taken else "a name is a word of letters, digits and _"
        raise InputError("A name in an ExportArchive was given.", received=repr(name), because=because)
    return name


def _writer() -> dict[str, Any]:
    written = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions = {
        "verax": __version__,
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "numpy": np.__version__,
    }
    return {"written": written, "writer": versions}


def _outline(root: Layer) -> dict[str, Any]:
    """What a reader wants to know of a model: its layers, and which of them prepare raw numbers."""
    tree = Tree.of(root)
    layers: list[dict[str, Any]] = []
    preparing: list[dict[str, Any]] = []
    for layer, place in tree.layers.values():
        own = sum(v.size for v, at in tree.variables.values() if at.path.rpartition("/")[0] == place.path)
        if layer is not root:
            layers.append({"name": place.path, "class": type(layer).__name__, "parameters": own})
        if type(layer).__name__ in _PREPARING:
            config = {k: v for k, v in layer.get_config().items() if isinstance(v, (int, float, str, list, tuple))}
            plain = {k: v for k, v in config.items() if k not in ("name", "dtype", "trainable")}
            preparing.append({"name": place.path, "class": type(layer).__name__, "config": _short(plain)})
    total = sum(v.size for v, _ in tree.variables.values())
    return {
        "name": root.name,
        "class": type(root).__name__,
        "parameters": total,
        "layers": layers,
        "preprocessing": preparing,
    }


def _short(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if not isinstance(v, (list, tuple)) or len(v) <= 16}
