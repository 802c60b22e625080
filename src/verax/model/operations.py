"""Functions in a graph, as Keras' configurations name them: ``ops.expand_dims(x, 1)`` is an ``ExpandDims(axis=1)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from verax import ops
from verax.errors import UnknownNameError
from verax.frame.registry import snake_case
from verax.frame.symbolic import is_symbolic

__all__ = ["bound", "class_of", "function_of", "module_of", "name_of"]

# fmt: off
#: Where Keras keeps the class of an operation; the module is read when a configuration is.
_CLASSES = {
    "numpy": (
        "Rot90 Absolute Abs Add All Angle Any Amax Amin Append Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh "
        "Argmax Argmin Argsort Average Bincount BitwiseAnd BitwiseInvert BitwiseNot BitwiseOr BitwiseXor "
        "BroadcastTo Cbrt Ceil Clip Concatenate Conjugate Conj Copy Cos Cosh CountNonzero Cross Cumprod Cumsum "
        "Deg2rad Diag Diagflat Diagonal Diff Digitize Dot Einsum Equal Exp Exp2 ExpandDims Expm1 Flip Floor FullLike "
        "Gcd GetItem Greater GreaterEqual Hstack Hypot Imag Isclose Isfinite IsIn Isinf Isnan Kron Lcm Less LessEqual "
        "Log Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Matmul Max Maximum "
        "Median Min Minimum Mod Moveaxis Nanmax Nanmean Nanmin Nanprod Nanstd Nansum Nanvar NanToNum NotEqual "
        "OnesLike ZerosLike Outer Prod Quantile Percentile Ptp Ravel Real Reciprocal Repeat Reshape Roll Round "
        "SearchSorted Sign Signbit Sin Sinc Sinh Sort Split Stack Std Swapaxes Take TakeAlongAxis Tan Tanh Tensordot "
        "Tile Trace Tril Triu Trunc Vdot Inner Vstack Where Subtract Multiply Divide DivideNoNan TrueDivide Power "
        "Negative Nextafter Square Sqrt Squeeze Transpose Mean Var Sum FloorDivide Pad"
    ),
    "nn": (
        "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu Squareplus LogSigmoid LeakyRelu "
        "HardSigmoid HardSilu Elu Selu Gelu Celu Glu TanhShrink HardTanh HardShrink Threshold Softmax LogSoftmax "
        "Sparsemax OneHot MultiHot Moments Normalize"
    ),
    "core": "Scatter ScatterUpdate Slice SliceUpdate StopGradient Cast SaturateCast",
    "math": "SegmentSum SegmentMax SegmentMin SegmentProd TopK InTopK Logsumexp Rsqrt Erf Erfc Erfinv Logdet",
    "linalg": "Cholesky Det Inv Norm Solve SolveTriangular Pinv",
}
# fmt: on
_MODULES = {name: f"keras.src.ops.{room}" for room, names in _CLASSES.items() for name in names.split()}
#: Classes whose functions are not named after them.
_FUNCTIONS = {"IsIn": "isin", "SearchSorted": "searchsorted"}
_NAMES = {_FUNCTIONS.get(name, snake_case(name)): name for name in _MODULES}
#: What jax calls otherwise.
_OTHERWISE = {"_getitem": "get_item", "astype": "cast", "remainder": "mod", "absolute": "abs", "slice_": "slice"}
#: What the call of an operation takes; its class has the other parameters.
# fmt: off
_GIVEN = frozenset((
    "x", "x1", "x2", "xs", "y", "a", "b", "array", "inputs", "condition", "indices", "values", "weights", "key", "q",
    "bins", "fill_value", "constant_values", "sorted_sequence", "updates", "start_indices", "variable", "data",
    "segment_ids", "targets", "predictions", "operands",
))
# fmt: on
_OF_JAX = {"get_item": "x key", "cast": "x dtype", "reshape": "x newshape"}


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function in a graph, as in ``verax.ops``."""
    name = getattr(function, "__name__", "function")
    return _OTHERWISE.get(name, name)


def class_of(name: str) -> tuple[str, str]:
    """(module, class) of a function in a configuration; a module of ours where Keras has no such class."""
    return (_MODULES[_NAMES[name]], _NAMES[name]) if name in _NAMES else ("verax.ops", name)


def module_of(kind: str) -> str | None:
    """Where Keras keeps the class of an operation; None for what is none."""
    return _MODULES.get(kind)


def bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of a call as Keras has them: (those of the class, positional ones, keywords)."""
    name = name_of(function)
    if name not in _NAMES or name == "einsum":
        if name == "einsum":
            return {"subscripts": args[0]}, args[1:], dict(kwargs)
        return {}, args, dict(kwargs)
    words = _OF_JAX.get(name)
    parameters = words.split() if words else list(inspect.signature(getattr(ops, name, function)).parameters)
    given = {**dict(zip(parameters, args, strict=False)), **kwargs}
    config = {key: value for key, value in given.items() if key not in _GIVEN and not _symbolic(value)}
    rest = {key: value for key, value in given.items() if key not in config}
    if name == "pad":
        config = {"pad_width": given["pad_width"], "mode": given.get("mode", "constant")}
    if name == "cast":
        config = {"dtype": np.dtype(given["dtype"]).name if not isinstance(given["dtype"], str) else given["dtype"]}
    return config, tuple(rest.values()), {}


def function_of(config: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that the description of an operation, Keras' or ours, stands for."""
    kind = str(config["class_name"])
    name = kind if config["module"] == "verax.ops" else _FUNCTIONS.get(kind, snake_case(kind))
    function = getattr(ops, name, None)
    if function is None:
        raise UnknownNameError.among("operation", kind, _MODULES)
    further = {key: value for key, value in config["config"].items() if key != "name"}

    def call(*args: Any, **kwargs: Any) -> Any:
        if name == "get_item":
            key = kwargs.pop("key", args[-1])
            return function(args[0], tuple(key) if isinstance(key, list) else key)
        if name == "einsum":
            return function(further["subscripts"], *args, **kwargs)
        return function(*args, **further, **kwargs)

    return call


def _symbolic(value: Any) -> bool:
    return any(is_symbolic(leaf) for leaf in jax.tree.leaves(value, is_leaf=is_symbolic))
