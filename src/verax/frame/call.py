"""One call of a layer inside a frame: build, check, mode, masks, dtypes, then the layer's own maths."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DtypeError, InputError, ShapeError, VeraxError
from verax.frame.mode import Mode
from verax.frame.policy import is_float

if TYPE_CHECKING:
    from verax.frame.frame import Frame
    from verax.frame.layer import Layer

__all__ = ["call_in_frame", "describe"]


@dataclass(frozen=True)
class _Parameters:
    """What a ``call`` method takes."""

    signature: inspect.Signature
    training: bool
    mask: bool
    others: tuple[tuple[str, str], ...]  # (parameter "x_mask", parameter "x")


@functools.cache
def _parameters(function: Callable[..., Any]) -> _Parameters:
    signature = inspect.signature(function)
    names = [n for n, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    others = tuple((n, n.removesuffix("_mask")) for n in names if n.removesuffix("_mask") in set(names) - {n})
    return _Parameters(signature, "training" in names, "mask" in names, others)


def call_in_frame(layer: Layer, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run ``layer`` where ``frame`` stands, with the layer's path in every error that comes out."""
    takes = _parameters(type(layer).call)
    given = dict(kwargs)
    training = given.pop("training", None)
    try:
        bound = takes.signature.bind(layer, *args, **given) if not takes.training else None
        if bound is None:
            bound = takes.signature.bind_partial(layer, *args, **given)
            training = bound.arguments.pop("training", training)
    except TypeError as error:
        raise InputError(
            f"{_called(layer, frame)} was called.",
            received=f"{len(args)} positional arguments and {sorted(kwargs)}",
            because=str(error),
            do=f"Call it as call{takes.signature}.",
        ) from None
    masks = _find_masks(frame, bound)
    cast_to = functools.partial(_cast, frame=frame, dtype=layer.compute_dtype if layer.autocast else None)
    for name, value in list(bound.arguments.items())[1:]:
        bound.arguments[name] = jax.tree.map(cast_to, value)
    inputs = next(iter(list(bound.arguments.values())[1:]), ())
    if not layer.built:
        _build(layer, frame, bound)
    _check_spec(layer, frame, inputs)

    forced = training is not None and Mode.of(bool(training)) is not frame.ambient()
    if forced:
        frame.forced.append(Mode.of(bool(training)))
    try:
        if takes.mask and bound.arguments.get("mask") is None:
            bound.arguments["mask"] = masks
        for name, of in takes.others:
            if bound.arguments.get(name) is None and of in bound.arguments:
                bound.arguments[name] = _mask_of(frame, bound.arguments[of])
        if takes.training:
            output = _run_in_mode(layer, frame, bound, frame.mode(layer, layer.effect))
        else:
            output = _run(layer, frame, bound, bool(training) if forced else None)
    finally:
        if forced:
            frame.forced.pop()
    _after(layer, frame, inputs, masks, output)
    return output


def describe(value: Any) -> str:
    """Shapes and dtypes, for messages.

    >>> describe([np.zeros((2, 3), "float32"), 1.5])
    '[(2, 3) float32, 1.5]'
    """
    if isinstance(value, (list, tuple)):
        inner = ", ".join(describe(v) for v in cast("list[Any]", value))
        return f"[{inner}]"
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in items) + "}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{tuple(value.shape)} {value.dtype}"
    return repr(value)


def _run(layer: Layer, frame: Frame, bound: inspect.BoundArguments, fill: bool | None) -> Any:
    frame.stack.append((layer, fill))
    try:
        return layer.call(*bound.args[1:], **bound.kwargs)
    except VeraxError:
        raise
    except Exception as error:
        if not hasattr(error, "verax_layer"):  # the innermost layer speaks
            error.verax_layer = _called(layer, frame)  # pyright: ignore[reportAttributeAccessIssue]
            inputs = describe([v for v in list(bound.arguments.values())[1:] if hasattr(v, "shape")])
            error.add_note(f"In {_called(layer, frame)}, called on {inputs}.")
        raise
    finally:
        frame.stack.pop()


def _run_in_mode(layer: Layer, frame: Frame, bound: inspect.BoundArguments, mode: Mode | jax.Array) -> Any:
    def branch(training: bool) -> Any:
        bound.arguments["training"] = training
        return _run(layer, frame, bound, training)

    if isinstance(mode, Mode):
        return branch(mode is Mode.TRAIN)
    # A Python ``if training`` cannot branch on a traced flag: run both branches and select.
    return frame.choose(mode, lambda: branch(True), lambda: branch(False))


def _called(layer: Layer, frame: Frame) -> str:
    found = frame.tree.layers.get(id(layer))
    return f"{type(layer).__name__} {(found[1].path if found else '') or layer.name!r}"


def _cast(leaf: Any, frame: Frame, dtype: str | None) -> Any:
    if isinstance(leaf, (np.ndarray, np.generic)):
        leaf = jnp.asarray(leaf, {"float64": "float32", "int64": "int32"}.get(leaf.dtype.name))
    if dtype is None or "float" not in dtype or not isinstance(leaf, jax.Array):
        return leaf
    if not is_float(leaf.dtype) or leaf.dtype.name == dtype:
        return leaf
    cast_leaf = leaf.astype(dtype)
    if id(leaf) in frame.masks:  # the same rows in another precision
        frame.masks[id(cast_leaf)] = (cast_leaf, frame.masks[id(leaf)][1])
    return cast_leaf


def _build(layer: Layer, frame: Frame, bound: inspect.BoundArguments) -> None:
    def shape_of(leaf: Any) -> Any:
        if not hasattr(leaf, "shape"):
            return None
        shape = tuple(None if n in frame.unknown else n for n in leaf.shape)
        # What a layer keeps for each row has as many rows as the batch; weights do not depend on it.
        return shape if getattr(layer, "stateful", False) else (None, *shape[1:])

    shapes = {name: jax.tree.map(shape_of, value) for name, value in list(bound.arguments.items())[1:]}
    wanted = list(inspect.signature(layer.build).parameters)
    frame.built.append((layer, layer.rebuildable()))
    if len(wanted) > 1:
        layer.build(**{name: shapes.get(name.removesuffix("_shape")) for name in wanted})
    elif wanted:
        layer.build(next(iter(shapes.values()), None))
    layer.built = True


def _check_spec(layer: Layer, frame: Frame, inputs: Any) -> None:
    spec = layer.input_spec
    if spec is None:
        return
    for leaf in jax.tree.leaves(inputs):
        shape = tuple(leaf.shape)
        shown = tuple(None if n in frame.unknown else n for n in shape)
        received = f"an input of shape {shown}, {leaf.dtype}"
        called = f"{_called(layer, frame)} was called."
        if spec.ndim is not None and len(shape) != spec.ndim:
            because = f"it needs {spec.ndim} axes (the first is the batch), and this has {len(shape)}"
            raise ShapeError(called, received=received, because=because, do=_advice_on_rank(spec.ndim - len(shape)))
        if spec.min_ndim is not None and len(shape) < spec.min_ndim:
            because = f"it needs at least {spec.min_ndim} axes (the first is the batch), and this has {len(shape)}"
            raise ShapeError(called, received=received, because=because, do=_advice_on_rank(spec.min_ndim - len(shape)))
        if spec.max_ndim is not None and len(shape) > spec.max_ndim:
            because = f"it takes at most {spec.max_ndim} axes (the first is the batch), and this has {len(shape)}"
            raise ShapeError(called, received=received, because=because, do=_advice_on_rank(spec.max_ndim - len(shape)))
        if spec.dtype is not None and leaf.dtype.name != jnp.dtype(spec.dtype).name:
            because = f"it needs {jnp.dtype(spec.dtype).name}"
            raise DtypeError(called, received=received, because=because, do="Cast the input.")
        sizes = {axis: size for axis, size in enumerate(spec.shape or ()) if size is not None}
        for axis, size in {**sizes, **spec.axes}.items():
            if shape[axis] != size and shape[axis] not in frame.unknown:
                raise ShapeError(
                    called,
                    received=received,
                    because=f"it was built for {size} features on axis {axis}, and this has {shape[axis]}",
                    do=f"Give inputs with {size} features, or build a new layer for {shape[axis]}.",
                )


def _advice_on_rank(missing: int) -> str:
    if missing == 1:
        return "Add the missing axis: x[..., None] for one channel, or x[None] for a batch of one."
    return "Reshape the input, or use a layer for inputs of this rank."


def _find_masks(frame: Frame, bound: inspect.BoundArguments) -> Any:
    arguments = list(bound.arguments.values())[1:]
    return _mask_of(frame, arguments[0]) if arguments else None


def _mask_of(frame: Frame, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        found = [_mask_of(frame, item) for item in cast("list[Any]", value)]
        return found if any(mask is not None for mask in jax.tree.leaves(found)) else None
    entry = frame.masks.get(id(value))
    return None if entry is None else entry[1]


def _after(layer: Layer, frame: Frame, inputs: Any, masks: Any, output: Any) -> None:
    leaves = [leaf for leaf in jax.tree.leaves(output) if isinstance(leaf, jax.Array)]
    frame.shapes[frame.place(layer).path] = jax.tree.map(jnp.shape, output)
    regularizer = layer.activity_regularizer
    if regularizer is not None:
        for leaf in leaves:
            # A sum of squares overflows float16 at 65504.
            wide = leaf.astype("float32") if leaf.dtype in (jnp.float16, jnp.bfloat16) else leaf
            frame.penalize(frame.place(layer).path or layer.name, regularizer(wide) / max(leaf.shape[0], 1))
    given = {id(leaf) for leaf in jax.tree.leaves(inputs)}
    made = [leaf for leaf in leaves if id(leaf) not in given]
    if made and all(id(leaf) in frame.masks for leaf in made):
        return  # layers inside have said which steps count
    mask = layer.compute_mask(inputs, masks)
    if mask is not None:
        for leaf, one in zip(leaves, mask if isinstance(mask, (list, tuple)) else [mask], strict=False):
            if one is not None:
                frame.masks[id(leaf)] = (leaf, one)
    elif masks is not None and not layer.supports_masking:
        # The layer consumed the mask; an output that is the input array itself must not keep it.
        for leaf in leaves:
            if id(leaf) in given:
                frame.masks.pop(id(leaf), None)
