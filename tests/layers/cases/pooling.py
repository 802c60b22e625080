"""Pooling, with every argument."""

from __future__ import annotations

from typing import Any

from tests.layers.cases.base import Case
from tests.layers.cases.convolution import LAST, TURNED

__all__ = ["CASES"]


def _case(kind: str, rank: int, *arguments: Any, first: bool = False, **named: Any) -> Case:
    if first:
        named["data_format"] = "channels_first"
    told = ", ".join([*map(str, arguments), *(f"{k}={v}" for k, v in named.items())])
    name = f"{kind}{rank}D"
    shape = (TURNED if first else LAST)[rank]
    return Case(f"{name}({told})", lambda m: getattr(m, name)(*arguments, **named), shape)


def _rows() -> list[Case]:
    rows: list[Case] = []
    for kind, rank in [(kind, rank) for kind in ("Max", "Average") for rank in (1, 2, 3)]:
        windows = f"{kind}Pooling"
        rows += [
            _case(windows, rank, 3, strides=2, padding="same", first=True),
            _case(windows, rank, 2, strides=1, padding="same"),
            _case(windows, rank, 2, strides=3, padding="valid", first=True),
            _case(windows, rank, tuple(range(1, rank + 1)), padding="same"),
            _case(f"Global{windows}", rank, first=True, keepdims=True),
            _case(f"Global{windows}", rank, keepdims=rank != 2),
            _case(f"Adaptive{windows}", rank, (2, 4, 5)[:rank], first=True),
        ]
        if rank < 3:
            rows += [
                _case(f"Adaptive{windows}", rank, 1),
                _case(f"Adaptive{windows}", rank, 4),
                _case(f"Adaptive{windows}", rank, (8, 3)[:rank], data_format="channels_last"),
            ]
    return rows


CASES = _rows()
