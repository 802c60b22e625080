"""Convolutions: every padding beside every stride, dilation, group and axis order; every other argument once."""

from __future__ import annotations

import itertools
from typing import Any

from tests.layers.cases.base import FIRST, IMAGE, STEPS, VOLUME, Case

__all__ = ["CASES", "PARTS"]

LAST = {1: STEPS, 2: IMAGE, 3: VOLUME}
TURNED = {1: (2, 4, 6), 2: FIRST, 3: (2, 2, 5, 4, 6)}
#: A stride beside a dilation: Keras has no convolution with both above 1.
STEPPED = [(1, 1), (2, 1), (1, 2)]


def _case(kind: str, *arguments: Any, first: bool = False, **named: Any) -> Case:
    """A row named after what it gives."""
    rank = next(int(c) for c in kind if c.isdigit())
    if first:
        named["data_format"] = "channels_first"
    told = ", ".join([*map(str, arguments), *(f"{k}={_short(v)}" for k, v in named.items())])
    shape = (TURNED if first else LAST)[rank]
    return Case(f"{kind}({told})", lambda m: getattr(m, kind)(*arguments, **named), shape)


def _short(value: Any) -> str:
    return value["class_name"] if isinstance(value, dict) else str(value)


def _part(kind: str, **config: Any) -> dict[str, Any]:
    """A part as a configuration, which both libraries read."""
    return {"class_name": kind, "config": config}


PARTS = {
    "initializer": _part("RandomNormal", mean=0.1, stddev=0.2, seed=3),
    "regularizer": _part("L1L2", l1=0.01, l2=0.02),
    "constraint": _part("MaxNorm", max_value=0.7, axis=0),
}


def _all_parts(*weights: str) -> dict[str, Any]:
    return {f"{weight}_{kind}": part for weight in weights for kind, part in PARTS.items()}


def _rows() -> list[Case]:
    rows = [
        _case("Conv1D", 3, 2, strides=s, padding=p, dilation_rate=d, first=first)
        for p, (s, d), first in itertools.product(("valid", "same", "causal"), STEPPED, (False, True))
        if not (p == "causal" and first)  # Keras refuses it
    ]
    rows += [
        _case("Conv2D", 4, (3, 2), strides=s, padding=p, dilation_rate=d, groups=g, first=first)
        for p, (s, d), g, first in itertools.product(("valid", "same"), STEPPED, (1, 2), (False, True))
    ]
    rows += [
        _case("Conv3D", 2, 2, strides=s, padding=p, dilation_rate=d) for p in ("valid", "same") for s, d in STEPPED
    ]
    for rank in (1, 2):
        for p, (s, d) in itertools.product(("valid", "same"), STEPPED):
            arguments = {"strides": s, "padding": p, "dilation_rate": d, "depth_multiplier": s}
            first = p == "same" and d == 1
            rows.append(_case(f"DepthwiseConv{rank}D", 2, **arguments, first=first))
            rows.append(_case(f"SeparableConv{rank}D", 3, 2, **arguments, first=first))
    for rank in (1, 2, 3):
        kind = f"Conv{rank}DTranspose"
        for p, (k, s, d) in itertools.product(("valid", "same"), ((3, 1, 1), (2, 3, 1), (2, 1, 2))):
            rows.append(_case(kind, 2, k, strides=s, padding=p, dilation_rate=d))
        for p, o in [("valid", 0), ("same", 1)] if rank > 1 else itertools.product(("valid", "same"), (0, 1)):
            rows.append(_case(kind, 2, 3, strides=2, padding=p, output_padding=o))
        rows.append(_case(kind, 2, 2, strides=2, first=True))
    penalty = {"activity_regularizer": PARTS["regularizer"]}
    kernels = ["Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]
    for kind in kernels:
        rows.append(_case(kind, 2, 2, activation="relu", use_bias=False))
        rows.append(_case(kind, 2, 2, **_all_parts("kernel", "bias"), **penalty))
    for rank in (1, 2):
        rows.append(_case(f"DepthwiseConv{rank}D", 2, activation="tanh", use_bias=False))
        rows.append(_case(f"DepthwiseConv{rank}D", 2, **_all_parts("depthwise", "bias"), **penalty))
        rows.append(_case(f"SeparableConv{rank}D", 2, 2, activation="tanh", use_bias=False))
        rows.append(_case(f"SeparableConv{rank}D", 2, 2, **_all_parts("depthwise", "pointwise", "bias"), **penalty))
    rows += [
        _case("Conv1D", 4, 3, groups=2),
        _case("Conv3D", 4, (2, 1, 2), groups=2),
        _case("Conv3D", 2, 2, first=True),
        _case("Conv2D", 3, (3, 2), (2, 3), "same"),
        _case("Conv2D", 3, 2, dilation_rate=(1, 2)),
        _case("Conv2DTranspose", 3, (3, 2), (2, 3), "same", (1, 2)),
        _case("Conv3DTranspose", 2, (2, 1, 3), (1, 2, 2), "same", None, (0, 1, 1)),
        _case("Convolution2DTranspose", 2, 2),
        _case("SeparableConvolution1D", 2, 2),
    ]
    return rows


CASES = _rows()
