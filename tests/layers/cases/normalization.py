"""Normalizations, with every argument."""

from __future__ import annotations

from typing import Any

from tests.layers.cases.base import FIRST, IMAGE, STEPS, VOLUME, Case
from tests.layers.cases.convolution import PARTS

__all__ = ["CASES"]


def _case(kind: str, shape: tuple[int, ...] = STEPS, **named: Any) -> Case:
    told = ", ".join(f"{k}={v['class_name'] if isinstance(v, dict) else v}" for k, v in named.items())
    return Case(f"{kind}({told}) on {len(shape)} axes", lambda m: getattr(m, kind)(**named), shape)


def _rows() -> list[Case]:
    parts = {f"{weight}_{kind}": part for weight in ("beta", "gamma") for kind, part in PARTS.items()}
    moving = {f"moving_{name}_initializer": PARTS["initializer"] for name in ("mean", "variance")}
    return [
        _case("BatchNormalization", **parts, **moving),
        _case("BatchNormalization", axis=-2, momentum=0.5, epsilon=0.01),
        _case("BatchNormalization", IMAGE, axis=2, center=False),
        _case("BatchNormalization", VOLUME, momentum=1.0, scale=False),
        _case("BatchNormalization", (8, 4), synchronized=False, momentum=0.0),
        _case("LayerNormalization", **parts),
        _case("LayerNormalization", epsilon=0.1, scale=False),
        _case("LayerNormalization", center=False, scale=False),
        _case("LayerNormalization", rms_scaling=True),
        _case("LayerNormalization", rms_scaling=True, scale=False, axis=1),
        _case("LayerNormalization", IMAGE, axis=(3, 1)),
        _case("LayerNormalization", IMAGE, axis=[-1, -2]),
        _case("LayerNormalization", IMAGE, axis=[1, -1]),
        _case("LayerNormalization", (3, 5)),
        _case("GroupNormalization", groups=2),
        _case("GroupNormalization", groups=1, epsilon=0.1),
        _case("GroupNormalization", groups=4, center=False),
        _case("GroupNormalization", groups=-1, scale=False),
        _case("GroupNormalization", groups=2, center=False, scale=False),
        _case("GroupNormalization", groups=2, **parts),
        _case("GroupNormalization", (3, 6), groups=3),
        _case("GroupNormalization", IMAGE, groups=2),
        _case("GroupNormalization", FIRST, groups=2, axis=1),
        _case("GroupNormalization", FIRST, groups=-1, axis=1),
        _case("GroupNormalization", IMAGE, groups=3, axis=-2),
        _case("GroupNormalization", VOLUME, groups=2),
        _case("RMSNormalization"),
        _case("RMSNormalization", epsilon=0.1),
        _case("RMSNormalization", (3, 5)),
        _case("RMSNormalization", axis=[1, 2]),
        _case("RMSNormalization", IMAGE, axis=(3, 2)),
        _case("UnitNormalization"),
        _case("UnitNormalization", (3, 5)),
        _case("UnitNormalization", axis=1),
        _case("UnitNormalization", IMAGE, axis=[1, 2]),
        _case("UnitNormalization", IMAGE, axis=(-1, 1)),
    ]


CASES = _rows()
