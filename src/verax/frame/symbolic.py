"""Tensors without values: the functional API's graph, and every shape inferred by tracing the layer itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from verax.errors import GraphError, InputError, ShapeError
from verax.frame.current import active_frame, inferring
from verax.frame.frame import Outcome, call
from verax.frame.mode import Mode, ModeMap
from verax.frame.settings import floatx

if TYPE_CHECKING:
    from verax.frame.layer import Layer

__all__ = [
    "KerasTensor",
    "Node",
    "SymbolicTensor",
    "infer_spec",
    "is_symbolic",
    "observe_symbolically",
    "symbolic_call",
]

# Sets of sizes that stand for unknown axes (batch first). What differs between two traces depends on an unknown size.
# The batch is a prime; other axes are 96 times a prime, so that pooling, upsampling and reshaping by small factors come
# out even. A set that holds a known size of the inputs is passed over, so that no known size is taken for unknown.
_PROBES = tuple(
    (batch, *(96 * p for p in primes))
    for batch, *primes in ((509, 11, 13, 17, 19), (613, 23, 29, 31, 37), (719, 41, 43, 47, 53), (821, 59, 61, 67, 71))
)


@dataclass(frozen=True, eq=False)
class Node:
    """One call in a graph: a layer or a function, on a structure of symbolic tensors and constants."""

    target: Layer | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensors it is called on."""
        leaves = jax.tree.leaves((self.args, self.kwargs), is_leaf=is_symbolic)
        return [leaf for leaf in leaves if is_symbolic(leaf)]


class SymbolicTensor:
    """A shape and a dtype on their way through layers: what ``Input`` and layers called on it return.

    Attributes:
        shape: Sizes, None for an unknown one.
        dtype: A dtype name.
        node: The call that made it; None for a bare specification.
        index: Which of the call's outputs it is.
    """

    def __init__(
        self, shape: tuple[int | None, ...], dtype: str | None = None, node: Node | None = None, index: int = 0
    ):
        self.shape = tuple(shape)
        self.dtype = dtype or floatx()
        self.node = node
        self.index = index

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def name(self) -> str:
        """The name of the layer or function that made it."""
        if self.node is None:
            return "tensor"
        return getattr(self.node.target, "name", None) or getattr(self.node.target, "__name__", "function")

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.name!r}, shape {self.shape}, {self.dtype}>"

    def __bool__(self) -> bool:
        raise GraphError(
            "A symbolic tensor was used as a truth value.",
            received=repr(self),
            because="it has no value while the graph is made",
            do="Use ops.where(condition, a, b), or decide in a layer's call.",
        )

    def __iter__(self) -> Any:
        raise GraphError("A symbolic tensor was iterated over.", received=repr(self), do="Index it: x[:, 0].")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise GraphError(
            "A symbolic tensor was used as an array.",
            received=repr(self),
            because="it has no value while the graph is made",
            do="Use the function of the same name in verax.ops, or a Lambda layer.",
        )

    @property
    def __jax_array__(self) -> Any:
        # jax asks for this attribute before it says, less clearly, that it cannot use the object.
        return self.__array__()

    def __getitem__(self, index: Any) -> SymbolicTensor:
        return symbolic_call(_getitem, (self, index), {})

    def reshape(self, *shape: Any) -> SymbolicTensor:
        """The tensor in another shape."""
        return symbolic_call(jnp.reshape, (self, shape[0] if len(shape) == 1 else shape), {})

    def astype(self, dtype: Any) -> SymbolicTensor:
        """The tensor in another dtype."""
        return symbolic_call(jnp.astype, (self, dtype), {})


#: Keras' name.
KerasTensor = SymbolicTensor


def _getitem(x: Any, index: Any) -> Any:
    return x[index]


def _operator(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: SymbolicTensor, *others: Any) -> Any:
        operands = (*others, self) if reflected else (self, *others)
        return symbolic_call(function, operands, {})

    return method


for _name, _function in {
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "truediv": jnp.divide,
    "floordiv": jnp.floor_divide,
    "mod": jnp.mod,
    "pow": jnp.power,
    "matmul": jnp.matmul,
}.items():
    setattr(SymbolicTensor, f"__{_name}__", _operator(_function))
    setattr(SymbolicTensor, f"__r{_name}__", _operator(_function, reflected=True))
for _name, _function in {
    "neg": jnp.negative,
    "abs": jnp.abs,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
}.items():
    setattr(SymbolicTensor, f"__{_name}__", _operator(_function))


def is_symbolic(value: Any) -> bool:
    """Whether ``value`` is a symbolic tensor."""
    return isinstance(value, SymbolicTensor)


def symbolic_call(target: Layer | Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Add one call to the graph: ``target`` is a layer or any function of arrays."""
    if active_frame() is not None:
        raise GraphError(
            f"{getattr(target, 'name', getattr(target, '__name__', target))!r} was called inside a layer's call.",
            received="a symbolic tensor",
            because="a running call works on arrays",
            do="Make graphs outside of call, in __init__.",
        )
    node = Node(target, args, dict(kwargs))
    spec = infer_spec(target, args, kwargs)
    leaves, treedef = jax.tree.flatten(spec, is_leaf=is_symbolic)
    return jax.tree.unflatten(treedef, [SymbolicTensor(s.shape, s.dtype, node, i) for i, s in enumerate(leaves)])


def infer_spec(target: Layer | Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The structure of shapes and dtypes that ``target`` returns, by tracing it twice with two sets of unknown sizes.

    A layer is built by the first trace. An output axis whose size differs between the traces is unknown (None).

    Raises:
        ShapeError: When a weight's shape would depend on an unknown size.
    """
    leaves = jax.tree.leaves((args, kwargs), is_leaf=is_symbolic)
    some_unknown = any(is_symbolic(leaf) and None in leaf.shape for leaf in leaves)
    known = {n for leaf in leaves if is_symbolic(leaf) for n in leaf.shape}
    probes = [probe for probe in _PROBES if not known & set(probe)] + list(_PROBES)
    first, built = _trace(target, args, kwargs, probes[0])
    if not some_unknown:
        second = first
    else:
        try:
            second, _ = _trace(target, args, kwargs, probes[1])
        except Exception as error:  # the first trace passed: only the sizes differ
            for made, before in reversed(built):
                made.unbuild(before)
            raise ShapeError(
                f"{getattr(target, 'name', target)!r} was called on a symbolic tensor.",
                received=", ".join(repr(leaf) for leaf in leaves if is_symbolic(leaf)),
                because="the shape of a weight would depend on an unknown size",
                do="Give the Input that size, or pool over the axis first.",
            ) from error

    def merge(a: jax.ShapeDtypeStruct, b: jax.ShapeDtypeStruct) -> SymbolicTensor:
        return SymbolicTensor(tuple(m if m == n else None for m, n in zip(a.shape, b.shape, strict=True)), a.dtype.name)

    return jax.tree.map(merge, first, second)


def observe_symbolically(layer: Layer, inputs: Any, mode: ModeMap) -> Outcome:
    """What a pass would leave behind, without computing anything: ``shapes`` and ``observed`` tell of every layer.

    Unknown sizes are None in ``shapes``; the outcome's arrays are abstract and of no use.

    Args:
        layer: A built layer.
        inputs: A structure of symbolic tensors.
        mode: The mode of the pass.
    """
    found: list[Outcome] = []
    for probe in _PROBES[:2]:
        _trace(layer, (inputs,), {}, probe, mode, found)

    def merge(a: Any, b: Any) -> Any:
        if isinstance(a, dict):
            return {key: merge(value, b[key]) for key, value in a.items()}
        if isinstance(a, tuple) and all(isinstance(n, int) for n in a):
            return tuple(m if m == n else None for m, n in zip(a, b, strict=True))
        return [merge(x, y) for x, y in zip(a, b, strict=True)]

    return replace(found[0], shapes=merge(found[0].shapes, found[1].shapes))


def _trace(
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    probe: tuple[int, ...],
    mode: ModeMap | None = None,
    found: list[Outcome] | None = None,
) -> tuple[Any, list[Any]]:
    leaves, treedef = jax.tree.flatten((args, kwargs), is_leaf=is_symbolic)
    where = [i for i, leaf in enumerate(leaves) if is_symbolic(leaf)]

    def size(axis: int, n: int | None) -> int:
        return n if n is not None else probe[min(axis, len(probe) - 1)]

    specs = [
        jax.ShapeDtypeStruct(tuple(size(a, n) for a, n in enumerate(leaves[i].shape)), jnp.dtype(leaves[i].dtype))
        for i in where
    ]
    unknown = frozenset(size(axis, None) for i in where for axis, n in enumerate(leaves[i].shape) if n is None)

    built: list[Any] = []

    def run(arrays: list[jax.Array]) -> Any:
        filled = list(leaves)
        for i, array in zip(where, arrays, strict=True):
            filled[i] = array
        some_args, some_kwargs = jax.tree.unflatten(treedef, filled)
        if not getattr(target, "_is_verax_layer", False):
            return target(*some_args, **some_kwargs)
        outcome = call(
            target,
            {},
            {},
            some_args,
            some_kwargs,
            mode=mode or ModeMap(Mode.INFER),
            key=jax.random.key(0),
            unknown=unknown,
        )
        if found is not None:
            found.append(outcome)
        built.extend(outcome.built)
        return outcome.output

    token = inferring.set(True)
    try:
        output = jax.eval_shape(run, specs)
    finally:
        inferring.reset(token)
    if any(not hasattr(leaf, "shape") for leaf in jax.tree.leaves(output)):
        raise InputError(f"{target!r} was called on a symbolic tensor.", because="it did not return arrays")
    return output, built
