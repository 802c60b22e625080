"""An exported model, loaded: it predicts, and needs nothing of what made it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.core import Tracer

from verax.engine.compiler import compiler_options
from verax.errors import DataError, DtypeError, InputError, ShapeError, StateError
from verax.export import package
from verax.export.programs import check_serializer
from verax.export.structure import Description, filled, leaves_of, matched, shown

__all__ = ["Endpoint", "ExportedModel", "load_exported"]

#: What a program may call: kernels of jax itself that have a stable form. Anything else, above all what calls back into
#: Python by an address, is refused before it is compiled.
_CALLS = re.compile(
    r"(Sharding|SPMD\w+|annotate_device_placement|shape_assertion|AllocateBuffer|ApproxTopK|Eigh|Qr|LuDecomposition"
    r"|ProductOfElementaryHouseholderReflectors|stablehlo\.dynamic_\w+|\w*threefry2x32\w*|lapack_\w+|cusolver\w+"
    r"|cublas\w+|cu_\w+|cudnn\w+|__cudnn\$\w+|__cublas\$\w+|hip\w+|rocsolver\w+|ducc_fft|dynamic_ducc_fft\w*"
    r"|tridiagonal\w*|mosaic_gpu_v2|tpu_custom_call)"
)
_CALLED = re.compile(r"""custom_call\s*@(?:"([^"]*)"|([\w.$]+))|call_target_name\s*=\s*"([^"]*)\"""")
_DEEPEST, _ROWS = 32, 32


class Endpoint:
    """One function of an exported model.

    Attributes:
        name: Its name.
        inputs: What it takes: a description of the structure, names, shapes (None for sizes left open) and dtypes.
        outputs: What it returns, in the same form.
        platforms: What it can run on.
        draws: Where random numbers are drawn in inference; ``seed`` decides them.
    """

    def __init__(self, name: str, form: Mapping[str, Any], weights: list[jax.Array], data: bytes):
        self.name = name
        self.outputs: Description = form["result"]
        self.platforms: list[str] = [p for program in form["programs"] for p in program["platforms"]]
        self.draws: list[str] = form["draws"]
        self._arguments: Description = form["arguments"]
        self._weights = weights
        self._program = _deserialized(data, name, form)
        self._run = jax.jit(self._program.call, compiler_options=compiler_options())

    @property
    def inputs(self) -> Description:
        """What it takes: of a function of one argument, that one."""
        items = self._arguments["items"]
        return items[0] if len(items) == 1 else self._arguments

    def __call__(self, *inputs: Any, seed: int = 0) -> Any:
        """The outputs for one batch, as JAX arrays in the structure the function returned.

        Args:
            inputs: Its arguments: arrays, or lists and dicts of them.
            seed: Decides what is drawn, where ``draws`` is not empty.

        Raises:
            ShapeError, DtypeError, DataError: Inputs that are not of the form ``inputs`` says.
        """
        leaves = self._leaves(inputs)
        run = self._program.call if any(isinstance(leaf, Tracer) for leaf in leaves) else self._run
        made = run(self._weights, leaves, np.uint32(seed % (1 << 32)))
        return filled(self.outputs, iter(made))

    def predict(self, x: Any, batch_size: int | None = None, seed: int = 0) -> Any:
        """The outputs for any number of rows, batch by batch, as NumPy arrays.

        Args:
            x: The input; a list of them for a function of several arguments.
            batch_size: Rows at a time; 32, or what the file says where it fixes that.
            seed: As in a call; each batch has another one of its own.
        """
        asked = f"The exported {self.name!r} was to predict."
        inputs = tuple(x) if len(self._arguments["items"]) != 1 else (x,)
        leaves = self._leaves(inputs, rows_open=True)
        forms = leaves_of(self._arguments)
        counts = {len(leaf) for leaf in leaves}
        if len(counts) != 1 or 0 in counts:
            received = f"inputs of {sorted(counts)} rows"
            raise DataError(asked, received=received, because="each input has as many rows as the others, at least one")
        if not all(form["rows"] for form in leaves_of(self.outputs)):
            because = "an output has no row for each row of the input"
            raise StateError(asked, received=shown(self.outputs), because=because, do="Call it on one batch.")
        fixed = {form["shape"][0] for form in forms} - {None}
        if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
            raise InputError(asked, received=f"batch_size={batch_size!r}", because="a batch has at least one row")
        size = batch_size or next(iter(fixed), _ROWS)
        rows = counts.pop()
        parts: list[list[np.ndarray[Any, Any]]] = []
        for n, start in enumerate(range(0, rows, size)):
            batch = [leaf[start : start + size] for leaf in leaves]
            args = filled(self._arguments, iter(batch))
            made = self(*args, seed=seed + n)
            parts.append([np.asarray(leaf) for leaf in _flat(self.outputs, made)])
        return filled(self.outputs, (np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def __repr__(self) -> str:
        return f"<Endpoint {self.name!r}: {shown(self._arguments)[1:-1]} -> {shown(self.outputs)}>"

    def _leaves(self, inputs: tuple[Any, ...], *, rows_open: bool = False) -> list[Any]:
        asked = f"The exported {self.name!r} was called."
        items = self._arguments["items"]
        if len(inputs) != len(items):
            received = f"{len(inputs)} arguments"
            raise ShapeError(asked, received=received, because=f"it takes {len(items)}: {shown(self._arguments)}")
        given = [leaf for item, value in zip(items, inputs, strict=True) for leaf in matched(item, value, asked)]
        forms = leaves_of(self._arguments)
        leaves = [_fitting(form, leaf, asked, rows_open) for form, leaf in zip(forms, given, strict=True)]
        if not rows_open:
            _check_sizes(forms, leaves, asked)
        return leaves


class ExportedModel:
    """A model from a file that ``model.export`` wrote: it predicts.

    Attributes:
        path: The file.
        endpoints: name -> function; a model's own is ``serve``.
        collections: name -> values of variables that were kept beside the endpoints.
        description: All that the file says of itself: who wrote it, its layers, its weights.
    """

    def __init__(
        self,
        path: str,
        description: dict[str, Any],
        endpoints: dict[str, Endpoint],
        collections: dict[str, list[np.ndarray[Any, Any]]],
    ):
        self.path, self.description = path, description
        self.endpoints, self.collections = endpoints, collections
        self._default = next(iter(endpoints.values()))

    @property
    def inputs(self) -> Description:
        """What the first endpoint takes: structure, names, shapes, dtypes."""
        return self._default.inputs

    @property
    def outputs(self) -> Description:
        """What it returns."""
        return self._default.outputs

    def __call__(self, *inputs: Any, seed: int = 0) -> Any:
        """The first endpoint's outputs for one batch: see ``Endpoint``."""
        return self._default(*inputs, seed=seed)

    def predict(self, x: Any, batch_size: int | None = None, seed: int = 0) -> Any:
        """The first endpoint's outputs for any number of rows: see ``Endpoint.predict``."""
        return self._default.predict(x, batch_size, seed)

    def __repr__(self) -> str:
        writer = self.description.get("writer", {})
        lines = [f"<ExportedModel {self.path!r}, by Verax {writer.get('verax')}, {self.description.get('written')}"]
        for name, endpoint in self.endpoints.items():
            lines.append(f"  {name}: {shown(endpoint.inputs)} -> {shown(endpoint.outputs)}")
        return "\n".join(lines) + ">"


def load_exported(filepath: str | os.PathLike[str]) -> ExportedModel:
    """The model in a file that ``model.export`` or ``ExportArchive.write_out`` wrote; no code of it is needed.

    Sizes and hashes of everything in it are compared first; nothing in it is Python, and a program that would call
    anything but JAX's own kernels is refused.

    Raises:
        DataError: It is no exported model, is damaged, or says something else than it holds.
        StateError: It was exported for other platforms than this process runs on.
        MissingExtraError: ``flatbuffers`` is not installed.

    >>> import tempfile, os
    >>> model = verax.Sequential([verax.Input((3,)), verax.layers.Dense(1, kernel_initializer="ones")])
    >>> path = os.path.join(tempfile.mkdtemp(), "sum.verax")
    >>> model.export(path, verbose=False)
    >>> load_exported(path).predict(np.ones((2, 3))).tolist()
    [[3.0], [3.0]]
    """
    asked = f"{filepath} was to be read as an exported model."
    check_serializer(asked)
    description, weights, programs = package.read(filepath)
    kept: dict[str, jax.Array] = {}
    endpoints: dict[str, Endpoint] = {}
    try:
        forms = cast("dict[str, dict[str, Any]]", description["endpoints"])
        collections = {name: [weights[p] for p in paths] for name, paths in description["collections"].items()}
        for name, form in forms.items():
            _check_structure(form["arguments"], asked)
            _check_structure(form["result"], asked)
            if form["arguments"]["kind"] != "list":
                raise _formless(asked, "arguments that are no list")
            for path in form["weights"]:
                if path not in kept:
                    kept[path] = jnp.asarray(weights[path])
            data = programs[_chosen(form["programs"], asked)]
            endpoints[name] = Endpoint(name, form, [kept[path] for path in form["weights"]], data)
        if not endpoints:
            raise _formless(asked, "no endpoint")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise _formless(asked, f"{type(error).__name__}: {error}") from error
    return ExportedModel(str(filepath), description, endpoints, collections)


def _formless(asked: str, received: str) -> DataError:
    return DataError(asked, received=received, because="its description is not of the form")


def _chosen(programs: list[Mapping[str, Any]], asked: str) -> str:
    """The program for this process: the fast one before the plain one."""
    here = export.default_export_platform()
    for program in programs:
        if here in program["platforms"]:
            return program["file"]
    platforms = sorted({p for program in programs for p in program["platforms"]})
    raise StateError(
        asked,
        received=f"programs for {', '.join(platforms)}",
        because=f"this process runs on {here}",
        do=f"Export it with platforms=({here!r}, ...), or set JAX_PLATFORMS={platforms[0]} before JAX starts.",
    )


def _deserialized(data: bytes, name: str, form: Mapping[str, Any]) -> Any:
    asked = f"The program of the exported {name!r} was to be read."
    try:
        program = export.deserialize(bytearray(data))
        text = program.mlir_module()
    except Exception as error:  # flatbuffers and MLIR raise almost every class there is
        received = " ".join(str(error).split())[:300]
        raise DataError(
            asked, received=received, because="this JAX cannot read it", do="Export the model again."
        ) from error
    called = {next(filter(None, found)) for found in _CALLED.findall(text)}
    strange = sorted(target for target in called if not _CALLS.fullmatch(target))
    if strange:
        because = "a model calls nothing but JAX's own kernels"
        raise DataError(asked, received=f"calls of {', '.join(strange)}", because=because)
    forms = leaves_of(form["arguments"])
    expected = len(form["weights"]) + len(forms) + 1
    dtypes = [aval.dtype.name for aval in program.in_avals[len(form["weights"]) : -1]]
    results = [aval.dtype.name for aval in program.out_avals]
    if (
        len(program.in_avals) != expected
        or dtypes != [leaf["dtype"] for leaf in forms]
        or results != [leaf["dtype"] for leaf in leaves_of(form["result"])]
    ):
        raise DataError(asked, received="other inputs or outputs than are described", because="it is damaged")
    return program


def _check_structure(description: Any, asked: str, depth: int = 0) -> None:
    """Refuse a description that is not of the form."""
    kind = description["kind"]
    if depth > _DEEPEST or kind not in ("tensor", "list", "tuple", "dict", "none"):
        raise _formless(asked, f"a structure of kind {kind!r} at depth {depth}")
    if kind == "tensor":
        sizes = description["shape"]
        if not all(n is None or (isinstance(n, int) and n >= 0) for n in sizes):
            raise _formless(asked, f"the shape {sizes!r}")
        np.dtype(jnp.dtype(description["dtype"]))
        return
    items = description.get("items", [])
    if isinstance(items, dict) != (kind == "dict"):
        raise _formless(asked, f"a {kind} of {type(items).__name__}")
    for item in cast("dict[str, Any]", items).values() if kind == "dict" else items:
        _check_structure(item, asked, depth + 1)


def _fitting(form: Description, value: Any, asked: str, rows_open: bool) -> Any:
    """An input as an array of the declared dtype and rank."""
    said = f"{form['name']!r}" if form.get("name") else "an input"
    array: Any = value if isinstance(value, jax.Array) else np.asarray(value)
    want, have = jnp.dtype(form["dtype"]), array.dtype
    if array.ndim == len(form["shape"]) - 1 and form["shape"][-1] == 1:
        array = array[..., None]  # (rows,) for Input((1,)), as models allow
    if array.dtype.kind in "OSUV" and not jnp.issubdtype(have, jnp.number):
        because, do = "it takes numbers", "Look text up on the host first: TextVectorization, StringLookup."
        raise DtypeError(asked, received=f"{said} of dtype {have}", because=because, do=do)
    if jnp.issubdtype(have, jnp.inexact) and not jnp.issubdtype(want, jnp.inexact):
        raise DtypeError(
            asked,
            received=f"{said} of dtype {have}",
            because=f"it takes {want}, and fractions would be cut off",
            do=f"Cast it where that is meant: x.astype({want.name!r}).",
        )
    fits = len(array.shape) == len(form["shape"]) and all(
        n is None or n == m or (rows_open and axis == 0)
        for axis, (n, m) in enumerate(zip(form["shape"], array.shape, strict=True))
    )
    if not fits:
        raise ShapeError(asked, received=f"{said} of shape {array.shape}", because=f"it takes {shown(form)}")
    if have == want:
        return array
    if isinstance(array, np.ndarray) and have.kind in "iu" and want.kind in "iu" and not np.can_cast(have, want):
        bounds = jnp.iinfo(want)
        if array.size and (array.min() < bounds.min or array.max() > bounds.max):
            received = f"{said} with values from {array.min()} to {array.max()}"
            raise DataError(asked, received=received, because=f"it takes {want}: {bounds.min} to {bounds.max}")
    return array.astype(want)


def _check_sizes(forms: list[Description], leaves: list[Any], asked: str) -> None:
    """Sizes that are left open: equal where they must be, large enough, and multiples."""
    sizes: dict[str, int] = {}
    for form, leaf in zip(forms, leaves, strict=True):
        for axis, bounds in form.get("open", {}).items():
            n, symbol = leaf.shape[int(axis)], bounds["symbol"]
            received = f"{form.get('name') or 'an input'!r} of shape {tuple(leaf.shape)}"
            if n < bounds["least"] or n % bounds["multiple"]:
                multiple = f", a multiple of {bounds['multiple']}" if bounds["multiple"] > 1 else ""
                because = f"axis {axis} has at least {bounds['least']}{multiple}"
                raise ShapeError(asked, received=received, because=because, do="Pad or resize the input.")
            if sizes.setdefault(symbol, n) != n:
                because = f"axis {axis} has {sizes[symbol]} in another input, and both were exported as one size"
                raise ShapeError(asked, received=received, because=because)


def _flat(description: Description, value: Any) -> list[Any]:
    return matched(description, value, "")
