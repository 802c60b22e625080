"""Core, reshaping, merging and activation layers, with every argument."""

from __future__ import annotations

from typing import Any

from tests.layers.cases.base import FIRST, IMAGE, STEPS, VOLUME, Case
from tests.layers.cases.convolution import PARTS, TURNED

__all__ = ["CASES"]


def _case(kind: str, *arguments: Any, shape: Any = STEPS, dtype: str = "float32", **named: Any) -> Case:
    told = [*map(str, arguments), *(f"{k}={v['class_name'] if isinstance(v, dict) else v}" for k, v in named.items())]
    return Case(f"{kind}({', '.join(told)}) on {shape}", lambda m: getattr(m, kind)(*arguments, **named), shape, dtype)


def _parts(*weights: str) -> dict[str, Any]:
    return {f"{weight}_{kind}": part for weight in weights for kind, part in PARTS.items()}


def _core() -> list[Case]:
    indices = {"shape": (2, 6), "dtype": "int32"}
    penalty = {"activity_regularizer": PARTS["regularizer"]}
    return [
        _case("Dense", 3, **_parts("kernel", "bias"), **penalty),
        _case("Dense", 3, "gelu", shape=IMAGE),
        _case("Embedding", 5, 3, **_parts("embeddings"), **indices),
        _case("Embedding", 5, 3, mask_zero=True, **indices),
        _case("Embedding", 7, 2, shape=(2, 3, 4), dtype="int32"),
        _case("ReversibleEmbedding", 5, 3, **indices),
        _case("ReversibleEmbedding", 5, 3, mask_zero=True, reverse_dtype="float32", logit_soft_cap=2.0, **indices),
        _case("ReversibleEmbedding", 5, 3, **_parts("embeddings"), **indices),
        _case("ReversibleEmbedding", 5, 3, tie_weights=False, **indices),
        _case("Dense", 3, name="mine"),
        _case("EinsumDense", "abc,cd->abd", (6, 5), bias_axes="d", **_parts("kernel", "bias"), **penalty),
        _case("Masking", shape=IMAGE),
        _case("Masking", mask_value=-1.0),
        _case("Activation", "softplus"),
        _case("Activation", "leaky_relu", shape=IMAGE),
        _case("Identity", shape=IMAGE),
        _case("ActivityRegularization", l1=0.1),
    ]


def _reshaping() -> list[Case]:
    turned, volume_first = TURNED[1], TURNED[3]
    first = {"data_format": "channels_first"}
    rows = [
        _case("Flatten", data_format="channels_last", shape=IMAGE),
        _case("Flatten", shape=(3, 4)),
        _case("Flatten", **first, shape=(3, 4)),
        _case("Reshape", (24,)),
        _case("Reshape", (2, 3, 4)),
        _case("Reshape", (-1,), shape=IMAGE),
        _case("Reshape", (-1, 2, 2)),
        _case("Permute", (2, 1)),
        _case("Permute", (1, 3, 2), shape=IMAGE),
        _case("RepeatVector", 1, shape=(3, 4)),
        _case("ZeroPadding1D", (1, 2)),
        _case("ZeroPadding1D", 1, **first, shape=turned),
        _case("ZeroPadding2D", (1, 2), shape=IMAGE),
        _case("ZeroPadding2D", ((0, 1), (2, 0)), shape=IMAGE),
        _case("ZeroPadding2D", shape=IMAGE),
        _case("ZeroPadding3D", (1, 0, 2), shape=VOLUME),
        _case("ZeroPadding3D", ((1, 0), (0, 2), (1, 1)), **first, shape=volume_first),
        _case("Cropping1D", (1, 2)),
        _case("Cropping1D"),
        _case("Cropping2D", (1, 2), shape=IMAGE),
        _case("Cropping2D", ((0, 1), (2, 0)), **first, shape=FIRST),
        _case("Cropping2D", shape=IMAGE),
        _case("Cropping3D", (1, 0, 2), shape=VOLUME),
        _case("Cropping3D", ((1, 0), (0, 2), (1, 1)), **first, shape=volume_first),
        _case("UpSampling1D", 3),
        _case("UpSampling2D", (2, 3), shape=IMAGE),
        _case("UpSampling2D", (1, 2), **first, shape=FIRST),
        _case("UpSampling3D", (1, 2, 3), shape=VOLUME),
        _case("UpSampling3D", 2, **first, shape=volume_first),
    ]
    for interpolation in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"):
        rows.append(_case("UpSampling2D", 2, interpolation=interpolation, **first, shape=FIRST))
        rows.append(_case("UpSampling2D", (3, 2), interpolation=interpolation, shape=IMAGE))
    return rows


def _merging() -> list[Case]:
    three = [(2, 3, 4), (2, 3, 4), (2, 3, 4)]
    rows = [_case(kind, shape=three) for kind in ("Add", "Multiply", "Average", "Maximum", "Minimum")]
    rows += [
        _case("Add", shape=[(2, 3, 4), (2, 4)]),
        _case("Subtract", shape=[(2, 3, 4), (2, 1, 4)]),
        _case("Concatenate", shape=three),
        _case("Concatenate", axis=2, shape=[(2, 3, 4), (2, 3, 1)]),
        _case("Concatenate", axis=-2, shape=[(2, 3, 4), (2, 2, 4)]),
        _case("Dot", axes=-1, shape=[(2, 3, 4), (2, 5, 4)]),
        _case("Dot", axes=1, shape=[(2, 3, 4), (2, 3)]),
        _case("Dot", axes=(1, 2), shape=[(2, 3, 4), (2, 5, 3)]),
        _case("Dot", axes=(-1, -2), shape=[(2, 3, 4), (2, 4, 5)]),
        _case("Dot", axes=2, normalize=True, shape=[(2, 3, 4), (2, 5, 4)]),
        _case("Dot", axes=(3, 1), shape=[(2, 3, 2, 4), (2, 4, 5)]),
    ]
    return rows


def _activations() -> list[Case]:
    return [
        _case("ReLU"),
        _case("ReLU", max_value=0.5),
        _case("ReLU", negative_slope=0.2),
        _case("ReLU", threshold=0.3),
        _case("ReLU", max_value=1.0, negative_slope=0.1),
        _case("LeakyReLU", negative_slope=0.05),
        _case("LeakyReLU", 0.0),
        _case("ELU"),
        _case("ELU", alpha=2.0),
        _case("PReLU", **_parts("alpha")),
        _case("PReLU", shared_axes=[1]),
        _case("PReLU", shared_axes=(1, 3), shape=IMAGE),
        _case("Softmax", axis=-2),
        _case("Softmax", axis=(1, 2, 3), shape=IMAGE),
        _case("Softmax", axis=(-1,)),
    ]


CASES = [*_core(), *_reshaping(), *_merging(), *_activations()]
