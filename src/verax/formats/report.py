"""What is told of a file of a model: its parts, noted one by one, as a dict at the end."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from verax.errors import DataError
from verax.formats import configs

__all__ = ["MOST_TEXT", "Report", "itemsize", "size_of"]

#: No configuration is longer.
MOST_TEXT = 1 << 28
_KINDS = {
    "keras": "a model with its configuration and weights (.keras)",
    "keras_h5": "a model with its configuration and weights (the HDF5 file of earlier Keras)",
    "weights_h5": "weights by layer (.weights.h5)",
    "legacy_weights_h5": "weights by layer (the HDF5 file of earlier Keras)",
    "h5": "arrays (HDF5)",
    "safetensors": "arrays by name (.safetensors)",
    "npz": "arrays by name (.npz)",
    "export": "an exported model, which predicts by itself",
}


class Report:
    """A report that grows."""

    def __init__(self, path: Path):
        self.path = path
        self.kind = ""
        self.writer: dict[str, Any] = {}
        self.config: Any = None
        self.compiled: dict[str, Any] | None = None
        self.layers: list[dict[str, Any]] = []
        self.weights: list[dict[str, Any]] = []
        self.optimizer: list[dict[str, Any]] = []
        self.assets: list[dict[str, Any]] = []
        self.findings: list[dict[str, str]] = []
        self.further: dict[str, Any] = {}

    def found(self, kind: str, what: str, why: str) -> None:
        """Note something unsafe ("unsafe") or worth knowing ("notice")."""
        self.findings.append({"kind": kind, "what": what, "why": why})

    def refused(self, error: DataError) -> None:
        """Note what a careful reader refuses the file for."""
        received, because = (re.search(rf"{label}: +(.*)", str(error)) for label in ("Received", "Because"))
        self.found("unsafe", received[1] if received else "the file", because[1] if because else str(error))

    def add(self, path: str, shape: tuple[int, ...], dtype: str, size: int, *, optimizer: bool = False) -> None:
        """Note an array."""
        count = math.prod(shape)
        each = {"path": path, "shape": list(shape), "dtype": dtype, "parameters": count, "bytes": size}
        (self.optimizer if optimizer else self.weights).append(each)

    def read_config(self, config: Any, compile_config: Any) -> None:
        """Note what the configuration says."""
        self.config = config
        self.layers = configs.layers_of(config)
        self.compiled = configs.compiled(compile_config)
        for part in (config, compile_config):
            for kind, what, why in configs.code_in(part):
                self.found(kind, what, why)

    def done(self) -> dict[str, Any]:
        """The report as a dict."""
        state = {"arrays": len(self.optimizer), **_total(self.optimizer)} if self.optimizer else None
        return {
            "path": str(self.path),
            "bytes": size_of(self.path),
            "kind": self.kind,
            "what": _KINDS[self.kind],
            "writer": self.writer,
            "model": configs.model_of(self.config),
            "layers": self.layers,
            "weights": self.weights,
            "totals": {"arrays": len(self.weights), **_total(self.weights), "dtypes": _dtypes(self.weights)},
            "optimizer": state,
            "compile": self.compiled,
            "assets": self.assets,
            **self.further,
            "findings": self.findings,
            "safe": all(finding["kind"] != "unsafe" for finding in self.findings),
        }

    def damaged(self, received: str) -> DataError:
        """The error for a file that cannot be told of."""
        return DataError(f"{self.path} was to be inspected.", received=received, because="it is damaged")


def itemsize(dtype: str) -> int:
    """The bytes of one element of a dtype, by its name."""
    bits = re.search(r"(float|int|complex)(\d+)", dtype)
    return max(1, int(bits[2]) // 8 if bits else 1)


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size


def _total(arrays: list[dict[str, Any]]) -> dict[str, int]:
    return {key: sum(each[key] for each in arrays) for key in ("parameters", "bytes")}


def _dtypes(arrays: list[dict[str, Any]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for each in arrays:
        counted[each["dtype"]] += each["parameters"]
    return dict(counted)
